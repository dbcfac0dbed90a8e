//! Sessions of a database that is to change its name: it cannot while somebody is in it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    super::{Error, Session},
    RestoreError,
    databases::{self, Database},
    names::RestoreId,
};

/// How long sessions of the database may take to end.
const ENDING: Duration = Duration::from_secs(30);

/// Says on the server which restore a session belongs to: those of one run end each other, those of another one do not.
pub(super) async fn call(session: &Session, id: &RestoreId) -> Result<(), Error> {
    session.run("begin a session", &format!("SET application_name TO 'drctl: restore {}'", id.as_str())).await
}

/// Refuses to end what another run of drctl has its lock by. Nobody works from a database that is restored, but from
/// `postgres`; and that one may itself be restored. The run would find out at its end, after hours of loading.
pub(super) async fn refuse_locks(session: &Session, database: &Database) -> Result<(), RestoreError> {
    let sql = "SELECT a.pid, coalesce(a.usename::text, ''), \
             (SELECT k.key FROM pg_catalog.unnest($2::pg_catalog.text[]) AS k(key) \
              WHERE pg_catalog.hashtextextended(k.key, 0) = (l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8 LIMIT 1) \
         FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_locks l ON l.pid = a.pid \
         WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
         AND a.application_name LIKE 'drctl: restore%' AND NOT (a.application_name LIKE 'drctl: restore _%' \
             AND a.application_name = pg_catalog.current_setting('application_name')) ORDER BY a.pid";
    let named: BTreeSet<String> = databases::list(session)
        .await?
        .into_iter()
        .flat_map(|found| [found.marker().map(|marker| marker.of), Some(found.name)])
        .flatten()
        .collect();
    let keys: Vec<String> = named.iter().map(|name| databases::key(name)).collect();
    let rows = session.rows("look for other restores", sql, &[&database.oid, &keys]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let holder = |row: &tokio_postgres::Row| {
        let (pid, role, key): (i32, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let of = named.iter().find(|name| key.as_ref() == Some(&databases::key(name)));
        let of = of.map_or_else(String::new, |name| format!("of database {name} "));
        format!(
            "another restore {of}works from database {} (session {pid} of role {role}) and would lose its lock: wait for its \
             end, and run `drctl restore --switch` or `--undo` then",
            database.name
        )
    };
    Err(RestoreError::Refused { database: database.name.clone(), reasons: rows.iter().map(holder).collect() })
}

/// Ends the sessions of a database, and says how many there were.
pub(super) async fn end_sessions(session: &Session, database: &Database) -> Result<u64, RestoreError> {
    end_others(session, database, session.pid).await
}

/// The same, but for the one with the number `spared`.
pub(super) async fn end_others(session: &Session, database: &Database, spared: i32) -> Result<u64, RestoreError> {
    let sql = "SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, '') \
         FROM pg_catalog.pg_stat_activity a WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid <> $2 \
         AND a.usesysid IS NOT NULL";
    let deadline = Instant::now() + ENDING;
    let mut ended = BTreeSet::new();
    loop {
        let rows = session.rows("list the sessions", sql, &[&database.oid, &spared]).await?;
        if rows.is_empty() {
            return Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX));
        }
        // One may have come in and taken its lock since the last look.
        refuse_locks(session, database).await?;
        for row in &rows {
            let pid: i32 = row.get(0);
            ended.insert(pid);
            let end = "SELECT pg_catalog.pg_terminate_backend($1)";
            session.row("end a session", end, &[&pid]).await?;
        }
        if Instant::now() > deadline {
            let names = rows.iter().map(|row| format!("{} ({})", row.get::<_, &str>(1), row.get::<_, &str>(2)));
            let sessions = names.collect::<Vec<_>>().join(", ");
            return Err(RestoreError::SessionsRemain { database: database.name.clone(), sessions });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
