//! What a backup shares with the ones before it, and what it stores anew.

use super::*;
use crate::{
    repository::{Level, Scope, VerifyOptions, layout, verify_all},
    types::{BackupId, Silent},
};
use tokio_util::sync::CancellationToken;

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
        let index = bench.store.get(&layout::index(oldest.backup(), 0, false), u64::MAX).await.unwrap();
        put(&bench, &layout::index(runs[2].backup(), 7, false), index).await;
        bench.pass(1);
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        assert!(!writer.stats().parents.contains(oldest.backup()), "{:?}", writer.stats());
        write(&writer, &small(1)).await.unwrap();
        let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
        assert_eq!(stored.manifest.totals.reused_bytes, reused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_among_the_lists_of_an_encrypted_run_or_backup_are_named_and_hold_nothing_up() {
    for strangers in
        [&["index-0.tsv.zst", "index-0.tsv.zst.age.bak", "index-9.tsv.zst", "index-9.tsv.zst.age"][..], &[]]
    {
        let (bench, reader) = Bench::encrypted().await;
        let plant = async |run: &BackupId| {
            for name in strangers {
                put(&bench, &Key::new(format!("meta/{run}/{name}")).unwrap(), "no list").await;
            }
        };
        // A run that died: the next one shares what it has stored, whatever lies beside it.
        let dead = bench.open().await.begin(bench.options()).await.unwrap();
        write(&dead, &small(1)).await.unwrap();
        dead.checkpoint().await.unwrap();
        plant(dead.backup()).await;
        drop(dead);
        bench.pass(1);
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        let notes = writer.stats().notes.join("; ");
        assert_eq!(notes.contains("index-9.tsv.zst.age"), !strangers.is_empty(), "{notes}");
        write(&writer, &small(1)).await.unwrap();
        let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
        assert_eq!(stored.manifest.totals.new_bytes, 0, "{strangers:?}");

        let backup = &stored.manifest.backup;
        bench.pass(1);
        plant(backup).await;
        let access = Access { identities: vec![reader], ..Access::default() };
        let reading = Repository::open(Arc::new(bench.store.clone())).await.unwrap().with_access(access);
        assert_eq!(contents(&reading, &stored).await, by_name(&small(1)));
        for (repository, level) in [(&reading, Level::Content), (&reading, Level::Presence)] {
            let (options, cancel) = (VerifyOptions::new(level), CancellationToken::new());
            let report = verify_all(repository, &Scope::All, &options, &Silent, &cancel).await.unwrap();
            assert!(report.is_sound(), "{report:#?}");
            let said = report.notes.iter().filter(|note| note.contains("among the lists of")).collect::<Vec<_>>();
            match strangers.len() {
                0 => assert!(said.is_empty(), "{said:?}"),
                _ => assert!(said[0].starts_with("4 objects") && said[0].contains("index-0.tsv.zst`"), "{said:?}"),
            }
        }
        let to = super::copy::empty(&bench);
        super::copy::copy_to(&bench, Arc::new(to.clone()), &stored).await.unwrap();
        let copied = to.keys().into_iter().filter(|key| key.as_str().starts_with(&format!("meta/{backup}/index-")));
        assert_eq!(copied.count(), bench.keys(&format!("meta/{backup}/index-")).len() - strangers.len());
        // Prune takes them away with the backup.
        bench.pass(1);
        let next = bench.backup(&small(2)).await.manifest.backup;
        let keep = std::slice::from_ref(&next);
        assert_eq!(super::prune::prune(&bench, keep).await.marked, std::slice::from_ref(backup));
        bench.pass(25);
        assert_eq!(super::prune::prune(&bench, keep).await.deleted, std::slice::from_ref(backup));
        assert_eq!(bench.keys(&format!("meta/{backup}/")), [""; 0]);
    }
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
