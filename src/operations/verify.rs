//! The repository against itself: which backups to verify, then the repository's own check.

use std::collections::HashMap;

use super::{Error, Run, catalog};
use crate::{
    policy::Policy,
    repository::{self, Repository, StoredManifest, Verified, VerifyOptions, VerifyReport},
    types::{BackupId, Name},
};

/// What a verification is asked to do.
#[derive(Debug, Clone)]
pub struct Verification {
    /// How.
    pub options: VerifyOptions,
    /// Whether the store is told what was found: then `list` shows it.
    pub evidence: bool,
}

/// The newest verifications of each backup of the policy, or of the repository without one, and damage that no later
/// one has disproved; by policy and backup.
///
/// # Errors
/// [`Error`] if the store cannot be listed.
pub async fn verified(
    repository: &Repository,
    policy: Option<&Policy>,
) -> Result<HashMap<(Name, BackupId), Vec<Verified>>, Error> {
    Ok(repository.verified(&catalog::scope_of(policy)).await?)
}

/// Verifies one backup, or all of the policy (of the repository without one). Damage is in the
/// report, never an error; told to stop, the report says so and holds what was found until then.
///
/// # Errors
/// [`Error`] if the store cannot even be listed.
pub async fn verify(
    repository: &Repository,
    policy: Option<&Policy>,
    only: Option<&StoredManifest>,
    Verification { options, evidence }: &Verification,
    run: &Run,
) -> Result<VerifyReport, Error> {
    let (monitor, cancel) = (run.monitor.as_ref(), &run.cancel);
    let report = match only {
        Some(StoredManifest { manifest, .. }) => {
            let name = (manifest.policy.clone(), manifest.schedule.clone(), manifest.backup.clone());
            repository::verify(repository, &[name], options, monitor, cancel).await
        }
        None => repository::verify_all(repository, &catalog::scope_of(policy), options, monitor, cancel).await,
    };
    let mut report = report?;
    if *evidence && let Err(error) = repository.note_verified(&report, options, run.clock.now()).await {
        report.notes.push(format!(
            "the evidence of this verification could not be written, so `list` does not show it: {error}"
        ));
    } else if *evidence
        && repository.asks_for_signatures()
        && let Err(error) = repository.check_signing_key()
    {
        report
            .notes
            .push(format!("the evidence of this verification does not count, so `list` does not show it: {error}"));
    }
    Ok(report)
}
