//! `--as-of`: a repository as it was before somebody deleted and overwrote it, in a bucket that keeps versions.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use jiff::Timestamp;

use crate::encrypted_stores::keyed;
use crate::support::bed::{self, Bucket, require};
use crate::support::workshop::{Workshop, s3_repository, wait_for};

/// The keys of all current objects under `prod/` and this, with their sizes.
async fn objects(client: &Client, bucket: &Bucket, prefix: &str) -> Vec<(String, i64)> {
    let page = client.list_objects_v2().bucket(&bucket.name).prefix(format!("prod/{prefix}")).send().await.unwrap();
    page.contents().iter().map(|object| (object.key().unwrap().to_owned(), object.size().unwrap())).collect()
}

/// How many versions and deletion markers the bucket has.
async fn count(client: &Client, bucket: &Bucket) -> (usize, usize) {
    let all = client.list_object_versions().bucket(&bucket.name).send().await.unwrap();
    assert_ne!(all.is_truncated(), Some(true));
    (all.versions().len(), all.delete_markers().len())
}

/// A time of which everything before has happened, and nothing of what comes after it.
fn between() -> String {
    let time = Timestamp::now();
    wait_for("the next second", 120, || (Timestamp::now().as_second() > time.as_second()).then_some(()));
    time.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attacker_has_deleted_and_overwritten_is_read_and_restored_as_it_was() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "versitygw");
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let before_all = between();
    let workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &[&shop]);
    workshop.done(&["backup"]);
    source.kubectl(&["-n", &shop, "create", "configmap", "more", "--from-literal=b=2"]);
    workshop.done(&["backup"]);
    let backups = workshop.backups();
    let time = between();
    let as_of = |args: &[&'static str]| -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).chain(["--as-of".to_owned(), time.clone()]).collect()
    };
    let run = |code: i32, args: &[&'static str]| {
        let args = as_of(args);
        workshop.ends(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };

    // Nothing was touched yet: the two ways of looking agree.
    assert_eq!(run(0, &["list", "-o", "json"]).stdout, workshop.done(&["list", "-o", "json"]).stdout);

    // The attacker has credentials that delete and overwrite, and cleans up well.
    let (access, secret) = bucket.keys_for(&["s3:DeleteObject", "s3:PutObject", "s3:GetObject", "s3:ListBucket"]);
    let attacker = bucket.client_with(&access, &secret);
    let all = objects(&attacker, &bucket, "").await;
    for (key, size) in &all {
        let deletes =
            ["backups/", "meta/", "sessions/"].iter().any(|folder| key.starts_with(&format!("prod/{folder}")));
        if deletes {
            attacker.delete_object().bucket(&bucket.name).key(key).send().await.unwrap();
        } else {
            // Of the same size: a listing shows nothing.
            let junk = ByteStream::from(vec![b'x'; usize::try_from(*size).unwrap()]);
            attacker.put_object().bucket(&bucket.name).key(key).body(junk).send().await.unwrap();
        }
    }
    let (packs, _) = objects(&attacker, &bucket, "data/").await.into_iter().next().unwrap();
    attacker.delete_object().bucket(&bucket.name).key(&packs).send().await.unwrap();

    // As it is, the repository is no more.
    for args in [&["list"][..], &["verify", "--all"], &["restore", "--yes"]] {
        let ended = workshop.ends(5, args);
        assert!(ended.stderr.contains("repository.json"), "{}", ended.stderr);
    }

    // As it was, all of it is there; looking at it leaves nothing.
    let left = count(&bucket.client(), &bucket).await;
    let listed = run(0, &["list", "-o", "json"]).stdout;
    assert!(backups.iter().all(|id| listed.contains(id)), "{listed}");
    run(0, &["show", "latest"]);
    let verified = run(0, &["verify", "--all", "--level", "content"]);
    assert!(!verified.stderr.contains("evidence"), "{}", verified.stderr);
    run(0, &["repository", "info"]);
    assert!(run(0, &["export", "latest", "services"]).stdout.contains("settings"));
    source.kubectl(&["-n", &shop, "delete", "configmap", "settings", "more"]);
    run(0, &["restore", "latest", "--yes"]);
    assert!(source.get("configmap", &shop, "settings").is_some() && source.get("configmap", &shop, "more").is_some());
    assert_eq!(count(&bucket.client(), &bucket).await, left, "a command that reads has written");

    // Before there was a repository there is none; and an earlier time cannot be written into.
    workshop.ends(5, &["list", "--as-of", &before_all]);
    run(2, &["backup"]);
    run(2, &["doctor"]);
    workshop.ends(2, &["list", "--as-of", "2999-01-01T00:00Z"]);
    workshop.ends(2, &["list", "--as-of", "yesterday"]);
}

#[test]
fn an_earlier_time_of_a_store_that_keeps_no_versions_is_refused() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    let workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &[&shop]);
    let time = between();
    let said = workshop.ends(5, &["list", "--as-of", &time]).stderr;
    assert!(said.contains("the bucket keeps no versions"), "{said}");
    workshop.done(&["list"]);
    let local = Workshop::new(&source, &[&shop]);
    let said = local.ends(2, &["list", "--as-of", &time]).stderr;
    assert!(said.contains("--as-of needs an S3 bucket that keeps versions"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_repository_without_its_keys_and_header_is_read_as_it_was() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "age");
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut workshop = Workshop::bare(&source);
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    let identity = keyed(&mut workshop, &s3_repository(&bucket, &bucket.endpoint), &[&shop]);
    workshop.done(&["backup"]);
    let backup = workshop.backups().pop().unwrap();
    let time = between();

    // The attacker takes away what opens the backups, and writes over all else.
    let client = bucket.client();
    for (key, size) in objects(&client, &bucket, "").await {
        if key.starts_with("prod/keys/") {
            client.delete_object().bucket(&bucket.name).key(key).send().await.unwrap();
        } else {
            let junk = ByteStream::from(vec![b'x'; usize::try_from(size).unwrap()]);
            client.put_object().bucket(&bucket.name).key(key).body(junk).send().await.unwrap();
        }
    }
    workshop.ends(5, &["list"]);

    let with = |args: &[&'static str]| -> Vec<String> {
        let more = ["--as-of", &time, "--identity", &identity].map(str::to_owned);
        args.iter().map(|arg| (*arg).to_owned()).chain(more).collect()
    };
    let run = |args: &[&'static str]| {
        let args = with(args);
        workshop.ends(0, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let listed = run(&["list", "-o", "json"]).stdout;
    assert!(listed.contains(&backup) && listed.contains("\"signed\": true"), "{listed}");
    assert!(run(&["show", "latest", "--objects"]).stdout.contains("settings"));
    run(&["verify", "--all", "--level", "content"]);
    assert!(run(&["export", "latest", "services"]).stdout.contains("settings"));
    source.kubectl(&["-n", &shop, "delete", "configmap", "settings"]);
    run(&["restore", "latest", "--yes"]);
    assert!(source.get("configmap", &shop, "settings").is_some());

    // An earlier time needs the identity as any other.
    let said = workshop.ends(5, &["export", "latest", "services", "--as-of", &time]).stderr;
    assert!(said.contains("--identity"), "{said}");
}
