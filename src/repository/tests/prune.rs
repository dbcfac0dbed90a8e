//! Prune: what goes, when, and what never does.
#![expect(clippy::cloned_ref_to_slice_refs, reason = "a list of one is clearer as a list")]

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    repository::{
        Error, Level, Listed, MarkOutcome, PruneOptions, Pruned, Scope, Survey, TombstoneBy, VerifyOptions,
        backend::{
            Error as StoreError, ErrorKind, Fault, Faulty, Listing, ObjectMeta, Op, PutOutcome, Recording, Rule,
        },
        layout, verify_all,
    },
    types::{BackupId, Silent},
};

pub(super) fn options(bench: &Bench) -> PruneOptions {
    PruneOptions::new(name("orders"), bench.clock.clone())
}

/// Data of which a part is in every backup, and a part in this one alone.
pub(super) fn data(day: u64) -> Vec<TestStream> {
    let (common, own) = (noise(1, 120_000), noise(100 + day, 60_000));
    vec![TestStream::new("configmaps", MediaType::Text, &[("a", &common), ("b", &own)])]
}

pub(super) async fn days(bench: &Bench, count: u64) -> Vec<StoredManifest> {
    let mut all = Vec::new();
    for day in 0..count {
        all.push(bench.backup(&data(day)).await);
        bench.pass(23);
    }
    all
}

pub(super) fn ids(backups: &[StoredManifest]) -> Vec<BackupId> {
    backups.iter().map(|stored| stored.manifest.backup.clone()).collect()
}

/// A whole prune of all backups but those of `keep`, as far as they have no tombstone yet.
pub(super) async fn prune_on(bench: &Bench, store: Arc<dyn Backend>, keep: &[BackupId]) -> Result<Pruned, Error> {
    let repository = Repository::open(store).await?;
    let survey = repository.survey(&options(bench), false).await?;
    let free = survey.backups.iter().filter(|one| one.tombstone.is_none());
    let doomed: Vec<_> = free.map(|one| one.entry.backup.clone()).filter(|id| !keep.contains(id)).collect();
    repository.prune(&survey, &doomed, &options(bench)).await
}

pub(super) async fn prune(bench: &Bench, keep: &[BackupId]) -> Pruned {
    prune_on(bench, Arc::new(bench.store.clone()), keep).await.unwrap()
}

pub(super) async fn survey(bench: &Bench) -> Survey {
    bench.open().await.survey(&options(bench), true).await.unwrap()
}

