//! What a copy waits for comes to an end, and what waits or is damaged leaves nothing behind in the place of the copy.

use std::sync::Arc;

use super::{
    Bench,
    copy::{copied, copy_between, copy_to, empty, is_sound, replica, waits},
    prune::options,
    server::Server,
    small,
};
use crate::{
    repository::{
        Copier, CopyOutcome, CopyRefused, Error, Level, Listed, PruneOptions, Pruned, Repository, Scope,
        StoredManifest, Survey, TombstoneBy, WaitEnds,
        backend::{Backend, ErrorKind, Fault, Faulty, Key, Memory, Op, Recording, Rule},
        layout,
    },
    types::{BackupId, Clock},
};

/// How the copy is pruned.
fn at_copy(bench: &Bench) -> PruneOptions {
    PruneOptions { is_copy: true, ..options(bench) }
}

async fn survey(bench: &Bench, store: &Memory) -> (Repository, Survey) {
    let copy = bench.open_on(Arc::new(store.clone())).await;
    let survey = copy.survey(&at_copy(bench), false).await.unwrap();
    (copy, survey)
}

/// A prune of the copy that marks nothing.
async fn prune(bench: &Bench, store: &Memory) -> Pruned {
    let (copy, survey) = survey(bench, store).await;
    copy.prune(&survey, &[], &at_copy(bench)).await.unwrap()
}

/// What ends the wait of a backup that has to.
fn wait_ends(outcome: &Result<CopyOutcome, Error>) -> Option<WaitEnds> {
    match outcome {
        Err(Error::Copy(CopyRefused::Waits { ends, .. })) => Some(*ends),
        _ => None,
    }
}

fn under(store: &Memory, prefix: &str, backup: &BackupId) -> usize {
    let keys = store.keys();
    keys.iter().filter(|key| key.as_str().starts_with(prefix) && key.as_str().contains(backup.as_str())).count()
}

/// Two backups, the second of which needs packs of the first.
async fn two() -> (Bench, StoredManifest, StoredManifest) {
    let bench = Bench::new().await;
    let one = bench.backup(&small(1)).await;
    let two = bench.backup(&small(1)).await;
    (bench, one, two)
}

/// A copy of `backup` that dies when its packs are sent: its session is there.
async fn dies(bench: &Bench, store: &Memory, backup: &StoredManifest) {
    let faulty = Faulty::new(Arc::new(store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).under("meta/").always());
    copy_to(bench, faulty, backup).await.unwrap_err();
    assert_eq!(under(store, "sessions/", &backup.manifest.backup), 1);
}

