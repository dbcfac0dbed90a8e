//! Why a database was not captured, although its server could be reached.

use super::super::{definition::Change, error::Reason, extjson::InvalidDocument};
use crate::types::for_terminal;

/// Why a database was not captured. Nothing of it is in the backup then.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A collection did not stay what it was.
    #[error("collection `{}` {change} while the database was read; run it again", for_terminal(.collection))]
    Changed {
        /// The collection.
        collection: String,
        /// What happened to it.
        change: Change,
    },
    /// A collection was dropped, renamed or its cursor killed, again and again.
    #[error("cannot read collection `{}`: {reason}{}", for_terminal(.collection), after(*.tries))]
    Read {
        /// The collection.
        collection: String,
        /// Why not.
        reason: Reason,
        /// How often it was tried.
        tries: u32,
    },
    /// The server has thrown the moment of the snapshot away.
    #[error(
        "cannot read collection `{}` as it was at the moment of the snapshot: {reason}; the server keeps a moment for \
         minSnapshotHistoryWindowInSeconds (300 by default), and reading took longer: an administrator raises it with setParameter, \
         or write `consistency: none` into the policy",
        for_terminal(.collection)
    )]
    SnapshotTooOld {
        /// The collection.
        collection: String,
        /// The server's words.
        reason: Reason,
    },
    /// The server has no moment at which it could be read, and has one again soon.
    #[error(
        "cannot read collection `{}` as it was at the moment of the snapshot: {reason}; the server has no such moment just now: run it \
         again{}",
        for_terminal(.collection), after(*.tries)
    )]
    SnapshotUnavailable {
        /// The collection.
        collection: String,
        /// The server's words.
        reason: Reason,
        /// How often it was tried.
        tries: u32,
    },
    /// The server takes the reads and does not say which moment they are of.
    #[error("the server does not say which moment its snapshot is of; write `consistency: none` into the policy")]
    NoMoment,
    /// The server sends what no document can be.
    #[error("what the server sent of collection `{}` cannot be trusted: {what}", for_terminal(.collection))]
    Documents {
        /// The collection.
        collection: String,
        /// What is wrong with it.
        what: String,
    },
    /// A definition cannot be written down.
    #[error("cannot write down how collection `{}` is defined: {source}", for_terminal(.collection))]
    Definition {
        /// The collection.
        collection: String,
        /// Why not.
        source: InvalidDocument,
    },
    /// A user or a role cannot be written down.
    #[error("cannot write down a user or a role: {what}")]
    Account {
        /// Why not.
        what: String,
    },
    /// The server lists what no collection can be.
    #[error("what the server lists cannot be trusted: {0}")]
    Listing(String),
}

fn after(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}
