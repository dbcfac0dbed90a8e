//! Evidence where signers are pinned: what it costs to believe it, and that it says nothing of another place.

use super::{copy::empty, *};
use crate::{
    repository::{
        Error, Level, Scope, VerifyOptions,
        backend::{Op, Recording},
        control,
        crypt::{SigningKey, signature},
        layout, verify_all,
    },
    types::{BackupId, Sha256Digest, Silent},
};

async fn signed() -> (Bench, SigningKey) {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    (bench, key)
}

/// Verifies all of a place, and notes it there.
async fn note(repository: &Repository, at: jiff::Timestamp) {
    let options = VerifyOptions::new(Level::Presence);
    let cancel = tokio_util::sync::CancellationToken::new();
    let report = verify_all(repository, &Scope::All, &options, &Silent, &cancel).await.unwrap();
    repository.note_verified(&report, &options, at).await.unwrap();
}

async fn known(repository: &Repository) -> usize {
    repository.verified(&Scope::All).await.unwrap().len()
}

/// Moves all evidence of a store into another one.
async fn carry(from: &Memory, to: &Memory) {
    for key in from.keys().into_iter().filter(|key| key.as_str().starts_with("evidence/")) {
        let bytes = from.get(&key, 1 << 20).await.unwrap();
        to.put_new(&key, bytes).await.unwrap();
        from.delete(&key).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_one_place_says_nothing_of_another() {
    // The bench was made at the same time as its copy where it is 0 seconds: then both are one place, as far as can be told.
    for (seconds, counts) in [(3_600, false), (-3_600, false), (2, false), (1, true), (0, true)] {
        let (bench, _) = signed().await;
        let made = bench.clock.now();
        let one = bench.backup(&small(1)).await;
        let (now, store) = (bench.clock.now(), empty(&bench));
        bench.clock.set(made + jiff::SignedDuration::from_secs(seconds));
        super::copy::replica(&bench, Arc::new(store.clone())).await;
        bench.clock.set(now);
        super::copy::copy_to(&bench, Arc::new(store.clone()), &one).await.unwrap();
        let (original, copy) = (bench.open().await, bench.open_on(Arc::new(store.clone())).await);

        note(&copy, now).await;
        assert_eq!((known(&copy).await, known(&original).await), (1, 0), "{seconds}: each has its own");
        carry(&store, &bench.store).await;
        assert_eq!(known(&original).await, usize::from(counts), "{seconds}: of the copy, put into the original");
        carry(&bench.store, &store).await;
        assert_eq!(known(&copy).await, 1, "{seconds}: the twin: where it was made");

        carry(&store, &empty(&bench)).await;
        note(&original, now).await;
        assert_eq!(known(&original).await, 1, "{seconds}");
        carry(&bench.store, &store).await;
        assert_eq!(known(&copy).await, usize::from(counts), "{seconds}: of the original, put into the copy");
        // Who pins nobody believes the keys.
        assert_eq!(known(&Repository::open(Arc::new(store)).await.unwrap()).await, 1);
    }
}

/// A control object whose fields were changed.
fn changed(bytes: &Bytes, change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> Bytes {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let mut fields = serde_json::from_slice(line).unwrap();
    change(&mut fields);
    fields.remove("drctl");
    let rest = serde_json::to_string(&fields).unwrap();
    let line = format!("{{\"drctl\":\"evidence\",{}\n", &rest[1..]);
    format!("{line}{}\n", Sha256Digest::of(line.as_bytes())).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_listing_tells_of_a_report_is_signed_within_it_and_older_reports_beside_them() {
    let (bench, key) = signed().await;
    bench.backup(&small(1)).await;
    note(&bench.open().await, bench.clock.now()).await;
    let keys = bench.keys("evidence/");
    let [report, beside] = &keys[..] else { panic!("{keys:?}") };
    let (report, beside) = (Key::new(report.as_str()).unwrap(), Key::new(beside.as_str()).unwrap());
    let honest = bench.store.get(&report, 1 << 20).await.unwrap();
    control::kind(&honest).unwrap();

    let later = |fields: &mut serde_json::Map<String, serde_json::Value>| {
        fields.insert("place".to_owned(), "2026-11-20T02:00:01Z".into());
    };
    let bare = |fields: &mut serde_json::Map<String, serde_json::Value>| {
        fields.remove("place");
        fields.remove("signature");
    };
    let no_place = |fields: &mut serde_json::Map<String, serde_json::Value>| drop(fields.remove("place"));
    let other_tool = |fields: &mut serde_json::Map<String, serde_json::Value>| {
        fields.insert("tool".to_owned(), "another".into());
    };
    let elsewhere = |fields: &mut serde_json::Map<String, serde_json::Value>| {
        fields.remove("signature");
        fields.insert("place".to_owned(), "2026-11-21T02:00:00Z".into());
    };
    let cases: [(&str, Bytes, bool, bool); 8] = [
        ("as it was put", honest.clone(), false, true),
        ("another place", changed(&honest, later), false, false),
        ("another place, and signed beside it all the same", changed(&honest, later), true, false),
        ("no place", changed(&honest, no_place), true, false),
        ("not signed", changed(&honest, bare), false, false),
        ("as earlier versions signed it", changed(&honest, bare), true, true),
        ("signed beside it for another place", changed(&honest, elsewhere), true, false),
        ("what no listing tells", changed(&honest, other_tool), false, true),
    ];
    for (case, bytes, is_signed, counts) in cases {
        bench.store.overwrite(&report, bytes.clone());
        bench.store.delete(&beside).await.unwrap();
        if is_signed {
            put(&bench, &beside, key.sign(signature::EVIDENCE, &bytes).unwrap()).await;
        }
        assert_eq!(known(&bench.open().await).await, usize::from(counts), "{case}");
    }
    // A signature for one purpose is none for the other.
    let swapped = changed(&honest, |fields| {
        let signed = key.sign(signature::EVIDENCE, &honest).unwrap();
        fields.insert("signature".to_owned(), signed.into());
    });
    bench.store.overwrite(&report, swapped);
    assert_eq!(known(&bench.open().await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_counts_under_the_second_that_it_is_signed_for_alone() {
    let (bench, key) = signed().await;
    let backup = bench.backup(&small(1)).await.manifest.backup;
    let at: jiff::Timestamp = "2026-11-20T05:00:00.75Z".parse().unwrap();
    // Two of one second: the later one takes the next, and both count.
    for verifications in 1..=2 {
        note(&bench.open().await, at).await;
        let keys = bench.keys("evidence/");
        assert_eq!(keys.len(), 2 * verifications, "{keys:?}");
    }
    let under = |second: u64| {
        Key::new(format!("evidence/orders/{backup}/20261120T05000{second}Z-verify-sound/presence.json")).unwrap()
    };
    let honest = bench.store.get(&under(0), 1 << 20).await.unwrap();
    let newest = async || {
        let verified = bench.open().await.verified(&Scope::All).await.unwrap();
        verified.into_values().next().map(|told| told[0].at.to_string())
    };
    assert_eq!(newest().await.as_deref(), Some("2026-11-20T05:00:01Z"));
    for key in bench.keys("evidence/") {
        bench.store.delete(&Key::new(key).unwrap()).await.unwrap();
    }
    // The twin comes first: under its own.
    for (second, counts) in [(0, true), (1, false), (4, false), (5, false)] {
        put(&bench, &under(second), honest.clone()).await;
        assert_eq!(newest().await.is_some(), counts, "{second}");
        bench.store.delete(&under(second)).await.unwrap();
    }
    // As earlier versions signed it: beside it, and one time for all the keys that they tried.
    let bare = changed(&honest, |fields| {
        fields.remove("place");
        fields.remove("signature");
    });
    for (second, counts) in [(0, true), (4, true), (5, false)] {
        put(&bench, &under(second), bare.clone()).await;
        put(&bench, &layout::signature(&under(second)), key.sign(signature::EVIDENCE, &bare).unwrap()).await;
        assert_eq!(newest().await.is_some(), counts, "{second}");
        for key in bench.keys("evidence/") {
            bench.store.delete(&Key::new(key).unwrap()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_reads_each_report_of_a_verification_once_and_asks_for_the_place_once() {
    const BACKUPS: usize = 100;
    let (bench, _) = signed().await;
    for _ in 0..BACKUPS {
        bench.backup(&small(1)).await;
    }
    note(&bench.open().await, bench.clock.now()).await;
    assert_eq!(bench.keys("evidence/").len(), 2 * BACKUPS, "the report, and the signature of all of it");
    let store = Recording::new(Arc::new(bench.store.clone()));
    let repository = bench.open_on(store.clone()).await;
    store.clear();
    let (entries, verified) = (repository.backups(&Scope::All).await.unwrap(), known(&repository).await);
    assert_eq!((entries.len(), verified), (BACKUPS, BACKUPS));
    // It was 404: two for each report, and no place.
    let calls = store.calls().len();
    eprintln!("listing {BACKUPS} backups with signed evidence: {calls} requests");
    assert_eq!(store.count(Op::Get, "backups/"), 2 * BACKUPS);
    assert_eq!(store.count(Op::Get, "evidence/"), BACKUPS);
    assert_eq!(store.count(Op::Head, ""), 1);
    assert_eq!(store.count(Op::List, ""), 4, "manifests, tombstones, accept marks, evidence");
    assert_eq!(calls, 3 * BACKUPS + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn verifications_are_told_alike_however_few_are_held_at_once_and_too_many_of_one_backup_are_named() {
    let (bench, _) = signed().await;
    for seed in 0..5 {
        bench.backup(&small(seed)).await;
    }
    for _ in 0..3 {
        bench.pass(1);
        note(&bench.open().await, bench.clock.now()).await;
    }
    let repository = bench.open().await;
    let all = repository.verified(&Scope::All).await.unwrap();
    assert_eq!(all.len(), 5);
    for most in [1, 4, 100] {
        assert_eq!(repository.verified_and_signed(&Scope::All, (most, 3)).await.unwrap(), all, "{most}");
    }
    let error = repository.verified_and_signed(&Scope::All, (1, 2)).await.unwrap_err();
    let Error::TooMuchEvidence { folder, limit: 2, .. } = &error else { panic!("{error}") };
    assert!(folder.starts_with("evidence/orders/2026"), "{folder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_proves_a_backup_in_its_own_place_alone() {
    let (bench, key) = signed().await;
    let id: BackupId = bench.backup(&small(1)).await.manifest.backup;
    let repository = bench.open().await;
    let own = format!("\"repository\":\"{}\",", repository.header().id);
    let here = "\"place\":\"2026-11-20T02:00:00Z\",";
    let cases = [
        (own.clone(), here, true),
        (own.clone(), "\"place\":\"2026-11-20T03:00:00Z\",", false),
        (own.clone(), "", false),
        (String::new(), here, false),
        ("\"repository\":\"00000000000000000000000000000000\",".to_owned(), here, false),
    ];
    for (said, place, proves) in cases {
        let line = format!(
            "{{\"drctl\":\"evidence\",{said}{place}\"policy\":\"orders\",\"backup\":\"{id}\",\"outcome\":\"passed\"}}\n"
        );
        let bytes = Bytes::from(format!("{line}{}\n", Sha256Digest::of(line.as_bytes())));
        let report = Key::new(format!("evidence/orders/{id}/20261121T050000Z-drill-passed/report.json")).unwrap();
        put(&bench, &report, bytes.clone()).await;
        put(&bench, &layout::signature(&report), key.sign(signature::EVIDENCE, &bytes).unwrap()).await;
        assert_eq!(bench.open().await.proven(&name("orders")).await.unwrap().contains(&id), proves, "{said}{place}");
        bench.store.delete(&report).await.unwrap();
        bench.store.delete(&layout::signature(&report)).await.unwrap();
    }
}
