//! `policy from-velero`: what Velero does becomes a policy that drctl takes, and what is lost is named.

use std::{fs, process::Stdio};

use crate::support::program::{drctl, run_in};

const CLUSTER: &str = include_str!("../data/velero/cluster.yaml");

#[test]
fn what_kubectl_prints_of_velero_becomes_a_policy_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("velero.yaml"), CLUSTER).unwrap();
    let made = run_in(folder.path(), &["policy", "from-velero", "velero.yaml"]);
    assert_eq!(made.code, 3, "{made:?}");
    for lost in [
        "without an equivalent: velero.yaml:47: `defaultVolumesToFsBackup`: a backup holds claims",
        "without an equivalent: velero.yaml:51: `hooks`: commands in Pods before and after",
    ] {
        assert!(made.stderr.contains(lost), "{lost}\n{}", made.stderr);
        assert!(made.stdout.contains(lost.trim_start_matches("without an equivalent: ")), "{}", made.stdout);
    }
    assert!(made.stderr.ends_with("then `drctl policy check`\n"), "{}", made.stderr);
    assert_eq!(made.stderr.lines().count(), 3, "{}", made.stderr);
    fs::write(folder.path().join("policy.yaml"), &made.stdout).unwrap();
    let checked = run_in(folder.path(), &["policy", "check", "-f", "policy.yaml"]);
    assert_eq!(checked.code, 0, "{checked:?}\n{}", made.stdout);
    assert!(
        checked.stdout.contains("`cluster`, 2 sources, 2 schedules, into s3://company-dr/velero-drctl"),
        "{checked:?}"
    );
    let shown = run_in(folder.path(), &["policy", "show", "-f", "policy.yaml", "-o", "json"]);
    let policy: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(policy["schedules"]["services-daily"]["keep"]["within"], "30d");
    assert_eq!(policy["schedules"]["cluster-weekly"]["timezone"], "Europe/Berlin");
    assert_eq!(policy["sources"]["cluster-weekly"]["kubernetes"]["excludeNamespaces"][1], "velero");

    // The twin: without what is lost the exit code is 0, and there is nothing on standard error.
    let (before, rest) = CLUSTER.split_once(WEEKLY).unwrap();
    let (_, after) = rest.split_once("- apiVersion: velero.io/v1\n  kind: BackupStorageLocation").unwrap();
    let text = format!("{before}- apiVersion: velero.io/v1\n  kind: BackupStorageLocation{after}");
    fs::write(folder.path().join("rest.yaml"), text).unwrap();
    let made = run_in(folder.path(), &["policy", "from-velero", "rest.yaml", "--name", "services"]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""), "{made:?}");
}

/// Where the schedule begins that has something without an equivalent.
const WEEKLY: &str = "- apiVersion: velero.io/v1\n  kind: Schedule\n  metadata:\n    name: cluster-weekly\n";

#[test]
fn standard_input_is_read_and_wrong_input_is_named_at_its_place() {
    let run = |text: &str, more: &[&str]| {
        let mut command = drctl(&[&["policy", "from-velero", "-"], more].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it has read all of it.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(run(CLUSTER, &[]).0, 3);
    for (text, more, said) in [
        (
            CLUSTER.replace("ttl: 720h0m0s", "ttl: 30d"),
            &[][..],
            "-:34:12: `spec.template.ttl` must be a length of time",
        ),
        (CLUSTER.replace("0 2 * * *", "2am"), &[], "-:20:15: `2am` is not a cron expression"),
        ("a: b: c".to_owned(), &[], "-:1:"),
        (String::new(), &[], "there is no Schedule and no Backup of Velero in -"),
        (CLUSTER.to_owned(), &["--location", "far"], "no schedule uses the storage location `far`; they use: default"),
        (CLUSTER.to_owned(), &["--url", "s3://key:secret@bucket"], "holds no credentials"),
        ("x".repeat(5 << 20), &[], "`-` is larger than 4 MiB"),
    ] {
        let (code, printed, errors) = run(&text, more);
        assert_eq!((code, printed.as_str()), (2, ""), "{said}: {errors}");
        assert!(errors.contains(said), "{said}: {errors}");
        assert!(!errors.contains("key:secret"), "{errors}");
    }
}
