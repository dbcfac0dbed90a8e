//! Encrypted repositories: what is stored, who reads it, and who does not.

use super::*;
use crate::{
    repository::{
        Error, FindingKind, Level, Scope, VerifyOptions,
        VerifyOutcome::{Damaged, Sound},
        backend::{Error as StoreError, ErrorKind, Fault, Faulty, Op, Rule},
        crypt::SigningKey,
        layout, verify,
    },
    types::Silent,
};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

fn streams() -> Vec<TestStream> {
    let words = "a secret of the kind that nobody else may read\n".repeat(3_000);
    vec![
        TestStream::new("secrets", MediaType::KubernetesObjects, &[("payments", words.as_bytes()), ("empty", b"")]),
        TestStream::new("public.orders", MediaType::Blob, &[("1", &noise(1, 9_000_000)), ("2", &noise(2, 3_000_000))]),
    ]
}

fn reading(identity: &Identity) -> Access {
    Access { identities: vec![identity.clone()], ..Access::default() }
}

async fn opened(bench: &Bench, access: Access) -> Repository {
    Repository::open(Arc::new(bench.store.clone())).await.unwrap().with_access(access)
}

async fn verified(
    repository: &Repository,
    stored: &StoredManifest,
    level: Level,
) -> Result<super::super::VerifyReport, Error> {
    let manifest = &stored.manifest;
    let name = (manifest.policy.clone(), manifest.schedule.clone(), manifest.backup.clone());
    verify(repository, &[name], &VerifyOptions::new(level), &Silent, &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_reads_back_with_a_recipients_identity_and_with_nothing_less() {
    let (bench, reader) = Bench::encrypted().await;
    let first = bench.backup(&streams()).await;
    assert_eq!(contents(&opened(&bench, reading(&reader)).await, &first).await, by_name(&streams()));
    // Nothing of the contents or of the names in them is in the store.
    for key in bench.store.keys() {
        let bytes = bench.store.get(&key, 1 << 24).await.unwrap();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!holds(b"nobody else") && !holds(b"public.orders"), "{key}");
        let age = key.as_str().starts_with("data/") || key.as_str().ends_with(".age");
        assert_eq!(bytes.starts_with(b"age-encryption.org/v1\n"), age, "{key}");
    }
    // Without keys, with another's, with what the cluster holds.
    let nothing = opened(&bench, Access::default()).await;
    assert!(matches!(nothing.read(&first.manifest).await, Err(Error::NoKeys { .. })));
    let stranger = opened(&bench, reading(&Identity::generate())).await;
    assert!(matches!(stranger.read(&first.manifest).await, Err(Error::NotARecipient { files: 1, .. })));
    let cluster = bench.open().await;
    assert!(matches!(cluster.read_contents(&first.manifest).await, Err(Error::NoKeys { .. })));
    let lists = cluster.read(&first.manifest).await.unwrap();
    assert_eq!(lists.streams().len(), 2);
    let part = lists.read_part(&lists.streams()[0], 0).await.unwrap().try_collect::<Vec<Bytes>>().await;
    assert!(part.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_holds_opens_no_pack_and_no_key_file() {
    let (bench, _) = Bench::encrypted().await;
    bench.backup(&streams()).await;
    let held = [bench.access.index_identity.clone().unwrap()];
    // The id key is 32 bytes as a secret key of age is: it opens nothing either.
    let opens = |bytes: &[u8]| super::super::crypt::opens(bytes, &held);
    let mut counts = [0, 0];
    for key in bench.store.keys() {
        let bytes = bench.store.get(&key, 1 << 24).await.unwrap();
        if key.as_str().starts_with("data/") || key.as_str().starts_with("keys/") {
            assert!(!opens(&bytes), "{key}");
            counts[0] += 1;
        } else if key.as_str().ends_with(".age") {
            assert!(opens(&bytes), "{key}");
            counts[1] += 1;
        }
    }
    assert!(counts[0] >= 3 && counts[1] >= 2, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_backup_shares_what_its_parent_holds_with_the_keys_of_the_cluster_alone() {
    let (bench, reader) = Bench::encrypted().await;
    bench.backup(&streams()).await;
    let mut changed = streams();
    changed[1].parts[1].1 = noise(3, 1_000_000);
    let second = bench.backup(&changed).await;
    let totals = second.manifest.totals;
    assert!(totals.reused_bytes > 9_000_000 && totals.new_bytes < 1_200_000, "{totals:?}");
    let repository = opened(&bench, reading(&reader)).await;
    assert_eq!(contents(&repository, &second).await, by_name(&changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_died_is_resumed_with_the_keys_of_the_cluster_alone() {
    let (bench, reader) = Bench::encrypted().await;
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    write(&writer, &streams()).await.unwrap();
    writer.checkpoint().await.unwrap();
    drop(writer);
    let second = bench.backup(&streams()).await;
    assert_eq!(second.manifest.totals.new_packs, 0, "{:?}", second.manifest.totals);
    assert_eq!(contents(&opened(&bench, reading(&reader)).await, &second).await, by_name(&streams()));
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_and_stored_need_no_key_and_content_does() {
    let (bench, reader) = Bench::encrypted().await;
    let first = bench.backup(&streams()).await;
    let (nobody, recipient) = (opened(&bench, Access::default()).await, opened(&bench, reading(&reader)).await);
    for level in [Level::Presence, Level::Stored] {
        let report = verified(&nobody, &first, level).await.unwrap();
        assert!(report.finds_nothing() && !report.is_sound() && report.notes.len() == 1, "{report:?}");
        let report = verified(&bench.open().await, &first, level).await.unwrap();
        assert!(report.is_sound() && report.notes.is_empty() && report.streams == 2, "{report:?}");
    }
    for without in [nobody, bench.open().await] {
        assert!(matches!(verified(&without, &first, Level::Content).await, Err(Error::NoKeys { .. })));
    }
    let report = verified(&recipient, &first, Level::Content).await.unwrap();
    assert!(report.is_sound() && report.parts == 4, "{report:?}");
    // A changed byte of a pack is found without a key, and with one.
    let pack = bench.store.keys().into_iter().find(|key| key.as_str().starts_with("data/")).unwrap();
    let mut bytes = bench.store.get(&pack, 1 << 24).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.store.overwrite(&pack, Bytes::from(bytes));
    for (access, level) in [(Access::default(), Level::Stored), (reading(&reader), Level::Content)] {
        let report = verified(&opened(&bench, access).await, &first, level).await.unwrap();
        assert!(report.has_damage(), "{level:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_shares_nothing_with_the_old_one_and_both_are_read() {
    let (mut bench, reader) = Bench::encrypted().await;
    let first = bench.backup(&streams()).await;
    let (epoch, second_reader) = (Epoch::generate(), Identity::generate());
    let repository = bench.open().await;
    repository.put_key_file(&epoch, &[second_reader.recipient()], bench.clock.now()).await.unwrap();
    bench.access = of_cluster(&epoch);
    let second = bench.backup(&streams()).await;
    assert_eq!((second.manifest.totals.reused_bytes, second.manifest.parents.len()), (0, 0));
    assert_eq!(second.manifest.previous.as_ref().map(|previous| &previous.id), Some(&first.manifest.backup));
    // Who was removed reads what there was, and nothing new.
    let removed = opened(&bench, reading(&reader)).await;
    assert_eq!(contents(&removed, &first).await, by_name(&streams()));
    assert!(matches!(removed.read(&second.manifest).await, Err(Error::NotARecipient { .. })));
    let both = Access { identities: vec![reader, second_reader], ..Access::default() };
    let both = opened(&bench, both).await;
    for stored in [&first, &second] {
        assert_eq!(contents(&both, stored).await, by_name(&streams()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_the_repository_does_not_have_is_refused_before_anything_is_written() {
    let (mut bench, reader) = Bench::encrypted().await;
    let before = bench.store.keys();
    let good = std::mem::replace(&mut bench.access, of_cluster(&Epoch::generate()));
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::UnknownEpoch { .. })), "{refused:?}");
    bench.access = reading(&reader);
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::NoEpochPinned { .. })), "{refused:?}");
    bench.access = Access { epoch: good.epoch.clone(), ..Access::default() };
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::NoKeysToWrite { .. })), "{refused:?}");
    assert_eq!(bench.store.keys(), before);
    bench.access = good;
    bench.backup(&small(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_pins_with_the_old_keys_of_a_cluster_are_refused_before_anything_is_written() {
    let (mut bench, _) = Bench::encrypted().await;
    bench.backup(&small(1)).await;
    let old = bench.access.clone();
    let epoch = Epoch::generate();
    let repository = bench.open().await;
    repository.put_key_file(&epoch, &[Identity::generate().recipient()], bench.clock.now()).await.unwrap();
    let before = bench.store.keys();
    bench.access = Access { epoch: Some(epoch.name()), ..old.clone() };
    let refused = bench.open().await.begin(bench.options()).await;
    let Err(error @ Error::IdKeyOfOtherEpoch { .. }) = refused else { panic!("{refused:?}") };
    let message = error.to_string();
    let named = |epoch: &crate::repository::crypt::Recipient| message.contains(&epoch.to_string());
    assert!(named(&epoch.name()) && named(old.epoch.as_ref().unwrap()), "{message}");
    // With the old epoch, the index identity of the new one.
    bench.access = Access { index_identity: Some(epoch.index_identity.clone()), ..old.clone() };
    bench.pass(1);
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::IndexIdentityOfOther { .. })), "{refused:?}");
    let told = bench.open().await.check_held_index_identity(&name("orders")).await;
    assert!(matches!(told, Err(Error::IndexIdentityOfOther { .. })), "{told:?}");
    assert_eq!(bench.store.keys(), before);
    for access in [of_cluster(&epoch), old] {
        bench.access = access;
        bench.open().await.check_held_index_identity(&name("orders")).await.unwrap();
        bench.backup(&small(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_put_in_the_place_of_a_parents_keeps_no_backup_from_being_made() {
    let (bench, _) = Bench::encrypted().await;
    let first = bench.backup(&small(1)).await;
    let (other, _) = Bench::encrypted().await;
    let theirs = other.backup(&small(1)).await;
    let list = |stored: &StoredManifest| layout::streams(&stored.manifest.backup, true);
    let bytes = other.store.get(&list(&theirs), 1 << 24).await.unwrap();
    bench.store.overwrite(&list(&first), bytes);
    bench.backup(&small(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_files_no_backup_is_made_and_a_keyless_verify_says_it() {
    let (bench, _) = Bench::encrypted().await;
    let stored = bench.backup(&small(1)).await;
    let nobody = opened(&bench, Access::default()).await;
    assert!(verified(&nobody, &stored, Level::Presence).await.unwrap().finds_nothing());
    let key = bench.store.keys().into_iter().find(|key| key.as_str().starts_with("keys/")).unwrap();
    let good = bench.store.get(&key, 1 << 16).await.unwrap();
    bench.store.overwrite(&key, Bytes::from_static(b"not an age file"));
    let report = verified(&nobody, &stored, Level::Presence).await.unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!((report.findings[0].object.as_str(), report.findings[0].kind), (key.as_str(), FindingKind::Damaged));
    bench.store.delete(&key).await.unwrap();
    let report = verified(&nobody, &stored, Level::Presence).await.unwrap();
    assert_eq!((report.findings[0].object.as_str(), report.findings[0].kind), (key.as_str(), FindingKind::Missing));
    assert!(report.has_damage());
    let before = bench.store.keys();
    bench.pass(1);
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::UnknownEpoch { .. })), "{refused:?}");
    assert_eq!(bench.store.keys(), before);
    put(&bench, &key, good).await;
    bench.backup(&small(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verify_without_a_key_clears_no_damage_that_was_found_with_one() {
    let (bench, reader) = Bench::encrypted().await;
    let stored = bench.backup(&small(1)).await;
    let index = bench.store.keys().into_iter().find(|key| key.as_str().contains("/index-")).unwrap();
    let good = bench.store.get(&index, 1 << 24).await.unwrap();
    bench.store.delete(&index).await.unwrap();
    let (nobody, recipient) = (opened(&bench, Access::default()).await, opened(&bench, reading(&reader)).await);
    let look = async |repository: &Repository| {
        bench.pass(1);
        let report = verified(repository, &stored, Level::Presence).await.unwrap();
        let options = VerifyOptions::new(Level::Presence);
        repository.note_verified(&report, &options, bench.clock.now()).await.unwrap();
        let told = repository.verified(&Scope::All).await.unwrap();
        let told = told.into_values().flatten().map(|verified| verified.outcome.as_str()).collect::<Vec<_>>();
        (report.is_sound(), told)
    };
    assert_eq!(look(&recipient).await, (false, vec!["damaged"]));
    assert_eq!(look(&nobody).await, (false, vec!["unfinished", "damaged"]));
    put(&bench, &index, good).await;
    assert_eq!(look(&nobody).await, (false, vec!["unfinished", "damaged"]));
    assert_eq!(look(&recipient).await, (true, vec!["sound"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_of_another_repository_is_named_and_the_right_one_beside_it_is_used() {
    let (bench, reader) = Bench::encrypted().await;
    let stored = bench.backup(&small(1)).await;
    let (other, _) = Bench::encrypted().await;
    let theirs = other.store.keys().into_iter().find(|key| key.as_str().starts_with("keys/")).unwrap();
    let here = bench.store.keys().into_iter().find(|key| key.as_str().starts_with("keys/")).unwrap();
    // Made for our reader and our epoch's name, in another repository.
    let epoch = bench.access.epoch.clone().unwrap();
    let foreign = Epoch::generate();
    let elsewhere = other.open().await;
    elsewhere.put_key_file(&foreign, &[reader.recipient()], bench.clock.now()).await.unwrap();
    let foreign = layout::key_file(&foreign.name().to_string(), 1);
    let foreign = other.store.get(&foreign, 1 << 16).await.unwrap();
    put(&bench, &layout::key_file(&epoch.to_string(), 2), foreign.clone()).await;
    put(&bench, &layout::key_file(&epoch.to_string(), 3), other.store.get(&theirs, 1 << 16).await.unwrap()).await;
    let repository = opened(&bench, reading(&reader)).await;
    assert_eq!(contents(&repository, &stored).await, by_name(&small(1)));
    bench.store.overwrite(&here, foreign);
    let refused = repository.read(&stored.manifest).await;
    let Err(Error::ForeignKeyFile { .. }) = refused else { panic!("{refused:?}") };
    let files = repository.epoch_files().await.unwrap();
    assert!(files[0].files.iter().filter(|file| file.wrong.is_some()).count() == 2, "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_contradicts_itself_is_damage() {
    let (bench, _) = Bench::encrypted().await;
    let header = bench.open().await.header().clone();
    for mode in ["none", "later", "age"] {
        let mut header = header.clone();
        mode.clone_into(&mut header.encryption.mode);
        bench.store.overwrite(&layout::header(), super::super::control::encode(&header).unwrap());
        let opened = Repository::open(Arc::new(bench.store.clone())).await;
        assert_eq!(opened.is_ok(), mode == "age", "{opened:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_made_with_its_key_file_first_and_not_over_another() {
    let (epoch, reader) = (Epoch::generate(), Identity::generate().recipient());
    let memory = Memory::default();
    let failing = Faulty::new(Arc::new(memory.clone()));
    failing.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Unreachable)).under("repository.json").always());
    let clock = crate::types::SystemClock;
    let failed = Repository::init_encrypted(failing, &clock, &epoch, std::slice::from_ref(&reader)).await;
    assert!(matches!(failed, Err(Error::Store(StoreError { kind: ErrorKind::Unreachable, .. }))), "{failed:?}");
    assert_eq!(memory.keys().len(), 1, "only the key file, which opens nothing that exists");
    let again = || Repository::init_encrypted(Arc::new(memory.clone()), &clock, &epoch, std::slice::from_ref(&reader));
    let made = again().await.unwrap();
    assert!(made.is_encrypted());
    let there = memory.keys();
    assert!(matches!(again().await, Err(Error::AlreadyARepository { .. })));
    assert_eq!(memory.keys(), there);
}

/// A plain repository whose backups are signed.
async fn signed() -> (Bench, SigningKey) {
    let mut bench = Bench::new().await;
    let key = SigningKey::generate("drctl orders").unwrap();
    bench.access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    (bench, key)
}

fn manifest_key(stored: &StoredManifest) -> Key {
    layout::manifest(&stored.manifest.policy, &stored.manifest.schedule, &stored.manifest.backup)
}

async fn is_latest(bench: &Bench, stored: &StoredManifest) -> bool {
    let scope = Scope::Schedule(name("orders"), name("daily"));
    let newest = bench.open().await.newest_good(&scope).await.unwrap();
    newest.is_some_and(|newest| newest.sha256 == stored.sha256)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_backup_counts_and_one_that_is_not_never_does() {
    let (mut bench, key) = signed().await;
    let good = bench.backup(&small(1)).await;
    assert!(is_latest(&bench, &good).await);
    let own = std::mem::take(&mut bench.access);
    let unsigned = bench.backup(&small(2)).await;
    bench.access = Access { signing_key: Some(SigningKey::generate("other").unwrap()), ..Access::default() };
    let by_a_stranger = bench.backup(&small(3)).await;
    assert!(is_latest(&bench, &by_a_stranger).await, "who pins nobody asks nobody");
    bench.access = own;
    assert!(is_latest(&bench, &good).await);
    let repository = bench.open().await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    assert_eq!(entries.iter().map(super::super::BackupEntry::is_good).collect::<Vec<_>>(), [true, false, false]);
    for (stored, why) in
        [(&unsigned, "it is not signed"), (&by_a_stranger, "it is signed by a key that is not trusted")]
    {
        let found = repository.find(&Scope::All, stored.manifest.backup.as_str()).await.unwrap();
        let refused = found.refuse_unsigned(false).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        found.refuse_unsigned(true).unwrap();
    }
    // The next backup has nothing from them, and says so.
    bench.pass(1);
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    assert_eq!(writer.previous().map(|previous| previous.sha256), Some(good.sha256));
    let stats = writer.stats();
    assert_eq!(stats.parents, std::slice::from_ref(&good.manifest.backup));
    assert_eq!(stats.notes.iter().filter(|note| note.contains("does not count")).count(), 2, "{:?}", stats.notes);
    write(&writer, &small(4)).await.unwrap();
    let next = committed(writer.commit(draft(&small(4))).await.unwrap());
    assert!(is_latest(&bench, &next).await);
    // And a verification names them.
    for (stored, sound) in [(&next, true), (&unsigned, false), (&by_a_stranger, false)] {
        let report = verified(&bench.open().await, stored, Level::Presence).await.unwrap();
        assert_eq!(report.is_sound(), sound, "{report:?}");
    }
    drop(key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counts_for_its_own_manifest_and_place_alone() {
    let (bench, key) = signed().await;
    let first = bench.backup(&small(1)).await;
    let second = bench.backup(&small(2)).await;
    let store = &bench.store;
    let get = |key: Key| async move { store.get(&key, 1 << 20).await.unwrap() };
    let (old, new) = (manifest_key(&first), manifest_key(&second));
    let (bytes, signature) = (get(old.clone()).await, get(layout::signature(&old)).await);
    let copy = |store: Memory| Bench { clock: bench.clock.clone(), store, access: bench.access.clone() };
    // The first one's signature beside the second one's manifest.
    let swapped = copy(bench.store.copy());
    swapped.store.overwrite(&layout::signature(&new), signature.clone());
    assert!(is_latest(&swapped, &first).await);
    // The first backup once more, under the key of the second or of a later one.
    for backup in [second.manifest.backup.clone(), crate::types::BackupId::parse("20270101T000000Z-abcdef").unwrap()] {
        let replayed = copy(bench.store.copy());
        let key = layout::manifest(&name("orders"), &name("daily"), &backup);
        replayed.store.overwrite(&key, bytes.clone());
        replayed.store.overwrite(&layout::signature(&key), signature.clone());
        let latest = if backup == second.manifest.backup { &first } else { &second };
        assert!(is_latest(&replayed, latest).await);
    }
    // A manifest that was changed, under its old signature, and under one of the right key for another purpose.
    let mut manifest = second.manifest.clone();
    manifest.notes.push("forged".to_owned());
    let forged = super::super::control::encode(&manifest).unwrap();
    let other = key.sign(super::super::crypt::signature::EVIDENCE, &forged).unwrap();
    for signature in [None, Some(other)] {
        let changed = copy(bench.store.copy());
        changed.store.overwrite(&new, forged.clone());
        if let Some(signature) = signature {
            changed.store.overwrite(&layout::signature(&new), signature);
        }
        assert!(is_latest(&changed, &first).await);
    }
    assert!(is_latest(&bench, &second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_counts_if_one_of_the_signers_has_signed_what_its_key_says() {
    let (mut bench, _) = signed().await;
    let (one, two) = (bench.backup(&small(1)).await, bench.backup(&small(2)).await);
    let of = |stored: &StoredManifest| (stored.manifest.policy.clone(), stored.manifest.backup.clone());
    let at: jiff::Timestamp = "2026-11-21T13:05:09.5Z".parse().unwrap();
    let later = at + SignedDuration::from_hours(1);
    let note = async |bench: &Bench, stored, level, at| {
        let report = verified(&bench.open().await, stored, level).await.unwrap();
        bench.open().await.note_verified(&report, &VerifyOptions::new(level), at).await.unwrap();
    };
    note(&bench, &one, Level::Stored, at).await;
    let known = async |bench: &Bench| bench.open().await.verified(&Scope::All).await.unwrap();
    assert_eq!(known(&bench).await[&of(&one)].len(), 1);

    // One that nobody has signed is newer and says more. It counts for who pins nobody.
    let own = std::mem::take(&mut bench.access);
    note(&bench, &one, Level::Content, later).await;
    note(&bench, &one, Level::Stored, later).await;
    assert_eq!(known(&bench).await[&of(&one)].len(), 2);
    bench.access = own;
    let found = known(&bench).await;
    let at_level: Vec<_> = found[&of(&one)].iter().map(|one| (one.level, one.at.as_second())).collect();
    assert_eq!(at_level, [(Level::Stored, at.as_second())], "the older one that is signed");

    // A good report under another backup's key, as of another outcome, of another time, of another sample.
    let folder = format!("evidence/orders/{}/20261121T130509Z-verify-sound", one.manifest.backup);
    let (report, signature) = (format!("{folder}/stored.json"), format!("{folder}/stored.json.sig"));
    let read = async |key: &str| bench.store.get(&Key::new(key).unwrap(), 1 << 20).await.unwrap();
    let (report, signature) = (read(&report).await, read(&signature).await);
    for place in [
        "20261121T130509Z-verify-sound/stored.json",
        "20261121T130509Z-verify-damaged/stored.json",
        "20261121T150509Z-verify-sound/stored.json",
        "20261121T130509Z-verify-sound/content.json",
        "20261121T130509Z-verify-sound/stored-1-of-10-rest-3.json",
    ] {
        let backup = if place.starts_with("20261121T130509Z-verify-sound/stored.json") { &two } else { &one };
        let key = format!("evidence/orders/{}/{place}", backup.manifest.backup);
        put(&bench, &Key::new(&key).unwrap(), report.clone()).await;
        put(&bench, &Key::new(format!("{key}.sig")).unwrap(), signature.clone()).await;
    }
    assert_eq!(known(&bench).await, found, "a report was believed that says something else");

    // Damage that is signed stands beside forged damage of the same kind, until a signed look disproves it.
    let pack = bench.keys("data/").into_iter().next().unwrap();
    let bytes = bench.store.get(&Key::new(&pack).unwrap(), 1 << 24).await.unwrap();
    let mut flipped = bytes.to_vec();
    flipped[10] ^= 1;
    bench.store.overwrite(&Key::new(&pack).unwrap(), Bytes::from(flipped));
    note(&bench, &one, Level::Stored, later + SignedDuration::from_hours(1)).await;
    let forged = format!("evidence/orders/{}/20261122T130509Z-verify-damaged/stored.json", one.manifest.backup);
    put(&bench, &Key::new(&forged).unwrap(), Bytes::from_static(b"junk")).await;
    let outcomes = async || known(&bench).await[&of(&one)].iter().map(|one| one.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes().await, [Damaged, Sound]);
    bench.store.overwrite(&Key::new(&pack).unwrap(), bytes);
    note(&bench, &one, Level::Content, later + SignedDuration::from_hours(2)).await;
    assert_eq!(outcomes().await, [Sound, Sound]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accept_counts_only_if_it_is_signed() {
    let (mut bench, key) = signed().await;
    let suspect = async |bench: &Bench, seed| {
        bench.pass(1);
        let writer = bench.open().await.begin(bench.options()).await.unwrap();
        write(&writer, &small(seed)).await.unwrap();
        let draft = ManifestDraft { state: State::Suspect, ..draft(&small(seed)) };
        committed(writer.commit(draft).await.unwrap())
    };
    let stored = suspect(&bench, 1).await;
    let mark = layout::accept(&name("orders"), &stored.manifest.backup);

    // Without a key nothing is put; what somebody else has put, unsigned, accepts nothing.
    let signers = bench.access.signers.clone();
    bench.access = Access { signers: signers.clone(), ..Access::default() };
    let refused = bench.open().await.accept(&stored, &*bench.clock).await.unwrap_err();
    assert!(matches!(refused, Error::NoSigningKey { .. }), "{refused}");
    assert!(bench.keys("accepts/").is_empty());
    bench.access = Access::default();
    bench.open().await.accept(&stored, &*bench.clock).await.unwrap();
    assert!(is_latest(&bench, &stored).await, "who pins nobody asks nobody");
    bench.access = Access { signing_key: Some(key), signers, ..Access::default() };
    assert!(!is_latest(&bench, &stored).await);

    // Accepted once more, it is signed.
    let outcome = bench.open().await.accept(&stored, &*bench.clock).await.unwrap();
    assert_eq!(outcome, crate::repository::AcceptOutcome::AlreadyAccepted);
    assert!(is_latest(&bench, &stored).await);
    let next = suspect(&bench, 2).await;
    let outcome = bench.open().await.accept(&next, &*bench.clock).await.unwrap();
    assert_eq!(outcome, crate::repository::AcceptOutcome::Accepted);
    assert!(is_latest(&bench, &next).await);
    // A manifest's signature is no accept's.
    let other = layout::signature(&manifest_key(&stored));
    let other = bench.store.get(&other, 1 << 20).await.unwrap();
    bench.store.overwrite(&layout::signature(&layout::accept(&name("orders"), &next.manifest.backup)), other);
    assert!(is_latest(&bench, &stored).await, "the earlier one is the newest that counts");
    assert!(bench.keys("accepts/").contains(&format!("{mark}.sig")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_would_not_count_is_refused_before_anything_is_written() {
    let (mut bench, key) = signed().await;
    let before = bench.store.keys();
    bench.access.signing_key = None;
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::NoSigningKey { .. })), "{refused:?}");
    // Where no signers are pinned, a policy that names a key wants signatures all the same.
    let signers = std::mem::take(&mut bench.access.signers);
    bench.access.must_sign = true;
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::NoSigningKey { .. })), "{refused:?}");
    bench.access.signers = signers;
    bench.access.signing_key = Some(SigningKey::generate("other").unwrap());
    let refused = bench.open().await.begin(bench.options()).await;
    assert!(matches!(refused, Err(Error::SigningKeyNotPinned { .. })), "{refused:?}");
    assert_eq!(bench.store.keys(), before);
    bench.access.signing_key = Some(key);
    bench.backup(&small(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_among_the_key_files_stops_neither_a_restore_nor_a_new_recipient() {
    let (bench, reader) = Bench::encrypted().await;
    let first = bench.backup(&streams()).await;
    let epoch = bench.access.epoch.clone().unwrap();
    let good = layout::key_file(&epoch.to_string(), 1);
    let foreign = bench.store.get(&good, 1 << 16).await.unwrap().slice(..100);
    for number in (2..1_200).chain([999_999, u32::MAX - 1, u32::MAX]) {
        let junk = if number % 2 == 0 { Bytes::from_static(b"junk") } else { foreign.clone() };
        put(&bench, &layout::key_file(&epoch.to_string(), number), junk).await;
    }
    let repository = opened(&bench, reading(&reader)).await;
    assert_eq!(contents(&repository, &first).await, by_name(&streams()));
    // One recipient more, whose file is not the first.
    let second = Identity::generate();
    let (keys, mut recipients) = repository.open_keys(&epoch).await.unwrap();
    assert_eq!(recipients, [reader.recipient()]);
    recipients.push(second.recipient());
    let number = repository.put_key_file(&keys, &recipients, bench.clock.now()).await.unwrap();
    assert!(number > 1_199 && number < u32::MAX, "{number}");
    let theirs = opened(&bench, reading(&second)).await;
    assert_eq!(contents(&theirs, &first).await, by_name(&streams()));
    assert_eq!(theirs.open_keys(&epoch).await.unwrap().1, recipients);
    // And backups go on.
    bench.backup(&streams()).await;
    // The twin: without a good one it is said what is there.
    bench.store.delete(&good).await.unwrap();
    bench.store.delete(&layout::key_file(&epoch.to_string(), number)).await.unwrap();
    let nothing = opened(&bench, reading(&reader)).await.read(&first.manifest).await;
    assert!(nothing.as_ref().is_err_and(Error::is_damage), "{nothing:?}");
}
