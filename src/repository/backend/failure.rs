//! Why a call failed, before it is known where: the backends' inner functions return this, their
//! trait methods add the act, the key and the place.

use std::{error::Error as StdError, time::Duration};

use super::{Error, ErrorKind};

/// A failure without its place.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
    pub(super) source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether the same call may succeed in a moment.
    pub(super) passing: bool,
    /// How long the store asks to wait before the same call is made again.
    pub(super) after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None, passing: false, after: None }
    }

    pub(super) fn passing(mut self) -> Self {
        self.passing = true;
        self
    }

    /// `text` is the value of `Retry-After`, if it has one: seconds. A date is not understood, and is no wish then.
    pub(super) fn asked_to_wait(mut self, text: Option<&str>) -> Self {
        self.after = text.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        self
    }

    pub(super) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "there is no such object")
    }

    /// `size` is what the store said, or at least what was seen of it.
    pub(super) fn too_large(size: u64, limit: u64) -> Self {
        Self::new(ErrorKind::TooLarge, format!("it has {size} bytes, and at most {limit} are taken here"))
    }

    pub(super) fn not_within(range: &std::ops::Range<u64>, size: Option<u64>) -> Self {
        let size = size.map(|size| format!(", which has {size} bytes")).unwrap_or_default();
        Self::new(ErrorKind::Other, format!("bytes {} to {} are not within the object{size}", range.start, range.end))
    }

    /// The error of `act` on `subject` in the store `location`.
    pub(super) fn at(self, act: &'static str, subject: &str, location: &str) -> Error {
        Error {
            kind: self.kind,
            act,
            subject: subject.to_owned(),
            location: location.to_owned(),
            reason: crate::types::for_terminal(&self.reason).into_owned(),
            source: self.source,
        }
    }
}
