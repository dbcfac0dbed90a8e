//! MongoDB databases in a policy, as plain data.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{SecretRef, Via};

/// One MongoDB database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MongodbSpec {
    /// Where its address is, as the application has it: `mongodb://...` or `mongodb+srv://...`, with the password in it.
    pub url: SecretRef,
    /// The database. Absent: the one that the address names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// How its server is reached, where the address alone does not do from where drctl runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How its server's certificate is checked. Absent: as the address says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<MongodbTls>,
    /// Whether all collections are read as they were at one moment, which needs a replica set. Absent: `snapshot`.
    #[serde(default)]
    pub consistency: Consistency,
    /// Only these collections, by name or by a pattern with `*`. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Collections, by name or by a pattern with `*`, that are left out; what `include` names without a pattern is taken all
    /// the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether time-series collections are taken: as the buckets that the server keeps them in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub time_series: bool,
    /// Whether the users and roles of the database are taken, with what proves their passwords: only into an encrypted
    /// repository.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub users: bool,
}

/// Whether the collections of a database are read as they were at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// All as they were at one moment. It needs a replica set; one member is enough.
    #[default]
    Snapshot,
    /// One after the other while others write: not point-in-time.
    None,
}

/// How a MongoDB server's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct MongodbTls {
    /// A PEM file with the authorities that sign it. The connection must then be encrypted, and the certificate name the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must have, where the server is reached by `via`. Absent: the host of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}
