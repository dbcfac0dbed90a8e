//! Items of an archive, and documents, into streams.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::cutting::Item;
use crate::{
    sources::{
        CaptureContext,
        postgres::{
            archive::Toc,
            contents::{self, WHOLE, large_objects_stream, table_streams},
        },
    },
    types::{MediaType, Name, PartSummary, SinkError, StreamSink, StreamSpec},
};

const MIB: u64 = 1 << 20;

/// Writes the streams of one database.
pub(super) struct Writer<'a> {
    context: CaptureContext<'a>,
    source: &'a Name,
    /// The streams of the tables that are still to come.
    tables: VecDeque<String>,
    /// The stream of the present table.
    table: Option<Box<dyn StreamSink>>,
    /// The stream of the present large objects, and the dump id of their entry.
    block: Option<(u32, Box<dyn StreamSink>)>,
    /// Rows and large objects so far.
    pub(super) count: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Bytes of which the monitor was not told: it counts in MiB.
    untold: u64,
    /// Large objects by the dump id of their block.
    pub(super) objects: HashMap<u32, u64>,
    /// The bytes that all rows take in an archive: a frame each.
    pub(super) framed: u64,
}

/// The bytes of a frame's length.
pub(super) const FRAME: u64 = 5;

impl<'a> Writer<'a> {
    pub(super) fn new(context: CaptureContext<'a>, source: &'a Name) -> Self {
        let (tables, objects) = (VecDeque::new(), HashMap::new());
        Self { context, source, tables, table: None, block: None, count: 0, bytes: 0, untold: 0, objects, framed: 0 }
    }

    /// Writes the stream `toc`, and learns how the tables are called.
    pub(super) async fn toc(&mut self, toc: &Toc) -> Result<(), SinkError> {
        self.tables = table_streams(toc).into_iter().map(|(_, name)| name).collect();
        self.whole(contents::TOC, MediaType::Blob, toc.bytes().clone()).await
    }

    /// Writes a stream of one part.
    pub(super) async fn whole(&mut self, name: &str, media_type: MediaType, bytes: Bytes) -> Result<(), SinkError> {
        let mut stream = self.open(name, media_type).await?;
        stream.begin_part(WHOLE).await?;
        stream.write(bytes).await?;
        stream.end_part(PartSummary::default()).await?;
        stream.finish().await
    }

    /// Begins a stream.
    pub(super) async fn open(&mut self, name: &str, media_type: MediaType) -> Result<Box<dyn StreamSink>, SinkError> {
        self.context.sink.open(StreamSpec { source: self.source.clone(), name: name.to_owned(), media_type }).await
    }

    /// Writes the next item of a table's rows.
    pub(super) async fn rows(&mut self, item: Item) -> Result<(), SinkError> {
        match item {
            Item::Table => {
                // The counts of tables are compared when all has come.
                let name = self.tables.pop_front().unwrap_or_else(|| "unknown".to_owned());
                tracing::debug!(stream = %crate::types::for_terminal(&name), "reading");
                self.table = Some(self.open(&name, MediaType::Table).await?);
            }
            Item::Data(bytes) => {
                self.framed += bytes.len() as u64;
                self.tell(bytes.len());
                part(self.table.as_mut(), Item::Data(bytes)).await?;
            }
            Item::PartEnd(summary) => {
                self.count += summary.count;
                self.framed += FRAME * summary.count;
                part(self.table.as_mut(), Item::PartEnd(summary)).await?;
            }
            Item::End => finish(self.table.take()).await?,
            item => part(self.table.as_mut(), item).await?,
        }
        Ok(())
    }

    /// Writes the next item of large objects.
    pub(super) async fn object(&mut self, item: Item) -> Result<(), SinkError> {
        match item {
            Item::LargeObjects(dump_id) => {
                self.block = Some((dump_id, self.open(&large_objects_stream(dump_id), MediaType::Blob).await?));
            }
            Item::Data(bytes) => {
                self.tell(bytes.len());
                part(self.block.as_mut().map(|(_, stream)| stream), Item::Data(bytes)).await?;
            }
            Item::PartEnd(summary) => {
                self.count += summary.count;
                if let Some((dump_id, stream)) = &mut self.block {
                    *self.objects.entry(*dump_id).or_default() += summary.count;
                    part(Some(stream), Item::PartEnd(summary)).await?;
                }
            }
            Item::End => finish(self.block.take().map(|(_, stream)| stream)).await?,
            item => part(self.block.as_mut().map(|(_, stream)| stream), item).await?,
        }
        Ok(())
    }

    fn tell(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.untold += bytes as u64;
        if self.untold >= MIB {
            self.context.monitor.advance(self.untold / MIB);
            self.untold %= MIB;
        }
    }
}

type Stream = Box<dyn StreamSink>;

/// Writes what belongs to a part.
async fn part(stream: Option<&mut Stream>, item: Item) -> Result<(), SinkError> {
    let Some(stream) = stream else { return Ok(()) };
    match item {
        Item::Part(name) => stream.begin_part(&name).await,
        Item::Data(bytes) => stream.write(bytes).await,
        Item::PartEnd(summary) => stream.end_part(summary).await,
        Item::Toc(_) | Item::Table | Item::LargeObjects(_) | Item::End => Ok(()),
    }
}

async fn finish(stream: Option<Stream>) -> Result<(), SinkError> {
    match stream {
        Some(stream) => stream.finish().await,
        None => Ok(()),
    }
}
