//! The protocol against other runs, other clocks and other stores.

use jiff::SignedDuration;

use super::*;
use crate::repository::{
    Abort, AcceptOutcome, Error, Scope, SessionState,
    backend::{ErrorKind, Fault, Faulty, Key, Op, Recording, Rule},
    control, index, layout,
    objects::put_own,
};

fn small(seed: u64) -> Vec<TestStream> {
    vec![TestStream::new("configmaps", MediaType::Text, &[("a", &noise(seed, 300_000))])]
}

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

async fn put(bench: &Bench, key: &Key, bytes: impl Into<Bytes>) {
    bench.store.put_new(key, bytes.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_create_only_puts_is_refused_before_anything_is_stored() {
    let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
    let store = Memory::overwriting(clock.clone());
    let bench = Bench { clock: clock.clone(), store: store.clone() };
    let made = Repository::init(Arc::new(store.clone()), &*clock).await;
    assert!(matches!(made, Err(Error::CreateOnlyIgnored { .. })), "{made:?}");
    let begun = bench.open().await.begin(bench.options()).await;
    assert!(matches!(begun, Err(Error::CreateOnlyIgnored { .. })), "{begun:?}");
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
        assert_eq!(matches!(begun, Err(Error::ClockSkew { .. })), refused, "{seconds} s: {begun:?}");
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

use crate::repository::{BackupEntry, Listed};

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
async fn a_run_may_resume_from_one_that_still_lives() {
    let bench = Bench::new().await;
    let alive = bench.open().await.begin(bench.options()).await.unwrap();
    write(&alive, &small(1)).await.unwrap();
    alive.checkpoint().await.unwrap();
    let other = bench.backup(&small(1)).await;
    assert_eq!(other.manifest.totals.new_bytes, 0);
    let alive = committed(alive.commit(draft(&small(1))).await.unwrap());
    for stored in [other, alive] {
        assert_eq!(contents(&bench.open().await, &stored).await, by_name(&small(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_prune_has_marked_is_dropped() {
    let bench = Bench::new().await;
    let first = bench.backup(&small(1)).await;
    put(&bench, &layout::tombstone(&name("orders"), &first.manifest.backup), "anything").await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    assert_eq!(writer.stats().parents, []);
    assert!(writer.stats().notes[0].contains("prune is about to delete it"), "{:?}", writer.stats().notes);
    write(&writer, &small(1)).await.unwrap();
    let second = committed(writer.commit(draft(&small(1))).await.unwrap());
    assert_eq!(second.manifest.totals.reused_bytes, 0);
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
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while faulty.stalled() < 1 {
        assert!(std::time::Instant::now() < deadline, "no put stands still");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
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
async fn after_the_full_interval_everything_is_stored_anew() {
    let bench = Bench::new().await;
    let first = bench.backup(&small(1)).await;
    for (hours, full) in [(24 * 29, false), (24, true), (24, false)] {
        bench.pass(hours - 1);
        let next = bench.backup(&small(1)).await;
        assert_eq!(next.manifest.parents.is_empty(), full, "after {hours} h");
        assert_eq!(next.manifest.totals.new_bytes > 0, full);
        if full {
            assert_eq!(next.manifest.full_since, next.manifest.started);
            assert!(next.manifest.full_since > first.manifest.full_since);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_which_the_parent_used_less_than_half_is_not_shared_further() {
    let bench = Bench::new().await;
    let part = |n: u64| noise(n, 1_000_000);
    let parts = |range: std::ops::Range<u64>| {
        let parts: Vec<_> = range.map(|n| (n.to_string(), part(n))).collect();
        vec![TestStream { name: "orders".to_owned(), media_type: MediaType::Table, parts }]
    };
    bench.backup(&parts(0..6)).await;
    let mostly = bench.backup(&parts(0..4)).await;
    assert_eq!(mostly.manifest.totals.new_bytes, 0);
    let little = bench.backup(&parts(0..2)).await;
    assert_eq!(little.manifest.totals.new_bytes, 0, "its parent used most of the pack");
    let anew = bench.backup(&parts(0..2)).await;
    assert_eq!(anew.manifest.totals.reused_bytes, 0, "its parent used a third of the pack");
    assert_eq!(contents(&bench.open().await, &anew).await, by_name(&parts(0..2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_past_the_limit_of_the_table_count_as_new_and_it_is_said() {
    let bench = Bench::new().await;
    let streams = [TestStream::new("x", MediaType::Text, &[("a", &noise(1, 2_000_000))])];
    bench.backup(&streams).await;
    bench.pass(1);
    let writer = bench.open().await.begin(BeginOptions { known_chunks: 5, ..bench.options() }).await.unwrap();
    assert!(writer.stats().notes[0].starts_with("the table of known chunks is full: "), "{:?}", writer.stats().notes);
    write(&writer, &streams).await.unwrap();
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    assert!(stored.manifest.totals.reused_bytes > 0 && stored.manifest.totals.new_chunks > 5);
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_stay_within_the_budget_while_the_store_stands_still() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Stall).under("data/").times(3));
    let options = BeginOptions { memory: 20 << 20, ..bench.options() };
    let writer = Arc::new(bench.open_on(faulty.clone()).await.begin(options).await.unwrap());
    let streams: Vec<_> =
        (0..8).map(|n| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 8_000_000))])).collect();
    let writing = {
        let (writer, streams) = (Arc::clone(&writer), streams.clone());
        tokio::spawn(async move { write(&writer, &streams).await })
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while faulty.stalled() < 1 {
        assert!(std::time::Instant::now() < deadline, "no put stands still");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!writing.is_finished());
    faulty.heal();
    writing.await.unwrap().unwrap();
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    let most = writer.stats().most_in_flight;
    // Random bytes make frames a few bytes longer than their chunks.
    assert!((10 << 20..(20 << 20) + 10_000).contains(&most), "{most} bytes were in flight");
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_one_task_writes_in_turns_do_not_wait_for_each_other() {
    let bench = Bench::new().await;
    let options = BeginOptions { memory: 1 << 20, ..bench.options() };
    let writer = bench.open().await.begin(options).await.unwrap();
    let streams: Vec<_> =
        (0..40).map(|n| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 300_000))])).collect();
    let mut sinks = Vec::new();
    for stream in &streams {
        let spec = StreamSpec { source: name("services"), name: stream.name.clone(), media_type: stream.media_type };
        let mut sink = writer.open(spec).await.unwrap();
        sink.begin_part("0").await.unwrap();
        sinks.push(sink);
    }
    for at in (0..300_000).step_by(50_000) {
        for (sink, stream) in sinks.iter_mut().zip(&streams) {
            sink.write(Bytes::copy_from_slice(&stream.parts[0].1[at..at + 50_000])).await.unwrap();
        }
    }
    for mut sink in sinks {
        sink.end_part(PartSummary::default()).await.unwrap();
        sink.finish().await.unwrap();
    }
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    assert!(writer.stats().most_in_flight <= (1 << 20) + 10_000);
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_stops_the_streams_with_its_error() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Full)).under("data/"));
    let options = BeginOptions { memory: 10 << 20, ..bench.options() };
    let writer = bench.open_on(faulty).await.begin(options).await.unwrap();
    let streams = [TestStream::new("x", MediaType::Blob, &[("a", &noise(1, 40_000_000))])];
    let error = write(&writer, &streams).await.unwrap_err();
    let mut chain: Option<&dyn std::error::Error> = Some(&error);
    let mut texts = Vec::new();
    while let Some(error) = chain {
        texts.push(error.to_string());
        chain = error.source();
    }
    assert_eq!(texts[..2], ["cannot store stream `x`", "the backup can no longer be written"]);
    assert!(texts[2].starts_with("cannot write `data/"), "{texts:?}");
    assert!(matches!(writer.commit(draft(&streams)).await, Err(Error::Stopped(_))));
    assert_eq!(bench.keys("backups/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_news_still_shows_that_it_lives() {
    let bench = Bench::new().await;
    let every = std::time::Duration::from_millis(20);
    let writer = bench.open().await.begin(BeginOptions { checkpoint_every: every, ..bench.options() }).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while bench.keys(&format!("meta/{}/index-", writer.backup())).len() < 3 {
        assert!(std::time::Instant::now() < deadline, "no heartbeat");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    write(&writer, &small(1)).await.unwrap();
    let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&small(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_suspect_backup_counts_as_good_and_only_that_manifest() {
    let bench = Bench::new().await;
    let good = bench.backup(&small(1)).await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(2)).await.unwrap();
    let suspect = ManifestDraft { state: State::Suspect, ..draft(&small(2)) };
    let suspect = committed(writer.commit(suspect).await.unwrap());
    let repository = bench.open().await;
    let newest = |repository: Repository| async move {
        repository.newest_good(&Scope::All).await.unwrap().unwrap().manifest.backup
    };
    assert_eq!(newest(repository.clone()).await, good.manifest.backup);
    assert_eq!(repository.accept(&suspect, &*bench.clock).await.unwrap(), AcceptOutcome::Accepted);
    assert_eq!(repository.accept(&suspect, &*bench.clock).await.unwrap(), AcceptOutcome::AlreadyAccepted);
    assert_eq!(newest(repository.clone()).await, suspect.manifest.backup);
    let another = StoredManifest { sha256: good.sha256, ..suspect.clone() };
    assert!(repository.accept(&another, &*bench.clock).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_found_by_the_beginning_of_its_id_if_only_one_begins_so() {
    let bench = Bench::new().await;
    let (first, second) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let repository = bench.open().await;
    let id = second.manifest.backup.as_str();
    for text in [id, &id[..20], &id[..12]] {
        assert_eq!(repository.find(&Scope::All, text).await.unwrap(), second, "{text}");
    }
    let both = repository.find(&Scope::Policy(name("orders")), "20261120").await;
    let Err(Error::AmbiguousBackup { count: 2, first: oldest, .. }) = &both else { panic!("{both:?}") };
    assert_eq!(oldest, &first.manifest.backup);
    for (scope, text) in [(Scope::All, ""), (Scope::All, "2025"), (Scope::Policy(name("other")), id)] {
        let found = repository.find(&scope, text).await;
        assert!(matches!(found, Err(Error::NoSuchBackup { .. })), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_touches_what_is_there() {
    let bench = Bench::new().await;
    let again = Repository::init(Arc::new(bench.store.clone()), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
    let empty = Repository::open(Arc::new(Memory::default())).await;
    assert!(matches!(empty, Err(Error::NotARepository { .. })), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_touches_what_is_there_even_if_the_store_overwrites() {
    let bench = Bench::new().await;
    let overwriting = Memory::overwriting(bench.clock.clone());
    let header = bench.store.get(&layout::header(), u64::MAX).await.unwrap();
    overwriting.put_new(&layout::header(), header.clone()).await.unwrap();
    let again = Repository::init(Arc::new(overwriting.clone()), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
    assert_eq!(overwriting.get(&layout::header(), u64::MAX).await.unwrap(), header);
    let large = Memory::overwriting(bench.clock.clone());
    large.put_new(&layout::header(), vec![b'x'; 2 << 20].into()).await.unwrap();
    let again = Repository::init(Arc::new(large), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_shares_nothing_and_begins_a_new_line() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    bench.pass(1);
    let dead = bench.open().await.begin(bench.options()).await.unwrap();
    write(&dead, &small(2)).await.unwrap();
    dead.checkpoint().await.unwrap();
    drop(dead);
    for (full_every, full) in [(std::time::Duration::ZERO, true), (bench.options().full_every, false)] {
        bench.pass(1);
        let options = BeginOptions { full_every, ..bench.options() };
        let writer = bench.open().await.begin(options).await.unwrap();
        assert_eq!(writer.stats().parents.is_empty(), full);
        assert!(writer.previous().is_some());
        write(&writer, &small(1)).await.unwrap();
        let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
        assert_eq!(stored.manifest.totals.reused_bytes == 0, full);
        assert_eq!(stored.manifest.full_since == stored.manifest.started, full);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_of_a_run_that_no_parent_names_are_not_shared() {
    for (named, reused) in [(false, 0), (true, 300_000)] {
        let bench = Bench::new().await;
        let mut runs = Vec::new();
        let oldest = bench.open().await.begin(bench.options()).await.unwrap();
        if named {
            write(&oldest, &small(1)).await.unwrap();
            oldest.checkpoint().await.unwrap();
        }
        for n in 2..5 {
            bench.pass(1);
            let run = bench.open().await.begin(bench.options()).await.unwrap();
            assert_eq!(run.stats().parents.contains(oldest.backup()), named);
            write(&run, &small(n)).await.unwrap();
            runs.push(run);
        }
        if !named {
            write(&oldest, &small(1)).await.unwrap();
            oldest.checkpoint().await.unwrap();
        }
        for run in &runs {
            run.checkpoint().await.unwrap();
        }
        // The newest run's index says that it uses the oldest one's pack.
        let index = bench.store.get(&layout::index(oldest.backup(), 0), u64::MAX).await.unwrap();
        put(&bench, &layout::index(runs[2].backup(), 7), index).await;
        bench.pass(1);
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        assert!(!writer.stats().parents.contains(oldest.backup()), "{:?}", writer.stats());
        write(&writer, &small(1)).await.unwrap();
        let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
        assert_eq!(stored.manifest.totals.reused_bytes, reused);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_backup_does_not_take_the_place_of_a_complete_parent() {
    let bench = Bench::new().await;
    let all = [small(1), vec![TestStream::new("secrets", MediaType::Text, &[("a", &noise(2, 300_000))])]].concat();
    let complete = bench.backup(&all).await;
    let mut newest = Vec::new();
    for _ in 0..2 {
        bench.pass(1);
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        write(&writer, &all[..1]).await.unwrap();
        let partial = ManifestDraft { state: State::Partial, ..draft(&all[..1]) };
        newest.insert(0, committed(writer.commit(partial).await.unwrap()).manifest.backup);
    }
    let next = bench.backup(&all).await;
    newest.insert(0, complete.manifest.backup);
    assert_eq!(next.manifest.parents, newest);
    assert_eq!(next.manifest.totals.new_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_backups_are_parents_where_there_is_no_complete_one() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(1)).await.unwrap();
    let partial = ManifestDraft { state: State::Partial, ..draft(&small(1)) };
    let partial = committed(writer.commit(partial).await.unwrap());
    let next = bench.backup(&small(1)).await;
    assert_eq!((next.manifest.parents, next.manifest.totals.new_bytes), (vec![partial.manifest.backup], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_later_format_is_listed_as_such_and_one_that_goes_is_not_listed() {
    let bench = Bench::new().await;
    let (first, second) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let key = |stored: &StoredManifest| layout::manifest(&name("orders"), &name("daily"), &stored.manifest.backup);
    let line = "{\"drctl\":\"manifest\",\"format\":2,\"anything\":[]}\n";
    let newer = format!("{line}{}\n", crate::types::Sha256Digest::of(line.as_bytes()));
    bench.store.overwrite(&key(&second), newer);
    let entries = bench.open().await.backups(&Scope::All).await.unwrap();
    assert!(matches!(entries[1].listed, Listed::Newer(_)), "{entries:?}");
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    let repository = bench.open_on(faulty.clone()).await;
    faulty.on(Rule::new(Op::Get, Fault::Fail(ErrorKind::NotFound)).under(key(&first).as_str()));
    assert_eq!(repository.backups(&Scope::All).await.unwrap(), entries[1..]);
}
