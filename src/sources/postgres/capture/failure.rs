//! Why a database was not captured, although its server could be reached.

use std::fmt;

use crate::types::for_terminal;

/// Why a database was not captured. Nothing of it is in the backup then.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A pattern of the policy.
    #[error("the policy's {0}")]
    Pattern(#[from] crate::types::InvalidPattern),
    /// No schema that the policy names exists.
    #[error("no schema fits `schemas` of the policy: {0}")]
    NoSchema(String),
    /// The role may not read all that the policy selects.
    #[error(
        "role `{role}` may not read {list}; `GRANT pg_read_all_data TO {role}` lets it (PostgreSQL 14 and later), or leave them \
         out by `excludeTables`"
    )]
    Unreadable {
        /// The role.
        role: String,
        /// What it may not read.
        list: String,
    },
    /// Row security would hide rows from the role.
    #[error(
        "row security may hide rows from role `{role}` in {list}; `ALTER ROLE {role} BYPASSRLS` lets it read them all, or \
         leave them out by `excludeTables`"
    )]
    RowSecurity {
        /// The role.
        role: String,
        /// The tables.
        list: String,
    },
    /// Somebody else holds a lock on a table for too long.
    #[error(
        "tables could not be locked in {tries} tries of {seconds} s each: {holder}; wait until that is done, or take the \
         backup at another time"
    )]
    Locked {
        /// How often it was tried.
        tries: u32,
        /// How long each time.
        seconds: u64,
        /// Who holds it.
        holder: Peer,
    },
    /// Somebody waited for our locks, again and again.
    #[error(
        "{waiter} waited {seconds} s for the backup, which gave way {tries} times; take the backup at a time without such \
         statements, or leave the table out by `excludeTables`"
    )]
    GaveWay {
        /// Who waited.
        waiter: Peer,
        /// For how long.
        seconds: u64,
        /// How often.
        tries: u32,
    },
    /// Tables come and go faster than they can be locked.
    #[error("tables were dropped or rewritten while they were being locked, {tries} times in a row; run it again")]
    Changing {
        /// How often it was tried.
        tries: u32,
    },
    /// The session that holds the locks and the snapshot is gone.
    #[error("the session that holds the snapshot was lost: {0}")]
    LeaderLost(String),
    /// The session that looks out for waiting sessions is gone.
    #[error("the session that watches the locks was lost: {0}")]
    WatchLost(String),
    /// `pg_dump` failed.
    #[error("pg_dump failed ({status}){}", colon(.reason))]
    Dump {
        /// How it ended.
        status: String,
        /// Its own words.
        reason: String,
    },
    /// The archive is not what `pg_dump` writes.
    #[error("what pg_dump wrote cannot be trusted: {0}")]
    Archive(String),
    /// What the server sent as rows is not what it should be.
    #[error("the rows that the server sent cannot be trusted: {0}")]
    Rows(String),
}

fn colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", for_terminal(reason)) }
}

/// Another session of the server, as far as this role may see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its process number; 0 if it is not known.
    pub pid: i32,
    /// Its role, if it may be seen.
    pub role: String,
    /// Its application name, if it may be seen.
    pub application: String,
    /// The first words of its statement, if they may be seen: `ALTER TABLE orders`.
    pub statement: String,
    /// The table that it is about.
    pub table: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("another session");
        }
        write!(f, "session {}", self.pid)?;
        let facts = [
            ("role ", &self.role),
            ("application ", &self.application),
            ("at ", &self.statement),
            ("on ", &self.table),
        ];
        let facts: Vec<String> = facts
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(word, value)| format!("{word}`{}`", for_terminal(value)))
            .collect();
        if facts.is_empty() { Ok(()) } else { write!(f, " ({})", facts.join(", ")) }
    }
}

/// The first words of a statement: enough to know it by, and never a value (a password, a row).
pub(super) fn first_words(statement: &str) -> String {
    let safe = |word: &&str| !word.contains(['\'', '$', '(', '"']) && word.len() <= 64;
    statement.split_whitespace().take(3).take_while(safe).collect::<Vec<_>>().join(" ")
}

/// Names for a message: the first few, and how many more there are.
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| for_terminal(name).into_owned()).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_first_words_and_never_by_its_values() {
        assert_eq!(first_words("ALTER  TABLE orders\n ADD COLUMN x int"), "ALTER TABLE orders");
        assert_eq!(first_words("ALTER ROLE 'x' PASSWORD 'y'"), "ALTER ROLE");
        assert_eq!(first_words("truncate \"Odd name\""), "truncate");
        assert_eq!(first_words("SELECT pg_sleep('1')"), "SELECT");
    }

    #[test]
    fn a_peer_is_named_as_far_as_it_may_be_seen() {
        let peer = Peer {
            pid: 7,
            role: "app".to_owned(),
            statement: "ALTER TABLE orders".to_owned(),
            table: "public.orders".to_owned(),
            ..Peer::default()
        };
        assert_eq!(peer.to_string(), "session 7 (role `app`, at `ALTER TABLE orders`, on `public.orders`)");
        assert_eq!(Peer { pid: 7, ..Peer::default() }.to_string(), "session 7");
        assert_eq!(Peer::default().to_string(), "another session");
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let names: Vec<String> = (0..7).map(|n| format!("t{n}")).collect();
        assert_eq!(some_of(&names), "t0, t1, t2, t3, t4 and 2 more");
    }
}
