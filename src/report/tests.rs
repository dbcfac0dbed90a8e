//! Golden texts and documents. To renew them: `INSTA_UPDATE=always cargo test --lib report`, then read the diff.

use jiff::Timestamp;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cluster() -> Cluster {
    Cluster { uid: "11111111-2222".to_owned(), name: "prod".to_owned(), version: "v1.36.3".to_owned() }
}

fn claim(name: &str, protection: &str, covered_by: Option<&str>) -> VolumeClaim {
    VolumeClaim {
        namespace: "order-service".to_owned(),
        name: name.to_owned(),
        size: "10Gi".to_owned(),
        protection: protection.to_owned(),
        covered_by: covered_by.map(str::to_owned),
    }
}

fn backup() -> Backup {
    let group =
        |name: &str, objects| Group { name: name.to_owned(), objects, restorable: objects - 1, bytes: objects * 900 };
    Backup {
        id: "20261120T020000Z-k3x7pq".to_owned(),
        policy: "orders".to_owned(),
        schedule: "daily".to_owned(),
        state: "suspect".to_owned(),
        started: at("2026-11-20T02:00:00.123Z"),
        finished: at("2026-11-20T02:00:42.5Z"),
        previous: Some("20261119T020000Z-aaaaaa".to_owned()),
        parents: vec!["20261119T020000Z-aaaaaa".to_owned()],
        cluster: Some(cluster()),
        sources: vec![Source {
            name: "services".to_owned(),
            kind: "kubernetes".to_owned(),
            consistency: "per-kind".to_owned(),
            server: "Kubernetes v1.36.3".to_owned(),
            objects: 42,
            restorable: 40,
            bytes: 38_000,
            groups: vec![group("", 4), group("order-service", 21), group("payment\u{1b}[2J", 17)],
            groups_omitted: 3,
            moment: None,
            volumes: Some(Volumes {
                counts: VolumeCounts { covered: 1, disposable: 0, unprotected: 1 },
                claims: vec![claim("uploads", "unprotected", None), claim("data-db-0", "covered", Some("orders-db"))],
            }),
            tables: Vec::new(),
            collections: Vec::new(),
        }],
        skew_ms: None,
        totals: Counts {
            streams: 12,
            objects: 42,
            bytes: 38_000,
            reused_bytes: 30_000,
            new_bytes: 2_100,
            new_packs: 1,
        },
        missing: vec![MissingThing {
            source: "services".to_owned(),
            what: "kind secrets".to_owned(),
            why: "forbidden: cannot list".to_owned(),
        }],
        missing_omitted: 2,
        suspect: vec!["`user-service` of source `services` is gone (it held 21 objects)".to_owned()],
        notes: vec!["group metrics.k8s.io is not served".to_owned()],
        tool: "drctl 0.1.0".to_owned(),
        manifest_sha256: Some("ab".repeat(32)),
        signed: None,
        unsigned: None,
        streams: None,
    }
}

fn item(id: &str, state: &str) -> BackupItem {
    BackupItem {
        signed: None,
        id: id.to_owned(),
        policy: "orders".to_owned(),
        schedule: "daily".to_owned(),
        state: state.to_owned(),
        good: state == "complete",
        tombstoned: false,
        started: at("2026-11-20T02:00:00Z"),
        finished: Some(at("2026-11-20T02:00:42Z")),
        objects: 1234,
        bytes: 5 << 20,
        new_bytes: 70_000,
        sources: vec![SourceItem {
            name: "services".to_owned(),
            kind: "kubernetes".to_owned(),
            consistency: "per-kind".to_owned(),
            objects: 1234,
            bytes: 5 << 20,
            volumes: Some(VolumeCounts { covered: 1, disposable: 0, unprotected: 1 }),
        }],
        verified: Vec::new(),
        missing: 0,
        note: None,
    }
}

fn verified(at: Timestamp, level: &str, sample: Option<&str>, outcome: &str) -> VerifiedItem {
    let (level, outcome) = (level.to_owned(), outcome.to_owned());
    VerifiedItem { at, level, sample: sample.map(str::to_owned), outcome }
}

