//! Foreign keys that may not hold, because the policy excluded rows that they may refer to.
//!
//! Each is tried when all rows and all other objects are there. One that does not hold is left out by name, and never
//! made `NOT VALID`: that would look like the key of the backup to people and programs, and promise what is not so.

use std::collections::HashSet;

use super::{
    super::{
        Error, Session,
        archive::{Entry, Field},
    },
    Restore, RestoreError,
    build::Builder,
    report::LeftOut,
};

/// SQLSTATE of rows that refer to none.
const FOREIGN_KEY_VIOLATION: &str = "23503";
/// SQLSTATE of a constraint that is there: an earlier restore has made it.
const DUPLICATE_OBJECT: &str = "42710";

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Entries that could not be made.
    pub(super) out: HashSet<u32>,
    /// The same for people.
    pub(super) left_out: Vec<LeftOut>,
    /// What failed for another reason, in the server's words.
    pub(super) failures: Vec<String>,
}

impl Restore<'_> {
    /// Makes what holds of them, each followed by what depends on it.
    pub(super) async fn try_doubtful(&self, session: &Session, builder: &Builder<'_>) -> Result<Tried, RestoreError> {
        let inner = &self.plan.inner;
        let mut tried = Tried::default();
        for entry in inner.selection.doubtful.iter().filter_map(|id| inner.toc.entry(*id)) {
            if let Some(on) = entry.dependencies().find(|id| tried.out.contains(id)) {
                let on = inner.toc.entry(on).map_or_else(|| on.to_string(), |entry| entry.shown());
                tried.leave(&entry, format!("it depends on {on}"));
                continue;
            }
            let lacks = inner.document.lacking.iter().find(|it| it.dump_id == entry.dump_id());
            let Some(lacks) = lacks else {
                tried.failures.extend(builder.make("build what follows the rows", &[entry.dump_id()]).await?);
                continue;
            };
            // By a session of our own, which hears the SQLSTATE: the server's words may be in any language.
            let (doing, definition) = (format!("build {}", entry.shown()), entry.text(Field::Definition));
            match self.rows().next(session.run(&doing, &definition)).await? {
                Ok(()) => {}
                Err(Error::Statement { reason, .. }) if reason.code() == Some(FOREIGN_KEY_VIOLATION) => {
                    tried.leave(&entry, lacks.why.clone());
                }
                Err(Error::Statement { reason, .. }) if reason.code() == Some(DUPLICATE_OBJECT) => {}
                Err(error @ Error::Statement { .. }) if !session.is_closed() && !error.is_of_the_server() => {
                    tried.failures.push(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(tried)
    }
}

impl Tried {
    fn leave(&mut self, entry: &Entry<'_>, why: String) {
        self.out.insert(entry.dump_id());
        self.left_out.push(LeftOut { what: entry.shown(), why });
    }
}
