//! A backup that a copy has, and of which something is missing there, is seen and made whole.

use std::{collections::HashSet, sync::Arc};

use super::{
    BeginOptions, Bench, TestStream, by_name, committed, contents,
    copy::{copied, copy_between, copy_to, empty, is_sound, options, replica},
    draft, name, noise,
    server::Server,
    small, write,
};
use crate::{
    repository::{
        Copier, CopyListed, CopyOutcome, CopyRefused, Error, Level, Repository, Scope, StoredManifest, TombstoneBy,
        VerifyOptions,
        backend::{Backend, ErrorKind, Fault, Faulty, Key, Memory, Op, Recording, Rule},
        crypt::{Access, SigningKey},
        layout, verify_all,
    },
    types::{BackupId, Clock, MediaType, Sha256Digest, Silent},
};

/// A repository with two backups that share packs, signed; and its copy.
pub(super) async fn both() -> (Bench, Memory, StoredManifest, StoredManifest) {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let (one, two) = (bench.backup(&small(1)).await, bench.backup(&small(1)).await);
    let store = empty(&bench);
    for backup in [&one, &two] {
        copied(copy_to(&bench, Arc::new(store.clone()), backup).await.unwrap());
    }
    (bench, store, one, two)
}

/// What a run over all backups takes for damaged there, by listings.
pub(super) async fn lacking(bench: &Bench, from: &Repository, to: &Repository) -> HashSet<BackupId> {
    let (originals, there) = (from.backups(&Scope::All).await.unwrap(), to.backups(&Scope::All).await.unwrap());
    let of = |id: &BackupId| there.iter().find(|entry| entry.backup == *id).and_then(|entry| entry.summary());
    let listed: Vec<CopyListed> = originals
        .iter()
        .filter_map(|entry| Some(CopyListed::of(&entry.backup, entry.summary()?, of(&entry.backup)?)))
        .collect();
    let policy = &originals[0].policy;
    let lists = (&from.listings(policy).await.unwrap(), &to.listings(policy).await.unwrap());
    Copier::new(from, to, options(bench)).lacking(lists, &listed).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_of_a_backup_is_missing_in_a_copy_is_seen_by_listings_and_sent_again_by_name() {
    let (bench, store, one, two) = both().await;
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
    assert_eq!(lacking(&bench, &from, &to).await, HashSet::new(), "the twin: nothing is missing");
    let manifests =
        [&one, &two].map(|one| layout::manifest(&one.manifest.policy, &one.manifest.schedule, &one.manifest.backup));
    let kept = |key: &Key| {
        let text = key.as_str();
        ["sessions/", "repository.json", "accepts/"].iter().any(|prefix| text.starts_with(prefix))
            || manifests.contains(key)
    };
    let keys: Vec<Key> = store.keys().into_iter().filter(|key| !kept(key)).collect();
    assert!(keys.iter().any(|key| key.as_str().ends_with(".sig")) && keys.len() > 8, "{keys:?}");
    for key in keys {
        let whole = store.get(&key, u64::MAX).await.unwrap();
        store.delete(&key).await.unwrap();
        let found = lacking(&bench, &from, &to).await;
        assert!(!found.is_empty(), "{key}");
        let backup = if found.contains(&one.manifest.backup) { &one } else { &two };
        let before = store.keys();
        let planned = Copier::new(&from, &to, options(&bench));
        let name = (&backup.manifest.policy, &backup.manifest.schedule, &backup.manifest.backup);
        let planned = planned.would_copy(name, &mut Default::default()).await.unwrap();
        assert!(matches!(planned, CopyOutcome::Mended(_)), "{key}: {planned:?}");
        assert_eq!(store.keys(), before, "{key}: nothing is written");
        let CopyOutcome::Mended(counts) = copy_between(&bench, &from, &to, backup).await.unwrap() else {
            panic!("{key}")
        };
        assert!(counts.bytes > 0, "{key}: {counts:?}");
        assert_eq!(store.get(&key, u64::MAX).await.unwrap(), whole, "{key}");
        assert_eq!(lacking(&bench, &from, &to).await, HashSet::new(), "{key}");
        assert_eq!(copy_between(&bench, &from, &to, backup).await.unwrap(), CopyOutcome::There, "{key}");
    }
    assert!(is_sound(&to).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_looked_at_without_a_write() {
    let (bench, store, one, _) = both().await;
    let recording = Recording::new(Arc::new(store));
    let (from, to) = (bench.open().await, replica(&bench, recording.clone()).await);
    recording.clear();
    assert_eq!(lacking(&bench, &from, &to).await, HashSet::new());
    assert_eq!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::There);
    assert_eq!(
        (recording.bytes_put("data/"), recording.bytes_put("meta/"), recording.count(Op::PutNew, "sessions/")),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_not_given_all_runs_lacks_nothing_of_those_that_it_has() {
    let bench = Bench::new().await;
    let stream = |name: &str, seed, bytes| TestStream::new(name, MediaType::Blob, &[(name, &noise(seed, bytes))]);
    let streams = [stream("a", 1, 200_000), stream("b", 2, 900_000)];
    bench.pass(1);
    let begin = BeginOptions { pack_bytes: 100_000, ..bench.options() };
    let writer = bench.open().await.begin(begin).await.unwrap();
    write(&writer, &streams).await.unwrap();
    committed(writer.commit(draft(&streams)).await.unwrap());
    let two = bench.backup(&streams[..1]).await;
    let store = empty(&bench);
    copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
    assert!(bench.keys("data/").len() > store.keys().iter().filter(|key| key.as_str().starts_with("data/")).count());
    assert_eq!(lacking(&bench, &from, &to).await, HashSet::new());
    // The twin: a pack that it needs is missing.
    let pack = store.keys().into_iter().find(|key| key.as_str().starts_with("data/")).unwrap();
    store.delete(&pack).await.unwrap();
    assert_eq!(lacking(&bench, &from, &to).await, HashSet::from([two.manifest.backup.clone()]));
    assert!(matches!(copy_between(&bench, &from, &to, &two).await.unwrap(), CopyOutcome::Mended(_)));
    assert_eq!(contents(&to, &two).await, by_name(&streams[..1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_of_a_copy_is_named_until_it_is_taken_away_and_then_sent_again() {
    let (bench, store, one, _) = both().await;
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
    let pack = store.keys().into_iter().find(|key| key.as_str().starts_with("data/")).unwrap();
    let mut flipped = store.get(&pack, u64::MAX).await.unwrap().to_vec();
    flipped[10] ^= 1;
    store.overwrite(&pack, flipped);
    let of = (&one.manifest.policy, &one.manifest.backup);
    to.mark_damaged(of, &[layout::parse_pack(&pack).unwrap()], Level::Stored, bench.clock.now()).await.unwrap();
    let error = copy_between(&bench, &from, &to, &one).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(pack.as_str()), "{error}");
    store.delete(&pack).await.unwrap();
    assert!(matches!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::Mended(_)));
    // What a verification has noted is no reason any more.
    assert_eq!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::There);
    assert!(is_sound(&to).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_tombstone_in_the_copy_is_not_taken_for_one_that_is_there() {
    let (bench, store, one, two) = both().await;
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(store)).await);
    let mark = (&one.manifest.policy, &one.manifest.schedule, &one.manifest.backup);
    to.put_tombstone(mark, TombstoneBy::Asked, &*bench.clock).await.unwrap();
    let refused = copy_between(&bench, &from, &to, &one).await.unwrap_err();
    assert!(matches!(refused, Error::Copy(CopyRefused::Goes { .. })), "{refused}");
    assert_eq!(copy_between(&bench, &from, &to, &two).await.unwrap(), CopyOutcome::There);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mending_that_fails_says_that_something_was_written_if_it_may_have_been() {
    for what in ["data/", "refs.tsv.zst", ".json.sig", "nothing"] {
        let (bench, store, one, _) = both().await;
        for key in store.keys() {
            if key.as_str().contains(what) && key.as_str().contains(one.manifest.backup.as_str()) {
                store.delete(&key).await.unwrap();
            }
        }
        let faulty = Faulty::new(Arc::new(store));
        let from = bench.open().await;
        let to = replica(&bench, faulty.clone()).await;
        faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).always());
        let outcome = copy_between(&bench, &from, &to, &one).await;
        let is_begun = matches!(outcome, Err(Error::Begun { .. }));
        // The signature that is there is put once more, and that fails, too.
        assert_eq!((is_begun, outcome.is_err()), (what != "nothing", true), "{what}: {outcome:?}");
        faulty.heal();
        let healed = copy_between(&bench, &from, &to, &one).await.unwrap();
        assert_eq!(matches!(healed, CopyOutcome::Mended(_)), what != "nothing", "{what}: {healed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_puts_among_the_lists_of_an_encrypted_backup_keeps_it_from_no_copy() {
    for junk in [vec!["index-4000000.tsv.zst.age", "index-0.tsv.zst", "index-2.tsv.zst.age"], vec![]] {
        let (mut bench, _) = Bench::encrypted().await;
        let one = bench.backup(&small(1)).await;
        bench.access = Access::default();
        bench.pass(1);
        for name in &junk {
            let key = Key::new(format!("meta/{}/{name}", one.manifest.backup)).unwrap();
            bench.store.put_new(&key, "x".into()).await.unwrap();
        }
        let store = empty(&bench);
        copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        let name = (&one.manifest.policy, &one.manifest.schedule, &one.manifest.backup);
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let planned = Copier::new(&from, &to, options(&bench)).would_copy(name, &mut Default::default()).await.unwrap();
        assert_eq!(planned, CopyOutcome::There, "{junk:?}");
        // One that was sent again is younger than the manifest, and one of the backup's.
        let index = layout::index(&one.manifest.backup, 0, true);
        store.delete(&index).await.unwrap();
        bench.pass(1);
        assert!(matches!(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap(), CopyOutcome::Mended(_)));
        let back = replica(&bench, Arc::new(empty(&bench))).await;
        copied(copy_between(&bench, &to, &back, &one).await.unwrap());
        // The twin: without it nothing is copied.
        store.delete(&index).await.unwrap();
        let error = copy_between(&bench, &to, &replica(&bench, Arc::new(empty(&bench))).await, &one).await.unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(index.as_str()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_in_the_copy_that_accepts_something_else_is_named_and_one_that_was_made_there_is_not() {
    for case in ["bogus", "of another manifest", "made there", "the original's"] {
        let (bench, store, one, _) = both().await;
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let policy = &one.manifest.policy;
        let key = layout::accept(policy, &one.manifest.backup);
        from.accept(&one, &*bench.clock).await.unwrap();
        bench.pass(1);
        match case {
            "bogus" => drop(store.put_new(&key, "not a mark".into()).await.unwrap()),
            "of another manifest" => {
                let other = StoredManifest { sha256: Sha256Digest::of(b"other"), ..one.clone() };
                to.accept(&other, &*bench.clock).await.unwrap();
            }
            "made there" => drop(to.accept(&one, &*bench.clock).await.unwrap()),
            _ => {}
        }
        let copier = Copier::new(&from, &to, options(&bench));
        let (sent, left) = copier.send_accepts(policy).await.unwrap();
        let is_other = ["bogus", "of another manifest"].contains(&case);
        assert_eq!(
            (sent, left.len()),
            (u64::from(case == "the original's"), usize::from(is_other)),
            "{case}: {left:?}"
        );
        let said = |error: &Error| error.is_damage() && error.to_string().contains(key.as_str());
        assert!(left.iter().all(said), "{case}: {left:?}");
        assert_eq!(copier.send_accepts(policy).await.unwrap().1.len(), left.len(), "{case}: again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_that_nobody_has_seen_leaves_no_session_in_the_copy_and_keeps_no_backup_out_of_it() {
    for rotten in ["data/", "meta/", ""] {
        for of_the_first in [true, false] {
            let bench = Bench::new().await;
            let one = bench.backup(&small(1)).await;
            let own = TestStream::new("own", MediaType::Text, &[("a", &noise(9, 100_000))]);
            let more = [small(1), vec![own]].concat();
            let two = bench.backup(&more).await;
            let owner = if of_the_first { &one } else { &two };
            let prefix = format!("{rotten}{}/", owner.manifest.backup);
            // Of a list of the backup before it nothing is needed.
            let harmful = rotten == "data/" || (rotten == "meta/" && !of_the_first);
            let key = bench.keys(&prefix).into_iter().find(|key| rotten == "data/" || key.contains("/index-"));
            let rot = match key.map(|key| Key::new(key).unwrap()).filter(|_| !rotten.is_empty()) {
                None => None,
                Some(key) => {
                    let bytes = bench.store.get(&key, 1 << 24).await.unwrap();
                    let mut flipped = bytes.to_vec();
                    flipped[10] ^= 1;
                    bench.store.overwrite(&key, flipped);
                    Some((key, bytes))
                }
            };
            let store = empty(&bench);
            let copied_at_once = copy_to(&bench, Arc::new(store.clone()), &two).await;
            assert_eq!(copied_at_once.is_err(), harmful, "{rotten} {of_the_first}: {copied_at_once:?}");
            let sessions = || store.keys().into_iter().filter(|key| key.as_str().starts_with("sessions/")).count();
            if let (Err(error), Some((key, bytes))) = (copied_at_once, rot) {
                assert!(error.is_damage(), "{error:?}");
                assert_eq!(sessions(), 0, "{rotten} {of_the_first}");
                // Weeks later somebody puts it right. What was sent is old by then, and a prune of the copy sweeps it.
                bench.store.overwrite(&key, bytes);
                bench.pass(24 * 20);
                let there = replica(&bench, Arc::new(store.clone())).await;
                let options = crate::repository::PruneOptions {
                    is_copy: true,
                    ..crate::repository::PruneOptions::new(name("orders"), bench.clock.clone())
                };
                let survey = there.survey(&options, false).await.unwrap();
                there.prune(&survey, &[], &options).await.unwrap();
                copied(copy_to(&bench, Arc::new(store.clone()), &two).await.unwrap());
            }
            assert_eq!(sessions(), 1);
            let there = replica(&bench, Arc::new(store.clone())).await;
            assert!(is_sound(&there).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_among_the_lists_of_a_copy_does_not_make_it_look_closely_each_time() {
    for (junk, looked_at) in
        [("x", false), ("streams.jsonl.zst.bak", false), ("index-01.tsv.zst", false), ("index-9.tsv.zst", true)]
    {
        let (bench, store, one, _) = both().await;
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let key = Key::new(format!("meta/{}/{junk}", one.manifest.backup)).unwrap();
        store.put_new(&key, "x".into()).await.unwrap();
        let found = lacking(&bench, &from, &to).await;
        // What has the name of an index may be one. It is looked at, and nothing is missing.
        assert_eq!(found.contains(&one.manifest.backup), looked_at, "{junk}");
        assert_eq!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::There, "{junk}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_was_planted_in_a_copy_before_it_was_sent_is_found_by_a_verification_and_then_sent() {
    for planted in [true, false] {
        let bench = Bench::new().await;
        let one = bench.backup(&small(1)).await;
        let store = empty(&bench);
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let pack = Key::new(bench.keys("data/").remove(0)).unwrap();
        let size = bench.store.head(&pack).await.unwrap().size;
        if planted {
            store.put_new(&pack, vec![7; usize::try_from(size).unwrap()].into()).await.unwrap();
        }
        let counts = copied(copy_between(&bench, &from, &to, &one).await.unwrap());
        assert_eq!(counts.packs_there, u64::from(planted), "{counts:?}");
        let (silent, cancel) = (Silent, tokio_util::sync::CancellationToken::new());
        let wanted = VerifyOptions::new(Level::Stored);
        let report = verify_all(&to, &Scope::All, &wanted, &silent, &cancel).await.unwrap();
        let named: Vec<_> = report.findings.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(named, if planted { vec![pack.as_str()] } else { vec![] });
        if planted {
            let of = (&one.manifest.policy, &one.manifest.backup);
            to.mark_damaged(of, &[layout::parse_pack(&pack).unwrap()], Level::Stored, bench.clock.now()).await.unwrap();
            let error = copy_between(&bench, &from, &to, &one).await.unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(pack.as_str()), "{error}");
            store.delete(&pack).await.unwrap();
            assert!(matches!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::Mended(_)));
        }
        assert!(is_sound(&to).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_pack_is_told_by_the_checksum_of_a_store_that_keeps_one() {
    // A pack that was put without a checksum is read: drctl puts none without.
    for (keeps, with_checksum, honest) in
        [(true, true, false), (true, false, false), (true, true, true), (true, false, true), (false, false, false)]
    {
        let bench = Bench::new().await;
        let one = bench.backup(&small(1)).await;
        let store = empty(&bench);
        let from = bench.open().await;
        let pack = Key::new(bench.keys("data/").remove(0)).unwrap();
        let bytes = bench.store.get(&pack, u64::MAX).await.unwrap();
        let planted = if honest { bytes } else { vec![7; bytes.len()].into() };
        store.put_new(&pack, planted).await.unwrap();
        let without = if with_checksum { vec![] } else { vec![pack.clone()] };
        let server = Server { without_sha256: keeps.then_some(without), ..Server::over(&store) };
        let to = replica(&bench, Arc::new(server)).await;
        let before = store.keys();
        let outcome = copy_between(&bench, &from, &to, &one).await;
        let told = keeps && !honest;
        assert_eq!(outcome.is_err(), told, "{keeps} {with_checksum} {honest}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(error.is_damage() && error.to_string().contains(pack.as_str()), "{error}");
            assert_eq!(store.keys(), before, "nothing was written");
            store.delete(&pack).await.unwrap();
            copied(copy_between(&bench, &from, &to, &one).await.unwrap());
        }
        assert_eq!(is_sound(&to).await, keeps);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_from_a_copy_before_the_manifest_is_put_keeps_it_from_being_put() {
    for gone in ["data/", "index-0.tsv.zst", "streams.jsonl.zst", "nothing"] {
        let bench = Bench::new().await;
        let one = bench.backup(&small(1)).await;
        let store = empty(&bench);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let (from, to) = (bench.open().await, replica(&bench, faulty.clone()).await);
        let last = layout::refs(&one.manifest.backup);
        faulty.on(Rule::new(Op::PutNew, Fault::Stall).under(last.as_str()));
        let meanwhile = async {
            while faulty.stalled() == 0 {
                tokio::task::yield_now().await;
            }
            for key in store.keys().into_iter().filter(|key| key.as_str().contains(gone)) {
                store.delete(&key).await.unwrap();
            }
            faulty.release();
        };
        let (outcome, ()) = futures::join!(copy_between(&bench, &from, &to, &one), meanwhile);
        assert_eq!(outcome.is_ok(), gone == "nothing", "{gone}: {outcome:?}");
        let listed = to.backups(&Scope::All).await.unwrap().len();
        assert_eq!(listed, usize::from(gone == "nothing"), "{gone}");
        if let Err(error) = outcome {
            let said = error.to_string();
            let Error::Begun { source, .. } = error else { panic!("{gone}: {said}") };
            assert!(matches!(*source, Error::Copy(CopyRefused::PacksGone { count: 1, .. })), "{gone}: {source}");
        }
    }
}
