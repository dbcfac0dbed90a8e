//! A volume as adoption sees it: its name, the disk behind it, and the claim that it is for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::live::full_name;

/// A volume, of the backup or live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) name: String,
    /// What is behind it: the same for every volume that leads to the same disk. Empty: not known.
    pub(super) source: String,
    /// The claim that it is for, as `namespace/name`; empty if there is none.
    pub(super) claim: String,
    pub(super) claim_uid: String,
    pub(super) phase: String,
    pub(super) deleted: bool,
}

/// Fields of a volume's `spec` that do not say what is behind it.
const NOT_SOURCE: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];
/// Fields of what is behind a volume that do not tell two disks apart.
const NOT_IDENTITY: &[&str] = &[
    "controllerExpandSecretRef",
    "controllerPublishSecretRef",
    "fsType",
    "nodeExpandSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "partition",
    "readOnly",
    "secretRef",
    "type",
    "volumeAttributes",
];

impl Volume {
    pub(super) fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, claim) = (text("/spec/claimRef/namespace"), text("/spec/claimRef/name"));
        Self {
            name: text("/metadata/name"),
            source: source_of(object),
            claim: if claim.is_empty() { claim } else { full_name(&namespace, &claim) },
            claim_uid: text("/spec/claimRef/uid"),
            phase: text("/status/phase"),
            deleted: object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()),
        }
    }

    /// As a person reads of it.
    pub(super) fn state(&self) -> String {
        let phase = if self.phase.is_empty() { "of unknown phase" } else { self.phase.as_str() };
        if self.claim.is_empty() { phase.to_owned() } else { format!("{phase}, for claim {}", self.claim) }
    }
}

/// What tells a volume's disk from all others, as text.
pub(super) fn source_of(object: &Value) -> String {
    let Some(spec) = object.get("spec").and_then(Value::as_object) else { return String::new() };
    let mut sources = spec.iter().filter(|(key, _)| !NOT_SOURCE.contains(&key.as_str()));
    let (Some((kind, source)), None) = (sources.next(), sources.next()) else { return String::new() };
    let Some(fields) = source.as_object() else { return String::new() };
    let identity: BTreeMap<&String, &Value> =
        fields.iter().filter(|(key, _)| !NOT_IDENTITY.contains(&key.as_str())).collect();
    let mut text = format!("{kind} {}", json!(identity));
    if matches!(kind.as_str(), "local" | "hostPath") {
        // The same path on another node is another disk.
        text.push_str(&format!(" {}", spec.get("nodeAffinity").unwrap_or(&Value::Null)));
    }
    text
}
