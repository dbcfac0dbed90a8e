//! Backups that are gone: what names them tells.

use bytes::Bytes;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    repository::{
        Abort, Error, FindingKind, Level, Listed, Scope, Session, SessionState, VerifyOptions, VerifyReport,
        backend::{Directory, Key},
        control, layout, verify_all,
    },
    types::{BackupId, Silent},
};

fn small(seed: u64) -> Vec<TestStream> {
    vec![TestStream::new("a", MediaType::Text, &[("0", &noise(seed, 5_000))])]
}

async fn three_backups() -> (Bench, [StoredManifest; 3]) {
    let bench = Bench::new().await;
    let backups = [bench.backup(&small(1)).await, bench.backup(&small(2)).await, bench.backup(&small(3)).await];
    (bench, backups)
}

async fn verified(repository: &Repository) -> VerifyReport {
    let options = VerifyOptions::new(Level::Presence);
    verify_all(repository, &Scope::All, &options, &Silent, &CancellationToken::new()).await.unwrap()
}

fn key_of(stored: &StoredManifest) -> Key {
    layout::manifest(&stored.manifest.policy, &stored.manifest.schedule, &stored.manifest.backup)
}

/// The objects that were found wrong, each with what is wrong, and the backup that it touches.
fn found(report: &VerifyReport) -> Vec<(String, FindingKind, Vec<BackupId>)> {
    let backups = |affects: &[crate::repository::Affected]| affects.iter().map(|a| a.backup.clone()).collect();
    report.findings.iter().map(|f| (f.object.clone(), f.kind, backups(&f.affects))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_backup_nothing_is_proven() {
    let bench = Bench::new().await;
    let report = verified(&bench.open().await).await;
    assert!(!report.is_sound() && !report.has_damage(), "{report:?}");
    bench.backup(&small(1)).await;
    assert!(verified(&bench.open().await).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_manifest_that_a_later_one_names_is_missing_unless_prune_took_it() {
    let (bench, [first, second, third]) = three_backups().await;
    assert_eq!(third.manifest.previous.as_ref().map(|p| p.sha256), Some(second.sha256));
    assert!(verified(&bench.open().await).await.is_sound());
    for (gone, id) in [(&first, &first.manifest.backup), (&second, &second.manifest.backup)] {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        copy.store.delete(&key_of(gone)).await.unwrap();
        let report = verified(&copy.open().await).await;
        let expected = vec![(key_of(gone).to_string(), FindingKind::Missing, vec![id.clone()])];
        assert_eq!(found(&report), expected);
        assert!(report.has_damage());
        let tombstone = layout::tombstone(&name("orders"), id);
        copy.store.put_new(&tombstone, Bytes::from_static(b"whatever")).await.unwrap();
        let report = verified(&copy.open().await).await;
        assert_eq!(found(&report), vec![]);
    }
    // No later one names the newest: its session says that a run stored everything.
    bench.store.delete(&key_of(&third)).await.unwrap();
    let report = verified(&bench.open().await).await;
    assert!(report.is_sound());
    let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(note.contains(third.manifest.backup.as_str()) && note.contains("has no manifest"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_follow_each_other_sort_in_their_order_also_within_a_second() {
    let bench = Bench::new().await;
    bench.clock.set(bench.clock.now() + jiff::SignedDuration::from_millis(250));
    let begun = bench.clock.now();
    let mut before: Option<StoredManifest> = None;
    for seed in 0..4 {
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        write(&writer, &small(seed)).await.unwrap();
        let stored = committed(writer.commit(draft(&small(seed))).await.unwrap());
        assert_eq!(stored.manifest.started, begun, "the start is the true one");
        if let Some(before) = &before {
            assert!(stored.manifest.backup > before.manifest.backup);
            assert_eq!(stored.manifest.previous.as_ref().map(|p| &p.id), Some(&before.manifest.backup));
        }
        before = Some(stored);
    }
    let newest = bench.open().await.newest(&Scope::All).await.unwrap().unwrap();
    assert_eq!(Some(&newest), before.as_ref());

    // Another schedule has an order of its own; a clock that is far ahead is another matter.
    let weekly = BeginOptions { schedule: name("weekly"), ..bench.options() };
    let other = bench.open().await.begin(weekly).await.unwrap();
    assert_eq!(other.backup().time().as_second(), begun.as_second());
    bench.clock.set(begun - jiff::SignedDuration::from_mins(5));
    let early = bench.open().await.begin(bench.options()).await.unwrap();
    assert!(early.backup().time() < begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_object_in_a_named_manifests_place_is_damage() {
    let (bench, [first, second, _]) = three_backups().await;
    let place = &first.manifest;
    let abort = Abort {
        policy: place.policy.clone(),
        schedule: place.schedule.clone(),
        backup: place.backup.clone(),
        state: State::Aborted,
        at: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        unknown: serde_json::Map::new(),
    };
    let mut forged = first.manifest.clone();
    forged.notes.push("forged".to_owned());
    for bytes in [control::encode(&abort).unwrap(), control::encode(&forged).unwrap()] {
        let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
        copy.store.overwrite(&key_of(&first), bytes);
        let report = verified(&copy.open().await).await;
        let expected = vec![(key_of(&first).to_string(), FindingKind::Damaged, vec![place.backup.clone()])];
        assert_eq!(found(&report), expected);
        assert!(report.findings[0].detail.contains(second.manifest.backup.as_str()), "{:?}", report.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_backup_that_is_gone_and_a_damaged_mark_are_found() {
    let bench = Bench::new().await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(1)).await.unwrap();
    let suspect = ManifestDraft { state: State::Suspect, ..draft(&small(1)) };
    let stored = committed(writer.commit(suspect).await.unwrap());
    bench.open().await.accept(&stored, &*bench.clock).await.unwrap();
    assert!(verified(&bench.open().await).await.is_sound());

    let mark = layout::accept(&name("orders"), &stored.manifest.backup);
    let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
    copy.store.overwrite(&mark, Bytes::from_static(b"{\"drctl\":\"accept\"}\n"));
    let report = verified(&copy.open().await).await;
    let backup = vec![stored.manifest.backup.clone()];
    assert_eq!(found(&report), vec![(mark.to_string(), FindingKind::Damaged, backup.clone())]);

    bench.store.delete(&key_of(&stored)).await.unwrap();
    let report = verified(&bench.open().await).await;
    assert_eq!(found(&report), vec![(key_of(&stored).to_string(), FindingKind::Missing, backup)]);
    assert!(report.findings[0].detail.contains("a mark accepts it"), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_say_their_schedule_and_their_damage_whether_the_run_has_ended_or_not() {
    let (bench, [first, second, _]) = three_backups().await;
    let open = bench.open().await.begin(bench.options()).await.unwrap();
    let states = |sessions: Vec<crate::repository::SessionEntry>| {
        let state = |state: &SessionState| match state {
            SessionState::Ended => "ended",
            SessionState::Open { .. } => "open",
            SessionState::Damaged(_) => "damaged",
        };
        sessions.iter().map(|s| (s.schedule.as_ref().map(Name::to_string), state(&s.state))).collect::<Vec<_>>()
    };
    let daily = || Some("daily".to_owned());
    let sessions = bench.open().await.sessions(None).await.unwrap();
    assert_eq!(states(sessions), [(daily(), "ended"), (daily(), "ended"), (daily(), "ended"), (daily(), "open")]);

    let session = |id| layout::session(&name("orders"), id);
    bench.store.overwrite(&session(&first.manifest.backup), Bytes::from_static(b"{}"));
    let key = session(&second.manifest.backup);
    let mut other: Session = control::decode(&bench.store.get(&key, 1 << 20).await.unwrap()).unwrap();
    other.schedule = name("weekly");
    bench.store.overwrite(&key, control::encode(&other).unwrap());
    bench.store.overwrite(&session(open.backup()), Bytes::new());
    let sessions = bench.open().await.sessions(None).await.unwrap();
    assert_eq!(states(sessions), [(daily(), "damaged"), (daily(), "damaged"), (daily(), "ended"), (None, "damaged")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_place_of_objects_are_damage_and_never_followed() {
    use std::os::unix::fs::symlink;

    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    let clock = Arc::new(crate::types::SystemClock);
    let repository = Repository::init(Arc::new(store), &*clock).await.unwrap();
    let mut stored = Vec::new();
    for seed in [1, 2] {
        let options = BeginOptions { clock: clock.clone(), ..bench.options() };
        let id = BackupId::new(clock.now() + jiff::SignedDuration::from_secs(seed));
        let writer = repository.begin(BeginOptions { backup: id, ..options }).await.unwrap();
        write(&writer, &small(u64::try_from(seed).unwrap())).await.unwrap();
        stored.push(committed(writer.commit(draft(&small(1))).await.unwrap()));
    }
    assert!(verified(&repository).await.is_sound());

    // A pack, a manifest, and something that nobody knows: each moved away, and a link put in its place.
    let newest = stored.pop().unwrap();
    let pack = repository
        .present(std::iter::once(&newest.manifest.backup), |_| true)
        .await
        .unwrap()
        .into_keys()
        .next()
        .unwrap();
    let pack = layout::pack(&pack.0, &pack.1);
    let outside = tempfile::tempdir().unwrap();
    for key in [pack.as_str(), key_of(&newest).as_str()] {
        let kept = outside.path().join(key.replace('/', "-"));
        std::fs::rename(folder.path().join(key), &kept).unwrap();
        symlink(&kept, folder.path().join(key)).unwrap();
        let report = verified(&repository).await;
        let objects: Vec<_> = report.findings.iter().map(|f| (f.object.as_str(), f.kind)).collect();
        assert_eq!(objects, [(key, FindingKind::Damaged)]);
        assert!(report.findings[0].detail.contains("symbolic link"), "{:?}", report.findings);
        let entries = repository.backups(&Scope::All).await.unwrap();
        let is_manifest = key.starts_with("backups/");
        assert_eq!(matches!(entries[1].listed, Listed::Damaged(_)), is_manifest, "{entries:?}");
        if is_manifest {
            let read = repository.find(&Scope::All, newest.manifest.backup.as_str()).await;
            assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
        }
        std::fs::remove_file(folder.path().join(key)).unwrap();
        std::fs::rename(&kept, folder.path().join(key)).unwrap();
        assert!(verified(&repository).await.is_sound());
    }
    symlink(outside.path(), folder.path().join("data/elsewhere")).unwrap();
    let report = verified(&repository).await;
    assert_eq!(found(&report), vec![("data/elsewhere".to_owned(), FindingKind::Damaged, vec![])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_under_another_policys_prefix_is_no_policy() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    let junk = Key::new("backups/stranger/daily/20261120T020000Z-aaaaaa.json").unwrap();
    bench.store.put_new(&junk, Bytes::from_static(b"junk")).await.unwrap();
    assert_eq!(bench.open().await.policies().await.unwrap(), [name("orders")]);
    bench.pass(1);
    let other = BeginOptions { policy: name("payments"), ..bench.options() };
    let writer = bench.open().await.begin(other).await.unwrap();
    write(&writer, &small(2)).await.unwrap();
    committed(writer.commit(draft(&small(2))).await.unwrap());
    assert_eq!(bench.open().await.policies().await.unwrap(), [name("orders"), name("payments")]);
}
