//! Retention and prune: the program on a local repository, and the protocol on the bed's servers.

use std::{
    collections::HashMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use drctl::{
    repository::{
        BeginOptions, CommitOutcome, Level, ManifestDraft, PruneOptions, Pruned, Repository, Scope, VerifyOptions,
        backend::{Azure, Backend, Directory, Error, Key, Listing, ObjectMeta, Op, PutOutcome, Recording, S3},
        verify_all,
    },
    types::{BackupId, CaptureSink, Clock, MediaType, Name, PartSummary, Silent, State, StreamSpec, SystemClock},
};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    backends::options,
    inspect::fits,
    support::{
        azure,
        bed::{self, require},
        program::{Ended, run_in},
    },
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A store, and a clock, in which days pass at once: what was put before is as much older.
#[derive(Debug, Clone)]
pub(crate) struct Days {
    inner: Arc<dyn Backend>,
    passed: Arc<Mutex<SignedDuration>>,
    put: Arc<Mutex<HashMap<String, SignedDuration>>>,
}

impl Days {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, passed: Arc::default(), put: Arc::default() }
    }

    /// Another store, in which the same days pass.
    pub(crate) fn beside(&self, inner: Arc<dyn Backend>) -> Self {
        Self { inner, passed: Arc::clone(&self.passed), put: Arc::default() }
    }

    pub(crate) fn pass(&self, hours: i64) {
        *self.passed.lock().unwrap() += SignedDuration::from_hours(hours);
    }

    fn passed(&self) -> SignedDuration {
        *self.passed.lock().unwrap()
    }

    fn shown(&self, meta: ObjectMeta) -> ObjectMeta {
        let then = self.put.lock().unwrap().get(meta.key.as_str()).copied().unwrap_or_default();
        ObjectMeta { modified: meta.modified + then, ..meta }
    }
}

impl Clock for Days {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.passed()
    }
}

#[async_trait]
impl Backend for Days {
    fn location(&self) -> &str {
        self.inner.location()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        // Before it is there: who lists it at once must not take it for old. A key is put once.
        self.put.lock().unwrap().entry(key.to_string()).or_insert(self.passed());
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        self.inner.get(key, limit).await
    }
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        self.inner.head(key).await.map(|meta| self.shown(meta))
    }
    fn list(&self, prefix: &str) -> Listing {
        let days = self.clone();
        self.inner.list(prefix).map_ok(move |meta| days.shown(meta)).boxed()
    }
    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.inner.clock().await?.map(|now| now + self.passed()))
    }
    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.inner.delete(key).await
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// A backup of what is in every one, and of what is in this one alone.
async fn back_up(repository: &Repository, clock: Arc<dyn Clock>, own: u64) -> BackupId {
    let at = clock.now();
    back_up_at(repository, clock, at, own).await
}

/// A backup whose run began at `at`.
async fn back_up_at(repository: &Repository, clock: Arc<dyn Clock>, at: Timestamp, own: u64) -> BackupId {
    let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], clock);
    let options = BeginOptions { backup: BackupId::new(at), started: at, ..options };
    let writer = repository.begin(options).await.unwrap();
    let spec = StreamSpec { source: name("services"), name: "media".into(), media_type: MediaType::Blob };
    let mut stream = writer.open(spec).await.unwrap();
    for (part, seed) in [("common", 1), ("own", 100 + own)] {
        stream.begin_part(part).await.unwrap();
        stream.write(noise(seed, 200_000).into()).await.unwrap();
        stream.end_part(PartSummary { count: 1, digest: None }).await.unwrap();
    }
    stream.finish().await.unwrap();
    match writer.commit(ManifestDraft::new(State::Complete)).await.unwrap() {
        CommitOutcome::Committed(stored) => stored.manifest.backup,
        CommitOutcome::Fenced => panic!("fenced"),
    }
}

/// Marks those of `gone` that are there, and deletes what is due.
async fn prune(store: Arc<dyn Backend>, clock: Arc<dyn Clock>, gone: &[BackupId]) -> Pruned {
    let repository = Repository::open(store).await.unwrap();
    let options = PruneOptions::new(name("orders"), clock);
    let survey = repository.survey(&options, false).await.unwrap();
    let free = survey.backups.iter().filter(|one| one.tombstone.is_none()).map(|one| one.entry.backup.clone());
    let doomed: Vec<_> = free.filter(|id| gone.contains(id)).collect();
    repository.prune(&survey, &doomed, &options).await.unwrap()
}

