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
