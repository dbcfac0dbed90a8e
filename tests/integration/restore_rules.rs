//! The rules of a restore, one by one, on a real API server.

use std::time::{Duration, Instant};

use drctl::sources::kubernetes::restore::{Action, Plan, RestoreReport};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    snapshot::{Restore, Snapshot},
};

/// Waits for a value that `look` gives, with the patience that a controller needs.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn remove(cluster: &bed::Cluster, namespace: &str) {
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=true", "--timeout=180s"]);
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What the plan says about one object.
fn planned(plan: &Plan, kind: &str, name: &str) -> (Action, String) {
    let mut objects = plan.objects().filter(|object| object.kind == kind && object.name == name);
    let object = objects.next().unwrap_or_else(|| panic!("{kind} {name} is not in the plan"));
    (object.action, object.reason.to_owned())
}

fn adjusted(report: &RestoreReport, name: &str) -> Vec<String> {
    let notes = report.adjusted.objects.iter().filter(|note| note.object.name == name);
    notes.map(|note| note.reason.clone()).collect()
}

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": "1"}})
}

fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "example.org/main:1"}]}}}})
    .to_string()
}

#[tokio::test]
async fn what_controllers_make_again_is_left_to_them() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("again");
    cluster.apply(&deployment(&namespace, "web", 2));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
                         "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.apply(&service.to_string());
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    eventually("kube-root-ca.crt", || cluster.get("configmap", &namespace, "kube-root-ca.crt"));
    eventually("the Service's slice", || {
        let slices = cluster.kubectl(&["-n", &namespace, "get", "endpointslices", "-o", "name"]);
        (!slices.trim().is_empty()).then_some(())
    });
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    let skipped = |kind: &str| plan.objects().filter(|it| it.kind == kind && it.action == Action::Skip).count();
    assert_eq!(skipped("pods"), 2);
    assert_eq!(skipped("replicasets.apps"), 1);
    assert!(skipped("endpointslices.discovery.k8s.io") >= 1);
    assert_eq!(planned(&plan, "configmaps", "kube-root-ca.crt").0, Action::Skip);
    assert_eq!(planned(&plan, "deployments.apps", "web").0, Action::Create);
    let ready = restore.ready(&plan, &report, 30).await;
    assert!(ready.is_ready(), "{:#?}", ready.not_ready);
    let pods = cluster.kubectl(&["-n", &namespace, "get", "pods", "-o", "name"]);
    assert_eq!(pods.lines().count(), 2, "no Pod twice: {pods}");
}

