//! Does what a plan says: tier after tier, many objects of a tier at once.

mod course;
mod established;
pub(super) mod jobs;
mod left;
mod link;
mod object;
mod owners;
mod put_back;
mod replace;
mod stage;
mod together;
mod update;
pub(super) mod verdict;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};

pub use self::stage::Stage;
use self::{
    jobs::{Job, Jobs, Place, Unreadable},
    object::{Done, End, Worker},
    stage::{Wave, patience},
};
use super::{
    ExecuteOptions, OnConflict, RestoreContext, RestoreError,
    plan::{Action, Plan, PlannedPart, Uid},
    ready,
    report::{LoadBalancer, ObjectName, RestoreReport},
    target::TargetCluster,
    tiers::Tier,
};

/// An object that waits for its owners.
struct Deferred {
    place: Place,
    /// Its new uid, and those of its owners in the backup.
    uid: Uid,
    owners: Vec<Uid>,
}

struct Run<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    options: &'a ExecuteOptions,
    worker: Worker<'a>,
    report: RestoreReport,
    stage: Stage,
    wave: Wave,
    /// How long all waits for workloads may take.
    settle_within: Duration,
    deferred: Vec<Deferred>,
    /// Objects whose turn has come.
    attempted: u64,
    /// A tier has waited for the workloads.
    settled: bool,
    /// How often the cluster was busy before the plan was executed.
    busy_before: u64,
}

/// A plan that is being executed.
pub struct Execution<'a> {
    run: Run<'a>,
    tiers: BTreeMap<Tier, Vec<usize>>,
}

impl std::fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").field("report", &self.run.report).finish_non_exhaustive()
    }
}

impl Execution<'_> {
    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> &RestoreReport {
        &self.run.report
    }

    /// The report of all stages.
    #[must_use]
    pub fn finish(self) -> RestoreReport {
        self.run.finish()
    }
}

/// Does what the plan says.
pub(super) async fn run(
    context: RestoreContext<'_>,
    plan: &Plan,
    options: &ExecuteOptions,
) -> Result<RestoreReport, RestoreError> {
    let mut execution = begin(context, plan, options).await?;
    execution.stage(Stage::All, options.settle).await;
    Ok(execution.finish())
}

/// Makes sure that the plan may be executed here.
pub(super) async fn begin<'a>(
    context: RestoreContext<'a>,
    plan: &'a Plan,
    options: &'a ExecuteOptions,
) -> Result<Execution<'a>, RestoreError> {
    if plan.on_conflict == OnConflict::Fail && plan.conflicts() > 0 {
        return Err(RestoreError::Conflicts(plan.conflicts()));
    }
    let target = TargetCluster::read(context.cluster).await?;
    if target.identity.uid != plan.target.uid {
        return Err(RestoreError::OtherCluster { planned: plan.target.uid.clone(), actual: target.identity.uid });
    }
    let report = RestoreReport {
        same: plan.total(Action::Same),
        skipped: plan.total(Action::Skip) + plan.conflicts(),
        ..RestoreReport::default()
    };
    let worker = Worker::new(context, plan, options, target);
    let mut run = Run {
        context,
        plan,
        options,
        worker,
        report,
        stage: Stage::All,
        wave: Wave::All,
        settle_within: Duration::ZERO,
        deferred: Vec::new(),
        attempted: 0,
        settled: false,
        busy_before: context.cluster.flow().refused,
    };
    run.name_the_impossible();
    let mut tiers: BTreeMap<Tier, Vec<usize>> = BTreeMap::new();
    for (place, kind) in plan.kinds.iter().enumerate() {
        tiers.entry(kind.tier).or_default().push(place);
    }
    Ok(Execution { run, tiers })
}

impl<'a> Run<'a> {
    fn is_stopped(&self) -> bool {
        self.context.cancel.is_cancelled()
    }

    fn name_the_impossible(&mut self) {
        for object in self.plan.objects().filter(|object| object.action == Action::Cannot) {
            let name = ObjectName {
                kind: object.kind.to_owned(),
                namespace: object.namespace.to_owned(),
                name: object.name.to_owned(),
            };
            self.report.failed.add(name, object.reason);
        }
    }

    /// Whether something is written in a namespace that others need.
    fn has_platform(&self) -> bool {
        let mut parts = self.plan.kinds.iter().flat_map(|kind| &kind.parts).filter(|part| part.platform);
        parts.any(|part| part.entries.iter().any(|entry| entry.action.is_write()))
    }

    /// Waits for what runs in the namespaces that others need, for at most half of the time that is left.
    async fn settle_platform(&mut self) {
        let patience = self.settle_within.saturating_sub(self.report.waited) / 2;
        if !patience.is_zero() && !self.is_stopped() {
            self.settle_for(patience).await;
        }
    }

