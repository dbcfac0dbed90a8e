//! How far a copy is behind, as `doctor` says it.

use jiff::Timestamp;

use super::{
    CopyFate, CopyPlace, Error, Originals, WhichBackups,
    choose::{Choice, Target, chosen},
};
use crate::{
    operations::Run,
    policy::Policy,
    repository::{Copier, CopyListed, CopyOptions, Rate, Repository},
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
    /// Backups that belong into it, and are about to be deleted there.
    pub(in crate::operations) going: Vec<BackupId>,
}

/// How far the replica `target` is behind `source` with these schedules, one after the other, by the rules of the policy as it
/// is at the copy `name`. Each place is listed once.
pub(in crate::operations) async fn behind(
    (source, target): (&Repository, &Repository),
    (name, at_target): (&Name, &Policy),
    schedules: &[&Name],
    (originals, run): (&Originals, &Run),
) -> Result<Vec<Behind>, Error> {
    let place = CopyPlace::Copy(name.clone());
    let there = Target { repository: Some(target), place: &place, policy: at_target };
    let mut of_all = Vec::with_capacity(schedules.len());
    for schedule in schedules {
        let which = WhichBackups::Schedule((*schedule).clone());
        of_all.push(chosen(source, &there, &which, run.clock.now()).await?);
    }
    let listed: Vec<CopyListed> = of_all.iter().flatten().filter_map(|one| one.listed.clone()).collect();
    let lacking = if listed.is_empty() {
        Default::default()
    } else {
        let options = CopyOptions::new(run.clock.clone(), run.monitor.clone(), Rate::new(None));
        let lists = (originals.of(source, &at_target.name).await?, &target.listings(&at_target.name).await?);
        Copier::new(source, target, options).lacking(lists, &listed).await?
    };
    let of = |chosen: &Vec<Choice>, is: &dyn Fn(&Choice) -> bool| -> Vec<BackupId> {
        chosen.iter().filter(|one| is(one)).map(|one| one.backup.clone()).collect()
    };
    let one = |chosen: &Vec<Choice>| {
        let missing = of(chosen, &Choice::is_missing);
        Behind {
            backups: missing.len() as u64,
            since: missing.iter().map(BackupId::time).min(),
            lacking: of(chosen, &|one| lacking.contains(&one.backup)),
            given_up: of(chosen, &|one| matches!(one.left_out, Some(CopyFate::GivenUp(_)))),
            going: of(chosen, &|one| matches!(one.left_out, Some(CopyFate::Going(_)))),
        }
    };
    Ok(of_all.iter().map(one).collect())
}
