//! What a backup holds of a PostgreSQL database: the names of its streams, and the documents among them.
//!
//! Capture writes these, restore and export read them. A backup that can be read at all may still be forged, so
//! everything that is read has bounds, and what contradicts itself is refused.

use std::collections::HashSet;

use bytes::BytesMut;
use futures::TryStreamExt;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    archive::{Framing, Toc},
    quote,
};
use crate::types::{BackupContents, ContentsError, Name, StreamInfo, for_terminal};

/// The archive's header and table of contents, byte for byte.
pub const TOC: &str = "toc";
/// The [`Database`].
pub const DATABASE: &str = "database.json";
/// The [`Roles`].
pub const ROLES: &str = "roles.json";
/// SQL for recovery by hand: what is there before the rows.
pub const PRE_DATA: &str = "pre-data.sql";
/// SQL for recovery by hand: what follows the rows.
pub const POST_DATA: &str = "post-data.sql";
/// SQL for recovery by hand: the values of sequences.
pub const SEQUENCES: &str = "sequences.sql";
/// SQL for recovery by hand: large objects without their contents. Only of archives from 1.16 on; before, they are
/// in `pre-data.sql`.
pub const LARGE_OBJECTS: &str = "large-objects.sql";
/// The one part of each stream that is not rows and not large objects.
pub const WHOLE: &str = "whole";

/// The most bytes of a document.
const MAX_DOCUMENT: u64 = 64 << 20;

/// The version of the documents.
pub const API_VERSION: &str = "drctl/v1";

/// The name of the stream with a table's rows: schema and table, quoted where PostgreSQL needs it.
#[must_use]
pub fn table_stream(schema: &str, table: &str) -> String {
    quote::shown(schema, table)
}

/// The name of the stream with the large objects of an entry: its parts are named by their oids.
#[must_use]
pub fn large_objects_stream(dump_id: u32) -> String {
    format!("large-objects/{dump_id}")
}

/// The names of the streams of all tables of an archive, in its order. Names that are equal once they are shown as
/// UTF-8 get their dump ids appended.
#[must_use]
pub fn table_streams(toc: &Toc) -> Vec<(u32, String)> {
    let mut names =
        HashSet::from([TOC, DATABASE, ROLES, PRE_DATA, POST_DATA, SEQUENCES, LARGE_OBJECTS].map(str::to_owned));
    toc.tables()
        .map(|entry| {
            let mut name = table_stream(&entry.namespace(), &entry.tag());
            if !names.insert(name.clone()) {
                name = format!("{name}~{}", entry.dump_id());
                names.insert(name.clone());
            }
            (entry.dump_id(), name)
        })
        .collect()
}

/// `database.json`: what is not rows and not in the table of contents, and where the rows are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The version of this document: `drctl/v1`.
    pub api_version: String,
    /// `PostgresDatabase`.
    pub kind: String,
    /// The database's name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its access privileges as PostgreSQL lists them (`postgres=CTc/postgres`); absent: the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<String>>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `ALTER DATABASE ... SET`, and `ALTER ROLE ... IN DATABASE ... SET`.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Its encoding: `UTF8`.
    pub encoding: String,
    /// How text sorts in it.
    pub locale: Locale,
    /// How many may connect; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i32>,
    /// The server.
    pub server: Server,
    /// The archive that was taken apart.
    pub archive: Archive,
    /// The moment that the rows are of.
    pub snapshot: Snapshot,
    /// What the policy left out.
    #[serde(default)]
    pub exclusions: Exclusions,
    /// The tables with rows, in the order of the archive.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// The blocks of large objects, in the order of the archive.
    #[serde(default)]
    pub large_objects: Vec<LargeObjects>,
    /// All sequences.
    #[serde(default)]
    pub sequences: Vec<Sequence>,
    /// Extensions that are installed in it.
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// What is in the database and not in the backup.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A setting that belongs to the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Only for this role; absent: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value as it is stored.
    pub value: String,
}