    /// How many objects of `kinds`, all of one tier, this stage writes.
    fn staged(&self, tier: Tier, kinds: &[usize]) -> usize {
        let parts = kinds.iter().filter_map(|kind| self.plan.kinds.get(*kind)).flat_map(|kind| &kind.parts);
        let entries = parts.filter(|part| self.wave.takes(tier, part)).flat_map(|part| &part.entries);
        entries.filter(|entry| entry.action.is_write() && self.stage.takes(tier, entry.first)).count()
    }

    /// What comes after the workloads waits for them: the first tier that has something to create,
    /// and admission again.
    async fn settle(&mut self, tier: Tier) {
        let left = self.settle_within.saturating_sub(self.report.waited);
        let patience = patience(tier, self.settled, left);
        if patience.is_zero() || self.is_stopped() {
            return;
        }
        self.settled = true;
        self.settle_for(patience).await;
    }

    async fn settle_for(&mut self, patience: Duration) {
        let (began, wave) = (Instant::now(), self.wave);
        // Where the workloads cannot be read, the wait after the last tier says so.
        let wanted = |part: &PlannedPart| wave.takes(Tier::Workloads, part);
        let _unread = ready::settle(self.context, self.plan, &self.report, patience, wanted).await;
        self.report.waited += began.elapsed();
    }

    async fn tier(&mut self, tier: Tier, kinds: &[usize]) {
        let (total, stage, wave, plan) = (self.staged(tier, kinds), self.stage, self.wave, self.plan);
        if total > 0 && !self.is_stopped() {
            self.context.monitor.phase(&format!("restoring {tier}"), "objects", u64::try_from(total).ok());
            let jobs = Jobs::new(self.context, self.plan, kinds.iter().copied(), move |place, entry| {
                let part = plan.kinds.get(place.kind).and_then(|kind| kind.parts.get(place.part));
                entry.action.is_write()
                    && stage.takes(tier, entry.first)
                    && part.is_some_and(|part| wave.takes(tier, part))
            });
            self.drain(jobs, &HashMap::new()).await;
        }
        if tier == Tier::Definitions && stage.takes(tier, false) && wave != Wave::Rest && !self.is_stopped() {
            established::wait(&self.worker, kinds).await;
        }
        self.link_settled().await;
    }

    /// Sends the second requests of the objects whose owners are all there, or known to be gone.
    async fn link_settled(&mut self) {
        if self.is_stopped() {
            return;
        }
        let (ready, waiting): (Vec<Deferred>, Vec<Deferred>) =
            std::mem::take(&mut self.deferred).into_iter().partition(|it| self.worker.owners.are_settled(&it.owners));
        self.deferred = waiting;
        if ready.is_empty() {
            return;
        }
        let uids: HashMap<Place, Uid> = ready.iter().map(|deferred| (deferred.place, deferred.uid)).collect();
        let kinds: std::collections::BTreeSet<usize> = ready.iter().map(|deferred| deferred.place.kind).collect();
        let total = u64::try_from(ready.len()).ok();
        self.context.monitor.phase("putting owners back", "objects", total);
        let wanted = uids.clone();
        let jobs = Jobs::new(self.context, self.plan, kinds.into_iter(), move |place, _| wanted.contains_key(&place));
        self.drain(jobs, &uids).await;
    }

    /// Works through `jobs`, many at once. Those with a uid in `links` are only linked.
    async fn drain(&mut self, mut jobs: Jobs<'_>, links: &HashMap<Place, Uid>) {
        let Self { worker, report, deferred, attempted, .. } = self;
        let worker: &Worker<'_> = worker;
        let mut books = Books { plan: self.plan, report, deferred, attempted, linking: !links.is_empty() };
        let mut running = FuturesUnordered::new();
        let mut bytes = 0_usize;
        let mut ended = false;
        loop {
            let room =
                running.is_empty() || (running.len() < self.options.in_flight && bytes < self.options.bytes_in_flight);
            let more = !ended && room && !self.context.cancel.is_cancelled();
            tokio::select! {
                biased;
                Some(done) = running.next() => {
                    let done: Done = done;
                    bytes = bytes.saturating_sub(weight(done.size));
                    self.context.monitor.advance(1);
                    books.enter(done);
                }
                job = jobs.next(), if more => match job {
                    Some(Ok(job)) => {
                        bytes += weight(job.size);
                        running.push(work(worker, job, links));
                    }
                    Some(Err(unreadable)) => books.enter_unreadable(&unreadable),
                    None => ended = true,
                },
                else => break,
            }
        }
    }

