//! Which kinds and labels: Velero's filters as `include` and `exclude`.

use super::spec::Reader;
use crate::{
    policy::{
        ClusterScoped, ObjectFilter, ObjectRule,
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

/// Those of them whose objects are in no namespace. (Namespaces are taken in any case.)
const CLUSTER_SCOPED: &[&str] = &[
    "nodes",
    "persistentvolumes",
    "ingressclasses.networking.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "csidrivers.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    DEFINITIONS,
    "apiservices.apiregistration.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];
/// What Velero takes beside an object of a kind, whatever is said of kinds and labels.
const TAKEN_WITH: &[(&str, &[&str])] = &[
    ("persistentvolumeclaims", &["persistentvolumes"]),
    ("pods", &["priorityclasses.scheduling.k8s.io"]),
    ("serviceaccounts", &["clusterrolebindings.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"]),
];
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What the filters of a spec mean here.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) exclude: Vec<ObjectRule>,
    pub(super) include: Vec<ObjectRule>,
    pub(super) cluster_scoped: Option<ClusterScoped>,
}

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

/// What takes here what the filters of a spec take. `said` is what it says of cluster-scoped objects, and `all` that its
/// namespaces are all.
pub(super) fn rules(reader: &mut Reader<'_, '_>, said: Option<ClusterScoped>, all: bool) -> Rules {
    let named = [kinds(reader, "includedResources"), kinds(reader, "includedNamespaceScopedResources")].concat();
    let scoped = kinds(reader, "includedClusterScopedResources");
    let mut excluded = Vec::new();
    for key in ["excludedResources", "excludedNamespaceScopedResources", "excludedClusterScopedResources"] {
        excluded.extend(kinds(reader, key));
    }
    let selectors = selectors(reader);
    let is_narrow = !named.is_empty();
    let cluster_scoped = said.or_else(|| scope(&named, &scoped));
    note_scoped(reader, is_narrow, &scoped, said);
    let with = if cluster_scoped == Some(ClusterScoped::None) {
        Vec::new()
    } else if is_narrow {
        let kept: Vec<String> = named.iter().filter(|kind| !excluded.contains(kind)).cloned().collect();
        taken_with(&kept)
    } else {
        // Of any kind there may be something with these labels.
        let referenced = cluster_scoped == Some(ClusterScoped::Referenced) || (cluster_scoped.is_none() && !all);
        let others = TAKEN_WITH.iter().flat_map(|(_, kinds)| *kinds).filter(|_| referenced);
        others.copied().chain([DEFINITIONS]).map(str::to_owned).collect()
    };
    let included: Vec<String> = if is_narrow { [named, scoped].concat() } else { Vec::new() };
    let (exclude, include) = match selectors.as_slice() {
        [] if !is_narrow => (excluded.into_iter().map(ObjectRule::Kind).collect(), Vec::new()),
        // What has not all of the labels is left out: then a kind that is left out stays so.
        [one] if !is_narrow && !excluded.is_empty() => {
            let without = one.iter().filter_map(|requirement| requirement.negated.parse().ok()).map(labelled);
            let kinds = with.into_iter().filter(|kind| !excluded.contains(kind)).map(ObjectRule::Kind).collect();
            (excluded.iter().cloned().map(ObjectRule::Kind).chain(without).collect(), kinds)
        }
        selectors => (vec![ObjectRule::Kind("*".to_owned())], {
            let chosen = Chosen { included, with, excluded, is_narrow };
            chosen.include(reader, selectors)
        }),
    };
    Rules { exclude, include, cluster_scoped }
}

/// Which kinds, where not all of them are taken.
struct Chosen {
    included: Vec<String>,
    /// Taken whatever their labels.
    with: Vec<String>,
    excluded: Vec<String>,
    is_narrow: bool,
}

impl Chosen {
    fn include(mut self, reader: &mut Reader<'_, '_>, selectors: &[Vec<Requirement>]) -> Vec<ObjectRule> {
        // What is included beats what is excluded here, and the other way round with Velero.
        let excluded = std::mem::take(&mut self.excluded);
        self.included.retain(|kind| !excluded.contains(kind));
        self.with.retain(|kind| !excluded.contains(kind) && !self.included.contains(kind));
        let covered = |kind: &&String| self.included.iter().any(|one| one.contains('*') && pattern_takes(one, kind));
        if let Some(kind) = excluded.iter().find(covered) {
            let text = format!("`{kind}` is excluded and a pattern includes it: it is taken");
            reader.note(reader.start(), true, text);
        }
        if !self.is_narrow && !excluded.is_empty() {
            let text = "kinds are excluded and labels selected: of such a kind, too, what has the labels is taken";
            reader.note(reader.start(), true, text);
        }
        let with = self.with.into_iter().map(ObjectRule::Kind);
        // A rule without a kind would be of any.
        if selectors.is_empty() || (self.is_narrow && self.included.is_empty()) {
            return self.included.into_iter().map(ObjectRule::Kind).chain(with).collect();
        }
        let rule = |requirements: &Vec<Requirement>| {
            let texts: Vec<&str> = requirements.iter().map(|requirement| requirement.text.as_str()).collect();
            let selector = texts.join(",").parse().ok()?;
            let filter =
                ObjectFilter { kinds: self.included.clone(), selector: Some(selector), ..ObjectFilter::default() };
            Some(ObjectRule::Objects(filter))
        };
        selectors.iter().filter_map(rule).chain(with).collect()
    }
}

/// Which cluster-scoped objects are meant, where the spec does not say it and names kinds.
fn scope(named: &[String], scoped: &[String]) -> Option<ClusterScoped> {
    let in_none = |kind: &String| CLUSTER_SCOPED.contains(&kind.as_str());
    match (named, scoped) {
        ([], []) => None,
        (_, [_, ..]) => Some(ClusterScoped::All),
        (named, []) if named.iter().any(in_none) => Some(ClusterScoped::All),
        _ => Some(ClusterScoped::Referenced),
    }
}

/// A choice of cluster-scoped kinds beside all others, and the other way round, cannot be said here.
fn note_scoped(reader: &mut Reader<'_, '_>, is_narrow: bool, scoped: &[String], said: Option<ClusterScoped>) {
    let key = "includedClusterScopedResources";
    let all = reader.texts(key).iter().any(|(_, text)| text == "*") && said == Some(ClusterScoped::All);
    let text = match is_narrow {
        false if !scoped.is_empty() => "all cluster-scoped objects are taken, not these alone",
        true if all => "name the cluster-scoped kinds: beside kinds by name, `*` cannot be said of these alone",
        _ => return,
    };
    reader.note(reader.start(), true, format!("`{key}`: {text}"));
}

/// The cluster-scoped kinds of which Velero takes what objects of `kinds` need.
fn taken_with(kinds: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (kind, with) in TAKEN_WITH {
        if kinds.iter().any(|one| one == kind || pattern_takes(one, kind)) {
            found.extend(with.iter().map(|kind| (*kind).to_owned()));
        }
    }
    let group = |kind: &str| kind.split_once('.').map(|(_, group)| group.to_owned());
    let is_custom = |kind: &String| group(kind).is_some_and(|group| !GROUPS.iter().any(|(known, _)| *known == group));
    if kinds.iter().any(is_custom) {
        found.push(DEFINITIONS.to_owned());
    }
    found
}

/// `pattern`, in which `*` stands for any text, takes `kind`.
fn pattern_takes(pattern: &str, kind: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == kind };
    let Some(mut text) = kind.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = pieces.split_last() else { return true };
    for piece in middle {
        let Some((_, after)) = text.split_once(piece) else { return false };
        text = after;
    }
    text.ends_with(last)
}

