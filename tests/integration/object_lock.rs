//! Object lock: what a backup needs is locked object by object, kept locked while it is reused, and `doctor` proves it.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, ObjectVersion};
use serde_json::Value;

use crate::encrypted_stores::keyed;
use crate::support::bed::{self, Bucket, require};
use crate::support::workshop::{Workshop, s3_repository, wait_for};

const MARK: &str = "prod/sessions/shop/19700101T000000Z-doctor.json";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A policy that locks for a day.
fn locking(bucket: &Bucket) -> String {
    format!("{}\n    objectLock: {{mode: governance, for: 24h}}", s3_repository(bucket, &bucket.endpoint))
}

fn workshop(cluster: &bed::Cluster, bucket: &Bucket) -> Workshop {
    let mut workshop = Workshop::bare(cluster);
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    workshop
}

/// All versions in the bucket whose keys begin with `prod/` and this.
async fn versions(client: &Client, bucket: &Bucket, prefix: &str) -> Vec<ObjectVersion> {
    let page = client.list_object_versions().bucket(&bucket.name).prefix(format!("prod/{prefix}"));
    page.send().await.unwrap().versions().to_vec()
}

/// Until when the current version is locked, in seconds since 1970, and how.
async fn lock_of(client: &Client, bucket: &Bucket, key: &str) -> Option<(ObjectLockMode, i64)> {
    let head = client.head_object().bucket(&bucket.name).key(key).send().await.unwrap();
    Some((head.object_lock_mode?, head.object_lock_retain_until_date?.secs()))
}

/// Sets the lock of a pack so that it ends in an hour, as only an administrator can.
async fn shorten(client: &Client, bucket: &Bucket, key: &str) {
    let until = DateTime::from_secs(now() + HOUR);
    let lock = ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Governance).retain_until_date(until);
    let set = client.put_object_retention().bucket(&bucket.name).key(key).retention(lock.build());
    set.bypass_governance_retention(true).send().await.unwrap();
}

