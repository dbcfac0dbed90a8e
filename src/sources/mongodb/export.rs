//! A database of a backup as a folder for `mongorestore`.
//!
//! Documents are written as they are in the backup, each after its chunk was proven; what defines a collection is
//! written as `mongodump` writes it.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    contents::{self, Read, file_name},
    definition::Kind,
};
use crate::types::{BackupContents, Monitor, Name, for_terminal};

/// An export of a MongoDB database did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What the backup holds of it cannot be read.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// A definition cannot be written as Extended JSON.
    #[error("cannot write down how collection `{}` is defined: {why}", for_terminal(.collection))]
    Definition {
        /// The collection.
        collection: String,
        /// Why not.
        why: String,
    },
    /// A file could not be written.
    #[error("cannot write the export: {0}")]
    Output(#[from] io::Error),
    /// The run was told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Where the files go, one after the other.
#[async_trait]
pub trait FileSink: Send {
    /// Begins a file at a path of plain names; the one before has ended.
    async fn begin(&mut self, place: &Path) -> io::Result<()>;

    /// Appends to it.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends it.
    async fn end(&mut self) -> io::Result<()>;
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// The database.
    pub database: String,
    /// The folder of its files inside the export.
    pub folder: String,
    /// Collections and views.
    pub collections: u64,
    /// Documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes all of a source.
///
/// # Errors
/// [`ExportError`]; what was written until then is of no use.
pub async fn export(
    contents: &dyn BackupContents,
    source: &Name,
    to: &mut dyn FileSink,
    monitor: &dyn Monitor,
    cancel: &CancellationToken,
) -> Result<Exported, ExportError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ExportError::Interrupted),
        exported = all(contents, source, to, monitor) => exported,
    }
}

async fn all(
    contents: &dyn BackupContents,
    source: &Name,
    to: &mut dyn FileSink,
    monitor: &dyn Monitor,
) -> Result<Exported, ExportError> {
    let Read { database, definitions } = contents::read(contents, source).await?;
    let folder = PathBuf::from(file_name(&database.name));
    let mut exported =
        Exported { database: database.name.clone(), folder: folder.display().to_string(), ..Exported::default() };
    monitor.phase(&format!("exporting {source}"), "MiB", None);
    let mut untold = 0;
    for (collection, definition) in database.collections.iter().zip(&definitions) {
        let metadata = definition
            .metadata()
            .map_err(|why| ExportError::Definition { collection: collection.name.clone(), why: why.to_string() })?;
        let file = |name: &str, end: &str| folder.join(format!("{}{end}", file_name(name)));
        to.begin(&file(&collection.name, ".metadata.json")).await?;
        to.write(metadata.as_bytes()).await?;
        to.end().await?;
        exported.collections += 1;
        if definition.kind == Kind::View {
            continue;
        }
        let stream = contents::stream(contents, source, collection.stream.as_deref().unwrap_or_default())?;
        to.begin(&file(&definition.holder(), ".bson")).await?;
        for part in 0..stream.parts.len() {
            let mut pieces = contents.read_part(stream, part).await.map_err(contents::Error::Contents)?;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(contents::Error::Contents)?;
                to.write(&piece).await?;
                untold += piece.len() as u64;
                monitor.advance(untold >> 20);
                untold &= (1 << 20) - 1;
            }
        }
        to.end().await?;
        exported.documents += collection.documents;
        exported.bytes += collection.bytes;
    }
    let prelude = serde_json::json!({"ServerVersion": database.version, "ToolVersion": env!("CARGO_PKG_VERSION")});
    to.begin(Path::new("prelude.json")).await?;
    to.write(prelude.to_string().as_bytes()).await?;
    to.end().await?;
    Ok(exported)
}
