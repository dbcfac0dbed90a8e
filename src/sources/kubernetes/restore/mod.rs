//! From a backup's objects to a live cluster: plan, execute, wait until ready, compare.
//!
//! [`plan`] reads the backup once against the live objects and writes nothing. [`execute`] does
//! what the plan says, [`wait_ready`] waits until workloads stand, and [`compare`] reads the backup
//! again and compares every object with the live one. Each can be run again: what is there and
//! equal is `same`, so an interrupted restore goes on where it was.

mod adopt;
mod asked;
mod choice;
mod chosen;
mod comparison;
mod conflicts;
mod databases;
mod decide;
mod excuses;
mod execute;
mod guards;
mod helm;
mod judge;
mod lines;
mod links;
mod live;
mod needs;
mod nested;
mod options;
mod orphans;
mod plan;
mod planner;
mod platform;
mod proof;
mod quotas;
mod readiness;
mod ready;
mod reasons;
mod recipe;
mod rehearsal;
mod report;
mod saved;
mod schema;
mod seen;
mod target;
mod terminating;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tiers;
mod together;
mod told;
mod transform;
mod trial;
mod uid;
mod versions;

use std::time::Duration;

pub use choice::{Choice, NotHeld, is_kind};
pub use comparison::{ComparedGroup, ComparisonReport, Counted, DifferentObject};
pub use execute::{Execution, Stage};
pub(super) use lines::Lines;
pub use needs::MissingReference;
pub use options::PlanOptions;
pub use plan::{Action, Answer, OnConflict, Plan, PlanCount, PlannedObject, ServiceName, Target};
pub use recipe::{
    InvalidMapping, InvalidStep, Mapping, ModifierRef, ModifierRule, Modifiers, PatchStep, Recipe, RecipeError,
    Substitution,
};
pub use report::{
    AskedChange, LoadBalancer, Modified, ModifiedObject, Notes, ObjectName, ObjectNote, RestoreReport, Transformation,
};
pub use saved::SavedObject;
pub use tiers::Tier;
pub use together::{Brought, share_platform};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Error};
use crate::types::{BackupContents, ContentsError, Monitor};

/// A restore could not go on at all. What fails for one object is in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The cluster could not be read.
    #[error(transparent)]
    Kubernetes(#[from] Error),
    /// The backup could not be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The backup holds a line that is no object.
    #[error(
        "cannot read object {line} of stream `{}`, part `{}`: {reason}; run `drctl verify` on this backup",
        crate::types::for_terminal(stream),
        crate::types::for_terminal(part)
    )]
    Malformed {
        /// The stream.
        stream: String,
        /// The part.
        part: String,
        /// The line in the part, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The backup holds nothing of this source.
    #[error("the backup holds no Kubernetes objects of source `{source_name}`; `drctl show` lists its sources")]
    NoSuchSource {
        /// The name that was asked for.
        source_name: String,
    },
    /// There are conflicts, and the plan says that nothing is written then.
    #[error(
        "{0} live objects differ from the backup, so nothing is written; look at the plan, or leave them as they are with `--on-conflict skip`"
    )]
    Conflicts(u64),
    /// The plan was made for another cluster.
    #[error("the plan was made for cluster {planned}, and this is {actual}; plan again")]
    OtherCluster {
        /// The uid in the plan.
        planned: String,
        /// The uid of the cluster at hand.
        actual: String,
    },
    /// What was asked for cannot be done with what is in the backup. Nothing was written.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run was told to stop before anything was written.
    #[error("interrupted")]
    Interrupted,
}

/// How a plan is executed.
#[derive(Debug, Clone)]
pub struct ExecuteOptions {
    /// Requests in flight at most.
    pub in_flight: usize,
    /// Bytes of objects in flight at most.
    pub bytes_in_flight: usize,
    /// How long one object is tried again when the server cannot take it yet: a custom resource
    /// whose API appears, a webhook whose server starts.
    pub object_deadline: Duration,
    /// How long, in all, later tiers wait for the workloads that were restored: custom resources,
    /// quotas and webhooks need their controllers. Zero: not at all.
    pub settle: Duration,
}

impl Default for ExecuteOptions {
    fn default() -> Self {
        Self {
            in_flight: 64,
            bytes_in_flight: 16 << 20,
            object_deadline: Duration::from_secs(120),
            settle: Duration::ZERO,
        }
    }
}