#[tokio::test]
async fn the_manager_of_an_applied_object_still_owns_its_fields() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("managed");
    let apply = |manager: &str, value: &str| {
        let mut object = config_map(&namespace, "applied");
        object["data"]["a"] = json!(value);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let output =
            cluster.try_kubectl(&["apply", "--server-side", &format!("--field-manager={manager}"), "-f", &path]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(apply("team", "1").0);
    cluster.apply(&config_map(&namespace, "updated").to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    restore.all().await;
    let managers = |name: &str| -> Vec<String> {
        let words = ["-n", &namespace, "get", "configmap", name, "--show-managed-fields", "-o", "json"];
        let live: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
        let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
        entries.iter().map(|it| format!("{} {}", text(it, "/manager"), text(it, "/operation"))).collect()
    };
    assert_eq!(managers("applied"), ["team Apply"]);
    assert_eq!(managers("updated"), ["drctl Update"], "nothing was applied here: one request");
    let (done, words) = apply("other", "2");
    assert!(!done && words.contains("conflict"), "another manager must be refused: {words}");
    let (done, words) = apply("team", "2");
    assert!(done, "{words}");
    assert_eq!(restore.plan().await.total(Action::Conflict), 1, "and the change is seen");
}

#[tokio::test]
async fn owners_are_linked_by_their_new_uid_and_a_missing_owner_is_dropped_and_named() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("owned");
    cluster.apply(&config_map(&namespace, "parent").to_string());
    cluster.apply(&deployment(&namespace, "late", 0));
    let uid = |kind: &str, name: &str| {
        let object = cluster.get(kind, &namespace, name).unwrap();
        text(&object, "/metadata/uid").to_owned()
    };
    let child = |name: &str, api: &str, kind: &str, owner: &str, uid: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "ownerReferences":
            [{"apiVersion": api, "kind": kind, "name": owner, "uid": uid, "blockOwnerDeletion": true}]}})
    };
    cluster.apply(&child("child", "v1", "ConfigMap", "parent", &uid("configmap", "parent")).to_string());
    cluster.apply(&child("late-child", "apps/v1", "Deployment", "late", &uid("deployment", "late")).to_string());
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    let lost = child("lost-child", "v1", "ConfigMap", "never", "6f5f6e7a-0000-4000-8000-000000000001");
    // One owner is gone, and the other one's turn comes later.
    let mut half = child("half-child", "apps/v1", "Deployment", "late", &uid("deployment", "late"));
    let never = lost.pointer("/metadata/ownerReferences/0").unwrap().clone();
    half["metadata"]["ownerReferences"].as_array_mut().unwrap().insert(0, never);
    snapshot.add("secrets", vec![lost, half]);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (_, report, _) = restore.all().await;
    for (name, owner_kind, owner) in [("child", "configmap", "parent"), ("late-child", "deployment", "late")] {
        let live = cluster.get("secret", &namespace, name).unwrap();
        assert_eq!(text(&live, "/metadata/ownerReferences/0/uid"), uid(owner_kind, owner), "{name}");
        assert_eq!(live.pointer("/metadata/ownerReferences/0/blockOwnerDeletion"), Some(&json!(true)));
    }
    let lost = cluster.get("secret", &namespace, "lost-child").unwrap();
    assert!(lost.pointer("/metadata/ownerReferences").is_none(), "a dangling owner would have it collected");
    assert!(adjusted(&report, "lost-child")[0].starts_with("its owner ConfigMap never is not there"), "{report:#?}");
    assert!(adjusted(&report, "child").is_empty());
    assert_eq!(adjusted(&report, "half-child").len(), 1, "{report:#?}");
    let half = cluster.get("secret", &namespace, "half-child").unwrap();
    assert_eq!(half.pointer("/metadata/ownerReferences").and_then(Value::as_array).map(Vec::len), Some(1));

    let again = restore.plan().await;
    assert_eq!((again.writes(), again.conflicts()), (0, 0), "{:?}", planned(&again, "secrets", "lost-child"));
    assert!(restore.compare(&again, &RestoreReport::default()).await.is_equal());

    // The links work: the garbage collector takes the child with its owner, and only that one.
    cluster.kubectl(&["-n", &namespace, "delete", "configmap", "parent"]);
    eventually("the end of the child", || cluster.get("secret", &namespace, "child").is_none().then_some(()));
    assert!(cluster.get("secret", &namespace, "lost-child").is_some());
    assert!(cluster.get("secret", &namespace, "late-child").is_some());
}

#[tokio::test]
async fn a_run_that_stopped_before_the_owners_were_put_back_is_finished_by_the_next() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("relink");
    cluster.apply(&config_map(&namespace, "parent").to_string());
    let parent = cluster.get("configmap", &namespace, "parent").unwrap();
    let mut child = config_map(&namespace, "child");
    child["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": text(&parent, "/metadata/uid")}]);
    cluster.apply(&child.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);
    let restore = Restore::into(&cluster, &snapshot).await;
    restore.all().await;
    let unlink = r#"[{"op":"remove","path":"/metadata/ownerReferences"}]"#;
    cluster.kubectl(&["-n", &namespace, "patch", "configmap", "child", "--type=json", "-p", unlink]);

    let plan = restore.plan().await;
    assert_eq!(planned(&plan, "configmaps", "child"), (Action::Merge, "its owners are put back".to_owned()));
    let (_, report, _) = restore.all().await;
    assert_eq!((report.created, report.merged), (0, 1));
    let live = cluster.get("configmap", &namespace, "child").unwrap();
    assert_eq!(text(&live, "/metadata/ownerReferences/0/name"), "parent");
}

