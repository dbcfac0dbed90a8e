//! Why a database was not restored.

use super::super::{Reason, contents};
use crate::types::for_terminal;

/// A restore of a database ended early.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server, or the way to it.
    #[error(transparent)]
    Mongodb(#[from] super::super::Error),
    /// What the backup holds of it cannot be read.
    #[error(transparent)]
    Backup(#[from] contents::Error),
    /// What was asked for cannot be meant.
    #[error("{}", crate::types::for_terminal(.0))]
    Usage(String),
    /// The plan says that it cannot be done.
    #[error("database `{}` cannot be restored: {}", for_terminal(.database), .reasons.join("; "))]
    Refused {
        /// The database.
        database: String,
        /// Why.
        reasons: Vec<String>,
    },
    /// A collection could not be made.
    #[error("cannot {doing} for collection `{}`: {reason}", for_terminal(.collection))]
    Build {
        /// What: `create the index email_1`.
        doing: String,
        /// The collection, as the backup calls it.
        collection: String,
        /// The server's words.
        reason: Reason,
    },
    /// The server did not take documents.
    #[error("the server did not take {refused} of {sent} documents of collection `{}`: {reason}", for_terminal(.collection))]
    Documents {
        /// The collection, as the backup calls it.
        collection: String,
        /// How many of a batch it did not take.
        refused: u64,
        /// How many were sent with it.
        sent: u64,
        /// Its words about the first.
        reason: Reason,
    },
    /// The server has done something, and a majority of the members of its set has not.
    #[error(
        "the server has {done} collection `{}`, and cannot promise that this lasts, since a majority of its replica set \
         does not have it: {reason}",
        for_terminal(.collection)
    )]
    MayNotLast {
        /// What: `the documents of`.
        done: String,
        /// The collection, as the backup calls it.
        collection: String,
        /// Its words.
        reason: Reason,
    },
    /// The stream of a collection holds what is no document.
    #[error("the backup's documents of collection `{}` cannot be read: {what}", for_terminal(.collection))]
    Malformed {
        /// The collection.
        collection: String,
        /// What is wrong.
        what: String,
    },
    /// A user or a role could not be made.
    #[error("cannot make {account}: {reason}")]
    Account {
        /// Which: "user `app`".
        account: String,
        /// The server's words.
        reason: Reason,
    },
    /// Collections that are equal could not take their places, others had done so.
    #[error(
        "collection `{}` {place}: {reason}{}",
        for_terminal(.collection),
        in_place(.done)
    )]
    Switch {
        /// The collection.
        collection: String,
        /// The server's words.
        reason: Reason,
        /// Whether it is in its place.
        place: Place,
        /// Those that had.
        done: Vec<String>,
    },
    /// The run was told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Whether a collection has taken its place, of which an error speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has not.
    NotTaken,
    /// Nobody knows.
    Unknown,
    /// It has, and a majority of the members has not heard of it.
    MayNotLast,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotTaken => "could not take its place",
            Self::Unknown => "may have taken its place or not: the server does not answer",
            Self::MayNotLast => "has its place, and a majority of the replica set does not know of it yet",
        })
    }
}

fn in_place(done: &[String]) -> String {
    if done.is_empty() {
        return String::new();
    }
    let names: Vec<_> = done.iter().map(|name| for_terminal(name)).collect();
    format!("; these are in their places already: {}", names.join(", "))
}

impl RestoreError {
    /// Whether it may pass by itself, as the server's error says.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Mongodb(error) if error.is_early())
    }

    /// Whether the backup itself is at fault.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Backup(error) => error.is_damage(),
            Self::Malformed { .. } => true,
            _ => false,
        }
    }
}
