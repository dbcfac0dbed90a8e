//! Namespaces that are restored under another name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{choice::Choice, transform::Prepared};
use crate::{
    sources::kubernetes::{compare::GroupKind, is_pattern},
    types::{Name, for_terminal},
};

/// Which namespace of the backup becomes which. What it says nothing of is not restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping(BTreeMap<String, String>);

/// A mapping that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// One of the names is none.
    #[error(transparent)]
    Name(#[from] crate::types::InvalidName),
    /// A namespace becomes itself.
    #[error("namespace `{0}` is mapped to itself")]
    Itself(String),
    /// A namespace becomes two.
    #[error("namespace `{0}` is mapped twice, to `{1}` and to `{2}`")]
    Twice(String, String, String),
    /// A namespace that is chosen becomes nothing.
    #[error(
        "namespace `{}` is chosen and not mapped; where one namespace is mapped, only those that are mapped are restored",
        for_terminal(.0)
    )]
    NotMapped(String),
}

const MAPPED: &str = "--map-namespace";

impl Mapping {
    /// A mapping of these pairs, as (namespace of the backup, namespace to restore it into).
    ///
    /// # Errors
    /// [`InvalidMapping`].
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidMapping> {
        let mut mapping = BTreeMap::new();
        for (from, to) in pairs {
            let (from, to) = (Name::new(from)?.to_string(), Name::new(to)?.to_string());
            if from == to {
                return Err(InvalidMapping::Itself(from));
            }
            if let Some(first) = mapping.insert(from.clone(), to.clone()) {
                return Err(InvalidMapping::Twice(from, first, to));
            }
        }
        Ok(Self(mapping))
    }

    /// Nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, as (namespace of the backup, namespace to restore it into).
    pub fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Where `namespace` of the backup is restored into. Empty stays empty.
    #[must_use]
    pub fn target<'n>(&'n self, namespace: &'n str) -> &'n str {
        self.0.get(namespace).map_or(namespace, String::as_str)
    }

    /// What is in `namespace` of the backup is restored, as far as this is concerned.
    #[must_use]
    pub fn takes(&self, namespace: &str) -> bool {
        self.0.is_empty() || namespace.is_empty() || self.0.contains_key(namespace)
    }

    /// What is restored if `choice` is what was said: only what is mapped, and of what has no namespace only what is
    /// named by its kind.
    ///
    /// # Errors
    /// [`InvalidMapping::NotMapped`].
    pub fn narrow(&self, choice: Choice) -> Result<Choice, InvalidMapping> {
        if self.0.is_empty() {
            return Ok(choice);
        }
        if choice.namespaces.is_empty() {
            return Ok(Choice { namespaces: self.0.keys().cloned().collect(), ..choice });
        }
        match choice.namespaces.iter().find(|name| !is_pattern(name) && !self.0.contains_key(*name)) {
            Some(stranger) => Err(InvalidMapping::NotMapped(stranger.clone())),
            None => Ok(choice),
        }
    }

    /// The name that an object of the kind `kind_id` is restored under: a Namespace gets the new one. `None`: it is a
    /// Namespace that is not mapped, where others are.
    pub(in super::super) fn entry<'n>(&'n self, kind_id: &str, name: &'n str) -> Option<&'n str> {
        if kind_id != "namespaces" || self.0.is_empty() {
            return Some(name);
        }
        self.0.get(name).map(String::as_str)
    }

    /// Maps an object: its namespace, the subjects of a binding, and nothing else. Finalizers go, because what
    /// they wait for belongs to the object of the old namespace.
    pub(super) fn apply(&self, prepared: &mut Prepared) {
        if self.0.is_empty() {
            return;
        }
        let (is_namespace, is_binding) = {
            let kind = GroupKind::of(&prepared.object);
            let rbac = kind.group == "rbac.authorization.k8s.io";
            (kind.is("", "Namespace"), rbac && matches!(kind.kind, "RoleBinding" | "ClusterRoleBinding"))
        };
        let field = if is_namespace { "name" } else { "namespace" };
        self.rename(prepared, field);
        if is_namespace
            && let Some(label) = prepared.object.pointer_mut("/metadata/labels/kubernetes.io~1metadata.name")
            && let Some(to) = label.as_str().and_then(|name| self.0.get(name))
        {
            *label = json!(to);
        }
        if is_binding {
            self.map_subjects(prepared);
        }
        let metadata = prepared.object.pointer_mut("/metadata").and_then(Value::as_object_mut);
        if let Some(Value::Array(finalizers)) = metadata.and_then(|metadata| metadata.remove("finalizers")) {
            for finalizer in finalizers {
                let what = format!("removed {finalizer}");
                prepared.ask("metadata.finalizers", format!("{MAPPED}: it waits for another object"), what);
            }
        }
    }

