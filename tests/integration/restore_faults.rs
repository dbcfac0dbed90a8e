//! A restore through a server's worst day. Each fault has its twin without it in `restore_flow`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use drctl::sources::kubernetes::{Cluster, ConnectOptions, restore::Action};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    bed::{self, require},
    door::{Door, Fate, first, status},
    snapshot::{Restore, Snapshot},
};

fn config_maps(namespace: &str, count: usize) -> Vec<Value> {
    let object = |n: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n:03}"), "namespace": namespace}, "data": {"n": n.to_string()}});
    (0..count).map(object).collect()
}

fn snapshot(cluster: &bed::Cluster, namespace: &str, count: usize) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.take(cluster, "namespaces", "", Some(namespace));
    snapshot.add("configmaps", config_maps(namespace, count));
    snapshot
}

async fn through(
    cluster: &bed::Cluster,
    snapshot: &Snapshot,
    rule: impl Fn(&Method, &str) -> Fate + Send + Sync + 'static,
) -> (Restore, Door) {
    let mut restore = Restore::into(cluster, snapshot).await;
    let door = Door::before(restore.cluster.clone(), rule).await;
    let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
    restore.cluster = Cluster::connect(&options).await.unwrap();
    (restore, door)
}

fn creates(method: &Method, path: &str) -> bool {
    *method == Method::POST && path.contains("/configmaps?")
}

#[tokio::test]
async fn an_object_whose_creation_was_not_acknowledged_counts_as_created_once() {
    let cluster = require!(bed::source);
    created_once_each(&cluster, "lost", 40, Fate::LoseAnswer).await;
}

#[tokio::test]
async fn an_object_that_was_created_behind_a_failing_gateway_counts_as_created_once() {
    let cluster = require!(bed::source);
    created_once_each(&cluster, "garbled", 20, Fate::Garble(502, "<html>bad gateway</html>".to_owned())).await;
}

/// Restores objects of which the first ten are created, and their answers meet `fate`.
async fn created_once_each(cluster: &bed::Cluster, suffix: &str, objects: usize, fate: Fate) {
    let namespace = cluster.create_namespace(suffix);
    let snapshot = snapshot(cluster, &namespace, objects);
    let (rule, seen) = first(10, fate, creates);
    let (restore, _door) = through(cluster, &snapshot, rule).await;
    let (_, report, _) = restore.all().await;
    let expected = (u64::try_from(objects).unwrap(), 1, 0);
    assert_eq!((report.created, report.same, report.failed.count), expected, "the namespace is the same");
    assert!(seen.load(Ordering::SeqCst) >= objects + 10, "each was sent again");
}

#[tokio::test]
async fn a_namespace_whose_managed_fields_are_not_taken_back_still_gets_its_objects() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("halfmade");
    let mut snapshot = snapshot(&cluster, &namespace, 3);
    snapshot.change("namespaces", |object| {
        object["metadata"]["managedFields"] = json!([{"manager": "team", "operation": "Apply", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}]);
    });
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
    let no = Fate::Say(403, "", status(403, "Forbidden", "no patch of namespaces"));
    let patch = |method: &Method, path: &str| {
        *method == Method::PATCH && path.contains("/namespaces/") && !path.contains("/configmaps")
    };
    let (rule, seen) = first(usize::MAX, no, patch);
    let (restore, _door) = through(&cluster, &snapshot, rule).await;
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!((report.created, report.failed.count), (3, 1), "{:#?}", report.failed);
    assert!(report.failed.objects[0].reason.starts_with("created, but"), "{:?}", report.failed.objects[0]);
    assert!(cluster.get("configmap", &namespace, "c002").is_some());
}

