use serde_json::json;

use super::*;
use crate::sources::kubernetes::{
    compare::{
        Comparison, SERVER_SET, compare,
        tests::{changed, corpus, leaves},
    },
    kind_id,
};

fn restored(kind: &str, object: Value) -> Prepared {
    match transform(kind, object) {
        Outcome::Restore(prepared) => *prepared,
        Outcome::Leave(reason) => panic!("left out: {reason}"),
    }
}

fn rules(prepared: &Prepared) -> Vec<&str> {
    prepared.changes.iter().map(|change| change.rule_path.as_ref()).collect()
}

#[test]
fn what_was_being_deleted_is_left_out_also_a_namespace() {
    let object = |kind: &str, time: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "deletionTimestamp": time}});
    for (id, kind) in [("namespaces", "Namespace"), ("persistentvolumeclaims", "PersistentVolumeClaim")] {
        let going = transform(id, object(kind, json!("2026-11-21T11:52:43Z")));
        assert_eq!(going, Outcome::Leave(kinds::BEING_DELETED), "{kind}");
        assert!(matches!(transform(id, object(kind, Value::Null)), Outcome::Restore(_)), "{kind}");
    }
}

#[test]
fn what_the_server_sets_is_dropped_and_nothing_else() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "a", "namespace": "n", "uid": "6f5f6e7a-0000-4000-8000-000000000001", "resourceVersion": "5",
        "generation": 2, "creationTimestamp": "2026-11-21T10:00:00Z", "selfLink": "/x", "generateName": "a-", "labels": {"l": "1"},
        "finalizers": ["foregroundDeletion", "example.org/x"],
        "managedFields": [{"manager": "kubectl", "operation": "Update"}]},
        "data": {"k": "v"}, "status": {"x": 1}});
    let prepared = restored("configmaps", object);
    assert_eq!(
        prepared.object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}, "metadata": {"name": "a", "namespace": "n",
            "generateName": "a-", "labels": {"l": "1"}, "finalizers": ["example.org/x"]}})
    );
    assert!(prepared.second.is_empty(), "there is no `Apply` entry");
    assert_eq!(prepared.uid.to_string(), "6f5f6e7a-0000-4000-8000-000000000001");
    assert_eq!(rules(&prepared), ["metadata.finalizers"]);
}

#[test]
fn owners_and_apply_entries_wait_for_the_second_request() {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "ownerReferences": [owner],
        "managedFields": [{"manager": "team", "operation": "Apply"}, {"manager": "kubectl", "operation": "Update"},
                          {"manager": "c", "operation": "Update", "subresource": "status"}]}});
    let prepared = restored("secrets", object);
    assert_eq!(prepared.object, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}));
    assert_eq!(prepared.second.managed_fields.len(), 2, "not the one of the status");
    assert_eq!(prepared.expected().pointer("/metadata/ownerReferences/0"), Some(&owner));
}

#[test]
fn a_pods_old_place_and_token_are_dropped() {
    let mount = json!({"name": "kube-api-access-x7x7x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "nodeName": "node-1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "priorityClassName": "high",
        "volumes": [token_volume("kube-api-access-x7x7x"), {"name": "mine", "emptyDir": {}}],
        "initContainers": [{"name": "i", "volumeMounts": [mount]}],
        "containers": [{"name": "c", "volumeMounts": [mount, {"name": "mine", "mountPath": "/m"}]}],
        "ephemeralContainers": [{"name": "debug"}]}});
    let prepared = restored("pods", object);
    assert_eq!(
        prepared.object["spec"],
        json!({"priorityClassName": "high", "volumes": [{"name": "mine", "emptyDir": {}}],
               "initContainers": [{"name": "i"}],
               "containers": [{"name": "c", "volumeMounts": [{"name": "mine", "mountPath": "/m"}]}]})
    );
}

/// The volume that admission makes.
fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
                                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}})
}

