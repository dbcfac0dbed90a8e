//! Accepting a suspect backup as the new base.

use super::{Error, Run};
use crate::{
    repository::{AcceptOutcome, Repository, StoredManifest},
    types::State,
};

/// Accepts a suspect backup: from now on it counts as good, and later ones are compared with it.
/// Nothing of the backup is changed; a mark is written beside it.
///
/// # Errors
/// [`Error::Unusable`] if it is complete (there is nothing to accept) or partial (what is missing
/// does not come back by being accepted), or suspect with something missing.
pub async fn accept(repository: &Repository, stored: &StoredManifest, run: &Run) -> Result<AcceptOutcome, Error> {
    let manifest = &stored.manifest;
    let incomplete = !manifest.missing.is_empty() || manifest.missing_omitted > 0;
    let why = match manifest.state {
        State::Suspect if incomplete => {
            "is suspect, and things are missing in it: it cannot become the base of later ones"
        }
        State::Suspect => return Ok(repository.accept(stored, run.clock.as_ref()).await?),
        State::Complete => "is complete: there is nothing to accept",
        State::Partial => "is partial: what is missing in it is not there, so it cannot become the base of later ones",
        State::Aborted => "was aborted: there is nothing in it",
    };
    Err(Error::Unusable { backup: manifest.backup.to_string(), why: why.to_owned() })
}
