//! Makes a plan: reads the backup's documents and the server's catalogs, and writes nothing.

use std::{collections::HashSet, sync::Arc};

use super::{
    super::{
        Server, Session,
        archive::Toc,
        contents::{self, Database as Document},
        tools::{self, Program},
    },
    RestoreContext, RestoreError, absent, copy, databases, found, left,
    names::RestoreId,
    of_extensions,
    plan::{Inner, Live, Plan, PlanOptions, Scope, Way},
    preflight::{self, Findings, Target},
    report::LeftOut,
    selection::{self, Selection},
    sequences,
};
use crate::types::counted;

/// Sessions at most, where nothing is said.
const MOST_JOBS: usize = 8;

/// Makes the plan.
pub(super) async fn make(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    let document: Document = contents::read(context.contents, &options.source).await?;
    let toc = contents::read_toc(context.contents, &options.source).await?;
    let toc = options.ownership.applied(toc)?;
    let database = options.database.clone().unwrap_or_else(|| context.server.url().database.clone());
    let session = databases::beside(context.server, &database).await?;
    let target = Target::look(context.server, &session, &database).await?;
    let mut findings = Findings::default();

    let abilities = target.abilities(options);
    let mut selection = selection::select(&toc, &abilities, &document.lacking);
    of_extensions::leave_out(&toc, &document, &mut selection);
    let whole = options.way != Way::Tables && options.scope != Scope::Data;
    // Rows of a table that cannot be made have no place to go. Where tables are there, nothing is made.
    let out = if whole { selection.out.clone() } else { HashSet::new() };
    let mut loads = copy::loads(context.contents, &options.source, &document, &toc, &out)?;
    let objects = if whole { object_streams(context, options, &document)? } else { Vec::new() };
    let id = options.id.clone().unwrap_or_else(|| RestoreId::new(options.now));
    narrow(options, &document, &toc, &id, &mut selection, &mut loads)?;
    let scratch = id.scratch(&database);
    preflight::names(&mut findings, &document, &loads, options);
    preflight::check(&mut findings, options, &document, &toc, &selection, &target);
    left::check(&mut findings, options, &target, &scratch);
    left_out_rows(&mut findings, options, &document, &selection);
    rows_of_roots(&mut findings, &document, &loads, &selection);
    doubtful(&mut findings, options, &document);
    let lost = absent::check(&mut findings, context.server, options, &document, &target).await;
    selection.left_out.extend(lost);
    // One that takes no connections cannot be looked into: where that is needed, the plan is refused by now.
    let is_within = matches!(options.way, Way::InPlace | Way::Tables);
    if target.traces.live.as_ref().is_some_and(|live| live.open || !is_within) {
        live_contents(&mut findings, context.server, options, &database).await?;
        live_sequences(&mut findings, context.server, options, &document, &database).await?;
    }

    let major = session.version.major;
    let mut tool = async |program| match tools::find(program, major).await {
        Ok(tool) => Some(tool),
        Err(error) => {
            findings.refuse(error.to_string());
            None
        }
    };
    let (pg_restore, pg_dump) = (tool(Program::PgRestore).await, tool(Program::PgDump).await);
    let wants_rows = options.scope != Scope::Schema;
    let (loads, objects) = if wants_rows { (loads, objects) } else { (Vec::new(), Vec::new()) };
    let large_objects: Vec<_> = objects.iter().filter_map(|place| context.contents.streams().get(*place)).collect();
    let object_bytes = large_objects.iter().flat_map(|stream| &stream.parts).map(|part| part.length).sum::<u64>();
    let beside = matches!(options.way, Way::Beside | Way::Create);
    let tablespace = if beside && !options.kept { target.tablespace(&mut findings, &document) } else { None };
    let no_tablespaces = target.lacks_tablespaces(&toc);
    if no_tablespaces {
        findings.warn("tablespaces of the backup are not on this server: everything goes into the default one");
    }
    Ok(Plan {
        backup: options.backup.clone(),
        source: options.source.to_string(),
        server: context.server.shown(),
        server_version: session.version.text.clone(),
        role: context.server.url().user.clone(),
        backup_version: document.server.version.clone(),
        snapshot: document.snapshot.time,
        original: document.name.clone(),
        way: options.way,
        scope: options.scope,
        scratch: beside.then_some(scratch),
        before: (options.way == Way::Beside).then(|| id.before(&database)),
        schema: (options.way == Way::Tables).then(|| id.schema()),
        live: target.traces.live.as_ref().map(|live| Live {
            bytes: live.bytes,
            owner: live.owner.clone(),
            encoding: live.encoding.clone(),
            sessions: live.sessions,
        }),
        ownership: options.ownership.clone(),
        tables: loads.iter().map(|load| load.streams.len() as u64).sum(),
        rows: loads.iter().map(|load| load.expected.rows).sum(),
        large_objects: large_objects.iter().map(|stream| stream.parts.len() as u64).sum(),
        bytes: loads.iter().map(|load| load.bytes).sum::<u64>().saturating_add(object_bytes),
        needs: if options.kept { 0 } else { on_disk(&loads, object_bytes) },
        objects: selection.made().len() as u64,
        left_out: selection.left_out.clone(),
        refusals: findings.refusals,
        warnings: findings.warnings,
        dropped: if beside && !options.kept { target.dropped() } else { Vec::new() },
        kept: options.kept,
        database,
        inner: Arc::new(Inner {
            id,
            system: target.system.clone(),
            live: target.traces.live.as_ref().map(|live| live.oid),
            toc,
            document,
            loads,
            objects,
            selection,
            pg_restore,
            pg_dump,
            jobs: options.jobs.unwrap_or_else(processors).max(1),
            no_tablespaces,
            tablespace,
            target_major: major,
        }),
    })
}

