//! What a restore of a database will do: a value that shows itself and serialises. Making it writes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::{
        archive::Toc,
        contents::{self, Database as Document},
        tools::Tool,
    },
    copy::Load,
    names::RestoreId,
    ownership::Ownership,
    report::LeftOut,
    selection::Selection,
};
use crate::types::Name;

/// Where the restored data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// Into a new database beside the live one, which it then takes the place of.
    #[default]
    Beside,
    /// Into a new database that takes a name which no database has.
    Create,
    /// Into the live database, which must be empty and in nobody's use.
    InPlace,
    /// Single tables, into a schema of their own in the live database.
    Tables,
}

/// How much of the backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Objects and rows.
    #[default]
    All,
    /// Objects without rows.
    Schema,
    /// Rows into tables that are there and empty.
    Data,
}

/// What the command line says about the restore of a database.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The backup's identifier.
    pub backup: String,
    /// The source in the backup.
    pub source: Name,
    /// The database whose place is at stake; absent: the one that the server's address names.
    pub database: Option<String>,
    /// Where the data goes.
    pub way: Way,
    /// How much of it.
    pub scope: Scope,
    /// Only these tables, as `show` names them; for [`Way::Tables`].
    pub tables: Vec<String>,
    /// To whom it belongs.
    pub ownership: Ownership,
    /// What has rows may be left out where the target cannot take it, or where the backup never held it.
    pub leave_out: bool,
    /// The restored database stays beside the live one, which keeps its place.
    pub no_switch: bool,
    /// Sessions that load and build side by side; absent: as many as there are processors, 8 at most.
    pub jobs: Option<usize>,
    /// The present time, which names are made of.
    pub now: Timestamp,
    /// The restore that this is a part of; absent: one of its own.
    pub id: Option<RestoreId>,
    /// The restore `id` has loaded it already and left it beside: it is compared again, and nothing is loaded.
    pub kept: bool,
    /// The live database may hold nothing: it came up with this restore, and nobody has agreed to lose what is in it.
    pub over_empty: bool,
}

/// The live database as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Its size in bytes, where this role may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its owner.
    pub owner: String,
    /// Its encoding.
    pub encoding: String,
    /// Sessions in it.
    pub sessions: u64,
}

/// What a restore of one database will do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DatabasePlan")]
pub struct Plan {
    /// The backup's identifier.
    pub backup: String,
    /// The source in the backup.
    pub source: String,
    /// The server, host and port.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// The role that it is restored as.
    pub role: String,
    /// The version of the server that the backup was taken of.
    pub backup_version: String,
    /// When the snapshot was taken.
    pub snapshot: Timestamp,
    /// The database whose place is at stake.
    pub database: String,
    /// The database that was backed up.
    pub original: String,
    /// Where the data goes.
    pub way: Way,
    /// How much of it.
    pub scope: Scope,
    /// The database that is created and loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<String>,
    /// What the live database is called after the swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The schema that single tables are restored into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The live database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// To whom objects will belong.
    pub ownership: Ownership,
    /// Tables that are loaded.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Large objects that are loaded.
    pub large_objects: u64,
    /// Plain bytes of both; on the server they take more, with their indexes.
    pub bytes: u64,
    /// About how many bytes they will take on the server, without indexes and write-ahead log.
    pub needs: u64,
    /// Entries of the archive that are made.
    pub objects: u64,
    /// What is left out, by name.
    pub left_out: Vec<LeftOut>,
    /// Why it cannot be done; empty: it can.
    pub refusals: Vec<String>,
    /// What a person should know before.
    pub warnings: Vec<String>,
    /// Databases of earlier runs that ended before their swap, which are dropped first unless somebody uses them by then.
    pub dropped: Vec<String>,
    /// An earlier restore has loaded it and left it beside: it is only compared again.
    pub kept: bool,
    #[serde(skip)]
    pub(super) inner: Arc<Inner>,
}

/// What the plan is executed from.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) id: RestoreId,
    /// What the server is known by, wherever it is reached, if the role may ask.
    pub(super) system: Option<String>,
    /// The object id of the live database, which no rename changes.
    pub(super) live: Option<u32>,
    pub(super) toc: Toc,
    pub(super) document: Document,
    pub(super) loads: Vec<Load>,
    /// Places of the streams with large objects.
    pub(super) objects: Vec<usize>,
    pub(super) selection: Selection,
    pub(super) pg_restore: Option<Tool>,
    pub(super) pg_dump: Option<Tool>,
    pub(super) jobs: usize,
    pub(super) no_tablespaces: bool,
    /// The tablespace of the database that is created; absent: the server's default one.
    pub(super) tablespace: Option<String>,
    pub(super) target_major: u32,
}

impl Plan {
    /// Whether it can be done.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Whether the live database changes its name at the end.
    #[must_use]
    pub fn swaps(&self) -> bool {
        matches!(self.way, Way::Beside | Way::Create)
    }

    /// Whether both are about one database: the same server, however it is reached, and the same name.
    #[must_use]
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        let same_server = match (&self.inner.system, &other.inner.system) {
            (Some(one), Some(other)) => one == other,
            _ => self.server == other.server,
        };
        same_server && self.database == other.database
    }

    /// The database that rows are loaded into.
    #[must_use]
    pub fn loaded_database(&self) -> &str {
        self.scratch.as_deref().unwrap_or(&self.database)
    }

    pub(super) fn sequences(&self) -> &[contents::Sequence] {
        &self.inner.document.sequences
    }
}
