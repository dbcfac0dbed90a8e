//! How many requests to one cluster are in flight: as many as it takes, and fewer while it says that it is busy.
//!
//! There is no fixed rate: what a server takes depends on the server, and on who else asks it. API Priority and
//! Fairness answers 429 when a client's share is used up, and that is the one sign that is trusted. The number of
//! requests in flight is halved then, at most once for all that were under way together, and grows by one whenever as
//! many were answered as may be in flight: additive increase, multiplicative decrease.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// Requests in flight at most, and at first. An API server creates more small objects a second with so many than with
/// fewer; more than this gains nothing.
pub(super) const MOST: usize = 64;

/// What is known of a cluster's patience. All clones of a client share it.
#[derive(Debug)]
pub(super) struct Flow {
    room: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Permits that are out and are not to come back.
    debt: usize,
    /// How often the limit was lowered. What was sent before the last time says nothing about the limit since then.
    lowered: u64,
    /// Answers since the limit was last changed.
    answered: usize,
    lowest: usize,
    refused: u64,
    /// Since when every answer was that the server is busy.
    busy_since: Option<Instant>,
}

/// How a cluster took the requests of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowReport {
    /// Requests that may be in flight now.
    pub limit: usize,
    /// The fewest that could be in flight at any time.
    pub lowest: usize,
    /// Answers that said that the server is busy. Each such request was sent again.
    pub refused: u64,
}