fn service(namespace: &str, name: &str, spec: Value) -> String {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
        .to_string()
}

#[tokio::test]
async fn services_get_new_cluster_addresses_and_keep_their_node_ports_where_they_are_free() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("services");
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    cluster.apply(&service(&namespace, "plain", json!({"ports": ports})));
    cluster.apply(&service(&namespace, "headless", json!({"clusterIP": "None", "ports": ports})));
    cluster.apply(&service(&namespace, "free", json!({"type": "NodePort", "ports": ports})));
    cluster.apply(&service(&namespace, "taken", json!({"type": "NodePort", "ports": ports})));
    let port = |name: &str, index: usize| {
        let live = cluster.get("service", &namespace, name).unwrap();
        live.pointer(&format!("/spec/ports/{index}/nodePort")).cloned().unwrap()
    };
    let (free, taken) = (port("free", 0), [port("taken", 0), port("taken", 1)]);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);
    let other = cluster.create_namespace("other");
    let thief = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": taken[0]}]});
    eventually("the freed port", || {
        let words = service(&other, "thief", thief.clone());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), words).unwrap();
        cluster.try_kubectl(&["apply", "-f", file.path().to_str().unwrap()]).status.success().then_some(())
    });

    let restore = Restore::into(&cluster, &snapshot).await;
    let (_, report, _) = restore.all().await;
    let headless = cluster.get("service", &namespace, "headless").unwrap();
    assert_eq!(text(&headless, "/spec/clusterIP"), "None");
    let plain = cluster.get("service", &namespace, "plain").unwrap();
    assert!(text(&plain, "/spec/clusterIP").contains('.'));
    assert_eq!(port("free", 0), free);
    assert_ne!(port("taken", 0), taken[0], "it belongs to another Service");
    assert_eq!(port("taken", 1), taken[1], "this one was free");
    assert!(adjusted(&report, "taken")[0].contains("belongs to another Service"), "{report:#?}");
    let cleared = report.transformations.iter().find(|it| it.path == "spec.clusterIP").unwrap();
    assert_eq!((cleared.kind.as_str(), cleared.count), ("services", 3));

    let again = restore.plan().await;
    assert_eq!((again.writes(), again.conflicts()), (0, 0), "{:?}", planned(&again, "services", "taken"));
    assert!(restore.compare(&again, &RestoreReport::default()).await.is_equal());
}

#[tokio::test]
async fn a_load_balancers_old_and_new_address_are_reported() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("balanced");
    cluster.apply(&service(&namespace, "front", json!({"type": "LoadBalancer", "ports": [{"port": 80}]})));
    let address = |ip: &str| {
        let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}).to_string();
        cluster.kubectl(&[
            "-n",
            &namespace,
            "patch",
            "service",
            "front",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
    };
    address("192.0.2.10");
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    let ready = restore.ready(&plan, &report, 0).await;
    assert_eq!(ready.load_balancers[0].old, ["192.0.2.10"]);
    assert!(!ready.is_ready(), "there is no address yet");
    assert!(ready.not_ready.objects[0].reason.contains("no address"));
    address("192.0.2.99");
    let ready = restore.ready(&plan, &report, 10).await;
    assert!(ready.is_ready());
    assert_eq!(ready.load_balancers[0].new, ["192.0.2.99"]);
}

