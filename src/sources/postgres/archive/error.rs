//! What can be wrong with an archive.

use crate::types::for_terminal;

/// Bytes that are no archive which drctl reads, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin as pg_dump's custom format does.
    #[error("it is no archive of pg_dump in custom format: {0}")]
    NotAnArchive(&'static str),
    /// A version that drctl does not know.
    #[error(
        "the archive has version {0}; drctl reads 1.14, 1.15 and 1.16 (pg_dump 12 to 18): \
         use a pg_dump of such a version"
    )]
    Version(String),
    /// Made with options that drctl does not take apart.
    #[error("the archive {0}; make it with `pg_dump -Fc -Z0`")]
    Options(String),
    /// It is larger than drctl takes.
    #[error("the archive's table of contents is over the limit of {0}")]
    OverLimit(&'static str),
    /// Something at this place is not what the format says.
    #[error("the archive is damaged at byte {at}: {}", for_terminal(.what))]
    Damaged {
        /// The place, in bytes from the archive's beginning.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It ends too early.
    #[error("the archive ends at byte {at}, {}", for_terminal(.within))]
    CutShort {
        /// How many bytes there are.
        at: u64,
        /// What was not finished: `within the rows of public.orders`.
        within: String,
    },
    /// Entries with data have no block.
    #[error("the archive ends at byte {at} without the data of {count} entries, the first {}", for_terminal(.first))]
    Missing {
        /// How many bytes there are.
        at: u64,
        /// How many entries.
        count: usize,
        /// The first of them: `public.orders (dump id 3420)`.
        first: String,
    },
}

impl Error {
    pub(super) fn damaged(at: u64, what: impl Into<String>) -> Self {
        Self::Damaged { at, what: what.into() }
    }
}
