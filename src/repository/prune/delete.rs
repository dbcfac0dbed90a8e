//! The end of P6: packs that nobody needs, then what said where they were, and last the marks.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    super::{
        Error, Listed,
        backend::{ErrorKind, Key},
        layout,
    },
    ABORTS, ABORTS_OF_COPIES, WAIT,
    execute::Work,
    live::LivePacks,
    status::{Fate, Fates},
};
use crate::types::{BackupId, Name};

/// Deletions at once.
const DELETIONS: usize = 16;
/// Keys that are held between a listing and their deletion.
const BATCH: usize = 1_000;

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
                    dead.push((meta.key, meta.size));
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
                    dead.push((meta.key, meta.size));
                }
            }
            self.done.objects += self.delete_all(dead).await?.0;
        }
        Ok(())
    }

    /// Deletes objects, and gives how many and their bytes; what a lock keeps is noted.
    async fn delete_all(&mut self, objects: Vec<(Key, u64)>) -> Result<(u64, u64), Error> {
        self.changed |= !objects.is_empty();
        let backend = &self.repository.backend;
        let deletions = stream::iter(objects).map(|(key, size)| async move {
            match backend.delete(&key).await {
                Ok(()) => Ok((None, size)),
                Err(error) if error.kind == ErrorKind::Locked => Ok((Some(key), size)),
                Err(error) => Err(Error::from(error)),
            }
        });
        let mut done = deletions.buffer_unordered(DELETIONS);
        let (mut sum, mut locked) = ((0, 0), Vec::new());
        while let Some((kept, size)) = done.try_next().await? {
            match kept {
                None => sum = (sum.0 + 1, sum.1 + size),
                Some(key) => locked.push(key),
            }
        }
        drop(done);
        for key in locked {
            self.kept.extend(layout::parse_pack(&key).map(|(run, _)| run).or_else(|| layout::run_of_meta(&key)));
            self.note_locked(key).await;
        }
        Ok(sum)
    }

    /// Sessions and accept marks of what is gone; and abort markers of runs that have been gone for very long.
    async fn end_runs(&mut self, fates: &Fates) -> Result<(), Error> {
        let policy = &self.options.policy;
        let mut gone = Vec::new();
        for ((of, backup), meta) in &self.survey.sessions {
            if of == policy && fates.of(backup) == Fate::Goes && !self.kept.contains(backup) {
                gone.push((meta.key.clone(), meta.size));
            }
        }
        let accepts = self.repository.marks(&layout::accepts_of(Some(policy))).await?;
        let accepts: Vec<_> =
            accepts.into_iter().filter(|((_, id), _)| fates.has_to_go(id)).map(|(_, meta)| meta).collect();
        let signatures: Vec<_> = accepts.iter().map(|meta| (layout::signature(&meta.key), 0)).collect();
        gone.extend(accepts.into_iter().map(|meta| (meta.key, meta.size)));
        for entry in &self.survey.entries {
            let has_session = self.survey.sessions.contains_key(&(entry.policy.clone(), entry.backup.clone()));
            let kept = if self.options.is_copy { ABORTS_OF_COPIES } else { ABORTS };
            let old = self.survey.now.duration_since(entry.modified) >= kept;
            if entry.policy == *policy && entry.listed == Listed::Aborted && old && !has_session {
                gone.push((entry.key.clone(), 0));
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
        let there = |backup: &BackupId| {
            self.survey.backups.iter().any(|one| one.entry.backup == *backup && !self.done.deleted.contains(backup))
        };
        let old = |at: Timestamp| self.survey.now.duration_since(at) >= self.options.evidence;
        let mut gone = Vec::new();
        let mut objects = self.repository.backend.list(&layout::evidence_of(policy));
        while let Some(meta) = objects.try_next().await? {
            if old(meta.modified) && layout::run_of_evidence(&meta.key).is_some_and(|backup| !there(&backup)) {
                gone.push((meta.key, meta.size));
            }
        }
        self.done.objects += self.delete_all(gone).await?.0;
        Ok(())
    }
}
