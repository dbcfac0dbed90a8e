//! Single tables, into a schema of their own in the live database, and the SQL that merges them.

use std::time::Instant;

use super::{
    super::{
        Session,
        archive::{Entry, Field, Toc},
        contents::{self, Database as Document},
        quote::{identifier, qualified},
    },
    Phases, Restore, RestoreError,
    copy::Load,
    live_session,
    plan::{Plan, PlanOptions},
    report::Loaded,
    selection::Selection,
    sql,
    work::Work,
};

/// The tables that were asked for, as they are loaded into the schema `schema`.
pub(super) fn narrow(
    options: &PlanOptions,
    document: &Document,
    toc: &Toc,
    schema: &str,
    selection: &mut Selection,
    loads: &mut Vec<Load>,
) -> Result<(), RestoreError> {
    *selection = Selection::default();
    let mut chosen: Vec<Load> = Vec::new();
    for wanted in &options.tables {
        let table =
            document.tables.iter().find(|table| is_meant(table, wanted)).ok_or_else(|| unknown(wanted, document))?;
        if table.root.is_some() {
            let what =
                format!("{wanted} is a partition whose rows may belong into others; restore the whole database beside");
            return Err(RestoreError::Usage(what));
        }
        definition(toc, table, schema)?;
        let load = loads.iter().find(|load| load.shown == table.stream).ok_or_else(|| unknown(wanted, document))?;
        let target = qualified(schema, &table.name);
        if chosen.iter().any(|other| other.table == target) {
            let what = format!("two tables are called {}; restore one after the other", table.name);
            return Err(RestoreError::Usage(what));
        }
        chosen.push(Load { table: target, ..load.clone() });
    }
    *loads = chosen;
    Ok(())
}

fn is_meant(table: &contents::Table, wanted: &str) -> bool {
    table.stream == wanted || format!("{}.{}", table.schema, table.name) == wanted
}

fn unknown(wanted: &str, document: &Document) -> RestoreError {
    const SHOWN: usize = 10;
    let names: Vec<&str> = document.tables.iter().map(|table| table.stream.as_str()).take(SHOWN).collect();
    let more = if document.tables.len() > SHOWN { ", …" } else { "" };
    RestoreError::Usage(format!(
        "the backup has no table {wanted} with rows; it has {}{more} (a partitioned table: name its partitions)",
        names.join(", ")
    ))
}

/// The statements that make a table in another schema.
fn definition(toc: &Toc, table: &contents::Table, schema: &str) -> Result<String, RestoreError> {
    let is_it = |entry: &Entry<'_>| {
        entry.description() == "TABLE" && entry.namespace() == table.schema && entry.tag() == table.name
    };
    let entry = toc.entries().find(is_it);
    let text = entry.and_then(|entry| {
        sql::for_table(&entry.text(Field::Definition), &table.schema, &table.name, &qualified(schema, &table.name))
    });
    text.ok_or_else(|| {
        RestoreError::Usage(format!(
            "table {} belongs to an extension or inherits from another; restore the whole database beside",
            table.stream
        ))
    })
}

fn has_key(toc: &Toc, table: &contents::Table) -> bool {
    toc.entries().any(|entry| {
        entry.description() == "CONSTRAINT"
            && entry.namespace() == table.schema
            && entry.tag().starts_with(&format!("{} ", table.name))
            && ["PRIMARY KEY", "UNIQUE"].iter().any(|kind| entry.text(Field::Definition).contains(kind))
    })
}

/// What merges the rows that are gone from the live tables; nothing runs it.
fn merge(plan: &Plan, schema: &str) -> String {
    let mut text = format!("-- The tables of backup {} are in schema {schema}. Nothing below was run.\n", plan.backup);
    for load in &plan.inner.loads {
        let Some(table) = plan.inner.document.tables.iter().find(|table| table.stream == load.shown) else { continue };
        let live = qualified(&table.schema, &table.name);
        let columns: Vec<String> = load.columns.iter().map(|column| identifier(column)).collect();
        let list = columns.join(", ");
        text.push_str(&format!("\n-- {}: {} rows in the backup\n", load.shown, load.expected.rows));
        text.push_str(&format!("INSERT INTO {live} ({list}) OVERRIDING SYSTEM VALUE\n"));
        if has_key(&plan.inner.toc, table) {
            text.push_str("-- rows whose key is there stay as they are\n");
            text.push_str(&format!("SELECT {list} FROM {} ON CONFLICT DO NOTHING;\n", load.table));
        } else {
            let of =
                |alias: &str| columns.iter().map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ");
            text.push_str(&format!(
                "SELECT {} FROM {} b\n  WHERE NOT EXISTS (SELECT FROM {live} l WHERE ROW({}) IS NOT DISTINCT FROM ROW({}));\n",
                of("b"),
                load.table,
                of("l"),
                of("b")
            ));
        }
    }
    text.push_str(&format!("\n-- when it is not wanted any more:\nDROP SCHEMA {} CASCADE;", identifier(schema)));
    text
}

impl Restore<'_> {
    pub(super) async fn load_tables(&self) -> Result<Loaded, RestoreError> {
        let plan = self.plan;
        let schema = plan.schema.clone().unwrap_or_default();
        let session = live_session(self.context.server, &plan.database).await?;
        session.run("create the schema", &format!("CREATE SCHEMA {}", identifier(&schema))).await?;
        self.writes();
        let loaded = self.fill_tables(&session, &schema).await;
        if loaded.is_err() {
            // The error to report is the first one.
            let drop = format!("DROP SCHEMA {} CASCADE", identifier(&schema));
            if let Err(error) = session.run("drop the schema", &drop).await {
                self.leaves();
                tracing::warn!(%error, schema, "the schema could not be dropped");
            }
        }
        session.close().await;
        loaded
    }

    async fn fill_tables(&self, session: &Session, schema: &str) -> Result<Loaded, RestoreError> {
        let (plan, inner) = (self.plan, &self.plan.inner);
        let mut phases = Phases::begin();
        for load in &inner.loads {
            let table = inner.document.tables.iter().find(|table| table.stream == load.shown);
            if let Some(table) = table {
                session.run(&format!("create table {}", load.shown), &definition(&inner.toc, table, schema)?).await?;
            }
        }
        phases.end("create schema");
        self.context.monitor.phase("loading and comparing", "bytes", Some(plan.bytes.saturating_mul(2)));
        let (server, database) = (self.context.server, plan.database.as_str());
        let work = Work { rows: self.rows(), server, database, jobs: inner.jobs };
        let worked = work.load_and_compare(&inner.loads, &[]).await?;
        phases.end_at("load", worked.loaded.unwrap_or_else(Instant::now));
        phases.end("compare");
        Ok(Loaded {
            database: plan.database.clone(),
            tables: plan.tables,
            rows: plan.rows,
            bytes: plan.bytes,
            compared_tables: worked.compared_tables,
            differences: worked.differences,
            merge: Some(merge(plan, schema)),
            phases: phases.done,
            ..Loaded::default()
        })
    }
}
