//! Two versions of one object: what was added counts as much as what is gone.

use serde_json::{Value, json};

use super::super::{Difference, changes, compare};

fn shown(old: &Value, new: &Value, reveal: bool) -> Vec<String> {
    let text = |difference: &Difference| {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("{}: {} -> {}", difference.path, side(&difference.expected), side(&difference.live))
    };
    changes(old, new, reveal).iter().map(text).collect()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "uid": "1", "resourceVersion": "7", "labels": {"a": "1"}, "finalizers": ["x"]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "web", "image": "nginx:1", "resources": {"limits": {"cpu": "1"}}, "env": [{"name": "A", "value": "1"}]}
        ]}}},
        "status": {"replicas": 1}})
}

#[test]
fn what_was_added_removed_and_changed_is_named_by_its_path() {
    let old = deployment();
    let mut new = deployment();
    new["metadata"]["labels"] = json!({"b": "2"});
    new["metadata"]["finalizers"] = json!(["y"]);
    new["metadata"]["resourceVersion"] = json!("8");
    new["status"]["replicas"] = json!(2);
    new["spec"]["paused"] = json!(true);
    let containers = new["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers[0]["image"] = json!("nginx:2");
    containers[0]["resources"]["limits"]["cpu"] = json!("1000m");
    containers.insert(0, json!({"name": "side", "image": "s"}));
    let mut found = shown(&old, &new, false);
    found.sort();
    let mut expected = [
        "metadata.finalizers[\"x\"]: \"x\" -> nothing",
        "metadata.finalizers[\"y\"]: nothing -> \"y\"",
        "metadata.labels.a: \"1\" -> nothing",
        "metadata.labels.b: nothing -> \"2\"",
        "spec.paused: nothing -> true",
        "spec.template.spec.containers[name=web].image: \"nginx:1\" -> \"nginx:2\"",
        "spec.template.spec.containers[name=web].resources.limits.cpu: \"1\" -> \"1000m\"",
        "spec.template.spec.containers[name=side]: nothing -> {\"image\":\"s\",\"name\":\"side\"}",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(changes(&old, &old, false).is_empty());
    // The twin: a comparison after a restore takes additions and equal quantities for what they are.
    assert!(compare(&old, &new).differences.len() < found.len());
}

#[test]
fn values_that_may_be_secret_are_shown_only_if_that_is_asked_for_and_those_of_secrets_never() {
    let config = |kind: &str, value: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "c"}, "data": {"k": value}});
    let hidden = "data.k: a value that is not shown -> a value that is not shown";
    assert_eq!(shown(&config("ConfigMap", "a"), &config("ConfigMap", "b"), false), [hidden]);
    assert_eq!(shown(&config("ConfigMap", "a"), &config("ConfigMap", "b"), true), ["data.k: \"a\" -> \"b\""]);
    for reveal in [false, true] {
        assert_eq!(shown(&config("Secret", "a"), &config("Secret", "b"), reveal), [hidden]);
    }
}
