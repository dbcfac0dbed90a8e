//! How pg_dump cuts the data of a block into frames, by its version.

use serde::{Deserialize, Serialize};

use super::TERMINATOR;

/// The rule by which frames follow from plain bytes, so that they need not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// A frame a row, and one for the terminator; large objects in frames of 16 KiB.
    #[default]
    Row,
    /// Frames of 128 KiB, whatever they hold; the last is what is left.
    Block,
    /// By no rule that this drctl knows. What is put together is a valid archive, but not the very bytes.
    #[serde(other)]
    Other,
}

/// The frames of a large object under [`Framing::Row`].
pub(super) const LARGE_OBJECT_FRAME: usize = 16 << 10;
/// All frames under [`Framing::Block`].
pub(super) const BLOCK_FRAME: usize = 128 << 10;

/// Which rules all frames so far have followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    row: bool,
    block: bool,
    table: bool,
    /// A frame came that only the end of the data may follow.
    row_ended: bool,
    block_ended: bool,
}

impl Default for Proof {
    fn default() -> Self {
        Self { row: true, block: true, table: false, row_ended: false, block_ended: false }
    }
}

impl Proof {
    /// The rows of a table begin, or the contents of a large object.
    pub(super) fn begin(&mut self, table: bool) {
        (self.table, self.row_ended, self.block_ended) = (table, false, false);
    }

    /// A whole frame of a table.
    #[inline]
    pub(super) fn table_frame(&mut self, frame: &[u8]) {
        if self.row {
            let is_row = memchr::memchr(b'\n', frame).is_some_and(|at| at + 1 == frame.len());
            self.table_frame_is(is_row, frame == TERMINATOR);
        }
        self.block_frame(frame.len());
    }

    /// A frame of a table that came in pieces: whether it is one row, or the terminator.
    fn table_frame_is(&mut self, row: bool, terminator: bool) {
        self.row &= (row || terminator) && !self.row_ended;
        self.row_ended |= terminator;
    }

    /// A frame of `length` bytes that came in pieces. A terminator is so short that it is put together first.
    pub(super) fn long_frame(&mut self, length: usize, row: bool) {
        if self.table {
            self.table_frame_is(row, false);
            self.block_frame(length);
        } else {
            self.large_object_frame(length);
        }
    }

    pub(super) fn large_object_frame(&mut self, length: usize) {
        self.row &= !self.row_ended && length <= LARGE_OBJECT_FRAME;
        self.row_ended |= length < LARGE_OBJECT_FRAME;
        self.block_frame(length);
    }

    #[inline]
    fn block_frame(&mut self, length: usize) {
        self.block &= !self.block_ended && length <= BLOCK_FRAME;
        self.block_ended |= length < BLOCK_FRAME;
    }

    /// The data ends.
    pub(super) fn end(&mut self) {
        self.row &= !self.table || self.row_ended;
    }

    /// Blocks came in another order than that of the table of contents.
    pub(super) fn out_of_order(&mut self) {
        (self.row, self.block) = (false, false);
    }

    pub(super) fn framing(&self) -> Framing {
        match (self.row, self.block) {
            (true, _) => Framing::Row,
            (false, true) => Framing::Block,
            (false, false) => Framing::Other,
        }
    }
}
