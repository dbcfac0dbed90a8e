//! Copies: what they send, what they refuse, and that they go on where they were.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bench, by_name, committed, contents, draft, noise, put, small, write};
use crate::{
    repository::{
        Copier, CopyCounts, CopyOptions, CopyOutcome, CopyRefused, Error, Level, Rate, Repository, Scope,
        StoredManifest, TombstoneBy, VerifyOptions,
        backend::{Backend, ErrorKind, Fault, Faulty, Key, Memory, Op, Recording, Rule},
        crypt::{Access, SigningKey},
        layout, verify_all,
    },
    types::{Clock, MediaType, Silent},
};

pub(super) fn options(bench: &Bench) -> CopyOptions {
    CopyOptions::new(bench.clock.clone(), Arc::new(Silent), Rate::new(None))
}

/// An empty store whose clock is the bench's.
pub(super) fn empty(bench: &Bench) -> Memory {
    Memory::new(bench.clock.clone())
}

pub(super) async fn replica(bench: &Bench, store: Arc<dyn Backend>) -> Repository {
    bench.open().await.replica_in(store, &*bench.clock).await.unwrap()
}

pub(super) async fn copy_to(
    bench: &Bench,
    store: Arc<dyn Backend>,
    backup: &StoredManifest,
) -> Result<CopyOutcome, Error> {
    let (from, to) = (bench.open().await, replica(bench, store).await);
    copy_between(bench, &from, &to, backup).await
}

pub(super) async fn copy_between(
    bench: &Bench,
    from: &Repository,
    to: &Repository,
    backup: &StoredManifest,
) -> Result<CopyOutcome, Error> {
    let manifest = &backup.manifest;
    Copier::new(from, to, options(bench)).copy(&manifest.policy, &manifest.schedule, &manifest.backup).await
}

pub(super) fn copied(outcome: CopyOutcome) -> CopyCounts {
    match outcome {
        CopyOutcome::Copied(counts) => counts,
        other => panic!("{other:?}"),
    }
}

/// Everything of a store but its sessions, which are the copy's own.
async fn objects(store: &Memory) -> Vec<(Key, Bytes)> {
    let mut objects = Vec::new();
    for key in store.keys().into_iter().filter(|key| !key.as_str().starts_with("sessions/")) {
        let bytes = store.get(&key, u64::MAX).await.unwrap();
        objects.push((key, bytes));
    }
    objects
}

/// Whether a backup has to wait; nothing was written for it then.
pub(super) fn waits(outcome: &Result<CopyOutcome, Error>) -> bool {
    matches!(outcome, Err(Error::Copy(CopyRefused::Waits { .. })))
}

