//! Single tables, into a schema of their own in the live database.

use std::time::Instant;

use super::{
    super::{
        Session,
        archive::{Entry, Field, Toc},
        contents::{Database as Document, table_stream},
        quote::{identifier, qualified},
    },
    Phases, Restore, RestoreError,
    copy::{Emptied, Load},
    live_session,
    merge::merge,
    plan::PlanOptions,
    report::Loaded,
    selection::Selection,
    table_sql::{self, TableName},
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
        let ((origin, name), load) = asked_for(wanted, document, toc, loads)?;
        let target = qualified(schema, &name);
        let shown = table_stream(&origin, &name);
        let load = Load { shown, table: target, emptied: Emptied::Truncate, through_root: false, ..load };
        definition(toc, &load, schema)?;
        match chosen.iter().find(|other| other.table == load.table) {
            Some(same) if same.shown == load.shown => continue,
            Some(other) => {
                let what = format!("{} and {} have one name; restore one after the other", other.shown, load.shown);
                return Err(RestoreError::Usage(what));
            }
            None => chosen.push(load),
        }
    }
    *loads = chosen;
    Ok(())
}

/// The table that is meant, and all of its rows.
fn asked_for(wanted: &str, document: &Document, toc: &Toc, loads: &[Load]) -> Result<(TableName, Load), RestoreError> {
    let tables = &document.tables;
    let plain = |schema: &str, name: &str| format!("{schema}.{name}") == wanted;
    let exact = tables.iter().find(|table| table.stream == wanted);
    if let Some(table) = exact.or_else(|| tables.iter().find(|table| plain(&table.schema, &table.name))) {
        if let Some(root) = &table.root {
            let root = table_sql::table_name(root).map_or_else(|| root.clone(), |(of, name)| table_stream(&of, &name));
            let what = format!(
                "the rows of {wanted} are loaded through its root, with those of other partitions: name {root}"
            );
            return Err(RestoreError::Usage(what));
        }
        let load = loads.iter().find(|load| load.shown == table.stream).ok_or_else(|| unknown(wanted, document))?;
        return Ok(((table.schema.clone(), table.name.clone()), load.clone()));
    }
    let is_meant = |entry: &Entry<'_>| {
        let (schema, name) = (entry.namespace(), entry.tag());
        entry.description() == "TABLE" && (table_stream(&schema, &name) == wanted || plain(&schema, &name))
    };
    let entry = toc.entries().find(is_meant).ok_or_else(|| unknown(wanted, document))?;
    if !table_sql::is_partitioned(&entry.text(Field::Definition)) {
        return Err(no_rows(wanted, &entry.tag()));
    }
    let root = (entry.namespace().into_owned(), entry.tag().into_owned());
    let load = of_root(wanted, &root, document, toc, loads)?;
    Ok((root, load))
}

/// The rows of all partitions under a table, as one.
fn of_root(
    wanted: &str,
    root: &TableName,
    document: &Document,
    toc: &Toc,
    loads: &[Load],
) -> Result<Load, RestoreError> {
    let mut whole: Option<Load> = None;
    for (schema, name) in leaves(toc, root) {
        let table = document.tables.iter().find(|table| table.schema == schema && table.name == name);
        let load = table.and_then(|table| {
            let place = |load: &&Load| match &table.root {
                Some(root) => load.through_root && load.table == *root,
                None => !load.through_root && load.shown == table.stream,
            };
            loads.iter().find(place)
        });
        let load = load.ok_or_else(|| no_rows(wanted, &table_stream(&schema, &name)))?;
        match &mut whole {
            None => whole = Some(load.clone()),
            Some(whole) if load.streams.iter().all(|stream| whole.streams.contains(stream)) => {}
            Some(whole) => {
                if !whole.join(load) {
                    let what = format!("partitions of {wanted} do not have the same columns: name the partitions");
                    return Err(RestoreError::Usage(what));
                }
            }
        }
    }
    whole.ok_or_else(|| no_rows(wanted, wanted))
}

/// The ordinary tables at the ends of a table's partitions. Foreign tables have their rows elsewhere.
fn leaves(toc: &Toc, root: &TableName) -> Vec<TableName> {
    let with_links = toc.entries().filter(|entry| ["TABLE", "TABLE ATTACH"].contains(&entry.description().as_ref()));
    let links: Vec<(TableName, TableName)> =
        with_links.filter_map(|entry| table_sql::attached(&entry.text(Field::Definition))).collect();
    let is_table = |table: &TableName| {
        let mut entries = toc.entries();
        entries.any(|entry| {
            entry.description() == "TABLE" && entry.namespace() == table.0.as_str() && entry.tag() == table.1.as_str()
        })
    };
    let (mut leaves, mut open, mut seen) = (Vec::new(), vec![root], std::collections::HashSet::new());
    while let Some(table) = open.pop() {
        // What a forged archive attaches in a circle is seen once.
        if !seen.insert(table) {
            continue;
        }
        let below: Vec<&TableName> = links.iter().filter(|(above, _)| above == table).map(|(_, leaf)| leaf).collect();
        if below.is_empty() && table != root && is_table(table) && !is_root(toc, table) {
            leaves.push(table.clone());
        }
        open.extend(below);
    }
    leaves.sort();
    leaves
}

fn is_root(toc: &Toc, table: &TableName) -> bool {
    of_name(toc, table).is_some_and(|text| table_sql::is_partitioned(&text))
}

/// The statements that make a table.
fn of_name(toc: &Toc, (schema, name): &TableName) -> Option<String> {
    let is_it = |entry: &Entry<'_>| {
        entry.description() == "TABLE" && entry.namespace() == schema.as_str() && entry.tag() == name.as_str()
    };
    toc.entries().find(is_it).map(|entry| entry.text(Field::Definition).into_owned())
}

fn no_rows(wanted: &str, of: &str) -> RestoreError {
    let which = if wanted == of { String::new() } else { format!(" of {of}") };
    RestoreError::Usage(format!(
        "the backup has table {wanted}, and not all of its rows: none{which} (an exclusion of the policy?); name the partitions or \
         tables that `drctl show` lists"
    ))
}

fn unknown(wanted: &str, document: &Document) -> RestoreError {
    const SHOWN: usize = 10;
    let names: Vec<&str> = document.tables.iter().map(|table| table.stream.as_str()).take(SHOWN).collect();
    let more = if document.tables.len() > SHOWN { ", …" } else { "" };
    RestoreError::Usage(format!("the backup has no table {wanted}; it has {}{more}", names.join(", ")))
}

/// Schema and name in the backup of what a load is of, and the statements that made it there.
pub(super) fn origin(toc: &Toc, load: &Load) -> Option<(String, String, String)> {
    let is_it = |entry: &Entry<'_>| {
        entry.description() == "TABLE" && table_stream(&entry.namespace(), &entry.tag()) == load.shown
    };
    let entry = toc.entries().find(is_it)?;
    let definition = entry.text(Field::Definition).into_owned();
    Some((entry.namespace().into_owned(), entry.tag().into_owned(), definition))
}

/// The statements that make a table in another schema.
fn definition(toc: &Toc, load: &Load, schema: &str) -> Result<String, RestoreError> {
    let text = origin(toc, load).and_then(|(origin, name, definition)| {
        table_sql::for_table(&definition, &origin, &name, &qualified(schema, &name))
    });
    text.ok_or_else(|| {
        RestoreError::Usage(format!(
            "table {} belongs to an extension or inherits from another; restore the whole database beside",
            load.shown
        ))
    })
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
            session.run(&format!("create table {}", load.shown), &definition(&inner.toc, load, schema)?).await?;
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
