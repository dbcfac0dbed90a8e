//! What somebody has put into a copy in the place of what belongs there, of the right size or before its time.

use std::sync::Arc;

use super::{
    BeginOptions, Bench, TestStream, committed,
    copy::{copied, copy_between, copy_to, empty, is_sound, options, replica},
    copy_mends::{both, lacking},
    draft, noise, small, write,
};
use crate::{
    repository::{
        Copier, CopyOutcome, Error, Scope, StoredManifest,
        backend::{Backend, ErrorKind, Fault, Faulty, Key, Op, Rule},
        crypt::Access,
        layout,
    },
    types::{BackupId, MediaType, Name},
};

fn named(backup: &StoredManifest) -> (&Name, &Name, &BackupId) {
    let manifest = &backup.manifest;
    (&manifest.policy, &manifest.schedule, &manifest.backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_in_the_copy_that_is_not_the_originals_is_named_and_the_backup_not_taken_for_whole() {
    for is_other in [true, false] {
        let (bench, store, one, two) = both().await;
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let (policy, schedule, backup) = named(&one);
        let key = layout::signature(&layout::manifest(policy, schedule, backup));
        let whole = store.get(&key, u64::MAX).await.unwrap();
        if is_other {
            // Of the same size: no listing tells it.
            let mut other = whole.to_vec();
            let at = other.len() / 2;
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            store.overwrite(&key, other);
        }
        let found = lacking(&bench, &from, &to).await;
        assert_eq!((found.contains(backup), found.contains(&two.manifest.backup)), (is_other, false));
        let planned = Copier::new(&from, &to, options(&bench)).would_copy(named(&one), &mut Default::default()).await;
        for outcome in [planned, copy_between(&bench, &from, &to, &one).await] {
            assert_eq!(outcome.is_err(), is_other, "{outcome:?}");
            if let Err(error) = outcome {
                let text = error.to_string();
                assert!(error.is_damage() && text.contains(key.as_str()) && text.contains("take it away"), "{text}");
            }
        }
        if is_other {
            store.delete(&key).await.unwrap();
            assert!(matches!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::Mended(_)));
        }
        assert!(lacking(&bench, &from, &to).await.is_empty());
        assert_eq!(store.get(&key, u64::MAX).await.unwrap(), whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_mark_whose_signature_a_killed_copy_has_not_sent_gets_it() {
    for case in ["whole", "no signature", "another signature"] {
        let (bench, store, one, _) = both().await;
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let (policy, _, backup) = named(&one);
        from.accept(&one, &*bench.clock).await.unwrap();
        let copier = Copier::new(&from, &to, options(&bench));
        let (sent, left) = copier.send_accepts(policy).await.unwrap();
        assert_eq!((sent, left.len()), (1, 0), "{left:?}");
        let key = layout::signature(&layout::accept(policy, backup));
        let whole = store.get(&key, u64::MAX).await.unwrap();
        match case {
            "no signature" => store.delete(&key).await.unwrap(),
            "another signature" => store.overwrite(&key, "no signature"),
            _ => {}
        }
        let (sent, left) = copier.send_accepts(policy).await.unwrap();
        let is_other = case == "another signature";
        assert_eq!((sent, left.len()), (u64::from(case == "no signature"), usize::from(is_other)), "{case}: {left:?}");
        let said = |error: &Error| error.is_damage() && error.to_string().contains(key.as_str());
        assert!(left.iter().all(said), "{case}: {left:?}");
        assert_eq!(store.get(&key, u64::MAX).await.unwrap() == whole, !is_other, "{case}");
        assert_eq!(copier.send_accepts(policy).await.unwrap().0, 0, "{case}: again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_in_an_index_of_the_original_is_found_before_the_session_though_no_pack_goes_ahead() {
    for is_rotten in [true, false] {
        let bench = Bench::new().await;
        let (one, two) = (bench.backup(&small(1)).await, bench.backup(&small(1)).await);
        let store = empty(&bench);
        copied(copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap());
        let index = layout::index(&two.manifest.backup, 0, false);
        if is_rotten {
            let mut flipped = bench.store.get(&index, u64::MAX).await.unwrap().to_vec();
            flipped[10] ^= 1;
            bench.store.overwrite(&index, flipped);
        }
        let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
        let before = store.keys();
        let planned = Copier::new(&from, &to, options(&bench)).would_copy(named(&two), &mut Default::default()).await;
        assert_eq!((planned.is_err(), store.keys() == before), (is_rotten, true), "{planned:?}");
        let outcome = copy_between(&bench, &from, &to, &two).await;
        assert_eq!((outcome.is_err(), store.keys() == before), (is_rotten, is_rotten), "{outcome:?}");
        if let Ok(outcome) = &outcome {
            assert!(
                matches!(outcome, CopyOutcome::Copied(counts) if counts.packs == 0),
                "none goes ahead: {outcome:?}"
            );
        }
        for error in [planned.err(), outcome.err()].into_iter().flatten() {
            assert!(error.is_damage() && !matches!(error, Error::Begun { .. }), "{error:?}");
            assert!(error.to_string().contains(index.as_str()), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_the_copy_that_is_not_the_originals_is_named_before_anything_is_written() {
    for is_encrypted in [false, true] {
        for (of, change) in [("index-0", 1), ("index-0", 0), ("streams", 1), ("refs", 1), ("refs", 0)] {
            let mut bench = if is_encrypted { Bench::encrypted().await.0 } else { Bench::new().await };
            let one = bench.backup(&small(1)).await;
            bench.access = Access::default();
            let list = bench.keys("meta/").into_iter().find(|key| key.contains(of)).map(|key| Key::new(key).unwrap());
            let list = list.unwrap();
            let whole = bench.store.get(&list, u64::MAX).await.unwrap();
            let mut flipped = whole.to_vec();
            flipped[10] ^= change;
            let case = format!("encrypted: {is_encrypted}, {of}, {change}");

            // It is there before the backup is.
            let store = empty(&bench);
            let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
            store.put_new(&list, flipped.clone().into()).await.unwrap();
            let before = store.keys();
            let outcome = copy_between(&bench, &from, &to, &one).await;
            assert_eq!((outcome.is_err(), store.keys() == before), (change > 0, change > 0), "{case}: {outcome:?}");
            assert_eq!(to.backups(&Scope::All).await.unwrap().len(), usize::from(change == 0), "{case}");
            if change > 0 {
                let error = outcome.unwrap_err();
                assert!(error.is_damage() && error.to_string().contains(list.as_str()), "{case}: {error}");
                assert!(error.to_string().contains("take it away there"), "{case}: {error}");
                store.delete(&list).await.unwrap();
                copied(copy_between(&bench, &from, &to, &one).await.unwrap());
            }

            // Of one that is there.
            assert_eq!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::There, "{case}");
            store.overwrite(&list, flipped);
            let copier = Copier::new(&from, &to, options(&bench));
            let planned = copier.would_copy(named(&one), &mut Default::default()).await;
            for outcome in [planned, copy_between(&bench, &from, &to, &one).await] {
                assert_eq!(outcome.is_err(), change > 0, "{case}: {outcome:?}");
                assert!(
                    outcome.err().is_none_or(|error| error.is_damage() && error.to_string().contains(list.as_str()))
                );
            }
            store.delete(&list).await.unwrap();
            assert!(matches!(copy_between(&bench, &from, &to, &one).await.unwrap(), CopyOutcome::Mended(_)), "{case}");
            assert_eq!(store.get(&list, u64::MAX).await.unwrap(), whole, "{case}");
            assert!(is_encrypted || is_sound(&to).await, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_takes_nothing_has_nothing_of_a_backup_and_one_that_may_have_a_pack_says_so() {
    use ErrorKind::{Full, PermissionDenied, TimedOut, Unreachable};
    // Where it fails: at the first pack, at the second, at the session, nowhere.
    for (under, nth, kind, is_begun) in [
        ("data/", 1, PermissionDenied, Some(false)),
        ("data/", 1, Full, Some(false)),
        ("data/", 1, TimedOut, Some(true)),
        ("data/", 1, Unreachable, Some(true)),
        ("data/", 2, PermissionDenied, Some(true)),
        ("sessions/", 1, PermissionDenied, Some(true)),
        ("sessions/", 9, PermissionDenied, None),
    ] {
        let bench = Bench::new().await;
        let stream = |seed| TestStream::new(&format!("s{seed}"), MediaType::Blob, &[("a", &noise(seed, 200_000))]);
        let streams: Vec<_> = (1..6).map(stream).collect();
        bench.pass(1);
        let begin = BeginOptions { pack_bytes: 100_000, ..bench.options() };
        let writer = bench.open().await.begin(begin).await.unwrap();
        write(&writer, &streams).await.unwrap();
        let one = committed(writer.commit(draft(&streams)).await.unwrap());
        assert!(bench.keys("data/").len() > 2);
        let store = empty(&bench);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let (from, to) = (bench.open().await, replica(&bench, faulty.clone()).await);
        let before = store.keys();
        faulty.on(Rule::new(Op::PutNew, Fault::Fail(kind)).under(under).nth(nth).always());
        let outcome = copy_between(&bench, &from, &to, &one).await;
        let found = outcome.as_ref().err().map(|error| matches!(error, Error::Begun { .. }));
        assert_eq!(found, is_begun, "{under} {nth} {kind:?}: {outcome:?}");
        if found == Some(false) {
            assert_eq!(store.keys(), before, "{under} {nth} {kind:?}");
        }
        faulty.heal();
        if is_begun.is_some() {
            copied(copy_between(&bench, &from, &to, &one).await.unwrap());
        }
        assert!(is_sound(&to).await);
    }
}
