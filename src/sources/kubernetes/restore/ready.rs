//! Waits until what was restored stands.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    ReadyOptions, ReadyReport, RestoreContext, RestoreError,
    live::{LiveList, get},
    plan::{Entry, Plan, PlannedKind, PlannedPart},
    readiness,
    report::{LoadBalancer, ObjectName, RestoreReport},
    target::TargetCluster,
    tiers::Tier,
    transform::addresses_of,
};
use crate::sources::kubernetes::{Cluster, ErrorKind, Kind};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The objects of one kind and namespace that are waited for, with the last reason.
struct Group<'p> {
    kind: &'p PlannedKind,
    api: &'p Kind,
    namespace: &'p str,
    waiting: BTreeMap<&'p str, String>,
}

/// Waits until all that can become ready is, or time is over.
pub(super) async fn wait(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
    options: &ReadyOptions,
) -> Result<ReadyReport, RestoreError> {
    let groups = groups(plan, restored, |_, _, _| true);
    let balancers = restored.load_balancers.clone();
    wait_for(context, groups, balancers, "waiting until ready", options).await
}

/// Waits until the workloads that are databases are ready, or time is over.
pub(super) async fn wait_for_databases(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
    options: &ReadyOptions,
) -> Result<ReadyReport, RestoreError> {
    let groups = groups(plan, restored, |_, _, entry| entry.first);
    wait_for(context, groups, Vec::new(), "waiting for the databases' workloads", options).await
}

async fn wait_for(
    context: RestoreContext<'_>,
    mut groups: Vec<Group<'_>>,
    load_balancers: Vec<LoadBalancer>,
    phase: &str,
    options: &ReadyOptions,
) -> Result<ReadyReport, RestoreError> {
    let target = TargetCluster::read(context.cluster).await?;
    let lazy = lazy_classes(context.cluster, &target).await?;
    let mut report = ReadyReport { load_balancers, ..ReadyReport::default() };
    report.waited_for = groups.iter().map(|group| u64::try_from(group.waiting.len()).unwrap_or(u64::MAX)).sum();
    context.monitor.phase(phase, "objects", Some(report.waited_for));
    let deadline = Instant::now() + options.timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        for group in &mut groups {
            let done = group.look(context.cluster, &lazy).await?;
            context.monitor.advance(done);
        }
        groups.retain(|group| !group.waiting.is_empty());
        let addresses = look_for_addresses(context.cluster, &target, &mut report.load_balancers).await?;
        if (groups.is_empty() && addresses) || Instant::now() >= deadline {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + pause).min(deadline)) => {}
            () = context.cancel.cancelled() => {
                report.interrupted = true;
                break;
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    for group in groups {
        group.name_the_rest(context.cluster, &target, &mut report).await?;
    }
    for balancer in report.load_balancers.iter().filter(|balancer| balancer.new.is_empty()) {
        let name = ObjectName {
            kind: "services".to_owned(),
            namespace: balancer.namespace.clone(),
            name: balancer.name.clone(),
        };
        report.not_ready.add(name, "its load balancer has no address yet");
    }
    Ok(report)
}

/// Waits until the workloads of `plan` in the parts that are `wanted` are ready, or time is over. What is not
/// ready is not named yet: it may need what is still to come.
pub(super) async fn settle(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
    timeout: Duration,
    wanted: impl Fn(&PlannedPart) -> bool,
) -> Result<(), RestoreError> {
    let mut groups = groups(plan, restored, |kind, part, _| kind.tier == Tier::Workloads && wanted(part));
    if groups.is_empty() {
        return Ok(());
    }
    let total = groups.iter().map(|group| u64::try_from(group.waiting.len()).unwrap_or(u64::MAX)).sum();
    context.monitor.phase("waiting for workloads", "objects", Some(total));
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        for group in &mut groups {
            let done = group.look(context.cluster, &LazyClasses::default()).await?;
            context.monitor.advance(done);
        }
        groups.retain(|group| !group.waiting.is_empty());
        if groups.is_empty() || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + pause).min(deadline)) => {}
            () = context.cancel.cancelled() => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What of a plan is waited for, of what `wanted` names.
fn groups<'p>(
    plan: &'p Plan,
    restored: &RestoreReport,
    wanted: impl Fn(&PlannedKind, &PlannedPart, &Entry) -> bool,
) -> Vec<Group<'p>> {
    let failed: HashSet<&ObjectName> = restored.failed.objects.iter().map(|note| &note.object).collect();
    plan.kinds.iter().flat_map(|kind| groups_of(kind, &failed, &wanted)).collect()
}

