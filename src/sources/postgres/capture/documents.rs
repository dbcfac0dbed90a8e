//! `database.json` and `roles.json`: what a restore needs and the archive does not say.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_postgres::{Client, Row};

use super::catalog::{Facts, Sent};
use crate::sources::postgres::{
    archive::{Entry, Field, Split},
    contents::{
        API_VERSION, Archive, Database, Document as _, Exclusions, Extension, Lacking, LargeObjects, LeftOut, Locale,
        Membership, PasswordVerifier, Role, Roles, Sequence, Server, Setting, Snapshot, Table, large_objects_stream,
        table_stream, table_streams,
    },
};

/// The database itself. As JSON, because its columns differ by version.
const DATABASE: &str = "
SELECT to_jsonb(d)::text, pg_get_userbyid(d.datdba)::text, d.datacl::text[], shobj_description(d.oid, 'pg_database'),
       pg_encoding_to_char(d.encoding)::text,
       (SELECT t.spcname::text FROM pg_tablespace t WHERE t.oid = d.dattablespace AND t.spcname <> 'pg_default')
FROM pg_database d WHERE d.datname = current_database()";

const SETTINGS: &str = "
SELECT r.rolname::text, x.setting
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) AS x(setting)
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY r.rolname NULLS FIRST, x.setting";

const EXTENSIONS: &str = "
SELECT e.extname::text, e.extversion, n.nspname::text,
       ARRAY(SELECT s.nspname::text FROM unnest(e.extconfig) AS x(oid)
             JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace s ON s.oid = c.relnamespace ORDER BY c.oid),
       ARRAY(SELECT c.relname::text FROM unnest(e.extconfig) AS x(oid)
             JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace s ON s.oid = c.relnamespace ORDER BY c.oid)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname";

/// Roles that own something here, were granted something here, or have settings here; the roles that these
/// are members of, and their members. The server's first superuser is in no list of dependencies.
const NAMED: &str = "
WITH RECURSIVE here AS (SELECT oid FROM pg_database WHERE datname = current_database()),
named AS (
    SELECT d.refobjid AS oid FROM pg_shdepend d, here
    WHERE d.refclassid = 'pg_authid'::regclass
      AND (d.dbid = here.oid OR (d.classid = 'pg_database'::regclass AND d.objid = here.oid))
    UNION SELECT d.datdba FROM pg_database d JOIN here ON here.oid = d.oid
    UNION SELECT s.setrole FROM pg_db_role_setting s JOIN here ON here.oid = s.setdatabase
    UNION SELECT c.relowner FROM pg_class c
),
above AS (
    SELECT oid FROM named
    UNION SELECT m.roleid FROM pg_auth_members m JOIN above ON above.oid = m.member
),
related AS (
    SELECT oid FROM above
    UNION SELECT m.member FROM pg_auth_members m JOIN related ON related.oid = m.roleid
)";

/// What a server compares a role's password with: only superusers may read that catalog.
const VERIFIER: &str = "(SELECT a.rolpassword FROM pg_authid a WHERE a.oid = r.oid)";

const ROLES: &str = "
SELECT VERIFIER, r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
       r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil::text, r.rolconfig, shobj_description(r.oid, 'pg_authid')
FROM pg_roles r JOIN related ON related.oid = r.oid
WHERE r.rolname !~ '^pg_' ORDER BY r.rolname";

const MEMBERSHIPS: &str = "
SELECT g.rolname::text, m.rolname::text, by.rolname::text, a.admin_option, to_jsonb(a)::text
FROM pg_auth_members a
JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
LEFT JOIN pg_roles by ON by.oid = a.grantor
WHERE a.roleid IN (SELECT oid FROM related) AND a.member IN (SELECT oid FROM related) AND m.rolname !~ '^pg_'
ORDER BY g.rolname, m.rolname, by.rolname";

