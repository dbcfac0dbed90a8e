//! A MongoDB database of a backup, as a folder for `mongorestore`.

use super::{Error, Run, kind_of_source};
use crate::{
    repository::{BackupReader, Repository, StoredManifest},
    sources::mongodb::export::{self, ExportError, Exported, FileSink},
    types::{BackupId, Name, State},
};

/// A source of a backup that is ready to be written.
#[derive(Debug)]
pub struct MongodbExport {
    reader: BackupReader,
    source: Name,
    /// The backup.
    pub backup: BackupId,
    /// Its state: a partial or suspect one is worth a word.
    pub state: State,
}

/// Opens what the backup holds of a source.
///
/// # Errors
/// [`Error::NoSuchSource`], or what reading the backup says.
pub async fn export_mongodb(
    repository: &Repository,
    stored: &StoredManifest,
    source: &Name,
) -> Result<MongodbExport, Error> {
    kind_of_source(stored, source)?;
    let manifest = &stored.manifest;
    let reader = repository.read_contents(manifest).await?;
    Ok(MongodbExport { reader, source: source.clone(), backup: manifest.backup.clone(), state: manifest.state })
}

impl MongodbExport {
    /// Writes all of it, each byte after its chunk was proven.
    ///
    /// # Errors
    /// [`Error::ExportMongodb`], and what was written until then is of no use.
    pub async fn write(&self, to: &mut dyn FileSink, run: &Run) -> Result<Exported, Error> {
        let (monitor, cancel) = (run.monitor.as_ref(), &run.cancel);
        Ok(export::export(&self.reader, &self.source, to, monitor, cancel).await?)
    }
}

impl From<ExportError> for Error {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Interrupted => Self::Interrupted,
            other => Self::ExportMongodb(other),
        }
    }
}
