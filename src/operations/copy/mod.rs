//! Bringing backups into a copy of the repository, or back from one.

mod behind;
mod choose;
mod place;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::OnceCell;

pub(super) use self::behind::{Behind, behind};
pub use self::place::{CopyError, CopyPlace};
use self::{
    choose::{Choice, Target, chosen},
    place::{find_target, make_target, open_source, refuse_within},
};
use super::{BackupRef, Error, KeyOptions, Run, catalog};
use crate::{
    policy::Policy,
    repository::{self, Copier, CopyCounts, CopyOptions, CopyOutcome, Counted, Listings, Rate, Repository, Scope},
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

/// What was listed of the place that is read: once for all the places that are compared with it.
#[derive(Debug, Default)]
pub struct Originals(OnceCell<Listings>);

impl Originals {
    async fn of(&self, source: &Repository, policy: &Name) -> Result<&Listings, Error> {
        Ok(self.0.get_or_try_init(|| source.listings(policy)).await?)
    }
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
    /// The repository in the place that is written was made for it.
    pub made: bool,
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
    /// It was there before, and lacked what was sent again, or would be.
    Mended(CopyCounts),
    /// It was there before.
    There,
    /// It was given up in that place, and cannot be brought there for long: why.
    GivenUp(String),
    /// It is there, belongs there, and has a tombstone there: a prune is about to delete it.
    Going(String),
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
        Self { from, to, backups: Vec::new(), accepts: 0, made: false, ended: Some(error) }
    }

    /// How many were copied.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.backups.iter().filter(|one| matches!(one.fate, CopyFate::Copied(_))).count() as u64
    }

    /// How many were there, and lacked something that was sent again.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.backups.iter().filter(|one| matches!(one.fate, CopyFate::Mended(_))).count() as u64
    }

    /// The backups that were given up in that place.
    pub fn given_up(&self) -> impl Iterator<Item = &BackupId> {
        self.backups.iter().filter(|one| matches!(one.fate, CopyFate::GivenUp(_))).map(|one| &one.backup)
    }

    /// The backups that belong there, are there, and are about to be deleted there.
    pub fn going(&self) -> impl Iterator<Item = &BackupId> {
        self.backups.iter().filter(|one| matches!(one.fate, CopyFate::Going(_))).map(|one| &one.backup)
    }

    /// The sums of all that were copied.
    #[must_use]
    pub fn counts(&self) -> CopyCounts {
        let mut sum = CopyCounts::default();
        for one in &self.backups {
            if let CopyFate::Copied(counts) | CopyFate::Mended(counts) = &one.fate {
                let CopyCounts { packs, bytes, packs_there } = counts;
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

    /// Whether everything that belongs into the copy is in it, and stays there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let lacks = |fate: &CopyFate| matches!(fate, CopyFate::Failed(_) | CopyFate::GivenUp(_) | CopyFate::Going(_));
        self.ended.is_none() && !self.backups.iter().any(|one| lacks(&one.fate))
    }
}

/// Brings backups of the policy from one of its places into another, oldest first. One that is damaged does not keep the
/// others from being copied; a store that fails ends it, which [`Copies::ended`] says. `originals` is for all copies from one
/// place.
///
/// # Errors
/// [`Error`] if one of the stores cannot be used, or what is asked for cannot be copied: then nothing was written.
pub async fn copy(
    policy: &Policy,
    (asked, originals): (&CopyAsked, &Originals),
    keys: &KeyOptions,
    run: &Run,
) -> Result<Copies, Error> {
    run.monitor.phase("connecting", "step", None);
    let (at_source, at_target) = (asked.from.of(policy)?, asked.to.of(policy)?);
    if asked.from == asked.to {
        return Err(CopyError::ToItself { place: asked.to.to_string() }.into());
    }
    refuse_within(&at_source, &at_target, &asked.to)?;
    let source = open_source(&at_source, keys).await?;
    let found = find_target(&source, &at_target).await?;
    let chosen = chosen_for((&source, found.as_ref()), (&at_target, asked), run).await?;
    let makes = found.is_none() && !asked.dry_run && chosen.iter().any(Choice::is_missing);
    let target = match found {
        Some(_) if !asked.dry_run => Some(make_target(&source, &at_target, run).await?),
        None if makes => Some(make_target(&source, &at_target, run).await?),
        found => found,
    };
    let copies = bring((&source, target.as_ref()), policy, (asked, originals), (chosen, run)).await?;
    Ok(Copies { made: makes, ..copies })
}

/// [`copy`] between two opened places.
#[cfg(test)]
pub(super) async fn between(
    (source, target): (&Repository, &Repository),
    policy: &Policy,
    asked: &CopyAsked,
    run: &Run,
) -> Result<Copies, Error> {
    let at_target = asked.to.of(policy)?;
    let chosen = chosen_for((source, Some(target)), (&at_target, asked), run).await?;
    bring((source, Some(target)), policy, (asked, &Originals::default()), (chosen, run)).await
}

async fn chosen_for(
    (source, repository): (&Repository, Option<&Repository>),
    (policy, asked): (&Policy, &CopyAsked),
    run: &Run,
) -> Result<Vec<Choice>, Error> {
    let target = Target { repository, place: &asked.to, policy };
    chosen(source, &target, &asked.which, run.clock.now()).await
}

/// Brings what was chosen; without the second place, it is not made yet, and nothing is written.
async fn bring(
    (source, target): (&Repository, Option<&Repository>),
    policy: &Policy,
    (asked, originals): (&CopyAsked, &Originals),
    (mut chosen, run): (Vec<Choice>, &Run),
) -> Result<Copies, Error> {
    let (at_source, at_target) = (asked.from.of(policy)?, asked.to.of(policy)?);
    let (from, to) = (source.location().to_owned(), at_target.repository.url.to_string());
    let mut copies = Copies { from, to, backups: Vec::new(), accepts: 0, made: false, ended: None };
    let options = CopyOptions {
        from_copy: at_source.is_at_copy(),
        to_copy: at_target.is_at_copy(),
        names: (asked.from.in_words(), asked.to.in_words()),
        ..CopyOptions::new(
            Arc::clone(&run.clock),
            Arc::clone(&run.monitor),
            Rate::new(asked.bandwidth.or_else(|| asked.to.bandwidth(policy))),
        )
    };
    let place = Target { repository: target, place: &asked.to, policy: &at_target };
    let work = async {
        match target {
            Some(target) => {
                let copier = Copier::new(source, target, options);
                let mut counted = asked.dry_run.then(Counted::default);
                those_that_are_whole((&copier, originals), (source, target), &policy.name, &mut chosen).await?;
                each((&copier, &place), chosen, &mut counted, &mut copies).await?;
                if !asked.dry_run {
                    let (accepts, left) = copier.send_accepts(&policy.name).await?;
                    copies.accepts = accepts;
                    if let Some(first) = left.into_iter().next() {
                        return Err(first.into());
                    }
                }
                Ok(())
            }
            None => would_begin(source, &place, chosen, options, &mut copies).await,
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

/// Of what is listed in both places, what lacks nothing by the listings needs no closer look.
async fn those_that_are_whole(
    (copier, originals): (&Copier<'_>, &Originals),
    (source, target): (&Repository, &Repository),
    policy: &Name,
    chosen: &mut [Choice],
) -> Result<(), Error> {
    let listed: Vec<_> = chosen.iter().filter_map(|one| one.listed.clone()).collect();
    if listed.is_empty() {
        return Ok(());
    }
    let lists = (originals.of(source, policy).await?, &target.listings(policy).await?);
    let lacking = copier.lacking(lists, &listed).await?;
    for one in chosen.iter_mut().filter(|one| one.listed.is_some() && !lacking.contains(&one.backup)) {
        one.left_out = Some(CopyFate::There);
    }
    Ok(())
}

/// One after the other. Damage and the like is of one backup; what the stores say ends it.
async fn each(
    (copier, target): (&Copier<'_>, &Target<'_>),
    chosen: Vec<Choice>,
    counted: &mut Option<Counted>,
    copies: &mut Copies,
) -> Result<(), Error> {
    let policy = &target.policy.name;
    for Choice { schedule, backup, named, left_out, .. } in chosen {
        let fate = match left_out {
            Some(fate) => fate,
            None => {
                let outcome = match counted {
                    Some(counted) => copier.would_copy((policy, &schedule, &backup), counted).await,
                    None => copier.copy(policy, &schedule, &backup).await,
                };
                match outcome {
                    Ok(CopyOutcome::Copied(counts)) => CopyFate::Copied(counts),
                    Ok(CopyOutcome::Mended(counts)) => CopyFate::Mended(counts),
                    Ok(CopyOutcome::There) => CopyFate::There,
                    Ok(CopyOutcome::Gone) => not_to_be_had(&backup, named, GONE),
                    // While it was under way: something was written by then.
                    Err(error @ repository::Error::Begun { .. }) if named && error.is_given_up() => {
                        CopyFate::Failed(Box::new(error.into()))
                    }
                    Err(error) if error.is_given_up() && named => not_to_be_had(&backup, named, &target.given_up()),
                    Err(error) if error.is_given_up() => CopyFate::GivenUp(target.given_up()),
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

const GONE: &str = "was deleted meanwhile from the place that it is copied from, or is about to be";

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
    place: &Target<'_>,
    chosen: Vec<Choice>,
    options: CopyOptions,
    copies: &mut Copies,
) -> Result<(), Error> {
    let nothing: Arc<dyn repository::backend::Backend> = Arc::new(repository::backend::Memory::default());
    let target = source.planned_in(nothing);
    let copier = Copier::new(source, &target, options);
    each((&copier, place), chosen, &mut Some(Counted::default()), copies).await
}

/// The backup that is asked for by name.
async fn named(source: &Repository, policy: &Policy, wanted: &BackupRef) -> Result<(Name, BackupId, bool), Error> {
    let found = catalog::find(source, Some(policy), wanted).await?;
    let manifest = found.stored.manifest;
    let entries = source.backups(&Scope::Schedule(manifest.policy.clone(), manifest.schedule.clone())).await?;
    let tombstoned = entries.iter().any(|entry| entry.backup == manifest.backup && entry.tombstoned);
    Ok((manifest.schedule, manifest.backup, tombstoned))
}
