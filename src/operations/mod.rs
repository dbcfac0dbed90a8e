//! What drctl does: one file an operation. Operations join sources and the repository, decide, and
//! return values; they print nothing and read no arguments.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::types::{Clock, Monitor};

mod accept;
mod backup;
mod capture;
mod catalog;
mod databases;
mod doctor;
mod embedded;
mod error;
mod export;
mod judge;
mod repositories;
mod restore;
mod select;
mod sources;
mod verify;
mod whole;

pub use accept::accept;
pub use backup::{BackupOptions, BackupOutcome, backup};
pub use catalog::{Found, find, list};
pub use databases::{
    DatabaseOptions, DatabaseOutcome, DatabaseRestore, DatabaseUndo, LoadedDatabases, RestoredDatabase, find_kept,
    plan_undo,
};
pub use doctor::doctor;
pub use embedded::embedded_policy;
pub use error::Error;
pub use export::{Export, export};
pub use repositories::{initialise, open, open_at};
pub use restore::{ChosenSources, PhaseTime, Restore, RestoreOptions, RestoreOutcome, RestoredSource, choose_sources};
pub use select::{BackupRef, InvalidBackupRef};
pub use verify::verify;
pub use whole::{LaterDatabase, WholeOptions, WholeOutcome, WholeRestore, plan as plan_restore};

/// What every operation is given: who hears of its progress, what time it is, and when to stop.
#[derive(Debug, Clone)]
pub struct Run {
    /// Hears of the progress.
    pub monitor: Arc<dyn Monitor>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Set when the run is to stop (Ctrl-C, SIGTERM): what is finished is kept.
    pub cancel: CancellationToken,
}
