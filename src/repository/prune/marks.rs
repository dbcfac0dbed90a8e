//! Tombstones and pins: made, taken back, listed.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::{
        Error, Repository,
        backend::{Key, ObjectMeta, PutOutcome},
        control::{self, Control},
        crypt::signature,
        layout, tool,
    },
    Belief, UNDO,
};
use crate::types::{BackupId, Clock, Name};

/// `tombstones/<policy>/<backup-id>.json`: prune will delete this backup, a day later at the earliest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// When, by the clock of who wrote it. What counts is the store's own time of the object.
    pub at: Timestamp,
    /// Who wants it to go.
    #[serde(default)]
    pub by: TombstoneBy,
    /// The program that wrote it.
    #[serde(default)]
    pub tool: String,
    /// The place that it was signed for: the time there of its `repository.json`, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Timestamp>,
    /// The SSH signature of who wrote it, where signers are pinned (`docs/format.md` says what it is over).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Who wants a backup to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TombstoneBy {
    /// The policy's rules.
    #[default]
    Retention,
    /// A person: `drctl delete`.
    Asked,
    /// Nobody: there is no such backup, and the mark proves what the store does.
    Probe,
    /// A later program's word.
    #[serde(other)]
    Other,
}

impl TombstoneBy {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Asked => "asked",
            Self::Probe => "probe",
            Self::Other => "other",
        }
    }
}

impl Tombstone {
    fn new(policy: &Name, schedule: &Name, backup: &BackupId, at: Timestamp, by: TombstoneBy) -> Self {
        Self {
            policy: policy.clone(),
            schedule: schedule.clone(),
            backup: backup.clone(),
            at,
            by,
            tool: tool(),
            place: None,
            signature: None,
            unknown: Map::new(),
        }
    }
}

impl Control for Tombstone {
    const KIND: &'static str = "tombstone";
}

/// `pins/<policy>/<backup-id>.json`: never prune this backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Pin {
    pub(in super::super) policy: Name,
    pub(in super::super) schedule: Name,
    pub(in super::super) backup: BackupId,
    at: Timestamp,
    tool: String,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Pin {
    pub(in super::super) fn new((policy, schedule, backup): (&Name, &Name, &BackupId), at: Timestamp) -> Self {
        let (policy, schedule, backup) = (policy.clone(), schedule.clone(), backup.clone());
        Self { policy, schedule, backup, at, tool: tool(), unknown: Map::new() }
    }
}

impl Control for Pin {
    const KIND: &'static str = "pin";
}

/// What became of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkOutcome {
    /// It was made, or taken away.
    Done,
    /// It was so before.
    Already,
}

impl Repository {
    /// A tombstone's bytes; signed, where signers are pinned. Its time is the store's then, because it is compared with it.
    ///
    /// # Errors
    /// [`Error::NoSigningKey`] or [`Error::SigningKeyNotPinned`] where it would not count.
    pub(super) async fn tombstone(
        &self,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        by: TombstoneBy,
        clock: &dyn Clock,
    ) -> Result<Bytes, Error> {
        if !self.asks_for_signatures() {
            return control::encode(&Tombstone::new(policy, schedule, backup, clock.now(), by));
        }
        self.check_signing_key()?;
        let at = self.backend.clock().await?.unwrap_or_else(|| clock.now());
        let mut tombstone = Tombstone::new(policy, schedule, backup, at, by);
        if let Some(key) = &self.access.signing_key {
            let place = self.place().await?;
            tombstone.place = Some(place);
            let statement = tombstone.statement(&self.header.id, place);
            tombstone.signature = Some(key.sign(signature::TOMBSTONE, statement.as_bytes())?);
        }
        control::encode(&tombstone)
    }

