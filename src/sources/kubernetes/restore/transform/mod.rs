//! From an object of the backup to the object that is created: the rules, kind by kind.
//!
//! A rule changes as little as the API server or safety demands, and records each change, so that
//! the comparison can expect exactly what was sent. What the server sets anew on every object (uid,
//! resourceVersion, status, …) is dropped without a record: it is on the comparison's printed list.

mod fields;
mod pods;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(super) use self::rules::{BOUND_BY_CONTROLLER, addresses_of};
use serde::Deserialize as _;
use serde_json::Value;

use self::fields::{at, object_mut, take, take_items, text_at};
use super::{judge::is_merged, plan::Uid, recipe::ModifierRef, versions};
use crate::sources::kubernetes::{
    Kind,
    compare::{GroupKind, shortened},
    kinds::{self, Meta},
};

/// One field that a rule changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The field as the rule names it: `spec.ports[].nodePort`.
    pub(super) rule_path: Cow<'static, str>,
    /// Why.
    pub(super) reason: Cow<'static, str>,
    /// What became of it: `removed "10.0.0.1"`.
    pub(super) what: String,
    /// A person asked for it.
    pub(super) asked: bool,
}

impl Change {
    /// A change that a rule makes.
    pub(super) fn of(rule_path: &'static str, reason: &'static str, what: String) -> Self {
        Self { rule_path: rule_path.into(), reason: reason.into(), what, asked: false }
    }
}

/// What becomes of an object of the backup.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It is restored.
    Restore(Box<Prepared>),
    /// A rule leaves it out.
    Leave(&'static str),
}

/// An object that is ready to be created.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prepared {
    /// What is sent.
    pub(super) object: Value,
    /// What a second request adds.
    pub(super) second: Second,
    /// What the rules changed.
    pub(super) changes: Vec<Change>,
    /// A LoadBalancer Service's addresses in the backup.
    pub(super) addresses: Vec<String>,
    /// The object's uid in the backup.
    pub(super) uid: Uid,
    /// The modifiers that are about it.
    pub(super) used: Vec<ModifierRef>,
}

/// What can only be set when the object, and its owners, are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Second {
    /// The owner references of the backup, with the old uids.
    pub(super) owners: Vec<Value>,
    /// The managed fields of the backup, if there is an `Apply` entry among them.
    pub(super) managed_fields: Vec<Value>,
}

impl Second {
    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.managed_fields.is_empty()
    }
}

impl Prepared {
    /// What the live object should be: what was sent, and the owners.
    pub(super) fn expected(&self) -> Value {
        let mut expected = self.object.clone();
        if !self.second.owners.is_empty()
            && let Some(metadata) = object_mut(&mut expected, &["metadata"])
        {
            metadata.insert("ownerReferences".to_owned(), Value::Array(self.second.owners.clone()));
        }
        expected
    }

    /// [`expected`](Self::expected), beside an object that is there: a Job that the rules would
    /// create suspended may be as it was in the backup, or was started since.
    pub(super) fn expected_beside(&self, live: &Value) -> Value {
        let mut expected = self.expected();
        let runs = at(live, &["spec", "suspend"]) != Some(&Value::Bool(true));
        if runs && self.changes.iter().any(|change| change.rule_path == pods::SUSPENDED) {
            take(&mut expected, &["spec"], "suspend");
        }
        expected
    }

    pub(super) fn record(&mut self, rule_path: &'static str, reason: &'static str, what: String) {
        self.changes.push(Change::of(rule_path, reason, what));
    }

    /// Records what a person asked for.
    pub(super) fn ask(
        &mut self,
        path: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
        what: String,
    ) {
        self.changes.push(Change { rule_path: path.into(), reason: reason.into(), what, asked: true });
    }

    /// Takes a key out and records it.
    fn drop_key(&mut self, path: &[&str], key: &str, rule_path: &'static str, reason: &'static str) {
        if let Some(value) = take(&mut self.object, path, key) {
            let hidden = GroupKind::of(&self.object).is("", "Secret");
            let what = if hidden { "removed".to_owned() } else { format!("removed {}", shortened(&value)) };
            self.record(rule_path, reason, what);
        }
    }
}