async fn sound(repository: &Repository) -> Vec<BackupId> {
    let (silent, cancel) = (Silent, CancellationToken::new());
    let options = VerifyOptions::new(Level::Content);
    let report = verify_all(repository, &Scope::All, &options, &silent, &cancel).await.unwrap();
    assert_eq!(report.findings, []);
    report.backups
}

/// Backups and prunes, two of them at once, on a store of the bed.
async fn days_pass_on(what: &str, store: Arc<dyn Backend>) {
    let days = Days::new(store);
    let clock: Arc<dyn Clock> = Arc::new(days.clone());
    let repository = Repository::init(Arc::new(days.clone()), clock.as_ref()).await.unwrap();
    let mut all = Vec::new();
    for day in 0..4 {
        all.push(back_up(&repository, clock.clone(), day).await);
        days.pass(24);
    }
    let gone = all[..3].to_vec();
    let (one, other) = tokio::join!(
        prune(Arc::new(days.clone()), clock.clone(), &gone),
        prune(Arc::new(days.clone()), clock.clone(), &gone)
    );
    assert!(one.deleted.is_empty() && other.deleted.is_empty());
    assert_eq!(sound(&repository).await, all);
    days.pass(25);
    // Two prunes and a backup at once.
    let recording = Recording::new(Arc::new(days.clone()));
    let (one, other, newest) = tokio::join!(
        prune(recording.clone(), clock.clone(), &gone),
        prune(Arc::new(days.clone()), clock.clone(), &gone),
        back_up(&repository, clock.clone(), 9),
    );
    assert!(one.packs + other.packs > 0, "{one:?} {other:?}");
    let deletions = recording.count(Op::Delete, "");
    assert!(deletions < 60, "{what}: {deletions} deletions for 3 of 5 backups");
    days.pass(25);
    let keep = [all[3].clone(), newest];
    prune(Arc::new(days.clone()), clock.clone(), &gone).await;
    assert_eq!(sound(&repository).await, keep);
}

