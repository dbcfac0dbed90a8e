//! How the items of a list find each other.
//!
//! Kubernetes says for each list of a built-in kind whether it is a map by some fields, a set, or
//! one value ("atomic"). This is the part of that which a comparison needs; a list that is not
//! named here is compared by position and must have the same length. The lists of custom resources
//! are always compared so, because only their own controller knows what their order means.

use super::kind::GroupKind;

/// How a list is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListRule {
    /// Same length, item by item.
    Position,
    /// Items with equal values of these fields belong together; more live items are additions.
    Keys(&'static [&'static str]),
    /// As [`ListRule::Keys`], and the expected items must follow each other in the same order,
    /// because their order has a meaning (an init container runs after the one before it).
    OrderedKeys(&'static [&'static str]),
    /// Each expected element must be there somewhere; more live elements are additions.
    Set,
}

use ListRule::{Keys, OrderedKeys, Set};

/// Lists of every object's metadata, also of the metadata in templates.
const METADATA: &[(&str, ListRule)] = &[
    ("metadata.finalizers", Set),
    // By name, because the owner of a restored object has another uid.
    ("metadata.ownerReferences", Keys(&["apiVersion", "kind", "name"])),
];

/// Lists inside a pod spec, wherever the kind has it.
const POD_SPEC: &[(&str, ListRule)] = &[
    ("containers", Keys(&["name"])),
    ("ephemeralContainers", Keys(&["name"])),
    ("hostAliases", Keys(&["ip"])),
    ("imagePullSecrets", Keys(&["name"])),
    ("initContainers", OrderedKeys(&["name"])),
    ("resourceClaims", Keys(&["name"])),
    ("schedulingGates", Keys(&["name"])),
    // Admission adds two of its own to every Pod.
    ("tolerations", Keys(&["key", "operator", "value", "effect"])),
    ("topologySpreadConstraints", Keys(&["topologyKey", "whenUnsatisfiable"])),
    ("volumes", Keys(&["name"])),
];

/// Lists inside each container of a pod spec.
const CONTAINER: &[(&str, ListRule)] = &[
    ("env", OrderedKeys(&["name"])),
    ("ports", Keys(&["containerPort", "protocol"])),
    ("resources.claims", Keys(&["name", "request"])),
    ("volumeDevices", Keys(&["devicePath"])),
    ("volumeMounts", Keys(&["mountPath"])),
];

/// Lists of single kinds: group, kind, place.
const KINDS: &[(&str, &str, &str, ListRule)] = &[
    ("", "Namespace", "spec.finalizers", Set),
    ("", "Service", "spec.ports", Keys(&["port", "protocol"])),
    ("", "ServiceAccount", "imagePullSecrets", Keys(&["name"])),
    ("", "ServiceAccount", "secrets", Keys(&["name"])),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "spec.matchConditions", OrderedKeys(&["name"])),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "webhooks", OrderedKeys(&["name"])),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "webhooks[].matchConditions", Keys(&["name"])),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec.matchConditions", Keys(&["name"])),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec.variables", OrderedKeys(&["name"])),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks", Keys(&["name"])),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks[].matchConditions", Keys(&["name"])),
];

/// Every rule, for the document: kinds, place, rule.
#[cfg(test)]
pub(crate) fn all() -> Vec<(&'static str, String, ListRule)> {
    let plain = |kind: &'static str, prefix: &'static str, table: &'static [(&'static str, ListRule)]| {
        table.iter().map(move |(place, rule)| (kind, format!("{prefix}{place}"), *rule))
    };
    let metadata = plain("every", "", METADATA);
    let pods = plain("every with a Pod spec", "…spec.", POD_SPEC);
    let containers = plain("every with a Pod spec", "…spec.*ontainers[].", CONTAINER);
    let kinds = KINDS.iter().map(|(_, kind, place, rule)| (*kind, (*place).to_owned(), *rule));
    metadata.chain(pods).chain(containers).chain(kinds).collect()
}

/// The rule of the list at `pattern` (see [`super::path::Path::pattern`]) of an object of `kind`.
pub(crate) fn rule_of(kind: GroupKind<'_>, pattern: &str) -> ListRule {
    if let Some((_, rule)) = METADATA.iter().find(|(place, _)| pattern == *place) {
        return *rule;
    }
    if let Some((.., rule)) = KINDS.iter().find(|(group, name, place, _)| kind.is(group, name) && pattern == *place) {
        return *rule;
    }
    let Some(place) = kind.pod_spec().and_then(|prefix| inside(pattern, prefix)) else {
        return ListRule::Position;
    };
    for containers in ["containers[]", "initContainers[]", "ephemeralContainers[]"] {
        if let Some(place) = inside(place, containers) {
            return find(CONTAINER, place);
        }
    }
    find(POD_SPEC, place)
}

fn find(table: &[(&str, ListRule)], place: &str) -> ListRule {
    table.iter().find(|(name, _)| *name == place).map_or(ListRule::Position, |(_, rule)| *rule)
}

/// What follows `prefix` and a dot in `pattern`.
pub(super) fn inside<'a>(pattern: &'a str, prefix: &str) -> Option<&'a str> {
    pattern.strip_prefix(prefix)?.strip_prefix('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_pod_specs_are_found_wherever_the_kind_has_them() {
        let cron = GroupKind { group: "batch", kind: "CronJob" };
        let env = "spec.jobTemplate.spec.template.spec.initContainers[].env";
        assert_eq!(rule_of(cron, env), OrderedKeys(&["name"]));
        assert_eq!(rule_of(cron, "spec.template.spec.containers"), ListRule::Position);
        let pod = GroupKind { group: "", kind: "Pod" };
        assert_eq!(rule_of(pod, "spec.volumes"), Keys(&["name"]));
        assert_eq!(rule_of(pod, "spec.containers[].command"), ListRule::Position);
    }

    #[test]
    fn lists_of_a_custom_resource_are_compared_by_position() {
        let custom = GroupKind { group: "example.org", kind: "Pod" };
        assert_eq!(rule_of(custom, "spec.containers"), ListRule::Position);
        assert_eq!(rule_of(custom, "metadata.finalizers"), Set);
    }
}
