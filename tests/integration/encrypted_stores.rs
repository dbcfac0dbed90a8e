//! Encrypted and signed backups in real stores, from the command line: what the cluster's Secret holds writes them, and an
//! identity of a recipient reads them.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    encryption::{keygen, values_of},
    support::{
        azure,
        bed::{self, Cluster, require},
        workshop::{Workshop, s3_repository},
    },
};

/// Makes an encrypted and signed repository where `section` says `encryption: none`, and gives the file with the identity of
/// its one recipient. From now on the workshop has what the cluster's Secret holds.
pub(crate) fn keyed(workshop: &mut Workshop, section: &str, namespaces: &[&str]) -> String {
    let path = |name: &str| -> PathBuf { workshop.folder().join(name) };
    let (identity, secret) = (path("me.age"), path("secret.yaml"));
    let recipient = keygen(&identity);
    workshop.write_policy(&with(section, &format!("encryption: {{recipients: [{recipient}]}}")), namespaces);
    let made = workshop.json(0, &["repository", "init", "--cluster-secret", secret.to_str().unwrap()]);
    let pins = &made["policy"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pinned = format!(
        "id: \"{}\"\n  signers: {}\n  encryption: {{epoch: {}, recipients: [{recipient}]}}",
        text(&pins["id"]),
        pins["signers"],
        text(&pins["epoch"]),
    );
    workshop.write_policy(&with(section, &pinned), namespaces);
    let held = values_of(&fs::read_to_string(&secret).unwrap());
    held.iter().for_each(|(name, value)| workshop.set(name, value));
    identity.to_str().unwrap().to_owned()
}

fn with(section: &str, encryption: &str) -> String {
    assert!(section.contains("\n  encryption: none"), "{section}");
    section.replace("encryption: none", encryption)
}

/// Backs up twice, verifies and restores, with and without the identity.
fn round_trip(source: &Cluster, workshop: &mut Workshop, section: &str, shop: &str) {
    source.kubectl(&["-n", shop, "create", "secret", "generic", "card", "--from-literal=number=4111-1111"]);
    let identity = keyed(workshop, section, &[shop]);
    let identity = ["--identity", &identity];
    let and =
        |words: &[&'static str]| -> Vec<String> { words.iter().copied().chain(identity).map(str::to_owned).collect() };
    let run = |code: i32, words: &[String]| workshop.ends(code, &words.iter().map(String::as_str).collect::<Vec<_>>());
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["list"]);
    for backup in shown["backups"].as_array().unwrap() {
        assert_eq!((&backup["signed"], &backup["good"]), (&true.into(), &true.into()), "{backup:#}");
    }
    let newest = &shown["backups"].as_array().unwrap()[1];
    assert_eq!(newest["newBytes"], 0, "the second one shares all of the first: it reads lists, and no contents");

    // Stored bytes need no key; contents need the identity, which the cluster does not hold.
    workshop.done(&["verify", "--all", "--level", "stored"]);
    let refused = workshop.ends(5, &["verify", "--all", "--level", "content"]);
    assert!(refused.stderr.contains("--identity"), "{}", refused.stderr);
    run(0, &and(&["verify", "--all", "--level", "content"]));
    source.kubectl(&["-n", shop, "delete", "secret", "card"]);
    let refused = workshop.ends(5, &["restore", "latest", "--yes"]);
    assert!(refused.stderr.contains("--identity"), "{}", refused.stderr);
    assert!(source.get("secret", shop, "card").is_none(), "something was restored without a key");
    run(0, &and(&["restore", "latest", "--yes"]));
    let card = source.get("secret", shop, "card").unwrap();
    assert_eq!(card["data"]["number"], "NDExMS0xMTEx");

    // What doctor says of keys, with the identity, with a stranger's, and without one.
    let said = |report: &Value, severity: &str, words: &str| {
        let mut all = report["findings"].as_array().unwrap().iter();
        let is = |one: &Value| one["severity"] == severity && one["what"].as_str().unwrap().contains(words);
        assert!(all.any(is), "no {severity} finding has `{words}`: {report:#}");
    };
    said(&workshop.json(0, &["doctor"]), "good", "cannot read their contents");
    let report = workshop.json(0, &["doctor", identity[0], identity[1]]);
    said(&report, "good", "that backups are encrypted to, as 1 recipient can");
    let stranger = workshop.folder().join("stranger.age");
    keygen(&stranger);
    let report = workshop.json(0, &["doctor", "--identity", stranger.to_str().unwrap()]);
    said(&report, "note", "opens none of the 1 key file of the epoch");

    // An index identity that is not that of the epoch which the policy pins.
    let other = fs::read_to_string(&stranger).unwrap();
    workshop.set("DRCTL_INDEX_IDENTITY", other.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap());
    said(
        &workshop.json(5, &["doctor"]),
        "prevents",
        "the index identity that is held does not open the lists of backup",
    );
    workshop.ends(5, &["backup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_backup_in_s3_is_taken_shared_verified_and_restored() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    require!(program "age");
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::bare(&source);
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    round_trip(&source, &mut workshop, &s3_repository(&bucket, &bucket.endpoint), &shop);

    // Nothing in the bucket shows what was backed up.
    let client = bucket.client();
    let (mut sealed, mut plain) = (0, 0);
    for object in client.list_objects_v2().bucket(&bucket.name).send().await.unwrap().contents() {
        let key = object.key().unwrap();
        let got = client.get_object().bucket(&bucket.name).key(key).send().await.unwrap();
        let bytes = got.body.collect().await.unwrap().into_bytes();
        let is_age = bytes.starts_with(b"age-encryption.org/v1\n");
        let must = key.starts_with("prod/data/") || key.starts_with("prod/keys/") || key.ends_with(".age");
        assert_eq!(is_age, must, "{key}");
        assert!(!bytes.windows(12).any(|text| text == b"NDExMS0xMTEx"), "{key} shows a secret");
        *(if is_age { &mut sealed } else { &mut plain }) += 1;
    }
    assert!(sealed >= 6 && plain >= 6, "{sealed} {plain}");
}

#[test]
fn an_encrypted_backup_in_azure_is_taken_shared_verified_and_restored() {
    let source = require!(bed::source);
    let container = require!(azure::container);
    require!(program "age");
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::bare(&source);
    workshop.set("TEST_ACCOUNT_KEY", &container.key);
    round_trip(&source, &mut workshop, &container.repository("prod"), &shop);
}
