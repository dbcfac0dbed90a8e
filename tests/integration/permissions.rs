//! The policies that `docs/permissions/` ships, given to users of the bed's S3 server just as they are shipped: what each
//! may do, and what not. The server takes them as one policy of the bucket, with the user as the principal.

use std::{fs, path::Path, process::Command};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};

use crate::support::bed::{self, Bucket, require};
use crate::support::workshop::{Workshop, s3_repository};

const ROLES: [&str; 5] = ["writer", "reader", "verifier", "pruner", "copy"];
/// What there is in a repository, by its first word.
const PLACES: [&str; 10] = [
    "repository.json",
    "keys/e-1.age",
    "data/x/1",
    "meta/x/1",
    "backups/shop/daily/x.json",
    "sessions/shop/x.json",
    "tombstones/shop/x.json",
    "accepts/shop/x.json",
    "pins/shop/x.json",
    "evidence/shop/x/1/stored.json",
];

fn shipped(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/permissions/{name}.json"));
    serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap()
}

/// A user for each role. One at a time has rights: those of its shipped policy in this bucket. (The server keeps a policy
/// of a bucket in 4 kB, which hold no more.)
struct Users<'b> {
    bucket: &'b Bucket,
    keys: Vec<(&'static str, String, String)>,
}

impl<'b> Users<'b> {
    fn new(bucket: &'b Bucket) -> Self {
        let mut keys = Vec::new();
        for role in ROLES {
            let (access, secret) = (format!("{role}-{}", bucket.name), format!("secret-{role}-{}", bucket.name));
            let made = Command::new("versitygw")
                .args(["admin", "--access", &bucket.access_key, "--secret", &bucket.secret_key])
                .args(["--region", &bucket.region, "--endpoint-url", &bucket.endpoint])
                .args(["create-user", "--role", "user", "--access", &access, "--secret", &secret])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            keys.push((role, access, secret));
        }
        Self { bucket, keys }
    }

    /// From now on this role has its rights, and no other has any.
    async fn give(&self, role: &str) {
        let policy = shipped(&format!("aws-{role}")).to_string().replace("orders-dr", &self.bucket.name);
        let mut policy: Value = serde_json::from_str(&policy).unwrap();
        for statement in policy["Statement"].as_array_mut().unwrap() {
            let statement = statement.as_object_mut().unwrap();
            statement.remove("Sid");
            statement.insert("Principal".to_owned(), json!({"AWS": [self.of(role).0]}));
        }
        let put = self.bucket.client().put_bucket_policy().bucket(&self.bucket.name).policy(policy.to_string());
        put.send().await.unwrap();
    }

    fn of(&self, role: &str) -> (&str, &str) {
        let (_, access, secret) = self.keys.iter().find(|(name, _, _)| *name == role).unwrap();
        (access, secret)
    }

    fn client(&self, role: &str) -> Client {
        let (access, secret) = self.of(role);
        self.bucket.client_with(access, secret)
    }

    /// From now on the workshop is this role's.
    async fn take(&self, workshop: &mut Workshop, role: &str) {
        self.give(role).await;
        let (access, secret) = self.of(role);
        workshop.set("TEST_ACCESS_KEY", access);
        workshop.set("TEST_SECRET_KEY", secret);
    }
}

