//! What a restore of databases will do and did, for people.

use crate::{
    operations::{LaterDatabase, RestoredDatabase},
    report::words,
    sources::postgres::restore::{Difference, LeftOut, Plan, Scope, Switched, Way},
    types::{for_terminal, lines_for_terminal},
};

/// So many of each sort are shown; `-o json` has all.
const SHOWN: usize = 20;

/// `12 tables with 3,400 rows, 3 large objects`.
pub(super) fn contents(plan: &Plan) -> String {
    if plan.scope == Scope::Schema {
        return format!("{} without rows", words::count(plan.objects, "object"));
    }
    let mut text = format!("{} with {}", words::count(plan.tables, "table"), words::count(plan.rows, "row"));
    if plan.large_objects > 0 {
        text.push_str(&format!(", {}", words::count(plan.large_objects, "large object")));
    }
    text
}

/// The plan of each database.
pub(super) fn plans(backup: &str, plans: &[Plan]) -> String {
    let mut text = String::new();
    for plan in plans {
        text.push_str(&format!(
            "Plan: source {} of backup {} ({}, PostgreSQL {}) into {} (PostgreSQL {}) as role {}\n",
            for_terminal(&plan.source),
            for_terminal(backup),
            plan.snapshot,
            for_terminal(&plan.backup_version),
            for_terminal(&plan.server),
            for_terminal(&plan.server_version),
            for_terminal(&plan.role),
        ));
        let what = if plan.kept { "compare again" } else { "load" };
        text.push_str(&format!("  {what}: {} ({})\n", contents(plan), words::size(plan.bytes)));
        text.push_str(&steps(plan));
        text.push_str(&left_out(&plan.left_out));
        for warning in &plan.warnings {
            text.push_str(&format!("  note: {}\n", for_terminal(warning)));
        }
        for why in &plan.refusals {
            text.push_str(&format!("  REFUSED: {}\n", for_terminal(why)));
        }
        text.push('\n');
    }
    text
}

/// Databases whose servers come back with the objects.
pub(super) fn later(databases: &[LaterDatabase]) -> String {
    let line = |database: &LaterDatabase| {
        let (source, place) = (for_terminal(&database.source), for_terminal(&database.namespace));
        format!(
            "Plan: source {source}: its server is behind Service {place}/{}, whose workload comes back first; when that \
             is ready the database is loaded, compared and put in its place, and only then other workloads start\n\n",
            for_terminal(&database.service)
        )
    };
    databases.iter().map(line).collect()
}

fn steps(plan: &Plan) -> String {
    let database = for_terminal(&plan.database);
    let live = plan.live.as_ref().map_or_else(
        || "which does not exist".to_owned(),
        |live| {
            let size = live.bytes.map_or_else(|| "size unknown".to_owned(), words::size);
            let owner = for_terminal(&live.owner);
            format!("{size}, {}, {}, owner {owner}", live.encoding, words::count(live.sessions, "session"))
        },
    );
    let mut text = format!("  live: database {database} ({live})\n");
    let scratch = plan.scratch.as_deref().map(for_terminal).unwrap_or_default();
    match plan.way {
        Way::Beside => {
            let before = plan.before.as_deref().map(for_terminal).unwrap_or_default();
            if !plan.kept {
                text.push_str(&format!("  create: database {scratch}{}\n", room(plan)));
            }
            text.push_str(&format!(
                "  swap: if it is equal to the backup, {database} becomes {before}, and {scratch} becomes {database}\n"
            ));
        }
        Way::Create => {
            let verb = if plan.kept { "rename" } else { "create" };
            text.push_str(&format!(
                "  {verb}: database {scratch}, which becomes {database} if it is equal to the backup{}\n",
                room(plan)
            ));
        }
        Way::InPlace => text.push_str("  in place: into the live database, without a swap and without a way back\n"),
        Way::Tables => {
            let schema = plan.schema.as_deref().unwrap_or_default();
            text.push_str(&format!("  create: schema {schema} in the live database{}\n", room(plan)));
        }
    }
    for half in &plan.dropped {
        text.push_str(&format!(
            "  drop: database {}, left half loaded by an earlier restore, unless somebody uses it\n",
            for_terminal(half)
        ));
    }
    text
}

/// What it takes of the server's disks, about. How much is free there, SQL does not say.
fn room(plan: &Plan) -> String {
    if plan.needs == 0 {
        return String::new();
    }
    let beside = plan.live.as_ref().and_then(|live| live.bytes);
    let beside = beside.map_or_else(String::new, |bytes| format!(" beside the live database's {}", words::size(bytes)));
    format!("; needs about {}{beside}, and more for indexes and write-ahead log", words::size(plan.needs))
}

