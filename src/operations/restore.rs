//! A restore: plan, execute, wait until ready, compare.
//!
//! [`plan`] writes nothing; what it returns shows itself, and [`Restore::execute`] does just that.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Error, Run};
use crate::{
    repository::{BackupReader, Cluster as StoredCluster, Repository, SourceEntry, StoredManifest},
    sources::kubernetes::{
        self,
        restore::{
            ComparisonReport, ExecuteOptions, OnConflict, Plan, PlanOptions, ReadyOptions, ReadyReport, RestoreContext,
            RestoreReport,
        },
    },
    types::{BackupId, Name, State},
};

/// What the command line says about a restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Only these sources of the backup; empty: all.
    pub sources: Vec<Name>,
    /// What is done about live objects that differ.
    pub on_conflict: OnConflict,
    /// Which cluster.
    pub connect: kubernetes::ConnectOptions,
}

/// A planned restore, bound to the backup and the cluster that it was planned for.
#[derive(Debug)]
pub struct Restore {
    reader: BackupReader,
    cluster: kubernetes::Cluster,
    /// The backup.
    pub backup: BackupId,
    /// Its state: a partial or suspect one is worth a word before it is restored.
    pub state: State,
    /// The cluster that it was taken of.
    pub origin: Option<StoredCluster>,
    /// The cluster to restore into.
    pub target: kubernetes::Identity,
    /// What will be done, one plan a source.
    pub plans: Vec<Plan>,
}

/// What came of one source.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredSource {
    /// The source.
    pub source: String,
    /// What was written.
    pub execution: RestoreReport,
    /// What became ready; absent if it was not waited for.
    pub readiness: Option<ReadyReport>,
    /// The comparison; absent if it did not come to it.
    pub comparison: Option<ComparisonReport>,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// `create`, `settle` (the waits for workloads between two tiers), `ready`, `compare`.
    pub phase: &'static str,
    /// Wall time.
    pub seconds: f64,
}

/// What a restore did, as far as it came.
#[derive(Debug)]
pub struct RestoreOutcome {
    /// Source by source.
    pub sources: Vec<RestoredSource>,
    /// Phase by phase, in order.
    pub phases: Vec<PhaseTime>,
    /// Why it ended early, if it did; what was done until then is in `sources`.
    pub ended: Option<Error>,
}

/// Plans the restore of a backup into a cluster. Nothing is written.
///
/// # Errors
/// [`Error`] if the backup cannot be read, the cluster not be reached, or a source is not in it.
pub async fn plan(
    repository: &Repository,
    stored: &StoredManifest,
    options: &RestoreOptions,
    run: &Run,
) -> Result<Restore, Error> {
    let manifest = &stored.manifest;
    let sources = choose_sources(stored, &options.sources)?.objects;
    let reader = repository.read(manifest).await?;
    run.monitor.phase("connecting", "step", None);
    let cluster = kubernetes::Cluster::connect(&options.connect).await?;
    let target = cluster.identity().await?;
    let mut restore = Restore {
        reader,
        cluster,
        backup: manifest.backup.clone(),
        state: manifest.state,
        origin: manifest.cluster.clone(),
        target,
        plans: Vec::new(),
    };
    for source in sources {
        let plan_options = PlanOptions {
            backup: manifest.backup.to_string(),
            source,
            namespaces: None,
            on_conflict: options.on_conflict,
            databases: Vec::new(),
        };
        let plan = kubernetes::restore::plan(restore.context(run), &plan_options).await?;
        restore.plans.push(plan);
    }
    Ok(restore)
}

/// Sources of a backup, by what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenSources {
    /// Those of a cluster's objects.
    pub objects: Vec<Name>,
    /// Those that are databases.
    pub databases: Vec<Name>,
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
    let (databases, objects): (Vec<_>, Vec<_>) = chosen.partition(|entry| entry.kind == "postgres");
    let names = |entries: Vec<&SourceEntry>| entries.into_iter().map(|entry| entry.name.clone()).collect();
    Ok(ChosenSources { objects: names(objects), databases: names(databases) })
}

impl Restore {
    fn context<'a>(&'a self, run: &'a Run) -> RestoreContext<'a> {
        RestoreContext {
            cluster: &self.cluster,
            contents: &self.reader,
            monitor: run.monitor.as_ref(),
            cancel: &run.cancel,
        }
    }