/// Set anew by the server on every object.
const SERVER_METADATA: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Finalizers of Kubernetes' own controllers, which set them again where they are needed. A
/// finalizer of anyone else is part of the object.
pub(super) const BUILT_IN_FINALIZERS: &[&str] = &[
    "batch.kubernetes.io/job-tracking",
    "customresourcecleanup.apiextensions.k8s.io",
    "external-provisioner.volume.kubernetes.io/finalizer",
    "foregroundDeletion",
    "kubernetes",
    "kubernetes.io/pv-protection",
    "kubernetes.io/pvc-protection",
    "orphan",
    "resource.kubernetes.io/delete-protection",
    "service.kubernetes.io/load-balancer-cleanup",
    "storage.kubernetes.io/vac-protection",
];

/// [`transform`] of an object that is created as one of `kind`, which may be of another version than the backup's.
pub(super) fn transform_to(kind_id: &str, kind: Option<&Kind>, mut object: Value) -> Outcome {
    // What cannot be brought to that version is named by the plan.
    let change = kind.and_then(|kind| versions::adapt(&mut object, kind).ok().flatten());
    let mut outcome = transform(kind_id, object);
    if let Outcome::Restore(prepared) = &mut outcome {
        prepared.changes.extend(change);
    }
    outcome
}

/// Applies the rules to an object of the kind `kind_id` (`deployments.apps`) of the backup.
pub(super) fn transform(kind_id: &str, object: Value) -> Outcome {
    if let Some(reason) = left_out(kind_id, &object) {
        return Outcome::Leave(reason);
    }
    let mut prepared = prepare(object);
    rules::apply(&mut prepared);
    Outcome::Restore(Box::new(prepared))
}

/// The rules for a volume that is adopted: the same disk, for the same claim, and never deleted with it.
pub(super) fn adopted_volume(object: Value) -> Outcome {
    let meta = object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()).unwrap_or_default();
    if !meta.deletion_timestamp.is_empty() {
        return Outcome::Leave(kinds::BEING_DELETED);
    }
    let mut prepared = prepare(object);
    rules::volume(&mut prepared);
    Outcome::Restore(Box::new(prepared))
}

/// Puts back into a claim which volume it is for.
pub(super) fn keep_volume(prepared: &mut Prepared, volume: &str) {
    prepared.changes.retain(|change| change.rule_path != rules::VOLUME_NAME);
    if let Some(spec) = object_mut(&mut prepared.object, &["spec"]) {
        spec.insert("volumeName".to_owned(), Value::String(volume.to_owned()));
    }
}

fn prepare(object: Value) -> Prepared {
    let uid = Uid::parse(text_at(&object, &["metadata", "uid"]));
    let addresses = rules::load_balancer_addresses(&object);
    let (second, changes, used) = (Second::default(), Vec::new(), Vec::new());
    let mut prepared = Prepared { object, second, changes, addresses, uid, used };
    clean_metadata(&mut prepared);
    prepared
}

fn left_out(kind_id: &str, object: &Value) -> Option<&'static str> {
    let meta = object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()).unwrap_or_default();
    if let Some(reason) = kinds::made_again_by(kind_id, &meta) {
        return Some(reason);
    }
    let is_merged = is_merged(GroupKind::of(object), &meta.name);
    let status = object.get("status").unwrap_or(&Value::Null);
    let not_created =
        kinds::not_created_by(kind_id, &meta, status).filter(|why| !is_merged || *why == kinds::BEING_DELETED);
    not_created.or_else(|| pods::left_to_others(object))
}

fn clean_metadata(prepared: &mut Prepared) {
    let Some(root) = prepared.object.as_object_mut() else { return };
    root.remove("status");
    let Some(metadata) = object_mut(&mut prepared.object, &["metadata"]) else { return };
    for field in SERVER_METADATA {
        metadata.remove(*field);
    }
    let list = |value: Option<Value>| match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let managed = list(metadata.remove("managedFields"));
    if managed.iter().any(|entry| is_own(entry) && text_at(entry, &["operation"]) == "Apply") {
        prepared.second.managed_fields = managed.into_iter().filter(is_own).collect();
    }
    prepared.second.owners = list(metadata.remove("ownerReferences"));
    let dropped = take_items(&mut prepared.object, &["metadata"], "finalizers", |finalizer| {
        finalizer.as_str().is_some_and(|name| BUILT_IN_FINALIZERS.contains(&name))
    });
    for finalizer in dropped {
        prepared.record(
            "metadata.finalizers",
            "set again by Kubernetes' own controllers",
            format!("removed {finalizer}"),
        );
    }
}

/// Whether a managedFields entry is about the object and not about a subresource: the fields of a
/// status that was not restored have no owner.
fn is_own(entry: &Value) -> bool {
    at(entry, &["subresource"]).and_then(Value::as_str).unwrap_or_default().is_empty()
}
