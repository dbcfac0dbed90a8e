//! A large table in pieces of blocks, so that several sessions read it back at once.

use std::fmt;

use super::{
    super::Session,
    RestoreError,
    copy::{Emptied, Load},
};

/// Blocks of one piece: 32 MiB where a block has 8 KiB. Small enough that no session is left alone for long
/// at the end, and large enough that a statement for each costs nothing.
const PIECE: u32 = 4_096;
/// Rows in COPY text take less than their blocks: with so few bytes, a table is not looked at more closely.
const SMALL: u64 = 8 << 20;
/// Older servers would read the whole table for each piece: they have no scan of a range of row addresses.
const RANGES_SINCE: u32 = 14;

/// Some of a table's blocks, which other pieces do not have; without bounds, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Blocks {
    first: Option<u32>,
    end: Option<u32>,
}

impl Blocks {
    /// Whether they are all the table has.
    pub(super) fn are_all(self) -> bool {
        self == Self::default()
    }

    /// Pieces of so many blocks, the last of which has no end: together they are the whole table, however
    /// large it has become.
    fn pieces(blocks: u32) -> Vec<Self> {
        let places = 0..blocks.div_ceil(PIECE).max(1);
        let last = places.end - 1;
        places
            .map(|place| Self {
                first: (place > 0).then_some(place * PIECE),
                end: (place < last).then_some((place + 1) * PIECE),
            })
            .collect()
    }
}

/// The condition of their rows, as SQL.
impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.end) {
            (None, None) => f.write_str("true"),
            (Some(first), None) => write!(f, "ctid >= '({first},0)'::pg_catalog.tid"),
            (None, Some(end)) => write!(f, "ctid < '({end},0)'::pg_catalog.tid"),
            (Some(first), Some(end)) => {
                write!(f, "ctid >= '({first},0)'::pg_catalog.tid AND ctid < '({end},0)'::pg_catalog.tid")
            }
        }
    }
}

/// The pieces of a table that is loaded.
pub(super) async fn pieces(session: &Session, load: &Load) -> Result<Vec<Blocks>, RestoreError> {
    let whole = vec![Blocks::default()];
    let is_plain = load.emptied == Emptied::Truncate && !load.through_root;
    if !is_plain || session.version.major < RANGES_SINCE || load.bytes < SMALL {
        return Ok(whole);
    }
    // Only of a heap it is known that row addresses are blocks.
    let sql = "SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam \
         WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'r' AND a.amname = 'heap'";
    let found = session.rows("look at the size of a table", sql, &[&load.table]).await?;
    let blocks = found.first().and_then(|row| u32::try_from(row.get::<_, i64>(0)).ok());
    Ok(blocks.map_or(whole, Blocks::pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_is_read_as_one() {
        for blocks in [0, 1, PIECE] {
            assert_eq!(Blocks::pieces(blocks), [Blocks::default()], "{blocks}");
        }
        assert!(Blocks::default().are_all());
    }

    proptest::proptest! {
        #[test]
        fn each_block_is_in_exactly_one_piece_also_one_that_came_later(blocks in 0..=u32::MAX, block: u32) {
            let pieces = Blocks::pieces(blocks);
            let holds = |piece: &&Blocks| {
                piece.first.is_none_or(|first| first <= block) && piece.end.is_none_or(|end| block < end)
            };
            proptest::prop_assert_eq!(pieces.iter().filter(holds).count(), 1);
        }
    }

    #[test]
    fn a_condition_names_row_addresses() {
        let pieces: Vec<String> = Blocks::pieces(3 * PIECE).iter().map(ToString::to_string).collect();
        assert_eq!(
            pieces,
            [
                "ctid < '(4096,0)'::pg_catalog.tid",
                "ctid >= '(4096,0)'::pg_catalog.tid AND ctid < '(8192,0)'::pg_catalog.tid",
                "ctid >= '(8192,0)'::pg_catalog.tid",
            ]
        );
    }
}
