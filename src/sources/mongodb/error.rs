//! Why a database could not be read or written.

use crate::types::{InvalidDatabaseName, for_terminal};

use super::url::InvalidUrl;

/// Something about a MongoDB database did not work.
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
    /// The address can be read, and the driver does not take what it asks for.
    #[error("the address of the MongoDB server {server} cannot be used: {reason}")]
    Address {
        /// Host and port.
        server: String,
        /// What is wrong with it.
        reason: InvalidUrl,
    },
    /// Nothing says which database is meant.
    #[error(
        "nothing says which database of {server} is meant: add it to the address (mongodb://HOST/DATABASE), or write `database: NAME` in the policy"
    )]
    NoDatabase {
        /// Host and port.
        server: String,
    },
    /// The database that is meant is none that can be backed up or restored.
    #[error("the database that is named for {server} cannot be used: {reason}")]
    Name {
        /// Host and port.
        server: String,
        /// Why.
        reason: InvalidDatabaseName,
    },
    /// The same of the database in an address that is given in place of the policy's.
    #[error(
        "{server} cannot be used with the database in the address that is given: {reason}; it counts before `database: {}` of the policy",
        for_terminal(.of_policy)
    )]
    NameInstead {
        /// Host and port.
        server: String,
        /// Why.
        reason: InvalidDatabaseName,
        /// The one that the policy names, which does not count.
        of_policy: String,
    },
    /// The certificates that the connection needs cannot be read or used, or the server's is not trusted.
    #[error("cannot encrypt the connection to {server}: {reason}")]
    Tls {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server ends what was to become an encrypted connection, without a word.
    #[error(
        "cannot encrypt the connection to {server}: the server ends the handshake, perhaps since it takes no encrypted connections \
         ({reason})"
    )]
    Handshake {
        /// Host and port.
        server: String,
        /// What the driver says.
        reason: Reason,
    },
    /// Nobody answers there.
    #[error("cannot reach the MongoDB server {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server answers and refuses: a wrong password, no right.
    #[error("the MongoDB server {server} refuses {user} for database `{database}`: {reason}")]
    Refused {
        /// Host and port.
        server: String,
        /// The user, in words.
        user: String,
        /// The database.
        database: String,
        /// The server's words.
        reason: Reason,
    },
    /// The server is a router of a sharded cluster.
    #[error(
        "{server} is a mongos: a sharded cluster cannot be captured consistently from outside; back it up with its own tools, or move the \
         database to a replica set that is no part of one"
    )]
    Mongos {
        /// Host and port.
        server: String,
    },
    /// The server is one shard of a sharded cluster.
    #[error(
        "{server} is one shard of a sharded cluster, or its config server, and has only a part of what the cluster has; back the cluster up \
         with its own tools, or move the database to a replica set that is no part of one"
    )]
    Shard {
        /// Host and port.
        server: String,
    },
    /// A snapshot needs a replica set.
    #[error(
        "{server} is a standalone server, which has no snapshots; make it a replica set of one member (docs/guides/mongodb.md), or write \
         `consistency: none` into the policy, and its backups are not point-in-time"
    )]
    Standalone {
        /// Host and port.
        server: String,
    },
    /// Users and roles are asked for, and the server does not tell them.
    #[error("the MongoDB server {server} does not tell the users and roles of database `{database}`: {reason}")]
    Accounts {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// The server's words.
        reason: Reason,
    },
    /// A command failed.
    #[error("cannot {doing} in database `{database}` on {server}: {reason}")]
    Command {
        /// What it was for: `list the collections`.
        doing: String,
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// The server's words.
        reason: Reason,
    },
    /// The database was not captured, although its server could be reached.
    #[error("cannot capture database `{database}` on {server}")]
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
}

impl Error {
    /// Whether it may pass by itself: an image of MongoDB makes its users, and a replica set its primary, a moment later.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Tls { .. } | Self::Handshake { .. } | Self::Refused { .. })
    }
}

/// What a server or the driver said, in one line, without values of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    text: String,
    code: Option<i32>,
}

/// Whoever asks has no right to.
const UNAUTHORIZED: i32 = 13;
/// User or password are wrong.
const AUTHENTICATION_FAILED: i32 = 18;
const CURSOR_NOT_FOUND: i32 = 43;
const CURSOR_KILLED: i32 = 237;
/// A capped collection has overtaken who reads it.
const CAPPED_POSITION_LOST: i32 = 136;
/// The member that was asked is going, or is no longer the one to ask.
const MEMBER_CHANGES: [i32; 7] = [91, 189, 10107, 11600, 11602, 13435, 13436];
const SNAPSHOT_TOO_OLD: i32 = 239;
const SNAPSHOT_UNAVAILABLE: i32 = 246;

