//! Marks that are made, taken away and made again, also in a store that never gives a name again.

use super::{
    prune::{data, days, ids, prune, sound, survey},
    *,
};
use crate::repository::{Error, MarkOutcome, Scope, Session, TombstoneBy, control, layout, objects::put_own};

/// A store that gives the names again of what was deleted, and one that does not.
async fn both() -> [Bench; 2] {
    let plain = Bench::new().await;
    let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
    let store = Memory::keeping_names(clock.clone());
    Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
    [plain, Bench { clock, store, access: Access::default() }]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unpinned_can_be_pinned_again_also_where_names_are_not_given_again() {
    for (bench, keys) in both().await.into_iter().zip([["", ""], [".2", ".3"]]) {
        let all = ids(&days(&bench, 2).await);
        let (policy, schedule) = (name("orders"), name("daily"));
        let repository = bench.open().await;
        let mark = (&policy, &schedule, &all[0]);
        assert_eq!(repository.pin(mark, &*bench.clock).await.unwrap(), MarkOutcome::Done);
        assert_eq!(repository.pin(mark, &*bench.clock).await.unwrap(), MarkOutcome::Already);
        for key in keys {
            assert_eq!(repository.unpin(&policy, &all[0]).await.unwrap(), MarkOutcome::Done);
            assert!(!repository.is_pinned(&policy, &all[0]).await.unwrap());
            assert_eq!(repository.unpin(&policy, &all[0]).await.unwrap(), MarkOutcome::Already);
            assert_eq!(
                repository.pin(mark, &*bench.clock).await.unwrap(),
                MarkOutcome::Done,
                "it says that it was pinned"
            );
            assert_eq!(repository.pin(mark, &*bench.clock).await.unwrap(), MarkOutcome::Already);
            assert_eq!(bench.keys("pins/"), [format!("pins/orders/{}{key}.json", all[0])]);
            assert!(repository.is_pinned(&policy, &all[0]).await.unwrap());
            assert_eq!(survey(&bench).await.backups.iter().map(|one| one.pinned).collect::<Vec<_>>(), [true, false]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_can_be_marked_again_and_goes_also_where_names_are_not_given_again() {
    for bench in both().await {
        let all = ids(&days(&bench, 3).await);
        let (policy, schedule) = (name("orders"), name("daily"));
        let repository = bench.open().await;
        let mark = (&policy, &schedule, &all[0]);
        let tombstoned = || async { bench.open().await.backups(&Scope::All).await.unwrap()[0].tombstoned };
        for _ in 0..3 {
            let put = repository.put_tombstone(mark, TombstoneBy::Asked, &*bench.clock).await.unwrap();
            assert_eq!((put, tombstoned().await), (MarkOutcome::Done, true));
            let again = repository.put_tombstone(mark, TombstoneBy::Asked, &*bench.clock).await.unwrap();
            assert_eq!(again, MarkOutcome::Already);
            assert_eq!(repository.undo_tombstone(mark, &*bench.clock).await.unwrap(), MarkOutcome::Done);
            assert_eq!(repository.undo_tombstone(mark, &*bench.clock).await.unwrap(), MarkOutcome::Already);
            assert_eq!((tombstoned().await, bench.keys("tombstones/")), (false, Vec::<String>::new()));
        }
        // Rules mark what somebody has saved before, as everything else.
        let kept = [all[1].clone(), all[2].clone()];
        assert_eq!(prune(&bench, &kept).await.marked, [all[0].clone()]);
        bench.pass(25);
        assert_eq!(prune(&bench, &kept).await.deleted, [all[0].clone()]);
        assert_eq!(sound(&bench).await, kept);
        bench.pass(25);
        prune(&bench, &kept).await;
        assert_eq!(sound(&bench).await, kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tombstones_of_one_backup_the_newer_counts_and_an_undo_takes_both() {
    let [bench, _] = both().await;
    let all = ids(&days(&bench, 2).await);
    let (policy, schedule) = (name("orders"), name("daily"));
    let first = layout::tombstone(&policy, &all[0]);
    put(&bench, &first, "anything").await;
    bench.pass(23);
    put(&bench, &layout::numbered(&first, 2), "anything").await;
    bench.pass(2);
    let kept = [all[1].clone()];
    assert_eq!(prune(&bench, &kept).await.deleted, [], "the second is two hours old");
    let repository = bench.open().await;
    let mark = (&policy, &schedule, &all[0]);
    assert_eq!(repository.undo_tombstone(mark, &*bench.clock).await.unwrap(), MarkOutcome::Done);
    assert_eq!(bench.keys("tombstones/"), Vec::<String>::new());
    // What is no name of a tombstone is none.
    for n in ["1", "02", "100", "x", "2.3"] {
        let key = format!("tombstones/orders/{}.{n}.json", all[0]);
        put(&bench, &Key::new(key).unwrap(), "anything").await;
    }
    assert!(!repository.backups(&Scope::All).await.unwrap()[0].tombstoned);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_store_neither_takes_nor_has_is_named_and_is_no_damage() {
    let [plain, keeping] = both().await;
    let key = Key::new("data/20261120T020000Z-aaaaaa/x").unwrap();
    for bench in [&plain, &keeping] {
        put_own(&bench.store, &key, Bytes::from_static(b"a")).await.unwrap();
        put_own(&bench.store, &key, Bytes::from_static(b"a")).await.unwrap();
        bench.store.delete(&key).await.unwrap();
    }
    put_own(&plain.store, &key, Bytes::from_static(b"a")).await.unwrap();
    let error = put_own(&keeping.store, &key, Bytes::from_static(b"a")).await.unwrap_err();
    assert!(matches!(&error, Error::NameSpent { key: named, .. } if named == key.as_str()), "{error}");
    assert!(!error.is_damage());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_gives_a_name_again_is_found_out_and_keeps_no_mark_of_it() {
    for (bench, gives) in both().await.into_iter().zip([true, false]) {
        bench.backup(&data(0)).await;
        let repository = bench.open().await;
        for _ in 0..3 {
            let found = repository.gives_names_again((&name("orders"), &name("daily")), &*bench.clock).await.unwrap();
            assert_eq!(found, Some(gives));
            assert_eq!(bench.keys("pins/"), Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_a_proof_that_was_deleted_by_hand_is_named() {
    for (bench, gives) in both().await.into_iter().zip([true, false]) {
        let repository = bench.open().await;
        repository.prove(&name("orders"), &name("daily"), &*bench.clock).await.unwrap();
        let key = layout::session(&name("orders"), &layout::proof());
        control::decode::<Session>(&bench.store.get(&key, 1 << 20).await.unwrap()).unwrap();
        bench.store.delete(&key).await.unwrap();
        match repository.prove(&name("orders"), &name("daily"), &*bench.clock).await {
            Ok(proof) => assert!(gives && proof.put),
            Err(error) => assert!(!gives && matches!(error, Error::NameSpent { .. }), "{error}"),
        }
    }
}