/// The ids of the backups that are listed; all of them are sound, and so is what they say of each other.
pub(super) async fn sound(bench: &Bench) -> Vec<BackupId> {
    let repository = bench.open().await;
    let (silent, cancel) = (Silent, CancellationToken::new());
    let options = VerifyOptions::new(Level::Content);
    let report = verify_all(&repository, &Scope::All, &options, &silent, &cancel).await.unwrap();
    assert_eq!(report.findings, []);
    let entries = repository.backups(&Scope::All).await.unwrap();
    let there = entries.into_iter().filter(|entry| matches!(entry.listed, Listed::Backup(_)));
    there.map(|entry| entry.backup).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_marked_and_goes_a_day_later_with_all_that_nobody_else_needs() {
    let bench = Bench::new().await;
    let all = ids(&days(&bench, 4).await);
    let before = bench.keys("data/").len();
    let marked = prune(&bench, &all[3..]).await;
    assert_eq!((marked.marked, marked.deleted), (all[..3].to_vec(), vec![]));
    assert_eq!(sound(&bench).await, all, "nothing is gone yet");
    assert_eq!(bench.keys("data/").len(), before);

    bench.pass(23);
    assert_eq!(prune(&bench, &all[3..]).await.deleted, [], "not within a day");
    bench.pass(2);
    let pruned = prune(&bench, &all[3..]).await;
    assert_eq!(pruned.deleted, all[..3].to_vec());
    assert!(pruned.packs > 0 && pruned.live_packs > 0 && pruned.bytes > 0, "{pruned:?}");
    assert_eq!(sound(&bench).await, all[3..]);
    assert_eq!(contents(&bench.open().await, &newest(&bench).await).await, by_name(&data(3)));
    // What they shared is still there, under the first, and nothing else of them; the tombstone that a manifest names stays.
    let tombstones = bench.keys("tombstones/");
    assert!(tombstones.iter().any(|key| key.contains(all[2].as_str())), "{tombstones:?}");
    for gone in &all[..3] {
        for folder in ["meta/", "sessions/", "backups/"] {
            assert!(!bench.keys(folder).iter().any(|key| key.contains(gone.as_str())), "{folder} {gone}");
        }
    }

    // The next line of backups shares nothing: then the rest goes, too, and the last marks.
    bench.pass(24 * 31);
    let last = bench.backup(&data(9)).await.manifest.backup;
    for _ in 0..3 {
        prune(&bench, std::slice::from_ref(&last)).await;
        bench.pass(25);
    }
    assert_eq!(sound(&bench).await, [last.clone()]);
    let strange = |key: &String| !key.contains(last.as_str()) && !key.contains(all[3].as_str());
    let left: Vec<_> = bench.keys("").into_iter().filter(strange).collect();
    assert_eq!(left, ["repository.json"], "nothing is left but the tombstone that the last one names");
}

async fn newest(bench: &Bench) -> StoredManifest {
    bench.open().await.newest(&Scope::All).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_undone_within_a_day_and_not_later() {
    let bench = Bench::new().await;
    let all = days(&bench, 2).await;
    let (first, repository) = (&all[0].manifest, bench.open().await);
    let of = (&first.policy, &first.schedule, &first.backup);
    prune(&bench, &ids(&all[1..])).await;
    bench.pass(24);
    assert_eq!(repository.undo_tombstone(of, &*bench.clock).await.unwrap(), MarkOutcome::Done);
    assert_eq!(repository.undo_tombstone(of, &*bench.clock).await.unwrap(), MarkOutcome::Already);
    bench.pass(48);
    assert_eq!(prune(&bench, &ids(&all)).await.deleted, []);
    assert_eq!(sound(&bench).await, ids(&all));
    // The twin: a day and an hour later it is too late, also before anything is gone.
    prune(&bench, &ids(&all[1..])).await;
    bench.pass(25);
    let late = repository.undo_tombstone(of, &*bench.clock).await;
    assert!(matches!(late, Err(Error::TooLateToUndo { .. })), "{late:?}");
    assert_eq!(prune(&bench, &ids(&all[1..])).await.deleted, ids(&all[..1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pinned_or_used_by_a_run_stays_although_its_time_has_come() {
    for guard in ["pin", "run", "nothing"] {
        let bench = Bench::new().await;
        let all = days(&bench, 2).await;
        let (first, second) = (&all[0].manifest, &all[1].manifest);
        let repository = bench.open().await;
        let writer = if guard == "run" {
            bench.pass(1);
            let writer = repository.begin(bench.options()).await.unwrap();
            assert_eq!(writer.stats().parents, [second.backup.clone()]);
            Some(writer)
        } else {
            None
        };
        prune(&bench, &ids(&all[..1])).await;
        if guard == "pin" {
            let of = (&second.policy, &second.schedule, &second.backup);
            assert_eq!(repository.pin(of, &*bench.clock).await.unwrap(), MarkOutcome::Done);
        }
        bench.pass(25);
        if let Some(writer) = &writer {
            // A sign of life: it is not fenced.
            write(writer, &data(5)).await.unwrap();
            writer.checkpoint().await.unwrap();
        }
        let pruned = prune(&bench, &ids(&all[..1])).await;
        assert_eq!(pruned.deleted.len(), usize::from(guard == "nothing"), "{guard}: {pruned:?}");
        if let Some(writer) = writer {
            committed(writer.commit(draft(&data(5))).await.unwrap());
            bench.pass(1);
            assert_eq!(prune(&bench, &sound(&bench).await).await.deleted, [second.backup.clone()]);
        }
        if guard == "pin" {
            assert_eq!(repository.unpin(&first.policy, &second.backup).await.unwrap(), MarkOutcome::Done);
            assert_eq!(prune(&bench, &ids(&all[..1])).await.deleted, [second.backup.clone()]);
        }
        sound(&bench).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_run_is_fenced_after_6_hours_and_swept_after_a_week() {
    let bench = Bench::new().await;
    let first = bench.backup(&data(0)).await.manifest.backup;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &data(1)).await.unwrap();
    writer.checkpoint().await.unwrap();
    let dead = writer.backup().clone();
    let of_dead = |folder: &str| bench.keys(folder).iter().filter(|key| key.contains(dead.as_str())).count();
    bench.pass(6);
    assert_eq!(prune(&bench, std::slice::from_ref(&first)).await.fenced, []);
    bench.pass(1);
    assert_eq!(prune(&bench, std::slice::from_ref(&first)).await.fenced, [dead.clone()]);
    assert_eq!(writer.commit(draft(&data(1))).await.unwrap(), CommitOutcome::Fenced);
    bench.pass(6 * 24);
    prune(&bench, std::slice::from_ref(&first)).await;
    assert!(of_dead("data/") > 0 && of_dead("meta/") > 0, "not within a week");
    bench.pass(2 * 24);
    prune(&bench, std::slice::from_ref(&first)).await;
    assert_eq!((of_dead("data/"), of_dead("meta/"), of_dead("sessions/"), of_dead("backups/")), (0, 0, 0, 1));
    bench.pass(401 * 24);
    prune(&bench, std::slice::from_ref(&first)).await;
    assert_eq!(of_dead(""), 0);
    assert_eq!(sound(&bench).await, [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_run_is_known_of_goes_when_it_is_over_a_week_old() {
    let bench = Bench::new().await;
    let first = bench.backup(&data(0)).await.manifest.backup;
    let lost = BackupId::new(bench.clock.now());
    let pack = layout::pack(&lost, &crate::types::Sha256Digest::of(b"x"));
    put(&bench, &pack, "x").await;
    put(&bench, &layout::index(&lost, 0, false), "y").await;
    for (hours, left) in [(7 * 24, 2), (2, 0)] {
        bench.pass(hours);
        prune(&bench, std::slice::from_ref(&first)).await;
        assert_eq!(bench.keys("").iter().filter(|key| key.contains(lost.as_str())).count(), left);
    }
    assert_eq!(sound(&bench).await, [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_dies_at_any_call_loses_nothing_and_the_next_one_ends_it() {
    for after in 0.. {
        let bench = Bench::new().await;
        let all = ids(&days(&bench, 4).await);
        prune(&bench, &all[2..]).await;
        bench.pass(25);
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        faulty.crash_after_calls(after);
        // The second is due by then, and the third is to be marked.
        let crashed = prune_on(&bench, faulty, &all[3..]).await;
        let left = sound(&bench).await;
        assert!(all[2..].iter().all(|id| left.contains(id)), "call {after}: {left:?}");
        bench.pass(1);
        let again = prune(&bench, &all[3..]).await;
        assert_eq!(sound(&bench).await, all[2..], "call {after}: {again:?}");
        assert_eq!(contents(&bench.open().await, &newest(&bench).await).await, by_name(&data(3)));
        if crashed.is_ok() {
            assert!(after > 40, "only {after} calls");
            println!("a prune of 2 of 4 backups: {after} calls");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_turns_read_only_ends_it_and_nothing_is_lost() {
    for (op, after, half) in
        [(Op::PutNew, 1, false), (Op::PutNew, 3, true), (Op::Delete, 1, false), (Op::Delete, 2, true)]
    {
        let bench = Bench::new().await;
        let all = ids(&days(&bench, 4).await);
        prune(&bench, &all[2..]).await;
        bench.pass(25);
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        faulty.on(Rule::new(op, Fault::Fail(ErrorKind::PermissionDenied)).nth(after).always());
        let ended = prune_on(&bench, faulty, &all[3..]).await;
        match &ended {
            Err(Error::Store(error)) if !half => assert_eq!(error.kind, ErrorKind::PermissionDenied),
            Err(Error::HalfPruned { .. }) if half => {}
            other => panic!("{op:?} {after}: {other:?}"),
        }
        sound(&bench).await;
        prune(&bench, &all[3..]).await;
        assert_eq!(sound(&bench).await, all[2..]);
    }
}

/// A store whose listings do not show what is younger than some time; or show what was deleted.
#[derive(Debug)]
struct Lagging {
    inner: Memory,
    /// Keys that are never listed, by their beginning.
    hides: String,
}

#[async_trait::async_trait]
impl Backend for Lagging {
    fn location(&self) -> &str {
        self.inner.location()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.inner.get(key, limit).await
    }
    async fn get_range(&self, key: &Key, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }
    fn list(&self, prefix: &str) -> Listing {
        let hides = self.hides.clone();
        let shown =
            move |meta: &ObjectMeta| std::future::ready(hides.is_empty() || !meta.key.as_str().starts_with(&hides));
        Box::pin(self.inner.list(prefix).try_filter(shown))
    }
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_listings_lag_is_refused_before_anything_is_deleted() {
    for what in ["tombstones", "manifest", "nothing"] {
        let bench = Bench::new().await;
        let all = days(&bench, 3).await;
        prune(&bench, &ids(&all[2..])).await;
        bench.pass(25);
        let (before, last) = (bench.keys(""), &all[2].manifest);
        let hides = match what {
            "tombstones" => "tombstones/orders/1970".to_owned(),
            "manifest" => layout::manifest(&last.policy, &last.schedule, &last.backup).to_string(),
            _ => "no/such/key".to_owned(),
        };
        let lagging = Arc::new(Lagging { inner: bench.store.clone(), hides });
        let pruned = prune_on(&bench, lagging, &ids(&all[2..])).await;
        if what == "nothing" {
            assert_eq!(pruned.unwrap().deleted, ids(&all[..2]));
            continue;
        }
        assert!(matches!(pruned, Err(Error::ListingLags { .. })), "{what}: {pruned:?}");
        let left: Vec<_> = bench.keys("").into_iter().filter(|key| !key.contains("/1970")).collect();
        assert_eq!(left, before, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_and_a_wrong_clock_are_refused() {
    let bench = Bench::new().await;
    let all = ids(&days(&bench, 2).await);
    prune(&bench, &all[1..]).await;
    bench.pass(25);
    let before = bench.keys("");
    for (seconds, refused) in [(3600, true), (-3600, true), (121, true), (119, false), (0, false)] {
        let at = bench.clock.now() + SignedDuration::from_secs(seconds);
        let wrong = PruneOptions::new(name("orders"), Arc::new(SetClock::new(at)));
        let outcome = bench.open().await.survey(&wrong, false).await;
        assert_eq!(matches!(outcome, Err(Error::ClockSkew { .. })), refused, "{seconds}");
        assert_eq!(bench.keys(""), before, "nothing is left of the look");
    }
    let overwriting = Memory::overwriting(bench.clock.clone());
    for key in bench.store.keys() {
        let bytes = bench.store.get(&key, u64::MAX).await.unwrap();
        overwriting.put_new(&key, bytes).await.unwrap();
    }
    let outcome = prune_on(&bench, Arc::new(overwriting), &all[1..]).await;
    assert!(matches!(outcome, Err(Error::CreateOnlyIgnored { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_can_say_what_a_backup_needs_nothing_goes_until_that_backup_is_marked() {
    let bench = Bench::new().await;
    let all = days(&bench, 3).await;
    let keep = ids(&all[2..]);
    prune(&bench, &ids(&all[1..])).await;
    bench.pass(25);
    let second = &all[1].manifest;
    let key = layout::manifest(&second.policy, &second.schedule, &second.backup);
    let (sound_bytes, before) = (bench.store.get(&key, u64::MAX).await.unwrap(), bench.keys(""));
    bench.store.overwrite(&key, "{\"drctl\":\"manifest\"");
    let refused = prune_on(&bench, Arc::new(bench.store.clone()), &keep).await;
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!(bench.keys(""), before);
    // Its refs, too.
    bench.store.overwrite(&key, sound_bytes);
    let refs = layout::refs(&second.backup);
    bench.store.overwrite(&refs, "x");
    let refused = prune_on(&bench, Arc::new(bench.store.clone()), &ids(&all[1..])).await;
    assert!(refused.as_ref().is_err_and(Error::is_damage), "{refused:?}");
    assert_eq!(bench.keys(""), before);
    // Marked by hand it is in nobody's way any more, a day later.
    let of = (&second.policy, &second.schedule, &second.backup);
    bench.open().await.put_tombstone(of, TombstoneBy::Asked, &*bench.clock).await.unwrap();
    bench.pass(25);
    assert_eq!(prune(&bench, &keep).await.deleted, ids(&all[..2]));
    assert_eq!(sound(&bench).await, keep);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_backup_goes_only_if_a_person_asked_for_it() {
    for (by, goes) in [(TombstoneBy::Retention, false), (TombstoneBy::Asked, true)] {
        let bench = Bench::new().await;
        let only = bench.backup(&data(0)).await.manifest;
        let of = (&only.policy, &only.schedule, &only.backup);
        bench.open().await.put_tombstone(of, by, &*bench.clock).await.unwrap();
        bench.pass(25);
        assert_eq!(prune(&bench, &[]).await.deleted.len(), usize::from(goes), "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_id_and_session_disagree_about_the_time_is_in_doubt() {
    for (minutes, doubted) in [(14, false), (16, true), (-16, true)] {
        let bench = Bench::new().await;
        let id = BackupId::new(bench.clock.now() + SignedDuration::from_mins(minutes));
        let writer = bench.open().await.begin(BeginOptions { backup: id, ..bench.options() }).await.unwrap();
        write(&writer, &data(0)).await.unwrap();
        committed(writer.commit(draft(&data(0))).await.unwrap());
        assert_eq!(survey(&bench).await.backups[0].time_in_doubt, doubted, "{minutes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_stays_with_its_backup_and_goes_when_it_is_old_and_the_backup_is_gone() {
    let bench = Bench::new().await;
    let all = ids(&days(&bench, 2).await);
    for id in &all {
        let key = Key::new(format!("evidence/orders/{id}/20261121T050000Z-drill-passed/report.json")).unwrap();
        put(&bench, &key, "{}").await;
    }
    assert!(survey(&bench).await.backups.iter().all(|one| one.proven));
    prune(&bench, &all[1..]).await;
    bench.pass(25);
    prune(&bench, &all[1..]).await;
    assert_eq!(bench.keys("evidence/").len(), 2);
    bench.pass(400 * 24);
    prune(&bench, &all[1..]).await;
    assert_eq!(bench.keys("evidence/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_prune_of_100_backups_are_few() {
    let bench = Bench::new().await;
    let all = ids(&days(&bench, 100).await);
    let recording = Recording::new(Arc::new(bench.store.clone()));
    let count =
        |recording: &Recording| [Op::List, Op::Get, Op::Head, Op::PutNew, Op::Delete].map(|op| recording.count(op, ""));
    let pruned = prune_on(&bench, recording.clone(), &all[90..]).await.unwrap();
    assert_eq!(pruned.marked.len(), 90);
    println!("100 backups, 90 marked: lists, gets, heads, puts, deletions: {:?}", count(&recording));
    let [lists, gets, heads, puts, deletions] = count(&recording);
    // A manifest and its refs each; a tombstone is put twice. A list is a request for each 1,000 keys. So docs/prune.md says it.
    assert_eq!((lists, gets, heads, puts, deletions), (14, 201, 1, 182, 1));
    bench.pass(25);
    recording.clear();
    let pruned = prune_on(&bench, recording.clone(), &all[90..]).await.unwrap();
    assert_eq!(pruned.deleted.len(), 90);
    println!("100 backups, 90 deleted: lists, gets, heads, puts, deletions: {:?}; {pruned:?}", count(&recording));
    // Of those that go only the manifest and the tombstone are read; each lists what it has left before its mark goes.
    // Right before a manifest or a session is deleted, it is looked at, as the store's time is once.
    let [lists, gets, heads, puts, deletions] = count(&recording);
    assert_eq!((lists, gets, heads, puts, deletions), (280, 201, 181, 2, 720));
    assert_eq!(sound(&bench).await, all[90..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_survey_is_the_stores_and_a_tombstone_that_is_younger_waits() {
    let bench = Bench::new().await;
    let all = ids(&days(&bench, 2).await);
    let repository = bench.open().await;
    let early = repository.survey(&options(&bench), false).await.unwrap();
    let now: Timestamp = bench.clock.now();
    assert_eq!(early.now, now);
    prune(&bench, &all[1..]).await;
    // A prune that stood still for two days after its survey: the survey does not know the tombstone.
    bench.pass(48);
    let pruned = repository.prune(&early, &[], &options(&bench)).await.unwrap();
    assert_eq!(pruned.deleted, []);
    assert_eq!(sound(&bench).await, all);
}
