//! Reading a backup: every chunk is checked before its bytes are used, every part before it counts.
//!
//! A part is read ahead in order: frames that lie beside each other come in one request, and as many
//! requests are under way as the budget of all readers of this backup allows. The request whose
//! bytes are needed next never waits for the budget, so parts may be read in any order and at any
//! pace without one holding up the other.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::{
    Error, Manifest, Repository,
    backend::Backend,
    budget::{Budget, Held},
    chunks::{ChunkCache, StreamChunks},
    fetch::{self, Fetch},
    layout,
    objects::{check_ref, get_exact},
    reuse::blocking,
    streams::Streams,
};
use crate::types::{
    BackupContents, BackupId, Blake3Hasher, ContentsError, PartInfo, PartStream, StreamInfo, for_terminal,
};

/// Bytes that all readers of a backup may hold, plain and stored together.
const MEMORY: u64 = 32 << 20;
/// Requests under way for one part.
const AHEAD: usize = 16;

/// A backup's contents. A clone reads the same backup within the same memory.
#[derive(Debug, Clone)]
pub struct BackupReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn Backend>,
    backup: BackupId,
    streams: Vec<StreamInfo>,
    chunks: ChunkCache,
    budget: Arc<Budget>,
}

impl Repository {
    /// Opens a backup's contents: reads and checks the list of its streams.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Damaged`], or what the store says.
    pub async fn read(&self, manifest: &Manifest) -> Result<BackupReader, Error> {
        self.read_within(manifest, MEMORY).await
    }

    /// [`Self::read`] with another bound on the bytes that are held at once.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub async fn read_within(&self, manifest: &Manifest, memory: u64) -> Result<BackupReader, Error> {
        let key = layout::streams(&manifest.backup);
        check_ref(&manifest.backup, &key, &manifest.streams)?;
        let bytes = get_exact(&*self.backend, &key, manifest.streams.size, manifest.streams.sha256).await?;
        let Streams { indexes, streams: records } = blocking(&key, move || Streams::decode(bytes)).await?;
        let (backend, backup) = (Arc::clone(&self.backend), manifest.backup.clone());
        let streams = records.iter().map(|record| record.info.clone()).collect();
        let chunks = ChunkCache::new(Arc::clone(&backend), backup.clone(), indexes, records);
        let budget = Budget::new(memory);
        Ok(BackupReader { inner: Arc::new(Inner { backend, backup, streams, chunks, budget }) })
    }
}

impl BackupReader {
    /// The chunks of a stream, in order.
    pub(super) async fn chunks(&self, stream: u32) -> Result<Arc<StreamChunks>, Error> {
        self.inner.chunks.of(stream).await
    }

    pub(super) fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }
}

#[async_trait]
impl BackupContents for BackupReader {
    fn streams(&self) -> &[StreamInfo] {
        &self.inner.streams
    }

    async fn read_part(&self, stream: &StreamInfo, part: usize) -> Result<PartStream, ContentsError> {
        let Some(info) = stream.parts.get(part) else {
            let error = Error::Internal(format!("there is no part {part}"));
            return Err(contents_error(&stream.name, "", error));
        };
        let chunks =
            self.chunks(stream.number).await.map_err(|error| contents_error(&stream.name, &info.name, error))?;
        let inner = Arc::clone(&self.inner);
        let fetches = fetch::plan(&chunks, info.offset, info.length).into();
        let reading = PartReading {
            inner,
            chunks,
            fetches,
            under_way: VecDeque::new(),
            present: None,
            ready: VecDeque::new(),
            hasher: Blake3Hasher::default(),
            length: 0,
            info: info.clone(),
            ended: false,
        };
        let name = stream.name.clone();
        let part_name = info.name.clone();
        let pieces = stream::unfold(reading, |mut reading| async move {
            let piece = reading.next().await?;
            Some((piece, reading))
        });
        Ok(pieces.map(move |piece| piece.map_err(|error| contents_error(&name, &part_name, error))).boxed())
    }
}

fn contents_error(stream: &str, part: &str, error: Error) -> ContentsError {
    ContentsError {
        stream: for_terminal(stream).into_owned(),
        part: for_terminal(part).into_owned(),
        damaged: error.is_damage(),
        source: Box::new(error),
    }
}

/// A part being read.
struct PartReading {
    inner: Arc<Inner>,
    chunks: Arc<StreamChunks>,
    fetches: VecDeque<Fetch>,
    under_way: VecDeque<UnderWay>,
    /// The request whose bytes are being handed on,
    present: Option<UnderWay>,
    /// and those of its bytes that are left.
    ready: VecDeque<Bytes>,
    hasher: Blake3Hasher,
    length: u64,
    info: PartInfo,
    ended: bool,
}

/// A request whose answer is to come; dropped, it is given up.
struct UnderWay {
    task: JoinHandle<Result<Vec<Bytes>, Error>>,
    /// What it takes of the budget until its bytes are handed on.
    _held: Held,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PartReading {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.ended {
            return None;
        }
        let piece = self.piece().await;
        self.ended = !matches!(piece, Ok(Some(_)));
        piece.transpose()
    }

    /// The next bytes; `None` when the part has come whole and is what was recorded.
    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.hasher.update(&bytes);
                self.length += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            self.present = None;
            self.read_ahead();
            let Some(next) = self.under_way.pop_front() else {
                return self.check().map(|()| None);
            };
            let next = self.present.insert(next);
            self.ready.extend((&mut next.task).await??);
        }
    }

    /// Starts requests: one always, more as long as the budget has room.
    fn read_ahead(&mut self) {
        while self.under_way.len() < AHEAD
            && let Some(fetch) = self.fetches.front()
        {
            let held = match self.inner.budget.try_take(fetch.cost()) {
                Some(held) => held,
                None if self.under_way.is_empty() => self.inner.budget.take_anyway(fetch.cost()),
                None => return,
            };
            let Some(fetch) = self.fetches.pop_front() else { return };
            let (backend, chunks) = (Arc::clone(&self.inner.backend), Arc::clone(&self.chunks));
            let task = tokio::spawn(async move {
                let pieces = fetch::run(&backend, &chunks, &fetch).await?;
                // In a part all of it must be right.
                pieces.into_iter().collect()
            });
            self.under_way.push_back(UnderWay { task, _held: held });
        }
    }

    fn check(&self) -> Result<(), Error> {
        let PartInfo { length, blake3, .. } = &self.info;
        let key = layout::streams(&self.inner.backup);
        if self.length != *length {
            return Err(Error::damaged(key, format!("a part has {} bytes, and {length} are recorded", self.length)));
        }
        if self.hasher.finish() != *blake3 {
            return Err(Error::damaged(key, "a part's bytes do not have the BLAKE3 that is recorded"));
        }
        Ok(())
    }
}
