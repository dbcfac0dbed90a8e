//! Reading a backup: every chunk is checked before its bytes are used, every part before it counts.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{
    Error, Manifest, Repository,
    ahead::ReadAhead,
    backend::{Backend, Key},
    budget::Budget,
    chunks::{ChunkCache, StreamChunks},
    crypt::Cipher,
    fetch::Recent,
    layout,
    objects::{check_ref, get_exact},
    reuse::blocking,
    streams::{IndexRecord, StreamRecord, Streams},
};
use crate::types::{
    BackupContents, BackupId, Blake3Hasher, ContentsError, PartInfo, PartStream, StreamInfo, for_terminal,
};

/// Bytes that all readers of a backup may hold, plain and stored together.
const MEMORY: u64 = 24 << 20;

/// A backup's contents. A clone reads the same backup within the same memory.
#[derive(Debug, Clone)]
pub struct BackupReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn Backend>,
    backup: BackupId,
    cipher: Cipher,
    streams: Vec<StreamInfo>,
    chunks: ChunkCache,
    budget: Arc<Budget>,
    recent: Arc<Recent>,
}

impl Repository {
    /// Opens a backup's contents: reads and checks the list of its streams.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Damaged`], or what the store says.
    pub async fn read(&self, manifest: &Manifest) -> Result<BackupReader, Error> {
        self.read_within(manifest, MEMORY).await
    }

    /// [`Self::read`], for what reads contents and not only the list of streams: in an encrypted repository, that they
    /// can be opened is known before anything is begun.
    ///
    /// # Errors
    /// Those of [`Self::read`], and [`Error::NoKeys`].
    pub async fn read_contents(&self, manifest: &Manifest) -> Result<BackupReader, Error> {
        let reader = self.read(manifest).await?;
        reader.needs_contents(self.location(), manifest)?;
        Ok(reader)
    }

    /// [`Self::read`] with another bound on the bytes that are held at once.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub async fn read_within(&self, manifest: &Manifest, memory: u64) -> Result<BackupReader, Error> {
        let cipher = self.cipher_of(manifest).await?;
        let key = layout::streams(&manifest.backup, cipher.is_sealed());
        check_ref(&manifest.backup, &key, &manifest.streams)?;
        let bytes = get_exact(&*self.backend, &key, manifest.streams.size, manifest.streams.sha256).await?;
        let Streams { indexes, streams: records } = blocking(&key, {
            let cipher = cipher.clone();
            move || Streams::decode(cipher.open_list(bytes)?)
        })
        .await?;
        let (backend, backup) = (Arc::clone(&self.backend), manifest.backup.clone());
        // A stream's parts are many, and only the reader needs them.
        let apart = |mut record: StreamRecord| {
            let parts = std::mem::take(&mut record.info.parts);
            (StreamInfo { parts, ..record.info.clone() }, record)
        };
        let (streams, records) = records.into_iter().map(apart).unzip();
        let chunks = ChunkCache::new(Arc::clone(&backend), (backup.clone(), cipher.clone()), indexes, records);
        let budget = Budget::new(memory);
        let recent = Arc::default();
        Ok(BackupReader { inner: Arc::new(Inner { backend, backup, cipher, streams, chunks, budget, recent }) })
    }
}

impl BackupReader {
    /// The chunks of a stream, in order.
    pub(super) async fn chunks(&self, stream: u32) -> Result<Arc<StreamChunks>, Error> {
        self.inner.chunks.of(stream).await
    }

    /// Refuses to read contents with keys that open only lists.
    pub(super) fn needs_contents(&self, location: &str, manifest: &Manifest) -> Result<(), Error> {
        match &manifest.epoch {
            Some(epoch) if !self.inner.cipher.opens_contents() => {
                Err(Error::NoKeys { location: location.to_owned(), epoch: epoch.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The names of its indexes, for people.
    pub(super) fn index_names(&self) -> String {
        layout::index_names(&self.inner.backup, self.inner.cipher.is_sealed())
    }

    /// The indexes that no stream names.
    pub(super) fn idle_indexes(&self) -> Vec<IndexRecord> {
        self.inner.chunks.idle_indexes()
    }

    /// The numbers of all its indexes.
    pub(super) fn index_numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.inner.chunks.index_numbers()
    }

    /// The chunks of all streams.
    pub(super) fn chunk_count(&self) -> u64 {
        self.inner.chunks.count()
    }

    /// The bytes of a range of a stream, from proven chunks.
    pub(super) fn range(&self, chunks: Arc<StreamChunks>, offset: u64, length: u64) -> ReadAhead {
        let Inner { backend, budget, recent, cipher, .. } = &*self.inner;
        ReadAhead::new(
            Arc::clone(backend),
            Arc::clone(budget),
            (chunks, Arc::clone(recent), cipher.clone()),
            offset,
            length,
        )
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
        let failed = |error| contents_error(&stream.name, &info.name, error);
        let chunks = self.chunks(stream.number).await.map_err(failed)?;
        let reading = PartReading {
            ahead: self.range(chunks, info.offset, info.length),
            streams: layout::streams(&self.inner.backup, self.inner.cipher.is_sealed()),
            hasher: Blake3Hasher::default(),
            length: 0,
            info: info.clone(),
            ended: false,
        };
        let (name, part_name) = (stream.name.clone(), info.name.clone());
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
    ahead: ReadAhead,
    /// The list that says what the part is.
    streams: Key,
    hasher: Blake3Hasher,
    length: u64,
    info: PartInfo,
    ended: bool,
}

impl PartReading {
    /// The next bytes; an error is the last item, and `None` comes only when all of the part was
    /// what was recorded.
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.ended {
            return None;
        }
        match self.ahead.next().await.map(|piece| piece.bytes) {
            Some(Ok(bytes)) => {
                self.hasher.update(&bytes);
                self.length += bytes.len() as u64;
                Some(Ok(bytes))
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                check_part(&self.streams, &self.info, self.length, &self.hasher).err().map(Err)
            }
        }
    }
}

/// Compares what was read of a part with what is recorded of it.
pub(super) fn check_part(streams: &Key, info: &PartInfo, length: u64, hasher: &Blake3Hasher) -> Result<(), Error> {
    let damaged = |reason: String| {
        let part = for_terminal(&info.name);
        Err(Error::damaged(streams, format!("part `{part}` {reason}")))
    };
    if length != info.length {
        return damaged(format!("has {length} bytes, and {} are recorded", info.length));
    }
    if hasher.finish() != info.blake3 {
        return damaged("does not have the BLAKE3 that is recorded".to_owned());
    }
    Ok(())
}
