//! A plan that is saved, looked at, and executed later, if nothing that it was made of has changed.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    bed::{self, Cluster, require},
    workshop::Workshop,
};

/// A workshop with a backup of a namespace that was changed since.
struct Setting {
    cluster: Cluster,
    namespace: String,
    workshop: Workshop,
    plan: PathBuf,
}

impl Setting {
    fn new(cluster: Cluster) -> Self {
        let namespace = cluster.create_namespace("shop");
        for (name, value) in [("changed", "1"), ("gone", "1"), ("kept", "1")] {
            cluster.kubectl(&["-n", &namespace, "create", "configmap", name, &format!("--from-literal=a={value}")]);
        }
        let workshop = Workshop::new(&cluster, &[&namespace]);
        workshop.done(&["backup"]);
        cluster.kubectl(&["-n", &namespace, "delete", "configmap", "gone"]);
        let plan = workshop.folder().join("plan.jsonl");
        let setting = Self { cluster, namespace, workshop, plan };
        setting.change("changed", "2");
        setting
    }

    fn change(&self, name: &str, value: &str) {
        let patch = json!({"data": {"a": value}}).to_string();
        self.cluster.kubectl(&["-n", &self.namespace, "patch", "configmap", name, "-p", &patch]);
    }

    fn value(&self, name: &str) -> Option<Value> {
        self.cluster.get("configmap", &self.namespace, name).map(|live| live["data"]["a"].clone())
    }

    fn save(&self) {
        let plan = self.plan.to_str().unwrap().to_owned();
        let _ = fs::remove_file(&self.plan);
        self.workshop.done(&["restore", "--on-conflict", "update", "--plan-out", &plan]);
    }

    /// Executes the plan, which must be refused for this reason, and nothing written.
    #[track_caller]
    fn is_refused(&self, why: &str) {
        let before = (self.value("gone"), self.value("changed"));
        let ended = self.workshop.ends(5, &["restore", "--plan", self.plan.to_str().unwrap(), "--yes"]);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        assert_eq!((self.value("gone"), self.value("changed")), before, "something was written");
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.plan).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_saved_plan_is_executed_as_it_was_agreed_to() {
    let setting = Setting::new(require!(bed::source));
    setting.save();
    assert_eq!((setting.value("gone"), setting.value("changed")), (None, Some(json!("2"))), "saving wrote");
    let lines = setting.lines();
    assert_eq!((&lines[0]["kind"], &lines[0]["options"]["onConflict"]), (&json!("SavedPlan"), &json!("update")));
    let action = |name: &str| lines.iter().find(|line| line["name"] == json!(name)).unwrap()["action"].clone();
    assert_eq!([action("gone"), action("changed"), action("kept")], [json!("create"), json!("update"), json!("same")]);
    let gone = lines.iter().find(|line| line["name"] == json!("gone")).unwrap();
    assert_eq!((&gone["server"], gone.get("live")), (&json!("accepted"), None));
    assert_eq!(lines.last().unwrap()["objects"], json!(lines.len() - 2));
    // It is never overwritten.
    let plan = setting.plan.to_str().unwrap();
    setting.workshop.ends(2, &["restore", "--on-conflict", "update", "--plan-out", plan]);

    // What is nobody's change does not count: a status, or another newest backup.
    setting.workshop.done(&["backup"]);
    let shown = setting.workshop.done(&["restore", "--plan", plan, "--dry-run"]);
    assert!(shown.stdout.contains("2 objects to write"), "{}", shown.stdout);
    setting.workshop.done(&["restore", "--plan", plan, "--yes"]);
    assert_eq!((setting.value("gone"), setting.value("changed")), (Some(json!("1")), Some(json!("1"))));
    // It was for once.
    setting.is_refused("configmaps");
}

#[test]
fn a_plan_under_which_something_has_changed_is_refused_and_the_change_is_named() {
    let setting = Setting::new(require!(bed::source));
    setting.save();
    setting.change("changed", "3");
    setting.is_refused(&format!("configmaps {}/changed: the live object was changed", setting.namespace));
    setting.save();
    setting.change("kept", "2");
    setting.is_refused(&format!("configmaps {}/kept: the live object was changed", setting.namespace));
    setting.change("kept", "1");
    setting.cluster.kubectl(&["-n", &setting.namespace, "delete", "configmap", "changed"]);
    setting.is_refused("changed: it is not there any more");
    setting.save();
    setting.cluster.kubectl(&["-n", &setting.namespace, "create", "configmap", "gone", "--from-literal=a=9"]);
    setting.is_refused("gone: it is there by now");
    // The twin: made again, it is executed.
    setting.save();
    setting.workshop.done(&["restore", "--plan", setting.plan.to_str().unwrap(), "--yes"]);
    assert_eq!(setting.value("gone"), Some(json!("1")));
}

#[test]
fn a_plan_of_another_cluster_is_refused() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let mut setting = Setting::new(source);
    setting.save();
    setting.workshop.use_kubeconfig(target.kubeconfig());
    let before = target.try_kubectl(&["get", "namespace", &setting.namespace]).status.success();
    let ended = setting.workshop.ends(5, &["restore", "--plan", setting.plan.to_str().unwrap(), "--yes"]);
    assert!(ended.stderr.contains("the cluster: the plan is of"), "{}", ended.stderr);
    let after = target.try_kubectl(&["get", "namespace", &setting.namespace]).status.success();
    assert_eq!((before, after), (false, false));
}