    /// Marks a backup: prune will delete it a day later. Put twice, so that a store that overwrites is found out.
    ///
    /// # Errors
    /// [`Error::CreateOnlyIgnored`], [`Error::NameSpent`]; [`Error::TombstoneNotBelieved`] if there is one that does not count; what is missing of
    /// keys, or what the store says.
    pub async fn put_tombstone(
        &self,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        by: TombstoneBy,
        clock: &dyn Clock,
    ) -> Result<MarkOutcome, Error> {
        let bytes = self.tombstone((policy, schedule, backup), by, clock).await?;
        let (key, outcome) = self.put_mark(&layout::tombstone(policy, backup), &bytes).await?;
        if outcome == PutOutcome::Exists {
            return self.already(&key, (policy, backup)).await;
        }
        match self.backend.put_new(&key, bytes).await? {
            PutOutcome::Exists => Ok(MarkOutcome::Done),
            PutOutcome::Created => Err(Error::CreateOnlyIgnored { location: self.location().to_owned() }),
        }
    }

    /// What is in the place of a tombstone must be one that counts.
    async fn already(&self, key: &Key, (policy, backup): (&Name, &BackupId)) -> Result<MarkOutcome, Error> {
        if !self.asks_for_signatures() {
            return Ok(MarkOutcome::Already);
        }
        let meta = self.backend.head(key).await.map_err(|error| Error::reading(key, error))?;
        match self.belief((policy, backup), &meta).await? {
            Belief::Holds(_) => Ok(MarkOutcome::Already),
            Belief::Not(why) => Err(Error::TombstoneNotBelieved { backup: backup.clone(), why }),
        }
    }

    /// Takes a backup's tombstone away, within a day of its making; then prune may already have begun to delete it. One that
    /// does not count goes at any time: nothing is deleted because of it.
    ///
    /// # Errors
    /// [`Error::TooLateToUndo`], [`Error::ClockSkew`] if the store's time cannot be told, or what the store says.
    pub async fn undo_tombstone(
        &self,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        clock: &dyn Clock,
    ) -> Result<MarkOutcome, Error> {
        let all = self.named(&layout::tombstone(policy, backup)).await?;
        if all.is_empty() {
            return Ok(MarkOutcome::Already);
        }
        if let (Some(ObjectMeta { modified: made, .. }), _) = self.that_holds((policy, backup), all.clone()).await? {
            let now = self.backend.clock().await?.unwrap_or_else(|| clock.now());
            let gone = self.is_absent(&layout::manifest(policy, schedule, backup)).await?;
            if gone || now.duration_since(made) > UNDO {
                return Err(Error::TooLateToUndo { backup: backup.clone(), made });
            }
        }
        for ObjectMeta { key, .. } in &all {
            self.backend.delete(key).await?;
        }
        Ok(MarkOutcome::Done)
    }

    /// Keeps a backup from prune.
    ///
    /// # Errors
    /// [`Error::NameSpent`], or what the store says.
    pub async fn pin(
        &self,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        clock: &dyn Clock,
    ) -> Result<MarkOutcome, Error> {
        let bytes = control::encode(&Pin::new((policy, schedule, backup), clock.now()))?;
        Ok(match self.put_mark(&layout::pin(policy, backup), &bytes).await?.1 {
            PutOutcome::Created => MarkOutcome::Done,
            PutOutcome::Exists => MarkOutcome::Already,
        })
    }

    /// Lets prune decide about a backup again.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unpin(&self, policy: &Name, backup: &BackupId) -> Result<MarkOutcome, Error> {
        let all = self.named(&layout::pin(policy, backup)).await?;
        for ObjectMeta { key, .. } in &all {
            self.backend.delete(key).await?;
        }
        Ok(if all.is_empty() { MarkOutcome::Already } else { MarkOutcome::Done })
    }

    /// Whether a backup is pinned.
    ///
    /// # Errors
    /// What the store says.
    pub async fn is_pinned(&self, policy: &Name, backup: &BackupId) -> Result<bool, Error> {
        Ok(!self.named(&layout::pin(policy, backup)).await?.is_empty())
    }
}

/// How long `made` can still be undone at `now`.
#[must_use]
pub(super) fn undo_left(made: Timestamp, now: Timestamp) -> SignedDuration {
    (UNDO - now.duration_since(made)).max(SignedDuration::ZERO)
}
