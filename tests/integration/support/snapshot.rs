//! A backup in memory, made with kubectl: what restore is fed with where the repository is not what is tested.

use std::sync::Arc;

use drctl::{
    sources::kubernetes::{
        Cluster, ConnectOptions,
        restore::{
            self, Action, Choice, ComparisonReport, ExecuteOptions, OnConflict, Plan, PlanOptions, ReadyOptions,
            ReadyReport, Recipe, RestoreContext, RestoreError, RestoreReport, testing::MemoryContents,
        },
    },
    types::{Name, Silent},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::bed;

/// Kinds of a namespace that a test backs up, in the order of their streams.
pub(crate) const KINDS: &[&str] = &[
    "configmaps",
    "cronjobs.batch",
    "daemonsets.apps",
    "deployments.apps",
    "endpointslices.discovery.k8s.io",
    "endpoints",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
    "jobs.batch",
    "limitranges",
    "networkpolicies.networking.k8s.io",
    "persistentvolumeclaims",
    "poddisruptionbudgets.policy",
    "pods",
    "replicasets.apps",
    "resourcequotas",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "secrets",
    "serviceaccounts",
    "services",
    "statefulsets.apps",
];

/// The source's name in every snapshot.
pub(crate) fn source() -> Name {
    Name::new("cluster").unwrap()
}

/// Objects by stream name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot(Vec<(String, Vec<Value>)>);

impl Snapshot {
    /// The namespaces and all objects of [`KINDS`] in them.
    pub(crate) fn of(cluster: &bed::Cluster, namespaces: &[&str]) -> Self {
        let mut snapshot = Self::default();
        for namespace in namespaces {
            snapshot.take(cluster, "namespaces", "", Some(namespace));
            for kind in KINDS {
                snapshot.take(cluster, kind, namespace, None);
            }
        }
        snapshot
    }

    /// Adds objects of a kind: all of a namespace, or one by name.
    pub(crate) fn take(&mut self, cluster: &bed::Cluster, kind: &str, namespace: &str, name: Option<&str>) {
        let mut words = vec!["get", kind, "--show-managed-fields", "-o", "json"];
        if !namespace.is_empty() {
            words.extend(["-n", namespace]);
        }
        words.extend(name);
        let found: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
        let objects = found.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![found]);
        self.add(kind, objects);
    }

    /// Adds objects.
    pub(crate) fn add(&mut self, kind: &str, objects: Vec<Value>) {
        match self.0.iter_mut().find(|(name, _)| name == kind) {
            Some((_, known)) => known.extend(objects),
            None => self.0.push((kind.to_owned(), objects)),
        }
    }

    /// Changes every object of a kind.
    pub(crate) fn change(&mut self, kind: &str, change: impl Fn(&mut Value)) {
        for (_, objects) in self.0.iter_mut().filter(|(name, _)| name == kind) {
            objects.iter_mut().for_each(&change);
        }
    }

    /// As a backup.
    pub(crate) fn contents(&self) -> MemoryContents {
        MemoryContents::new(&source(), self.0.clone())
    }
}

/// A snapshot and a cluster to restore it into.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) cluster: Cluster,
    pub(crate) contents: MemoryContents,
    pub(crate) cancel: CancellationToken,
    pub(crate) on_conflict: OnConflict,
    pub(crate) platform: Vec<String>,
    pub(crate) choice: Choice,
    pub(crate) recipe: Recipe,
    pub(crate) execute: ExecuteOptions,
}

/// What a plan does with an object, and why.
#[track_caller]
pub(crate) fn planned(plan: &Plan, kind: &str, name: &str) -> (Action, String) {
    let mut objects = plan.objects().filter(|object| object.kind == kind && object.name == name);
    let object = objects.next().unwrap_or_else(|| panic!("{kind} {name} is not in the plan"));
    (object.action, object.reason.to_owned())
}

impl Restore {
    pub(crate) async fn on_conflict(cluster: &bed::Cluster, snapshot: &Snapshot, on_conflict: OnConflict) -> Self {
        Self { on_conflict, ..Self::into(cluster, snapshot).await }
    }

    pub(crate) async fn into(cluster: &bed::Cluster, snapshot: &Snapshot) -> Self {
        Self::with(cluster, snapshot.contents()).await
    }

    pub(crate) async fn with(cluster: &bed::Cluster, contents: MemoryContents) -> Self {
        let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig().to_owned()), ..ConnectOptions::default() };
        Self {
            cluster: Cluster::connect(&options).await.unwrap(),
            contents,
            cancel: CancellationToken::new(),
            on_conflict: OnConflict::Fail,
            platform: Vec::new(),
            choice: Choice::all(),
            recipe: Recipe::default(),
            execute: ExecuteOptions {
                object_deadline: std::time::Duration::from_secs(20),
                ..ExecuteOptions::default()
            },
        }
    }

    pub(crate) fn context(&self) -> RestoreContext<'_> {
        RestoreContext { cluster: &self.cluster, contents: &self.contents, monitor: &Silent, cancel: &self.cancel }
    }

    pub(crate) async fn plan(&self) -> Plan {
        self.try_plan().await.unwrap()
    }

    pub(crate) async fn try_plan(&self) -> Result<Plan, RestoreError> {
        let options = PlanOptions {
            choice: self.recipe.mapping.narrow(self.choice.clone()).unwrap(),
            recipe: Arc::new(self.recipe.clone()),
            platform: self.platform.clone(),
            ..PlanOptions::of("20261120T020000Z-k3x7pq".to_owned(), source(), self.on_conflict)
        };
        restore::plan(self.context(), &options).await
    }

    /// The plan, and what the server says of it.
    pub(crate) async fn tried_out(&self) -> Plan {
        let mut plan = self.plan().await;
        restore::try_out(self.context(), &mut plan).await.unwrap();
        plan
    }

    pub(crate) async fn execute(&self, plan: &Plan) -> Result<RestoreReport, RestoreError> {
        restore::execute(self.context(), plan, &self.execute).await
    }

    pub(crate) async fn ready(&self, plan: &Plan, report: &RestoreReport, seconds: u64) -> ReadyReport {
        let options = ReadyOptions { timeout: std::time::Duration::from_secs(seconds) };
        restore::wait_ready(self.context(), plan, report, &options).await.unwrap()
    }

    pub(crate) async fn compare(&self, plan: &Plan, report: &RestoreReport) -> ComparisonReport {
        restore::compare(self.context(), plan, report).await.unwrap()
    }

    /// Plans, executes and compares; asserts that all of it is restored and equal.
    pub(crate) async fn all(&self) -> (Plan, RestoreReport, ComparisonReport) {
        let plan = self.plan().await;
        let report = self.execute(&plan).await.unwrap();
        assert!(report.is_complete(), "{:#?}", report.failed);
        let comparison = self.compare(&plan, &report).await;
        assert!(comparison.is_equal(), "{:#?}\n{:#?}", comparison.different, comparison.missing);
        (plan, report, comparison)
    }
}
