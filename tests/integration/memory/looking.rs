//! `diff`, `history` and `export` read backups of many objects and of a large table, and hold neither.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use drctl::{
    repository::{
        BeginOptions, CommitOutcome, GroupEntry, GroupTotal, ManifestDraft, Repository, SourceEntry, backend::Directory,
    },
    types::{CaptureSink as _, MediaType, Name, PartSummary, State, StreamSpec, SystemClock},
};

use super::{LIMIT, peak, peak_of};
use crate::support::{
    bed::require,
    postgres::{self, Role},
    program::drctl,
    workshop::Workshop,
};

/// Namespaces, and how many ConfigMaps each has: one that is large, and some that are not.
const NAMESPACES: [(&str, usize); 3] = [("large", 24_000), ("small", 3_000), ("tiny", 3_000)];
/// Bytes of the data of each: together some 120 MB, more than a process may have.
const DATA: usize = 4_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A backup of the ConfigMaps, in which every tenth has the value `version`.
async fn write(repository: &Repository, version: usize) {
    let source = name("services");
    let options = BeginOptions::new(name("p"), name("s"), vec![source.clone()], Arc::new(SystemClock));
    let writer = repository.begin(options).await.unwrap();
    let spec =
        StreamSpec { source: source.clone(), name: "configmaps".to_owned(), media_type: MediaType::KubernetesObjects };
    let mut sink = writer.open(spec).await.unwrap();
    let mut groups = Vec::new();
    for (namespace, count) in NAMESPACES {
        sink.begin_part(namespace).await.unwrap();
        let mut bytes = 0;
        for n in 0..count {
            let value = if n % 10 == 0 { version } else { 0 };
            // Digits that do not repeat from object to object.
            let data: String =
                (0..DATA / 20).map(|part| format!("{:020}", (n * 7919 + part * 104_729) ^ 0x5a5a)).collect();
            let line = format!(
                "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"c-{n:06}\",\"namespace\":\"{namespace}\",\
                 \"uid\":\"{n}\"}},\"data\":{{\"value\":\"{value}\",\"data\":\"{data}\"}}}}\n"
            );
            bytes += line.len() as u64;
            sink.write(Bytes::from(line)).await.unwrap();
        }
        let count = count as u64;
        sink.end_part(PartSummary { count, digest: None }).await.unwrap();
        groups.push(GroupEntry { name: namespace.to_owned(), total: GroupTotal { count, restorable: count, bytes } });
    }
    sink.finish().await.unwrap();
    let entry = SourceEntry {
        name: source,
        kind: "kubernetes".to_owned(),
        consistency: "per-kind".to_owned(),
        server: "Kubernetes v1.36.0".to_owned(),
        moment: None,
        total: GroupTotal::default(),
        groups,
        groups_omitted: 0,
        volumes: None,
    };
    let outcome = writer.commit(ManifestDraft { sources: vec![entry], ..ManifestDraft::new(State::Complete) }).await;
    assert!(matches!(outcome.unwrap(), CommitOutcome::Committed(_)));
}

/// The ids of two such backups in `folder`.
async fn two_backups(folder: &Path) -> [String; 2] {
    let repository = Repository::init(Arc::new(Directory::open(folder).await.unwrap()), &SystemClock).await.unwrap();
    write(&repository, 1).await;
    write(&repository, 2).await;
    let backups = repository.backups(&drctl::repository::Scope::All).await.unwrap();
    let ids: Vec<String> = backups.iter().map(|entry| entry.backup.to_string()).collect();
    ids.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_into_backups_of_thirty_thousand_objects_stays_within_the_memory_limit() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = two_backups(folder.path()).await;
    let url = format!("file://{}", folder.path().display());
    let commands: [&[&str]; 5] = [
        &["diff", &first, &second, "--reveal"],
        &["diff", &first, &second, "-o", "json"],
        &["history", "configmap", "large/c-012340", "--reveal"],
        &["export", &second, "services"],
        &["show", &second, "--objects"],
    ];
    let mut over = Vec::new();
    for words in commands {
        let peak = peak_of(drctl(&[words, &["--repository", &url]].concat()));
        eprintln!("{}: peak RSS {:.1} MiB", words[0], peak as f64 / f64::from(1 << 20));
        over.extend((peak > LIMIT).then_some((words, peak)));
    }
    assert!(over.is_empty(), "over 128 MiB: {over:?}");
    // They have done what they were measured at.
    let diff = drctl(&["diff", &first, &second, "--repository", &url]).output().unwrap();
    let text = String::from_utf8(diff.stdout).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("0 added, 0 removed, 3000 changed"), "{last}");
}

#[test]
fn what_looks_into_backups_of_a_large_table_stays_within_the_memory_limit() {
    let server = require!(postgres::v15);
    let database = server.create_database("shop");
    // Some 150 MB, more than a process may have.
    database.sql(
        "CREATE TABLE large (id int, text text);
         INSERT INTO large SELECT n, md5(n::text) || repeat(md5((n * 7)::text), 14) FROM generate_series(1, 300000) n;",
    );
    let workshop = Workshop::of_databases(&[("shop", &database.url(Role::Admin))]);
    workshop.done(&["backup"]);
    database.sql("UPDATE large SET text = 'changed' WHERE id = 7;");
    workshop.done(&["backup"]);
    let [first, second] = workshop.backups().try_into().unwrap();
    let mut over = Vec::new();
    let commands: [&[&str]; 4] = [
        &["diff", &first, &second],
        &["export", &second, "shop"],
        &["export", &second, "shop", "--format", "sql"],
        &["show", &second, "--streams"],
    ];
    for words in commands {
        let peak = peak(&workshop, words);
        eprintln!("{}: peak RSS {:.1} MiB", words.join(" "), peak as f64 / f64::from(1 << 20));
        over.extend((peak > LIMIT).then_some((words, peak)));
    }
    assert!(over.is_empty(), "over 128 MiB: {over:?}");
}
