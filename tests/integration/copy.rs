//! Copies from the command line: S3 to Azure to a folder and back into a new bucket, and what is refused on the way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use drctl::types::Sha256Digest;
use serde_json::Value;

use crate::support::{
    azure::{self, Container},
    bed::{self, Bucket, require},
    workshop::{Workshop, flip, s3_repository, wait_for},
};

/// A `repository:` section as the section of the copy `name`.
pub(crate) fn copy_of(name: &str, section: &str) -> String {
    let body: Vec<String> = section.lines().skip(1).filter(|line| !line.contains("encryption:")).map(indent).collect();
    assert!(body.len() > 1, "{section}");
    format!("  {name}:\n{}\n", body.join("\n"))
}

fn indent(line: &str) -> String {
    format!("  {line}")
}

/// A policy `shop` with these sections, whose schedule `daily` copies to `copy_to`.
fn policy(workshop: &Workshop, repository: &str, copies: &str, copy_to: &str, namespace: &str) {
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{repository}\ncopies:\n{copies}\
         sources:\n  services: {{kubernetes: {{namespaces: [{namespace}]}}}}\n\
         schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]{copy_to}}}\n"
    );
    fs::write(workshop.policy(), text).unwrap();
}

/// A copy in a folder of the workshop.
fn local(workshop: &Workshop, name: &str) -> String {
    format!("  {name}: {{url: \"file://{}\"}}\n", workshop.folder().join(name).display())
}

fn keys_of(workshop: &mut Workshop, bucket: &Bucket, container: &Container) {
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    workshop.set("TEST_ACCOUNT_KEY", &container.key);
}

/// All files under a folder with their bytes, by their path in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// What a copy has of the original: everything but its own sessions.
fn without_sessions(folder: &Path) -> Vec<(String, Vec<u8>)> {
    files(folder).into_iter().filter(|(name, _)| !name.starts_with("sessions/")).collect()
}

fn actions(report: &Value) -> Vec<&str> {
    report["backups"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect()
}

/// Whatever a copy loses is named by who looks at it, and sent again; what is damaged there is named until it is gone.
#[test]
fn what_a_copy_has_lost_is_named_and_sent_again() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "colours", "--from-literal=sky=blue"]);
    let workshop = Workshop::bare(&source);
    policy(&workshop, &workshop.local_repository(), &local(&workshop, "there"), ", copyTo: [there]", &shop);
    workshop.done(&["repository", "init"]);
    let there = workshop.folder().join("there");
    // Nothing is made where nothing is copied.
    workshop.ends(2, &["copy", "2001", "--to", "there"]);
    assert!(!there.exists());
    let id = workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned();
    let pack =
        there.join(files(&there).into_iter().map(|(name, _)| name).find(|name| name.starts_with("data/")).unwrap());
    let whole = fs::read(&pack).unwrap();
    let send = format!("`drctl copy {id} --to there` sends again what is missing of it");

    for by_name in [true, false] {
        fs::remove_file(&pack).unwrap();
        let said = workshop.ends(4, &["verify", "--all", "--copy", "there"]).stderr;
        assert!(said.contains(&send), "{said}");
        let findings = workshop.json(0, &["doctor"]).to_string();
        assert!(findings.contains("in it lack something that the repository has"), "{findings}");
        let planned = workshop.json(0, &["copy", "--to", "there", "--dry-run"]);
        assert_eq!((actions(&planned), &planned["packs"]), (vec!["mended"], &1.into()), "{planned:#}");
        assert!(!pack.exists());
        let args: &[&str] = if by_name { &["copy", &id, "--to", "there"] } else { &["copy", "--to", "there"] };
        let mended = workshop.json(0, args);
        assert_eq!((actions(&mended), &mended["whole"]), (vec!["mended"], &true.into()), "{mended:#}");
        assert_eq!(fs::read(&pack).unwrap(), whole);
        workshop.done(&["verify", "--all", "--level", "content", "--copy", "there"]);
        assert_eq!(actions(&workshop.json(0, &["copy", &id, "--to", "there"])), ["there"], "the twin");
    }

    // Damage is not overwritten.
    flip(&pack);
    let said = workshop.ends(4, &["verify", "--all", "--level", "stored", "--copy", "there"]).stderr;
    assert!(said.contains("take the damaged objects away") && said.contains(&send), "{said}");
    let said = workshop.ends(4, &["copy", &id, "--to", "there"]).stderr;
    assert!(said.contains("in the copy `there`"), "{said}");
    fs::remove_file(&pack).unwrap();
    assert_eq!(actions(&workshop.json(0, &["copy", &id, "--to", "there"])), ["mended"]);

    // One that is about to be deleted there is not taken for one that is there.
    workshop.done(&["backup"]);
    workshop.done(&["delete", &id, "--copy", "there", "--yes"]);
    let said = workshop.ends(2, &["copy", &id, "--to", "there"]).stderr;
    assert!(said.contains(&format!("drctl prune --undo {id} --copy there")), "{said}");
    assert_eq!(actions(&workshop.json(3, &["copy", "--to", "there"])), ["going", "there"]);
    workshop.done(&["prune", "--undo", &id, "--copy", "there"]);
    assert_eq!(actions(&workshop.json(0, &["copy", &id, "--to", "there"])), ["there"]);
}

