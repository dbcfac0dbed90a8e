//! How far a copy is behind, as `doctor` says it.

use jiff::Timestamp;

use super::{
    CopyFate, CopyPlace, Error, WhichBackups,
    choose::{Choice, Target, chosen},
};
use crate::{
    operations::Run,
    policy::Policy,
    repository::{Copier, CopyOptions, Rate, Repository},
    types::{BackupId, Name},
};

/// How far a copy is behind with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::operations) struct Behind {
    /// How many backups belong into it and are not there.
    pub(in crate::operations) backups: u64,
    /// The start of the oldest of them.
    pub(in crate::operations) since: Option<Timestamp>,
    /// Backups that are there, and lack something that the original has.
    pub(in crate::operations) lacking: Vec<BackupId>,
    /// Backups that were given up there, and belong into it.
    pub(in crate::operations) given_up: Vec<BackupId>,
}

/// How far the replica `target` is behind `source`, by the rules of the policy as it is at the copy `name`.
pub(in crate::operations) async fn behind(
    (source, target): (&Repository, &Repository),
    (name, at_target): (&Name, &Policy),
    schedule: &Name,
    run: &Run,
) -> Result<Behind, Error> {
    let which = WhichBackups::Schedule(schedule.clone());
    let place = CopyPlace::Copy(name.clone());
    let there = Target { repository: Some(target), place: &place, policy: at_target };
    let chosen = chosen(source, &there, &which, run.clock.now()).await?;
    let listed: Vec<_> = chosen.iter().filter_map(|one| one.listed.clone()).collect();
    let options = CopyOptions::new(run.clock.clone(), run.monitor.clone(), Rate::new(None));
    let found = Copier::new(source, target, options).lacking(&at_target.name, &listed).await?;
    let missing: Vec<Timestamp> = chosen.iter().filter(|one| one.is_missing()).map(|one| one.backup.time()).collect();
    let is_given_up = |one: &&Choice| matches!(one.left_out, Some(CopyFate::GivenUp(_)));
    let mut lacking: Vec<BackupId> = found.into_iter().collect();
    lacking.sort();
    Ok(Behind {
        backups: missing.len() as u64,
        since: missing.iter().min().copied(),
        lacking,
        given_up: chosen.iter().filter(is_given_up).map(|one| one.backup.clone()).collect(),
    })
}
