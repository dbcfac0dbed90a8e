//! What a caller asks an error, and how other errors become one.

use super::{Error, backend};
use crate::types::{BackupId, for_terminal};

impl Error {
    /// Whether stored data is not what was written, or not there: exit code 4.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Gone { .. } => true,
            Self::Stopped(first) => first.is_damage(),
            Self::Begun { source, .. } | Self::HalfPruned { source } => source.is_damage(),
            _ => false,
        }
    }

    /// Why an object is damaged, without its key; else the whole text.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Damaged { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    /// The error of a run whose session is written.
    pub(crate) fn begun(backup: &BackupId) -> impl Fn(Self) -> Self + use<> {
        let backup = backup.clone();
        move |error| Self::Begun { backup: backup.clone(), source: Box::new(error) }
    }

    pub(crate) fn spent(location: &str, key: &backend::Key) -> Self {
        Self::NameSpent { location: location.to_owned(), key: for_terminal(key.as_str()).into_owned() }
    }

    pub(crate) fn damaged(object: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Damaged { object: for_terminal(&object.to_string()).into_owned(), reason: reason.into() }
    }

    /// Whether the backup was fenced: before it began, or while it was under way.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        match self {
            Self::Aborted { .. } => true,
            Self::Begun { source, .. } => source.is_given_up(),
            _ => false,
        }
    }

    /// A store's error on reading `object`: what is not there is damage, anything else is the store's.
    pub(crate) fn reading(object: impl std::fmt::Display, error: backend::Error) -> Self {
        match error.kind {
            backend::ErrorKind::NotFound => Self::Gone { object: for_terminal(&object.to_string()).into_owned() },
            backend::ErrorKind::TooLarge => Self::damaged(object, "it is larger than any such object may be"),
            _ => error.into(),
        }
    }
}

impl From<backend::Error> for Error {
    /// What is no object of a store, in the place of one, is damage.
    fn from(error: backend::Error) -> Self {
        match error.kind {
            backend::ErrorKind::NotAnObject => Self::damaged(&error.subject, error.reason),
            _ => Self::Store(error),
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(format!("a task ended early: {error}"))
    }
}
