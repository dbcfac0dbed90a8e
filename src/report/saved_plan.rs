//! The document of `drctl show --plan`: a saved plan, as somebody reads it who is to agree to it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AskedRestore, Cluster, Document};

/// A saved plan. `O` is one of its objects.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownPlan<O> {
    /// All but its objects.
    #[serde(flatten)]
    pub head: ShownPlanHead,
    /// Its objects, in the order in which their turn comes.
    pub objects: Vec<O>,
}

/// What a [`ShownPlan`] begins with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownPlanHead {
    /// BLAKE3 of its lines: by it the plan is known again.
    pub blake3: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub made: Timestamp,
    /// The version of drctl that made it.
    pub drctl: String,
    /// The backup that is restored.
    pub backup: String,
    /// SHA-256 of the backup's manifest as stored.
    pub manifest_sha256: String,
    /// The cluster that it was made for.
    pub target: Cluster,
    /// The sources of the backup.
    pub sources: Vec<String>,
    /// What is done about live objects that differ: `fail`, `skip`, `update` or `replace`.
    pub on_conflict: String,
    /// Namespaces that were named to come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platform: Vec<String>,
    /// Volumes of the backup are taken over by their claims.
    pub adopt_volumes: bool,
    /// Which objects, into which namespaces, and by which file changed; absent: all of them, as they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRestore>,
    /// What the modifiers in the plan change, a line each; values for Secrets are hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modifiers: Vec<String>,
    /// Sources of the backup that are databases: they are no part of the plan, and its execution does not touch them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases_left_out: Vec<String>,
    /// How many objects there are.
    pub totals: ShownTotals,
}

/// How many objects there are in a [`ShownPlan`], by what is done with them and by what the server said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "a count each, of the action or answer that it is called after")]
pub struct ShownTotals {
    pub create: u64,
    pub merge: u64,
    pub update: u64,
    pub replace: u64,
    pub same: u64,
    pub conflict: u64,
    pub skip: u64,
    pub cannot: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub not_testable: u64,
}

impl<O: Serialize> Document for ShownPlan<O> {
    const KIND: &'static str = "ShownPlan";
}