async fn empty(bucket: &Bucket) {
    let client = bucket.client();
    loop {
        let listed = client.list_objects_v2().bucket(&bucket.name).send().await.unwrap();
        if listed.contents().is_empty() {
            return;
        }
        for object in listed.contents() {
            client.delete_object().bucket(&bucket.name).key(object.key().unwrap()).send().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_go_from_s3_to_azure_to_a_folder_and_back_into_a_new_bucket() {
    let source = require!(bed::source);
    let (bucket, container) = (require!(bed::bucket), require!(azure::container));
    let second = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "colours", "--from-literal=sky=blue"]);
    let mut workshop = Workshop::bare(&source);
    keys_of(&mut workshop, &bucket, &container);
    let first = s3_repository(&bucket, &bucket.endpoint);
    let copies = format!("{}{}", copy_of("az", &container.repository("copy")), local(&workshop, "local"));
    policy(&workshop, &first, &copies, ", copyTo: [az]", &shop);
    workshop.done(&["repository", "init"]);

    // A backup is copied after it is made.
    let made = workshop.json(0, &["backup"]);
    let id = made["backup"]["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["copies"][0]["copied"], &made["copies"][0]["whole"]), (&1.into(), &true.into()), "{made:#}");
    let again = workshop.json(0, &["copy", "--to", "az"]);
    assert_eq!((actions(&again), &again["bytes"]), (vec!["there"], &0.into()), "{again:#}");
    // From a copy into another, first only as a plan.
    let planned = workshop.json(0, &["copy", "--from", "az", "--to", "local", "--dry-run"]);
    assert!(planned["bytes"].as_u64().unwrap() > 0 && !workshop.folder().join("local").exists(), "{planned:#}");
    let copied = workshop.json(0, &["copy", "latest", "--from", "az", "--to", "local"]);
    assert_eq!(actions(&copied), ["copied"], "{copied:#}");
    assert_eq!(copied["packs"], planned["packs"]);
    let report = workshop.json(0, &["doctor"]);
    let all = report["findings"].as_array().unwrap();
    let behind = |text: &str| all.iter().any(|one| one["what"].as_str().unwrap().contains(text));
    assert!(behind("holds a copy of this repository") && behind("it has every backup of schedule daily"), "{report:#}");

    // The first region is gone.
    empty(&bucket).await;
    workshop.ends(5, &["list"]);
    for copy in ["az", "local"] {
        workshop.done(&["verify", "--all", "--level", "content", "--copy", copy]);
    }
    source.kubectl(&["-n", &shop, "delete", "configmap", "colours"]);
    workshop.done(&["restore", &id, "--copy", "az", "--yes"]);
    assert_eq!(source.get("configmap", &shop, "colours").unwrap()["data"]["sky"], "blue");

    // Back into a new bucket, from the folder; and backups go on there.
    policy(&workshop, &s3_repository(&second, &second.endpoint), &copies, "", &shop);
    let back = workshop.json(0, &["copy", "--from", "local", "--to", "repository"]);
    assert_eq!(actions(&back), ["copied"], "{back:#}");
    workshop.done(&["verify", "--all", "--level", "content"]);
    let next = workshop.json(0, &["backup"]);
    assert_eq!(next["backup"]["parents"][0], id.as_str(), "{next:#}");
    assert_eq!(workshop.backups().len(), 2);
}

#[test]
fn a_copy_that_fails_leaves_the_backup_whole_and_ends_with_3() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::bare(&source);
    let elsewhere = copy_of("far", &s3_repository(&bucket, &bucket.endpoint));
    let (repository, copies) = (workshop.local_repository(), format!("{elsewhere}{}", local(&workshop, "near")));
    workshop.set("TEST_ACCESS_KEY", &bucket.access_key);
    workshop.set("TEST_SECRET_KEY", "wrong");
    policy(&workshop, &repository, &copies, ", copyTo: [far, near]", &shop);
    workshop.done(&["repository", "init"]);
    let ended = workshop.ends(3, &["backup"]);
    assert!(ended.stderr.contains("not everything of schedule daily is in the copy `far`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("next: `drctl copy --to far` goes on"), "{}", ended.stderr);
    let list = workshop.json(0, &["list"]);
    assert_eq!(list["backups"][0]["state"], "complete", "{list:#}");
    assert_eq!(workshop.json(0, &["list", "--copy", "near"])["backups"].as_array().unwrap().len(), 1);
    workshop.ends(5, &["copy", "--to", "far"]);
    workshop.ends(3, &["doctor"]);
    // With the right secret the next run brings both there.
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    let made = workshop.json(0, &["backup"]);
    assert_eq!(made["copies"][0]["copied"], 2, "{made:#}");
    assert_eq!(workshop.json(0, &["list", "--copy", "far"])["backups"].as_array().unwrap().len(), 2);
    workshop.done(&["doctor"]);
    // What makes no sense.
    workshop.ends(2, &["copy", "--to", "mars"]);
    workshop.ends(2, &["copy", "--to", "repository"]);
    workshop.ends(2, &["backup", "--copy", "near"]);
    workshop.ends(2, &["copy", "2001", "--to", "near"]);
}

#[test]
fn a_copy_knows_no_key_refuses_another_repository_and_names_damage() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "colours", "--from-literal=sky=blue"]);
    let workshop = Workshop::bare(&source);
    let (repository, copies) = (workshop.local_repository(), local(&workshop, "there"));
    policy(&workshop, &repository, &copies, "", &shop);
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);

    // Another repository is there.
    let there = workshop.folder().join("there");
    let other = format!("repository: {{url: \"file://{}\", encryption: none}}", there.display());
    workshop.write_policy(&other, &[&shop]);
    workshop.done(&["repository", "init"]);
    policy(&workshop, &repository, &copies, "", &shop);
    let before = files(&there);
    let refused = workshop.ends(5, &["copy", "--to", "there"]);
    assert!(refused.stderr.contains("is no copy of"), "{}", refused.stderr);
    assert_eq!(files(&there), before);
    fs::remove_dir_all(&there).unwrap();

    // A damaged pack of the original is named, and its backup does not become visible.
    let pack = workshop.files("data").remove(0);
    flip(&pack);
    let damaged = workshop.ends(4, &["copy", "--to", "there"]);
    assert!(damaged.stderr.contains(pack.file_name().unwrap().to_str().unwrap()), "{}", damaged.stderr);
    assert_eq!(workshop.json(0, &["list", "--copy", "there"])["backups"].as_array().unwrap().len(), 0);
    flip(&pack);
    workshop.done(&["copy", "--to", "there", "--bandwidth", "50MiB"]);
    assert_eq!(without_sessions(&there), without_sessions(&workshop.repository()));

    // The copy has a `keep` of its own, and pins of its own.
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);
    let kept = copies.replace('}', ", keep: {last: 1}}");
    policy(&workshop, &repository, &kept, "", &shop);
    workshop.done(&["copy", "--to", "there"]);
    let plan = workshop.json(0, &["prune", "--dry-run", "--copy", "there"]);
    let marked = plan["backups"].as_array().unwrap().iter().filter(|one| one["action"] == "mark").count();
    assert_eq!((plan["backups"].as_array().unwrap().len(), marked), (2, 1), "{plan:#}");
    let oldest = workshop.backups().remove(0);
    workshop.done(&["pin", &oldest, "--copy", "there"]);
    let plan = workshop.json(0, &["prune", "--dry-run", "--copy", "there"]);
    assert!(plan["backups"].as_array().unwrap().iter().all(|one| one["action"] == "keep"), "{plan:#}");
    let own = workshop.json(0, &["prune", "--dry-run"]);
    assert!(own["backups"].as_array().unwrap().iter().all(|one| one["action"] == "keep"), "{own:#}");
}