/// The end of the process between the two requests of an object: the run is dropped where the second
/// one is on its way.
#[tokio::test]
async fn a_run_that_is_killed_before_the_owners_are_put_back_is_finished_by_the_next() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("killed");
    let mut objects = config_maps(&namespace, 2);
    objects[0]["metadata"]["uid"] = json!("6f5f6e7a-0000-4000-8000-000000000001");
    objects[1]["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c000",
        "uid": "6f5f6e7a-0000-4000-8000-000000000001"}]);
    let mut snapshot = snapshot(&cluster, &namespace, 0);
    snapshot.add("configmaps", objects);
    let arrived = Arc::new(Notify::new());
    let tell = Arc::clone(&arrived);
    let rule = move |method: &Method, _: &str| {
        if *method == Method::PATCH {
            tell.notify_one();
            return Fate::Say(503, "retry-after: 5\r\n", status(503, "ServiceUnavailable", "not now"));
        }
        Fate::Forward
    };
    let (restore, _door) = through(&cluster, &snapshot, rule).await;
    let plan = restore.plan().await;
    tokio::select! {
        report = restore.execute(&plan) => panic!("it must not end: {report:?}"),
        () = arrived.notified() => {}
    }
    let child = cluster.get("configmap", &namespace, "c001").unwrap();
    assert!(child.pointer("/metadata/ownerReferences").is_none(), "it was killed before");

    let next = Restore::into(&cluster, &snapshot).await;
    let (_, report, _) = next.all().await;
    assert_eq!((report.created, report.merged, report.same), (0, 1, 2));
    let [owner, child] = ["c000", "c001"].map(|name| cluster.get("configmap", &namespace, name).unwrap());
    assert_eq!(child.pointer("/metadata/ownerReferences/0/uid"), owner.pointer("/metadata/uid"));
    assert_eq!(next.plan().await.writes(), 0);
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_before_the_owners_are_put_back_loses_no_owner() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("lostowner");
    let mut objects = config_maps(&namespace, 2);
    objects[0]["metadata"]["uid"] = json!("6f5f6e7a-0000-4000-8000-000000000001");
    objects[1]["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "c000",
        "uid": "6f5f6e7a-0000-4000-8000-000000000001"}]);
    let mut snapshot = snapshot(&cluster, &namespace, 0);
    snapshot.add("configmaps", objects);
    let writes = |method: &Method, path: &str| *method != Method::GET && path.contains("/configmaps");
    let (rule, _) = first(3, Fate::LoseAnswer, writes);
    let (restore, _door) = through(&cluster, &snapshot, rule).await;
    restore.all().await;
    let live = cluster.get("configmap", &namespace, "c001").unwrap();
    let owner = cluster.get("configmap", &namespace, "c000").unwrap();
    assert_eq!(live.pointer("/metadata/ownerReferences/0/uid"), owner.pointer("/metadata/uid"));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("busy");
    let snapshot = snapshot(&cluster, &namespace, 20);
    let busy = Fate::Say(429, "retry-after: 1\r\n", status(429, "TooManyRequests", "slow down"));
    let (rule, _) = first(5, busy, creates);
    let (restore, _door) = through(&cluster, &snapshot, rule).await;
    let began = Instant::now();
    let (_, report, _) = restore.all().await;
    assert_eq!((report.created, report.failed.count), (20, 0));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_kind_that_is_refused_to_the_end_is_named_and_does_not_hold_up_the_others() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("webhook");
    let mut snapshot = snapshot(&cluster, &namespace, 60);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}});
    snapshot.add("secrets", vec![secret]);
    let down = Fate::Say(500, "", status(500, "InternalError", "failed calling webhook \"x\": connection refused"));
    let (rule, _) = first(usize::MAX, down, creates);
    let (mut restore, _door) = through(&cluster, &snapshot, rule).await;
    restore.execute.object_deadline = Duration::from_secs(6);
    restore.execute.in_flight = 4;
    let plan = restore.plan().await;
    let began = Instant::now();
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.created, report.failed.count), (1, 60));
    assert!(report.failed.objects[0].reason.contains("failed calling webhook"), "{:?}", report.failed.objects[0]);
    assert!(began.elapsed() < Duration::from_secs(60), "fifteen times six seconds, if each waited by itself");
    assert!(cluster.get("secret", &namespace, "s").is_some());
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_is_finished_object_by_object() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("expired");
    let mut items = config_maps(&namespace, 120);
    // Large enough for more than one page.
    items.iter_mut().for_each(|object| object["data"]["pad"] = json!("x".repeat(40_000)));
    cluster.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    let mut snapshot = snapshot(&cluster, &namespace, 0);
    snapshot.add("configmaps", items);
    let gone = Fate::Say(410, "", status(410, "Expired", "the provided continue parameter is too old"));
    let (rule, seen) = first(1, gone, |_, path| path.contains("/configmaps?") && path.contains("continue="));
    let (restore, _door) = through(&cluster, &snapshot, rule).await;
    let plan = restore.plan().await;
    assert!(seen.load(Ordering::SeqCst) >= 1, "there was a second page");
    assert_eq!((plan.total(Action::Same), plan.conflicts(), plan.writes()), (121, 0, 0));
}
