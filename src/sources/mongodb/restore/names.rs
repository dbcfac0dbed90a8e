//! Names: of the database that is restored into, and of collections in advice.

use mongodb_driver::bson::{Bson, doc};

use super::{
    super::Session,
    RestoreError,
    plan::{ALL, Plan},
};
use crate::types::{for_terminal, shell_option};

/// The options of the command line that agree to the loss of this live collection, and of no other.
pub(super) fn drop_option(name: &str) -> String {
    let option = shell_option("--drop", name);
    // As a value of --drop it means all that is restored; --collection takes it for the name that it is.
    if name == ALL { format!("{} {option}", shell_option("--collection", name)) } else { option }
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
    fn advice_to_drop_a_collection_that_is_called_as_all_are_concerns_it_alone() {
        assert_eq!(drop_option("orders"), "--drop orders");
        assert_eq!(drop_option("*"), "--collection '*' --drop '*'");
        assert_eq!(drop_option("a*"), "--drop 'a*'");
    }
}
