//! A place for streams without a repository, for tests of sources.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::types::{CaptureSink, Name, PartSummary, SinkError, StreamSink, StreamSpec};

/// Keeps finished streams in memory, or only counts their bytes.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    state: Arc<Mutex<State>>,
    counts_only: bool,
}

#[derive(Debug, Default)]
struct State {
    streams: Vec<MemoryStream>,
    opened: usize,
    fails_after: Option<u64>,
    bytes: u64,
}

/// A finished stream.
#[derive(Debug, Clone)]
pub struct MemoryStream {
    /// What it is.
    pub spec: StreamSpec,
    /// Its parts in order.
    pub parts: Vec<MemoryPart>,
}

/// A part of a finished stream.
#[derive(Debug, Clone)]
pub struct MemoryPart {
    /// Its name.
    pub name: String,
    /// Its bytes; empty in a sink that only counts.
    pub bytes: Vec<u8>,
    /// How many bytes there were.
    pub length: u64,
    /// What the source counted.
    pub summary: PartSummary,
}

impl MemorySink {
    /// A sink that keeps nothing, and counts.
    #[must_use]
    pub fn counting() -> Self {
        Self { counts_only: true, ..Self::default() }
    }

    /// From now on every write fails once more than `bytes` were written.
    pub fn fail_after(&self, bytes: u64) {
        self.state().fails_after = Some(bytes);
    }

    /// The finished streams, in the order in which they were finished.
    #[must_use]
    pub fn streams(&self) -> Vec<MemoryStream> {
        self.state().streams.clone()
    }

    /// The finished stream of this name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<MemoryStream> {
        self.state().streams.iter().find(|stream| stream.spec.name == name).cloned()
    }

    /// The lines of a part of a finished stream, without their line ends.
    #[must_use]
    pub fn lines(&self, stream: &str, part: &str) -> Vec<String> {
        let stream = self.stream(stream);
        let parts = stream.iter().flat_map(|stream| &stream.parts).filter(|found| found.name == part);
        let text: String = parts.map(|part| String::from_utf8_lossy(&part.bytes).into_owned()).collect();
        text.lines().map(str::to_owned).collect()
    }

    /// How many streams were begun, finished or not.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.state().opened
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CaptureSink for MemorySink {
    async fn open(&self, spec: StreamSpec) -> Result<Box<dyn StreamSink>, SinkError> {
        self.state().opened += 1;
        Ok(Box::new(OpenStream {
            sink: self.clone(),
            stream: MemoryStream { spec, parts: Vec::new() },
            in_part: false,
        }))
    }

    async fn abandon(&self, source: &Name) {
        self.state().streams.retain(|stream| stream.spec.source != *source);
    }
}

struct OpenStream {
    sink: MemorySink,
    stream: MemoryStream,
    in_part: bool,
}

impl OpenStream {
    fn refuse(&self, why: &str) -> SinkError {
        SinkError { stream: self.stream.spec.name.clone(), source: why.to_owned().into() }
    }
}

#[async_trait]
impl StreamSink for OpenStream {
    async fn begin_part(&mut self, name: &str) -> Result<(), SinkError> {
        if self.in_part {
            return Err(self.refuse("the part before has not ended"));
        }
        self.in_part = true;
        let summary = PartSummary::default();
        self.stream.parts.push(MemoryPart { name: name.to_owned(), bytes: Vec::new(), length: 0, summary });
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), SinkError> {
        let full = {
            let mut state = self.sink.state();
            state.bytes += bytes.len() as u64;
            state.fails_after.is_some_and(|most| state.bytes > most)
        };
        match self.stream.parts.last_mut() {
            _ if full => Err(self.refuse("there is no space left")),
            Some(part) if self.in_part => {
                part.length += bytes.len() as u64;
                if !self.sink.counts_only {
                    part.bytes.extend_from_slice(&bytes);
                }
                Ok(())
            }
            _ => Err(self.refuse("no part has begun")),
        }
    }

    async fn end_part(&mut self, summary: PartSummary) -> Result<(), SinkError> {
        match self.stream.parts.last_mut() {
            Some(part) if self.in_part => {
                part.summary = summary;
                self.in_part = false;
                Ok(())
            }
            _ => Err(self.refuse("no part has begun")),
        }
    }

    async fn finish(self: Box<Self>) -> Result<(), SinkError> {
        if self.in_part {
            return Err(self.refuse("the last part has not ended"));
        }
        self.sink.state().streams.push(self.stream);
        Ok(())
    }
}
