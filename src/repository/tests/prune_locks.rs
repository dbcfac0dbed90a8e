//! Prune and what locks keep from deletion.

use super::{
    prune::{data, days, ids, prune, prune_on, sound},
    *,
};
use crate::repository::{
    backend::{ErrorKind, Fault, Faulty, Op, Rule},
    crypt::SigningKey,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lock_keeps_is_passed_over_and_named_and_goes_when_the_lock_has_ended() {
    // A locked manifest keeps its whole backup, with what others of its packs it shares.
    for (locked, deleted) in [("backups/", 0), ("data/", 2), ("meta/", 2), ("no/such/key", 2)] {
        let bench = Bench::new().await;
        let all = ids(&days(&bench, 3).await);
        prune(&bench, &all[2..]).await;
        bench.pass(25);
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        faulty.on(Rule::new(Op::Delete, Fault::Fail(ErrorKind::Locked)).under(locked).always());
        let before = bench.keys(locked);
        let pruned = prune_on(&bench, faulty, &all[2..]).await.unwrap();
        assert_eq!(pruned.deleted.len(), deleted, "{locked}: {pruned:?}");
        assert_eq!(bench.keys(locked), before, "{locked}");
        assert_eq!(pruned.locked > 0, locked != "no/such/key", "{locked}: {pruned:?}");
        assert!(pruned.locked_named.iter().all(|(key, _)| key.as_str().starts_with(locked)), "{pruned:?}");
        assert_eq!(pruned.locked_named.len() as u64, pruned.locked);
        assert_eq!(sound(&bench).await, all[deleted..], "{locked}");
        // The locks have ended.
        bench.pass(24);
        prune(&bench, &all[2..]).await;
        assert_eq!(sound(&bench).await, all[2..], "{locked}");
        for gone in &all[..2] {
            let left: Vec<_> = bench.keys("").into_iter().filter(|key| key.contains(gone.as_str())).collect();
            let shared = |key: &String| key.starts_with("data/") || key.starts_with("tombstones/");
            assert!(left.iter().all(shared), "{locked}: {left:?}");
        }
        let newest = bench.open().await.newest(&crate::repository::Scope::All).await.unwrap().unwrap();
        assert_eq!(contents(&bench.open().await, &newest).await, by_name(&data(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_a_killed_prune_has_left_goes_with_the_next_one() {
    let signatures = |bench: &Bench| -> Vec<String> {
        bench.keys("backups/").into_iter().filter(|key| key.ends_with(".sig")).collect()
    };
    for killed in [true, false] {
        let mut bench = Bench::new().await;
        let key = SigningKey::generate("drctl orders").unwrap();
        bench.access = Access { signing_key: Some(key.clone()), ..Access::default() };
        let all = ids(&days(&bench, 3).await);
        assert_eq!(signatures(&bench).len(), 3);
        prune(&bench, &all[1..]).await;
        bench.pass(25);
        if killed {
            let faulty = Faulty::new(Arc::new(bench.store.clone()));
            let first = format!("backups/orders/daily/{}.json.sig", all[0]);
            faulty.on(Rule::new(Op::Delete, Fault::Fail(ErrorKind::Unreachable)).under(&first).always());
            prune_on(&bench, faulty, &all[1..]).await.unwrap_err();
            assert_eq!((signatures(&bench).len(), bench.keys("backups/").len()), (3, 5));
            bench.pass(2);
        }
        prune(&bench, &all[1..]).await;
        assert_eq!((signatures(&bench).len(), bench.keys("backups/").len()), (2, 4), "killed: {killed}");
        assert_eq!(sound(&bench).await, all[1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_of_a_run_that_is_about_to_commit_stays() {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), ..Access::default() };
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &data(0)).await.unwrap();
    writer.checkpoint().await.unwrap();
    let place = format!("backups/orders/daily/{}.json.sig", writer.backup());
    put(&bench, &Key::new(place.clone()).unwrap(), "a signature").await;
    bench.pass(5);
    prune(&bench, &[]).await;
    assert_eq!(bench.keys("backups/"), [place]);
    // The twin: it has never committed, and is swept.
    for _ in 0..3 {
        bench.pass(8 * 24);
        prune(&bench, &[]).await;
    }
    bench.pass(400 * 24);
    for _ in 0..2 {
        prune(&bench, &[]).await;
    }
    assert_eq!(bench.keys("backups/"), [""; 0]);
}
