//! `docs/recover.sh`: a backup recovered without drctl, byte for byte, and never a byte that is not proven.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use bytes::Bytes;
use drctl::{
    repository::{
        BeginOptions, CommitOutcome, GroupEntry, GroupTotal, ManifestDraft, Repository, SourceEntry,
        backend::{Backend, Directory},
    },
    types::{CaptureSink, Clock, MediaType, Name, PartSummary, State, StreamSpec, SystemClock},
};

use crate::support::bed::require;
use crate::support::postgres::{self, Database, Role};
use crate::support::workshop::Workshop;

pub(crate) struct Stream {
    name: &'static str,
    pub(crate) media_type: MediaType,
    pub(crate) parts: Vec<(String, Vec<u8>)>,
}

fn objects(kind: &str, namespace: &str, count: usize) -> Vec<u8> {
    let object = |n: usize| {
        serde_json::json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": format!("n{n}"), "namespace": namespace, "uid": "u", "resourceVersion": "1",
                "managedFields": [{"manager": "x"}], "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"clusterIP": "10.0.0.1", "text": "tab\t, newline\n, straße"},
            "status": {"loadBalancer": {}},
        })
    };
    (0..count).map(|n| format!("{}\n", object(n))).collect::<String>().into_bytes()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length).map(|_| next().to_le_bytes()[3]).collect()
}

pub(crate) fn streams() -> Vec<Stream> {
    let part = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    vec![
        Stream {
            name: "services",
            media_type: MediaType::KubernetesObjects,
            parts: vec![
                part("payments", objects("Service", "payments", 900)),
                part("orders", objects("Service", "orders", 3)),
            ],
        },
        Stream {
            name: "kubectl",
            media_type: MediaType::KubernetesObjects,
            parts: vec![part("", objects("Namespace", "", 2)), part("empty", Vec::new())],
        },
        Stream {
            name: "public.orders",
            media_type: MediaType::Table,
            parts: vec![part("0", noise(1, 5_000_000)), part("1", noise(2, 700_000))],
        },
        // Names that try to leave the folder, or to be something else than a name.
        Stream {
            name: "../../../../tmp/evil",
            media_type: MediaType::Blob,
            parts: vec![part("../../../x", b"one".to_vec()), part("..", b"two".to_vec())],
        },
        Stream { name: "..", media_type: MediaType::Text, parts: vec![part(".", b"three".to_vec())] },
        Stream {
            name: "-rf $(touch evil) `touch evil` ; x\n\t'\"\\ä",
            media_type: MediaType::Text,
            parts: vec![part("a[$(touch evil)]", b"four".to_vec()), part(&"long".repeat(250), b"five".to_vec())],
        },
        Stream { name: "nothing", media_type: MediaType::Collection, parts: Vec::new() },
    ]
}

/// A repository in `folder` with two backups of `streams`, the second sharing the packs of the first; gives its id.
pub(crate) async fn two_backups(folder: &Path, streams: &[Stream]) -> String {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let backend: Arc<dyn Backend> = Arc::new(Directory::make(folder).await.unwrap());
    let repository = Repository::init(backend, &*clock).await.unwrap();
    write_two_backups(&repository, streams).await
}

/// Two backups of `streams`, the second sharing the packs of the first; gives its id.
pub(crate) async fn write_two_backups(repository: &Repository, streams: &[Stream]) -> String {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut last = String::new();
    for _ in 0..2 {
        let name = |text: &str| Name::new(text).unwrap();
        let options = BeginOptions::new(name("orders"), name("daily"), vec![name("all")], clock.clone());
        let writer = repository.begin(options).await.unwrap();
        for stream in streams {
            let spec = StreamSpec { source: name("all"), name: stream.name.to_owned(), media_type: stream.media_type };
            let mut sink = writer.open(spec).await.unwrap();
            for (name, bytes) in &stream.parts {
                sink.begin_part(name).await.unwrap();
                sink.write(Bytes::from(bytes.clone())).await.unwrap();
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                let count = if stream.media_type == MediaType::KubernetesObjects { lines } else { 0 };
                sink.end_part(PartSummary { count, digest: None }).await.unwrap();
            }
            sink.finish().await.unwrap();
        }
        let total = GroupTotal { count: 1, restorable: 1, bytes: 1 };
        let source = SourceEntry {
            name: name("all"),
            kind: "kubernetes".to_owned(),
            consistency: "per-kind".to_owned(),
            server: String::new(),
            moment: None,
            total,
            groups: vec![GroupEntry { name: "payments".to_owned(), total }],
            groups_omitted: 0,
            volumes: None,
        };
        let draft = ManifestDraft { sources: vec![source], ..ManifestDraft::new(State::Complete) };
        match writer.commit(draft).await.unwrap() {
            CommitOutcome::Committed(stored) => last = stored.manifest.backup.to_string(),
            CommitOutcome::Fenced => panic!("fenced"),
        }
    }
    last
}

pub(crate) fn recover(words: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recover.sh");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("bash").arg(script).args(words).current_dir(&folder).output().unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "the script wrote where it was started");
    output
}

