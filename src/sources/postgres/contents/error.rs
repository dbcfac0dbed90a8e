//! What can be wrong with what a backup holds of a database.

use crate::types::{ContentsError, Name, for_terminal};

/// A backup does not hold a database as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source has no such stream.
    #[error("source {source_name} has no stream `{}` in this backup", for_terminal(.stream))]
    NoStream {
        /// The source.
        source_name: Name,
        /// The stream.
        stream: String,
    },
    /// A stream that must be small is large.
    #[error("stream `{}` has {bytes} bytes, and at most {most} are read", for_terminal(.stream))]
    TooLarge {
        /// The stream.
        stream: String,
        /// Its bytes.
        bytes: u64,
        /// The most that are read.
        most: u64,
    },
    /// A document is no JSON of its form.
    #[error("`{stream}` is not as it should be: {reason}")]
    Json {
        /// The stream.
        stream: &'static str,
        /// Why.
        reason: String,
    },
    /// A document of another version.
    #[error(
        "`{stream}` is a document `{found}`, and this drctl reads `drctl/v1 {wanted}`: use the drctl that wrote it"
    )]
    Version {
        /// The stream.
        stream: &'static str,
        /// What it says.
        found: String,
        /// The kind that was wanted.
        wanted: &'static str,
    },
    /// A document contradicts itself.
    #[error("`{stream}` contradicts itself: {what}")]
    Contradiction {
        /// The stream.
        stream: &'static str,
        /// How.
        what: String,
    },
    /// Rows or large objects are not as they should be.
    #[error("stream `{}`: {what}", for_terminal(.stream))]
    Rows {
        /// The stream.
        stream: String,
        /// What is wrong.
        what: String,
    },
    /// The archive's table of contents is no such thing.
    #[error("stream `toc`: {0}")]
    Toc(crate::sources::postgres::archive::Error),
    /// The backup could not be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
}

impl Error {
    /// Whether what is stored is not what a capture stores: exit code 4.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Contents(error) => error.damaged,
            Self::Version { .. } => false,
            _ => true,
        }
    }
}

pub(super) fn json_error(stream: &'static str, error: &serde_json::Error) -> Error {
    Error::Json { stream, reason: for_terminal(&error.to_string()).into_owned() }
}