#[tokio::test(flavor = "multi_thread")]
async fn prunes_and_backups_at_once_lose_nothing_on_s3() {
    let bucket = require!(bed::bucket);
    let store = S3::open(&bucket.name, "prod", &options(&bucket)).await.unwrap();
    days_pass_on("s3", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prunes_and_backups_at_once_lose_nothing_in_azure() {
    let container = require!(azure::container);
    let store = Azure::open(&container.account, &container.name, "prod", &container.options()).await.unwrap();
    days_pass_on("azure", Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prunes_and_backups_at_once_lose_nothing_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    days_pass_on("folder", Arc::new(Directory::open(folder.path()).await.unwrap())).await;
}

/// A folder with a policy and a repository.
struct Shop {
    folder: tempfile::TempDir,
    backups: Vec<String>,
}

impl Shop {
    /// With so many backups, a minute apart.
    fn new(backups: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut shop = Self { folder, backups: Vec::new() };
        shop.policy("daily", "{last: 1}");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let store = Directory::make(shop.repository()).await.unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let repository = Repository::init(Arc::new(store), clock.as_ref()).await.unwrap();
            for own in 0..backups {
                let at = clock.now() - SignedDuration::from_mins(10 - i64::try_from(own).unwrap());
                shop.backups.push(back_up_at(&repository, clock.clone(), at, own).await.to_string());
            }
        });
        shop
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn policy(&self, schedule: &str, keep: &str) {
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\nrepository: {{url: 'file://{}', encryption: none}}\n\
             sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
             schedules: {{{schedule}: {{cron: '0 2 * * *', sources: [services], keep: {keep}}}}}\n",
            self.repository().display()
        );
        fs::write(self.folder.path().join("policy.yaml"), text).unwrap();
    }

    fn ends(&self, code: i32, args: &[&str]) -> Ended {
        let ended = run_in(self.folder.path(), &[args, &["-f", "policy.yaml"]].concat());
        assert_eq!(ended.code, code, "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { below(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        below(&self.repository().join(folder), &mut found);
        found.sort();
        found
    }

    /// Makes all files of a folder so much older.
    fn age(&self, folder: &str, hours: u64) {
        for file in self.files(folder) {
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
            fs::File::open(file).unwrap().set_modified(then).unwrap();
        }
    }
}

#[test]
fn a_policy_is_applied_a_day_after_it_was_said() {
    let shop = Shop::new(4);
    let dry = shop.ends(0, &["prune", "--dry-run"]);
    assert!(dry.stdout.contains("would be marked") && dry.stdout.contains("last"), "{}", dry.stdout);
    assert!(shop.files("tombstones").is_empty());
    let shown = shop.ends(0, &["policy", "show", "--backups"]);
    assert_eq!(shown.stdout, dry.stdout);
    let nobody = shop.ends(2, &["prune"]);
    assert!(nobody.stderr.contains("--yes"), "{}", nobody.stderr);

    let marked = shop.ends(0, &["prune", "--yes", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&marked.stdout).unwrap();
    fits("prune-report", &report);
    assert_eq!(report["backups"][3]["action"], "mark");
    assert_eq!(shop.files("tombstones").len(), 3);
    assert!(shop.ends(0, &["list"]).stdout.contains("to be deleted"));
    shop.ends(0, &["verify", "--all"]);

    // One is saved, and one is pinned; the rest goes when its day is over.
    let undone = shop.ends(0, &["prune", "--undo", &shop.backups[0], "-o", "json"]);
    fits("mark-report", &serde_json::from_str(&undone.stdout).unwrap());
    shop.ends(0, &["pin", &shop.backups[0]]);
    shop.age("tombstones", 25);
    let late = shop.ends(5, &["prune", "--undo", &shop.backups[1]]);
    assert!(late.stderr.contains("can no longer be saved"), "{}", late.stderr);
    let deleted = shop.ends(0, &["prune", "--yes"]);
    assert!(deleted.stdout.contains("2 backups deleted"), "{}", deleted.stdout);
    let left = shop.ends(0, &["list"]).stdout;
    for (at, backup) in shop.backups.iter().enumerate() {
        assert_eq!(left.contains(backup), at == 0 || at == 3, "{left}");
    }
    shop.ends(0, &["verify", "--all", "--level", "content"]);
    assert!(shop.ends(0, &["prune", "--dry-run"]).stdout.contains("pinned"));
    shop.ends(0, &["unpin", &shop.backups[0]]);
    assert!(shop.ends(0, &["prune", "--dry-run"]).stdout.contains("would be marked"));
}

#[test]
fn what_holds_prune_back_is_named_with_its_exit_code() {
    // More than a few at once.
    let shop = Shop::new(6);
    let before = shop.files("");
    for args in [&["prune", "--yes"][..], &["prune", "--dry-run"]] {
        let refused = shop.ends(5, args);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("5 backups would go at once"), "{said}");
    }
    assert_eq!(shop.files(""), before);
    // A schedule that was renamed.
    shop.policy("nightly", "{last: 1}");
    let renamed = shop.ends(0, &["prune", "--yes"]);
    assert!(renamed.stdout.contains("schedule daily is none of the policy"), "{}", renamed.stdout);
    assert_eq!(shop.files(""), before);
    // A policy without rules, and one whose rules say nothing.
    shop.policy("daily", "{}");
    let nothing = shop.ends(2, &["prune", "--yes"]);
    assert!(
        nothing.stderr.contains("keeps nothing") && nothing.stderr.contains("policy.yaml:6:"),
        "{}",
        nothing.stderr
    );
    // No policy file.
    let url = format!("file://{}", shop.repository().display());
    let none = run_in(shop.folder.path(), &["prune", "--yes", "--repository", &url]);
    assert_eq!(none.code, 2, "{}", none.stderr);
    // A damaged manifest.
    shop.policy("daily", "{last: 1}");
    let manifest = shop.files("backups").remove(0);
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, "not what was written").unwrap();
    let damaged = shop.ends(4, &["prune", "--yes", "--max-delete", "9"]);
    assert!(damaged.stderr.contains(&shop.backups[0]) && damaged.stderr.contains("drctl delete"), "{}", damaged.stderr);
    shop.ends(0, &["delete", &shop.backups[0], "--yes"]);
    shop.age("tombstones", 25);
    shop.ends(0, &["prune", "--yes", "--max-delete", "9"]);
    assert!(!manifest.exists());
    // The newest goes only if that is said, and `latest` is no name for what is to go.
    shop.ends(2, &["delete", "latest", "--yes"]);
    let newest = shop.ends(2, &["delete", &shop.backups[5], "--yes"]);
    assert!(newest.stderr.contains("--newest"), "{}", newest.stderr);
    shop.ends(0, &["delete", &shop.backups[5], "--yes", "--newest"]);
}
