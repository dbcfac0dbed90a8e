//! A server that is gone at request k: whatever k is, a second run ends where an uninterrupted one does.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use drctl::sources::kubernetes::{Cluster, ConnectOptions};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    bed::{self, require},
    door::{self, Door, Fate},
    snapshot::{Restore, Snapshot},
};

/// All requests, and not every fifth.
const EVERY: &str = "DRCTL_TEST_EVERY_REQUEST";
const STEP: usize = 5;

/// A namespace with 60 objects: what owns others, what was applied by a server-side apply, workloads.
fn sixty(namespace: &str) -> Snapshot {
    let uid = |number: usize| format!("6f5f6e7a-0000-4000-8000-{number:012}");
    let meta = |name: String, number: usize| json!({"name": name, "namespace": namespace, "uid": uid(number)});
    let mut snapshot = Snapshot::default();
    snapshot.add("namespaces", vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})]);
    let maps = (0..30).map(|n| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(format!("c{n:02}"), n), "data": {"n": n.to_string()}});
        if n % 3 == 1 {
            let owner = n - 1;
            map["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": format!("c{owner:02}"), "uid": uid(owner)}]);
        }
        if n % 5 == 0 {
            map["metadata"]["managedFields"] = json!([{"manager": "team", "operation": "Apply", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "time": "2026-11-20T10:00:00Z", "fieldsV1": {"f:data": {"f:n": {}}}}]);
        }
        map
    });
    snapshot.add("configmaps", maps.collect());
    let secrets = (0..15).map(|n| json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta(format!("s{n:02}"), 100 + n), "data": {"a": "YQ=="}}));
    snapshot.add("secrets", secrets.collect());
    let services = (0..8).map(|n| json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(format!("v{n}"), 200 + n), "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "a"}}}));
    snapshot.add("services", services.collect());
    let workloads = (0..6).map(|n| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(format!("d{n}"), 300 + n),
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]}}}})
    });
    snapshot.add("deployments.apps", workloads.collect());
    snapshot
}

