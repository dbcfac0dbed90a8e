//! From a database into a backup.
//!
//! The collections are listed, read one after the other, and listed again: what is stored is of collections that stayed
//! what they were. Under `snapshot` all reads are of one moment that the server keeps; under `none` each sees what is
//! there when it comes, and the backup says so.

mod collection;
mod doctor;
mod failure;
pub(super) mod listing;
mod moment;
mod report;
mod selection;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use mongodb_driver::{
    ClientSession,
    bson::{self, Document, doc},
    options::SessionOptions,
};

pub use failure::Failure;
use selection::Choice;
pub use selection::Selection;

use self::collection::{Ended, Taken};
use super::{
    Error, Server, Session,
    accounts::{self, Account},
    contents::stream_names,
    definition::{Definition, Kind, changes},
};
use crate::{
    sources::{CaptureContext, CaptureError, CaptureReport, PreparedSource, Source},
    types::{Moment, Name},
};

/// How often the stream of a collection is begun.
const TRIES: u32 = 3;
/// How often the server is told that a session is in use: it forgets one after 30 minutes.
const HEARTBEAT: Duration = Duration::from_secs(300);

/// Whether all collections are read as they were at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// They are.
    #[default]
    Snapshot,
    /// They are not.
    None,
}

impl Consistency {
    /// As a policy and a manifest say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::None => "none",
        }
    }
}

/// One MongoDB database.
#[derive(Debug, Clone)]
pub struct MongodbSource {
    name: Name,
    server: Server,
    selection: Selection,
    consistency: Consistency,
}

impl MongodbSource {
    /// The source `name` of the policy: what `selection` takes of the database at `server`.
    #[must_use]
    pub fn new(name: Name, server: Server, selection: Selection, consistency: Consistency) -> Self {
        Self { name, server, selection, consistency }
    }

    /// Tries what a backup needs before anything is stored.
    ///
    /// # Errors
    /// [`Error`] names what is in the way.
    pub async fn reach(&self) -> Result<(), Error> {
        let session = self.session().await?;
        listing::list(&session).await?;
        if self.selection.users {
            accounts::list(&session).await?;
        }
        Ok(())
    }

    /// A session of a server that can be read as the policy wants it.
    async fn session(&self) -> Result<Session, Error> {
        let session = self.server.connect().await?;
        if self.consistency == Consistency::Snapshot && session.facts.replica_set.is_none() {
            return Err(Error::Standalone { server: self.server.shown() });
        }
        Ok(session)
    }

    async fn prepare(&self) -> Result<Prepared, Error> {
        let session = self.session().await?;
        let listed = listing::list(&session).await?;
        let from = session.facts.time;
        let accounts = match self.selection.users {
            true => Some(accounts::list(&session).await?),
            false => None,
        };
        let since = session.cluster_time().await?;
        let plain = begin(&session, Way::Since(since)).await?;
        let mut prepared = Prepared {
            source: self.clone(),
            session,
            listed,
            reads: Reads { plain, snapshot: None },
            from,
            since,
            moment: None,
            fixed: None,
            accounts,
        };
        if self.consistency == Consistency::Snapshot {
            prepared.fix().await?;
        }
        Ok(prepared)
    }
}

/// How a session reads.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// All at one moment: this one, or the one that the server chooses.
    Moment(Option<bson::Timestamp>),
    /// What is there, at this time or later: a member that lags behind is waited for.
    Since(Option<bson::Timestamp>),
}

/// Begins a session for reads.
async fn begin(session: &Session, way: Way) -> Result<ClientSession, Error> {
    let options = match way {
        Way::Moment(Some(at)) => SessionOptions::builder().snapshot(true).snapshot_time(at).build(),
        Way::Moment(None) => SessionOptions::builder().snapshot(true).build(),
        Way::Since(since) => SessionOptions::builder().causal_consistency(since.is_some()).build(),
    };
    let begun = session.client.start_session().with_options(options).await;
    let mut begun = begun.map_err(|error| session.server().failed("begin a session", &error))?;
    if let Way::Since(Some(since)) = way {
        begun.advance_operation_time(since);
    }
    Ok(begun)
}

/// The error of a database that was not captured.
pub(super) fn failed_capture(server: &Server, failure: Failure) -> Error {
    Error::Capture {
        database: crate::types::for_terminal(server.database()).into_owned(),
        server: server.shown(),
        source: Box::new(failure),
    }
}

#[async_trait]
impl Source for MongodbSource {
    fn name(&self) -> &Name {
        &self.name
    }

    async fn prepare(&self, context: CaptureContext<'_>) -> Result<Box<dyn PreparedSource>, CaptureError> {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(CaptureError::Interrupted),
            prepared = Self::prepare(self) => Ok(Box::new(prepared?) as Box<dyn PreparedSource>),
        }
    }
}

