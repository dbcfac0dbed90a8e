//! Checkpoints: index objects written while a backup runs. Each is also its sign of life.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    backend::Backend,
    index, layout,
    objects::put_own,
    pipeline::{OwnLine, Pipeline},
    streams::{IndexRecord, add_index},
};
use crate::types::{BackupId, Sha256Digest};

/// Writes the indexes of a backup, one after the other.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    backend: Arc<dyn Backend>,
    backup: BackupId,
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
    pub(crate) fn new(backend: Arc<dyn Backend>, backup: BackupId, pipeline: Arc<Pipeline>) -> Arc<Self> {
        Arc::new(Self { backend, backup, pipeline, written: Mutex::default() })
    }

    /// Writes a checkpoint whenever one is due, and one every `every`, until `end` or a failure.
    pub(crate) async fn run(self: Arc<Self>, every: Duration, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = self.pipeline.checkpoint_due.notified() => {}
                () = time::sleep(every) => {}
            }
            if self.write(true).await.is_err() {
                return;
            }
        }
    }

    /// Stores all lines that may be stored; with `even_empty`, at least one index. A failure ends
    /// the whole backup, and before anybody else may look: the lines that were taken are lost.
    pub(crate) async fn write(&self, even_empty: bool) -> Result<(), Error> {
        let mut written = self.written.lock().await;
        self.pipeline.check()?;
        let mut must = even_empty;
        while must || self.pipeline.has_lines() {
            must = false;
            if let Err(error) = self.write_one(&mut written).await {
                self.pipeline.fail(error);
                return self.pipeline.check();
            }
        }
        Ok(())
    }

    async fn write_one(&self, written: &mut Written) -> Result<(), Error> {
        let n = u32::try_from(written.indexes.len()).unwrap_or(u32::MAX);
        let own = self.pipeline.take_lines();
        let pipeline = Arc::clone(&self.pipeline);
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
            let sha256 = Sha256Digest::of(&bytes);
            Ok::<_, Error>((bytes, sha256, streams, own.len()))
        })
        .await??;
        let size = bytes.len() as u64;
        put_own(&*self.backend, &layout::index(&self.backup, n), bytes).await?;
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
