//! A new database beside the live one: created, loaded, compared, built, compared again.

use std::{collections::HashSet, time::Instant};

use super::{
    super::{
        Session,
        archive::Entry,
        contents::Sequence,
        quote::{identifier, literal},
        tools::{Program, Tool},
    },
    Phases, Restore, RestoreError,
    analyze::analyze,
    build::{Builder, TimeZone},
    catalogs::{self, Strictness},
    copy::Load,
    databases, heartbeat,
    journal::{Marker, Stage},
    loading_session,
    pause::{self, Point},
    plan::Scope,
    properties,
    report::{Difference, Loaded},
    rows::Rows,
    sequences,
    since::Brought,
    work::Work,
};
use crate::types::StreamInfo;

impl Restore<'_> {
    pub(super) async fn load_beside(&self) -> Result<Loaded, RestoreError> {
        let (plan, scratch) = (self.plan, self.plan.loaded_database());
        let mut phases = Phases::begin();
        self.drop_half_loaded().await?;
        self.context.monitor.phase("creating the database", "step", None);
        let owner = self.owner();
        let inner = &plan.inner;
        let (owner, tablespace) = (owner.as_deref(), inner.tablespace.as_deref());
        let sql = properties::create(scratch, &inner.document, owner, tablespace, inner.target_major);
        let created = self.session.run(&format!("create database {scratch}"), &sql).await;
        if created.is_err() && self.session.is_closed() {
            // The server may have done it all the same; the next run finds it by its name, and that it is empty.
            self.leaves();
        }
        created?;
        self.writes();
        // Without the lock's session, another restore might take this one for half loaded.
        let loaded = tokio::select! {
            loaded = self.fill(&mut phases) => loaded,
            lost = heartbeat::until_lost(&self.session) => Err(lost.into()),
        };
        match loaded {
            Ok(loaded) => Ok(loaded),
            Err(error) => {
                // The error to report is the first one.
                if let Err(second) = self.remove_scratch().await {
                    self.leaves();
                    tracing::warn!(error = %second, database = scratch, "the half loaded database could not be dropped");
                }
                Err(error)
            }
        }
    }

    async fn remove_scratch(&self) -> Result<(), RestoreError> {
        if self.session.is_closed() {
            let session = databases::beside(self.context.server, &self.plan.database).await?;
            return Ok(databases::drop_database(&session, self.plan.loaded_database()).await?);
        }
        Ok(databases::drop_database(&self.session, self.plan.loaded_database()).await?)
    }

    pub(super) fn owner(&self) -> Option<String> {
        let (ownership, document) = (&self.plan.ownership, &self.plan.inner.document);
        ownership.keeps_owners().then(|| ownership.name(&document.owner).unwrap_or(&document.owner).to_owned())
    }

    pub(super) fn marker(&self, stage: Stage) -> Marker {
        let plan = self.plan;
        let (restore, of) = (plan.inner.id.as_str().to_owned(), plan.database.clone());
        Marker { restore, backup: plan.backup.clone(), of, stage, comment: None, closed: false }
    }

    pub(super) async fn mark(&self, stage: Stage) -> Result<(), RestoreError> {
        let (name, text) = (identifier(self.plan.loaded_database()), literal(&self.marker(stage).text()));
        Ok(self.session.run("mark the restored database", &format!("COMMENT ON DATABASE {name} IS {text}")).await?)
    }

    async fn fill(&self, phases: &mut Phases) -> Result<Loaded, RestoreError> {
        let marker = self.marker(Stage::Loading).text();
        properties::opened(&self.session, self.plan.loaded_database(), Some(&marker)).await?;
        let mut loaded = self.load_database(phases, true).await?;
        let (plan, name) = (self.plan, self.plan.loaded_database());
        let (document, ownership) = (&plan.inner.document, &plan.ownership);
        let left_out = properties::finish(&self.session, name, document, ownership).await?;
        let differs = properties::compare(&self.session, name, document, ownership, &left_out).await?;
        loaded.left_out.extend(left_out);
        loaded.differences.extend(differs);
        self.mark(if loaded.is_equal() { Stage::Ready } else { Stage::Differs }).await?;
        loaded.phases = std::mem::take(&mut phases.done);
        Ok(loaded)
    }

    /// Objects and rows into a database that holds nothing, and the comparison.
    pub(super) async fn load_database(&self, phases: &mut Phases, nothing_else: bool) -> Result<Loaded, RestoreError> {
        let session = loading_session(self.context.server, self.plan.loaded_database()).await?;
        let loaded = tokio::select! {
            loaded = self.load_by(&session, phases, nothing_else) => loaded,
            () = heartbeat::keep(&session) => Err(RestoreError::Interrupted),
        };
        session.close().await;
        loaded
    }

    async fn load_by(
        &self,
        session: &Session,
        phases: &mut Phases,
        nothing_else: bool,
    ) -> Result<Loaded, RestoreError> {
        let plan = self.plan;
        let replication_role = self.replication_role(session).await?;
        let builder = self.builder(replication_role)?;
        self.make("what is there before the rows", &builder, &plan.inner.selection.before).await?;
        self.own_public(session).await?;
        phases.end("create database");

        let (mut loaded, brought) = self.bring_rows(session, phases).await?;
        phases.end("compare");

        self.context.monitor.phase("building indexes and constraints", "step", None);
        let failed = builder.make_named("build what follows the rows", &plan.inner.selection.after).await?;
        let mut failures = self.try_again(session, failed).await?;
        let tried = self.try_doubtful(session, &builder).await?;
        failures.extend(tried.failures);
        loaded.left_out.extend(tried.left_out);
        let last = Builder { jobs: 1, time_zone: self.time_zone(), ..builder };
        let failed = last.make_named("fill materialized views", &self.last()).await?;
        failures.extend(self.try_again(session, failed).await?);
        phases.end("build");
        pause::at(Point::Built).await;

        self.context.monitor.phase("comparing the catalogs, and analyzing", "step", None);
        let (server, database, jobs) = (self.context.server, self.plan.loaded_database(), self.plan.inner.jobs);
        let comparing = async {
            let compared = self.compare_catalogs(session, nothing_else, failures, &tried.out, &mut loaded).await;
            compared.map(|()| phases.end("catalogs"))
        };
        let (compared, notes) = tokio::join!(comparing, analyze(session, server, database, jobs));
        compared?;
        loaded.notes.extend(notes);
        self.compare_changed(session, brought, &mut loaded).await?;
        phases.end("analyze");
        Ok(loaded)
    }

    /// Gives schema `public` to who owned it, if that was not whom a new database gives it to (PostgreSQL 15 and later).
    pub(super) async fn own_public(&self, session: &Session) -> Result<(), RestoreError> {
        let inner = &self.plan.inner;
        let entries = inner.selection.there.iter().filter_map(|id| inner.toc.entry(*id));
        let mut schemas =
            entries.filter(|entry| entry.description() == "SCHEMA" && entry.owner() != "pg_database_owner");
        let Some(owner) = schemas.next().map(|entry| entry.owner()) else { return Ok(()) };
        if inner.document.server.number < 150_000 || !self.plan.ownership.keeps_owners() {
            return Ok(());
        }
        let sql = format!("ALTER SCHEMA public OWNER TO {}", identifier(&owner));
        Ok(session.run("give schema public to its owner", &sql).await?)
    }

    fn time_zone(&self) -> TimeZone<'_> {
        let settings = &self.plan.inner.document.settings;
        let own = settings.iter().find(|set| set.role.is_none() && set.name.eq_ignore_ascii_case("TimeZone"));
        own.map_or(TimeZone::Server, |set| TimeZone::Own(&set.value))
    }

    /// Without rows, materialized views stay unfilled, too.
    fn last(&self) -> Vec<u32> {
        let inner = &self.plan.inner;
        let fills = |id: &&u32| {
            let entry = inner.toc.entry(**id);
            self.plan.scope == Scope::All || entry.is_none_or(|entry| entry.description() != "MATERIALIZED VIEW DATA")
        };
        inner.selection.last.iter().filter(fills).copied().collect()
    }

    pub(super) fn builder(&self, replication_role: bool) -> Result<Builder<'_>, RestoreError> {
        let inner = &self.plan.inner;
        Ok(Builder {
            tool: self.tool(inner.pg_restore.as_ref(), Program::PgRestore)?,
            server: self.context.server,
            database: self.plan.loaded_database(),
            toc: inner.toc.bytes(),
            jobs: inner.jobs,
            no_owner: !self.plan.ownership.keeps_owners(),
            no_tablespaces: inner.no_tablespaces,
            replication_role,
            time_zone: TimeZone::Utc,
            cancel: self.context.cancel,
        })
    }

    fn tool<'t>(&self, tool: Option<&'t Tool>, program: Program) -> Result<&'t Tool, RestoreError> {
        let reason = || format!("there is no {} of the server's version", program.name());
        tool.ok_or_else(|| RestoreError::Refused { database: self.plan.database.clone(), reasons: vec![reason()] })
    }

    /// Whether a new session of this role says another `session_replication_role` than `origin`.
    pub(super) async fn replication_role(&self, session: &Session) -> Result<bool, RestoreError> {
        let sql = "SELECT reset_val <> 'origin' FROM pg_catalog.pg_settings WHERE name = 'session_replication_role'";
        Ok(session.row("read the settings", sql, &[]).await?.get(0))
    }

    async fn make(&self, what: &'static str, builder: &Builder<'_>, entries: &[u32]) -> Result<(), RestoreError> {
        let one = Builder { jobs: 1, ..*builder };
        let failures = one.make(&format!("make {what}"), entries).await?;
        if failures.is_empty() { Ok(()) } else { Err(RestoreError::Build { what, failures }) }
    }

    /// Rows, large objects and sequences, loaded and compared.
    async fn bring_rows(&self, session: &Session, phases: &mut Phases) -> Result<(Loaded, Brought), RestoreError> {
        let (plan, context) = (self.plan, self.context);
        let mut loads = plan.inner.loads.clone();
        extension_tables(session, &mut loads).await?;
        let objects: Vec<&StreamInfo> =
            plan.inner.objects.iter().filter_map(|place| context.contents.streams().get(*place)).collect();
        context.monitor.phase("loading and comparing", "bytes", Some(plan.bytes.saturating_mul(2)));
        let rows = self.rows();
        let database = plan.loaded_database();
        let sequences = if plan.scope == Scope::Schema { Vec::new() } else { self.sequences() };
        sequences::set(session, &sequences).await?;
        let work = Work { rows, server: context.server, database, jobs: plan.inner.jobs };
        let worked = work.load_and_compare(&loads, &objects).await?;
        phases.end_at("load", worked.loaded.unwrap_or_else(Instant::now));
        let loaded = Loaded {
            database: database.to_owned(),
            tables: plan.tables,
            rows: plan.rows,
            bytes: plan.bytes,
            large_objects: plan.large_objects,
            compared_tables: worked.compared_tables,
            compared_large_objects: worked.compared_objects,
            differences: worked.differences,
            left_out: plan.left_out.clone(),
            ..Loaded::default()
        };
        Ok((loaded, Brought { loads, marks: worked.marks }))
    }

    /// The sequences of the backup, but those that are left out: a table takes that of its identity column along.
    pub(super) fn sequences(&self) -> Vec<Sequence> {
        let inner = &self.plan.inner;
        let is_sequence = |entry: &Entry<'_>| matches!(entry.description().as_ref(), "SEQUENCE" | "SEQUENCE SET");
        let out: HashSet<(String, String)> = (inner.selection.out.iter())
            .filter_map(|id| inner.toc.entry(*id))
            .filter(is_sequence)
            .map(|entry| (entry.namespace().into_owned(), entry.tag().into_owned()))
            .collect();
        let is_in = |sequence: &&Sequence| !out.contains(&(sequence.schema.clone(), sequence.name.clone()));
        self.plan.sequences().iter().filter(is_in).cloned().collect()
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows {
            contents: self.context.contents,
            monitor: self.context.monitor,
            cancel: self.context.cancel,
            encoding: &self.plan.inner.document.encoding,
        }
    }

    pub(super) async fn compare_catalogs(
        &self,
        session: &Session,
        nothing_else: bool,
        failures: Vec<String>,
        out: &HashSet<u32>,
        loaded: &mut Loaded,
    ) -> Result<(), RestoreError> {
        let (plan, inner) = (self.plan, &self.plan.inner);
        let failed = failures.into_iter().map(|how| Difference { what: "could not be built".to_owned(), how });
        loaded.differences.extend(failed);
        if plan.scope != Scope::Schema {
            let sequences = self.sequences();
            loaded.differences.extend(sequences::compare(session, &sequences).await?);
            loaded.compared_sequences = sequences.len() as u64;
        }
        let database = plan.loaded_database();
        let found = catalogs::read(self.pg_dump()?, self.context.server, database, self.context.cancel).await?;
        // What was never to be filled is not looked for, nor what did not hold.
        let (selection, last) = (&inner.selection, self.last());
        let wanted =
            [&selection.there, &selection.before, &selection.after, &selection.doubtful, &last].into_iter().flatten();
        let wanted: Vec<u32> = wanted.filter(|id| !out.contains(id)).copied().collect();
        let strictness = Strictness {
            owners: plan.ownership.keeps_owners(),
            same_major: inner.target_major == inner.document.server.number / 10_000,
            nothing_else,
        };
        self.prove(&wanted, &found, strictness, loaded).await
    }

    pub(super) fn pg_dump(&self) -> Result<&Tool, RestoreError> {
        self.tool(self.plan.inner.pg_dump.as_ref(), Program::PgDump)
    }
}

/// Tables that an extension has made are emptied of what the extension lists as the user's own.
pub(super) async fn extension_tables(session: &Session, loads: &mut [Load]) -> Result<(), RestoreError> {
    let sql = "SELECT c.oid, coalesce(e.condition, '') FROM pg_catalog.pg_extension x \
         CROSS JOIN LATERAL unnest(x.extconfig, x.extcondition) AS e(oid, condition) \
         JOIN pg_catalog.pg_class c ON c.oid = e.oid";
    let rows = session.rows("look at the extensions", sql, &[]).await?;
    let config: std::collections::HashMap<u32, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    if config.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = loads.iter().map(|load| load.table.as_str()).collect();
    let sql = "SELECT pg_catalog.to_regclass(t.name)::oid FROM unnest($1::text[]) WITH ORDINALITY AS t(name, place) ORDER BY t.place";
    let oids = session.rows("look for the tables", sql, &[&names]).await?;
    for (load, row) in loads.iter_mut().zip(&oids) {
        if let Some(condition) = row.get::<_, Option<u32>>(0).and_then(|oid| config.get(&oid)) {
            load.emptied = load.emptied.of_extension(condition.clone());
        }
    }
    Ok(())
}
