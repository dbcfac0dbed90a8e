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
    let name =
        |manifest: &repository::Manifest| (manifest.policy.clone(), manifest.schedule.clone(), manifest.backup.clone());
    let backups = match only {
        Some(stored) => vec![name(&stored.manifest)],
        None => {
            let entries = catalog::list(repository, policy).await?;
            // A fenced run left a mark and no backup: there is nothing to hold against itself.
            let there = entries.into_iter().filter(|entry| !matches!(entry.listed, repository::Listed::Aborted));
            there.map(|entry| (entry.policy, entry.schedule, entry.backup)).collect()
        }
    };
    Ok(repository::verify(repository, &backups, options, run.monitor.as_ref(), &run.cancel).await?)
}
