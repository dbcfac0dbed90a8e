//! The way back from a copy, what a copy compares, and places that are no place of their own.

use std::sync::Arc;

use super::{
    Bench, TestStream, by_name, contents,
    copy::{copied, copy_between, empty, options, replica, waits},
    prune::prune,
    put, small,
};
use crate::{
    repository::{
        Copier, CopyRefused, Error, Level, Repository, Scope, StoredManifest, VerifyOptions,
        backend::{Backend as _, Key, Memory},
        control::MAX_CONTROL,
        crypt::Access,
        layout, verify_all,
    },
    types::Silent,
};

/// A repository with `count` backups of the same, and a copy of those that `which` takes; then its manifests are lost.
async fn lost(count: usize, which: impl Fn(usize) -> bool) -> (Bench, Repository, Vec<StoredManifest>) {
    let bench = Bench::new().await;
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(bench.backup(&data()).await);
    }
    let (from, there) = (bench.open().await, replica(&bench, Arc::new(empty(&bench))).await);
    for (_, backup) in made.iter().enumerate().filter(|(at, _)| which(*at)) {
        copied(copy_between(&bench, &from, &there, backup).await.unwrap());
    }
    for key in bench.keys("backups/") {
        bench.store.delete(&Key::new(key).unwrap()).await.unwrap();
    }
    bench.pass(40 * 24);
    (bench, there, made)
}

fn data() -> Vec<TestStream> {
    small(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_alone_that_are_lost_are_brought_back_from_a_copy() {
    let (bench, there, made) = lost(3, |_| true).await;
    let back = there.replica_in(Arc::new(bench.store.clone()), &*bench.clock).await.unwrap();
    for backup in &made {
        let counts = copied(copy_between(&bench, &there, &back, backup).await.unwrap());
        assert_eq!(counts.packs, 0, "they were there");
        assert_eq!(contents(&back, backup).await, by_name(&data()));
    }
    let (options, cancel) = (VerifyOptions::new(Level::Content), tokio_util::sync::CancellationToken::new());
    assert!(verify_all(&back, &Scope::All, &options, &Silent, &cancel).await.unwrap().finds_nothing());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_there_keeps_from_a_prune_is_not_brought_back_under_a_session_that_does_not_name_it() {
    // The third needs packs of the first, which its own session does not name.
    for first_too in [false, true] {
        let (bench, there, made) = lost(3, |at| at == 2 || (first_too && at == 0)).await;
        let back = there.replica_in(Arc::new(bench.store.clone()), &*bench.clock).await.unwrap();
        if first_too {
            copied(copy_between(&bench, &there, &back, &made[0]).await.unwrap());
        }
        let before = bench.store.keys();
        let outcome = copy_between(&bench, &there, &back, &made[2]).await;
        if first_too {
            copied(outcome.unwrap());
            continue;
        }
        let refused = outcome.unwrap_err();
        assert!(
            matches!(&refused, Error::Copy(CopyRefused::Unguarded { owner, .. }) if *owner == made[0].manifest.backup),
            "{refused}"
        );
        assert_eq!(bench.store.keys(), before, "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_differs_in_the_copy_is_named_and_one_that_is_the_same_is_not() {
    let (mut bench, _) = Bench::encrypted().await;
    bench.access = Access::default();
    let store = empty(&bench);
    replica(&bench, Arc::new(store.clone())).await;
    replica(&bench, Arc::new(store.clone())).await;
    let key = Key::new(bench.keys("keys/").remove(0)).unwrap();
    let mut other = store.get(&key, u64::MAX).await.unwrap().to_vec();
    let last = other.len() - 1;
    other[last] ^= 1;
    store.overwrite(&key, other);
    let error = bench.open().await.replica_in(Arc::new(store), &*bench.clock).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(key.as_str()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_mark_that_is_too_large_is_named_and_the_others_are_sent() {
    let bench = Bench::new().await;
    let (one, two) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(empty(&bench))).await);
    for backup in [&one, &two] {
        copied(copy_between(&bench, &from, &to, backup).await.unwrap());
    }
    let policy = &one.manifest.policy;
    let large = layout::accept(policy, &one.manifest.backup);
    put(&bench, &large, vec![b'x'; 2 * MAX_CONTROL]).await;
    from.accept(&two, &*bench.clock).await.unwrap();
    let copier = Copier::new(&from, &to, options(&bench));
    let (sent, left) = copier.send_accepts(policy).await.unwrap();
    assert_eq!((sent, left.len()), (1, 1), "{left:?}");
    assert!(left[0].is_damage() && left[0].to_string().contains(large.as_str()), "{left:?}");
    bench.store.delete(&large).await.unwrap();
    let (sent, left) = copier.send_accepts(policy).await.unwrap();
    assert_eq!((sent, left.len()), (0, 0), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repository_by_another_name_is_no_copy_and_a_copy_of_the_same_second_is_one() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    let repository = bench.open().await;
    let again: Memory = bench.store.clone();
    for error in [
        repository.find_replica_in(Arc::new(again.clone())).await.unwrap_err(),
        repository.replica_in(Arc::new(again), &*bench.clock).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Copy(CopyRefused::SamePlace { .. })), "{error}");
    }
    // Its objects have the times of the original's.
    let store = empty(&bench);
    let now = crate::types::Clock::now(&*bench.clock);
    bench.clock.set(repository.header.created);
    let to = replica(&bench, Arc::new(store.clone())).await;
    bench.clock.set(now);
    copied(copy_between(&bench, &repository, &to, &backup).await.unwrap());
    assert!(repository.find_replica_in(Arc::new(store)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_parent_was_pruned_long_ago_is_brought_back_while_its_own_session_keeps_the_packs() {
    for session in [true, false] {
        let bench = Bench::new().await;
        let (one, two) = (bench.backup(&data()).await, bench.backup(&data()).await);
        let (from, there) = (bench.open().await, replica(&bench, Arc::new(empty(&bench))).await);
        copied(copy_between(&bench, &from, &there, &two).await.unwrap());
        let keep = std::slice::from_ref(&two.manifest.backup);
        prune(&bench, keep).await;
        bench.pass(25);
        assert_eq!(prune(&bench, keep).await.deleted, vec![one.manifest.backup.clone()]);
        bench.pass(10 * 24);
        // The manifest is lost, or the session as well.
        for key in bench.keys(if session { "backups/" } else { "" }) {
            if key.starts_with("backups/") || key.starts_with("sessions/") {
                bench.store.delete(&Key::new(key).unwrap()).await.unwrap();
            }
        }
        let back = there.replica_in(Arc::new(bench.store.clone()), &*bench.clock).await.unwrap();
        let outcome = copy_between(&bench, &there, &back, &two).await;
        if session {
            assert_eq!(copied(outcome.unwrap()).packs, 0);
            assert_eq!(contents(&back, &two).await, by_name(&data()));
        } else {
            assert!(waits(&outcome), "{outcome:?}");
        }
    }
}
