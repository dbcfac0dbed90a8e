//! The manifest: written last and create-only, it is what makes a backup exist.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{control::Control, header::RepositoryId};
use crate::types::{BackupId, Missing, Name, Sha256Digest, State};

/// What a backup is and where its parts are. At most 1 MiB, plain in every repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The repository's identity.
    pub repository: RepositoryId,
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup itself.
    pub backup: BackupId,
    /// What became of it: `complete`, `partial` or `suspect`.
    pub state: State,
    /// When the run began.
    pub started: Timestamp,
    /// When the last byte was stored.
    pub finished: Timestamp,
    /// The backup of this schedule before it, as far as this run could see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Whose packs it may share.
    pub parents: Vec<BackupId>,
    /// When the last backup without a parent began, in the line of this one (itself, if it has none).
    pub full_since: Timestamp,
    /// The cluster that the sources were read from, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// What was captured, source by source.
    pub sources: Vec<SourceEntry>,
    /// What should be in it and is not: at most [`MAX_LISTED`].
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// How many more are missing than are listed.
    #[serde(default)]
    pub missing_omitted: u64,
    /// Why it is suspect, in sentences for people: at most [`MAX_LISTED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<String>,
    /// What is worth a line: at most [`MAX_LISTED`].
    #[serde(default)]
    pub notes: Vec<String>,
    /// How many more notes there were than are listed.
    #[serde(default)]
    pub notes_omitted: u64,
    /// The program that wrote it.
    pub tool: String,
    /// The policy file as JSON; secrets are references in it. Absent if it was over 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_document: Option<Value>,
    /// Sums over the whole backup.
    pub totals: Totals,
    /// The object that lists the streams, and in it the indexes.
    pub streams: ObjectRef,
    /// The object that lists the packs.
    pub refs: ObjectRef,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The most entries of `missing`, `suspect` and `notes` each.
pub const MAX_LISTED: usize = 100;

impl Control for Manifest {
    const KIND: &'static str = "manifest";
}

/// Another backup, and exactly that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub id: BackupId,
    /// SHA-256 of its manifest as stored, both lines.
    pub sha256: Sha256Digest,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The uid of its namespace `kube-system`.
    pub uid: String,
    /// Its name, for people: that of the kubeconfig's cluster.
    pub name: String,
    /// The API server's version.
    pub version: String,
}

/// A captured source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceEntry {
    /// Its name in the policy.
    pub name: Name,
    /// `kubernetes`, `postgres`, `mongodb`.
    pub kind: String,
    /// How consistent the copy is, in the field's words.
    pub consistency: String,
    /// Server and version, for people.
    pub server: String,
    /// Sum over all groups, the omitted ones too.
    pub total: GroupTotal,
    /// Namespaces or databases, sorted by name.
    pub groups: Vec<GroupEntry>,
    /// How many groups are in `total` and not listed, because there were too many.
    #[serde(default)]
    pub groups_omitted: u64,
}

/// A namespace or a database of a captured source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    /// Its name; empty for what belongs to none.
    pub name: String,
    /// What was counted in it.
    #[serde(flatten)]
    pub total: GroupTotal,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupTotal {
    /// Objects, rows or documents.
    pub count: u64,
    /// Of these, what a restore would create.
    pub restorable: u64,
    /// Plain bytes.
    pub bytes: u64,
}

impl GroupTotal {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.restorable = self.restorable.saturating_add(other.restorable);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Sums over a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Parts of them.
    pub parts: u64,
    /// Objects, rows and documents in them.
    pub objects: u64,
    /// Their plain bytes.
    pub plain_bytes: u64,
    /// Plain bytes of chunks that were in a parent (or twice in this backup) and not stored again.
    pub reused_bytes: u64,
    /// Chunks, reused ones included.
    pub chunks: u64,
    /// Chunks that this backup stored.
    pub new_chunks: u64,
    /// Packs that this backup stored.
    pub new_packs: u64,
    /// Bytes of these packs, as stored.
    pub new_bytes: u64,
}

/// An object of the repository, and exactly that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its file name under `meta/<backup-id>/`.
    pub name: String,
    /// Its stored bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: Sha256Digest,
}

/// What a run knows of a backup when everything is captured: the rest of the manifest is the writer's.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestDraft {
    /// What became of it: `complete`, `partial` or `suspect`.
    pub state: State,
    /// The cluster that the sources were read from, if there was one.
    pub cluster: Option<Cluster>,
    /// What was captured. [`SourceEntry::total`] is computed from the groups; leave it at its default.
    pub sources: Vec<SourceEntry>,
    /// All that is missing; the writer cuts the list.
    pub missing: Vec<Missing>,
    /// Why it is suspect, in sentences.
    pub suspect: Vec<String>,
    /// What is worth a line; the writer cuts the list.
    pub notes: Vec<String>,
    /// The policy file as JSON; secrets are references in it.
    pub policy_document: Option<Value>,
}

impl ManifestDraft {
    /// A draft in which nothing is said but the state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self {
            state,
            cluster: None,
            sources: Vec::new(),
            missing: Vec::new(),
            suspect: Vec::new(),
            notes: Vec::new(),
            policy_document: None,
        }
    }
}
