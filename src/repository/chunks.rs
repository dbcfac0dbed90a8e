//! Where the chunks of a stream lie: read from the indexes, a few of which are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use tokio::sync::Mutex;

use super::{
    Error,
    backend::Backend,
    crypt::Cipher,
    index::{self, Line},
    layout,
    objects::get_exact,
    reuse::blocking,
    streams::{IndexRecord, StreamRecord},
};
use crate::types::{BackupId, Blake3Digest, Sha256Digest};

/// Entries of indexes and of streams that are kept at most, of some 60 bytes each.
const MAX_KEPT: usize = 1 << 17;

/// A pack by name.
pub(crate) type PackName = (BackupId, Sha256Digest);

/// A chunk of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamChunk {
    pub(crate) id: Blake3Digest,
    /// Its pack, in [`StreamChunks::packs`].
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) plain: u32,
    /// Where its plain bytes begin in the stream.
    pub(crate) start: u64,
}

/// All chunks of a stream, in order.
#[derive(Debug, Default)]
pub(crate) struct StreamChunks {
    pub(crate) chunks: Vec<StreamChunk>,
    pub(crate) packs: Vec<PackName>,
}

/// An entry of a decoded index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    stream: u32,
    chunk: u32,
    id: Blake3Digest,
    pack: u32,
    offset: u32,
    length: u32,
    plain: u32,
}

/// A decoded index, sorted by stream and chunk.
#[derive(Debug, Default)]
struct Index {
    entries: Vec<Entry>,
    packs: Vec<PackName>,
}

/// Finds the chunks of a backup's streams.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    backend: Arc<dyn Backend>,
    backup: BackupId,
    cipher: Cipher,
    indexes: Vec<IndexRecord>,
    streams: HashMap<u32, StreamRecord>,
    /// Loaded one at a time, so that readers of many parts do not fetch one index many times.
    loaded: Mutex<Kept<Index>>,
    found: StdMutex<Kept<StreamChunks>>,
}

/// The newest few of something, bounded by the number of entries in all of them.
#[derive(Debug)]
struct Kept<T> {
    newest_last: Vec<(u32, Arc<T>, usize)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { newest_last: Vec::new() }
    }
}

impl<T> Kept<T> {
    fn get(&mut self, key: u32) -> Option<Arc<T>> {
        let at = self.newest_last.iter().position(|(known, ..)| *known == key)?;
        let kept = self.newest_last.remove(at);
        let value = Arc::clone(&kept.1);
        self.newest_last.push(kept);
        Some(value)
    }

    fn put(&mut self, key: u32, value: Arc<T>, entries: usize) {
        self.newest_last.push((key, value, entries));
        let sum = |kept: &[(u32, Arc<T>, usize)]| kept.iter().map(|(.., entries)| entries).sum::<usize>();
        while self.newest_last.len() > 1 && sum(&self.newest_last) > MAX_KEPT {
            self.newest_last.remove(0);
        }
    }
}

