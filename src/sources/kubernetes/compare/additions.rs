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
}

use Counts::{Any, InTemplates, Not, True};

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
const SERVICE: &[(&str, Counts)] = &[("spec.externalIPs", Any), ("spec.ports", Any)];

/// Every row, for the document: kinds, place, when.
#[cfg(test)]
pub(crate) fn all() -> Vec<(&'static str, String, Counts)> {
    let rows = |kind: &'static str, prefix: &'static str, table: &'static [(&'static str, Counts)]| {
        table.iter().map(move |(place, counts)| (kind, format!("{prefix}{place}"), *counts))
    };
    let pods = rows("every with a Pod spec", "…spec.", POD_SPEC);
    let containers = rows("every with a Pod spec", "…spec.*ontainers[].", CONTAINER);
    pods.chain(containers).chain(rows("Service", "", SERVICE)).collect()
}

fn rule_of(kind: GroupKind<'_>, pattern: &str) -> Option<Counts> {
    let find = |table: &[(&str, Counts)], place: &str| {
        table.iter().find(|(name, _)| *name == place).map(|(_, counts)| *counts)
    };
    if kind.is("", "Service") {
        return find(SERVICE, pattern);
    }
    let place = inside(pattern, kind.pod_spec()?)?;
    let container = ["containers[]", "initContainers[]"].into_iter().find_map(|list| inside(place, list));
    let found = container.map_or_else(|| find(POD_SPEC, place), |place| find(CONTAINER, place));
    found.filter(|counts| *counts != InTemplates || !kind.is("", "Pod"))
}

/// One more item in the list at `pattern` is a difference.
pub(crate) fn is_exact_list(kind: GroupKind<'_>, pattern: &str) -> bool {
    matches!(rule_of(kind, pattern), Some(InTemplates | Any))
}

/// The value at `pattern`, which only the live object has, is a difference.
pub(crate) fn counts(kind: GroupKind<'_>, pattern: &str, live: &Value) -> bool {
    match rule_of(kind, pattern) {
        Some(InTemplates | Any) => live.as_array().is_some_and(|items| !items.is_empty()),
        Some(True) => live == &Value::Bool(true),
        Some(Not(default)) => live.as_str().is_some_and(|word| !word.is_empty() && word != default),
        None => false,
    }
}
