//! Objects of an API version that the cluster does not serve any more: the same object at another version, where
//! that is known to mean the same.

use serde_json::{Map, Value, json};

use super::{RestoreError, live::get, target::TargetCluster, transform::Change};
use crate::sources::kubernetes::{Cluster, Kind};

/// Changes the form of an object, or says why that cannot be done.
type Convert = fn(&mut Value) -> Result<(), &'static str>;

/// Kinds of a group of which versions that are gone can be had at another one.
struct Row {
    group: &'static str,
    plurals: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static str,
    convert: Convert,
}

const fn row(
    group: &'static str,
    plurals: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static str,
    convert: Convert,
) -> Row {
    Row { group, plurals, from, to, convert }
}

const TABLE: &[Row] = &[
    row(
        "admissionregistration.k8s.io",
        &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        &["v1alpha1", "v1beta1"],
        "v1",
        same_form,
    ),
    row(
        "admissionregistration.k8s.io",
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        &["v1beta1"],
        "v1",
        webhooks,
    ),
    row("apiregistration.k8s.io", &["apiservices"], &["v1beta1"], "v1", same_form),
    row("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"], &["v1beta2"], "v1", same_form),
    row("autoscaling", &["horizontalpodautoscalers"], &["v2beta2"], "v2", same_form),
    row("batch", &["cronjobs"], &["v1beta1"], "v1", same_form),
    row("flowcontrol.apiserver.k8s.io", &["flowschemas"], &["v1beta1", "v1beta2", "v1beta3"], "v1", same_form),
    row("flowcontrol.apiserver.k8s.io", &["prioritylevelconfigurations"], &["v1beta1", "v1beta2"], "v1", shares),
    row("flowcontrol.apiserver.k8s.io", &["prioritylevelconfigurations"], &["v1beta3"], "v1", same_form),
    row("networking.k8s.io", &["ingressclasses"], &["v1beta1"], "v1", same_form),
    row("networking.k8s.io", &["ingresses"], &["v1beta1"], "v1", ingress),
    row("node.k8s.io", &["runtimeclasses"], &["v1beta1"], "v1", same_form),
    row("policy", &["poddisruptionbudgets"], &["v1beta1"], "v1", disruption_budget),
    row(
        "rbac.authorization.k8s.io",
        &["clusterrolebindings", "clusterroles", "rolebindings", "roles"],
        &["v1beta1"],
        "v1",
        same_form,
    ),
    row("scheduling.k8s.io", &["priorityclasses"], &["v1beta1"], "v1", same_form),
    row("storage.k8s.io", &["csidrivers", "storageclasses", "volumeattributesclasses"], &["v1beta1"], "v1", same_form),
];

/// What is written of it.
const RULE: &str = "apiVersion";
const WHY: &str = "the cluster does not serve the backup's version any more; at this one the object means the same";

/// The version at which objects of `api_version`, which is not served, can be created; `None` if there is none that
/// is known to mean the same.
pub(super) async fn other(
    cluster: &Cluster,
    target: &TargetCluster,
    api_version: &str,
    group: &str,
    plural: &str,
) -> Result<Option<Kind>, RestoreError> {
    let served: Vec<&Kind> = target.versions(group, plural).filter(|kind| kind.can("create")).collect();
    if served.is_empty() {
        return Ok(None);
    }
    if let Some(row) = row_of(group, plural, version_of(api_version)) {
        return Ok(served.into_iter().find(|kind| kind.version == row.to).cloned());
    }
    let Some(definitions) = target.kind_of("apiextensions.k8s.io/v1", "CustomResourceDefinition") else {
        return Ok(None);
    };
    let definition = get(cluster, definitions, "", &format!("{plural}.{group}")).await?;
    let Some(definition) = definition.filter(has_one_form) else { return Ok(None) };
    let stored = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let stored = stored.filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    let stored: Vec<&str> = stored.filter_map(|version| version.get("name")?.as_str()).collect();
    let in_storage = served.iter().find(|kind| stored.contains(&kind.version.as_str()));
    Ok(in_storage.or(served.first()).map(|kind| (*kind).clone()))
}

