//! What drctl does: one file an operation. Operations join sources and the repository, decide, and
//! return values; they print nothing and read no arguments.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::types::{Clock, Monitor};

mod accept;
mod backup;
mod catalog;
mod error;
mod history;
mod judge;
mod repositories;
mod restore;
mod select;
mod summary;
mod verify;

pub use accept::{AcceptOutcome, accept};
pub use backup::{BackupOptions, BackupOutcome, backup};
pub use catalog::{ListedBackup, find, list};
pub use error::Error;
pub use repositories::{Secrets, initialise, open};
pub use restore::{
    ComparedSource, PlannedSource, Restore, RestoreOptions, RestoreOutcome, RestorePhase, plan as plan_restore,
};
pub use select::{BackupRef, InvalidBackupRef};
pub use verify::{VerifyOptions, verify};

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
