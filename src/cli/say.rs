//! What a command tells a person on standard error, beside progress and log.

use std::io::Write;

use jiff::Timestamp;

use super::{args::LogFormat, exit::Failure};
use crate::types::lines_for_terminal;

/// Speaks on standard error: plain lines, or with `--log-format json` one JSON object a line like
/// the log's own. Unlike the log it is never filtered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Say {
    format: LogFormat,
}

impl Say {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format }
    }

    /// Lines about a run that did not fail: what is missing, what is asked about.
    pub(super) fn lines(self, text: &str) {
        match self.format {
            LogFormat::Auto => write(text),
            LogFormat::Json => text.lines().for_each(|line| object("WARN", line.trim())),
        }
    }

    /// What a person does next.
    pub(super) fn next(self, next: &str) {
        match self.format {
            LogFormat::Auto => write(&format!("next: {next}\n")),
            LogFormat::Json => object("WARN", &format!("next: {next}")),
        }
    }

    /// Why the command did not do what was asked.
    pub(super) fn failure(self, failure: &Failure) {
        match self.format {
            LogFormat::Auto => write(&failure.text()),
            LogFormat::Json => object("ERROR", failure.text().trim_end()),
        }
    }
}

fn object(level: &str, message: &str) {
    let line = serde_json::json!({ "timestamp": Timestamp::now(), "level": level, "message": message });
    write(&format!("{line}\n"));
}

fn write(text: &str) {
    // Standard error may be gone; the exit code still tells.
    let _ = std::io::stderr().write_all(lines_for_terminal(text).as_bytes());
}
