//! The places that hold a policy's repository: its own, and those of its copies.

use std::fmt;

use super::super::{
    Error, KeyOptions, Run,
    repositories::{self, open_of, open_store_of},
};
use crate::{
    policy::Policy,
    repository::Repository,
    types::{Location, Name},
};

/// A place that holds the policy's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyPlace {
    /// Its own: `repository`.
    Repository,
    /// A copy, by its name.
    Copy(Name),
}

/// What was asked of a copy cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The policy has no such copy.
    #[error("the policy has no copy `{wanted}`; it has: {}", if .choices.is_empty() { "none".to_owned() } else { .choices.join(", ") })]
    NoSuchCopy {
        /// What was asked for.
        wanted: String,
        /// The policy's copies.
        choices: Vec<String>,
    },
    /// There is no repository where the policy says, and it has copies.
    #[error("there is no repository that can be used in {location}: {why}; the policy has copies of it: {}", .copies.join(", "))]
    Lost {
        /// The store.
        location: String,
        /// What is not as it should be.
        why: String,
        /// The copies, by their names.
        copies: Vec<String>,
    },
    /// A place is to be copied to itself.
    #[error("`{place}` cannot be copied to itself")]
    ToItself {
        /// The place.
        place: String,
    },
    /// One of two places lies within the other.
    #[error(
        "`{place}` is {url}, and {other} is the same place, or one lies within the other: a copy needs a place of its own"
    )]
    Within {
        /// The place that is copied to.
        place: String,
        /// Where it is.
        url: String,
        /// Where the backups come from.
        other: String,
    },
    /// A manifest of the original cannot be read, so nobody knows what belongs to the backup.
    #[error("backup {backup} cannot be copied: {why}")]
    Unreadable {
        /// The backup.
        backup: String,
        /// Why it cannot be read.
        why: String,
        /// It is damaged; else it is of a later drctl.
        damaged: bool,
    },
}

impl CopyPlace {
    /// The policy with this place in the repository's.
    ///
    /// # Errors
    /// [`CopyError::NoSuchCopy`].
    pub fn of(&self, policy: &Policy) -> Result<Policy, CopyError> {
        match self {
            Self::Repository => Ok(policy.clone()),
            Self::Copy(name) => policy.at_copy(name).ok_or_else(|| CopyError::NoSuchCopy {
                wanted: name.to_string(),
                choices: policy.copies.keys().map(ToString::to_string).collect(),
            }),
        }
    }

    /// What people call it.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Repository => "the repository".to_owned(),
            Self::Copy(name) => format!("the copy `{name}`"),
        }
    }

    /// The flag with which a command works on it, after a space.
    #[must_use]
    pub fn flag(&self) -> String {
        match self {
            Self::Repository => String::new(),
            Self::Copy(name) => format!(" --copy {name}"),
        }
    }

    /// What the policy says of bytes a second to it.
    pub(super) fn bandwidth(&self, policy: &Policy) -> Option<u64> {
        match self {
            Self::Repository => None,
            Self::Copy(name) => policy.copies.get(name)?.bandwidth.as_ref().map(crate::policy::Bandwidth::bytes),
        }
    }
}

impl fmt::Display for CopyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository => f.write_str("repository"),
            Self::Copy(name) => name.fmt(f),
        }
    }
}

impl std::str::FromStr for CopyPlace {
    type Err = crate::types::InvalidName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "repository" { Ok(Self::Repository) } else { Name::new(text).map(Self::Copy) }
    }
}

/// Refuses a place that lies within the other, or is the same folder by another name.
pub(super) fn refuse_within(at_source: &Policy, at_target: &Policy, place: &CopyPlace) -> Result<(), CopyError> {
    let (source, target) = (&at_source.repository, &at_target.repository);
    let same_server = match (&source.url, &target.url) {
        (Location::Directory(_), Location::Directory(_)) => true,
        _ => source.endpoint() == target.endpoint(),
    };
    if same_server && real(&source.url).is_within(&real(&target.url)) {
        let other = source.url.to_string();
        return Err(CopyError::Within { place: place.to_string(), url: target.url.to_string(), other });
    }
    Ok(())
}

/// A folder with no links in its path, as far as it is there; other places as they are.
fn real(location: &Location) -> Location {
    let Location::Directory(path) = location else { return location.clone() };
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?))) {
        Some(real) => Location::Directory(real.components().collect()),
        None => location.clone(),
    }
}

/// Opens where backups come from.
pub(super) async fn open_source(at_source: &Policy, keys: &KeyOptions) -> Result<Repository, Error> {
    open_of(at_source, keys, None).await
}

/// Opens where backups go to, if it is made.
pub(super) async fn find_target(source: &Repository, at_target: &Policy) -> Result<Option<Repository>, Error> {
    let Some(store) = open_store_of(&at_target.repository, false).await? else { return Ok(None) };
    repositories::refuse_orphans(store.as_ref()).await?;
    Ok(source.find_replica_in(store).await?)
}

/// Opens where backups go to, and makes it if there is nothing: apart from the place that they come from, and from a copy that is made
/// next. Key files that have come since are sent.
pub(super) async fn make_target(source: &Repository, at_target: &Policy, run: &Run) -> Result<Repository, Error> {
    let store = match open_store_of(&at_target.repository, true).await? {
        Some(store) => store,
        None => return Err(Error::HeaderMissing { location: at_target.repository.url.to_string() }),
    };
    repositories::refuse_orphans(store.as_ref()).await?;
    let (before, after) = source.waits_for_replica_in(store.as_ref(), run.clock.as_ref()).await?;
    tokio::time::sleep(before).await;
    let made = source.replica_in(store, run.clock.as_ref()).await?;
    tokio::time::sleep(after).await;
    Ok(made)
}
