//! From a backup to a live database: plan, load and compare beside it, swap.
//!
//! [`plan`] reads the backup's documents and the server's catalogs and writes nothing. [`Restore::load`]
//! brings objects and rows into a new database and compares all of it with the backup; only what is
//! equal is [`Restore::switch`]ed into the live database's place, in two transactions that a crash
//! cannot leave half done unseen. [`undo`] is the way back, for as long as the old database is kept.

mod absent;
mod beside;
mod build;
mod catalogs;
mod copy;
mod databases;
mod error;
mod in_place;
mod journal;
mod large_objects;
mod names;
mod ownership;
mod pause;
mod plan;
mod planner;
mod preflight;
mod properties;
mod report;
mod rows;
mod selection;
mod sequences;
mod sql;
mod switch;
mod tables;
mod work;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use databases::Database;
pub use error::RestoreError;
pub use journal::{Marker, Stage};
pub use names::RestoreId;
pub use ownership::Ownership;
pub use plan::{Live, Plan, PlanOptions, Scope, Way};
pub use report::{Difference, LeftOut, Loaded, PhaseTime, Switched};

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
        databases::lock(&session, &plan.database).await?;
        let traces = databases::traces(&session, &plan.database).await?;
        let mended = switch::mend(&session, &traces).await?;
        let (wrote, stays) = (AtomicBool::new(mended.is_some()), AtomicBool::new(false));
        if let Some(mended) = mended {
            context.monitor.note(&format!("Database {mended} was left closed by an earlier run and is open again."));
        }
        Ok(Self { context, plan, session, wrote, stays })
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
        match self.plan.way {
            Way::Beside | Way::Create => self.load_beside().await,
            Way::InPlace => self.load_in_place().await,
            Way::Tables => self.load_tables().await,
        }
    }

    /// Puts what [`Self::load`] has loaded in the live database's place.
    ///
    /// # Errors
    /// [`RestoreError`]; then the live database is as it was, or the next run says what is to be mended.
    pub async fn switch(&mut self) -> Result<Switched, RestoreError> {
        let scratch = self.plan.loaded_database();
        if self.session.is_closed() {
            self.session = databases::beside(self.context.server, &self.plan.database).await?;
            databases::lock(&self.session, &self.plan.database).await?;
        }
        pause::at(pause::Point::Ready).await;
        if self.context.cancel.is_cancelled() {
            return Err(RestoreError::Interrupted);
        }
        let before = self.plan.inner.id.before(&self.plan.database);
        if self.plan.way == Way::Create && databases::traces(&self.session, &self.plan.database).await?.live.is_some() {
            let why = format!("database {} exists by now; the restored one is {scratch}", self.plan.database);
            return Err(RestoreError::Refused { database: self.plan.database.clone(), reasons: vec![why] });
        }
        switch::switch(&self.session, scratch, &before, self.plan.inner.document.comment.clone()).await
    }
}

/// What stands at the place of a database, for a person who wants to go back.
#[derive(Debug, Clone)]
pub struct Undoable {
    /// The database whose place is at stake.
    pub database: String,
    /// The server, host and port.
    pub server: String,
    /// A swap did not end, and left the live database closed: to open it again is all there is to do.
    pub closed: bool,
    /// What was live before the newest restore, and the restore.
    pub before: Option<(String, Marker)>,
    /// Object ids of the live database and of the one before, which no rename changes.
    pair: (Option<u32>, Option<u32>),
}

/// Looks for what [`undo`] would do. Nothing is written.
///
/// # Errors
/// [`RestoreError::Refused`] if the database that says it was live before is not to be trusted, or
/// the server's.
pub async fn undoable(server: &Server, database: &str) -> Result<Undoable, RestoreError> {
    let session = databases::beside(server, database).await?;
    let traces = databases::traces(&session, database).await?;
    seen(server, database, &traces)
}

fn seen(server: &Server, database: &str, traces: &databases::Traces) -> Result<Undoable, RestoreError> {
    let was_switching = traces.unended.as_ref().is_some_and(|(_, marker)| marker.stage == Stage::Switching);
    let closed = was_switching && traces.live.is_some();
    let before = if closed { None } else { switch::candidate(traces, database)? };
    Ok(Undoable {
        database: database.to_owned(),
        server: server.shown(),
        closed,
        before: before.map(|(database, marker)| (database.name.clone(), marker.clone())),
        pair: (traces.live.as_ref().map(|live| live.oid), before.map(|(database, _)| database.oid)),
    })
}

/// Puts the database that was live before the newest restore back in its place; or, if a swap did not
/// end, only opens the live database again. The restored database is kept under another name.
///
/// # Errors
/// [`RestoreError::NothingToUndo`], [`RestoreError::Busy`], or the server's.
pub async fn undo(server: &Server, database: &str, now: Timestamp) -> Result<Switched, RestoreError> {
    undo_seen(&undoable(server, database).await?, server, now).await
}

/// [`undo`] of exactly what was `shown` to a person before.
///
/// # Errors
/// As [`undo`], and [`RestoreError::Refused`] if other databases are in their places by now.
pub async fn undo_seen(shown: &Undoable, server: &Server, now: Timestamp) -> Result<Switched, RestoreError> {
    let database = shown.database.as_str();
    let session = databases::beside(server, database).await?;
    databases::lock(&session, database).await?;
    let mut traces = databases::traces(&session, database).await?;
    let found = seen(server, database, &traces)?;
    if (found.closed, found.pair) != (shown.closed, shown.pair) {
        let why = "the databases changed since the question; nothing was changed: run it again".to_owned();
        return Err(RestoreError::Refused { database: database.to_owned(), reasons: vec![why] });
    }
    let began = Instant::now();
    if let Some(mended) = switch::mend(&session, &traces).await? {
        if found.closed {
            // The old database never left its place: to open it was the way back.
            let seconds = began.elapsed().as_secs_f64();
            return Ok(Switched { database: mended, before: None, drop: None, ended_sessions: 0, seconds });
        }
        traces = databases::traces(&session, database).await?;
    }
    let before = switch::candidate(&traces, database)?.filter(|(before, _)| Some(before.oid) == shown.pair.1);
    let undone = RestoreId::new(now).undone(database);
    switch::undo(&session, traces.live.as_ref(), before.ok_or(RestoreError::NothingToUndo)?, &undone).await
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
        let now = Instant::now();
        self.done.push(PhaseTime { phase, seconds: (now - self.began).as_secs_f64() });
        self.began = now;
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
