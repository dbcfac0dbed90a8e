//! What is written after it was compared: by what is built (a materialized view that is filled may call a function that
//! writes), by event triggers, or by somebody. Rows are compared beside the load, before anything is built; so before a
//! database is called equal, what changed since is compared once more.
//!
//! The server counts rows that are written, of each table. Where it does not, or where a session is left that may have
//! told nothing yet, everything is compared again.

use std::{
    collections::{HashMap, HashSet},
    sync::PoisonError,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{Error, Session, quote::identifier},
    Restore, RestoreError,
    copy::Load,
    heartbeat,
    journal::Stage,
    loading_session,
    report::{Difference, LeftOut, Loaded},
    work::Work,
};
use crate::types::StreamInfo;

/// The table whose rows large objects are.
pub(super) const LARGE_OBJECTS: &str = "pg_catalog.pg_largeobject";

/// How long sessions of ours may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// What the server had counted of a table at one moment, and in which files it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark(String);

/// What was loaded and compared.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) loads: Vec<Load>,
    pub(super) marks: HashMap<String, Mark>,
}

/// Whether this role may have sessions without event triggers.
pub(super) async fn may_silence(session: &Session) -> Result<bool, Error> {
    if session.version.major < 17 {
        return Ok(false);
    }
    let sql = "SELECT pg_catalog.has_parameter_privilege('event_triggers', 'SET')";
    Ok(session.row("look at the role", sql, &[]).await?.get(0))
}

/// The marks of these tables with their partitions; absent of one whose rows are not counted.
async fn marks(session: &Session, tables: &[&str]) -> Result<Vec<Option<Mark>>, Error> {
    // Older servers are told of what was written some time later, and may never be.
    if session.version.major < 15 {
        return Ok(vec![None; tables.len()]);
    }
    // What this session has written itself, too.
    session.run("count rows", "SELECT pg_catalog.pg_stat_force_next_flush()").await?;
    let sql = "SELECT CASE WHEN pg_catalog.current_setting('track_counts')::bool THEN (SELECT pg_catalog.string_agg( \
             pg_catalog.concat_ws(' ', u.oid, pg_catalog.pg_relation_filenode(u.oid), \
             pg_catalog.pg_stat_get_tuples_inserted(u.oid), pg_catalog.pg_stat_get_tuples_updated(u.oid), \
             pg_catalog.pg_stat_get_tuples_deleted(u.oid)), ',' ORDER BY u.oid) \
             FROM (SELECT pg_catalog.to_regclass(t.name)::pg_catalog.oid AS oid UNION \
                 SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(t.name))) u) END \
         FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS t(name, place) ORDER BY t.place";
    let rows = session.rows("count rows", sql, &[&tables]).await?;
    Ok(rows.iter().map(|row| row.get::<_, Option<String>>(0).map(Mark)).collect())
}

/// The mark of one table.
pub(super) async fn mark(session: &Session, table: &str) -> Result<Option<Mark>, Error> {
    Ok(marks(session, &[table]).await?.into_iter().next().flatten())
}