impl Reason {
    /// A reason in our own words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None }
    }

    /// What the server says of a document, or of a command, that it did not take.
    #[must_use]
    pub fn of_server(code: i32, name: &str, message: &str) -> Self {
        let message = without_values(message);
        let text = if name.is_empty() { format!("{message} ({code})") } else { format!("{message} ({name}, {code})") };
        Self { text, code: Some(code) }
    }

    /// The server's code, if it said one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.code, Some(UNAUTHORIZED | AUTHENTICATION_FAILED))
    }

    /// Whether the server no longer knows the cursor, or is not the one to ask any more.
    pub(super) fn is_dead_cursor(&self) -> bool {
        let is_dead = |code| [CURSOR_NOT_FOUND, CURSOR_KILLED, CAPPED_POSITION_LOST].contains(&code);
        self.code.is_some_and(|code| is_dead(code) || MEMBER_CHANGES.contains(&code))
    }

    /// Whether the server no longer has the moment that was asked for.
    pub(super) fn is_lost_snapshot(&self) -> bool {
        self.code == Some(SNAPSHOT_TOO_OLD)
    }

    /// Whether the server has no moment just now, and may have one soon.
    pub(super) fn is_no_snapshot_yet(&self) -> bool {
        self.code == Some(SNAPSHOT_UNAVAILABLE)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&for_terminal(&self.text))
    }
}

impl From<&mongodb_driver::error::Error> for Reason {
    fn from(error: &mongodb_driver::error::Error) -> Self {
        use mongodb_driver::error::{ErrorKind as K, WriteFailure};
        match error.kind.as_ref() {
            K::Command(said) => Self::of_server(said.code, &said.code_name, &said.message),
            K::Write(WriteFailure::WriteError(said)) => {
                Self::of_server(said.code, said.code_name.as_deref().unwrap_or_default(), &said.message)
            }
            K::Write(WriteFailure::WriteConcernError(said)) => {
                Self::of_server(said.code, &said.code_name, &said.message)
            }
            K::Authentication { message, .. } => {
                Self { text: without_values(message).to_owned(), code: Some(AUTHENTICATION_FAILED) }
            }
            K::ServerSelection { message, .. } => Self::text(innermost(message)),
            K::Io(error) => Self::text(error.to_string()),
            K::DnsResolve { message, .. } => Self::text(of_names(message)),
            K::ConnectionPoolCleared { .. }
            | K::InvalidTlsConfig { .. }
            | K::IncompatibleServer { .. }
            | K::SessionsNotSupported
            | K::Custom(_)
            | K::Shutdown => Self::text(error.kind.to_string()),
            // What these say may be a piece of the address, or of a document.
            K::InvalidArgument { .. } => Self::text("the driver does not take an option of the address"),
            K::InvalidResponse { .. } | K::Bson(_) | K::BsonDeserialization(_) => {
                Self::text("the server's answer cannot be read")
            }
            _ => Self::text("the driver has failed"),
        }
    }
}

/// A message up to what may be out of a document, such as the key that is there already.
fn without_values(message: &str) -> &str {
    const BEFORE: [&str; 6] = [" dup key:", "{", "First element:", "ObjectId(", " unsupported:", ": \""];
    let end = BEFORE.iter().filter_map(|mark| message.find(mark)).min().unwrap_or(message.len());
    match message.get(..end) {
        Some(told) if end < message.len() => told.trim_end_matches([' ', ':', ',']),
        _ => message,
    }
}

/// Why a `mongodb+srv` name did not lead to servers. The driver shows a query as its own program text has it.
fn of_names(message: &str) -> String {
    if message.contains("no records found") {
        let name = message.split_once("Name(\"").and_then(|(_, after)| after.split_once('"'));
        let name = name.map_or("its name", |(name, _)| name.trim_end_matches('.'));
        return format!("the name server knows no servers of {name} (SRV)");
    }
    if message.contains("request timed out") {
        return "no name server answers (/etc/resolv.conf names them)".to_owned();
    }
    format!("its name was not found out: {message}")
}

/// A replica set answers, and nobody in it leads.
const NO_PRIMARY: &str = "none of its servers is a primary that can be read from or written to: an election runs, or the replica set \
                          is not initiated (rs.initiate())";
/// There are servers, and others are asked for.
const NONE_FITS: &str = "none of its servers is one that the address asks for (readPreference)";

/// What is wrong where servers answer; nothing if none does.
fn of_answering(message: &str) -> Option<&'static str> {
    let (_, servers) = message.split_once("Servers: [")?;
    let has = |kind: &str| servers.contains(&format!(", Type: {kind}"));
    if has("RsPrimary") || has("Standalone") || has("Mongos") {
        return message.contains("None of the available servers").then_some(NONE_FITS);
    }
    // Where another one cannot be reached it may be the primary: then why that is, is what counts.
    let all_answer = !servers.contains("Error: Kind: ");
    (all_answer && ["RsSecondary", "RsGhost", "RsArbiter", "RsOther"].into_iter().any(has)).then_some(NO_PRIMARY)
}

