//! What the catalogs say of a database before it is dumped: what must be locked, what this role may
//! not read, what `pg_dump` leaves out without a word.

use futures::TryStreamExt as _;
use tokio_postgres::{Client, Row, types::ToSql};

use super::selection::Selection;
pub(super) use crate::sources::postgres::sent::Sent;
use crate::sources::postgres::{Error, Server, Session, quote};

/// What is known of the server and the role before anything is read.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The server's version as it says it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) version: String,
    /// Major version: `15`.
    pub(crate) major: u32,
    /// It is a standby.
    pub(crate) standby: bool,
    /// The role is a superuser.
    pub(crate) superuser: bool,
    /// The role.
    pub(crate) role: String,
}

/// A relation of the selection that matters to a capture.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Schema and name are as they are in the catalogs; else they hold bytes that are no text.
    pub(crate) named_exactly: bool,
    pub(crate) kind: RelationKind,
    pub(crate) unlogged: bool,
    /// The role may select from it, and use its schema.
    pub(crate) readable: bool,
    /// Row security would hide rows from this role.
    pub(crate) hides_rows: bool,
    /// The policy leaves its rows out.
    pub(crate) without_data: bool,
}

/// A session that reads catalogs. What is in a database with SQL_ASCII is in no encoding, and the server must
/// not try to convert it.
pub(super) async fn connect(server: &Server, purpose: &str) -> Result<Session, Error> {
    let session = server.connect(purpose).await?;
    if session.encoding == "SQL_ASCII" {
        session.run("begin a session", "SET client_encoding TO 'SQL_ASCII'").await?;
    }
    Ok(session)
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Partitioned,
    Sequence,
    Foreign,
}

impl Relation {
    /// Its name for people and streams.
    pub(crate) fn shown(&self) -> String {
        quote::shown(&self.schema, &self.name)
    }

    /// Whether the policy wants its rows, and a standby has none.
    pub(crate) fn has_no_rows_on_a_standby(&self) -> bool {
        self.unlogged && self.kind == RelationKind::Table && !self.without_data
    }

    /// Whether it is locked: what `pg_dump` locks, but for names that cannot be sent. Tables that are not
    /// locked here are checked when `pg_dump` has locked them.
    pub(crate) fn is_locked(&self) -> bool {
        self.readable && self.named_exactly && matches!(self.kind, RelationKind::Table | RelationKind::Partitioned)
    }
}

/// The large objects of a database.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LargeObjects {
    /// How many there are.
    pub(crate) total: i64,
    /// How many of them the role may not read.
    pub(crate) unreadable: i64,
    /// One of those.
    pub(crate) example: Option<u32>,
}

/// The policy's key for tables that are left out.
pub(super) const TABLES: &str = "excludeTables";
/// The policy's key for tables whose rows are left out.
pub(super) const TABLE_DATA: &str = "excludeTableData";

/// Ordinary, partitioned and foreign tables and sequences that the policy selects, but for what
/// belongs to extensions (their configuration tables are dumped, and so are here).
const RELATIONS: &str = "
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence = 'u',
       has_schema_privilege(n.oid, 'USAGE')
         AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END,
       c.relkind IN ('r', 'p') AND row_security_active(c.oid),
       EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS x(s, t) WHERE n.nspname ~ x.s AND c.relname ~ x.t)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'f') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (cardinality($1::text[]) = 0 OR n.nspname ~ ANY ($1::text[]))
  AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS x(s, t) WHERE n.nspname ~ x.s AND c.relname ~ x.t)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                    AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.oid = d.refobjid AND c.oid = ANY (e.extconfig)))
ORDER BY n.nspname, c.relname";

/// Schemas of the selection, by pattern: which pattern has how many.
const SCHEMAS: &str = "
SELECT (SELECT count(*) FROM pg_namespace n WHERE n.nspname ~ x.s)
FROM unnest($1::text[]) WITH ORDINALITY AS x(s, place) ORDER BY x.place";

/// Tables that the policy leaves out, by pattern.
const EXCLUDED: &str = "
SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname ~ x.s AND c.relname ~ x.t)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS x(s, t, place) ORDER BY x.place";

/// `pg_read_all_data` does not reach large objects: only owners, those who were granted it, and superusers do.
const LARGE_OBJECTS: &str = "
SELECT count(*), count(*) FILTER (WHERE NOT readable), min(oid) FILTER (WHERE NOT readable)
FROM (SELECT m.oid,
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
             OR current_setting('lo_compat_privileges') = 'on'
             OR pg_has_role(m.lomowner, 'USAGE')
             OR EXISTS (SELECT FROM aclexplode(m.lomacl) a
                        WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) AS readable
      FROM pg_largeobject_metadata m) AS objects";

const FACTS: &str = "
SELECT current_setting('server_version'), current_setting('server_version_num')::int4, pg_is_in_recovery(),
       coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false), current_user::text";

/// Reads the server's and the role's facts.
pub(crate) async fn facts(client: &Client) -> Result<Facts, tokio_postgres::Error> {
    let row = client.query_one(FACTS, &[]).await?;
    let number: i32 = row.try_get(1)?;
    Ok(Facts {
        version: row.try_get(0)?,
        major: u32::try_from(number / 10_000).unwrap_or_default(),
        standby: row.try_get(2)?,
        superuser: row.try_get(3)?,
        role: row.try_get(4)?,
    })
}

