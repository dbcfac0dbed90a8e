//! Tombstones where signers are pinned: who only may put objects hides no backup and takes none away.

use futures::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    prune::{data, days, ids, options, sound},
    *,
};
use crate::{
    repository::{
        BackupEntry, Error, Level, MarkOutcome, Pruned, Scope, TombstoneBy, VerifyOptions, control,
        crypt::{Signer, SigningKey},
        layout, verify_all,
    },
    types::{BackupId, Silent},
};

/// A repository whose backups are signed, and whose signer is pinned.
async fn signed() -> (Bench, SigningKey) {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = access(&key, &[key.signer()]);
    (bench, key)
}

fn access(key: &SigningKey, signers: &[Signer]) -> Access {
    Access { signing_key: Some(key.clone()), signers: signers.to_vec(), ..Access::default() }
}

fn scope() -> Scope {
    Scope::Policy(name("orders"))
}

/// The bytes of the tombstone that `access` would put, taken away again.
async fn tombstone(bench: &Bench, access: Access, backup: &BackupId) -> Bytes {
    let repository = Repository::open(Arc::new(bench.store.clone())).await.unwrap().with_access(access);
    let (policy, schedule) = (name("orders"), name("daily"));
    let put = repository.put_tombstone((&policy, &schedule, backup), TombstoneBy::Asked, &*bench.clock).await;
    assert_eq!(put.unwrap(), MarkOutcome::Done);
    let key = layout::tombstone(&policy, backup);
    let bytes = bench.store.get(&key, 1 << 20).await.unwrap();
    bench.store.delete(&key).await.unwrap();
    bytes
}

async fn entry(bench: &Bench, backup: &BackupId) -> BackupEntry {
    let entries = bench.open().await.backups(&scope()).await.unwrap();
    entries.into_iter().find(|entry| entry.backup == *backup).unwrap()
}

