//! Every kind of object flipped, cut and deleted: always reported, by its key, with what it touches.

mod levels;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    repository::{
        Error, FindingKind, Level, Listed, Scope, SessionState, VerifyOptions, VerifyReport,
        backend::{ErrorKind, Fault, Faulty, Key, Op, Rule},
        verify, verify_all,
    },
    types::Silent,
};

/// Two backups that share packs; the second has one of its own.
async fn two_backups() -> (Bench, StoredManifest, StoredManifest) {
    let bench = Bench::new().await;
    let lines = |seed, rows: usize| {
        let mut bytes = Vec::new();
        for row in 0..rows {
            bytes.extend(format!("{{\"n\":{row},\"x\":\"{:?}\"}}\n", noise(seed + row as u64, 20)).into_bytes());
        }
        bytes
    };
    let mut streams = vec![
        TestStream::new(
            "configmaps",
            MediaType::KubernetesObjects,
            &[("a", &lines(0, 500)), ("b", &lines(1_000, 500))],
        ),
        TestStream::new("public.orders", MediaType::Table, &[("0", &lines(5_000, 2_000)), ("1", b"")]),
    ];
    let first = bench.backup(&streams).await;
    streams.push(TestStream::new("secrets", MediaType::KubernetesObjects, &[("a", &lines(9_000, 100))]));
    let second = bench.backup(&streams).await;
    (bench, first, second)
}

async fn verified(bench: &Bench, level: Level) -> VerifyReport {
    let repository = bench.open().await;
    let options = VerifyOptions::new(level);
    verify_all(&repository, &Scope::All, &options, &Silent, &CancellationToken::new()).await.unwrap()
}

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Flip,
    Truncate,
    Empty,
    Delete,
}

async fn harm(bench: &Bench, key: &str, harm: Harm) {
    let key = Key::new(key).unwrap();
    let mut bytes = bench.store.get(&key, u64::MAX).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    match harm {
        Harm::Flip => bytes[middle] ^= 0x10,
        Harm::Truncate => bytes.truncate(bytes.len() - 1),
        Harm::Empty => bytes.clear(),
        Harm::Delete => return bench.store.delete(&key).await.unwrap(),
    }
    bench.store.overwrite(&key, Bytes::from(bytes));
}

const HARMS: [Harm; 4] = [Harm::Flip, Harm::Truncate, Harm::Empty, Harm::Delete];

/// The only finding after `how` was done to `key`: its kind, and the backups and streams it touches.
async fn only_finding(
    bench: &Bench,
    level: Level,
    key: &str,
    how: Harm,
) -> (FindingKind, Vec<(BackupName, Vec<String>)>) {
    let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
    harm(&copy, key, how).await;
    let report = verified(&copy, level).await;
    let [finding] = &report.findings[..] else { panic!("{how:?} of {key}: {:#?}", report.findings) };
    assert_eq!(finding.object, key, "{how:?}");
    let affects =
        finding.affects.iter().map(|a| ((a.policy.clone(), a.schedule.clone(), a.backup.clone()), a.streams.clone()));
    (finding.kind, affects.collect())
}

use crate::repository::BackupName;

