//! The tables of a backup, and the statements that load and read them.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use super::{
    super::{
        archive::{CopyLine, Toc},
        contents::{self, Database},
        quote::identifier,
        rows::RowTotals,
    },
    RestoreError,
    blocks::Blocks,
    reorder,
};
use crate::types::{BackupContents, MediaType, Name, StreamInfo};

/// How a table is emptied before its rows come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Emptied {
    /// This run made it: rows that are truncated in the same transaction keep their order, and need no vacuum.
    Truncate,
    /// This run made it, and its partitions, which take the rows: they are empty. A TRUNCATE would reach all of them, those
    /// too that are loaded by themselves, and foreign ones, whose rows are on another server.
    IsNew,
    /// An extension made it: only what the extension lists as the user's own is replaced.
    Delete {
        /// The condition that the extension gives, `WHERE …`, or nothing.
        condition: String,
    },
    /// It was there: it must be empty.
    MustBe {
        /// Of an extension's table: of what the extension lists as the user's own. Else nothing.
        condition: String,
    },
}

impl Emptied {
    /// Which rows of the table are meant, `WHERE …`; nothing: all.
    fn condition(&self) -> &str {
        match self {
            Self::Delete { condition } | Self::MustBe { condition } => condition,
            Self::Truncate | Self::IsNew => "",
        }
    }

    /// The same of a table that an extension has made.
    pub(super) fn of_extension(&self, condition: String) -> Self {
        match self {
            Self::MustBe { .. } => Self::MustBe { condition },
            Self::Truncate | Self::IsNew | Self::Delete { .. } => Self::Delete { condition },
        }
    }
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
    /// What the backup counted; of rows in [`Self::reordered`] streams the number alone.
    pub(super) expected: RowTotals,
    /// Those of the streams whose fields are in another order, as partitions may have their columns; with these columns.
    pub(super) reordered: Vec<(usize, Vec<String>)>,
    /// What their rows add up to with the fields in the order of `columns`, once they were read.
    pub(super) reordered_totals: OnceLock<RowTotals>,
    /// Plain bytes.
    pub(super) bytes: u64,
    /// How it is emptied.
    pub(super) emptied: Emptied,
    /// It is loaded through the root of its partitions.
    pub(super) through_root: bool,
    /// In SQL: the tables that are loaded by themselves. Some may be partitions of the same root.
    pub(super) apart: Arc<[String]>,
    /// In SQL: the partitions that the rows went into, once they were asked for.
    pub(super) leaves: OnceLock<Vec<String>>,
}

impl Load {
    /// What is to be read back of it.
    pub(super) fn expected(&self) -> RowTotals {
        let mut expected = self.expected;
        if let Some(reordered) = self.reordered_totals.get() {
            expected.digest.add(&reordered.digest);
        }
        expected
    }

    /// The streams whose fields are in the order of `columns`.
    pub(super) fn alike(&self) -> Vec<usize> {
        let is_other = |place: &usize| self.reordered.iter().any(|(other, _)| other == place);
        self.streams.iter().copied().filter(|place| !is_other(place)).collect()
    }

