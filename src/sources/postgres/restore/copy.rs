//! The tables of a backup, and the statements that load and read them.

use super::{
    super::{
        archive::{CopyLine, Toc},
        contents::{self, Database},
        quote::identifier,
        rows::RowTotals,
    },
    RestoreError,
    blocks::Blocks,
};
use crate::types::{BackupContents, MediaType, Name, StreamInfo};

/// How a table is emptied before its rows come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Emptied {
    /// This run made it: rows that are truncated in the same transaction keep their order, and need no vacuum.
    Truncate,
    /// This run made it, and its partitions, which take the rows.
    TruncateAll,
    /// An extension made it: only what the extension lists as the user's own is replaced.
    Delete {
        /// The condition that the extension gives, `WHERE …`, or nothing.
        condition: String,
    },
    /// It was there: it must be empty.
    MustBe,
}

/// A table that is loaded as one.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// For people: `public.orders`.
    pub(super) shown: String,
    /// The table in SQL.
    pub(super) table: String,
    /// Its columns, not quoted, in the order of the fields.
    pub(super) columns: Vec<String>,
    /// The streams of its rows, by their places in the backup.
    pub(super) streams: Vec<usize>,
    /// What the backup counted.
    pub(super) expected: RowTotals,
    /// Plain bytes.
    pub(super) bytes: u64,
    /// How it is emptied.
    pub(super) emptied: Emptied,
    /// It is loaded through the root of its partitions.
    pub(super) through_root: bool,
}

impl Load {
    fn listed(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| identifier(column)).collect();
        if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) }
    }

    /// What is done before the rows, in the same transaction.
    pub(super) fn prepare(&self) -> Option<String> {
        match &self.emptied {
            Emptied::Truncate => Some(format!("TRUNCATE ONLY {}", self.table)),
            Emptied::TruncateAll => Some(format!("TRUNCATE {}", self.table)),
            Emptied::Delete { condition } => Some(format!("DELETE FROM ONLY {} {condition}", self.table)),
            Emptied::MustBe => None,
        }
    }

    /// The statement that takes the rows.
    pub(super) fn copy_in(&self, encoding: &str) -> String {
        // Rows are frozen where nobody else can have seen the table: it spares the comparison the hint bits.
        let freeze = if self.emptied == Emptied::Truncate { ", FREEZE" } else { "" };
        format!("COPY {}{} FROM STDIN WITH (FORMAT text, ENCODING '{encoding}'{freeze})", self.table, self.listed())
    }

    /// The statement that reads some of them back.
    pub(super) fn copy_out(&self, encoding: &str, blocks: Blocks) -> String {
        let options = format!("TO STDOUT WITH (FORMAT text, ENCODING '{encoding}')");
        let condition = match &self.emptied {
            Emptied::Delete { condition } => condition.clone(),
            _ if blocks.are_all() => String::new(),
            _ => format!("WHERE {blocks}"),
        };
        if !self.through_root && condition.is_empty() {
            return format!("COPY {}{} {options}", self.table, self.listed());
        }
        let columns: Vec<String> = self.columns.iter().map(|column| identifier(column)).collect();
        let only = if self.through_root { "" } else { "ONLY " };
        format!("COPY (SELECT {} FROM {only}{} {condition}) {options}", columns.join(", "), self.table)
    }
}

/// The tables of a backup as they are to be loaded; the largest come first.
///
/// # Errors
/// [`RestoreError::Backup`] if documents, streams and table of contents do not belong together.
pub(super) fn loads(
    contents: &dyn BackupContents,
    source: &Name,
    database: &Database,
    toc: &Toc,
) -> Result<Vec<Load>, RestoreError> {
    let mut loads: Vec<Load> = Vec::new();
    for table in &database.tables {
        let entry = toc.entry(table.dump_id).filter(super::super::archive::Entry::is_table_data);
        let entry = entry.ok_or_else(|| contradiction(format!("table {} is not in the archive", table.stream)))?;
        let line = entry.copy_line().map_err(contents::Error::Toc)?;
        let (place, info) = stream(contents, source, &table.stream)?;
        let (expected, bytes) = totals(info)?;
        let root = entry.root();
        let same = |load: &&mut Load| root.is_some() && load.through_root && load.table == line.table;
        if let Some(load) = loads.iter_mut().find(same) {
            if load.columns != line.columns {
                let what = format!("partitions of {} have their columns in different orders", load.table);
                return Err(RestoreError::Usage(format!("{what}, which cannot be compared over the root yet")));
            }
            load.streams.push(place);
            load.expected.add(&expected);
            load.bytes = load.bytes.saturating_add(bytes);
            continue;
        }
        loads.push(of_table(table, line, place, root, expected, bytes));
    }
    one_each(&loads)?;
    loads.sort_by_key(|load| std::cmp::Reverse(load.bytes));
    Ok(loads)
}