/// How long is waited for workloads.
#[derive(Debug, Clone)]
pub struct ReadyOptions {
    /// After this the wait ends, and what is not ready is named.
    pub timeout: Duration,
}

/// What became ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyReport {
    /// Objects that were waited for.
    pub waited_for: u64,
    /// What is not ready, with the reason.
    pub not_ready: Notes,
    /// The load balancers' addresses, old and new.
    pub load_balancers: Vec<LoadBalancer>,
    /// It was told to stop.
    pub interrupted: bool,
}

impl ReadyReport {
    /// Whether all of it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.not_ready.count == 0 && !self.interrupted
    }
}

/// What every step of a restore is given.
#[derive(Debug, Clone, Copy)]
pub struct RestoreContext<'a> {
    /// The cluster to restore into.
    pub cluster: &'a Cluster,
    /// The backup.
    pub contents: &'a dyn BackupContents,
    /// Who hears of the progress.
    pub monitor: &'a dyn Monitor,
    /// Set when the run is to stop.
    pub cancel: &'a CancellationToken,
}

/// An object as a restore would create it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Created {
    /// What would be sent.
    pub(super) object: serde_json::Value,
    /// The rules changed something in it, beside what the server sets on every object.
    pub(super) changed: bool,
    /// It had owners, which a restore links by a second request.
    pub(super) owned: bool,
}

/// An object of the backup as a restore by default would create it, or why it would leave it out. `stream` is its
/// kind: `deployments.apps`.
pub(super) fn created(stream: &str, object: serde_json::Value) -> Result<Created, &'static str> {
    match transform::transform(stream, object) {
        transform::Outcome::Leave(why) => Err(why),
        transform::Outcome::Restore(prepared) => Ok(Created {
            changed: !prepared.changes.is_empty(),
            owned: !prepared.second.owners.is_empty(),
            object: prepared.object,
        }),
    }
}

/// The tier of a stream of objects.
pub(super) fn tier_of_stream(stream: &str) -> Tier {
    let (plural, group) = chosen::split_name(stream);
    tiers::tier_of(group, plural)
}

/// Plans a restore of one source's objects into a cluster. Nothing is written.
///
/// # Errors
/// [`RestoreError`] if the backup or the cluster cannot be read.
pub async fn plan(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    planner::make(context, options).await
}

/// Asks the server what it would say to each write of `plan`, and puts its answers into the plan. Nothing is written.
///
/// # Errors
/// [`RestoreError`] if the backup or the cluster cannot be read.
pub async fn try_out(context: RestoreContext<'_>, plan: &mut Plan) -> Result<(), RestoreError> {
    trial::all(context, plan).await
}

/// Does what `plan` says. Told to stop, it ends between requests and reports what was done.
///
/// # Errors
/// [`RestoreError`] if nothing could be written: conflicts, another cluster, an unreadable backup.
pub async fn execute(
    context: RestoreContext<'_>,
    plan: &Plan,
    options: &ExecuteOptions,
) -> Result<RestoreReport, RestoreError> {
    execute::run(context, plan, options).await
}

/// Begins to execute `plan` stage by stage: what databases need, then, once they are restored, the rest.
///
/// # Errors
/// [`RestoreError`] if nothing may be written: conflicts, another cluster.
pub async fn begin<'a>(
    context: RestoreContext<'a>,
    plan: &'a Plan,
    options: &'a ExecuteOptions,
) -> Result<Execution<'a>, RestoreError> {
    execute::begin(context, plan, options).await
}

/// Waits until the workloads of `plan` that are databases are ready.
///
/// # Errors
/// [`RestoreError`] if the cluster cannot be read.
pub async fn wait_for_databases(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
    options: &ReadyOptions,
) -> Result<ReadyReport, RestoreError> {
    ready::wait_for_databases(context, plan, restored, options).await
}

/// Waits until the workloads, claims and definitions of `plan` are ready, and for the addresses of
/// its load balancers.
///
/// # Errors
/// [`RestoreError`] if the cluster cannot be read.
pub async fn wait_ready(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
    options: &ReadyOptions,
) -> Result<ReadyReport, RestoreError> {
    ready::wait(context, plan, restored, options).await
}

/// Compares every object of the plan with the live one, field by field.
///
/// # Errors
/// [`RestoreError`] if the backup or the cluster cannot be read.
pub async fn compare(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
) -> Result<ComparisonReport, RestoreError> {
    proof::run(context, plan, restored).await
}