    /// Takes the rows of another partition of the same table. Nothing is taken, and `false` returned, if it has not
    /// the same columns.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        if reorder::places(&other.columns, &self.columns).is_none() {
            return false;
        }
        if self.columns == other.columns {
            self.expected.digest.add(&other.expected.digest);
        } else {
            self.reordered.extend(other.alike().into_iter().map(|place| (place, other.columns.clone())));
        }
        self.reordered.extend(other.reordered.iter().cloned());
        self.expected.rows += other.expected.rows;
        self.streams.extend(&other.streams);
        self.bytes = self.bytes.saturating_add(other.bytes);
        true
    }

    fn listed(columns: &[String]) -> String {
        let columns: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
        if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) }
    }

    /// What is done before the rows, in the same transaction.
    pub(super) fn prepare(&self) -> Option<String> {
        match &self.emptied {
            Emptied::Truncate => Some(format!("TRUNCATE ONLY {}", self.table)),
            Emptied::Delete { condition } => Some(format!("DELETE FROM ONLY {} {condition}", self.table)),
            Emptied::IsNew | Emptied::MustBe { .. } => None,
        }
    }

    /// The statement that takes the rows whose fields are of these columns.
    pub(super) fn copy_in(&self, encoding: &str, columns: &[String]) -> String {
        // Rows are frozen where nobody else can have seen the table: it spares the comparison the hint bits.
        let freeze = if self.emptied == Emptied::Truncate { ", FREEZE" } else { "" };
        format!(
            "COPY {}{} FROM STDIN WITH (FORMAT text, ENCODING '{encoding}'{freeze})",
            self.table,
            Self::listed(columns)
        )
    }

    /// What gives the rows of a table that was loaded through the root of its partitions: of the root itself, it would
    /// give those of others too, and ask other servers.
    fn rows_of_leaves(&self, columns: &str) -> String {
        let leaves = self.leaves.get().map(Vec::as_slice).unwrap_or_default();
        let of = |leaf: &String| format!("SELECT {columns} FROM ONLY {leaf}");
        if leaves.is_empty() {
            return format!("SELECT {columns} FROM ONLY {} WHERE false", self.table);
        }
        leaves.iter().map(of).collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// The question whether any rows are there.
    pub(super) fn any_rows(&self) -> String {
        if self.through_root {
            format!("SELECT EXISTS ({})", self.rows_of_leaves("1"))
        } else {
            format!("SELECT EXISTS (SELECT FROM ONLY {} {})", self.table, self.emptied.condition())
        }
    }

    /// The statement that reads some of them back.
    pub(super) fn copy_out(&self, encoding: &str, blocks: Blocks) -> String {
        let options = format!("TO STDOUT WITH (FORMAT text, ENCODING '{encoding}')");
        let condition = match self.emptied.condition() {
            "" if blocks.are_all() => String::new(),
            "" => format!("WHERE {blocks}"),
            condition => condition.to_owned(),
        };
        if !self.through_root && condition.is_empty() {
            return format!("COPY {}{} {options}", self.table, Self::listed(&self.columns));
        }
        let columns: Vec<String> = self.columns.iter().map(|column| identifier(column)).collect();
        if self.through_root {
            return format!("COPY ({}) {options}", self.rows_of_leaves(&columns.join(", ")));
        }
        format!("COPY (SELECT {} FROM ONLY {} {condition}) {options}", columns.join(", "), self.table)
    }
}

/// The tables of a backup as they are to be loaded, but those of the entries `out`; the largest come first.
///
/// # Errors
/// [`RestoreError::Backup`] if documents, streams and table of contents do not belong together.
pub(super) fn loads(
    contents: &dyn BackupContents,
    source: &Name,
    database: &Database,
    toc: &Toc,
    out: &HashSet<u32>,
) -> Result<Vec<Load>, RestoreError> {
    contents::all_said(database, toc)?;
    let mut loads: Vec<Load> = Vec::new();
    for table in &database.tables {
        let entry = toc.entry(table.dump_id).filter(super::super::archive::Entry::is_table_data);
        let entry = entry.ok_or_else(|| contradiction(format!("table {} is not in the archive", table.stream)))?;
        if out.contains(&table.dump_id) {
            continue;
        }
        let line = entry.copy_line().map_err(contents::Error::Toc)?;
        let (place, info) = stream(contents, source, &table.stream)?;
        let (expected, bytes) = totals(info)?;
        let load = of_table(table, line, place, entry.root(), expected, bytes);
        let same = |there: &&mut Load| load.through_root && there.through_root && there.table == load.table;
        let Some(there) = loads.iter_mut().find(same) else {
            loads.push(load);
            continue;
        };
        if !there.join(&load) {
            return Err(contradiction(format!("partitions of {} do not have the same columns", there.table)));
        }
    }
    one_each(&loads)?;
    let apart: Arc<[String]> = loads.iter().filter(|load| !load.through_root).map(|load| load.table.clone()).collect();
    loads.iter_mut().filter(|load| load.through_root).for_each(|load| load.apart = Arc::clone(&apart));
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
        reordered: Vec::new(),
        reordered_totals: OnceLock::new(),
        bytes,
        emptied: if through_root { Emptied::IsNew } else { Emptied::Truncate },
        through_root,
        apart: Arc::default(),
        leaves: OnceLock::new(),
    }
}

