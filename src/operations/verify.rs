//! The repository against itself: which backups to verify, then the repository's own check.

use super::{Error, Run, catalog};
use crate::{
    policy::Policy,
    repository::{self, Repository, StoredManifest, VerifyOptions, VerifyReport},
};

/// Verifies one backup, or all of the policy (of the repository without one). Damage is in the
/// report, never an error; told to stop, the report says so and holds what was found until then.
///
/// # Errors
/// [`Error`] if the store cannot even be listed.
pub async fn verify(
    repository: &Repository,
    policy: Option<&Policy>,
    only: Option<&StoredManifest>,
    options: &VerifyOptions,
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
    Ok(report?)
}
