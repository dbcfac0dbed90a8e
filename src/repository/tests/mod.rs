//! Whole backups over a store in memory.

mod catalog;
mod chain;
mod copy;
mod copy_mends;
mod copy_spoilt;
mod copy_waits;
mod crash;
mod crypt;
mod damage;
mod evidence;
mod flow;
mod histories;
mod hostile;
mod mark_names;
mod model;
mod protocol;
mod prune;
mod prune_locks;
mod prune_trust;
mod round_trip;
mod server;
mod sharing;
mod tombstones;
mod vouched;
mod way_back;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;

use super::{
    BackupWriter, BeginOptions, CommitOutcome, ManifestDraft, Repository, StoredManifest,
    backend::{Backend, Key, Memory},
    crypt::{Access, Epoch, Identity},
};
use crate::types::{
    BackupContents, CaptureSink, Clock, MediaType, Name, PartSummary, SetClock, SinkError, State, StreamSpec,
};

/// A stream of a test: its name, what it is, and its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestStream {
    pub(super) name: String,
    pub(super) media_type: MediaType,
    pub(super) parts: Vec<(String, Vec<u8>)>,
}

impl TestStream {
    pub(super) fn new(name: &str, media_type: MediaType, parts: &[(&str, &[u8])]) -> Self {
        let parts = parts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        Self { name: name.to_owned(), media_type, parts }
    }
}

/// A repository of a test, with a clock that it shares with its store.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) clock: Arc<SetClock>,
    pub(super) store: Memory,
    /// The keys that its repository is opened with.
    pub(super) access: Access,
}

/// What a cluster holds to write backups of `epoch`.
pub(super) fn of_cluster(epoch: &Epoch) -> Access {
    Access {
        epoch: Some(epoch.name()),
        id_key: Some(epoch.held_id_key()),
        index_identity: Some(epoch.index_identity.clone()),
        ..Access::default()
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl Bench {
    /// An empty repository.
    pub(super) async fn new() -> Self {
        let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
        let store = Memory::new(clock.clone());
        Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
        Self { clock, store, access: Access::default() }
    }

    /// An empty repository that is encrypted, opened with what a cluster holds; and the identity of its recipient.
    pub(super) async fn encrypted() -> (Self, Identity) {
        let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
        let store = Memory::new(clock.clone());
        let (reader, epoch) = (Identity::generate(), Epoch::generate());
        Repository::init_encrypted(Arc::new(store.clone()), &*clock, &epoch, &[reader.recipient()]).await.unwrap();
        (Self { clock, store, access: of_cluster(&epoch) }, reader)
    }

    pub(super) async fn open(&self) -> Repository {
        self.open_on(Arc::new(self.store.clone())).await
    }

    pub(super) async fn open_on(&self, backend: Arc<dyn Backend>) -> Repository {
        Repository::open(backend).await.unwrap().with_access(self.access.clone())
    }

    /// Lets time pass.
    pub(super) fn pass(&self, hours: i64) {
        self.clock.set(self.clock.now() + jiff::SignedDuration::from_hours(hours));
    }

    pub(super) fn options(&self) -> BeginOptions {
        BeginOptions {
            parallel_puts: 2,
            workers: 2,
            ..BeginOptions::new(name("orders"), name("daily"), vec![name("services")], self.clock.clone())
        }
    }

    /// A whole backup of `streams`, an hour after the last thing that happened.
    pub(super) async fn backup(&self, streams: &[TestStream]) -> StoredManifest {
        self.pass(1);
        let writer = self.open().await.begin(self.options()).await.unwrap();
        write(&writer, streams).await.unwrap();
        committed(writer.commit(draft(streams)).await.unwrap())
    }

    /// The keys that begin with `prefix`.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.store.keys();
        keys.iter().map(|key| key.as_str().to_owned()).filter(|key| key.starts_with(prefix)).collect()
    }
}

/// Stores an object that no run has put.
pub(super) async fn put(bench: &Bench, key: &Key, bytes: impl Into<Bytes>) {
    bench.store.put_new(key, bytes.into()).await.unwrap();
}

pub(super) fn committed(outcome: CommitOutcome) -> StoredManifest {
    match outcome {
        CommitOutcome::Committed(stored) => *stored,
        CommitOutcome::Fenced => panic!("fenced"),
    }
}

/// A complete backup's draft, with one source that holds all of `streams`.
pub(super) fn draft(streams: &[TestStream]) -> ManifestDraft {
    let parts = streams.iter().flat_map(|stream| &stream.parts);
    let bytes = parts.map(|(_, bytes)| bytes.len() as u64).sum();
    let total = super::GroupTotal { count: 1, restorable: 1, bytes };
    let source = super::SourceEntry {
        name: name("services"),
        kind: "kubernetes".to_owned(),
        consistency: "per-kind".to_owned(),
        server: "Kubernetes v1.36.0".to_owned(),
        moment: None,
        total,
        groups: vec![super::GroupEntry { name: "payments".to_owned(), total }],
        groups_omitted: 0,
        volumes: None,
    };
    ManifestDraft { sources: vec![source], ..ManifestDraft::new(State::Complete) }
}

/// Writes `streams`, all at once.
pub(super) async fn write(writer: &BackupWriter, streams: &[TestStream]) -> Result<(), SinkError> {
    futures::future::try_join_all(streams.iter().map(|stream| write_stream(writer, stream))).await.map(drop)
}

async fn write_stream(writer: &BackupWriter, stream: &TestStream) -> Result<(), SinkError> {
    let (source, name) = (name("services"), stream.name.clone());
    let mut sink = writer.open(StreamSpec { source, name, media_type: stream.media_type }).await?;
    for (name, bytes) in &stream.parts {
        sink.begin_part(name).await?;
        for piece in bytes.chunks(100_000) {
            sink.write(Bytes::copy_from_slice(piece)).await?;
        }
        sink.end_part(PartSummary { count: bytes.iter().filter(|b| **b == b'\n').count() as u64, digest: None })
            .await?;
    }
    sink.finish().await
}

/// All that a backup holds, by name of the stream.
pub(super) async fn contents(repository: &Repository, stored: &StoredManifest) -> BTreeMap<String, TestStream> {
    let reader = repository.read(&stored.manifest).await.unwrap();
    let mut all = BTreeMap::new();
    for stream in reader.streams() {
        let mut parts = Vec::new();
        for (at, part) in stream.parts.iter().enumerate() {
            let pieces: Vec<Bytes> = reader.read_part(stream, at).await.unwrap().try_collect().await.unwrap();
            parts.push((part.name.clone(), pieces.concat()));
        }
        let read = TestStream { name: stream.name.clone(), media_type: stream.media_type, parts };
        all.insert(stream.name.clone(), read);
    }
    all
}

/// One stream of random bytes.
pub(super) fn small(seed: u64) -> Vec<TestStream> {
    vec![TestStream::new("configmaps", MediaType::Text, &[("a", &noise(seed, 300_000))])]
}

pub(super) fn by_name(streams: &[TestStream]) -> BTreeMap<String, TestStream> {
    streams.iter().map(|stream| (stream.name.clone(), stream.clone())).collect()
}

/// Bytes that do not compress and repeat only for an equal `seed`.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        // xorshift64*: many megabytes of it are needed, by a program that is not optimised.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Polls until `condition` is true.
///
/// # Panics
/// After a minute, saying what was waited for.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within a minute");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
