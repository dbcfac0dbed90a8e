//! Items of an archive, and documents, into streams.

use std::collections::HashMap;

use bytes::Bytes;

use super::take::Item;
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
    /// The streams of entries with data, by dump id.
    names: HashMap<u32, (String, MediaType)>,
    stream: Option<Box<dyn StreamSink>>,
    /// Rows and large objects so far.
    pub(super) count: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Bytes of which the monitor was not told: it counts in MiB.
    untold: u64,
    /// Large objects by the dump id of their block.
    pub(super) objects: HashMap<u32, u64>,
    open: u32,
}

impl<'a> Writer<'a> {
    pub(super) fn new(context: CaptureContext<'a>, source: &'a Name) -> Self {
        let (names, objects) = (HashMap::new(), HashMap::new());
        Self { context, source, names, stream: None, count: 0, bytes: 0, untold: 0, objects, open: 0 }
    }

    /// Writes the stream `toc`, and learns how the others are called.
    pub(super) async fn toc(&mut self, toc: &Toc) -> Result<(), SinkError> {
        let tables = table_streams(toc).into_iter().map(|(id, name)| (id, (name, MediaType::Table)));
        let objects = toc
            .large_objects()
            .map(|entry| (entry.dump_id(), (large_objects_stream(entry.dump_id()), MediaType::Blob)));
        self.names = tables.chain(objects).collect();
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

    /// Writes the next item that is not the table of contents.
    pub(super) async fn item(&mut self, item: Item) -> Result<(), SinkError> {
        match item {
            Item::Toc(_) => {}
            Item::Begin(dump_id) => {
                // The splitter lets no other entry's block pass.
                let (name, media_type) =
                    self.names.get(&dump_id).cloned().unwrap_or_else(|| (format!("entry/{dump_id}"), MediaType::Blob));
                tracing::debug!(stream = %crate::types::for_terminal(&name), "reading");
                self.open = dump_id;
                self.stream = Some(self.open(&name, media_type).await?);
            }
            Item::Part(name) => {
                if let Some(stream) = &mut self.stream {
                    stream.begin_part(&name).await?;
                }
            }
            Item::Data(bytes) => {
                let length = bytes.len() as u64;
                if let Some(stream) = &mut self.stream {
                    stream.write(bytes).await?;
                }
                self.bytes += length;
                self.untold += length;
                if self.untold >= MIB {
                    self.context.monitor.advance(self.untold / MIB);
                    self.untold %= MIB;
                }
            }
            Item::PartEnd(summary) => {
                self.count += summary.count;
                if let Some(stream) = &mut self.stream {
                    stream.end_part(summary).await?;
                }
                if self.names.get(&self.open).is_some_and(|(_, media_type)| *media_type == MediaType::Blob) {
                    *self.objects.entry(self.open).or_default() += summary.count;
                }
            }
            Item::End => {
                if let Some(stream) = self.stream.take() {
                    stream.finish().await?;
                }
            }
        }
        Ok(())
    }
}
