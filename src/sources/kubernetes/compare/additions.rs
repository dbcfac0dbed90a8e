//! Additions that count: what only the live object has, that changes what runs or what it may do,
//! and that no server adds by itself.

use super::{kind::GroupKind, lists::inside};
use serde_json::Value;

/// When a field that only the live object has is a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// It has any item. In Pods themselves it does not count: admission adds to them.
    InTemplates,
    /// It has any item.
    Any,
    /// It is `true`.
    True,
    /// It is another word than this default.
    Not(&'static str),
    /// It is there, even if it is empty.
    Present,
}

use Counts::{Any, InTemplates, Not, Present, True};

/// Fields of a pod spec.
const POD_SPEC: &[(&str, Counts)] = &[
    ("containers", InTemplates),
    ("hostIPC", True),
    ("hostNetwork", True),
    ("hostPID", True),
    ("initContainers", InTemplates),
    ("serviceAccountName", Not("default")),
    ("shareProcessNamespace", True),
    ("volumes", InTemplates),
];

/// Fields of each container of a pod spec.
const CONTAINER: &[(&str, Counts)] = &[
    ("args", InTemplates),
    ("command", InTemplates),
    ("env", InTemplates),
    ("envFrom", InTemplates),
    ("ports", InTemplates),
    ("securityContext.allowPrivilegeEscalation", True),
    ("securityContext.capabilities.add", Any),
    ("securityContext.privileged", True),
    ("securityContext.procMount", Not("Default")),
    ("volumeDevices", InTemplates),
    ("volumeMounts", InTemplates),
];

/// Fields of a Service.
const SERVICE: &[(&str, Counts)] = &[("spec.externalIPs", Any), ("spec.ports", Any), ("spec.selector", Any)];

type Rows = &'static [(&'static str, Counts)];

/// Fields of other kinds: what is configured, what is selected, and what is allowed. No server adds to these.
const KINDS: &[(&str, &str, Rows)] = &[
    ("", "ConfigMap", &[("data", Any), ("binaryData", Any)]),
    ("", "Secret", &[("data", Any)]),
    ("networking.k8s.io", "NetworkPolicy", NETWORK_POLICY),
    (
        "policy",
        "PodDisruptionBudget",
        &[("spec.selector", Any), ("spec.selector.matchLabels", Any), ("spec.selector.matchExpressions", Any)],
    ),
    ("rbac.authorization.k8s.io", "Role", &[("rules", Any), ("rules[].resourceNames", Any)]),
    (
        "rbac.authorization.k8s.io",
        "ClusterRole",
        &[
            ("rules", Any),
            ("rules[].resourceNames", Any),
            ("rules[].nonResourceURLs", Any),
            ("aggregationRule", Present),
        ],
    ),
    ("rbac.authorization.k8s.io", "RoleBinding", &[("subjects", Any)]),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &[("subjects", Any)]),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", WEBHOOKS),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", WEBHOOKS),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", ADMISSION_POLICY),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", ADMISSION_POLICY),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", ADMISSION_BINDING),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", ADMISSION_BINDING),
];

/// One peer more, or one that is left open, changes who may talk to whom.
const NETWORK_POLICY: &[(&str, Counts)] = &[
    ("spec.ingress", Any),
    ("spec.egress", Any),
    ("spec.podSelector.matchLabels", Any),
    ("spec.podSelector.matchExpressions", Any),
    ("spec.ingress[].from", Any),
    ("spec.ingress[].ports", Any),
    ("spec.ingress[].ports[].port", Present),
    ("spec.ingress[].ports[].endPort", Present),
    ("spec.ingress[].from[].podSelector", Present),
    ("spec.ingress[].from[].podSelector.matchLabels", Any),
    ("spec.ingress[].from[].podSelector.matchExpressions", Any),
    ("spec.ingress[].from[].namespaceSelector", Present),
    ("spec.ingress[].from[].namespaceSelector.matchLabels", Any),
    ("spec.ingress[].from[].namespaceSelector.matchExpressions", Any),
    ("spec.ingress[].from[].ipBlock.except", Any),
    ("spec.egress[].to", Any),
    ("spec.egress[].ports", Any),
    ("spec.egress[].ports[].port", Present),
    ("spec.egress[].ports[].endPort", Present),
    ("spec.egress[].to[].podSelector", Present),
    ("spec.egress[].to[].podSelector.matchLabels", Any),
    ("spec.egress[].to[].podSelector.matchExpressions", Any),
    ("spec.egress[].to[].namespaceSelector", Present),
    ("spec.egress[].to[].namespaceSelector.matchLabels", Any),
    ("spec.egress[].to[].namespaceSelector.matchExpressions", Any),
    ("spec.egress[].to[].ipBlock.except", Any),
];