    fn finish(mut self) -> RestoreReport {
        for deferred in std::mem::take(&mut self.deferred) {
            let why = "created, but its owners were not put back; run the restore again";
            self.report.failed.add(name_of(self.plan, deferred.place), why);
        }
        self.report.interrupted = self.is_stopped();
        self.report.not_attempted = self.plan.writes().saturating_sub(self.attempted);
        self.report.first_request = self.worker.first_request.get().copied();
        self.report.busy = self.context.cluster.flow().refused.saturating_sub(self.busy_before);
        self.report.transformations = std::mem::take(&mut self.report.changes).into_list();
        self.report
    }
}

async fn work(worker: &Worker<'_>, job: Job, links: &HashMap<Place, Uid>) -> Done {
    match links.get(&job.place) {
        Some(uid) => worker.link(job, *uid).await,
        None => worker.restore(job).await,
    }
}

/// What an object holds while it is on its way: its fields, its text, and what TLS makes of that.
fn weight(size: usize) -> usize {
    size.saturating_mul(3)
}

/// Where the results are written down.
struct Books<'r> {
    plan: &'r Plan,
    report: &'r mut RestoreReport,
    deferred: &'r mut Vec<Deferred>,
    attempted: &'r mut u64,
    linking: bool,
}

impl Books<'_> {
    fn enter(&mut self, done: Done) {
        let name = name_of(self.plan, done.place);
        self.report.requests += done.requests;
        self.report.changed |= done.changed;
        self.report.last_request = self.report.last_request.max(done.last_request);
        if !self.linking {
            if done.end == End::NotAttempted {
                return;
            }
            *self.attempted += 1;
            if matches!(done.end, End::Created | End::Merged | End::Updated | End::Replaced) {
                self.report.note_changes(&name, &done.prepared.changes);
            }
        }
        match done.end {
            End::Created => self.report.created += 1,
            End::Merged => self.report.merged += 1,
            End::Updated => self.report.updated += 1,
            End::Replaced => self.report.replaced += 1,
            End::Same if !self.linking => self.report.same += 1,
            End::Same | End::NotAttempted => {}
            End::Failed(why) => self.report.failed.add(name.clone(), why),
        }
        if !done.prepared.addresses.is_empty() && !self.linking {
            self.report.load_balancers.push(LoadBalancer {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                old: done.prepared.addresses,
                new: Vec::new(),
            });
        }
        for note in done.notes {
            self.report.adjusted.add(name.clone(), note);
        }
        if let Some(uid) = done.deferred {
            let owners = done.prepared.second.owners.iter().map(owners::uid_of).collect();
            self.deferred.push(Deferred { place: done.place, uid, owners });
        }
        if !done.waivers.is_empty() {
            self.report.waived.entry(name).or_default().extend(done.waivers);
        }
    }

    fn enter_unreadable(&mut self, unreadable: &Unreadable) {
        let from = unreadable.from;
        let part = self.plan.kinds.get(from.kind).and_then(|kind| kind.parts.get(from.part));
        for (entry, planned) in
            part.map(|part| part.entries.as_slice()).unwrap_or_default().iter().enumerate().skip(from.entry)
        {
            if planned.action.is_write() {
                *self.attempted += 1;
                self.report.failed.add(name_of(self.plan, Place { entry, ..from }), unreadable.error.to_string());
            }
        }
    }
}

fn name_of(plan: &Plan, place: Place) -> ObjectName {
    let kind = plan.kinds.get(place.kind);
    let part = kind.and_then(|kind| kind.parts.get(place.part));
    let entry = part.and_then(|part| part.entries.get(place.entry));
    ObjectName {
        kind: kind.map(|kind| kind.name.clone()).unwrap_or_default(),
        namespace: part.map(|part| part.namespace.clone()).unwrap_or_default(),
        name: entry.map(|entry| entry.name.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_the_workloads_waits_for_them_once_and_admission_again() {
        let left = Duration::from_secs(100);
        for tier in [Tier::Definitions, Tier::Claims, Tier::Workloads] {
            assert_eq!(patience(tier, false, left), Duration::ZERO, "{tier}");
        }
        for tier in [Tier::CustomResources, Tier::Routing, Tier::Quotas] {
            assert_eq!(patience(tier, false, left), left / 2, "{tier}");
            assert_eq!(patience(tier, true, left), Duration::ZERO, "{tier}");
        }
        assert_eq!(patience(Tier::Admission, true, left), left);
        assert_eq!(patience(Tier::Admission, true, Duration::ZERO), Duration::ZERO);
    }
}
