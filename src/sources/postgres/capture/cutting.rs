//! Rows and large objects into parts of streams, counted and hashed: work for a thread, not for the runtime.

use std::{mem, sync::Arc};

use bytes::Bytes;

use crate::{
    sources::postgres::{
        archive::Toc,
        rows::{CutRow, PartCuts, RowScanner},
    },
    types::{Blake3Hasher, PartSummary, RowDigest},
};

/// Pieces that may wait for the sink: some 2 MiB.
pub(super) const WAITING: usize = 4;

/// What becomes of a database, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// Header and table of contents.
    Toc(Arc<Toc>),
    /// The rows of the next table begin, in the order of the table of contents.
    Table,
    /// The large objects of this entry begin.
    LargeObjects(u32),
    /// A part of the stream begins.
    Part(String),
    /// Bytes of the part.
    Data(Bytes),
    /// The part ends.
    PartEnd(PartSummary),
    /// The stream ends.
    End,
}

/// Cuts the rows of tables, one after the other, into parts.
#[derive(Debug, Default)]
pub(super) struct Rows {
    cuts: PartCuts,
    rows: RowScanner,
    open: bool,
    /// Parts of the table so far.
    parts: u64,
    /// Rows of the table so far, of the parts that have ended.
    pub(super) count: u64,
}

impl Rows {
    /// The rows of a table begin.
    pub(super) fn begin(&mut self, out: &mut Vec<Item>) {
        *self = Self::default();
        out.push(Item::Table);
    }

    /// Takes the next rows; a piece may end within one.
    pub(super) fn push(&mut self, mut rows: Bytes, out: &mut Vec<Item>) -> Result<(), CutRow> {
        while !rows.is_empty() {
            let (piece, ended) = self.cuts.take(&mut rows);
            self.begin_part(out);
            self.rows.push(&piece);
            out.push(Item::Data(piece));
            if ended {
                self.end_part(out)?;
            }
        }
        Ok(())
    }

    /// The rows of the table have ended.
    pub(super) fn end(&mut self, out: &mut Vec<Item>) -> Result<(), CutRow> {
        // A table without rows has one part without rows.
        if self.parts == 0 {
            self.begin_part(out);
        }
        if self.open {
            self.end_part(out)?;
        }
        out.push(Item::End);
        Ok(())
    }

    fn begin_part(&mut self, out: &mut Vec<Item>) {
        if !mem::replace(&mut self.open, true) {
            out.push(Item::Part(self.parts.to_string()));
            self.parts += 1;
        }
    }

    fn end_part(&mut self, out: &mut Vec<Item>) -> Result<(), CutRow> {
        let totals = self.rows.take()?;
        self.count += totals.rows;
        self.open = false;
        out.push(Item::PartEnd(totals.into()));
        Ok(())
    }
}

/// A large object: its digest is that of one row.
#[derive(Debug, Default)]
pub(super) struct LargeObject(Box<Blake3Hasher>);

impl LargeObject {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn end(self) -> PartSummary {
        let digest = RowDigest::from_bytes(*self.0.finish().as_bytes());
        PartSummary { count: 1, digest: Some(digest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(items: &[Item]) -> Vec<String> {
        let word = |item: &Item| match item {
            Item::Part(name) => format!("part {name}"),
            Item::Data(bytes) => format!("{} bytes", bytes.len()),
            Item::PartEnd(summary) => format!("{} rows", summary.count),
            Item::Table => "table".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        items.iter().map(word).collect()
    }

    #[test]
    fn a_table_is_its_parts_and_one_without_rows_has_one() {
        let (mut rows, mut out) = (Rows::default(), Vec::new());
        rows.begin(&mut out);
        rows.push(Bytes::from_static(b"a\nb"), &mut out).unwrap();
        rows.push(Bytes::from_static(b"c\n"), &mut out).unwrap();
        rows.end(&mut out).unwrap();
        assert_eq!(rows.count, 2);
        rows.begin(&mut out);
        rows.end(&mut out).unwrap();
        let expected = ["table", "part 0", "3 bytes", "2 bytes", "2 rows", "end", "table", "part 0", "0 rows", "end"];
        assert_eq!(told(&out), expected);
    }

    #[test]
    fn a_table_that_ends_within_a_row_is_refused() {
        let (mut rows, mut out) = (Rows::default(), Vec::new());
        rows.begin(&mut out);
        rows.push(Bytes::from_static(b"a\nb"), &mut out).unwrap();
        assert_eq!(rows.end(&mut out), Err(CutRow { bytes: 1 }));
    }
}
