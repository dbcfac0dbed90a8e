//! A backup in memory, for tests.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::types::{BackupContents, Blake3Digest, ContentsError, MediaType, Name, PartInfo, PartStream, StreamInfo};

/// A backup of one source whose streams are held as text.
#[derive(Debug)]
pub struct MemoryContents {
    streams: Vec<StreamInfo>,
    bytes: Vec<Bytes>,
    /// Bytes of a piece: small, so that lines are cut.
    pub piece: usize,
}

impl MemoryContents {
    /// Streams of `source`: name (`deployments.apps`), and its objects, sorted by namespace and name.
    #[must_use]
    pub fn new(source: &Name, kinds: Vec<(String, Vec<Value>)>) -> Self {
        let mut contents = Self { streams: Vec::new(), bytes: Vec::new(), piece: 1000 };
        for (number, (name, mut objects)) in (0_u32..).zip(kinds) {
            let key = |object: &Value| {
                let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                (text("/metadata/namespace"), text("/metadata/name"))
            };
            objects.sort_by_key(key);
            let (mut bytes, mut parts) = (Vec::new(), Vec::<PartInfo>::new());
            for object in &objects {
                let namespace = key(object).0;
                if parts.last().is_none_or(|part| part.name != namespace) {
                    let (offset, blake3) = (u64::try_from(bytes.len()).unwrap_or_default(), Blake3Digest::of(b""));
                    parts.push(PartInfo { name: namespace, offset, length: 0, blake3, count: 0, digest: None });
                }
                bytes.extend_from_slice(object.to_string().as_bytes());
                bytes.push(b'\n');
                if let Some(part) = parts.last_mut() {
                    part.count += 1;
                    part.length = u64::try_from(bytes.len()).unwrap_or_default() - part.offset;
                }
            }
            contents.streams.push(StreamInfo {
                number,
                source: source.clone(),
                name,
                media_type: MediaType::KubernetesObjects,
                parts,
            });
            contents.bytes.push(Bytes::from(bytes));
        }
        contents
    }
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
