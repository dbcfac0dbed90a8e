//! The documents of `drctl restore`: the plan before, and the report after.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Cluster, Document, Phase};

/// The cluster that a restore goes into.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetCluster {
    /// The uid of its namespace `kube-system`.
    pub uid: String,
    /// How its kubeconfig calls it.
    pub name: String,
    /// Its server's version.
    pub version: String,
    /// It is the cluster that the backup was taken of.
    pub same: bool,
}

/// What a restore would do. `P` is the plan of one source.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan<'a, P> {
    /// The backup.
    pub backup: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// The cluster that the backup was taken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Cluster>,
    /// The cluster that it would be restored into.
    pub target: TargetCluster,
    /// Live objects that differ from the backup.
    pub conflicts: u64,
    /// What would be done, source by source.
    pub sources: &'a [P],
}

impl<P: Serialize> Document for RestorePlan<'_, P> {
    const KIND: &'static str = "RestorePlan";
}

/// What a restore did. `S` is the report of one source.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport<'a, S> {
    /// The backup.
    pub backup: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// The cluster that it was restored into.
    pub target: TargetCluster,
    /// Every object of the plan is there, none was left as it differs, and what was waited for is ready.
    pub complete: bool,
    /// Every object that should be there was compared, and is equal.
    pub equal: bool,
    /// What was done, source by source.
    pub sources: &'a [S],
    /// How long each phase took, in order.
    pub phases: Vec<Phase>,
    /// Why it ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl<S: Serialize> Document for RestoreReport<'_, S> {
    const KIND: &'static str = "RestoreReport";
}
