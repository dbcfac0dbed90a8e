//! The name of the database that is restored into.

use mongodb_driver::bson::{Bson, doc};

use super::{super::Session, RestoreError, plan::Plan};
use crate::types::for_terminal;

/// From this length on, in bytes, servers take no name of a database.
const TOO_LONG: usize = 64;
/// What servers take in no name of a database.
const REFUSED: &str = "/\\. \"$\0";

/// Looks whether any server takes this name. Told before one is asked: some say so only once something is created.
///
/// # Errors
/// [`RestoreError::Usage`].
pub(super) fn check(database: &str) -> Result<(), RestoreError> {
    if !database.is_empty() && database.len() < TOO_LONG && !database.contains(|one| REFUSED.contains(one)) {
        return Ok(());
    }
    Err(RestoreError::Usage(format!(
        "`{}` is no name of a MongoDB database: it has 1 to 63 bytes, and none of / \\ . \" $ or spaces; name another by \
         --target-database",
        for_terminal(database)
    )))
}

impl Plan {
    /// Servers refuse two databases whose names differ only by case.
    pub(super) async fn look_at_names(&mut self, session: &Session) -> Result<(), RestoreError> {
        let list = doc! {"listDatabases": 1, "nameOnly": true};
        // Who may use only one database may not list them; then the server says it later.
        let Ok(reply) = session.admin("list the databases", list).await else { return Ok(()) };
        let names = reply.get_array("databases").into_iter().flatten().filter_map(Bson::as_document);
        let same = |name: &&str| name.eq_ignore_ascii_case(&self.database) && *name != self.database;
        if let Some(other) = names.filter_map(|it| it.get_str("name").ok()).find(same) {
            let (other, mine) = (for_terminal(other), for_terminal(&self.database));
            self.refusals.push(format!("the server has database `{other}`, and refuses `{mine}` beside it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_server_takes_are_refused_and_others_are_not() {
        for name in ["crm", "crm_db-2", "Ümläut", &"a".repeat(63)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "a.b", "a$", "a/b", "a\\b", "a\"b", "a\0b", &"a".repeat(64)] {
            let said = check(name).unwrap_err().to_string();
            assert!(said.contains("is no name of a MongoDB database"), "{name}: {said}");
        }
    }
}
