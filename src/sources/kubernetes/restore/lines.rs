//! The objects of a part, one by one: a line each, bounded.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::Value;

use super::RestoreError;
use crate::types::{BackupContents, PartStream, StreamInfo};

/// A longer line is refused. An API server takes 3 MiB at most.
const MAX_LINE: usize = 16 << 20;

/// Reads the lines of one part. [`Lines::next`] may be dropped while it waits; nothing is lost.
pub(super) struct Lines {
    bytes: PartStream,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line end.
    searched: usize,
    ended: bool,
    stream: String,
    part: String,
    line: u64,
}

impl Lines {
    pub(super) async fn open(
        contents: &dyn BackupContents,
        stream: &StreamInfo,
        part: usize,
    ) -> Result<Self, RestoreError> {
        let name = stream.parts.get(part).map(|part| part.name.clone()).unwrap_or_default();
        Ok(Self {
            bytes: contents.read_part(stream, part).await?,
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
            stream: stream.name.clone(),
            part: name,
            line: 0,
        })
    }

    /// The next line without its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RestoreError> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                self.line += 1;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                self.line += 1;
                return Err(self.malformed(format!("it is longer than {} MiB", MAX_LINE >> 20)));
            }
            if self.ended {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    self.line += 1;
                    Err(self.malformed("its end is missing".to_owned()))
                };
            }
            match self.bytes.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => self.ended = true,
            }
        }
    }

    /// A line as an object with a name.
    pub(super) fn parse(&self, line: &[u8]) -> Result<Value, RestoreError> {
        let object: Value =
            serde_json::from_slice(line).map_err(|error| self.malformed(format!("it is not JSON ({error})")))?;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/apiVersion").is_empty() || text("/kind").is_empty() || text("/metadata/name").is_empty() {
            return Err(self.malformed("it has no apiVersion, kind or name".to_owned()));
        }
        if text("/metadata/namespace") != self.part {
            let namespace = text("/metadata/namespace");
            return Err(self.malformed(format!("it is of namespace `{}`", crate::types::for_terminal(namespace))));
        }
        Ok(object)
    }

    fn malformed(&self, reason: String) -> RestoreError {
        RestoreError::Malformed { stream: self.stream.clone(), part: self.part.clone(), line: self.line, reason }
    }
}
