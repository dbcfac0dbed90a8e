//! Bringing backups into a copy of the repository, or back from one.

mod choose;
mod place;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::place::{CopyError, CopyPlace};
use self::{
    choose::{Choice, chosen},
    place::{open_source, open_target, refuse_within},
};
use super::{BackupRef, Error, KeyOptions, Run, catalog};
use crate::{
    policy::Policy,
    repository::{self, Copier, CopyCounts, CopyOptions, CopyOutcome, Counted, Rate, Repository, Scope},
    types::{BackupId, Name},
};

/// What the command line says about a copy.
#[derive(Debug, Clone)]
pub struct CopyAsked {
    /// Where backups come from.
    pub from: CopyPlace,
    /// Where they go to.
    pub to: CopyPlace,
    /// Which ones.
    pub which: WhichBackups,
    /// Bytes a second; absent: what the policy says of the copy.
    pub bandwidth: Option<u64>,
    /// Nothing is written.
    pub dry_run: bool,
}

/// Which backups are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichBackups {
    /// All that the copy lacks and its `keep` would keep.
    All,
    /// Of these the ones of one schedule.
    Schedule(Name),
    /// This one, whatever `keep` says.
    One(BackupRef),
}

/// What a copy has done, or would do.
#[derive(Debug)]
pub struct Copies {
    /// The store that was read.
    pub from: String,
    /// The store that was written.
    pub to: String,
    /// The backups that were looked at, oldest first.
    pub backups: Vec<CopiedBackup>,
    /// Accept marks that were sent.
    pub accepts: u64,
    /// Why it ended before its end.
    pub ended: Option<Error>,
}

/// A backup of the original, and what became of it.
#[derive(Debug)]
pub struct CopiedBackup {
    /// Its schedule.
    pub schedule: Name,
    /// Its id.
    pub backup: BackupId,
    /// What became of it.
    pub fate: CopyFate,
}

/// What became of a backup of the original.
#[derive(Debug)]
pub enum CopyFate {
    /// It is in the copy now, or would be.
    Copied(CopyCounts),
    /// It was there before.
    There,
    /// It does not belong into the copy: why.
    LeftOut(String),
    /// It could not be copied.
    Failed(Box<Error>),
}

impl Copies {
    /// Of a copy that could not be begun.
    #[must_use]
    pub fn not_begun(policy: &Policy, asked: &CopyAsked, error: Error) -> Self {
        let url = |place: &CopyPlace| place.of(policy).map(|at| at.repository.url.to_string()).unwrap_or_default();
        let (from, to) = (url(&asked.from), url(&asked.to));
        Self { from, to, backups: Vec::new(), accepts: 0, ended: Some(error) }
    }

    /// How many were copied.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.backups.iter().filter(|one| matches!(one.fate, CopyFate::Copied(_))).count() as u64
    }

    /// The sums of all that were copied.
    #[must_use]
    pub fn counts(&self) -> CopyCounts {
        let mut sum = CopyCounts::default();
        for one in &self.backups {
            if let CopyFate::Copied(CopyCounts { packs, bytes, packs_there }) = &one.fate {
                sum.packs += packs;
                sum.bytes += bytes;
                sum.packs_there += packs_there;
            }
        }
        sum
    }

    /// The backups that could not be copied, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&BackupId, &Error)> {
        self.backups.iter().filter_map(|one| match &one.fate {
            CopyFate::Failed(error) => Some((&one.backup, error.as_ref())),
            _ => None,
        })
    }

    /// Whether everything that belongs into the copy is in it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ended.is_none() && self.failed().next().is_none()
    }
}

/// Brings backups of the policy from one of its places into another, oldest first. One that is damaged does not keep the
/// others from being copied; a store that fails ends it, which [`Copies::ended`] says.
///
/// # Errors
/// [`Error`] if one of the stores cannot be used, or what is asked for cannot be copied: then nothing was written.
pub async fn copy(policy: &Policy, asked: &CopyAsked, keys: &KeyOptions, run: &Run) -> Result<Copies, Error> {
    run.monitor.phase("connecting", "step", None);
    let (at_source, at_target) = (asked.from.of(policy)?, asked.to.of(policy)?);
    if asked.from == asked.to {
        return Err(CopyError::ToItself { place: asked.to.to_string() }.into());
    }
    refuse_within(&at_source, &at_target, &asked.to)?;
    let source = open_source(&at_source, keys).await?;
    let target = open_target(&source, &at_target, asked.dry_run, run).await?;
    between((&source, target.as_ref()), policy, asked, run).await
}