    /// Whether the target is the cluster that the backup was taken of.
    #[must_use]
    pub fn is_same_cluster(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.uid == self.target.uid)
    }

    /// Live objects that differ from the backup, over all plans.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.plans.iter().map(Plan::conflicts).sum()
    }

    /// Executes the plans, waits until what they created is ready, and compares. `wait` bounds the
    /// sum of all waits, those between two tiers too; absent: nothing is waited for.
    ///
    /// # Errors
    /// [`Error::Conflicts`], and then nothing was written. Any later failure is in the outcome,
    /// beside what was done.
    pub async fn execute(&self, wait: Option<Duration>, run: &Run) -> Result<RestoreOutcome, Error> {
        let undecided =
            self.plans.iter().filter(|plan| plan.on_conflict == OnConflict::Fail).map(Plan::conflicts).sum();
        if undecided > 0 {
            return Err(Error::Conflicts { count: undecided });
        }
        let mut outcome = RestoreOutcome { sources: Vec::new(), phases: Vec::new(), ended: None };
        if let Err(error) = self.run_phases(wait, run, &mut outcome).await {
            outcome.ended = Some(error);
        }
        Ok(outcome)
    }

    async fn run_phases(&self, wait: Option<Duration>, run: &Run, outcome: &mut RestoreOutcome) -> Result<(), Error> {
        let context = self.context(run);
        let began = Instant::now();
        let created = self.create(context, wait.unwrap_or_default(), outcome).await;
        let settled = waited(outcome);
        let creating = began.elapsed().saturating_sub(settled);
        outcome.phases.push(PhaseTime { phase: "create", seconds: creating.as_secs_f64() });
        if !settled.is_zero() {
            outcome.phases.push(PhaseTime { phase: "settle", seconds: settled.as_secs_f64() });
        }
        created?;

        if let Some(timeout) = wait {
            let began = Instant::now();
            let deadline = began + timeout.saturating_sub(settled);
            for (plan, source) in self.plans.iter().zip(&mut outcome.sources) {
                let timeout = deadline.saturating_duration_since(Instant::now());
                let options = ReadyOptions { timeout };
                source.readiness =
                    Some(kubernetes::restore::wait_ready(context, plan, &source.execution, &options).await?);
            }
            outcome.phases.push(PhaseTime { phase: "ready", seconds: began.elapsed().as_secs_f64() });
        }

        let began = Instant::now();
        for (plan, source) in self.plans.iter().zip(&mut outcome.sources) {
            stop_if_told(run)?;
            source.comparison = Some(kubernetes::restore::compare(context, plan, &source.execution).await?);
        }
        outcome.phases.push(PhaseTime { phase: "compare", seconds: began.elapsed().as_secs_f64() });
        stop_if_told(run)
    }

    async fn create(
        &self,
        context: RestoreContext<'_>,
        wait: Duration,
        outcome: &mut RestoreOutcome,
    ) -> Result<(), Error> {
        for plan in &self.plans {
            let options = ExecuteOptions { settle: wait.saturating_sub(waited(outcome)), ..ExecuteOptions::default() };
            let execution = kubernetes::restore::execute(context, plan, &options).await?;
            let interrupted = execution.interrupted;
            let source = plan.source.clone();
            outcome.sources.push(RestoredSource { source, execution, readiness: None, comparison: None });
            if interrupted {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }
}

/// How long tiers waited for workloads so far.
fn waited(outcome: &RestoreOutcome) -> Duration {
    outcome.sources.iter().map(|source| source.execution.waited).sum()
}

pub(super) fn stop_if_told(run: &Run) -> Result<(), Error> {
    if run.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
}

impl RestoreOutcome {
    /// Whether every object of the plans is there now, and was waited for with success.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ended.is_none()
            && self.sources.iter().all(|source| {
                source.execution.is_complete() && source.readiness.as_ref().is_none_or(ReadyReport::is_ready)
            })
    }

    /// Whether an object is there that should be equal and is not.
    #[must_use]
    pub fn differs(&self) -> bool {
        let comparisons = self.sources.iter().filter_map(|source| source.comparison.as_ref());
        comparisons.map(ComparisonReport::different_objects).sum::<u64>() > 0
    }

    /// Whether every object that should be there was compared, and is equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.sources.iter().all(|source| source.comparison.as_ref().is_some_and(ComparisonReport::is_equal))
    }
}
