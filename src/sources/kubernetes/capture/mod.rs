//! From a cluster into a backup.

mod absent;
mod examine;
mod kind;
mod line;
mod page;
mod plan;
mod writer;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

use super::{
    Error, ErrorKind,
    client::Cluster,
    discovery::Discovery,
    references::References,
    selection::KubernetesSelection,
    volumes::{Seen, VolumeRules},
};
use crate::{
    sources::{CaptureContext, CaptureError, CaptureReport, CapturedGroup, PreparedSource, Source},
    types::{Missing, Moment, Name, for_terminal},
};
pub use absent::Sought;
use kind::{Outcome, RESTARTS, Run, TooDeep};
use page::{Pager, Room, not_a_list};
pub(super) use plan::can_be_restored;
use plan::{Existing, Plan, Task};

/// Kinds that are read at once.
const KINDS_AT_ONCE: usize = 8;

/// Namespaces of a cluster, and the cluster-scoped objects that belong to them.
#[derive(Debug, Clone)]
pub struct KubernetesSource {
    name: Name,
    cluster: Cluster,
    selection: KubernetesSelection,
    volumes: VolumeRules,
}

impl KubernetesSource {
    /// The source `name` of the policy: what `selection` takes of `cluster`.
    #[must_use]
    pub fn new(name: Name, cluster: Cluster, selection: KubernetesSelection) -> Self {
        Self { name, cluster, selection, volumes: VolumeRules::default() }
    }

    /// With what the policy says of its claims.
    #[must_use]
    pub fn with_volumes(self, volumes: VolumeRules) -> Self {
        Self { volumes, ..self }
    }

    async fn run(&self, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        context.monitor.phase("reading", "objects", None);
        let room = Room::new();
        let (version, discovery, existing) =
            tokio::try_join!(self.cluster.version(), Discovery::read(&self.cluster), self.existing_namespaces(&room))?;
        let (existing, dying) = existing;
        let mut plan = Plan::new(&self.selection, &discovery, &existing);
        let late = plan.take_namespaces();
        let tasks = std::mem::take(&mut plan.tasks);
        let namespaces = std::mem::take(&mut plan.namespaces);
        let run = Run {
            source: &self.name,
            cluster: &self.cluster,
            selection: &self.selection,
            volumes: &self.volumes,
            namespaces: &namespaces,
            room: &room,
            sink: context.sink,
            monitor: context.monitor,
        };
        let mut total = Total::new(&namespaces);
        total.references = References::to(plan.referenced.iter().flatten().copied());
        total.add_all(&run, tasks).await?;
        for wave in &plan.referenced {
            let tasks = wave.iter().map(|kind| {
                let id = kind.id();
                Task { kind: (*kind).clone(), lists: plan::referenced_lists(&id, &total.references), id }
            });
            total.add_all(&run, tasks.filter(|task| !task.lists.is_empty()).collect()).await?;
        }
        if let Some(task) = late {
            let found = total.groups.iter().filter(|(_, group)| group.count > 0).map(|(name, _)| name.as_str());
            let task = plan::with_namespaces_of(task, &self.selection, found);
            total.add_all(&run, vec![task]).await?;
        }
        self.report(version, plan, total, dying)
    }

