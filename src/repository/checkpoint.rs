//! Checkpoints: index objects written while a backup runs. Each is also its sign of life.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    backend::Backend,
    crypt::Cipher,
    index::{self, MAX_LINES},
    layout,
    objects::put_own,
    pipeline::{OwnLine, Pipeline},
    streams::{IndexRecord, MAX_INDEXES, add_index},
};
use crate::types::{BackupId, Sha256Digest};

/// Writes the indexes of a backup, one after the other.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    backend: Arc<dyn Backend>,
    backup: BackupId,
    cipher: Cipher,
    pipeline: Arc<Pipeline>,
    written: Mutex<Written>,
}

/// The indexes so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Written {
    pub(crate) indexes: Vec<IndexRecord>,
    /// What they hold of each stream.
    pub(crate) streams: HashMap<u32, Lines>,
}

/// The index lines of a stream.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lines {
    pub(crate) count: u64,
    /// Which indexes hold them, as runs.
    pub(crate) runs: Vec<(u32, u32)>,
}

impl Checkpoints {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        (backup, cipher): (BackupId, Cipher),
        pipeline: Arc<Pipeline>,
    ) -> Arc<Self> {
        Arc::new(Self { backend, backup, cipher, pipeline, written: Mutex::default() })
    }

    /// Writes a checkpoint whenever one is due, and one every `every`, until `end` or a failure.
    pub(crate) async fn run(self: Arc<Self>, every: Duration, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = self.pipeline.checkpoint_due.notified() => {}
                () = time::sleep(every) => {}
            }
            if self.beat().await.is_err() {
                return;
            }
        }
    }

    /// Writes one index, even an empty one, and more only while there are lines for a full one: what
    /// comes while it is written waits for the next, or there would be an index for every put.
    async fn beat(&self) -> Result<(), Error> {
        let mut written = self.written.lock().await;
        self.pipeline.check()?;
        self.write_one(&mut written).await?;
        while self.pipeline.waiting_lines() >= MAX_LINES {
            self.write_one(&mut written).await?;
        }
        Ok(())
    }

    /// Stores all lines that wait now.
    pub(crate) async fn write_all(&self) -> Result<(), Error> {
        let mut written = self.written.lock().await;
        self.pipeline.check()?;
        for _ in 0..self.pipeline.waiting_lines().div_ceil(MAX_LINES) {
            self.write_one(&mut written).await?;
        }
        Ok(())
    }

    /// Writes the next index. A failure ends the whole backup, and before anybody else may look: the
    /// lines that were taken are lost.
    async fn write_one(&self, written: &mut Written) -> Result<(), Error> {
        if let Err(error) = self.put_next(written).await {
            self.pipeline.fail(error);
        }
        self.pipeline.check()
    }

    async fn put_next(&self, written: &mut Written) -> Result<(), Error> {
        if written.indexes.len() >= MAX_INDEXES {
            let what = "the number of indexes of a backup".to_owned();
            return Err(Error::OverLimit { what, limit: MAX_INDEXES.to_string() });
        }
        let n = u32::try_from(written.indexes.len()).unwrap_or(u32::MAX);
        let own = self.pipeline.take_lines();
        let (pipeline, cipher) = (Arc::clone(&self.pipeline), self.cipher.clone());
        let (bytes, sha256, streams, count) = tokio::task::spawn_blocking(move || {
            let same = |a: &OwnLine, b: &OwnLine| a.stream() == b.stream();
            let streams: Vec<_> =
                own.chunk_by(same).filter_map(|lines| Some((lines.first()?.stream(), lines.len()))).collect();
            let lines = pipeline.resolve(&own);
            let bytes = index::encode(&lines)?;
            let mut read = 0;
            let mut same = |line| {
                read += usize::from(lines.get(read) == Some(&line));
            };
            let decoded = index::decode(bytes.clone(), &mut same);
            if decoded.is_err() || read != own.len() {
                return Err(Error::Internal("an index reads back differently".to_owned()));
            }
            let bytes = cipher.seal_list(bytes)?;
            let sha256 = Sha256Digest::of(&bytes);
            Ok::<_, Error>((bytes, sha256, streams, own.len()))
        })
        .await??;
        let size = bytes.len() as u64;
        put_own(&*self.backend, &layout::index(&self.backup, n, self.cipher.is_sealed()), bytes).await?;
        for (stream, count) in streams {
            let lines = written.streams.entry(stream).or_default();
            lines.count += count as u64;
            add_index(&mut lines.runs, n);
        }
        let lines = u32::try_from(count).unwrap_or(u32::MAX);
        written.indexes.push(IndexRecord { index: n, size, sha256, lines });
        Ok(())
    }

    /// The indexes so far.
    pub(crate) async fn written(&self) -> Written {
        self.written.lock().await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::OnceLock};

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::repository::{
        backend::{Error as StoreError, Key, Listing, Memory, ObjectMeta, PutOutcome},
        known::KnownChunks,
        pipeline::{Chunk, PipelineOptions, Reusable},
    };

    /// A store during whose puts of indexes another chunk is stored, as by streams that go on.
    #[derive(Debug, Default)]
    struct Busy {
        inner: Memory,
        pipeline: OnceLock<Arc<Pipeline>>,
    }

    #[async_trait]
    impl Backend for Busy {
        fn location(&self) -> &str {
            self.inner.location()
        }
        async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, StoreError> {
            if layout::parse_index(key).is_some() {
                store_chunk(self.pipeline.get().unwrap(), key.as_str()).await;
            }
            self.inner.put_new(key, bytes).await
        }
        async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
            self.inner.get(key, limit).await
        }
        async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
            self.inner.get_range(key, range).await
        }
        async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
            self.inner.head(key).await
        }
        fn list(&self, prefix: &str) -> Listing {
            self.inner.list(prefix)
        }
        async fn delete(&self, key: &Key) -> Result<(), StoreError> {
            self.inner.delete(key).await
        }
    }

    /// Stores a chunk that is like no other; afterwards its line waits.
    async fn store_chunk(pipeline: &Pipeline, text: &str) {
        let held = pipeline.admit(text.len()).await.unwrap();
        pipeline.submit(vec![Chunk { stream: 0, number: 0, plain: text.as_bytes().to_vec(), held }]);
        pipeline.drain().await.unwrap();
    }

    fn busy() -> (Arc<Pipeline>, Arc<Checkpoints>) {
        let (store, backup) = (Arc::new(Busy::default()), BackupId::parse("20261120T020000Z-abcdef").unwrap());
        let options = PipelineOptions {
            backup: backup.clone(),
            cipher: Cipher::Plain,
            level: 1,
            workers: 1,
            pack_bytes: 1 << 20,
            parallel_puts: 1,
            memory: 1 << 20,
            checkpoint_packs: 1_000,
            packs_last: false,
        };
        let reusable = Reusable { known: KnownChunks::default(), packs: Vec::new() };
        let pipeline = Pipeline::start(store.clone(), options, reusable).unwrap();
        store.pipeline.set(Arc::clone(&pipeline)).unwrap();
        (Arc::clone(&pipeline), Checkpoints::new(store, (backup, Cipher::Plain), pipeline))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_that_come_while_a_checkpoint_is_written_wait_for_the_next() {
        let (pipeline, checkpoints) = busy();
        store_chunk(&pipeline, "the first").await;
        for beats in 1..=3 {
            checkpoints.beat().await.unwrap();
            assert_eq!(checkpoints.written().await.indexes.len(), beats);
            assert_eq!(pipeline.waiting_lines(), 1);
        }
        checkpoints.write_all().await.unwrap();
        let indexes = checkpoints.written().await.indexes;
        assert_eq!(indexes.iter().map(|index| index.lines).collect::<Vec<_>>(), [1; 4]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_indexes_are_written_than_a_reader_takes() {
        let (pipeline, checkpoints) = busy();
        checkpoints.beat().await.unwrap();
        {
            let mut written = checkpoints.written.lock().await;
            let index = written.indexes[0].clone();
            written.indexes.resize(MAX_INDEXES - 1, index);
        }
        checkpoints.beat().await.unwrap();
        let error = checkpoints.beat().await.unwrap_err();
        let Error::Stopped(first) = &error else { panic!("{error:?}") };
        assert!(matches!(**first, Error::OverLimit { .. }), "{first:?}");
        assert!(pipeline.check().is_err(), "the backup cannot commit");
    }
}
