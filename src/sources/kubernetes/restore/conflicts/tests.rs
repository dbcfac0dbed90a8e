use super::*;
use crate::sources::kubernetes::restore::{
    judge::judge,
    transform::{Outcome, transform},
};

fn prepared(kind: &str, object: Value) -> Prepared {
    match transform(kind, object) {
        Outcome::Restore(prepared) => *prepared,
        Outcome::Leave(reason) => panic!("{reason}"),
    }
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": spec})
}

fn settled(on_conflict: OnConflict, kind: &str, object: Value, live: &Value) -> (Action, String) {
    let prepared = prepared(kind, object);
    let found = judge(&prepared, live, &[]);
    assert_eq!(found.action, Action::Conflict, "{live}");
    settle(on_conflict, &prepared, live, found, false)
}

#[test]
fn what_would_lose_something_is_never_replaced_and_stays_a_conflict() {
    let of = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    for (id, api, kind, spec, live) in [
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"scope": "Namespaced"}),
            json!({"scope": "Cluster"}),
        ),
        (
            "persistentvolumeclaims",
            "v1",
            "PersistentVolumeClaim",
            json!({"storageClassName": "a"}),
            json!({"storageClassName": "b"}),
        ),
        ("services", "v1", "Service", json!({"type": "LoadBalancer"}), json!({"type": "ClusterIP"})),
        ("serviceaccounts", "v1", "ServiceAccount", json!({"a": 1}), json!({"a": 2})),
    ] {
        let (action, reason) =
            settled(OnConflict::Replace, id, of(api, kind, spec.clone()), &of(api, kind, live.clone()));
        assert!(action == Action::Conflict && reason.contains("is never replaced"), "{kind}: {reason}");
        assert!(reason.ends_with("--on-conflict update changes what can be changed in it"), "{kind}: {reason}");
        let (action, reason) = settled(OnConflict::Update, id, of(api, kind, spec), &of(api, kind, live));
        assert!(action == Action::Update && reason.contains("differs"), "{kind}: {reason}");
    }
    let live = |finalizer: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "finalizers": [finalizer]}, "data": {"a": "live"}});
    let object = || json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}});
    let action = |finalizer: &str| settled(OnConflict::Replace, "configmaps", object(), &live(finalizer)).0;
    assert_eq!((action("db.example.org/cleanup"), action("foregroundDeletion")), (Action::Conflict, Action::Replace));
}

#[test]
fn a_mapped_restore_takes_nothing_away_from_what_has_no_namespace() {
    let binding = |namespace: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": namespace}]})
    };
    let prepared = prepared("clusterrolebindings.rbac.authorization.k8s.io", binding("copy"));
    let live = binding("shop");
    for on_conflict in [OnConflict::Update, OnConflict::Replace] {
        let of = |shared| settle(on_conflict, &prepared, &live, judge(&prepared, &live, &[]), shared);
        let (action, reason) = of(true);
        assert!(action == Action::Conflict && reason.contains("a binding of another name"), "{reason}");
        assert_ne!(of(false).0, Action::Conflict, "by itself it can be changed");
    }
}

#[test]
fn what_is_going_away_is_left_whatever_was_asked() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}});
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
        "metadata": {"name": "x", "deletionTimestamp": "2026-11-21T10:00:00Z"}});
    for on_conflict in [OnConflict::Fail, OnConflict::Skip, OnConflict::Update, OnConflict::Replace] {
        assert_eq!(settled(on_conflict, "configmaps", object.clone(), &live).0, Action::Conflict);
    }
}

#[test]
fn pods_and_jobs_are_replaced_and_never_updated() {
    let pod = |image: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let settled = |on_conflict| settled(on_conflict, "pods", pod("a:1"), &pod("a:2"));
    assert_eq!(settled(OnConflict::Replace).0, Action::Replace);
    let (action, reason) = settled(OnConflict::Update);
    assert!(action == Action::Conflict && reason.contains("--on-conflict replace"), "{reason}");
}

#[test]
fn pods_stay_where_the_new_selector_finds_them_and_nothing_else_ever_goes() {
    let deployment = |app: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {"matchLabels": {"app": app}}}});
    assert!(!leaves_pods(&deployment("a"), &deployment("a")));
    assert!(leaves_pods(&deployment("a"), &deployment("b")));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {}});
    assert!(leaves_pods(&job, &job));
    let other = json!({"apiVersion": "example.org/v1", "kind": "Database", "spec": {"selector": "a"}});
    assert!(!leaves_pods(&other, &json!({"spec": {"selector": "b"}})), "what an operator made of it stays");
    assert_eq!(deletion("u")["propagationPolicy"], json!("Orphan"));
}

