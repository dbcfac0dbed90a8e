//! The session of a copy: put before anything of the copy is listed.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Map;

use super::{
    super::{
        Copied, Error, Session, StoredManifest,
        backend::{Key, PutOutcome},
        control, layout, tool,
        writer::nearest_if_apart,
    },
    Copier,
};
use crate::types::BackupId;

impl Copier<'_> {
    /// Puts the session that names `owners`, whose packs the backup needs, and gives its time by the copy's clock. The session
    /// of an earlier try is taken as it is: from its time on nothing of these has been deleted.
    pub(super) async fn put_session(
        &self,
        original: &StoredManifest,
        owners: &BTreeSet<BackupId>,
    ) -> Result<Timestamp, Error> {
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
            return self.prove_session(&key, bytes, before).await.map_err(Error::begun(&manifest.backup));
        }
        let found = self.to.session(&manifest.policy, &manifest.backup).await?;
        let names_all = session.parents.iter().all(|owner| found.parents.contains(owner));
        if found.copied.is_none() || found.schedule != session.schedule || !names_all {
            return Err(Error::damaged(&key, "it is not the session of a copy of this backup"));
        }
        Ok(backend.head(&key).await.map_err(|error| Error::reading(&key, error))?.modified)
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
            Ok(Session { copied: Some(copied), .. })
                if from.vouched(self.options.from_copy).await?.of(&manifest.backup, &original.signature) =>
            {
                Ok(copied.session)
            }
            Ok(_) => {
                let key = layout::session(&manifest.policy, &manifest.backup);
                match from.backend().head(&key).await {
                    Ok(meta) => Ok(Some(meta.modified)),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
