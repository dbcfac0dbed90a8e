//! What a restore has made and may not keep.

use std::time::Duration;

use mongodb_driver::{bson::rawdoc, error::ErrorKind};

use super::{
    super::{Reason, capture::listing, connect::in_time},
    Restore,
};
use crate::types::for_terminal;

/// There is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// How long a command that is on its way is waited for before its collection is dropped: that ends the building of an index.
const PATIENCE: Duration = Duration::from_secs(10);
/// And how long afterwards.
const LONGEST: Duration = Duration::from_secs(60);
/// How often, and after which pauses, what was dropped is looked for again, if a command may still come.
const LOOKS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);

impl Restore<'_> {
    /// Removes what has no name yet. What was made under a name that others know stays: they may have written into it.
    pub async fn clean_up(&mut self) {
        let made = std::mem::take(&mut self.made);
        let is_ours = |made: &String| !self.plan.collections.iter().any(|it| it.beside.is_none() && it.name == *made);
        let (ours, theirs): (Vec<String>, Vec<String>) = made.into_iter().partition(is_ours);
        self.left.extend(theirs);
        self.writes.ended(PATIENCE).await;
        let in_doubt = !self.writes.are_answered();
        let mut removed = Vec::new();
        for (at, made) in ours.iter().enumerate() {
            match self.drop_collection(made).await {
                Dropped::Done | Dropped::NotThere => removed.push(made.clone()),
                Dropped::Refused => self.left.push(made.clone()),
                // It will not answer for the others, either.
                Dropped::NoAnswer => {
                    self.left.extend(ours.iter().skip(at).cloned());
                    return;
                }
            }
        }
        if in_doubt && !removed.is_empty() {
            self.look_again(&removed).await;
        }
    }

    /// A command whose answer has not come may make the collection again.
    async fn look_again(&mut self, removed: &[String]) {
        let mut there = Vec::new();
        for look in 0..LOOKS {
            match look {
                0 => drop(self.writes.ended(LONGEST).await),
                _ => tokio::time::sleep(PAUSE).await,
            }
            let are_answered = self.writes.are_answered();
            there.clear();
            for made in removed {
                if matches!(listing::find(&self.session, made).await, Ok(None)) {
                    continue;
                }
                match self.drop_collection(made).await {
                    Dropped::Done | Dropped::NotThere => {}
                    Dropped::Refused => there.push(made.clone()),
                    Dropped::NoAnswer => {
                        self.left.extend_from_slice(removed);
                        return;
                    }
                }
            }
            if are_answered && there.is_empty() {
                break;
            }
        }
        match self.writes.are_idle() {
            true => {
                if !self.writes.are_answered() {
                    // No pause is long enough to know that it does not come any more.
                    self.doubtful.extend(removed.iter().filter(|made| !there.contains(made)).cloned());
                }
                self.left.append(&mut there);
            }
            // What still runs may make any of them.
            false => self.left.extend_from_slice(removed),
        }
    }

    /// Drops what has a name of this restore; what stays is named.
    pub(super) async fn remove(&mut self, made: &str) {
        if !matches!(self.drop_collection(made).await, Dropped::Done | Dropped::NotThere) {
            self.left.push(made.to_owned());
        }
    }

    /// Drops it at the primary: the other members may be what is missing.
    pub(super) async fn drop_collection(&self, made: &str) -> Dropped {
        let command = rawdoc! {"drop": made, "writeConcern": {"w": 1}};
        let Err(error) = in_time(self.session.database.run_raw_command(command)).await else {
            return Dropped::Done;
        };
        let reason = Reason::from(&error);
        if reason.code() == Some(NAMESPACE_NOT_FOUND) {
            return Dropped::NotThere;
        }
        tracing::warn!(collection = %for_terminal(made), error = %reason, "it could not be removed");
        match error.kind.as_ref() {
            ErrorKind::ServerSelection { .. } => Dropped::NoAnswer,
            _ => Dropped::Refused,
        }
    }
}

/// What came of a `drop`.
pub(super) enum Dropped {
    /// It was there, and is gone.
    Done,
    /// It was not there.
    NotThere,
    /// The server said why not, or the answer was lost.
    Refused,
    /// There is no server.
    NoAnswer,
}
