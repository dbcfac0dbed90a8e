//! Answers of an API server.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::{Error, ErrorKind};

/// An API server's answer to one request, whatever its status code.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub code: StatusCode,
    /// The whole body; of a refusal at most its first 64 KiB.
    pub body: Bytes,
    /// How long the server asks to wait (its `Retry-After`).
    pub retry_after: Option<Duration>,
}

/// The words with which an API server refuses a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// For people.
    pub message: String,
    /// For programs: `AlreadyExists`, `Conflict`, `Invalid`, `Forbidden`, `Expired`.
    pub reason: String,
    /// More of it.
    pub details: StatusDetails,
}

/// What a refusal is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusDetails {
    /// The single reasons, by field for `Invalid`.
    pub causes: Vec<StatusCause>,
    /// Wait this long before the next try.
    pub retry_after_seconds: u64,
}

/// One reason of a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusCause {
    /// For programs: `FieldValueInvalid`, `NamespaceTerminating`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field, as a path: `spec.ports[0].nodePort`.
    pub field: String,
}

impl Reply {
    /// The server did what was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code.is_success()
    }

    /// The refusal's words; of an answer in another form (a proxy's page) the first line of it.
    #[must_use]
    pub fn status(&self) -> Status {
        if let Ok(status) = serde_json::from_slice::<Status>(&self.body)
            && !(status.message.is_empty() && status.reason.is_empty())
        {
            return status;
        }
        let start = self.body.get(..self.body.len().min(512)).unwrap_or_default();
        let text = String::from_utf8_lossy(start);
        let line = text.lines().next().unwrap_or_default().trim();
        let message =
            if line.is_empty() { format!("HTTP {}", self.code) } else { format!("HTTP {}: {line}", self.code) };
        Status { message, ..Status::default() }
    }

    /// The body, or the refusal as an error. `act` says what was attempted.
    ///
    /// # Errors
    /// What the server refused, with its own words.
    pub fn success(self, act: &str) -> Result<Bytes, Error> {
        if self.is_success() { Ok(self.body) } else { Err(self.refusal(act)) }
    }

    /// The refusal as an error. `act` says what was attempted.
    #[must_use]
    pub fn refusal(&self, act: &str) -> Error {
        let status = self.status();
        let (kind, next) = match self.code.as_u16() {
            401 => (ErrorKind::Unauthenticated, ": the credentials are not accepted (expired?); renew them"),
            403 => (ErrorKind::Forbidden, ""),
            404 => (ErrorKind::NotFound, ""),
            410 => (ErrorKind::Expired, ""),
            429 | 502..=504 => (ErrorKind::Busy, ""),
            _ => (ErrorKind::Other, ""),
        };
        let words = if status.message.is_empty() { &status.reason } else { &status.message };
        Error::new(kind, act, format!("{words}{next}"))
    }

    /// The server could not take the request now, has done nothing, and says so: too many requests, or it asks for
    /// a pause.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.code == StatusCode::TOO_MANY_REQUESTS
            || (self.code == StatusCode::SERVICE_UNAVAILABLE && self.retry_after.is_some())
    }

    /// Worth another try: the server is busy or just starting, and has not done anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.code.as_u16(), 429 | 502..=504)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, body: &'static [u8]) -> Reply {
        Reply { code: StatusCode::from_u16(code).unwrap(), body: Bytes::from_static(body), retry_after: None }
    }

    #[test]
    fn a_refusal_has_the_servers_words() {
        let body = br#"{"kind":"Status","message":"secrets is forbidden: User \"alice\"","reason":"Forbidden","code":403,"details":{"kind":"secrets"}}"#;
        let error = reply(403, body).success("list secrets").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Forbidden);
        assert_eq!(error.to_string(), "cannot list secrets: secrets is forbidden: User \"alice\"");
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted_by_its_first_line() {
        assert_eq!(
            reply(502, b"upstream\x1b[2J gone\n<html>").success("list pods").unwrap_err().to_string(),
            "cannot list pods: HTTP 502 Bad Gateway: upstream\\u{1b}[2J gone"
        );
        assert_eq!(reply(500, b"").status().message, "HTTP 500 Internal Server Error");
        assert_eq!(reply(500, b"{}").status().message, "HTTP 500 Internal Server Error: {}");
    }

    #[test]
    fn a_server_that_is_busy_is_told_from_one_that_is_not_there() {
        let after = |code| Reply { retry_after: Some(Duration::from_secs(1)), ..reply(code, b"") };
        assert!(reply(429, b"").is_busy() && after(429).is_busy() && after(503).is_busy());
        assert!(!reply(503, b"").is_busy() && !after(502).is_busy() && !after(200).is_busy());
    }

    #[test]
    fn an_accepted_request_gives_its_body() {
        assert_eq!(reply(201, b"{}").success("create").unwrap(), "{}");
    }
}