pub(super) async fn is_sound(repository: &Repository) -> bool {
    let cancel = tokio_util::sync::CancellationToken::new();
    let options = VerifyOptions::new(Level::Content);
    verify_all(repository, &Scope::All, &options, &Silent, &cancel).await.unwrap().finds_nothing()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_all_backups_is_the_same_repository() {
    let bench = Bench::new().await;
    let (first, second) = (small(1), vec![small(1).remove(0), small(2).remove(0)]);
    let one = bench.backup(&first).await;
    let mut streams = second.clone();
    streams[1].name = "secrets".to_owned();
    let two = bench.backup(&streams).await;
    let store = empty(&bench);
    let sent = copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
    assert!(sent.packs > 0 && sent.packs_there == 0, "{sent:?}");
    let sent = copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    assert!(sent.packs > 0 && sent.packs_there > 0, "shared packs are there: {sent:?}");
    assert_eq!(objects(&store).await, objects(&bench.store).await);
    for backup in [&one, &two] {
        assert_eq!(copy_to(&bench, Arc::new(store.clone()), backup).await.unwrap(), CopyOutcome::There);
    }
    let there = replica(&bench, Arc::new(store)).await;
    assert!(is_sound(&there).await);
    assert_eq!(contents(&there, &two).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_backup_alone_brings_all_the_packs_that_it_needs() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    let two = bench.backup(&small(1)).await;
    let store = empty(&bench);
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    let there = replica(&bench, Arc::new(store)).await;
    assert_eq!(contents(&there, &two).await, by_name(&small(1)));
    assert_eq!(there.backups(&Scope::All).await.unwrap().len(), 1);
    assert!(is_sound(&there).await, "the one before it was not copied, which is no damage");
    // Its session names the backup that wrote them, so that prune leaves them alone.
    let session = there.session(&two.manifest.policy, &two.manifest.backup).await.unwrap();
    assert_eq!(session.parents, two.manifest.parents);
    assert!(session.copied.is_some_and(|copied| copied.session.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_repository_is_copied_without_a_key() {
    let (mut bench, reader) = Bench::encrypted().await;
    let backup = bench.backup(&small(1)).await;
    bench.access = Access::default();
    let store = empty(&bench);
    copied(copy_to(&bench, Arc::new(store.clone()), &backup).await.unwrap());
    assert_eq!(objects(&store).await, objects(&bench.store).await);
    bench.access = Access { identities: vec![reader], ..Access::default() };
    let there = replica(&bench, Arc::new(store.clone())).await;
    assert_eq!(contents(&there, &backup).await, by_name(&small(1)));
    // A gap in the lists is found without a key, too.
    let index = bench.keys("meta/").into_iter().find(|key| key.contains("index-0")).unwrap();
    bench.store.delete(&Key::new(index.as_str()).unwrap()).await.unwrap();
    let another = empty(&bench);
    let error = copy_to(&bench, Arc::new(another), &backup).await.unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_the_original_is_named_and_does_not_become_visible() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    for prefix in ["data/", "meta/"] {
        for key in bench.keys(prefix) {
            let key = Key::new(key).unwrap();
            let whole = bench.store.get(&key, u64::MAX).await.unwrap();
            let mut flipped = whole.to_vec();
            flipped[10] ^= 1;
            bench.store.overwrite(&key, flipped);
            let store = empty(&bench);
            let error = copy_to(&bench, Arc::new(store.clone()), &backup).await.unwrap_err();
            let text = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(error.is_damage() && text.contains(key.as_str()), "{key}: {text}");
            assert!(!store.keys().iter().any(|key| key.as_str().starts_with("backups/")), "{key}");
            bench.store.overwrite(&key, whole);
            copied(copy_to(&bench, Arc::new(store), &backup).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_at_any_request_goes_on_and_ends_the_same() {
    let bench = Bench::new().await;
    let streams = vec![
        super::TestStream::new("a", MediaType::Text, &[("a", &noise(1, 200_000))]),
        super::TestStream::new("b", MediaType::Blob, &[("b", &noise(2, 900_000))]),
    ];
    bench.pass(1);
    let begin = crate::repository::BeginOptions { pack_bytes: 100_000, ..bench.options() };
    let writer = bench.open().await.begin(begin).await.unwrap();
    write(&writer, &streams).await.unwrap();
    let backup = committed(writer.commit(draft(&streams)).await.unwrap());
    let whole = Recording::new(Arc::new(empty(&bench)));
    copied(copy_to(&bench, whole.clone(), &backup).await.unwrap());
    let puts = whole.count(Op::PutNew, "");
    let all = whole.bytes_put("data/");
    assert!(puts > 8, "{puts}");
    for nth in 1..=puts {
        let store = empty(&bench);
        let faulty = Faulty::new(Arc::new(store.clone()));
        faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).nth(nth as u64).always());
        let from = bench.open().await;
        let died = match from.replica_in(faulty.clone(), &*bench.clock).await {
            Ok(to) => copy_between(&bench, &from, &to, &backup).await.is_err(),
            Err(_) => true,
        };
        assert!(died, "put {nth} of {puts}");
        let listed = store.keys().iter().any(|key| key.as_str().starts_with("backups/"));
        assert!(!listed, "put {nth}");
        let before: u64 = size(&store, "data/").await;
        let again = Recording::new(Arc::new(store.clone()));
        copied(copy_to(&bench, again.clone(), &backup).await.unwrap());
        assert_eq!(again.bytes_put("data/") + before, all, "put {nth}: what was there is not sent again");
        assert_eq!(objects(&store).await, objects(&bench.store).await, "put {nth}");
    }
}

async fn size(store: &Memory, prefix: &str) -> u64 {
    let mut size = 0;
    for key in store.keys().iter().filter(|key| key.as_str().starts_with(prefix)) {
        size += store.head(key).await.unwrap().size;
    }
    size
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_at_once_end_as_one() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    let store = empty(&bench);
    let (one, other) = futures::join!(
        copy_to(&bench, Arc::new(store.clone()), &backup),
        copy_to(&bench, Arc::new(store.clone()), &backup)
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(objects(&store).await, objects(&bench.store).await);
}

#[tokio::test]
async fn another_repository_and_a_changed_header_are_refused_untouched() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    let other = Bench::new().await;
    let before = objects(&other.store).await;
    let from = bench.open().await;
    let refused = from.replica_in(Arc::new(other.store.clone()), &*bench.clock).await.unwrap_err();
    assert!(matches!(refused, Error::Copy(CopyRefused::OtherRepository { .. })), "{refused}");
    assert_eq!(objects(&other.store).await, before);
    let store = empty(&bench);
    copy_to(&bench, Arc::new(store.clone()), &backup).await.unwrap();
    // One that says of itself that it is encrypted to somebody else.
    let mut header = from.header().clone();
    header.tool.push('x');
    store.overwrite(&layout::header(), crate::repository::control::encode(&header).unwrap());
    let refused = from.replica_in(Arc::new(store), &*bench.clock).await.unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    let overwriting = Arc::new(Memory::overwriting(bench.clock.clone()));
    let refused = from.replica_in(overwriting, &*bench.clock).await.unwrap_err();
    assert!(matches!(refused, Error::CreateOnlyIgnored { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_pruned_while_it_is_copied_is_left_out() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(empty(&bench))).await);
    let pack = Key::new(bench.keys("data/").remove(0)).unwrap();
    bench.store.delete(&pack).await.unwrap();
    let missing = copy_between(&bench, &from, &to, &backup).await.unwrap_err();
    assert!(missing.is_damage(), "a backup that stays lacks a pack: {missing}");
    let manifest = &backup.manifest;
    let tombstone = layout::tombstone(&manifest.policy, &manifest.backup);
    put(&bench, &tombstone, "x").await;
    assert_eq!(copy_between(&bench, &from, &to, &backup).await.unwrap(), CopyOutcome::Gone);
    assert_eq!(to.backups(&Scope::All).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_relies_on_no_pack_that_may_be_on_its_way_out() {
    let bench = Bench::new().await;
    let one = bench.backup(&small(1)).await;
    let two = bench.backup(&small(1)).await;
    let three = bench.backup(&small(1)).await;
    let tombstone = layout::tombstone(&one.manifest.policy, &one.manifest.backup);
    for covered in [false, true] {
        let store = empty(&bench);
        copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        if covered {
            copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
        }
        store.put_new(&tombstone, Bytes::from_static(b"x")).await.unwrap();
        bench.pass(25);
        let outcome = copy_to(&bench, Arc::new(store.clone()), &three).await;
        if covered {
            copied(outcome.unwrap());
            continue;
        }
        assert!(waits(&outcome), "{outcome:?}");
        // Saved, it can be relied on.
        store.delete(&tombstone).await.unwrap();
        copied(copy_to(&bench, Arc::new(store), &three).await.unwrap());
    }
}

/// Two backups, the second of which shares packs with the first; where signers are pinned.
async fn signed() -> (Bench, SigningKey, StoredManifest, StoredManifest) {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let (one, two) = (bench.backup(&small(1)).await, bench.backup(&small(1)).await);
    (bench, key, one, two)
}

/// The key and the bytes of a tombstone for the place `store`, signed by `key` or by nobody.
async fn tombstone(bench: &Bench, store: &Memory, key: Option<SigningKey>, of: &StoredManifest) -> (Key, Bytes) {
    let elsewhere = store.copy();
    let signers = key.iter().map(SigningKey::signer).collect();
    let access = Access { signing_key: key, signers, ..Access::default() };
    let repository = Repository::open(Arc::new(elsewhere.clone())).await.unwrap().with_access(access);
    let manifest = &of.manifest;
    let place = (&manifest.policy, &manifest.schedule, &manifest.backup);
    repository.put_tombstone(place, TombstoneBy::Asked, &*bench.clock).await.unwrap();
    let mark = layout::tombstone(place.0, place.2);
    let bytes = elsewhere.get(&mark, 1 << 20).await.unwrap();
    (mark, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_nobody_has_signed_holds_up_no_copy_and_a_signed_one_does() {
    for believed in [false, true] {
        let (bench, key, one, two) = signed().await;
        let store = empty(&bench);
        copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        let (mark, bytes) = tombstone(&bench, &store, believed.then_some(key), &one).await;
        store.put_new(&mark, bytes).await.unwrap();
        bench.pass(25);
        let outcome = copy_to(&bench, Arc::new(store), &two).await;
        assert_eq!((waits(&outcome), outcome.is_ok()), (believed, !believed), "believed: {believed}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_tombstone_in_the_copy_does_not_become_visible_there() {
    for believed in [false, true] {
        let (bench, key, one, _) = signed().await;
        let store = empty(&bench);
        let to = replica(&bench, Arc::new(store.clone())).await;
        let (mark, bytes) = tombstone(&bench, &store, believed.then_some(key), &one).await;
        store.put_new(&mark, bytes).await.unwrap();
        let outcome = copy_to(&bench, Arc::new(store), &one).await;
        let refused = matches!(&outcome, Err(Error::Copy(CopyRefused::Marked { .. })));
        assert_eq!((refused, outcome.is_ok()), (believed, !believed), "believed: {believed}: {outcome:?}");
        assert_eq!(to.backups(&Scope::All).await.unwrap().is_empty(), believed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_nobody_has_signed_excuses_no_damage_of_the_original() {
    for believed in [false, true] {
        let (bench, key, one, _) = signed().await;
        let (mark, bytes) = tombstone(&bench, &bench.store, believed.then_some(key), &one).await;
        put(&bench, &mark, bytes).await;
        bench.store.delete(&Key::new(bench.keys("data/").remove(0)).unwrap()).await.unwrap();
        let outcome = copy_to(&bench, Arc::new(empty(&bench)), &one).await;
        let left_out = matches!(outcome, Ok(CopyOutcome::Gone));
        assert_eq!(left_out, believed, "believed: {believed}: {outcome:?}");
        assert_eq!(outcome.is_err_and(|error| error.is_damage()), !believed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_is_not_taken_for_one_that_lacks_the_backup_of_an_accept_mark() {
    let bench = Bench::new().await;
    let one = bench.backup(&small(1)).await;
    let from = bench.open().await;
    from.accept(&one, &*bench.clock).await.unwrap();
    let store = empty(&bench);
    let faulty = Faulty::new(Arc::new(store.clone()));
    let to = replica(&bench, faulty.clone()).await;
    let copier = Copier::new(&from, &to, options(&bench));
    let policy = &one.manifest.policy;
    assert_eq!(copier.send_accepts(policy).await.unwrap().0, 0, "its backup is not there");
    copied(copy_between(&bench, &from, &to, &one).await.unwrap());
    faulty.on(Rule::new(Op::Head, Fault::Fail(ErrorKind::Unreachable)).under("backups/").always());
    let failed = copier.send_accepts(policy).await;
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
    let to = replica(&bench, Arc::new(store)).await;
    assert_eq!(Copier::new(&from, &to, options(&bench)).send_accepts(policy).await.unwrap().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_packs_of_nobody_are_not_relied_on_and_young_ones_are() {
    let bench = Bench::new().await;
    bench.backup(&small(1)).await;
    for (hours, relied) in [(24, true), (8 * 24, false)] {
        let store = empty(&bench);
        let to = replica(&bench, Arc::new(store.clone())).await;
        let pack = Key::new(bench.keys("data/").remove(0)).unwrap();
        store.put_new(&pack, bench.store.get(&pack, u64::MAX).await.unwrap()).await.unwrap();
        bench.pass(hours);
        // A backup that shares the pack of one that the copy does not know.
        let two = bench.backup(&small(1)).await;
        assert_eq!(two.manifest.totals.new_packs, 0);
        let outcome = copy_between(&bench, &bench.open().await, &to, &two).await;
        assert_eq!(outcome.is_ok(), relied, "{hours} h: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_takes_over_seven_days_or_was_given_up_does_not_commit() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await;
    let store = empty(&bench);
    let faulty = Faulty::new(Arc::new(store.clone()));
    // Its session is put once its packs are there.
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).under("meta/").always());
    let (from, to) = (bench.open().await, replica(&bench, faulty).await);
    copy_between(&bench, &from, &to, &backup).await.unwrap_err();
    bench.pass(7 * 24 - 1);
    let in_time = store.copy();
    copied(copy_to(&bench, Arc::new(in_time), &backup).await.unwrap());
    bench.pass(2);
    // It is said before anything is sent.
    let late = Recording::new(Arc::new(store.clone()));
    let error = copy_to(&bench, late.clone(), &backup).await.unwrap_err();
    assert!(matches!(&error, Error::Copy(CopyRefused::TooLong { .. })), "{error}");
    assert_eq!((late.bytes_put("data/"), late.bytes_put("meta/")), (0, 0));
    assert!(bench.clock.now() > backup.manifest.started);
}
