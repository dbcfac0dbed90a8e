//! The session of a copy: put before anything of the copy is listed.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Map;

use super::{
    super::{
        Copied, CopyRefused, Error, Manifest, Scope, Session, StoredManifest,
        backend::{Key, PutOutcome},
        catalog::Marker,
        control, layout, tool,
        writer::nearest_if_apart,
    },
    Copier,
};
use crate::types::BackupId;

/// The session under which a backup is brought over.
#[derive(Debug)]
pub(super) struct Begun {
    /// Since when, by the clock of the place, prunes leave alone what it names.
    pub(super) at: Timestamp,
    /// Runs whose packs are needed and that it does not name: a backup there must keep each.
    pub(super) unnamed: Vec<BackupId>,
    /// Runs that the run's own session names, which is older: their packs were kept all the time.
    pub(super) kept: Vec<BackupId>,
}

impl Copier<'_> {
    /// Puts the session that names `owners`, whose packs the backup needs. That of an earlier try is taken as it is: from its
    /// time on nothing of these has been deleted.
    ///
    /// So is that of the run itself, in the place where the backup was made and has lost its manifest: it has kept the run's own
    /// packs and its parents', and if a prune takes the run for dead meanwhile, fence and commit compete for one key, as always.
    /// What it does not name, a backup there must keep.
    pub(super) async fn put_session(
        &self,
        original: &StoredManifest,
        owners: &BTreeSet<BackupId>,
    ) -> Result<Begun, Error> {
        let manifest = &original.manifest;
        let key = layout::session(&manifest.policy, &manifest.backup);
        let copied = Copied { session: self.session_time(original).await? };
        let clock = &self.options.clock;
        let session = Session {
            repository: manifest.repository.clone(),
            policy: manifest.policy.clone(),
            schedule: manifest.schedule.clone(),
            backup: manifest.backup.clone(),
            parents: owners.iter().filter(|owner| **owner != manifest.backup).cloned().collect(),
            full_since: manifest.full_since,
            started: clock.now(),
            tool: tool(),
            copied: Some(copied),
            unknown: Map::new(),
        };
        let bytes = control::encode(&session)?;
        let backend = self.to.backend();
        let before = clock.now();
        if backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created {
            let at = self.prove_session(&key, bytes, before).await.map_err(Error::begun(&manifest.backup))?;
            return Ok(Begun { at, unnamed: Vec::new(), kept: Vec::new() });
        }
        let found = match self.to.session(&manifest.policy, &manifest.backup).await {
            Err(Error::Gone { .. }) => return Err(self.to.spent(&key)),
            found => found?,
        };
        let unnamed: Vec<_> = session.parents.into_iter().filter(|owner| !found.parents.contains(owner)).collect();
        let own = found.copied.is_none();
        if found.schedule != session.schedule || (!own && !unnamed.is_empty()) {
            return Err(Error::damaged(&key, "it is not the session of this backup, nor of a copy of it"));
        }
        self.must_stay(manifest, &unnamed).await?;
        if own {
            // As long as its backup was there, prunes took it for the session of a run that has ended.
            let at = backend.clock().await?.unwrap_or(before);
            return Ok(Begun { at, unnamed, kept: found.parents });
        }
        let at = backend.head(&key).await.map_err(|error| Error::reading(&key, error))?.modified;
        Ok(Begun { at, unnamed, kept: Vec::new() })
    }

    /// Refuses unless a backup of the place without a tombstone is there of each of `runs`: then no prune deletes their packs
    /// within a day.
    pub(super) async fn must_stay(&self, manifest: &Manifest, runs: &[BackupId]) -> Result<(), Error> {
        if runs.is_empty() {
            return Ok(());
        }
        let policy = &manifest.policy;
        let tombstones = self.to.believed_tombstones(policy).await?;
        let listed = self.to.list_manifests(&Scope::Policy(policy.clone())).await?;
        for run in runs {
            let schedule = listed.iter().find(|one| one.backup == *run).map(|one| &one.schedule);
            let stays = match schedule {
                Some(schedule) if !tombstones.contains_key(&(policy.clone(), run.clone())) => {
                    match self.to.marker(policy, schedule, run).await {
                        Ok(marker) => matches!(marker, Marker::Manifest(_)),
                        Err(error) if error.is_damage() => false,
                        Err(error) => return Err(error),
                    }
                }
                _ => false,
            };
            if !stays {
                let (backup, place) = (manifest.backup.clone(), self.place_written());
                return Err(CopyRefused::Unguarded { backup, place, owner: run.clone() }.into());
            }
        }
        Ok(())
    }
}

impl Copier<'_> {
    /// The session is there since `before`: the store must not take it again, and its clock must agree.
    async fn prove_session(&self, key: &Key, bytes: Bytes, before: Timestamp) -> Result<Timestamp, Error> {
        let (backend, location) = (self.to.backend(), self.to.location().to_owned());
        if backend.put_new(key, bytes).await? == PutOutcome::Created {
            return Err(Error::CreateOnlyIgnored { location });
        }
        let store = backend.head(key).await.map_err(|error| Error::reading(key, error))?.modified;
        match nearest_if_apart(before, store, self.options.clock.now()) {
            Some(local) => Err(Error::ClockSkew { location, local, store }),
            None => Ok(store),
        }
    }

    /// When the run of a backup began, by the clock of the store that it was made in: the time of its session, or, where that
    /// is believed, what the session of a copy says of it. `None` if nothing says it.
    async fn session_time(&self, original: &StoredManifest) -> Result<Option<Timestamp>, Error> {
        let (from, manifest) = (self.from, &original.manifest);
        match from.session(&manifest.policy, &manifest.backup).await {
            Ok(session) => {
                let key = layout::session(&manifest.policy, &manifest.backup);
                let put = match from.backend().head(&key).await {
                    Ok(meta) => meta.modified,
                    Err(error) if error.is_not_found() => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                match session.copied {
                    Some(copied)
                        if from.vouched(self.options.from_copy).await?.of(
                            &manifest.backup,
                            put,
                            &original.signature,
                        ) =>
                    {
                        Ok(copied.session)
                    }
                    _ => Ok(Some(put)),
                }
            }
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
