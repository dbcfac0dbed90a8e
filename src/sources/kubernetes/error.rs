//! What can go wrong with a cluster.

/// Why a cluster did not answer as needed, by what a caller can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No kubeconfig, no such context, or one that cannot be used.
    Configuration,
    /// No connection: refused, not resolved, TLS not agreed, timed out.
    Unreachable,
    /// 401: the token or certificate is not (or no longer) accepted.
    Unauthenticated,
    /// 403: known, and not allowed.
    Forbidden,
    /// 404: no such object, or no such kind.
    NotFound,
    /// 410: the continue token of a list is too old; the list must begin again.
    Expired,
    /// 429, 502, 503 and 504 that did not go away in the time allowed.
    Busy,
    /// The answer is larger than the caller allows.
    TooLarge,
    /// The answer is not what the API promises: no JSON, or of another form.
    Malformed,
    /// Anything else that the API server or the library says.
    Other,
}

/// A request to a cluster failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act}: {}", crate::types::for_terminal(.reason))]
pub struct Error {
    /// What a caller can decide by.
    pub kind: ErrorKind,
    /// What was attempted, on what: `list secrets in namespace payments`.
    pub act: String,
    /// Why, in the server's words where it said something; one line, no secrets.
    pub reason: String,
    /// The library's error, for the log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without an underlying one.
    pub(crate) fn new(kind: ErrorKind, act: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, act: act.into(), reason: reason.into(), source: None }
    }

    /// The same error once more, for everything that it concerns, without the library's own.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.kind, self.act.clone(), self.reason.clone())
    }

    /// With the error that it came from.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
