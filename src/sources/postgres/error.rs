//! Why a database could not be read or written.

use std::{error::Error as _, path::PathBuf};

use super::url::InvalidUrl;
use crate::types::for_terminal;

/// Something about a PostgreSQL database did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none. It is not shown: there may be a password in it.
    #[error("the address of source `{source_name}` cannot be used: {reason}")]
    Url {
        /// The source's name in the policy.
        source_name: String,
        /// What is wrong with it.
        reason: InvalidUrl,
    },
    /// The certificates that the connection needs cannot be read or used.
    #[error("cannot encrypt the connection to {server}: {reason}")]
    Tls {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach the PostgreSQL server {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server answers and refuses: a wrong password, no such database, no right to connect.
    #[error("the PostgreSQL server {server} refuses role `{}` for database `{}`: {reason}", for_terminal(.user), for_terminal(.database))]
    Refused {
        /// Host and port.
        server: String,
        /// The role.
        user: String,
        /// The database.
        database: String,
        /// The server's words.
        reason: Reason,
    },
    /// Something between drctl and the server hands out its sessions.
    #[error(
        "{server} is a connection pooler: a snapshot needs a session of its own; name the PostgreSQL server itself"
    )]
    Pooler {
        /// Host and port.
        server: String,
    },
    /// The server is of a version that this drctl does not know.
    #[error("{server} is PostgreSQL {found}; this version of drctl knows {oldest} to {newest}")]
    Version {
        /// Host and port.
        server: String,
        /// Its version.
        found: String,
        /// The oldest known major version.
        oldest: u32,
        /// The newest known major version.
        newest: u32,
    },
    /// A statement failed.
    #[error("cannot {} in database `{}` on {server}: {reason}", for_terminal(.doing), for_terminal(.database))]
    Statement {
        /// What it was for: `lock the tables`.
        doing: String,
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// The server's words.
        reason: Reason,
    },
    /// A client program is missing.
    #[error(
        "there is no {program} of PostgreSQL {major} here{}; install postgresql-client-{major}, or name its folder by DRCTL_PG_BIN_DIR",
        found_instead(.found)
    )]
    NoTool {
        /// `pg_dump` or `pg_restore`.
        program: &'static str,
        /// The server's major version.
        major: u32,
        /// What was found in its place.
        found: Vec<(PathBuf, u32)>,
    },
    /// A client program could not be run, or failed.
    #[error("{program} failed ({status}) while it was to {doing}{}", words(.stderr))]
    Tool {
        /// `pg_dump` or `pg_restore`.
        program: &'static str,
        /// What it was for.
        doing: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// The database was not captured, although its server could be reached.
    #[error("cannot capture database `{}` on {server}", for_terminal(.database))]
    Capture {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: Box<super::capture::Failure>,
    },
    /// A document of the capture could not be made.
    #[error(transparent)]
    Contents(#[from] super::contents::Error),
    /// Something of this process or machine: a file descriptor, a folder.
    #[error("cannot {doing}")]
    Local {
        /// What.
        doing: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the server refuses the role or its password, whatever the database.
    pub(super) fn is_of_the_role(&self) -> bool {
        const PASSWORD: &str = "28P01";
        matches!(self, Self::Refused { reason, .. } if reason.code() == Some(PASSWORD))
    }

    /// A refusal that is not about one database, said of the one that was asked for.
    pub(super) fn about(mut self, asked: &str) -> Self {
        if let Self::Refused { database, .. } = &mut self {
            asked.clone_into(database);
        }
        self
    }

    /// Whether the server refused because others use the database.
    pub(super) fn is_in_use(&self) -> bool {
        const OBJECT_IN_USE: &str = "55006";
        matches!(self, Self::Statement { reason, .. } if reason.code() == Some(OBJECT_IN_USE))
    }

    /// Whether the server itself could not do it, whatever it was: no room, no memory, somebody who intervened, an
    /// error of its disk.
    pub(super) fn is_of_the_server(&self) -> bool {
        const CLASSES: [&str; 3] = ["53", "57", "58"];
        let is_it = |code: &str| CLASSES.iter().any(|class| code.starts_with(class));
        matches!(self, Self::Statement { reason, .. } if reason.code().is_some_and(is_it))
    }

    /// Whether the server has no room for it: its disk is full, or its memory.
    #[must_use]
    pub fn is_lack_of_room(&self) -> bool {
        const INSUFFICIENT_RESOURCES: &str = "53";
        let is_it = |code: &str| code.starts_with(INSUFFICIENT_RESOURCES);
        matches!(self, Self::Statement { reason, .. } if reason.code().is_some_and(is_it))
    }
}

fn found_instead(found: &[(PathBuf, u32)]) -> String {
    let list: Vec<String> = found.iter().map(|(path, major)| format!("{major} in {}", path.display())).collect();
    if list.is_empty() { String::new() } else { format!(" (only {})", list.join(", ")) }
}

fn words(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() { String::new() } else { format!(": {}", for_terminal(text)) }
}

/// What a server said, in one line, without row values: its message, SQLSTATE, and hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Box<Said>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    text: String,
    code: Option<String>,
}

impl Reason {
    /// The SQLSTATE, if the server said one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// A reason in our own words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(Box::new(Said { text: text.into(), code: None }))
    }
}

impl From<&tokio_postgres::Error> for Reason {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            return Self::text(text);
        };
        let mut text = format!("{} ({})", db.message(), db.code().code());
        // `where` names table, line and column of a COPY. What follows is the row itself, which is nobody's to print.
        if let Some(place) =
            db.where_().and_then(|place| place.lines().next()).filter(|place| place.starts_with("COPY "))
        {
            let place = place.split_once(": ").map_or(place, |(place, _)| place);
            text = format!("{text}, at {place}");
        }
        if let Some(hint) = db.hint() {
            text = format!("{text}; {hint}");
        }
        Self(Box::new(Said { text, code: Some(db.code().code().to_owned()) }))
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&for_terminal(&self.0.text))
    }
}
