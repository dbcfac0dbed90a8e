//! What the comparison after a restore found.

use serde::Serialize;

use super::report::{Notes, ObjectName};
use crate::sources::kubernetes::compare::Difference;

/// What was found of one kind in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ComparedGroup {
    /// `deployments.apps`.
    pub kind: String,
    /// Empty: cluster-scoped.
    pub namespace: String,
    /// Objects that should be there.
    pub expected: u64,
    /// Of these, equal in every expected field.
    pub equal: u64,
    /// There, and different.
    pub different: u64,
    /// Not there.
    pub missing: u64,
    /// Live objects that the backup does not know; that is no failure.
    pub extra: u64,
    /// Objects of the backup that no restore creates.
    pub left_out: u64,
}

/// One object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct DifferentObject {
    /// Which object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// How many of its fields differ.
    pub count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// One thing that many live objects have and the backup does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Counted {
    /// What it is: `pods spec.tolerations[]`, or a rule.
    pub what: String,
    /// How many times.
    pub count: u64,
}

/// The restored objects against the backup's, field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComparisonReport {
    /// By kind and namespace.
    pub groups: Vec<ComparedGroup>,
    /// The first different objects, each with its first differences; all are counted in the groups.
    pub different: Vec<DifferentObject>,
    /// Objects that should be there and are not.
    pub missing: Notes,
    /// Objects that could not be compared, with the reason. They are not equal.
    pub not_compared: Notes,
    /// Fields that only the live objects have, counted by kind and field.
    pub additions: Vec<Counted>,
    /// Objects that no restore creates, by rule.
    pub left_out: Vec<Counted>,
}

impl ComparisonReport {
    /// Whether every object that should be there is, and is equal in every expected field.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.not_compared.count == 0 && self.groups.iter().all(|group| group.equal == group.expected)
    }

    /// A number over all groups.
    fn sum(&self, of: impl Fn(&ComparedGroup) -> u64) -> u64 {
        self.groups.iter().map(of).sum()
    }

    /// Objects that should be there.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.sum(|group| group.expected)
    }

    /// Objects that are equal in every expected field.
    #[must_use]
    pub fn equal(&self) -> u64 {
        self.sum(|group| group.equal)
    }

    /// Objects that are there and different.
    #[must_use]
    pub fn different_objects(&self) -> u64 {
        self.sum(|group| group.different)
    }
}
