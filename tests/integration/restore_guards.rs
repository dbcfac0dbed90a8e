//! What a restore must not take away from a live cluster: claims, what was changed since the plan, restrictions. Each
//! fault has its twin without it.

use drctl::sources::kubernetes::restore::{Action, Mapping, OnConflict};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    snapshot::{Restore, Snapshot, planned},
    workshop::wait_for,
};

fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": value}})
}

fn uid(cluster: &bed::Cluster, kind: &str, namespace: &str, name: &str) -> String {
    cluster.get(kind, namespace, name).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn patch(cluster: &bed::Cluster, namespace: &str, kind: &str, name: &str, patch: &Value) {
    cluster.kubectl(&["-n", namespace, "patch", kind, name, "--type=merge", "-p", &patch.to_string()]);
}

#[tokio::test]
async fn what_is_replaced_keeps_the_claims_that_belong_to_it() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("claims");
    let set = |app: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": namespace},
            "spec": {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": app}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
                "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "db", "image": "example.org/db:1"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}}]}})
        .to_string()
    };
    let job = |parallelism: u64| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load", "namespace": namespace},
            "spec": {"suspend": true, "parallelism": parallelism, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "example.org/load:1"}]}}}})
        .to_string()
    };
    let owner_of_claim = |owner: &str| {
        wait_for("the set to own its claim", 60, || {
            let claim = cluster.get("pvc", &namespace, "data-db-0")?;
            (claim["metadata"]["ownerReferences"][0]["uid"] == json!(owner)).then_some(())
        });
    };
    cluster.apply(&set("db"));
    cluster.apply(&job(1));
    owner_of_claim(&uid(&cluster, "statefulset", &namespace, "db"));
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "load", "uid": uid(&cluster, "job", &namespace, "load")}]);
    let scratch = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "scratch", "namespace": namespace, "ownerReferences": owner},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.apply(&scratch.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);

    // The live set has another selector, and owns its claim; the live Job is another one too.
    cluster.kubectl(&["-n", &namespace, "delete", "statefulset", "db", "--cascade=orphan", "--wait=true"]);
    cluster.kubectl(&["-n", &namespace, "delete", "pod", "db-0", "--force", "--grace-period=0"]);
    cluster.apply(&set("other"));
    owner_of_claim(&uid(&cluster, "statefulset", &namespace, "db"));
    patch(&cluster, &namespace, "job", "load", &json!({"spec": {"parallelism": 2}}));
    let claims = ["data-db-0", "scratch"].map(|name| uid(&cluster, "pvc", &namespace, name));
    let live = uid(&cluster, "statefulset", &namespace, "db");

    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await;
    let plan = restore.plan().await;
    assert_eq!(planned(&plan, "statefulsets.apps", "db").0, Action::Replace);
    assert_eq!(planned(&plan, "jobs.batch", "load").0, Action::Replace);
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.replaced, report.failed.count), (2, 0), "{:#?}", report.failed);
    let new = uid(&cluster, "statefulset", &namespace, "db");
    assert_ne!(new, live);
    wait_for("the Pod of the new set alone", 60, || {
        let pod = cluster.get("pod", &namespace, "db-0")?;
        (pod["metadata"]["labels"]["app"] == json!("db")).then_some(())
    });
    owner_of_claim(&new);
    for (name, before) in ["data-db-0", "scratch"].iter().zip(claims) {
        let claim = cluster.get("pvc", &namespace, name).unwrap();
        assert_eq!(claim["metadata"]["uid"], json!(before), "{name}");
        assert!(claim["metadata"].get("deletionTimestamp").is_none(), "{claim:#}");
    }
}

/// A policy of the cluster that lets nobody create ConfigMaps in a namespace.
fn deny(cluster: &bed::Cluster, namespace: &str) -> [String; 2] {
    let name = cluster.name("deny");
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {"failurePolicy": "Fail", "validations": [{"expression": "false", "message": "nobody may"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}});
    cluster.apply(&policy.to_string());
    cluster.apply(&binding.to_string());
    until_created(cluster, namespace, false);
    ["validatingadmissionpolicybinding", "validatingadmissionpolicy"].map(|kind| format!("{kind}/{name}"))
}

fn until_created(cluster: &bed::Cluster, namespace: &str, wanted: bool) {
    wait_for("the policy to be looked at", 60, || {
        let words = ["-n", namespace, "create", "configmap", "probe", "--dry-run=server"];
        (cluster.try_kubectl(&words).status.success() == wanted).then_some(())
    });
}