fn of_table(
    table: &contents::Table,
    line: CopyLine,
    place: usize,
    root: Option<String>,
    expected: RowTotals,
    bytes: u64,
) -> Load {
    let through_root = root.is_some();
    Load {
        shown: root.map_or_else(|| contents::table_stream(&table.schema, &table.name), |_| line.table.clone()),
        table: line.table,
        columns: line.columns,
        streams: vec![place],
        expected,
        bytes,
        emptied: if through_root { Emptied::TruncateAll } else { Emptied::Truncate },
        through_root,
    }
}

fn one_each(loads: &[Load]) -> Result<(), RestoreError> {
    let mut seen = std::collections::HashSet::new();
    match loads.iter().find(|load| !seen.insert(&load.table)) {
        Some(twice) => Err(contradiction(format!("it loads table {} twice", twice.shown))),
        None => Ok(()),
    }
}

/// The stream of this name, and its place in the backup.
pub(super) fn stream<'a>(
    contents: &'a dyn BackupContents,
    source: &Name,
    name: &str,
) -> Result<(usize, &'a StreamInfo), RestoreError> {
    let mut found =
        contents.streams().iter().enumerate().filter(|(_, info)| info.source == *source && info.name == name);
    match (found.next(), found.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(contradiction(format!("there are two streams `{name}`"))),
        (None, _) => Err(contents::Error::NoStream { source_name: source.clone(), stream: name.to_owned() }.into()),
    }
}

fn totals(info: &StreamInfo) -> Result<(RowTotals, u64), RestoreError> {
    if info.media_type != MediaType::Table {
        return Err(contradiction(format!("stream `{}` is no table", info.name)));
    }
    let mut totals = RowTotals::default();
    let mut bytes = 0u64;
    for part in &info.parts {
        let digest = part.digest.ok_or_else(|| contradiction(format!("stream `{}` has no digest", info.name)))?;
        totals.add(&RowTotals { rows: part.count, digest });
        bytes = bytes.saturating_add(part.length);
    }
    Ok((totals, bytes))
}

/// The backup contradicts itself.
pub(super) fn contradiction(what: String) -> RestoreError {
    let what = crate::types::for_terminal(&what).into_owned();
    contents::Error::Contradiction { stream: contents::DATABASE, what }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(emptied: Emptied, through_root: bool, columns: &[&str]) -> Load {
        Load {
            shown: "public.t".to_owned(),
            table: "public.t".to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            streams: Vec::new(),
            expected: RowTotals::default(),
            bytes: 0,
            emptied,
            through_root,
        }
    }

    #[test]
    fn a_table_is_loaded_and_read_by_its_own_columns() {
        let own = load(Emptied::Truncate, false, &["id", "a \"b\""]);
        assert_eq!(own.prepare().unwrap(), "TRUNCATE ONLY public.t");
        assert_eq!(
            own.copy_in("UTF8"),
            r#"COPY public.t ("id", "a ""b""") FROM STDIN WITH (FORMAT text, ENCODING 'UTF8', FREEZE)"#
        );
        assert_eq!(
            own.copy_out("UTF8", Blocks::default()),
            r#"COPY public.t ("id", "a ""b""") TO STDOUT WITH (FORMAT text, ENCODING 'UTF8')"#
        );
        let bare = load(Emptied::Truncate, false, &[]);
        assert_eq!(
            bare.copy_out("LATIN1", Blocks::default()),
            "COPY public.t TO STDOUT WITH (FORMAT text, ENCODING 'LATIN1')"
        );
    }

    #[test]
    fn partitions_that_are_loaded_through_their_root_are_emptied_and_read_over_it() {
        let root = load(Emptied::TruncateAll, true, &["id"]);
        assert_eq!(root.prepare().unwrap(), "TRUNCATE public.t");
        assert!(!root.copy_in("UTF8").contains("FREEZE"));
        assert!(
            root.copy_out("UTF8", Blocks::default()).starts_with("COPY (SELECT \"id\" FROM public.t )"),
            "{}",
            root.copy_out("UTF8", Blocks::default())
        );
    }

    #[test]
    fn of_an_extensions_table_only_the_rows_of_the_user_are_replaced_and_read() {
        let condition = "WHERE srid > 900000".to_owned();
        let extension = load(Emptied::Delete { condition }, false, &["srid"]);
        assert_eq!(extension.prepare().unwrap(), "DELETE FROM ONLY public.t WHERE srid > 900000");
        assert!(
            extension
                .copy_out("UTF8", Blocks::default())
                .starts_with("COPY (SELECT \"srid\" FROM ONLY public.t WHERE srid > 900000)")
        );
    }

    #[test]
    fn nothing_is_removed_from_a_table_that_was_there() {
        let there = load(Emptied::MustBe, false, &["id"]);
        assert_eq!(there.prepare(), None);
        assert!(!there.copy_in("UTF8").contains("FREEZE"));
    }
}
