//! The Kubernetes objects of a source of a backup, in the form that kubectl reads.

use super::{Error, Run};
use crate::{
    repository::{BackupReader, Repository, StoredManifest},
    sources::kubernetes::export::{self, ExportError, ExportOptions, ExportedObjects, ObjectSink},
    types::{BackupContents as _, BackupId, Name, State},
};

/// A source of a backup whose objects are ready to be written.
#[derive(Debug)]
pub struct ObjectExport {
    reader: BackupReader,
    options: ExportOptions,
    /// The backup.
    pub backup: BackupId,
    /// Its state: a partial or suspect one is worth a word.
    pub state: State,
}

/// What kind of source the backup holds under this name: `kubernetes`, `postgres`.
///
/// # Errors
/// [`Error::NoSuchSource`].
pub fn kind_of_source<'m>(stored: &'m StoredManifest, source: &Name) -> Result<&'m str, Error> {
    let manifest = &stored.manifest;
    match manifest.sources.iter().find(|entry| entry.name == *source) {
        Some(entry) => Ok(&entry.kind),
        None => Err(Error::NoSuchSource {
            wanted: source.to_string(),
            holder: format!("backup {}", manifest.backup),
            choices: manifest.sources.iter().map(|entry| entry.name.to_string()).collect(),
        }),
    }
}

/// Opens what the backup holds of a source's objects.
///
/// # Errors
/// [`Error::NoSuchSource`], [`Error::NotChosen`] for a namespace or kind of which it has nothing, or what reading the
/// backup says.
pub async fn export_objects(
    repository: &Repository,
    stored: &StoredManifest,
    source: &Name,
    options: ExportOptions,
) -> Result<ObjectExport, Error> {
    kind_of_source(stored, source)?;
    let manifest = &stored.manifest;
    let reader = repository.read_contents(manifest).await?;
    let mut options = options;
    options.filter.sources = vec![source.clone()];
    options.filter = options.filter.narrow(reader.streams().iter())?;
    Ok(ObjectExport { reader, options, backup: manifest.backup.clone(), state: manifest.state })
}

impl ObjectExport {
    /// Writes all of them, each after its chunks were proven.
    ///
    /// # Errors
    /// [`Error::ExportObjects`], and what was written until then is of no use.
    pub async fn write(&self, to: &mut dyn ObjectSink, run: &Run) -> Result<ExportedObjects, Error> {
        let (monitor, cancel) = (run.monitor.as_ref(), &run.cancel);
        Ok(export::export(&self.reader, &self.options, to, monitor, cancel).await?)
    }
}

impl From<ExportError> for Error {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Interrupted => Self::Interrupted,
            ExportError::Read(error) => Self::Restore(error),
            other => Self::ExportObjects(other),
        }
    }
}