    fn rename(&self, prepared: &mut Prepared, field: &'static str) {
        let metadata = prepared.object.pointer_mut("/metadata").and_then(Value::as_object_mut);
        let Some(place) = metadata.and_then(|metadata| metadata.get_mut(field)) else { return };
        let Some((from, to)) = place.as_str().and_then(|name| self.0.get_key_value(name)) else { return };
        *place = json!(to);
        let path = if field == "name" { "metadata.name" } else { "metadata.namespace" };
        prepared.record(path, MAPPED, format!("{from} to {to}"));
    }

    fn map_subjects(&self, prepared: &mut Prepared) {
        let subjects = prepared.object.get_mut("subjects").and_then(Value::as_array_mut);
        let mut mapped = Vec::new();
        for subject in subjects.map(Vec::as_mut_slice).unwrap_or_default() {
            mapped.extend(self.map_subject(subject));
        }
        for (path, what) in mapped {
            prepared.ask(path, MAPPED, what);
        }
    }

    /// The new name of a namespace to whose accounts a binding gives rights, if it is mapped.
    pub(in super::super) fn first_of(&self, binding: &Value) -> Option<&str> {
        let subjects = binding.get("subjects").and_then(Value::as_array)?;
        let namespaces = subjects.iter().filter_map(|subject| namespace_of(subject).map(|(.., namespace)| namespace));
        namespaces.filter_map(|namespace| self.0.get(namespace)).map(String::as_str).next()
    }

    /// The change of one subject, as (path, what).
    fn map_subject(&self, subject: &mut Value) -> Option<(&'static str, String)> {
        let (field, before, namespace) = namespace_of(subject)?;
        let to = self.0.get(namespace)?;
        let old = subject.get(field)?.as_str()?.to_owned();
        let after = old.get(before.len() + namespace.len()..).unwrap_or_default();
        let new = format!("{before}{to}{after}");
        let account = subject.get("name").and_then(Value::as_str).unwrap_or_default();
        let (path, what) = match before {
            "" => ("subjects[].namespace", format!("{account}: {old} to {new}")),
            _ => ("subjects[].name", format!("{old} to {new}")),
        };
        subject.as_object_mut()?.insert(field.to_owned(), json!(new));
        Some((path, what))
    }
}

