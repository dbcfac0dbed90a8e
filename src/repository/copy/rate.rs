//! One bound on the bytes a second of all transfers of a copy.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Lets bytes pass at so many a second, over all transfers together. What is sent is sent whole: a pack waits until its
/// time has come, and then goes as fast as the network takes it.
#[derive(Debug)]
pub struct Rate {
    /// Absent: no bound.
    bytes_per_second: Option<u64>,
    /// When all that was let pass so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Rate {
    /// At most so many bytes a second; `None`: no bound.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.map(|rate| rate.max(1)), paid: Mutex::default() }
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn pass(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let until = slot(*paid, Instant::now(), bytes, rate);
            *paid = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

/// When `bytes` are paid for that ask at `now`. Time in which nothing was sent is not saved up.
fn slot(paid: Option<Instant>, now: Instant, bytes: u64, rate: u64) -> Instant {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    let begin = paid.map_or(now, |paid| paid.max(now));
    begin.checked_add(cost).unwrap_or(begin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn transfers_stand_in_one_line_and_idle_time_is_not_saved_up() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let first = slot(None, at(0), 20, 10);
        assert_eq!(first, at(2));
        // Another one asks at the same moment: it waits for the first.
        let second = slot(Some(first), at(0), 10, 10);
        assert_eq!(second, at(3));
        // A minute later the line is empty.
        assert_eq!(slot(Some(second), at(60), 10, 10), at(61));
        assert_eq!(slot(None, at(0), 0, 10), at(0));
    }

    #[tokio::test]
    async fn without_a_bound_nothing_waits() {
        Rate::new(None).pass(u64::MAX).await;
    }

    proptest! {
        #[test]
        fn whatever_asks_and_whenever_the_rate_is_held(asks in proptest::collection::vec((0_u64..5_000, 1_u64..1_000_000), 1..40), rate in 1_u64..1_000_000) {
            let begin = Instant::now();
            let (mut now, mut paid, mut bytes) = (begin, None, 0_u64);
            for (pause, wanted) in asks {
                now += Duration::from_millis(pause);
                let until = slot(paid, now, wanted, rate);
                prop_assert!(until >= now);
                paid = Some(until);
                bytes += wanted;
                // All that passed by then had its time since the beginning.
                let allowed = (until.duration_since(begin).as_nanos() + 1_000) * u128::from(rate) / 1_000_000_000 + 1;
                prop_assert!(u128::from(bytes) <= allowed, "{bytes} of {allowed}");
            }
        }
    }
}
