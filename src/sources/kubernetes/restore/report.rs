//! What a restore did.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::transform::Change;

/// This many single objects of each sort are named in a report; all are counted.
pub(super) const NAMED: usize = 1_000;
/// Examples of each kind of change.
const EXAMPLES: usize = 3;

/// An object as people name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
pub struct ObjectName {
    /// `deployments.apps`.
    pub kind: String,
    /// Empty: cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let safe = crate::types::for_terminal;
        if self.namespace.is_empty() {
            write!(f, "{} {}", safe(&self.kind), safe(&self.name))
        } else {
            write!(f, "{} {}/{}", safe(&self.kind), safe(&self.namespace), safe(&self.name))
        }
    }
}

/// Something about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ObjectNote {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// What there is to say.
    pub reason: String,
}

/// Objects that are named up to a limit, and all counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Notes {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub objects: Vec<ObjectNote>,
}

impl Notes {
    pub(super) fn add(&mut self, object: ObjectName, reason: impl Into<String>) {
        self.count += 1;
        if self.objects.len() < NAMED {
            self.objects.push(ObjectNote { object, reason: reason.into() });
        }
    }
}

/// One rule's change, over all objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Transformation {
    /// `services`, `jobs.batch`.
    pub kind: String,
    /// The field.
    pub path: String,
    /// Why it was changed.
    pub reason: String,
    /// In how many objects.
    pub count: u64,
    /// The first of them: object, and what was there.
    pub examples: Vec<String>,
}

/// One change of an object that a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AskedChange {
    /// The field.
    pub path: String,
    /// Who asked for it: `modifiers.yaml:7:5`, `--map-namespace`.
    pub by: String,
    /// What became of it.
    pub what: String,
}

/// An object that is restored as somebody asked for, and not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ModifiedObject {
    /// Which object, under the name that it is restored under.
    #[serde(flatten)]
    pub object: ObjectName,
    /// Each change.
    pub changes: Vec<AskedChange>,
}

/// Objects that are restored as somebody asked for, named up to a limit, and all counted. That an object is in another
/// namespace alone does not make it one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Modified {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub objects: Vec<ModifiedObject>,
}

impl Modified {
    pub(super) fn add(&mut self, object: &ObjectName, changes: &[Change]) {
        let asked = changes.iter().filter(|change| change.asked).map(|change| AskedChange {
            path: change.rule_path.to_string(),
            by: change.reason.to_string(),
            what: change.what.clone(),
        });
        let changes: Vec<AskedChange> = asked.collect();
        if changes.is_empty() {
            return;
        }
        self.count += 1;
        if self.objects.len() < NAMED {
            self.objects.push(ModifiedObject { object: object.clone(), changes });
        }
    }
}

/// A load balancer's address: DNS has to follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct LoadBalancer {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The addresses in the backup.
    pub old: Vec<String>,
    /// The addresses now; empty while there is none.
    pub new: Vec<String>,
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// Objects created by it.
    pub created: u64,
    /// Live objects to which it added something.
    pub merged: u64,
    /// Live objects that differed and were changed.
    pub updated: u64,
    /// Live objects that differed, and were deleted and created.
    pub replaced: u64,
    /// Objects that were there and equal.
    pub same: u64,
    /// Objects that a rule left out.
    pub skipped: u64,
    /// Objects that are not restored, with the reason.
    pub failed: Notes,
    /// Objects whose turn had not come when it was stopped.
    pub not_attempted: u64,
    /// It was told to stop, or its deadline passed.
    pub interrupted: bool,
    /// What the rules changed, counted.
    pub transformations: Vec<Transformation>,
    /// What was changed because somebody asked for it, object by object.
    pub modified: Modified,
    /// What had to be given up for single objects: a node port that was taken, an owner that is gone.
    pub adjusted: Notes,
    /// The load balancers among the restored Services, with their old addresses.
    pub load_balancers: Vec<LoadBalancer>,
    /// Requests that wrote.
    pub requests: u64,
    /// When the first of them was sent.
    pub first_request: Option<Timestamp>,
    /// When the last of them was answered.
    pub last_request: Option<Timestamp>,
    /// Answers that said that the server is busy. Each such request was sent again, with fewer others beside it.
    pub busy: u64,
    /// Something in the cluster was changed, or may have been: a request was done, or its answer was lost.
    #[serde(skip)]
    pub changed: bool,
    /// How long later tiers waited for workloads.
    #[serde(skip)]
    pub waited: Duration,
    #[serde(skip)]
    pub(super) changes: Changes,
    /// Which fields of which objects the comparison must not expect.
    #[serde(skip)]
    pub(super) waived: BTreeMap<ObjectName, Vec<Waiver>>,
}

/// What an object could not be given; the comparison expects the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiver {
    /// The `nodePort` of the port at this place.
    NodePort(usize),
    /// The port of the health check.
    HealthCheckNodePort,
    /// The number of replicas: an autoscaler sets it.
    Replicas,
    /// The owner of this kind and name.
    Owner(String, String),
}

impl RestoreReport {
    /// Takes note of what was changed in an object that is written.
    pub(super) fn note_changes(&mut self, object: &ObjectName, changes: &[Change]) {
        changes.iter().for_each(|change| self.changes.add(object, change));
        self.modified.add(object, changes);
    }

    /// Whether every object of the plan is there now.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.count == 0 && self.not_attempted == 0 && !self.interrupted
    }
}

/// Counts changes by kind, path and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes(BTreeMap<(String, String, String), (u64, Vec<String>)>);

impl Changes {
    pub(super) fn add(&mut self, object: &ObjectName, change: &Change) {
        let key = (object.kind.clone(), change.rule_path.to_string(), change.reason.to_string());
        let (count, examples) = self.0.entry(key).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(format!("{object}: {}", change.what));
        }
    }

    pub(super) fn into_list(self) -> Vec<Transformation> {
        self.0
            .into_iter()
            .map(|((kind, path, reason), (count, examples))| Transformation { kind, path, reason, count, examples })
            .collect()
    }
}
