//! Prune and keys: what it needs of them, and whom it believes.

use super::{
    prune::{data, days, ids, prune, sound},
    *,
};
use crate::{
    repository::{
        control,
        crypt::{SigningKey, signature},
        layout,
    },
    types::BackupId,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_repository_is_pruned_without_any_key() {
    let (bench, reader) = Bench::encrypted().await;
    let all = days(&bench, 3).await;
    let (keep, last) = (ids(&all[2..]), &all[2]);
    // `prune` and `sound` of the tests open the repository with what they are given here: nothing, and all.
    assert_eq!(prune(&bench, &keep).await.marked, ids(&all[..2]));
    bench.pass(25);
    let pruned = prune(&bench, &keep).await;
    assert_eq!(pruned.deleted, ids(&all[..2]));
    assert!(pruned.packs > 0, "{pruned:?}");
    let access = Access { identities: vec![reader], ..Access::default() };
    let reading = Repository::open(Arc::new(bench.store.clone())).await.unwrap().with_access(access);
    assert_eq!(contents(&reading, last).await, by_name(&data(2)));
    // What is the recipients' own was not touched.
    assert!(!bench.keys("keys/").is_empty());
}

/// What a drill leaves in the bench's place.
async fn evidence(bench: &Bench, backup: &BackupId, outcome: &str) -> Bytes {
    let repository = &bench.open().await.header().id.clone();
    let line = format!(
        r#"{{"drctl":"evidence","repository":"{repository}","place":"2026-11-20T02:00:00Z","policy":"orders","backup":"{backup}","outcome":"{outcome}"}}"#
    );
    let sum = crate::types::Sha256Digest::of(format!("{line}\n").as_bytes());
    format!("{line}\n{sum}\n").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signers_are_pinned_only_signed_evidence_of_this_backup_proves_it() {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let all = ids(&days(&bench, 2).await);
    let place = |id: &BackupId, second: u8| {
        Key::new(format!("evidence/orders/{id}/20261121T05000{second}Z-drill-passed/report.json")).unwrap()
    };
    let sign = |bytes: &Bytes, key: &SigningKey| Bytes::from(key.sign(signature::EVIDENCE, bytes).unwrap());
    let stranger = SigningKey::generate("other").unwrap();
    let other = evidence(&bench, &all[1], "passed").await;
    let failed = evidence(&bench, &all[0], "failed").await;
    let good = evidence(&bench, &all[0], "passed").await;
    let cases = [
        (good.clone(), None, false),
        (good.clone(), Some(sign(&good, &stranger)), false),
        (other.clone(), Some(sign(&other, &key)), false),
        (failed.clone(), Some(sign(&failed, &key)), false),
        (good.clone(), Some(sign(&good, &key)), true),
    ];
    for (second, (bytes, signature, proves)) in cases.into_iter().enumerate() {
        control::kind(&bytes).unwrap();
        let key = place(&all[0], u8::try_from(second).unwrap());
        put(&bench, &key, bytes).await;
        if let Some(signature) = signature {
            put(&bench, &layout::signature(&key), signature).await;
        }
        let proven = bench.open().await.proven(&name("orders")).await.unwrap();
        assert_eq!(proven.contains(&all[0]), proves, "case {second}");
        assert!(!proven.contains(&all[1]));
    }
    // Who pins nobody believes the keys.
    let nobody = Repository::open(Arc::new(bench.store.clone())).await.unwrap();
    assert!(nobody.proven(&name("orders")).await.unwrap().contains(&all[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_doctor_leaves_to_prove_the_store_is_no_run_to_prune() {
    let bench = Bench::new().await;
    let first = bench.backup(&data(0)).await.manifest.backup;
    let proof = bench.open().await.prove(&name("orders"), &name("daily"), &*bench.clock).await.unwrap();
    for _ in 0..3 {
        bench.pass(24 * 8);
        let pruned = prune(&bench, std::slice::from_ref(&first)).await;
        assert_eq!(pruned.fenced, [], "it is not taken for a dead run");
    }
    assert!(bench.keys("").contains(&proof.key), "it stays where it is");
    assert_eq!(sound(&bench).await, [first]);
}
