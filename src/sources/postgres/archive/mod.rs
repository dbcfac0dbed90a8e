//! pg_dump's custom format: read as it comes from the pipe, taken apart, and put together again to the same bytes.
//!
//! An archive is a header, a table of contents, and then one block for each entry that has data. Of a table the
//! block holds rows in COPY text form and a terminator, cut into frames, each behind its length. [`Splitter`] takes
//! the frames off and proves on the way that nothing is missing; [`Assembler`] puts them back.

mod assembler;
mod copy;
mod encoding;
mod entry;
mod error;
mod framing;
mod header;
mod read;
mod splitter;
#[cfg(test)]
mod tests;
mod toc;

pub use assembler::Assembler;
pub use copy::CopyLine;
pub use entry::{DataState, Entry, Field, Section};
pub use error::Error;
pub use framing::Framing;
pub use header::{ArchiveVersion, Header};
pub use splitter::{Event, Split, Splitter};
pub use toc::Toc;

/// What ends the rows of a table in its block.
const TERMINATOR: &[u8] = b"\\.\n\n\n";

/// The byte before a table's block.
const TABLE_BLOCK: u8 = 1;
/// The byte before a block of large objects.
const LARGE_OBJECTS_BLOCK: u8 = 3;
