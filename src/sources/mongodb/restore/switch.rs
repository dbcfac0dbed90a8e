//! What was loaded and is equal gets its names.
//!
//! What is live has changed since the plan, perhaps: only what was empty in the plan and still is, or what may be dropped
//! with all that is in it, gives its name away. Of a command whose answer is lost the server's lists tell whether it was done;
//! that it was not, they tell only if it cannot come any more.

use std::time::Duration;

use mongodb_driver::bson::rawdoc;

use super::{
    super::{Error, Reason, capture::listing, connect::in_time, definition::Kind},
    Place, Restore, RestoreError, accounts,
    build::Builder,
    live,
    names::drop_option,
    plan::{Action, PlannedCollection},
    remove::Dropped,
    report::LoadedCollection,
    writes::{is_lost, lagging, lasting},
};
use crate::types::for_terminal;

/// How often, and after which pauses, is looked for what a command may still do whose answer is lost.
const LOOKS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);

/// Why a collection is not in its place.
#[derive(Debug)]
struct Away {
    reason: Reason,
    /// Or is it?
    place: Place,
}

impl Away {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: Reason::text(reason), place: Place::NotTaken }
    }

    fn is_clear(&self) -> bool {
        self.place == Place::NotTaken
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
    /// It was empty, or a view replaces it, and has another name meanwhile.
    Aside,
    /// A view that becomes another in one step.
    View,
}

