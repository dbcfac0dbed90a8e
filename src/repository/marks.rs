//! Marks that people read or make: sessions listed, suspect backups accepted.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    Accept, Error, Repository, Scope, Session,
    backend::{ErrorKind, Key, PutOutcome},
    catalog::StoredManifest,
    control,
    crypt::signature,
    layout, proof, tool,
};
use crate::types::{BackupId, Clock, Name};

/// Sessions fetched at once: one is small, so it is the round trips that cost.
const FETCHES: usize = 32;

/// A run that has begun, in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEntry {
    /// The policy, by the key.
    pub policy: Name,
    /// The backup, by the key.
    pub backup: BackupId,
    /// The schedule: of an ended run by the manifest's key, of an open one as the session says it.
    pub schedule: Option<Name>,
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
        let listings = self.list_manifests(&scope).await?;
        let ended: HashMap<_, _> =
            listings.into_iter().map(|listing| ((listing.policy, listing.backup), listing.schedule)).collect();
        let mut marks = self.marks(&layout::sessions_of(policy)).await?;
        marks.retain(|(_, backup), _| !proof::is_proof(backup));
        let entries = stream::iter(marks).map(|(mark, meta)| {
            let ended = ended.get(&mark).cloned();
            self.session_entry(mark, meta.modified, ended)
        });
        let mut entries: Vec<_> = entries.buffer_unordered(FETCHES).try_collect().await?;
        entries.sort_by(|a, b| a.backup.cmp(&b.backup));
        Ok(entries)
    }

    /// `ended` is the schedule of the object at the manifest's key, if there is one.
    async fn session_entry(
        &self,
        (policy, backup): (Name, BackupId),
        began: Timestamp,
        ended: Option<Name>,
    ) -> Result<SessionEntry, Error> {
        let (schedule, state) = match (self.session(&policy, &backup).await, ended) {
            (Ok(session), Some(schedule)) if session.schedule != schedule => {
                let why = format!("it says schedule `{}`, and the manifest is one of `{schedule}`", session.schedule);
                (Some(schedule), SessionState::Damaged(why))
            }
            (Ok(_), Some(schedule)) => (Some(schedule), SessionState::Ended),
            (Ok(session), None) => {
                let last_checkpoint = self.indexes_of(&backup).await?.into_iter().map(|meta| meta.modified).max();
                (Some(session.schedule.clone()), SessionState::Open { session: Box::new(session), last_checkpoint })
            }
            (Err(error), ended) if error.is_damage() => (ended, SessionState::Damaged(error.to_string())),
            (Err(error), _) => return Err(error),
        };
        Ok(SessionEntry { policy, backup, schedule, began, state })
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

    /// Whether the mark under `key` accepts this very manifest; where signers are pinned, one of them has signed it.
    pub(crate) async fn accept_holds(&self, key: &Key, stored: &StoredManifest) -> Result<bool, Error> {
        let (bytes, signature) = match self.get_signed(key, signature::ACCEPT, control::MAX_CONTROL as u64).await {
            Ok(found) => found,
            // A damaged mark accepts nothing: the backup stays suspect, which is the safe side.
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(signature.counts()
            && control::decode::<Accept>(&bytes)
                .is_ok_and(|accept| accept.manifest == stored.sha256 && accept.backup == stored.manifest.backup))
    }

    /// Accepts a suspect backup as the new base, by a mark beside it; nothing of it is changed. The mark is signed, if
    /// there is a key to sign with.
    ///
    /// # Errors
    /// [`Error::NoSigningKey`] or [`Error::SigningKeyNotPinned`] where signers are pinned and the mark would not count,
    /// [`Error::Damaged`] if there is another mark for it, or what the store says.
    pub async fn accept(&self, stored: &StoredManifest, clock: &dyn Clock) -> Result<AcceptOutcome, Error> {
        self.check_signing_key()?;
        let StoredManifest { manifest, sha256, .. } = stored;
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
        let bytes = control::encode(&mark)?;
        match self.backend.put_new(&key, bytes.clone()).await? {
            PutOutcome::Created => {
                self.put_signature(&key, signature::ACCEPT, &bytes).await?;
                Ok(AcceptOutcome::Accepted)
            }
            PutOutcome::Exists => {
                let bytes = self.backend.get(&key, control::MAX_CONTROL as u64).await;
                let bytes = bytes.map_err(|error| match error.kind {
                    ErrorKind::NotFound => self.spent(&key),
                    _ => Error::reading(&key, error),
                })?;
                let found: Accept = control::decode(&bytes).map_err(|refusal| refusal.into_error(&key))?;
                if found.manifest == *sha256 {
                    // The run that put the mark may have ended before it signed it.
                    self.put_signature(&key, signature::ACCEPT, &bytes).await?;
                    Ok(AcceptOutcome::AlreadyAccepted)
                } else {
                    Err(Error::damaged(&key, "it accepts another manifest than the one that is there"))
                }
            }
        }
    }
}
