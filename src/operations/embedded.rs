//! A repository without a policy file: the policy inside its newest manifest, for reading only.

use super::Error;
use crate::{
    policy::Policy,
    repository::{Repository, Scope},
};

/// The policy that the newest backup was made by. `None` if there is no backup, or if what is embedded
/// cannot be read. What is damaged belongs to no policy.
///
/// # Errors
/// [`Error::SeveralPolicies`] if backups of several policies are in the repository: then none of them is
/// meant. [`Error::Repository`] if the store cannot be read.
pub async fn embedded_policy(repository: &Repository) -> Result<Option<Policy>, Error> {
    let Some(newest) = repository.newest(&Scope::All).await? else { return Ok(None) };
    let policies = repository.policies().await?;
    if policies.len() > 1 {
        let location = repository.location().to_owned();
        return Err(Error::SeveralPolicies { location, choices: policies.iter().map(ToString::to_string).collect() });
    }
    let policy = &newest.manifest.policy;
    let document = newest.manifest.policy_document.as_ref();
    Ok(document.and_then(|document| Policy::from_embedded(document).ok()).filter(|found| found.name == *policy))
}
