//! What a run found, as documents for programs and text for people.
//!
//! Every document is `{apiVersion: drctl/v1, kind: …}`; `docs/schemas` has a JSON Schema of each.
//! The text is for people and may change with any version.

mod backup;
mod cluster;
mod collections;
mod copy;
mod doctor;
mod keys;
mod list;
mod objects;
mod prune;
mod repository;
mod restore;
mod saved_plan;
mod table;
mod verify;
mod volumes;
pub mod words;

#[cfg(test)]
mod tests;

use schemars::{JsonSchema, Schema};
use serde::Serialize;

pub use backup::{Backup, BackupReport, Counts, Group, MissingThing, Phase, Source, Stream, StreamPart, TableItem};
pub use cluster::Cluster;
pub use collections::CollectionItem;
pub use copy::{CopiedItem, CopyAction, CopyReport};
pub use doctor::{DoctorBackup, DoctorFinding, DoctorReport, DoctorSeverity};
pub use keys::{EpochItem, KeyFileItem, PolicyPins, RecipientList, RecipientsChanged};
pub use list::{BackupItem, BackupList, SourceItem, VerifiedItem};
pub use objects::{
    BackupDiff, BackupDiffHead, BackupDiffTail, Change, ComparedBackup, DiffSummary, FieldChange, HistoryEntry,
    ObjectColumns, ObjectHistory, ObjectHistoryHead, ObjectItem, ObjectList, ObjectListHead,
};
pub use prune::{LockedObject, MarkAction, MarkReport, PruneAction, PruneReport, PrunedBackup, Swept};
pub use repository::{AcceptReport, RepositoryInfo, SessionItem, SessionList, SessionState};
pub use restore::{AskedRestore, RestorePlan, RestoreReport, RestoreUndo, TargetCluster, UndoneDatabase};
pub use saved_plan::{ShownPlan, ShownPlanHead, ShownTotals};
pub use table::Table;
pub use verify::{Affected, Problem, ProblemKind, VerifyReport};
pub use volumes::{VolumeClaim, VolumeCounts, Volumes};

/// The version of all documents.
pub const API_VERSION: &str = "drctl/v1";

/// A kind of document.
pub trait Document: Serialize {
    /// Its `kind`.
    const KIND: &'static str;
}

/// A document as it is printed: `apiVersion`, `kind`, and its own fields beside them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Printed<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a, T: Document> Printed<'a, T> {
    /// The form of `body` that is printed.
    #[must_use]
    pub fn new(body: &'a T) -> Self {
        Self { api_version: API_VERSION, kind: T::KIND, body }
    }
}

/// The JSON Schema of a kind of document as it is printed.
#[must_use]
pub fn schema_of<T: Document + JsonSchema>() -> Schema {
    let mut schema =
        schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), T::KIND.into());
        let constant = |value: &str| serde_json::json!({ "type": "string", "const": value });
        let properties = object.entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".to_owned(), constant(API_VERSION));
            properties.insert("kind".to_owned(), constant(T::KIND));
        }
        let required = object.entry("required").or_insert_with(|| serde_json::json!([]));
        if let Some(required) = required.as_array_mut() {
            required.extend(["apiVersion".into(), "kind".into()]);
        }
    }
    schema
}
