//! From lines to a stream with a part for each namespace.

use std::collections::BTreeMap;

use bytes::{BufMut as _, BytesMut};

use crate::{
    sources::CapturedGroup,
    types::{CaptureSink, PartSummary, RowDigest, SinkError, StreamSink, StreamSpec},
};

/// Lines are handed on in pieces of about this size.
const PIECE: usize = 256 << 10;

/// Writes one kind's stream. The stream begins with its first line: a kind without objects has none.
pub(super) struct Writer<'a> {
    sink: &'a dyn CaptureSink,
    spec: StreamSpec,
    stream: Option<Box<dyn StreamSink>>,
    part: Option<Part>,
    buffer: BytesMut,
    groups: BTreeMap<String, CapturedGroup>,
}

struct Part {
    name: String,
    count: u64,
    digest: RowDigest,
}

impl<'a> Writer<'a> {
    pub(super) fn new(sink: &'a dyn CaptureSink, spec: StreamSpec) -> Self {
        Self { sink, spec, stream: None, part: None, buffer: BytesMut::new(), groups: BTreeMap::new() }
    }

    /// Adds one object, whose line `write` appends to the buffer that it is given.
    pub(super) async fn line(
        &mut self,
        namespace: &str,
        restorable: bool,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), SinkError> {
        if self.part.as_ref().is_none_or(|part| part.name != namespace) {
            self.end_part().await?;
            self.begin_part(namespace).await?;
        }
        let start = self.buffer.len();
        write(&mut self.buffer);
        let line = self.buffer.get(start..).unwrap_or_default();
        if let Some(part) = &mut self.part {
            part.count += 1;
            part.digest.add_row(line);
        }
        let bytes = line.len() as u64 + 1;
        self.buffer.put_u8(b'\n');
        if !self.groups.contains_key(namespace) {
            self.groups.insert(namespace.to_owned(), empty_group(namespace));
        }
        if let Some(group) = self.groups.get_mut(namespace) {
            group.count += 1;
            group.restorable += u64::from(restorable);
            group.bytes += bytes;
        }
        if self.buffer.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    /// Ends the stream, and says what is in it by namespace.
    pub(super) async fn finish(mut self) -> Result<BTreeMap<String, CapturedGroup>, SinkError> {
        self.end_part().await?;
        if let Some(stream) = self.stream {
            stream.finish().await?;
        }
        Ok(self.groups)
    }

    async fn begin_part(&mut self, name: &str) -> Result<(), SinkError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(self.sink.open(self.spec.clone()).await?),
        };
        stream.begin_part(name).await?;
        self.part = Some(Part { name: name.to_owned(), count: 0, digest: RowDigest::default() });
        Ok(())
    }

    async fn end_part(&mut self) -> Result<(), SinkError> {
        self.flush().await?;
        if let (Some(part), Some(stream)) = (self.part.take(), &mut self.stream) {
            stream.end_part(PartSummary { count: part.count, digest: Some(part.digest) }).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        match &mut self.stream {
            Some(stream) if !self.buffer.is_empty() => stream.write(self.buffer.split().freeze()).await,
            _ => Ok(()),
        }
    }
}

/// A namespace of which nothing was captured yet.
pub(super) fn empty_group(name: &str) -> CapturedGroup {
    CapturedGroup { name: name.to_owned(), count: 0, restorable: 0, bytes: 0 }
}
