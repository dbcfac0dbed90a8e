//! Marks that a person makes: pins, and backups that are to go whatever the rules say.

use super::super::{Error, Run};
use crate::{
    repository::{BackupEntry, Error as RepositoryError, MarkOutcome, Repository, Scope, TombstoneBy},
    types::{BackupId, Name},
};

/// A backup that a mark was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedBackup {
    /// Its policy.
    pub policy: Name,
    /// Its schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// It was so before.
    pub already: bool,
}

/// Keeps a backup from prune. `text` is its id, or the beginning of it.
///
/// # Errors
/// [`Error::Unusable`] if it has a tombstone; if there is no such backup, or what the store says.
pub async fn pin(repository: &Repository, scope: &Scope, text: &str, run: &Run) -> Result<MarkedBackup, Error> {
    let entry = one(repository, scope, text).await?.0;
    if entry.tombstoned {
        return Err(unusable(
            &entry,
            "is about to be deleted: take its tombstone away first, with `drctl prune --undo`",
        ));
    }
    let name = (&entry.policy, &entry.schedule, &entry.backup);
    let outcome = repository.pin(name, run.clock.as_ref()).await?;
    Ok(marked(entry, outcome))
}

/// Lets prune decide about a backup again.
///
/// # Errors
/// If there is no such backup, or what the store says.
pub async fn unpin(repository: &Repository, scope: &Scope, text: &str) -> Result<MarkedBackup, Error> {
    let entry = one(repository, scope, text).await?.0;
    let outcome = repository.unpin(&entry.policy, &entry.backup).await?;
    Ok(marked(entry, outcome))
}

/// Marks a backup by hand: prune deletes it a day later. `also_newest` allows it for the backup that matters most.
///
/// # Errors
/// [`Error::Unusable`] if it is pinned, or the newest good or proven one of its schedule; if there is no such backup, or
/// what the store says.
pub async fn delete_backup(
    repository: &Repository,
    scope: &Scope,
    text: &str,
    also_newest: bool,
    run: &Run,
) -> Result<MarkedBackup, Error> {
    let (entry, all) = one(repository, scope, text).await?;
    if repository.is_pinned(&entry.policy, &entry.backup).await? {
        return Err(unusable(&entry, "is pinned: `drctl unpin` first"));
    }
    let same = |other: &&BackupEntry| {
        (&other.policy, &other.schedule) == (&entry.policy, &entry.schedule) && !other.tombstoned
    };
    let newest_good = all.iter().filter(same).rfind(|other| other.is_good());
    let proven = repository.proven(&entry.policy).await?;
    let newest_proven = all.iter().filter(same).rfind(|other| proven.contains(&other.backup));
    let is = |other: Option<&BackupEntry>| other.is_some_and(|other| other.backup == entry.backup);
    if !also_newest && is(newest_good) {
        return Err(unusable(
            &entry,
            "is the newest good backup of its schedule; --newest says that it goes all the same",
        ));
    }
    if !also_newest && is(newest_proven) {
        return Err(unusable(&entry, "is the newest that a drill has proven; --newest says that it goes all the same"));
    }
    let name = (&entry.policy, &entry.schedule, &entry.backup);
    let outcome = repository.put_tombstone(name, TombstoneBy::Asked, run.clock.as_ref()).await?;
    Ok(marked(entry, outcome))
}

/// Takes a backup's tombstone away, within a day of its making.
///
/// # Errors
/// [`RepositoryError::TooLateToUndo`]; if there is no such backup, or what the store says.
pub async fn undo_delete(repository: &Repository, scope: &Scope, text: &str, run: &Run) -> Result<MarkedBackup, Error> {
    let entry = one(repository, scope, text).await?.0;
    let name = (&entry.policy, &entry.schedule, &entry.backup);
    let outcome = repository.undo_tombstone(name, run.clock.as_ref()).await?;
    Ok(marked(entry, outcome))
}

fn marked(entry: BackupEntry, outcome: MarkOutcome) -> MarkedBackup {
    let BackupEntry { policy, schedule, backup, .. } = entry;
    MarkedBackup { policy, schedule, backup, already: outcome == MarkOutcome::Already }
}

fn unusable(entry: &BackupEntry, why: &str) -> Error {
    Error::Unusable { backup: entry.backup.to_string(), why: why.to_owned() }
}

/// The backup that `text` names, also if it cannot be read, and all of `scope`.
async fn one(repository: &Repository, scope: &Scope, text: &str) -> Result<(BackupEntry, Vec<BackupEntry>), Error> {
    let all = repository.backups(scope).await?;
    let mut found: Vec<&BackupEntry> = all.iter().filter(|entry| entry.backup.as_str().starts_with(text)).collect();
    // As where a backup is read: what somebody has put beside a good one does not make it unnameable.
    let counts = |entry: &&BackupEntry| entry.summary().is_some_and(|summary| summary.signature.counts());
    if found.len() > 1 && found.iter().copied().filter(counts).count() == 1 {
        found.retain(|entry| counts(entry));
    }
    match found.as_slice() {
        [] => {
            Err(RepositoryError::NoSuchBackup { location: repository.location().to_owned(), text: text.to_owned() }
                .into())
        }
        [entry] => Ok(((*entry).clone(), all)),
        [first, second, ..] => Err(RepositoryError::AmbiguousBackup {
            text: text.to_owned(),
            count: found.len(),
            first: first.backup.clone(),
            second: second.backup.clone(),
        }
        .into()),
    }
}