fn one_each(loads: &[Load]) -> Result<(), RestoreError> {
    let mut seen = HashSet::new();
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
            reordered: Vec::new(),
            reordered_totals: OnceLock::new(),
            bytes: 0,
            emptied,
            through_root,
            apart: Arc::default(),
            leaves: OnceLock::new(),
        }
    }

    #[test]
    fn a_table_is_loaded_and_read_by_its_own_columns() {
        let own = load(Emptied::Truncate, false, &["id", "a \"b\""]);
        assert_eq!(own.prepare().unwrap(), "TRUNCATE ONLY public.t");
        assert_eq!(
            own.copy_in("UTF8", &own.columns),
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
    fn of_partitions_that_are_loaded_through_their_root_only_those_are_read_that_took_the_rows() {
        let root = load(Emptied::IsNew, true, &["id"]);
        assert_eq!(root.prepare(), None, "a TRUNCATE reaches partitions that are not its own");
        assert!(!root.copy_in("UTF8", &root.columns).contains("FREEZE"));
        root.leaves.set(vec!["public.a".to_owned(), "public.b".to_owned()]).unwrap();
        let read = root.copy_out("UTF8", Blocks::default());
        let both = "COPY (SELECT \"id\" FROM ONLY public.a UNION ALL SELECT \"id\" FROM ONLY public.b) TO STDOUT";
        assert!(read.starts_with(both), "{read}");
        assert!(root.any_rows().starts_with("SELECT EXISTS (SELECT 1 FROM ONLY public.a UNION ALL"));
    }

    #[test]
    fn partitions_are_loaded_by_their_own_columns_and_compared_by_those_of_the_first() {
        let partition = |place: usize, columns: &[&str], rows: &[u8]| {
            let mut load = load(Emptied::IsNew, true, columns);
            (load.streams, load.expected, load.bytes) = (vec![place], RowTotals::of(rows), rows.len() as u64);
            load
        };
        let mut root = partition(0, &["a", "b"], b"1\t2\n");
        assert!(root.join(&partition(1, &["b", "a"], b"4\t3\n5\t4\n")));
        assert!(root.join(&partition(2, &["a", "b"], b"6\t7\n")));
        assert!(!root.join(&partition(3, &["a", "c"], b"8\t9\n")));
        assert_eq!((root.alike(), root.streams.as_slice(), root.bytes), (vec![0, 2], [0, 1, 2].as_slice(), 16));
        assert_eq!((root.expected().rows, root.reordered.len()), (4, 1));
        root.reordered_totals.set(RowTotals::of(b"3\t4\n4\t5\n")).unwrap();
        assert_eq!(root.expected(), RowTotals::of(b"1\t2\n3\t4\n4\t5\n6\t7\n"));
        assert!(root.copy_in("UTF8", &root.reordered[0].1).starts_with("COPY public.t (\"b\", \"a\") FROM"));

        // One that is joined keeps the columns of each of its own.
        let mut other = partition(4, &["b", "a"], b"");
        assert!(other.join(&root));
        assert_eq!((other.alike(), other.expected().rows), (vec![4], 4));
        let places: Vec<usize> = other.reordered.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 2, 1]);
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
        let there = load(Emptied::MustBe { condition: String::new() }, false, &["id"]);
        assert_eq!(there.prepare(), None);
        assert!(!there.copy_in("UTF8", &there.columns).contains("FREEZE"));
        assert_eq!(there.any_rows().trim_end(), "SELECT EXISTS (SELECT FROM ONLY public.t )");

        // Of an extension's table, nothing of the user's own must be there.
        let emptied = there.emptied.of_extension("WHERE dump".to_owned());
        let there = load(emptied, false, &["id"]);
        assert_eq!(there.prepare(), None);
        assert_eq!(there.any_rows(), "SELECT EXISTS (SELECT FROM ONLY public.t WHERE dump)");
        assert!(there.copy_out("UTF8", Blocks::default()).contains("FROM ONLY public.t WHERE dump)"));
    }
}
