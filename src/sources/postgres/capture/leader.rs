//! The session that holds a capture together: it locks what `pg_dump` would lock, and only then exports
//! the snapshot that `pg_dump` reads.
//!
//! The order matters. TRUNCATE and statements that rewrite a table do not follow snapshots: with the
//! snapshot first, a table that is truncated before it is locked would be captured as empty, without an
//! error.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    catalog::{self, Relation, RelationKind},
    failure::{Failure, Peer},
    selection::Selection,
    watchdog::{Verdict, Watchdog},
};
use crate::{
    sources::postgres::{Error, Server, Session, quote},
    types::Moment,
};

/// How long one LOCK waits.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Bytes of one LOCK statement.
const BATCH: usize = 100_000;
/// How often tables may be dropped between the list and the lock.
const CHANGES: u32 = 10;

/// What was locked, and the snapshot.
#[derive(Debug)]
pub(super) struct Hold {
    session: Arc<Session>,
    pub(super) watchdog: Watchdog,
    /// The snapshot's name, for `pg_dump --snapshot`.
    pub(super) snapshot: String,
    /// When it was taken.
    pub(super) moment: Moment,
    /// Relations as they were listed.
    pub(super) relations: Vec<Relation>,
    /// The suffix of the application names of all its sessions.
    pub(super) token: String,
    locked: HashSet<u32>,
}

/// Why there is no hold.
#[derive(Debug)]
pub(super) enum NoHold {
    /// A table could not be locked in time.
    Locked(Peer),
    /// Somebody waited for what was locked already.
    GaveWay(Peer),
    /// It would be of no use to try again.
    Failed(Error),
}

impl From<Error> for NoHold {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// SQLSTATEs of a lock that was not had in time: lock_timeout, a deadlock, a standby's conflict.
const CONFLICTS: [&str; 3] = ["55P03", "40P01", "40001"];
/// SQLSTATEs of a table or schema that is gone.
const GONE: [&str; 2] = ["42P01", "3F000"];

impl Hold {
    /// Locks, then takes the snapshot.
    pub(super) async fn take(server: &Server, selection: &Selection, patience: Duration) -> Result<Self, NoHold> {
        let token = format!("{:08x}", rand::random::<u32>());
        let session = Arc::new(catalog::connect(server, &format!("leader {token}")).await?);
        let mut watchdog = Watchdog::start(server, &session, &token, patience).await?;
        for _ in 0..CHANGES {
            let relations = catalog::relations(session.client(), selection)
                .await
                .map_err(|error| session.failed("list the tables", &error))?;
            match lock(&session, &relations).await {
                Ok(()) => {}
                Err(error) if has_code(&error, &GONE) => {
                    session.run("begin again", "ROLLBACK").await?;
                    continue;
                }
                Err(error) => return Err(why_not(error, &watchdog)),
            }
            let (snapshot, moment) = export(&session).await?;
            watchdog.begin_heartbeat(&session);
            let locked =
                relations.iter().filter(|relation| relation.is_locked()).map(|relation| relation.oid).collect();
            return Ok(Self { session, watchdog, snapshot, moment, relations, token, locked });
        }
        Err(NoHold::Failed(super::failed_capture(server, Failure::Changing { tries: CHANGES })))
    }

    /// Checks the tables that `pg_dump` has found besides those that were locked: one that was created
    /// between the list and the snapshot is as good, if nobody has rewritten it since.
    ///
    /// `pg_dump` holds locks on all of them by now, so what is true here stays true.
    pub(super) async fn check_unlocked(&self, dumped: &[u32]) -> Result<bool, Error> {
        let late: Vec<u32> = dumped.iter().copied().filter(|oid| !self.locked.contains(oid)).collect();
        if late.is_empty() {
            return Ok(true);
        }
        // The table's row is that of the snapshot; the function answers from the present.
        let sql = "SELECT count(*) FROM pg_class WHERE oid = ANY ($1) AND relfilenode <> 0 \
                   AND relfilenode IS NOT DISTINCT FROM pg_relation_filenode(oid)";
        let row = self.session.row("check tables that were created meanwhile", sql, &[&late]).await?;
        let same: i64 = row.get(0);
        Ok(u64::try_from(same).ok() == u64::try_from(late.len()).ok())
    }

    /// The leader's session, inside its transaction.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the snapshot was held to this moment.
    pub(super) async fn is_held(&self) -> Result<(), Error> {
        self.session.run("hold the snapshot to the end", "SELECT 1").await
    }
}

async fn lock(session: &Session, relations: &[Relation]) -> Result<(), Error> {
    let begin =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}", LOCK_WAIT.as_millis());
    session.run("begin the snapshot's transaction", &begin).await?;
    let started = Instant::now();
    for statement in statements(relations) {
        session.run("lock the tables", &statement).await?;
    }
    tracing::debug!(elapsed = ?started.elapsed(), "the tables are locked");
    Ok(())
}

/// LOCK statements for the tables that `pg_dump` will lock, each of many tables.
fn statements(relations: &[Relation]) -> Vec<String> {
    let mut statements = Vec::new();
    let mut tables = relations.iter().filter(|relation| relation.is_locked()).peekable();
    while tables.peek().is_some() {
        let mut sql = "LOCK TABLE ".to_owned();
        let mut separator = "ONLY ";
        while let Some(table) = tables.next_if(|_| sql.len() < BATCH) {
            sql.push_str(separator);
            sql.push_str(&quote::qualified(&table.schema, &table.name));
            separator = ", ONLY ";
        }
        sql.push_str(" IN ACCESS SHARE MODE");
        statements.push(sql);
    }
    statements
}

/// The first statement of the transaction that takes a snapshot.
async fn export(session: &Session) -> Result<(String, Moment), Error> {
    let sql = "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000000)::int8, \
               (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text";
    let row = session.row("export a snapshot", sql, &[]).await?;
    let time = Timestamp::from_microsecond(row.get(1)).unwrap_or_default();
    Ok((row.get(0), Moment { time, position: row.get(2) }))
}

fn why_not(error: Error, watchdog: &Watchdog) -> NoHold {
    match watchdog.verdict() {
        Verdict::GaveWay(peer) => NoHold::GaveWay(peer),
        _ if has_code(&error, &CONFLICTS) => NoHold::Locked(watchdog.blocker()),
        _ => NoHold::Failed(error),
    }
}

fn has_code(error: &Error, codes: &[&str]) -> bool {
    matches!(error, Error::Statement { reason, .. } if reason.code().is_some_and(|code| codes.contains(&code)))
}

/// What a hold says about relations that matter to the manifest.
pub(super) fn named(relations: &[Relation], which: impl Fn(&Relation) -> bool) -> Vec<String> {
    relations.iter().filter(|relation| which(relation)).map(Relation::shown).collect()
}

/// Tables of which the role would not see all rows.
pub(super) fn hidden(relations: &[Relation]) -> Vec<String> {
    named(relations, |relation| relation.hides_rows && !relation.without_data)
}

/// Tables and sequences that the role may not read.
pub(super) fn unreadable(relations: &[Relation]) -> Vec<String> {
    named(relations, |relation| !relation.readable && relation.kind != RelationKind::Foreign)
}

/// Relations whose names are no UTF-8: the database has no encoding.
pub(super) fn not_text(relations: &[Relation]) -> Vec<String> {
    named(relations, |relation| !relation.named_exactly)
}

/// What is said of those.
pub(super) fn no_text(names: &[String]) -> String {
    let names = super::failure::some_of(names);
    format!(
        "names that are no UTF-8 are stored as they are, and `drctl restore` cannot load what is called so: {names}"
    )
}