/// The marker that gives a backup up, as prune puts it in the place of its manifest.
fn give_up(copy: &Path, backup: &str) -> PathBuf {
    let line = format!(
        "{{\"drctl\":\"abort\",\"policy\":\"shop\",\"schedule\":\"daily\",\"backup\":\"{backup}\",\"state\":\"aborted\",\
         \"at\":\"2026-11-01T02:00:00Z\",\"reason\":\"a test\"}}\n"
    );
    let marker = copy.join(format!("backups/shop/daily/{backup}.json"));
    fs::write(&marker, format!("{line}{}\n", Sha256Digest::of(line.as_bytes()))).unwrap();
    marker
}

#[test]
fn a_backup_that_was_given_up_in_a_copy_is_left_out_of_all_and_a_failure_by_name() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "colours", "--from-literal=sky=blue"]);
    let workshop = Workshop::bare(&source);
    policy(&workshop, &workshop.local_repository(), &local(&workshop, "there"), "", &shop);
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);
    workshop.done(&["copy", "--to", "there"]);
    let given_up = workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned();
    let marker = give_up(&workshop.folder().join("there"), &given_up);
    workshop.done(&["backup"]);

    let all = workshop.json(3, &["copy", "--to", "there"]);
    assert_eq!((actions(&all), &all["whole"]), (vec!["there", "givenUp", "copied"], &false.into()), "{all:#}");
    assert!(all["backups"][1]["why"].as_str().unwrap().contains("was given up in the copy"), "{all:#}");
    let named = workshop.json(2, &["copy", &given_up, "--to", "there"]);
    assert_eq!((actions(&named), &named["whole"]), (vec!["failed"], &false.into()), "{named:#}");
    let said = workshop.ends(2, &["copy", &given_up, "--to", "there", "--dry-run"]).stderr;
    assert!(said.contains(&format!("backup {given_up} was given up in the copy `there`")), "{said}");
    let said = workshop.ends(3, &["copy", "--to", "there"]).stderr;
    assert!(said.contains(&format!("backup {given_up} was given up")) && said.contains("next: use"), "{said}");
    // The twin: without the marker it is copied.
    fs::remove_file(marker).unwrap();
    assert_eq!(actions(&workshop.json(0, &["copy", &given_up, "--to", "there"])), ["copied"]);
    // One that is about to be deleted.
    let marked = workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned();
    workshop.done(&["backup"]);
    workshop.done(&["delete", &marked, "--yes"]);
    assert!(workshop.ends(2, &["copy", &marked, "--to", "there"]).stderr.contains("has a tombstone"));
    let all = workshop.json(0, &["copy", "--to", "there"]);
    assert_eq!(actions(&all), ["there", "there", "there", "leftOut", "copied"], "{all:#}");
}

