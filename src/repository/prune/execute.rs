//! P3 to P6: fences, tombstones, and what they announced a day before.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Map;

use super::{
    super::{
        Abort, BackupEntry, Error, Listed, Repository,
        backend::{ErrorKind, Key, PutOutcome},
        control, layout,
    },
    IdleRun, PruneOptions, SETTLED, Survey, Surveyed, TombstoneBy,
    status::{Fate, Fates},
};
use crate::types::{BackupId, Name, State};

/// At most so many locked objects are named.
const MAX_NAMED: usize = 20;

/// What prune has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs that were taken for dead, and can never commit now.
    pub fenced: Vec<BackupId>,
    /// Backups that got a tombstone.
    pub marked: Vec<BackupId>,
    /// Backups that were deleted.
    pub deleted: Vec<BackupId>,
    /// Packs that were deleted.
    pub packs: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Other objects that were deleted.
    pub objects: u64,
    /// Packs of runs that are gone which other backups still need.
    pub live_packs: u64,
    /// Objects that were to be deleted and that a lock keeps: a later prune deletes them.
    pub locked: u64,
    /// The first of them, and until when they are locked, where the store says it.
    pub locked_named: Vec<(Key, Option<Timestamp>)>,
    /// It was told to stop before the end.
    pub interrupted: bool,
}

/// A prune under way.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) repository: &'a Repository,
    pub(super) survey: &'a Survey,
    pub(super) options: &'a PruneOptions,
    pub(super) done: Pruned,
    /// Something in the store is not what it was.
    pub(super) changed: bool,
    /// Runs of which a lock keeps something: their sessions stay, as of others whose deletion is under way.
    pub(super) kept: HashSet<BackupId>,
}

impl Repository {
    /// Fences the dead runs that `survey` found, marks `doomed`, and deletes what was marked a day before the survey, with
    /// all that belongs to no backup (P3 to P6).
    ///
    /// # Errors
    /// [`Error::Damaged`] if something cannot be read that says which packs are needed, and what the store says; as
    /// [`Error::HalfPruned`], if something was changed by then. Nothing that is needed is gone, and it can be run again.
    pub async fn prune(&self, survey: &Survey, doomed: &[BackupId], options: &PruneOptions) -> Result<Pruned, Error> {
        let mut work =
            Work { repository: self, survey, options, done: Pruned::default(), changed: false, kept: HashSet::new() };
        match work.run(doomed).await {
            Ok(()) => Ok(work.done),
            Err(error) if work.changed => Err(Error::HalfPruned { source: Box::new(error) }),
            Err(error) => Err(error),
        }
    }
}

/// What is under a key that was surveyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundNow {
    /// What was there.
    Same,
    /// Nothing.
    Nothing,
    /// Something that was put there since.
    Another,
}

