use serde_json::json;

use super::*;
use crate::sources::kubernetes::testing::{document_shows, kind};

fn again(id: &str, metadata: Value) -> bool {
    made_again(&kind(id), &json!({"metadata": metadata})).is_some()
}

fn owned_by(api_version: &str, owner: &str, controller: bool) -> Value {
    json!({"name": "x", "namespace": "shop", "ownerReferences": [
        {"apiVersion": api_version, "kind": owner, "name": "o", "uid": "u", "controller": controller}]})
}

#[test]
fn what_its_controller_makes_again_is_not_captured_and_what_else_it_owns_is() {
    for (id, api_version, owner) in [
        ("replicasets.apps", "apps/v1", "Deployment"),
        ("pods", "apps/v1", "ReplicaSet"),
        ("pods", "apps/v1", "DaemonSet"),
        ("pods", "apps/v1", "StatefulSet"),
        ("pods", "batch/v1", "Job"),
        ("pods", "v1", "ReplicationController"),
        ("jobs.batch", "batch/v1", "CronJob"),
        ("controllerrevisions.apps", "apps/v1", "StatefulSet"),
        ("controllerrevisions.apps", "apps/v1", "DaemonSet"),
    ] {
        assert!(again(id, owned_by(api_version, owner, true)), "{id} of {owner}");
        assert!(!again(id, owned_by(api_version, owner, false)), "{id} of {owner}, which does not control it");
        assert!(!again(id, owned_by("other.example/v1", owner, true)), "{id} of another group's {owner}");
        assert!(!again(id, json!({"name": "x", "namespace": "shop"})), "{id} without an owner");
        assert!(!again("secrets", owned_by(api_version, owner, true)), "a Secret of {owner}");
    }
    // The rollout controller of another project does not look for lost ReplicaSets by our table.
    assert!(!again("replicasets.apps", owned_by("argoproj.io/v1alpha1", "Rollout", true)));
    assert!(!again("controllerrevisions.apps", owned_by("kubevirt.io/v1", "VirtualMachine", true)));
    assert!(!again("persistentvolumeclaims", owned_by("apps/v1", "StatefulSet", true)));
}

#[test]
fn a_job_that_a_person_started_from_a_cron_job_is_captured() {
    let mut metadata = owned_by("batch/v1", "CronJob", true);
    assert!(again("jobs.batch", metadata.clone()), "started by its schedule");
    metadata["annotations"] = json!({"cronjob.kubernetes.io/instantiate": "manual"});
    assert!(!again("jobs.batch", metadata));
}

#[test]
fn what_is_being_deleted_is_captured_and_not_created() {
    let object = |time: Value| json!({"metadata": {"name": "x", "namespace": "shop", "deletionTimestamp": time}});
    for kind in ["configmaps", "pods", "widgets.example.com", "namespaces"] {
        assert_eq!(not_created(kind, &object(json!("2026-11-21T11:52:43Z"))), Some(BEING_DELETED), "{kind}");
        assert_eq!(not_created(kind, &object(Value::Null)), None, "{kind}");
    }
}

#[test]
fn the_clusters_own_objects_are_known_by_name_and_place() {
    for (id, namespace, name) in [
        ("services", "default", "kubernetes"),
        ("endpoints", "default", "kubernetes"),
        ("endpointslices.discovery.k8s.io", "default", "kubernetes"),
        ("configmaps", "kube-system", "extension-apiserver-authentication"),
        ("configmaps", "kube-system", "kube-apiserver-legacy-service-account-token-tracking"),
    ] {
        assert!(again(id, json!({"name": name, "namespace": namespace})));
        assert!(!again(id, json!({"name": name, "namespace": "shop"})), "{id} {name} elsewhere");
        assert!(!again(id, json!({"name": "mine", "namespace": namespace})));
    }
    assert!(again("configmaps", json!({"name": "kube-root-ca.crt", "namespace": "shop"})));
    assert!(!again("secrets", json!({"name": "kube-root-ca.crt", "namespace": "shop"})));
    assert!(again("priorityclasses.scheduling.k8s.io", json!({"name": "system-node-critical"})));
    assert!(!again("priorityclasses.scheduling.k8s.io", json!({"name": "high"})));
    assert!(again("servicecidrs.networking.k8s.io", json!({"name": "kubernetes"})));
    assert!(!again("servicecidrs.networking.k8s.io", json!({"name": "more"})));
}