impl Restore<'_> {
    /// Gives every collection its name, if all is equal; then views are made, which are about collections.
    ///
    /// # Errors
    /// [`RestoreError::Switch`] names the one that could not get it, and those that had.
    pub async fn switch(&mut self) -> Result<(), RestoreError> {
        if !self.loaded.is_equal() {
            return Ok(());
        }
        let plan = self.plan;
        let mut done = Vec::new();
        let waits = |it: &&PlannedCollection| it.beside.is_some() || it.kept.definition.kind == Kind::View;
        for planned in plan.collections.iter().filter(waits) {
            if let Err(Away { reason, place }) = self.take_place(planned).await {
                let collection = planned.name.clone();
                self.clean_up().await;
                return Err(RestoreError::Switch { collection, reason, place, done });
            }
            done.push(planned.name.clone());
        }
        Ok(())
    }

    /// Makes users and roles, if they are asked for, and compares them: before any collection of any database takes its place.
    /// If something differs, what was loaded stays to be looked at.
    ///
    /// # Errors
    /// [`RestoreError::Account`] names the one that could not be made; live collections are as they were.
    pub async fn make_accounts(&mut self) -> Result<(), RestoreError> {
        if self.plan.accounts.is_empty() {
            return Ok(());
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
        Ok(())
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
            (Err(away), Room::Aside) if away.is_clear() => return Err(self.put_back(planned, away, before).await),
            (Err(mut away), Room::Aside) => {
                self.left.push(planned.aside.clone());
                let aside = for_terminal(&planned.aside);
                away.reason = Reason::text(format!("{}; what had the name is called `{aside}` now", away.reason));
                return Err(away);
            }
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
        // Views and collections do not replace each other in one step, nor do views with different collations. A collection can
        // wait under another name until the view is there; a view cannot.
        if is_collection {
            return self.set_aside(planned, live.uuid()).await;
        }
        let before = std::mem::replace(&mut self.changed_live, true);
        let command = rawdoc! {"drop": planned.name.as_str(), "writeConcern": lasting()};
        if let Err(error) = in_time(self.session.database.run_raw_command(command)).await {
            self.changed_live = before || is_lost(&error);
            return Err(Away { reason: Reason::from(&error), place: Place::NotTaken });
        }
        Ok(Room::Free)
    }

    /// Takes the name of a collection: then nobody can write into it. Of one that was empty in the plan, and may not be dropped
    /// otherwise, it can be seen whether somebody has.
    async fn set_aside(&mut self, planned: &PlannedCollection, uuid: Option<String>) -> Result<Room, Away> {
        let before = self.changed_live;
        self.changed_live = true;
        if let Err(Away { reason, place }) = self.move_live(&planned.name, &planned.aside, uuid).await {
            let why = Away { reason, place: Place::NotTaken };
            return Err(match place {
                Place::NotTaken => {
                    self.changed_live = before;
                    why
                }
                Place::MayNotLast => self.put_back(planned, why, before).await,
                Place::Unknown => {
                    let (name, aside) = (for_terminal(&planned.name), for_terminal(&planned.aside));
                    Away::because(format!("{}; what is called `{name}` may be called `{aside}` by now", why.reason))
                }
            });
        }
        if planned.agreed {
            return Ok(Room::Aside);
        }
        let why = match live::is_empty(&self.session, &planned.aside).await {
            Ok(true) => return Ok(Room::Aside),
            Ok(false) => {
                let option = drop_option(&planned.name);
                Away::because(format!(
                    "it was empty when the restore was planned, and documents have come into it; `{option}` replaces it"
                ))
            }
            Err(error) => error.into(),
        };
        Err(self.put_back(planned, why, before).await)
    }

    /// Gives its name back to what was set aside.
    async fn put_back(&mut self, planned: &PlannedCollection, why: Away, before: bool) -> Away {
        let back = self.move_live(&planned.aside, &planned.name, None).await;
        let Err(away) = back else {
            self.changed_live = before;
            return why;
        };
        let aside = for_terminal(&planned.aside);
        let is = match away.place {
            Place::NotTaken => format!("is called `{aside}` now"),
            Place::Unknown => format!("is perhaps called `{aside}` still"),
            Place::MayNotLast => "has it again, and a majority of the replica set does not know of it yet".to_owned(),
        };
        Away::because(format!("{}; what had the name {is}: {}", why.reason, away.reason))
    }

    async fn put(&mut self, planned: &PlannedCollection, beside: &str, room: Room) -> Result<(), Away> {
        let ours = listing::find(&self.session, beside).await?;
        let ours = ours.ok_or_else(|| Away::because("what was loaded is gone: somebody has dropped it"))?;
        let renamed = self.put_in_place(beside, &planned.name, room == Room::Dropped, ours.uuid()).await;
        self.changed_live |= renamed.as_ref().err().is_none_or(|away| !away.is_clear());
        if renamed.as_ref().is_err_and(|away| away.place == Place::MayNotLast) {
            self.made.retain(|made| made != beside);
        }
        renamed?;
        self.made.retain(|made| made != beside);
        if let Some(loaded) = self.loaded.collections.iter_mut().find(|it| it.name == planned.name) {
            loaded.in_place = true;
        }
        Ok(())
    }

    /// Gives `from` the name `to`. Of an answer that speaks of what came afterwards nothing is believed, and one that is lost
    /// leaves it open.
    async fn rename(&self, from: &str, to: &str, drop: bool, uuid: Option<&String>) -> Renamed {
        let database = &self.plan.database;
        let command = rawdoc! {
            "renameCollection": format!("{database}.{from}"), "to": format!("{database}.{to}"), "dropTarget": drop,
            "writeConcern": lasting(),
        };
        let error = match in_time(self.session.client.database("admin").run_raw_command(command)).await {
            Ok(reply) => {
                let may_not_last = |reason| Renamed::Not(Away { reason, place: Place::MayNotLast });
                return lagging(&reply).map_or(Renamed::Done, may_not_last);
            }
            Err(error) => error,
        };
        let reason = Reason::from(&error);
        match self.is_moved(from, to, uuid).await {
            Some(true) => Renamed::Done,
            Some(false) if !is_lost(&error) => Renamed::Not(Away { reason, place: Place::NotTaken }),
            Some(false) => Renamed::Open(reason),
            None => Renamed::Not(Away { reason, place: Place::Unknown }),
        }
    }

    /// Whether what was called `from` is called `to` now; nothing if the server does not say.
    async fn is_moved(&self, from: &str, to: &str, uuid: Option<&String>) -> Option<bool> {
        if listing::find(&self.session, from).await.ok()?.is_some() {
            return Some(false);
        }
        let there = listing::find(&self.session, to).await.ok()?;
        Some(there.is_some_and(|there| uuid.is_none() || there.uuid().as_ref() == uuid))
    }

    /// Gives what was loaded its name. If the answer is lost, the rename may still wait in the server: what it would rename is
    /// dropped, and whether there was something to drop tells the rest.
    async fn put_in_place(&self, from: &str, to: &str, drop: bool, uuid: Option<String>) -> Result<(), Away> {
        let reason = match self.rename(from, to, drop, uuid.as_ref()).await {
            Renamed::Done => return Ok(()),
            Renamed::Not(away) => return Err(away),
            Renamed::Open(reason) => reason,
        };
        let dropped = self.drop_collection(from).await;
        if matches!(dropped, Dropped::Refused | Dropped::NoAnswer) {
            return Err(Away { reason, place: Place::Unknown });
        }
        // Servers from 7.0 on say that they have dropped what is not there; by its id it is known again.
        let is_known = uuid.is_some() || matches!(dropped, Dropped::NotThere);
        match self.is_moved(from, to, uuid.as_ref()).await {
            Some(true) if is_known => Ok(()),
            Some(_) if matches!(dropped, Dropped::Done) => Err(Away { reason, place: Place::NotTaken }),
            _ => Err(Away { reason, place: Place::Unknown }),
        }
    }

    /// Gives what is live another name, or its own again. If the answer is lost, some seconds show whether the rename comes;
    /// that it does not, nothing shows.
    async fn move_live(&self, from: &str, to: &str, uuid: Option<String>) -> Result<(), Away> {
        let reason = match self.rename(from, to, false, uuid.as_ref()).await {
            Renamed::Done => return Ok(()),
            Renamed::Not(away) => return Err(away),
            Renamed::Open(reason) => reason,
        };
        for _ in 1..LOOKS {
            tokio::time::sleep(PAUSE).await;
            if self.is_moved(from, to, uuid.as_ref()).await == Some(true) {
                return Ok(());
            }
        }
        Err(Away { reason, place: Place::Unknown })
    }

    /// Whether a view is as it was to be made; nothing if the server does not say.
    async fn is_made(&self, planned: &PlannedCollection, room: Room) -> Option<bool> {
        let definition = &planned.kept.definition;
        if room == Room::View {
            return self.builder().compare(definition, &planned.name).await.ok().map(|found| found.is_empty());
        }
        let found = listing::find(&self.session, &planned.name).await.ok()?;
        Some(found.is_some_and(|it| it.kind == Kind::View))
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
        match made {
            Ok(()) => {}
            Err(RestoreError::MayNotLast { reason, .. }) => return Err(Away { reason, place: Place::MayNotLast }),
            Err(error) => {
                // The server's own words are an answer. Without one, the command may still come.
                let looks = if matches!(error, RestoreError::Build { .. }) { 1 } else { LOOKS };
                let mut is_made = self.is_made(planned, room).await;
                for _ in 1..looks {
                    if is_made == Some(true) {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                    is_made = self.is_made(planned, room).await;
                }
                let reason = Reason::text(error.to_string());
                match is_made {
                    Some(true) => {}
                    Some(false) if looks == 1 => {
                        self.changed_live = before;
                        return Err(Away { reason, place: Place::NotTaken });
                    }
                    _ => return Err(Away { reason, place: Place::Unknown }),
                }
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

/// What came of a rename.
enum Renamed {
    Done,
    /// It was not done, or nothing more is to be learned about it.
    Not(Away),
    /// It is not done yet, and the answer is lost.
    Open(Reason),
}
