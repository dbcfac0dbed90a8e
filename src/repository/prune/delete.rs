//! The end of P6: packs that nobody needs, then what said where they were, and last the marks.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    super::{
        Error, Listed,
        backend::{ErrorKind, Key, ObjectMeta},
        layout,
    },
    ABORTS, ABORTS_OF_COPIES, WAIT,
    execute::{FoundNow, Work},
    live::LivePacks,
    status::{Fate, Fates},
};
use crate::types::{BackupId, Name};

/// Deletions at once.
const DELETIONS: usize = 16;
/// Keys that are held between a listing and their deletion.
const BATCH: usize = 1_000;

/// An object that is deleted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Doomed {
    key: Key,
    size: u64,
    /// The time that the survey saw of it, where it was read then: by now something else may be under its key.
    surveyed: Option<Timestamp>,
}

impl Doomed {
    /// One that was listed just now.
    fn of(meta: ObjectMeta) -> Self {
        Self { key: meta.key, size: meta.size, surveyed: None }
    }
}

/// What became of one.
enum Became {
    Deleted(u64),
    Locked(Key),
    /// It is not there any more, or something else is.
    PassedOver,
}

impl Work<'_> {
    /// Sweeps what belongs to no backup. Told to stop, it ends between two steps, and the next prune goes on.
    pub(super) async fn sweep(&mut self, fates: &Fates, live: &LivePacks) -> Result<(), Error> {
        self.sweep_packs(fates, live).await?;
        self.sweep_meta(fates).await?;
        if self.stops() {
            return Ok(());
        }
        self.end_runs(fates).await?;
        self.end_tombstones(fates).await?;
        self.end_evidence().await?;
        // A folder's rests of writes that were killed.
        let before = self.survey.now - WAIT;
        self.done.objects += self.repository.backend.remove_leftovers(before).await?;
        Ok(())
    }

    async fn sweep_packs(&mut self, fates: &Fates, live: &LivePacks) -> Result<(), Error> {
        let mut objects = self.repository.backend.list(layout::PACKS).ready_chunks(BATCH);
        while let Some(batch) = objects.next().await {
            if self.stops() {
                return Ok(());
            }
            let mut dead = Vec::new();
            for meta in batch {
                let meta = meta?;
                let Some((backup, pack)) = layout::parse_pack(&meta.key) else { continue };
                if self.goes(&backup, &meta, fates) && !live.contains(&backup, &pack) {
                    dead.push(Doomed::of(meta));
                }
            }
            let (packs, bytes) = self.delete_all(dead).await?;
            self.done.packs += packs;
            self.done.bytes += bytes;
        }
        Ok(())
    }

    async fn sweep_meta(&mut self, fates: &Fates) -> Result<(), Error> {
        let mut objects = self.repository.backend.list(layout::META).ready_chunks(BATCH);
        while let Some(batch) = objects.next().await {
            if self.stops() {
                return Ok(());
            }
            let mut dead = Vec::new();
            for meta in batch {
                let meta = meta?;
                let Some(backup) = layout::run_of_meta(&meta.key) else { continue };
                if self.goes(&backup, &meta, fates) {
                    dead.push(Doomed::of(meta));
                }
            }
            self.done.objects += self.delete_all(dead).await?.0;
        }
        Ok(())
    }

    /// Deletes objects, and gives how many and their bytes; what a lock keeps is noted. What was surveyed is passed over unless
    /// it is still that.
    async fn delete_all(&mut self, objects: Vec<Doomed>) -> Result<(u64, u64), Error> {
        self.changed |= !objects.is_empty();
        let repository = self.repository;
        let deletions = stream::iter(objects).map(|Doomed { key, size, surveyed }| async move {
            if let Some(surveyed) = surveyed
                && repository.found_now(&key, surveyed).await? != FoundNow::Same
            {
                return Ok(Became::PassedOver);
            }
            match repository.backend.delete(&key).await {
                Ok(()) => Ok(Became::Deleted(size)),
                Err(error) if error.kind == ErrorKind::Locked => Ok(Became::Locked(key)),
                Err(error) => Err(Error::from(error)),
            }
        });
        let mut done = deletions.buffer_unordered(DELETIONS);
        let (mut sum, mut locked) = ((0, 0), Vec::new());
        while let Some(became) = done.try_next().await? {
            match became {
                Became::Deleted(size) => sum = (sum.0 + 1, sum.1 + size),
                Became::Locked(key) => locked.push(key),
                Became::PassedOver => {}
            }
        }
        drop(done);
        for key in locked {
            self.kept.extend(layout::parse_pack(&key).map(|(run, _)| run).or_else(|| layout::run_of_meta(&key)));
            self.note_locked(key).await;
        }
        Ok(sum)
    }

    /// Sessions and accept marks of what is gone; and abort markers of runs that have been gone for very long. Another prune
    /// may have ended since the survey, and a copy have brought there again what that deleted: then these are not those that
    /// were surveyed.
    async fn end_runs(&mut self, fates: &Fates) -> Result<(), Error> {
        let policy = &self.options.policy;
        let mut gone = Vec::new();
        for ((of, backup), meta) in &self.survey.sessions {
            if of == policy && fates.of(backup) == Fate::Goes && !self.kept.contains(backup) {
                gone.push(Doomed { surveyed: Some(meta.modified), ..Doomed::of(meta.clone()) });
            }
        }
        let accepts = self.repository.marks(&layout::accepts_of(Some(policy))).await?;
        let goes = |id: &BackupId, meta: &ObjectMeta| fates.has_to_go(id) && meta.modified < self.survey.now;
        let accepts: Vec<_> =
            accepts.into_iter().filter(|((_, id), meta)| goes(id, meta)).map(|(_, meta)| meta).collect();
        let signature = |of: &ObjectMeta| Doomed { key: layout::signature(&of.key), size: 0, surveyed: None };
        let signatures: Vec<_> = accepts.iter().map(signature).collect();
        gone.extend(accepts.into_iter().map(Doomed::of));
        for entry in &self.survey.entries {
            let has_session = self.survey.sessions.contains_key(&(entry.policy.clone(), entry.backup.clone()));
            let kept = if self.options.is_copy { ABORTS_OF_COPIES } else { ABORTS };
            let old = self.survey.now.duration_since(entry.modified) >= kept;
            let ours = entry.policy == *policy && entry.listed == Listed::Aborted;
            // While packs of it are there, which others may need, a copy must not take them for those of a new try.
            if ours && old && !has_session && self.is_empty(policy, &entry.backup).await? {
                gone.push(Doomed { key: entry.key.clone(), size: 0, surveyed: Some(entry.modified) });
            }
        }
        let ours = layout::manifests_of(Some(policy), None);
        for (backup, meta) in &self.survey.strays {
            if meta.key.as_str().starts_with(&ours) && self.goes(backup, meta, fates) {
                gone.push(Doomed { surveyed: Some(meta.modified), ..Doomed::of(meta.clone()) });
            }
        }
        gone.sort();
        // Which of the marks are signed, their listing does not say: so these are not counted.
        self.delete_all(signatures).await?;
        self.done.objects += self.delete_all(gone).await?.0;
        Ok(())
    }

    /// A tombstone goes when nothing of its backup is left, and no manifest names the backup as the one before.
    async fn end_tombstones(&mut self, fates: &Fates) -> Result<(), Error> {
        let mut tombstones: Vec<_> = self.survey.tombstones.iter().collect();
        tombstones.sort_by(|a, b| a.0.cmp(b.0));
        for ((policy, backup), meta) in tombstones {
            let ours = *policy == self.options.policy && fates.has_to_go(backup);
            if ours && !self.survey.is_named(policy, backup, fates) && self.is_empty(policy, backup).await? {
                self.delete(&meta.key).await?;
            }
        }
        Ok(())
    }

    async fn is_empty(&self, policy: &Name, backup: &BackupId) -> Result<bool, Error> {
        let session = layout::session(policy, backup);
        for prefix in [layout::packs_of(backup), layout::meta_of(backup), session.as_str().to_owned()] {
            if self.repository.backend.list(&prefix).try_next().await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Evidence of backups that are gone, when it is old.
    async fn end_evidence(&mut self) -> Result<(), Error> {
        let policy = &self.options.policy;
        let there: HashSet<BackupId> = self.survey.backups.iter().map(|one| one.entry.backup.clone()).collect();
        let there: HashSet<BackupId> = there.into_iter().filter(|id| !self.done.deleted.contains(id)).collect();
        let old = |at: Timestamp| self.survey.now.duration_since(at) >= self.options.evidence;
        let mut objects = self.repository.backend.list(&layout::evidence_of(policy)).ready_chunks(BATCH);
        while let Some(batch) = objects.next().await {
            let mut gone = Vec::new();
            for meta in batch {
                let meta = meta?;
                if old(meta.modified) && layout::run_of_evidence(&meta.key).is_some_and(|id| !there.contains(&id)) {
                    gone.push(Doomed::of(meta));
                }
            }
            self.done.objects += self.delete_all(gone).await?.0;
        }
        Ok(())
    }
}
