//! A restore: plan, execute, wait until ready, compare.
//!
//! [`plan`] writes nothing; what it returns shows itself, and [`Restore::execute`] does just that.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{AskedRestore, Error, Run, choose_sources};
use crate::{
    repository::{BackupReader, Cluster as StoredCluster, Repository, StoredManifest},
    sources::kubernetes::{
        self,
        restore::{
            Answer, Brought, ComparisonReport, ExecuteOptions, Execution, OnConflict, Plan, PlanOptions, ReadyOptions,
            ReadyReport, RestoreContext, RestoreReport, ServiceName, Stage,
        },
    },
    types::{BackupContents as _, BackupId, MediaType, Name, State, StreamInfo},
};

/// How long a database's own workload is waited for where nothing else is.
const DATABASE_WAIT: Duration = Duration::from_secs(300);

/// What the command line says about a restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Only these sources of the backup; empty: all.
    pub sources: Vec<Name>,
    /// What is done about live objects that differ.
    pub on_conflict: OnConflict,
    /// Volumes of the backup are taken over by their claims.
    pub adopt_volumes: bool,
    /// Namespaces that others need, besides those that the plan finds: they are restored and ready first.
    pub platform: Vec<String>,
    /// The server is asked what it would say to each write.
    pub try_out: bool,
    /// The plan can be saved, and held against a saved one.
    pub remember: bool,
    /// What of it, and what is made of it.
    pub asked: AskedRestore,
    /// Which cluster.
    pub connect: kubernetes::ConnectOptions,
}

/// A planned restore, bound to the backup and the cluster that it was planned for.
#[derive(Debug)]
pub struct Restore {
    reader: BackupReader,
    cluster: kubernetes::Cluster,
    options: ExecuteOptions,
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

/// Plans the restore of a backup into a cluster. Nothing is written. `databases` are Services whose workloads
/// come before all others.
///
/// # Errors
/// [`Error`] if the backup cannot be read, the cluster not be reached, or a source is not in it.
pub(super) async fn plan(
    repository: &Repository,
    stored: &StoredManifest,
    options: &RestoreOptions,
    databases: &[ServiceName],
    run: &Run,
) -> Result<Restore, Error> {
    let manifest = &stored.manifest;
    let sources = choose_sources(stored, &options.sources)?.objects;
    let reader = repository.read_contents(manifest).await?;
    let is_restored =
        |stream: &&StreamInfo| stream.media_type == MediaType::KubernetesObjects && sources.contains(&stream.source);
    let choice = options.asked.choice(reader.streams().iter().filter(is_restored))?;
    let recipe = options.asked.recipe()?;
    run.monitor.phase("connecting", "step", None);
    let cluster = kubernetes::Cluster::connect(&options.connect).await?;
    let target = cluster.identity().await?;
    let mut restore = Restore {
        reader,
        cluster,
        options: ExecuteOptions::default(),
        backup: manifest.backup.clone(),
        state: manifest.state,
        origin: manifest.cluster.clone(),
        target,
        plans: Vec::new(),
    };
    let brought = Brought::read(restore.context(run), &sources, choice.is_all() && recipe.is_empty()).await?;
    for source in sources {
        let plan_options = PlanOptions {
            choice: choice.clone(),
            recipe: Arc::clone(&recipe),
            databases: databases.to_vec(),
            adopt_volumes: options.adopt_volumes,
            platform: options.platform.clone(),
            remember: options.remember,
            brought: brought.clone(),
            ..PlanOptions::of(manifest.backup.to_string(), source, options.on_conflict)
        };
        let mut plan = kubernetes::restore::plan(restore.context(run), &plan_options).await?;
        if options.try_out {
            kubernetes::restore::try_out(restore.context(run), &mut plan).await?;
        }
        restore.plans.push(plan);
    }
    options.asked.settle(&mut restore.plans)?;
    kubernetes::restore::share_platform(&mut restore.plans);
    super::asked::refuse_what_is_about_nothing(options, &restore.plans)?;
    Ok(restore)
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

    /// How many objects the server gave this answer for.
    #[must_use]
    pub fn answers(&self, answer: Answer) -> u64 {
        self.plans.iter().map(|plan| plan.answers(answer)).sum()
    }

    /// Refuses plans that conflict with what is live, where they were told to.
    ///
    /// # Errors
    /// [`Error::Conflicts`].
    pub fn refuse_conflicts(&self) -> Result<(), Error> {
        let fails = self.plans.iter().filter(|plan| plan.on_conflict == OnConflict::Fail);
        match fails.map(Plan::conflicts).sum() {
            0 => Ok(()),
            count => Err(Error::Conflicts { count }),
        }
    }

    /// Begins to execute the plans. `wait` bounds the sum of all waits, those between two tiers too; absent:
    /// nothing is waited for. Nothing is written yet.
    pub(super) fn begin<'a>(&'a self, wait: Option<Duration>, run: &'a Run) -> Executing<'a> {
        let executions = self.plans.iter().map(|_| None).collect();
        Executing {
            restore: self,
            run,
            wait,
            executions,
            waited: Duration::ZERO,
            phases: Vec::new(),
            reports: Vec::new(),
            ended: None,
        }
    }
}

/// Plans that are being executed.
#[derive(Debug)]
pub(super) struct Executing<'a> {
    restore: &'a Restore,
    run: &'a Run,
    wait: Option<Duration>,
    /// Those that have begun, a place a plan.
    executions: Vec<Option<Execution<'a>>>,
    /// How long was waited for databases.
    waited: Duration,
    phases: Vec<PhaseTime>,
    reports: Vec<RestoredSource>,
    ended: Option<Error>,
}

