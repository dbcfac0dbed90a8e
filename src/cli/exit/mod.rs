//! The one place that decides with which code the program ends, and that shows what went wrong.

mod chain;
mod codes;
mod mongodb;
mod stores;

use std::{error::Error, process::ExitCode};

use crate::{
    operations::{self, BackupOutcome, Expected, Restore, RestoreOutcome},
    repository,
    sources::kubernetes::restore::{Action, Answer},
    types::State,
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

impl Exit {
    /// How a backup ends.
    pub(super) fn of_backup(outcome: &BackupOutcome) -> Self {
        match outcome.manifest.state {
            State::Complete => Self::Done,
            State::Partial if outcome.on_purpose => Self::Done,
            State::Partial => Self::Partial,
            State::Suspect => Self::Difference,
            State::Aborted => Self::Fenced,
        }
    }

    /// How a doctor ends: as a backup would.
    pub(super) fn of_doctor(backup: Expected) -> Self {
        match backup {
            Expected::Impossible => Self::CouldNotRun,
            Expected::Suspect => Self::Difference,
            Expected::Partial => Self::Partial,
            Expected::Complete => Self::Done,
        }
    }

    /// The graver of two ends of one run, neither of them a failure: a difference outweighs what is missing.
    pub(super) fn graver(self, other: Self) -> Self {
        let ends = [Self::Difference, Self::Partial, Self::CouldNotRun];
        ends.into_iter().find(|end| [self, other].contains(end)).unwrap_or(Self::Done)
    }

    /// How a verify ends: damage outweighs an interruption, and both what could not be read.
    pub(super) fn of_verify(report: &repository::VerifyReport) -> Self {
        if report.has_damage() {
            Self::Difference
        } else if report.interrupted {
            Self::Interrupted
        } else if report.finds_nothing() {
            Self::Done
        } else {
            Self::CouldNotRun
        }
    }
}

impl Exit {
    /// How a dry run ends: as the restore would, as far as the plan can tell.
    pub(super) fn of_plan(restore: &Restore) -> Self {
        if restore.refuse_conflicts().is_err() {
            return Self::CouldNotRun;
        }
        let left_out = restore.conflicts() + total(restore, Action::Cannot) + restore.answers(Answer::Rejected);
        let has_room = restore.plans.iter().all(|plan| plan.warnings().is_empty());
        if left_out == 0 && has_room { Self::Done } else { Self::Partial }
    }

    /// How a restore ends: what differs outweighs what was not restored, because it is there, and looks as
    /// if it were restored. `conflicts` are live objects that were left as they are.
    pub(super) fn of_restore(conflicts: u64, outcome: RestoreOutcome) -> Result<Self, Failure> {
        let (complete, equal) = (outcome.is_complete() && conflicts == 0, outcome.is_equal());
        let failed = outcome.sources.iter().any(|source| source.execution.failed.count > 0);
        let changed = outcome.sources.iter().any(|source| source.execution.changed);
        let wrote = outcome.sources.iter().any(|source| source.execution.requests > 0);
        match outcome.ended {
            Some(error) => {
                let mut failure = Failure::from(error);
                // `could not run` would say that nothing was changed.
                if wrote && failure.exit == Self::CouldNotRun {
                    failure.exit = Self::Failed;
                }
                Err(failure.next("what was restored stays; run it again, and it goes on from there"))
            }
            // Every request was refused.
            None if wrote && failed && !changed => Ok(Self::CouldNotRun),
            None if outcome.differs() => Ok(Self::Difference),
            None if !complete => Ok(Self::Partial),
            None if !equal => Ok(Self::Difference),
            None => Ok(Self::Done),
        }
    }
}

fn total(restore: &Restore, action: Action) -> u64 {
    restore.plans.iter().map(|plan| plan.total(action)).sum()
}

/// What a person does next about an error, if one line can say it.
pub(super) fn next_of(error: &operations::Error) -> Option<&'static str> {
    codes::of_operation(error).1
}

/// The code that an error of an operation ends with, where it ends the command.
pub(super) fn exit_of(error: &operations::Error) -> Exit {
    codes::of_operation(error).0
}

/// Why an unsigned backup is not used by a command that has a flag for it.
pub(super) fn unsigned(error: repository::Error) -> Failure {
    Failure::from(error).next("`--allow-unsigned` uses it all the same, once you have made sure that it is yours")
}