#[test]
fn a_load_balancer_keeps_its_address_under_every_answer_and_no_advice_goes_in_a_circle() {
    let (balancer, plain) = (service(json!({"type": "LoadBalancer"})), service(json!({"type": "ClusterIP"})));
    for on_conflict in [OnConflict::Update, OnConflict::Replace] {
        let (action, reason) = settled(on_conflict, "services", plain.clone(), &balancer);
        assert!(action == Action::Conflict && reason.contains("address would be lost"), "{reason}");
        assert!(!reason.contains("--on-conflict"), "{reason}");
    }
    // The twin: one that becomes a LoadBalancer loses nothing by an update.
    assert_eq!(settled(OnConflict::Update, "services", balancer.clone(), &plain).0, Action::Update);
    let (_, reason) = settled(OnConflict::Replace, "services", balancer, &plain);
    assert!(reason.ends_with("--on-conflict update changes what can be changed in it"), "{reason}");
}

#[test]
fn a_stateful_set_that_deletes_the_claims_of_what_goes_is_not_scaled_down() {
    let set = |replicas: u64, when: &str, image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"replicas": replicas,
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": when, "whenDeleted": "Retain"},
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    for on_conflict in [OnConflict::Update, OnConflict::Replace] {
        let action = |backup: Value, live: Value| settled(on_conflict, "statefulsets.apps", backup, &live);
        let (found, reason) = action(set(1, "Delete", "a:1"), set(3, "Delete", "a:1"));
        assert!(found == Action::Conflict && reason.contains("from 3 to 1"), "{reason}");
        assert_ne!(action(set(1, "Retain", "a:1"), set(3, "Retain", "a:1")).0, Action::Conflict);
        assert_ne!(action(set(3, "Delete", "a:1"), set(1, "Delete", "a:1")).0, Action::Conflict);
        assert_ne!(action(set(3, "Delete", "a:1"), set(3, "Delete", "a:2")).0, Action::Conflict);
    }
}

#[test]
fn a_job_that_is_put_back_does_not_begin_again_and_names_no_old_uid() {
    let labels = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "app": "x"});
    let live = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}});
    assert_eq!(put_back(&live)["spec"], json!({"suspend": true, "template": {"metadata": {"labels": {"app": "x"}}}}));
}

#[test]
fn an_update_makes_all_that_the_backup_holds_equal_and_keeps_what_is_the_live_objects_own() {
    let spec = |ip: &str, port: u64| json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": port, "nodePort": 30080}]});
    let backup = prepared("services", service(spec("10.0.0.1", 80)));
    let mut live = service(spec("10.9.9.9", 8080));
    live["metadata"] = json!({"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"since": "x"},
        "finalizers": ["a/b"], "ownerReferences": [{"kind": "ConfigMap", "name": "o", "uid": "o"}]});
    live["status"] = json!({"loadBalancer": {}});
    let sent = updated(&backup, &live, &[]);
    assert_eq!(sent["spec"], spec("10.9.9.9", 80));
    let expected = json!({"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["a/b"],
        "ownerReferences": [{"kind": "ConfigMap", "name": "o", "uid": "o"}]});
    assert_eq!((&sent["metadata"], &sent["status"]), (&expected, &live["status"]));
    assert_eq!(judge(&backup, &sent, &[]).action, Action::Same);
    let waived = updated(&backup, &live, &[Waiver::NodePort(0)]);
    assert!(waived.pointer("/spec/ports/0/nodePort").is_none(), "{waived}");
}

#[test]
fn an_update_leaves_the_number_of_replicas_to_the_autoscaler() {
    let deployment = |replicas: u64, image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let backup = prepared("deployments.apps", deployment(2, "a:1"));
    let live = deployment(7, "a:2");
    assert_eq!(updated(&backup, &live, &[Waiver::Replicas])["spec"], deployment(7, "a:1")["spec"]);
    assert_eq!(updated(&backup, &live, &[])["spec"], deployment(2, "a:1")["spec"]);
}

#[test]
fn an_update_of_a_claim_keeps_its_volume() {
    let claim = |volume: &str, size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": volume, "resources": {"requests": {"storage": size}}}})
    };
    let backup = prepared("persistentvolumeclaims", claim("pv-old", "2Gi"));
    let sent = updated(&backup, &claim("pv-live", "1Gi"), &[]);
    assert_eq!(
        (&sent["spec"], &sent["metadata"]["annotations"]),
        (&claim("pv-live", "2Gi")["spec"], &claim("", "")["metadata"]["annotations"])
    );
}

#[test]
fn owners_that_only_the_live_object_has_stay() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name});
    let object = |owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "ownerReferences": owners}});
    let backup = prepared("configmaps", object(json!([owner("a")])));
    assert_eq!(live_owners(&backup, &object(json!([owner("a"), owner("b")]))), [owner("b")]);
    assert!(live_owners(&backup, &object(Value::Null)).is_empty());
}

#[test]
fn what_is_put_back_is_the_live_object_without_the_servers_books() {
    let live = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"l": "1"}}, "data": {"k": "v"}, "status": {}});
    assert_eq!(put_back(&live), json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "data": {"k": "v"}}));
}
