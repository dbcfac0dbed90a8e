//! What a restore will do, as a value: it prints, it serialises, and nothing happens that is not in it.

mod shown;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use self::shown::objects;
pub use self::shown::{PlanCount, PlannedObject};

use super::{adopt::Adoption, asked::Asked, tiers::Tier};
pub(super) use super::{
    reasons::{Reason, Reasons},
    seen::{Mark, Seen},
    uid::Uid,
};
use crate::sources::kubernetes::Kind;

/// What is done when a live object is not what the backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Nothing at all is written.
    #[default]
    Fail,
    /// That object is left as it is.
    Skip,
    /// That object is changed into what the backup holds.
    Update,
    /// That object is deleted and created from the backup, where nothing is lost by it.
    Replace,
}

impl std::fmt::Display for OnConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Update => "update",
            Self::Replace => "replace",
        })
    }
}

/// A Service by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is done with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not there: it is created.
    Create,
    /// It is there and is completed: what the backup has and the live object lacks is added.
    Merge,
    /// It is there and something else: it is changed into what the backup holds.
    Update,
    /// It is there and something else: it is deleted and created from the backup.
    Replace,
    /// It is there and every expected field is equal: nothing is written.
    Same,
    /// It is there and is something else.
    Conflict,
    /// A rule leaves it out; the reason says which.
    Skip,
    /// It cannot be restored into this cluster; the reason says why.
    Cannot,
}

impl Action {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] =
        [Self::Create, Self::Merge, Self::Update, Self::Replace, Self::Same, Self::Conflict, Self::Skip, Self::Cannot];

    /// The word of the plan.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Merge => "merge",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Same => "same",
            Self::Conflict => "conflict",
            Self::Skip => "skip",
            Self::Cannot => "cannot",
        }
    }

    /// Whether the object is written.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Merge | Self::Update | Self::Replace)
    }

    /// Whether the backup's object is there when the plan is done.
    pub(super) fn is_there_after(self) -> bool {
        self.is_write() || self == Self::Same
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the server's own dry run says of an object: it does all but store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was not asked.
    #[default]
    None,
    /// It would take it.
    Accepted,
    /// It would refuse it, or the Pods of it.
    Rejected,
    /// It cannot be known yet: what the object needs is not there.
    NotTestable,
}

impl Answer {
    /// It was not asked.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The cluster that a plan was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Target {
    /// The uid of its namespace `kube-system`.
    pub uid: String,
    /// How its kubeconfig calls it.
    pub name: String,
    /// Its server's version.
    pub version: String,
}

/// A restore, planned. It holds some 100 bytes an object. Serialised it is `backup`, `source`,
/// `target`, `onConflict`, `counts`, `warnings`, `missingReferences`, `modified` and `objects`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The backup's identifier.
    pub backup: String,
    /// The source in the backup.
    pub source: String,
    /// The cluster that it was made for. It is executed against no other.
    pub target: Target,
    /// What is done about conflicts.
    pub on_conflict: OnConflict,
    /// How many objects there are for each action, by kind and namespace.
    pub(super) counts: Counts,
    pub(super) kinds: Vec<PlannedKind>,
    pub(super) reasons: Reasons,
    /// The workloads of databases among the objects.
    pub(super) databases: Vec<Behind>,
    /// The uids, in the backup, of all owners that its objects name.
    pub(super) referenced: HashSet<Uid>,
    /// What becomes of the volumes.
    pub(super) adoption: Adoption,
    pub(super) asked: Asked,
    /// What is not about one object: quotas that have no room for all of them.
    pub(super) warnings: Vec<String>,
    /// What was seen of each live object that is changed or replaced, by the places of its kind, part and entry.
    pub(super) agreed: HashMap<(usize, usize, usize), Mark>,
    /// Namespaces that others need, whether or not something of them is in it.
    pub(super) needed_first: BTreeSet<String>,
}

type Counts = BTreeMap<(String, String), [u64; Action::ALL.len()]>;

/// A workload that databases' Services lead to: its place in the plan.
#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) kind: usize,
    pub(super) part: usize,
    pub(super) entry: usize,
    pub(super) services: Vec<ServiceName>,
}