/// An error and its causes in one line, as far as they are for people.
pub(super) fn chain_of(error: &operations::Error) -> String {
    let mut error = chain::concrete(error);
    let mut text = error.to_string();
    while let Some(cause) = error.source().filter(|_| !chain::is_last_for_people(error)) {
        error = chain::concrete(cause);
        let said = error.to_string();
        // Libraries repeat their sources in their own text.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
    }
    text
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

    /// With this before the next step.
    #[must_use]
    pub fn say_first(mut self, words: &str) -> Self {
        self.next = Some(self.next.map_or_else(|| words.to_owned(), |next| format!("{words}; {next}")));
        self
    }

    pub(super) fn maybe_next(mut self, next: Option<&str>) -> Self {
        self.next = next.map(str::to_owned);
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

    /// The error, each of its causes once, and the next step, a line each.
    pub(super) fn text(&self) -> String {
        let top: &(dyn Error + 'static) = self.error.as_ref();
        let mut error = chain::concrete(top);
        let mut said = error.to_string();
        let end = if said.contains('\n') { "\n\n" } else { "\n" };
        let mut text = format!("error: {said}{end}");
        while let Some(cause) = error.source() {
            if chain::is_last_for_people(error) {
                tracing::debug!(cause = %crate::types::for_terminal(&format!("{cause:?}")), "the client library's own error");
                break;
            }
            error = chain::concrete(cause);
            let message = error.to_string();
            // Libraries repeat their sources in their own text.
            if !said.contains(&message) {
                text.push_str(&format!("caused by: {}\n", crate::types::for_terminal(&message)));
                said = message;
            }
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("next: {next}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn what_is_missing_does_not_hide_what_differs() {
        assert_eq!(Exit::Partial.graver(Exit::Difference), Exit::Difference);
        assert_eq!(Exit::Difference.graver(Exit::Partial), Exit::Difference);
        assert_eq!(Exit::Done.graver(Exit::Partial), Exit::Partial);
        assert_eq!(Exit::Done.graver(Exit::Done), Exit::Done);
        // Every request of a restore was refused: it is no success.
        assert_eq!(Exit::Done.graver(Exit::CouldNotRun), Exit::CouldNotRun);
        assert_eq!(Exit::CouldNotRun.graver(Exit::Done), Exit::CouldNotRun);
    }

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
    fn a_store_that_fails_ends_with_5_until_something_was_written() {
        use crate::repository::backend::{Error as StoreError, ErrorKind};
        let store = |kind, act| {
            let (subject, location, reason) = (String::new(), "s3://b".to_owned(), "why".to_owned());
            repository::Error::Store(StoreError { kind, act, subject, location, reason, source: None })
        };
        let of = |kind| store(kind, "write");
        let elsewhere = "check that URL, endpoint and proxy lead to the store that is meant, and run it again";
        for (kind, next) in [
            (ErrorKind::Full, "make room in the store, and run it again"),
            (ErrorKind::Other, elsewhere),
            (ErrorKind::NotFound, elsewhere),
            (
                ErrorKind::NoSuchStore,
                "correct the repository's URL, region or endpoint; a bucket or a container must be made first, a \
                 folder is made by `drctl repository init`",
            ),
            (ErrorKind::Unauthenticated, "check the credentials that this process has"),
            (
                ErrorKind::ClockApart,
                "set this machine's clock (`timedatectl` says whether it is kept), and run it again",
            ),
            (ErrorKind::Unreachable, "check the URL, the endpoint and the network, and run it again"),
        ] {
            let last_line = format!("\nnext: {next}\n");
            let failure = Failure::from(of(kind));
            assert!(failure.exit == Exit::CouldNotRun && failure.text().ends_with(&last_line), "{}", failure.text());
            // Its session was written before.
            let backup = crate::types::BackupId::parse("20261120T020000Z-abcdef").unwrap();
            let begun = repository::Error::Begun { backup, source: Box::new(of(kind)) };
            let failure = Failure::from(begun);
            assert!(failure.exit == Exit::Failed && failure.text().ends_with(&last_line), "{}", failure.text());
            let found = operations::Error::Repository(of(kind));
            assert_eq!(next_of(&found), Some(next));
        }
        let setting = Failure::from(store(ErrorKind::Other, "open")).text();
        assert!(setting.contains("next: correct that setting"), "{setting}");
    }

    #[test]
    fn what_waits_is_told_what_ends_the_wait() {
        use crate::repository::WaitEnds::{Lock, Prune, Run};
        for (to_copy, ends, words) in [
            (true, Prune, "next: let `drctl prune --yes --copy NAME` come to its end there"),
            (true, Lock, "next: when the locks on that run's objects there have ended"),
            (true, Run, "next: copy first the backup whose id is in that key"),
            (false, Run, "next: bring the backup back first whose id is in that key"),
            (false, Prune, "next: use this one in the copy, or bring it to another prefix"),
            (false, Lock, "next: use this one in the copy, or bring it to another prefix"),
        ] {
            let backup = crate::types::BackupId::parse("20261120T020000Z-abcdef").unwrap();
            let (place, first) = ("a place".to_owned(), "data/x".to_owned());
            let waits = repository::CopyRefused::Waits { backup, place, count: 1, first, ends, to_copy };
            let failure = Failure::from(repository::Error::Copy(waits));
            assert_eq!(failure.exit, Exit::CouldNotRun);
            let text = failure.text();
            assert!(text.contains(words) && !text.contains("--undo"), "{text}");
            // There it gives up runs that have no manifest yet.
            assert!(to_copy || !text.contains("`drctl prune"), "{text}");
        }
    }

    /// How a restore ended of which so many objects failed, differ, could not be compared, and were left.
    fn restored(failed: u64, different: u64, not_compared: u64, left: u64) -> Exit {
        after(0, false, [failed, different, not_compared, left])
    }

    /// The same, after so many requests, one of which was done.
    fn after(requests: u64, changed: bool, [failed, different, not_compared, left]: [u64; 4]) -> Exit {
        use crate::sources::kubernetes::restore::{ComparedGroup, ComparisonReport, Notes, RestoreReport};
        let notes = |count| Notes { count, objects: Vec::new() };
        let expected = failed + different + 1;
        let group = ComparedGroup { expected, equal: 1, different, missing: failed, ..ComparedGroup::default() };
        let comparison = ComparisonReport {
            groups: vec![group],
            missing: notes(failed),
            not_compared: notes(not_compared),
            ..ComparisonReport::default()
        };
        let mut execution = RestoreReport::default();
        (execution.failed, execution.requests, execution.changed) = (notes(failed), requests, changed);
        let source = crate::operations::RestoredSource {
            source: "services".to_owned(),
            execution,
            readiness: None,
            comparison: Some(comparison),
        };
        let outcome = RestoreOutcome { sources: vec![source], phases: Vec::new(), ended: None };
        Exit::of_restore(left, outcome).unwrap()
    }

    #[test]
    fn what_differs_outweighs_what_was_not_restored() {
        assert_eq!(restored(0, 0, 0, 0), Exit::Done);
        assert_eq!(restored(1, 0, 0, 0), Exit::Partial);
        assert_eq!(restored(0, 0, 0, 1), Exit::Partial);
        assert_eq!(restored(0, 1, 0, 0), Exit::Difference);
        assert_eq!(restored(1, 1, 0, 0), Exit::Difference);
        assert_eq!(restored(0, 1, 0, 1), Exit::Difference);
        assert_eq!(restored(0, 0, 1, 0), Exit::Difference);
        assert_eq!(restored(1, 0, 1, 0), Exit::Partial);
    }

    #[test]
    fn a_restore_all_of_whose_requests_were_refused_could_not_run() {
        assert_eq!(after(2, false, [1, 0, 0, 0]), Exit::CouldNotRun);
        assert_eq!(after(2, false, [1, 1, 0, 0]), Exit::CouldNotRun, "what differs was so before");
        assert_eq!(after(2, true, [1, 0, 0, 0]), Exit::Partial);
        assert_eq!(after(2, true, [1, 1, 0, 0]), Exit::Difference);
        assert_eq!(after(0, false, [1, 0, 0, 0]), Exit::Partial, "nothing was tried: the plan names what cannot be");
    }

    #[test]
    fn an_interruption_changes_a_failure_but_not_a_finding() {
        assert_eq!(Failure::new(Exit::Failed, "x").interrupted().exit, Exit::Interrupted);
        assert_eq!(Failure::new(Exit::Difference, "x").interrupted().exit, Exit::Difference);
        assert_eq!(Failure::new(Exit::Usage, "x").interrupted().exit, Exit::Usage);
    }
}