/// How text sorts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Locale {
    /// `libc`, `icu` or `builtin`.
    pub provider: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The locale of `icu` and `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Rules that `icu` sorts by, beside its locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// The version of the collation that indexes were built with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The server that the backup was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Its version in its own words: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The same as a number: 150018.
    pub number: u32,
}

/// The archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Archive {
    /// The version of the format: `1.14`.
    pub version: String,
    /// The version of pg_dump in its own words.
    pub pg_dump: String,
    /// How the data of a block follows from plain bytes.
    pub framing: Framing,
    /// Its bytes, as pg_dump wrote it.
    pub bytes: u64,
}

/// The moment of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When it was taken, by the server's clock.
    pub time: Timestamp,
    /// The position in the write-ahead log: `0/16B3748`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Whether the server was a standby.
    #[serde(default)]
    pub standby: bool,
}

/// What the policy left out, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exclusions {
    /// Only these schemas were dumped; empty: all.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Tables that were left out, patterns of pg_dump.
    #[serde(default)]
    pub exclude_tables: Vec<String>,
    /// Tables whose rows were left out, patterns of pg_dump.
    #[serde(default)]
    pub exclude_table_data: Vec<String>,
}

/// A table with rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// The dump id of its `TABLE DATA`.
    pub dump_id: u32,
    /// Its schema, not quoted.
    pub schema: String,
    /// Its name, not quoted.
    pub name: String,
    /// The stream with its rows.
    pub stream: String,
    /// The COPY statement that loads them: `COPY public.people (id, name) FROM stdin;`.
    pub copy: String,
    /// The table at the root of the partitions that they are loaded through, quoted, where pg_dump says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The columns in the order of the fields, not quoted.
    #[serde(default)]
    pub columns: Vec<String>,
}

/// A block of large objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LargeObjects {
    /// The dump id of its `BLOBS`.
    pub dump_id: u32,
    /// The stream with them, a part each.
    pub stream: String,
    /// How many there are.
    pub count: u64,
}

/// A sequence and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sequence {
    /// Its schema, not quoted.
    pub schema: String,
    /// Its name, not quoted.
    pub name: String,
    /// Its last value, or the first if it was never called.
    pub last_value: i64,
    /// Whether it has given out that value.
    pub is_called: bool,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The schema that it is installed in.
    pub schema: String,
}

/// Something that is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// What: `rows of public.sessions`, `subscription mirror`.
    pub what: String,
    /// Why: `excludeTableData`, `a foreign table has its rows elsewhere`.
    pub why: String,
}

/// `roles.json`: the roles that the database's objects and grants name, without passwords.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// The version of this document: `drctl/v1`.
    pub api_version: String,
    /// `PostgresRoles`.
    pub kind: String,
    /// The roles, sorted by name.
    pub roles: Vec<Role>,
    /// Which role is a member of which.
    #[serde(default)]
    pub memberships: Vec<Membership>,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "they are the attributes that PostgreSQL gives a role")]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `INHERIT`.
    pub inherit: bool,
    /// `CREATEROLE`.
    pub create_role: bool,
    /// `CREATEDB`.
    pub create_db: bool,
    /// `LOGIN`.
    pub login: bool,
    /// `REPLICATION`.
    pub replication: bool,
    /// `BYPASSRLS`.
    pub bypass_rls: bool,
    /// `CONNECTION LIMIT`; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i32>,
    /// `VALID UNTIL`, in the server's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// `ALTER ROLE ... SET`, for all databases.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// One role's membership in another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The role that has members.
    pub role: String,
    /// The member.
    pub member: String,
    /// Who granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
    /// `ADMIN OPTION`.
    pub admin_option: bool,
    /// `INHERIT OPTION`, from PostgreSQL 16 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit_option: Option<bool>,
    /// `SET OPTION`, from PostgreSQL 16 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_option: Option<bool>,
}

/// A document of a database in a backup.
pub trait Document: Serialize + DeserializeOwned {
    /// The stream that holds it.
    const STREAM: &'static str;
    /// Its kind.
    const KIND: &'static str;

    /// The version and the kind that it says.
    fn identity(&self) -> (&str, &str);

    /// The first thing in it that contradicts another, if there is one.
    fn contradiction(&self) -> Option<String> {
        None
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be written as JSON.
    fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| json_error(Self::STREAM, &error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads it from its bytes.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Version`], [`Error::Contradiction`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| json_error(Self::STREAM, &error))?;
        let (version, kind) = document.identity();
        if (version, kind) != (API_VERSION, Self::KIND) {
            let found = for_terminal(&format!("{version} {kind}")).into_owned();
            return Err(Error::Version { stream: Self::STREAM, found, wanted: Self::KIND });
        }
        match document.contradiction() {
            Some(what) => Err(Error::Contradiction { stream: Self::STREAM, what: for_terminal(&what).into_owned() }),
            None => Ok(document),
        }
    }
}

impl Document for Database {
    const STREAM: &'static str = DATABASE;
    const KIND: &'static str = "PostgresDatabase";

    fn identity(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }

    fn contradiction(&self) -> Option<String> {
        let (mut ids, mut streams, mut tables) = (HashSet::new(), HashSet::new(), HashSet::new());
        for table in &self.tables {
            if !tables.insert((&table.schema, &table.name)) {
                return Some(format!("it names table {} twice", table_stream(&table.schema, &table.name)));
            }
        }
        let tables = self.tables.iter().map(|table| (table.dump_id, &table.stream));
        for (id, stream) in tables.chain(self.large_objects.iter().map(|block| (block.dump_id, &block.stream))) {
            if !ids.insert(id) {
                return Some(format!("it names dump id {id} twice"));
            }
            if !streams.insert(stream) {
                return Some(format!("it names stream {stream} twice"));
            }
        }
        None
    }
}

