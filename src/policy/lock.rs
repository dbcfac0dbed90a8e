//! How a policy asks for locks against deletion.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// How what a backup needs is locked against deletion, object by object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ObjectLock {
    /// Who may take a lock off before its time.
    pub mode: LockMode,
    /// How long every object that a backup needs stays locked after the backup; docs/object-lock.md says how much
    /// longer it may be.
    #[serde(rename = "for")]
    pub period: Period,
}

/// How what a backup needs is locked against deletion, blob by blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Immutability {
    /// Who may take a lock off before its time.
    pub mode: ImmutabilityMode,
    /// How long every blob that a backup needs stays locked after the backup; docs/object-lock.md says how much
    /// longer it may be.
    #[serde(rename = "for")]
    pub period: Period,
}

/// Who may take a lock off a blob before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImmutabilityMode {
    /// Who may change immutability policies.
    Unlocked,
    /// Nobody.
    Locked,
}

/// Who may take a lock off before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Who has the right `s3:BypassGovernanceRetention`.
    Governance,
    /// Nobody.
    Compliance,
}
