//! A backup in memory, for tests.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::types::{BackupContents, Blake3Digest, ContentsError, MediaType, Name, PartInfo, PartStream, StreamInfo};

/// A backup of one source whose streams are held as text.
#[derive(Debug)]
pub struct MemoryContents {
    source: Name,
    streams: Vec<StreamInfo>,
    bytes: Vec<Bytes>,
    /// Bytes of a piece: small, so that lines are cut.
    pub piece: usize,
}

impl MemoryContents {
    /// Streams of `source`: name (`deployments.apps`), and its objects, sorted by namespace and name.
    #[must_use]
    pub fn new(source: &Name, kinds: Vec<(String, Vec<Value>)>) -> Self {
        let mut contents = Self { source: source.clone(), streams: Vec::new(), bytes: Vec::new(), piece: 1000 };
        for (name, mut objects) in kinds {
            objects.sort_by_key(key);
            let mut parts: Vec<(String, String, u64)> = Vec::new();
            for object in &objects {
                let namespace = key(object).0;
                if parts.last().is_none_or(|part| part.0 != namespace) {
                    parts.push((namespace, String::new(), 0));
                }
                if let Some((_, text, count)) = parts.last_mut() {
                    *text += &format!("{object}\n");
                    *count += 1;
                }
            }
            contents.add(name, parts);
        }
        contents
    }

    /// Adds a stream with one part that holds `text`, whatever it is.
    pub fn add_text(&mut self, stream: &str, part: &str, text: String) {
        let count = u64::try_from(text.lines().count()).unwrap_or_default();
        self.add(stream.to_owned(), vec![(part.to_owned(), text, count)]);
    }

    fn add(&mut self, name: String, texts: Vec<(String, String, u64)>) {
        let (mut bytes, mut parts) = (String::new(), Vec::new());
        for (name, text, count) in texts {
            let (offset, length) = (bytes.len(), text.len());
            parts.push(PartInfo {
                name,
                offset: u64::try_from(offset).unwrap_or_default(),
                length: u64::try_from(length).unwrap_or_default(),
                blake3: Blake3Digest::of(text.as_bytes()),
                count,
                digest: None,
            });
            bytes += &text;
        }
        self.streams.push(StreamInfo {
            number: u32::try_from(self.streams.len()).unwrap_or_default(),
            source: self.source.clone(),
            name,
            media_type: MediaType::KubernetesObjects,
            parts,
        });
        self.bytes.push(Bytes::from(bytes));
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

#[async_trait]
impl BackupContents for MemoryContents {
    fn streams(&self) -> &[StreamInfo] {
        &self.streams
    }

    async fn read_part(&self, stream: &StreamInfo, part: usize) -> Result<PartStream, ContentsError> {
        let number = usize::try_from(stream.number).unwrap_or(usize::MAX);
        let all = self.bytes.get(number).cloned().unwrap_or_default();
        let info = stream.parts.get(part).cloned();
        let range = info.map_or(0..0, |info| {
            let start = usize::try_from(info.offset).unwrap_or_default();
            start..start + usize::try_from(info.length).unwrap_or_default()
        });
        let bytes = all.slice(range);
        let size = self.piece.max(1);
        let count = bytes.len().div_ceil(size);
        let pieces = (0..count).map(move |place| Ok(bytes.slice(place * size..((place + 1) * size).min(bytes.len()))));
        Ok(stream::iter(pieces.collect::<Vec<_>>()).boxed())
    }
}