/// Where a subject names a namespace: in which field, after which text, and the namespace.
fn namespace_of(subject: &Value) -> Option<(&'static str, &'static str, &str)> {
    let (field, before) = match subject.get("kind").and_then(Value::as_str)? {
        "ServiceAccount" => ("namespace", ""),
        "Group" => ("name", "system:serviceaccounts:"),
        "User" => ("name", "system:serviceaccount:"),
        _ => return None,
    };
    let rest = subject.get(field)?.as_str()?.strip_prefix(before)?;
    Some((field, before, rest.split(':').next().unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sources::kubernetes::restore::transform::{Outcome, transform};

    fn mapping(pairs: &[(&str, &str)]) -> Mapping {
        Mapping::new(pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))).unwrap()
    }

    fn mapped(mapping: &Mapping, kind: &str, object: &Value) -> Prepared {
        let Outcome::Restore(mut prepared) = transform(kind, object.clone()) else { panic!("{object}") };
        mapping.apply(&mut prepared);
        *prepared
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
            Mapping::new(pairs).unwrap_err().to_string()
        };
        assert_eq!(refused(&[("a", "a")]), "namespace `a` is mapped to itself");
        assert_eq!(refused(&[("a", "b"), ("a", "c")]), "namespace `a` is mapped twice, to `b` and to `c`");
        assert!(refused(&[("a", "B")]).contains("`B` is not a valid name"));
        assert!(refused(&[("a", "")]).contains("`` is not a valid name"));
        let mapping = mapping(&[("a", "b"), ("b", "a")]);
        assert_eq!(
            (mapping.target("a"), mapping.target("b"), mapping.target("c"), mapping.target("")),
            ("b", "a", "c", "")
        );
    }

    #[test]
    fn only_what_is_mapped_is_restored() {
        let mapping = mapping(&[("a", "b")]);
        let choice = |names: &[&str]| Choice {
            namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Choice::default()
        };
        assert_eq!(mapping.narrow(choice(&[])), Ok(choice(&["a"])));
        assert_eq!(mapping.narrow(choice(&["a*"])), Ok(choice(&["a*"])));
        assert_eq!(mapping.narrow(choice(&["c"])), Err(InvalidMapping::NotMapped("c".to_owned())));
        assert_eq!(Mapping::default().narrow(choice(&["c"])), Ok(choice(&["c"])));
        assert!(mapping.takes("a") && !mapping.takes("c") && mapping.takes(""));
        assert!(Mapping::default().takes("c"));
    }

    #[test]
    fn the_namespace_and_the_subjects_of_bindings_are_rewritten_and_nothing_else() {
        let mapping = mapping(&[("shop", "copy"), ("pay", "copy-pay")]);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop", "namespace": "shop",
            "finalizers": ["example.org/x"], "annotations": {"from": "shop"}}, "data": {"host": "db.shop.svc", "namespace": "shop"}});
        let prepared = mapped(&mapping, "configmaps", &object);
        assert_eq!(
            prepared.object,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop", "namespace": "copy",
                "annotations": {"from": "shop"}}, "data": {"host": "db.shop.svc", "namespace": "shop"}})
        );
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "shop"}, "roleRef": {"kind": "Role", "name": "shop"}, "subjects": [
            {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
            {"kind": "ServiceAccount", "name": "web", "namespace": "other"},
            {"kind": "ServiceAccount", "name": "web"},
            {"kind": "Group", "name": "system:serviceaccounts:pay"},
            {"kind": "Group", "name": "shop"},
            {"kind": "User", "name": "system:serviceaccount:shop:web"},
            {"kind": "User", "name": "shop"}]});
        let prepared = mapped(&mapping, "rolebindings.rbac.authorization.k8s.io", &binding);
        assert_eq!(
            prepared.object["subjects"],
            json!([
                {"kind": "ServiceAccount", "name": "web", "namespace": "copy"},
                {"kind": "ServiceAccount", "name": "web", "namespace": "other"},
                {"kind": "ServiceAccount", "name": "web"},
                {"kind": "Group", "name": "system:serviceaccounts:copy-pay"},
                {"kind": "Group", "name": "shop"},
                {"kind": "User", "name": "system:serviceaccount:copy:web"},
                {"kind": "User", "name": "shop"}])
        );
        assert_eq!(prepared.object["roleRef"], binding["roleRef"]);
        let asked: Vec<&str> =
            prepared.changes.iter().filter(|change| change.asked).map(|change| change.what.as_str()).collect();
        assert_eq!(
            asked,
            [
                "web: shop to copy",
                "system:serviceaccounts:pay to system:serviceaccounts:copy-pay",
                "system:serviceaccount:shop:web to system:serviceaccount:copy:web",
            ]
        );
    }

    #[test]
    fn a_namespace_gets_the_new_name_and_the_label_that_the_server_keeps_of_it() {
        let mapping = mapping(&[("shop", "copy")]);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {
            "kubernetes.io/metadata.name": "shop", "team": "shop"}}});
        let prepared = mapped(&mapping, "namespaces", &object);
        assert_eq!(
            prepared.object["metadata"],
            json!({"name": "copy", "labels": {"kubernetes.io/metadata.name": "copy", "team": "shop"}})
        );
        assert_eq!(
            (mapping.entry("namespaces", "shop"), mapping.entry("configmaps", "shop")),
            (Some("copy"), Some("shop"))
        );
        assert_eq!(mapping.entry("namespaces", "copy"), None, "the backup's own one of this name is not meant");
        assert_eq!(Mapping::default().entry("namespaces", "copy"), Some("copy"));
    }

    proptest! {
        /// There and back is where it was, for every object without a finalizer.
        #[test]
        fn a_mapping_and_its_opposite_change_nothing(
            namespace in "[ab]",
            subjects in proptest::collection::vec(("ServiceAccount|Group|User", "[ab]|system:serviceaccounts:[ab]|system:serviceaccount:[ab]:x"), 0..4),
        ) {
            let subjects: Vec<Value> = subjects
                .into_iter()
                .map(|(kind, name)| match kind.as_str() {
                    "ServiceAccount" => json!({"kind": kind, "name": "x", "namespace": name}),
                    _ => json!({"kind": kind, "name": name}),
                })
                .collect();
            let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "b", "namespace": namespace}, "subjects": subjects});
            let id = "rolebindings.rbac.authorization.k8s.io";
            let there = mapped(&mapping(&[("a", "c"), ("b", "d")]), id, &object).object;
            let back = mapped(&mapping(&[("c", "a"), ("d", "b")]), id, &there).object;
            prop_assert_eq!(back, object);
        }
    }
}
