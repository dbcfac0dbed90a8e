//! The one place that decides with which code the program ends, and that shows what went wrong.

use std::{error::Error, io::Write, process::ExitCode};

use crate::{
    policy::{self, LoadError},
    repository::backend,
    telemetry,
};

/// How the program ends. The numbers are documented in `docs/cli.md` and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All of it was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the policy file is wrong; nothing was touched.
    Usage = 2,
    /// It was done in part; what is missing is named.
    Partial = 3,
    /// There is damage, a difference, or a suspect backup.
    Difference = 4,
    /// It could not run: a server, a permission or a repository is missing; nothing was changed.
    CouldNotRun = 5,
    /// Another run took over.
    Fenced = 6,
    /// It was interrupted; what was finished is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked, with which code that ends, and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    next: Option<String>,
}

impl Failure {
    /// A failure that ends with `exit`.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), next: None }
    }

    /// The command line is wrong, or lacks something: nothing was touched.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message.into())
    }

    /// With the next step for the person: a sentence or a command.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same, known to have come of an interruption.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        if matches!(self.exit, Exit::Failed | Exit::CouldNotRun) {
            self.exit = Exit::Interrupted;
        }
        self
    }

    /// Shows the error, each of its causes and the next step on standard error, once.
    pub fn show(&self) {
        // Standard error may be gone; the exit code still tells.
        let _ = std::io::stderr().write_all(self.text().as_bytes());
    }

    fn text(&self) -> String {
        let mut said = self.error.to_string();
        let end = if said.contains('\n') { "\n\n" } else { "\n" };
        let mut text = format!("error: {said}{end}");
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Libraries repeat their sources in their own text.
            if !said.contains(&message) {
                text.push_str(&format!("caused by: {}\n", crate::types::for_terminal(&message)));
                said = message;
            }
            cause = error.source();
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("next: {next}\n"));
        }
        text
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let next = match &error {
            LoadError::Read { .. } => "name an existing file with --file or DRCTL_FILE",
            LoadError::TooLarge(_) | LoadError::NotText { .. } => "name a policy file with --file or DRCTL_FILE",
            LoadError::Invalid(_) => "correct the file; `drctl policy check` reads it again",
        };
        Self::new(Exit::Usage, error).next(next)
    }
}

impl From<policy::SecretError> for Failure {
    fn from(error: policy::SecretError) -> Self {
        Self::new(Exit::CouldNotRun, error).next("set it, or name another place in the policy")
    }
}

impl From<policy::InvalidEmbedded> for Failure {
    fn from(error: policy::InvalidEmbedded) -> Self {
        Self::new(Exit::CouldNotRun, error).next("name the policy's file with --file, or use a newer drctl")
    }
}

impl From<telemetry::InvalidFilter> for Failure {
    fn from(error: telemetry::InvalidFilter) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<backend::Error> for Failure {
    fn from(error: backend::Error) -> Self {
        use backend::ErrorKind;
        let (exit, next) = match error.kind {
            ErrorKind::NotFound => (Exit::Failed, None),
            ErrorKind::NoSuchStore => (Exit::CouldNotRun, Some("create it, or correct the repository's URL")),
            ErrorKind::PermissionDenied => {
                (Exit::CouldNotRun, Some("give this identity the rights of docs/permissions.md"))
            }
            ErrorKind::Unauthenticated => (Exit::CouldNotRun, Some("check the credentials that this process has")),
            ErrorKind::Unreachable | ErrorKind::TimedOut => {
                (Exit::CouldNotRun, Some("check the URL, the endpoint and the network, and run it again"))
            }
            ErrorKind::Unsupported => (Exit::CouldNotRun, None),
            ErrorKind::TooLarge | ErrorKind::Full | ErrorKind::Other => (Exit::Failed, None),
        };
        let failure = Self::new(exit, error);
        match next {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn the_chain_is_shown_once_and_ends_with_the_next_step() {
        let bottom = Layer("connection refused", None);
        let middle = Layer("cannot reach the store", Some(Box::new(bottom)));
        let top = Layer("cannot list backups: cannot reach the store", Some(Box::new(middle)));
        let text = Failure::new(Exit::CouldNotRun, top).next("check the network").text();
        assert_eq!(
            text,
            "error: cannot list backups: cannot reach the store\ncaused by: connection refused\nnext: check the network\n"
        );
    }

    #[test]
    fn an_interruption_changes_a_failure_but_not_a_finding() {
        assert_eq!(Failure::new(Exit::Failed, "x").interrupted().exit, Exit::Interrupted);
        assert_eq!(Failure::new(Exit::Difference, "x").interrupted().exit, Exit::Difference);
        assert_eq!(Failure::new(Exit::Usage, "x").interrupted().exit, Exit::Usage);
    }
}
