//! Checkpoints: index objects written while a backup runs. Each is also its sign of life.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    backend::Backend,
    index, layout,
    objects::put_own,
    pipeline::Pipeline,
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
    /// Which indexes hold lines of a stream, as runs.
    pub(crate) runs: HashMap<u32, Vec<(u32, u32)>>,
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
            if let Err(error) = self.write(true).await {
                self.pipeline.fail(error);
                return;
            }
        }
    }

    /// Stores all lines that may be stored; with `even_empty`, at least one index.
    pub(crate) async fn write(&self, even_empty: bool) -> Result<(), Error> {
        let mut written = self.written.lock().await;
        let mut must = even_empty;
        while must || self.pipeline.has_lines() {
            must = false;
            self.write_one(&mut written).await?;
        }
        Ok(())
    }

    async fn write_one(&self, written: &mut Written) -> Result<(), Error> {
        let n = u32::try_from(written.indexes.len()).unwrap_or(u32::MAX);
        let own = self.pipeline.take_lines();
        let pipeline = Arc::clone(&self.pipeline);
        let (bytes, sha256, streams, count) = tokio::task::spawn_blocking(move || {
            let mut streams: Vec<_> = own.iter().map(super::pipeline::OwnLine::stream).collect();
            streams.dedup();
            let bytes = index::encode(pipeline.resolve(&own).into_iter())?;
            let sha256 = Sha256Digest::of(&bytes);
            Ok::<_, Error>((bytes, sha256, streams, own.len()))
        })
        .await??;
        let size = bytes.len() as u64;
        put_own(&*self.backend, &layout::index(&self.backup, n), bytes).await?;
        for stream in streams {
            add_index(written.runs.entry(stream).or_default(), n);
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
