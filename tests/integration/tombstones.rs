//! Tombstones that were signed for one place of a repository, put into another.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use drctl::{
    repository::{
        BeginOptions, CommitOutcome, Repository,
        backend::{Backend, Directory},
        crypt::{Access, SigningKey},
    },
    types::{BackupId, Name, State, SystemClock},
};

use crate::{
    format::{FIRST, draft},
    support::program::{Ended, drctl},
};

const REFUSED: &str = "its tombstone does not count: it was signed for another place of this repository";

/// Two places of a repository whose signer is pinned: `prod`, and its copy `us`.
struct Places {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Places {
    async fn new() -> Self {
        let places = Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate("test").unwrap() };
        let (prod, us) = (places.path("prod"), places.path("us"));
        let policy = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\n\
             repository: {{url: \"file://{}\", encryption: none, signers: [\"{}\"]}}\n\
             copies: {{us: {{url: \"file://{}\"}}}}\n\
             sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
             schedules: {{daily: {{cron: \"0 2 * * *\", sources: [services]}}}}\n",
            prod.display(),
            places.key.signer(),
            us.display()
        );
        fs::write(places.path("policy.yaml"), policy).unwrap();
        let backend: Arc<dyn Backend> = Arc::new(Directory::make(&prod).await.unwrap());
        Repository::init(backend, &SystemClock).await.unwrap();
        // Copies are not made in the second in which their repository is.
        set_back(&prod.join("repository.json"), 1);
        places
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn backup(&self, minutes: i64) -> BackupId {
        let backend: Arc<dyn Backend> = Arc::new(Directory::open(&self.path("prod")).await.unwrap());
        let access =
            Access { signing_key: Some(self.key.clone()), signers: vec![self.key.signer()], ..Access::default() };
        let repository = Repository::open(backend).await.unwrap().with_access(access);
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        let name = |text: &str| Name::new(text).unwrap();
        let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], Arc::new(SystemClock));
        let begun = repository.begin(BeginOptions { backup: BackupId::new(time), ..options }).await;
        let outcome = begun.unwrap().commit(draft(FIRST, State::Complete)).await.unwrap();
        let CommitOutcome::Committed(stored) = outcome else { panic!("fenced") };
        stored.manifest.backup
    }

    fn ends(&self, code: i32, words: &[&str]) -> Ended {
        let mut command = drctl(words);
        command.arg("-f").arg(self.path("policy.yaml"));
        command.env("DRCTL_SIGNING_KEY", self.key.expose().unwrap().expose());
        let ended: Ended = command.output().unwrap().into();
        assert_eq!(ended.code, code, "{words:?}: {ended:?}");
        ended
    }

    fn tombstone(&self, place: &str, backup: &BackupId) -> PathBuf {
        self.path(place).join(format!("tombstones/orders/{backup}.json"))
    }

    fn has(&self, place: &str, backup: &BackupId) -> bool {
        self.path(place).join(format!("backups/orders/daily/{backup}.json")).exists()
    }
}

fn set_back(file: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs::File::open(file).unwrap().set_modified(then).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_of_another_place_is_named_and_deletes_nothing_and_in_its_own_place_it_deletes() {
    for (of, into) in [("us", "prod"), ("prod", "us")] {
        let places = Places::new().await;
        let first = places.backup(9).await;
        places.backup(6).await;
        places.ends(0, &["copy", "--to", "us"]);
        let flag = |place: &str| if place == "us" { &["--copy", "us"][..] } else { &[] };
        let in_place = |code, words: &[&str], place: &str| places.ends(code, &[words, flag(place)].concat());
        in_place(0, &["delete", first.as_str(), "--yes"], of);
        let (signed, planted) = (places.tombstone(of, &first), places.tombstone(into, &first));
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        fs::copy(&signed, &planted).unwrap();
        // A day passes.
        for file in [&signed, &planted] {
            set_back(file, 25);
        }

        let listed = in_place(0, &["list"], into);
        assert!(listed.stderr.contains(REFUSED) || listed.stdout.contains(REFUSED), "{listed:?}");
        for words in [&["prune", "--dry-run", "-o", "json"][..], &["prune", "--yes", "-o", "json"]] {
            let pruned = in_place(0, words, into);
            assert!(pruned.stdout.contains(&format!("{REFUSED}; `prune --undo` takes it away")), "{pruned:?}");
            assert!(!pruned.stdout.contains("\"action\": \"delete\""), "{pruned:?}");
        }
        assert!(places.has(into, &first), "{into}");
        in_place(0, &["verify", first.as_str(), "--level", "content", "--no-evidence"], into);
        // Where there is no room for one of its own, it says so.
        let refused = in_place(5, &["delete", first.as_str(), "--yes"], into);
        assert!(refused.stderr.contains("it was signed for another place of this repository"), "{refused:?}");
        in_place(0, &["prune", "--undo", first.as_str()], into);
        assert!(!planted.exists());

        // The twin: where it was signed.
        let pruned = in_place(0, &["prune", "--yes", "-o", "json"], of);
        assert!(pruned.stdout.contains("\"action\": \"delete\"") && !pruned.stdout.contains(REFUSED), "{pruned:?}");
        assert!(!places.has(of, &first), "{of}");
    }
}
