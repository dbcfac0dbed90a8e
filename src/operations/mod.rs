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
mod chosen;
mod collections;
mod copy;
mod databases;
mod diff;
mod doctor;
mod embedded;
mod error;
mod export;
mod export_mongodb;
mod export_objects;
mod history;
mod judge;
mod keys;
mod mongodb;
mod objects;
mod plan_warning;
mod prune;
mod rbac;
mod repositories;
mod restore;
mod restored;
mod saved_plan;
mod select;
mod sources;
#[cfg(test)]
mod tests;
mod verify;
mod whole;

pub use accept::accept;
pub use asked::AskedRestore;
pub use backup::{BackupOptions, BackupOutcome, backup};
pub use catalog::{Found, PassedOver, find, list};
pub use chosen::{ChosenSources, choose_sources};
pub use collections::{CollectionOptions, CollectionOutcome, CollectionRestore};
pub use copy::{CopiedBackup, Copies, CopyAsked, CopyError, CopyFate, CopyPlace, Originals, WhichBackups, copy};
pub use databases::{DatabaseOptions, DatabaseRestore, DatabaseUndo, LoadedDatabases, find_kept, plan_undo};
pub use diff::{ChangedField, DiffItem, DiffKind, DiffOptions, DiffSubject, DiffTotals, diff};
pub use doctor::{Advise, Diagnosis, Expected, doctor};
pub use embedded::embedded_policy;
pub use error::Error;
pub use export::{Export, export};
pub use export_mongodb::{MongodbExport, export_mongodb};
pub use export_objects::{ObjectExport, export_objects, kind_of_source};
pub use history::{HistoryItem, HistoryOptions, HistoryTotals, Step, history};
pub use keys::{KeyOptions, NewKeys, add_recipient, begin_epoch, initialise, new_epoch, new_keys, refuse_taken};
pub use objects::{BackupObjects, Located, objects};
pub use plan_warning::PlanWarning;
pub use prune::{
    Fate, MarkedBackup, PlannedBackup, PruneAsked, PrunePlan, delete_backup, pin, plan_prune, prune, undo_delete, unpin,
};
pub use rbac::{Rbac, RbacOptions, rbac, rbac_of_cluster};
pub use repositories::{open, open_as_of, open_at, open_at_as_of, open_of};
pub use restore::{PhaseTime, Restore, RestoreOptions, RestoreOutcome, RestoredSource};
pub use restored::{DatabaseOutcome, RestoredDatabase};
pub use saved_plan::{PlanFile, PlanTotals, SavedAsked, SavedEnd, SavedModifiers, SavedOptions, SavedPlan, save_plan};
pub use select::{BackupRef, InvalidBackupRef, parse_moment};
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
