//! From a backup to a live database: plan, load and compare beside it, swap.
//!
//! [`plan`] reads the backup's documents and the server's catalogs and writes nothing. [`Restore::load`]
//! brings objects and rows into a new database and compares all of it with the backup; only what is
//! equal is [`Restore::switch`]ed into the live database's place, in two transactions that a crash
//! cannot leave half done unseen. [`undo`] is the way back, for as long as the old database is kept.

mod absent;
mod again;
mod analyze;
mod beside;
mod blocks;
mod build;
mod catalogs;
mod closed;
mod copy;
mod databases;
mod doubtful;
mod error;
mod found;
mod half_loaded;
mod heartbeat;
mod in_place;
mod journal;
mod kept;
mod large_objects;
mod left;
mod lost;
mod merge;
mod names;
mod of_extensions;
mod ownership;
mod pause;
mod plan;
mod planner;
mod preflight;
mod properties;
mod read_back;
mod reorder;
mod report;
mod rows;
mod seal;
mod selection;
mod sequences;
mod sessions;
mod settings;
mod since;
mod sql;
mod switch;
mod table_sql;
mod tables;
mod tablespace;
mod take_place;
mod twin;
mod undo;
mod work;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;

pub use databases::Database;
pub use error::RestoreError;
pub use journal::{Marker, Stage};
pub use kept::{Kept, kept};
pub use left::{Remains, remains, remains_beside};
pub use names::RestoreId;
pub use ownership::Ownership;
pub use plan::{Live, Plan, PlanOptions, Scope, Way};
pub use report::{Difference, LeftOut, Loaded, PhaseTime, Switched};
pub use undo::{Undoable, take_back, undo, undo_seen, undoable};

use super::{Error, Server, Session};
use crate::types::{BackupContents, Monitor};

/// What every step of a restore is given.
#[derive(Debug, Clone, Copy)]
pub struct RestoreContext<'a> {
    /// The server to restore into.
    pub server: &'a Server,
    /// The backup.
    pub contents: &'a dyn BackupContents,
    /// Who hears of the progress.
    pub monitor: &'a dyn Monitor,
    /// Set when the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// Plans the restore of one database. Nothing is written.
///
/// # Errors
/// [`RestoreError`] if the backup or the server cannot be read. What stands in the way of the restore is
/// in [`Plan::refusals`].
pub async fn plan(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    planner::make(context, options).await
}

/// A restore that has begun: no other restore of the same database runs on the server while it lives.
#[derive(Debug)]
pub struct Restore<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    /// Of a database beside: it holds the lock.
    session: Session,
    wrote: AtomicBool,
    stays: AtomicBool,
    /// What was compared, and what the server had counted of it, at the last look.
    looked: Mutex<Option<since::Brought>>,
}

impl<'a> Restore<'a> {
    /// Begins what `plan` says: takes the lock, and opens the live database again if an earlier run
    /// left it closed.
    ///
    /// # Errors
    /// [`RestoreError::Refused`] if the plan is not possible, [`RestoreError::Busy`], or the server's.
    pub async fn begin(context: RestoreContext<'a>, plan: &'a Plan) -> Result<Self, RestoreError> {
        if !plan.is_possible() {
            return Err(RestoreError::Refused { database: plan.database.clone(), reasons: plan.refusals.clone() });
        }
        let session = databases::beside(context.server, &plan.database).await?;
        sessions::call(&session, &plan.inner.id).await?;
        databases::lock(&session, &plan.database).await?;
        if matches!(plan.way, Way::Beside | Way::Create) && since::may_silence(&session).await? {
            context.server.without_event_triggers();
        }
        let traces = databases::traces(&session, &plan.database).await?;
        plan.is_of(traces.live.as_ref())?;
        let mended = switch::mend(&session, &traces).await?;
        let (wrote, stays) = (AtomicBool::new(mended.is_some()), AtomicBool::new(false));
        if let Some(mended) = mended.filter(|mended| mended.opened) {
            let database = mended.database;
            context.monitor.note(&format!("Database {database} was left closed by an earlier run and is open again."));
        }
        Ok(Self { context, plan, session, wrote, stays, looked: Mutex::default() })
    }

    /// Whether what is loaded takes a place at the end.
    #[must_use]
    pub fn swaps(&self) -> bool {
        self.plan.swaps()
    }

    /// Whether anything was written, also by a load that failed and has removed it again.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// What a load that failed has created and could not remove, for people.
    #[must_use]
    pub fn left_behind(&self) -> Option<String> {
        let (plan, stays) = (self.plan, self.stays.load(Ordering::Relaxed));
        stays.then(|| match (plan.way, &plan.schema) {
            (Way::Tables, Some(schema)) => format!("schema {schema} of database {}", plan.database),
            (Way::InPlace, _) => format!("what was loaded into database {}", plan.database),
            _ if !self.wrote.load(Ordering::Relaxed) => {
                format!("database {}, if the server has created it,", plan.loaded_database())
            }
            _ => format!("database {}", plan.loaded_database()),
        })
    }

    fn writes(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    fn leaves(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// Loads and compares. A database that is not equal to the backup is kept and named, and never
    /// swapped in.
    ///
    /// # Errors
    /// [`RestoreError`]; then what was created is gone again.
    pub async fn load(&self) -> Result<Loaded, RestoreError> {
        let into_live = async {
            match self.plan.way {
                Way::InPlace => self.load_in_place().await,
                _ => self.load_tables().await,
            }
        };
        match self.plan.way {
            Way::Beside | Way::Create if self.plan.kept => self.compare_again().await,
            Way::Beside | Way::Create => self.load_beside().await,
            Way::InPlace | Way::Tables => tokio::select! {
                loaded = into_live => loaded,
                () = self.keep() => Err(RestoreError::Interrupted),
            },
        }
    }

    /// Keeps the lock's session alive for as long as this is polled: it never ends.
    pub async fn keep(&self) {
        heartbeat::keep(&self.session).await;
    }
}

/// The seconds of a phase, and the beginning of the next.
#[derive(Debug)]
struct Phases {
    began: Instant,
    done: Vec<PhaseTime>,
}

impl Phases {
    fn begin() -> Self {
        Self { began: Instant::now(), done: Vec::new() }
    }

    fn end(&mut self, phase: &'static str) {
        self.end_at(phase, Instant::now());
    }

    /// One that has ended before.
    fn end_at(&mut self, phase: &'static str, at: Instant) {
        self.done.push(PhaseTime { phase, seconds: at.saturating_duration_since(self.began).as_secs_f64() });
        self.began = at;
    }
}

/// A [`loading_session`] of a database in which others may hold locks: it waits for none of them for ever.
async fn live_session(server: &Server, database: &str) -> Result<Session, Error> {
    let session = loading_session(server, database).await?;
    session.run("begin a session", "SET lock_timeout TO '10s'").await?;
    Ok(session)
}

/// A session that rows go through: nothing that the target's roles say changes what is loaded.
async fn loading_session(server: &Server, database: &str) -> Result<Session, Error> {
    let session = server.connect_to(database, "restore").await?;
    let settings = "SET default_transaction_read_only TO off; SET synchronous_commit TO off";
    session.run("begin a session", settings).await?;
    Ok(session)
}
