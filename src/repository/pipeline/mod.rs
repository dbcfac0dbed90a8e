//! From chunks to packs in the store, inside one budget of bytes.
//!
//! Streams cut chunks ([`super::sink`]); threads hash, compress and prove them; full packs go to
//! the store, a few at once; index lines follow a pack's acknowledgement. Every byte between a
//! source and that acknowledgement is [`Held`]. Who gets no bytes while nothing is on its way that
//! would give some back closes the open pack early, or cuts the stream that holds most: so there
//! is always progress, whatever the sources do.

mod late;
mod state;
mod threads;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Notify, sync::Semaphore};

pub(crate) use self::state::{OwnLine, PackEntry, PipelineOptions};
use self::{
    late::Late,
    state::{ClosedPack, State},
    threads::{Ended, work},
};
use super::{
    Error, Totals,
    backend::Backend,
    budget::{Budget, Held},
    codec::Encoder,
    index::{self, MAX_LINES},
    known::{KnownChunks, Place},
    large::Pool,
    layout,
    refs::Ref,
    sink::Buffer,
};
use crate::types::Sha256Digest;

/// Index lines that may wait for their checkpoint before writers wait too.
const MAX_BACKLOG: usize = 4 * MAX_LINES;

/// The most threads that compress: each has some megabytes of its own, and a store takes no more.
pub(crate) const MAX_WORKERS: usize = 4;

/// A chunk on its way.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) stream: u32,
    pub(crate) number: u32,
    pub(crate) plain: Vec<u8>,
    pub(crate) held: Held,
}

/// What is known when a backup begins.
#[derive(Debug)]
pub(crate) struct Reusable {
    pub(crate) known: KnownChunks,
    pub(crate) packs: Vec<PackEntry>,
}

/// The part of a backup's writing that all its streams share.
#[derive(Debug)]
pub(crate) struct Pipeline {
    backend: Arc<dyn Backend>,
    options: PipelineOptions,
    runtime: Handle,
    budget: Arc<Budget>,
    puts: Semaphore,
    chunks: mpsc::Sender<Chunk>,
    state: Mutex<State>,
    buffers: Mutex<Vec<Weak<Mutex<Buffer>>>>,
    late: Late,
    /// What chunks are cut in.
    pool: Arc<Pool>,
    /// Told when a checkpoint is due before its time.
    pub(crate) checkpoint_due: Notify,
    /// For the tasks that it starts.
    itself: Weak<Self>,
}

