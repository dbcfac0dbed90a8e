//! What a restore of databases came to.

use super::{Error, PhaseTime};
use crate::sources::postgres::restore::{Loaded, Switched, Way};

/// What came of one database.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredDatabase {
    /// The source.
    pub source: String,
    /// What was loaded, and what the comparison found.
    pub loaded: Loaded,
    /// Where it was loaded.
    #[serde(skip)]
    pub way: Way,
    /// The schema that single tables were loaded into.
    #[serde(skip)]
    pub schema: Option<String>,
    /// The swap; absent if it did not come to it, or was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<Switched>,
    /// It was swapped in, and back again because another database of the restore could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched_back: Option<Switched>,
}

/// What a restore of databases did, as far as it came.
#[derive(Debug, Default)]
pub struct DatabaseOutcome {
    /// Database by database.
    pub databases: Vec<RestoredDatabase>,
    /// Phase by phase.
    pub phases: Vec<PhaseTime>,
    /// Why it ended early, if it did.
    pub ended: Option<Error>,
    /// Something was written, however it ended.
    pub wrote: bool,
    /// What a load that failed could not remove again.
    pub left: Vec<String>,
}

impl DatabaseOutcome {
    /// Whether all that was loaded is equal to the backup.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.databases.iter().all(|database| database.loaded.is_equal())
    }

    /// Whether nothing was left out, and nothing ended early.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ended.is_none() && self.databases.iter().all(|database| database.loaded.left_out.is_empty())
    }
}
