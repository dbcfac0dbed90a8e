//! What a restore of a database did.

use schemars::JsonSchema;
use serde::Serialize;

/// Something of the restored database that is not as in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MongodbDifference")]
pub struct Difference {
    /// What: `collection contacts`, `index email_1 on contacts`.
    pub what: String,
    /// How it differs.
    pub how: String,
}

/// A collection that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadedCollection {
    /// Its name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Documents that were loaded, read back and compared.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Indexes that were compared.
    pub indexes: u64,
    /// It has its name.
    pub in_place: bool,
}

/// What was loaded, and what the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MongodbLoaded")]
pub struct Loaded {
    /// The source.
    pub source: String,
    /// The database that holds it now.
    pub database: String,
    /// Collection by collection.
    pub collections: Vec<LoadedCollection>,
    /// Users and roles that were compared; only if they were asked for.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub accounts: u64,
    /// What is not as in the backup. Nothing that differs gets its name.
    pub differences: Vec<Difference>,
    /// Collections that stay under other names, because something differs.
    pub beside: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Loaded {
    /// Whether all that was loaded is equal to the backup.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// Documents that were loaded.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|collection| collection.documents).sum()
    }
}
