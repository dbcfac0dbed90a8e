//! What drctl does: one file an operation. Operations join sources and the repository, decide, and
//! return values; they print nothing and read no arguments.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::types::{Clock, Monitor};

mod accept;
mod asked;
mod backup;
mod capture;
mod catalog;
mod databases;
mod diff;
mod doctor;
mod embedded;
mod error;
mod export;
mod export_objects;
mod history;
mod judge;
mod objects;
mod rbac;
mod repositories;
mod restore;
mod restored;
mod saved_plan;
mod select;
mod sources;
mod verify;
mod whole;

pub use accept::accept;
pub use asked::AskedRestore;
pub use backup::{BackupOptions, BackupOutcome, backup};
pub use catalog::{Found, PassedOver, find, list};
pub use databases::{DatabaseOptions, DatabaseRestore, DatabaseUndo, LoadedDatabases, find_kept, plan_undo};
pub use diff::{ChangedField, DiffItem, DiffKind, DiffOptions, DiffSubject, DiffTotals, diff};
pub use doctor::{Advise, Diagnosis, Expected, doctor};
pub use embedded::embedded_policy;
pub use error::Error;
pub use export::{Export, export};
pub use export_objects::{ObjectExport, export_objects, kind_of_source};
pub use history::{HistoryItem, HistoryOptions, HistoryTotals, Step, history};
pub use objects::{BackupObjects, Located, objects};
pub use rbac::{Rbac, RbacOptions, rbac, rbac_of_cluster};
pub use repositories::{initialise, open, open_at};
pub use restore::{ChosenSources, PhaseTime, Restore, RestoreOptions, RestoreOutcome, RestoredSource, choose_sources};
pub use restored::{DatabaseOutcome, RestoredDatabase};
pub use saved_plan::{PlanFile, PlanTotals, SavedAsked, SavedEnd, SavedModifiers, SavedOptions, SavedPlan, save_plan};
pub use select::{BackupRef, InvalidBackupRef};
pub use verify::{Verification, verified, verify};
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
