//! Which backups a drill has proven: prune never removes the newest of them.

use std::collections::HashSet;

use futures::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{
    Error, Repository, RepositoryId,
    backend::Key,
    control::{self, Control},
    crypt::signature,
    layout,
};
use crate::types::{BackupId, Name};

/// What a drill's evidence says of what it is for.
#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    #[serde(default)]
    repository: Option<RepositoryId>,
    /// The place whose backup was restored, as a tombstone names it.
    #[serde(default)]
    place: Option<Timestamp>,
    policy: Name,
    backup: BackupId,
    #[serde(default)]
    outcome: Option<String>,
}

impl Control for Proof {
    const KIND: &'static str = "evidence";
}

impl Repository {
    /// The backups of `policy` that a drill has proven: by the keys of the evidence; where signers are pinned, by evidence
    /// that one of them has signed, and that is for this backup in this place: that the bytes of one place restore says nothing of
    /// those of another.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn proven(&self, policy: &Name) -> Result<HashSet<BackupId>, Error> {
        let mut proven = HashSet::new();
        let mut objects = self.backend.list(&layout::evidence_of(policy));
        while let Some(meta) = objects.try_next().await? {
            let Some(backup) = layout::parse_drill_passed(&meta.key) else { continue };
            let is_new = !meta.key.as_str().ends_with(".sig") && !proven.contains(&backup);
            if is_new && (!self.asks_for_signatures() || self.proves(&meta.key, policy, &backup).await?) {
                proven.insert(backup);
            }
        }
        Ok(proven)
    }

    /// Whether what is under `key` is signed evidence that a drill of this backup has passed. What cannot be read is none.
    async fn proves(&self, key: &Key, policy: &Name, backup: &BackupId) -> Result<bool, Error> {
        let (bytes, signature) = match self.get_signed(key, signature::EVIDENCE, control::MAX_CONTROL as u64).await {
            Ok(found) => found,
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(proof) = control::decode::<Proof>(&bytes) else { return Ok(false) };
        let passed = proof.outcome.as_deref().is_none_or(|outcome| outcome == "passed");
        let is_its = (&proof.policy, &proof.backup) == (policy, backup)
            && proof.repository.as_ref() == Some(&self.header.id)
            && passed;
        match proof.place {
            Some(place) if is_its && signature.counts() => self.is_here(place).await,
            _ => Ok(false),
        }
    }
}
