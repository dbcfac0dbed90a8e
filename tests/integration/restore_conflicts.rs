//! Live objects that differ from the backup: updated, or replaced. Each fault has its twin without it.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use drctl::sources::kubernetes::{
    Cluster, ConnectOptions,
    restore::{Action, OnConflict},
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    door::{Door, Fate, first, status},
    snapshot::{Restore, Snapshot, planned},
    workshop::wait_for,
};

async fn through(
    cluster: &bed::Cluster,
    snapshot: &Snapshot,
    on_conflict: OnConflict,
    rule: impl Fn(&Method, &str) -> Fate + Send + Sync + 'static,
) -> (Restore, Door) {
    let mut restore = Restore::on_conflict(cluster, snapshot, on_conflict).await;
    let door = Door::before(restore.cluster.clone(), rule).await;
    let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
    restore.cluster = Cluster::connect(&options).await.unwrap();
    (restore, door)
}

fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": value}})
}

fn deployment(namespace: &str, app: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": app}}, "template": {
            "metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

fn service(namespace: &str, port: u16, kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"type": kind, "selector": {"app": "web"}, "ports": [{"port": port}]}})
}

fn uid(cluster: &bed::Cluster, kind: &str, namespace: &str, name: &str) -> String {
    cluster.get(kind, namespace, name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Runs kubectl from a place where the cluster itself cannot be borrowed.
fn kubectl(kubeconfig: &PathBuf, words: &[&str]) {
    let done = Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(words).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn an_update_makes_what_was_changed_equal_again_and_takes_away_what_was_added() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("update");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    cluster.apply(&service(&namespace, 80, "ClusterIP").to_string());
    cluster.apply(&deployment(&namespace, "web", "example.org/web:1").to_string());
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    let before = cluster.get("service", &namespace, "web").unwrap();

    // The twin: where nothing differs, nothing is updated.
    let same = Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await.plan().await;
    assert_eq!((same.writes(), same.conflicts()), (0, 0));

    cluster.kubectl(&[
        "-n",
        &namespace,
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"data":{"a":"2","b":"x"},"metadata":{"labels":{"since":"x"}}}"#,
    ]);
    cluster.kubectl(&[
        "-n",
        &namespace,
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"ports":[{"port":80,"targetPort":9}]}}"#,
    ]);
    cluster.kubectl(&["-n", &namespace, "set", "image", "deployment/web", "web=example.org/web:2"]);
    cluster.kubectl(&["-n", &namespace, "set", "env", "deployment/web", "ADDED=1"]);
    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await;
    let plan = restore.plan().await;
    assert_eq!((plan.total(Action::Update), plan.conflicts()), (3, 0));
    let (action, reason) = planned(&plan, "configmaps", "settings");
    assert!(action == Action::Update && reason.contains("data.a"), "{reason}");
    let (_, report, comparison) = restore.all().await;
    assert_eq!((report.updated, report.created, report.replaced), (3, 0, 0));
    assert_eq!(comparison.different_objects(), 0);

    let settings = cluster.get("configmap", &namespace, "settings").unwrap();
    assert_eq!(settings["data"], json!({"a": "1"}));
    assert!(settings["metadata"].get("labels").is_none(), "{settings:#}");
    let after = cluster.get("service", &namespace, "web").unwrap();
    assert_eq!(
        (&after["spec"]["clusterIP"], &after["metadata"]["uid"]),
        (&before["spec"]["clusterIP"], &before["metadata"]["uid"])
    );
    let again = restore.plan().await;
    assert_eq!((again.writes(), again.conflicts()), (0, 0));
}

#[tokio::test]
async fn an_update_that_the_server_refuses_is_named_before_anything_is_written() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("immutable");
    cluster.apply(&deployment(&namespace, "web", "example.org/web:1").to_string());
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "delete", "deployment", "web"]);
    cluster.apply(&deployment(&namespace, "other", "example.org/web:1").to_string());
    cluster.apply(&config_map(&namespace, "settings", "2").to_string());

    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await;
    let plan = restore.plan().await;
    let (action, reason) = planned(&plan, "deployments.apps", "web");
    assert_eq!(action, Action::Conflict, "{reason}");
    assert!(reason.contains("the server refuses the update") && reason.contains("field is immutable"), "{reason}");
    assert_eq!(planned(&plan, "configmaps", "settings").0, Action::Update);
    assert_eq!(
        cluster.get("configmap", &namespace, "settings").unwrap()["data"],
        json!({"a": "2"}),
        "planning writes nothing"
    );
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.updated, report.failed.count), (1, 0), "{:#?}", report.failed);
    let live = cluster.get("deployment", &namespace, "web").unwrap();
    assert_eq!(live["spec"]["selector"]["matchLabels"]["app"], json!("other"), "it is left as it is");
}

