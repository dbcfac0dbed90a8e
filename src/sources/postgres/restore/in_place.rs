//! Into the live database itself: an empty one, or one whose tables are there and empty.

use super::{
    super::{Session, quote::identifier},
    Phases, Restore, RestoreError,
    beside::extension_tables,
    copy::Load,
    databases, found, live_session,
    plan::Scope,
    report::{Difference, Loaded},
    sequences,
};
use crate::types::counted;

impl Restore<'_> {
    pub(super) async fn load_in_place(&self) -> Result<Loaded, RestoreError> {
        let mut phases = Phases::begin();
        self.is_unused().await?;
        let mut loaded = match self.plan.scope {
            Scope::Data => self.load_data(&mut phases).await?,
            Scope::All | Scope::Schema => {
                self.is_empty().await?;
                self.writes();
                let loaded = self.load_database(&mut phases, false).await;
                let half = |source| {
                    self.leaves();
                    RestoreError::HalfInPlace { database: self.plan.database.clone(), source }
                };
                loaded.map_err(|source| half(Box::new(source)))?
            }
        };
        loaded.phases = std::mem::take(&mut phases.done);
        Ok(loaded)
    }

    /// Nobody else is in the live database.
    async fn is_unused(&self) -> Result<(), RestoreError> {
        let live = databases::traces(&self.session, &self.plan.database).await?.live;
        match live.map_or((0, 0), |live| (live.sessions, live.prepared)) {
            (0, 0) => Ok(()),
            (0, prepared) => Err(self.refused(format!(
                "{} in the database: commit or roll back what is in pg_prepared_xacts",
                counted(prepared, "prepared transaction")
            ))),
            (sessions, _) => {
                Err(self.refused(format!("{} in the database: stop what uses it", counted(sessions, "session"))))
            }
        }
    }

    /// The live database holds nothing that a restore could meet. Nothing of it is ever removed.
    async fn is_empty(&self) -> Result<(), RestoreError> {
        match found::not_empty(self.context.server, &self.plan.database).await? {
            None => Ok(()),
            Some(why) => Err(self.refused(why)),
        }
    }

    fn refused(&self, reason: String) -> RestoreError {
        RestoreError::Refused { database: self.plan.database.clone(), reasons: vec![reason] }
    }

    /// All tables in one transaction, which ends well only when all of them are equal to the backup.
    async fn load_data(&self, phases: &mut Phases) -> Result<Loaded, RestoreError> {
        let plan = self.plan;
        let session = live_session(self.context.server, &plan.database).await?;
        self.context.monitor.phase("loading and comparing", "bytes", Some(plan.bytes.saturating_mul(2)));
        session.run("begin a transaction", "BEGIN").await?;
        // A statement may wait for a lock. A session that is dropped takes its transaction with it.
        let mut differences = self.rows().next(self.load_and_compare_data(&session)).await?;
        if matches!(differences, Err(RestoreError::Interrupted)) {
            return Err(RestoreError::Interrupted);
        }
        let mut of_sequences = Vec::new();
        if differences.as_ref().is_ok_and(Vec::is_empty) {
            self.writes();
            // Before the rows are there for all to see: a sequence that stays behind them gives out their keys again.
            match self.set_sequences(&session).await {
                Ok(found) => of_sequences = found,
                Err(error) => differences = Err(error),
            }
        }
        let equal = differences.as_ref().is_ok_and(Vec::is_empty);
        let ended = session.run("end the transaction", if equal { "COMMIT" } else { "ROLLBACK" }).await;
        // After a refused COPY a session answers nothing of use: the first error is the one that tells why.
        let mut differences = differences?;
        ended?;
        differences.extend(of_sequences);
        phases.end("load");
        let mut notes =
            if equal { Vec::new() } else { vec!["the tables are empty again: nothing was kept".to_owned()] };
        let tables: Vec<&str> = plan.inner.loads.iter().map(|load| load.table.as_str()).collect();
        if equal && !tables.is_empty() {
            // The rows are there, and equal: without statistics they are only slower to find.
            let analyzed = session.run("analyze the tables", &format!("ANALYZE {}", tables.join(", "))).await;
            notes.extend(analyzed.err().map(|error| error.to_string()));
            phases.end("analyze");
        }
        session.close().await;
        Ok(Loaded {
            database: plan.database.clone(),
            tables: plan.tables,
            rows: plan.rows,
            bytes: plan.bytes,
            compared_tables: plan.tables,
            compared_sequences: if equal { self.sequences().len() as u64 } else { 0 },
            differences,
            left_out: plan.left_out.clone(),
            notes,
            ..Loaded::default()
        })
    }

    /// Sets the sequences and holds them against the backup. What is set no ROLLBACK takes back.
    async fn set_sequences(&self, session: &Session) -> Result<Vec<Difference>, RestoreError> {
        let sequences = self.sequences();
        let set = async {
            sequences::set(session, &sequences).await?;
            sequences::compare(session, &sequences).await
        };
        let failed =
            |source| RestoreError::Sequences { database: self.plan.database.clone(), source: Box::new(source) };
        set.await.map_err(failed)
    }

    async fn load_and_compare_data(&self, session: &Session) -> Result<Vec<Difference>, RestoreError> {
        let mut loads = self.plan.inner.loads.clone();
        extension_tables(session, &mut loads).await?;
        let loads = in_order(session, &loads).await?;
        let triggers = triggers(session, &loads).await?;
        let rows = self.rows();
        session.run("switch triggers off", &triggers.off).await?;
        for load in &loads {
            rows.load_inside(session, load).await.map_err(|source| match source {
                RestoreError::Interrupted => source,
                source => RestoreError::Rows { table: load.shown.clone(), source: Box::new(source) },
            })?;
        }
        session.run("check the constraints", "SET CONSTRAINTS ALL IMMEDIATE").await?;
        session.run("switch triggers on", &triggers.on).await?;
        let mut differences = Vec::new();
        for load in &loads {
            differences.extend(rows.compare(session, load).await?);
        }
        Ok(differences)
    }
}

