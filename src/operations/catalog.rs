//! Which backups there are, and which one a person means.

use futures::TryStreamExt;
use jiff::Timestamp;

use super::{BackupRef, Error};
use crate::{
    policy::Policy,
    repository::{BackupEntry, Listed, Repository, Scope, StoredManifest, crypt::Signature},
    types::{Name, for_terminal},
};

/// All backups of the policy, or of the repository without one; oldest first.
///
/// # Errors
/// [`Error::Repository`] if the store cannot be listed. A damaged manifest is an entry.
pub async fn list(repository: &Repository, policy: Option<&Policy>) -> Result<Vec<BackupEntry>, Error> {
    Ok(repository.backups(&scope_of(policy)).await?)
}

/// A backup that was found, and what was passed over on the way to it.
#[derive(Debug)]
pub struct Found {
    /// The backup.
    pub stored: StoredManifest,
    /// Newer backups of which nobody can say whether they should have been it.
    pub passed_over: Vec<PassedOver>,
}

/// A backup that cannot be read or does not count, newer than the one that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassedOver {
    /// Its manifest is damaged: its id with the reason.
    Damaged(String),
    /// It has a format of a later program: its id with the reason.
    Newer(String),
    /// None of the signers that are pinned has signed it: its id with the reason.
    Unsigned(String),
    /// It would have been it, and prune is about to delete it: its id.
    Tombstoned(String),
    /// A tombstone that does not count, of the backup that was found: its id with the reason.
    Disbelieved(String),
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "a newer backup that is damaged: {what}"),
            Self::Newer(what) => write!(f, "a newer backup that this drctl cannot read: {what}"),
            Self::Unsigned(what) => write!(f, "a newer backup that is UNSIGNED, and does not count: {what}"),
            Self::Disbelieved(what) => write!(f, "a tombstone that does not count, of {what}"),
            Self::Tombstoned(what) => write!(f, "a newer backup that prune is about to delete: {what}"),
        }
    }
}

/// Finds the backup that `wanted` names.
///
/// `latest` without a schedule needs a policy with one schedule. The newest good backup is meant by
/// `latest` and by a time: complete, or suspect and accepted. An id may name any that was committed.
///
/// # Errors
/// [`Error::WhichSchedule`], [`Error::NoSuchSchedule`], [`Error::NoSuchBackup`], or what the repository says.
pub async fn find(repository: &Repository, policy: Option<&Policy>, wanted: &BackupRef) -> Result<Found, Error> {
    match wanted {
        BackupRef::Id(text) => {
            let stored = repository.find(&scope_of(policy), text).await?;
            Ok(Found { stored, passed_over: Vec::new() })
        }
        BackupRef::Latest => newest(repository, &one_schedule(policy)?, None, wanted).await,
        BackupRef::LatestOf(schedule) => {
            let policy = policy.ok_or(Error::NeedsPolicy { wanted: wanted.to_string() })?;
            if !policy.schedules.contains_key(schedule) {
                let choices = policy.schedules.keys().map(ToString::to_string).collect();
                return Err(Error::NoSuchSchedule { wanted: schedule.to_string(), choices });
            }
            newest(repository, &Scope::Schedule(policy.name.clone(), schedule.clone()), None, wanted).await
        }
        BackupRef::NotAfter(time) => newest(repository, &one_schedule(policy)?, Some(*time), wanted).await,
    }
}

pub(super) fn scope_of(policy: Option<&Policy>) -> Scope {
    policy.map_or(Scope::All, |policy| Scope::Policy(policy.name.clone()))
}

fn one_schedule(policy: Option<&Policy>) -> Result<Scope, Error> {
    let policy = policy.ok_or(Error::NeedsPolicy { wanted: "latest".to_owned() })?;
    let mut schedules = policy.schedules.keys();
    match (schedules.next(), schedules.next()) {
        (Some(only), None) => Ok(Scope::Schedule(policy.name.clone(), only.clone())),
        _ => Err(Error::WhichSchedule { choices: policy.schedules.keys().map(Name::to_string).collect() }),
    }
}

/// The newest good backup that began not after `until`.
async fn newest(
    repository: &Repository,
    scope: &Scope,
    until: Option<Timestamp>,
    wanted: &BackupRef,
) -> Result<Found, Error> {
    let (all, mut entries) = repository.newest_first(scope).await?;
    let mut passed_over = Vec::new();
    let mut newest = None;
    while let Some(entry) = entries.try_next().await? {
        if until.is_some_and(|until| entry.backup.time() > until) {
            continue;
        }
        let called = |why: &str| format!("{} ({})", entry.backup, for_terminal(why));
        if let Listed::Damaged(why) = &entry.listed {
            passed_over.push(PassedOver::Damaged(called(why)));
        } else if let Listed::Newer(why) = &entry.listed {
            passed_over.push(PassedOver::Newer(called(why)));
        } else if entry.is_good() && !entry.tombstoned {
            passed_over.extend(entry.disbelieved.as_deref().map(|why| PassedOver::Disbelieved(called(why))));
            let stored = repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
            return Ok(Found { stored, passed_over });
        } else if let Some(Signature::Bad(why)) = entry.summary().map(|summary| &summary.signature) {
            passed_over.push(PassedOver::Unsigned(called(why)));
        } else if entry.is_good() {
            passed_over.push(PassedOver::Tombstoned(entry.backup.to_string()));
        }
        newest.get_or_insert(entry);
    }
    let hint = nothing_good(newest.as_ref(), all);
    Err(Error::NoSuchBackup { wanted: wanted.to_string(), location: repository.location().to_owned(), hint })
}

/// Says what there is instead, because at this point a person needs to decide.
fn nothing_good(newest: Option<&BackupEntry>, all: usize) -> String {
    match newest {
        Some(entry) => {
            let state = entry.summary().map_or("damaged or aborted", |summary| summary.state.as_str());
            format!("the newest is {} ({state}); name it by its id to use it all the same", entry.backup)
        }
        None if all > 0 => format!("all {all} backups are newer; `drctl list` shows them"),
        None => "there is none yet; make one with `drctl backup`".to_owned(),
    }
}