#[test]
fn a_volume_that_only_looks_like_that_of_the_token_is_kept() {
    let mine = token_volume("kube-api-access-vault");
    let pod = |volume: &Value, spec: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        object["spec"]["volumes"] = json!([volume]);
        object["spec"]["containers"] =
            json!([{"name": "c", "volumeMounts": [{"name": volume["name"], "mountPath": "/m"}]}]);
        object
    };
    assert_ne!(restored("pods", pod(&mine, json!({}))).object, pod(&mine, json!({})), "this one is admission's");
    let mut audience = mine.clone();
    audience["projected"]["sources"][0]["serviceAccountToken"]["audience"] = json!("vault");
    let mut more = mine.clone();
    more["projected"]["sources"].as_array_mut().unwrap().push(json!({"secret": {"name": "s"}}));
    let longer = token_volume("kube-api-access-vaults");
    for (volume, spec) in [
        (audience, json!({})),
        (more, json!({})),
        (longer, json!({})),
        (mine, json!({"automountServiceAccountToken": false})),
    ] {
        let object = pod(&volume, spec);
        assert_eq!(restored("pods", object.clone()).object, object);
    }
}

#[test]
fn a_job_with_a_selector_of_its_own_keeps_it() {
    let job = |manual: bool| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "labels": {"controller-uid": "u"}},
            "spec": {"manualSelector": manual, "suspend": true, "selector": {"matchLabels": {"controller-uid": "u"}},
                     "template": {"metadata": {"labels": {"controller-uid": "u", "app": "j"}}}}})
    };
    assert_eq!(restored("jobs.batch", job(true)).object, job(true));
    let prepared = restored("jobs.batch", job(false));
    assert_eq!(prepared.object["metadata"], json!({"name": "j"}));
    assert_eq!(
        prepared.object["spec"],
        json!({"manualSelector": false, "suspend": true, "template": {"metadata": {"labels": {"app": "j"}}}})
    );
}

#[test]
fn a_change_of_a_secret_does_not_show_what_it_removed() {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "a", "kubernetes.io/service-account.uid": "u"}},
        "data": {"token": "aHVudGVyMg==", "ca.crt": "Y2E=", "namespace": "bg=="}});
    let prepared = restored("secrets", object);
    assert!(prepared.object.get("data").is_none());
    assert!(!format!("{:?}", prepared.changes).contains("aHVudGVyMg=="));
    assert_eq!(rules(&prepared).len(), 4);
}

#[test]
fn addresses_of_a_load_balancer_are_read_by_name_or_number() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.org", "ip": "192.0.2.2"}, {}]}}});
    assert_eq!(restored("services", service).addresses, ["192.0.2.1", "lb.example.org"]);
}

/// `plural.group` of a corpus object, as far as the rules look at it.
fn id_of(object: &Value) -> String {
    let kind = GroupKind::of(object);
    let mut plural = kind.kind.to_lowercase();
    if plural.ends_with('s') || plural.ends_with("ch") {
        if plural != "endpoints" {
            plural.push_str("es");
        }
    } else if plural.ends_with("cy") || plural.ends_with("ty") {
        plural.truncate(plural.len() - 1);
        plural.push_str("ies");
    } else {
        plural.push('s');
    }
    kind_id(&plural, kind.group)
}

/// The whole way: what a rule took out is recorded, and every other leaf is still compared.
#[test]
fn after_the_rules_every_leaf_is_compared_or_recorded_or_server_set() {
    let (mut compared, mut recorded, mut left_out) = (0, 0, 0);
    for (name, object) in corpus() {
        let Outcome::Restore(prepared) = transform(&id_of(&object), object.clone()) else {
            left_out += 1;
            continue;
        };
        let expected = prepared.expected();
        let mut live = object.clone();
        let suspended = live.pointer_mut("/spec/suspend").filter(|_| rules(&prepared).contains(&"spec.suspend"));
        if let Some(suspend) = suspended {
            *suspend = json!(true);
        }
        assert!(compare(&expected, &live).is_equal(), "{name}: {:?}", compare(&expected, &live));
        for leaf in leaves(&object).into_iter().filter(|leaf| leaf.server_set.is_none()) {
            let place = live.pointer_mut(&leaf.pointer).unwrap();
            let kept = place.clone();
            *place = changed(place);
            let Comparison { differences, .. } = compare(&expected, &live);
            *live.pointer_mut(&leaf.pointer).unwrap() = kept;
            if differences.is_empty() {
                assert!(!prepared.changes.is_empty(), "{name}: {} is neither compared nor recorded", leaf.pointer);
                recorded += 1;
            } else {
                assert_eq!(differences[0].path, leaf.path, "{name}");
                compared += 1;
            }
        }
    }
    println!("{compared} leaves compared, {recorded} changed by recorded rules, {left_out} objects not restored");
    assert!(compared > 1_100 && recorded > 30 && recorded < 60 && left_out > 5, "{compared} {recorded} {left_out}");
    assert!(!SERVER_SET.is_empty());
}
