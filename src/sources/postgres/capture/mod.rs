//! From a database into a backup.
//!
//! A leader session locks and takes the snapshot, a watchdog looks out for who waits for it, one
//! `pg_dump` reads under that snapshot. A relay between it and the server takes the rows; the rest is taken out of its
//! archive as it comes.

mod catalog;
mod child;
mod complaints;
mod counted;
mod cutting;
mod doctor;
mod documents;
mod dump;
mod failure;
mod lacking;
mod leader;
mod obstacles;
mod relay;
mod replies;
mod report;
mod selection;
mod sql;
mod take;
mod watchdog;
mod writer;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use crate::types::InvalidPattern;
use async_trait::async_trait;
pub use doctor::DatabaseIdentity;
pub use failure::{Failure, Peer};
pub use selection::Selection;

use self::{
    catalog::{Facts, LargeObjects, Relation},
    child::Tools,
    leader::{Hold, LOCK_WAIT, NoHold},
    watchdog::{ENDED, Verdict},
    writer::Writer,
};
use super::{Error, Server};
use crate::{
    sources::{CaptureContext, CaptureError, CaptureReport, PreparedSource, Source},
    types::{Moment, Name},
};

/// How often a capture is begun.
const TRIES: u32 = 3;
/// Who waits for us so long, for that one we give way.
const PATIENCE: Duration = Duration::from_secs(60);
/// A transaction that has been open so long is in the way of vacuum and of changes, and perhaps forgotten.
const OLD: Duration = Duration::from_secs(3600);

/// One PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    name: Name,
    server: Server,
    selection: Selection,
    patience: Duration,
    /// How long a transaction is open when it is old.
    old: Duration,
    /// What proves the passwords of roles is taken, too.
    passwords: bool,
    /// The client programs, once they were found.
    tools: Arc<Mutex<Option<Tools>>>,
}

impl PostgresSource {
    /// The source `name` of the policy: what `selection` takes of the database at `server`.
    #[must_use]
    pub fn new(name: Name, server: Server, selection: Selection) -> Self {
        Self { name, server, selection, patience: PATIENCE, old: OLD, passwords: false, tools: Arc::default() }
    }

    /// The same, but that it gives way to who has waited so long (60 s otherwise).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, but that [`PostgresSource::examine`] names transactions that have been open so long (1 h otherwise).
    #[must_use]
    pub fn with_old_transactions(self, old: Duration) -> Self {
        Self { old, ..self }
    }

    /// The same, but that what proves the roles' passwords is taken as well, where the server shows it, which is to
    /// superusers. Only for what is stored encrypted.
    #[must_use]
    pub fn with_passwords(self, passwords: bool) -> Self {
        Self { passwords, ..self }
    }

    /// Tries what a backup needs before anything is stored: the server, the client programs, the privileges.
    ///
    /// # Errors
    /// [`Error`] names what is in the way.
    pub async fn reach(&self) -> Result<(), Error> {
        self.survey().await.map(drop)
    }

    /// Looks at what is known before anything is locked, and refuses what cannot go well.
    async fn survey(&self) -> Result<Survey, Error> {
        let session = catalog::connect(&self.server, "survey").await?;
        let failed = |error: &tokio_postgres::Error| session.failed("read the catalogs", error);
        let facts = catalog::facts(session.client()).await.map_err(|error| failed(&error))?;
        let tools = self.tools(facts.major).await?;
        let counts =
            catalog::pattern_counts(session.client(), &self.selection).await.map_err(|error| failed(&error))?;
        if counts.has_no_schema() {
            let patterns: Vec<String> = self.selection.schemas.iter().map(|pattern| pattern.text.clone()).collect();
            return Err(failed_capture(&self.server, Failure::NoSchema(failure::some_of(&patterns))));
        }
        let objects = catalog::large_objects(session.client()).await.map_err(|error| failed(&error))?;
        let relations = catalog::relations(session.client(), &self.selection).await.map_err(|error| failed(&error))?;
        self.refuse(&facts.role, &relations)?;
        let (number, encoding) = (session.version.number, session.encoding.clone());
        session.close().await;
        Ok(Survey { facts, number, encoding, tools, objects })
    }

