//! What is in the way of a backup at the moment, or will be in the way of its restore: locks, old
//! transactions, replication slots.

use std::time::Duration;

use tokio_postgres::{Client, Row};

use super::{catalog::Sent, leader::LOCK_WAIT};
use crate::{sources::postgres::quote, types::counted};

/// Something that another session, or nobody any more, holds.
#[derive(Debug, Clone)]
pub(crate) struct Obstacle {
    /// What it is, in a sentence without its full stop.
    pub(crate) text: String,
    /// It keeps a backup from being taken as long as it lasts.
    pub(crate) blocks: bool,
}

/// Exclusive locks on tables of this database, with the age of the transactions that hold them. A prepared
/// transaction has no session.
const EXCLUSIVE: &str = "
SELECT coalesce(l.pid, 0), n.nspname::text, c.relname::text, coalesce(a.usename::text, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::int8
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
ORDER BY 5 DESC, 1 LIMIT 20";

/// Transactions that have been open for so many seconds or longer.
const OLD: &str = "
SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::int8
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start <= clock_timestamp() - make_interval(secs => $1) AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 5";

const PREPARED: &str = "
SELECT gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::int8
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 5";

const SLOTS: &str = "
SELECT slot_name::text, active FROM pg_replication_slots WHERE database = current_database() ORDER BY slot_name LIMIT 20";

/// Locks are kept in one table of shared memory: how many tables it has room for.
const LOCK_ROOM: &str = "
SELECT current_setting('max_locks_per_transaction')::int8
       * (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8)";

/// Looks for what is in the way of a backup that locks `tables` tables.
pub(crate) async fn obstacles(
    client: &Client,
    tables: usize,
    old: Duration,
) -> Result<Vec<Obstacle>, tokio_postgres::Error> {
    let mut found = Vec::new();
    for row in client.query(EXCLUSIVE, &[]).await? {
        found.push(exclusive(&row)?);
    }
    for row in client.query(OLD, &[&old.as_secs_f64()]).await? {
        let (pid, seconds): (i32, i64) = (row.try_get(0)?, row.try_get(3)?);
        let (role, application): (Sent, Sent) = (row.try_get(1)?, row.try_get(2)?);
        let text = format!(
            "session {pid} (role `{}`, application `{}`) has a transaction open for {} min",
            role.text,
            application.text,
            seconds / 60
        );
        found.push(Obstacle { text, blocks: false });
    }
    for row in client.query(PREPARED, &[]).await? {
        let (gid, owner, seconds): (Sent, Sent, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let text = format!(
            "transaction `{}` of role `{}` was prepared {} min ago and not ended",
            gid.text,
            owner.text,
            seconds / 60
        );
        found.push(Obstacle { text, blocks: false });
    }
    for row in client.query(SLOTS, &[]).await? {
        let (slot, active): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
        let state = if active { "active" } else { "inactive" };
        let text = format!(
            "logical replication slot `{slot}` ({state}) is not part of a backup; a restored database has none"
        );
        found.push(Obstacle { text, blocks: false });
    }
    let room: i64 = client.query_one(LOCK_ROOM, &[]).await?.try_get(0)?;
    if u64::try_from(tables).unwrap_or(u64::MAX) > u64::try_from(room).unwrap_or_default() {
        let text = format!(
            "{} to lock, and the server has room for about {room} locks; raise `max_locks_per_transaction`",
            counted(tables as u64, "table")
        );
        found.push(Obstacle { text, blocks: true });
    }
    Ok(found)
}

fn exclusive(row: &Row) -> Result<Obstacle, tokio_postgres::Error> {
    let (pid, schema, table): (i32, Sent, Sent) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (role, seconds): (Sent, i64) = (row.try_get(3)?, row.try_get(4)?);
    let (table, role) = (quote::shown(&schema.text, &table.text), role.text);
    let (holder, stays) = match pid {
        0 => ("a prepared transaction".to_owned(), true),
        pid => (
            format!("session {pid} (role `{role}`)"),
            u64::try_from(seconds).unwrap_or_default() >= LOCK_WAIT.as_secs(),
        ),
    };
    let text =
        format!("{holder} holds an exclusive lock on `{table}`; a backup waits {} s for it", LOCK_WAIT.as_secs());
    Ok(Obstacle { text, blocks: stays })
}