fn list() -> BackupList {
    let complete = BackupItem {
        verified: vec![
            verified(at("2026-11-20T02:30:00Z"), "presence", None, "sound"),
            verified(at("2026-11-20T02:10:00Z"), "content", None, "damaged"),
        ],
        ..item("20261120T020000Z-aaaaaa", "complete")
    };
    let partial = BackupItem {
        verified: vec![verified(at("2026-11-20T02:20:00Z"), "stored", Some("1/10"), "damaged")],
        missing: 3,
        note: Some("missing: kind secrets and 2 more".to_owned()),
        ..item("20261120T020000Z-bbbbbb", "partial")
    };
    let accepted = BackupItem { good: true, ..item("20261120T020000Z-cccccc", "suspect") };
    let damaged = BackupItem {
        finished: None,
        sources: Vec::new(),
        note: Some("its checksum line does not fit".to_owned()),
        tombstoned: true,
        ..item("20261120T020000Z-dddddd", "damaged")
    };
    BackupList { repository: "s3://orders-dr/prod".to_owned(), backups: vec![complete, partial, accepted, damaged] }
}

fn verify() -> VerifyReport {
    VerifyReport {
        unopened: 0,
        repository: "s3://orders-dr/prod".to_owned(),
        level: "content".to_owned(),
        sample: None,
        sound: false,
        interrupted: false,
        backups: vec!["20261120T020000Z-k3x7pq".to_owned()],
        objects: 9,
        packs: 0,
        streams: 12,
        parts: 40,
        plain_bytes: 38_000,
        stored_bytes: 9_000,
        findings: vec![Problem {
            object: "data/20261120T020000Z-k3x7pq/00ff".to_owned(),
            kind: ProblemKind::Damaged,
            detail: "its bytes have another SHA-256".to_owned(),
            affects: vec![
                Affected {
                    policy: "orders".to_owned(),
                    schedule: "daily".to_owned(),
                    backup: "20261120T020000Z-k3x7pq".to_owned(),
                    streams: vec!["services/secrets".to_owned(), "services/configmaps".to_owned()],
                },
                Affected {
                    policy: "orders".to_owned(),
                    schedule: "weekly".to_owned(),
                    backup: "20261120T030000Z-k3x7pq".to_owned(),
                    streams: Vec::new(),
                },
            ],
        }],
        findings_omitted: 1,
        notes: vec!["the run 20261121T020000Z-aaaaaa has no manifest".to_owned()],
        seconds: 3.21,
    }
}

fn sessions() -> SessionList {
    let session = SessionItem {
        policy: "orders".to_owned(),
        backup: "20261120T020000Z-k3x7pq".to_owned(),
        schedule: Some("daily".to_owned()),
        began: at("2026-11-20T02:00:01Z"),
        state: SessionState::Open,
        last_checkpoint: Some(at("2026-11-20T02:10:01Z")),
        note: None,
    };
    let ended = SessionItem { state: SessionState::Ended, last_checkpoint: None, ..session.clone() };
    SessionList { repository: "s3://orders-dr/prod".to_owned(), sessions: vec![session, ended] }
}

fn info() -> RepositoryInfo {
    RepositoryInfo {
        repository: "s3://orders-dr/prod".to_owned(),
        id: "4279e27786ce99dcad1cf0a484de0486".to_owned(),
        format: 1,
        created: at("2026-11-20T01:00:00.5Z"),
        encryption: "none".to_owned(),
        requires: Vec::new(),
        tool: "drctl 0.1.0".to_owned(),
        epochs: Vec::new(),
        policy: None,
        cluster_secret: None,
        created_now: true,
    }
}

#[test]
fn every_text_is_as_it_was_agreed() {
    let now = at("2026-11-20T12:00:00Z");
    let made = BackupReport {
        repository: "s3://orders-dr/prod".to_owned(),
        backup: backup(),
        partial_on_purpose: false,
        copies: Vec::new(),
    };
    let accepted = AcceptReport {
        repository: String::new(),
        backup: "20261120T020000Z-k3x7pq".to_owned(),
        already_accepted: false,
    };
    insta::assert_snapshot!("backup", made.text());
    insta::assert_snapshot!("show", backup().text());
    insta::assert_snapshot!("list", list().text(now));
    insta::assert_snapshot!("verify", verify().text());
    insta::assert_snapshot!("sessions", sessions().text(now));
    insta::assert_snapshot!("info", info().text());
    insta::assert_snapshot!("accept", accepted.text());
}

