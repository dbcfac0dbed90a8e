//! On which packs of the copy a backup can rely.
//!
//! A prune of the copy that began before the copy's session was put knows nothing of it, and may still be deleting. It
//! never deletes a pack
//! - of a backup that has no tombstone, or of a run that has not ended (fenced, it would go a day later at the earliest,
//!   by a prune that sees the session);
//! - that a backup without a tombstone needs;
//! - of a run of which nothing is known, if the pack is younger than 7 days.
//!
//! A tombstone that no pinned signer has signed is none here: no prune deletes because of it, and a copy that gave way to it
//! could be held up by whoever may put one.
//!
//! What is read here is read after the session was put. A backup that needs any other pack waits.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        CopyRefused, Error, Listed, Manifest, Repository, Scope,
        catalog::Marker,
        chunks::PackName,
        layout,
        objects::{check_ref, get_exact},
        refs::{self, Ref},
        reuse::blocking,
    },
    Copier,
};
use crate::types::{BackupId, Name};

/// What a prune of the copy takes for garbage is older than this, by an hour at least.
const YOUNG: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the copy knows of a run whose packs are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It stays: a backup without a tombstone, or a run that has not ended.
    Stays,
    /// Nothing.
    Unknown,
    /// It is about to be deleted, or is being deleted.
    Going,
}

/// What the copy knows of all runs whose packs are needed, after the session was put.
#[derive(Debug)]
pub(super) struct Owners {
    known: HashMap<BackupId, Owner>,
    /// The time of the session by the copy's clock.
    session: Timestamp,
}

impl Owners {
    /// Whether a pack can be gone although it was listed just now (`modified`), or was put just now (`None`), unless a
    /// backup that stays needs it.
    pub(super) fn is_doubtful(&self, owner: &BackupId, modified: Option<Timestamp>) -> bool {
        match self.known.get(owner).copied().unwrap_or(Owner::Unknown) {
            Owner::Stays => false,
            Owner::Going => true,
            Owner::Unknown => modified.is_some_and(|modified| self.session.duration_since(modified) >= YOUNG),
        }
    }
}

impl Copier<'_> {
    /// What the copy knows of `owners`. The backup's own packs are guarded by its session and by the key of its manifest.
    pub(super) async fn owners(
        &self,
        manifest: &Manifest,
        owners: &BTreeSet<BackupId>,
        session: Timestamp,
    ) -> Result<Owners, Error> {
        let policy = &manifest.policy;
        let tombstones = self.to.believed_tombstones(policy).await?;
        // A tombstone outlives its backup, and a prune takes what it finds of that for the rest of a deletion: the session
        // that was put just now, and the lists.
        let is_marked = tombstones.contains_key(&(policy.clone(), manifest.backup.clone()));
        if is_marked && !self.options.ignores_marks() {
            let (backup, location) = (manifest.backup.clone(), self.to.location().to_owned());
            return Err(CopyRefused::Marked { backup, location }.into());
        }
        let sessions = self.to.marks(&layout::sessions_of(Some(policy))).await?;
        let listed = self.to.list_manifests(&Scope::Policy(policy.clone())).await?;
        let schedules: HashMap<_, _> = listed.into_iter().map(|one| (one.backup, one.schedule)).collect();
        let mut known = HashMap::from([(manifest.backup.clone(), Owner::Stays)]);
        for owner in owners.iter().filter(|owner| **owner != manifest.backup) {
            let mark = (policy.clone(), owner.clone());
            let is = match schedules.get(owner) {
                _ if tombstones.contains_key(&mark) => Owner::Going,
                Some(schedule) => match self.to.marker(policy, schedule, owner).await {
                    Ok(Marker::Manifest(_)) => Owner::Stays,
                    Ok(Marker::Aborted) | Err(Error::Gone { .. }) => Owner::Going,
                    Err(error) if error.is_damage() => Owner::Going,
                    Err(error) => return Err(error),
                },
                None if sessions.contains_key(&mark) => Owner::Stays,
                None => Owner::Unknown,
            };
            known.insert(owner.clone(), is);
        }
        Ok(Owners { known, session })
    }

    /// Refuses if one of `doubtful` is needed by no backup of the copy that stays.
    pub(super) async fn cover(&self, manifest: &Manifest, doubtful: Vec<PackName>) -> Result<(), Error> {
        let mut doubtful: HashSet<PackName> = doubtful.into_iter().collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let mut entries = self.to.backups(&Scope::Policy(manifest.policy.clone())).await?;
        while let (false, Some(entry)) = (doubtful.is_empty(), entries.pop()) {
            if let (Listed::Backup(summary), false) = (&entry.listed, entry.tombstoned) {
                for line in self.to.refs_lines(&entry.backup, &summary.refs).await? {
                    doubtful.remove(&(line.backup, line.pack));
                }
            }
        }
        let Some((owner, pack)) = doubtful.iter().min() else { return Ok(()) };
        Err(CopyRefused::Waits {
            backup: manifest.backup.clone(),
            location: self.to.location().to_owned(),
            count: doubtful.len(),
            first: layout::pack(owner, pack).to_string(),
        }
        .into())
    }
}

impl Repository {
    /// The backups of a policy that have a tombstone here which counts, whether they are still there or not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tombstoned(&self, policy: &Name) -> Result<HashSet<BackupId>, Error> {
        Ok(self.believed_tombstones(policy).await?.into_keys().map(|(_, backup)| backup).collect())
    }

    /// The packs that a backup needs.
    pub(super) async fn refs_lines(
        &self,
        backup: &BackupId,
        object: &super::super::ObjectRef,
    ) -> Result<Vec<Ref>, Error> {
        let key = layout::refs(backup);
        check_ref(backup, &key, object)?;
        let bytes = get_exact(&**self.backend(), &key, object.size, object.sha256).await?;
        blocking(&key, move || refs::decode(bytes)).await
    }
}