/// A definition whose versions differ in their names alone: nothing converts between them.
fn has_one_form(definition: &Value) -> bool {
    let strategy = definition.pointer("/spec/conversion/strategy").and_then(Value::as_str);
    strategy.is_none_or(|strategy| strategy == "None")
}

/// Brings an object of a backup to the version of `kind`, at which it is created. Gives the change, if it is one.
///
/// # Errors
/// Why this object cannot be had at that version.
pub(super) fn adapt(object: &mut Value, kind: &Kind) -> Result<Option<Change>, &'static str> {
    let before = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    let after = kind.api_version();
    let group = before.split_once('/').map_or("", |(group, _)| group);
    if before == after || group != kind.group || object.get("kind").and_then(Value::as_str) != Some(&kind.name) {
        return Ok(None);
    }
    let is_custom = !TABLE.iter().any(|row| row.group == group);
    match row_of(group, &kind.plural, version_of(&before)) {
        Some(row) if row.to == kind.version => (row.convert)(object)?,
        None if is_custom => {}
        _ => return Ok(None),
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!(after));
    }
    Ok(Some(Change::of(RULE, WHY, format!("{before} to {after}"))))
}

fn version_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or(api_version, |(_, version)| version)
}

fn row_of(group: &str, plural: &str, version: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.group == group && row.plurals.contains(&plural) && row.from.contains(&version))
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all rows")]
fn same_form(_: &mut Value) -> Result<(), &'static str> {
    Ok(())
}

/// An empty selector finds no Pod in `v1beta1`, and every Pod in `v1`.
#[expect(clippy::unnecessary_wraps, reason = "one form for all rows")]
fn disruption_budget(object: &mut Value) -> Result<(), &'static str> {
    let spec = object.get_mut("spec").and_then(Value::as_object_mut);
    if let Some(spec) = spec
        && spec.get("selector").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        spec.remove("selector");
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "one form for all rows")]
fn shares(object: &mut Value) -> Result<(), &'static str> {
    let limited = object.pointer_mut("/spec/limited").and_then(Value::as_object_mut);
    if let Some(limited) = limited
        && let Some(shares) = limited.remove("assuredConcurrencyShares")
    {
        limited.insert("nominalConcurrencyShares".to_owned(), shares);
    }
    Ok(())
}

/// `v1` takes no webhook that does not say that it has no side effects in a dry run.
fn webhooks(object: &mut Value) -> Result<(), &'static str> {
    let hooks = object.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let is_clear =
        |hook: &Value| matches!(hook.get("sideEffects").and_then(Value::as_str), Some("None" | "NoneOnDryRun"));
    if hooks.into_iter().all(is_clear) {
        Ok(())
    } else {
        Err("the cluster serves only version v1 of it, which takes no webhook with sideEffects Unknown or Some")
    }
}

fn ingress(object: &mut Value) -> Result<(), &'static str> {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if let Some(mut backend) = spec.remove("backend") {
        service_backend(&mut backend)?;
        spec.insert("defaultBackend".to_owned(), backend);
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    let paths = rules.filter_map(|rule| rule.pointer_mut("/http/paths")?.as_array_mut()).flatten();
    for path in paths.filter_map(Value::as_object_mut) {
        path.entry("pathType").or_insert_with(|| json!("ImplementationSpecific"));
        if let Some(backend) = path.get_mut("backend") {
            service_backend(backend)?;
        }
    }
    Ok(())
}