#[test]
fn endpoints_are_left_out_only_where_the_controller_wrote_them() {
    let by_label = json!({"name": "web", "namespace": "shop", "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}});
    let by_annotation = json!({"name": "web", "namespace": "shop",
        "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T11:52:43Z"}});
    let marked = |id: &str, mark: &str, by: &str, manager: &str| {
        let labels = json!({mark: by});
        again(
            id,
            json!({"name": "web", "namespace": "shop", "labels": labels, "managedFields": [{"manager": manager}]}),
        )
    };
    for (id, mark, by) in [
        ("endpoints", "endpoints.kubernetes.io/managed-by", "endpoint-controller"),
        (
            "endpointslices.discovery.k8s.io",
            "endpointslice.kubernetes.io/managed-by",
            "endpointslice-controller.k8s.io",
        ),
    ] {
        assert!(marked(id, mark, by, "kube-controller-manager"));
        assert!(marked(id, mark, by, "k3s"), "one program is the whole control plane");
        assert!(!marked(id, mark, by, "kubectl-client-side-apply"), "{id}: a copy made by hand, with the label");
    }
    assert!(again("endpoints", by_label));
    assert!(again("endpoints", by_annotation));
    let written_by = |manager: &str, annotations: Value| json!({"name": "web", "namespace": "shop", "annotations": annotations, "managedFields": [{"manager": manager}]});
    assert!(again("endpoints", written_by("kube-controller-manager", json!({}))), "an older cluster, no Pod yet");
    assert!(!again("endpoints", written_by("kubectl-create", json!({}))));
    let copied = json!({"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T11:52:43Z"});
    assert!(!again("endpoints", written_by("kubectl-create", copied)), "a copy made by hand");
    assert!(!again("endpoints", json!({"name": "external-db", "namespace": "shop"})), "a Service without a selector");
    let slice =
        |by: &str| json!({"name": "s", "namespace": "shop", "labels": {"endpointslice.kubernetes.io/managed-by": by}});
    assert!(again("endpointslices.discovery.k8s.io", slice("endpointslice-controller.k8s.io")));
    assert!(again("endpointslices.discovery.k8s.io", slice("endpointslicemirroring-controller.k8s.io")));
    assert!(!again("endpointslices.discovery.k8s.io", slice("me")));
    assert!(!again("endpointslices.discovery.k8s.io", json!({"name": "s", "namespace": "shop"})));
}

#[test]
fn bootstrap_rbac_is_captured_as_soon_as_a_person_changed_it() {
    let role = |autoupdate: &str, managers: &[&str]| {
        let managed: Vec<_> = managers.iter().map(|manager| json!({"manager": manager})).collect();
        json!({"name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
               "annotations": {"rbac.authorization.kubernetes.io/autoupdate": autoupdate}, "managedFields": managed})
    };
    for id in rules_of("clusterrolebindings.rbac.authorization.k8s.io") {
        assert!(again(id, role("true", &["kube-apiserver"])));
        assert!(again(id, role("true", &["kube-apiserver", "clusterrole-aggregation-controller"])));
        assert!(again(id, role("true", &[])), "from before the server recorded who writes");
        assert!(!again(id, role("true", &["kube-apiserver", "kubectl-edit"])));
        assert!(!again(id, role("false", &["kube-apiserver"])));
    }
    assert!(!again("clusterroles.rbac.authorization.k8s.io", json!({"name": "mine"})));
    let default = |managers: &[&str]| {
        let meta = Meta::deserialize(role("true", managers)).unwrap();
        is_default_rbac("clusterroles.rbac.authorization.k8s.io", &meta)
    };
    assert!(default(&["kube-apiserver"]) && !default(&["kube-apiserver", "kubectl-edit"]));
}

fn rules_of(id: &str) -> &'static [&'static str] {
    MADE_AGAIN.iter().find(|rule| rule.kinds.contains(&id)).unwrap().kinds
}

