//! Which backup is `latest`, and with which exit code each command ends, where some backups do not count, where the store's
//! clock is ten minutes or an hour off and where its listings lag behind. All by the command line.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use drctl::{
    repository::{
        BeginOptions, CommitOutcome, ManifestDraft, Repository, TombstoneBy,
        backend::{Backend, Directory},
        crypt::{Access, SigningKey},
    },
    types::{BackupId, Name, State, SystemClock},
};
use serde_json::Value;

use crate::support::{
    bed::{self, require},
    program::{Ended, drctl},
    spoiled_s3::SpoiledS3,
    workshop::{Workshop, s3_repository, wait_for},
};

/// A repository in a folder, a key that signs, and a policy that pins it.
struct Vault {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl Vault {
    async fn new() -> Self {
        let vault = Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate("test").unwrap() };
        let backend: Arc<dyn Backend> = Arc::new(Directory::make(&vault.path("repository")).await.unwrap());
        Repository::init(backend, &SystemClock).await.unwrap();
        vault.pin(true);
        vault
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the policy, with or without the pinned signer.
    fn pin(&self, pinned: bool) {
        let signers = if pinned { format!("  signers: [\"{}\"]\n", self.key.signer()) } else { String::new() };
        let policy = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\nrepository:\n  url: file://{}\n  \
             encryption: none\n{signers}sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
             schedules: {{daily: {{cron: \"0 2 * * *\", sources: [services]}}}}\n",
            self.path("repository").display()
        );
        fs::write(self.path("policy.yaml"), policy).unwrap();
    }

    async fn open(&self, signed: bool) -> Repository {
        let backend: Arc<dyn Backend> = Arc::new(Directory::open(&self.path("repository")).await.unwrap());
        let signing_key = signed.then(|| self.key.clone());
        let signers = signing_key.iter().map(SigningKey::signer).collect();
        Repository::open(backend).await.unwrap().with_access(Access { signing_key, signers, ..Access::default() })
    }

    /// A backup that is so many minutes old, signed or not.
    async fn backup(&self, signed: bool, minutes: i64) -> BackupId {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        let name = |text: &str| Name::new(text).unwrap();
        let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], Arc::new(SystemClock));
        let begun = self.open(signed).await.begin(BeginOptions { backup: BackupId::new(time), ..options }).await;
        let outcome = begun.unwrap().commit(ManifestDraft::new(State::Complete)).await.unwrap();
        let CommitOutcome::Committed(stored) = outcome else { panic!("fenced") };
        stored.manifest.backup
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = drctl(words);
        command.arg("-f").arg(self.path("policy.yaml"));
        command.env("DRCTL_SIGNING_KEY", self.key.expose().unwrap().expose());
        command
    }

    fn ends(&self, code: i32, words: &[&str]) -> Ended {
        let ended: Ended = self.command(words).output().unwrap().into();
        assert_eq!(ended.code, code, "{words:?}: {ended:?}");
        ended
    }

    /// What `latest` is, and what is said beside it.
    fn latest(&self) -> (String, String) {
        let ended = self.ends(0, &["show", "latest", "-o", "json"]);
        let shown: Value = serde_json::from_str(&ended.stdout).unwrap();
        (shown["id"].as_str().unwrap().to_owned(), ended.stderr)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_passes_over_what_is_unsigned_and_what_is_about_to_be_deleted_and_says_so() {
    let vault = Vault::new().await;
    let first = vault.backup(true, 9).await;
    let second = vault.backup(true, 6).await;
    let (latest, said) = vault.latest();
    assert!(latest == second.as_str() && !said.contains("passes over"), "{latest}: {said}");
    let third = vault.backup(false, 3).await;
    let (latest, said) = vault.latest();
    assert_eq!(latest, second.as_str());
    assert!(said.contains(&format!("UNSIGNED, and does not count: {third}")), "{said}");

    // A tombstone that nobody has signed hides nothing.
    let (policy, schedule) = (Name::new("orders").unwrap(), Name::new("daily").unwrap());
    let unsigned = vault.open(false).await;
    let of = (&policy, &schedule, &second);
    unsigned.put_tombstone(of, TombstoneBy::Asked, &SystemClock).await.unwrap();
    let (latest, said) = vault.latest();
    assert_eq!(latest, second.as_str());
    assert!(said.contains("a tombstone that does not count"), "{said}");
    // One that is signed does.
    vault.ends(0, &["prune", "--undo", second.as_str()]);
    vault.ends(0, &["delete", second.as_str(), "--newest", "--yes"]);
    let (latest, said) = vault.latest();
    assert_eq!(latest, first.as_str());
    assert!(said.contains(&format!("prune is about to delete: {second}")), "{said}");

    // When nothing is left that counts, there is no latest; by its id each is there.
    vault.ends(0, &["delete", first.as_str(), "--newest", "--yes"]);
    let ended = vault.ends(5, &["show", "latest"]);
    assert!(ended.stderr.contains(&format!("the newest is {third}")), "{}", ended.stderr);
    vault.ends(0, &["show", first.as_str()]);
    let ended = vault.ends(0, &["list", "-o", "json"]);
    let list: Value = serde_json::from_str(&ended.stdout).unwrap();
    let good =
        list["backups"].as_array().unwrap().iter().filter(|one| one["good"] == true && one["tombstoned"] != true);
    assert_eq!((good.count(), list["backups"].as_array().unwrap().len()), (0, 3), "{list}");
    // The twin: who pins nobody counts the third.
    vault.pin(false);
    assert_eq!(vault.latest().0, third.as_str());
}

/// A bucket with a backup, its copy in a folder, and the policy that reaches the bucket through a proxy.
fn behind_a_proxy(source: &bed::Cluster, bucket: &bed::Bucket, namespace: &str) -> (Workshop, SpoiledS3, String) {
    let proxy = SpoiledS3::before(bucket);
    let workshop = Workshop::on_s3(source, bucket, &proxy.endpoint, &[namespace]);
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    let copies =
        format!("copies:\n  near: {{url: \"file://{}\"}}\nsources:\n", workshop.folder().join("near").display());
    fs::write(workshop.policy(), policy.replacen("sources:\n", &copies, 1)).unwrap();
    assert!(policy.contains(&s3_repository(bucket, &proxy.endpoint)), "{policy}");
    let id = workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned();
    (workshop, proxy, id)
}

#[test]
fn a_store_whose_clock_is_off_is_read_and_not_written_to_and_one_that_is_an_hour_off_says_it_itself() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    let (workshop, proxy, id) = behind_a_proxy(&source, &bucket, &shop);
    workshop.done(&["copy", "--to", "near"]);
    // An S3 server refuses what was signed by a clock that differs by over 15 minutes.
    for minutes in [60, -60] {
        proxy.clock_is_later_by(minutes);
        let before = keys(&bucket);
        for words in [&["show", "latest"][..], &["list"], &["prune", "--yes"], &["backup"], &["copy", "--to", "near"]] {
            let refused = workshop.ends(5, words).stderr;
            assert!(refused.contains("this machine's clock differs too much from the store's"), "{refused}");
        }
        assert_eq!(keys(&bucket), before, "nothing is changed");
    }
    for minutes in [10, -10] {
        proxy.clock_is_later_by(minutes);
        // Reading goes by the ids.
        for words in [&["show", "latest"][..], &["list"], &["verify", "latest", "--no-evidence"]] {
            workshop.done(words);
        }
        let shown = workshop.json(0, &["show", "latest"]);
        assert_eq!(shown["id"], id.as_str());
        let before = keys(&bucket);
        let refused = workshop.ends(5, &["prune", "--yes"]).stderr;
        assert!(refused.contains("clock"), "{refused}");
        assert_eq!(keys(&bucket), before, "nothing is changed");
        workshop.ends(5, &["doctor"]);
        // Its session was put by then.
        let refused = workshop.ends(1, &["backup"]).stderr;
        assert!(refused.contains("clock"), "{refused}");
        assert_eq!(workshop.backups(), std::slice::from_ref(&id));
    }
    // The twin: with the right time all of it goes.
    proxy.clock_is_later_by(0);
    workshop.done(&["doctor"]);
    workshop.done(&["prune", "--yes"]);
    let next = workshop.json(0, &["backup"]);
    assert_eq!(workshop.json(0, &["show", "latest"])["id"], next["backup"]["id"]);
}

#[test]
fn a_copy_into_a_store_whose_clock_is_off_ends_with_1_and_goes_on_later() {
    let source = require!(bed::source);
    let (bucket, second) = (require!(bed::bucket), require!(bed::bucket));
    let shop = source.create_namespace("shop");
    let (workshop, _, id) = behind_a_proxy(&source, &bucket, &shop);
    let proxy = SpoiledS3::before(&second);
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    let far = crate::copy::copy_of("far", &s3_repository(&second, &proxy.endpoint));
    fs::write(workshop.policy(), policy.replacen("copies:\n", &format!("copies:\n{far}"), 1)).unwrap();
    proxy.clock_is_later_by(10);
    let refused = workshop.ends(1, &["copy", "--to", "far"]).stderr;
    assert!(refused.contains("clock"), "{refused}");
    assert_eq!(workshop.json(0, &["list", "--copy", "far"])["backups"].as_array().unwrap().len(), 0);
    proxy.clock_is_later_by(0);
    assert_eq!(workshop.json(0, &["copy", "--to", "far"])["copied"], 1);
    assert_eq!(workshop.json(0, &["show", "latest", "--copy", "far"])["id"], id.as_str());
}

#[test]
fn a_listing_that_lags_loses_nothing() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "colours", "--from-literal=sky=blue"]);
    let (workshop, proxy, first) = behind_a_proxy(&source, &bucket, &shop);
    let second = workshop.json(0, &["backup", "--full"])["backup"]["id"].as_str().unwrap().to_owned();
    let latest = || workshop.json(0, &["show", "latest"])["id"].as_str().unwrap().to_owned();
    assert_eq!(latest(), second);
    // What is not listed is not seen: the one before is the newest then, and it is whole.
    proxy.lists_lack(Some(&format!("backups/shop/daily/{second}")));
    assert_eq!(latest(), first);
    workshop.done(&["verify", "latest", "--no-evidence"]);
    // Prune finds it out by the session, if the manifest is of an earlier second than it; and a run by its own packs.
    let made = jiff::Timestamp::now();
    let is_later = || (jiff::Timestamp::now() > made + jiff::SignedDuration::from_secs(2)).then_some(());
    wait_for("a later second", 120, is_later);
    let before = keys(&bucket);
    let refused = workshop.ends(5, &["prune", "--yes"]).stderr;
    assert!(refused.contains("list"), "{refused}");
    assert_eq!(keys(&bucket), before, "nothing is changed");
    proxy.lists_lack(Some("/data/"));
    let refused = workshop.ends(1, &["backup", "--full"]).stderr;
    assert!(refused.contains("was not committed"), "{refused}");
    assert_eq!(latest(), second);
    // The twin: what was acknowledged is listed again.
    proxy.lists_lack(None);
    assert_eq!(latest(), second);
    workshop.done(&["prune", "--yes"]);
    workshop.done(&["verify", "--all", "--level", "content", "--no-evidence"]);
    let third = workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned();
    assert_eq!(latest(), third);
}

fn keys(bucket: &bed::Bucket) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut listed = bucket.client().list_objects_v2().bucket(&bucket.name).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = listed.next().await {
            keys.extend(page.unwrap().contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys
    })
}