async fn tombstone(bench: &Bench, store: &Memory, backup: &StoredManifest) {
    let manifest = &backup.manifest;
    let mark = (&manifest.policy, &manifest.schedule, &manifest.backup);
    let copy = bench.open_on(Arc::new(store.clone())).await;
    copy.put_tombstone(mark, TombstoneBy::Asked, &*bench.clock).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_waits_puts_no_session_and_is_copied_when_a_prune_has_come_to_its_end() {
    let (bench, one, two) = two().await;
    let store = empty(&bench);
    copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
    tombstone(&bench, &store, &one).await;
    bench.pass(25);
    let keys = store.keys();
    let outcome = copy_to(&bench, Arc::new(store.clone()), &two).await;
    assert_eq!(wait_ends(&outcome), Some(WaitEnds::Prune), "{outcome:?}");
    assert_eq!(store.keys(), keys, "nothing was written");
    let pruned = prune(&bench, &store).await;
    assert_eq!(pruned.deleted, vec![one.manifest.backup.clone()], "nothing keeps it");
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    prune(&bench, &store).await;
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_of_its_own_has_left_long_ago_is_taken_away_by_a_prune() {
    let bench = Bench::new().await;
    let one = bench.backup(&small(1)).await;
    let store = empty(&bench);
    dies(&bench, &store, &one).await;
    store.delete(&layout::session(&one.manifest.policy, &one.manifest.backup)).await.unwrap();
    bench.pass(8 * 24);
    let outcome = copy_to(&bench, Arc::new(store.clone()), &one).await;
    assert_eq!(wait_ends(&outcome), Some(WaitEnds::Prune), "{outcome:?}");
    prune(&bench, &store).await;
    copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_copy_that_has_begun_is_waited_for_until_that_has_ended() {
    let (bench, one, two) = two().await;
    let store = empty(&bench);
    // The packs of the first are there long before its own copy begins.
    dies(&bench, &store, &two).await;
    store.delete(&layout::session(&two.manifest.policy, &two.manifest.backup)).await.unwrap();
    bench.pass(6 * 24);
    dies(&bench, &store, &one).await;
    bench.pass(2 * 24);
    for _ in 0..2 {
        let outcome = copy_to(&bench, Arc::new(store.clone()), &two).await;
        assert_eq!(wait_ends(&outcome), Some(WaitEnds::Run), "{outcome:?}");
        // No prune ends this.
        prune(&bench, &store).await;
    }
    copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    prune(&bench, &store).await;
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_no_prune_acts_on_yet_holds_up_no_copy() {
    for (hours, held_up) in [(1, false), (21, false), (25, true)] {
        let (bench, one, two) = two().await;
        let store = empty(&bench);
        copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        tombstone(&bench, &store, &one).await;
        bench.pass(hours);
        let outcome = copy_to(&bench, Arc::new(store.clone()), &two).await;
        assert_eq!((waits(&outcome), outcome.is_ok()), (held_up, !held_up), "{hours} h: {outcome:?}");
        if !held_up {
            bench.pass(48);
            prune(&bench, &store).await;
            prune(&bench, &store).await;
            assert!(is_sound(&replica(&bench, Arc::new(store)).await).await, "{hours} h");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_there_waits_for_nothing_that_was_marked_after_it() {
    let (bench, one, two) = two().await;
    let store = empty(&bench);
    copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
    dies(&bench, &store, &two).await;
    tombstone(&bench, &store, &one).await;
    bench.pass(26);
    assert_eq!(prune(&bench, &store).await.deleted, [], "the session names it");
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    assert_eq!(prune(&bench, &store).await.deleted, vec![one.manifest.backup.clone()]);
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

/// A copy in which the first backup was given up, and has been swept.
async fn swept() -> (Bench, Memory, StoredManifest, StoredManifest) {
    let (bench, one, two) = two().await;
    let store = empty(&bench);
    dies(&bench, &store, &one).await;
    bench.pass(8 * 24);
    assert_eq!(prune(&bench, &store).await.fenced, vec![one.manifest.backup.clone()]);
    bench.pass(25);
    let outcome = copy_to(&bench, Arc::new(store.clone()), &two).await;
    assert!(waits(&outcome), "its packs may be deleted now: {outcome:?}");
    assert!(prune(&bench, &store).await.packs > 0);
    for prefix in ["data/", "meta/", "sessions/"] {
        assert_eq!(under(&store, prefix, &one.manifest.backup), 0, "{prefix}");
    }
    assert_eq!(under(&store, "backups/", &one.manifest.backup), 1, "the abort marker");
    (bench, store, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_been_given_up_and_swept_is_waited_for_no_longer() {
    let (bench, store, _, two) = swept().await;
    // One that dies on the way goes on, too.
    dies(&bench, &store, &two).await;
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    for _ in 0..3 {
        bench.pass(8 * 24);
        prune(&bench, &store).await;
    }
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_began_before_leaves_what_a_copy_brings_of_a_run_that_was_swept() {
    let (bench, store, _, two) = swept().await;
    let (copy, before) = survey(&bench, &store).await;
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    copy.prune(&before, &[], &at_copy(&bench)).await.unwrap();
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prunes_of_which_one_has_swept_leave_what_a_copy_brings() {
    let (bench, one, two) = two().await;
    let store = empty(&bench);
    dies(&bench, &store, &one).await;
    bench.pass(8 * 24);
    prune(&bench, &store).await;
    bench.pass(25);
    // This one sees the session that the other deletes.
    let (copy, before) = survey(&bench, &store).await;
    assert!(prune(&bench, &store).await.packs > 0);
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    copy.prune(&before, &[], &at_copy(&bench)).await.unwrap();
    assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_in_a_copy_can_be_brought_there_again_when_its_marker_has_gone() {
    let (bench, store, one, _) = swept().await;
    let again = |store: Memory| copy_to(&bench, Arc::new(store), &one);
    assert!(matches!(again(store.clone()).await, Err(Error::Aborted { .. })));
    bench.pass(29 * 24);
    let elsewhere = store.copy();
    // The twin: in a place that is no copy the marker stays for long.
    let repository = bench.open_on(Arc::new(elsewhere.clone())).await;
    let looked = repository.survey(&options(&bench), false).await.unwrap();
    repository.prune(&looked, &[], &options(&bench)).await.unwrap();
    assert!(matches!(again(elsewhere).await, Err(Error::Aborted { .. })));
    prune(&bench, &store).await;
    copied(again(store.clone()).await.unwrap());
    let there = replica(&bench, Arc::new(store)).await;
    let listed = there.backups(&Scope::All).await.unwrap();
    assert!(listed.iter().all(|entry| matches!(entry.listed, Listed::Backup(_))) && listed.len() == 1);
    assert!(is_sound(&there).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_to_be_missing_in_the_original_puts_no_session() {
    let (bench, one, _) = two().await;
    for prefix in ["data/", "meta/"] {
        for key in bench.keys(prefix).into_iter().filter(|key| key.contains(one.manifest.backup.as_str())) {
            let key = Key::new(key).unwrap();
            let whole = bench.store.get(&key, u64::MAX).await.unwrap();
            bench.store.delete(&key).await.unwrap();
            let store = Recording::new(Arc::new(empty(&bench)));
            let (from, to) = (bench.open().await, replica(&bench, store.clone()).await);
            let error = copy_between(&bench, &from, &to, &one).await.unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(key.as_str()), "{key}: {error}");
            assert_eq!(store.count(Op::PutNew, "sessions/"), 0, "{key}");
            bench.store.put_new(&key, whole).await.unwrap();
            copied(copy_between(&bench, &from, &to, &one).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_verification_has_found_damaged_in_the_original_puts_no_session_unless_it_was_put_right() {
    let (bench, one, _) = two().await;
    let pack = Key::new(bench.keys("data/").remove(0)).unwrap();
    let whole = bench.store.get(&pack, u64::MAX).await.unwrap();
    let mut flipped = whole.to_vec();
    flipped[10] ^= 1;
    bench.store.overwrite(&pack, flipped);
    let from = bench.open().await;
    let (owner, name) = layout::parse_pack(&pack).unwrap();
    let of = (&one.manifest.policy, &one.manifest.backup);
    from.mark_damaged(of, &[(owner, name)], Level::Stored, bench.clock.now()).await.unwrap();
    let store = Recording::new(Arc::new(empty(&bench)));
    let to = replica(&bench, store.clone()).await;
    let error = copy_between(&bench, &from, &to, &one).await.unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert_eq!(store.count(Op::PutNew, "sessions/"), 0);
    bench.store.overwrite(&pack, whole);
    copied(copy_between(&bench, &from, &to, &one).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_too_old_is_refused_before_anything_is_sent() {
    for (hours, refused) in [(7 * 24 - 1, false), (7 * 24 + 1, true)] {
        let (bench, one, _) = two().await;
        let store = empty(&bench);
        dies(&bench, &store, &one).await;
        bench.pass(hours);
        let store = Recording::new(Arc::new(store));
        let outcome = copy_to(&bench, store.clone(), &one).await;
        let is = matches!(&outcome, Err(Error::Copy(CopyRefused::TooLong { .. })));
        assert_eq!((is, outcome.is_ok()), (refused, !refused), "{hours} h: {outcome:?}");
        assert_eq!(store.bytes_put("meta/") == 0, refused, "{hours} h");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_stood_still_deletes_no_backup_that_was_brought_again_since_its_survey() {
    // What it would delete: an abort marker whose time has come, or a backup with a tombstone.
    for (given_up, brought) in [(true, true), (true, false), (false, true), (false, false)] {
        let (bench, store, one) = match given_up {
            true => {
                let (bench, store, one, _) = swept().await;
                bench.pass(30 * 24);
                (bench, store, one)
            }
            false => {
                let (bench, one, _) = two().await;
                let store = empty(&bench);
                copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
                tombstone(&bench, &store, &one).await;
                bench.pass(25);
                (bench, store, one)
            }
        };
        let manifest = &one.manifest;
        let (copy, before) = survey(&bench, &store).await;
        if brought {
            prune(&bench, &store).await;
            assert_eq!(under(&store, "backups/", &manifest.backup), 0, "the other prune has deleted it");
            copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
            copy.accept(&one, &*bench.clock).await.unwrap();
        }
        let pruned = copy.prune(&before, &[], &at_copy(&bench)).await.unwrap();
        assert_eq!(pruned.deleted.len(), usize::from(!brought && !given_up), "{given_up} {pruned:?}");
        for prefix in ["backups/", "sessions/", "accepts/"] {
            let there = under(&store, prefix, &manifest.backup);
            assert_eq!(there, usize::from(brought), "{prefix}, given up: {given_up}");
        }
        // Without it there is no backup, which a verification says.
        let sound = is_sound(&replica(&bench, Arc::new(store)).await).await;
        assert_eq!(sound, brought, "given up: {given_up}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marker_of_what_was_given_up_stays_while_another_backup_needs_packs_of_it() {
    let (bench, store, one, two) = swept().await;
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    bench.pass(40 * 24);
    prune(&bench, &store).await;
    assert_eq!(under(&store, "backups/", &one.manifest.backup), 1);
    // That one goes, then the packs, and a prune later the marker.
    tombstone(&bench, &store, &two).await;
    for _ in 0..2 {
        bench.pass(25);
        prune(&bench, &store).await;
    }
    assert_eq!(under(&store, "", &one.manifest.backup), 0);
    copied(copy_to(&bench, Arc::new(store), &one).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_of_a_backup_that_were_there_long_before_it_is_brought_are_waited_for_and_young_ones_are_not() {
    for (days, held_up) in [(6, false), (9, true)] {
        let (bench, one, two) = two().await;
        let store = empty(&bench);
        // The packs of the first, which it needs.
        dies(&bench, &store, &two).await;
        assert!(under(&store, "data/", &one.manifest.backup) > 0);
        bench.pass(days * 24 - 25);
        prune(&bench, &store).await;
        bench.pass(25);
        // This one takes the packs for garbage, if they are old enough.
        let (copy, before) = survey(&bench, &store).await;
        let keys = store.keys();
        let outcome = copy_to(&bench, Arc::new(store.clone()), &one).await;
        assert_eq!((waits(&outcome), outcome.is_ok()), (held_up, !held_up), "{days} days: {outcome:?}");
        if held_up {
            assert_eq!(store.keys(), keys, "nothing was written");
        }
        let pruned = copy.prune(&before, &[], &at_copy(&bench)).await.unwrap();
        assert_eq!(pruned.packs > 0, held_up, "{days} days: {pruned:?}");
        if held_up {
            copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        }
        assert!(is_sound(&replica(&bench, Arc::new(store)).await).await, "{days} days");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_a_backup_that_were_there_long_before_it_is_brought_are_waited_for_and_young_ones_are_not() {
    for (days, held_up) in [(6, false), (9, true)] {
        let (bench, one, _) = two().await;
        let store = empty(&bench);
        let faulty = Faulty::new(Arc::new(store.clone()));
        faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).under("backups/").always());
        copy_to(&bench, faulty, &one).await.unwrap_err();
        let rest = |key: &Key| ["data/", "sessions/"].iter().any(|prefix| key.as_str().starts_with(prefix));
        for key in store.keys().into_iter().filter(rest) {
            store.delete(&key).await.unwrap();
        }
        bench.pass(days * 24);
        let (copy, before) = survey(&bench, &store).await;
        let keys = store.keys();
        let outcome = copy_to(&bench, Arc::new(store.clone()), &one).await;
        assert_eq!((waits(&outcome), outcome.is_ok()), (held_up, !held_up), "{days} days: {outcome:?}");
        if held_up {
            assert_eq!(store.keys(), keys, "nothing was written");
        }
        copy.prune(&before, &[], &at_copy(&bench)).await.unwrap();
        if held_up {
            copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        }
        assert!(is_sound(&replica(&bench, Arc::new(store)).await).await, "{days} days");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_locked_session_of_a_run_that_has_ended_holds_up_no_copy_longer_than_its_packs_do() {
    for (locked, given_up) in [(true, true), (true, false), (false, true), (false, false)] {
        let (bench, one, two) = two().await;
        let store = empty(&bench);
        match given_up {
            true => {
                dies(&bench, &store, &one).await;
                bench.pass(8 * 24);
                assert_eq!(prune(&bench, &store).await.fenced, vec![one.manifest.backup.clone()]);
            }
            false => {
                copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
                tombstone(&bench, &store, &one).await;
            }
        }
        bench.pass(25);
        let until = locked.then(|| bench.clock.now() + jiff::SignedDuration::from_hours(1_000));
        let place: Arc<dyn Backend> = Arc::new(Server { sessions_until: until, ..Server::over(&store) });
        let outcome = copy_to(&bench, place.clone(), &two).await;
        assert!(waits(&outcome), "its packs may be deleted now: {outcome:?}");
        let copy = bench.open_on(place.clone()).await;
        let looked = copy.survey(&at_copy(&bench), false).await.unwrap();
        let pruned = copy.prune(&looked, &[], &at_copy(&bench)).await.unwrap();
        assert_eq!((pruned.packs > 0, pruned.locked > 0), (true, locked), "{pruned:?}");
        assert_eq!(under(&store, "sessions/", &one.manifest.backup), usize::from(locked));

        // A pack that nobody needs says that the deletion has not come to its end, although this backup does not need it.
        let rest = layout::pack(&one.manifest.backup, &crate::types::Sha256Digest::of(b"rest"));
        store.put_new(&rest, "rest".into()).await.unwrap();
        let outcome = copy_to(&bench, place.clone(), &two).await;
        assert_eq!(wait_ends(&outcome), locked.then_some(WaitEnds::Lock), "given up: {given_up}");
        if locked {
            store.delete(&rest).await.unwrap();
            copied(copy_to(&bench, place, &two).await.unwrap());
        }
        store.delete(&rest).await.unwrap();
        assert!(is_sound(&replica(&bench, Arc::new(store)).await).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refs_of_a_backup_are_read_once_for_all_that_may_have_to_wait() {
    for marked in [true, false] {
        let bench = Bench::new().await;
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(bench.backup(&small(1)).await);
        }
        let store = empty(&bench);
        for backup in &all[..2] {
            copied(copy_to(&bench, Arc::new(store.clone()), backup).await.unwrap());
        }
        if marked {
            tombstone(&bench, &store, &all[0]).await;
        }
        bench.pass(25);
        let recording = Recording::new(Arc::new(store));
        let (from, to) = (bench.open().await, replica(&bench, recording.clone()).await);
        let copier = Copier::new(&from, &to, super::copy::options(&bench));
        for StoredManifest { manifest, .. } in &all[2..] {
            copied(copier.copy(&manifest.policy, &manifest.schedule, &manifest.backup).await.unwrap());
        }
        let reads = |backup: &StoredManifest| {
            let key = layout::refs(&backup.manifest.backup);
            recording.count(Op::Get, key.as_str())
        };
        // The second keeps the first's packs. Without a tombstone nobody asks.
        assert_eq!(all[..2].iter().map(reads).collect::<Vec<_>>(), [0, usize::from(marked)]);
        assert!(reads(&all[2]) <= 1);
    }
}
