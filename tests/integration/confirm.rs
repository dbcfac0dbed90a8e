//! What is asked on a terminal before a restore writes. `script` (of bsdutils) is the terminal.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{
    bed::{self, Cluster, require},
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// Runs `drctl` on a terminal where `answer` is typed.
fn on_a_terminal(workshop: &Workshop, args: &[&str], answer: &str) -> Ended {
    let drctl = workshop.command(&[]);
    let words: Vec<String> =
        std::iter::once(drctl.get_program().to_str().unwrap()).chain(args.iter().copied()).map(quoted).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    for (name, value) in drctl.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(answer.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap().into();
    drop(keyboard);
    ended
}

fn quoted(word: &str) -> String {
    format!("'{word}'")
}

/// A backup of a ConfigMap that is then deleted, and its namespace.
fn something_to_restore(source: &Cluster, name: &str) -> (Workshop, String) {
    let namespace = source.create_namespace(name);
    source.apply(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {namespace}}}\n"));
    let workshop = Workshop::new(source, &[&namespace]);
    workshop.done(&["backup"]);
    source.kubectl(&["-n", &namespace, "delete", "configmap", "a"]);
    (workshop, namespace)
}

const RESTORE: [&str; 3] = ["restore", "--wait-timeout", "0s"];

#[test]
fn a_restore_writes_after_a_yes_and_after_nothing_else() {
    let source = require!(bed::source);
    require!(program "script");
    let (workshop, namespace) = something_to_restore(&source, "asked");
    for answer in ["no\n", "\n", "source\n"] {
        let ended = on_a_terminal(&workshop, &RESTORE, answer);
        assert_eq!(ended.code, 5, "{answer:?}: {ended:?}");
        assert!(
            ended.stdout.contains("Type yes to go on") && ended.stdout.contains("nothing was changed"),
            "{ended:?}"
        );
        assert!(ended.stdout.contains(&namespace), "the plan is not shown: {ended:?}");
        assert!(source.get("configmap", &namespace, "a").is_none(), "{answer:?} was taken for a yes");
    }
    let ended = on_a_terminal(&workshop, &RESTORE, "yes\n");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(source.get("configmap", &namespace, "a").is_some());
}

#[test]
fn another_cluster_takes_its_name_and_a_yes_is_not_enough() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    require!(program "script");
    let (mut workshop, namespace) = something_to_restore(&source, "elsewhere");
    workshop.use_kubeconfig(target.kubeconfig());
    for (args, answer) in [(&RESTORE[..], "yes\n"), (&["restore", "--wait-timeout", "0s", "--yes"], "yes\n")] {
        let ended = on_a_terminal(&workshop, args, answer);
        assert_eq!(ended.code, 5, "{ended:?}");
        assert!(
            ended.stdout.contains("ANOTHER cluster") && ended.stdout.contains("Type the cluster's name"),
            "{ended:?}"
        );
        assert!(target.get("namespace", "default", &namespace).is_none());
    }
    let ended = on_a_terminal(&workshop, &RESTORE, "target\n");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(target.get("configmap", &namespace, "a").is_some());
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn what_the_plan_of_objects_warns_of_is_said_to_those_who_agree_beforehand() {
    let source = require!(bed::source);
    let (workshop, namespace) = something_to_restore(&source, "warned");
    let quota = serde_json::json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": namespace}, "spec": {"hard": {"count/configmaps": "0"}}});
    source.create(&quota.to_string());
    wait_for("the quota's count", 120, || {
        source.get("resourcequota", &namespace, "full")?.pointer("/status/used").map(drop)
    });
    // The one request of it is refused.
    let ended = workshop.ends(5, &[&RESTORE[..], &["--yes", "-o", "json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let named = format!("resourcequotas {namespace}/full");
    assert!(report["warnings"][0]["warning"].as_str().unwrap().starts_with(&named), "{report}");
    assert!(ended.stderr.contains(&format!("warning: source services: {named}")), "{}", ended.stderr);

    // The twin: there is room.
    source.kubectl(&["-n", &namespace, "delete", "resourcequota", "full"]);
    let ended = workshop.done(&[&RESTORE[..], &["--yes", "-o", "json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["warnings"].is_null() && !ended.stderr.contains("warning: source"), "{ended:?}");
}
