//! The border between sources, which know what data means, and the repository, which keeps bytes.
//!
//! A source writes into a [`CaptureSink`] and is restored from [`BackupContents`]. The repository
//! knows neither; `operations` joins them. So a new kind of source touches no storage code, and the
//! format does not change with it.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{Blake3Digest, Name, RowDigest};

/// What the bytes of a stream are. It decides how finely the stream is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// JSON lines, one Kubernetes object each. A part is a namespace's objects (an empty name: cluster-scoped).
    #[serde(rename = "application/vnd.drctl.kubernetes+jsonl")]
    KubernetesObjects,
    /// Small text or JSON for people and tools.
    #[serde(rename = "text/plain")]
    Text,
    /// Rows of a table in PostgreSQL's COPY text form.
    #[serde(rename = "application/vnd.drctl.table")]
    Table,
    /// BSON documents of a collection.
    #[serde(rename = "application/vnd.drctl.collection")]
    Collection,
    /// Opaque bytes.
    #[serde(rename = "application/octet-stream")]
    Blob,
}

/// A stream that a source is about to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The source's name in the policy.
    pub source: Name,
    /// The stream's name, unique within the source: `deployments.apps`, `public.orders`.
    pub name: String,
    /// What its bytes are.
    pub media_type: MediaType,
}

/// What the source itself counted in a part that it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartSummary {
    /// Objects, rows, documents.
    pub count: u64,
    /// Sum over them, where the source has one.
    pub digest: Option<RowDigest>,
}

/// A part as a backup records it: `length` bytes of its stream from `offset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// The part's name: a namespace (empty: cluster-scoped objects), a range of a table.
    pub name: String,
    /// Where it begins, in plain bytes of the stream.
    pub offset: u64,
    /// Its plain bytes.
    pub length: u64,
    /// BLAKE3 over them.
    pub blake3: Blake3Digest,
    /// Objects, rows, documents.
    pub count: u64,
    /// Sum over them, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<RowDigest>,
}

/// A stream as a backup records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its number in the backup.
    pub number: u32,
    /// The source's name in the policy.
    pub source: Name,
    /// The stream's name.
    pub name: String,
    /// What its bytes are.
    pub media_type: MediaType,
    /// Its parts in the order of their offsets; together they are the whole stream.
    pub parts: Vec<PartInfo>,
}

/// Writing failed in the repository. The capture must stop; the text says all there is to say.
#[derive(Debug, thiserror::Error)]
#[error("cannot store stream `{stream}`")]
pub struct SinkError {
    /// The stream that was being written.
    pub stream: String,
    /// What went wrong, an error of the repository.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A part as people name it: one without a name holds what belongs to no namespace.
fn called(part: &str) -> String {
    if part.is_empty() { "cluster-scoped part".to_owned() } else { format!("part `{part}`") }
}

/// Reading from a backup failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read stream `{stream}`, {}", called(.part))]
pub struct ContentsError {
    /// The stream that was being read.
    pub stream: String,
    /// The part that was being read.
    pub part: String,
    /// The data is there but is not what was written (else: it could not be fetched).
    pub damaged: bool,
    /// What went wrong, an error of the repository.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where a source writes its streams. Several streams may be open at once, from several tasks.
#[async_trait]
pub trait CaptureSink: Debug + Send + Sync {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`SinkError`] if the repository refuses it.
    async fn open(&self, spec: StreamSpec) -> Result<Box<dyn StreamSink>, SinkError>;

    /// Forgets the streams of a source that were finished: for a source whose streams belong to one moment,
    /// when it must begin again with another, or is given up. Its open streams are dropped before.
    async fn abandon(&self, source: &Name);
}

/// One stream being written: parts one after the other, then [`StreamSink::finish`].
/// Dropped without it, the stream does not exist: that is how a capture that must begin again
/// (410 Gone, a dead cursor) abandons what it wrote.
#[async_trait]
pub trait StreamSink: Send {
    /// Begins a part; the previous one must have been ended.
    ///
    /// # Errors
    /// [`SinkError`] if the repository can no longer write.
    async fn begin_part(&mut self, name: &str) -> Result<(), SinkError>;

    /// Appends plain bytes to the present part. Waits while too many bytes are in flight.
    ///
    /// # Errors
    /// [`SinkError`] if the repository can no longer write.
    async fn write(&mut self, bytes: Bytes) -> Result<(), SinkError>;

    /// Ends the present part with what the source counted in it.
    ///
    /// # Errors
    /// [`SinkError`] if the repository can no longer write.
    async fn end_part(&mut self, summary: PartSummary) -> Result<(), SinkError>;

    /// Ends the stream: from now on it belongs to the backup.
    ///
    /// # Errors
    /// [`SinkError`] if the repository can no longer write.
    async fn finish(self: Box<Self>) -> Result<(), SinkError>;
}

/// The bytes of a part, in order. Each piece comes from chunks whose ids were checked. After the
/// last piece the part's length and BLAKE3 are checked too, and a mismatch is the last item: a
/// part counts only when the stream has ended without an error.
pub type PartStream = BoxStream<'static, Result<Bytes, ContentsError>>;

/// What a backup holds, for a source to restore from.
#[async_trait]
pub trait BackupContents: Debug + Send + Sync {
    /// All streams of all sources.
    fn streams(&self) -> &[StreamInfo];

    /// The bytes of part `part` (its place in `stream.parts`) of a stream of [`Self::streams`].
    ///
    /// # Errors
    /// [`ContentsError`] if its chunks cannot be found; later errors come in the stream.
    async fn read_part(&self, stream: &StreamInfo, part: usize) -> Result<PartStream, ContentsError>;
}
