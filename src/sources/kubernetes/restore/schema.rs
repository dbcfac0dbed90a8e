//! The JSON Schema of a plan, whose serialised form is not its form in memory.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{MissingReference, Modified, OnConflict, Plan, PlannedObject, Target};

/// What is done with the objects of one source of a backup.
#[derive(JsonSchema)]
#[schemars(rename = "SourcePlan", rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct PlanForm<'a> {
    /// The backup's identifier.
    backup: String,
    /// The source in the backup.
    source: String,
    /// The cluster that it was made for. It is executed against no other.
    target: Target,
    /// What is done about conflicts.
    on_conflict: OnConflict,
    /// How many objects there are for each action, by kind and namespace.
    counts: Vec<CountForm>,
    /// Quotas that have no room for all that is created, a sentence each.
    warnings: Vec<String>,
    /// What the chosen objects need and will not find, where not all of a backup is restored as it was.
    missing_references: Vec<MissingReference>,
    /// Objects that are restored as somebody asked for, and not as they were.
    modified: Modified,
    /// Every object, in the order in which its turn comes.
    objects: Vec<PlannedObject<'a>>,
}

/// How many objects of a kind in a namespace there are for each action.
#[derive(JsonSchema)]
#[schemars(rename = "PlanCount")]
#[expect(dead_code, reason = "only its schema is used")]
struct CountForm {
    /// `deployments.apps`.
    kind: String,
    /// Empty: cluster-scoped.
    namespace: String,
    /// They are created.
    create: u64,
    /// They are there and are completed.
    merge: u64,
    /// They are there and something else, and are changed.
    update: u64,
    /// They are there and something else, and are deleted and created.
    replace: u64,
    /// They are there and equal.
    same: u64,
    /// They are there and are something else.
    conflict: u64,
    /// A rule leaves them out.
    skip: u64,
    /// They cannot be restored into this cluster.
    cannot: u64,
}

impl JsonSchema for Plan {
    fn schema_name() -> Cow<'static, str> {
        PlanForm::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PlanForm::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;

    #[test]
    fn the_schema_of_the_counts_has_every_action() {
        let schema = schemars::schema_for!(super::CountForm).to_value();
        for action in Action::ALL {
            assert!(schema["properties"].get(action.as_str()).is_some(), "{action}");
        }
    }
}