/// All files under `folder`, by their path in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_recovered_by_the_script_byte_for_byte() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let folder = tempfile::tempdir().unwrap();
    let (repository, out) = (folder.path().join("repository"), folder.path().join("out"));
    let streams = streams();
    let backup = two_backups(&repository, &streams).await;

    let listed = recover(&[&repository]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&format!("{backup}\tcomplete\tdaily\n")), "{listed:?}");
    let output = recover(&[&repository, Path::new(&backup), &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut found = files(&out);
    let lists: Vec<_> = found.keys().filter(|path| path.starts_with("all.kubectl")).cloned().collect();
    let lists: BTreeMap<_, _> = lists.into_iter().map(|path| (path.clone(), found.remove(&path).unwrap())).collect();
    let mut contents: Vec<_> = found.values().cloned().collect();
    let mut expected: Vec<_> = streams.iter().flat_map(|s| s.parts.iter().map(|(_, bytes)| bytes.clone())).collect();
    contents.sort();
    expected.sort();
    assert!(contents == expected, "{:#?}", found.keys());
    for (path, part) in [
        ("all/services/000000-payments.jsonl", &streams[0].parts[0].1),
        ("all/kubectl/000000-_.jsonl", &streams[1].parts[0].1),
        ("all/public.orders/000001-1.copy", &streams[2].parts[1].1),
        ("all/%2E.%2F..%2F..%2F..%2Ftmp%2Fevil/000000-%2E.%2F..%2F..%2Fx.bin", &streams[3].parts[0].1),
        ("all/%2E./000000-%2E.txt", &streams[4].parts[0].1),
    ] {
        assert!(found.get(Path::new(path)) == Some(part), "{path}: {:#?}", found.keys());
    }

    let list = &lists[Path::new("all.kubectl/payments/30-services.json")];
    let list: serde_json::Value = serde_json::from_slice(list).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 900);
    let first = serde_json::json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "n0", "namespace": "payments"}, "spec": {"text": "tab\t, newline\n, straße"}});
    assert_eq!(list["items"][0], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_refuses_every_damaged_object_and_names_it() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let backup = two_backups(&repository, &streams()).await;
    let keys: Vec<_> = files(&repository).into_keys().collect();
    let needed = |key: &PathBuf| {
        let text = key.to_string_lossy();
        text.starts_with("data/")
            || text == "repository.json"
            || (!text.starts_with("sessions/") && text.contains(&backup))
    };
    let mut harmed = 0;
    for key in keys.iter().filter(|key| needed(key)) {
        let path = repository.join(key);
        let whole = fs::read(&path).unwrap();
        for cut in [false, true] {
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            if cut {
                bytes.truncate(middle)
            } else {
                bytes[middle] ^= 1
            }
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            let out = folder.path().join(format!("out-{harmed}"));
            let output = recover(&[&repository, Path::new(&backup), &out]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{}: {said}", key.display());
            assert!(said.contains(&*key.to_string_lossy()), "{}: {said}", key.display());
            harmed += 1;
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(harmed >= 10, "only {harmed} cases");
    let output = recover(&[&repository, Path::new(&backup), &folder.path().join("whole")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_made_again_by_the_script_and_psql(database: &Database, again: &Database) {
    let workshop = Workshop::of_databases(&[("torture", &database.url(Role::Admin))]);
    let ended = workshop.run(&["backup"]);
    assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
    let backup = workshop.backups().pop().unwrap();
    let out = workshop.folder().join("out");
    let output = recover(&[&workshop.repository(), Path::new(&backup), &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut psql = again.psql();
    let mut pieces = Command::new("bash");
    pieces.args(["-euo", "pipefail", "-c", "cat \"$1\"/*/*", "-"]).arg(out.join("torture.psql"));
    let mut pieces = pieces.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = psql.arg("-f").arg("-").stdin(pieces.stdout.take().unwrap()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(pieces.wait().unwrap().success() && output.status.success() && errors.is_empty(), "{errors}");
    assert_eq!(again.contents(), database.contents());
    assert_eq!(again.schema(), database.schema());
}

#[test]
fn a_database_of_postgresql_15_is_made_again_by_the_script_and_psql() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let server = require!(postgres::v15);
    is_made_again_by_the_script_and_psql(&server.create_torture(), &server.create_database("again"));
}

#[test]
fn a_database_of_postgresql_18_is_made_again_by_the_script_and_psql() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let server = require!(postgres::v18);
    is_made_again_by_the_script_and_psql(&server.create_torture(), &server.create_database("again"));
}

#[test]
fn a_database_whose_names_are_not_utf8_is_made_again_by_the_script_and_psql() {
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let server = require!(postgres::v15);
    let new = |name: &str| server.create_database_with(name, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let database = new("latin1");
    database.run_file("torture-latin1.sql", &[]);
    is_made_again_by_the_script_and_psql(&database, &new("again"));
}

#[test]
fn the_script_says_how_it_is_used() {
    let help = recover(&[Path::new("--help")]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).starts_with("usage: recover.sh"));
    assert_eq!(recover(&[]).status.code(), Some(2));
}
