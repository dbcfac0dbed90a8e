//! One stream being written: its parts are hashed, its bytes are cut, its chunks go to the pipeline.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Error,
    budget::Held,
    chunker::{Chunker, CutRule, parts_begin_chunks},
    finished::Finished,
    large::Pool,
    pipeline::{Chunk, Pipeline},
    streams::{MAX_CHUNKS, MAX_NAME, StreamRecord},
};
use crate::types::{Blake3Hasher, PartInfo, PartSummary, SinkError, StreamInfo, StreamSink, StreamSpec, for_terminal};

/// The bytes of a stream that are in no chunk yet. The pipeline may cut them early.
#[derive(Debug)]
pub(crate) struct Buffer {
    chunker: Chunker,
    held: Option<Held>,
    stream: u32,
    next: u32,
}

impl Buffer {
    pub(crate) fn new(stream: u32, rule: CutRule, pool: Arc<Pool>) -> Self {
        Self { chunker: Chunker::new(rule, pool), held: None, stream, next: 0 }
    }

    /// How many bytes there are.
    pub(crate) fn held(&self) -> usize {
        self.chunker.held()
    }

    fn push(&mut self, bytes: &[u8], held: Held) -> Vec<Chunk> {
        match &mut self.held {
            Some(all) => all.join(held),
            none => *none = Some(held),
        }
        let mut cut = Vec::new();
        self.chunker.push(bytes, |chunk| cut.push(chunk));
        self.number(cut)
    }

    /// Makes all that there is into chunks.
    pub(crate) fn end_run(&mut self) -> Vec<Chunk> {
        let mut cut = Vec::new();
        self.chunker.end_run(|chunk| cut.push(chunk));
        self.number(cut)
    }

    fn number(&mut self, cut: Vec<Vec<u8>>) -> Vec<Chunk> {
        let numbered = cut.into_iter().filter_map(|plain| {
            let held = self.held.as_mut()?.split(plain.len() as u64);
            let number = self.next;
            self.next = self.next.saturating_add(1);
            Some(Chunk { stream: self.stream, number, plain, held })
        });
        numbered.collect()
    }
}

/// A stream being written.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    pipeline: Arc<Pipeline>,
    finished: Arc<Finished>,
    buffer: Arc<Mutex<Buffer>>,
    info: StreamInfo,
    length: u64,
    part: Option<OpenPart>,
}

#[derive(Debug)]
struct OpenPart {
    name: String,
    offset: u64,
    hasher: Blake3Hasher,
}

impl StreamWriter {
    /// Begins stream `number`.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        finished: Arc<Finished>,
        number: u32,
        spec: StreamSpec,
        rule: CutRule,
    ) -> Result<Self, Error> {
        check_name("the stream", &spec.name)?;
        pipeline.check()?;
        let buffer = Arc::new(Mutex::new(Buffer::new(number, rule, pipeline.pool())));
        pipeline.register(&buffer);
        let StreamSpec { source, name, media_type } = spec;
        let info = StreamInfo { number, source, name, media_type, parts: Vec::new() };
        Ok(Self { pipeline, finished, buffer, info, length: 0, part: None })
    }

    fn begin(&mut self, name: &str) -> Result<(), Error> {
        self.pipeline.check()?;
        if self.part.is_some() {
            return Err(self.misuse("a part begins before the last has ended"));
        }
        check_name("the part", name)?;
        self.finished.count_part()?;
        if parts_begin_chunks(self.info.media_type) {
            self.end_run();
        }
        self.part = Some(OpenPart { name: name.to_owned(), offset: self.length, hasher: Blake3Hasher::default() });
        Ok(())
    }

    async fn append(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(self.pipeline.piece()));
            let held = self.pipeline.admit(piece.len()).await?;
            let Some(part) = &mut self.part else { return Err(self.misuse("bytes come outside a part")) };
            part.hasher.update(&piece);
            self.length += piece.len() as u64;
            let (chunks, next) = {
                let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
                (buffer.push(&piece, held), buffer.next)
            };
            self.pipeline.submit(chunks);
            check_chunks(&self.info.name, next)?;
        }
        Ok(())
    }

    fn end(&mut self, summary: PartSummary) -> Result<(), Error> {
        self.pipeline.check()?;
        let Some(OpenPart { name, offset, hasher }) = self.part.take() else {
            return Err(self.misuse("a part ends that has not begun"));
        };
        let PartSummary { count, digest } = summary;
        let length = self.length - offset;
        self.info.parts.push(PartInfo { name, offset, length, blake3: hasher.finish(), count, digest });
        Ok(())
    }

    fn close(self) -> Result<(), Error> {
        if self.part.is_some() {
            return Err(self.misuse("the stream ends before its last part has"));
        }
        self.end_run();
        self.pipeline.check()?;
        let chunks = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).next;
        check_chunks(&self.info.name, chunks)?;
        // The indexes are known when the backup is committed.
        let record = StreamRecord { info: self.info, length: self.length, chunks, indexes: Vec::new() };
        self.finished.add(record)
    }

    fn end_run(&self) {
        let chunks = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).end_run();
        self.pipeline.submit(chunks);
    }

    fn misuse(&self, problem: &'static str) -> Error {
        Error::Misuse { stream: self.info.name.clone(), problem }
    }

    fn sink_error(&self, error: Error) -> SinkError {
        SinkError { stream: self.info.name.clone(), source: Box::new(error) }
    }
}

fn check_name(of: &str, name: &str) -> Result<(), Error> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    let beginning: String = name.chars().take(40).collect();
    let what = format!("{of} name `{}...` of {} bytes", for_terminal(&beginning), name.len());
    Err(Error::OverLimit { what, limit: format!("{MAX_NAME} bytes") })
}

fn check_chunks(stream: &str, chunks: u32) -> Result<(), Error> {
    if chunks <= MAX_CHUNKS {
        return Ok(());
    }
    let what = format!("the number of chunks of stream `{}`", for_terminal(stream));
    Err(Error::OverLimit { what, limit: MAX_CHUNKS.to_string() })
}

#[async_trait]
impl StreamSink for StreamWriter {
    async fn begin_part(&mut self, name: &str) -> Result<(), SinkError> {
        self.begin(name).map_err(|error| self.sink_error(error))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), SinkError> {
        self.append(bytes).await.map_err(|error| self.sink_error(error))
    }

    async fn end_part(&mut self, summary: PartSummary) -> Result<(), SinkError> {
        self.end(summary).map_err(|error| self.sink_error(error))
    }

    async fn finish(self: Box<Self>) -> Result<(), SinkError> {
        let stream = self.info.name.clone();
        self.close().map_err(|error| SinkError { stream, source: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_more_chunks_than_a_reader_takes_is_refused() {
        assert!(check_chunks("t", MAX_CHUNKS).is_ok());
        let error = check_chunks("t", MAX_CHUNKS + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the number of chunks of stream `t` is over the limit of the repository format: 1048576"
        );
    }
}
