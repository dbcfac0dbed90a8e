//! What a plan saw of an object, kept small: enough to know later that it is another one.

use std::fmt;

use serde_json::Value;

use super::conflicts::drop_own;
use crate::{sources::kubernetes::compare::GroupKind, types::Blake3Digest};

/// Half of a BLAKE3 digest; all zero: there was nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark([u8; 16]);

/// What was seen of one object of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Of the object as it would be written.
    pub(super) wanted: Mark,
    /// Of the live one, if there was one.
    pub(super) live: Mark,
}

impl Mark {
    /// Of an object, whoever set which field of it.
    pub(super) fn of(object: &Value) -> Self {
        let digest = Blake3Digest::of(object.to_string().as_bytes());
        let mut mark = [0; 16];
        mark.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(mark)
    }

    /// Of a live object, without what changes by itself: its status, and the books that the server keeps.
    pub(super) fn of_live(live: &Value) -> Self {
        let mut live = live.clone();
        if let Some(root) = live.as_object_mut() {
            root.remove("status");
        }
        if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
            for books in ["generation", "managedFields", "resourceVersion"] {
                metadata.remove(books);
            }
        }
        Self::of(&live)
    }

    /// Of a live object that a plan changes or replaces, without what others than people set in it: what only the
    /// live one has anyway, its owners, finalizers and injected certificates, and the replicas that an autoscaler sets.
    pub(super) fn of_agreed(live: &Value, autoscaled: bool) -> Self {
        let mut live = live.clone();
        drop_own(&mut live);
        if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("ownerReferences");
            metadata.remove("finalizers");
        }
        if autoscaled && let Some(spec) = live.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("replicas");
        }
        drop_certificates(&mut live);
        Self::of_live(&live)
    }

    /// There was nothing.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Takes out what an injector of certificates sets as soon as it runs.
fn drop_certificates(live: &mut Value) {
    let kind = GroupKind::of(live);
    let (is_webhooks, is_served) = (
        kind.group == "admissionregistration.k8s.io",
        kind.is("apiregistration.k8s.io", "APIService") || kind.is("apiextensions.k8s.io", "CustomResourceDefinition"),
    );
    let drop = |holder: Option<&mut Value>| {
        if let Some(fields) = holder.and_then(Value::as_object_mut) {
            fields.remove("caBundle");
        }
    };
    if is_webhooks {
        let webhooks = live.get_mut("webhooks").and_then(Value::as_array_mut);
        webhooks.into_iter().flatten().for_each(|webhook| drop(webhook.get_mut("clientConfig")));
    }
    if is_served {
        drop(live.get_mut("spec"));
        drop(live.pointer_mut("/spec/conversion/webhook/clientConfig"));
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_object_is_another_one_when_it_was_changed_and_not_when_it_works() {
        let live = |version: &str, image: &str, ready: u64| {
            json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version, "generation": 1,
                "managedFields": [{"manager": version}]}, "spec": {"image": image}, "status": {"ready": ready}})
        };
        let before = Mark::of_live(&live("1", "a:1", 0));
        assert_eq!(before, Mark::of_live(&live("2", "a:1", 3)));
        assert_ne!(before, Mark::of_live(&live("1", "a:2", 0)));
        let mut made_again = live("1", "a:1", 0);
        made_again["metadata"]["uid"] = json!("v");
        assert_ne!(before, Mark::of_live(&made_again));
        assert!(!before.is_none() && Mark::default().is_none());
        assert_eq!(before.to_string().len(), 32);
    }

    #[test]
    fn what_a_person_changed_counts_and_what_controllers_set_does_not() {
        let live = |image: &str, replicas: u64, owner: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "uid": "u",
                "annotations": {"deployment.kubernetes.io/revision": owner}, "finalizers": [owner],
                "ownerReferences": [{"name": owner}]}, "spec": {"replicas": replicas, "image": image}})
        };
        let agreed = |live: &Value| Mark::of_agreed(live, false);
        let before = agreed(&live("a:1", 2, "x"));
        assert_eq!(before, agreed(&live("a:1", 2, "y")));
        assert_ne!(before, agreed(&live("a:2", 2, "x")));
        assert_ne!(before, agreed(&live("a:1", 5, "x")));
        assert_eq!(Mark::of_agreed(&live("a:1", 2, "x"), true), Mark::of_agreed(&live("a:1", 5, "x"), true));
        let hook = |bundle: &str, url: &str| {
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "h"}, "webhooks": [{"clientConfig": {"caBundle": bundle, "url": url}}]})
        };
        assert_eq!(agreed(&hook("a", "u")), agreed(&hook("b", "u")));
        assert_ne!(agreed(&hook("a", "u")), agreed(&hook("a", "v")));
    }
}
