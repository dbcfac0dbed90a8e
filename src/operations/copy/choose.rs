//! Which backups belong into a copy.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::{CopyError, CopyFate, Error, WhichBackups, named};
use crate::{
    policy::{
        Policy,
        retention::{Candidate, Standing, decide},
    },
    repository::{BackupEntry, Listed, Repository, Scope},
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
}

/// The backups that are asked for, oldest first.
pub(super) async fn chosen(
    source: &Repository,
    target: Option<&Repository>,
    at_target: &Policy,
    which: &WhichBackups,
    now: Timestamp,
) -> Result<Vec<Choice>, Error> {
    let policy = &at_target.name;
    let scope = match which {
        WhichBackups::All => Scope::Policy(policy.clone()),
        WhichBackups::Schedule(schedule) => Scope::Schedule(policy.clone(), schedule.clone()),
        WhichBackups::One(wanted) => {
            let (schedule, backup, tombstoned) = named(source, at_target, wanted).await?;
            if tombstoned {
                let why = "has a tombstone, and is about to be deleted: `drctl prune --undo` saves it".to_owned();
                return Err(Error::Unusable { backup: backup.to_string(), why });
            }
            let marked = marked_in(target, policy).await?.contains(&backup);
            // One that is there still can be saved there, which `copy` is not asked for.
            if marked && !is_in(target, policy, &schedule, &backup).await? {
                return Err(Error::Unusable { backup: backup.to_string(), why: DELETED_THERE.to_owned() });
            }
            return Ok(vec![Choice { schedule, backup, named: true, left_out: None }]);
        }
    };
    let originals = source.backups(&scope).await?;
    let there = match target {
        Some(target) => target.backups(&scope).await?,
        None => Vec::new(),
    };
    let marked = marked_in(target, policy).await?;
    // A copy has pins of its own; on the way back they are all that is left of what people have pinned.
    let pinned = if at_target.is_at_copy() { HashSet::new() } else { source.pinned(policy).await? };
    Ok(select(originals, (&there, &marked, &pinned), at_target, now))
}

const DELETED_THERE: &str = "was deleted from that place, and its tombstone is still there, as long as a later backup names it as \
                             the one before: a prune would delete it again at once; use it where it is, or copy it under another prefix";

/// What has a tombstone in the place that is copied into.
async fn marked_in(target: Option<&Repository>, policy: &Name) -> Result<HashSet<BackupId>, Error> {
    match target {
        Some(target) => Ok(target.tombstoned(policy).await?),
        None => Ok(HashSet::new()),
    }
}

/// Whether that place has the backup.
async fn is_in(target: Option<&Repository>, policy: &Name, schedule: &Name, backup: &BackupId) -> Result<bool, Error> {
    let Some(target) = target else { return Ok(false) };
    let entries = target.backups(&Scope::Schedule(policy.clone(), schedule.clone())).await?;
    Ok(entries.iter().any(|entry| entry.backup == *backup))
}

/// What of `originals`, of which some are pinned, belongs into a place that has backups, and tombstones of some.
fn select(
    originals: Vec<BackupEntry>,
    (there, marked, pinned): (&[BackupEntry], &HashSet<BackupId>, &HashSet<BackupId>),
    at_target: &Policy,
    now: Timestamp,
) -> Vec<Choice> {
    let known: HashMap<&BackupId, &BackupEntry> = there.iter().map(|entry| (&entry.backup, entry)).collect();
    let kept = kept(&originals, (there, pinned), at_target, now);
    let fate = |entry: &BackupEntry| {
        if let Listed::Aborted = entry.listed {
            return None;
        }
        let left_out = |why: &str| Some(Some(CopyFate::LeftOut(why.to_owned())));
        match known.get(&entry.backup) {
            Some(other) if matches!(other.listed, Listed::Backup(_)) => return Some(Some(CopyFate::There)),
            Some(other) if matches!(other.listed, Listed::Aborted) => return left_out(super::GIVEN_UP),
            None if marked.contains(&entry.backup) => return left_out(DELETED_THERE),
            _ => {}
        }
        if entry.tombstoned {
            return left_out("it is about to be deleted");
        }
        if let Listed::Damaged(why) | Listed::Newer(why) = &entry.listed {
            let damaged = matches!(entry.listed, Listed::Damaged(_));
            let error = CopyError::Unreadable { backup: entry.backup.to_string(), why: why.clone(), damaged };
            return Some(Some(CopyFate::Failed(Box::new(error.into()))));
        }
        if entry.summary().is_some_and(|summary| !summary.signature.counts()) {
            return left_out("it is not signed by anybody whom the policy names");
        }
        match kept.get(&entry.backup) {
            Some(false) => left_out("the copy's `keep` would not keep it"),
            _ => Some(None),
        }
    };
    let mut choices = Vec::new();
    for entry in originals {
        if let Some(left_out) = fate(&entry) {
            choices.push(Choice { schedule: entry.schedule, backup: entry.backup, named: false, left_out });
        }
    }
    choices.sort_by(|a, b| a.backup.cmp(&b.backup));
    choices
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