/// What only this run knows of the database.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) facts: &'a Facts,
    pub(super) server_number: u32,
    pub(super) split: &'a Split,
    pub(super) time: Timestamp,
    pub(super) lsn: Option<String>,
    pub(super) exclusions: Exclusions,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) lacking: Vec<Lacking>,
    /// Large objects by the dump id of their block.
    pub(super) objects: &'a std::collections::HashMap<u32, u64>,
}

/// Makes `database.json`, from the catalogs as the snapshot shows them and from the archive.
pub(super) async fn database(client: &Client, run: Run<'_>) -> Result<Database, tokio_postgres::Error> {
    let row = client.query_one(DATABASE, &[]).await?;
    let columns: Value = serde_json::from_str(&text(&row, 0)?).unwrap_or_default();
    let column = |name: &str| columns.get(name).and_then(Value::as_str).map(str::to_owned);
    let settings = client.query(SETTINGS, &[]).await?.iter().map(setting).collect::<Result<_, _>>()?;
    let extensions = client.query(EXTENSIONS, &[]).await?.iter().map(extension).collect::<Result<_, _>>()?;
    let (api_version, kind) = (API_VERSION.to_owned(), Database::KIND.to_owned());
    let toc = &run.split.toc;
    let header = toc.header();
    let limit = columns.get("datconnlimit").and_then(Value::as_i64).and_then(|limit| i32::try_from(limit).ok());
    Ok(Database {
        api_version,
        kind,
        name: column("datname").unwrap_or_default(),
        owner: text(&row, 1)?,
        acl: row.try_get::<_, Option<Vec<Sent>>>(2)?.map(|acl| acl.into_iter().map(|item| item.text).collect()),
        comment: optional(&row, 3)?,
        settings,
        encoding: text(&row, 4)?,
        locale: Locale {
            provider: match column("datlocprovider").as_deref() {
                Some("i") => "icu".to_owned(),
                Some("b") => "builtin".to_owned(),
                _ => "libc".to_owned(),
            },
            collate: column("datcollate").unwrap_or_default(),
            ctype: column("datctype").unwrap_or_default(),
            // 15 and 16 call it `daticulocale`.
            locale: column("datlocale").or_else(|| column("daticulocale")),
            icu_rules: column("daticurules"),
            version: column("datcollversion"),
        },
        connection_limit: limit.filter(|limit| *limit >= 0),
        tablespace: optional(&row, 5)?,
        server: Server { version: run.facts.version.clone(), number: run.server_number },
        archive: Archive {
            version: header.version.to_string(),
            pg_dump: header.pg_dump_version.clone(),
            framing: run.split.framing,
            bytes: run.split.bytes,
        },
        snapshot: Snapshot { time: run.time, lsn: run.lsn, standby: run.facts.standby },
        exclusions: run.exclusions,
        tables: tables(run.split),
        large_objects: toc
            .large_objects()
            .map(|entry| LargeObjects {
                dump_id: entry.dump_id(),
                stream: large_objects_stream(entry.dump_id()),
                count: run.objects.get(&entry.dump_id()).copied().unwrap_or_default(),
            })
            .collect(),
        sequences: toc.sequence_sets().filter_map(|entry| sequence(&entry)).collect(),
        extensions,
        left_out: run.left_out,
        lacking: run.lacking,
        unknown: Map::new(),
    })
}

fn text(row: &Row, column: usize) -> Result<String, tokio_postgres::Error> {
    Ok(row.try_get::<_, Sent>(column)?.text)
}

fn optional(row: &Row, column: usize) -> Result<Option<String>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<Sent>>(column)?.map(|sent| sent.text))
}

fn tables(split: &Split) -> Vec<Table> {
    let entries = split.toc.tables().zip(table_streams(&split.toc));
    let table = |(entry, (dump_id, stream)): (Entry<'_>, (u32, String))| Table {
        dump_id,
        schema: entry.namespace().into_owned(),
        name: entry.tag().into_owned(),
        stream,
        copy: entry.text(Field::Copy).trim_end().to_owned(),
        root: entry.root(),
        columns: entry.copy_line().map(|line| line.columns).unwrap_or_default(),
    };
    entries.map(table).collect()
}

