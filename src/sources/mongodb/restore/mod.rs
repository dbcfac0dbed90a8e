//! From a backup into a database.
//!
//! Each collection is loaded under a name of this restore, beside a live one if there is one; read back and compared by
//! count and digest; given its indexes and rules, which are compared, too. Only when all of them are equal they get their
//! names, each in one step that also drops the live one. Whatever fails before leaves live collections as they were.

mod accounts;
mod build;
mod chosen;
mod documents;
mod error;
mod live;
mod load;
mod names;
mod order;
mod plan;
mod read_back;
mod remove;
mod report;
mod room;
mod switch;
mod writes;

use std::cmp::Reverse;

use tokio_util::sync::CancellationToken;

pub use chosen::{check, check_drop};
pub use error::{Place, RestoreError};
pub use plan::{AccountAction, Action, Plan, PlanOptions, PlannedAccount, PlannedCollection, plan};
pub use report::{Difference, Loaded, LoadedCollection};

use self::{build::Builder, load::Target, read_back::Counted, room::Room, writes::Writes};
use super::{Reason, Server, Session, capture::listing, connect::in_time, contents, definition::Kind, left};
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
    writes: Writes,
    room: Room,
    /// What was made and has not got its name, by the name that it has.
    made: Vec<String>,
    /// What could not be removed.
    left: Vec<String>,
    /// What was removed, and what a command may make again whose answer was lost.
    doubtful: Vec<String>,
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
        refuse_twice(&session, plan).await?;
        let loaded = Loaded { source: plan.source.clone(), database: plan.database.clone(), ..Loaded::default() };
        Ok(Self {
            context,
            plan,
            session,
            writes: Writes::default(),
            room: Room::default(),
            made: Vec::new(),
            left: Vec::new(),
            doubtful: Vec::new(),
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

    /// One is read back and compared while the next one is loaded; the smallest is the one with which nothing is loaded.
    async fn collections(&mut self) -> Result<(), RestoreError> {
        let (plan, context) = (self.plan, self.context);
        let mut before: Option<Comparison<'_>> = None;
        let mut collections: Vec<_> =
            plan.collections.iter().filter(|it| it.kept.definition.kind != Kind::View).collect();
        collections.sort_by_key(|it| Reverse(it.bytes));
        for planned in collections {
            let name = planned.kept.collection.stream.as_deref().unwrap_or_default();
            let info = contents::stream(context.contents, &plan.source_name, name)?;
            let to = self.make(planned).await?;
            let large = match before.take() {
                Some(before)
                    if before.planned.has_large_documents()
                        || planned.has_large_documents()
                        || self.room.has_had_large() =>
                {
                    self.take(before.run().await?);
                    load::load(context, info, &to).await?
                }
                Some(before) => {
                    let (compared, large) = futures::try_join!(before.run(), load::load(context, info, &to))?;
                    self.take(compared);
                    large
                }
                None => load::load(context, info, &to).await?,
            };
            before = Some(Comparison { planned, to, large });
        }
        if let Some(last) = before {
            self.take(last.run().await?);
        }
        self.loaded.collections.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(())
    }

    /// Makes a collection without documents, under the name that it has until it is compared.
    async fn make(&mut self, planned: &PlannedCollection) -> Result<Target, RestoreError> {
        let definition = &planned.kept.definition;
        let holder = match (definition.kind, &planned.beside) {
            (Kind::Collection | Kind::View, Some(beside)) => beside.clone(),
            _ => definition.holder(),
        };
        if let Some(beside) = &planned.beside {
            self.wrote = true;
            // Before it is made: what an interrupted command leaves is removed, too.
            self.made.push(beside.clone());
            self.builder().create(definition, beside).await?;
        } else {
            self.create_in_place(planned, &holder).await?;
        }
        Ok(Target {
            session: self.session.clone(),
            writes: self.writes.clone(),
            room: self.room.clone(),
            collection: planned.name.clone(),
            place: holder,
            ordered: definition.is_capped(),
        })
    }

    fn builder(&self) -> Builder<'_> {
        Builder { session: &self.session, writes: &self.writes }
    }

    fn take(&mut self, compared: Compared) {
        self.loaded.differences.extend(compared.differences);
        self.loaded.collections.push(compared.loaded);
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
        let before = self.changed_live;
        (self.wrote, self.changed_live) = (true, true);
        // Before it is made: what an interrupted command leaves is named, too.
        self.made.push(planned.name.clone());
        if let Err(error) = self.builder().create(&planned.kept.definition, &planned.name).await {
            if matches!(error, RestoreError::Build { .. }) {
                self.made.pop();
                self.changed_live = before;
            }
            return Err(error);
        }
        // A server says that it has made what was there already and is defined alike.
        if !live::is_empty(&self.session, holder).await? {
            self.made.pop();
            return Err(taken());
        }
        Ok(())
    }

    /// What stayed and should not.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        self.in_full(&self.left)
    }

    /// What was removed, and may be made again by a command whose answer was lost and that the server does later than anybody
    /// waits for it.
    #[must_use]
    pub fn may_come_again(&self) -> Vec<String> {
        self.in_full(&self.doubtful)
    }

    fn in_full(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|made| format!("collection {made} of database {}", self.plan.database)).collect()
    }
}

/// A collection whose documents are in.
struct Comparison<'a> {
    planned: &'a PlannedCollection,
    to: Target,
    /// There are large documents among them.
    large: bool,
}

/// What came of it.
struct Compared {
    loaded: LoadedCollection,
    differences: Vec<Difference>,
}

impl Comparison<'_> {
    /// Reads it back and compares it; gives it its indexes and rules, and compares those.
    async fn run(self) -> Result<Compared, RestoreError> {
        let Self { planned, to, large } = self;
        let (definition, kept) = (&planned.kept.definition, &planned.kept.collection);
        let place = planned.beside.as_deref().unwrap_or(&planned.name);
        let builder = Builder { session: &to.session, writes: &to.writes };
        let expected = Counted { documents: kept.documents, bytes: kept.bytes, digest: kept.digest };
        let found = read_back::count(&to, expected, large).await?;
        let differences = if found == expected {
            builder.indexes(definition, place).await?;
            builder.rules(definition, place).await?;
            builder.compare(definition, place).await?
        } else {
            let what = format!("{} {}", planned.kind, for_terminal(&planned.name));
            vec![Difference { what, how: how(expected, found) }]
        };
        let loaded = LoadedCollection {
            name: planned.name.clone(),
            kind: planned.kind.clone(),
            documents: found.documents,
            bytes: found.bytes,
            indexes: definition.indexes.len() as u64,
            in_place: planned.beside.is_none(),
        };
        Ok(Compared { loaded, differences })
    }
}

/// Refuses a database into which another source of this run was loaded, by whatever address it is known there: of collections that
/// both have, one would take the other's place.
async fn refuse_twice(session: &Session, plan: &Plan) -> Result<(), RestoreError> {
    let names = in_time(session.database.list_collection_names()).await;
    let names = names.map_err(|error| session.server().failed("list the collections", &error))?;
    if names.iter().any(|name| left::is_of(name, &plan.id)) {
        let reason = "another source of this restore is loaded into the same database: restore one after the other with --source";
        return Err(RestoreError::Refused { database: plan.database.clone(), reasons: vec![reason.to_owned()] });
    }
    Ok(())
}

fn how(expected: Counted, found: Counted) -> String {
    if expected.documents == found.documents {
        return format!("its {} documents are not those of the backup: their digest is another", found.documents);
    }
    format!("it has {} documents in place of {}", found.documents, expected.documents)
}
