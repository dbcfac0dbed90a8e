//! What a restore makes of objects because a person asked for it: other namespaces, other fields.
//!
//! The rules of [`transform`](super::transform) come first. Then namespaces are mapped, and then modifiers are
//! applied. Planner, execution and comparison prepare objects the same way, so that what was asked for is what the
//! comparison expects.

mod images;
mod mapping;
mod modifiers;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::{images::pod_spec, modifiers::Used};
pub use self::{
    mapping::{InvalidMapping, Mapping},
    modifiers::{InvalidStep, ModifierRef, ModifierRule, Modifiers, PatchStep, Substitution},
};
use super::{helm, transform::Outcome};
use crate::sources::kubernetes::kinds::Meta;

/// What a person asked to be changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recipe {
    /// Namespaces that get another name.
    pub mapping: Mapping,
    /// Fields that get another value.
    pub modifiers: Modifiers,
}

/// What was asked for cannot be done with what is in the backup. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// A patch does not fit an object that its rule is about.
    #[error("{at}: cannot {operation} `{path}` of {object}: {why}")]
    Patch {
        /// Where the operation is written.
        at: String,
        /// Its word.
        operation: &'static str,
        /// Its path.
        path: String,
        /// The object.
        object: String,
        /// Why not.
        why: &'static str,
    },
    /// A patch makes another object of it.
    #[error("{at}: a modifier cannot change apiVersion, kind, name, namespace or uid, and this one does of {object}")]
    Identity {
        /// Where the rule is written.
        at: String,
        /// The object.
        object: String,
    },
    /// Two namespaces become one, and both hold an object of the same kind and name.
    #[error(
        "namespaces `{}` and `{}` are both mapped to `{into}`, and {count} objects are in both: {}; map them to two \
         namespaces, or choose what comes from each of them in two restores",
        from.0, from.1, names.join(", ")
    )]
    Collision {
        /// Where both go.
        into: String,
        /// Two of the namespaces.
        from: (String, String),
        /// How many objects.
        count: usize,
        /// Some of them.
        names: Vec<String>,
    },
}

impl Recipe {
    /// Nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty() && self.modifiers.is_empty()
    }

    /// What becomes of an object of the kind `kind_id` (`deployments.apps`) of the backup.
    /// `rules` are those that hold whatever is asked for.
    pub(super) fn apply(
        &self,
        kind_id: &str,
        object: Value,
        rules: impl FnOnce(Value) -> Outcome,
    ) -> Result<Outcome, RecipeError> {
        if self.is_empty() {
            return Ok(rules(object));
        }
        if !self.mapping.is_empty() && helm::is_release(&object) {
            return Ok(Outcome::Leave(helm::ELSEWHERE));
        }
        let meta = object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()).unwrap_or_default();
        let mut outcome = rules(object);
        if let Outcome::Restore(prepared) = &mut outcome {
            self.mapping.apply(prepared);
            self.modifiers.apply(kind_id, &meta, prepared)?;
        }
        Ok(outcome)
    }
}