fn left_out(list: &[LeftOut]) -> String {
    let line = |left: &LeftOut| format!("  left out: {}: {}\n", for_terminal(&left.what), for_terminal(&left.why));
    let mut text: String = list.iter().take(SHOWN).map(line).collect();
    text.push_str(&more(list.len()));
    text
}

/// What the database that takes the live one's place will not have, for the question; empty: nothing is left out.
pub(super) fn lacks(plan: &Plan) -> String {
    if plan.left_out.is_empty() {
        return String::new();
    }
    let names: Vec<String> =
        plan.left_out.iter().take(SHOWN).map(|left| for_terminal(&left.what).to_string()).collect();
    let rest = plan.left_out.len().saturating_sub(SHOWN);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!(";\nit will be WITHOUT {}{more}", names.join(", "))
}

fn more(count: usize) -> String {
    let rest = count.saturating_sub(SHOWN);
    if rest == 0 { String::new() } else { format!("  and {rest} more (see -o json)\n") }
}

/// What became of each database.
pub(super) fn databases(list: &[RestoredDatabase]) -> String {
    list.iter().map(of_database).collect()
}

fn of_database(database: &RestoredDatabase) -> String {
    let loaded = &database.loaded;
    let mut text = format!(
        "  database of source {}: {} rows in {}, {} ({})\n",
        for_terminal(&database.source),
        loaded.rows,
        words::count(loaded.tables, "table"),
        words::count(loaded.large_objects, "large object"),
        words::size(loaded.bytes),
    );
    text.push_str(&format!(
        "  compared: {}, {}, {}, {}: {}\n",
        words::count(loaded.compared_tables, "table"),
        words::count(loaded.compared_large_objects, "large object"),
        words::count(loaded.compared_sequences, "sequence"),
        words::count(loaded.compared_objects, "object"),
        if loaded.is_equal() { "equal to the backup" } else { "NOT EQUAL to the backup" },
    ));
    let line =
        |found: &Difference| format!("  different: {}: {}\n", for_terminal(&found.what), for_terminal(&found.how));
    text.extend(loaded.differences.iter().take(SHOWN).map(line));
    text.push_str(&more(loaded.differences.len()));
    text.push_str(&left_out(&loaded.left_out));
    for note in loaded.notes.iter().take(SHOWN) {
        text.push_str(&format!("  note: {}\n", for_terminal(note)));
    }
    text.push_str(&more(loaded.notes.len()));
    match &database.switched {
        Some(switched) => text.push_str(&swapped(switched)),
        None => text.push_str(&format!("  it is in database {}\n", for_terminal(&loaded.database))),
    }
    if let Some(back) = &database.switched_back {
        text.push_str(&format!(
            "  swapped back: database {} is as it was before ({}), because another one could not be swapped in\n",
            for_terminal(&back.database),
            words::count(back.ended_sessions, "session") + " ended",
        ));
    }
    if let Some(merge) = &loaded.merge {
        text.push_str(&format!("\n{}\n", lines_for_terminal(merge)));
    }
    text
}

fn swapped(switched: &Switched) -> String {
    let mut text = format!(
        "  swapped in: database {} ({} ended, {} without connections)\n",
        for_terminal(&switched.database),
        words::count(switched.ended_sessions, "session"),
        words::seconds(switched.seconds),
    );
    if let Some(opens) = switched.opens() {
        text.push_str(&format!(
            "  it takes no connections, like the one before; once it may: {}\n",
            for_terminal(&opens)
        ));
    }
    if let (Some(before), Some(drop)) = (&switched.before, &switched.drop) {
        text.push_str(&format!(
            "  kept: database {}; once it is not wanted any more: {}\n",
            for_terminal(before),
            for_terminal(drop)
        ));
    }
    text
}

/// What an undo did.
pub(super) fn undone(switched: &Switched) -> String {
    let name = for_terminal(&switched.database);
    match (&switched.before, &switched.drop) {
        (Some(other), Some(drop)) => format!(
            "database {name} is the one from before again ({} ended)\n  kept: the restored one as {}; once it is not wanted any more: {}\n",
            words::count(switched.ended_sessions, "session"),
            for_terminal(other),
            for_terminal(drop),
        ),
        _ => match &switched.kept_as {
            Some(kept) => format!("database {name} is there again: it was kept as {}\n", for_terminal(kept)),
            None if switched.closed => {
                format!("database {name} had not been replaced; it stays closed, as it was before\n")
            }
            None => format!("database {name} is open again; it had not been replaced\n"),
        },
    }
}