/// A prune that marks nothing.
async fn prune_due(bench: &Bench) -> Pruned {
    let repository = bench.open().await;
    let survey = repository.survey(&options(bench), false).await.unwrap();
    repository.prune(&survey, &[], &options(bench)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_under_another_schedule_takes_no_tombstone_away() {
    let bench = Bench::new().await;
    let backup = bench.backup(&small(1)).await.manifest.backup;
    let repository = bench.open().await;
    let (policy, schedule) = (name("orders"), name("daily"));
    repository.put_tombstone((&policy, &schedule, &backup), TombstoneBy::Asked, &*bench.clock).await.unwrap();
    for planted in ["aaa", "zzz"] {
        let key = layout::manifest(&policy, &name(planted), &backup);
        bench.store.put_new(&key, Bytes::from_static(b"junk")).await.unwrap();
    }
    let (_, newest) = repository.newest_first(&scope()).await.unwrap();
    let newest: Vec<BackupEntry> = newest.try_collect().await.unwrap();
    for entries in [repository.backups(&scope()).await.unwrap(), newest] {
        let real: Vec<bool> =
            entries.iter().filter(|entry| entry.schedule == schedule).map(|entry| entry.tombstoned).collect();
        assert_eq!(real, [true]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_no_pinned_signer_has_signed_hides_nothing_and_deletes_nothing() {
    for case in ["unsigned", "stranger", "of another backup", "not one", "put back later", "signed"] {
        let (bench, key) = signed().await;
        let all = ids(&days(&bench, 3).await);
        let newest = &all[2];
        let stranger = SigningKey::generate("other").unwrap();
        let bytes = match case {
            "unsigned" => tombstone(&bench, Access::default(), newest).await,
            "stranger" => tombstone(&bench, access(&stranger, &[stranger.signer()]), newest).await,
            "of another backup" => tombstone(&bench, bench.access.clone(), &all[0]).await,
            "not one" => Bytes::from_static(b"{}"),
            _ => tombstone(&bench, access(&key, &[key.signer()]), newest).await,
        };
        if case == "put back later" {
            bench.pass(1);
        }
        put(&bench, &layout::tombstone(&name("orders"), newest), bytes).await;
        let believed = case == "signed";

        let found = entry(&bench, newest).await;
        assert_eq!((found.tombstoned, found.disbelieved.is_none()), (believed, believed), "{case}: {found:?}");
        let latest = bench.open().await.newest_good(&scope()).await.unwrap().unwrap().manifest.backup;
        assert_eq!(latest, all[if believed { 1 } else { 2 }], "{case}");
        bench.pass(25);
        let pruned = prune_due(&bench).await;
        assert_eq!(pruned.deleted, if believed { vec![newest.clone()] } else { vec![] }, "{case}");
        assert_eq!(sound(&bench).await, all[..if believed { 2 } else { 3 }], "{case}");
        // It is named where it is in the way, and goes at any time.
        if !believed {
            let (policy, schedule) = (name("orders"), name("daily"));
            let repository = bench.open().await;
            let of = (&policy, &schedule, newest);
            let refused = repository.put_tombstone(of, TombstoneBy::Retention, &*bench.clock).await;
            assert!(matches!(refused, Err(Error::TombstoneNotBelieved { .. })), "{case}: {refused:?}");
            assert_eq!(repository.undo_tombstone(of, &*bench.clock).await.unwrap(), MarkOutcome::Done);
            let put = repository.put_tombstone(of, TombstoneBy::Retention, &*bench.clock).await;
            assert_eq!(put.unwrap(), MarkOutcome::Done, "{case}");
        }
        // Who pins nobody believes every tombstone.
        let nobody = Repository::open(Arc::new(bench.store.clone())).await.unwrap();
        if !believed {
            let entries = nobody.backups(&scope()).await.unwrap();
            assert!(entries.iter().any(|entry| entry.backup == *newest && entry.tombstoned), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_was_signed_for_another_place_is_none_in_this_one() {
    let another = "it was signed for another place of this repository";
    // Where the copy was made in the same second, both are one place as far as anybody can tell.
    for (seconds, why) in [(3_600, Some(another)), (-3_600, Some(another)), (2, Some(another)), (1, None), (0, None)] {
        let (bench, _) = signed().await;
        let made = bench.clock.now();
        let all = ids(&days(&bench, 2).await);
        let now = bench.clock.now();
        let store = super::copy::empty(&bench);
        bench.clock.set(made + jiff::SignedDuration::from_secs(seconds));
        let place = bench.open().await.replica_in(Arc::new(store.clone()), &*bench.clock).await.unwrap();
        bench.clock.set(now);
        let (policy, schedule) = (name("orders"), name("daily"));
        let key = layout::tombstone(&policy, &all[0]);
        let of = (&policy, &schedule, &all[0]);
        place.put_tombstone(of, TombstoneBy::Asked, &*bench.clock).await.unwrap();
        let bytes = store.get(&key, 1 << 20).await.unwrap();
        put(&bench, &key, bytes).await;
        assert_eq!(entry(&bench, &all[0]).await.disbelieved.as_deref(), why, "{seconds}");
        bench.pass(25);
        let deleted = if why.is_none() { &all[..1] } else { &[] };
        assert_eq!(prune_due(&bench).await.deleted, deleted, "{seconds}");
        assert_eq!(sound(&bench).await, all[deleted.len()..], "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pruned_before_the_repository_came_to_its_place_is_noted_and_no_damage() {
    // Moved with all that it has; the same with another's tombstone; and one that was not moved.
    for (case, moved, sound) in [("signed", true, true), ("unsigned", true, false), ("signed", false, true)] {
        let (bench, _) = signed().await;
        let all = ids(&days(&bench, 3).await);
        let (policy, schedule) = (name("orders"), name("daily"));
        let key = layout::tombstone(&policy, &all[0]);
        let of = (&policy, &schedule, &all[0]);
        bench.open().await.put_tombstone(of, TombstoneBy::Asked, &*bench.clock).await.unwrap();
        bench.pass(25);
        assert_eq!(prune_due(&bench).await.deleted, all[..1]);
        assert!(bench.keys("tombstones/").len() == 1, "the next backup names it as the one before");
        if case == "unsigned" {
            let bytes = tombstone(&bench, Access::default(), &all[2]).await;
            bench.store.overwrite(&key, bytes);
        }
        if moved {
            // As a restored bucket, or a mirror: every object is there, with a time of its own.
            let header = bench.store.get(&layout::header(), 1 << 20).await.unwrap();
            bench.store.delete(&layout::header()).await.unwrap();
            bench.pass(1);
            put(&bench, &layout::header(), header).await;
        }
        let verify = VerifyOptions::new(Level::Presence);
        let (repository, cancel) = (bench.open().await, CancellationToken::new());
        let report = verify_all(&repository, &Scope::All, &verify, &Silent, &cancel).await.unwrap();
        assert_eq!(!report.has_damage(), sound, "{case}: {report:?}");
        let noted =
            report.notes.iter().filter(|note| note.contains("before the repository came to this place")).count();
        assert_eq!(noted, usize::from(moved && sound), "{case}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_a_copy_waits_until_it_is_a_place_of_its_own() {
    let (bench, _) = signed().await;
    let repository = bench.open().await;
    for (hours, waits) in [(0, true), (1, false)] {
        bench.pass(hours);
        let store = super::copy::empty(&bench);
        let (wait, after) = repository.waits_for_replica_in(&store, &*bench.clock).await.unwrap();
        assert_eq!(after.as_secs(), 3, "until the next copy may be made");
        assert_eq!(!wait.is_zero(), waits, "{wait:?}");
        bench.clock.set(bench.clock.now() + jiff::SignedDuration::try_from(wait).unwrap());
        let place = repository.replica_in(Arc::new(store.clone()), &*bench.clock).await.unwrap();
        assert!(!repository.is_here(place.place().await.unwrap()).await.unwrap());
        let there = repository.waits_for_replica_in(&store, &*bench.clock).await.unwrap();
        assert!(there.0.is_zero() && there.1.is_zero(), "it is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_a_tombstone_is_signed_and_cannot_be_left_out_or_changed() {
    let (bench, key) = signed().await;
    let all = ids(&days(&bench, 1).await);
    let bytes = tombstone(&bench, access(&key, &[key.signer()]), &all[0]).await;
    let honest: crate::repository::Tombstone = control::decode(&bytes).unwrap();
    assert_eq!(honest.place, Some("2026-11-20T02:00:00Z".parse().unwrap()), "when the bench was made");
    let place = layout::tombstone(&name("orders"), &all[0]);
    let later = honest.place.map(|place| place + jiff::SignedDuration::from_secs(1));
    for (said, why) in [
        (None, Some("it does not say for which place it was signed")),
        (later, Some("is not over")),
        (honest.place, None),
    ] {
        let changed = crate::repository::Tombstone { place: said, ..honest.clone() };
        put(&bench, &place, control::encode(&changed).unwrap()).await;
        let found = entry(&bench, &all[0]).await.disbelieved;
        match why {
            Some("is not over") => assert!(found.is_some(), "{said:?}"),
            why => assert_eq!(found.as_deref(), why, "{said:?}"),
        }
        bench.store.delete(&place).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_tombstone_does_not_take_away_what_a_run_has_stored() {
    for planted in [true, false] {
        let (bench, _) = signed().await;
        let first = bench.backup(&data(0)).await.manifest.backup;
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        let streams = [
            TestStream::new("a", MediaType::Text, &[("a", &noise(7, 100_000))]),
            TestStream::new("b", MediaType::Text, &[("b", &noise(8, 100_000))]),
        ];
        write(&writer, &streams[..1]).await.unwrap();
        writer.checkpoint().await.unwrap();
        if planted {
            let bytes = tombstone(&bench, Access::default(), writer.backup()).await;
            put(&bench, &layout::tombstone(&name("orders"), writer.backup()), bytes).await;
        }
        bench.pass(26);
        // A sign of life: it is not fenced.
        write(&writer, &streams[1..]).await.unwrap();
        writer.checkpoint().await.unwrap();
        let pruned = prune_due(&bench).await;
        assert_eq!((pruned.packs, pruned.fenced), (0, vec![]), "planted: {planted}");
        let second = committed(writer.commit(draft(&streams)).await.unwrap()).manifest.backup;
        assert_eq!(sound(&bench).await, [first, second], "planted: {planted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shared_with_a_backup_that_has_a_tombstone_believed_or_not() {
    for planted in [true, false] {
        let (bench, _) = signed().await;
        let first = bench.backup(&data(0)).await.manifest.backup;
        if planted {
            let bytes = tombstone(&bench, Access::default(), &first).await;
            put(&bench, &layout::tombstone(&name("orders"), &first), bytes).await;
        }
        let second = bench.backup(&data(0)).await.manifest;
        assert_eq!(second.parents.len(), usize::from(!planted));
        assert_eq!(second.previous.unwrap().id, first, "it is the one before all the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signers_are_pinned_prune_needs_a_key_to_sign_with_and_a_look_does_not() {
    let (mut bench, key) = signed().await;
    let all = ids(&days(&bench, 2).await);
    let before = bench.keys("");
    bench.access = Access { signers: vec![key.signer()], ..Access::default() };
    let refused = bench.open().await.survey(&options(&bench), false).await;
    assert!(matches!(refused, Err(Error::NoSigningKey { .. })), "{refused:?}");
    let other = SigningKey::generate("other").unwrap();
    bench.access = access(&other, &[key.signer()]);
    let refused = bench.open().await.survey(&options(&bench), false).await;
    assert!(matches!(refused, Err(Error::SigningKeyNotPinned { .. })), "{refused:?}");
    assert_eq!(bench.keys(""), before);
    assert_eq!(bench.open().await.survey(&options(&bench), true).await.unwrap().backups.len(), 2);
    // The twin: a key of its own, which is pinned beside that of the backups.
    bench.access = access(&other, &[key.signer(), other.signer()]);
    let repository = bench.open().await;
    let survey = repository.survey(&options(&bench), false).await.unwrap();
    assert_eq!(repository.prune(&survey, &all[..1], &options(&bench)).await.unwrap().marked, all[..1]);
    assert!(entry(&bench, &all[0]).await.tombstoned);
    bench.pass(25);
    assert_eq!(prune_due(&bench).await.deleted, all[..1]);
}
