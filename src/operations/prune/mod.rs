//! Retention carried out: the policy's rules decide, the brakes hold, the repository marks and deletes.

mod marks;
mod plan;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;

pub use self::{
    marks::{MarkedBackup, delete_backup, pin, undo_delete, unpin},
    plan::{Fate, PlannedBackup, PrunePlan},
};
use super::{Error, Run};
use crate::{
    policy::Policy,
    repository::{PruneOptions, Pruned, Repository},
};

/// What the command line says about a prune.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneAsked {
    /// Backups that may be marked at once; absent: 3, or a tenth of those that there are.
    pub max_delete: Option<u64>,
    /// Nothing is to be written: not even what proves the store.
    pub look_only: bool,
}

/// Decides about every backup of the policy. Nothing is changed, beyond a mark that is put and deleted again to prove
/// the store.
///
/// # Errors
/// [`Error::CannotPrune`] if nobody can say what some backup needs, [`Error::Repository`] if the store is not what prune
/// needs or its clock or this machine's is wrong.
pub async fn plan_prune(
    repository: &Repository,
    policy: &Policy,
    asked: PruneAsked,
    run: &Run,
) -> Result<PrunePlan, Error> {
    let survey = repository.survey(&options(policy, run), asked.look_only).await?;
    PrunePlan::new(policy, survey, asked.max_delete)
}

/// Carries a plan out: fences, marks, and deletes what was marked a day before the plan was made.
///
/// # Errors
/// [`Error::TooManyToPrune`] before anything is changed, or what the repository says.
pub async fn prune(repository: &Repository, policy: &Policy, plan: &PrunePlan, run: &Run) -> Result<Pruned, Error> {
    plan.refuse_too_many()?;
    Ok(repository.prune(plan.survey(), &plan.doomed(), &options(policy, run)).await?)
}

fn options(policy: &Policy, run: &Run) -> PruneOptions {
    PruneOptions {
        is_copy: policy.is_at_copy(),
        evidence: SignedDuration::from_hours(i64::from(policy.evidence.keep.hours())),
        cancel: run.cancel.clone(),
        ..PruneOptions::new(policy.name.clone(), run.clock.clone())
    }
}
