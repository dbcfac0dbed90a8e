//! Which sources of a backup are restored, by what they are.

use super::Error;
use crate::{
    repository::{SourceEntry, StoredManifest},
    types::Name,
};

/// Sources of a backup, by what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenSources {
    /// Those of a cluster's objects.
    pub objects: Vec<Name>,
    /// Those that are PostgreSQL databases.
    pub databases: Vec<Name>,
    /// Those that are MongoDB databases.
    pub mongodb: Vec<Name>,
}

impl ChosenSources {
    /// All that are databases.
    pub fn all_databases(&self) -> impl Iterator<Item = &Name> {
        self.databases.iter().chain(&self.mongodb)
    }
}

/// The sources of a backup; those that are wanted, or all.
///
/// # Errors
/// [`Error::NoSuchSource`] if one that is wanted is not in the backup.
pub fn choose_sources(stored: &StoredManifest, wanted: &[Name]) -> Result<ChosenSources, Error> {
    let held: Vec<Name> = stored.manifest.sources.iter().map(|entry| entry.name.clone()).collect();
    if let Some(stranger) = wanted.iter().find(|source| !held.contains(source)) {
        let choices = held.iter().map(ToString::to_string).collect();
        return Err(Error::NoSuchSource {
            wanted: stranger.to_string(),
            holder: format!("backup {}", stored.manifest.backup),
            choices,
        });
    }
    let chosen = stored.manifest.sources.iter().filter(|entry| wanted.is_empty() || wanted.contains(&entry.name));
    let (databases, others): (Vec<_>, Vec<_>) = chosen.partition(|entry| entry.kind == "postgres");
    let (mongodb, objects): (Vec<_>, Vec<_>) = others.into_iter().partition(|entry| entry.kind == "mongodb");
    let names = |entries: Vec<&SourceEntry>| entries.into_iter().map(|entry| entry.name.clone()).collect();
    Ok(ChosenSources { objects: names(objects), databases: names(databases), mongodb: names(mongodb) })
}
