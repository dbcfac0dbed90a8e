//! A run that dies at any call of the store, or whose acknowledgements are lost.

use super::*;
use crate::repository::{
    Level, Scope, VerifyOptions,
    backend::{Fault, Faulty, Op, Rule},
    verify,
};

fn small() -> Vec<TestStream> {
    vec![
        TestStream::new("configmaps", MediaType::Text, &[("a", &noise(1, 200_000)), ("b", &noise(2, 10))]),
        TestStream::new("secrets", MediaType::Text, &[("0", &noise(3, 300_000))]),
    ]
}

/// One whole run; its writer is gone afterwards, whatever happened.
async fn run(bench: &Bench, backend: Arc<dyn Backend>) -> Result<StoredManifest, Box<dyn std::error::Error>> {
    let repository = Repository::open(backend).await?;
    let writer = repository.begin(BeginOptions { checkpoint_packs: 1, pack_bytes: 150_000, ..bench.options() }).await?;
    write(&writer, &small()).await?;
    Ok(committed(writer.commit(draft(&small())).await?))
}

/// Every backup that is listed verifies, and holds what was written.
async fn all_is_sound(bench: &Bench) -> usize {
    let repository = bench.open().await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    let names: Vec<_> = entries.iter().map(|e| (e.policy.clone(), e.schedule.clone(), e.backup.clone())).collect();
    let (silent, cancel) = (crate::types::Silent, tokio_util::sync::CancellationToken::new());
    let report = verify(&repository, &names, &VerifyOptions::new(Level::Content), &silent, &cancel).await.unwrap();
    assert_eq!((&report.findings[..], report.is_sound()), (&[][..], !names.is_empty()));
    for (policy, schedule, backup) in &names {
        let stored = repository.manifest(policy, schedule, backup).await.unwrap();
        assert_eq!(contents(&repository, &stored).await, by_name(&small()));
    }
    names.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_call_leaves_no_backup_or_a_whole_one_and_the_next_run_completes() {
    let (mut completed, mut calls) = (0, 0);
    for crash_after in 0.. {
        let bench = Bench::new().await;
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        faulty.crash_after_calls(crash_after);
        let outcome = run(&bench, faulty.clone()).await;
        let listed = all_is_sound(&bench).await;
        assert!(outcome.is_err() || listed == 1, "call {crash_after}");
        completed += listed;
        bench.pass(1);
        let next = run(&bench, Arc::new(bench.store.clone())).await.unwrap();
        assert_eq!(all_is_sound(&bench).await, listed + 1, "call {crash_after}");
        assert_eq!(next.manifest.totals.plain_bytes, 500_010);
        if outcome.is_ok() {
            calls = crash_after;
            break;
        }
    }
    // The manifest's put is the only call after which there is a backup although the run failed.
    assert!(calls > 15, "{calls} calls");
    assert_eq!(completed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_of_any_put_does_no_harm() {
    for nth in 1.. {
        let bench = Bench::new().await;
        let faulty = Faulty::new(Arc::new(bench.store.clone()));
        faulty.on(Rule::new(Op::PutNew, Fault::LoseAcknowledgement).nth(nth));
        let outcome = run(&bench, faulty.clone()).await;
        let listed = all_is_sound(&bench).await;
        bench.pass(1);
        run(&bench, Arc::new(bench.store.clone())).await.unwrap();
        assert_eq!(all_is_sound(&bench).await, listed + 1, "put {nth}");
        let manifest_put = bench.keys("data/").len() > 1 && outcome.is_ok();
        if manifest_put {
            // Either there were fewer puts than that, or it was the manifest's: then the run looked, and found it.
            assert_eq!(listed, 1);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_after_a_kill_does_not_upload_again_what_a_checkpoint_has() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    // The manifest cannot be put: everything else is there.
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(crate::repository::backend::ErrorKind::Other))
        .under("backups/")
        .always());
    run(&bench, faulty).await.unwrap_err();
    let packs = bench.keys("data/");
    bench.pass(1);
    let next = run(&bench, Arc::new(bench.store.clone())).await.unwrap();
    assert_eq!(bench.keys("data/"), packs);
    assert_eq!(next.manifest.totals.new_bytes, 0);
    assert_eq!(next.manifest.parents.len(), 1);
    all_is_sound(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_keeps_what_it_has_by_a_checkpoint() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small()).await.unwrap();
    writer.checkpoint().await.unwrap();
    drop(writer);
    bench.pass(1);
    let next = run(&bench, Arc::new(bench.store.clone())).await.unwrap();
    assert_eq!(next.manifest.totals.new_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_die_one_after_the_other_still_get_on() {
    let bench = Bench::new().await;
    let stream = |n: u64| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 3_000_000))]);
    // Each run gets one stream further than the last, then dies.
    for reached in 1..=4 {
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        let before = bench.keys("data/").len();
        write(&writer, &(0..reached).map(stream).collect::<Vec<_>>()).await.unwrap();
        writer.checkpoint().await.unwrap();
        assert_eq!(writer.stats().totals.new_packs, 1, "run {reached} stores only what is new");
        assert_eq!(bench.keys("data/").len(), before + 1);
        drop(writer);
        bench.pass(1);
    }
    let all: Vec<_> = (0..4).map(stream).collect();
    let stored = bench.backup(&all).await;
    assert_eq!(stored.manifest.totals.new_bytes, 0);
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&all));
}