/// The right to have one request in flight.
#[derive(Debug)]
pub(super) struct Pass<'f> {
    flow: &'f Flow,
    permit: Option<SemaphorePermit<'f>>,
    lowered: u64,
    /// Nobody else could have had one: the limit is what holds the client back.
    full: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Flow {
    fn new(limit: usize) -> Self {
        let state = State { limit, debt: 0, lowered: 0, answered: 0, lowest: limit, refused: 0, busy_since: None };
        Self { room: Semaphore::new(limit), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may be in flight. Who waits longest is next.
    pub(super) async fn pass(&self) -> Pass<'_> {
        // The semaphore is never closed; without a permit the request would only go unbounded.
        let permit = self.room.acquire().await.ok();
        Pass { flow: self, permit, lowered: self.state().lowered, full: self.room.available_permits() == 0 }
    }

    /// For how long every answer has been that the server is busy; zero if the last one was another.
    pub(super) fn busy_for(&self) -> Duration {
        self.state().busy_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn report(&self) -> FlowReport {
        let state = self.state();
        FlowReport { limit: state.limit, lowest: state.lowest, refused: state.refused }
    }

    fn lower(&self, state: &mut State) {
        let limit = (state.limit / 2).max(1);
        let surplus = state.limit - limit;
        state.debt += surplus - self.room.forget_permits(surplus);
        (state.limit, state.lowest) = (limit, state.lowest.min(limit));
        (state.lowered, state.answered) = (state.lowered + 1, 0);
        tracing::debug!(limit, "the API server is busy; fewer requests are in flight");
    }

    fn raise(&self, state: &mut State) {
        (state.limit, state.answered) = (state.limit + 1, 0);
        match state.debt.checked_sub(1) {
            Some(debt) => state.debt = debt,
            None => self.room.add_permits(1),
        }
    }
}

impl Pass<'_> {
    /// The request was answered; `busy` says that the server could not take it now.
    pub(super) fn answered(self, busy: bool) {
        let mut state = self.flow.state();
        let current = self.lowered == state.lowered;
        if busy {
            state.refused += 1;
            state.busy_since.get_or_insert_with(Instant::now);
            if current {
                self.flow.lower(&mut state);
            }
            return;
        }
        state.busy_since = None;
        if current && self.full && state.limit < MOST {
            state.answered += 1;
            if state.answered >= state.limit {
                self.flow.raise(&mut state);
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut state = self.flow.state();
        match state.debt.checked_sub(1) {
            Some(debt) => {
                state.debt = debt;
                permit.forget();
            }
            None => drop(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn all(flow: &Flow) -> Vec<Pass<'_>> {
        // A task of the runtime may wait so often only before it has to give way; this one does not wait.
        std::iter::from_fn(|| tokio::task::unconstrained(flow.pass()).now_or_never()).collect()
    }

    #[tokio::test]
    async fn the_limit_is_halved_once_for_all_that_were_under_way_together() {
        let flow = Flow::new(16);
        let passes = all(&flow);
        assert_eq!(passes.len(), 16);
        passes.into_iter().for_each(|pass| pass.answered(true));
        assert_eq!(flow.report(), FlowReport { limit: 8, lowest: 8, refused: 16 });
        assert_eq!(all(&flow).len(), 8, "and no more than that are in flight");
    }

    #[tokio::test]
    async fn it_grows_by_one_for_a_limit_full_of_answers_and_ends_at_the_most() {
        let flow = Flow::new(4);
        all(&flow).into_iter().for_each(|pass| pass.answered(false));
        assert_eq!(flow.report().limit, 4, "three of four had not filled it");
        for _ in 0..4 {
            let mut passes = all(&flow);
            passes.pop().unwrap().answered(false);
        }
        assert_eq!(flow.report().limit, 5);
        for _ in 0..10_000 {
            let mut passes = all(&flow);
            passes.pop().unwrap().answered(false);
        }
        assert_eq!((flow.report().limit, all(&flow).len()), (MOST, MOST));
    }

    #[tokio::test]
    async fn a_client_that_has_less_in_flight_than_it_may_learns_nothing() {
        let flow = Flow::new(4);
        for _ in 0..100 {
            flow.pass().await.answered(false);
        }
        assert_eq!(flow.report().limit, 4);
    }

    #[tokio::test]
    async fn one_request_is_always_allowed() {
        let flow = Flow::new(4);
        for _ in 0..10 {
            flow.pass().await.answered(true);
        }
        assert_eq!(flow.report(), FlowReport { limit: 1, lowest: 1, refused: 10 });
        assert_eq!(all(&flow).len(), 1);
    }

    #[tokio::test]
    async fn how_long_a_server_has_been_busy_is_counted_from_its_last_other_answer() {
        let flow = Flow::new(4);
        assert_eq!(flow.busy_for(), Duration::ZERO);
        flow.pass().await.answered(true);
        let since = flow.state().busy_since;
        flow.pass().await.answered(true);
        assert!(since.is_some() && flow.state().busy_since == since);
        flow.pass().await.answered(false);
        assert_eq!(flow.busy_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_gives_its_place_back() {
        let flow = Flow::new(2);
        drop(flow.pass().await);
        let kept = flow.pass().await;
        flow.pass().await.answered(true);
        drop(kept);
        assert_eq!(all(&flow).len(), 1);
    }

    proptest! {
        /// Whatever is answered in whatever order, exactly as many may be in flight as the limit says.
        #[test]
        fn the_places_are_those_of_the_limit(steps in proptest::collection::vec((0_usize..8, any::<bool>()), 0..200)) {
            let flow = Flow::new(8);
            let mut out: Vec<Pass<'_>> = Vec::new();
            for (which, busy) in steps {
                if which % 2 == 0 {
                    out.extend(tokio::task::unconstrained(flow.pass()).now_or_never());
                } else if !out.is_empty() {
                    out.swap_remove(which % out.len()).answered(busy);
                }
                let limit = flow.report().limit;
                prop_assert!((1..=MOST).contains(&limit));
                let free = flow.room.available_permits();
                prop_assert!(free + out.len() >= limit, "{free} free and {} out of {limit}", out.len());
                prop_assert!(free == 0 || free + out.len() == limit);
            }
            out.clear();
            prop_assert_eq!(all(&flow).len(), flow.report().limit);
        }
    }
}
