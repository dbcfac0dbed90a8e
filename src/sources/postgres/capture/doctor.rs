//! What stands between a database and a complete backup, said before one is tried.

use super::{
    PostgresSource,
    catalog::{self, Facts, Relation, RelationKind},
    failure::some_of,
    lacking,
    leader::{hidden, named, no_text, not_text, unreadable},
    obstacles::obstacles,
};
use crate::{
    sources::{
        Finding, Severity,
        postgres::{
            Error, Session, SslMode,
            restore::{self, Remains},
            tools::{self, Program},
        },
    },
    types::{Name, counted},
};

/// Tells one database from another: what its server's files are known by, and its own object id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseIdentity {
    server: String,
    database: u32,
}

struct Findings<'a> {
    source: &'a Name,
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, what: impl Into<String>, next: impl Into<String>) {
        let next = next.into();
        self.all.push(Finding {
            subject: format!("source {}", self.source),
            severity,
            what: what.into(),
            next: (!next.is_empty()).then_some(next),
        });
    }
}

impl PostgresSource {
    /// Looks at the database as a backup would, and locks nothing: what was found, and what ended the look before its end, as
    /// it would a backup.
    pub async fn examine(&self) -> (Vec<Finding>, Result<(), Error>) {
        let mut findings = Findings { source: &self.name, all: Vec::new() };
        let ended = self.examine_into(&mut findings).await;
        if ended.is_err() {
            // A swap that did not end has closed it: then this says so. What cannot be reached at all is said by the error.
            let database = &self.server.url().database;
            left(restore::remains_beside(&self.server, database).await.unwrap_or_default(), &mut findings);
        }
        (findings.all, ended)
    }

    async fn examine_into(&self, findings: &mut Findings<'_>) -> Result<(), Error> {
        self.encryption(findings);
        let session = catalog::connect(&self.server, "doctor").await?;
        let failed = |error: tokio_postgres::Error| session.failed("read the catalogs", &error);
        let facts = catalog::facts(session.client()).await.map_err(failed)?;
        let (url, version) = (self.server.url(), &facts.version);
        let standby = if facts.standby { ", a standby" } else { "" };
        let reached = format!(
            "database `{}` on {}: PostgreSQL {version}{standby}, role `{}`",
            url.database,
            self.server.shown(),
            facts.role
        );
        findings.add(Severity::Good, reached, "");
        for program in [Program::PgDump, Program::PgRestore] {
            match tools::find(program, facts.major).await {
                Ok(tool) => findings.add(Severity::Good, format!("{} at {}", tool.version, tool.path.display()), ""),
                Err(error) => findings.add(Severity::Prevents, error.to_string(), ""),
            }
        }
        self.patterns(&session, findings).await.map_err(failed)?;
        let relations = catalog::relations(session.client(), &self.selection).await.map_err(failed)?;
        rows(&facts, &relations, findings);
        self.references(&session, findings).await.map_err(failed)?;
        objects(&session, &facts, findings).await.map_err(failed)?;
        subscriptions(&session, &facts, findings).await.map_err(failed)?;
        let tables = relations.iter().filter(|relation| relation.is_locked()).count();
        for obstacle in obstacles(session.client(), tables, self.old).await.map_err(failed)? {
            let severity = if obstacle.blocks { Severity::Prevents } else { Severity::Note };
            findings.add(severity, obstacle.text, "");
        }
        place(&session, findings).await.map_err(failed)?;
        left(restore::remains(&session, &url.database).await?, findings);
        session.close().await;
        Ok(())
    }

    /// Which database it is, wherever it is reached; nothing if it does not say.
    pub async fn identity(&self) -> Option<DatabaseIdentity> {
        let session = catalog::connect(&self.server, "doctor").await.ok()?;
        let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                   (SELECT oid FROM pg_database WHERE datname = current_database())";
        let row = session.row("identify the database", sql, &[]).await;
        session.close().await;
        let row = row.ok()?;
        Some(DatabaseIdentity { server: row.get(0), database: row.get(1) })
    }

    fn encryption(&self, findings: &mut Findings<'_>) {
        let url = self.server.url();
        if url.is_local() || url.encryption() == SslMode::VerifyFull {
            return;
        }
        findings.add(
            Severity::Note,
            format!(
                "the connection to {} has sslmode `{}`: who is between can read the database",
                self.server.shown(),
                url.encryption().as_str()
            ),
            "name the server's authority by `tls: {caFile: ...}`, and leave `sslmode` out of the address",
        );
    }

    async fn patterns(&self, session: &Session, findings: &mut Findings<'_>) -> Result<(), tokio_postgres::Error> {
        let counts = catalog::pattern_counts(session.client(), &self.selection).await?;
        let severity = if counts.has_no_schema() { Severity::Prevents } else { Severity::Partial };
        for (pattern, _) in counts.schemas.iter().filter(|(_, count)| *count == 0) {
            findings.add(severity, format!("no schema fits `{pattern}` of `schemas`"), "correct the policy");
        }
        for useless in counts.useless() {
            findings.add(Severity::Note, useless, "correct the policy, or leave the pattern out");
        }
        Ok(())
    }
}

