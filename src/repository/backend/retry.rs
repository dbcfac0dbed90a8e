//! Trying again, in one place for all stores that are reached over a network.
//!
//! The client libraries' own retries are off: they do not cover the reading of a body or a
//! create-only put that lost a race, and they share one budget among unrelated calls.
//!
//! Every call of a [`super::Backend`] is safe to repeat. A put is create-only, so a repeated one
//! cannot overwrite; if the first was carried out and only its answer was lost, the second says
//! `Exists`, as the contract has it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{ErrorKind, failure::Failure};

/// How patient the calls on a store are.
#[derive(Debug)]
pub(super) struct Patience {
    /// How long a server may take for an answer without a body. Bytes come on top, see [`Patience::for_bytes`].
    pub(super) answer: Duration,
    /// How many attempts there are at most.
    pub(super) attempts: u32,
    /// After this no further attempt begins.
    pub(super) give_up: Duration,
    /// The pause after the first attempt; each later one is up to twice as long as the one before.
    pub(super) pause: Duration,
    /// Whether a call has succeeded, or been refused for good: then the store is there, and is
    /// worth waiting for. Before that, a mistake in its address is more likely than an outage.
    pub(super) reached: AtomicBool,
    /// After this time without an answer, and again each time it has passed, a line says so.
    pub(super) say_after: Duration,
    /// When the store last answered a call, or that it does not was last said.
    pub(super) heard: Mutex<Option<Instant>>,
}

/// How many attempts there are on a store that has not been reached.
const FIRST_CONTACT: u32 = 4;

/// The slowest transfer that is not yet a stall, in bytes a second: a pack of 16 MiB beside seven
/// others over 8 Mbit/s.
const SLOWEST: u64 = 128 << 10;
/// A person who sees nothing for longer takes the program for dead.
const SAY_AFTER: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A busy store is waited for as long as it asks, up to this.
const LONGEST_WISH: Duration = Duration::from_secs(30);

impl Patience {
    /// Attempts that wait `answer` for an answer; a call whose server never answers ends after
    /// some five times that, or twice if it has never answered.
    pub(super) fn new(answer: Duration) -> Self {
        Self {
            answer,
            attempts: 16,
            give_up: answer.saturating_mul(4),
            pause: Duration::from_millis(200),
            reached: AtomicBool::new(false),
            say_after: SAY_AFTER,
            heard: Mutex::default(),
        }
    }

    /// How long one attempt that moves `bytes` may take.
    pub(super) fn for_bytes(&self, bytes: u64) -> Duration {
        self.answer.saturating_add(Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST))
    }

    /// Does `attempt`, and does it again while it fails for a reason that may pass. The last
    /// failure says how often it was tried.
    pub(super) async fn persist<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let begin = Instant::now();
        let mut attempts = 1;
        loop {
            let failure = match self.impatient(begin, attempts, attempt()).await {
                Ok(value) => {
                    self.reached.store(true, Ordering::Relaxed);
                    *self.heard() = Some(Instant::now());
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            self.reached.fetch_or(!failure.passing, Ordering::Relaxed);
            let most = if self.reached.load(Ordering::Relaxed) { self.attempts } else { FIRST_CONTACT };
            let asked = failure.after.unwrap_or_default().min(LONGEST_WISH);
            let pause = self.pause_after(attempts).max(asked);
            // A store that has never answered is given a second chance and no more: its address may be wrong.
            let stranger = failure.kind == ErrorKind::TimedOut && !self.reached.load(Ordering::Relaxed);
            let give_up = if stranger { self.answer.mul_f32(1.5) } else { self.give_up };
            let over = attempts >= most || begin.elapsed().saturating_add(pause) >= give_up;
            if !failure.passing || over {
                return Err(told(failure, attempts, begin.elapsed()));
            }
            tracing::debug!(attempt = attempts, reason = %crate::types::for_terminal(&failure.reason), "trying again");
            sleep(pause).await;
            attempts += 1;
        }
    }

    /// Waits for `attempt`, and says so every now and then: a person must not take a store that does not
    /// answer for a drctl that does nothing.
    async fn impatient<T>(
        &self,
        begin: Instant,
        attempts: u32,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut attempt = std::pin::pin!(attempt);
        loop {
            if let Ok(ended) = timeout(self.say_after, &mut attempt).await {
                return ended;
            }
            if self.may_say() {
                let seconds = begin.elapsed().as_secs();
                tracing::warn!("the store has not answered for {seconds} s (attempt {attempts}); still waiting");
            }
        }
    }

    /// Whether no call was answered and nobody has said so for as long: many calls wait for one store, and a
    /// large object may take its time.
    fn may_say(&self) -> bool {
        let mut heard = self.heard();
        let may = heard.is_none_or(|heard| heard.elapsed() >= self.say_after);
        if may {
            *heard = Some(Instant::now());
        }
        may
    }

    fn heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Doubling, of which a random part is taken: callers that failed together do not come back together.
    fn pause_after(&self, attempts: u32) -> Duration {
        let doubled = self.pause.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        doubled.min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// The answer of `call`, or that there was none in time. `what` is what was waited for.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, call).await.unwrap_or_else(|_| {
        let (seconds, decimals) = (limit.as_secs_f32(), usize::from(limit < Duration::from_secs(2)));
        Err(Failure::new(ErrorKind::TimedOut, format!("no {what} in {seconds:.decimals$} s")).passing())
    })
}

