//! The cluster of a backup, as documents show it.

use schemars::JsonSchema;
use serde::Serialize;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Cluster {
    /// The uid of its namespace `kube-system`.
    pub uid: String,
    /// How its kubeconfig calls it.
    pub name: String,
    /// Its server's version.
    pub version: String,
}
