//! The manifest: written last and create-only, it is what makes a backup exist.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Error,
    control::{self, Control},
    header::RepositoryId,
};
use crate::types::{BackupId, Missing, Moment, Name, Protection, Sha256Digest, State, Volume, VolumeCounts};

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
    /// How far apart the moments of its sources are, in milliseconds; absent with fewer than two of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<u64>,
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
    /// The epoch whose keys it is encrypted with; absent in a plain repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
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
    /// The one moment that it was captured at, by its own server; absent where its streams were read one
    /// after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// Sum over all groups, the omitted ones too.
    pub total: GroupTotal,
    /// Namespaces or databases, sorted by name.
    pub groups: Vec<GroupEntry>,
    /// How many groups are in `total` and not listed, because there were too many.
    #[serde(default)]
    pub groups_omitted: u64,
    /// The claims of volumes in it; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumeSummary>,
}

/// The claims of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSummary {
    /// How many there are of each sort, those that are not listed, too.
    #[serde(flatten)]
    pub counts: VolumeCounts,
    /// At most [`MAX_VOLUMES`] of them, those whose data nobody has first.
    #[serde(default)]
    pub claims: Vec<Volume>,
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

/// The longest text of a missing thing, a note or a reason, in characters.
const MAX_TEXT: usize = 500;
/// The largest policy document that is kept, in bytes of JSON.
const MAX_POLICY: usize = 256 << 10;
/// The most groups that are listed, over all sources.
const MAX_GROUPS: usize = 5_000;
/// The most claims that are listed, of each source.
pub const MAX_VOLUMES: usize = 500;

impl Manifest {
    /// Takes the draft into a manifest that is otherwise ready, within the bounds of the format, and
    /// gives it with its bytes. What is left out is counted.
    pub(crate) fn with(mut self, draft: ManifestDraft) -> Result<(Self, Bytes), Error> {
        let ManifestDraft { sources, missing, suspect, notes, policy_document, .. } = draft;
        let notes_left = notes.len().saturating_sub(MAX_LISTED);
        let missing_left = missing.len().saturating_sub(MAX_LISTED);
        self.notes = notes.iter().take(MAX_LISTED).map(|note| shorten(note)).collect();
        self.suspect = suspect.iter().take(MAX_LISTED).map(|reason| shorten(reason)).collect();
        let short = |m: Missing| Missing { source: shorten(&m.source), what: shorten(&m.what), why: shorten(&m.why) };
        self.missing = missing.into_iter().take(MAX_LISTED).map(short).collect();
        self.notes_omitted = u64::try_from(notes_left).unwrap_or(u64::MAX);
        self.missing_omitted = u64::try_from(missing_left).unwrap_or(u64::MAX);
        let small = |document: &Value| serde_json::to_vec(document).is_ok_and(|json| json.len() <= MAX_POLICY);
        self.policy_document = policy_document.filter(small);
        self.skew_ms = skew_ms(&sources);
        self.sources = sources.into_iter().map(SourceEntry::summed).collect();

        let mut listed = MAX_GROUPS;
        loop {
            self.cut_groups(listed);
            match control::encode(&self) {
                Ok(bytes) => return Ok((self, bytes)),
                Err(error) if listed == 0 => return Err(error),
                Err(_) => listed /= 2,
            }
        }
    }

    /// Lists at most `most` groups, the same number of each source that has more than its share.
    fn cut_groups(&mut self, most: usize) {
        let share = most / self.sources.len().max(1);
        let many = self.sources.iter().map(|source| source.groups.len()).sum::<usize>() > most;
        for source in self.sources.iter_mut().filter(|_| many) {
            source.keep_largest(share);
        }
        for volumes in self.sources.iter_mut().filter_map(|source| source.volumes.as_mut()) {
            volumes.claims.truncate(share);
        }
    }
}

impl VolumeSummary {
    /// Of these claims; `None` of none.
    #[must_use]
    pub fn of(mut claims: Vec<Volume>) -> Option<Self> {
        let counts = VolumeCounts::of(&claims);
        let rank = |volume: &Volume| match volume.protection {
            Protection::Unprotected => 0,
            Protection::Disposable => 1,
            Protection::Covered { .. } => 2,
        };
        claims.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
        claims.truncate(MAX_VOLUMES);
        (counts.total() > 0).then_some(Self { counts, claims })
    }
}

impl SourceEntry {
    /// With its groups in order and their sum.
    fn summed(mut self) -> Self {
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.total = GroupTotal::default();
        self.groups.iter().for_each(|group| self.total.add(&group.total));
        self
    }

    /// Lists only the groups that hold most; the others stay in the total.
    fn keep_largest(&mut self, most: usize) {
        if self.groups.len() <= most {
            return;
        }
        let omitted = self.groups.len() - most;
        self.groups.sort_by(|a, b| (b.total.count, &a.name).cmp(&(a.total.count, &b.name)));
        self.groups.truncate(most);
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.groups_omitted = self.groups_omitted.saturating_add(u64::try_from(omitted).unwrap_or(u64::MAX));
    }
}