#[tokio::test]
async fn a_change_between_the_look_and_the_write_is_seen_and_nobody_agreed_to_take_it_away() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("race");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.apply(&config_map(&namespace, "settings", "2").to_string());
    let (kubeconfig, own, raced) = (cluster.kubeconfig().to_owned(), namespace.clone(), AtomicBool::new(false));
    let puts = move |method: &Method, path: &str| {
        if *method == Method::PUT && !path.contains("dryRun") && !raced.swap(true, Ordering::SeqCst) {
            kubectl(&kubeconfig, &["-n", &own, "patch", "configmap", "settings", "-p", r#"{"data":{"a":"3"}}"#]);
        }
        Fate::Forward
    };
    let (restore, _door) = through(&cluster, &snapshot, OnConflict::Update, puts).await;
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.updated, report.requests, report.failed.count), (0, 1, 1), "it met the change");
    assert!(report.failed.objects[0].reason.contains("since the plan was made"), "{:?}", report.failed.objects[0]);
    assert_eq!(cluster.get("configmap", &namespace, "settings").unwrap()["data"], json!({"a": "3"}));
    // The twin: planned again, the change is in the plan.
    let (_, report, _) = restore.all().await;
    assert_eq!(report.updated, 1);
    assert_eq!(cluster.get("configmap", &namespace, "settings").unwrap()["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_done_once() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("lost");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.apply(&config_map(&namespace, "settings", "2").to_string());
    let (rule, _) = first(1, Fate::LoseAnswer, |method, path| *method == Method::PUT && !path.contains("dryRun"));
    let (restore, _door) = through(&cluster, &snapshot, OnConflict::Update, rule).await;
    let (_, report, _) = restore.all().await;
    assert_eq!((report.updated, report.requests), (1, 1));
}

/// The Pods of a workload that are not going away, by their labels `app`.
fn pods(cluster: &bed::Cluster, namespace: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&cluster.kubectl(&["-n", namespace, "get", "pods", "-o", "json"])).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    pods.filter(|pod| pod["metadata"].get("deletionTimestamp").is_none()).cloned().collect()
}

#[tokio::test]
async fn a_replaced_deployment_leaves_no_pods_beside_its_new_ones() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("replace");
    let ready = |cluster: &bed::Cluster| {
        cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    };
    cluster.apply(&deployment(&namespace, "web", "example.org/web:1").to_string());
    ready(&cluster);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    for (app, image) in [("other", "example.org/web:1"), ("web", "example.org/web:2")] {
        cluster.kubectl(&["-n", &namespace, "delete", "deployment", "web", "--wait=true"]);
        cluster.apply(&deployment(&namespace, app, image).to_string());
        ready(&cluster);
        wait_for("the live Pods alone", 60, || {
            let all = pods(&cluster, &namespace);
            (all.len() == 2 && all.iter().all(|pod| pod["metadata"]["labels"]["app"] == json!(app))).then_some(())
        });
        let live = uid(&cluster, "deployment", &namespace, "web");
        let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await;
        let (plan, report, _) = restore.all().await;
        assert_eq!(planned(&plan, "deployments.apps", "web").0, Action::Replace);
        assert_eq!((report.replaced, report.created), (1, 0));
        assert_ne!(uid(&cluster, "deployment", &namespace, "web"), live);
        ready(&cluster);
        wait_for("two Pods of the new Deployment and no others", 60, || {
            let all = pods(&cluster, &namespace);
            let fit = |pod: &Value| {
                pod["metadata"]["labels"]["app"] == json!("web")
                    && pod["spec"]["containers"][0]["image"] == json!("example.org/web:1")
            };
            (all.len() == 2 && all.iter().all(fit)).then_some(())
        });
        let sets: Value =
            serde_json::from_str(&cluster.kubectl(&["-n", &namespace, "get", "rs", "-o", "json"])).unwrap();
        let new = uid(&cluster, "deployment", &namespace, "web");
        for set in sets["items"].as_array().unwrap().iter().filter(|set| set["spec"]["replicas"] != json!(0)) {
            assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], json!(new), "{app}: {set:#}");
        }
        assert_eq!(restore.plan().await.writes(), 0);
    }
}

#[tokio::test]
async fn a_replaced_stateful_set_adopts_the_pods_that_run() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("adopt");
    let set = |size: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": namespace},
            "spec": {"replicas": 1, "serviceName": "db", "podManagementPolicy": size, "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "example.org/db:1"}]}}}})
        .to_string()
    };
    cluster.apply(&set("Parallel"));
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "delete", "statefulset", "db", "--wait=true"]);
    wait_for("no Pod", 60, || pods(&cluster, &namespace).is_empty().then_some(()));
    cluster.apply(&set("OrderedReady"));
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "statefulset/db", "--timeout=180s"]);
    let pod = uid(&cluster, "pod", &namespace, "db-0");

    // What cannot be changed can be replaced.
    let (action, reason) = planned(
        &Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await.plan().await,
        "statefulsets.apps",
        "db",
    );
    assert!(action == Action::Conflict && reason.contains("--on-conflict replace"), "{reason}");
    let (_, report, _) = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await.all().await;
    assert_eq!(report.replaced, 1);
    let owner = uid(&cluster, "statefulset", &namespace, "db");
    wait_for("the running Pod to be adopted", 60, || {
        let live = cluster.get("pod", &namespace, "db-0")?;
        (live["metadata"]["ownerReferences"][0]["uid"] == json!(owner)).then_some(())
    });
    assert_eq!(uid(&cluster, "pod", &namespace, "db-0"), pod, "it was not started again");
}

