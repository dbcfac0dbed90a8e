//! Marks: small control objects that say what a run is doing or what an administrator decided.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{control::Control, header::RepositoryId};
use crate::types::{BackupId, Name, Sha256Digest};

/// `sessions/<policy>/<backup-id>.json`: a running backup, and whose packs it may reuse. It ends when
/// an object exists at the backup's manifest key; nobody deletes it but prune.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The repository's identity.
    pub repository: RepositoryId,
    /// The policy.
    pub policy: Name,
    /// The schedule, so that the manifest's key is known.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// Whose packs it may reuse: prune must not take them away.
    pub parents: Vec<BackupId>,
    /// When the last backup without a parent began, in the line of this one (itself, if it has none).
    pub full_since: Timestamp,
    /// When it was written, by the writer's clock. What counts is the store's own time of the object.
    pub started: Timestamp,
    /// The program that wrote it.
    pub tool: String,
    /// In a copy: what the original says of this session. It is no run but the copying of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// What the session of a copy says of the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// When the original's was written, by its store's clock; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Timestamp>,
}

impl Control for Session {
    const KIND: &'static str = "session";
}

/// An abort marker: at a manifest's key, in its place. The backup can never be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// Always `aborted`.
    pub state: crate::types::State,
    /// When it was written.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Control for Abort {
    const KIND: &'static str = "abort";
}

/// `accepts/<policy>/<backup-id>.json`: somebody has looked at a suspect backup and said that it is
/// right so. From then on it counts as complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accept {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// SHA-256 of its manifest as stored, both lines: the mark is for this one and no other.
    pub manifest: Sha256Digest,
    /// When.
    pub at: Timestamp,
    /// The program that wrote it.
    pub tool: String,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Control for Accept {
    const KIND: &'static str = "accept";
}
