//! Names of MongoDB databases.

use super::for_terminal;

/// From this length on, in bytes, servers take no name of a database.
const TOO_LONG: usize = 64;
/// What servers take in no name of a database.
const REFUSED: &str = "/\\. \"$";
/// Databases that belong to the server itself.
const OF_SERVER: [&str; 3] = ["admin", "config", "local"];

/// A name of no database that can be backed up or restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseName {
    /// No server takes it.
    #[error(
        "`{}` is no name of a MongoDB database: it has 1 to 63 bytes, and none of / \\ . \" $ or spaces",
        for_terminal(.0)
    )]
    NotTaken(String),
    /// It is the name of one that the server has for itself, or differs from it only by case.
    #[error("database `{}` belongs to the server itself", for_terminal(.0))]
    OfServer(String),
}

/// Looks whether an application can have a database of this name. Told before a server is asked: some say so only once
/// something is created, and what a server keeps for itself would be read or replaced.
///
/// # Errors
/// [`InvalidDatabaseName`] says why it cannot.
pub fn check_database_name(database: &str) -> Result<(), InvalidDatabaseName> {
    if database.is_empty()
        || database.len() >= TOO_LONG
        || database.contains(|one: char| one.is_control() || REFUSED.contains(one))
    {
        return Err(InvalidDatabaseName::NotTaken(database.to_owned()));
    }
    if OF_SERVER.iter().any(|name| name.eq_ignore_ascii_case(database)) {
        return Err(InvalidDatabaseName::OfServer(database.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_server_takes_are_refused_and_others_are_not() {
        for name in ["crm", "crm_db-2", "Ümläut", "administration", "local_news", &"a".repeat(63)] {
            assert_eq!(check_database_name(name), Ok(()), "{name}");
        }
        for name in ["", "a b", "a.b", "a$", "a/b", "a\\b", "a\"b", "a\0b", &"a".repeat(64)] {
            let said = check_database_name(name).unwrap_err().to_string();
            assert!(said.contains("is no name of a MongoDB database"), "{name}: {said}");
        }
    }

    #[test]
    fn databases_of_the_server_itself_are_refused_in_any_case() {
        for name in ["admin", "local", "config", "Admin", "LOCAL"] {
            assert_eq!(check_database_name(name), Err(InvalidDatabaseName::OfServer(name.to_owned())));
        }
    }
}