/// The tables with those first that foreign keys of others point to. A circle keeps its order, and the
/// server says what it misses.
async fn in_order<'l>(session: &Session, loads: &'l [Load]) -> Result<Vec<&'l Load>, RestoreError> {
    let names: Vec<&str> = loads.iter().map(|load| load.table.as_str()).collect();
    let sql = "WITH t AS (SELECT place::int4, pg_catalog.to_regclass(name) AS oid \
             FROM unnest($1::text[]) WITH ORDINALITY AS t(name, place)) \
         SELECT a.place - 1, b.place - 1 FROM pg_catalog.pg_constraint c JOIN t a ON a.oid = c.conrelid \
         JOIN t b ON b.oid = c.confrelid WHERE c.contype = 'f' AND a.place <> b.place";
    let links = session.rows("look at the foreign keys", sql, &[&names]).await?;
    let mut needs: Vec<(i32, i32)> = links.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut left: Vec<(i32, &Load)> = (0..).zip(loads).collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|(place, _)| !needs.iter().any(|(from, _)| from == place)).unwrap_or(0);
        let (place, load) = left.remove(free);
        needs.retain(|(from, to)| *to != place && *from != place);
        ordered.push(load);
    }
    Ok(ordered)
}

/// Statements that switch the tables' own triggers off, and on again as they were.
#[derive(Debug, Default)]
struct Triggers {
    off: String,
    on: String,
}

async fn triggers(session: &Session, loads: &[&Load]) -> Result<Triggers, RestoreError> {
    let names: Vec<&str> = loads.iter().map(|load| load.table.as_str()).collect();
    let sql = "SELECT t.name, g.tgname::text, g.tgenabled::text FROM unnest($1::text[]) AS t(name) \
         JOIN pg_catalog.pg_trigger g ON g.tgrelid = pg_catalog.to_regclass(t.name) \
         WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'";
    let mut triggers = Triggers::default();
    for row in session.rows("look at the triggers", sql, &[&names]).await? {
        let (table, name, enabled): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let how = match enabled {
            "A" => "ALWAYS ",
            "R" => "REPLICA ",
            _ => "",
        };
        triggers.off.push_str(&format!("ALTER TABLE {table} DISABLE TRIGGER {};", identifier(name)));
        triggers.on.push_str(&format!("ALTER TABLE {table} ENABLE {how}TRIGGER {};", identifier(name)));
    }
    Ok(triggers)
}
