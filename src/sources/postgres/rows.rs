//! Rows in COPY text form: where they end, how many there are, their digest, and where a part ends.
//!
//! In COPY text form a raw line feed is always the end of a row: inside of a value it is written as `\n`.

use bytes::Bytes;

use crate::types::{Blake3Hasher, PartSummary, RowDigest};

/// A part of a table ends with the first row that fills it to so many bytes.
pub const PART_BYTES: u64 = 64 << 20;

/// How many rows there are, and the sum of their digests. Sums of ranges add up in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowTotals {
    /// Rows.
    pub rows: u64,
    /// The sum of their digests.
    pub digest: RowDigest,
}

impl RowTotals {
    /// The totals of rows that are all there; bytes after the last line end are a row as well.
    #[must_use]
    pub fn of(rows: &[u8]) -> Self {
        let mut totals = Self::default();
        totals.rows = totals.digest.add_lines(rows);
        totals
    }

    /// Adds one row, without its line end.
    pub fn add_row(&mut self, row: &[u8]) {
        self.rows += 1;
        self.digest.add_row(row);
    }

    /// Adds rows, without their line ends: more quickly than one by one.
    pub fn add_rows<'a>(&mut self, rows: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.rows += rows.len() as u64;
        self.digest.add_rows(rows);
    }

    /// Adds the totals of other rows.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.digest.add(&other.digest);
    }
}

impl From<RowTotals> for PartSummary {
    fn from(totals: RowTotals) -> Self {
        Self { count: totals.rows, digest: Some(totals.digest) }
    }
}

/// Rows that are not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows end within a row: {bytes} bytes follow the last line end")]
pub struct CutRow {
    /// How many bytes follow the last line end.
    pub bytes: u64,
}

/// Adds up rows that come in pieces of any size; a row may be larger than memory.
#[derive(Debug, Default)]
pub struct RowScanner {
    totals: RowTotals,
    /// The beginning of a row that a piece has cut.
    cut: Blake3Hasher,
    cut_bytes: u64,
}

impl RowScanner {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if self.cut_bytes > 0 {
            let end = memchr::memchr(b'\n', rest);
            let (row, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.cut.update(row);
            self.cut_bytes += row.len() as u64;
            if end.is_none() {
                return;
            }
            self.totals.rows += 1;
            self.totals.digest.add(&RowDigest::from_bytes(*self.cut.finish().as_bytes()));
            (self.cut, self.cut_bytes) = (Blake3Hasher::default(), 0);
            rest = after.get(1..).unwrap_or_default();
        }
        let whole = memchr::memrchr(b'\n', rest).map_or(0, |end| end + 1);
        let (rows, cut) = rest.split_at(whole);
        self.totals.add(&RowTotals::of(rows));
        if !cut.is_empty() {
            self.cut.update(cut);
            self.cut_bytes = cut.len() as u64;
        }
    }

    /// Takes the totals of whole rows that were added up elsewhere, in another thread.
    pub fn add(&mut self, totals: &RowTotals) {
        self.totals.add(totals);
    }

    /// The totals since the last call, at the end of a row.
    ///
    /// # Errors
    /// [`CutRow`] if the last piece did not end with a line end.
    pub fn take(&mut self) -> Result<RowTotals, CutRow> {
        if self.cut_bytes > 0 {
            return Err(CutRow { bytes: self.cut_bytes });
        }
        Ok(std::mem::take(&mut self.totals))
    }
}

/// Cuts the rows of a table into parts: each ends with the first row that fills it to [`PART_BYTES`].
#[derive(Debug)]
pub struct PartCuts {
    size: u64,
    in_part: u64,
}

impl Default for PartCuts {
    fn default() -> Self {
        Self::of_size(PART_BYTES)
    }
}

impl PartCuts {
    /// Parts of another size, in bytes.
    #[must_use]
    pub fn of_size(size: u64) -> Self {
        Self { size, in_part: 0 }
    }