#[test]
fn empty_lists_say_so() {
    let list = BackupList { repository: String::new(), backups: Vec::new() };
    assert_eq!(list.text(at("2026-11-20T12:00:00Z")), "no backups\n");
    let sessions = SessionList { repository: String::new(), sessions: Vec::new() };
    assert_eq!(sessions.text(at("2026-11-20T12:00:00Z")), "no sessions\n");
    let none = VerifyReport { backups: Vec::new(), findings: Vec::new(), ..verify() };
    assert_eq!(none.text(), "there is no backup: nothing was verified, and NOTHING IS PROVEN\n");
    let stopped = VerifyReport { interrupted: true, ..none };
    assert_eq!(stopped.text(), "interrupted: nothing was verified yet, and NOTHING IS PROVEN\n");
    let sample = VerifyReport { level: "stored".to_owned(), sample: Some("1/1000".to_owned()), packs: 0, ..verify() };
    assert!(sample.text().contains("; no pack is in today's sample"), "{}", sample.text());
}

#[test]
fn no_text_carries_a_control_character_of_its_data() {
    for text in [backup().text(), list().text(at("2026-11-20T12:00:00Z")), verify().text()] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn every_document_says_its_version_and_kind_and_fits_its_schema() {
    fn check<T: Document + JsonSchema>(document: &T) {
        let printed = serde_json::to_value(Printed::new(document)).unwrap();
        assert_eq!(printed["apiVersion"], API_VERSION);
        assert_eq!(printed["kind"], T::KIND);
        let schema = schema_of::<T>().to_value();
        let known = schema["properties"].as_object().unwrap();
        for key in printed.as_object().unwrap().keys() {
            assert!(known.contains_key(key), "{} has no `{key}` in its schema", T::KIND);
        }
        for key in schema["required"].as_array().unwrap() {
            assert!(printed.get(key.as_str().unwrap()).is_some(), "{} lacks {key}", T::KIND);
        }
    }
    check(&backup());
    check(&list());
    check(&verify());
    check(&sessions());
    check(&info());
}

fn field(path: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange { path: path.to_owned(), old: old.map(str::to_owned), new: new.map(str::to_owned) }
}

fn change(change: &str, what: &str, name: &str) -> Change {
    Change {
        change: change.to_owned(),
        what: what.to_owned(),
        source: "services".to_owned(),
        kind: if what == "object" { "configmaps".to_owned() } else { String::new() },
        namespace: if what == "object" { "orders".to_owned() } else { String::new() },
        name: name.to_owned(),
        recreated: false,
        fields: Vec::new(),
        fields_omitted: 0,
    }
}

#[test]
fn what_changed_is_told_as_it_was_agreed() {
    let fields = vec![
        field("data.LEVEL", Some("\"info\""), Some("\"debug\"")),
        field("data.a", None, Some("1")),
        field("data.b", Some("2\u{1b}"), None),
        field("data.c", Some("a value that is not shown"), Some("a value that is not shown")),
    ];
    let columns = ObjectColumns::of(["configmaps", "deployments.apps"].into_iter(), ["orders", ""].into_iter());
    let item = |kind: &str, namespace: &str| ObjectItem {
        source: "services".to_owned(),
        kind: kind.to_owned(),
        object_version: "v1".to_owned(),
        namespace: namespace.to_owned(),
        name: "web".to_owned(),
        bytes: 1234,
    };
    let entry = |change: &str, fields: Vec<FieldChange>| HistoryEntry {
        backup: "20261120T020000Z-k3x7pq".to_owned(),
        policy: "orders".to_owned(),
        schedule: "daily".to_owned(),
        state: "complete".to_owned(),
        started: at("2026-11-20T02:00:00Z"),
        source: None,
        change: change.to_owned(),
        recreated: false,
        fields,
        fields_omitted: 0,
        note: None,
    };
    let now = at("2026-11-20T12:00:00Z");
    let text = [
        Change {
            fields: fields.clone(),
            fields_omitted: 7,
            recreated: true,
            ..change("changed", "object", "settings")
        }
        .text(false),
        change("added", "object", "new").text(true),
        change("removed", "table", "public.orders").text(true),
        change("changed", "definition", "INDEX public.by_day").text(false),
        DiffSummary { added: 1, removed: 2, changed: 3, server_set_only: 1, parts_equal: 40, parts_read: 2 }.text(),
        DiffSummary { parts_equal: 1, ..DiffSummary::default() }.text(),
        columns.head(),
        columns.item(&item("configmaps", "orders")),
        columns.item(&item("deployments.apps", "")),
        entry("changed", fields).text(now, false),
        HistoryEntry { note: Some("missing: kind secrets".to_owned()), ..entry("notCovered", Vec::new()) }
            .text(now, true),
    ]
    .concat();
    insta::assert_snapshot!("changes", text);
}
