//! The objects of a part, one by one: a line each, bounded.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::Value;

use super::{
    RestoreError,
    nested::{self, Read},
};
use crate::types::{BackupContents, PartStream, StreamInfo};

/// A longer line is refused. An API server takes 3 MiB at most.
const MAX_LINE: usize = 16 << 20;

/// What a line holds.
#[derive(Debug)]
pub(super) enum Line {
    /// An object.
    Object(Value),
    /// One of which only the name can be read, and why.
    Unreadable(Value, String),
}

impl Line {
    /// The object's fields, or those that name it.
    pub(super) fn fields(&self) -> &Value {
        match self {
            Self::Object(fields) | Self::Unreadable(fields, _) => fields,
        }
    }
}

/// Reads the lines of one part. [`Lines::next`] may be dropped while it waits; nothing is lost.
pub(in crate::sources::kubernetes) struct Lines {
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
    pub(in crate::sources::kubernetes) async fn open(
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
    pub(in crate::sources::kubernetes) async fn next(&mut self) -> Result<Option<Bytes>, RestoreError> {
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
    pub(super) fn parse(&self, line: &[u8]) -> Result<Line, RestoreError> {
        let Read { object, why_not } =
            nested::read(line).map_err(|error| self.malformed(format!("it is not JSON ({error})")))?;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/apiVersion").is_empty() || text("/kind").is_empty() || text("/metadata/name").is_empty() {
            return Err(self.malformed("it has no apiVersion, kind or name".to_owned()));
        }
        if text("/metadata/namespace") != self.part {
            let namespace = text("/metadata/namespace");
            return Err(self.malformed(format!("it is of namespace `{}`", crate::types::for_terminal(namespace))));
        }
        Ok(match why_not {
            None => Line::Object(object),
            Some(why) => Line::Unreadable(object, why),
        })
    }

    pub(in crate::sources::kubernetes) fn malformed(&self, reason: String) -> RestoreError {
        RestoreError::Malformed { stream: self.stream.clone(), part: self.part.clone(), line: self.line, reason }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{sources::kubernetes::restore::testing::MemoryContents, types::Name};

    fn contents(text: &str) -> MemoryContents {
        let mut contents = MemoryContents::new(&Name::new("s").unwrap(), Vec::new());
        contents.add_text("configmaps", "n", text.to_owned());
        contents
    }

    /// The names of the objects, or what is wrong.
    async fn read(text: &str, piece: usize) -> Result<Vec<String>, String> {
        let mut contents = contents(text);
        contents.piece = piece;
        let mut lines = Lines::open(&contents, &contents.streams()[0], 0).await.unwrap();
        let mut names = Vec::new();
        while let Some(line) = lines.next().await.map_err(|error| error.to_string())? {
            let object = lines.parse(&line).map_err(|error| error.to_string())?;
            names.push(object.fields()["metadata"]["name"].as_str().unwrap().to_owned());
        }
        Ok(names)
    }

    fn line(name: &str) -> String {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}});
        format!("{object}\n")
    }

    #[tokio::test]
    async fn lines_are_found_wherever_the_pieces_end() {
        let text = [line("a"), line("b"), line("c")].concat();
        for piece in [1, 2, 7, text.len() / 3, text.len(), 2 * text.len()] {
            assert_eq!(read(&text, piece).await.unwrap(), ["a", "b", "c"], "{piece}");
        }
        assert!(read("", 5).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_object_is_named_by_its_line() {
        let of_other = line("b").replace("\"n\"", "\"other\"");
        for (second, reason) in [
            ("nonsense\n".to_owned(), "it is not JSON"),
            ("{}\n".to_owned(), "it has no apiVersion, kind or name"),
            (of_other, "it is of namespace `other`"),
            (line("b").trim_end().to_owned(), "its end is missing"),
            (format!("{}\n", "[".repeat(100_000)), "it is not JSON"),
        ] {
            let error = read(&format!("{}{second}", line("a")), 64).await.unwrap_err();
            assert!(error.starts_with("cannot read object 2 of stream `configmaps`, part `n`"), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let error = read(&"x".repeat(MAX_LINE + 10), 1 << 20).await.unwrap_err();
        assert!(error.contains("longer than 16 MiB"), "{error}");
    }
}
