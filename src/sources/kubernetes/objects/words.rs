//! How a person names kinds and objects.

use super::super::selection::matches;
use crate::types::for_terminal;

/// The short names that kubectl has for built-in kinds.
const SHORT: &[(&str, &str)] = &[
    ("cj", "cronjobs.batch"),
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions.apiextensions.k8s.io"),
    ("deploy", "deployments.apps"),
    ("ds", "daemonsets.apps"),
    ("ep", "endpoints"),
    ("hpa", "horizontalpodautoscalers.autoscaling"),
    ("ing", "ingresses.networking.k8s.io"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies.networking.k8s.io"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses.scheduling.k8s.io"),
    ("pdb", "poddisruptionbudgets.policy"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("rs", "replicasets.apps"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses.storage.k8s.io"),
    ("sts", "statefulsets.apps"),
    ("svc", "services"),
];

/// A kind as a person writes it: `deployments.apps`, `deployments`, `Deployment`, `deploy`, or a pattern (`*.apps`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindWord {
    text: String,
    /// It is a kind's id, and nothing else is meant.
    is_id: bool,
}

impl KindWord {
    /// Takes what was written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let long = SHORT.iter().find(|(short, _)| *short == lower).map(|(_, kind)| (*kind).to_owned());
        Self { text: long.unwrap_or(lower), is_id: false }
    }

    /// The kind `id` (`plural.group`), and no other.
    pub(super) fn of_id(id: &str) -> Self {
        Self { text: id.to_owned(), is_id: true }
    }

    /// What was written, with the long name for a short one.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means the kind `id` (`plural.group`).
    #[must_use]
    pub fn means(&self, id: &str) -> bool {
        if self.is_id || self.text == id {
            return self.text == id;
        }
        if self.text.contains(['*', '?']) {
            return matches(&self.text, id);
        }
        let (plural, group) = id.split_once('.').unwrap_or((id, ""));
        let (word, of_group) =
            self.text.split_once('.').map_or((self.text.as_str(), None), |(word, group)| (word, Some(group)));
        of_group.is_none_or(|wanted| wanted == group) && is_plural_of(plural, word)
    }

    /// The kinds of `ids` that it means: the one that is written exactly so, else all that fit.
    #[must_use]
    pub fn choose<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut found: Vec<&str> = ids.filter(|id| self.means(id)).collect();
        found.sort_unstable();
        found.dedup();
        match found.iter().find(|id| **id == self.text) {
            Some(exact) => vec![*exact],
            None => found,
        }
    }
}

impl std::fmt::Display for KindWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&for_terminal(&self.text))
    }
}

/// Whether `plural` is `word`, or its plural as Kubernetes makes it.
fn is_plural_of(plural: &str, word: &str) -> bool {
    let Some(rest) = plural.strip_prefix(word) else {
        return word.strip_suffix('y').is_some_and(|stem| plural.strip_prefix(stem) == Some("ies"));
    };
    matches!(rest, "" | "s" | "es")
}

/// An object as a person names it: `NAMESPACE/NAME`, or `NAME` of one without a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// Its namespace; empty: it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A text that names no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` names no object: write NAMESPACE/NAME, or NAME of an object without a namespace", for_terminal(.0))]
pub struct InvalidObjectName(String);

impl std::str::FromStr for ObjectName {
    type Err = InvalidObjectName;

    fn from_str(text: &str) -> Result<Self, InvalidObjectName> {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        let cut = namespace.is_empty() && text.contains('/');
        if name.is_empty() || name.contains('/') || cut {
            return Err(InvalidObjectName(text.chars().take(80).collect()));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", for_terminal(&self.namespace))?;
        }
        f.write_str(&for_terminal(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_meant_by_each_of_its_names() {
        for word in
            ["deployments.apps", "deployments", "deployment", "Deployment", "deploy", "deployment.apps", "*.apps"]
        {
            assert!(KindWord::new(word).means("deployments.apps"), "{word}");
        }
        for (word, id) in [
            ("NetworkPolicy", "networkpolicies.networking.k8s.io"),
            ("ingress", "ingresses.networking.k8s.io"),
            ("endpoints", "endpoints"),
            ("cm", "configmaps"),
        ] {
            assert!(KindWord::new(word).means(id), "{word}");
        }
        for (word, id) in
            [("deployment.other", "deployments.apps"), ("pod", "podtemplates"), ("", "pods"), ("y", "ies2")]
        {
            assert!(!KindWord::new(word).means(id), "{word}");
        }
    }

    #[test]
    fn the_kind_that_is_written_exactly_wins() {
        let ids = ["services", "services.serving.knative.dev", "secrets"];
        assert_eq!(KindWord::new("services").choose(ids.into_iter()), ["services"]);
        assert_eq!(KindWord::new("service").choose(ids.into_iter()), ["services", "services.serving.knative.dev"]);
        assert!(KindWord::new("widgets").choose(ids.into_iter()).is_empty());
    }

    #[test]
    fn objects_are_named_with_their_namespace() {
        let name: ObjectName = "shop/web".parse().unwrap();
        assert_eq!(
            (name.namespace.as_str(), name.name.as_str(), name.to_string().as_str()),
            ("shop", "web", "shop/web")
        );
        let role: ObjectName = "system:reader".parse().unwrap();
        assert_eq!((role.namespace.as_str(), role.name.as_str()), ("", "system:reader"));
        for bad in ["", "/", "a/", "/b", "a/b/c"] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
    }
}
