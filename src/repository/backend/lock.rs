//! Locks against deletion: what a policy asks of a store, and until when an object is locked.

use jiff::{SignedDuration, Timestamp};

use super::Key;

/// Who may take a lock off an object before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// An identity that has been given the right to (`s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody, the owner of the account not either.
    Compliance,
}

impl LockMode {
    /// The word for it, as a policy has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }
}

/// A lock on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Who may take it off.
    pub mode: LockMode,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// How what is put is locked.
#[derive(Debug, Clone)]
pub struct LockOptions {
    /// Who may take the locks off.
    pub mode: LockMode,
    /// How long an object stays locked after the commit of the last backup that needs it.
    pub period: SignedDuration,
    /// Which objects are locked, by their keys.
    pub locked: fn(&Key) -> bool,
}

/// No run commits later after its first put (`docs/format.md`, section 9).
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(7 * 24);

impl LockOptions {
    /// Until when an object that a run needs now must be locked at least: the run may have begun just now,
    /// and commit in 7 days.
    #[must_use]
    pub fn least(&self, now: Timestamp) -> Timestamp {
        later(now, self.period.saturating_add(LONGEST_RUN))
    }

    /// Until when an object is locked that is put or reused now: [`least`](Self::least), rounded up to whole steps.
    /// So all runs of one step want the same time, and an object that each of them reuses is touched once a step.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Timestamp {
        let (least, step) = (self.least(now).as_second(), self.step().as_secs());
        let rest = least.rem_euclid(step);
        let up = if rest == 0 { 0 } else { step - rest };
        Timestamp::from_second(least.saturating_add(up)).unwrap_or(Timestamp::MAX)
    }

    /// A quarter of the period in whole days, from one to 30.
    fn step(&self) -> SignedDuration {
        let day = 24 * 3600;
        let days = (self.period.as_secs() / 4 / day).clamp(1, 30);
        SignedDuration::from_secs(days * day)
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What was done to keep an object locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relock {
    /// Nothing: the store locks nothing, or not this object.
    NotLocked,
    /// Nothing: it is locked for long enough.
    Enough,
    /// Its lock was extended, or it got one.
    Extended,
}

/// How a bucket is set up for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLock {
    /// Whether it locks by itself what is put without a lock.
    pub by_default: bool,
}

/// What an identity may do to an object beyond reading and creating one. `None`: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Powers {
    /// Whether it may delete.
    pub deletes: Option<bool>,
    /// Whether it may put an object in the place of another.
    pub overwrites: Option<bool>,
    /// What became of the deletion of a locked version; absent where the store locks nothing.
    pub lock: Option<LockProof>,
}

/// What became of the deletion of a locked version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockProof {
    /// The lock, as the store says it.
    pub lock: Lock,
    /// What the store said.
    pub answer: LockAnswer,
}

/// What a store said to the deletion of a locked version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockAnswer {
    /// It is locked.
    Locked,
    /// This identity may not delete versions, locked or not.
    NoRight,
    /// It deleted it: the lock protects nothing.
    Deleted,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(hours: i64) -> LockOptions {
        LockOptions { mode: LockMode::Governance, period: SignedDuration::from_hours(hours), locked: |_| true }
    }

    #[test]
    fn a_backup_of_30_days_is_locked_for_37_and_up_to_7_more() {
        let options = options(30 * 24);
        let now: Timestamp = "2026-11-20T02:00:00Z".parse().unwrap();
        assert_eq!(options.least(now), "2026-12-27T02:00:00Z".parse().unwrap());
        assert_eq!(options.until(now), "2026-12-31T00:00:00Z".parse().unwrap());
    }

    proptest! {
        #[test]
        fn a_lock_outlasts_what_needs_it_by_less_than_a_step(hours in 1_i64..40_000, now in 0_i64..4_000_000_000) {
            let (options, now) = (options(hours), Timestamp::from_second(now).unwrap());
            let (least, until) = (options.least(now), options.until(now));
            prop_assert!(until >= least && until.duration_since(least) < options.step());
            // What one run of the step has put is enough for all later ones of it.
            prop_assert_eq!(options.until(least - options.period - LONGEST_RUN), until);
        }

        #[test]
        fn an_object_that_every_run_reuses_is_extended_once_a_step(hours in 24_i64..4_000, every in 1_i64..48) {
            let options = options(hours);
            let begin = Timestamp::from_second(1_800_000_000).unwrap();
            let (mut until, mut extended) = (options.until(begin), 0);
            let days = 60;
            for run in 0..(days * 24 / every) {
                let now = begin + SignedDuration::from_hours(run * every);
                if until < options.least(now) {
                    (until, extended) = (options.until(now), extended + 1);
                }
            }
            prop_assert!(extended <= days * 24 * 3600 / options.step().as_secs() + 1, "{} times", extended);
        }
    }
}