#[tokio::test]
async fn nothing_is_deleted_that_could_not_be_created_again() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("refuse");
    cluster.apply(&config_map(&namespace, "settings", "1").to_string());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": namespace, "labels": {"l": "1"}}});
    cluster.apply(&account.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    patch(&cluster, &namespace, "configmap", "settings", &json!({"data": {"a": "2", "only-live": "x"}}));
    patch(&cluster, &namespace, "serviceaccount", "web", &json!({"metadata": {"labels": {"l": "2"}}}));
    let live = uid(&cluster, "configmap", &namespace, "settings");
    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Replace).await;

    let before = restore.plan().await;
    assert_eq!(planned(&before, "configmaps", "settings").0, Action::Replace);
    let (action, reason) = planned(&before, "serviceaccounts", "web");
    assert!(action == Action::Conflict && reason.contains("token Secrets"), "{reason}");

    let policy = deny(&cluster, &namespace);
    // One that is planned now, and one that was planned before.
    let (action, reason) = planned(&restore.plan().await, "configmaps", "settings");
    assert!(
        action == Action::Conflict && reason.contains("it is not deleted") && reason.contains("nobody may"),
        "{reason}"
    );
    let report = restore.execute(&before).await.unwrap();
    assert_eq!((report.failed.count, report.requests, report.changed), (1, 0, false), "{:#?}", report.failed);
    assert!(report.failed.objects[0].reason.contains("not deleted"), "{:?}", report.failed.objects[0]);
    assert_eq!(uid(&cluster, "configmap", &namespace, "settings"), live);

    cluster.kubectl(&["delete", &policy[0], &policy[1]]);
    until_created(&cluster, &namespace, true);
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.replaced, report.failed.count), (1, 0), "{:#?}", report.failed);
    assert_eq!(cluster.get("configmap", &namespace, "settings").unwrap()["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn what_was_changed_since_the_plan_is_left_as_it_is() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("since");
    for name in ["changed", "quiet"] {
        cluster.apply(&config_map(&namespace, name, "1").to_string());
    }
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    for on_conflict in [OnConflict::Update, OnConflict::Replace] {
        for name in ["changed", "quiet"] {
            patch(&cluster, &namespace, "configmap", name, &json!({"data": {"a": "2"}}));
        }
        let restore = Restore::on_conflict(&cluster, &snapshot, on_conflict).await;
        let plan = restore.plan().await;
        patch(&cluster, &namespace, "configmap", "changed", &json!({"data": {"added-by-a-colleague": "x"}}));
        let report = restore.execute(&plan).await.unwrap();
        assert_eq!((report.updated + report.replaced, report.failed.count), (1, 1), "{:#?}", report.failed);
        assert!(report.failed.objects[0].reason.contains("since the plan was made"), "{:#?}", report.failed);
        let data = |name: &str| cluster.get("configmap", &namespace, name).unwrap()["data"].clone();
        assert_eq!(data("changed"), json!({"a": "2", "added-by-a-colleague": "x"}));
        assert_eq!(data("quiet"), json!({"a": "1"}), "the twin");
        // Planned again, it is in the plan and done.
        restore.all().await;
        assert_eq!(data("changed"), json!({"a": "1"}));
    }
}

#[tokio::test]
async fn what_was_opened_is_closed_again_and_a_full_quota_stops_no_change_of_labels() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("opened");
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "nobody", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "empty", "namespace": namespace}});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods", "namespace": namespace}, "spec": {"hard": {"pods": "1"}}});
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace, "labels": {"v": "1"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "example.org/web:1"}]}}}});
    for object in [policy, binding, empty, quota, web] {
        cluster.apply(&object.to_string());
    }
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    wait_for("the quota to be full", 60, || {
        let quota = cluster.get("resourcequota", &namespace, "pods")?;
        (quota["status"]["used"]["pods"] == json!("1")).then_some(())
    });
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    assert_eq!(
        Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await.plan().await.writes(),
        0,
        "the twin"
    );

    patch(&cluster, &namespace, "networkpolicy", "deny", &json!({"spec": {"ingress": [{}]}}));
    let eve = json!([{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]);
    patch(&cluster, &namespace, "rolebinding", "nobody", &json!({"subjects": eve}));
    patch(&cluster, &namespace, "configmap", "empty", &json!({"data": {"k": "v"}}));
    patch(&cluster, &namespace, "deployment", "web", &json!({"metadata": {"labels": {"v": "2"}}}));
    let restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Update).await;
    let plan = restore.plan().await;
    for (kind, name) in [
        ("networkpolicies.networking.k8s.io", "deny"),
        ("rolebindings.rbac.authorization.k8s.io", "nobody"),
        ("configmaps", "empty"),
        ("deployments.apps", "web"),
    ] {
        let (action, reason) = planned(&plan, kind, name);
        assert_eq!(action, Action::Update, "{kind}: {reason}");
    }
    let (_, report, _) = restore.all().await;
    assert_eq!((report.updated, report.failed.count), (4, 0));
    let live = |kind: &str, name: &str| cluster.get(kind, &namespace, name).unwrap();
    assert!(live("networkpolicy", "deny")["spec"].get("ingress").is_none());
    assert!(live("rolebinding", "nobody").get("subjects").is_none());
    assert!(live("configmap", "empty").get("data").is_none());
}

#[tokio::test]
async fn a_helm_release_does_not_go_into_another_namespace() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("helm");
    let labels = json!({"owner": "helm", "name": "web", "status": "deployed", "version": "1"});
    let name = "sh.helm.release.v1.web.v1";
    let release = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": name, "namespace": namespace, "labels": labels}, "data": {"release": "eA=="}});
    cluster.apply(&release.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    let mut restore = Restore::on_conflict(&cluster, &snapshot, OnConflict::Fail).await;
    assert_eq!(planned(&restore.plan().await, "secrets", name).0, Action::Same, "the twin: where it was, it stays");
    restore.recipe.mapping = Mapping::new([(namespace.clone(), cluster.name("helm-copy"))]).unwrap();
    let (action, reason) = planned(&restore.plan().await, "secrets", name);
    assert!(action == Action::Skip && reason.contains("helm uninstall"), "{reason}");
}
