//! Tables for people: aligned by spaces alone, safe for a terminal.

use crate::types::for_terminal;

/// A table with a head line. Columns are two spaces apart; the last one is not padded.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    head: &'static str,
    right: bool,
    width: usize,
}

impl Table {
    /// A table with these columns; a head that begins with `>` is aligned to the right.
    #[must_use]
    pub fn new(heads: &[&'static str]) -> Self {
        let column = |head: &&'static str| {
            let (right, head) = head.strip_prefix('>').map_or((false, *head), |head| (true, head));
            Column { head, right, width: head.chars().count() }
        };
        Self { columns: heads.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row with one cell a column. Text of any origin is fine.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| for_terminal(&cell).into_owned()).collect();
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            column.width = column.width.max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, each with its end.
    #[must_use]
    pub fn text(&self) -> String {
        let heads: Vec<String> = self.columns.iter().map(|column| column.head.to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in self.columns.iter().zip(row) {
                let padding = " ".repeat(column.width.saturating_sub(cell.chars().count()));
                if !line.is_empty() {
                    line.push_str("  ");
                }
                match column.right {
                    true => line.extend([padding.as_str(), cell]),
                    false => line.extend([cell.as_str(), &padding]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_cells_spelled_out() {
        let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
        table.row(["a".to_owned(), "12".to_owned(), String::new()]);
        table.row(["bö\u{1b}".to_owned(), "1234567".to_owned(), "x  ".to_owned()]);
        assert_eq!(table.text(), "NAME        COUNT  NOTE\na              12\nbö\\u{1b}  1234567  x\n");
    }
}
