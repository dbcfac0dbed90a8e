//! Histories by chance: runs that change their data, die anywhere, lose packs and overlap.

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    repository::{
        Level, Scope, VerifyOptions,
        backend::{Fault, Faulty, Key, Op, Rule},
        verify_all,
    },
    types::{BackupId, Silent},
};

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A run over some of eight parts, whose process dies after so many calls of the store.
    Run { parts: u8, crash_after: Option<u64>, lose: Option<u64> },
    /// Two runs at once.
    Overlap { one: u8, other: u8 },
    /// Packs that no listed backup needs are deleted, as prune does with garbage.
    Sweep,
    /// Time passes.
    Pass { hours: i64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let crash = proptest::option::weighted(0.5, 0_u64..35);
    let lose = proptest::option::weighted(0.3, 1_u64..15);
    prop_oneof![
        6 => (any::<u8>(), crash, lose).prop_map(|(parts, crash_after, lose)| Step::Run { parts, crash_after, lose }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(one, other)| Step::Overlap { one, other }),
        1 => Just(Step::Sweep),
        1 => (1_i64..24 * 20).prop_map(|hours| Step::Pass { hours }),
    ]
}

fn data(parts: u8) -> Vec<TestStream> {
    let part = |n: u64| (n.to_string(), noise(n, 40_000));
    let chosen = (0..8).filter(|n| parts & (1 << n) != 0).map(part).collect::<Vec<_>>();
    let stream = |name: &str, media_type| TestStream { name: name.to_owned(), media_type, parts: chosen.clone() };
    vec![stream("notes", MediaType::Text), stream("media", MediaType::Blob)]
}

type Written = BTreeMap<BackupId, Vec<TestStream>>;

async fn run(bench: &Bench, backend: Arc<dyn Backend>, parts: u8, written: &mut Written) {
    let (streams, id) = (data(parts), BackupId::new(bench.clock.now()));
    // What a run that dies has written may be there all the same.
    written.insert(id.clone(), streams.clone());
    let options = BeginOptions { backup: id, checkpoint_packs: 1, pack_bytes: 60_000, ..bench.options() };
    let Ok(repository) = Repository::open(backend).await else { return };
    let Ok(writer) = repository.begin(options).await else { return };
    if write(&writer, &streams).await.is_ok() {
        let _ = writer.commit(draft(&streams)).await;
    }
}

async fn overlap(bench: &Bench, one: u8, other: u8, written: &mut Written) {
    let repository = bench.open().await;
    let begin = || repository.begin(BeginOptions { pack_bytes: 60_000, checkpoint_packs: 1, ..bench.options() });
    let (first, second) = futures::future::try_join(begin(), begin()).await.unwrap();
    let (mine, theirs) = (data(one), data(other));
    futures::future::try_join(write(&first, &mine), write(&second, &theirs)).await.unwrap();
    committed(second.commit(draft(&theirs)).await.unwrap());
    committed(first.commit(draft(&mine)).await.unwrap());
    written.insert(first.backup().clone(), mine);
    written.insert(second.backup().clone(), theirs);
}

async fn sweep(bench: &Bench) {
    let repository = bench.open().await;
    let mut needed = Vec::new();
    for entry in repository.backups(&Scope::All).await.unwrap() {
        let stored = repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await.unwrap();
        let reader = repository.read(&stored.manifest).await.unwrap();
        for stream in reader.streams() {
            let chunks = reader.chunks(stream.number).await.unwrap();
            needed.extend(chunks.packs.iter().map(|(backup, pack)| format!("data/{backup}/{pack}")));
        }
    }
    for key in bench.keys("data/").into_iter().filter(|key| !needed.contains(key)) {
        bench.store.delete(&Key::new(key).unwrap()).await.unwrap();
    }
}

async fn play(steps: &[Step]) {
    let bench = Bench::new().await;
    let mut written = Written::new();
    for step in steps {
        bench.pass(1);
        match step {
            Step::Run { parts, crash_after, lose } => {
                let faulty = Faulty::new(Arc::new(bench.store.clone()));
                if let Some(calls) = crash_after {
                    faulty.crash_after_calls(*calls);
                }
                if let Some(nth) = lose {
                    faulty.on(Rule::new(Op::PutNew, Fault::LoseAcknowledgement).nth(*nth));
                }
                run(&bench, faulty, *parts, &mut written).await;
            }
            Step::Overlap { one, other } => overlap(&bench, *one, *other, &mut written).await,
            Step::Sweep => sweep(&bench).await,
            Step::Pass { hours } => bench.pass(*hours),
        }
    }
    // Whatever happened: what is listed is whole, and the next run completes.
    let last = bench.backup(&data(0xff)).await;
    written.insert(last.manifest.backup.clone(), data(0xff));
    let repository = bench.open().await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    for entry in &entries {
        let stored = repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await.unwrap();
        assert_eq!(contents(&repository, &stored).await, by_name(&written[&entry.backup]), "{}", entry.backup);
    }
    let options = VerifyOptions::new(Level::Content);
    let report = verify_all(&repository, &Scope::All, &options, &Silent, &CancellationToken::new()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_every_listed_backup_is_whole(steps in proptest::collection::vec(any_step(), 1..8)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(&steps));
    }
}
