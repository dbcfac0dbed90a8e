//! The main job: namespaces of a real cluster backed up, destroyed, restored, and compared, by
//! drctl and by kubectl.

use serde_json::Value;

use crate::support::{
    bed::{self, Cluster, require},
    workshop::Workshop,
};

/// A small system of many kinds in one namespace.
fn shop(namespace: &str) -> String {
    let document = include_str!("../data/shop.yaml");
    document.replace("NAMESPACE", namespace)
}

/// What kubectl sees of a namespace, without what a server sets by itself.
fn seen_by_kubectl(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let kinds = "serviceaccounts,configmaps,secrets,roles,rolebindings,deployments,statefulsets,services,\
                 poddisruptionbudgets,networkpolicies,horizontalpodautoscalers,ingresses,cronjobs,resourcequotas,limitranges";
    let text = cluster.kubectl(&["get", kinds, "-n", namespace, "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let mut objects = list["items"].as_array().unwrap().clone();
    objects.retain(|object| object["metadata"]["name"] != "kube-root-ca.crt");
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        if object["kind"] == "Service" {
            let spec = object["spec"].as_object_mut().unwrap();
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        object.as_object_mut().unwrap().remove("status");
    }
    objects
}

fn delete_namespace(cluster: &Cluster, namespace: &str) {
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=true", "--timeout=120s"]);
}

#[test]
fn a_deleted_namespace_comes_back_and_is_equal_field_by_field() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("shop");
    source.apply(&shop(&namespace));
    source.kubectl(&["-n", &namespace, "rollout", "status", "deployment/api", "--timeout=180s"]);
    let before = seen_by_kubectl(&source, &namespace);
    assert!(before.len() >= 15, "the system has only {} objects", before.len());

    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
    delete_namespace(&source, &namespace);

    let report = workshop.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(seen_by_kubectl(&source, &namespace), before);
    let comparison = &report["sources"][0]["comparison"];
    let groups = comparison["groups"].as_array().unwrap();
    let sum = |field: &str| groups.iter().map(|group| group[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("expected"), sum("equal"), "{comparison:#}");
    assert!(sum("expected") >= before.len() as u64, "{comparison:#}");

    // Run again: everything is the same, and nothing is written.
    let again = workshop.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(again["sources"][0]["execution"]["created"], 0, "{again:#}");
    assert_eq!(again["sources"][0]["execution"]["requests"], 0, "{again:#}");
}

#[test]
fn a_backup_restores_into_another_cluster_once_that_cluster_is_named() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let namespace = source.create_namespace("moved");
    source.apply(&shop(&namespace));
    let before = seen_by_kubectl(&source, &namespace);
    let mut workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);

    workshop.use_kubeconfig(target.kubeconfig());
    let refused = workshop.ends(2, &["restore", "latest", "--yes"]);
    assert!(refused.stderr.contains("--cluster"), "{}", refused.stderr);
    assert!(target.get("namespace", "default", &namespace).is_none(), "a refused restore made the namespace");

    let uid =
        target.get("namespace", "default", "kube-system").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    workshop.done(&["restore", "latest", "--yes", "--cluster", &uid]);
    assert_eq!(seen_by_kubectl(&target, &namespace), before);
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("dry");
    source.apply(&shop(&namespace));
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    delete_namespace(&source, &namespace);

    let shown = workshop.done(&["restore", "latest", "--dry-run"]);
    assert!(shown.stdout.contains("objects to write. Nothing was changed."), "{}", shown.stdout);
    assert!(source.get("namespace", "default", &namespace).is_none(), "a dry run made the namespace");
    // The twin: the same without --dry-run makes it.
    workshop.done(&["restore", "latest", "--yes"]);
    assert!(source.get("namespace", "default", &namespace).is_some());
}

#[test]
fn a_live_object_that_differs_stops_the_restore_before_the_first_write() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("differs");
    source.apply(&shop(&namespace));
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    source.kubectl(&["-n", &namespace, "delete", "secret", "database"]);
    source.kubectl(&["-n", &namespace, "patch", "configmap", "settings", "-p", r#"{"data":{"LOG_LEVEL":"debug"}}"#]);
    let version = || source.get("configmap", &namespace, "settings").unwrap()["metadata"]["resourceVersion"].clone();
    let touched = version();

    let refused = workshop.ends(5, &["restore", "latest", "--yes"]);
    assert!(refused.stderr.contains("nothing was written"), "{}", refused.stderr);
    assert!(source.get("secret", &namespace, "database").is_none(), "a refused restore made the Secret");
    assert_eq!(version(), touched);

    // Told to leave it, the rest is restored, the one is named, and the exit code says so.
    let skipped = workshop.ends(3, &["restore", "latest", "--yes", "--on-conflict", "skip"]);
    assert!(format!("{}{}", skipped.stdout, skipped.stderr).contains("settings"), "{}", skipped.stdout);
    assert!(source.get("secret", &namespace, "database").is_some());
    assert_eq!(version(), touched);
}