#[tokio::test]
async fn a_claim_asks_for_a_new_volume() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("claims");
    let class = cluster.name("class");
    let volume = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": cluster.name(name),
            "labels": {bed::Cluster::LABEL: cluster.prefix()}},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                     "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}})
        .to_string()
    };
    cluster.apply(&volume("first"));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.apply(&claim.to_string());
    let bound = |cluster: &bed::Cluster| {
        let claim = cluster.get("pvc", &namespace, "data")?;
        (text(&claim, "/status/phase") == "Bound").then_some(claim)
    };
    let old = eventually("the binding", || bound(&cluster));
    assert!(!text(&old, "/spec/volumeName").is_empty());
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    snapshot.take(&cluster, "persistentvolumes", "", Some(&cluster.name("first")));
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    assert_eq!(planned(&plan, "persistentvolumes", &cluster.name("first")).0, Action::Skip);
    let live = cluster.get("pvc", &namespace, "data").unwrap();
    assert_eq!(text(&live, "/spec/volumeName"), "", "the old volume still belongs to the old claim");
    assert!(live.pointer("/metadata/annotations/pv.kubernetes.io~1bind-completed").is_none());
    let ready = restore.ready(&plan, &report, 0).await;
    assert!(ready.not_ready.objects[0].reason.contains("not bound"), "{ready:#?}");
    cluster.apply(&volume("second"));
    let ready = restore.ready(&plan, &report, 60).await;
    assert!(ready.is_ready(), "{ready:#?}");
    assert!(restore.compare(&plan, &report).await.is_equal(), "a binding is an addition");
}

#[tokio::test]
async fn a_service_accounts_token_is_made_anew() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("tokens");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": namespace}});
    cluster.apply(&account.to_string());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata":
        {"name": "robot", "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": "robot"}}, "data": {"extra": "eA=="}});
    cluster.apply(&secret.to_string());
    let token = || {
        let secret = cluster.get("secret", &namespace, "robot")?;
        let token = secret.pointer("/data/token")?.as_str()?.to_owned();
        Some((token, text(&secret, "/metadata/annotations/kubernetes.io~1service-account.uid").to_owned(), secret))
    };
    let (old_token, old_uid, _) = eventually("the token", token);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    let (new_token, new_uid, live) = eventually("the new token", token);
    assert!(new_token != old_token && new_uid != old_uid);
    let account = cluster.get("serviceaccount", &namespace, "robot").unwrap();
    assert_eq!(text(&account, "/metadata/uid"), new_uid);
    assert_eq!(text(&live, "/data/extra"), "eA==", "what people put beside the token stays");
    assert!(restore.compare(&plan, &report).await.is_equal());
    let shown = format!("{report:?}");
    assert!(!shown.contains(&old_token), "the report shows a token");
}

#[tokio::test]
async fn bare_pods_run_again_and_finished_ones_do_not() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("pods");
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
               "spec": {"containers": [{"name": "main", "image": "example.org/main:1"}]}})
        .to_string()
    };
    eventually("the default account", || cluster.get("serviceaccount", &namespace, "default"));
    cluster.apply(&pod("bare"));
    cluster.apply(&pod("done"));
    cluster.kubectl(&["-n", &namespace, "wait", "--for=condition=Ready", "pod/bare", "--timeout=180s"]);
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    snapshot.change("pods", |pod| {
        if text(pod, "/metadata/name") == "done" {
            pod["status"]["phase"] = json!("Succeeded");
        }
    });
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    assert_eq!(planned(&plan, "pods", "done").0, Action::Skip);
    assert!(cluster.get("pod", &namespace, "done").is_none());
    let ready = restore.ready(&plan, &report, 30).await;
    assert!(ready.is_ready(), "{ready:#?}");
    let live = cluster.get("pod", &namespace, "bare").unwrap();
    let volumes = live.pointer("/spec/volumes").and_then(Value::as_array).unwrap();
    assert_eq!(volumes.len(), 1, "one token volume, the new one: {volumes:#?}");
    assert!(restore.compare(&plan, &report).await.is_equal());
}

