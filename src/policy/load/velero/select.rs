//! Which kinds and labels: Velero's filters as `include` and `exclude`.

use super::spec::Reader;
use crate::{
    policy::{
        ObjectFilter, ObjectRule,
        load::node::{Node, Value},
    },
    types::LabelSelector,
};

/// Built-in kinds that people name by their plural alone, with their group.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "replicationcontrollers",
            "resourcequotas",
            "secrets",
            "serviceaccounts",
            "services",
        ],
    ),
    ("apps", &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
    ("networking.k8s.io", &["ingressclasses", "ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("rbac.authorization.k8s.io", &["clusterrolebindings", "clusterroles", "rolebindings", "roles"]),
    ("storage.k8s.io", &["csidrivers", "storageclasses", "volumeattachments"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("coordination.k8s.io", &["leases"]),
    ("admissionregistration.k8s.io", &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]),
];
/// Short names that `kubectl` and Velero take.
const SHORT: &[(&str, &str)] = &[
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions.apiextensions.k8s.io"),
    ("crds", "customresourcedefinitions.apiextensions.k8s.io"),
    ("deploy", "deployments.apps"),
    ("ds", "daemonsets.apps"),
    ("ing", "ingresses.networking.k8s.io"),
    ("ns", "namespaces"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("rs", "replicasets.apps"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses.storage.k8s.io"),
    ("sts", "statefulsets.apps"),
    ("svc", "services"),
];

/// A kind as a policy writes it; `None` if it is not known which is meant.
fn known(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*');
    if text.is_empty() || text.len() > 320 || !text.bytes().all(plain) {
        return None;
    }
    if text.contains(['.', '*']) {
        return Some(text);
    }
    if let Some((_, kind)) = SHORT.iter().find(|(short, _)| *short == text) {
        return Some((*kind).to_owned());
    }
    let (group, _) = GROUPS.iter().find(|(_, plurals)| plurals.contains(&text.as_str()))?;
    Some(if group.is_empty() { text } else { format!("{text}.{group}") })
}

/// `exclude` and `include` that take what the filters of a spec take.
pub(super) fn rules(reader: &mut Reader<'_, '_>) -> (Vec<ObjectRule>, Vec<ObjectRule>) {
    let mut included = Vec::new();
    for key in ["includedResources", "includedNamespaceScopedResources", "includedClusterScopedResources"] {
        included.extend(kinds(reader, key));
    }
    let mut exclude = Vec::new();
    for key in ["excludedResources", "excludedNamespaceScopedResources", "excludedClusterScopedResources"] {
        exclude.extend(kinds(reader, key));
    }
    let selectors = selectors(reader);
    if included.is_empty() && selectors.is_empty() {
        return (exclude.into_iter().map(ObjectRule::Kind).collect(), Vec::new());
    }
    // What is included beats what is excluded here, and the other way round with Velero.
    included.retain(|kind| !exclude.contains(kind));
    let all = vec![ObjectRule::Kind("*".to_owned())];
    if selectors.is_empty() {
        return (all, included.into_iter().map(ObjectRule::Kind).collect());
    }
    if !exclude.is_empty() {
        let text = "kinds are excluded and labels selected: of such a kind, too, what has the labels is taken";
        reader.note(reader.start(), true, text);
    }
    let with = |selector| {
        let filter = ObjectFilter { kinds: included.clone(), selector: Some(selector), ..ObjectFilter::default() };
        ObjectRule::Objects(filter)
    };
    (all, selectors.into_iter().map(with).collect())
}

/// The kinds under `key`; `*` is none in particular.
fn kinds(reader: &mut Reader<'_, '_>, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (place, text) in reader.texts(key) {
        match known(&text) {
            _ if text == "*" => {}
            Some(kind) => found.push(kind),
            None => reader.note(
                place,
                true,
                format!("`{key}: {text}`: which kind is meant is not known; write it as `plural.group`"),
            ),
        }
    }
    found
}

fn selectors(reader: &mut Reader<'_, '_>) -> Vec<LabelSelector> {
    let mut found = Vec::new();
    for key in ["labelSelector", "orLabelSelectors"] {
        let Some(node) = reader.value(key) else { continue };
        let one = std::slice::from_ref(node);
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => one,
        };
        for node in nodes {
            match selector(node).map(|text| (text.is_empty(), text.parse::<LabelSelector>())) {
                Some((true, _)) => {}
                Some((false, Ok(selector))) => found.push(selector),
                _ => reader.note(node.place, true, format!("`{key}`: it cannot be written as a selector of labels")),
            }
        }
    }
    found
}

/// A selector of Kubernetes' API as text; `None` if it has a form that is not known.
fn selector(node: &Node) -> Option<String> {
    let Value::Table(fields) = &node.value else { return None };
    let mut parts = Vec::new();
    for (key, value) in fields {
        match (key.name.as_str(), &value.value) {
            (_, Value::Null) => {}
            ("matchLabels", Value::Table(labels)) => {
                for (label, value) in labels {
                    let Value::Text(text) = &value.value else { return None };
                    parts.push(format!("{}={text}", label.name));
                }
            }
            ("matchExpressions", Value::List(items)) => {
                for item in items {
                    parts.push(expression(item)?);
                }
            }
            _ => return None,
        }
    }
    Some(parts.join(","))
}

fn expression(node: &Node) -> Option<String> {
    let Value::Table(fields) = &node.value else { return None };
    let field = |name: &str| fields.iter().find(|(key, _)| key.name == name).map(|(_, node)| &node.value);
    let (Some(Value::Text(key)), Some(Value::Text(operator))) = (field("key"), field("operator")) else { return None };
    let values = match field("values") {
        Some(Value::List(items)) => items
            .iter()
            .map(|item| match &item.value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?
            .join(","),
        _ => String::new(),
    };
    Some(match operator.as_str() {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.clone(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
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
        let file = super::super::VeleroFile { path: "f.yaml".into(), text };
        let options = super::super::VeleroOptions { url: Some("file:///r".parse().unwrap()), ..Default::default() };
        let made = super::super::from_velero(&[file], &options).unwrap();
        let text = made.text().unwrap();
        assert_eq!(crate::policy::parse(std::path::Path::new("p.yaml"), &text).unwrap(), made.policy, "{text}");
        let policy = serde_json::to_value(&made.policy).unwrap();
        let lost = made.notes.iter().filter(|note| note.lost).map(|note| note.text.clone()).collect();
        (policy["sources"]["a"]["kubernetes"].clone(), lost)
    }

    #[test]
    fn filters_of_kinds_and_labels_become_rules() {
        use serde_json::json;
        for (spec, exclude, include) in [
            ("includedResources: ['*']", json!(null), json!(null)),
            ("excludedResources: [events, pods]", json!(["events", "pods"]), json!(null)),
            ("includedResources: [deployments, cm]", json!(["*"]), json!(["deployments.apps", "configmaps"])),
            ("includedResources: [pods, cm], excludedResources: [pods]", json!(["*"]), json!(["configmaps"])),
            (
                "labelSelector: {matchLabels: {app: web, tier: front}}",
                json!(["*"]),
                json!([{"selector": "app=web,tier=front"}]),
            ),
            (
                "includedResources: [secrets], orLabelSelectors: [{matchLabels: {a: b}}, {matchExpressions: [{key: c, operator: In, values: [d, e]}, {key: f, operator: DoesNotExist}]}]",
                json!(["*"]),
                json!([{"kinds": ["secrets"], "selector": "a=b"}, {"kinds": ["secrets"], "selector": "c in (d,e),!f"}]),
            ),
        ] {
            let (source, lost) = rules_of(spec);
            let of = |key: &str| source.get(key).cloned().unwrap_or(json!(null));
            assert_eq!((of("exclude"), lost), (exclude, Vec::<String>::new()), "{spec}");
            let plain = |value: serde_json::Value| value.to_string().replace(", ", ",");
            assert_eq!(plain(of("include")), plain(include), "{spec}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_said_is_named() {
        for (spec, expected) in [
            ("includedResources: [certificates]", "which kind is meant is not known"),
            ("labelSelector: {matchExpressions: [{key: a, operator: Near}]}", "it cannot be written as a selector"),
            (
                "excludedResources: [pods], labelSelector: {matchLabels: {a: b}}",
                "kinds are excluded and labels selected",
            ),
        ] {
            let (_, lost) = rules_of(spec);
            assert!(lost.len() == 1 && lost[0].contains(expected), "{spec}: {lost:?}");
        }
    }
}
