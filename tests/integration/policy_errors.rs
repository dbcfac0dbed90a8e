//! Wrong policy files: the exit code is 2, the message has file, line and column, nothing is touched.

use std::{fs, path::Path};

use crate::support::program::{drctl, run_in};

/// A good policy over the folder `repository`, which does not exist.
const GOOD: &str = r#"apiVersion: drctl/v1
kind: Policy
metadata: {name: orders}
repository:
  url: file:///REPOSITORY
  encryption: none
sources:
  services: {kubernetes: {namespaces: [user-service, order-service]}}
schedules:
  daily: {cron: "0 2 * * *", timezone: UTC, sources: [services], keep: {within: 30d}}
"#;

/// The good policy with `from` replaced by `to`, in a folder of its own.
fn folder_with(from: &str, to: &str) -> tempfile::TempDir {
    assert!(GOOD.contains(from), "{from}");
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let text = GOOD.replacen(from, to, 1).replace("/REPOSITORY", &repository.display().to_string());
    fs::write(folder.path().join("p.yaml"), text).unwrap();
    folder
}

fn untouched(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().count() == 1
}

#[test]
fn a_good_policy_passes() {
    let folder = folder_with("kind", "kind");
    let ended = run_in(folder.path(), &["policy", "check", "-f", "p.yaml"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.stdout.starts_with("`p.yaml` is a valid policy: `orders`, 1 source, 1 schedule, into file:///"));
    assert!(untouched(folder.path()));
}

#[test]
fn each_wrong_policy_is_refused_at_its_place() {
    // What else can be wrong, and where it is then, is told by the unit tests of the policy.
    for (from, to, expected) in [
        ("timezone: UTC", "timezome: UTC", "p.yaml:10:30: unknown key `timezome` in `schedules.daily`"),
        ("encryption: none", "encryption: none\n  password: hunter2", "p.yaml:7:3: `password` has a secret in it"),
        ("encryption: none\n", "\n", "p.yaml:5:3: `repository.encryption` is missing"),
        ("[user-service", "[user-service: ", "p.yaml:8:"),
    ] {
        let folder = folder_with(from, to);
        for command in [&["policy", "check"][..], &["policy", "show"]] {
            let ended = run_in(folder.path(), &[command, &["-f", "p.yaml"]].concat());
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{to}: {ended:?}");
            assert!(ended.stderr.starts_with("error: `p.yaml` is not a valid policy"), "{to}: {ended:?}");
            assert!(ended.stderr.contains(expected), "{to}: {}", ended.stderr);
            assert!(ended.stderr.ends_with("next: correct the file; `drctl policy check` reads it again\n"));
            assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
            assert!(untouched(folder.path()), "{to}");
        }
    }
}

#[test]
fn a_hostile_file_moves_no_cursor() {
    let folder = folder_with("name: orders", "name: \"a\\e[2Jb\"");
    let ended = run_in(folder.path(), &["policy", "check", "-f", "p.yaml"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("is not a valid name") && !ended.stderr.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn a_file_that_cannot_be_a_policy_is_refused() {
    let folder = folder_with("kind", "kind");
    let path = folder.path();
    fs::write(path.join("large.yaml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(path.join("binary.yaml"), b"a: b\nc: \xff\n").unwrap();
    fs::write(path.join("most.yaml"), [GOOD.as_bytes(), &vec![b'#'; (1 << 20) - GOOD.len()]].concat()).unwrap();
    for (file, code, expected) in [
        ("absent.yaml", 2, "cannot read the policy `absent.yaml`\ncaused by: No such file"),
        (".", 2, "cannot read the policy `.`\ncaused by: Is a directory"),
        ("large.yaml", 2, "`large.yaml` is larger than 1 MiB"),
        ("binary.yaml", 2, "`binary.yaml:2` is not UTF-8 text"),
        ("most.yaml", 0, ""),
    ] {
        let ended = run_in(path, &["policy", "check", "--file", file]);
        assert_eq!(ended.code, code, "{file}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{file}: {}", ended.stderr);
    }
}

#[test]
fn without_a_policy_the_next_step_is_named() {
    let ended = run_in(Path::new("/"), &["policy", "check"]);
    assert_eq!(ended.code, 2);
    assert_eq!(ended.stderr, "error: no policy file is named\nnext: name it with --file or DRCTL_FILE\n");
    let folder = folder_with("kind", "kind");
    let named = drctl(&["policy", "check"]).env("DRCTL_FILE", folder.path().join("p.yaml")).output().unwrap();
    assert_eq!(named.status.code(), Some(0));
}