/// Reads the relations that a selection takes, in the order of their names.
pub(crate) async fn relations(client: &Client, selection: &Selection) -> Result<Vec<Relation>, tokio_postgres::Error> {
    let (out_schemas, out_tables) = expressions(&selection.exclude_tables);
    let (data_schemas, data_tables) = expressions(&selection.exclude_table_data);
    let schemas: Vec<&str> = selection.schemas.iter().map(|pattern| pattern.schema.as_str()).collect();
    let parameters: [&(dyn ToSql + Sync); 5] = [&schemas, &out_schemas, &out_tables, &data_schemas, &data_tables];
    let rows = client.query_raw(RELATIONS, parameters).await?;
    rows.and_then(async |row| relation(&row)).try_collect().await
}

fn relation(row: &Row) -> Result<Relation, tokio_postgres::Error> {
    let kind: String = row.try_get(3)?;
    // A relation that is dropped meanwhile has no privileges any more: NULL.
    let readable: Option<bool> = row.try_get(5)?;
    let (schema, name): (Sent, Sent) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Relation {
        oid: row.try_get(0)?,
        named_exactly: schema.exact && name.exact,
        schema: schema.text,
        name: name.text,
        kind: match kind.as_str() {
            "p" => RelationKind::Partitioned,
            "S" => RelationKind::Sequence,
            "f" => RelationKind::Foreign,
            _ => RelationKind::Table,
        },
        unlogged: row.try_get(4)?,
        // The server says nothing of one that was dropped since the list was made: its lock will.
        readable: readable.unwrap_or(true),
        hides_rows: row.try_get(6)?,
        without_data: row.try_get(7)?,
    })
}

/// How many large objects there are, and how many the role may not read.
pub(crate) async fn large_objects(client: &Client) -> Result<LargeObjects, tokio_postgres::Error> {
    let row = client.query_one(LARGE_OBJECTS, &[]).await?;
    Ok(LargeObjects { total: row.try_get(0)?, unreadable: row.try_get(1)?, example: row.try_get(2)? })
}

/// How many schemas or tables fit each pattern of a selection.
#[derive(Debug, Clone, Default)]
pub(crate) struct PatternCounts {
    /// Of `schemas`, by pattern.
    pub(crate) schemas: Vec<(String, i64)>,
    /// Of what the policy leaves out, by pattern.
    pub(crate) exclusions: Vec<ExclusionCount>,
}

/// How many tables fit a pattern that leaves something out.
#[derive(Debug, Clone)]
pub(crate) struct ExclusionCount {
    /// The key in the policy.
    pub(crate) key: &'static str,
    pub(crate) pattern: String,
    pub(crate) count: i64,
}

impl PatternCounts {
    /// No schema fits any of the patterns, and there are some.
    pub(crate) fn has_no_schema(&self) -> bool {
        !self.schemas.is_empty() && self.schemas.iter().all(|(_, count)| *count == 0)
    }

    /// Patterns that leave nothing out, in the words of a finding.
    pub(crate) fn useless(&self) -> impl Iterator<Item = String> {
        let useless = self.exclusions.iter().filter(|exclusion| exclusion.count == 0);
        useless.map(|exclusion| {
            format!("no table fits `{}` of `{}`: it leaves nothing out", exclusion.pattern, exclusion.key)
        })
    }

    /// The patterns of a key that fit something.
    pub(crate) fn of_use(&self, key: &str) -> Vec<String> {
        let of_use = self.exclusions.iter().filter(|exclusion| exclusion.key == key && exclusion.count > 0);
        of_use.map(|exclusion| exclusion.pattern.clone()).collect()
    }
}

/// Counts what fits the patterns of a selection: one that fits nothing may be misspelt.
pub(crate) async fn pattern_counts(
    client: &Client,
    selection: &Selection,
) -> Result<PatternCounts, tokio_postgres::Error> {
    let mut counts = PatternCounts::default();
    let schemas: Vec<&str> = selection.schemas.iter().map(|pattern| pattern.schema.as_str()).collect();
    for (pattern, row) in selection.schemas.iter().zip(client.query(SCHEMAS, &[&schemas]).await?) {
        counts.schemas.push((pattern.text.clone(), row.try_get(0)?));
    }
    for (key, patterns) in [(TABLES, &selection.exclude_tables), (TABLE_DATA, &selection.exclude_table_data)] {
        let (schemas, tables) = expressions(patterns);
        for (pattern, row) in patterns.iter().zip(client.query(EXCLUDED, &[&schemas, &tables]).await?) {
            counts.exclusions.push(ExclusionCount { key, pattern: pattern.text.clone(), count: row.try_get(0)? });
        }
    }
    Ok(counts)
}

pub(super) fn expressions(patterns: &[crate::types::TablePattern]) -> (Vec<&str>, Vec<&str>) {
    patterns.iter().map(|pattern| (pattern.schema.as_str(), pattern.table.as_str())).unzip()
}