fn groups_of<'p>(
    kind: &'p PlannedKind,
    failed: &HashSet<&ObjectName>,
    wanted: &impl Fn(&PlannedKind, &PlannedPart, &Entry) -> bool,
) -> Vec<Group<'p>> {
    let Some(api) = kind.kind.as_ref().filter(|_| readiness::is_waited_for(&kind.name)) else { return Vec::new() };
    let of_part = |part: &'p PlannedPart| {
        let expected = part.entries.iter().filter(|entry| {
            let name =
                ObjectName { kind: kind.name.clone(), namespace: part.namespace.clone(), name: entry.name.to_string() };
            entry.action.is_there_after() && wanted(kind, part, entry) && !failed.contains(&name)
        });
        let waiting: BTreeMap<&str, String> =
            expected.map(|entry| (&*entry.name, "it is not there".to_owned())).collect();
        Group { kind, api, namespace: &part.namespace, waiting }
    };
    kind.parts.iter().map(of_part).filter(|group| !group.waiting.is_empty()).collect()
}

impl Group<'_> {
    /// Looks once; gives how many became ready.
    async fn look(&mut self, cluster: &Cluster, lazy: &LazyClasses) -> Result<u64, RestoreError> {
        let mut ready = 0;
        let mut list = LiveList::new(cluster, self.api, Some(self.namespace));
        loop {
            let item = match list.next().await {
                Ok(Some(item)) => item,
                Ok(None) => break,
                // What was not seen is looked at the next time.
                Err(error) if error.kind == ErrorKind::Expired => break,
                Err(error) => return Err(error.into()),
            };
            let name = item.key.rsplit_once('/').map_or(item.key.as_str(), |(_, name)| name);
            let Some(reason) = self.waiting.get_mut(name) else { continue };
            let object = item.parse(self.api)?;
            match readiness::of(&self.kind.name, &object) {
                Err(why) if !lazy.waits_for_pod(&object) => *reason = why,
                _ => {
                    self.waiting.remove(name);
                    ready += 1;
                }
            }
        }
        Ok(ready)
    }

    /// Names what is not ready, with the trouble of its Pods.
    async fn name_the_rest(
        self,
        cluster: &Cluster,
        target: &TargetCluster,
        report: &mut ReadyReport,
    ) -> Result<(), RestoreError> {
        let mut troubles: BTreeMap<&str, String> = BTreeMap::new();
        if let Some(pods) = target.kind_of("v1", "Pod")
            && !self.namespace.is_empty()
        {
            let mut list = LiveList::new(cluster, pods, Some(self.namespace));
            while let Some(item) = list.next().await? {
                let pod = item.parse(pods)?;
                let Some(trouble) = readiness::pod_trouble(&pod) else { continue };
                let owner = self.waiting.keys().find(|name| readiness::belongs_to(&pod, &self.kind.name, name));
                if let Some(owner) = owner {
                    troubles.entry(owner).or_insert(trouble);
                }
            }
        }
        for (name, reason) in &self.waiting {
            let object = ObjectName {
                kind: self.kind.name.clone(),
                namespace: self.namespace.to_owned(),
                name: (*name).to_owned(),
            };
            let trouble = troubles.get(name).map(|trouble| format!("; {trouble}")).unwrap_or_default();
            report.not_ready.add(object, format!("{reason}{trouble}"));
        }
        Ok(())
    }
}

/// Storage classes that make a volume only when a Pod asks for it: a claim that no Pod uses stays
/// unbound, and that is as it should be. A Pod that cannot start because of it is named itself.
#[derive(Default)]
struct LazyClasses {
    names: HashSet<String>,
    default_is_lazy: bool,
}

impl LazyClasses {
    fn waits_for_pod(&self, claim: &Value) -> bool {
        if claim.get("kind").and_then(Value::as_str) != Some("PersistentVolumeClaim") {
            return false;
        }
        match claim.pointer("/spec/storageClassName").and_then(Value::as_str) {
            Some(class) => self.names.contains(class),
            None => self.default_is_lazy,
        }
    }
}

async fn lazy_classes(cluster: &Cluster, target: &TargetCluster) -> Result<LazyClasses, RestoreError> {
    let mut lazy = LazyClasses::default();
    let Some(kind) = target.kind_of("storage.k8s.io/v1", "StorageClass") else { return Ok(lazy) };
    let mut list = LiveList::new(cluster, kind, None);
    while let Some(item) = list.next().await? {
        let class = item.parse(kind)?;
        if class.get("volumeBindingMode").and_then(Value::as_str) == Some("WaitForFirstConsumer") {
            let default = class.pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class");
            lazy.default_is_lazy |= default.and_then(Value::as_str) == Some("true");
            lazy.names.insert(item.key);
        }
    }
    Ok(lazy)
}

/// Reads the load balancers' addresses; true if each has one.
async fn look_for_addresses(
    cluster: &Cluster,
    target: &TargetCluster,
    balancers: &mut [LoadBalancer],
) -> Result<bool, RestoreError> {
    let Some(kind) = target.kind_of("v1", "Service") else { return Ok(true) };
    for balancer in balancers.iter_mut().filter(|balancer| balancer.new.is_empty()) {
        if let Some(service) = get(cluster, kind, &balancer.namespace, &balancer.name).await? {
            balancer.new = addresses_of(&service);
        }
    }
    Ok(balancers.iter().all(|balancer| !balancer.new.is_empty()))
}