/// What a webhook is not asked about.
const WEBHOOKS: &[(&str, Counts)] = &[
    ("webhooks", Any),
    ("webhooks[].matchConditions", Any),
    ("webhooks[].rules", Any),
    ("webhooks[].namespaceSelector", Any),
    ("webhooks[].namespaceSelector.matchLabels", Any),
    ("webhooks[].namespaceSelector.matchExpressions", Any),
    ("webhooks[].objectSelector", Any),
    ("webhooks[].objectSelector.matchLabels", Any),
    ("webhooks[].objectSelector.matchExpressions", Any),
];

/// What a policy does not look at.
const ADMISSION_POLICY: &[(&str, Counts)] = &[
    ("spec.matchConditions", Any),
    ("spec.matchConstraints.excludeResourceRules", Any),
    ("spec.matchConstraints.namespaceSelector", Any),
    ("spec.matchConstraints.namespaceSelector.matchLabels", Any),
    ("spec.matchConstraints.namespaceSelector.matchExpressions", Any),
    ("spec.matchConstraints.objectSelector", Any),
    ("spec.matchConstraints.objectSelector.matchLabels", Any),
    ("spec.matchConstraints.objectSelector.matchExpressions", Any),
];

/// The same of its binding.
const ADMISSION_BINDING: &[(&str, Counts)] = &[
    ("spec.matchResources", Any),
    ("spec.matchResources.excludeResourceRules", Any),
    ("spec.matchResources.resourceRules", Any),
    ("spec.matchResources.namespaceSelector", Any),
    ("spec.matchResources.namespaceSelector.matchLabels", Any),
    ("spec.matchResources.namespaceSelector.matchExpressions", Any),
    ("spec.matchResources.objectSelector", Any),
    ("spec.matchResources.objectSelector.matchLabels", Any),
    ("spec.matchResources.objectSelector.matchExpressions", Any),
];

/// Every row, for the document: kinds, place, when.
#[cfg(test)]
pub(crate) fn all() -> Vec<(&'static str, String, Counts)> {
    let rows = |kind: &'static str, prefix: &'static str, table: &'static [(&'static str, Counts)]| {
        table.iter().map(move |(place, counts)| (kind, format!("{prefix}{place}"), *counts))
    };
    let pods = rows("every with a Pod spec", "…spec.", POD_SPEC);
    let containers = rows("every with a Pod spec", "…spec.*ontainers[].", CONTAINER);
    let kinds = KINDS.iter().flat_map(move |(_, kind, table)| rows(kind, "", table));
    pods.chain(containers).chain(rows("Service", "", SERVICE)).chain(kinds).collect()
}

fn rule_of(kind: GroupKind<'_>, pattern: &str) -> Option<Counts> {
    let find = |table: &[(&str, Counts)], place: &str| {
        table.iter().find(|(name, _)| *name == place).map(|(_, counts)| *counts)
    };
    if kind.is("", "Service") {
        return find(SERVICE, pattern);
    }
    if let Some((.., table)) = KINDS.iter().find(|(group, name, _)| kind.is(group, name)) {
        return find(table, pattern);
    }
    let place = inside(pattern, kind.pod_spec()?)?;
    let container = ["containers[]", "initContainers[]"].into_iter().find_map(|list| inside(place, list));
    let found = container.map_or_else(|| find(POD_SPEC, place), |place| find(CONTAINER, place));
    found.filter(|counts| *counts != InTemplates || !kind.is("", "Pod"))
}

/// Whether something inside a field that only the live object has may count.
pub(crate) fn has_rows(kind: GroupKind<'_>) -> bool {
    kind.pod_spec().is_some() || KINDS.iter().any(|(group, name, _)| kind.is(group, name))
}

/// One more item in the list at `pattern` is a difference.
pub(crate) fn is_exact_list(kind: GroupKind<'_>, pattern: &str) -> bool {
    matches!(rule_of(kind, pattern), Some(InTemplates | Any))
}

/// The value at `pattern`, which only the live object has, is a difference.
pub(crate) fn counts(kind: GroupKind<'_>, pattern: &str, live: &Value) -> bool {
    match rule_of(kind, pattern) {
        Some(InTemplates | Any) => has_any(live),
        Some(Present) => !live.is_null(),
        Some(True) => live == &Value::Bool(true),
        Some(Not(default)) => live.as_str().is_some_and(|word| !word.is_empty() && word != default),
        None => false,
    }
}

/// Whether anything is in it: a selector that holds two empty lists is an empty one.
fn has_any(live: &Value) -> bool {
    match live {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(|value| match value {
            Value::Array(_) | Value::Object(_) => has_any(value),
            value => !value.is_null(),
        }),
        _ => false,
    }
}