    /// The names of the cluster's namespaces. Where they may not be listed, those that the policy
    /// names are taken to exist: their objects may be readable all the same.
    ///
    /// Also those of the source that are being deleted: a run that finds them comes in the middle of a disaster.
    async fn existing_namespaces(&self, room: &Room) -> Result<(Existing, Vec<String>), Error> {
        let mut pager = Pager::new(&self.cluster, room, "list namespaces".to_owned(), "/api/v1/namespaces", "");
        let (mut names, mut dying) = (Vec::new(), Vec::new());
        let mut restarts = 0;
        loop {
            let body = match pager.next().await {
                Ok(Some(body)) => body,
                Ok(None) => return Ok((Existing::Known(names), dying)),
                Err(error) if error.kind == ErrorKind::Forbidden => {
                    let named = self.selection.named_namespaces().map(str::to_owned);
                    return Ok((Existing::Assumed(named.collect()), Vec::new()));
                }
                Err(error) if error.kind == ErrorKind::Expired && restarts < RESTARTS => {
                    restarts += 1;
                    names.clear();
                    dying.clear();
                    pager = Pager::new(&self.cluster, room, "list namespaces".to_owned(), "/api/v1/namespaces", "");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let page = body.page().map_err(|error| not_a_list(pager.act(), &error))?;
            for raw in page.items() {
                let item = line::Item::read(raw.get()).map_err(|error| not_a_list(pager.act(), &error))?;
                let meta = item.metadata;
                if !meta.deletion_timestamp.is_empty() && self.selection.takes_namespace(&meta.name) {
                    dying.push(meta.name.clone());
                }
                names.push(meta.name);
            }
            pager.advance(&body, &page);
        }
    }

    fn report(
        &self,
        version: String,
        plan: Plan<'_>,
        total: Total,
        dying: Vec<String>,
    ) -> Result<CaptureReport, CaptureError> {
        let captured: u64 = total.groups.values().map(|group| group.count).sum();
        let mut failed = total.failed;
        let (volumes, idle) = total.seen.judge(&self.volumes, &self.name);
        if captured == 0 && !failed.is_empty() {
            return Err(failed.swap_remove(0).1.into());
        }
        let missing = |what: String, why: String| Missing { source: self.name.to_string(), what, why };
        let mut all: Vec<_> = plan.missing.into_iter().map(|(what, why)| missing(what, why)).collect();
        all.extend(failed.into_iter().map(|(what, error)| missing(what, error.reason)));
        all.sort_by(|a, b| a.what.cmp(&b.what));
        Ok(CaptureReport {
            source: self.name.clone(),
            kind: "kubernetes".to_owned(),
            consistency: "per-kind".to_owned(),
            server: format!("Kubernetes {version}"),
            moment: None,
            groups: total.groups.into_values().collect(),
            volumes,
            missing: all,
            suspect: dying
                .iter()
                .map(|name| format!("namespace `{}` of source `{}` is being deleted", for_terminal(name), self.name))
                .collect(),
            notes: plan.notes.into_iter().chain(total.too_deep.note(&self.name)).chain(idle).collect(),
        })
    }
}

#[async_trait]
impl Source for KubernetesSource {
    fn name(&self) -> &Name {
        &self.name
    }

    /// Kinds are listed one after the other: there is nothing to prepare.
    async fn prepare(&self, _context: CaptureContext<'_>) -> Result<Box<dyn PreparedSource>, CaptureError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl PreparedSource for KubernetesSource {
    fn moment(&self) -> Option<Moment> {
        None
    }

    async fn capture(self: Box<Self>, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(CaptureError::Interrupted),
            outcome = self.run(context) => outcome,
        }
    }
}

/// What all kinds came to.
struct Total {
    groups: BTreeMap<String, CapturedGroup>,
    references: References,
    failed: Vec<(String, Error)>,
    too_deep: TooDeep,
    seen: Seen,
}

impl Total {
    /// Each namespace of the source is counted, also one in which nothing is found.
    fn new(namespaces: &[String]) -> Self {
        let groups = namespaces.iter().map(|name| (name.clone(), writer::empty_group(name))).collect();
        Self {
            groups,
            references: References::default(),
            failed: Vec::new(),
            too_deep: TooDeep::default(),
            seen: Seen::default(),
        }
    }

    async fn add_all(&mut self, run: &Run<'_>, tasks: Vec<Task>) -> Result<(), CaptureError> {
        let known = self.references.clone();
        let outcomes = stream::iter(tasks).map(|task| run.capture(task, &known));
        let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(KINDS_AT_ONCE));
        while let Some(outcome) = outcomes.next().await {
            let Outcome { groups, references, failed, too_deep, seen } = outcome?;
            self.seen.merge(seen);
            self.too_deep.merge(too_deep);
            self.references.merge(references);
            self.failed.extend(failed);
            for (name, added) in groups {
                let group = self.groups.entry(name).or_insert_with_key(|name| writer::empty_group(name));
                group.count += added.count;
                group.restorable += added.restorable;
                group.bytes += added.bytes;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