/// What the live database holds may be in the way.
async fn live_contents(
    findings: &mut Findings,
    server: &Server,
    options: &PlanOptions,
    database: &str,
) -> Result<(), RestoreError> {
    if options.way == Way::InPlace && options.scope != Scope::Data {
        found::not_empty(server, database).await?.into_iter().for_each(|why| findings.refuse(why));
    }
    if options.over_empty && options.way == Way::Beside {
        let found = found::found(server, database).await?;
        if !found.is_empty() {
            findings.refuse(format!(
                "its server came up with this restore, and database {database} holds something already ({}), which nobody \
                 has agreed to lose: look at it, and run the restore again, whose plan shows what it replaces",
                found.join(", ")
            ));
        }
    }
    Ok(())
}

/// Rows whose sequences stay behind them are of no use: the next one gets a key that is there.
async fn live_sequences(
    findings: &mut Findings,
    server: &Server,
    options: &PlanOptions,
    document: &Document,
    database: &str,
) -> Result<(), RestoreError> {
    const SHOWN: usize = 10;
    if options.way != Way::InPlace || options.scope != Scope::Data || document.sequences.is_empty() {
        return Ok(());
    }
    let session = server.connect_to(database, "restore").await?;
    let denied = sequences::denied(&session, &document.sequences).await?;
    session.close().await;
    if !denied.is_empty() {
        let (user, more) = (&server.url().user, if denied.len() > SHOWN { ", …" } else { "" });
        let shown = denied.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        findings.refuse(format!(
            "role {user} may not set {} ({shown}{more}), and the next row would get a key of the backup's: GRANT SELECT, \
             UPDATE ON SEQUENCE {shown} TO {user}, or restore as their owner",
            counted(denied.len() as u64, "sequence")
        ));
    }
    Ok(())
}

/// About how many bytes rows and large objects take in tables: each row has a header, a pointer and some padding.
fn on_disk(loads: &[copy::Load], object_bytes: u64) -> u64 {
    const A_ROW: u64 = 32;
    let table = |load: &copy::Load| load.bytes.saturating_add(load.expected.rows.saturating_mul(A_ROW));
    loads.iter().map(table).fold(object_bytes, u64::saturating_add)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MOST_JOBS)
}

fn object_streams(
    context: RestoreContext<'_>,
    options: &PlanOptions,
    document: &Document,
) -> Result<Vec<usize>, RestoreError> {
    let place = |block: &contents::LargeObjects| {
        copy::stream(context.contents, &options.source, &block.stream).map(|(place, _)| place)
    };
    document.large_objects.iter().map(place).collect()
}

/// Leaves only what the way and the scope are about.
fn narrow(
    options: &PlanOptions,
    document: &Document,
    toc: &Toc,
    id: &RestoreId,
    selection: &mut Selection,
    loads: &mut Vec<copy::Load>,
) -> Result<(), RestoreError> {
    match (options.way, options.scope) {
        (Way::Tables, _) => super::tables::narrow(options, document, toc, &id.schema(), selection, loads),
        (_, Scope::Data) => {
            *selection = Selection::default();
            if !document.large_objects.is_empty() {
                let why = "--data-only loads rows into tables that are there".to_owned();
                selection.left_out.push(LeftOut { what: "large objects".to_owned(), why });
            }
            loads.iter_mut().for_each(|load| load.emptied = copy::Emptied::MustBe { condition: String::new() });
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A table that is left out takes its rows along; that is agreed to in words.
fn left_out_rows(findings: &mut Findings, options: &PlanOptions, document: &Document, selection: &Selection) {
    if options.leave_out {
        return;
    }
    for table in document.tables.iter().filter(|table| selection.out.contains(&table.dump_id)) {
        let why = selection
            .left_out
            .iter()
            .find(|left| left.what.starts_with("TABLE DATA") && left.what.ends_with(&table.name));
        let why = why.map_or_else(String::new, |left| format!(": {}", left.why));
        findings.refuse(format!(
            "the rows of table {} would be left out{why}; put that right, or agree to it with --leave-out",
            table.stream
        ));
    }
}

/// Rows that are loaded through the root of their partitions may belong into another one on this server: into one that is
/// left out, too.
fn rows_of_roots(findings: &mut Findings, document: &Document, loads: &[copy::Load], selection: &Selection) {
    for table in document.tables.iter().filter(|table| selection.out.contains(&table.dump_id)) {
        let root = loads.iter().find(|load| load.through_root && table.root.as_ref() == Some(&load.table));
        if let Some(root) = root {
            findings.warn(format!(
                "partition {} of {} is left out: the restore ends with an error if a row of another partition belongs into \
                 it on this server (which partition a row belongs into is not the same everywhere)",
                table.stream, root.shown
            ));
        }
    }
}

/// Foreign keys that are tried, and may be left out.
fn doubtful(findings: &mut Findings, options: &PlanOptions, document: &Document) {
    if options.way == Way::Tables || options.scope != Scope::All {
        return;
    }
    for key in document.lacking.iter().filter(|key| key.rows_only) {
        findings.warn(format!("{} is left out if it does not hold: {}", key.what, key.why));
    }
}

/// The one column of a query, as texts.
pub(super) async fn text_list(session: &Session, doing: &str, sql: &str) -> Result<Vec<String>, RestoreError> {
    let rows = session.rows(doing, sql, &[]).await?;
    // In a database without an encoding, a name may be no text.
    let texts: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    texts.map_err(|error| session.failed(doing, &error).into())
}
