//! `docs/format.md` and the repository of its example, which every later version must read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use drctl::{
    repository::{
        self, BackupWriter, BeginOptions, Cluster, CommitOutcome, GroupEntry, GroupTotal, Level, Listed, ManifestDraft,
        Repository, Scope, SourceEntry, StoredManifest, VerifyOptions,
        backend::{Backend, Directory, Key, Memory},
    },
    types::{
        BackupContents, BackupId, CaptureSink, Clock, MediaType, Missing, Name, PartSummary, RowDigest, SetClock,
        Sha256Digest, Silent, State, StreamSpec,
    },
};
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::support::bed::require;

pub(crate) type Parts = &'static [(&'static str, &'static [&'static str])];

const CONFIG_MAPS: Parts = &[
    (
        "orders",
        &[r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"app","namespace":"orders"},"data":{"a":"1"}}"#],
    ),
    (
        "payments",
        &[
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"app","namespace":"payments"},"data":{"b":"2"}}"#,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"db","namespace":"payments"},"data":{"c":"3"}}"#,
        ],
    ),
];
const NAMESPACES: Parts = &[(
    "",
    &[
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"orders"}}"#,
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"payments"}}"#,
    ],
)];
const ROWS: Parts = &[("0", &["1\tAda\t\\N", "2\tGrace\tx"]), ("1", &["3\tEdsger\ty"])];

pub(crate) const FIRST: &str = "20261120T020000Z-aaaaaa";
pub(crate) const SECOND: &str = "20261121T020000Z-bbbbbb";
pub(crate) const SUSPECT: &str = "20261122T020000Z-cccccc";
const ABORTED: &str = "20261123T020000Z-dddddd";
const OPEN: &str = "20261124T020000Z-eeeeee";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/repositories/v1-plain")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// What each backup of the example holds: source, stream, what it is, its parts.
pub(crate) fn streams(backup: &str) -> Vec<(&'static str, &'static str, MediaType, Parts)> {
    let namespaces = ("services", "namespaces", MediaType::KubernetesObjects, NAMESPACES);
    let config_maps = ("services", "configmaps", MediaType::KubernetesObjects, CONFIG_MAPS);
    match backup {
        FIRST => vec![namespaces, config_maps],
        SECOND => vec![namespaces, config_maps, ("orders-db", "public.people", MediaType::Table, ROWS)],
        SUSPECT => vec![namespaces],
        _ => Vec::new(),
    }
}

