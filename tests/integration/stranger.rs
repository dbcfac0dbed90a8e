//! A stranger's repository: what the policy inside its backups says is neither run, nor connected to, nor are secrets read
//! where it says, unless one has signed the backup whom the command line names.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use drctl::{
    repository::{
        BeginOptions, CommitOutcome, ManifestDraft, Repository,
        backend::Directory,
        crypt::{Access, SigningKey},
    },
    types::{CaptureSink, MediaType, Name, PartSummary, RowDigest, State, StreamSpec, SystemClock},
};
use serde_json::{Value, json};

use crate::{
    format::{SECOND, draft},
    support::program::{Ended, drctl},
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A backup of a database in a new repository in `folder`, with this policy inside, signed by the stranger.
async fn backup_with(folder: &Path, policy: Value, key: &SigningKey) -> String {
    let store = Arc::new(Directory::make(folder).await.unwrap());
    let clock = Arc::new(SystemClock);
    let repository = match Repository::init(store.clone(), &*clock).await {
        Ok(made) => made,
        Err(_) => Repository::open(store).await.unwrap(),
    };
    let access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let options = BeginOptions::new(name("orders"), name("daily"), vec![name("orders-db")], clock);
    let writer = repository.with_access(access).begin(options).await.unwrap();
    let backup = writer.backup().to_string();
    let spec = StreamSpec { source: name("orders-db"), name: "public.people".into(), media_type: MediaType::Table };
    let mut sink = writer.open(spec).await.unwrap();
    sink.begin_part("0").await.unwrap();
    sink.write(Bytes::from_static(b"1\tAda\n")).await.unwrap();
    let mut digest = RowDigest::default();
    digest.add_row(b"1\tAda");
    sink.end_part(PartSummary { count: 1, digest: Some(digest) }).await.unwrap();
    sink.finish().await.unwrap();
    let mut sources = draft(SECOND, State::Complete).sources;
    sources.retain(|source| source.kind == "postgres");
    let draft = ManifestDraft { sources, policy_document: Some(policy), ..ManifestDraft::new(State::Complete) };
    assert!(matches!(writer.commit(draft).await.unwrap(), CommitOutcome::Committed(_)));
    backup
}

fn policy(more: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "drctl/v1", "kind": "Policy", "metadata": {"name": "orders"},
        "repository": {"url": "file:///nowhere", "encryption": "none"},
        "sources": {"orders-db": {"postgres": {"url": {"file": "/stranger/says/password"}}}},
        "schedules": {"daily": {"cron": "0 2 * * *", "sources": ["orders-db"]}},
    });
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

/// Every command that takes a repository without a policy.
fn all_commands(repository: &Path, backup: &str, more: &[&str]) -> Vec<(String, Ended)> {
    let url = format!("file://{}", repository.display());
    let commands = [
        vec!["list"],
        vec!["show", "latest"],
        vec!["show", backup, "--objects"],
        vec!["verify", "--all", "--level", "content", "--no-evidence"],
        vec!["export", backup, "orders-db"],
        vec!["diff", backup, "latest"],
        vec!["restore", backup, "--dry-run"],
        vec!["restore", backup, "--yes"],
        vec!["restore", "latest", "--yes"],
        vec!["repository", "info"],
        vec!["repository", "sessions"],
    ];
    let run = |words: Vec<&str>| {
        let mut command = drctl(&words);
        command.args(["--repository", &url]).args(more).current_dir(repository.parent().unwrap());
        (words.join(" "), command.output().unwrap().into())
    };
    commands.into_iter().map(run).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_strangers_policy_names_is_not_read_unless_its_signer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let key = SigningKey::generate("stranger").unwrap();
    let backup = backup_with(&repository, policy(json!({})), &key).await;
    let reads = |more: &[&str]| -> Vec<String> {
        let all = all_commands(&repository, &backup, more);
        let reads = |ended: &Ended| format!("{}{}", ended.stdout, ended.stderr).contains("/stranger/says/password");
        all.into_iter().filter(|(_, ended)| reads(ended)).map(|(command, _)| command).collect()
    };
    assert_eq!(reads(&[]), Vec::<String>::new(), "a secret was read where a stranger says");
    let other = SigningKey::generate("other").unwrap().signer().to_string();
    assert_eq!(reads(&["--signer", &other]), Vec::<String>::new());
    // The twin: who names the stranger's key believes its policy, and the error names the file that is not there.
    let signer = key.signer().to_string();
    let read = reads(&["--signer", &signer]);
    assert!(read.iter().any(|command| command.starts_with("restore")), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_a_strangers_policy_names_are_not_run_whoever_has_signed_it() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let key = SigningKey::generate("stranger").unwrap();
    let flag = folder.path().join("it-ran");
    let argv = json!(["/bin/sh", "-c", format!("touch {}", flag.display())]);
    let sources = json!({"orders-db": {"command": {"capture": argv, "restore": argv, "compare": argv}}});
    let more = [
        json!({"sources": sources}),
        json!({"checks": {"all": {"command": argv}}}),
        json!({"runbook": [{"command": argv}]}),
        json!({"hooks": {"before": argv, "after": argv}}),
    ];
    let signer = key.signer().to_string();
    for more in more {
        let backup = backup_with(&repository, policy(more), &key).await;
        for words in [&[][..], &["--signer", &signer]] {
            for (command, ended) in all_commands(&repository, &backup, words) {
                assert!(!flag.exists(), "`{command}` ran it: {ended:?}");
                // The backup itself is as readable as any other.
                let reads = ["list", "verify", "repository"].iter().any(|word| command.starts_with(word));
                assert!(!reads || ended.code == 0, "{command}: {ended:?}");
            }
        }
        fs::remove_dir_all(&repository).unwrap();
    }
}