impl Executing<'_> {
    /// Creates what databases need and their own workloads, and waits until those are ready.
    pub(super) async fn databases(&mut self) {
        if let Err(error) = self.run_databases().await {
            self.ended = Some(error);
        }
    }

    /// Creates what is left, waits until it is ready, and compares all of it.
    pub(super) async fn rest(&mut self) {
        if let Err(error) = self.run_rest().await {
            self.ended = Some(error);
        }
    }

    /// Whether something failed that ends the restore.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// What was done.
    pub(super) fn finish(mut self) -> RestoreOutcome {
        if self.reports.is_empty() {
            self.take_reports();
        }
        RestoreOutcome { sources: self.reports, phases: self.phases, ended: self.ended }
    }

    fn took(&mut self, phase: &'static str, time: Duration) {
        self.phases.push(PhaseTime { phase, seconds: time.as_secs_f64() });
    }

    async fn run_databases(&mut self) -> Result<(), Error> {
        let context = self.restore.context(self.run);
        let began = Instant::now();
        for (plan, slot) in self.restore.plans.iter().zip(&mut self.executions) {
            if !plan.has_databases() {
                continue;
            }
            let mut execution = kubernetes::restore::begin(context, plan, &self.restore.options).await?;
            execution.stage(Stage::Databases, self.wait.unwrap_or_default()).await;
            *slot = Some(execution);
            stop_if_told(self.run)?;
        }
        self.took("prepare", began.elapsed());
        let began = Instant::now();
        let deadline = began + self.wait.unwrap_or(DATABASE_WAIT);
        for (plan, slot) in self.restore.plans.iter().zip(&self.executions) {
            let Some(execution) = slot else { continue };
            let options = ReadyOptions { timeout: deadline.saturating_duration_since(Instant::now()) };
            let ready = kubernetes::restore::wait_for_databases(context, plan, execution.report(), &options).await?;
            if let Some(first) = ready.not_ready.objects.first() {
                return Err(Error::DatabaseNotReady { workload: first.object.to_string(), why: first.reason.clone() });
            }
        }
        self.waited = began.elapsed();
        self.took("database ready", self.waited);
        stop_if_told(self.run)
    }

    async fn run_rest(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let created = self.create().await;
        self.take_reports();
        let settled = self.reports.iter().map(|source| source.execution.waited).sum();
        self.took("create", began.elapsed().saturating_sub(settled));
        if !settled.is_zero() {
            self.took("settle", settled);
        }
        created?;
        let context = self.restore.context(self.run);
        if let Some(timeout) = self.wait {
            let began = Instant::now();
            let deadline = began + timeout.saturating_sub(settled + self.waited);
            for (plan, source) in self.restore.plans.iter().zip(&mut self.reports) {
                let options = ReadyOptions { timeout: deadline.saturating_duration_since(Instant::now()) };
                let ready = kubernetes::restore::wait_ready(context, plan, &source.execution, &options).await?;
                source.readiness = Some(ready);
            }
            self.took("ready", began.elapsed());
        }
        let began = Instant::now();
        for (plan, source) in self.restore.plans.iter().zip(&mut self.reports) {
            stop_if_told(self.run)?;
            source.comparison = Some(kubernetes::restore::compare(context, plan, &source.execution).await?);
        }
        self.took("compare", began.elapsed());
        stop_if_told(self.run)
    }

    /// All plans together, tier after tier: what one needs may come with another.
    async fn create(&mut self) -> Result<(), Error> {
        let context = self.restore.context(self.run);
        let patience = self.wait.unwrap_or_default().saturating_sub(self.waited);
        let mut stages = Vec::new();
        for (plan, slot) in self.restore.plans.iter().zip(&mut self.executions) {
            stages.push(if slot.is_some() { Stage::Rest } else { Stage::All });
            if slot.is_none() {
                *slot = Some(kubernetes::restore::begin(context, plan, &self.restore.options).await?);
            }
        }
        let mut all: Vec<(&mut Execution<'_>, Stage)> = self.executions.iter_mut().flatten().zip(stages).collect();
        Execution::together(&mut all, patience).await;
        stop_if_told(self.run)
    }

    fn take_reports(&mut self) {
        for (plan, slot) in self.restore.plans.iter().zip(&mut self.executions) {
            let Some(execution) = slot.take() else { continue };
            let (source, execution) = (plan.source.clone(), execution.finish());
            self.reports.push(RestoredSource { source, execution, readiness: None, comparison: None });
        }
    }
}

/// What comes of it, unless the run is told to stop before: then it is left where it is.
pub(super) async fn unless_told<T>(run: &Run, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Interrupted),
        done = work => done,
    }
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