/// How far apart the moments of `sources` are.
fn skew_ms(sources: &[SourceEntry]) -> Option<u64> {
    let times: Vec<Timestamp> = sources.iter().filter_map(|source| Some(source.moment.as_ref()?.time)).collect();
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    let apart = last.duration_since(*first).as_millis();
    (times.len() > 1).then(|| u64::try_from(apart).unwrap_or(u64::MAX))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Manifest {
        let time: Timestamp = "2026-11-20T02:00:00Z".parse().unwrap();
        let object = ObjectRef { name: "refs.tsv.zst".to_owned(), size: 0, sha256: Sha256Digest::of(b"") };
        let name = |text| Name::new(text).unwrap();
        Manifest {
            format: 1,
            repository: RepositoryId::random(),
            policy: name("orders"),
            schedule: name("daily"),
            backup: BackupId::new(time),
            state: State::Complete,
            started: time,
            finished: time,
            previous: None,
            parents: Vec::new(),
            full_since: time,
            cluster: None,
            sources: Vec::new(),
            skew_ms: None,
            missing: Vec::new(),
            missing_omitted: 0,
            suspect: Vec::new(),
            notes: Vec::new(),
            notes_omitted: 0,
            tool: String::new(),
            policy_document: None,
            epoch: None,
            totals: Totals::default(),
            streams: object.clone(),
            refs: object,
            unknown: Map::new(),
        }
    }

    fn source(name: &str, groups: usize, group_name: impl Fn(usize) -> String) -> SourceEntry {
        let group = |n: usize| {
            let total = GroupTotal { count: n as u64, restorable: 1, bytes: 1 << 40 };
            GroupEntry { name: group_name(n), total }
        };
        SourceEntry {
            name: Name::new(name).unwrap(),
            kind: "kubernetes".to_owned(),
            consistency: "per-kind".to_owned(),
            server: String::new(),
            moment: None,
            total: GroupTotal::default(),
            groups: (0..groups).rev().map(group).collect(),
            groups_omitted: 0,
            volumes: None,
        }
    }

    #[test]
    fn five_hundred_namespaces_of_several_sources_are_all_listed() {
        let mut draft = ManifestDraft::new(State::Complete);
        let name = |n| format!("{}-{n:04}", "n".repeat(58));
        draft.sources = ["a", "b", "c", "d", "e"].map(|s| source(s, 500, name)).to_vec();
        let (manifest, bytes) = empty().with(draft).unwrap();
        assert!(bytes.len() <= control::MAX_CONTROL);
        assert!(manifest.sources.iter().all(|s| s.groups.len() == 500 && s.groups_omitted == 0));
        assert_eq!(manifest.sources[0].total, GroupTotal { count: 124_750, restorable: 500, bytes: 500 << 40 });
        assert_eq!(control::decode::<Manifest>(&bytes).unwrap(), manifest);
    }

    #[test]
    fn too_many_groups_are_cut_to_the_largest_and_counted() {
        let mut draft = ManifestDraft::new(State::Complete);
        draft.sources =
            vec![source("a", 4_000, |n| format!("{n}-{}", "x".repeat(900))), source("b", 10, |n| n.to_string())];
        let (manifest, bytes) = empty().with(draft).unwrap();
        assert!(bytes.len() <= control::MAX_CONTROL);
        let [a, b] = &manifest.sources[..] else { panic!() };
        assert_eq!((a.groups.len() as u64 + a.groups_omitted, a.total.restorable), (4_000, 4_000));
        assert!(a.groups.iter().all(|group| group.total.count >= a.groups_omitted), "small groups were kept");
        assert!(a.groups.is_sorted_by_key(|group| &group.name));
        assert_eq!((b.groups.len(), b.groups_omitted), (10, 0));
    }

    #[test]
    fn lists_and_texts_are_cut_and_what_is_left_out_is_counted() {
        let mut draft = ManifestDraft::new(State::Partial);
        let long = "ä".repeat(5_000);
        let missing = Missing { source: "a".to_owned(), what: long.clone(), why: long.clone() };
        draft.missing = vec![missing; 1_234];
        draft.notes = vec![long; 101];
        draft.policy_document = Some(Value::String("x".repeat(MAX_POLICY)));
        let (manifest, _) = empty().with(draft).unwrap();
        assert_eq!((manifest.missing.len(), manifest.missing_omitted), (100, 1_134));
        assert_eq!((manifest.notes.len(), manifest.notes_omitted), (100, 1));
        assert_eq!(manifest.missing[0].what.chars().count(), MAX_TEXT + 3);
        assert_eq!(manifest.policy_document, None);
    }
}
