//! From a backup into a database.
//!
//! Each collection is loaded under a name of this restore, beside a live one if there is one; read back and compared by
//! count and digest; given its indexes and rules, which are compared, too. Only when all of them are equal they get their
//! names, each in one step that also drops the live one. Whatever fails before leaves live collections as they were.

mod accounts;
mod build;
mod documents;
mod error;
mod load;
mod plan;
mod report;
mod switch;

use mongodb_driver::bson::rawdoc;
use tokio_util::sync::CancellationToken;

pub use error::RestoreError;
pub use plan::{AccountAction, Action, Plan, PlanOptions, PlannedAccount, PlannedCollection, plan};
pub use report::{Difference, Loaded, LoadedCollection};

use self::{build::Builder, load::Counted};
use super::{Reason, Server, Session, capture::listing, contents, definition::Kind};
use crate::types::{BackupContents, Monitor, for_terminal};

/// What a restore works with.
#[derive(Debug, Clone, Copy)]
pub struct RestoreContext<'a> {
    /// Where the database is, or will be.
    pub server: &'a Server,
    /// What the backup holds.
    pub contents: &'a dyn BackupContents,
    /// Who hears of the progress.
    pub monitor: &'a dyn Monitor,
    /// Set when the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// A running restore of one database.
#[derive(Debug)]
pub struct Restore<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    session: Session,
    /// What was made and has not got its name, by the name that it has.
    made: Vec<String>,
    /// What could not be removed.
    left: Vec<String>,
    /// What was done so far.
    pub loaded: Loaded,
    wrote: bool,
    changed_live: bool,
}

impl<'a> Restore<'a> {
    /// Begins what `plan` says.
    ///
    /// # Errors
    /// [`RestoreError::Refused`] if it cannot be done, or the server cannot be reached; then nothing was written.
    pub async fn begin(context: RestoreContext<'a>, plan: &'a Plan) -> Result<Self, RestoreError> {
        if !plan.is_possible() {
            let (database, reasons) = (plan.database.clone(), plan.refusals.clone());
            return Err(RestoreError::Refused { database, reasons });
        }
        let session = context.server.connect().await?;
        let loaded = Loaded { source: plan.source.clone(), database: plan.database.clone(), ..Loaded::default() };
        Ok(Self {
            context,
            plan,
            session,
            made: Vec::new(),
            left: Vec::new(),
            loaded,
            wrote: false,
            changed_live: false,
        })
    }

    /// Whether anything was written.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.wrote
    }

    /// Whether something may be under a live name that was not there before, or may be gone from it.
    #[must_use]
    pub fn has_changed_live(&self) -> bool {
        self.changed_live
    }

    /// Loads and compares every collection. What fails is removed again, as far as the server lets.
    ///
    /// # Errors
    /// [`RestoreError`]; live collections are as they were.
    pub async fn load(&mut self) -> Result<(), RestoreError> {
        let total = self.plan.bytes() >> 20;
        self.context.monitor.phase(&format!("loading {}", self.plan.source), "MiB", Some(total));
        let cancel = self.context.cancel;
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RestoreError::Interrupted),
            ended = self.collections() => ended,
        };
        if ended.is_err() {
            self.clean_up().await;
        } else if !self.loaded.is_equal() {
            // What differs is kept, to be looked at.
            self.loaded.beside = std::mem::take(&mut self.made);
        }
        ended
    }

    async fn collections(&mut self) -> Result<(), RestoreError> {
        let plan = self.plan;
        for planned in plan.collections.iter().filter(|it| it.kept.definition.kind != Kind::View) {
            self.collection(planned).await?;
        }
        Ok(())
    }

    async fn collection(&mut self, planned: &PlannedCollection) -> Result<(), RestoreError> {
        let (definition, kept) = (&planned.kept.definition, &planned.kept.collection);
        let name = kept.stream.as_deref().unwrap_or_default();
        let info = contents::stream(self.context.contents, &self.plan.source_name, name)?;
        let place = planned.beside.as_deref().unwrap_or(&planned.name);
        let session = self.session.clone();
        let builder = Builder { session: &session };
        let holder = match definition.kind {
            Kind::TimeSeries => definition.holder(),
            Kind::Collection | Kind::View => place.to_owned(),
        };
        // A name of this restore before it is made: what an interrupted command leaves is removed, too.
        if planned.beside.is_some() {
            self.wrote = true;
            self.made.push(place.to_owned());
            builder.create(definition, place).await?;
        } else {
            self.create_in_place(planned, &holder).await?;
        }
        load::load(self.context, &session, info, &planned.name, &holder, definition.is_capped()).await?;
        let expected = Counted { documents: kept.documents, bytes: kept.bytes, digest: kept.digest };
        let found = load::count(&session, &planned.name, &holder, expected).await?;
        let shown = for_terminal(&planned.name);
        if found != expected {
            self.differs(&format!("{} {shown}", planned.kind), &how(expected, found));
        } else {
            builder.indexes(definition, place).await?;
            builder.rules(definition, place).await?;
            self.loaded.differences.extend(builder.compare(definition, place).await?);
        }
        self.loaded.collections.push(LoadedCollection {
            name: planned.name.clone(),
            kind: planned.kind.clone(),
            documents: found.documents,
            bytes: found.bytes,
            indexes: definition.indexes.len() as u64,
            in_place: planned.beside.is_none(),
        });
        Ok(())
    }

    /// Makes what cannot be renamed under its own name, which nothing must have.
    async fn create_in_place(&mut self, planned: &PlannedCollection, holder: &str) -> Result<(), RestoreError> {
        let taken = || RestoreError::Build {
            doing: "create it".to_owned(),
            collection: planned.name.clone(),
            reason: Reason::text("something of this name has been made since the plan"),
        };
        if listing::find(&self.session, &planned.name).await?.is_some() {
            return Err(taken());
        }
        (self.wrote, self.changed_live) = (true, true);
        Builder { session: &self.session }.create(&planned.kept.definition, &planned.name).await?;
        // A server says that it has made what was there already and is defined alike.
        if !plan::is_empty(&self.session, holder).await? {
            return Err(taken());
        }
        self.made.push(planned.name.clone());
        Ok(())
    }

    fn differs(&mut self, what: &str, how: &str) {
        self.loaded.differences.push(Difference { what: what.to_owned(), how: how.to_owned() });
    }

    /// Removes what has no name yet. What was made under a name that others know stays: they may have written into it.
    pub async fn clean_up(&mut self) {
        for made in std::mem::take(&mut self.made) {
            match self.plan.collections.iter().any(|it| it.beside.is_none() && it.name == made) {
                true => self.left.push(made),
                false => self.remove(&made).await,
            }
        }
    }

    /// Drops what has a name of this restore.
    async fn remove(&mut self, made: &str) {
        match self.session.database.run_raw_command(rawdoc! {"drop": made}).await {
            Ok(_) => {}
            Err(error) if Reason::from(&error).code() == Some(NAMESPACE_NOT_FOUND) => {}
            Err(error) => {
                tracing::warn!(collection = %for_terminal(made), error = %Reason::from(&error), "it could not be removed");
                self.left.push(made.to_owned());
            }
        }
    }

    /// What stayed and should not.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let database = &self.plan.database;
        self.left.iter().map(|made| format!("collection {made} of database {database}")).collect()
    }
}

/// There is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

fn how(expected: Counted, found: Counted) -> String {
    if expected.documents == found.documents {
        return format!("its {} documents are not those of the backup: their digest is another", found.documents);
    }
    format!("it has {} documents in place of {}", found.documents, expected.documents)
}
