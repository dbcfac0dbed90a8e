//! What is wrong with a policy file, and where, shown as a compiler shows it.

use std::{fmt, path::PathBuf};

use crate::types::for_terminal;

/// A place in a file: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// How many characters it spans; 0 if that is not known.
    pub(super) length: usize,
}

impl Place {
    pub(super) fn start() -> Self {
        Self { line: 1, column: 1, length: 0 }
    }
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    message: String,
    help: Option<String>,
    hidden: bool,
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None, hidden: false }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows no line of the file with this problem: there is a secret in it.
    pub(super) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Shows no line of the file if its line, or the one before it, may hold a secret.
    pub(super) fn hidden_if_secret(mut self, text: &str) -> Self {
        let before = self.place.line.saturating_sub(2);
        self.hidden |= text.lines().skip(before).take(2).any(may_hold_secret);
        self
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// The column, from 1, in characters.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, file: &str, text: &str) -> fmt::Result {
        let Place { line, column, length } = self.place;
        write!(f, "\n\n{file}:{line}:{column}: {}", for_terminal(&self.message))?;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let source = text.lines().nth(line - 1).filter(|line| !self.hidden && !may_hold_secret(line));
        if let Some(source) = source {
            // A line that is far too long is shown up to a width that a terminal can still take.
            let shown: String = source.chars().take(WIDEST).map(|c| if c == '\t' { ' ' } else { c }).collect();
            let carets = length.clamp(1, (WIDEST + 1).saturating_sub(column).max(1));
            let rest = source.chars().count().saturating_sub(column - 1).max(1);
            write!(f, "\n{margin} |\n{number} | {}", for_terminal(&shown))?;
            if column <= WIDEST {
                write!(f, "\n{margin} | {}{}", " ".repeat(column - 1), "^".repeat(carets.min(rest)))?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n{margin} = help: {}", for_terminal(help)),
            None => Ok(()),
        }
    }
}

const WIDEST: usize = 160;
const MOST_SHOWN: usize = 50;

/// Whether a line of a file may hold a secret, by the words in it.
pub(super) fn may_hold_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| line.contains(word)) || line.contains("://") && line.contains('@')
}

/// Parts of the names of keys whose values are secrets.
const SECRET_WORDS: [&str; 9] =
    ["secret", "password", "passwd", "passphrase", "token", "accesskey", "accountkey", "privatekey", "sig="];

/// A policy file, or another one of its form, with problems: all of them, in the order of the file.
#[derive(Debug, Clone)]
pub struct InvalidPolicy {
    /// What is wrong with the whole: `is not a valid policy`.
    pub(super) wrong: &'static str,
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

impl InvalidPolicy {
    /// A file that is to hold objects of Velero's.
    pub(super) fn of_velero(file: PathBuf, text: &str, problems: Vec<Problem>) -> Self {
        Self::of("is not what Velero's objects look like", file, text, problems)
    }

    pub(super) fn new(file: PathBuf, text: &str, problems: Vec<Problem>) -> Self {
        Self::of("is not a valid policy", file, text, problems)
    }

    pub(super) fn of(wrong: &'static str, file: PathBuf, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        Self { wrong, file, text: text.to_owned(), problems }
    }

    /// The problems in the order of the file; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for InvalidPolicy {}

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        let file = for_terminal(&file);
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "`{file}` {} ({count} problem{plural}); nothing was touched", self.wrong)?;
        for problem in self.problems.iter().take(MOST_SHOWN) {
            problem.show(f, &file, &self.text)?;
        }
        if count > MOST_SHOWN { write!(f, "\n\nand {} more", count - MOST_SHOWN) } else { Ok(()) }
    }
}
