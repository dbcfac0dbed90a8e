//! The claims of StatefulSets: those of ephemeral volumes are made again with their Pods, and all others restored.

use serde_json::{Value, json};

use crate::support::{
    bed::{self, Cluster, require},
    workshop::{Workshop, wait_for},
};

/// On every claim that is there when the backup is made. No controller writes it.
const MARK: &str = "example.org/from-the-backup";
/// A claim of an ephemeral volume and a claim of a template, by the names that their controllers give them.
const CLAIMS: [&str; 2] = ["scratch-0-room", "room-keep-0"];
const SKIPPED: &str = "it belongs to a Pod that is not restored but made again, and is made again for it";

/// Two StatefulSets with one Pod each: `scratch` with an ephemeral volume, `keep` with a claim of its own.
fn stateful_sets(namespace: &str, class: &str) -> String {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                      "resources": {"requests": {"storage": "1Gi"}}});
    let set = |name: &str, volumes: Value, templates: Value| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": name}}, "serviceName": name, "volumeClaimTemplates": templates,
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"volumes": volumes, "containers":
                    [{"name": "main", "image": "example.org/main:1", "volumeMounts": [{"name": "room", "mountPath": "/room"}]}]}}}})
    };
    let ephemeral = json!([{"name": "room", "ephemeral": {"volumeClaimTemplate": {"spec": spec.clone()}}}]);
    let template = json!([{"metadata": {"name": "room"}, "spec": spec}]);
    format!("{}\n---\n{}", set("scratch", ephemeral, json!([])), set("keep", json!([]), template))
}

/// A volume for each claim.
fn make_volumes(cluster: &Cluster, class: &str, round: &str) {
    for number in 0..CLAIMS.len() {
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": cluster.name(&format!("{round}-{number}")), "labels": {Cluster::LABEL: cluster.prefix()}},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                     "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}});
        cluster.apply(&volume.to_string());
    }
}

/// Both claims, as soon as both StatefulSets are ready.
fn claims_in_use(cluster: &Cluster, namespace: &str) -> [Value; 2] {
    for set in ["statefulset/scratch", "statefulset/keep"] {
        cluster.kubectl(&["-n", namespace, "rollout", "status", set, "--timeout=180s"]);
    }
    CLAIMS.map(|name| {
        wait_for(name, 30, || {
            let claim = cluster.get("pvc", namespace, name)?;
            (claim["status"]["phase"] == "Bound").then_some(claim)
        })
    })
}

fn uid_of(cluster: &Cluster, namespace: &str, pod: &str) -> Value {
    cluster.get("pod", namespace, pod).unwrap()["metadata"]["uid"].clone()
}

#[test]
fn claims_of_ephemeral_volumes_are_made_again_with_their_pod_and_claims_of_templates_are_restored() {
    let source = require!(bed::source);
    let (namespace, class) = (source.create_namespace("claims"), source.name("class"));
    make_volumes(&source, &class, "first");
    source.apply(&stateful_sets(&namespace, &class));
    let [ephemeral, own] = claims_in_use(&source, &namespace);
    let old_pod = uid_of(&source, &namespace, "scratch-0");
    assert_eq!(ephemeral["metadata"]["ownerReferences"][0]["uid"], old_pod);
    assert_eq!(own["metadata"].get("ownerReferences"), None, "a claim of a template outlives its StatefulSet");
    for claim in CLAIMS {
        source.kubectl(&["-n", &namespace, "annotate", "pvc", claim, &format!("{MARK}=1")]);
    }

    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    source.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=120s"]);
    make_volumes(&source, &class, "second");
    let plan = workshop.json(0, &["restore", "latest", "--dry-run"]);
    let planned = |name: &str| {
        let objects = plan["sources"][0]["objects"].as_array().unwrap();
        let claim = objects.iter().find(|it| it["kind"] == "persistentvolumeclaims" && it["name"] == name);
        let claim = claim.unwrap_or_else(|| panic!("{name} is not in the plan: {plan:#}"));
        (claim["action"].clone(), claim["reason"].clone())
    };
    assert_eq!(planned(CLAIMS[0]), (json!("skip"), json!(SKIPPED)));
    assert_eq!(planned(CLAIMS[1]).0, "create");
    let report = workshop.json(0, &["restore", "latest", "--yes"]);

    let [ephemeral, own] = claims_in_use(&source, &namespace);
    let new_pod = uid_of(&source, &namespace, "scratch-0");
    assert_ne!(new_pod, old_pod);
    assert_eq!(ephemeral["metadata"]["ownerReferences"][0]["uid"], new_pod, "{report:#}");
    assert_eq!(ephemeral["metadata"].pointer("/annotations/example.org~1from-the-backup"), None, "not of the backup");
    assert_eq!(own["metadata"]["annotations"][MARK], "1", "made by its StatefulSet, not restored: {own:#}");
}
