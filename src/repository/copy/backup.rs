//! One backup, from the session to the manifest.

use super::{
    super::{
        CommitOutcome, Error, Scope,
        catalog::{Marker, StoredManifest},
        control,
        crypt::signature,
        layout,
    },
    Copier, CopyCounts, CopyOutcome, Counted,
    packs::{Needed, owners_of},
    session::Begun,
};
use crate::types::{BackupId, Name};
use bytes::Bytes;
use std::collections::BTreeSet;

impl Copier<'_> {
    /// Brings a backup into the copy. What is there is not sent again, so a copy that was killed goes on where it was; and
    /// what is missing of one that is there is.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Gone`] if something of the backup is not what was written, in the one store or in the
    /// other: then it does not become visible in the copy. [`Error::Aborted`] if the copy's prune has given this one up,
    /// [`Error::Copy`], [`Error::Unsigned`], and what the stores say; within [`Error::Begun`] once the session is there.
    pub async fn copy(&self, policy: &Name, schedule: &Name, backup: &BackupId) -> Result<CopyOutcome, Error> {
        let Some((stored, bytes)) = self.original(policy, schedule, backup).await? else {
            return Ok(CopyOutcome::Gone);
        };
        let outcome = match self.is_there(&stored, &bytes).await? {
            true => self.mend(&stored, false).await,
            false => self.send(&stored, bytes).await.map(CopyOutcome::Copied),
        };
        match outcome {
            // Its packs may go while they are read, if it is pruned meanwhile.
            Err(error) if error.is_damage() && self.is_going(policy, schedule, backup).await? => Ok(CopyOutcome::Gone),
            outcome => outcome,
        }
    }

    /// What [`Self::copy`] would send; nothing is written. Packs that `counted` has are counted no more.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub async fn would_copy(
        &self,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        counted: &mut Counted,
    ) -> Result<CopyOutcome, Error> {
        let Some((stored, bytes)) = self.original(policy, schedule, backup).await? else {
            return Ok(CopyOutcome::Gone);
        };
        if self.is_there(&stored, &bytes).await? {
            return self.mend(&stored, true).await;
        }
        let manifest = &stored.manifest;
        let refs = self.from.refs_lines(backup, &manifest.refs).await?;
        let needed = match self.look(manifest, &refs, &owners_of(&refs)).await {
            Err(error) if error.is_damage() && self.is_going(policy, schedule, backup).await? => {
                return Ok(CopyOutcome::Gone);
            }
            looked => looked?,
        };
        let mut counts = CopyCounts { bytes: manifest.streams.size + manifest.refs.size, ..CopyCounts::default() };
        for line in needed.missing.iter().filter_map(|at| refs.get(*at)) {
            if counted.0.insert((line.backup.clone(), line.pack)) {
                counts.packs += 1;
                counts.bytes += line.size;
            }
        }
        counts.packs_there = refs.len() as u64 - counts.packs;
        Ok(CopyOutcome::Copied(counts))
    }

    /// The manifest of the original, with its bytes; `None` if it is gone.
    async fn original(
        &self,
        policy: &Name,
        schedule: &Name,
        backup: &BackupId,
    ) -> Result<Option<(StoredManifest, Bytes)>, Error> {
        let key = layout::manifest(policy, schedule, backup);
        let got = self.from.get_signed(&key, signature::MANIFEST, control::MAX_CONTROL as u64).await;
        let (bytes, signature) = match got {
            Ok(got) => got,
            Err(Error::Gone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.from.parse_marker(&key, (policy, schedule, backup), &bytes)? {
            Marker::Aborted => Ok(None),
            Marker::Manifest(stored) => {
                let stored = StoredManifest { signature, ..*stored };
                stored.refuse_unsigned(false)?;
                Ok(Some((stored, bytes)))
            }
        }
    }

    /// Whether the copy has it already.
    async fn is_there(&self, stored: &StoredManifest, bytes: &Bytes) -> Result<bool, Error> {
        let StoredManifest { manifest, .. } = stored;
        let place = (&manifest.policy, &manifest.schedule, &manifest.backup);
        let key = layout::manifest(place.0, place.1, place.2);
        let found = match self.to.backend().get(&key, control::MAX_CONTROL as u64).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if found == *bytes {
            return Ok(true);
        }
        match self.to.parse_marker(&key, place, &found)? {
            Marker::Aborted => Err(Error::Aborted { backup: place.2.clone() }),
            Marker::Manifest(_) => {
                Err(Error::damaged(&key, format!("the one in {} differs from the original's", self.place_written())))
            }
        }
    }

    /// Whether the original's prune takes the backup away.
    async fn is_going(&self, policy: &Name, schedule: &Name, backup: &BackupId) -> Result<bool, Error> {
        let scope = Scope::Schedule(policy.clone(), schedule.clone());
        let is_listed = self.from.list_manifests(&scope).await?.iter().any(|one| one.backup == *backup);
        let tombstones = self.from.believed_tombstones(policy).await?;
        Ok(!is_listed || tombstones.contains_key(&(policy.clone(), backup.clone())))
    }

    async fn send(&self, original: &StoredManifest, bytes: Bytes) -> Result<CopyCounts, Error> {
        let manifest = &original.manifest;
        let backup = &manifest.backup;
        let refs = self.from.refs_lines(backup, &manifest.refs).await?;
        let owners = owners_of(&refs);
        let Needed { ahead, mut proven, .. } = self.look(manifest, &refs, &owners).await?;
        self.to.backend().lock_ready().await?;
        let bytes_of =
            |places: &[usize]| -> u64 { places.iter().filter_map(|at| refs.get(*at)).map(|line| line.size).sum() };
        if !ahead.is_empty() {
            self.options.monitor.phase(&format!("copying {backup}"), "bytes", Some(bytes_of(&ahead)));
            if self.send_ahead(manifest, &refs, &ahead).await? {
                proven = self.look(manifest, &refs, &owners).await.map_err(Error::begun(backup))?.proven;
            }
        }
        let begun = Error::begun(backup);
        let session = self.put_session(original, &owners).await;
        let Begun { at: session, unnamed, kept } = session.map_err(|error| match error {
            error @ Error::Begun { .. } => error,
            error if ahead.is_empty() => error,
            error => begun(error),
        })?;
        let work = async {
            self.refuse_late(backup, session)?;
            let known = self.owners(manifest, (&owners, &kept), session).await?;
            let needed = self.needed(&refs, Some(&known)).await?;
            if !self.options.relies_on_all() {
                self.cover(manifest, needed.doubtful, &known).await?;
                self.cover_lists(manifest, &known).await?;
            }
            let missing = needed.missing;
            if ahead.is_empty() || !missing.is_empty() {
                self.options.monitor.phase(&format!("copying {backup}"), "bytes", Some(bytes_of(&missing)));
            }
            self.send_packs(&refs, &missing).await?;
            // What was sent ahead counts once, also if it had to be sent again.
            let sent: BTreeSet<usize> = ahead.iter().chain(&missing).copied().collect();
            let sent: Vec<usize> = sent.into_iter().collect();
            let (packs, all) = (sent.len() as u64, refs.len() as u64);
            let mut counts = CopyCounts { packs, bytes: bytes_of(&sent), packs_there: all - packs };
            let lists = self.send_meta(manifest, &proven, &mut counts).await?;
            self.check_presence(manifest, &refs, &lists).await?;
            self.to.lock_for_copy(&refs, &sent, lists).await?;
            self.must_stay(manifest, &unnamed).await?;
            self.refuse_late(backup, session)?;
            let key = layout::manifest(&manifest.policy, &manifest.schedule, backup);
            self.send_signature(&key).await?;
            if !self.options.to_copy {
                self.send_pin(manifest).await?;
            }
            match self.to.put_manifest(manifest.clone(), bytes).await? {
                CommitOutcome::Committed(_) => Ok(counts),
                CommitOutcome::Fenced => Err(Error::Aborted { backup: backup.clone() }),
            }
        };
        work.await.map_err(begun)
    }
}