    /// The client programs of `major`: looked for once, however often the database is surveyed.
    async fn tools(&self, major: u32) -> Result<Tools, Error> {
        let known = self.tools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tools) = known.filter(|tools| tools.pg_dump.major == major) {
            return Ok(tools);
        }
        let found = Tools::find(major).await?;
        *self.tools.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    /// Locks and takes the snapshot; `tries` counts how often that, or a capture, was begun.
    async fn hold(&self, survey: &Survey, tries: &mut u32) -> Result<Hold, Error> {
        loop {
            *tries += 1;
            let (why, failure) = match Hold::take(&self.server, &self.selection, self.patience).await {
                Ok(hold) => {
                    self.refuse(&survey.facts.role, &hold.relations)?;
                    return Ok(hold);
                }
                Err(NoHold::Failed(error)) => return Err(error),
                Err(NoHold::Locked(holder)) => {
                    let why = holder.to_string();
                    (why, Failure::Locked { tries: *tries, seconds: LOCK_WAIT.as_secs(), holder })
                }
                Err(NoHold::GaveWay(waiter)) => (waiter.to_string(), self.gave_way(waiter, *tries)),
            };
            if *tries >= TRIES {
                return Err(failed_capture(&self.server, failure));
            }
            tracing::warn!(source = %self.name, session = %why, tries = *tries, "the tables could not be locked; trying again");
            tokio::time::sleep(self.pause(*tries)).await;
        }
    }

    /// The time that others get before the next try.
    fn pause(&self, tries: u32) -> Duration {
        self.patience * tries / 2
    }

    fn gave_way(&self, waiter: Peer, tries: u32) -> Failure {
        Failure::GaveWay { waiter, seconds: self.patience.as_secs(), tries }
    }

    /// What the role cannot read, `pg_dump` would fail at: better named all at once.
    fn refuse(&self, role: &str, relations: &[Relation]) -> Result<(), Error> {
        let role = role.to_owned();
        let unreadable = leader::unreadable(relations);
        if !unreadable.is_empty() {
            let list = failure::some_of(&unreadable);
            return Err(failed_capture(&self.server, Failure::Unreadable { role, list }));
        }
        let hidden = leader::hidden(relations);
        if !hidden.is_empty() {
            let list = failure::some_of(&hidden);
            return Err(failed_capture(&self.server, Failure::RowSecurity { role, list }));
        }
        Ok(())
    }
}

/// What is known of a database before it is locked.
#[derive(Debug)]
struct Survey {
    facts: Facts,
    number: u32,
    encoding: String,
    tools: Tools,
    objects: LargeObjects,
}

impl Survey {
    /// `pg_dump` can leave out all large objects, or none.
    fn takes_large_objects(&self) -> bool {
        self.objects.unreadable == 0
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn name(&self) -> &Name {
        &self.name
    }

    async fn prepare(&self, context: CaptureContext<'_>) -> Result<Box<dyn PreparedSource>, CaptureError> {
        let work = async {
            let survey = self.survey().await?;
            let mut tries = 0;
            let hold = self.hold(&survey, &mut tries).await?;
            let prepared = Prepared { source: self.clone(), survey, hold, tries };
            Ok(Box::new(prepared) as Box<dyn PreparedSource>)
        };
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(CaptureError::Interrupted),
            prepared = work => prepared,
        }
    }
}

/// A database that is locked, and whose snapshot is taken.
#[derive(Debug)]
struct Prepared {
    source: PostgresSource,
    survey: Survey,
    hold: Hold,
    tries: u32,
}