#[test]
fn a_plan_that_was_tampered_with_is_refused() {
    let setting = Setting::new(require!(bed::source));
    setting.save();
    let good = fs::read_to_string(&setting.plan).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let write = |lines: &[&str]| fs::write(&setting.plan, format!("{}\n", lines.join("\n"))).unwrap();
    let edited = |number: usize, from: &str, to: &str| {
        let line = lines[number].replace(from, to);
        assert_ne!(line, lines[number], "{from} is not in {}", lines[number]);
        let mut all = lines.clone();
        all[number] = &line;
        write(&all);
    };
    let place = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap();
    edited(place("\"name\":\"gone\""), "\"create\"", "\"skip\"");
    setting.is_refused("gone: the plan was to skip, and is to create now");
    edited(place("\"name\":\"gone\""), "\"name\":\"gone\"", "\"name\":\"kubeadm-config\"");
    setting.is_refused("where the backup has configmaps");
    edited(0, "\"update\"", "\"replace\"");
    setting.is_refused("the plan was to update, and is to replace now");
    edited(0, "\"update\"", "\"everything\"");
    setting.is_refused("line 1: unknown variant");
    edited(0, "{", "{\"more\":1,");
    setting.is_refused("line 1: unknown field");
    edited(place("\"name\":\"kept\""), "\"same\"", "\"same\",\"reason\":\"harmless\"");
    setting.is_refused("its lines are not those that were saved");
    write(&lines[..lines.len() - 1]);
    setting.is_refused("its last line is missing");
    write(&lines[..lines.len() - 3]);
    setting.is_refused("it ends before the plan does");
    write(&[lines.clone(), vec!["{}"]].concat());
    setting.is_refused("it goes on after its end");
    for (bytes, why) in [
        (Vec::new(), "it is empty"),
        (b"\0\xff\n".to_vec(), "line 1"),
        (vec![b'x'; 1 << 20], "a line of it has no end, or is longer"),
        (b"{\"apiVersion\":\"drctl/v2\"".to_vec(), "a line of it has no end"),
    ] {
        fs::write(&setting.plan, bytes).unwrap();
        setting.is_refused(why);
    }
    fs::remove_file(&setting.plan).unwrap();
    setting.is_refused("it cannot be opened");
    // The twin: the file as it was saved.
    fs::write(&setting.plan, &good).unwrap();
    setting.workshop.done(&["restore", "--plan", setting.plan.to_str().unwrap(), "--yes"]);
}

#[test]
fn conflicts_are_updated_or_replaced_from_the_command_line_and_said_so() {
    let setting = Setting::new(require!(bed::source));
    let refused = setting.workshop.ends(5, &["restore", "--yes"]);
    assert!(refused.stderr.contains("nothing was written"), "{}", refused.stderr);
    let asked = setting.workshop.ends(2, &["restore", "--on-conflict", "replace"]);
    assert!(asked.stderr.contains("1 of them are live and different, and would be DELETED"), "{}", asked.stderr);
    assert_eq!(setting.value("gone"), None, "nobody agreed");
    let report = setting.workshop.json(0, &["restore", "--on-conflict", "replace", "--yes"]);
    let execution = &report["sources"][0]["execution"];
    assert_eq!((&execution["replaced"], &execution["created"]), (&json!(1), &json!(1)));
    setting.change("changed", "2");
    let report = setting.workshop.json(0, &["restore", "--on-conflict", "update", "--yes"]);
    assert_eq!(report["sources"][0]["execution"]["updated"], json!(1));
    let nothing = setting.workshop.json(0, &["restore", "--on-conflict", "update", "--yes"]);
    assert_eq!(nothing["sources"][0]["execution"]["requests"], json!(0));
}