/// `SELECT pg_catalog.setval('public.s', 5, true);`
fn sequence(entry: &Entry<'_>) -> Option<Sequence> {
    let definition = entry.text(Field::Definition);
    let (last_value, is_called) = setval(&definition)?;
    Some(Sequence { schema: entry.namespace().into_owned(), name: entry.tag().into_owned(), last_value, is_called })
}

/// The values of a `setval`, which are its last two arguments.
fn setval(statement: &str) -> Option<(i64, bool)> {
    let arguments = statement.trim_end().strip_suffix(");")?;
    let (rest, called) = arguments.rsplit_once(", ")?;
    let (_, value) = rest.rsplit_once(", ")?;
    Some((value.parse().ok()?, called.parse().ok()?))
}

fn setting(row: &Row) -> Result<Setting, tokio_postgres::Error> {
    Ok(split_setting(optional(row, 0)?, &text(row, 1)?))
}

fn split_setting(role: Option<String>, text: &str) -> Setting {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Setting { role, name: name.to_owned(), value: value.to_owned() }
}

fn extension(row: &Row) -> Result<Extension, tokio_postgres::Error> {
    let (schemas, names): (Vec<Sent>, Vec<Sent>) = (row.try_get(3)?, row.try_get(4)?);
    let configured = schemas.iter().zip(&names).map(|(schema, name)| table_stream(&schema.text, &name.text)).collect();
    Ok(Extension { name: text(row, 0)?, version: text(row, 1)?, schema: text(row, 2)?, configured })
}

/// Makes `roles.json`, with what proves the roles' passwords only if that is asked for.
pub(super) async fn roles(client: &Client, passwords: bool) -> Result<Roles, tokio_postgres::Error> {
    let mut roles = Vec::new();
    let columns = ROLES.replacen("VERIFIER", if passwords { VERIFIER } else { "NULL::text" }, 1);
    for row in client.query(&format!("{NAMED}{columns}"), &[]).await? {
        roles.push(role(&row)?);
    }
    let mut memberships = Vec::new();
    for row in client.query(&format!("{NAMED}{MEMBERSHIPS}"), &[]).await? {
        memberships.push(membership(&row)?);
    }
    Ok(Roles::new(roles, memberships))
}

fn role(row: &Row) -> Result<Role, tokio_postgres::Error> {
    let limit: i32 = row.try_get(9)?;
    let settings: Option<Vec<Sent>> = row.try_get(11)?;
    Ok(Role {
        name: text(row, 1)?,
        superuser: row.try_get(2)?,
        inherit: row.try_get(3)?,
        create_role: row.try_get(4)?,
        create_db: row.try_get(5)?,
        login: row.try_get(6)?,
        replication: row.try_get(7)?,
        bypass_rls: row.try_get(8)?,
        connection_limit: Some(limit).filter(|limit| *limit >= 0),
        valid_until: optional(row, 10)?,
        settings: settings.unwrap_or_default().iter().map(|setting| split_setting(None, &setting.text)).collect(),
        comment: optional(row, 12)?,
        password: row.try_get::<_, Option<String>>(0)?.map(PasswordVerifier::new),
    })
}

fn membership(row: &Row) -> Result<Membership, tokio_postgres::Error> {
    let columns: Value = serde_json::from_str(&text(row, 4)?).unwrap_or_default();
    let option = |name: &str| columns.get(name).and_then(Value::as_bool);
    Ok(Membership {
        role: text(row, 0)?,
        member: text(row, 1)?,
        grantor: optional(row, 2)?,
        admin_option: row.try_get(3)?,
        inherit_option: option("inherit_option"),
        set_option: option("set_option"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_sequence_is_read_whatever_its_name_is() {
        assert_eq!(setval("SELECT pg_catalog.setval('public.s', 5, true);\n\n\n"), Some((5, true)));
        let odd = "SELECT pg_catalog.setval('\"a, 7, true);\".\"it''s\"', -9223372036854775808, false);\n";
        assert_eq!(setval(odd), Some((i64::MIN, false)));
        assert_eq!(setval("SELECT 1;"), None);
    }
}