fn labelled(selector: LabelSelector) -> ObjectRule {
    ObjectRule::Objects(ObjectFilter { selector: Some(selector), ..ObjectFilter::default() })
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

/// One requirement of a selector of labels, and what is true where it is not.
#[derive(Debug, Clone)]
struct Requirement {
    text: String,
    negated: String,
}

/// What must be true of labels, by selector; an empty selector is none.
fn selectors(reader: &mut Reader<'_, '_>) -> Vec<Vec<Requirement>> {
    let mut found = Vec::new();
    for key in ["labelSelector", "orLabelSelectors"] {
        let Some(node) = reader.value(key) else { continue };
        let one = std::slice::from_ref(node);
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => one,
        };
        for node in nodes {
            match selector(node) {
                Some(requirements) if requirements.is_empty() => {}
                Some(requirements) => found.push(requirements),
                None => reader.note(node.place, true, format!("`{key}`: it cannot be written as a selector of labels")),
            }
        }
    }
    found
}

/// A selector of Kubernetes' API; `None` if it has a form that is not known.
fn selector(node: &Node) -> Option<Vec<Requirement>> {
    let Value::Table(fields) = &node.value else { return None };
    let mut parts = Vec::new();
    for (key, value) in fields {
        match (key.name.as_str(), &value.value) {
            (_, Value::Null) => {}
            ("matchLabels", Value::Table(labels)) => {
                for (label, value) in labels {
                    let Value::Text(text) = &value.value else { return None };
                    let label = &label.name;
                    parts.push(Requirement { text: format!("{label}={text}"), negated: format!("{label}!={text}") });
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
    let is_selector = |text: &str| text.parse::<LabelSelector>().is_ok();
    parts.iter().all(|part| is_selector(&part.text) && is_selector(&part.negated)).then_some(parts)
}

fn expression(node: &Node) -> Option<Requirement> {
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
    let (among, not) = (format!("{key} in ({values})"), format!("{key} notin ({values})"));
    let (there, absent) = (key.clone(), format!("!{key}"));
    let (text, negated) = match operator.as_str() {
        "In" => (among, not),
        "NotIn" => (not, among),
        "Exists" => (there, absent),
        "DoesNotExist" => (absent, there),
        _ => return None,
    };
    Some(Requirement { text, negated })
}

#[cfg(test)]
mod tests;