/// The tables of which row security would hide rows from this role, in their order.
pub(super) async fn hidden(session: &Session, tables: &[&str]) -> Result<Vec<String>, Error> {
    let sql = "SELECT t.name FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS t(name, place) \
         WHERE pg_catalog.row_security_active(pg_catalog.to_regclass(t.name)::pg_catalog.oid) ORDER BY t.place";
    let rows = session.rows("look at row security", sql, &[&tables]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether no other session is left in the database: what one has written is counted when it ends, at the latest. The
/// server's own processes have no role, and write no rows.
pub(super) async fn is_alone(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database() \
         AND a.pid <> pg_catalog.pg_backend_pid() AND a.usesysid IS NOT NULL)";
    let deadline = Instant::now() + ENDING;
    loop {
        let alone = session.row("look for other sessions", sql, &[]).await?.get(0);
        if alone || Instant::now() > deadline {
            return Ok(alone);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was written to since the last comparison.
#[derive(Debug)]
pub(super) enum Written {
    /// These tables, or large objects.
    To(Vec<String>),
    /// The server does not count what is written, or nothing was loaded.
    Unknown,
}

impl Restore<'_> {
    /// What was written to since the last comparison. Whoever asks has seen to it that nobody else is in the database.
    pub(super) async fn written(&self, session: &Session) -> Result<Written, RestoreError> {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Brought { loads, marks: before }) = looked else { return Ok(Written::Unknown) };
        let tables: Vec<&str> = loads.iter().map(|load| load.table.as_str()).chain([LARGE_OBJECTS]).collect();
        let now = marks(session, &tables).await?;
        let streams = self.plan.inner.objects.iter().filter_map(|place| self.context.contents.streams().get(*place));
        let objects =
            streams.map(|stream| (stream.name.as_str(), "large objects".to_owned(), now.last().cloned().flatten()));
        let tables = loads.iter().zip(now.iter().cloned());
        let tables = tables.map(|(load, now)| (load.table.as_str(), format!("table {}", load.shown), now));
        let mut written = Vec::new();
        for (name, shown, now) in tables.chain(objects) {
            match (before.get(name), now) {
                (Some(before), Some(now)) if *before == now => {}
                (Some(_), Some(_)) => written.push(shown),
                _ => return Ok(Written::Unknown),
            }
        }
        written.dedup();
        Ok(Written::To(written))
    }

    /// The last look before the swap, where another database was loaded since the one before. Says whether something was
    /// to be compared again: until then, something else may have been written to.
    ///
    /// # Errors
    /// [`RestoreError`]; then it cannot be said that the database is still equal.
    pub async fn look_before_swap(&self, loaded: &mut Loaded) -> Result<bool, RestoreError> {
        let Some(brought) = self.looked.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(false) };
        let session = loading_session(self.context.server, self.plan.loaded_database()).await?;
        let compared = tokio::select! {
            compared = self.compare_changed(&session, brought, loaded) => compared,
            () = async { tokio::join!(self.keep(), heartbeat::keep(&session)); } => Err(RestoreError::Interrupted),
        };
        session.close().await;
        let compared = compared?;
        if !loaded.is_equal() {
            self.mark(Stage::Differs).await?;
        }
        Ok(compared)
    }

    /// Compares again what was written to since it was compared, and says whether that was anything that the server counts.
    pub(super) async fn compare_changed(
        &self,
        session: &Session,
        brought: Brought,
        loaded: &mut Loaded,
    ) -> Result<bool, RestoreError> {
        let Brought { loads, marks: before } = brought;
        let streams = |place: &usize| self.context.contents.streams().get(*place);
        let objects: Vec<&StreamInfo> = self.plan.inner.objects.iter().filter_map(streams).collect();
        if loads.is_empty() && objects.is_empty() {
            let nothing = Brought { loads, marks: HashMap::new() };
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(nothing);
            return Ok(false);
        }
        let tables: Vec<&str> = loads.iter().map(|load| load.table.as_str()).chain([LARGE_OBJECTS]).collect();
        let alone = is_alone(session).await?;
        let counted = marks(session, &tables).await?;
        // A session that is left may tell later of what it has written before: what is not told yet is compared now, and a
        // later look, which sees another count, compares it again.
        let known = counted.clone();
        let mut now = if alone { counted } else { vec![None; tables.len()] };
        let counts = now.iter().any(Option::is_some);
        let is_as_before = |name: &str, now: &Option<Mark>| now.is_some() && before.get(name) == now.as_ref();
        let named = tables.iter().map(|table| (*table).to_owned()).zip(known.iter().cloned());
        let mut seen: HashMap<String, Mark> =
            named.filter_map(|(table, mark)| mark.map(|mark| (table, mark))).collect();
        let of_objects = now.pop().flatten();
        let known = known.last().cloned().flatten();
        seen.extend(objects.iter().filter_map(|stream| known.clone().map(|mark| (stream.name.clone(), mark))));
        // What is compared below is read after these were counted: a later look finds what was written since.
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Brought { loads: loads.clone(), marks: seen });
        let hidden: HashSet<String> = hidden(session, &tables).await?.into_iter().collect();
        let mut changed = Vec::new();
        for (load, now) in loads.into_iter().zip(now).filter(|(load, now)| !is_as_before(&load.table, now)) {
            if !hidden.contains(&load.table) {
                changed.push(load);
                continue;
            }
            // Row security came after the rows were compared.
            let what = format!("table {}", load.shown);
            if now.is_some() && before.contains_key(&load.table) {
                let how =
                    "it was written to after it had been compared, and row security hides rows of it from this role";
                loaded.differences.push(Difference { what, how: how.to_owned() });
            } else {
                let role = &self.context.server.url().user;
                let why = format!(
                    "what was written to it since its rows were compared cannot be known, and row security hides rows of it from \
                     role {role}: restore as a superuser, or ALTER ROLE {} BYPASSRLS",
                    identifier(role)
                );
                let what = format!("the comparison of {what} after the build");
                if !loaded.left_out.iter().any(|known| known.what == what) {
                    loaded.left_out.push(LeftOut { what, why });
                }
            }
        }
        let objects: Vec<&StreamInfo> =
            objects.into_iter().filter(|stream| !is_as_before(&stream.name, &of_objects)).collect();
        if changed.is_empty() && objects.is_empty() {
            return Ok(false);
        }
        let bytes = changed.iter().map(|load| load.bytes).sum();
        self.context.monitor.phase("comparing again what was written to", "bytes", Some(bytes));
        let (server, database) = (self.context.server, self.plan.loaded_database());
        let work = Work { rows: self.rows(), server, database, jobs: self.plan.inner.jobs };
        let worked = match work.compare(&changed, &objects).await {
            // A table that is gone cannot be read: the comparison of the catalogs has named it.
            Err(RestoreError::Postgres(error @ Error::Statement { .. }))
                if !loaded.is_equal() && !session.is_closed() && !error.is_of_the_server() =>
            {
                loaded.notes.push(format!("not all rows that were written to could be compared again: {error}"));
                return Ok(counts);
            }
            worked => worked?,
        };
        for mut difference in worked.differences {
            if !loaded.differences.iter().any(|known| known.what == difference.what) {
                difference.how.push_str("; it was written to after it had been compared and was equal");
                loaded.differences.push(difference);
            }
        }
        Ok(counts)
    }
}