fn told(failure: Failure, attempts: u32, elapsed: Duration) -> Failure {
    if attempts == 1 {
        return failure;
    }
    let reason = format!("{} (tried {attempts} times in {:.0} s)", failure.reason, elapsed.as_secs_f32());
    Failure { reason, ..failure }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn patience() -> Patience {
        let milliseconds = Duration::from_millis;
        Patience {
            answer: milliseconds(100),
            attempts: 6,
            give_up: milliseconds(2000),
            pause: milliseconds(8),
            reached: AtomicBool::new(true),
            say_after: milliseconds(40),
            heard: Mutex::default(),
        }
    }

    /// What becomes of a call whose first `failing` attempts fail, and how often it was tried.
    async fn tries(patience: &Patience, failing: u32, passing: bool) -> (Result<u32, Failure>, u32) {
        let count = Cell::new(0);
        let result = patience
            .persist(|| {
                count.set(count.get() + 1);
                let now = count.get();
                let failure = Failure { passing, ..Failure::new(ErrorKind::Unreachable, "refused") };
                async move { if now <= failing { Err(failure) } else { Ok(now) } }
            })
            .await;
        (result, count.get())
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_after_pauses_until_it_succeeds() {
        let begin = Instant::now();
        let (result, count) = tries(&patience(), 3, true).await;
        assert_eq!((result.unwrap(), count), (4, 4));
        assert!(begin.elapsed() >= Duration::from_millis(4 + 8 + 16), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_store_that_asks_to_wait_is_waited_for() {
        let patience = patience();
        let begin = Instant::now();
        let count = Cell::new(0);
        let answered = patience.persist(|| {
            count.set(count.get() + 1);
            let busy = Failure::new(ErrorKind::Other, "busy").passing().asked_to_wait(Some("1"));
            let first = count.get() == 1;
            async move { if first { Err(busy) } else { Ok(()) } }
        });
        answered.await.unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        for no_wish in [None, Some("Fri, 20 Nov 2026 02:00:00 GMT"), Some("-1")] {
            assert_eq!(Failure::new(ErrorKind::Other, "busy").asked_to_wait(no_wish).after, None);
        }
    }

    #[tokio::test]
    async fn what_will_not_pass_is_not_tried_again() {
        let (result, count) = tries(&patience(), 3, false).await;
        assert_eq!((result.unwrap_err().reason.as_str(), count), ("refused", 1));
    }

    #[tokio::test]
    async fn attempts_end_by_number_and_the_failure_says_so() {
        let (result, count) = tries(&patience(), u32::MAX, true).await;
        assert_eq!(count, 6);
        assert!(result.unwrap_err().reason.starts_with("refused (tried 6 times in "));
    }

    #[tokio::test]
    async fn a_store_that_was_never_reached_is_given_up_earlier() {
        let never = Patience { reached: AtomicBool::new(false), ..patience() };
        assert_eq!(tries(&never, u32::MAX, true).await.1, FIRST_CONTACT);
        assert_eq!(tries(&never, 2, true).await.1, 3);
        assert_eq!(tries(&never, u32::MAX, true).await.1, 6, "it has answered once");
        let refused = Patience { reached: AtomicBool::new(false), ..patience() };
        assert_eq!(tries(&refused, 1, false).await.1, 1);
        assert_eq!(tries(&refused, u32::MAX, true).await.1, 6, "it has refused once");
    }

    #[tokio::test]
    async fn that_a_store_does_not_answer_is_said_now_and_then() {
        let patience = patience();
        assert!(tries(&patience, 0, true).await.0.is_ok());
        assert!(!patience.may_say(), "it has just answered");
        sleep(patience.say_after).await;
        assert!(patience.may_say());
        assert!(!patience.may_say(), "it was just said");
        // A call that waits says it by itself.
        let heard = *patience.heard();
        let waits = async {
            sleep(patience.say_after * 3).await;
            Ok(())
        };
        patience.impatient(Instant::now(), 1, waits).await.unwrap();
        assert!(*patience.heard() > heard);
    }

    #[tokio::test]
    async fn a_store_that_never_answered_gets_two_chances() {
        for (reached, least) in [(false, 2), (true, 4)] {
            let patience = Patience { reached: AtomicBool::new(reached), ..patience() };
            let count = Cell::new(0);
            let stalled = patience.persist(|| {
                count.set(count.get() + 1);
                within(patience.answer, "answer", std::future::pending::<Result<(), _>>())
            });
            assert_eq!(stalled.await.unwrap_err().kind, ErrorKind::TimedOut);
            assert!(if reached { count.get() >= least } else { count.get() == least }, "{}", count.get());
        }
    }

    #[tokio::test]
    async fn attempts_end_by_time() {
        let (result, count) = tries(&Patience { give_up: Duration::ZERO, ..patience() }, u32::MAX, true).await;
        assert_eq!((result.unwrap_err().reason.as_str(), count), ("refused", 1));
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up_in_bounded_time() {
        let patience = Patience { give_up: Duration::from_millis(400), ..patience() };
        let begin = Instant::now();
        let stalled = patience.persist(|| within(patience.answer, "answer", std::future::pending::<Result<(), _>>()));
        let failure = stalled.await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::TimedOut);
        assert!(failure.reason.starts_with("no answer in 0.1 s (tried "), "{}", failure.reason);
        assert!(begin.elapsed() >= patience.answer * 2, "it was tried once only: {:?}", begin.elapsed());
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_more_bytes_have_more_time() {
        let patience = Patience::new(Duration::from_secs(30));
        for (attempts, longest) in [(1, 200), (2, 400), (5, 3200), (7, 10_000), (u32::MAX, 10_000)] {
            let (pause, longest) = (patience.pause_after(attempts), Duration::from_millis(longest));
            assert!(pause <= longest && pause >= longest / 2, "{pause:?} after {attempts}");
        }
        assert_eq!(patience.for_bytes(0), Duration::from_secs(30));
        assert_eq!(patience.for_bytes(16 << 20), Duration::from_secs(30 + 128));
        assert!(patience.for_bytes(u64::MAX) > Duration::from_secs(30));
    }
}
