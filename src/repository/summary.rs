//! What a listing keeps of a manifest.

use jiff::Timestamp;

use super::{ObjectRef, Previous, SourceEntry, StoredManifest, Totals, crypt::Signature};
use crate::types::{Missing, Name, Sha256Digest, State, VolumeCounts};

/// The most characters that a [`Summary`] keeps of a text.
const MAX_TEXT: usize = 300;

/// The small part of a manifest that listings and decisions need.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// As the manifest says it; see [`super::BackupEntry::is_good`] for accepted ones.
    pub state: State,
    /// Somebody has accepted it, and this very manifest.
    pub accepted: bool,
    /// When the run began.
    pub started: Timestamp,
    /// When the last byte was stored.
    pub finished: Timestamp,
    /// Sums over the backup.
    pub totals: Totals,
    /// What was captured.
    pub sources: Vec<SourceSummary>,
    /// How much is missing.
    pub missing: u64,
    /// The first of it.
    pub first_missing: Option<Missing>,
    /// Why it is suspect: the first sentence.
    pub suspect: Option<String>,
    /// The uid of the cluster that it was read from.
    pub cluster_uid: Option<String>,
    /// The backup of its schedule before it, as far as its run could see.
    pub previous: Option<Previous>,
    /// When the line of backups that it may share packs with began.
    pub full_since: Timestamp,
    /// SHA-256 of the manifest as stored.
    pub sha256: Sha256Digest,
    /// Whether one has signed it whose signatures are believed. An unsigned one is never good.
    pub signature: Signature,
    /// The object that lists the packs it needs.
    pub refs: ObjectRef,
}

/// A source in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSummary {
    /// Its name in the policy.
    pub name: Name,
    /// `kubernetes`, `postgres`, `mongodb`.
    pub kind: String,
    /// How consistent the copy is.
    pub consistency: String,
    /// Objects, rows or documents.
    pub count: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// Its claims of volumes, if it has any.
    pub volumes: Option<VolumeCounts>,
}

/// The beginning of a text: a listing keeps thousands of them.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

impl Summary {
    pub(super) fn of(stored: &StoredManifest, accepted: bool) -> Self {
        let manifest = &stored.manifest;
        let source = |entry: &SourceEntry| SourceSummary {
            name: entry.name.clone(),
            kind: short(&entry.kind),
            consistency: short(&entry.consistency),
            count: entry.total.count,
            bytes: entry.total.bytes,
            volumes: entry.volumes.as_ref().map(|volumes| volumes.counts),
        };
        Self {
            state: manifest.state,
            accepted,
            started: manifest.started,
            finished: manifest.finished,
            totals: manifest.totals,
            sources: manifest.sources.iter().map(source).collect(),
            missing: u64::try_from(manifest.missing.len()).unwrap_or(u64::MAX).saturating_add(manifest.missing_omitted),
            first_missing: manifest.missing.first().map(|first| Missing {
                source: short(&first.source),
                what: short(&first.what),
                why: short(&first.why),
            }),
            suspect: manifest.suspect.first().map(|text| short(text)),
            cluster_uid: manifest.cluster.as_ref().map(|cluster| short(&cluster.uid)),
            previous: manifest.previous.clone(),
            full_since: manifest.full_since,
            sha256: stored.sha256,
            signature: stored.signature.clone(),
            refs: manifest.refs.clone(),
        }
    }
}
