//! From a policy file to a policy, or to all that is wrong with it, each with line and column.

mod copies;
mod decode;
mod document;
mod modifiers;
mod mongodb;
mod node;
mod problem;
mod source;
mod store;
mod trust;
mod velero;
mod volumes;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

pub use modifiers::{ModifierFile, ModifierKey, PatchEntry, Replacement, RuleEntry, load_modifiers, parse_modifiers};
pub use problem::{InvalidPolicy, Problem};
pub use velero::{FromVelero, FromVeleroError, VeleroFile, VeleroNote, VeleroOptions, from_velero};

use super::Policy;
use crate::types::for_terminal;

/// The largest policy file, in bytes.
pub const LARGEST_FILE: u64 = 1 << 20;

/// A policy, or another file of its form, could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the {what} `{}`", for_terminal(&.path.display().to_string()))]
    Read {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be a policy.
    #[error("`{}` is larger than 1 MiB: that is no {what}", for_terminal(&.path.display().to_string()))]
    TooLarge {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("`{}:{line}` is not UTF-8 text: that is no {what}", for_terminal(&.path.display().to_string()))]
    NotText {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The first line that is not.
        line: usize,
    },
    /// The file was read, and is no valid policy.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
}

/// Loads the policy in the file `path`, which is read once.
///
/// # Errors
/// [`LoadError`]: all problems of the file at once, each with line and column.
pub fn load(path: &Path) -> Result<Policy, LoadError> {
    Ok(parse(path, &read_text(path, "policy")?)?)
}

/// The text of a file, read once, that should be a `what`.
fn read_text(path: &Path, what: &'static str) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| LoadError::Read { what, path: path.to_owned(), source })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(LoadError::TooLarge { what, path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        LoadError::NotText { what, path: path.to_owned(), line: 1 + good.iter().filter(|b| **b == b'\n').count() }
    })
}

/// Reads the policy that `text` is; `path` is only for the messages.
///
/// # Errors
/// [`InvalidPolicy`] with all problems.
pub fn parse(path: &Path, text: &str) -> Result<Policy, InvalidPolicy> {
    let invalid = |problems| InvalidPolicy::new(path.to_owned(), text, problems);
    let root = node::read(text).map_err(|problem| invalid(vec![problem]))?;
    let mut decoder = decode::Decoder::default();
    let policy = document::policy(&mut decoder, &root);
    match policy {
        Some(policy) if decoder.problems.is_empty() => Ok(policy),
        _ => Err(invalid(decoder.problems)),
    }
}