#[test]
fn what_the_api_server_keeps_for_itself_is_known_by_its_marks() {
    let schema = |value: &str| json!({"name": "x", "annotations": {"apf.kubernetes.io/autoupdate-spec": value}});
    assert!(again("flowschemas.flowcontrol.apiserver.k8s.io", schema("true")));
    assert!(!again("flowschemas.flowcontrol.apiserver.k8s.io", schema("false")), "a person took it over");
    let service =
        |value: &str| json!({"name": "v1.apps", "labels": {"kube-aggregator.kubernetes.io/automanaged": value}});
    assert!(again("apiservices.apiregistration.k8s.io", service("onstart")));
    assert!(again("apiservices.apiregistration.k8s.io", service("true")));
    assert!(!again("apiservices.apiregistration.k8s.io", json!({"name": "v1beta1.metrics.k8s.io"})));
    assert!(again("pods", json!({"name": "p", "annotations": {"kubernetes.io/config.mirror": "abc"}})));
}

#[test]
fn sealed_secrets_keys_are_never_left_out() {
    let key = json!({"name": "sealed-secrets-keyabc", "namespace": "kube-system", "labels": {SEALED_SECRETS_KEY_LABEL: "active"}});
    assert!(!again("secrets", key));
    assert!(!may_be_made_again("secrets"));
}

#[test]
fn odd_metadata_is_captured() {
    assert!(made_again(&kind("configmaps"), &json!({})).is_none());
    assert!(made_again(&kind("configmaps"), &json!({"metadata": []})).is_none());
    assert!(!again("configmaps", json!({"name": 7})));
    assert!(again("configmaps", json!({"name": "kube-root-ca.crt", "labels": null, "ownerReferences": null})));
}

#[test]
fn finished_work_volumes_and_default_accounts_are_not_created_by_a_restore() {
    let pod = |phase: &str| json!({"metadata": {"name": "p"}, "status": {"phase": phase}});
    assert!(not_created("pods", &pod("Succeeded")).is_some());
    assert!(not_created("pods", &pod("Failed")).is_some());
    assert!(not_created("pods", &pod("Running")).is_none());
    let job = |state: &str, status: &str| json!({"status": {"conditions": [{"type": state, "status": status}]}});
    assert!(not_created("jobs.batch", &job("Complete", "True")).is_some());
    assert!(not_created("jobs.batch", &job("Failed", "True")).is_some());
    assert!(not_created("jobs.batch", &job("Complete", "False")).is_none());
    assert!(not_created("jobs.batch", &json!({})).is_none());
    assert!(not_created("persistentvolumes", &json!({})).is_some());
    assert!(not_created("serviceaccounts", &json!({"metadata": {"name": "default"}})).is_some());
    assert!(not_created("serviceaccounts", &json!({"metadata": {"name": "web"}})).is_none());
    for row in NOT_CREATED {
        assert!(needs_status(row.kind) == row.which.contains("finished"), "{}", row.kind);
    }
}

/// The tables as `docs/kinds.md` must show them.
fn tables() -> String {
    let mut text = String::from("### Left out unless included\n\n| kind | why |\n|---|---|\n");
    for row in LEFT_OUT {
        text += &format!("| `{}` | {} |\n", row.kind, row.why);
    }
    text += "\n### Made again\n\n| kind | which objects | why |\n|---|---|---|\n";
    for rule in MADE_AGAIN {
        text += &format!("| `{}` | {} | {} |\n", rule.kinds.join("` `"), rule.when, rule.why);
    }
    text += "\n### Captured, not created by a restore\n\n| kind | which objects | why |\n|---|---|---|\n";
    for row in NOT_CREATED {
        text += &format!("| `{}` | {} | {} |\n", row.kind, row.which, row.why);
    }
    text += "\n### In two groups\n\n| kind | older group, not read | newer group, read |\n|---|---|---|\n";
    for row in NEWER_GROUP {
        let old = if row.old.is_empty() { "core" } else { row.old };
        text += &format!("| `{}` | {old} | {} |\n", row.plural, row.new);
    }
    text
}

#[test]
fn the_document_shows_these_tables() {
    document_shows("docs/kinds.md", &tables());
}