/// Listings of some stores tell fractions of a second, and answers for one object do not.
const A_SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Repository {
    /// What is under a key now under which the survey saw what was put at `surveyed`.
    pub(super) async fn found_now(&self, key: &Key, surveyed: Timestamp) -> Result<FoundNow, Error> {
        match self.backend.head(key).await {
            Ok(meta) if meta.modified.duration_since(surveyed).abs() <= A_SECOND => Ok(FoundNow::Same),
            Ok(_) => Ok(FoundNow::Another),
            Err(error) if error.is_not_found() => Ok(FoundNow::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

impl Survey {
    /// The backups, of any policy, of which nobody can say what they need, and why: while there is one that is not
    /// about to be deleted, nothing can be pruned.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(&BackupEntry, String)> {
        let due = |entry: &BackupEntry| self.surveyed(entry).is_some_and(|one| one.due);
        let unreadable = |entry: &BackupEntry| match &entry.listed {
            Listed::Damaged(_) | Listed::Newer(_) => !due(entry),
            Listed::Backup(_) | Listed::Aborted => false,
        };
        let why = |entry: &BackupEntry| match &entry.listed {
            Listed::Damaged(why) | Listed::Newer(why) => why.clone(),
            Listed::Backup(_) | Listed::Aborted => String::new(),
        };
        self.entries.iter().filter(|entry| unreadable(entry)).map(|entry| (entry, why(entry))).collect()
    }

    fn surveyed(&self, entry: &BackupEntry) -> Option<&Surveyed> {
        self.backups.iter().find(|one| one.entry.key == entry.key)
    }
}

impl Work<'_> {
    async fn run(&mut self, doomed: &[BackupId]) -> Result<(), Error> {
        if let Some((entry, why)) = self.survey.unreadable().first() {
            return Err(Error::damaged(&entry.key, why.clone()));
        }
        let mut due = self.due(doomed);
        let mut fates = self.survey.fates(self.options, |backup| due.contains(backup));
        // Read before anything is changed: what cannot be read ends it here.
        let mut live = self.repository.live_packs(self.survey, &fates).await?;
        self.done.live_packs = live.len() as u64;
        self.fence().await?;
        self.mark(doomed).await?;
        let stay = self.delete_manifests(&due).await?;
        if self.done.interrupted {
            return Ok(());
        }
        if !stay.is_empty() {
            // What is listed needs all that is its own, and what it shares.
            due.retain(|backup| !stay.contains(backup));
            fates = self.survey.fates(self.options, |backup| due.contains(backup));
            live = self.repository.live_packs(self.survey, &fates).await?;
        }
        self.sweep(&fates, &live).await
    }

    /// The backups whose time has come. The planted fault deletes what it has just marked.
    fn due(&self, doomed: &[BackupId]) -> HashSet<BackupId> {
        let no_wait = self.options.planted(|it| it.no_wait);
        let at_once = |one: &&Surveyed| no_wait && !one.in_use && !one.pinned && doomed.contains(&one.entry.backup);
        self.survey.backups.iter().filter(|one| one.due || at_once(one)).map(|one| one.entry.backup.clone()).collect()
    }

    /// P3: a dead run can never commit from now on. One that has committed by now stays as it is: as far as this prune
    /// goes, it is a run whose parents are needed.
    async fn fence(&mut self) -> Result<(), Error> {
        for IdleRun { schedule, backup, last_sign } in &self.survey.idle {
            let policy = &self.options.policy;
            let abort = Abort {
                policy: policy.clone(),
                schedule: schedule.clone(),
                backup: backup.clone(),
                state: State::Aborted,
                at: self.options.clock.now(),
                reason: format!("no checkpoint for over 6 hours, the last sign of life was at {last_sign:.0}"),
                unknown: Map::new(),
            };
            let key = layout::manifest(policy, schedule, backup);
            if self.options.planted(|it| it.fence_by_overwrite) {
                self.repository.backend.delete(&key).await?;
            }
            // The answer may be lost and the marker be there: from here on something may be changed.
            self.changed = true;
            if self.repository.backend.put_new(&key, control::encode(&abort)?).await? == PutOutcome::Created {
                self.done.fenced.push(backup.clone());
            }
        }
        Ok(())
    }

    /// P4: a tombstone for each, and a listing that must show them.
    async fn mark(&mut self, doomed: &[BackupId]) -> Result<(), Error> {
        let schedule_of = |backup: &BackupId| {
            self.survey.backups.iter().find(|one| one.entry.backup == *backup).map(|one| one.entry.schedule.clone())
        };
        let doomed: Vec<(&BackupId, Name)> =
            doomed.iter().filter_map(|backup| Some((backup, schedule_of(backup)?))).collect();
        let policy = &self.options.policy;
        for (backup, schedule) in &doomed {
            self.changed = true;
            let name = (policy, schedule, *backup);
            self.repository.put_tombstone(name, TombstoneBy::Retention, self.options.clock.as_ref()).await?;
            self.done.marked.push((*backup).clone());
        }
        if doomed.is_empty() {
            return Ok(());
        }
        let listed = self.repository.marks(&layout::tombstones_of(Some(policy))).await?;
        match doomed.iter().find(|(backup, _)| !listed.contains_key(&(policy.clone(), (*backup).clone()))) {
            Some((backup, _)) => Err(self.repository.lags(&format!("the tombstone of {backup} is not listed"))),
            None => Ok(()),
        }
    }

    /// P6 begins: first the manifest and its signature, so that nothing that is listed lacks a pack; until it is told to
    /// stop. Gives the backups whose manifests are locked: they stay as they are.
    async fn delete_manifests(&mut self, due: &HashSet<BackupId>) -> Result<HashSet<BackupId>, Error> {
        let mut stays = HashSet::new();
        for one in self.survey.backups.iter().filter(|one| due.contains(&one.entry.backup)) {
            if self.stops() {
                break;
            }
            match self.repository.found_now(&one.entry.key, one.entry.modified).await? {
                FoundNow::Same => {}
                // Another prune has deleted it, and sees to the rest; or a copy is about to bring it again.
                FoundNow::Nothing => continue,
                // A copy has brought it again since.
                FoundNow::Another => {
                    stays.insert(one.entry.backup.clone());
                    continue;
                }
            }
            if !self.delete(&one.entry.key).await? {
                stays.insert(one.entry.backup.clone());
                continue;
            }
            self.delete(&layout::signature(&one.entry.key)).await?;
            self.done.deleted.push(one.entry.backup.clone());
        }
        Ok(stays)
    }

    /// Whether it was told to stop.
    pub(super) fn stops(&mut self) -> bool {
        self.done.interrupted |= self.options.cancel.is_cancelled();
        self.done.interrupted
    }

    /// Deletes an object that is no pack; `false` if a lock keeps it.
    pub(super) async fn delete(&mut self, key: &Key) -> Result<bool, Error> {
        self.changed = true;
        match self.repository.backend.delete(key).await {
            Ok(()) => {
                self.done.objects += 1;
                Ok(true)
            }
            Err(error) if error.kind == ErrorKind::Locked => {
                self.note_locked(key.clone()).await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers an object that a lock keeps, and until when, of the first few.
    pub(super) async fn note_locked(&mut self, key: Key) {
        self.done.locked += 1;
        if self.done.locked_named.len() < MAX_NAMED {
            let until = self.repository.backend.locked_until(&key).await.ok().flatten();
            self.done.locked_named.push((key, until));
        }
    }

    /// Whether the objects of this run go, one of which is `meta`.
    pub(super) fn goes(&self, backup: &BackupId, meta: &super::super::backend::ObjectMeta, fates: &Fates) -> bool {
        match fates.of(backup) {
            Fate::Stays => false,
            // A copy may have brought it since: its session was put after this survey, which knows nothing of it.
            Fate::Goes => self.survey.now.duration_since(meta.modified) >= SETTLED,
            Fate::Swept | Fate::Unknown => self.survey.is_old_garbage(meta),
        }
    }
}
