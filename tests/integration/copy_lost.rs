//! The first store is gone, and there is a copy: what commands say then, and the way back.

use std::{fs, path::Path, sync::Arc};

use drctl::{
    repository::{
        BeginOptions, CommitOutcome, Repository,
        backend::{StoreOptions, open},
    },
    types::{Name, State, SystemClock},
};
use serde_json::Value;

use crate::{
    format::{FIRST, draft},
    support::program::{Ended, run},
};

fn with_policy(policy: &Path, args: &[&str]) -> Ended {
    let policy = policy.to_str().unwrap();
    run(&[args, &["-f", policy]].concat())
}

/// A repository `prod` with a backup, and a copy `us` of it.
async fn copied(folder: &Path) -> std::path::PathBuf {
    let policy = folder.join("policy.yaml");
    let at = |name: &str| format!("file://{}", folder.join(name).display());
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\n\
         repository: {{url: \"{}\", encryption: none}}\n\
         copies:\n  us: {{url: \"{}\"}}\n\
         sources:\n  services: {{kubernetes: {{namespaces: [shop]}}}}\n\
         schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n",
        at("prod"),
        at("us")
    );
    fs::write(&policy, text).unwrap();
    assert_eq!(with_policy(&policy, &["repository", "init"]).code, 0);
    let store = open(&at("prod").parse().unwrap(), &StoreOptions::default()).await.unwrap();
    let repository = Repository::open(store).await.unwrap();
    let name = |text: &str| Name::new(text).unwrap();
    let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], Arc::new(SystemClock));
    let committed = repository.begin(options).await.unwrap().commit(draft(FIRST, State::Complete)).await.unwrap();
    assert!(matches!(committed, CommitOutcome::Committed(_)));
    let copied = with_policy(&policy, &["copy", "--to", "us"]);
    assert_eq!(copied.code, 0, "{}", copied.stderr);
    policy
}

/// What `doctor` says of the copy.
fn of_copy(policy: &Path) -> Vec<String> {
    let kubeconfig = policy.with_file_name("none");
    let ended = with_policy(policy, &["doctor", "-o", "json", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let findings = report["findings"].as_array().unwrap();
    let of = findings.iter().filter(|one| one["subject"] == "copy us");
    of.map(|one| one["what"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_repository_is_told_with_its_copies_and_comes_back_from_one() {
    let folder = tempfile::tempdir().unwrap();
    let policy = copied(folder.path()).await;
    // The twin: it is there.
    assert_eq!(with_policy(&policy, &["list"]).code, 0);
    assert!(of_copy(&policy).iter().any(|what| what.contains("holds a copy of this repository")));

    let prod = folder.path().join("prod");
    fs::remove_dir_all(&prod).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&prod).unwrap();
        }
        for command in [&["list"][..], &["verify"], &["prune", "--dry-run"]] {
            let ended = with_policy(&policy, command);
            assert_eq!(ended.code, 5, "{command:?}: {}", ended.stderr);
            let says = |text: &str| ended.stderr.contains(text);
            assert!(says("the policy has copies of it: us"), "{command:?}: {}", ended.stderr);
            assert!(says("drctl restore BACKUP --copy NAME") && says("drctl copy --from NAME --to repository"));
            assert!(!says("create one with"), "{command:?}: {}", ended.stderr);
        }
        let found = of_copy(&policy);
        assert!(found.len() == 1 && found[0].contains("holds 1 good backup of the policy"), "{found:?}");
        assert_eq!(with_policy(&policy, &["list", "--copy", "us"]).code, 0);
    }
    let back = with_policy(&policy, &["copy", "--from", "us", "--to", "repository"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(with_policy(&policy, &["list"]).code, 0);

    // Its manifests alone are lost.
    fs::remove_dir_all(prod.join("backups")).unwrap();
    let back = with_policy(&policy, &["copy", "--from", "us", "--to", "repository"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    let verified = with_policy(&policy, &["verify", "--all", "--level", "content"]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_the_repository_through_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let policy = copied(folder.path()).await;
    std::os::unix::fs::symlink(folder.path().join("prod"), folder.path().join("link")).unwrap();
    let text = fs::read_to_string(&policy).unwrap();
    let us = format!("file://{}", folder.path().join("us").display());
    for other in ["link", "prod/within"] {
        let there = format!("file://{}", folder.path().join(other).display());
        fs::write(&policy, text.replace(&us, &there)).unwrap();
        let ended = with_policy(&policy, &["copy", "--to", "us"]);
        assert_eq!(ended.code, 2, "{other}: {}", ended.stderr);
        assert!(ended.stderr.contains("a copy needs a place of its own"), "{other}: {}", ended.stderr);
    }
    assert!(!folder.path().join("prod/within").exists());
    fs::write(&policy, text).unwrap();
    assert_eq!(with_policy(&policy, &["copy", "--to", "us"]).code, 0);
}
