//! The fields that the server or a controller sets anew, and which a comparison therefore leaves
//! out. Everything else counts: what a restore changes on purpose is a recorded transformation of
//! the expected object, and not an exemption.

use super::kind::GroupKind;

/// One field that is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSet {
    /// The API group and kind that it is about; `*` is every kind.
    pub kind: (&'static str, &'static str),
    /// The field: `[]` stands for every item of a list.
    pub path: &'static str,
    /// Who sets it.
    pub why: &'static str,
}

const fn any(path: &'static str, why: &'static str) -> ServerSet {
    ServerSet { kind: ("*", "*"), path, why }
}

/// All of them, in the order in which they are printed.
pub const SERVER_SET: &[ServerSet] = &[
    any("status", "a controller reports what it sees"),
    any("metadata.uid", "given anew to every object"),
    any("metadata.resourceVersion", "given anew at every write"),
    any("metadata.generation", "counted anew"),
    any("metadata.creationTimestamp", "the time of the restore"),
    any("metadata.deletionTimestamp", "set when an object is deleted"),
    any("metadata.deletionGracePeriodSeconds", "set when an object is deleted"),
    any("metadata.managedFields", "kept by the server; `Apply` entries are put back"),
    any("metadata.selfLink", "no longer set by any server"),
    any("metadata.ownerReferences[].uid", "a restored owner has a new uid"),
    ServerSet {
        kind: ("rbac.authorization.k8s.io", "ClusterRole"),
        path: "rules",
        why: "only with aggregationRule: the controller collects them from other roles",
    },
];

/// The fields of an object in which they lie.
pub(crate) const ROOTS: &[&str] = &["metadata", "rules", "status"];
/// Steps of the longest path among them.
pub(crate) const DEEPEST: usize = 4;

/// Whether the field at `pattern` of an object of `kind` is left out. `aggregated` says that it is
/// a ClusterRole with an aggregation rule.
pub(crate) fn is_server_set(kind: GroupKind<'_>, pattern: &str, aggregated: bool) -> bool {
    SERVER_SET.iter().any(|entry| match entry.kind {
        ("*", "*") => pattern == entry.path,
        (group, name) => aggregated && kind.is(group, name) && pattern == entry.path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_cuts_leave_no_field_out() {
        for entry in SERVER_SET {
            let first = entry.path.split('.').next().unwrap();
            assert!(ROOTS.contains(&first), "{}", entry.path);
            let steps = entry.path.split('.').count() + entry.path.matches("[]").count();
            assert!(steps <= DEEPEST, "{}", entry.path);
        }
    }
}
