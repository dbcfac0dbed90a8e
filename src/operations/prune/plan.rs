//! What prune is going to do with each backup, and why.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Error;
use crate::{
    policy::{
        Policy,
        retention::{Candidate, Decision, Standing, decide},
    },
    repository::{IdleRun, Listed, Survey, Surveyed, UNDO},
    types::{BackupId, Name, State},
};

/// At most so many backups are marked at once, if a tenth of them is fewer.
const FEW: u64 = 3;

/// What becomes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It gets a tombstone, and is deleted by a prune a day later.
    ToMark,
    /// It has a tombstone, and is not deleted yet.
    Marked,
    /// It is deleted now.
    ToDelete,
    /// Its schedule is none of the policy: prune never touches it.
    Unmanaged,
}

/// A backup in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBackup {
    /// Its schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// `complete`, `partial` or `suspect`, and whether it is accepted or unsigned; or why it cannot be read.
    pub state: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, each a few words.
    pub reasons: Vec<String>,
    /// Until when its tombstone can be undone.
    pub undo_until: Option<Timestamp>,
}

/// What a prune is going to do.
#[derive(Debug)]
pub struct PrunePlan {
    /// The backups of the policy, newest first.
    pub backups: Vec<PlannedBackup>,
    /// Schedules that have backups and are none of the policy.
    pub unmanaged: Vec<Name>,
    /// How many backups may be marked at once.
    pub allowed: u64,
    survey: Survey,
}

impl PrunePlan {
    pub(super) fn new(policy: &Policy, survey: Survey, max_delete: Option<u64>) -> Result<Self, Error> {
        if let Some((entry, why)) = survey.unreadable().first() {
            let backup = format!("{}/{}/{}", entry.policy, entry.schedule, entry.backup);
            let damaged = matches!(entry.listed, Listed::Damaged(_));
            return Err(Error::CannotPrune { backup, why: why.clone(), damaged });
        }
        let mut schedules: BTreeSet<&Name> = survey.backups.iter().map(|one| &one.entry.schedule).collect();
        let mut backups = Vec::new();
        for (name, schedule) in &policy.schedules {
            schedules.remove(name);
            let of: Vec<&Surveyed> = survey.backups.iter().filter(|one| one.entry.schedule == *name).collect();
            let free: Vec<Candidate> =
                of.iter().filter(|one| one.tombstone.is_none()).map(|one| candidate(one)).collect();
            let decisions = decide(&free, schedule.keep.as_ref(), survey.now, &schedule.timezone);
            backups.extend(of.into_iter().map(|one| {
                let decision = decisions.iter().find(|decision| decision.id == one.entry.backup);
                planned(one, decision)
            }));
        }
        for one in survey.backups.iter().filter(|one| schedules.contains(&one.entry.schedule)) {
            backups.push(unmanaged(one));
        }
        backups.sort_by(|a, b| b.backup.cmp(&a.backup));
        let unmanaged = schedules.into_iter().cloned().collect();
        let there = survey.backups.iter().filter(|one| one.tombstone.is_none()).count() as u64;
        let allowed = max_delete.unwrap_or((there / 10).max(FEW));
        Ok(Self { backups, unmanaged, allowed, survey })
    }

    /// The backups that are to be marked, oldest first.
    #[must_use]
    pub fn doomed(&self) -> Vec<BackupId> {
        let doomed = self.backups.iter().rev().filter(|one| one.fate == Fate::ToMark);
        doomed.map(|one| one.backup.clone()).collect()
    }

    /// How many backups have this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.backups.iter().filter(|one| one.fate == fate).count()
    }

    /// Runs that are going to be fenced.
    #[must_use]
    pub fn idle(&self) -> &[IdleRun] {
        &self.survey.idle
    }

    /// Refuses to mark more at once than is likely to be meant.
    ///
    /// # Errors
    /// [`Error::TooManyToPrune`].
    pub fn refuse_too_many(&self) -> Result<(), Error> {
        let count = self.count(Fate::ToMark) as u64;
        if count > self.allowed { Err(Error::TooManyToPrune { count, allowed: self.allowed }) } else { Ok(()) }
    }

    pub(super) fn survey(&self) -> &Survey {
        &self.survey
    }
}

/// A backup as its retention sees it. Whether it counts is decided where `latest` is decided.
fn candidate(one: &Surveyed) -> Candidate {
    let standing = match one.entry.is_good() {
        _ if one.time_in_doubt => Standing::TimeInDoubt,
        true => Standing::Counts,
        false => Standing::DoesNotCount,
    };
    Candidate { id: one.entry.backup.clone(), standing, pinned: one.pinned, proven: one.proven }
}

fn state_of(one: &Surveyed) -> String {
    match &one.entry.listed {
        Listed::Backup(summary) => {
            let accepted = summary.accepted && summary.state == State::Suspect;
            let words = [(true, summary.state.to_string()), (accepted, "accepted".to_owned())];
            let unsigned = (!summary.signature.counts(), "unsigned".to_owned());
            let words = words.into_iter().chain([unsigned]).filter(|(is, _)| *is).map(|(_, word)| word);
            words.collect::<Vec<_>>().join(", ")
        }
        Listed::Aborted => State::Aborted.to_string(),
        Listed::Newer(_) => "newer".to_owned(),
        Listed::Damaged(_) => "damaged".to_owned(),
    }
}

fn bare(one: &Surveyed) -> PlannedBackup {
    PlannedBackup {
        schedule: one.entry.schedule.clone(),
        backup: one.entry.backup.clone(),
        state: state_of(one),
        fate: Fate::Kept,
        reasons: Vec::new(),
        undo_until: None,
    }
}

/// One that has a tombstone.
fn marked(one: &Surveyed) -> PlannedBackup {
    let mut reasons = Vec::new();
    if one.in_use {
        reasons.push("a run that has not ended may share its packs".to_owned());
    }
    if one.pinned {
        reasons.push("pinned".to_owned());
    }
    let fate = if one.due { Fate::ToDelete } else { Fate::Marked };
    let undo_until =
        one.tombstone.filter(|_| one.undo_left.is_some_and(|left| !left.is_zero())).map(|made| made + UNDO);
    if let (Some(until), false) = (undo_until, one.due) {
        reasons.push(format!("can be undone until {until:.0}"));
    }
    PlannedBackup { fate, reasons, undo_until, ..bare(one) }
}

fn planned(one: &Surveyed, decision: Option<&Decision>) -> PlannedBackup {
    // What readers do not believe, prune does not act on; nor is there room for a mark of its own.
    let not_believed = one.entry.disbelieved.as_deref().map(not_believed);
    match decision {
        None => marked(one),
        Some(decision) if decision.keeps() => {
            let reasons = decision.reasons.iter().map(ToString::to_string).chain(not_believed).collect();
            PlannedBackup { reasons, ..bare(one) }
        }
        Some(_) if not_believed.is_some() => PlannedBackup { reasons: not_believed.into_iter().collect(), ..bare(one) },
        Some(_) => PlannedBackup { fate: Fate::ToMark, ..bare(one) },
    }
}

/// Nothing is deleted because of a tombstone that does not count; and it is named.
fn not_believed(why: &str) -> String {
    format!("its tombstone does not count: {why}; `prune --undo` takes it away")
}

fn unmanaged(one: &Surveyed) -> PlannedBackup {
    if one.tombstone.is_some() {
        return marked(one);
    }
    let mut reasons = vec!["its schedule is none of the policy".to_owned()];
    reasons.extend(one.entry.disbelieved.as_deref().map(not_believed));
    PlannedBackup { fate: Fate::Unmanaged, reasons, ..bare(one) }
}
