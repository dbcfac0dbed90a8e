//! Prune and what locks keep from deletion.

use super::{
    prune::{data, days, ids, prune, prune_on, sound},
    *,
};
use crate::repository::backend::{ErrorKind, Fault, Faulty, Op, Rule};

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