#[tokio::test]
async fn an_unfinished_job_comes_back_suspended_and_a_finished_or_hook_job_not_at_all() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("jobs");
    let job = |name: &str, parallelism: u32, annotations: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": {"parallelism": parallelism, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": "example.org/main:1"}]}}}})
        .to_string()
    };
    cluster.apply(&job("open", 0, json!({})));
    cluster.apply(&job("done", 0, json!({})));
    cluster.apply(&job("hook", 0, json!({"argocd.argoproj.io/hook": "PreSync"})));
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    snapshot.change("jobs.batch", |job| {
        if text(job, "/metadata/name") == "done" {
            job["status"]["conditions"] = json!([{"type": "Complete", "status": "True"}]);
        }
    });
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    assert_eq!(planned(&plan, "jobs.batch", "done").0, Action::Skip);
    assert_eq!(
        planned(&plan, "jobs.batch", "hook"),
        (Action::Skip, "a hook Job is run by its deployment tool".to_owned())
    );
    let live = cluster.get("job", &namespace, "open").unwrap();
    assert_eq!(live.pointer("/spec/suspend"), Some(&json!(true)));
    assert!(report.transformations.iter().any(|it| it.path == "spec.suspend"));
    let jobs = cluster.kubectl(&["-n", &namespace, "get", "jobs", "-o", "name"]);
    assert_eq!(jobs.lines().count(), 1, "{jobs}");
    let again = restore.plan().await;
    assert_eq!((again.writes(), again.conflicts()), (0, 0));
}

#[tokio::test]
async fn a_job_that_still_runs_is_no_conflict_where_something_else_was_lost() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("running");
    cluster.apply(&config_map(&namespace, "lost").to_string());
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "busy", "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "nodeSelector": {"example.org/no": "node"},
            "containers": [{"name": "main", "image": "example.org/main:1"}]}}}});
    cluster.apply(&job.to_string());
    eventually("the Pod of the Job", || {
        let live = cluster.get("job", &namespace, "busy")?;
        live.pointer("/status/active").filter(|active| **active == json!(1)).map(|_| ())
    });
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "delete", "configmap", "lost"]);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    assert_eq!((planned(&plan, "jobs.batch", "busy").0, report.created), (Action::Same, 1));
    let live = cluster.get("job", &namespace, "busy").unwrap();
    assert_ne!(live.pointer("/spec/suspend"), Some(&json!(true)), "it runs on");

    // And after the Job itself was lost, restored and started again.
    cluster.kubectl(&["-n", &namespace, "delete", "job", "busy"]);
    restore.all().await;
    assert_eq!(restore.plan().await.total(Action::Same), plan.total(Action::Same) + 1);
    cluster.kubectl(&["-n", &namespace, "patch", "job", "busy", "-p", r#"{"spec":{"suspend":false}}"#]);
    assert_eq!(restore.plan().await.conflicts(), 0);
}

#[tokio::test]
async fn finalizers_of_others_are_kept_and_those_of_kubernetes_are_left_to_it() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("finalizers");
    let mut object = config_map(&namespace, "held");
    object["metadata"]["finalizers"] = json!(["example.org/backup-me"]);
    cluster.apply(&object.to_string());
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    snapshot.change("configmaps", |object| {
        if let Some(finalizers) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
            finalizers.push(json!("foregroundDeletion"));
        }
    });
    let free = |cluster: &bed::Cluster| {
        let patch = r#"{"metadata":{"finalizers":null}}"#;
        cluster.kubectl(&["-n", &namespace, "patch", "configmap", "held", "--type=merge", "-p", patch]);
    };
    free(&cluster);
    remove(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (_, report, _) = restore.all().await;
    let live = cluster.get("configmap", &namespace, "held").unwrap();
    free(&cluster);
    assert_eq!(live.pointer("/metadata/finalizers"), Some(&json!(["example.org/backup-me"])));
    let dropped = report.transformations.iter().find(|it| it.path == "metadata.finalizers").unwrap();
    assert_eq!(dropped.count, 1);
    assert!(dropped.examples[0].contains("foregroundDeletion"));
}

