//! What Helm installed is Helm's after a restore, too: it lists, upgrades and rolls back.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    workshop::{Workshop, wait_for},
};

/// Helm, in one namespace of a cluster.
struct Helm<'c> {
    program: String,
    cluster: &'c bed::Cluster,
    namespace: &'c str,
}

impl Helm<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // A developer's own settings, plugins and repositories must not count.
        command.env("HELM_CONFIG_HOME", "/nonexistent").env("HELM_DATA_HOME", "/nonexistent");
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(["--namespace", self.namespace]).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn try_run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("helm runs")
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "helm {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `name revision status` of each release, in the order of their names.
    fn releases(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.run(&["list", "--all", "-o", "json"])).unwrap();
        let text = |release: &Value, field: &str| release[field].as_str().unwrap().to_owned();
        let line = |release: &Value| ["name", "revision", "status"].map(|field| text(release, field)).join(" ");
        list.as_array().unwrap().iter().map(line).collect()
    }
}

fn chart(name: &str) -> String {
    format!("{}/tests/data/helm/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn releases_are_listed_upgraded_and_rolled_back_after_a_restore() {
    let cluster = require!(bed::source);
    let program = require!(bed::helm);
    let namespace = cluster.create_namespace("apps");
    let helm = Helm { program, cluster: &cluster, namespace: &namespace };
    let (web, settings) = (chart("web"), chart("settings"));
    helm.run(&["install", "web", &web, "--set", "greeting=one"]);
    helm.run(&["upgrade", "web", &web, "--set", "greeting=two", "--wait", "--timeout", "60s"]);
    helm.run(&["install", "settings", &settings]);
    helm.run(&["install", "stuck", &web]);
    // An upgrade that is killed while it waits for a Pod that never comes.
    let mut killed = helm
        .command(&["upgrade", "stuck", &web, "--set", "node=nowhere", "--wait", "--timeout", "120s"])
        .stdout(Stdio::null())
        .spawn()
        .expect("helm runs");
    wait_for("the pending release", 120, || {
        helm.releases().contains(&"stuck 2 pending-upgrade".to_owned()).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = helm.releases();
    assert_eq!(before, ["settings 1 deployed", "stuck 2 pending-upgrade", "web 2 deployed"]);
    // The Pod that never comes would keep the restore waiting.
    cluster.kubectl(&["-n", &namespace, "scale", "deployment/stuck", "--replicas=0"]);

    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
    let plan = workshop.json(0, &["restore", "--dry-run"]);
    let objects = plan["sources"][0]["objects"].as_array().unwrap();
    let reasons: Vec<(&str, &str)> = objects
        .iter()
        .filter(|object| object["reason"].as_str().is_some_and(|reason| reason.contains("Helm release")))
        .map(|object| (object["name"].as_str().unwrap(), object["reason"].as_str().unwrap()))
        .collect();
    let [("sh.helm.release.v1.stuck.v2", reason)] = reasons[..] else { panic!("{reasons:?}") };
    assert!(reason.contains("`stuck` was `pending-upgrade`") && reason.contains("helm rollback stuck"), "{reason}");
    let report = workshop.json(0, &["restore", "--yes"]);
    assert_eq!((&report["complete"], &report["equal"]), (&json!(true), &json!(true)));

    assert_eq!(helm.releases(), before);
    helm.run(&["upgrade", "web", &web, "--set", "greeting=three", "--wait", "--timeout", "60s"]);
    helm.run(&["upgrade", "settings", &settings, "--set", "password=second"]);
    let greeting = || cluster.get("configmap", &namespace, "web").unwrap()["data"]["greeting"].clone();
    assert_eq!(greeting(), "three");
    helm.run(&["rollback", "web", "1", "--wait", "--timeout", "60s"]);
    assert_eq!(greeting(), "one", "a revision of before the backup");
    let refused = helm.try_run(&["upgrade", "stuck", &web]);
    assert!(!refused.status.success(), "a pending release is not upgraded");
    helm.run(&["rollback", "stuck", "1"]);
    helm.run(&["upgrade", "stuck", &web]);
    assert_eq!(helm.releases(), ["settings 2 deployed", "stuck 4 deployed", "web 4 deployed"]);
}
