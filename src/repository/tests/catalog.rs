//! Repositories that are there already, and the backups in them: listed, found, accepted.

use super::*;
use crate::{
    repository::{
        AcceptOutcome, Error, Listed, Scope,
        backend::{ErrorKind, Fault, Faulty, Op, Rule},
        crypt::SigningKey,
        layout,
    },
    types::BackupId,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_suspect_backup_counts_as_good_and_only_that_manifest() {
    let bench = Bench::new().await;
    let good = bench.backup(&small(1)).await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &small(2)).await.unwrap();
    let suspect = ManifestDraft { state: State::Suspect, ..draft(&small(2)) };
    let suspect = committed(writer.commit(suspect).await.unwrap());
    let repository = bench.open().await;
    let newest = |repository: Repository| async move {
        repository.newest_good(&Scope::All).await.unwrap().unwrap().manifest.backup
    };
    assert_eq!(newest(repository.clone()).await, good.manifest.backup);
    assert_eq!(repository.accept(&suspect, &*bench.clock).await.unwrap(), AcceptOutcome::Accepted);
    assert_eq!(repository.accept(&suspect, &*bench.clock).await.unwrap(), AcceptOutcome::AlreadyAccepted);
    assert_eq!(newest(repository.clone()).await, suspect.manifest.backup);
    let another = StoredManifest { sha256: good.sha256, ..suspect.clone() };
    assert!(repository.accept(&another, &*bench.clock).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_beside_a_good_backup_does_not_make_it_unnameable() {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let good = bench.backup(&small(1)).await;
    let id = good.manifest.backup.clone();
    // Not signed, and beginning alike; and of the same id what is no manifest at all.
    let stranger = Repository::open(Arc::new(bench.store.clone())).await.unwrap();
    let beside = BackupId::parse(&format!("{}aaaaaa", &id.as_str()[..17])).unwrap();
    let options = BeginOptions { schedule: name("hourly"), backup: beside, ..bench.options() };
    let writer = stranger.begin(options).await.unwrap();
    write(&writer, &small(2)).await.unwrap();
    committed(writer.commit(draft(&small(2))).await.unwrap());
    put(&bench, &layout::manifest(&name("orders"), &name("weekly"), &id), "not what was written").await;
    let repository = bench.open().await;
    for text in [id.as_str(), &id.as_str()[..17], &id.as_str()[..12]] {
        assert_eq!(repository.find(&Scope::All, text).await.unwrap().sha256, good.sha256, "{text}");
    }
    // The twin: two that count are two.
    let second = bench.backup(&small(3)).await;
    let both = repository.find(&Scope::All, &id.as_str()[..9]).await;
    assert!(matches!(both, Err(Error::AmbiguousBackup { .. })), "{both:?}");
    let found = repository.find(&Scope::All, second.manifest.backup.as_str()).await.unwrap();
    assert_eq!(found.sha256, second.sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_found_by_the_beginning_of_its_id_if_only_one_begins_so() {
    let bench = Bench::new().await;
    let (first, second) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let repository = bench.open().await;
    let id = second.manifest.backup.as_str();
    for text in [id, &id[..20], &id[..12]] {
        assert_eq!(repository.find(&Scope::All, text).await.unwrap(), second, "{text}");
    }
    let both = repository.find(&Scope::Policy(name("orders")), "20261120").await;
    let Err(Error::AmbiguousBackup { count: 2, first: oldest, .. }) = &both else { panic!("{both:?}") };
    assert_eq!(oldest, &first.manifest.backup);
    for (scope, text) in [(Scope::All, ""), (Scope::All, "2025"), (Scope::Policy(name("other")), id)] {
        let found = repository.find(&scope, text).await;
        assert!(matches!(found, Err(Error::NoSuchBackup { .. })), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_touches_what_is_there() {
    let bench = Bench::new().await;
    let again = Repository::init(Arc::new(bench.store.clone()), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
    let empty = Repository::open(Arc::new(Memory::default())).await;
    assert!(matches!(empty, Err(Error::NotARepository { .. })), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_touches_what_is_there_even_if_the_store_overwrites() {
    let bench = Bench::new().await;
    let overwriting = Memory::overwriting(bench.clock.clone());
    let header = bench.store.get(&layout::header(), u64::MAX).await.unwrap();
    overwriting.put_new(&layout::header(), header.clone()).await.unwrap();
    let again = Repository::init(Arc::new(overwriting.clone()), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
    assert_eq!(overwriting.get(&layout::header(), u64::MAX).await.unwrap(), header);
    let large = Memory::overwriting(bench.clock.clone());
    large.put_new(&layout::header(), vec![b'x'; 2 << 20].into()).await.unwrap();
    let again = Repository::init(Arc::new(large), &*bench.clock).await;
    assert!(matches!(again, Err(Error::AlreadyARepository { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_later_format_is_listed_as_such_and_one_that_goes_is_not_listed() {
    let bench = Bench::new().await;
    let (first, second) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let key = |stored: &StoredManifest| layout::manifest(&name("orders"), &name("daily"), &stored.manifest.backup);
    let line = "{\"drctl\":\"manifest\",\"format\":2,\"anything\":[]}\n";
    let newer = format!("{line}{}\n", crate::types::Sha256Digest::of(line.as_bytes()));
    bench.store.overwrite(&key(&second), newer);
    let entries = bench.open().await.backups(&Scope::All).await.unwrap();
    assert!(matches!(entries[1].listed, Listed::Newer(_)), "{entries:?}");
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    let repository = bench.open_on(faulty.clone()).await;
    faulty.on(Rule::new(Op::Get, Fault::Fail(ErrorKind::NotFound)).under(key(&first).as_str()));
    assert_eq!(repository.backups(&Scope::All).await.unwrap(), entries[1..]);
}
