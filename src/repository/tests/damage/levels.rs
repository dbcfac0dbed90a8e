//! What each level of a verification finds, what a sample reads, and what the store is told of it.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::repository::{Sample, VerifyOutcome};

async fn verified_by(bench: &Bench, options: &VerifyOptions) -> VerifyReport {
    let repository = bench.open().await;
    verify_all(&repository, &Scope::All, options, &Silent, &CancellationToken::new()).await.unwrap()
}

fn sampled(level: Level, of: u32, day: i64) -> VerifyOptions {
    let start: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
    let now = start + SignedDuration::from_hours(24 * day);
    VerifyOptions { sample: Some(Sample::new(of, now)), ..VerifyOptions::new(level) }
}

#[tokio::test(flavor = "multi_thread")]
async fn level_stored_reads_each_pack_once_and_finds_every_harm_to_it() {
    let (bench, first, second) = two_backups().await;
    let sound = verified(&bench, Level::Stored).await;
    assert!(sound.is_sound(), "{:#?}", sound.findings);
    let count = bench.keys("data/").len() as u64;
    assert_eq!((sound.packs, sound.parts), (count, 0), "two backups share a pack, and nothing is decoded");

    let packs = bench.keys("data/");
    let [shared, own] = &packs[..] else { panic!("{packs:?}") };
    for how in HARMS {
        let expected = if how == Harm::Delete { FindingKind::Missing } else { FindingKind::Damaged };
        let (kind, affects) = only_finding(&bench, Level::Stored, own, how).await;
        assert_eq!((kind, affects), (expected, vec![(place(&second), vec!["services/secrets".to_owned()])]), "{how:?}");
        // What hashes a pack cannot say which chunk of it is harmed: every stream in it is touched.
        let (kind, affects) = only_finding(&bench, Level::Stored, shared, how).await;
        let names: Vec<_> = affects.iter().map(|(backup, streams)| (backup.clone(), streams.len())).collect();
        assert_eq!((kind, names), (expected, vec![(place(&first), 2), (place(&second), 2)]), "{how:?}");
    }
    for prefix in ["meta/", "backups/", "sessions/"] {
        for key in bench.keys(prefix) {
            let copy = Bench { clock: bench.clock.clone(), store: bench.store.copy(), access: bench.access.clone() };
            harm(&copy, &key, Harm::Flip).await;
            assert!(!verified(&copy, Level::Stored).await.is_sound(), "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_finds_damage_on_the_day_of_its_pack_and_on_no_other() {
    let (bench, ..) = two_backups().await;
    let whole = verified(&bench, Level::Stored).await;
    let packs = bench.keys("data/");
    let mut read = 0;
    for day in 0..10 {
        let report = verified_by(&bench, &sampled(Level::Stored, 10, day)).await;
        assert!(report.is_sound(), "{:#?}", report.findings);
        read += report.packs;
    }
    assert_eq!(read, whole.packs, "ten days read all of it, and nothing twice");
    harm(&bench, &packs[0], Harm::Flip).await;
    let mut found = 0;
    for day in 0..10 {
        let report = verified_by(&bench, &sampled(Level::Stored, 10, day)).await;
        assert!(report.findings.iter().all(|finding| finding.object == packs[0]), "{:#?}", report.findings);
        found += report.findings.len();
    }
    assert_eq!(found, 1);
    let all = verified_by(&bench, &sampled(Level::Stored, 1, 3)).await;
    assert_eq!(all.findings.len(), 1, "a sample of all finds it on any day");
}

/// A backup of ten parts; in the one of `miscounted` the rows are not as many as are recorded.
async fn ten_parts(miscounted: Option<usize>) -> Bench {
    let bench = Bench::new().await;
    let lines = |part: usize| -> Vec<u8> {
        (0..40).flat_map(|row| format!("{{\"n\":{part},\"row\":{row}}}\n").into_bytes()).collect()
    };
    let parts = (0..10).map(|part| (format!("namespace-{part}"), lines(part))).collect();
    let stream = TestStream { name: "configmaps".to_owned(), media_type: MediaType::KubernetesObjects, parts };
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    let spec = StreamSpec { source: name("services"), name: stream.name.clone(), media_type: stream.media_type };
    let mut sink = writer.open(spec).await.unwrap();
    for (at, (part, lines)) in stream.parts.iter().enumerate() {
        sink.begin_part(part).await.unwrap();
        sink.write(Bytes::copy_from_slice(lines)).await.unwrap();
        let count = if miscounted == Some(at) { 41 } else { 40 };
        sink.end_part(PartSummary { count, digest: None }).await.unwrap();
    }
    sink.finish().await.unwrap();
    committed(writer.commit(draft(&[stream])).await.unwrap());
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_contents_proves_whole_parts_and_each_on_its_day() {
    let bench = ten_parts(None).await;
    let whole = verified(&bench, Level::Content).await;
    let (mut parts, mut plain) = (0, 0);
    for day in 0..10 {
        let report = verified_by(&bench, &sampled(Level::Content, 10, day)).await;
        assert!(report.is_sound(), "{:#?}", report.findings);
        assert!(report.parts < whole.parts, "a sample is not all of it");
        (parts, plain) = (parts + report.parts, plain + report.plain_bytes);
    }
    assert_eq!((parts, plain), (whole.parts, whole.plain_bytes), "ten days prove all of it, and nothing twice");

    // Every chunk of it has its id; only the count of the objects is not what was recorded.
    let bench = ten_parts(Some(4)).await;
    assert!(verified(&bench, Level::Stored).await.is_sound());
    let found = async |of, day| verified_by(&bench, &sampled(Level::Content, of, day)).await.findings;
    let mut days = Vec::new();
    for day in 0..10 {
        days.extend(found(10, day).await.into_iter().map(|finding| (day, finding.detail)));
    }
    let [(_, detail)] = &days[..] else { panic!("{days:?}") };
    assert!(detail.contains("namespace-4"), "{detail}");
    assert_eq!(found(1, 0).await.len(), 1, "a sample of all finds it on any day");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_contents_finds_a_damaged_pack_by_the_parts_in_it() {
    let (bench, ..) = two_backups().await;
    let packs = bench.keys("data/");
    harm(&bench, &packs[0], Harm::Flip).await;
    let mut found = 0;
    for day in 0..10 {
        let report = verified_by(&bench, &sampled(Level::Content, 10, day)).await;
        assert!(report.findings.iter().all(|finding| finding.object == packs[0]), "{:#?}", report.findings);
        found += report.findings.len();
    }
    assert!(found >= 1, "on the day of each part that needs the harmed bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_verification_found_is_noted_for_each_backup() {
    let (bench, first, second) = two_backups().await;
    let repository = bench.open().await;
    assert!(repository.verified(&Scope::All).await.unwrap().is_empty());
    let at: Timestamp = "2026-11-21T13:05:09Z".parse().unwrap();
    let options = VerifyOptions::new(Level::Presence);
    let report = verified(&bench, Level::Presence).await;
    repository.note_verified(&report, &options, at).await.unwrap();

    let own = bench.keys("data/")[1].clone();
    harm(&bench, &own, Harm::Flip).await;
    let options = sampled(Level::Stored, 1, 0);
    let report = verified_by(&bench, &options).await;
    repository.note_verified(&report, &options, at + SignedDuration::from_secs(60)).await.unwrap();
    repository.note_verified(&report, &options, at + SignedDuration::from_secs(60)).await.unwrap();

    let known = repository.verified(&Scope::Policy(name("orders"))).await.unwrap();
    let outcomes = |stored: &StoredManifest| -> Vec<(Level, Option<u32>, VerifyOutcome)> {
        let (policy, _, backup) = place(stored);
        known[&(policy, backup)].iter().map(|one| (one.level, one.sample, one.outcome)).collect()
    };
    let presence = (Level::Presence, None, VerifyOutcome::Sound);
    assert_eq!(outcomes(&first), [(Level::Stored, Some(1), VerifyOutcome::Sound), presence]);
    assert_eq!(outcomes(&second), [(Level::Stored, Some(1), VerifyOutcome::Damaged), presence]);
    assert!(repository.verified(&Scope::Policy(name("other"))).await.unwrap().is_empty());

    let folder = format!("evidence/orders/{}", second.manifest.backup);
    let keys = bench.keys(&folder);
    let key = format!("{folder}/20261121T130609Z-verify-damaged/stored-1-of-1-rest-0.json");
    assert!(keys.contains(&key), "{keys:?}");
    let stored = bench.store.get(&Key::new(key).unwrap(), u64::MAX).await.unwrap();
    let text = String::from_utf8(stored.to_vec()).unwrap();
    assert!(text.starts_with("{\"drctl\":\"evidence\"") && text.contains(&own), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_or_could_not_read_is_no_proof() {
    let (bench, ..) = two_backups().await;
    let repository = bench.open().await;
    let options = VerifyOptions::new(Level::Presence);
    let mut report = verified(&bench, Level::Presence).await;
    report.interrupted = true;
    repository.note_verified(&report, &options, "2026-11-21T13:05:09Z".parse().unwrap()).await.unwrap();
    let known = repository.verified(&Scope::All).await.unwrap();
    let outcome = |place: usize| known[&(report.names[place].0.clone(), report.names[place].2.clone())][0].outcome;
    assert_eq!((outcome(0), outcome(1)), (VerifyOutcome::Sound, VerifyOutcome::Unfinished));
}
