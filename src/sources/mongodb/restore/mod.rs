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

use mongodb_driver::bson::rawdoc;
use tokio_util::sync::CancellationToken;

pub use error::RestoreError;
pub use plan::{AccountAction, Action, Plan, PlanOptions, PlannedAccount, PlannedCollection, plan};
pub use report::{Difference, Loaded, LoadedCollection};

use self::{build::Builder, load::Counted};
use super::{Reason, Server, Session, contents, definition::Kind};
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
    /// What was done so far.
    pub loaded: Loaded,
    wrote: bool,
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
        Ok(Self { context, plan, session, made: Vec::new(), loaded, wrote: false })
    }

    /// Whether anything was written.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.wrote
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
        self.wrote = true;
        // A name of this restore before it is made: what an interrupted command leaves is removed, too. A name that others
        // know only afterwards: if they made it since the plan, it is not ours to remove.
        if planned.beside.is_some() {
            self.made.push(place.to_owned());
        }
        builder.create(definition, place).await?;
        if planned.beside.is_none() {
            self.made.push(place.to_owned());
        }
        let holder = match definition.kind {
            Kind::TimeSeries => definition.holder(),
            Kind::Collection | Kind::View => place.to_owned(),
        };
        load::load(self.context, &session, info, &planned.name, &holder, definition.is_capped()).await?;
        let found = load::count(&session, &planned.name, &holder).await?;
        let expected = Counted { documents: kept.documents, bytes: kept.bytes, digest: kept.digest };
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

    fn differs(&mut self, what: &str, how: &str) {
        self.loaded.differences.push(Difference { what: what.to_owned(), how: how.to_owned() });
    }

    /// Makes users and roles, if they are asked for; gives every collection its name, if all are equal; then views are
    /// made, which are about collections.
    ///
    /// # Errors
    /// [`RestoreError::Switch`] names the one that could not get it, and those that had.
    pub async fn switch(&mut self) -> Result<(), RestoreError> {
        if !self.loaded.is_equal() {
            return Ok(());
        }
        let plan = self.plan;
        if !plan.accounts.is_empty() {
            let made = accounts::make(&self.session, plan).await;
            self.wrote = true;
            match made {
                Ok(differences) => self.loaded.differences.extend(differences),
                Err(error) => {
                    self.clean_up().await;
                    return Err(error);
                }
            }
            self.loaded.accounts = plan.accounts.len() as u64;
            if !self.loaded.is_equal() {
                self.loaded.beside = std::mem::take(&mut self.made);
                return Ok(());
            }
        }
        let mut done = Vec::new();
        for planned in &plan.collections {
            let Some(beside) = &planned.beside else { continue };
            if let Err(reason) = self.rename(planned, beside).await {
                let collection = planned.name.clone();
                self.clean_up().await;
                return Err(RestoreError::Switch { collection, reason, done });
            }
            self.made.retain(|made| made != beside);
            done.push(planned.name.clone());
            if let Some(loaded) = self.loaded.collections.iter_mut().find(|it| it.name == planned.name) {
                loaded.in_place = true;
            }
        }
        for planned in plan.collections.iter().filter(|it| it.kept.definition.kind == Kind::View) {
            self.view(planned).await?;
        }
        Ok(())
    }

    async fn rename(&self, planned: &PlannedCollection, beside: &str) -> Result<(), Reason> {
        let database = &self.plan.database;
        let drop = planned.action == Action::Replace;
        // A view stands in no collection's way, and cannot be dropped by a rename.
        if drop && planned.live_documents.is_none() {
            let dropped = self.session.database.run_raw_command(rawdoc! {"drop": planned.name.as_str()}).await;
            dropped.map_err(|error| Reason::from(&error))?;
        }
        let command = rawdoc! {
            "renameCollection": format!("{database}.{beside}"),
            "to": format!("{database}.{}", planned.name),
            "dropTarget": drop && planned.live_documents.is_some(),
        };
        let renamed = self.session.client.database("admin").run_raw_command(command).await;
        renamed.map(drop_reply).map_err(|error| Reason::from(&error))
    }

    async fn view(&mut self, planned: &PlannedCollection) -> Result<(), RestoreError> {
        let session = self.session.clone();
        let builder = Builder { session: &session };
        self.wrote = true;
        if planned.action == Action::Replace {
            builder.run("drop the live one", &planned.name, rawdoc! {"drop": planned.name.as_str()}).await?;
        }
        builder.create(&planned.kept.definition, &planned.name).await?;
        let differences = builder.compare(&planned.kept.definition, &planned.name).await?;
        self.loaded.differences.extend(differences);
        self.loaded.collections.push(LoadedCollection {
            name: planned.name.clone(),
            kind: planned.kind.clone(),
            documents: 0,
            bytes: 0,
            indexes: 0,
            in_place: true,
        });
        Ok(())
    }

    /// Removes what has no name yet.
    pub async fn clean_up(&mut self) {
        let mut left = Vec::new();
        for made in std::mem::take(&mut self.made) {
            let command = rawdoc! {"drop": made.as_str()};
            match self.session.database.run_raw_command(command).await {
                Ok(_) => {}
                Err(error) if Reason::from(&error).code() == Some(NAMESPACE_NOT_FOUND) => {}
                Err(error) => {
                    tracing::warn!(collection = %for_terminal(&made), error = %Reason::from(&error), "it could not be removed");
                    left.push(made);
                }
            }
        }
        self.made = left;
    }

    /// What stayed under names of this restore although it failed.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let database = &self.plan.database;
        self.made.iter().map(|made| format!("collection {made} of database {database}")).collect()
    }
}

/// There is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

fn drop_reply(_: mongodb_driver::bson::Document) {}

fn how(expected: Counted, found: Counted) -> String {
    if expected.documents == found.documents {
        return format!("its {} documents are not those of the backup: their digest is another", found.documents);
    }
    format!("it has {} documents in place of {}", found.documents, expected.documents)
}