/// Why a try did not end with a capture.
enum Ended {
    /// Somebody waited for us.
    GaveWay(Peer),
    /// A table was rewritten between the snapshot and the lock.
    Changed,
    /// It would be of no use to try again.
    Failed(CaptureError),
}

impl<E: Into<CaptureError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

#[async_trait]
impl PreparedSource for Prepared {
    fn moment(&self) -> Option<Moment> {
        Some(self.hold.moment.clone())
    }

    async fn capture(mut self: Box<Self>, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        loop {
            let ended = match self.once(context).await {
                Ok(report) => return Ok(report),
                Err(ended) => ended,
            };
            context.sink.abandon(&self.source.name).await;
            let failure = match ended {
                Ended::Failed(error) => return Err(error),
                Ended::GaveWay(waiter) => {
                    context
                        .monitor
                        .note(&format!("source {}: {waiter} waited for the backup, which gave way", self.source.name));
                    self.source.gave_way(waiter, self.tries)
                }
                Ended::Changed => Failure::Changing { tries: self.tries },
            };
            if self.tries >= TRIES {
                return Err(failed_capture(&self.source.server, failure).into());
            }
            let pause = self.source.pause(self.tries);
            let begin_again = async {
                tokio::time::sleep(pause).await;
                self.source.hold(&self.survey, &mut self.tries).await
            };
            self.hold = tokio::select! {
                biased;
                () = context.cancel.cancelled() => return Err(CaptureError::Interrupted),
                hold = begin_again => hold?,
            };
        }
    }
}

impl Prepared {
    /// One try, with the locks and the snapshot that are held now.
    async fn once(&mut self, context: CaptureContext<'_>) -> Result<CaptureReport, Ended> {
        let Self { source, survey, hold, .. } = self;
        context.monitor.phase(&format!("reading {}", source.name), "MiB", None);
        let mut writer = Writer::new(context, &source.name);
        let work = async {
            let dumped = dump::dump(source, survey, hold, &mut writer).await?;
            sql::write(&survey.tools, &dumped.split.toc, &mut writer).await?;
            let report = report::finish(source, survey, hold, &dumped, &mut writer).await?;
            // The last thing: up to here nothing has torn the snapshot.
            hold.is_held().await?;
            Ok(report)
        };
        let outcome = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(Ended::Failed(CaptureError::Interrupted)),
            outcome = work => outcome,
            verdict = hold.watchdog.ended() => Err(source.end_of(verdict)),
        };
        if matches!(hold.watchdog.verdict(), Verdict::GaveWay(_)) {
            hold.watchdog.is_through().await;
        }
        let outcome = match outcome {
            Ok(_) if hold.watchdog.is_blind() => Err(source.end_of(Verdict::WatchLost(ENDED.to_owned()))),
            outcome => outcome,
        };
        // What has gone wrong with a session is often only the consequence of what the watchdog knows.
        outcome.map_err(|ended| match hold.watchdog.verdict() {
            Verdict::Fine if hold.session().is_closed() => source.end_of(Verdict::LeaderLost(ENDED.to_owned())),
            Verdict::Fine => ended,
            verdict => source.end_of(verdict),
        })
    }
}

impl PostgresSource {
    fn end_of(&self, verdict: Verdict) -> Ended {
        let failure = match verdict {
            Verdict::GaveWay(waiter) => return Ended::GaveWay(waiter),
            Verdict::LeaderLost(reason) => Failure::LeaderLost(reason),
            Verdict::WatchLost(reason) => Failure::WatchLost(reason),
            Verdict::Fine => Failure::WatchLost("it ended without a reason".to_owned()),
        };
        Ended::Failed(failed_capture(&self.server, failure).into())
    }
}

/// The error of a database that was not captured.
#[must_use]
pub fn failed_capture(server: &Server, failure: Failure) -> Error {
    Error::Capture { database: server.url().database.clone(), server: server.shown(), source: Box::new(failure) }
}
