//! What `database.json` and `roles.json` say.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::sources::postgres::archive::Framing;

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
    /// The tablespace that it is in; absent: the server's default one, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
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
    /// Objects whose definitions are in the backup, and that refer to something that the policy excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lacking>,
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

impl Exclusions {
    /// Each of them as [`Database::left_out`] names it.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        let mut add = |what: String, why: &str| left_out.push(LeftOut { what, why: why.to_owned() });
        if !self.schemas.is_empty() {
            add(format!("all schemas but {}", self.schemas.join(", ")), "the policy's `schemas`");
        }
        for pattern in &self.exclude_tables {
            add(format!("tables {pattern}"), "the policy's `excludeTables`");
        }
        for pattern in &self.exclude_table_data {
            add(format!("rows of {pattern}"), "the policy's `excludeTableData`");
        }
        left_out
    }
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
    /// Its tables and sequences that a dump has the rows and values of, named as streams are (`pg_extension_config_dump`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<String>,
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

impl LeftOut {
    /// Why rows of a foreign table are left out: a database without them has lost nothing.
    pub const ELSEWHERE: &str = "a foreign table has its rows elsewhere";
}

/// An object that refers to something that the policy excluded: it cannot be made, or not for certain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lacking {
    /// The dump id of its entry.
    pub dump_id: u32,
    /// The object: `VIEW public busy_days`.
    pub what: String,
    /// What it lacks, and which exclusion leaves that out.
    pub why: String,
    /// It lacks rows and nothing else: a foreign key, which can be made if no row refers to one of those.
    #[serde(default)]
    pub rows_only: bool,
}

/// `roles.json`: the roles that the database's objects and grants name.
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
    /// `PASSWORD`, as the server keeps it; only if a superuser has captured it into an encrypted repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordVerifier>,
}

/// What a server compares a role's password with (`SCRAM-SHA-256$...`, `md5...`), never the password. Still, who has it
/// can try passwords for as long as they like: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PasswordVerifier(String);

impl PasswordVerifier {
    /// The text that the server keeps.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordVerifier(…)")
    }
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