/// The objects of one kind, in the order of the backup's stream.
#[derive(Debug, Clone)]
pub(super) struct PlannedKind {
    /// The place of its stream in the backup's list of streams.
    pub(super) stream: usize,
    /// `deployments.apps`, `configmaps`: how a person names it.
    pub(super) name: String,
    pub(super) tier: Tier,
    /// Where its objects are created; `None` if they cannot be.
    pub(super) kind: Option<Kind>,
    pub(super) parts: Vec<PlannedPart>,
}

/// The objects of one namespace of a kind.
#[derive(Debug, Clone)]
pub(super) struct PlannedPart {
    /// The place of the part in its stream.
    pub(super) part: usize,
    /// Empty: cluster-scoped.
    pub(super) namespace: String,
    /// Others need what runs in it: it comes first.
    pub(super) platform: bool,
    pub(super) entries: Vec<Entry>,
    /// What was seen of each of the entries; empty if nobody asked for it.
    pub(super) seen: Vec<Seen>,
}

/// One object of a plan.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    /// Its uid in the backup: an owner is found by it.
    pub(super) uid: Uid,
    pub(super) action: Action,
    pub(super) reason: Reason,
    /// The workload of a database: it comes before all other workloads.
    pub(super) first: bool,
    /// What the server says of it.
    pub(super) answer: Answer,
    /// Its words.
    pub(super) words: Reason,
}

impl Plan {
    /// Every object, in the order in which its turn comes.
    pub fn objects(&self) -> impl Iterator<Item = PlannedObject<'_>> {
        objects(&self.kinds, &self.reasons)
    }

    /// The counts, by kind and namespace.
    pub fn counts(&self) -> impl Iterator<Item = PlanCount<'_>> {
        self.counts.iter().map(|((kind, namespace), counts)| PlanCount::new(kind, namespace, *counts))
    }

    /// How many objects there are for `action`.
    #[must_use]
    pub fn total(&self, action: Action) -> u64 {
        self.counts().map(|count| count.of(action)).sum()
    }

    /// How many live objects are something else than the backup's.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.total(Action::Conflict)
    }

    /// What would be refused although each object by itself would not: a sentence for each quota that has no room for
    /// all that is created.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many objects this restore writes.
    #[must_use]
    pub fn writes(&self) -> u64 {
        Action::ALL.into_iter().filter(|action| action.is_write()).map(|action| self.total(action)).sum()
    }

    /// How many objects the server's dry run gave this answer for.
    #[must_use]
    pub fn answers(&self, answer: Answer) -> u64 {
        let entries = self.kinds.iter().flat_map(|kind| &kind.parts).flat_map(|part| &part.entries);
        entries.filter(|entry| entry.answer == answer).fold(0, |count, _| count + 1)
    }

    /// The namespaces that come before all others, because those need them.
    #[must_use]
    pub fn platform(&self) -> std::collections::BTreeSet<&str> {
        let parts = self.kinds.iter().flat_map(|kind| &kind.parts);
        parts.filter(|part| part.platform).map(|part| part.namespace.as_str()).collect()
    }

    /// Whether workloads of databases are in it, which come before all others.
    #[must_use]
    pub fn has_databases(&self) -> bool {
        self.kinds.iter().flat_map(|kind| &kind.parts).flat_map(|part| &part.entries).any(|entry| entry.first)
    }

    /// Whether it creates a workload whose Pods `service` selects.
    #[must_use]
    pub fn creates_behind(&self, service: &ServiceName) -> bool {
        let behind = self.databases.iter().filter(|behind| behind.services.contains(service));
        let entry = |behind: &Behind| self.kinds.get(behind.kind)?.parts.get(behind.part)?.entries.get(behind.entry);
        behind.filter_map(entry).any(|entry| entry.action == Action::Create)
    }

    pub(super) fn recount(&mut self) {
        let mut counts = Counts::new();
        for kind in &self.kinds {
            for part in &kind.parts {
                let slots = counts.entry((kind.name.clone(), part.namespace.clone())).or_default();
                for entry in &part.entries {
                    let slot = Action::ALL.iter().position(|action| *action == entry.action).unwrap_or_default();
                    if let Some(count) = slots.get_mut(slot) {
                        *count += 1;
                    }
                }
            }
        }
        self.counts = counts;
    }
}