/// A database whose moment is fixed, if it has one.
#[derive(Debug)]
struct Prepared {
    source: MongodbSource,
    session: Session,
    listed: Vec<Definition>,
    reads: Reads,
    from: Timestamp,
    /// A time of the replica set after all that is listed.
    since: Option<bson::Timestamp>,
    moment: Option<Moment>,
    /// When that was, by this machine's clock.
    fixed: Option<Instant>,
    /// Users and roles, if they are asked for.
    accounts: Option<Vec<Account>>,
}

/// The sessions that a database is read by.
#[derive(Debug)]
struct Reads {
    plain: ClientSession,
    snapshot: Option<ClientSession>,
}

impl Reads {
    /// Their ids, for the server.
    fn ids(&self) -> Vec<Document> {
        std::iter::once(&self.plain).chain(&self.snapshot).map(|session| session.id().clone()).collect()
    }
}

/// A collection that was read, and where its documents are.
#[derive(Debug)]
struct Read {
    definition: Definition,
    stream: Option<String>,
    taken: Taken,
    outside_snapshot: bool,
}

#[async_trait]
impl PreparedSource for Prepared {
    fn moment(&self) -> Option<Moment> {
        self.moment.clone()
    }

    fn fades(&self) -> bool {
        self.moment.is_some()
    }

    async fn capture(mut self: Box<Self>, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(CaptureError::Interrupted),
            renewed = self.renew() => renewed?,
        }
        let (alive, ids) = (self.session.clone(), self.reads.ids());
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(CaptureError::Interrupted),
            report = self.all(context) => report,
            () = keep_alive(&alive, &ids) => Err(CaptureError::Interrupted),
        }
    }
}

/// Tells the server that our sessions are in use, for as long as it is waited for.
async fn keep_alive(session: &Session, ids: &[Document]) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let command = doc! {"refreshSessions": ids.to_vec()};
        if let Err(error) = session.admin("keep the sessions", command).await {
            tracing::debug!(%error, "the sessions could not be refreshed");
        }
    }
}

impl Prepared {
    async fn all(&mut self, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        context.monitor.phase(&format!("reading {}", self.source.name), "MiB", None);
        let chosen = |it: &&Definition| self.source.selection.choose(it) == Choice::Taken;
        let chosen: Vec<Definition> = self.listed.iter().filter(chosen).cloned().collect();
        let mut read = Vec::new();
        for (definition, name) in chosen.iter().zip(stream_names(&chosen)) {
            read.push(self.one(context, definition, name).await?);
        }
        let after = listing::list(&self.session).await?;
        if let Some((collection, change)) = changes(&chosen, &after).into_iter().next() {
            return Err(self.failed(Failure::Changed { collection, change }).into());
        }
        report::finish(self, context, &read, &after).await
    }

    /// Reads one collection; under `none`, one whose cursor dies is begun again.
    async fn one(
        &mut self,
        context: CaptureContext<'_>,
        definition: &Definition,
        name: String,
    ) -> Result<Read, CaptureError> {
        let mut read =
            Read { definition: definition.clone(), stream: None, taken: Taken::default(), outside_snapshot: false };
        if definition.kind == Kind::View {
            return Ok(read);
        }
        let holder = definition.holder();
        let mut tries = 0;
        loop {
            tries += 1;
            // Servers refuse to read capped collections as they were at a moment.
            let reads = match &mut self.reads.snapshot {
                Some(snapshot) if !definition.is_capped() => snapshot,
                snapshot => {
                    read.outside_snapshot = snapshot.is_some();
                    &mut self.reads.plain
                }
            };
            let may_again = self.moment.is_none() || read.outside_snapshot;
            let of = (holder.as_str(), definition.is_capped());
            match collection::take(context, &self.source.name, &self.session, reads, of, &name).await {
                Ok(taken) => {
                    read.taken = taken;
                    read.stream = Some(name);
                    return Ok(read);
                }
                Err(Ended::Server { reason, again: true }) if may_again && tries < TRIES => {
                    let shown = crate::types::for_terminal(&definition.name).into_owned();
                    let note = format!(
                        "source {}: collection `{shown}` is read from its beginning again: {reason}",
                        self.source.name
                    );
                    context.monitor.note(&note);
                    self.reads.plain = begin(&self.session, Way::Since(self.since)).await?;
                }
                Err(ended) => {
                    let failure = ended.into_failure(&definition.name, tries)?;
                    return Err(self.explain(failure, definition).await.into());
                }
            }
        }
    }

    /// What could not be read is often only not there any more.
    async fn explain(&self, failure: Failure, definition: &Definition) -> Error {
        if matches!(failure, Failure::Read { .. })
            && let Ok(after) = listing::list(&self.session).await
            && let Some((collection, change)) = changes(std::slice::from_ref(definition), &after).into_iter().next()
        {
            return self.failed(Failure::Changed { collection, change });
        }
        self.failed(failure)
    }

    fn failed(&self, failure: Failure) -> Error {
        failed_capture(self.session.server(), failure)
    }
}