fn text(rows: &[&str]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Makes the example anew: `cargo test --test integration -- --ignored make_the_example`. It is committed and
/// never made again, because later versions must read what this one wrote; docs/format.md shows its bytes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes tests/data/repositories/v1-plain, which is committed"]
async fn make_the_example_repository() {
    assert!(!folder().exists(), "{} is there", folder().display());
    let clock = Arc::new(SetClock::new("2026-11-20T01:00:00Z".parse().unwrap()));
    let store = Memory::new(clock.clone());
    let repository = Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
    for (backup, state) in [(FIRST, State::Complete), (SECOND, State::Partial), (SUSPECT, State::Suspect)] {
        let writer = begin(&repository, &clock, backup).await;
        for (source, stream, media_type, parts) in streams(backup) {
            write(&writer, source, stream, media_type, parts).await;
        }
        clock.set(clock.now() + jiff::SignedDuration::from_secs(10));
        let CommitOutcome::Committed(stored) = writer.commit(draft(backup, state)).await.unwrap() else {
            panic!("fenced")
        };
        if backup == SUSPECT {
            repository.accept(&stored, &*clock).await.unwrap();
        }
    }
    begin(&repository, &clock, ABORTED).await;
    let abort = format!(
        r#"{{"drctl":"abort","policy":"orders","schedule":"daily","backup":"{ABORTED}","state":"aborted","at":"2026-11-23T09:00:00Z","reason":"no checkpoint for 6 hours"}}"#
    ) + "\n";
    let abort = format!("{abort}{}\n", Sha256Digest::of(abort.as_bytes()));
    let key = Key::new(format!("backups/orders/daily/{ABORTED}.json")).unwrap();
    store.put_new(&key, Bytes::from(abort)).await.unwrap();
    let open = begin(&repository, &clock, OPEN).await;
    write(&open, "services", "namespaces", MediaType::KubernetesObjects, NAMESPACES).await;
    open.checkpoint().await.unwrap();
    for key in store.keys() {
        let path = folder().join(key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, store.get(&key, u64::MAX).await.unwrap()).unwrap();
    }
}

pub(crate) async fn begin(repository: &Repository, clock: &Arc<SetClock>, backup: &str) -> BackupWriter {
    let backup = BackupId::parse(backup).unwrap();
    clock.set(backup.time());
    let sources = vec![name("services"), name("orders-db")];
    let options = BeginOptions::new(name("orders"), name("daily"), sources, clock.clone());
    repository.begin(BeginOptions { backup, ..options }).await.unwrap()
}

pub(crate) async fn write(writer: &BackupWriter, source: &str, stream: &str, media_type: MediaType, parts: Parts) {
    let spec = StreamSpec { source: name(source), name: stream.to_owned(), media_type };
    let mut sink = writer.open(spec).await.unwrap();
    for (part, rows) in parts {
        sink.begin_part(part).await.unwrap();
        sink.write(Bytes::from(text(rows))).await.unwrap();
        let mut digest = RowDigest::default();
        rows.iter().for_each(|row| digest.add_row(row.as_bytes()));
        sink.end_part(PartSummary { count: rows.len() as u64, digest: Some(digest) }).await.unwrap();
    }
    sink.finish().await.unwrap();
}

pub(crate) fn draft(backup: &str, state: State) -> ManifestDraft {
    let mut sources: Vec<SourceEntry> = Vec::new();
    for (source, _, media_type, parts) in streams(backup) {
        let kubernetes = media_type == MediaType::KubernetesObjects;
        if sources.last().is_none_or(|last| last.name.as_str() != source) {
            sources.push(SourceEntry {
                name: name(source),
                kind: if kubernetes { "kubernetes" } else { "postgres" }.to_owned(),
                consistency: if kubernetes { "per-kind" } else { "snapshot" }.to_owned(),
                server: if kubernetes { "Kubernetes v1.36.3" } else { "PostgreSQL 15.8" }.to_owned(),
                moment: None,
                total: GroupTotal::default(),
                groups: Vec::new(),
                groups_omitted: 0,
                volumes: None,
            });
        }
        let Some(entry) = sources.last_mut() else { continue };
        for (part, rows) in parts {
            let group = if kubernetes { *part } else { "orders" };
            let (count, bytes) = (rows.len() as u64, text(rows).len() as u64);
            let total = GroupTotal { count, restorable: count, bytes };
            match entry.groups.iter_mut().find(|known| known.name == group) {
                Some(known) => known.total.add(&total),
                None => entry.groups.push(GroupEntry { name: group.to_owned(), total }),
            }
        }
    }
    let mut draft = ManifestDraft { sources, ..ManifestDraft::new(state) };
    draft.cluster = Some(Cluster {
        uid: "6d5f2f6e-9f0b-4f39-9a54-0b7f6a1f6a11".to_owned(),
        name: "prod".to_owned(),
        version: "v1.36.3".to_owned(),
    });
    draft.policy_document =
        Some(serde_json::json!({"apiVersion": "drctl/v1", "kind": "Policy", "metadata": {"name": "orders"}}));
    match state {
        State::Partial => draft.missing.push(Missing {
            source: "services".to_owned(),
            what: "kind secrets".to_owned(),
            why: "secrets is forbidden".to_owned(),
        }),
        State::Suspect => draft.suspect.push("services: namespace payments is gone".to_owned()),
        State::Complete | State::Aborted => {}
    }
    draft
}

/// The example as it is committed, in a folder of its own (a store may make folders in it).
async fn example() -> (tempfile::TempDir, Repository) {
    let copy = tempfile::tempdir().unwrap();
    for (key, bytes) in objects() {
        let path = copy.path().join(&key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let store = Directory::open(copy.path()).await.unwrap();
    let repository = Repository::open(Arc::new(store)).await.unwrap();
    (copy, repository)
}

/// All objects of the example by key.
fn objects() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
                found.insert(key, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A part of a backup: source, stream, what it is, the part's name, and its bytes.
type Read = (String, String, MediaType, String, String);

/// All parts of a backup, as they are read from the repository.
pub(crate) async fn contents_of(repository: &Repository, stored: &StoredManifest) -> Vec<Read> {
    let reader = repository.read(&stored.manifest).await.unwrap();
    let mut read = Vec::new();
    for stream in reader.streams() {
        for (at, part) in stream.parts.iter().enumerate() {
            let bytes: Vec<Bytes> = reader.read_part(stream, at).await.unwrap().try_collect().await.unwrap();
            let bytes = String::from_utf8(bytes.concat()).unwrap();
            read.push((stream.source.to_string(), stream.name.clone(), stream.media_type, part.name.clone(), bytes));
        }
    }
    read
}

/// All parts of a backup, as they were written.
pub(crate) fn expected(backup: &str) -> Vec<Read> {
    let mut expected = Vec::new();
    for (source, stream, media_type, parts) in streams(backup) {
        for (part, rows) in parts {
            expected.push((source.to_owned(), stream.to_owned(), media_type, (*part).to_owned(), text(rows)));
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_repository_of_format_1_is_read() {
    let (_copy, repository) = example().await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    let listed: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.listed {
            Listed::Backup(summary) => (entry.backup.as_str(), summary.state.as_str(), summary.accepted),
            Listed::Aborted => (entry.backup.as_str(), "aborted", false),
            Listed::Newer(why) | Listed::Damaged(why) => panic!("{}: {why}", entry.key),
        })
        .collect();
    assert_eq!(
        listed,
        [
            (FIRST, "complete", false),
            (SECOND, "partial", false),
            (SUSPECT, "suspect", true),
            (ABORTED, "aborted", false)
        ]
    );
    let mut previous: Option<StoredManifest> = None;
    for backup in [FIRST, SECOND, SUSPECT] {
        let stored = repository.find(&Scope::All, backup).await.unwrap();
        assert_eq!(contents_of(&repository, &stored).await, expected(backup), "{backup}");
        let link = stored.manifest.previous.as_ref().map(|link| (link.id.clone(), link.sha256));
        assert_eq!(link, previous.as_ref().map(|last| (last.manifest.backup.clone(), last.sha256)));
        previous = Some(stored);
    }
    let names: Vec<_> = entries.into_iter().map(|e| (e.policy, e.schedule, e.backup)).collect();
    let (options, cancel) = (VerifyOptions::new(Level::Content), CancellationToken::new());
    let report = repository::verify(&repository, &names, &options, &Silent, &cancel).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
    let sessions = repository.sessions(None).await.unwrap();
    let open = |entry: &&repository::SessionEntry| matches!(entry.state, repository::SessionState::Open { .. });
    let open: Vec<_> = sessions.iter().filter(open).map(|entry| entry.backup.as_str()).collect();
    assert_eq!(open, [OPEN]);
}

/// The fenced blocks of docs/format.md whose first line is `` ```example WORDS ``.
fn blocks() -> Vec<(String, String)> {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("```example ") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((words.to_owned(), body.join("\n") + "\n"));
        }
    }
    blocks
}

#[test]
fn the_worked_example_in_the_document_is_the_example_repository() {
    require!(program "zstd");
    let objects = objects();
    let blocks = blocks();
    let listed: String =
        objects.iter().map(|(key, bytes)| format!("{} {:>4} {key}\n", Sha256Digest::of(bytes), bytes.len())).collect();
    let shown: Vec<_> = blocks.iter().filter(|(words, _)| words == "objects").collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].1, listed);
    let mut compared = 0;
    for (key, body) in blocks.iter().filter(|(words, _)| words != "objects") {
        let bytes = objects.get(key).unwrap_or_else(|| panic!("there is no object {key}"));
        let plain = if key.ends_with(".zst") { decompressed(&folder().join(key)) } else { bytes.clone() };
        assert_eq!(String::from_utf8(plain).unwrap(), *body, "{key}");
        compared += 1;
    }
    assert!(compared >= 6, "only {compared} objects are shown");
}

fn decompressed(path: &Path) -> Vec<u8> {
    let output = Command::new("zstd").arg("-dcq").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