#[tokio::test]
async fn what_belongs_to_a_replaced_object_is_linked_to_the_new_one() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("children");
    cluster.apply(&config_map(&namespace, "owner", "1").to_string());
    let mut child = config_map(&namespace, "child", "1");
    child["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid(&cluster, "configmap", &namespace, "owner")}]);
    cluster.apply(&child.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "patch", "configmap", "owner", "-p", r#"{"data":{"a":"2"}}"#]);
    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await;
    let (plan, report, _) = restore.all().await;
    assert_eq!((planned(&plan, "configmaps", "child").0, report.replaced, report.merged), (Action::Merge, 1, 1));
    let child = cluster.get("configmap", &namespace, "child").unwrap();
    assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], json!(uid(&cluster, "configmap", &namespace, "owner")));
    assert_eq!(restore.plan().await.writes(), 0);
}

#[tokio::test]
async fn what_would_be_lost_is_not_replaced_and_the_rest_is() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("refused");
    cluster.apply(&service(&namespace, 80, "LoadBalancer").to_string());
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    cluster.apply(&config_map(&namespace, "kept", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&[
        "-n",
        &namespace,
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"ports":[{"port":80,"targetPort":9}]}}"#,
    ]);
    for name in ["settings", "kept"] {
        cluster.kubectl(&["-n", &namespace, "patch", "configmap", name, "-p", r#"{"data":{"a":"2"}}"#]);
    }
    cluster.kubectl(&[
        "-n",
        &namespace,
        "patch",
        "configmap",
        "kept",
        "-p",
        r#"{"metadata":{"finalizers":["example.org/cleanup"]}}"#,
    ]);
    let before = uid(&cluster, "service", &namespace, "web");
    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await;
    let plan = restore.plan().await;
    for (kind, name) in [("services", "web"), ("configmaps", "kept")] {
        let (action, reason) = planned(&plan, kind, name);
        assert!(action == Action::Conflict && reason.contains("never replaced"), "{name}: {reason}");
    }
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.replaced, report.failed.count), (1, 0));
    assert_eq!(uid(&cluster, "service", &namespace, "web"), before);
    cluster.kubectl(&["-n", &namespace, "patch", "configmap", "kept", "-p", r#"{"metadata":{"finalizers":null}}"#]);
}

#[tokio::test]
async fn an_object_that_cannot_be_created_after_its_deletion_is_put_back_as_it_was() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("putback");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&[
        "-n",
        &namespace,
        "patch",
        "configmap",
        "settings",
        "-p",
        r#"{"data":{"a":"2"},"metadata":{"labels":{"l":"1"}}}"#,
    ]);
    let refused = Fate::Say(422, "", status(422, "Invalid", "a policy refuses it"));
    let (rule, _) = first(1, refused, |method, path| {
        *method == Method::POST && path.contains("/configmaps?") && !path.contains("dryRun")
    });
    let (restored, _door) = through(&cluster, &snapshot, OnConflict::Replace, rule).await;
    let plan = restored.plan().await;
    let report = restored.execute(&plan).await.unwrap();
    let reason = &report.failed.objects[0].reason;
    assert!(reason.contains("a policy refuses it") && reason.contains("was put back"), "{reason}");
    let live = cluster.get("configmap", &namespace, "settings").unwrap();
    assert_eq!((&live["data"], &live["metadata"]["labels"]), (&json!({"a": "2"}), &json!({"l": "1"})));

    // The twin: where nothing refuses, it is replaced.
    let (_, report, _) = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await.all().await;
    assert_eq!(report.replaced, 1);
}

#[tokio::test]
async fn an_object_that_took_the_place_of_another_meanwhile_is_not_deleted() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("uid");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "patch", "configmap", "settings", "-p", r#"{"data":{"a":"2"}}"#]);
    let (kubeconfig, own, raced) = (cluster.kubeconfig().to_owned(), namespace.clone(), AtomicBool::new(false));
    let rule = move |method: &Method, _: &str| {
        if *method == Method::DELETE && !raced.swap(true, Ordering::SeqCst) {
            kubectl(&kubeconfig, &["-n", &own, "delete", "configmap", "settings"]);
            kubectl(&kubeconfig, &["-n", &own, "create", "configmap", "settings", "--from-literal=a=3"]);
        }
        Fate::Forward
    };
    let (restore, _door) = through(&cluster, &snapshot, OnConflict::Replace, rule).await;
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!(report.failed.count, 1);
    assert!(report.failed.objects[0].reason.contains("took its place meanwhile"), "{:?}", report.failed.objects[0]);
    assert_eq!(cluster.get("configmap", &namespace, "settings").unwrap()["data"], json!({"a": "3"}));
}
