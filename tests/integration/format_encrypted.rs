//! The encrypted and signed example of format 1, which every later version must read. Its keys are committed beside it, and
//! are for this one repository.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use drctl::{
    repository::{
        self, CommitOutcome, Level, Listed, Repository, Scope, VerifyOptions, VerifyOutcome,
        backend::{Backend, Directory, Memory},
        crypt::{Access, Epoch, Identity, Signature, Signer, SigningKey},
    },
    types::{Clock, Secret, SetClock, Silent, State},
};
use tokio_util::sync::CancellationToken;

use crate::format::{FIRST, SECOND, SUSPECT, begin, contents_of, draft, expected, streams, write};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/repositories").join(name)
}

const REPOSITORY: &str = "v1-encrypted";
const IDENTITY: &str = "v1-encrypted-test-keys/TEST-ONLY-identity.age";
const SIGNER: &str = "v1-encrypted-test-keys/TEST-ONLY-signer.pub";

/// Makes the example anew: `cargo test --test integration -- --ignored make_the_encrypted_example`. It is committed and
/// never made again, because later versions must read what this one wrote.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes tests/data/repositories/v1-encrypted, which is committed"]
async fn make_the_encrypted_example_repository() {
    assert!(!folder(REPOSITORY).exists(), "{} is there", folder(REPOSITORY).display());
    let clock = Arc::new(SetClock::new("2026-11-20T01:00:00Z".parse().unwrap()));
    let store = Memory::new(clock.clone());
    let (me, epoch, key) = (Identity::generate(), Epoch::generate(), SigningKey::generate("TEST ONLY").unwrap());
    let made = Repository::init_encrypted(Arc::new(store.clone()), &*clock, &epoch, &[me.recipient()]).await.unwrap();
    // What a cluster holds, and nothing more.
    let repository = made.with_access(Access {
        epoch: Some(epoch.name()),
        id_key: Some(epoch.held_id_key()),
        index_identity: Some(epoch.index_identity.clone()),
        signing_key: Some(key.clone()),
        signers: vec![key.signer()],
        ..Access::default()
    });
    for (backup, state) in [(FIRST, State::Complete), (SECOND, State::Partial), (SUSPECT, State::Suspect)] {
        let writer = begin(&repository, &clock, backup).await;
        for (source, stream, media_type, parts) in streams(backup) {
            write(&writer, source, stream, media_type, parts).await;
        }
        clock.set(clock.now() + jiff::SignedDuration::from_secs(10));
        let CommitOutcome::Committed(stored) = writer.commit(draft(backup, state)).await.unwrap() else {
            panic!("fenced")
        };
        if backup == SUSPECT {
            repository.accept(&stored, &*clock).await.unwrap();
        }
    }
    let (options, cancel) = (VerifyOptions::new(Level::Stored), CancellationToken::new());
    let report = repository::verify_all(&repository, &Scope::All, &options, &Silent, &cancel).await.unwrap();
    repository.note_verified(&report, &options, clock.now()).await.unwrap();
    for object in store.keys() {
        let path = folder(REPOSITORY).join(object.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, store.get(&object, u64::MAX).await.unwrap()).unwrap();
    }
    fs::create_dir_all(folder(IDENTITY).parent().unwrap()).unwrap();
    let note = "# TEST ONLY: it opens the repository v1-encrypted beside it, and nothing else.";
    fs::write(folder(IDENTITY), format!("{note}\n{}\n", me.expose().expose())).unwrap();
    fs::write(folder(SIGNER), format!("{}\n", key.signer())).unwrap();
}

/// The example as it is committed, in a folder of its own, with these keys.
async fn example(access: Access) -> (tempfile::TempDir, Repository) {
    let copy = tempfile::tempdir().unwrap();
    let mut folders = vec![folder(REPOSITORY)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let to = copy.path().join(path.strip_prefix(folder(REPOSITORY)).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
    }
    let store = Directory::open(copy.path()).await.unwrap();
    let repository = Repository::open(Arc::new(store)).await.unwrap().with_access(access);
    (copy, repository)
}

fn access(identity: bool) -> Access {
    let text = |name| fs::read_to_string(folder(name)).unwrap();
    let identities = match identity {
        true => Identity::parse_file(&Secret::new(text(IDENTITY))).unwrap(),
        false => Vec::new(),
    };
    Access { identities, signers: vec![Signer::parse(&text(SIGNER)).unwrap()], ..Access::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_encrypted_example_repository_of_format_1_is_read() {
    let (_copy, repository) = example(access(true)).await;
    let entries = repository.backups(&Scope::All).await.unwrap();
    let listed: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.listed {
            Listed::Backup(found) => {
                (entry.backup.as_str(), found.state.as_str(), found.accepted, found.signature.clone())
            }
            other => panic!("{}: {other:?}", entry.key),
        })
        .collect();
    let good = || Signature::Good;
    let complete = (FIRST, "complete", false, good());
    assert_eq!(listed, [complete, (SECOND, "partial", false, good()), (SUSPECT, "suspect", true, good())]);
    for backup in [FIRST, SECOND, SUSPECT] {
        let stored = repository.find(&Scope::All, backup).await.unwrap();
        assert_eq!(contents_of(&repository, &stored).await, expected(backup), "{backup}");
    }
    let verified = repository.verified(&Scope::All).await.unwrap();
    assert_eq!(verified.len(), 3, "the evidence is signed");
    assert!(verified.values().flatten().all(|one| one.outcome == VerifyOutcome::Sound && one.level == Level::Stored));
    let (options, cancel) = (VerifyOptions::new(Level::Content), CancellationToken::new());
    let report = repository::verify_all(&repository, &Scope::All, &options, &Silent, &cancel).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);

    // Without the key it is listed, and not read.
    let (_copy, closed) = example(access(false)).await;
    let stored = closed.find(&Scope::All, FIRST).await.unwrap();
    let refused = closed.read(&stored.manifest).await.err().unwrap();
    assert!(matches!(refused, repository::Error::NoKeys { .. }), "{refused}");
    // To one who believes another signer it holds nothing that counts.
    let other = SigningKey::generate("another").unwrap().signer();
    let (_copy, strange) = example(Access { signers: vec![other], ..access(true) }).await;
    assert!(strange.backups(&Scope::All).await.unwrap().iter().all(|entry| !entry.is_good()));
    assert!(strange.verified(&Scope::All).await.unwrap().is_empty());
}
