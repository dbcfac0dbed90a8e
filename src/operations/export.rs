//! One source of a backup in the form of stock tools.

use tokio::io::AsyncWrite;

use super::{Error, Run};
use crate::{
    repository::{BackupReader, Repository, StoredManifest},
    sources::postgres::export::{self, ExportContext, ExportError, Exported, Format},
    types::{BackupId, Name, State},
};

/// A source of a backup whose documents are read and agree with each other, ready to be written.
#[derive(Debug)]
pub struct Export {
    reader: BackupReader,
    export: export::Export,
    /// The backup.
    pub backup: BackupId,
    /// Its state: a partial or suspect one is worth a word.
    pub state: State,
}

/// Reads what the backup says of a source, so that whatever contradicts itself is found before anything is written.
///
/// # Errors
/// [`Error::NoSuchSource`], [`Error::NotExported`] for a source that is no database, or what reading the backup says.
pub async fn export(repository: &Repository, stored: &StoredManifest, source: &Name) -> Result<Export, Error> {
    let manifest = &stored.manifest;
    let Some(entry) = manifest.sources.iter().find(|entry| entry.name == *source) else {
        return Err(Error::NoSuchSource {
            wanted: source.to_string(),
            holder: format!("backup {}", manifest.backup),
            choices: manifest.sources.iter().map(|entry| entry.name.to_string()).collect(),
        });
    };
    if entry.kind != "postgres" {
        return Err(Error::NotExported { source_name: source.to_string(), kind: entry.kind.clone() });
    }
    let reader = repository.read_contents(manifest).await?;
    let export = export::Export::open(&reader, source).await?;
    Ok(Export { reader, export, backup: manifest.backup.clone(), state: manifest.state })
}

impl Export {
    /// The database that is exported.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.export.database.name
    }

    /// Writes all of it, each byte after its chunk was proven.
    ///
    /// # Errors
    /// [`Error::Export`], and what was written until then is of no use.
    pub async fn write(
        &self,
        format: Format,
        to: &mut (dyn AsyncWrite + Unpin + Send),
        run: &Run,
    ) -> Result<Exported, Error> {
        let context = ExportContext { contents: &self.reader, monitor: run.monitor.as_ref(), cancel: &run.cancel };
        Ok(self.export.write(context, format, to).await?)
    }
}

impl From<ExportError> for Error {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Interrupted => Self::Interrupted,
            other => Self::Export(other),
        }
    }
}
