//! What the program prints: help, documents that fit their schemas, data and messages apart.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    bed::{self, require},
    program::{Ended, drctl, run},
    schema::misfits,
    workshop::Workshop,
};

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[track_caller]
fn fits(name: &str, document: &Value) {
    let found = misfits(&schema(name), document);
    assert!(found.is_empty(), "{found:#?} in {document:#}");
}

#[test]
fn the_commands_are_those_that_were_agreed() {
    let help = run(&["-h"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("help", help.stdout);
    let version = run(&["--version"]);
    assert_eq!(version.stdout, format!("drctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_guide_to_the_command_line_names_every_command_and_exit_code() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).unwrap();
    let help = run(&["-h"]).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(guide.contains(&format!("`drctl {name}")), "docs/cli.md does not name {name}");
    }
    for code in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 130 |"] {
        assert!(guide.contains(code), "docs/cli.md does not name the exit code {code}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_prints_no_data() {
    for words in
        [&[][..], &["frobnicate"], &["list", "--nope"], &["show"], &["list", "-o", "xml"], &["-v", "-q", "list"]]
    {
        let ended = run(words);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{words:?}: {ended:?}");
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn credentials_on_the_command_line_are_refused_and_not_repeated() {
    let ended = run(&["list", "--repository", "s3://key:hunter2@bucket/prefix"]);
    assert_eq!(ended.code, 2);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = run(&["completions", shell]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("drctl") && ended.stdout.contains("repository"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = drctl(&["policy", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything is read: every write meets a broken pipe.
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

/// A folder with an empty repository, and the URL of that.
fn empty_repository() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/repository", folder.path().display());
    let policy = folder.path().join("p.yaml");
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: p}}\nrepository: {{url: '{url}', encryption: none}}\n\
         sources: {{s: {{kubernetes: {{namespaces: [a]}}}}}}\nschedules: {{d: {{cron: '0 2 * * *', sources: [s]}}}}\n"
    );
    fs::write(&policy, text).unwrap();
    let made = run(&["repository", "init", "-f", policy.to_str().unwrap(), "-o", "json"]);
    assert_eq!(made.code, 0, "{made:?}");
    fits("repository-info", &serde_json::from_str(&made.stdout).unwrap());
    (folder, url)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn an_empty_repository_is_described_in_every_form() {
    let (_folder, url) = empty_repository();
    for (words, name) in [
        (&["repository", "info"][..], "repository-info"),
        (&["repository", "sessions"], "session-list"),
        (&["list"], "backup-list"),
    ] {
        let words = [words, &["--repository", &url]].concat();
        let printed = json(&run(&[&words[..], &["-o", "json"]].concat()));
        fits(name, &printed);
        let yaml = run(&[&words[..], &["-o", "yaml"]].concat());
        assert!(yaml.stdout.starts_with("apiVersion: drctl/v1\nkind: "), "{yaml:?}");
        let table = run(&words);
        assert_eq!((table.code, table.stderr.as_str()), (0, ""), "{table:?}");
    }
}

#[test]
fn a_json_log_is_json_to_its_last_line() {
    let (_folder, url) = empty_repository();
    let ended = run(&["show", "2026", "--repository", &url, "--log-format", "json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().unwrap().contains("there is no backup `2026`"), "{last}");
}

#[test]
fn a_log_filter_that_is_none_is_refused_and_one_that_is_works() {
    let (_folder, url) = empty_repository();
    let with = |filter: &str| -> Ended {
        drctl(&["list", "--repository", &url]).env("DRCTL_LOG", filter).output().unwrap().into()
    };
    let refused = with("drctl=loud");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("DRCTL_LOG is `drctl=loud`"), "{}", refused.stderr);
    assert_eq!(with("drctl=debug").code, 0);
}

/// The schema whose `kind` the document names.
#[track_caller]
fn fits_its_kind(document: &Value) {
    let name = match document["kind"].as_str().unwrap() {
        "Backup" => "backup",
        "BackupList" => "backup-list",
        "BackupReport" => "backup-report",
        "VerifyReport" => "verify-report",
        "RestorePlan" => "restore-plan",
        "RestoreReport" => "restore-report",
        "AcceptReport" => "accept-report",
        "PruneReport" => "prune-report",
        "MarkReport" => "mark-report",
        "SessionList" => "session-list",
        other => panic!("no schema for {other}"),
    };
    fits(name, document);
}

#[test]
fn every_document_of_a_whole_run_fits_its_schema_and_the_commands_work_without_the_policy_file() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("printed");
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &namespace));
    let workshop = Workshop::new(&source, &[&namespace]);
    let mut seen = vec![workshop.json(0, &["backup"]), workshop.json(0, &["list"])];
    source.kubectl(&["-n", &namespace, "delete", "configmap", "settings"]);
    for words in [
        &["show", "latest", "--streams"][..],
        &["verify", "latest"],
        &["verify", "--all", "--level", "content"],
        &["restore", "--dry-run"],
        &["restore", "latest:daily", "--yes", "--wait-timeout", "0s"],
        &["repository", "sessions"],
    ] {
        seen.push(workshop.json(0, words));
    }
    seen.iter().for_each(fits_its_kind);
    let kinds: Vec<&str> = seen.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "BackupReport",
            "BackupList",
            "Backup",
            "VerifyReport",
            "VerifyReport",
            "RestorePlan",
            "RestoreReport",
            "SessionList"
        ]
    );

    // With the place alone, the policy inside the backup says what `latest` means.
    let url = format!("file://{}", workshop.repository().display());
    let without = |words: &[&str]| -> Ended {
        let mut command: Command = drctl(&[words, &["--repository", &url]].concat());
        command.env("KUBECONFIG", source.kubeconfig()).output().unwrap().into()
    };
    let id = seen[0]["backup"]["id"].as_str().unwrap();
    for wanted in ["latest", "latest:daily", "@2100-01-01T00:00:00Z", id, &id[..20]] {
        let shown = without(&["show", wanted, "-o", "json"]);
        assert_eq!(shown.code, 0, "{wanted}: {shown:?}");
        assert_eq!(json(&shown)["id"], id, "{wanted}");
    }
    let report = seen.iter().find(|document| document["kind"] == "RestoreReport").unwrap();
    assert_eq!(report["state"], "complete");
    assert_eq!(without(&["restore", "latest", "--dry-run"]).code, 0);
    let refused = without(&["backup"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("needs a policy file"), "{}", refused.stderr);
}

#[test]
fn without_a_terminal_a_restore_that_writes_is_refused_until_yes_is_said() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("unasked");
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &namespace));
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    // Nothing would be written, so nothing needs to be agreed to.
    workshop.done(&["restore", "--wait-timeout", "0s"]);

    source.kubectl(&["-n", &namespace, "delete", "configmap", "settings"]);
    let refused = workshop.ends(2, &["restore", "--wait-timeout", "0s"]);
    assert!(refused.stderr.contains("nothing was changed") && refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert!(source.get("configmap", &namespace, "settings").is_none());
    let other = workshop.ends(5, &["restore", "--yes", "--cluster", "00000000-0000", "--wait-timeout", "0s"]);
    assert!(other.stderr.contains("and not 00000000-0000"), "{}", other.stderr);
    assert!(source.get("configmap", &namespace, "settings").is_none());
    workshop.done(&["restore", "--yes", "--wait-timeout", "0s"]);
    assert!(source.get("configmap", &namespace, "settings").is_some());
}

#[test]
fn a_backup_whose_report_cannot_be_written_is_said_to_exist() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("full");
    let workshop = Workshop::new(&source, &[&namespace]);
    for words in [&["backup"][..], &["backup", "-o", "json"]] {
        let before = workshop.backups().len();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = workshop.command(words).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let ids = workshop.backups();
        assert_eq!(ids.len(), before + 1);
        let said = format!("backup {} was made and is complete", ids.last().unwrap());
        assert!(stderr.contains(&said) && stderr.contains("cannot write to standard output"), "{stderr}");
    }
    // The twin: what can be printed is not said a second time.
    let done = workshop.done(&["backup"]);
    assert!(!done.stderr.contains("was made"), "{}", done.stderr);
}

#[test]
fn where_several_policies_share_a_repository_they_are_named() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("several");
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let url = format!("file://{}", workshop.repository().display());
    let latest = || run(&["show", "latest", "--repository", &url]);
    // What is no backup is no policy either.
    let stranger = workshop.repository().join("backups/stranger/daily");
    fs::create_dir_all(&stranger).unwrap();
    fs::write(stranger.join("20261120T020000Z-aaaaaa.json"), "junk").unwrap();
    assert_eq!(latest().code, 0, "{:?}", latest());

    let text = fs::read_to_string(workshop.policy()).unwrap();
    fs::write(workshop.policy(), text.replace("name: shop", "name: other")).unwrap();
    workshop.done(&["backup"]);
    let refused = latest();
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("several policies (other, shop)"), "{}", refused.stderr);
    workshop.done(&["show", "latest"]);
}