fn service_backend(backend: &mut Value) -> Result<(), &'static str> {
    let Some(fields) = backend.as_object_mut() else { return Ok(()) };
    let (name, port) = (fields.remove("serviceName"), fields.remove("servicePort"));
    match (name, port) {
        (None, None) => Ok(()),
        (Some(name), Some(port)) => {
            let which = if port.is_number() { "number" } else { "name" };
            fields.insert("service".to_owned(), json!({"name": name, "port": {which: port}}));
            Ok(())
        }
        _ => Err("a backend of it has no serviceName or no servicePort"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, version: &str, plural: &str, name: &str) -> Kind {
        Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            name: name.to_owned(),
            namespaced: true,
            aggregated: false,
            verbs: vec!["create".to_owned()],
            subresources: Vec::new(),
        }
    }

    fn adapted(kind: &Kind, from: &str, mut object: Value) -> Result<Value, &'static str> {
        object["apiVersion"] = json!(format!("{}/{from}", kind.group));
        object["kind"] = json!(kind.name);
        let change = adapt(&mut object, kind)?;
        assert_eq!(change.unwrap().what, format!("{0}/{from} to {0}/{1}", kind.group, kind.version));
        assert_eq!(object["apiVersion"], json!(kind.api_version()));
        Ok(object)
    }

    #[test]
    fn what_is_served_as_it_is_does_not_change() {
        let served = kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
        let mut object = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"selector": {}}});
        let before = object.clone();
        assert_eq!(adapt(&mut object, &served).unwrap(), None);
        assert_eq!(object, before);
        let mut unknown = json!({"apiVersion": "policy/v1alpha9", "kind": "PodDisruptionBudget"});
        assert_eq!(adapt(&mut unknown, &served).unwrap(), None, "the table does not know this version");
    }

    #[test]
    fn an_empty_selector_of_a_budget_does_not_come_to_mean_every_pod() {
        let served = kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
        let of = |selector: Value| {
            adapted(&served, "v1beta1", json!({"spec": {"minAvailable": 1, "selector": selector}})).unwrap()
        };
        assert_eq!(of(json!({}))["spec"], json!({"minAvailable": 1}));
        assert_eq!(of(json!({"matchLabels": {"a": "b"}}))["spec"]["selector"], json!({"matchLabels": {"a": "b"}}));
    }

    #[test]
    fn an_ingress_names_its_services_in_the_new_form() {
        let served = kind("networking.k8s.io", "v1", "ingresses", "Ingress");
        let path = |backend: Value| {
            json!({"spec": {"backend": {"serviceName": "d", "servicePort": "http"},
            "rules": [{"host": "h", "http": {"paths": [{"path": "/", "backend": backend}]}}]}})
        };
        let done = adapted(&served, "v1beta1", path(json!({"serviceName": "s", "servicePort": 80}))).unwrap();
        assert_eq!(done["spec"]["defaultBackend"], json!({"service": {"name": "d", "port": {"name": "http"}}}));
        let expected = json!({"path": "/", "pathType": "ImplementationSpecific", "backend": {"service": {"name": "s", "port": {"number": 80}}}});
        assert_eq!(done["spec"]["rules"][0]["http"]["paths"][0], expected);
        assert!(adapted(&served, "v1beta1", path(json!({"serviceName": "s"}))).is_err());
    }

    #[test]
    fn a_webhook_with_side_effects_cannot_be_had_at_v1() {
        let served = kind(
            "admissionregistration.k8s.io",
            "v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
        );
        let with = |effects: &str| json!({"webhooks": [{"name": "w", "sideEffects": effects}]});
        assert!(adapted(&served, "v1beta1", with("NoneOnDryRun")).is_ok());
        assert!(adapted(&served, "v1beta1", with("Unknown")).unwrap_err().contains("sideEffects"));
    }

    #[test]
    fn shares_have_a_new_name() {
        let served =
            kind("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration");
        let done = adapted(&served, "v1beta2", json!({"spec": {"limited": {"assuredConcurrencyShares": 5}}})).unwrap();
        assert_eq!(done["spec"]["limited"], json!({"nominalConcurrencyShares": 5}));
    }

    #[test]
    fn a_custom_resource_keeps_its_form_and_only_where_nothing_converts() {
        let served = kind("example.org", "v2", "widgets", "Widget");
        let done = adapted(&served, "v1", json!({"spec": {"size": 1}})).unwrap();
        assert_eq!(done["spec"], json!({"size": 1}));
        let with = |strategy: &str| json!({"spec": {"conversion": {"strategy": strategy}}});
        assert!(has_one_form(&with("None")) && has_one_form(&json!({"spec": {}})) && !has_one_form(&with("Webhook")));
    }

    #[test]
    fn no_version_is_in_the_table_twice() {
        let mut seen = std::collections::HashSet::new();
        for row in TABLE {
            for (plural, from) in row.plurals.iter().flat_map(|plural| row.from.iter().map(move |from| (plural, from)))
            {
                assert!(seen.insert((row.group, *plural, *from)), "{plural} {from}");
                assert_ne!(*from, row.to);
            }
        }
    }
}
