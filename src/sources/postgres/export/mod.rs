//! A database of a backup as stock tools read it: the archive of `pg_dump`, or SQL for `psql`.

mod archive;
mod out;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use super::{
    archive::{Framing, Toc},
    contents::{self, Database},
};
use crate::types::{BackupContents, Monitor, Name, StreamInfo};
use out::Out;

/// In which form a database is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `pg_dump`'s custom format, for `pg_restore`: the very bytes that `pg_dump` wrote.
    Archive,
    /// SQL, for `psql`.
    Sql,
}

/// A database was not exported, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The backup cannot be read, or contradicts itself.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// What was read cannot be written.
    #[error("cannot write the export")]
    Output(#[source] std::io::Error),
    /// The run was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<crate::types::ContentsError> for ExportError {
    fn from(error: crate::types::ContentsError) -> Self {
        Self::Contents(error.into())
    }
}

/// What an export is given.
#[derive(Debug, Clone, Copy)]
pub struct ExportContext<'a> {
    /// The backup.
    pub contents: &'a dyn BackupContents,
    /// Who hears of the progress.
    pub monitor: &'a dyn Monitor,
    /// Set when the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// A database of a backup whose documents agree with each other, ready to be written.
#[derive(Debug)]
pub struct Export {
    source: Name,
    /// What the backup says of the database.
    pub database: Database,
    toc: Toc,
    blocks: Vec<Block>,
}

/// The data of one entry of the table of contents, in its order.
#[derive(Debug)]
struct Block {
    dump_id: u32,
    data: Data,
    stream: StreamInfo,
}

#[derive(Debug)]
enum Data {
    /// Rows.
    Table,
    /// Large objects: the oid of each part.
    LargeObjects(Vec<u32>),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Bytes of the archive or the SQL.
    pub bytes: u64,
    /// Tables with rows.
    pub tables: u64,
    /// Their rows, as the backup counts them.
    pub rows: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Whether these are the very bytes that pg_dump wrote.
    pub exact: bool,
}

impl Export {
    /// Reads the documents of a database, and finds the data of every entry that has some.
    ///
    /// # Errors
    /// [`ExportError::Contents`] if a stream is missing or the documents contradict each other.
    pub async fn open(contents: &dyn BackupContents, source: &Name) -> Result<Self, ExportError> {
        let database: Database = contents::read(contents, source).await?;
        let toc = contents::read_toc(contents, source).await?;
        let blocks = blocks(contents, source, &database, &toc)?;
        Ok(Self { source: source.clone(), database, toc, blocks })
    }

    /// Writes all of it. No byte is written before the chunk that it is in was proven; a part is proven as a whole
    /// after its last byte, so what was written counts only if this succeeds.
    ///
    /// # Errors
    /// [`ExportError`], and what was written until then is of no use.
    pub async fn write(
        &self,
        context: ExportContext<'_>,
        format: Format,
        to: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Exported, ExportError> {
        let bytes = self.parts().map(|part| part.length).sum();
        context.monitor.phase("exporting", "byte", Some(bytes));
        let mut out = Out::new(to, context.cancel);
        match format {
            Format::Archive => self.write_archive(context, &mut out).await?,
            Format::Sql => self.write_sql(context, &mut out).await?,
        }
        Ok(Exported { bytes: out.finish().await?, ..self.counts(format) })
    }

    fn parts(&self) -> impl Iterator<Item = &crate::types::PartInfo> {
        self.blocks.iter().flat_map(|block| &block.stream.parts)
    }

    fn counts(&self, format: Format) -> Exported {
        let mut counts = Exported { exact: format == Format::Archive, ..Exported::default() };
        counts.exact &= self.database.archive.framing != Framing::Other;
        for block in &self.blocks {
            match &block.data {
                Data::Table => {
                    counts.tables += 1;
                    counts.rows += block.stream.parts.iter().map(|part| part.count).sum::<u64>();
                }
                Data::LargeObjects(oids) => counts.large_objects += oids.len() as u64,
            }
        }
        counts
    }
}

/// The streams of all entries with data, in the order of the table of contents.
fn blocks(
    contents: &dyn BackupContents,
    source: &Name,
    database: &Database,
    toc: &Toc,
) -> Result<Vec<Block>, contents::Error> {
    let streams: HashMap<&str, &StreamInfo> = contents
        .streams()
        .iter()
        .filter(|stream| stream.source == *source)
        .map(|stream| (stream.name.as_str(), stream))
        .collect();
    let tables = database.tables.iter().map(|table| (table.dump_id, table.stream.as_str()));
    let objects = database.large_objects.iter().map(|block| (block.dump_id, block.stream.as_str()));
    let names: HashMap<u32, &str> = tables.chain(objects).collect();
    let with_data = || toc.entries().filter(super::archive::Entry::has_data);
    if names.len() != with_data().count() {
        let what = format!("it names {} streams of data, and `toc` {} entries", names.len(), with_data().count());
        return Err(contents::Error::Contradiction { stream: contents::DATABASE, what });
    }
    with_data()
        .map(|entry| {
            let dump_id = entry.dump_id();
            let name = names.get(&dump_id).copied().ok_or_else(|| contents::Error::Contradiction {
                stream: contents::DATABASE,
                what: format!(
                    "it does not say where the data of {} is",
                    crate::types::for_terminal(&entry.to_string())
                ),
            })?;
            let stream = streams
                .get(name)
                .copied()
                .ok_or_else(|| contents::Error::NoStream { source_name: source.clone(), stream: name.to_owned() })?;
            let data = if entry.is_table_data() { Data::Table } else { Data::LargeObjects(oids(stream)?) };
            Ok(Block { dump_id, data, stream: stream.clone() })
        })
        .collect()
}

/// The oids that the parts of a stream are named by.
fn oids(stream: &StreamInfo) -> Result<Vec<u32>, contents::Error> {
    let mut seen = HashSet::new();
    let mut oid = |name: &str| name.parse().ok().filter(|oid| *oid > 0 && seen.insert(*oid));
    let oids: Option<Vec<u32>> = stream.parts.iter().map(|part| oid(&part.name)).collect();
    oids.ok_or_else(|| contents::Error::Rows {
        stream: stream.name.clone(),
        what: "its parts are not named by the oids of large objects, each once".to_owned(),
    })
}
