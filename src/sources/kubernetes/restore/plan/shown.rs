//! A plan as it is shown: object by object, and as JSON.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Action, Answer, Plan, PlannedKind, Reasons, Tier};

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

impl<'a> PlanCount<'a> {
    pub(super) fn new(kind: &'a str, namespace: &'a str, counts: [u64; Action::ALL.len()]) -> Self {
        Self { kind, namespace, counts }
    }

    /// How many there are for `action`.
    #[must_use]
    pub fn of(&self, action: Action) -> u64 {
        Action::ALL.iter().zip(self.counts).find(|(a, _)| **a == action).map_or(0, |(_, count)| count)
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
        let mut fields = serializer.serialize_struct("Plan", 9)?;
        fields.serialize_field("backup", &self.backup)?;
        fields.serialize_field("source", &self.source)?;
        fields.serialize_field("target", &self.target)?;
        fields.serialize_field("onConflict", &self.on_conflict)?;
        fields.serialize_field("counts", &Counts(self))?;
        fields.serialize_field("warnings", self.warnings())?;
        fields.serialize_field("missingReferences", self.missing_references())?;
        fields.serialize_field("modified", self.modified())?;
        fields.serialize_field("objects", &Objects(self))?;
        fields.end()
    }
}

pub(super) fn objects<'a>(kinds: &'a [PlannedKind], reasons: &'a Reasons) -> impl Iterator<Item = PlannedObject<'a>> {
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