impl Document for Roles {
    const STREAM: &'static str = ROLES;
    const KIND: &'static str = "PostgresRoles";

    fn identity(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
}

impl Roles {
    /// A new document.
    #[must_use]
    pub fn new(roles: Vec<Role>, memberships: Vec<Membership>) -> Self {
        let (api_version, kind) = (API_VERSION.to_owned(), Self::KIND.to_owned());
        Self { api_version, kind, roles, memberships, unknown: Map::new() }
    }
}

/// A backup does not hold a database as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source has no such stream.
    #[error("source {source_name} has no stream `{}` in this backup", for_terminal(.stream))]
    NoStream {
        /// The source.
        source_name: Name,
        /// The stream.
        stream: String,
    },
    /// A stream that must be small is large.
    #[error("stream `{}` has {bytes} bytes, and at most {most} are read", for_terminal(.stream))]
    TooLarge {
        /// The stream.
        stream: String,
        /// Its bytes.
        bytes: u64,
        /// The most that are read.
        most: u64,
    },
    /// A document is no JSON of its form.
    #[error("`{stream}` is not as it should be: {reason}")]
    Json {
        /// The stream.
        stream: &'static str,
        /// Why.
        reason: String,
    },
    /// A document of another version.
    #[error(
        "`{stream}` is a document `{found}`, and this drctl reads `drctl/v1 {wanted}`: use the drctl that wrote it"
    )]
    Version {
        /// The stream.
        stream: &'static str,
        /// What it says.
        found: String,
        /// The kind that was wanted.
        wanted: &'static str,
    },
    /// A document contradicts itself.
    #[error("`{stream}` contradicts itself: {what}")]
    Contradiction {
        /// The stream.
        stream: &'static str,
        /// How.
        what: String,
    },
    /// Rows or large objects are not as they should be.
    #[error("stream `{}`: {what}", for_terminal(.stream))]
    Rows {
        /// The stream.
        stream: String,
        /// What is wrong.
        what: String,
    },
    /// The archive's table of contents is no such thing.
    #[error("stream `toc`: {0}")]
    Toc(super::archive::Error),
    /// The backup could not be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
}

impl Error {
    /// Whether what is stored is not what a capture stores: exit code 4.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Contents(error) => error.damaged,
            Self::Version { .. } => false,
            _ => true,
        }
    }
}

fn json_error(stream: &'static str, error: &serde_json::Error) -> Error {
    Error::Json { stream, reason: for_terminal(&error.to_string()).into_owned() }
}

/// The stream of a source with this name.
///
/// # Errors
/// [`Error::NoStream`] if there is none.
pub fn stream<'a>(contents: &'a dyn BackupContents, source: &Name, name: &str) -> Result<&'a StreamInfo, Error> {
    let found = contents.streams().iter().find(|stream| stream.source == *source && stream.name == name);
    found.ok_or_else(|| Error::NoStream { source_name: source.clone(), stream: name.to_owned() })
}

/// All bytes of a stream that must be small; `most` bounds them.
///
/// # Errors
/// [`Error::NoStream`], [`Error::TooLarge`], [`Error::Contents`].
pub async fn read_whole(
    contents: &dyn BackupContents,
    source: &Name,
    name: &str,
    most: u64,
) -> Result<BytesMut, Error> {
    let info = stream(contents, source, name)?;
    let bytes = info.parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.length));
    if bytes > most {
        return Err(Error::TooLarge { stream: name.to_owned(), bytes, most });
    }
    let mut whole = BytesMut::new();
    for part in 0..info.parts.len() {
        let mut pieces = contents.read_part(info, part).await?;
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole)
}

/// Reads a document of a source.
///
/// # Errors
/// [`Error`] if it is not there, too large, or not as it should be.
pub async fn read<T: Document>(contents: &dyn BackupContents, source: &Name) -> Result<T, Error> {
    T::from_bytes(&read_whole(contents, source, T::STREAM, MAX_DOCUMENT).await?)
}

/// Reads the header and the table of contents of a source's archive.
///
/// # Errors
/// [`Error`] if they are not there, too large, or not as they should be.
pub async fn read_toc(contents: &dyn BackupContents, source: &Name) -> Result<Toc, Error> {
    Toc::parse(read_whole(contents, source, TOC, MAX_DOCUMENT).await?.freeze()).map_err(Error::Toc)
}
