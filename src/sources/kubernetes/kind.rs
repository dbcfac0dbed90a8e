//! A kind of object as a cluster serves it, and where its objects are found.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A kind of object at one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version in that group: `v1`.
    pub version: String,
    /// The name in paths: `deployments`.
    pub plural: String,
    /// The name in objects: `Deployment`.
    pub name: String,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Served by another server behind the API server (an APIService with a Service).
    pub aggregated: bool,
    /// What can be done with it: `list`, `get`, `create`, ….
    pub verbs: Vec<String>,
    /// Its subresources: `status`, `scale`.
    pub subresources: Vec<String>,
}

impl Kind {
    /// `plural.group`, or the plural alone in the core group: how policies and backups write a kind.
    #[must_use]
    pub fn id(&self) -> String {
        kind_id(&self.plural, &self.group)
    }

    /// The `apiVersion` of its objects: `apps/v1`, `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `verb` is among what can be done with it.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// It has the subresource `name`.
    #[must_use]
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|known| known == name)
    }

    /// The path of all its objects, or of those in `namespace`. New objects are posted there.
    #[must_use]
    pub fn list_path(&self, namespace: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", segment(&self.version))
        } else {
            format!("/apis/{}/{}", segment(&self.group), segment(&self.version))
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace));
        }
        path.push('/');
        path.push_str(&segment(&self.plural));
        path
    }

    /// The path of one object. `namespace` is not used for a cluster-scoped kind.
    #[must_use]
    pub fn object_path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.list_path(Some(namespace)), segment(name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// `plural.group`, or the plural alone in the core group.
#[must_use]
pub fn kind_id(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// Groups that the API server itself serves, of those that could be a custom resource's by their form.
const BUILT_IN_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// The API server itself serves `group`. (One that is too new to be known here is looked for among
/// the custom resources, and not found.)
pub(super) fn is_built_in_group(group: &str) -> bool {
    !group.contains('.') || BUILT_IN_GROUPS.contains(&group)
}

/// What needs no escape in a path's segment or a query's value. `:` is part of RBAC names.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `text` as one segment of a path, or one value of a query.
#[must_use]
pub fn segment(text: &str) -> String {
    match text {
        // A path's own words: without this a hostile name would climb out of its collection.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(text, PLAIN).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, plural: &str, namespaced: bool) -> Kind {
        Kind {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            name: "X".to_owned(),
            namespaced,
            aggregated: false,
            verbs: vec!["list".to_owned()],
            subresources: vec!["status".to_owned()],
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let deployments = kind("apps", "deployments", true);
        assert_eq!(deployments.id(), "deployments.apps");
        assert_eq!(deployments.api_version(), "apps/v1");
        assert_eq!(deployments.list_path(None), "/apis/apps/v1/deployments");
        assert_eq!(deployments.object_path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        let nodes = kind("", "nodes", false);
        assert_eq!(nodes.id(), "nodes");
        assert_eq!(nodes.api_version(), "v1");
        assert_eq!(nodes.object_path("", "n1"), "/api/v1/nodes/n1");
        assert!(nodes.can("list") && !nodes.can("create") && nodes.has_subresource("status"));
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let roles = kind("rbac.authorization.k8s.io", "roles", true);
        let path = roles.object_path("..", "system:a/../b?c#d%");
        assert_eq!(path, "/apis/rbac.authorization.k8s.io/v1/namespaces/%2E%2E/roles/system:a%2F..%2Fb%3Fc%23d%25");
    }
}