impl PostgresSource {
    /// What refers to something that the policy excludes.
    async fn references(&self, session: &Session, findings: &mut Findings<'_>) -> Result<(), tokio_postgres::Error> {
        for reference in lacking::references(session.client(), &self.selection).await? {
            if reference.rows_only {
                let what = format!("a restore leaves out {} if it does not hold: {}", reference.shown, reference.why);
                findings.add(Severity::Note, what, "take these rows, too, or leave the rows that refer to them out");
            } else {
                let what = format!("{} cannot be made again: {}", reference.shown, reference.why);
                let next = "take what it needs, too (of a table leave out the rows only, by `excludeTableData`; select \
                            its schema), or leave out by `excludeTables` what refers to it";
                findings.add(Severity::Partial, what, next);
            }
        }
        Ok(())
    }
}

/// Where its files are, if another server may have no such place.
async fn place(session: &Session, findings: &mut Findings<'_>) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT t.spcname::text FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace \
               WHERE d.datname = current_database() AND t.spcname <> 'pg_default'";
    if let Some(row) = session.client().query_opt(sql, &[]).await? {
        let what = format!("the database is in tablespace `{}`", row.try_get::<_, &str>(0)?);
        findings.add(
            Severity::Note,
            what,
            "create one of this name on a server to restore to, or its default one is used",
        );
    }
    Ok(())
}

/// What earlier restores have left on the server.
fn left(remains: Vec<Remains>, findings: &mut Findings<'_>) {
    for left in remains {
        findings.add(Severity::Note, left.what, left.next);
    }
}

fn rows(facts: &Facts, relations: &[Relation], findings: &mut Findings<'_>) {
    let role = &facts.role;
    let tables = named(relations, Relation::is_locked);
    findings.add(Severity::Good, format!("{} to back up", counted(tables.len() as u64, "table")), "");
    let closed = unreadable(relations);
    if !closed.is_empty() {
        let next =
            format!("GRANT pg_read_all_data TO {role} (PostgreSQL 14 and later), or leave them out by `excludeTables`");
        findings.add(Severity::Prevents, format!("role `{role}` may not read {}", some_of(&closed)), next);
    }
    let hidden = hidden(relations);
    if !hidden.is_empty() {
        let next = format!("ALTER ROLE {role} BYPASSRLS, or leave them out by `excludeTables`");
        let what = format!("row security may hide rows from role `{role}` in {}", some_of(&hidden));
        findings.add(Severity::Prevents, what, next);
    }
    let foreign = named(relations, |relation| relation.kind == RelationKind::Foreign);
    if !foreign.is_empty() {
        let what = format!("rows of foreign tables are not captured: {}", some_of(&foreign));
        findings.add(Severity::Note, what, "back them up where they are");
    }
    let unlogged = named(relations, Relation::has_no_rows_on_a_standby);
    if facts.standby && !unlogged.is_empty() {
        let what = format!("a standby has no rows of unlogged tables: {}", some_of(&unlogged));
        findings.add(
            Severity::Partial,
            what,
            "take the backup from the primary, or leave them out by `excludeTableData`",
        );
    } else if !unlogged.is_empty() {
        let what = format!(
            "a crash of the server empties unlogged tables, and a standby has none of their rows: {}",
            some_of(&unlogged)
        );
        findings.add(Severity::Note, what, "");
    }
    let odd = not_text(relations);
    if !odd.is_empty() {
        findings.add(Severity::Note, no_text(&odd), "rename them, or restore them by `drctl export` and pg_restore");
    }
}

async fn objects(session: &Session, facts: &Facts, findings: &mut Findings<'_>) -> Result<(), tokio_postgres::Error> {
    let objects = catalog::large_objects(session.client()).await?;
    if objects.unreadable > 0 {
        let what = format!(
            "role `{}` may not read {} of {} (`pg_read_all_data` does not reach them): all of them would be left out",
            facts.role,
            objects.unreadable,
            counted(objects.total.unsigned_abs(), "large object")
        );
        findings.add(Severity::Partial, what, "use their owner or a superuser, or GRANT SELECT ON LARGE OBJECT");
    }
    Ok(())
}

async fn subscriptions(
    session: &Session,
    facts: &Facts,
    findings: &mut Findings<'_>,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT count(*) FROM pg_subscription \
               WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let count: i64 = session.client().query_one(sql, &[]).await?.try_get(0)?;
    if count > 0 && !facts.superuser {
        let what = format!("{} left out: only a superuser may read what it says", are(count, "subscription"));
        findings.add(Severity::Partial, what, "use a superuser, or keep the statements that make them");
    }
    Ok(())
}

/// `1 subscription is`, `2 subscriptions are`.
fn are(number: i64, one: &str) -> String {
    format!("{} {}", counted(number.unsigned_abs(), one), if number == 1 { "is" } else { "are" })
}