    /// Takes from `rows` what belongs to the present part, and says whether the part ends with it. What is left in
    /// `rows` begins the next part; a part with no row is never begun.
    pub fn take(&mut self, rows: &mut Bytes) -> (Bytes, bool) {
        let length = rows.len() as u64;
        // The part is full at the first line end at or after this place.
        let from = usize::try_from(self.size.saturating_sub(self.in_part).saturating_sub(1)).unwrap_or(usize::MAX);
        let end = rows.get(from..).and_then(|tail| memchr::memchr(b'\n', tail));
        match end {
            Some(end) => {
                self.in_part = 0;
                (rows.split_to(from + end + 1), true)
            }
            None => {
                self.in_part += length;
                (std::mem::take(rows), false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanned(pieces: &[&[u8]]) -> Result<RowTotals, CutRow> {
        let mut scanner = RowScanner::default();
        pieces.iter().for_each(|piece| scanner.push(piece));
        scanner.take()
    }

    #[test]
    fn rows_without_columns_are_rows() {
        let totals = scanned(&[b"\n\n"]).unwrap();
        assert_eq!(totals.rows, 2);
        let mut two = RowDigest::default();
        two.add_row(b"");
        two.add_row(b"");
        assert_eq!(totals.digest, two);
    }

    #[test]
    fn a_row_that_is_cut_at_the_end_is_an_error() {
        assert_eq!(scanned(&[b"a\nbc"]), Err(CutRow { bytes: 2 }));
        assert!(scanned(&[b"a\nbc\n"]).is_ok());
    }

    #[test]
    fn a_part_ends_with_the_first_row_that_fills_it() {
        let cut = |size, text: &str| {
            let (mut cuts, mut rows, mut parts) = (PartCuts::of_size(size), Bytes::from(text.to_owned()), Vec::new());
            while !rows.is_empty() {
                let (part, ended) = cuts.take(&mut rows);
                parts.push((String::from_utf8(part.to_vec()).unwrap(), ended));
            }
            parts
        };
        let whole = |text: &str| (text.to_owned(), true);
        assert_eq!(cut(4, "ab\ncd\nef\n"), [whole("ab\ncd\n"), ("ef\n".to_owned(), false)]);
        assert_eq!(cut(3, "ab\ncd\n"), [whole("ab\n"), whole("cd\n")]);
        assert_eq!(cut(1, "\n\na"), [whole("\n"), whole("\n"), ("a".to_owned(), false)]);
        assert_eq!(cut(9, "ab\n"), [("ab\n".to_owned(), false)]);
    }

    /// How fast rows are added up on this machine:
    /// `cargo test --release --lib rows_a_second -- --ignored --nocapture`.
    #[test]
    #[ignore = "it measures, and tests nothing"]
    fn rows_a_second() {
        for length in [20, 100, 400] {
            let row = [vec![b'x'; length - 1], vec![b'\n']].concat();
            let rows = row.repeat((64 << 20) / length);
            let began = std::time::Instant::now();
            let totals = RowTotals::of(&rows);
            let seconds = began.elapsed().as_secs_f64();
            let (count, bytes) = (totals.rows as f64 / seconds / 1e6, rows.len() as f64 / seconds / 1e6);
            eprintln!("{length} bytes a row: {count:.1} million rows/s, {bytes:.0} MB/s ({})", totals.digest);
        }
    }

    proptest! {
        #[test]
        fn totals_and_parts_do_not_depend_on_the_pieces(
            rows in proptest::collection::vec("[a-z\\\\]{0,9}", 0..40),
            cuts in proptest::collection::vec(1usize..30, 0..40),
            size in 1u64..40,
        ) {
            let text: String = rows.iter().flat_map(|row| [row.as_str(), "\n"]).collect();
            let mut expected = RowTotals::default();
            rows.iter().for_each(|row| expected.add_row(row.as_bytes()));
            prop_assert_eq!(RowTotals::of(text.as_bytes()), expected);

            let parts_of = |lengths: &mut dyn Iterator<Item = usize>| {
                let (mut rest, mut parts, mut open) = (Bytes::from(text.clone()), Vec::new(), Vec::new());
                let (mut part_cuts, mut scanner, mut sum) =
                    (PartCuts::of_size(size), RowScanner::default(), RowTotals::default());
                while !rest.is_empty() {
                    let mut piece = rest.split_to(lengths.next().unwrap_or(usize::MAX).min(rest.len()));
                    while !piece.is_empty() {
                        let (part, ended) = part_cuts.take(&mut piece);
                        scanner.push(&part);
                        open.extend_from_slice(&part);
                        if ended {
                            sum.add(&scanner.take().unwrap());
                            parts.push(std::mem::take(&mut open));
                        }
                    }
                }
                sum.add(&scanner.take().unwrap());
                if !open.is_empty() {
                    parts.push(open);
                }
                (parts, sum)
            };
            let (whole, totals) = parts_of(&mut std::iter::empty());
            prop_assert_eq!(totals, expected);
            prop_assert_eq!(whole.concat(), text.as_bytes());
            for part in whole.iter().rev().skip(1) {
                let last_row = part[..part.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                prop_assert!(part.len() as u64 >= size && (last_row as u64) < size, "{:?}", part);
            }
            prop_assert_eq!(parts_of(&mut cuts.iter().copied()), (whole, totals));
        }
    }
}
