//! Why a database could not be restored.

use super::super::{Error, contents, quote::readable};
use crate::types::{ContentsError, for_terminal};

/// A restore could not go on. What it had written is gone again, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server, or a client program.
    #[error(transparent)]
    Postgres(#[from] Error),
    /// The backup does not hold the database as it should, or cannot be read.
    #[error(transparent)]
    Backup(#[from] contents::Error),
    /// What is said about the restore makes no sense for this backup. Nothing was written.
    #[error("{}", for_terminal(.0))]
    Usage(String),
    /// The target cannot take it. Nothing was written.
    #[error("{} cannot be restored:\n{}", for_terminal(.database), listed(.reasons))]
    Refused {
        /// The database.
        database: String,
        /// Each reason, with its way out.
        reasons: Vec<String>,
    },
    /// Another restore of the same database runs on this server.
    #[error("another restore of database `{}` runs on this server; wait for its end", for_terminal(.database))]
    Busy {
        /// The database.
        database: String,
    },
    /// `pg_restore` could not make all of the objects.
    #[error("cannot make {what}:\n{}", listed(.failures))]
    Build {
        /// `what is there before the rows`.
        what: &'static str,
        /// Each failure, in the server's words.
        failures: Vec<String>,
    },
    /// The rows of a table could not be loaded.
    #[error("cannot load {}", for_terminal(.table))]
    Rows {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<RestoreError>,
    },
    /// The server counted other rows than the backup.
    #[error("the backup has {expected} rows of it, and the server took {found}; run `drctl verify` on this backup")]
    Count {
        /// Rows in the backup.
        expected: u64,
        /// Rows that the server took.
        found: u64,
    },
    /// A table that this run did not make holds rows.
    #[error("it is not empty, and rows of others are never removed: empty it, or restore beside the live database")]
    NotEmpty,
    /// Sequences of the live database could not be set; the rows that were loaded were taken back.
    #[error(
        "cannot set the sequences of database `{}`: no row was kept, its tables are empty as before; some sequences may stand \
         where they do in the backup",
        for_terminal(.database)
    )]
    Sequences {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: Box<RestoreError>,
    },
    /// A restore into the live database ended on its way.
    #[error(
        "the restore into the live database `{0}` ended half way: the objects that it has made are in it, beside \
         the settings, grants and extensions that it had before; drop those objects, or drop and create the database (DROP \
         DATABASE {1}) with its settings, grants and extensions, and run it again",
        for_terminal(.database),
        readable(.database)
    )]
    HalfInPlace {
        /// The database.
        database: String,
        /// Why it ended.
        #[source]
        source: Box<RestoreError>,
    },
    /// The scratch database is not what the swap needs.
    #[error("database `{}` is not a restored database that is ready to be swapped in", for_terminal(.database))]
    NotReady {
        /// Its name.
        database: String,
    },
    /// No earlier swap can be undone.
    #[error("there is no database that an earlier restore has taken the place of")]
    NothingToUndo,
    /// Sessions did not end.
    #[error(
        "sessions of database `{}` did not end within 30 s: {}; the live database is open again",
        for_terminal(.database),
        for_terminal(.sessions)
    )]
    SessionsRemain {
        /// The database.
        database: String,
        /// Who they are.
        sessions: String,
    },
    /// The connection was lost while databases changed their names.
    #[error("the connection was lost during the swap; database `{}` {state}", for_terminal(.database))]
    LostInSwap {
        /// The live database.
        database: String,
        /// How it is now.
        state: String,
        /// Why.
        #[source]
        source: Box<RestoreError>,
    },
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<ContentsError> for RestoreError {
    fn from(error: ContentsError) -> Self {
        Self::Backup(error.into())
    }
}

impl RestoreError {
    /// Whether a constraint was not fulfilled, a function has raised an error, or sessions have waited for each other: a
    /// constraint that reads other tables may say something else once those are loaded.
    #[must_use]
    pub(super) fn may_be_early(&self) -> bool {
        const CONSTRAINTS: &str = "23";
        const RAISED: &str = "P0";
        const DEADLOCK: &str = "40P01";
        match self {
            Self::Rows { source, .. } => source.may_be_early(),
            Self::Postgres(Error::Statement { reason, .. }) => {
                let is_early = |code: &str| [CONSTRAINTS, RAISED, DEADLOCK].iter().any(|early| code.starts_with(early));
                reason.code().is_some_and(is_early)
            }
            _ => false,
        }
    }

    /// Whether the backup itself is not what it should be.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Backup(error) => error.is_damage(),
            Self::Count { .. } => true,
            Self::Rows { source, .. } | Self::HalfInPlace { source, .. } => source.is_damage(),
            _ => false,
        }
    }
}

fn listed(list: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = list.iter().take(SHOWN).map(|line| format!("  - {}", for_terminal(line))).collect();
    if list.len() > SHOWN {
        lines.push(format!("  and {} more", list.len() - SHOWN));
    }
    lines.join("\n")
}