#[tokio::test]
async fn a_namespace_and_its_default_account_are_completed_and_keep_what_they_have() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("merged");
    eventually("the default account", || cluster.get("serviceaccount", &namespace, "default"));
    let label = |words: &str| cluster.kubectl(&["label", "namespace", &namespace, "--overwrite", words]);
    label("team=blue");
    label("tier=gold");
    let secrets = r#"{"imagePullSecrets":[{"name":"registry"}]}"#;
    cluster.kubectl(&["-n", &namespace, "patch", "serviceaccount", "default", "-p", secrets]);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    label("team-");
    label("tier=silver");
    cluster.kubectl(&["-n", &namespace, "patch", "serviceaccount", "default", "-p", r#"{"imagePullSecrets":null}"#]);

    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    assert_eq!((plan.total(Action::Merge), plan.conflicts()), (2, 0));
    let (_, report, _) = restore.all().await;
    assert_eq!((report.merged, report.created), (2, 0));
    let live = cluster.get("namespace", "", &namespace).unwrap();
    assert_eq!(text(&live, "/metadata/labels/team"), "blue", "what was missing is added");
    assert_eq!(text(&live, "/metadata/labels/tier"), "silver", "what is there stays");
    let account = cluster.get("serviceaccount", &namespace, "default").unwrap();
    assert_eq!(account.pointer("/imagePullSecrets"), Some(&json!([{"name": "registry"}])));
    let again = restore.plan().await;
    assert_eq!(again.writes(), 0);
    let (action, reason) = planned(&again, "namespaces", &namespace);
    assert_eq!(action, Action::Same);
    assert!(reason.contains("metadata.labels.tier"), "{reason}");
}

fn definition(cluster: &bed::Cluster, group: &str) -> String {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}"), "labels": {bed::Cluster::LABEL: cluster.prefix()}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    .to_string()
}

#[tokio::test]
async fn custom_resources_follow_their_definition_into_a_cluster_that_knew_neither() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let namespace = source.create_namespace("custom");
    let group = format!("{}.example.org", source.prefix());
    let crd = format!("widgets.{group}");
    source.apply(&definition(&source, &group));
    source.kubectl(&["wait", "--for=condition=Established", &format!("crd/{crd}"), "--timeout=180s"]);
    for name in ["one", "two"] {
        let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"size": 1.5, "none": null, "list": []}});
        source.apply(&widget.to_string());
    }
    let mut snapshot = Snapshot::of(&source, &[&namespace]);
    snapshot.take(&source, &crd, &namespace, None);
    snapshot.take(&source, "customresourcedefinitions.apiextensions.k8s.io", "", Some(&crd));

    let restore = Restore::into(&target, &snapshot).await;
    let (plan, _, comparison) = restore.all().await;
    let found = target.get(&crd, &namespace, "two").is_some();
    target.try_kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    target.try_kubectl(&["delete", "crd", &crd, "--wait=false"]);
    assert!(found);
    assert_eq!(planned(&plan, &crd, "one").0, Action::Create);
    let group = comparison.groups.iter().find(|group| group.kind == crd).unwrap();
    assert_eq!((group.expected, group.equal), (2, 2));
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_serve_is_named_before_anything_is_written() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("unserved");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    snapshot.add("configmaps", vec![config_map(&namespace, "served"), config_map("nowhere-at-all", "homeless")]);
    let widget = json!({"apiVersion": "nowhere.example/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": namespace}});
    snapshot.add("widgets.nowhere.example", vec![widget]);
    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    let (action, reason) = planned(&plan, "widgets.nowhere.example", "w");
    assert_eq!(action, Action::Cannot);
    assert!(reason.starts_with("the cluster does not serve nowhere.example/v1 Widget"), "{reason}");
    let (action, reason) = planned(&plan, "configmaps", "homeless");
    assert_eq!(action, Action::Cannot);
    assert!(reason.contains("namespace nowhere-at-all is neither"), "{reason}");

    let report = restore.execute(&plan).await.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.created, report.failed.count), (1, 2));
    let comparison = restore.compare(&plan, &report).await;
    assert!(!comparison.is_equal());
    assert_eq!(comparison.missing.count, 2);
}

