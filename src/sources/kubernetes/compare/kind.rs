//! Which kind of object it is, by group and name: versions of a kind have the same lists.

use serde_json::Value;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GroupKind<'a> {
    /// Its API group; empty for the core group.
    pub(crate) group: &'a str,
    /// Its name: `Deployment`.
    pub(crate) kind: &'a str,
}

impl<'a> GroupKind<'a> {
    /// The kind that an object says it is.
    pub(crate) fn of(object: &'a Value) -> Self {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        Self { group, kind: text("kind") }
    }

    /// Whether it is this kind.
    pub(crate) fn is(self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Where a built-in kind has its pod spec.
    pub(crate) fn pod_spec(self) -> Option<&'static str> {
        match (self.group, self.kind) {
            ("", "Pod") => Some("spec"),
            ("", "PodTemplate") => Some("template.spec"),
            ("", "ReplicationController")
            | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job") => Some("spec.template.spec"),
            ("batch", "CronJob") => Some("spec.jobTemplate.spec.template.spec"),
            _ => None,
        }
    }
}