/// [`copy`] between two opened places; without the second, it is not made yet, and this is a dry run.
pub(super) async fn between(
    (source, target): (&Repository, Option<&Repository>),
    policy: &Policy,
    asked: &CopyAsked,
    run: &Run,
) -> Result<Copies, Error> {
    let (at_source, at_target) = (asked.from.of(policy)?, asked.to.of(policy)?);
    let chosen = chosen(source, target, &at_target, &asked.which, run.clock.now()).await?;
    let (from, to) = (source.location().to_owned(), at_target.repository.url.to_string());
    let mut copies = Copies { from, to, backups: Vec::new(), accepts: 0, ended: None };
    let options = CopyOptions {
        from_copy: at_source.is_at_copy(),
        ..CopyOptions::new(
            Arc::clone(&run.clock),
            Arc::clone(&run.monitor),
            Rate::new(asked.bandwidth.or_else(|| asked.to.bandwidth(policy))),
        )
    };
    let work = async {
        match target {
            Some(target) => {
                let copier = Copier::new(source, target, options);
                let mut counted = asked.dry_run.then(Counted::default);
                each((&copier, policy), chosen, &mut counted, &mut copies).await?;
                if !asked.dry_run {
                    let (accepts, left) = copier.send_accepts(&policy.name).await?;
                    copies.accepts = accepts;
                    if asked.to == CopyPlace::Repository {
                        copier.send_pins(&policy.name).await?;
                    }
                    if let Some(first) = left.into_iter().next() {
                        return Err(first.into());
                    }
                }
                Ok(())
            }
            None => would_begin(source, policy, chosen, options, &mut copies).await,
        }
    };
    let ended: Result<(), Error> = tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Interrupted),
        ended = work => ended,
    };
    copies.ended = ended.err();
    Ok(copies)
}

/// One after the other. Damage and the like is of one backup; what the stores say ends it.
async fn each(
    (copier, policy): (&Copier<'_>, &Policy),
    chosen: Vec<Choice>,
    counted: &mut Option<Counted>,
    copies: &mut Copies,
) -> Result<(), Error> {
    for Choice { schedule, backup, named, left_out } in chosen {
        let fate = match left_out {
            Some(fate) => fate,
            None => {
                let outcome = match counted {
                    Some(counted) => copier.would_copy((&policy.name, &schedule, &backup), counted).await,
                    None => copier.copy(&policy.name, &schedule, &backup).await,
                };
                match outcome {
                    Ok(CopyOutcome::Copied(counts)) => CopyFate::Copied(counts),
                    Ok(CopyOutcome::There) => CopyFate::There,
                    Ok(CopyOutcome::Gone) => not_to_be_had(&backup, named, GONE),
                    // While it was under way: something was written by then.
                    Err(error @ repository::Error::Begun { .. }) if named && error.is_given_up() => {
                        CopyFate::Failed(Box::new(error.into()))
                    }
                    Err(error) if error.is_given_up() => not_to_be_had(&backup, named, GIVEN_UP),
                    Err(error) if concerns_one(&error) => CopyFate::Failed(Box::new(error.into())),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        copies.backups.push(CopiedBackup { schedule, backup, fate });
    }
    Ok(())
}

/// What there is nothing to be done about: among others it is left out; asked for by name, it is a failure.
fn not_to_be_had(backup: &BackupId, named: bool, why: &str) -> CopyFate {
    if named {
        CopyFate::Failed(Box::new(Error::Unusable { backup: backup.to_string(), why: why.to_owned() }))
    } else {
        CopyFate::LeftOut(why.to_owned())
    }
}

const GIVEN_UP: &str = "was given up in the copy: it had not ended in 7 days, and its packs may be gone; `drctl prune` takes that \
                        mark away after 400 days";

const GONE: &str = "was deleted meanwhile, or is about to be";

/// Whether a failure is of this backup and says nothing of the next one.
fn concerns_one(error: &repository::Error) -> bool {
    use repository::Error as E;
    match error {
        E::Begun { source, .. } => concerns_one(source),
        E::Copy(_) | E::PacksGone { .. } | E::SessionTooOld { .. } | E::Unsigned { .. } | E::OverLimit { .. } => true,
        E::NewerFormat { .. } => true,
        error => error.is_damage(),
    }
}

/// A dry run of a copy that is not made yet: everything would be sent.
async fn would_begin(
    source: &Repository,
    policy: &Policy,
    chosen: Vec<Choice>,
    options: CopyOptions,
    copies: &mut Copies,
) -> Result<(), Error> {
    let nothing: Arc<dyn repository::backend::Backend> = Arc::new(repository::backend::Memory::default());
    let target = source.planned_in(nothing);
    let copier = Copier::new(source, &target, options);
    each((&copier, policy), chosen, &mut Some(Counted::default()), copies).await
}

/// How far a copy is behind: backups of a schedule that belong into it and are not there, and since when the oldest of them
/// waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Behind {
    /// How many.
    pub(super) backups: u64,
    /// The start of the oldest of them.
    pub(super) since: Option<Timestamp>,
}

/// How far the replica `target` is behind `source`, by the rules of the policy as it is at the copy.
pub(super) async fn behind(
    source: &Repository,
    target: &Repository,
    at_target: &Policy,
    schedule: &Name,
    now: Timestamp,
) -> Result<Behind, Error> {
    let which = WhichBackups::Schedule(schedule.clone());
    let chosen = chosen(source, Some(target), at_target, &which, now).await?;
    let waiting: Vec<Timestamp> =
        chosen.iter().filter(|one| one.left_out.is_none()).map(|one| one.backup.time()).collect();
    Ok(Behind { backups: waiting.len() as u64, since: waiting.iter().min().copied() })
}

/// The backup that is asked for by name.
async fn named(source: &Repository, policy: &Policy, wanted: &BackupRef) -> Result<(Name, BackupId, bool), Error> {
    let found = catalog::find(source, Some(policy), wanted).await?;
    let manifest = found.stored.manifest;
    let entries = source.backups(&Scope::Schedule(manifest.policy.clone(), manifest.schedule.clone())).await?;
    let tombstoned = entries.iter().any(|entry| entry.backup == manifest.backup && entry.tombstoned);
    Ok((manifest.schedule, manifest.backup, tombstoned))
}
