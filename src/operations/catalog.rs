//! Which backups there are, and which one a person means.

use jiff::Timestamp;

use super::{BackupRef, Error};
use crate::{
    policy::Policy,
    repository::{BackupEntry, Repository, Scope, StoredManifest},
    types::Name,
};

/// All backups of the policy, or of the repository without one; oldest first.
///
/// # Errors
/// [`Error::Repository`] if the store cannot be listed. A damaged manifest is an entry.
pub async fn list(repository: &Repository, policy: Option<&Policy>) -> Result<Vec<BackupEntry>, Error> {
    Ok(repository.backups(&scope_of(policy)).await?)
}

/// Finds the backup that `wanted` names.
///
/// `latest` without a schedule needs a policy with one schedule. The newest good backup is meant by
/// `latest` and by a time: complete, or suspect and accepted. An id may name any that was committed.
///
/// # Errors
/// [`Error::WhichSchedule`], [`Error::NoSuchSchedule`], [`Error::NoSuchBackup`], or what the repository says.
pub async fn find(
    repository: &Repository,
    policy: Option<&Policy>,
    wanted: &BackupRef,
) -> Result<StoredManifest, Error> {
    match wanted {
        BackupRef::Id(text) => Ok(repository.find(&scope_of(policy), text).await?),
        BackupRef::Latest => newest(repository, &one_schedule(policy)?, wanted).await,
        BackupRef::LatestOf(schedule) => {
            let policy = policy.ok_or(Error::NeedsPolicy { wanted: wanted.to_string() })?;
            if !policy.schedules.contains_key(schedule) {
                let choices = policy.schedules.keys().map(ToString::to_string).collect();
                return Err(Error::NoSuchSchedule { wanted: schedule.to_string(), choices });
            }
            newest(repository, &Scope::Schedule(policy.name.clone(), schedule.clone()), wanted).await
        }
        BackupRef::NotAfter(time) => not_after(repository, &one_schedule(policy)?, *time, wanted).await,
    }
}

fn scope_of(policy: Option<&Policy>) -> Scope {
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

async fn newest(repository: &Repository, scope: &Scope, wanted: &BackupRef) -> Result<StoredManifest, Error> {
    match repository.newest_good(scope).await? {
        Some(stored) => Ok(stored),
        None => Err(nothing_good(repository, scope, wanted, None).await?),
    }
}

async fn not_after(
    repository: &Repository,
    scope: &Scope,
    time: Timestamp,
    wanted: &BackupRef,
) -> Result<StoredManifest, Error> {
    let entries = repository.backups(scope).await?;
    let fits = |entry: &&BackupEntry| entry.is_good() && !entry.tombstoned && entry.backup.time() <= time;
    match entries.iter().rev().find(fits) {
        Some(entry) => Ok(repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?),
        None => Err(nothing_good(repository, scope, wanted, Some(time)).await?),
    }
}

/// Says what there is instead, because at this point a person needs to decide.
async fn nothing_good(
    repository: &Repository,
    scope: &Scope,
    wanted: &BackupRef,
    time: Option<Timestamp>,
) -> Result<Error, Error> {
    let entries = repository.backups(scope).await?;
    let other = entries.iter().rev().find(|entry| time.is_none_or(|time| entry.backup.time() <= time));
    let hint = other.map_or_else(
        || "there is none yet; make one with `drctl backup`".to_owned(),
        |entry| {
            let state = entry.summary().map_or("damaged or aborted", |summary| summary.state.as_str());
            format!("the newest is {} ({state}); name it by its id to use it all the same", entry.backup)
        },
    );
    Ok(Error::NoSuchBackup { wanted: wanted.to_string(), location: repository.location().to_owned(), hint })
}