#[track_caller]
fn has(report: &Value, severity: &str, words: &str) {
    let mut all = report["findings"].as_array().unwrap().iter();
    let found = all.any(|one| one["severity"] == severity && one["what"].as_str().unwrap().contains(words));
    assert!(found, "no {severity} finding has `{words}`: {report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backup_needs_is_locked_and_stays_so_while_it_is_reused_and_marks_are_not() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let (workshop, client) = (workshop(&source, &bucket), bucket.client());
    workshop.write_policy(&locking(&bucket), &[&shop]);
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);

    // A day, 7 for a run that takes long, and at most one more.
    let (least, most) = (now() + 8 * DAY - 10 * 60, now() + 9 * DAY);
    let mut locked = 0;
    for version in versions(&client, &bucket, "").await {
        let key = version.key().unwrap();
        let lock = lock_of(&client, &bucket, key).await;
        if key.starts_with("prod/sessions/") {
            assert_eq!(lock, None, "{key} is locked");
            continue;
        }
        let (mode, until) = lock.unwrap_or_else(|| panic!("{key} is not locked"));
        assert_eq!(mode, ObjectLockMode::Governance);
        assert!((least..=most).contains(&until), "{key} is locked until {until}");
        let delete = client.delete_object().bucket(&bucket.name).key(key).version_id(version.version_id().unwrap());
        delete.send().await.unwrap_err();
        locked += 1;
    }
    // The header, a pack, an index, streams, refs, the manifest.
    assert_eq!(locked, 6);

    // The next backup reuses the pack, whose lock is still long enough; the one after it finds it shorter.
    let pack = versions(&client, &bucket, "data/").await[0].key().unwrap().to_owned();
    let before = lock_of(&client, &bucket, &pack).await;
    workshop.done(&["backup"]);
    assert_eq!(lock_of(&client, &bucket, &pack).await, before);
    shorten(&client, &bucket, &pack).await;
    workshop.done(&["backup"]);
    let (_, after) = lock_of(&client, &bucket, &pack).await.unwrap();
    assert!((least..=most + HOUR).contains(&after), "the lock was not extended: {after}");
    assert_eq!(versions(&client, &bucket, "data/").await.len(), 1, "the pack was not reused");

    // The twin: without the key in the policy nothing is locked or extended.
    shorten(&client, &bucket, &pack).await;
    workshop.write_policy(&s3_repository(&bucket, &bucket.endpoint), &[&shop]);
    workshop.done(&["backup", "--full"]);
    assert!(lock_of(&client, &bucket, &pack).await.unwrap().1 < now() + 2 * HOUR);
    let newest = workshop.backups().pop().unwrap();
    for version in versions(&client, &bucket, &format!("data/{newest}/")).await {
        assert_eq!(lock_of(&client, &bucket, version.key().unwrap()).await, None);
    }

    // A delete marker is an absence, and a new object may take its place.
    workshop.done(&["verify", "--no-evidence"]);
    let key = versions(&client, &bucket, &format!("data/{newest}/")).await[0].key().unwrap().to_owned();
    client.delete_object().bucket(&bucket.name).key(&key).send().await.unwrap();
    let report = workshop.json(4, &["verify", "--no-evidence"]);
    assert_eq!(report["findings"][0]["kind"], "missing", "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_proves_the_lock_by_a_deletion_that_is_refused_and_leaves_one_object() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "versitygw");
    let shop = source.create_namespace("shop");
    let (mut workshop, client) = (workshop(&source, &bucket), bucket.client());
    workshop.write_policy(&locking(&bucket), &[&shop]);
    workshop.done(&["repository", "init"]);

    // Who may do everything: the lock alone refuses.
    for _ in 0..2 {
        let report = workshop.json(0, &["doctor"]);
        has(&report, "good", "(governance): the store refused to delete it, because of the lock");
        has(&report, "good", "what a backup needs is locked for at least 24h after it");
        has(&report, "note", "this identity may delete objects");
        has(&report, "note", "this identity may overwrite objects");
    }
    let left = client.list_object_versions().bucket(&bucket.name).prefix(MARK).send().await.unwrap();
    assert_eq!((left.versions().len(), left.delete_markers().len()), (1, 0), "doctor leaves more each time");
    let (_, until) = lock_of(&client, &bucket, MARK).await.unwrap();
    assert!((now() + DAY - 10 * 60..=now() + DAY).contains(&until), "the mark is locked until {until}");

    // One that backs up: it has no right to delete in any case.
    let rights = ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:PutObjectRetention", "s3:GetObjectRetention"];
    let (access, secret) = bucket.keys_for(&rights);
    workshop.set("TEST_ACCESS_KEY", &access);
    workshop.set("TEST_SECRET_KEY", &secret);
    let report = workshop.json(0, &["doctor"]);
    has(&report, "good", "and this identity may not delete versions in any case");
    has(&report, "good", "this identity may not delete objects (tried on");
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);

    // Without the right to lock there is no backup, and doctor says so beforehand.
    let (access, secret) = bucket.keys_for(&["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    workshop.set("TEST_ACCESS_KEY", &access);
    workshop.set("TEST_SECRET_KEY", &secret);
    has(&workshop.json(5, &["doctor"]), "prevents", "the credentials do not allow it");
    workshop.ends(1, &["backup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_object_lock_is_refused_before_anything_is_written() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    let (workshop, client) = (workshop(&source, &bucket), bucket.client());
    workshop.write_policy(&locking(&bucket), &[&shop]);
    let said = workshop.ends(5, &["repository", "init"]).stderr;
    assert!(said.contains("the bucket has no object lock: turn it on for the bucket"), "{said}");
    assert_eq!(versions(&client, &bucket, "").await.len(), 0);

    // The twin makes the repository; then the policy asks for locks.
    workshop.write_policy(&s3_repository(&bucket, &bucket.endpoint), &[&shop]);
    workshop.done(&["repository", "init"]);
    workshop.write_policy(&locking(&bucket), &[&shop]);
    let said = workshop.ends(5, &["backup"]).stderr;
    assert!(said.contains("the bucket has no object lock"), "{said}");
    assert_eq!(versions(&client, &bucket, "").await.len(), 1, "a run that could not begin has left something");
    has(&workshop.json(5, &["doctor"]), "prevents", "the bucket has no object lock");
    workshop.write_policy(&s3_repository(&bucket, &bucket.endpoint), &[&shop]);
    workshop.done(&["backup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_an_encrypted_backup_is_locked_with_it_and_stays_so() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "age");
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let (mut workshop, client) = (workshop(&source, &bucket), bucket.client());
    let identity = keyed(&mut workshop, &locking(&bucket), &[&shop]);
    workshop.done(&["backup"]);

    let mut folders = std::collections::BTreeMap::new();
    for version in versions(&client, &bucket, "").await {
        let key = version.key().unwrap();
        let folder = key.strip_prefix("prod/").unwrap().split('/').next().unwrap().to_owned();
        let locked = lock_of(&client, &bucket, key).await.is_some();
        assert_eq!(locked, folder != "sessions", "{key}");
        *folders.entry(folder).or_insert(0) += 1;
    }
    let expected = [("backups", 2), ("data", 1), ("keys", 1), ("meta", 3), ("repository.json", 1), ("sessions", 1)];
    assert_eq!(
        folders,
        expected.map(|(folder, count)| (folder.to_owned(), count)).into(),
        "a manifest has its signature"
    );

    // The key file is older than any backup that needs it: a later one keeps its lock up, and the pack's.
    let keys = versions(&client, &bucket, "keys/").await[0].key().unwrap().to_owned();
    let pack = versions(&client, &bucket, "data/").await[0].key().unwrap().to_owned();
    for key in [&keys, &pack] {
        shorten(&client, &bucket, key).await;
    }
    workshop.done(&["backup"]);
    for key in [&keys, &pack] {
        assert!(lock_of(&client, &bucket, key).await.unwrap().1 > now() + 7 * DAY, "{key}");
    }

    // Who holds the bucket's keys hides all of it, and takes none of it away: its own time brings it back.
    wait_for_the_next_second();
    let time = jiff::Timestamp::now().to_string();
    wait_for_the_next_second();
    for version in versions(&client, &bucket, "").await {
        let key = version.key().unwrap();
        client.delete_object().bucket(&bucket.name).key(key).send().await.unwrap();
        if lock_of_version(&client, &bucket, &version).await {
            let delete = client.delete_object().bucket(&bucket.name).key(key);
            delete.version_id(version.version_id().unwrap()).send().await.unwrap_err();
        }
    }
    workshop.ends(5, &["list"]);
    source.kubectl(&["-n", &shop, "delete", "configmap", "settings"]);
    workshop.ends(5, &["restore", "latest", "--yes", "--as-of", &time]);
    workshop.done(&["restore", "latest", "--yes", "--as-of", &time, "--identity", &identity]);
    assert!(source.get("configmap", &shop, "settings").is_some());
}

/// Whether this version is locked.
async fn lock_of_version(client: &Client, bucket: &Bucket, version: &ObjectVersion) -> bool {
    let head = client.head_object().bucket(&bucket.name).key(version.key().unwrap());
    let head = head.version_id(version.version_id().unwrap()).send().await.unwrap();
    head.object_lock_retain_until_date().is_some()
}

/// Times of versions are whole seconds.
fn wait_for_the_next_second() {
    let second = now();
    wait_for("the next second", 120, || (now() > second).then_some(()));
}