#[tokio::test]
async fn what_one_object_is_refused_for_is_named_and_the_others_are_restored() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("refused");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    let mut bad = config_map(&namespace, "bad");
    bad["data"] = json!({"not a key": "x"});
    snapshot.add("configmaps", vec![bad, config_map(&namespace, "good")]);
    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.created, report.failed.count), (1, 1));
    let failed = &report.failed.objects[0];
    assert_eq!(failed.object.name, "bad");
    assert!(failed.reason.contains("a valid config key"), "{}", failed.reason);
    assert!(cluster.get("configmap", &namespace, "good").is_some());
}

#[tokio::test]
async fn an_object_that_is_nested_too_deeply_is_named_and_the_others_are_restored() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("nested");
    let mut snapshot = Snapshot::of(&cluster, &[&namespace]);
    let mut deep = config_map(&namespace, "b-deep");
    deep["more"] = (0..140).fold(json!(1), |inner, _| json!({ "a": inner }));
    snapshot.add("configmaps", vec![config_map(&namespace, "a-first"), deep, config_map(&namespace, "c-last")]);

    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    let (action, reason) = planned(&plan, "configmaps", "b-deep");
    assert_eq!(action, Action::Cannot);
    assert!(reason.contains("nested too deeply"), "{reason}");
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.created, report.failed.count), (2, 1), "{:#?}", report.failed);
    assert!(!report.is_complete());
    let comparison = restore.compare(&plan, &report).await;
    assert_eq!((comparison.missing.count, comparison.missing.objects[0].object.name.as_str()), (1, "b-deep"));
    assert!(comparison.different.is_empty());
    assert!(cluster.get("configmap", &namespace, "c-last").is_some());
}

#[tokio::test]
async fn what_comes_after_the_workloads_waits_until_they_stand() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("settle");
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let restored = async |nodes: Value, later: bool, settle: u64| {
        let mut workload: Value = serde_json::from_str(&deployment(&namespace, "web", 1)).unwrap();
        workload["spec"]["template"]["spec"]["nodeSelector"] = nodes;
        let mut snapshot = Snapshot::default();
        snapshot.take(&cluster, "namespaces", "", Some(&namespace));
        snapshot.add("deployments.apps", vec![workload]);
        if later {
            snapshot.add("poddisruptionbudgets.policy", vec![budget.clone()]);
        }
        let mut restore = Restore::into(&cluster, &snapshot).await;
        restore.execute.settle = Duration::from_secs(settle);
        let (plan, report, _) = restore.all().await;
        let ready = restore.ready(&plan, &report, 0).await.is_ready();
        let words = ["-n", &namespace, "delete", "deployment,pdb", "--all", "--cascade=foreground", "--wait=true"];
        cluster.kubectl(&words);
        (report.waited, ready)
    };
    let nowhere = json!({"example.org/no": "node"});
    assert_eq!(restored(nowhere.clone(), false, 10).await, (Duration::ZERO, false), "nothing comes after it");
    let (waited, ready) = restored(Value::Null, true, 120).await;
    assert!(ready && waited < Duration::from_secs(120), "{waited:?}");
    let (waited, ready) = restored(nowhere, true, 5).await;
    assert!(!ready && waited >= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn replicas_that_an_autoscaler_set_are_no_difference() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("scaled");
    for name in ["auto", "plain"] {
        cluster.apply(&deployment(&namespace, name, 1));
    }
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "auto", "namespace": namespace}, "spec": {"minReplicas": 1, "maxReplicas": 9,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "auto"}}});
    cluster.apply(&autoscaler.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    let scale = |name: &str, replicas: &str| {
        cluster.kubectl(&["-n", &namespace, "scale", "deployment", name, &format!("--replicas={replicas}")]);
    };
    scale("auto", "3");
    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, _, comparison) = restore.all().await;
    let why = "an autoscaler sets the number of its replicas";
    assert_eq!(planned(&plan, "deployments.apps", "auto"), (Action::Same, why.to_owned()));
    assert!(comparison.left_out.iter().any(|it| it.what.ends_with(why)), "{:?}", comparison.left_out);

    // Of the live one only the backup knows.
    cluster.kubectl(&["-n", &namespace, "delete", "hpa", "auto"]);
    assert_eq!(planned(&restore.plan().await, "deployments.apps", "auto").0, Action::Same);
    scale("plain", "3");
    scale("auto", "0");
    let plan = restore.plan().await;
    for name in ["auto", "plain"] {
        assert_eq!(planned(&plan, "deployments.apps", name).0, Action::Conflict, "{name}");
    }
}

