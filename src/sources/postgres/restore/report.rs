//! What a restore of a database did.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::quote::readable;

/// One thing of the restored database that is not as in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What: `table public.orders`, `sequence public.orders_id_seq`, `INDEX public orders_pkey`.
    pub what: String,
    /// How it differs.
    pub how: String,
}

/// Something that the target cannot take, or was not to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// What: `EXTENSION postgis`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DatabasePhase")]
pub struct PhaseTime {
    /// `create`, `load` (with the comparison of rows beside it), `build`, `catalogs`, `analyze`, `switch`.
    pub phase: &'static str,
    /// Wall time.
    pub seconds: f64,
}

/// What was loaded, and what the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Loaded {
    /// The database that holds it now.
    pub database: String,
    /// Tables whose rows were loaded.
    pub tables: u64,
    /// Rows that were loaded.
    pub rows: u64,
    /// Plain bytes that were loaded, large objects too.
    pub bytes: u64,
    /// Large objects that were loaded.
    pub large_objects: u64,
    /// Tables whose rows were read back and compared by count and digest.
    pub compared_tables: u64,
    /// Large objects that were read back and compared.
    pub compared_large_objects: u64,
    /// Sequences that were compared.
    pub compared_sequences: u64,
    /// Entries of the archive that were looked for in the restored catalogs.
    pub compared_objects: u64,
    /// What is not as in the backup. Nothing that differs is ever swapped in.
    pub differences: Vec<Difference>,
    /// What was left out, by name.
    pub left_out: Vec<LeftOut>,
    /// What is worth a line.
    pub notes: Vec<String>,
    /// SQL that merges single tables into the live ones; nothing has run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<String>,
    /// How long each phase took, in order.
    pub phases: Vec<PhaseTime>,
}

impl Loaded {
    /// Whether all that was loaded is equal to the backup.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

impl Switched {
    /// The statement that lets connections in again, if the database takes none.
    #[must_use]
    pub fn opens(&self) -> Option<String> {
        self.closed.then(|| format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", readable(&self.database)))
    }

    /// A swap that is known only by its outcome.
    pub(super) fn known(database: &str, before: Option<&str>) -> Self {
        Self {
            database: database.to_owned(),
            before: before.map(str::to_owned),
            drop: before.map(|before| format!("DROP DATABASE {};", readable(before))),
            ended_sessions: 0,
            seconds: 0.0,
            closed: false,
            kept_as: None,
        }
    }
}

/// Two databases changed their names.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Switched {
    /// The name that the restored database (or, on the way back, the one before) has now.
    pub database: String,
    /// What the other one is called now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The statement that removes it, once it is no longer wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// Sessions of the live database that were ended.
    pub ended_sessions: u64,
    /// How long the name could not be connected to.
    pub seconds: f64,
    /// It takes no connections: somebody had closed the one before, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// What it was called while it was kept, if nothing was in its place when it came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}
