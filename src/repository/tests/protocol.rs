//! The protocol against other runs, other clocks and other stores.

use jiff::SignedDuration;

use super::*;
use crate::repository::{
    Abort, BackupEntry, Error, Listed, Scope, SessionState,
    backend::{ErrorKind, Fault, Faulty, Key, Op, Recording, Rule},
    control, index, layout,
    objects::put_own,
};

fn abort(writer: &BackupWriter) -> Abort {
    Abort {
        policy: name("orders"),
        schedule: name("daily"),
        backup: writer.backup().clone(),
        state: State::Aborted,
        at: "2026-11-20T08:00:00Z".parse().unwrap(),
        reason: "no checkpoint for 6 hours".to_owned(),
        unknown: serde_json::Map::new(),
    }
}

/// Why a run ended whose session is written.
fn why(error: &Error) -> String {
    let Error::Begun { source, .. } = error else { panic!("{error:?}") };
    format!("{source:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_create_only_puts_is_refused_before_anything_is_stored() {
    let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
    let store = Memory::overwriting(clock.clone());
    let bench = Bench { clock: clock.clone(), store: store.clone(), access: Default::default() };
    let made = Repository::init(Arc::new(store.clone()), &*clock).await;
    assert!(matches!(made, Err(Error::CreateOnlyIgnored { .. })), "{made:?}");
    let begun = bench.open().await.begin(bench.options()).await;
    let begun = begun.map_err(|error| why(&error));
    assert!(matches!(begun, Err(why) if why.contains("CreateOnlyIgnored")), "its session is there by then");
    assert_eq!(bench.keys("data/"), Vec::<String>::new());
    let other = Bench::new().await;
    other.open().await.begin(other.options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_refused() {
    for (seconds, refused) in [(119, false), (-119, false), (121, true), (-121, true)] {
        let bench = Bench::new().await;
        let wrong = Arc::new(SetClock::new(bench.clock.now() + SignedDuration::from_secs(seconds)));
        let begun = bench.open().await.begin(BeginOptions { clock: wrong, ..bench.options() }).await;
        let skewed = begun.as_ref().is_err_and(|error| why(error).contains("ClockSkew"));
        assert_eq!(skewed, refused, "{seconds} s: {begun:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_run_does_not_commit() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(1)).await.unwrap();
    let key = layout::manifest(&name("orders"), &name("daily"), writer.backup());
    put(&bench, &key, control::encode(&abort(&writer)).unwrap()).await;
    assert_eq!(writer.commit(draft(&small(1))).await.unwrap(), CommitOutcome::Fenced);
    let entries = bench.open().await.backups(&Scope::All).await.unwrap();
    assert!(matches!(entries[..], [BackupEntry { listed: Listed::Aborted, .. }]), "{entries:?}");
    // Nothing of it is reused.
    let next = bench.backup(&small(1)).await;
    assert_eq!((next.manifest.parents.len(), next.manifest.totals.reused_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_took_a_week_does_not_commit() {
    for (hours, too_old) in [(7 * 24, false), (7 * 24 + 1, true)] {
        let bench = Bench::new().await;
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        write(&writer, &small(1)).await.unwrap();
        bench.pass(hours);
        let outcome = writer.commit(draft(&small(1))).await;
        assert_eq!(matches!(outcome, Err(Error::SessionTooOld { .. })), too_old, "{outcome:?}");
        assert_eq!(bench.keys("backups/").is_empty(), too_old);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_runs_of_one_schedule_both_commit() {
    let bench = Bench::new().await;
    let (one, two) = (bench.open().await.begin(bench.options()).await, bench.open().await.begin(bench.options()).await);
    let (one, two) = (one.unwrap(), two.unwrap());
    let (first, second) = (small(1), small(2));
    futures::future::try_join(write(&one, &first), write(&two, &second)).await.unwrap();
    let two_done = committed(two.commit(draft(&second)).await.unwrap());
    let one_done = committed(one.commit(draft(&first)).await.unwrap());
    let repository = bench.open().await;
    assert_eq!(contents(&repository, &one_done).await, by_name(&first));
    assert_eq!(contents(&repository, &two_done).await, by_name(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_names_the_parents_before_they_are_used() {
    let bench = Bench::new().await;
    let first = bench.backup(&small(1)).await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    let sessions = bench.open().await.sessions(Some(&name("orders"))).await.unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].state, SessionState::Ended);
    let SessionState::Open { session, .. } = &sessions[1].state else { panic!("{sessions:?}") };
    assert_eq!(session.parents, [first.manifest.backup]);
    assert_eq!(&session.backup, writer.backup());
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_read_only_after_the_session_is_written() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    bench.pass(1);
    let recording = Recording::new(Arc::new(bench.store.clone()));
    let writer = bench.open_on(recording.clone()).await.begin(bench.options()).await.unwrap();
    assert_eq!(writer.stats().parents.len(), 1);
    let calls = recording.calls();
    let place = |op: Op, prefix: &str| calls.iter().rposition(|call| call.op == op && call.subject.starts_with(prefix));
    let (put, list) = (place(Op::PutNew, "sessions/").unwrap(), place(Op::List, "tombstones/").unwrap());
    let parent = place(Op::Get, "backups/").unwrap();
    assert!(put < list && put < parent, "{calls:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_names_no_pack_that_the_store_has_not_acknowledged() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Stall).under("data/"));
    let options = BeginOptions { pack_bytes: 100_000, ..bench.options() };
    let writer = Arc::new(bench.open_on(faulty.clone()).await.begin(options).await.unwrap());
    write(&writer, &small(1)).await.unwrap();
    until("a put that stands still", || faulty.stalled() >= 1).await;
    let named = || async {
        let mut packs = Vec::new();
        for key in bench.keys("meta/") {
            let bytes = bench.store.get(&Key::new(key).unwrap(), u64::MAX).await.unwrap();
            index::decode(bytes, |line| packs.push(layout::pack(&line.backup, &line.pack).to_string())).unwrap();
        }
        packs
    };
    writer.checkpoints.write_all().await.unwrap();
    let stored = bench.keys("data/");
    assert!(named().await.iter().all(|pack| stored.contains(pack)), "{:?} of {stored:?}", named().await);
    // The twin: once it is acknowledged, it is named.
    faulty.heal();
    writer.checkpoint().await.unwrap();
    let (mut packs, stored) = (named().await, bench.keys("data/"));
    packs.sort();
    packs.dedup();
    assert_eq!(packs, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_go_while_a_run_relies_on_them_stop_its_commit() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    let pack = Key::new(bench.keys("data/")[0].clone()).unwrap();
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(1)).await.unwrap();
    bench.store.delete(&pack).await.unwrap();
    let outcome = writer.commit(draft(&small(1))).await;
    let Err(Error::PacksGone { count: 1, first, .. }) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(first, pack.as_str());
    drop(writer);
    // The next run drops them and stores that data anew.
    let next = bench.backup(&small(1)).await;
    assert_eq!(contents(&bench.open().await, &next).await, by_name(&small(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_go_while_a_run_lasts_stop_its_commit() {
    for (swept, cut) in [(true, false), (false, true), (false, false)] {
        let bench = Bench::new().await;
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        write(&writer, &small(1)).await.unwrap();
        writer.checkpoint().await.unwrap();
        let index = layout::index(writer.backup(), 0, false);
        if swept {
            bench.store.delete(&index).await.unwrap();
        }
        if cut {
            bench.store.overwrite(&index, Bytes::from_static(b"x"));
        }
        let outcome = writer.commit(draft(&small(1))).await;
        if !swept && !cut {
            let stored = committed(outcome.unwrap());
            assert_eq!(contents(&bench.open().await, &stored).await, by_name(&small(1)));
            continue;
        }
        let Err(Error::PacksGone { count: 1, first, .. }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(first, index.as_str());
        assert_eq!(bench.keys("backups/"), [""; 0], "there is no backup that could not be read");
        drop(writer);
        let next = bench.backup(&small(1)).await;
        assert_eq!(contents(&bench.open().await, &next).await, by_name(&small(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_object_that_is_there_already_must_be_equal() {
    let store = Memory::default();
    let key = Key::new("sessions/orders/x.json").unwrap();
    for _ in 0..2 {
        put_own(&store, &key, Bytes::from_static(b"own")).await.unwrap();
    }
    for other in [&b"two"[..], b"longer", b""] {
        let error = put_own(&store, &key, Bytes::from_static(other)).await.unwrap_err();
        let Error::Damaged { object, .. } = &error else { panic!("{error:?}") };
        assert_eq!(object, key.as_str());
    }
    assert_eq!(store.get(&key, 9).await.unwrap(), "own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_somebody_else_has_put_stops_the_run() {
    let bench = Bench::new().await;
    let options = bench.options();
    let key = layout::session(&options.policy, &options.backup);
    put(&bench, &key, "another").await;
    let begun = bench.open().await.begin(options).await;
    let Err(Error::Damaged { object, .. }) = &begun else { panic!("{begun:?}") };
    assert_eq!(object, key.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_known_unless_the_store_does_not_say_what_is_there() {
    #[derive(Debug, PartialEq)]
    enum Ends {
        Committed,
        NotCommitted,
        Unknown,
    }
    let fail = |kind| Fault::Fail(kind);
    let cases = [
        (Fault::LoseAcknowledgement, None, Ends::Committed),
        (Fault::LoseAcknowledgement, Some(ErrorKind::Unreachable), Ends::Unknown),
        (fail(ErrorKind::Unreachable), Some(ErrorKind::Unreachable), Ends::Unknown),
        (fail(ErrorKind::PermissionDenied), None, Ends::NotCommitted),
        (fail(ErrorKind::TimedOut), None, Ends::Unknown),
    ];
    for (put, get, expected) in cases {
        let bench = Bench::new().await;
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        let case = format!("{put:?}, {get:?}");
        let writer = bench.open_on(faulty.clone()).await.begin(bench.options()).await.unwrap();
        faulty.on(Rule::new(Op::PutNew, put).under("backups/"));
        if let Some(kind) = get {
            faulty.on(Rule::new(Op::Get, Fault::Fail(kind)).under("backups/"));
        }
        write(&writer, &small(1)).await.unwrap();
        let ends = match writer.commit(draft(&small(1))).await {
            Ok(CommitOutcome::Committed(_)) => Ends::Committed,
            Err(Error::CommitUnknown { backup, .. }) if backup == *writer.backup() => Ends::Unknown,
            Err(Error::Store(_)) => Ends::NotCommitted,
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(ends, expected, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_can_be_seen_counts_only_after_a_put_that_succeeded() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    let writer = bench.open_on(faulty.clone()).await.begin(bench.options()).await.unwrap();
    // As a local folder that was linked into and then could not be made durable.
    faulty.on(Rule::new(Op::PutNew, Fault::LoseAcknowledgement).under("backups/").times(2));
    write(&writer, &small(1)).await.unwrap();
    let outcome = writer.commit(draft(&small(1))).await;
    assert!(matches!(outcome, Err(Error::CommitUnknown { .. })), "{outcome:?}");
}
