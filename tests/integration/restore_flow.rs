//! A namespace lost and restored, as a whole.

use drctl::sources::kubernetes::restore::{Action, OnConflict, RestoreError};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    snapshot::{Restore, Snapshot},
};

/// A small shop: one of most things.
fn shop(namespace: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {namespace}}}
data: {{mode: fast}}
---
apiVersion: v1
kind: Secret
metadata: {{name: password, namespace: {namespace}}}
stringData: {{password: correct-horse}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: web, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: web}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      serviceAccountName: web
      containers: [{{name: web, image: "example.org/web:1", env: [{{name: A, value: "1"}}], resources: {{requests: {{cpu: 10m}}}}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web, namespace: {namespace}}}
spec: {{rules: [{{host: web.example, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: quota, namespace: {namespace}}}
spec: {{hard: {{pods: "10"}}}}
"#
    )
}

fn wait_until_gone(cluster: &bed::Cluster, namespace: &str) {
    cluster.kubectl(&["delete", "namespace", namespace, "--wait=true", "--timeout=180s"]);
}

#[tokio::test]
async fn a_deleted_namespace_comes_back_ready_and_equal_and_a_second_run_writes_nothing() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    cluster.apply(&shop(&namespace));
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    wait_until_gone(&cluster, &namespace);

    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, comparison) = restore.all().await;
    assert_eq!(plan.total(Action::Create), report.created + report.merged + report.same);
    assert!(report.created >= 9, "{report:#?}");
    assert!(comparison.left_out.iter().any(|rule| rule.what.starts_with("replicasets.apps")));
    let ready = restore.ready(&plan, &report, 30).await;
    assert!(ready.is_ready(), "{:#?}", ready.not_ready);
    assert!(ready.waited_for >= 1);

    let again = restore.plan().await;
    assert_eq!(again.writes(), 0, "{:#?}", not_same(&again));
    assert_eq!(again.conflicts(), 0, "{:#?}", not_same(&again));
    let report = restore.execute(&again).await.unwrap();
    assert_eq!((report.created, report.requests), (0, 0));
    assert!(restore.compare(&again, &report).await.is_equal());
}

fn not_same(plan: &drctl::sources::kubernetes::restore::Plan) -> Vec<String> {
    let odd = plan.objects().filter(|object| !matches!(object.action, Action::Same | Action::Skip));
    odd.map(|it| format!("{} {} {}/{} {}", it.action, it.kind, it.namespace, it.name, it.reason)).collect()
}

#[tokio::test]
async fn a_namespace_is_restored_into_another_cluster() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let namespace = source.create_namespace("shop");
    source.apply(&shop(&namespace));
    let snapshot = Snapshot::of(&source, &[&namespace]);

    let restore = Restore::into(&target, &snapshot).await;
    let (plan, report, _) = restore.all().await;
    let ready = restore.ready(&plan, &report, 30).await;
    target.try_kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    assert!(ready.is_ready(), "{:#?}", ready.not_ready);
    let here = source.get("service", &namespace, "web").unwrap();
    assert!(here.pointer("/spec/clusterIP").is_some());
}

#[tokio::test]
async fn with_on_conflict_fail_one_conflict_means_that_nothing_is_written() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    cluster.apply(&shop(&namespace));
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    cluster.kubectl(&["-n", &namespace, "delete", "secret", "password"]);
    cluster.kubectl(&["-n", &namespace, "patch", "configmap", "settings", "-p", r#"{"data":{"mode":"slow"}}"#]);
    let before = versions(&cluster, &namespace);

    let mut restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    assert_eq!(plan.conflicts(), 1, "{:#?}", not_same(&plan));
    let conflict = plan.objects().find(|object| object.action == Action::Conflict).unwrap();
    assert_eq!((conflict.kind, conflict.name), ("configmaps", "settings"));
    assert_eq!(conflict.reason, "1 field differs: data.mode");
    assert!(matches!(restore.execute(&plan).await, Err(RestoreError::Conflicts(1))));
    assert_eq!(versions(&cluster, &namespace), before, "something was written");

    restore.on_conflict = OnConflict::Skip;
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!(report.created, 1, "the Secret that was deleted");
    assert!(report.is_complete());
    let live = cluster.get("configmap", &namespace, "settings").unwrap();
    assert_eq!(live.pointer("/data/mode"), Some(&json!("slow")));
}

/// Names and resourceVersions of what a namespace holds.
fn versions(cluster: &bed::Cluster, namespace: &str) -> Vec<String> {
    let kinds = "configmaps,secrets,services,serviceaccounts,roles,rolebindings,ingresses,resourcequotas";
    let list: Value = serde_json::from_str(&cluster.kubectl(&["get", kinds, "-n", namespace, "-o", "json"])).unwrap();
    let version = |object: &Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        // The quota controller counts by itself.
        let version = if text("/kind") == "ResourceQuota" { String::new() } else { text("/metadata/resourceVersion") };
        format!("{} {} {version}", text("/kind"), text("/metadata/name"))
    };
    list["items"].as_array().unwrap().iter().map(version).collect()
}

