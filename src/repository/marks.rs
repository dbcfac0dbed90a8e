//! Marks that people read or make: sessions listed, suspect backups accepted.

use jiff::Timestamp;

use super::{
    Accept, Error, Repository, Scope, Session, backend::PutOutcome, catalog::StoredManifest, control, layout, tool,
};
use crate::types::{BackupId, Clock, Name};

/// A run that has begun, in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEntry {
    /// The policy, by the key.
    pub policy: Name,
    /// The backup, by the key.
    pub backup: BackupId,
    /// When it was written, by the store's clock.
    pub began: Timestamp,
    /// What became of the run so far.
    pub state: SessionState,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionState {
    /// There is an object at its manifest key: it committed, or was fenced.
    Ended,
    /// There is none: it runs, or died.
    Open {
        /// The session.
        session: Box<Session>,
        /// When its last checkpoint was written, by the store's clock: the sign of life.
        last_checkpoint: Option<Timestamp>,
    },
    /// The session object is not what was written; why, for people.
    Damaged(String),
}

/// What became of an accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// The mark was written.
    Accepted,
    /// It was there before.
    AlreadyAccepted,
}

impl Repository {
    /// The sessions of `policy`, or of all, oldest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sessions(&self, policy: Option<&Name>) -> Result<Vec<SessionEntry>, Error> {
        let scope = policy.map_or(Scope::All, |policy| Scope::Policy(policy.clone()));
        let ended: std::collections::HashSet<_> =
            self.list_manifests(&scope).await?.into_iter().map(|listing| (listing.policy, listing.backup)).collect();
        let mut entries = Vec::new();
        for (mark, meta) in self.marks(&layout::sessions_of(policy)).await? {
            let state = if ended.contains(&mark) { SessionState::Ended } else { self.open_session(&mark).await? };
            let (policy, backup) = mark;
            entries.push(SessionEntry { policy, backup, began: meta.modified, state });
        }
        entries.sort_by(|a, b| a.backup.cmp(&b.backup));
        Ok(entries)
    }

    async fn open_session(&self, (policy, backup): &(Name, BackupId)) -> Result<SessionState, Error> {
        match self.session(policy, backup).await {
            Ok(session) => {
                let last_checkpoint = self.indexes_of(backup).await?.into_iter().map(|meta| meta.modified).max();
                Ok(SessionState::Open { session: Box::new(session), last_checkpoint })
            }
            Err(error) if error.is_damage() => Ok(SessionState::Damaged(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Reads a session.
    pub(crate) async fn session(&self, policy: &Name, backup: &BackupId) -> Result<Session, Error> {
        let key = layout::session(policy, backup);
        let bytes =
            self.backend.get(&key, control::MAX_CONTROL as u64).await.map_err(|error| Error::reading(&key, error))?;
        let session: Session = control::decode(&bytes).map_err(|refusal| refusal.into_error(&key))?;
        if (&session.policy, &session.backup) == (policy, backup) && session.repository == self.header.id {
            Ok(session)
        } else {
            Err(Error::damaged(&key, "it is the session of another backup or repository"))
        }
    }

    /// Accepts a suspect backup as the new base, by a mark beside it; nothing of it is changed.
    ///
    /// # Errors
    /// [`Error::Damaged`] if there is another mark for it, or what the store says.
    pub async fn accept(&self, stored: &StoredManifest, clock: &dyn Clock) -> Result<AcceptOutcome, Error> {
        let StoredManifest { manifest, sha256 } = stored;
        let key = layout::accept(&manifest.policy, &manifest.backup);
        let mark = Accept {
            policy: manifest.policy.clone(),
            schedule: manifest.schedule.clone(),
            backup: manifest.backup.clone(),
            manifest: *sha256,
            at: clock.now(),
            tool: tool(),
            unknown: serde_json::Map::new(),
        };
        match self.backend.put_new(&key, control::encode(&mark)?).await? {
            PutOutcome::Created => Ok(AcceptOutcome::Accepted),
            PutOutcome::Exists => {
                let bytes = self.backend.get(&key, control::MAX_CONTROL as u64).await?;
                let found: Accept = control::decode(&bytes).map_err(|refusal| refusal.into_error(&key))?;
                if found.manifest == *sha256 {
                    Ok(AcceptOutcome::AlreadyAccepted)
                } else {
                    Err(Error::damaged(&key, "it accepts another manifest than the one that is there"))
                }
            }
        }
    }
}
