//! Which backups of a schedule are kept, and why: a pure function of the backups, the rules, the time and the zone.
//!
//! The rules are those that people know of restic: each goes through the backups from the newest to the oldest with a
//! counter of its own, counts only periods that *have* a backup, and keeps the newest of each; a backup that any rule
//! names is kept. While a counter is not used up, the oldest backup of all is kept, too: it grows into the period that
//! is not full yet. Periods are those of one zone; weeks are ISO weeks, with the year that they belong to.
//!
//! Only backups that count fill a period: complete, or suspect and accepted. What does not count (partial, suspect, not
//! signed where that is asked for) never takes the place of one that does, and goes [`GRACE`] after the first backup
//! that counts again, unless `within` covers it.

mod period;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::{SignedDuration, Timestamp, Zoned, tz};

pub use self::period::Slot;
use super::{Keep, Period, TimeZone};
use crate::types::BackupId;

/// What does not count is kept so long after the start of the first backup that counts and is newer.
pub const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A backup as its retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id, whose time is the start of its run: the time that it is counted by.
    pub id: BackupId,
    /// Whether it counts.
    pub standing: Standing,
    /// Somebody has pinned it.
    pub pinned: bool,
    /// A drill has proven that it restores.
    pub proven: bool,
}

/// Whether a backup counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It is good: complete, or suspect and accepted; and signed, where that is asked for.
    Counts,
    /// It is partial, suspect, or not signed where that is asked for.
    DoesNotCount,
    /// Its id and the store disagree about when it was made: it is never counted and never removed.
    TimeInDoubt,
}

/// A rule of [`Keep`] that goes by counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// `last`
    Last,
    /// `hourly`
    Hourly,
    /// `daily`
    Daily,
    /// `weekly`
    Weekly,
    /// `monthly`
    Monthly,
    /// `yearly`
    Yearly,
}

/// Why a backup is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The schedule has no rules: nothing is removed.
    NoRules,
    /// It is the newest of its period.
    Newest(Rule, Slot),
    /// It is the oldest of all, and the rule has not used up its counter.
    Oldest(Rule),
    /// It is not older than this, seen from the newest backup that counts.
    Within(String),
    /// It is the newest backup of its schedule that counts.
    NewestGood,
    /// It is the newest backup of its schedule that a drill has proven.
    NewestProven,
    /// It is pinned.
    Pinned,
    /// It does not count, and no backup that counts is newer by long enough.
    Awaits,
    /// It is newer than now.
    Future,
    /// Its id and the store disagree about when it was made.
    TimeInDoubt,
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The backup.
    pub id: BackupId,
    /// Why it is kept; without a reason it goes.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether it stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides about every backup of one schedule; the newest first. The order of `backups` does not matter.
///
/// `keep` is the schedule's; `None` keeps everything. `now` is the store's time.
#[must_use]
pub fn decide(backups: &[Candidate], keep: Option<&Keep>, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let mut sorted: Vec<&Candidate> = backups.iter().collect();
    sorted.sort_by(|a, b| b.id.cmp(&a.id));
    let mut decisions: Vec<Decision> =
        sorted.iter().map(|backup| Decision { id: backup.id.clone(), reasons: Vec::new() }).collect();
    let mut give = |at: usize, reason: Reason| {
        if let Some(decision) = decisions.get_mut(at) {
            decision.reasons.push(reason);
        }
    };
    let counted: Vec<usize> = places(&sorted, |backup| backup.standing == Standing::Counts && backup.id.time() <= now);
    for (at, backup) in sorted.iter().enumerate() {
        match keep {
            None => give(at, Reason::NoRules),
            _ if backup.standing == Standing::TimeInDoubt => give(at, Reason::TimeInDoubt),
            _ if backup.id.time() > now => give(at, Reason::Future),
            Some(_) => {}
        }
        if backup.pinned {
            give(at, Reason::Pinned);
        }
    }
    if let Some(newest) = counted.first() {
        give(*newest, Reason::NewestGood);
    }
    if let Some(proven) = sorted.iter().position(|backup| backup.proven) {
        give(proven, Reason::NewestProven);
    }
    if let Some(keep) = keep {
        by_counting(&sorted, &counted, keep, zone, &mut give);
        by_age(&sorted, &counted, keep.within, now, zone, &mut give);
    }
    decisions
}

