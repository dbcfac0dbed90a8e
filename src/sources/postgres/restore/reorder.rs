//! Rows whose fields stand in another order than the rest of their table.
//!
//! Partitions that are loaded through their root may have their columns in other orders than the root and than each
//! other. The rows are loaded by the names of their columns; to be compared with the root read as a whole, their
//! digest is taken of the fields in the one order.

use super::super::rows::RowTotals;
use crate::types::{Blake3Hasher, RowDigest};

/// The longest row that is held to be put into another order: no server writes a longer one.
const LONGEST_ROW: usize = 1 << 30;
/// Fields of a longer row are hashed one by one, without a copy of the row.
const LONG_ROW: usize = 64 << 10;

/// Puts the fields of rows into another order, and adds the rows up.
#[derive(Debug)]
pub(super) struct Reordered {
    /// For each wanted field its place in the row.
    places: Vec<usize>,
    /// The beginning of a row that a piece has cut.
    cut: Vec<u8>,
    totals: RowTotals,
}

/// Why rows cannot be put into another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotReordered {
    /// A row has fewer or more fields than its table has columns.
    #[error("a row has {} fields than its table columns", if found > expected { "more" } else { "fewer" })]
    Fields {
        /// Its fields; of too many, one more than expected.
        found: usize,
        /// The table's columns.
        expected: usize,
    },
    /// A row is too long.
    #[error("a row is longer than 1 GiB, which no server writes")]
    TooLong,
}

/// For each of the `wanted` columns its place among the columns `there`; nothing if they are not the same columns.
pub(super) fn places(there: &[String], wanted: &[String]) -> Option<Vec<usize>> {
    if there.len() != wanted.len() {
        return None;
    }
    wanted.iter().map(|column| there.iter().position(|other| other == column)).collect()
}

impl Reordered {
    /// Rows whose fields are wanted from these [`places`].
    pub(super) fn new(places: Vec<usize>) -> Self {
        Self { places, cut: Vec::new(), totals: RowTotals::default() }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), NotReordered> {
        let whole = memchr::memrchr(b'\n', piece).map_or(0, |end| end + 1);
        let (rows, rest) = piece.split_at(whole);
        if !rows.is_empty() {
            let mut cut = std::mem::take(&mut self.cut);
            let begun = if cut.is_empty() { 0 } else { memchr::memchr(b'\n', rows).map_or(0, |end| end + 1) };
            let (end, rows) = rows.split_at(begun);
            cut.extend_from_slice(end);
            self.rows(&cut)?;
            self.rows(rows)?;
        }
        if self.cut.len() + rest.len() > LONGEST_ROW {
            return Err(NotReordered::TooLong);
        }
        self.cut.extend_from_slice(rest);
        Ok(())
    }

    fn rows(&mut self, rows: &[u8]) -> Result<(), NotReordered> {
        let mut ordered = Vec::new();
        let mut fields: Vec<&[u8]> = Vec::with_capacity(self.places.len());
        for row in rows.split_inclusive(|byte| *byte == b'\n') {
            let row = row.strip_suffix(b"\n").unwrap_or(row);
            fields.clear();
            // In COPY text form a raw tab is always the end of a field.
            fields.extend(row.split(|byte| *byte == b'\t').take(self.places.len() + 1));
            if fields.len() != self.places.len() {
                return Err(NotReordered::Fields { found: fields.len(), expected: self.places.len() });
            }
            let wanted = self.places.iter().map(|place| fields.get(*place).copied().unwrap_or_default());
            if row.len() > LONG_ROW {
                self.totals.rows += 1;
                self.totals.digest.add(&digest(wanted));
                continue;
            }
            for (at, field) in wanted.enumerate() {
                if at > 0 {
                    ordered.push(b'\t');
                }
                ordered.extend_from_slice(field);
            }
            ordered.push(b'\n');
        }
        self.totals.add(&RowTotals::of(&ordered));
        Ok(())
    }

    /// The totals of all rows; the last one may have no line end.
    pub(super) fn finish(mut self) -> Result<RowTotals, NotReordered> {
        let cut = std::mem::take(&mut self.cut);
        if !cut.is_empty() {
            self.rows(&cut)?;
        }
        Ok(self.totals)
    }
}

/// The digest of a row of these fields.
fn digest<'a>(fields: impl Iterator<Item = &'a [u8]>) -> RowDigest {
    let mut hasher = Blake3Hasher::default();
    for (at, field) in fields.enumerate() {
        if at > 0 {
            hasher.update(b"\t");
        }
        hasher.update(field);
    }
    RowDigest::from_bytes(*hasher.finish().as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn totals(places: &[usize], pieces: &[&[u8]]) -> Result<RowTotals, NotReordered> {
        let mut reordered = Reordered::new(places.to_vec());
        for piece in pieces {
            reordered.push(piece)?;
        }
        reordered.finish()
    }

    #[test]
    fn columns_are_found_by_their_names() {
        assert_eq!(places(&columns(&["b", "c", "a"]), &columns(&["a", "b", "c"])), Some(vec![2, 0, 1]));
        assert_eq!(places(&columns(&["a", "b"]), &columns(&["a", "c"])), None);
        assert_eq!(places(&columns(&["a"]), &columns(&["a", "b"])), None);
    }

    #[test]
    fn fields_change_their_places_and_rows_do_not_change() {
        let found = totals(&[2, 0, 1], &[b"1\t\\N\tx\\ty\n2\t\t", b"z\n"]).unwrap();
        assert_eq!(found, RowTotals::of(b"x\\ty\t1\t\\N\nz\t2\t\n"));
        assert_ne!(found, RowTotals::of(b"1\t\\N\tx\\ty\n2\t\tz\n"));
    }

    #[test]
    fn a_row_that_has_not_its_fields_is_an_error() {
        let error = Err(NotReordered::Fields { found: 1, expected: 2 });
        assert_eq!(totals(&[1, 0], &[b"1\t2\n3\n"]), error);
        assert_eq!(totals(&[1, 0], &[b"1\t2\n3"]), error);
    }

    #[test]
    fn a_long_row_is_added_up_as_any_other() {
        let long = "x".repeat(LONG_ROW);
        let rows = format!("1\t{long}\n2\ty\n");
        let pieces: Vec<&[u8]> = rows.as_bytes().chunks(1000).collect();
        assert_eq!(totals(&[1, 0], &pieces).unwrap(), RowTotals::of(format!("{long}\t1\ny\t2\n").as_bytes()));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(rows in prop::collection::vec(("[a-z]{0,5}", "[0-9]{0,3}"), 0..20), size in 1usize..30) {
            let text: String = rows.iter().map(|(one, two)| format!("{one}\t{two}\n")).collect();
            let turned: String = rows.iter().map(|(one, two)| format!("{two}\t{one}\n")).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(totals(&[1, 0], &pieces).unwrap(), RowTotals::of(turned.as_bytes()));
        }
    }
}