fn place(stored: &StoredManifest) -> BackupName {
    (stored.manifest.policy.clone(), stored.manifest.schedule.clone(), stored.manifest.backup.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_repository_verifies_at_both_levels() {
    let (bench, first, second) = two_backups().await;
    for level in [Level::Presence, Level::Content] {
        let report = verified(&bench, level).await;
        assert!(report.is_sound(), "{:#?}", report.findings);
        assert_eq!(report.backups, [first.manifest.backup.clone(), second.manifest.backup.clone()]);
        assert_eq!((report.streams, report.objects), (5, 2));
        if level == Level::Content {
            let plain = first.manifest.totals.plain_bytes + second.manifest.totals.plain_bytes;
            assert_eq!((report.parts, report.plain_bytes), (9, plain));
            assert_eq!(report.shared_bytes, first.manifest.totals.plain_bytes, "shared parts are read once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_pack_is_named_with_the_streams_and_backups_that_need_it() {
    let (bench, first, second) = two_backups().await;
    let packs = bench.keys("data/");
    let [shared, own] = &packs[..] else { panic!("{packs:?}") };
    for how in HARMS {
        let expected = if how == Harm::Delete { FindingKind::Missing } else { FindingKind::Damaged };
        let (kind, affects) = only_finding(&bench, Level::Content, own, how).await;
        assert_eq!((kind, affects), (expected, vec![(place(&second), vec!["services/secrets".to_owned()])]), "{how:?}");

        let (kind, affects) = only_finding(&bench, Level::Content, shared, how).await;
        assert_eq!(kind, expected);
        // A flip touches one chunk and so one stream; all else touches every stream in the pack.
        let names: Vec<_> = affects.iter().map(|(backup, _)| backup.clone()).collect();
        assert_eq!(names, [place(&first), place(&second)], "{how:?}");
        let streams = affects.iter().map(|(_, streams)| streams.len()).collect::<Vec<_>>();
        assert_eq!(streams, if how == Harm::Flip { [1, 1] } else { [2, 2] }, "{how:?}");
    }
    // Presence sees all of them but the flip.
    for how in [Harm::Truncate, Harm::Empty, Harm::Delete] {
        only_finding(&bench, Level::Presence, shared, how).await;
    }
    harm(&bench, shared, Harm::Flip).await;
    assert!(verified(&bench, Level::Presence).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_byte_of_a_pack_is_found() {
    let bench = Bench::new().await;
    bench.backup(&[TestStream::new("x", MediaType::Text, &[("a", &noise(1, 500))])]).await;
    let key = Key::new(bench.keys("data/")[0].clone()).unwrap();
    let bytes = bench.store.get(&key, u64::MAX).await.unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        bench.store.overwrite(&key, Bytes::from(flipped));
        let report = verified(&bench, Level::Content).await;
        // Bits of a frame's head that mean nothing may flip; then all bytes must still be right.
        let unchanged = report.is_sound();
        assert!(!unchanged || at < 5, "byte {at}");
        assert!(unchanged || report.findings[0].object == key.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_meta_object_is_named_at_both_levels() {
    let (bench, _, second) = two_backups().await;
    let meta = bench.keys(&format!("meta/{}/", second.manifest.backup));
    assert_eq!(meta.len(), 3, "{meta:?}");
    for key in &meta {
        for level in [Level::Presence, Level::Content] {
            for how in HARMS {
                let (kind, affects) = only_finding(&bench, level, key, how).await;
                let expected = if how == Harm::Delete { FindingKind::Missing } else { FindingKind::Damaged };
                assert_eq!(kind, expected, "{how:?} of {key}");
                let names: Vec<_> = affects.iter().map(|(backup, _)| backup.clone()).collect();
                assert_eq!(names, [place(&second)]);
                // An index names its streams; streams and refs are of the whole backup.
                assert_eq!(affects[0].1.len(), if key.contains("index") { 3 } else { 0 }, "{how:?} of {key}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_session_is_named_and_the_backup_still_restores() {
    let (bench, _, second) = two_backups().await;
    let key = format!("sessions/orders/{}.json", second.manifest.backup);
    for how in HARMS {
        let (_, affects) = only_finding(&bench, Level::Presence, &key, how).await;
        assert_eq!(affects, [(place(&second), vec![])]);
    }
    harm(&bench, &key, Harm::Flip).await;
    contents(&bench.open().await, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_manifest_is_listed_as_damage_and_never_loaded() {
    let (bench, first, second) = two_backups().await;
    let key = format!("backups/orders/daily/{}.json", second.manifest.backup);
    for how in [Harm::Flip, Harm::Truncate, Harm::Empty] {
        let (kind, affects) = only_finding(&bench, Level::Presence, &key, how).await;
        assert_eq!((kind, affects), (FindingKind::Damaged, vec![(place(&second), vec![])]), "{how:?}");
    }
    harm(&bench, &key, Harm::Flip).await;
    let repository = bench.open().await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    assert!(matches!(entries[1].listed, Listed::Damaged(_)), "{entries:?}");
    let found = repository.find(&Scope::All, second.manifest.backup.as_str()).await;
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
    let newest = repository.newest_good(&Scope::All).await.unwrap().unwrap();
    assert_eq!(newest.manifest.backup, first.manifest.backup);
    harm(&bench, &key, Harm::Delete).await;
    let found = repository.find(&Scope::All, second.manifest.backup.as_str()).await;
    assert!(matches!(found, Err(Error::NoSuchBackup { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_names_the_damaged_pack_and_gives_no_byte_of_it() {
    let (bench, first, _) = two_backups().await;
    for how in HARMS {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        let pack = copy.keys("data/")[0].clone();
        harm(&copy, &pack, how).await;
        let reader = copy.open().await.read(&first.manifest).await.unwrap();
        let stream = reader.streams().iter().find(|stream| stream.name == "public.orders").unwrap();
        let mut damage = Vec::new();
        for stream in reader.streams() {
            for part in 0..stream.parts.len() {
                let pieces: Result<Vec<Bytes>, _> = reader.read_part(stream, part).await.unwrap().try_collect().await;
                damage.extend(pieces.err());
            }
        }
        assert!(!damage.is_empty(), "{how:?}");
        for error in damage {
            assert!(error.damaged, "{error}");
            let source = error.source.to_string();
            assert!(source.starts_with(&format!("`{pack}` is ")), "{how:?}: {source}");
        }
        let _ = stream;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harmed_repository_header_is_refused() {
    let (bench, ..) = two_backups().await;
    for how in HARMS {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        harm(&copy, "repository.json", how).await;
        let opened = Repository::open(Arc::new(copy.store.clone())).await.unwrap_err();
        match how {
            Harm::Flip | Harm::Truncate => assert!(matches!(opened, Error::Damaged { .. }), "{opened}"),
            Harm::Empty | Harm::Delete => assert!(matches!(opened, Error::NotARepository { .. }), "{opened}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_a_parent_makes_the_next_backup_store_that_data_anew() {
    let (bench, first, _) = two_backups().await;
    let pack = bench.keys("data/")[0].clone();
    for how in [Harm::Truncate, Harm::Delete] {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        let before = contents(&copy.open().await, &first).await;
        harm(&copy, &pack, how).await;
        let streams: Vec<_> = before.into_values().collect();
        let third = copy.backup(&streams).await;
        assert!(third.manifest.totals.new_bytes > 0);
        assert_eq!(contents(&copy.open().await, &third).await, by_name(&streams));
    }
    for meta in bench.keys("meta/") {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        let streams: Vec<_> = contents(&copy.open().await, &first).await.into_values().collect();
        harm(&copy, &meta, Harm::Flip).await;
        let third = copy.backup(&streams).await;
        assert_eq!(contents(&copy.open().await, &third).await, by_name(&streams), "{meta}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_is_listed_as_such() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    let key = format!("sessions/orders/{}.json", writer.backup());
    let sessions = bench.open().await.sessions(None).await.unwrap();
    assert!(matches!(sessions[0].state, SessionState::Open { .. }), "{sessions:?}");
    harm(&bench, &key, Harm::Flip).await;
    let sessions = bench.open().await.sessions(None).await.unwrap();
    assert!(matches!(sessions[0].state, SessionState::Damaged(_)), "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_no_more_ends_a_verify_and_what_was_found_is_kept() {
    let (bench, first, second) = two_backups().await;
    harm(&bench, &format!("sessions/orders/{}.json", first.manifest.backup), Harm::Flip).await;
    let backups = [place(&first), place(&second)];
    for (kind, calls) in [(ErrorKind::Unreachable, 1), (ErrorKind::TimedOut, 5), (ErrorKind::Other, u64::MAX)] {
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        let repository = bench.open_on(faulty.clone()).await;
        faulty.on(Rule::new(Op::GetRange, Fault::Fail(kind)).under("data/").times(calls));
        let options = VerifyOptions::new(Level::Content);
        let report = verify(&repository, &backups, &options, &Silent, &CancellationToken::new()).await.unwrap();
        assert!(report.has_damage(), "the session's damage is kept");
        let ended = report.backups.len() == 1;
        assert_eq!(ended, kind == ErrorKind::Unreachable, "{kind:?}: {report:#?}");
        for backup in &backups {
            let key = format!("backups/orders/daily/{}.json", backup.2);
            let unread = report.findings.iter().any(|f| f.object == key && f.kind == FindingKind::NotChecked);
            assert_eq!(unread, ended, "{kind:?}: {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_calls_in_a_row_without_an_answer_end_a_verify_and_four_do_not() {
    let bench = Bench::new().await;
    let streams: Vec<_> =
        (0..8).map(|n| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 300_000))])).collect();
    let stored = bench.backup(&streams).await;
    for (times, ended) in [(4, false), (5, true)] {
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        let repository = bench.open_on(faulty.clone()).await;
        faulty.on(Rule::new(Op::GetRange, Fault::Fail(ErrorKind::TimedOut)).under("data/").times(times));
        let options = VerifyOptions::new(Level::Content);
        let backups = [place(&stored)];
        let report = verify(&repository, &backups, &options, &Silent, &CancellationToken::new()).await.unwrap();
        assert!(!report.has_damage() && !report.is_sound());
        assert_eq!(report.parts == 0, ended, "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_a_verify_found_damaged_is_not_shared_by_the_next_backup() {
    let (bench, first, _) = two_backups().await;
    let streams: Vec<_> = contents(&bench.open().await, &first).await.into_values().collect();
    let pack = bench.keys("data/")[0].clone();
    for (harmed, level, marks) in [(true, Level::Content, 1), (true, Level::Presence, 0), (false, Level::Content, 0)] {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        if harmed {
            harm(&copy, &pack, Harm::Flip).await;
        }
        let report = verified(&copy, level).await;
        assert_eq!((report.has_damage(), &report.notes[..]), (marks == 1, &[][..]));
        assert_eq!(copy.keys("evidence/orders/").len(), marks, "{level:?}");
        copy.pass(1);
        let writer = copy.open().await.begin(copy.options()).await.unwrap();
        let notes = writer.stats().notes;
        assert_eq!(notes.iter().any(|note| note.contains("found damaged by a verify")), marks == 1, "{notes:?}");
        write(&writer, &streams).await.unwrap();
        let third = committed(writer.commit(draft(&streams)).await.unwrap());
        assert_eq!(third.manifest.totals.reused_bytes == 0, marks == 1, "{level:?}");
        let repository = copy.open().await;
        let options = VerifyOptions::new(Level::Content);
        let report = verify(&repository, &[place(&third)], &options, &Silent, &CancellationToken::new()).await.unwrap();
        assert_eq!(report.is_sound(), marks == 1 || !harmed, "{level:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_cannot_be_marked_is_reported_all_the_same() {
    let (bench, ..) = two_backups().await;
    harm(&bench, &bench.keys("data/")[0], Harm::Flip).await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    let repository = bench.open_on(faulty.clone()).await;
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::PermissionDenied)).always());
    let entries = repository.backups(&Scope::All).await.unwrap();
    let backups: Vec<_> = entries.into_iter().map(|entry| (entry.policy, entry.schedule, entry.backup)).collect();
    let options = VerifyOptions::new(Level::Content);
    let report = verify(&repository, &backups, &options, &Silent, &CancellationToken::new()).await.unwrap();
    assert!(report.has_damage());
    assert!(report.notes[0].starts_with("the damage could not be marked"), "{:?}", report.notes);
}