impl Pipeline {
    /// Starts the threads. They end when the pipeline is dropped.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        options: PipelineOptions,
        reusable: Reusable,
    ) -> Result<Arc<Self>, Error> {
        let (sender, receiver) = mpsc::channel();
        let workers = options.workers.clamp(1, MAX_WORKERS);
        let encoders = (0..workers).map(|_| Encoder::new(options.level)).collect::<Result<Vec<_>, _>>()?;
        let pipeline = Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            backend,
            runtime: Handle::current(),
            budget: Budget::new(options.memory.max(1)),
            puts: Semaphore::new(options.parallel_puts.max(1)),
            chunks: sender,
            state: Mutex::new(State::new(reusable, options.cipher.clone())),
            buffers: Mutex::default(),
            late: Late::default(),
            pool: Arc::default(),
            checkpoint_due: Notify::new(),
            options,
        });
        let receiver = Arc::new(Mutex::new(receiver));
        for encoder in encoders {
            let (pipeline, receiver) = (Arc::downgrade(&pipeline), Arc::clone(&receiver));
            std::thread::Builder::new()
                .name("drctl-compress".to_owned())
                .spawn(move || work(&pipeline, &receiver, encoder))
                .map_err(|error| Error::Internal(format!("a thread could not be started: {error}")))?;
        }
        Ok(pipeline)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure, if there was one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.state().failure.clone().map_or(Ok(()), |first| Err(Error::Stopped(first)))
    }

    /// Ends all writing: everybody hears of the first failure.
    pub(crate) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert_with(|| Arc::new(error));
        self.budget.changed.notify_waiters();
    }

    /// Sums so far: of chunks and packs; streams are counted when the backup is committed.
    pub(crate) fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Plain bytes of `stream` that were not stored again.
    pub(crate) fn reused_by(&self, stream: u32) -> u64 {
        self.state().reused.get(&stream).copied().unwrap_or_default()
    }

    /// The most bytes that were in flight at once.
    pub(crate) fn most_in_flight(&self) -> u64 {
        self.budget.most()
    }

    /// What chunks are cut in.
    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// How many bytes a stream should ask for at once.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.options.memory / 16).unwrap_or(usize::MAX).clamp(4 << 10, 256 << 10)
    }

    /// Makes a stream's buffer known, so that it can be cut when the budget is used up.
    pub(crate) fn register(&self, buffer: &Arc<Mutex<Buffer>>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.retain(|known| known.strong_count() > 0);
        buffers.push(Arc::downgrade(buffer));
        self.pool.serve(buffers.len());
    }

    /// Waits until `bytes` may be taken in.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<Held, Error> {
        loop {
            let changed = self.budget.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (idle, backlog) = {
                let state = self.state();
                if let Some(first) = &state.failure {
                    return Err(Error::Stopped(Arc::clone(first)));
                }
                (state.queued == 0 && state.uploading == 0, state.lines.len())
            };
            if backlog < MAX_BACKLOG {
                if let Some(held) = self.budget.try_take(bytes as u64) {
                    return Ok(held);
                }
                if idle && !self.relieve() {
                    // Nothing is on its way and nothing could be sent: only a budget smaller than a
                    // piece does that.
                    return Ok(self.budget.take_anyway(bytes as u64));
                }
            }
            changed.await;
        }
    }

    /// Sends something on its way: the open pack, or what the fullest stream holds.
    fn relieve(&self) -> bool {
        if self.close_pack() {
            return true;
        }
        let buffers: Vec<_> = {
            let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            buffers.iter().filter_map(Weak::upgrade).collect()
        };
        let held = |buffer: &Arc<Mutex<Buffer>>| buffer.lock().unwrap_or_else(PoisonError::into_inner).held();
        let Some(fullest) = buffers.iter().max_by_key(|buffer| held(buffer)) else { return false };
        let chunks = fullest.lock().unwrap_or_else(PoisonError::into_inner).end_run();
        let some = !chunks.is_empty();
        self.submit(chunks);
        some
    }

    /// Gives chunks to the threads.
    pub(crate) fn submit(&self, chunks: Vec<Chunk>) {
        if chunks.is_empty() {
            return;
        }
        self.state().queued += chunks.len();
        for chunk in chunks {
            if self.chunks.send(chunk).is_err() {
                self.fail(Error::Internal("the compressing threads have ended".to_owned()));
            }
        }
    }

    /// One chunk, on one of the threads.
    fn process(self: &Arc<Self>, encoder: &mut Encoder, chunk: Chunk) -> Result<(), Error> {
        let Chunk { stream, number, plain, held } = chunk;
        let kept = self.keep(encoder, (stream, number), &plain, held);
        self.pool.give(plain);
        kept
    }

    fn keep(
        self: &Arc<Self>,
        encoder: &mut Encoder,
        (stream, number): (u32, u32),
        plain: &[u8],
        mut held: Held,
    ) -> Result<(), Error> {
        let id = self.options.cipher.chunk_id(plain);
        let length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let line = |place: Place| OwnLine {
            stream,
            chunk: number,
            id,
            place_pack: place.pack,
            offset: place.offset,
            length: place.length,
            plain: length,
        };
        {
            let mut state = self.state();
            if state.failure.is_some() {
                return Ok(());
            }
            state.totals.chunks += 1;
            if let Some(known) = state.known.find(&id) {
                state.refer(known, line(known.place));
                self.tell_of_lines(&state);
                let many = state.lines_of_open_pack() >= MAX_LINES;
                drop(state);
                if many {
                    // The same chunk over and over: its lines wait for a pack that does not fill.
                    self.close_pack();
                }
                return Ok(());
            }
        }
        let frame = encoder.encode(stream, plain)?;
        let full = {
            let mut state = self.state();
            if let Some(known) = state.known.find(&id) {
                // Another thread was faster with an equal chunk.
                state.refer(known, line(known.place));
                None
            } else {
                held.resize(frame.len() as u64);
                let place = state.append(&self.options.backup, frame, held)?;
                state.known.insert(&id, place);
                state.waiting.entry(place.pack).or_default().push(line(place));
                state.totals.new_chunks += 1;
                // Taken out before another thread can append to it: a pack has its largest size.
                if state.open.length() >= self.options.pack_bytes { state.take_pack() } else { None }
            }
        };
        if let Some(full) = full {
            self.send(full);
        }
        Ok(())
    }

    fn tell_of_lines(&self, state: &State) {
        if state.lines.len() >= MAX_LINES {
            self.checkpoint_due.notify_one();
        }
    }

    /// Closes the open pack and sends it. `false` if it has nothing.
    fn close_pack(&self) -> bool {
        let Some(pack) = self.state().take_pack() else { return false };
        self.send(pack)
    }

    fn send(&self, ClosedPack { number, bytes, held }: ClosedPack) -> bool {
        let Some(pipeline) = self.itself.upgrade() else { return false };
        self.runtime.spawn(async move {
            let ended = Ended { pipeline: &pipeline, count: |state| &mut state.uploading };
            let sent = match bytes {
                Ok(bytes) => pipeline.upload(number, bytes).await,
                Err(error) => Err(error),
            };
            // The bytes are free before anybody hears that the upload has ended.
            drop(held);
            if let Err(error) = sent {
                pipeline.fail(error);
            }
            drop(ended);
        });
        true
    }

    async fn upload(&self, number: u32, bytes: Bytes) -> Result<(), Error> {
        let _slot = self.puts.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
        self.check()?;
        let size = bytes.len() as u64;
        let sha256 = {
            let bytes = bytes.clone();
            tokio::task::spawn_blocking(move || Sha256Digest::of(&bytes)).await?
        };
        self.put_pack(layout::pack(&self.options.backup, &sha256), bytes).await?;
        let mut state = self.state();
        if let Some(pack) = state.packs.get_mut(number as usize) {
            (pack.sha256, pack.size) = (sha256, size);
        }
        let lines = state.waiting.remove(&number).unwrap_or_default();
        state.lines.extend(lines);
        state.totals.new_packs += 1;
        state.totals.new_bytes += size;
        state.packs_since_checkpoint += 1;
        if state.packs_since_checkpoint >= self.options.checkpoint_packs || state.lines.len() >= MAX_LINES {
            self.checkpoint_due.notify_one();
        }
        Ok(())
    }

    /// Waits until everything that was submitted is stored.
    pub(crate) async fn drain(&self) -> Result<(), Error> {
        loop {
            let changed = self.budget.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (queued, uploading) = {
                let state = self.state();
                if let Some(first) = &state.failure {
                    return Err(Error::Stopped(Arc::clone(first)));
                }
                (state.queued, state.uploading)
            };
            if queued == 0 && !self.close_pack() && uploading == 0 {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Takes the lines of the next index, sorted, and the rest stays: at most [`MAX_LINES`].
    pub(crate) fn take_lines(&self) -> Vec<OwnLine> {
        let mut lines = self.state().take_lines();
        self.budget.changed.notify_waiters();
        lines.sort_unstable();
        lines
    }

    /// How many lines wait for an index.
    pub(crate) fn waiting_lines(&self) -> usize {
        self.state().lines.len()
    }

    /// `lines` as an index keeps them.
    pub(crate) fn resolve(&self, lines: &[OwnLine]) -> Vec<index::Line> {
        self.state().resolve(lines)
    }

    /// The packs that this backup uses, in order.
    pub(crate) fn refs(&self) -> Vec<Ref> {
        let mut refs = self.state().refs();
        refs.sort_unstable();
        // Two packs with equal bytes are one object: only past the limit of what a backup remembers.
        refs.dedup_by(|later, kept| {
            let same = (&later.backup, later.pack) == (&kept.backup, kept.pack);
            if same {
                kept.used = kept.used.max(later.used);
            }
            same
        });
        refs
    }
}