fn places(backups: &[&Candidate], which: impl Fn(&Candidate) -> bool) -> Vec<usize> {
    backups.iter().enumerate().filter(|(_, backup)| which(backup)).map(|(at, _)| at).collect()
}

/// The rules that count: `counted` are the places of the backups that fill periods, newest first.
fn by_counting(
    backups: &[&Candidate],
    counted: &[usize],
    keep: &Keep,
    zone: &TimeZone,
    give: &mut impl FnMut(usize, Reason),
) {
    let rules = [
        (Rule::Last, keep.last),
        (Rule::Hourly, keep.hourly),
        (Rule::Daily, keep.daily),
        (Rule::Weekly, keep.weekly),
        (Rule::Monthly, keep.monthly),
        (Rule::Yearly, keep.yearly),
    ];
    for (rule, count) in rules {
        let Some(mut left) = count else { continue };
        let mut last = None;
        for (nth, at) in counted.iter().enumerate() {
            let Some(backup) = backups.get(*at).filter(|_| left > 0) else { break };
            let slot = Slot::of(rule, &backup.id, &local(backup.id.time(), zone));
            if last.as_ref() != Some(&slot) {
                give(*at, Reason::Newest(rule, slot.clone()));
                last = Some(slot);
                left -= 1;
            } else if nth + 1 == counted.len() {
                give(*at, Reason::Oldest(rule));
            }
        }
    }
}

/// `within`, from the newest backup that counts: a schedule that has stopped does not lose what it has. And what does
/// not count, for as long as nothing that counts is newer by long enough.
fn by_age(
    backups: &[&Candidate],
    counted: &[usize],
    within: Option<Period>,
    now: Timestamp,
    zone: &TimeZone,
    give: &mut impl FnMut(usize, Reason),
) {
    let newest = counted.first().and_then(|at| backups.get(*at)).map_or(now, |backup| backup.id.time());
    // The oldest that counts of those that are newer than what is looked at.
    let mut counts_again: Option<Timestamp> = None;
    for (at, backup) in backups.iter().enumerate() {
        let time = backup.id.time();
        if let Some(within) = within.filter(|within| time >= within.before(newest, zone)) {
            give(at, Reason::Within(within.to_string()));
        }
        match backup.standing {
            Standing::Counts if time <= now => counts_again = Some(time),
            Standing::DoesNotCount if counts_again.is_none_or(|again| now.duration_since(again) < GRACE) => {
                give(at, Reason::Awaits);
            }
            _ => {}
        }
    }
}

fn local(time: Timestamp, zone: &TimeZone) -> Zoned {
    time.to_zoned(tz::TimeZone::clone(zone.zone()))
}

impl Rule {
    /// Its key in the policy file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("the schedule has no `keep`"),
            Self::Newest(Rule::Last, _) => f.write_str("last"),
            Self::Newest(rule, slot) => write!(f, "{} {slot}", rule.as_str()),
            Self::Oldest(rule) => write!(f, "oldest {}", rule.as_str()),
            Self::Within(period) => write!(f, "within {period}"),
            Self::NewestGood => f.write_str("the newest that counts"),
            Self::NewestProven => f.write_str("the newest that a drill has proven"),
            Self::Pinned => f.write_str("pinned"),
            Self::Awaits => f.write_str("does not count, and stays until one that counts is 7 days old"),
            Self::Future => f.write_str("its time is in the future"),
            Self::TimeInDoubt => f.write_str("its id and the store disagree about its time"),
        }
    }
}
