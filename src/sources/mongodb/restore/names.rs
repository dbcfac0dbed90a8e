//! The name of the database that is restored into.

use mongodb_driver::bson::{Bson, doc};

use super::{super::Session, RestoreError, plan::Plan};
use crate::types::for_terminal;

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
