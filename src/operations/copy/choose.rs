//! Which backups belong into a copy.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::{CopyError, CopyFate, CopyPlace, Error, WhichBackups, named};
use crate::{
    policy::{
        Policy,
        retention::{Candidate, Standing, decide},
    },
    repository::{BackupEntry, CopyListed, Listed, Repository, Scope},
    types::{BackupId, Name},
};

/// A backup of the original.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) schedule: Name,
    pub(super) backup: BackupId,
    /// Somebody has asked for this one.
    pub(super) named: bool,
    /// What became of it already: it is not to be copied.
    pub(super) left_out: Option<CopyFate>,
    /// It is listed in both places.
    pub(super) listed: Option<CopyListed>,
}

impl Choice {
    /// Whether it is to be brought there.
    pub(super) fn is_missing(&self) -> bool {
        self.left_out.is_none() && self.listed.is_none()
    }
}

/// The place that is copied into: what is there, and what people call it.
pub(super) struct Target<'a> {
    pub(super) repository: Option<&'a Repository>,
    pub(super) place: &'a CopyPlace,
    pub(super) policy: &'a Policy,
}

/// The backups that are asked for, oldest first.
pub(super) async fn chosen(
    source: &Repository,
    target: &Target<'_>,
    which: &WhichBackups,
    now: Timestamp,
) -> Result<Vec<Choice>, Error> {
    let policy = &target.policy.name;
    let scope = match which {
        WhichBackups::All => Scope::Policy(policy.clone()),
        WhichBackups::Schedule(schedule) => Scope::Schedule(policy.clone(), schedule.clone()),
        WhichBackups::One(wanted) => {
            let (schedule, backup, tombstoned) = named(source, target.policy, wanted).await?;
            let refused = |why: String| Err(Error::Unusable { backup: backup.to_string(), why });
            if tombstoned {
                return refused(
                    "has a tombstone in the place that it is copied from, and is about to be deleted there: `drctl prune --undo` \
                     saves it"
                        .to_owned(),
                );
            }
            if target.marked().await?.contains(&backup) {
                return refused(match target.has(&schedule, &backup).await? {
                    true => target.goes(&backup),
                    false => target.deleted(),
                });
            }
            return Ok(vec![Choice { schedule, backup, named: true, left_out: None, listed: None }]);
        }
    };
    let originals = source.backups(&scope).await?;
    let there = match target.repository {
        Some(repository) => repository.backups(&scope).await?,
        None => Vec::new(),
    };
    let marked = target.marked().await?;
    // A copy has pins of its own; on the way back they are all that is left of what people have pinned.
    let pinned = if target.policy.is_at_copy() { HashSet::new() } else { source.pinned(policy).await? };
    Ok(select(originals, (&there, &marked, &pinned), target, now))
}

impl Target<'_> {
    fn deleted(&self) -> String {
        let place = self.place.in_words();
        format!(
            "was deleted from {place}, and its tombstone is still there, as long as a later backup names it as the one before: a \
             prune there would delete it again at once; use it where it is, or copy it under another prefix"
        )
    }

    fn goes(&self, backup: &BackupId) -> String {
        let (place, flag) = (self.place.in_words(), self.place.flag());
        format!(
            "has a tombstone in {place}, and is about to be deleted there: `drctl prune --undo {backup}{flag}` saves it, within a day"
        )
    }

    /// What there is to be said of one that was given up there.
    pub(super) fn given_up(&self) -> String {
        let place = self.place.in_words();
        let (why, days) = match self.place {
            CopyPlace::Copy(_) => ("its copying had not ended in 7 days", 30),
            CopyPlace::Repository => {
                ("a prune has found its run without a manifest, and no sign of life for 6 hours or 7 days", 400)
            }
        };
        format!(
            "was given up in {place}: {why}, and its packs may be gone there; a prune there takes that mark away after {days} \
             days, once no other backup there needs packs of it, and then it can be copied again; until then use it where it is, \
             or copy it under another prefix"
        )
    }

    /// What has a tombstone there.
    async fn marked(&self) -> Result<HashSet<BackupId>, Error> {
        match self.repository {
            Some(repository) => Ok(repository.tombstoned(&self.policy.name).await?),
            None => Ok(HashSet::new()),
        }
    }

    /// Whether that place has the backup.
    async fn has(&self, schedule: &Name, backup: &BackupId) -> Result<bool, Error> {
        let Some(repository) = self.repository else { return Ok(false) };
        let entries = repository.backups(&Scope::Schedule(self.policy.name.clone(), schedule.clone())).await?;
        Ok(entries.iter().any(|entry| entry.backup == *backup))
    }
}