/// Which of the places the role may do something to.
async fn allowed(client: &Client, bucket: &Bucket, (role, act): (&str, &str)) -> Vec<&'static str> {
    let mut allowed = Vec::new();
    for place in PLACES {
        let key = format!("prod/{place}");
        let done = match act {
            "read" => client.get_object().bucket(&bucket.name).key(key).send().await.is_ok(),
            "create" => {
                // Of each role's own: to this server what was deleted is still there, where a put is create-only.
                let key = format!("{key}-{role}");
                let put = client.put_object().bucket(&bucket.name).key(&key).if_none_match("*");
                let done = put.body(ByteStream::from_static(b"x")).send().await.is_ok();
                bucket.client().delete_object().bucket(&bucket.name).key(key).send().await.unwrap();
                done
            }
            "delete" => {
                let delete = client.delete_object().bucket(&bucket.name).key(&key).if_match("\"0\"").send().await;
                // The condition does not hold: 412 to one who may, and nothing is deleted.
                delete.err().and_then(|error| Some(error.raw_response()?.status().as_u16())) == Some(412)
            }
            _ => unreachable!(),
        };
        if done {
            allowed.push(place.split(['/', '.']).next().unwrap());
        }
    }
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_the_documentation_says_and_nothing_else() {
    let bucket = require!(bed::locked_bucket);
    require!(program "versitygw");
    let users = Users::new(&bucket);
    for place in PLACES {
        let put = bucket.client().put_object().bucket(&bucket.name).key(format!("prod/{place}"));
        put.body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    let all =
        ["repository", "keys", "data", "meta", "backups", "sessions", "tombstones", "accepts", "pins", "evidence"];
    let but = |left: &[&str]| -> Vec<&str> { all.into_iter().filter(|place| !left.contains(place)).collect() };
    // A policy names `repository.json` and not what begins like it, so nobody creates `repository.json-writer`.
    for (role, reads, creates, deletes) in [
        ("writer", but(&["keys"]), vec!["data", "meta", "backups", "sessions"], vec![]),
        ("reader", all.to_vec(), vec![], vec![]),
        ("verifier", all.to_vec(), vec!["evidence"], vec![]),
        ("pruner", but(&["keys", "data"]), vec!["backups", "tombstones"], but(&["repository", "keys"])),
        ("copy", all.to_vec(), vec!["keys", "data", "meta", "backups", "sessions", "accepts", "pins"], vec![]),
    ] {
        users.give(role).await;
        let client = users.client(role);
        assert_eq!(allowed(&client, &bucket, (role, "read")).await, reads, "what the {role} reads");
        assert_eq!(allowed(&client, &bucket, (role, "create")).await, creates, "what the {role} creates");
        assert_eq!(allowed(&client, &bucket, (role, "delete")).await, deletes, "what the {role} deletes");
        let versions = client.list_object_versions().bucket(&bucket.name).send().await;
        assert_eq!(versions.is_ok(), role == "reader", "who lists versions: {role}");
        // Nobody takes a version away, changes the bucket, or lets others in.
        let head = bucket.client().head_object().bucket(&bucket.name).key("prod/data/x/1").send().await.unwrap();
        let version = head.version_id().unwrap();
        let delete = client.delete_object().bucket(&bucket.name).key("prod/data/x/1").version_id(version);
        assert!(delete.send().await.is_err(), "the {role} deletes versions");
        assert!(
            client.delete_bucket_policy().bucket(&bucket.name).send().await.is_err(),
            "the {role} changes the policy"
        );
        assert!(client.delete_bucket().bucket(&bucket.name).send().await.is_err(), "the {role} deletes the bucket");
    }
}

#[track_caller]
fn finds(report: &Value, severity: &str, words: &str) {
    let mut all = report["findings"].as_array().unwrap().iter();
    let found = all.any(|one| one["severity"] == severity && one["what"].as_str().unwrap().contains(words));
    assert!(found, "no {severity} finding has `{words}`: {report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_works_with_the_rights_of_its_role_and_fails_with_those_of_another() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "versitygw");
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &[&shop]);
    let locking =
        format!("{}\n    objectLock: {{mode: governance, for: 24h}}", s3_repository(&bucket, &bucket.endpoint));
    workshop.write_policy(&locking, &[&shop]);
    // As in an encrypted repository: the writer keeps locked what it may not read.
    let keys = bucket.client().put_object().bucket(&bucket.name).key("prod/keys/e-1.age");
    keys.body(ByteStream::from_static(b"x")).send().await.unwrap();
    let users = Users::new(&bucket);

    users.take(&mut workshop, "writer").await;
    let report = workshop.json(0, &["doctor"]);
    finds(&report, "good", "this identity may not delete objects (tried on");
    finds(&report, "good", "and this identity may not delete versions in any case");
    finds(&report, "good", "this identity may not read `keys/`");
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);
    let head = bucket.client().head_object().bucket(&bucket.name).key("prod/keys/e-1.age").send().await.unwrap();
    assert!(head.object_lock_retain_until_date().is_some(), "the keys are not locked");
    let verified = workshop.done(&["verify", "--all", "--level", "content"]);
    assert!(verified.stderr.contains("the evidence of this verification could not be written"), "{}", verified.stderr);

    users.take(&mut workshop, "reader").await;
    let time = jiff::Timestamp::now().to_string();
    for command in [&["list"][..], &["show", "latest"], &["repository", "info"], &["repository", "sessions"]] {
        workshop.done(command);
    }
    workshop.done(&["list", "--as-of", &time]);
    workshop.done(&["verify", "--all", "--level", "content", "--no-evidence"]);
    source.kubectl(&["-n", &shop, "delete", "configmap", "settings"]);
    workshop.done(&["restore", "latest", "--yes"]);
    assert!(source.get("configmap", &shop, "settings").is_some());
    let refused = workshop.ends(5, &["backup"]).stderr;
    assert!(refused.contains("the credentials do not allow it"), "{refused}");
    finds(&workshop.json(5, &["doctor"]), "prevents", "the credentials do not allow it");

    users.take(&mut workshop, "verifier").await;
    let verified = workshop.done(&["verify", "--all", "--level", "content"]);
    assert!(!verified.stderr.contains("could not be written"), "{}", verified.stderr);
    workshop.ends(5, &["backup"]);

    // Neither takes backups; and who may delete is told so.
    users.take(&mut workshop, "pruner").await;
    workshop.ends(5, &["backup"]);
    workshop.done(&["list"]);
    // What prune, delete and undo need, and no more; a backup that is marked is there all the same.
    workshop.done(&["prune", "--yes"]);
    let before = workshop.json(0, &["list"]);
    let older = before["backups"][0]["id"].as_str().unwrap().to_owned();
    workshop.done(&["delete", &older, "--yes"]);
    let marked = workshop.json(0, &["prune", "--yes"]);
    assert!(marked["backups"].as_array().unwrap().iter().any(|one| one["action"] == "marked"), "{marked}");
    workshop.done(&["prune", "--undo", &older]);
    assert_eq!(workshop.json(0, &["list"]), before);
    // A bucket that has turned read-only: nothing is changed, and it is said.
    users.take(&mut workshop, "reader").await;
    for command in [&["prune", "--yes"][..], &["delete", &older, "--yes"], &["prune", "--yes", "--max-delete", "9"]] {
        let refused = workshop.ends(5, command).stderr;
        assert!(refused.contains("the credentials do not allow it"), "{refused}");
    }
    assert_eq!(workshop.json(0, &["list"]), before);
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    let report = workshop.json(0, &["doctor"]);
    finds(&report, "note", "this identity may delete objects");
    finds(&report, "note", "this identity may overwrite objects");
    finds(&report, "note", "this identity may read `keys/`");
}

#[test]
fn the_policies_for_azure_name_actions_of_blobs_and_only_the_pruner_deletes() {
    for role in ROLES {
        let shipped = shipped(&format!("azure-{role}"));
        assert_eq!((&shipped["Actions"], &shipped["NotDataActions"]), (&json!([]), &json!([])));
        let actions: Vec<&str> =
            shipped["DataActions"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let prefix = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/";
        let actions: Vec<&str> = actions.iter().map(|action| action.strip_prefix(prefix).unwrap()).collect();
        let expected: &[&str] = match role {
            "reader" => &["read"],
            "pruner" => &["read", "add/action", "delete"],
            _ => &["read", "add/action"],
        };
        assert_eq!(actions, expected, "{role}");
    }
}