#[tokio::test]
async fn what_is_changed_or_deleted_after_a_restore_is_named_by_its_path() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    cluster.apply(&shop(&namespace));
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    let restore = Restore::into(&cluster, &snapshot).await;
    let (plan, report, _) = restore.all().await;

    let patch = |kind: &str, name: &str, patch: &str| {
        cluster.kubectl(&["-n", &namespace, "patch", kind, name, "--type=json", "-p", patch]);
    };
    patch("configmap", "settings", r#"[{"op":"add","path":"/data/more","value":"x"}]"#);
    patch("secret", "password", r#"[{"op":"replace","path":"/data/password","value":"b3RoZXI="}]"#);
    patch("role", "reader", r#"[{"op":"add","path":"/rules/0/verbs/-","value":"delete"}]"#);
    let image = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"example.org/web:2"}]"#;
    patch("deployment", "web", image);
    cluster.kubectl(&["-n", &namespace, "delete", "ingress", "web"]);

    let comparison = restore.compare(&plan, &report).await;
    assert!(!comparison.is_equal());
    let found: Vec<String> = comparison
        .different
        .iter()
        .flat_map(|object| object.differences.iter().map(move |it| format!("{} {}", object.object.kind, it.path)))
        .collect();
    let mut found = found;
    found.sort();
    assert_eq!(
        found,
        [
            "configmaps data.more",
            "deployments.apps spec.template.spec.containers[name=web].image",
            "roles.rbac.authorization.k8s.io rules[0].verbs[1]",
            "secrets data.password",
        ]
    );
    let shown = format!("{:?}", comparison.different);
    assert!(!shown.contains("b3RoZXI=") && !shown.contains("Y29ycmVjd"), "a secret value is shown: {shown}");
    assert_eq!(comparison.missing.count, 1);
    assert_eq!(comparison.missing.objects[0].object.kind, "ingresses.networking.k8s.io");
}

#[tokio::test]
async fn many_namespaces_are_planned_and_compared_in_one_pass_over_each_kind() {
    let cluster = require!(bed::source);
    // Names of which one begins with another: the server's keys sort them as `a-b/x`, `a/x`.
    let names: Vec<String> = (0..12).flat_map(|n| [format!("w{n:02}"), format!("w{n:02}-more")]).collect();
    let namespaces: Vec<String> = names.iter().map(|name| cluster.name(name)).collect();
    let object = |kind: &str, namespace: &str, name: &str| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        if kind == "ConfigMap" {
            object["metadata"]["namespace"] = json!(namespace);
            object["data"] = json!({"name": name});
        }
        object
    };
    let spaces = namespaces.iter().map(|name| object("Namespace", "", name));
    let maps = || namespaces.iter().flat_map(|space| ["a", "a-b", "b"].map(|name| object("ConfigMap", space, name)));
    let items: Vec<Value> = spaces.chain(maps()).collect();
    cluster.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    let mut snapshot = Snapshot::default();
    snapshot.add("configmaps", maps().collect());
    cluster.kubectl(&["-n", &namespaces[3], "delete", "configmap", "a-b"]);
    cluster.kubectl(&["-n", &namespaces[4], "create", "configmap", "extra"]);

    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.plan().await;
    assert_eq!((plan.total(Action::Same), plan.total(Action::Create), plan.conflicts()), (71, 1, 0));
    let (_, report, comparison) = restore.all().await;
    assert_eq!(report.created, 1);
    assert_eq!((comparison.expected(), comparison.equal()), (72, 72));
    let with_extra: Vec<&str> =
        comparison.groups.iter().filter(|group| group.extra > 0).map(|group| group.namespace.as_str()).collect();
    assert_eq!(with_extra, [namespaces[4].as_str()], "kube-root-ca.crt is made again and no extra");
}
