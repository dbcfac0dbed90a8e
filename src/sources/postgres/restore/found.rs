//! What a database holds already.

use tokio_postgres::Row;

use super::{
    super::{Server, Session, sent::Sent},
    RestoreError,
};

/// So much of it is named.
const NAMED: usize = 5;

/// The oldest number that an object made by a user can have; below are those of `initdb`.
const FIRST_NORMAL_OID: u32 = 16_384;

/// Catalogs whose objects are something that a restore could meet, or that a swap would take away. What hangs on
/// another object (a trigger, a policy, a default) is not asked for: that other object is there.
const CATALOGS: [&str; 19] = [
    "pg_class",
    "pg_proc",
    "pg_type",
    "pg_namespace",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_publication",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_event_trigger",
    "pg_transform",
];

/// Why a database that holds something is not restored into; absent if it is empty.
pub(super) async fn not_empty(server: &Server, database: &str) -> Result<Option<String>, RestoreError> {
    let mut found = found(server, database).await?;
    found.extend(added_to_extensions(server, database).await?);
    Ok((!found.is_empty()).then(|| {
        format!(
            "the database is not empty ({}), and in place nothing is ever removed: restore beside it (without --in-place), \
             or empty it by hand",
            found.join(", ")
        )
    }))
}

/// Tables of extensions with rows that the extensions list as the user's own: a dump takes those, and a restore replaces
/// them. What this role may not read, it does not replace.
async fn added_to_extensions(server: &Server, database: &str) -> Result<Vec<String>, RestoreError> {
    const DOING: &str = "look at the tables of extensions";
    let session = server.connect_to(database, "restore").await?;
    if session.encoding == "SQL_ASCII" {
        session.run("begin a session", "SET client_encoding TO 'SQL_ASCII'").await?;
    }
    let sql = "SELECT pg_catalog.format('SELECT EXISTS (SELECT FROM ONLY %s %s)', c.oid::pg_catalog.regclass, e.condition), \
             'rows that were added to ' || c.oid::pg_catalog.regclass || ' of extension ' || x.extname \
         FROM pg_catalog.pg_extension x \
         CROSS JOIN LATERAL ROWS FROM (unnest(x.extconfig), unnest(x.extcondition)) AS e(oid, condition) \
         JOIN pg_catalog.pg_class c ON c.oid = e.oid \
         WHERE c.relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
         AND NOT pg_catalog.row_security_active(c.oid) ORDER BY c.oid";
    let mut found = Vec::new();
    for row in session.rows(DOING, sql, &[]).await? {
        let text = |place| row.try_get::<_, Sent>(place).map_err(|error| session.failed(DOING, &error));
        let (ask, name) = (text(0)?.text, text(1)?.text);
        if found.len() < NAMED && session.row(DOING, &ask, &[]).await?.get(0) {
            found.push(name);
        }
    }
    session.close().await;
    Ok(found)
}

/// Some of what a database holds beside extensions and what they brought.
pub(super) async fn found(server: &Server, database: &str) -> Result<Vec<String>, RestoreError> {
    let session = server.connect_to(database, "restore").await?;
    if session.encoding == "SQL_ASCII" {
        // Names may be in no encoding.
        session.run("begin a session", "SET client_encoding TO 'SQL_ASCII'").await?;
    }
    let rows = session.rows("look at the live database", &query(), &[]).await?;
    let found = rows.iter().map(|row| name(&session, row)).collect::<Result<_, _>>()?;
    session.close().await;
    Ok(found)
}

fn name(session: &Session, row: &Row) -> Result<String, RestoreError> {
    let sent = row.try_get::<_, Sent>(0).map_err(|error| session.failed("look at the live database", &error))?;
    Ok(sent.text)
}

fn query() -> String {
    let objects = CATALOGS.map(|catalog| {
        format!("SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass AS catalog, oid FROM pg_catalog.{catalog}")
    });
    format!(
        "SELECT i.type || ' ' || i.identity FROM ({}) AS o, pg_catalog.pg_identify_object(o.catalog, o.oid, 0) AS i \
         WHERE o.oid >= {FIRST_NORMAL_OID} AND i.identity IS NOT NULL AND i.type <> 'index' \
         AND i.schema IS DISTINCT FROM 'pg_toast' AND i.identity !~ '^(pg_temp|pg_toast)' \
         AND NOT (i.type = 'schema' AND i.identity = 'public') AND coalesce(i.schema, '') !~ '^pg_temp' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.catalog AND d.objid = o.oid \
             AND d.objsubid = 0 AND d.deptype IN ('e', 'i')) \
         UNION ALL SELECT 'subscription ' || s.subname FROM pg_catalog.pg_subscription s \
         JOIN pg_catalog.pg_database b ON b.oid = s.subdbid WHERE b.datname = pg_catalog.current_database() \
         UNION ALL SELECT 'large object ' || oid FROM pg_catalog.pg_largeobject_metadata LIMIT {NAMED}",
        objects.join(" UNION ALL ")
    )
}
