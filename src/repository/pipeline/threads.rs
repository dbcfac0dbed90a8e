//! The threads that compress, and the count of what is on its way.

use std::sync::{Mutex, PoisonError, Weak, mpsc};

use super::{Chunk, Pipeline, state::State};
use crate::repository::{Error, codec::Encoder};

/// What compresses gives way to what feeds it, by so much: on a full machine the source, and the thread that takes its
/// rows, are what a backup waits for, and compressing fits in between.
const NICE: i32 = 5;

/// A compressing thread: ends when the pipeline and with it the sender is gone.
pub(super) fn work(pipeline: &Weak<Pipeline>, chunks: &Mutex<mpsc::Receiver<Chunk>>, mut encoder: Encoder) {
    // Of this thread alone. Where it may not be, it is only not as quick.
    let _niceness = rustix::process::nice(NICE);
    loop {
        let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let (Ok(chunk), Some(pipeline)) = (next, pipeline.upgrade()) else { return };
        let ended = Ended { pipeline: &pipeline, count: |state| &mut state.queued };
        if let Err(error) = pipeline.process(&mut encoder, chunk) {
            pipeline.fail(error);
        }
        drop(ended);
    }
}

/// Counts one piece of work as ended when it is dropped, also by a panic: nobody waits for it in vain.
pub(super) struct Ended<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) count: fn(&mut State) -> &mut usize,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pipeline.fail(Error::Internal("a thread that stores chunks has ended early".to_owned()));
        }
        let mut state = self.pipeline.state();
        let count = (self.count)(&mut state);
        *count = count.saturating_sub(1);
        drop(state);
        self.pipeline.budget.changed.notify_waiters();
    }
}
