//! A range of a stream read ahead, in order.

use std::{collections::VecDeque, sync::Arc};

use tokio::task::JoinHandle;

use super::{
    Error,
    backend::Backend,
    budget::{Budget, Held},
    chunks::StreamChunks,
    crypt::Cipher,
    fetch::{self, Fetch, Piece, Recent},
};

/// Requests under way for one range.
const AHEAD: usize = 8;

/// Reads a range of a stream. Frames that lie beside each other come in one request, and as many
/// requests are under way as the budget allows. The one whose bytes are needed next never waits for
/// the budget: so several ranges may be read in any order and at any pace, and none holds up another.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    backend: Arc<dyn Backend>,
    budget: Arc<Budget>,
    chunks: Arc<StreamChunks>,
    recent: Arc<Recent>,
    cipher: Cipher,
    fetches: VecDeque<Fetch>,
    under_way: VecDeque<UnderWay>,
    /// The request whose bytes are being handed on,
    present: Option<UnderWay>,
    /// and those of its bytes that are left.
    ready: VecDeque<Piece>,
    /// Stored bytes that were asked for so far.
    requested: u64,
}

/// A request whose answer is to come; dropped, it is given up.
#[derive(Debug)]
struct UnderWay {
    task: JoinHandle<Vec<Piece>>,
    /// What it takes of the budget until its bytes are handed on.
    _held: Held,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ReadAhead {
    /// Reads `length` bytes of a stream from `offset`.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        budget: Arc<Budget>,
        (chunks, recent, cipher): (Arc<StreamChunks>, Arc<Recent>, Cipher),
        offset: u64,
        length: u64,
    ) -> Self {
        let fetches = fetch::plan(&chunks, offset, length).into();
        let (under_way, ready) = (VecDeque::new(), VecDeque::new());
        Self { backend, budget, chunks, recent, cipher, fetches, under_way, present: None, ready, requested: 0 }
    }

    /// The next bytes, from chunks that were proven, or what is wrong with the chunk or the request
    /// that has them; one may go on after an error. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            self.present = None;
            self.start();
            let next = self.under_way.pop_front()?;
            let next = self.present.insert(next);
            match (&mut next.task).await {
                Ok(pieces) => self.ready.extend(pieces),
                Err(error) => return Some(Piece { length: 0, bytes: Err(Error::from(error)) }),
            }
        }
    }

    /// Stored bytes that were asked for so far.
    pub(crate) fn requested(&self) -> u64 {
        self.requested
    }

    /// Starts requests: one always, more as long as the budget has room.
    fn start(&mut self) {
        while self.under_way.len() < AHEAD
            && let Some(fetch) = self.fetches.front()
        {
            let held = match self.budget.try_take(fetch.cost()) {
                Some(held) => held,
                None if self.under_way.is_empty() => self.budget.take_anyway(fetch.cost()),
                None => return,
            };
            let Some(fetch) = self.fetches.pop_front() else { return };
            self.requested += fetch.stored_bytes();
            let (backend, recent) = (Arc::clone(&self.backend), Arc::clone(&self.recent));
            let cipher = self.cipher.clone();
            let chunks = Arc::clone(&self.chunks);
            let task = tokio::spawn(async move { fetch::run(&backend, &chunks, (&recent, &cipher), &fetch).await });
            self.under_way.push_back(UnderWay { task, _held: held });
        }
    }
}
