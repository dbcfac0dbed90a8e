//! The documents of `drctl restore`: the plan before, and the report after.

use std::collections::BTreeMap;

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

/// What was asked of a restore beyond all of a backup as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedRestore {
    /// Only objects of these namespaces, by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Only objects of these kinds (`plural.group`), by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Only objects with the labels of one of these selectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// Only objects of these names, by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Namespaces of the backup, and those that they are restored as. What is not mapped is not restored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mapped_namespaces: BTreeMap<String, String>,
    /// The file of changes to objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifiers: Option<String>,
}

/// What a restore would do. `P` is the plan of one source's objects, `D` that of a PostgreSQL database, `M` that of a
/// MongoDB database, `L` names one that is planned later.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan<'a, P, D, M, L> {
    /// The backup.
    pub backup: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// The cluster that the backup was taken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Cluster>,
    /// The cluster that objects would be restored into; absent if only databases would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetCluster>,
    /// What was asked for; absent: all of the backup as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRestore>,
    /// Databases of the backup that are not touched, because objects were chosen and they were not named, or because a
    /// saved plan is of objects alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases_left_out: Vec<String>,
    /// Live objects that differ from the backup.
    pub conflicts: u64,
    /// What would be done with objects, source by source.
    pub sources: &'a [P],
    /// What would be done with PostgreSQL databases; they come first.
    pub databases: &'a [D],
    /// What would be done with MongoDB databases; they come next.
    pub mongodb_databases: &'a [M],
    /// Databases that are planned when their own workloads, which come first, are ready.
    pub later_databases: &'a [L],
}

impl<P: Serialize, D: Serialize, M: Serialize, L: Serialize> Document for RestorePlan<'_, P, D, M, L> {
    const KIND: &'static str = "RestorePlan";
}

/// What a restore did. `S` is the report of one source's objects, `D` that of a PostgreSQL database, `M` that of a MongoDB
/// database, `W` a warning of a plan.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport<'a, S, D, M, W> {
    /// The backup.
    pub backup: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// The cluster that objects were restored into; absent if only databases were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetCluster>,
    /// What was asked for; absent: all of the backup as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRestore>,
    /// Databases of the backup that were not touched, because objects were chosen and they were not named, or because a
    /// saved plan is of objects alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases_left_out: Vec<String>,
    /// What the plans have warned of, source by source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<W>,
    /// Every object of the plan is there, none was left as it differs, what was waited for is ready, and
    /// nothing of a database was left out.
    pub complete: bool,
    /// Every object, table, large object, sequence and collection that should be there was compared, and is equal.
    pub equal: bool,
    /// What was done with objects, source by source.
    pub sources: &'a [S],
    /// What was done with PostgreSQL databases.
    pub databases: &'a [D],
    /// What was done with MongoDB databases.
    pub mongodb_databases: &'a [M],
    /// How long each phase took, in order.
    pub phases: Vec<Phase>,
    /// Why it ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl<S: Serialize, D: Serialize, M: Serialize, W: Serialize> Document for RestoreReport<'_, S, D, M, W> {
    const KIND: &'static str = "RestoreReport";
}

/// What `restore --undo` did. `W` is the swap.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreUndo<W> {
    /// Database by database, in order.
    pub databases: Vec<UndoneDatabase<W>>,
}

/// One database of [`RestoreUndo`].
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "UndoneDatabase")]
pub struct UndoneDatabase<W> {
    /// The source in the policy.
    pub source: String,
    /// The server, host and port.
    pub server: String,
    /// Which database has which name now.
    pub switched: W,
}

impl<W: Serialize> Document for RestoreUndo<W> {
    const KIND: &'static str = "RestoreUndo";
}