/// What of `originals`, of which some are pinned, belongs into a place that has backups, and tombstones of some.
fn select(
    originals: Vec<BackupEntry>,
    (there, marked, pinned): (&[BackupEntry], &HashSet<BackupId>, &HashSet<BackupId>),
    target: &Target<'_>,
    now: Timestamp,
) -> Vec<Choice> {
    let known: HashMap<&BackupId, &BackupEntry> = there.iter().map(|entry| (&entry.backup, entry)).collect();
    let kept = kept(&originals, (there, pinned), target.policy, now);
    let mut choices = Vec::new();
    for entry in originals.into_iter().filter(|entry| !matches!(entry.listed, Listed::Aborted)) {
        let found = known.get(&entry.backup).copied();
        let listed = match (entry.summary(), found.and_then(BackupEntry::summary)) {
            (Some(original), Some(copy)) => Some(CopyListed::of(&entry.backup, original, copy)),
            _ => None,
        };
        let is_kept = kept.get(&entry.backup) != Some(&false);
        let left_out = left_out(&entry, (found, marked, is_kept), target);
        let listed = listed.filter(|_| left_out.is_none());
        choices.push(Choice { schedule: entry.schedule, backup: entry.backup, named: false, left_out, listed });
    }
    choices.sort_by(|a, b| a.backup.cmp(&b.backup));
    choices
}

/// Why a backup is not to be brought to a place, or what became of it there; `None` if it is, or is there.
fn left_out(
    entry: &BackupEntry,
    (found, marked, is_kept): (Option<&BackupEntry>, &HashSet<BackupId>, bool),
    target: &Target<'_>,
) -> Option<CopyFate> {
    let because = |why: &str| Some(CopyFate::LeftOut(why.to_owned()));
    let not_kept = "the copy's `keep` would not keep it";
    match found {
        Some(other) if matches!(other.listed, Listed::Backup(_)) && other.tombstoned => {
            let goes = target.goes(&entry.backup);
            return match (entry.tombstoned, is_kept) {
                // In both places somebody means it.
                (true, _) => because(&goes),
                (false, true) => Some(CopyFate::Going(goes)),
                (false, false) => because(not_kept),
            };
        }
        // What cannot be read in the original cannot be compared with it.
        Some(other) if matches!(other.listed, Listed::Backup(_)) && entry.summary().is_some() => return None,
        Some(other) if matches!(other.listed, Listed::Aborted) => {
            return if is_kept { Some(CopyFate::GivenUp(target.given_up())) } else { because(not_kept) };
        }
        None if marked.contains(&entry.backup) => return because(&target.deleted()),
        _ => {}
    }
    if entry.tombstoned {
        return because("it is about to be deleted in the place that it is copied from");
    }
    if let Listed::Damaged(why) | Listed::Newer(why) = &entry.listed {
        let damaged = matches!(entry.listed, Listed::Damaged(_));
        let error = CopyError::Unreadable { backup: entry.backup.to_string(), why: why.clone(), damaged };
        return Some(CopyFate::Failed(Box::new(error.into())));
    }
    if entry.summary().is_some_and(|summary| !summary.signature.counts()) {
        return because("it is not signed by anybody whom the policy names");
    }
    if is_kept { None } else { because(not_kept) }
}

/// Whether the copy's rules would keep each backup, if it had all of them. Schedules that the policy does not have are
/// never pruned.
fn kept(
    originals: &[BackupEntry],
    (there, pinned): (&[BackupEntry], &HashSet<BackupId>),
    at_target: &Policy,
    now: Timestamp,
) -> BTreeMap<BackupId, bool> {
    let mut kept = BTreeMap::new();
    for (name, schedule) in &at_target.schedules {
        let mut candidates: BTreeMap<BackupId, Candidate> = BTreeMap::new();
        for entry in originals.iter().chain(there).filter(|entry| entry.schedule == *name && !entry.tombstoned) {
            if matches!(entry.listed, Listed::Aborted) {
                continue;
            }
            let standing = if entry.is_good() { Standing::Counts } else { Standing::DoesNotCount };
            let id = entry.backup.clone();
            let pinned = pinned.contains(&id);
            candidates.entry(id.clone()).or_insert(Candidate { id, standing, pinned, proven: false });
        }
        let candidates: Vec<Candidate> = candidates.into_values().collect();
        let decisions = decide(&candidates, schedule.keep.as_ref(), now, &schedule.timezone);
        kept.extend(decisions.into_iter().map(|decision| (decision.id.clone(), decision.keeps())));
    }
    kept
}