/// What kubectl and jq say of a namespace: every object, without what each one has for itself, a line each. What the
/// cluster's own controllers put into every namespace is not counted: on a busy machine it comes later than a restore.
fn state(cluster: &bed::Cluster, namespace: &str) -> String {
    const FILTER: &str = r#"[.items[]
        | select(.metadata.name != "kube-root-ca.crt")
        | del(.metadata.uid, .metadata.resourceVersion, .metadata.creationTimestamp, .metadata.generation, .metadata.namespace, .status)
        | del(.spec.clusterIP?, .spec.clusterIPs?)
        | .metadata.annotations |= ((. // {}) | del(."deployment.kubernetes.io/revision"))
        | .metadata.ownerReferences |= ((. // []) | map(del(.uid)))
        | .metadata.managedFields |= ([.[] | select(.subresource == null) | {manager, operation}] | sort | unique)
        ] | sort_by(.kind, .metadata.name) | .[]"#;
    let list = cluster.kubectl(&[
        "-n",
        namespace,
        "get",
        "configmaps,secrets,services,deployments",
        "--show-managed-fields",
        "-o",
        "json",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.json");
    std::fs::write(&file, list.replace(namespace, "NAMESPACE")).unwrap();
    let done = Command::new("jq").arg("-c").arg(FILTER).arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn assert_same(state: &str, expected: &str, what: &str) {
    let differing: Vec<_> = state.lines().zip(expected.lines()).filter(|(live, whole)| live != whole).take(3).collect();
    let (live, whole) = (state.lines().count(), expected.lines().count());
    assert!(differing.is_empty() && live == whole, "{what}: {live} objects, not {whole}; {differing:#?}");
}

/// Owners as their names are not enough: each uid must be that of the live owner.
fn owners_are_live(cluster: &bed::Cluster, namespace: &str) -> usize {
    let list: Value =
        serde_json::from_str(&cluster.kubectl(&["-n", namespace, "get", "configmaps", "-o", "json"])).unwrap();
    let items = list["items"].as_array().unwrap();
    let uid = |name: &Value| {
        items.iter().find(|item| item["metadata"]["name"] == *name).map(|item| item["metadata"]["uid"].clone())
    };
    let owners: Vec<&Value> = items.iter().filter_map(|item| item.pointer("/metadata/ownerReferences/0")).collect();
    assert!(owners.iter().all(|owner| uid(&owner["name"]) == Some(owner["uid"].clone())), "{owners:#?}");
    owners.len()
}

/// Restores through a door that counts, and is shut at request `k`: an odd one is not forwarded, an even one is, and
/// its answer is lost. The run ends there as at a kill. Gives the number of requests that were made.
async fn until(cluster: &bed::Cluster, snapshot: &Snapshot, k: usize) -> usize {
    let mut restore = Restore::into(cluster, snapshot).await;
    let (seen, shut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, tell) = (Arc::clone(&seen), Arc::clone(&shut));
    let rule = move |_: &http::Method, _: &str| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if number >= k {
            tell.notify_one();
        }
        match number {
            number if number < k => Fate::Forward,
            number if number == k && k.is_multiple_of(2) => Fate::LoseAnswer,
            _ => Fate::Drop,
        }
    };
    let door = Door::before(restore.cluster.clone(), rule).await;
    let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
    restore.cluster = Cluster::connect(&options).await.unwrap();
    let whole = async {
        let plan = restore.plan().await;
        let report = restore.execute(&plan).await.unwrap();
        restore.compare(&plan, &report).await
    };
    tokio::select! {
        biased;
        () = shut.notified() => {}
        comparison = whole => assert!(comparison.is_equal(), "{:#?}", comparison.different),
    }
    seen.load(Ordering::SeqCst)
}

#[tokio::test]
async fn wherever_a_restore_is_cut_off_the_next_one_ends_where_an_uninterrupted_one_does() {
    let cluster = require!(bed::source);
    require!(program "jq");
    let whole = cluster.name("whole");
    let requests = until(&cluster, &sixty(&whole), usize::MAX).await;
    let expected = state(&cluster, &whole);
    assert_eq!(owners_are_live(&cluster, &whole), 10);
    assert!(requests > 70, "{requests}");
    let step = if std::env::var_os(EVERY).is_some() { 1 } else { STEP };
    for k in (1..=requests).step_by(step) {
        let namespace = cluster.name(&format!("k{k}"));
        let snapshot = sixty(&namespace);
        until(&cluster, &snapshot, k).await;
        Restore::into(&cluster, &snapshot).await.all().await;
        assert_same(&state(&cluster, &namespace), &expected, &format!("cut off at request {k}"));
        assert_eq!(owners_are_live(&cluster, &namespace), 10, "cut off at request {k}");
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    }
    cluster.kubectl(&["delete", "namespace", &whole, "--wait=false"]);
}

#[tokio::test]
async fn a_single_connection_that_is_dropped_is_tried_again_by_the_same_run() {
    let cluster = require!(bed::source);
    require!(program "jq");
    let whole = cluster.name("once");
    let requests = until(&cluster, &sixty(&whole), usize::MAX).await;
    let expected = state(&cluster, &whole);
    for k in [requests / 4, requests / 2, requests / 2 + 1, requests * 3 / 4] {
        let namespace = cluster.name(&format!("d{k}"));
        let mut restore = Restore::into(&cluster, &sixty(&namespace)).await;
        let seen = AtomicUsize::new(0);
        let rule = move |_: &http::Method, _: &str| match seen.fetch_add(1, Ordering::SeqCst) + 1 == k {
            true if k.is_multiple_of(2) => Fate::LoseAnswer,
            true => Fate::Drop,
            false => Fate::Forward,
        };
        let door = Door::before(restore.cluster.clone(), rule).await;
        let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
        restore.cluster = Cluster::connect(&options).await.unwrap();
        restore.all().await;
        assert_same(&state(&cluster, &namespace), &expected, &format!("dropped at request {k}"));
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    }
    cluster.kubectl(&["delete", "namespace", &whole, "--wait=false"]);
}

/// `c25` has an owner and what was applied by a server-side apply: its second request puts both back.
#[tokio::test]
async fn a_second_request_whose_answer_is_lost_is_not_sent_again() {
    let cluster = require!(bed::source);
    require!(program "jq");
    let whole = cluster.name("answered");
    until(&cluster, &sixty(&whole), usize::MAX).await;
    let expected = state(&cluster, &whole);
    for (fate, sent) in [(Fate::LoseAnswer, 1), (Fate::Drop, 2)] {
        let namespace = cluster.name("lost");
        let mut restore = Restore::into(&cluster, &sixty(&namespace)).await;
        let is_second = |method: &http::Method, path: &str| method == http::Method::PATCH && path.contains("/c25?");
        let (rule, seen) = door::first(1, fate.clone(), is_second);
        let door = Door::before(restore.cluster.clone(), rule).await;
        let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
        restore.cluster = Cluster::connect(&options).await.unwrap();
        restore.all().await;
        assert_same(&state(&cluster, &namespace), &expected, &format!("{fate:?}"));
        assert_eq!(seen.load(Ordering::SeqCst), sent, "{fate:?}");
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    }
    cluster.kubectl(&["delete", "namespace", &whole, "--wait=false"]);
}