impl ChunkCache {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        (backup, cipher): (BackupId, Cipher),
        indexes: Vec<IndexRecord>,
        records: Vec<StreamRecord>,
    ) -> Self {
        let streams = records.into_iter().map(|record| (record.info.number, record)).collect();
        Self { backend, backup, cipher, indexes, streams, loaded: Mutex::default(), found: StdMutex::default() }
    }

    /// The chunks of all streams, as recorded.
    pub(crate) fn count(&self) -> u64 {
        self.streams.values().map(|record| u64::from(record.chunks)).sum()
    }

    /// The numbers of all indexes.
    pub(crate) fn index_numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.indexes.iter().map(|record| record.index)
    }

    /// The indexes that no stream names.
    pub(crate) fn idle_indexes(&self) -> Vec<IndexRecord> {
        // How many runs begin and end before each index.
        let mut changes = vec![0_i64; self.indexes.len() + 1];
        for (first, last) in self.streams.values().flat_map(|record| &record.indexes) {
            for (at, change) in [(*first as usize, 1), (*last as usize + 1, -1)] {
                if let Some(sum) = changes.get_mut(at) {
                    *sum += change;
                }
            }
        }
        let mut open = 0;
        let mut idle = |change: &i64| {
            open += change;
            open == 0
        };
        self.indexes.iter().zip(&changes).filter(|(_, change)| idle(change)).map(|(index, _)| index.clone()).collect()
    }

    /// The chunks of stream `number`.
    pub(crate) async fn of(&self, number: u32) -> Result<Arc<StreamChunks>, Error> {
        let kept = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunks) = kept().get(number) {
            return Ok(chunks);
        }
        let mut loaded = self.loaded.lock().await;
        if let Some(chunks) = kept().get(number) {
            return Ok(chunks);
        }
        let Some(record) = self.streams.get(&number) else {
            return Err(Error::Internal(format!("there is no stream {number}")));
        };
        let mut gatherer = Gatherer::default();
        for n in record.indexes.iter().flat_map(|(first, last)| *first..=*last) {
            let index = match loaded.get(n) {
                Some(index) => index,
                None => {
                    let index = Arc::new(self.load(n).await?);
                    loaded.put(n, Arc::clone(&index), index.entries.len());
                    index
                }
            };
            gatherer.take(number, &index, record.chunks as usize);
        }
        let chunks = gatherer
            .finish(record)
            .map_err(|reason| Error::damaged(layout::index_names(&self.backup, self.cipher.is_sealed()), reason))?;
        let chunks = Arc::new(chunks);
        kept().put(number, Arc::clone(&chunks), chunks.chunks.len());
        Ok(chunks)
    }

    async fn load(&self, n: u32) -> Result<Index, Error> {
        let key = layout::index(&self.backup, n, self.cipher.is_sealed());
        let record = self.indexes.get(n as usize);
        let record = record.ok_or_else(|| Error::damaged(&key, "a stream names it, and it is not listed"))?;
        let bytes = get_exact(&*self.backend, &key, record.size, record.sha256).await?;
        let lines = record.lines as usize;
        let cipher = self.cipher.clone();
        blocking(&key, move || {
            let mut index = Index::default();
            let mut places = HashMap::new();
            index::decode(cipher.open_list(bytes)?, |line| index.take(line, &mut places))?;
            if index.entries.len() != lines {
                return Err(format!("it has {} lines, and {lines} are recorded", index.entries.len()));
            }
            index.entries.sort_unstable_by_key(|entry| (entry.stream, entry.chunk));
            Ok(index)
        })
        .await
    }
}

impl Index {
    fn take(&mut self, line: Line, places: &mut HashMap<PackName, u32>) {
        let Line { stream, chunk, id, backup, pack, offset, length, plain } = line;
        let pack = place_of((backup, pack), &mut self.packs, places);
        self.entries.push(Entry { stream, chunk, id, pack, offset, length, plain });
    }
}

/// The place of a pack in a table, which it is put into if it is new.
fn place_of(name: PackName, packs: &mut Vec<PackName>, places: &mut HashMap<PackName, u32>) -> u32 {
    *places.entry(name).or_insert_with_key(|name| {
        packs.push(name.clone());
        u32::try_from(packs.len() - 1).unwrap_or(u32::MAX)
    })
}

/// Gathers one stream's chunks from several indexes.
#[derive(Debug, Default)]
struct Gatherer {
    entries: Vec<Entry>,
    packs: Vec<PackName>,
    places: HashMap<PackName, u32>,
}

impl Gatherer {
    /// Takes the lines of `stream`: one more than `chunks` at most, which [`Self::finish`] refuses.
    fn take(&mut self, stream: u32, index: &Index, chunks: usize) {
        let begin = index.entries.partition_point(|entry| entry.stream < stream);
        let own = index.entries.iter().skip(begin).take_while(|entry| entry.stream == stream);
        for entry in own.take((chunks + 1).saturating_sub(self.entries.len())) {
            let Some(name) = index.packs.get(entry.pack as usize) else { continue };
            let pack = match self.places.get(name) {
                Some(pack) => *pack,
                None => place_of(name.clone(), &mut self.packs, &mut self.places),
            };
            self.entries.push(Entry { pack, ..*entry });
        }
    }

    /// All chunks in order, none missing and none twice.
    fn finish(mut self, record: &StreamRecord) -> Result<StreamChunks, String> {
        let name = crate::types::for_terminal(&record.info.name);
        self.entries.sort_unstable_by_key(|entry| entry.chunk);
        if self.entries.len() != record.chunks as usize {
            let more = if self.entries.len() > record.chunks as usize { "at least " } else { "" };
            return Err(format!("stream `{name}` has {more}{} of {} chunks", self.entries.len(), record.chunks));
        }
        let mut chunks = Vec::with_capacity(self.entries.len());
        let mut start = 0;
        for (expected, entry) in (0..).zip(&self.entries) {
            let Entry { chunk, id, pack, offset, length, plain, .. } = *entry;
            if chunk != expected {
                return Err(format!("stream `{name}` has no chunk {expected}, or two"));
            }
            chunks.push(StreamChunk { id, pack, offset, length, plain, start });
            start += u64::from(plain);
        }
        if start != record.length {
            return Err(format!("the chunks of stream `{name}` are {start} bytes, and it has {}", record.length));
        }
        Ok(StreamChunks { chunks, packs: self.packs })
    }
}
