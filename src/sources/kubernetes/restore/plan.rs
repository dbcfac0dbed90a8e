//! What a restore will do, as a value: it prints, it serialises, and nothing happens that is not in it.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use super::{adopt::Adoption, asked::Asked, tiers::Tier};
pub(super) use super::{
    reasons::{Reason, Reasons},
    seen::Seen,
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
/// `target`, `onConflict`, `counts`, `missingReferences`, `modified` and `objects`.
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

/// One object of a plan, to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PlannedObject<'a> {
    /// `deployments.apps`.
    pub kind: &'a str,
    /// Empty: cluster-scoped.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// When its turn comes.
    pub tier: Tier,
    /// The workload of a database that is restored before all other workloads.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub database: bool,
    /// Its namespace is needed by others and comes before them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub platform: bool,
    /// What is done.
    pub action: Action,
    /// Why, where there is more to say.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'a str,
    /// What the server's own dry run says.
    #[serde(skip_serializing_if = "Answer::is_none")]
    pub server: Answer,
    /// Its words, where it does not simply accept.
    #[serde(rename = "serverReason", skip_serializing_if = "str::is_empty")]
    pub server_reason: &'a str,
}

/// How many objects of a kind in a namespace there are for each action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanCount<'a> {
    /// `deployments.apps`.
    pub kind: &'a str,
    /// Empty: cluster-scoped.
    pub namespace: &'a str,
    counts: [u64; Action::ALL.len()],
}

impl Serialize for PlanCount<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("PlanCount", 2 + Action::ALL.len())?;
        fields.serialize_field("kind", self.kind)?;
        fields.serialize_field("namespace", self.namespace)?;
        for action in Action::ALL {
            fields.serialize_field(action.as_str(), &self.of(action))?;
        }
        fields.end()
    }
}

impl PlanCount<'_> {
    /// How many there are for `action`.
    #[must_use]
    pub fn of(&self, action: Action) -> u64 {
        Action::ALL.iter().zip(self.counts).find(|(a, _)| **a == action).map_or(0, |(_, count)| count)
    }
}

impl Plan {
    /// Every object, in the order in which its turn comes.
    pub fn objects(&self) -> impl Iterator<Item = PlannedObject<'_>> {
        objects(&self.kinds, &self.reasons)
    }

    /// The counts, by kind and namespace.
    pub fn counts(&self) -> impl Iterator<Item = PlanCount<'_>> {
        self.counts.iter().map(|((kind, namespace), counts)| PlanCount { kind, namespace, counts: *counts })
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

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Objects are written one by one: a plan in memory is small, as JSON it is not.
        struct Objects<'a>(&'a Plan);
        impl Serialize for Objects<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.objects())
            }
        }
        struct Counts<'a>(&'a Plan);
        impl Serialize for Counts<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.counts())
            }
        }
        let mut fields = serializer.serialize_struct("Plan", 8)?;
        fields.serialize_field("backup", &self.backup)?;
        fields.serialize_field("source", &self.source)?;
        fields.serialize_field("target", &self.target)?;
        fields.serialize_field("onConflict", &self.on_conflict)?;
        fields.serialize_field("counts", &Counts(self))?;
        fields.serialize_field("missingReferences", self.missing_references())?;
        fields.serialize_field("modified", self.modified())?;
        fields.serialize_field("objects", &Objects(self))?;
        fields.end()
    }
}

fn objects<'a>(kinds: &'a [PlannedKind], reasons: &'a Reasons) -> impl Iterator<Item = PlannedObject<'a>> {
    kinds.iter().flat_map(move |kind| {
        kind.parts.iter().flat_map(move |part| {
            part.entries.iter().map(move |entry| PlannedObject {
                kind: &kind.name,
                namespace: &part.namespace,
                name: &entry.name,
                tier: kind.tier,
                database: entry.first,
                platform: part.platform,
                action: entry.action,
                reason: reasons.text(entry.reason),
                server: entry.answer,
                server_reason: reasons.text(entry.words),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(entries: Vec<(&str, Action, &str)>) -> Plan {
        let mut reasons = Reasons::default();
        let entry = |(name, action, reason): (&str, Action, &str)| Entry {
            name: name.into(),
            uid: Uid::default(),
            action,
            reason: reasons.intern(reason),
            first: false,
            answer: Answer::None,
            words: Reason::default(),
        };
        let entries = entries.into_iter().map(entry).collect();
        let namespace = "shop".to_owned();
        let part = PlannedPart { part: 0, namespace, platform: false, entries, seen: Vec::new() };
        let kind = PlannedKind {
            stream: 0,
            name: "secrets".to_owned(),
            tier: Tier::Configuration,
            kind: None,
            parts: vec![part],
        };
        let mut plan = Plan {
            backup: "b".to_owned(),
            source: "s".to_owned(),
            target: Target { uid: "u".to_owned(), name: "n".to_owned(), version: "v".to_owned() },
            on_conflict: OnConflict::Fail,
            counts: Counts::new(),
            kinds: vec![kind],
            reasons,
            databases: Vec::new(),
            referenced: HashSet::new(),
            adoption: Adoption::default(),
            asked: Asked::default(),
        };
        plan.recount();
        plan
    }

    #[test]
    fn a_databases_server_comes_back_only_with_the_workload_behind_its_own_service() {
        let service = |name: &str| ServiceName { namespace: "shop".to_owned(), name: name.to_owned() };
        let mut plan = plan(vec![("orders-db", Action::Create, ""), ("billing-db", Action::Same, "")]);
        let behind = |entry, name| Behind { kind: 0, part: 0, entry, services: vec![service(name)] };
        plan.databases = vec![behind(0, "orders"), behind(1, "billing")];
        assert!(plan.creates_behind(&service("orders")));
        assert!(!plan.creates_behind(&service("billing")), "its workload is there");
        assert!(!plan.creates_behind(&service("web")), "no workload is behind it");
    }

    #[test]
    fn a_plan_counts_and_serialises_every_object() {
        let plan = plan(vec![("a", Action::Create, ""), ("b", Action::Conflict, "differs"), ("c", Action::Create, "")]);
        assert_eq!((plan.total(Action::Create), plan.conflicts(), plan.writes()), (2, 1, 2));
        let shown = serde_json::to_value(&plan).unwrap();
        assert_eq!(shown["counts"][0]["create"], json!(2));
        assert_eq!(
            shown["objects"][1],
            json!({"kind": "secrets", "namespace": "shop", "name": "b", "tier": "configuration", "action": "conflict", "reason": "differs"})
        );
        assert_eq!(shown["onConflict"], json!("fail"));
    }

    #[test]
    fn a_plan_of_a_million_objects_stays_small() {
        assert!(std::mem::size_of::<Entry>() <= 48, "{}", std::mem::size_of::<Entry>());
    }
}
