//! What drctl knows about single kinds: those it leaves out, those that a controller makes again,
//! those that live in two groups. Data, not code; `docs/kinds.md` shows the same tables, and a test
//! holds them equal. What is in no table is captured and restored.

mod meta;
mod rules;

use serde::Deserialize as _;
use serde_json::Value;

use super::kind::Kind;
pub use meta::{Meta, Owner};
pub use rules::{MADE_AGAIN, MADE_AGAIN_OWNERS, Rule, When};

/// A kind that is served in two groups with the same objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewerGroup {
    /// Its plural, the same in both.
    pub plural: &'static str,
    /// The group that is not read where the other is served.
    pub old: &'static str,
    /// The group that is read.
    pub new: &'static str,
}

/// Kinds that live in two groups. The newer is read.
pub const NEWER_GROUP: &[NewerGroup] = &[
    NewerGroup { plural: "daemonsets", old: "extensions", new: "apps" },
    NewerGroup { plural: "deployments", old: "extensions", new: "apps" },
    NewerGroup { plural: "events", old: "", new: "events.k8s.io" },
    NewerGroup { plural: "ingresses", old: "extensions", new: "networking.k8s.io" },
    NewerGroup { plural: "networkpolicies", old: "extensions", new: "networking.k8s.io" },
    NewerGroup { plural: "podsecuritypolicies", old: "extensions", new: "policy" },
    NewerGroup { plural: "replicasets", old: "extensions", new: "apps" },
];

/// A kind that is not captured unless the policy names it under `include`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// `plural.group`.
    pub kind: &'static str,
    /// Why nothing is lost.
    pub why: &'static str,
}

/// Kinds that are left out by default.
pub const LEFT_OUT: &[LeftOut] = &[
    LeftOut { kind: "certificatesigningrequests.certificates.k8s.io", why: "a request that lives for an hour" },
    LeftOut { kind: "csinodes.storage.k8s.io", why: "made by each node's kubelet" },
    LeftOut { kind: "events", why: "what happened, kept for an hour" },
    LeftOut { kind: "events.events.k8s.io", why: "what happened, kept for an hour" },
    LeftOut { kind: "ipaddresses.networking.k8s.io", why: "made by the API server for each Service's address" },
    LeftOut { kind: "leases.coordination.k8s.io", why: "heartbeats and leader locks, renewed every few seconds" },
    LeftOut { kind: "nodes", why: "a node registers itself" },
    LeftOut { kind: "resourceslices.resource.k8s.io", why: "made by the drivers on each node" },
    LeftOut { kind: "volumeattachments.storage.k8s.io", why: "made by the attach controller for each mounted volume" },
];

/// An object that is captured, and that a restore lists but does not create.
#[derive(Debug, Clone, Copy)]
pub struct NotCreated {
    /// `plural.group`; `*` is every kind.
    pub kind: &'static str,
    /// Which objects of it.
    pub which: &'static str,
    /// Why a restore does not create them.
    pub why: &'static str,
    test: fn(&Meta, &Value) -> bool,
}

/// Why an object under deletion is not created.
pub const BEING_DELETED: &str = "it was being deleted when it was backed up";

/// What is captured and not created by a restore.
pub const NOT_CREATED: &[NotCreated] = &[
    NotCreated {
        kind: "*",
        which: "those whose deletion was asked for and not done yet",
        why: BEING_DELETED,
        test: |meta, _| !meta.deletion_timestamp.is_empty(),
    },
    NotCreated {
        kind: "jobs.batch",
        which: "finished ones",
        why: "its work is done, and would be done twice",
        test: |_, status| has_condition(status, "Complete") || has_condition(status, "Failed"),
    },
    NotCreated {
        kind: "persistentvolumes",
        which: "all that are not adopted",
        why: "a claim gets a new volume; a volume with the old claim's uid would have its disk deleted",
        test: |_, _| true,
    },
    NotCreated {
        kind: "pods",
        which: "finished ones",
        why: "its work is done, and would be done twice",
        test: |_, status| matches!(status.get("phase").and_then(Value::as_str), Some("Succeeded" | "Failed")),
    },
    NotCreated {
        kind: "serviceaccounts",
        which: "`default` of each namespace",
        why: "made with its namespace; what the backup's one adds is merged into it",
        test: |meta, _| meta.name == "default",
    },
];

/// Label of the key pairs of the sealed-secrets controller. Without them no SealedSecret of the
/// cluster can ever be opened again, so they are captured whatever the policy selects.
pub const SEALED_SECRETS_KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

/// Why a controller makes `object` again after a restore, if one does. Such an object is not
/// captured, and is not restored from a backup that has it. `None` means: it must be restored.
#[must_use]
pub fn made_again(kind: &Kind, object: &Value) -> Option<&'static str> {
    let meta = Meta::deserialize(object.get("metadata")?).ok()?;
    made_again_by(&kind.id(), &meta)
}

/// As [`made_again`], for a kind by its id (`plural.group`) and metadata that is already read.
#[must_use]
pub fn made_again_by(kind_id: &str, meta: &Meta) -> Option<&'static str> {
    let mut rules = MADE_AGAIN.iter().filter(|rule| rule.kinds.contains(&kind_id));
    rules.find(|rule| rule.when.holds(meta)).map(|rule| rule.why)
}

/// Some objects of the kind `kind_id` are made again, so that each must be looked at.
#[must_use]
pub fn may_be_made_again(kind_id: &str) -> bool {
    MADE_AGAIN.iter().any(|rule| rule.kinds.contains(&kind_id))
}

/// The object of the kind `kind_id` is one of the default roles and bindings, and still as the API
/// server made it.
#[must_use]
pub fn is_default_rbac(kind_id: &str, meta: &Meta) -> bool {
    kind_id.ends_with(".rbac.authorization.k8s.io") && made_again_by(kind_id, meta).is_some()
}

/// The kind `kind_id` is not captured unless the policy includes it: why.
#[must_use]
pub fn left_out(kind_id: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|row| row.kind == kind_id).map(|row| row.why)
}

/// Why a restore lists `object` of the kind `kind_id` and does not create it, if so.
#[must_use]
pub fn not_created(kind_id: &str, object: &Value) -> Option<&'static str> {
    let meta = object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()).unwrap_or_default();
    not_created_by(kind_id, &meta, object.get("status").unwrap_or(&Value::Null))
}

/// As [`not_created`], for metadata that is already read. `status` is used only for the kinds that
/// [`needs_status`].
#[must_use]
pub fn not_created_by(kind_id: &str, meta: &Meta, status: &Value) -> Option<&'static str> {
    let mut rows = NOT_CREATED.iter().filter(|row| row.kind == "*" || row.kind == kind_id);
    rows.find(|row| (row.test)(meta, status)).map(|row| row.why)
}

/// Whether a restore creates an object of the kind `kind_id` depends on its status.
#[must_use]
pub fn needs_status(kind_id: &str) -> bool {
    matches!(kind_id, "pods" | "jobs.batch")
}

/// The object is a key of the sealed-secrets controller: without it no SealedSecret can be opened again.
#[must_use]
pub fn is_sealed_secrets_key(kind_id: &str, meta: &Meta) -> bool {
    kind_id == "secrets" && meta.labels.contains_key(SEALED_SECRETS_KEY_LABEL)
}

fn has_condition(status: &Value, name: &str) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some(name)
                && condition.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

#[cfg(test)]
mod tests;
