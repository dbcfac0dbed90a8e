//! The SQL that merges the rows of single tables into the live ones. It is printed, and nothing runs it. A name stays in its
//! place, whatever is in it: a line that ended within a comment would make SQL of the rest.

use super::{
    super::{
        archive::{Field, Toc},
        quote::{readable, readable_in},
    },
    copy::Load,
    plan::Plan,
    table_sql, tables,
};
use crate::types::for_terminal;

/// What merges the rows that are gone from the live tables.
pub(super) fn merge(plan: &Plan, schema: &str) -> String {
    let mut text = format!(
        "-- The tables of backup {} are in schema {schema}. Nothing below was run. Triggers and foreign keys of the live \
         tables are at work when it is.\n",
        plan.backup
    );
    let toc = &plan.inner.toc;
    for load in &plan.inner.loads {
        let rows = load.expected.rows;
        let shown = for_terminal(&load.shown);
        text.push_str(&format!("\n-- {shown}: {rows} row{} in the backup\n", if rows == 1 { "" } else { "s" }));
        let Some((origin, name, definition)) = tables::origin(toc, load) else { continue };
        let (live, from) = (readable_in(&origin, &name), readable_in(schema, &name));
        text.push_str(&match primary_key(toc, &origin, &name) {
            _ if load.columns.is_empty() => "-- it has no columns: there is nothing to merge\n".to_owned(),
            Some(key) => by_key(load, (&live, &from), &key),
            None => by_row(load, (&live, &from), table_sql::is_partitioned(&definition)),
        });
    }
    text.push_str(&format!("\n-- when it is not wanted any more:\nDROP SCHEMA {} CASCADE;", readable(schema)));
    text
}

/// The columns of a table's primary key. A unique constraint is none: its columns may be NULL, and equal then.
fn primary_key(toc: &Toc, schema: &str, name: &str) -> Option<Vec<String>> {
    let constraints = toc.entries().filter(|entry| entry.description() == "CONSTRAINT" && entry.namespace() == schema);
    let mut keys = constraints.filter_map(|entry| table_sql::primary_key(&entry.text(Field::Definition)));
    keys.find(|((of, table), _)| of == schema && table == name).map(|(_, columns)| columns)
}

fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| readable(column)).collect::<Vec<_>>().join(", ")
}

/// Rows whose key is not there. Another constraint that is in their way is an error, and not a reason to pass a row over.
fn by_key(load: &Load, (live, from): (&str, &str), key: &[String]) -> String {
    let (columns, key) = (listed(&load.columns), listed(key));
    format!(
        "-- rows whose primary key is there stay as they are\n\
         INSERT INTO {live} ({columns}) OVERRIDING SYSTEM VALUE\n\
         SELECT {columns} FROM {from}\n  ON CONFLICT ({key}) DO NOTHING;\n"
    )
}

/// Rows of which the live table has fewer. They are compared as text: not every type knows what is equal.
fn by_row(load: &Load, (live, from): (&str, &str), with_partitions: bool) -> String {
    let columns = listed(&load.columns);
    let (row, number, count) = (free(load, "drctl_row"), free(load, "drctl_number"), free(load, "drctl_count"));
    let of_backup: Vec<String> = load.columns.iter().map(|column| format!("b.{}", readable(column))).collect();
    let only = if with_partitions { "" } else { "ONLY " };
    format!(
        "-- it has no primary key to go by: rows are compared as a whole, and added where the live table has fewer of them\n\
         INSERT INTO {live} ({columns}) OVERRIDING SYSTEM VALUE\n\
         SELECT {}\n  \
           FROM (SELECT *, ROW({columns})::text AS {row}, row_number() OVER (PARTITION BY ROW({columns})::text) AS {number}\n          \
             FROM {from}) b\n  \
           LEFT JOIN (SELECT ROW({columns})::text AS {row}, count(*) AS {count} FROM {only}{live} GROUP BY 1) l USING ({row})\n  \
           WHERE b.{number} > coalesce(l.{count}, 0);\n",
        of_backup.join(", ")
    )
}

/// A name that no column has.
fn free(load: &Load, name: &str) -> String {
    let mut free = name.to_owned();
    while load.columns.contains(&free) {
        free.push('_');
    }
    free
}
