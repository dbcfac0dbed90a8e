//! What was loaded and is equal gets its names.
//!
//! What is live has changed since the plan, perhaps: only what was empty in the plan and still is, or what may be dropped
//! with all that is in it, gives its name away. Whether a command whose answer is lost was done, the server's lists tell.

use mongodb_driver::bson::rawdoc;

use super::{
    super::{Error, Reason, capture::listing, definition::Kind},
    Restore, RestoreError, accounts,
    build::Builder,
    plan::{self, Action, PlannedCollection},
    report::LoadedCollection,
};
use crate::types::for_terminal;

/// Why a collection is not in its place.
#[derive(Debug)]
struct Away {
    reason: Reason,
    /// Or is it?
    unknown: bool,
}

impl Away {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: Reason::text(reason), unknown: false }
    }
}

impl From<Error> for Away {
    fn from(error: Error) -> Self {
        Self::because(error.to_string())
    }
}

/// What becomes of what has the name until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// There is nothing.
    Free,
    /// The rename drops it.
    Dropped,
    /// It was empty, and has another name meanwhile.
    Aside,
    /// A view that becomes another in one step.
    View,
}

impl Restore<'_> {
    /// Makes users and roles, if they are asked for; gives every collection its name, if all are equal; then views are
    /// made, which are about collections.
    ///
    /// # Errors
    /// [`RestoreError::Switch`] names the one that could not get it, and those that had.
    pub async fn switch(&mut self) -> Result<(), RestoreError> {
        if !self.loaded.is_equal() || !self.accounts().await? {
            return Ok(());
        }
        let plan = self.plan;
        let mut done = Vec::new();
        let waits = |it: &&PlannedCollection| it.beside.is_some() || it.kept.definition.kind == Kind::View;
        for planned in plan.collections.iter().filter(waits) {
            if let Err(Away { reason, unknown }) = self.take_place(planned).await {
                let collection = planned.name.clone();
                self.clean_up().await;
                return Err(RestoreError::Switch { collection, reason, unknown, done });
            }
            done.push(planned.name.clone());
        }
        Ok(())
    }

    /// Makes users and roles, if they are asked for; false if they are not those of the backup.
    async fn accounts(&mut self) -> Result<bool, RestoreError> {
        if self.plan.accounts.is_empty() {
            return Ok(true);
        }
        let made = accounts::make(&self.session, self.plan).await;
        self.wrote = true;
        match made {
            Ok(differences) => self.loaded.differences.extend(differences),
            Err(error) => {
                self.clean_up().await;
                return Err(error);
            }
        }
        self.loaded.accounts = self.plan.accounts.len() as u64;
        if !self.loaded.is_equal() {
            self.loaded.beside = std::mem::take(&mut self.made);
        }
        Ok(self.loaded.is_equal())
    }

    async fn take_place(&mut self, planned: &PlannedCollection) -> Result<(), Away> {
        let before = self.changed_live;
        let room = self.make_room(planned).await?;
        let put = match &planned.beside {
            Some(beside) => self.put(planned, beside, room).await,
            None => self.view(planned, room).await,
        };
        match (put, room) {
            (Ok(()), Room::Aside) => self.remove(&planned.aside).await,
            (Err(away), Room::Aside) if !away.unknown => return Err(self.put_back(planned, away, before).await),
            (put, _) => return put,
        }
        Ok(())
    }

    /// Sees what has the name now, and that it may give it away.
    async fn make_room(&mut self, planned: &PlannedCollection) -> Result<Room, Away> {
        let Some(live) = listing::find(&self.session, &planned.name).await? else { return Ok(Room::Free) };
        let is_collection = live.kind == Kind::Collection;
        let was_collection = planned.live_documents.is_some();
        if planned.action == Action::Create || live.kind == Kind::TimeSeries || is_collection != was_collection {
            return Err(Away::because(format!(
                "a {} of this name has been made since the plan; look at it, and plan the restore again",
                live.kind.word()
            )));
        }
        if !planned.agreed {
            return self.set_aside(planned, live.uuid()).await;
        }
        if is_collection && planned.beside.is_some() {
            return Ok(Room::Dropped);
        }
        if !is_collection && planned.kept.definition.is_same_but_for_its_question(&live) {
            return Ok(Room::View);
        }
        // Views and collections do not replace each other in one step, nor do views with different collations.
        self.changed_live = true;
        let dropped = self.session.database.run_raw_command(rawdoc! {"drop": planned.name.as_str()}).await;
        dropped.map_err(|error| Away { reason: Reason::from(&error), unknown: false })?;
        Ok(Room::Free)
    }

    /// Takes the name of a collection that was empty in the plan: then nobody can write into it, and it can be seen whether
    /// somebody has.
    async fn set_aside(&mut self, planned: &PlannedCollection, uuid: Option<String>) -> Result<Room, Away> {
        let before = self.changed_live;
        self.changed_live = true;
        self.rename(&planned.name, &planned.aside, false, uuid).await?;
        let why = match plan::is_empty(&self.session, &planned.aside).await {
            Ok(true) => return Ok(Room::Aside),
            Ok(false) => {
                let shown = for_terminal(&planned.name);
                Away::because(format!(
                    "it was empty when the restore was planned, and documents have come into it; `--drop {shown}` replaces it"
                ))
            }
            Err(error) => error.into(),
        };
        Err(self.put_back(planned, why, before).await)
    }

    /// Gives its name back to what was set aside.
    async fn put_back(&mut self, planned: &PlannedCollection, why: Away, before: bool) -> Away {
        let back = self.rename(&planned.aside, &planned.name, false, None).await;
        let Err(away) = back else {
            self.changed_live = before;
            return why;
        };
        let aside = for_terminal(&planned.aside);
        Away::because(format!("{}; what had the name is called `{aside}` now: {}", why.reason, away.reason))
    }

    async fn put(&mut self, planned: &PlannedCollection, beside: &str, room: Room) -> Result<(), Away> {
        let ours = listing::find(&self.session, beside).await?;
        let ours = ours.ok_or_else(|| Away::because("what was loaded is gone: somebody has dropped it"))?;
        let renamed = self.rename(beside, &planned.name, room == Room::Dropped, ours.uuid()).await;
        self.changed_live |= renamed.as_ref().err().is_none_or(|away| away.unknown);
        renamed?;
        self.made.retain(|made| made != beside);
        if let Some(loaded) = self.loaded.collections.iter_mut().find(|it| it.name == planned.name) {
            loaded.in_place = true;
        }
        Ok(())
    }

    /// Gives `from` the name `to`. Of an answer that is lost, or that speaks of what came afterwards, nothing is believed.
    async fn rename(&self, from: &str, to: &str, drop: bool, uuid: Option<String>) -> Result<(), Away> {
        let database = &self.plan.database;
        let command = rawdoc! {
            "renameCollection": format!("{database}.{from}"), "to": format!("{database}.{to}"), "dropTarget": drop,
        };
        let Err(error) = self.session.client.database("admin").run_raw_command(command).await else { return Ok(()) };
        let reason = Reason::from(&error);
        let Ok(left) = listing::find(&self.session, from).await else { return Err(Away { reason, unknown: true }) };
        if left.is_some() {
            return Err(Away { reason, unknown: false });
        }
        match listing::find(&self.session, to).await {
            Ok(Some(there)) if uuid.is_none() || there.uuid() == uuid => Ok(()),
            Ok(_) => Err(Away { reason, unknown: false }),
            Err(_) => Err(Away { reason, unknown: true }),
        }
    }

    async fn view(&mut self, planned: &PlannedCollection, room: Room) -> Result<(), Away> {
        let (session, writes, before) = (self.session.clone(), self.writes.clone(), self.changed_live);
        let builder = Builder { session: &session, writes: &writes };
        let definition = &planned.kept.definition;
        (self.wrote, self.changed_live) = (true, true);
        let made = match room {
            Room::View => builder.ask_otherwise(definition, &planned.name).await,
            _ => builder.create(definition, &planned.name).await,
        };
        if let Err(error) = made {
            let reason = Reason::text(error.to_string());
            let is_done = match room {
                Room::View => builder.compare(definition, &planned.name).await.map(|found| found.is_empty()),
                _ => listing::find(&session, &planned.name)
                    .await
                    .map(|it| it.is_some_and(|it| it.kind == Kind::View))
                    .map_err(RestoreError::from),
            };
            match is_done {
                Ok(true) => {}
                Ok(false) => {
                    self.changed_live = before;
                    return Err(Away { reason, unknown: false });
                }
                Err(_) => return Err(Away { reason, unknown: true }),
            }
        }
        let differences = builder.compare(definition, &planned.name).await;
        self.loaded.differences.extend(differences.map_err(|error| Away::because(error.to_string()))?);
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
}