#[test]
fn a_copy_that_is_killed_goes_on_and_holds_its_bandwidth() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.random_secrets(&shop, 40);
    let workshop = Workshop::bare(&source);
    policy(&workshop, &workshop.local_repository(), &local(&workshop, "there"), "", &shop);
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);
    let there = workshop.folder().join("there");
    let packs = || files(&there.join("data")).into_iter().filter(|(name, _)| !name.contains(".tmp-")).count();
    let all = workshop.files("data").len();
    assert!(all >= 3, "{all}");

    // Some 20 MiB at 4 MiB a second: it is killed in the middle.
    let mut slow = workshop
        .command(&["copy", "--to", "there", "--bandwidth", "4MiB"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the first pack of the copy", 120, || (packs() > 0).then_some(()));
    slow.kill().unwrap();
    slow.wait().unwrap();
    let sent = packs();
    assert!(sent < all, "it was killed when all was sent: {sent} of {all}");
    assert_eq!(workshop.json(0, &["list", "--copy", "there"])["backups"].as_array().unwrap().len(), 0);
    let rest = workshop.json(0, &["copy", "--to", "there"]);
    assert_eq!(rest["packs"], all - sent, "{rest:#}");
    assert_eq!(without_sessions(&there).len(), without_sessions(&workshop.repository()).len());

    // At least as long as the bytes take at that rate.
    fs::remove_dir_all(&there).unwrap();
    let began = std::time::Instant::now();
    let sent = workshop.json(0, &["copy", "--to", "there", "--bandwidth", "8MiB"])["bytes"].as_u64().unwrap();
    let least = u128::from(sent) * 900 / (8 << 20);
    assert!(began.elapsed().as_millis() >= least, "{sent} bytes in {:?}", began.elapsed());
}