#[tokio::test]
async fn only_the_chosen_namespaces_are_restored() {
    let cluster = require!(bed::source);
    let (left, right) = (cluster.create_namespace("left"), cluster.create_namespace("right"));
    cluster.apply(&config_map(&left, "a").to_string());
    cluster.apply(&config_map(&right, "b").to_string());
    let snapshot = Snapshot::of(&cluster, &[&left, &right]);
    cluster.kubectl(&["-n", &left, "delete", "configmap", "a"]);
    cluster.kubectl(&["-n", &right, "delete", "configmap", "b"]);
    let mut restore = Restore::into(&cluster, &snapshot).await;
    restore.choice.namespaces = vec![right.clone()];
    let (plan, report, _) = restore.all().await;
    assert_eq!(report.created, 1);
    assert!(plan.objects().all(|object| object.namespace == right || object.name == right));
    assert!(cluster.get("configmap", &left, "a").is_none());
    assert!(cluster.get("configmap", &right, "b").is_some());
}

/// Sets the token of the run after so many steps of writing.
#[derive(Debug)]
struct StopAfter {
    steps: std::sync::atomic::AtomicI64,
    writing: std::sync::atomic::AtomicBool,
    cancel: tokio_util::sync::CancellationToken,
}

impl drctl::types::Monitor for StopAfter {
    fn phase(&self, name: &str, _unit: &str, _total: Option<u64>) {
        self.writing.store(name.starts_with("restoring"), std::sync::atomic::Ordering::SeqCst);
    }
    fn advance(&self, steps: u64) {
        use std::sync::atomic::Ordering::SeqCst;
        let steps = i64::try_from(steps).unwrap();
        if self.writing.load(SeqCst) && self.steps.fetch_sub(steps, SeqCst) <= steps {
            self.cancel.cancel();
        }
    }
    fn note(&self, _text: &str) {}
}

#[tokio::test]
async fn a_stopped_restore_says_what_it_did_and_the_next_run_does_the_rest() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("stopped");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    let many = (0..300).map(|number| config_map(&namespace, &format!("c{number:03}"))).collect();
    snapshot.add("configmaps", many);
    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    assert_eq!(plan.total(Action::Create), 300);
    let stop = StopAfter {
        steps: std::sync::atomic::AtomicI64::new(50),
        writing: std::sync::atomic::AtomicBool::new(false),
        cancel: restore.cancel.clone(),
    };
    let context = drctl::sources::kubernetes::restore::RestoreContext { monitor: &stop, ..restore.context() };
    let report = drctl::sources::kubernetes::restore::execute(context, &plan, &restore.execute).await.unwrap();
    assert!(report.interrupted && !report.is_complete());
    assert!(report.created >= 50 && report.not_attempted > 0, "{report:#?}");
    assert_eq!(report.created + report.not_attempted + report.failed.count, 300);
    let live = cluster.kubectl(&["-n", &namespace, "get", "configmaps", "-o", "name"]);
    let live = live.lines().filter(|name| name.contains("/c")).count();
    assert_eq!(u64::try_from(live).unwrap(), report.created, "what it says is what is there");

    let next = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = next.all().await;
    assert_eq!(plan.total(Action::Same), 1 + u64::try_from(live).unwrap());
    assert_eq!(report.created, 300 - u64::try_from(live).unwrap());
}