/// The driver describes all it knows of the servers, and somewhere in it why the first one did not answer.
fn innermost(message: &str) -> &str {
    if let Some(words) = of_answering(message) {
        return words;
    }
    let Some((_, said)) = message.split_once("Error: Kind: ") else {
        let said = message.split(" Topology:").next().unwrap_or(message).trim_end_matches('.');
        return if said.starts_with("Server selection timeout") { "no answer in time" } else { said };
    };
    let said = said.split_once(", labels:").map_or(said, |(said, _)| said);
    ["I/O error: ", "An invalid argument was provided: "]
        .iter()
        .find_map(|kind| said.strip_prefix(kind))
        .unwrap_or(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_server_that_does_not_answer_is_found_in_the_drivers_description() {
        let long = "Server selection timeout: No available servers. Topology: { Type: Single, Servers: [ { Address: \
                    127.0.0.1:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {} } ] }";
        assert_eq!(innermost(long), "Connection refused (os error 111)");
        assert_eq!(innermost("None of these. Topology: { }"), "None of these");
        let silent = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: h:1, \
                      Type: Unknown } ] }";
        assert_eq!(innermost(silent), "no answer in time");
    }

    #[test]
    fn servers_that_answer_and_are_no_primary_are_told_as_such() {
        let of = |criteria: &str, kind: &str, servers: &str| {
            format!(
                "Server selection timeout: None of the available servers suitable for criteria ReadPreference({criteria}). Topology: \
                 {{ Type: {kind}, Servers: [ {servers} ] }}"
            )
        };
        let one = |kind: &str| format!("{{ Address: h:1, Type: {kind}, Average RTT: 1ms, Max Wire Version: 21 }}");
        let dead =
            "{ Address: h:2, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {} }";
        let half = of("Primary", "ReplicaSetNoPrimary", &format!("{dead}, {}", one("RsSecondary")));
        assert_eq!(innermost(&half), "Connection refused (os error 111)");
        for servers in [one("RsSecondary"), one("RsGhost")] {
            assert_eq!(innermost(&of("Primary", "ReplicaSetNoPrimary", &servers)), NO_PRIMARY, "{servers}");
        }
        let primary = of("Secondary", "ReplicaSetWithPrimary", &one("RsPrimary"));
        assert_eq!(innermost(&primary), NONE_FITS);
        let dead = format!(
            "Server selection timeout: No available servers. Topology: {{ Type: Unknown, Servers: [ {dead} ] }}"
        );
        assert_eq!(innermost(&dead), "Connection refused (os error 111)");
    }

    #[test]
    fn what_a_name_server_says_is_told_in_words() {
        let query = "DNS error: no records found for Query { name: Name(\"_mongodb._tcp.crm.drctl.test.\"), query_type: SRV, \
                     query_class: IN }";
        assert_eq!(of_names(query), "the name server knows no servers of _mongodb._tcp.crm.drctl.test (SRV)");
        assert!(of_names("request timed out").starts_with("no name server answers"));
        assert_eq!(
            of_names("DNS error: error response: Refused"),
            "its name was not found out: DNS error: error response: Refused"
        );
    }

    #[test]
    fn values_of_documents_are_not_in_a_reason() {
        let said = "E11000 duplicate key error collection: crm.contacts index: email dup key: { email: \"a@b\" }";
        let reason = Reason::of_server(11000, "DuplicateKey", said);
        assert_eq!(
            reason.to_string(),
            "E11000 duplicate key error collection: crm.contacts index: email (DuplicateKey, 11000)"
        );
        assert_eq!(reason.code(), Some(11000));
        for (said, told) in [
            ("Can't extract geo keys: { _id: 1, at: \"hunter2\" }", "Can't extract geo keys"),
            ("BSONObj size: 17 is invalid. First element: _id: \"hunter2\"", "BSONObj size: 17 is invalid."),
            (
                "Index build failed: 1: caused by :: E11000 dup key: { a: \"hunter2\" }",
                "Index build failed: 1: caused by :: E11000",
            ),
            ("language override unsupported: hunter2", "language override"),
            (
                "not authorized on crm to execute command { find: \"a\", filter: {} }",
                "not authorized on crm to execute command",
            ),
            ("Document failed validation", "Document failed validation"),
        ] {
            assert_eq!(without_values(said), told);
        }
        let argument = mongodb_driver::options::ConnectionString::parse("mongodb://u:hunter2@h/d?w=-7").unwrap_err();
        assert!(!Reason::from(&argument).to_string().contains("hunter2"));
    }
}
