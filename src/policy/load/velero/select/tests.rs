use super::*;

#[test]
fn kinds_are_known_by_their_plural_their_short_name_and_their_group() {
    for (text, expected) in [
        ("deployments", Some("deployments.apps")),
        ("Pods", Some("pods")),
        ("pvc", Some("persistentvolumeclaims")),
        ("deployments.apps", Some("deployments.apps")),
        ("*.example.com", Some("*.example.com")),
        ("certificates", None),
        ("", None),
    ] {
        assert_eq!(known(text).as_deref(), expected, "{text}");
    }
}

fn rules_of(spec: &str) -> (serde_json::Value, Vec<String>) {
    let text = format!(
        "apiVersion: velero.io/v1\nkind: Schedule\nmetadata: {{name: a}}\nspec: {{schedule: '@daily', template: {{snapshotVolumes: false, {spec}}}}}\n"
    );
    let file = crate::policy::load::velero::VeleroFile { path: "f.yaml".into(), text };
    let options =
        crate::policy::load::velero::VeleroOptions { url: Some("file:///r".parse().unwrap()), ..Default::default() };
    let made = crate::policy::load::velero::from_velero(&[file], &options).unwrap();
    let text = made.text().unwrap();
    assert_eq!(crate::policy::parse(std::path::Path::new("p.yaml"), &text).unwrap(), made.policy, "{text}");
    let policy = serde_json::to_value(&made.policy).unwrap();
    let lost = made.notes.iter().filter(|note| note.lost).map(|note| note.text.clone()).collect();
    (policy["sources"]["a"]["kubernetes"].clone(), lost)
}

#[track_caller]
fn becomes(spec: &str, exclude: serde_json::Value, include: serde_json::Value, scope: serde_json::Value) {
    let (source, lost) = rules_of(spec);
    let of = |key: &str| source.get(key).cloned().unwrap_or(serde_json::Value::Null);
    assert_eq!(lost, Vec::<String>::new(), "{spec}");
    let plain = |value: serde_json::Value| value.to_string().replace(", ", ",");
    for (key, expected) in [("exclude", exclude), ("include", include), ("clusterScoped", scope)] {
        assert_eq!(plain(of(key)), plain(expected), "{key} of {spec}");
    }
}

#[test]
fn filters_of_kinds_become_rules() {
    use serde_json::json;
    let none = json!(null);
    becomes("includedResources: ['*']", none.clone(), none.clone(), none.clone());
    becomes("excludedResources: [events, pods]", json!(["events", "pods"]), none.clone(), none.clone());
    let referenced = json!("referenced");
    becomes(
        "includedResources: [deployments, cm]",
        json!(["*"]),
        json!(["deployments.apps", "configmaps"]),
        referenced.clone(),
    );
    becomes(
        "includedResources: [pods, cm], excludedResources: [pods]",
        json!(["*"]),
        json!(["configmaps"]),
        referenced.clone(),
    );
    becomes(
        "includedNamespaceScopedResources: [certificates.cert-manager.io, pvc]",
        json!(["*"]),
        json!([
            "certificates.cert-manager.io",
            "persistentvolumeclaims",
            "persistentvolumes",
            "customresourcedefinitions.apiextensions.k8s.io"
        ]),
        referenced,
    );
    becomes("includedResources: [cm, pv]", json!(["*"]), json!(["configmaps", "persistentvolumes"]), json!("all"));
    becomes(
        "includedNamespaceScopedResources: [cm], includedClusterScopedResources: [pv]",
        json!(["*"]),
        json!(["configmaps", "persistentvolumes"]),
        json!("all"),
    );
    becomes(
        "includedResources: [serviceaccounts], includeClusterResources: false",
        json!(["*"]),
        json!(["serviceaccounts"]),
        json!("none"),
    );
}

#[test]
fn labels_become_rules_and_what_objects_need_has_them_not() {
    use serde_json::json;
    let none = json!(null);
    becomes(
        "labelSelector: {matchLabels: {app: web, tier: front}}",
        json!(["*"]),
        json!([{"selector": "app=web,tier=front"}, "customresourcedefinitions.apiextensions.k8s.io"]),
        none.clone(),
    );
    becomes(
        "includedNamespaces: [shop], labelSelector: {matchLabels: {app: web}}",
        json!(["*"]),
        json!([
            {"selector": "app=web"},
            "persistentvolumes",
            "priorityclasses.scheduling.k8s.io",
            "clusterrolebindings.rbac.authorization.k8s.io",
            "clusterroles.rbac.authorization.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io"
        ]),
        none.clone(),
    );
    becomes(
        "includedResources: [secrets], orLabelSelectors: [{matchLabels: {a: b}}, {matchExpressions: [{key: c, operator: In, values: [d, e]}, {key: f, operator: DoesNotExist}]}]",
        json!(["*"]),
        json!([{"kinds": ["secrets"], "selector": "a=b"}, {"kinds": ["secrets"], "selector": "c in (d,e),!f"}]),
        json!("referenced"),
    );
    // What is excluded of all that is included leaves nothing, and not everything.
    becomes(
        "includedResources: [cm], excludedResources: [cm], labelSelector: {matchLabels: {a: b}}",
        json!(["*"]),
        none.clone(),
        json!("referenced"),
    );
    // All but a kind, with a label: what has not the label is left out, as the kind is.
    becomes(
        "excludedResources: [pods], labelSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}",
        json!(["pods", {"selector": "a!=b"}, {"selector": "!c"}]),
        json!(["customresourcedefinitions.apiextensions.k8s.io"]),
        none,
    );
}

#[test]
fn a_filter_that_cannot_be_said_is_named() {
    for (spec, expected) in [
        ("includedResources: [certificates]", "which kind is meant is not known"),
        ("labelSelector: {matchExpressions: [{key: a, operator: Near}]}", "it cannot be written as a selector"),
        (
            "excludedResources: [pods], orLabelSelectors: [{matchLabels: {a: b}}, {matchLabels: {c: d}}]",
            "kinds are excluded and labels selected",
        ),
        ("includedResources: ['*.apps'], excludedResources: [deployments]", "a pattern includes it"),
        ("includedClusterScopedResources: [pv]", "all cluster-scoped objects are taken, not these alone"),
        (
            "includedNamespaceScopedResources: [cm], includedClusterScopedResources: ['*']",
            "name the cluster-scoped kinds",
        ),
    ] {
        let (_, lost) = rules_of(spec);
        assert!(lost.len() == 1 && lost[0].contains(expected), "{spec}: {lost:?}");
    }
}

#[test]
fn a_pattern_takes_what_kubernetes_would() {
    for (pattern, kind, expected) in [
        ("*.apps", "deployments.apps", true),
        ("*.apps", "pods", false),
        ("deploy*.ap*s", "deployments.apps", true),
        ("deployments.apps", "deployments.apps", true),
        ("*", "pods", true),
        ("pods*x", "pods", false),
    ] {
        assert_eq!(pattern_takes(pattern, kind), expected, "{pattern} {kind}");
    }
}
