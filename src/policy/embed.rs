//! The shape of the policy file around the model: `apiVersion`, `kind`, `metadata`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    copies::CopySpec,
    model::{Evidence, Policy, Repository, Schedule, SourceSpec},
    schema::NameSchema,
};
use crate::types::{Name, for_terminal};

/// The version of the policy file's form.
pub(super) const API_VERSION: &str = "drctl/v1";
/// The kind of the policy file.
pub(super) const KIND: &str = "Policy";

/// A policy inside a manifest that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy inside the manifest cannot be read: {}", for_terminal(.0))]
pub struct InvalidEmbedded(pub(super) String);

/// A backup policy of drctl.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, title = "drctl policy", rename = "Policy")]
pub(super) struct Document {
    /// The version of this form.
    #[schemars(extend("const" = API_VERSION))]
    api_version: String,
    /// What this file is.
    #[schemars(extend("const" = KIND))]
    kind: String,
    /// The policy's name.
    metadata: Metadata,
    /// Where backups are kept.
    repository: Repository,
    /// Where copies of the repository are kept, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<NameSchema, CopySpec>", extend("minProperties" = 1))]
    copies: BTreeMap<Name, CopySpec>,
    /// What is protected, by name.
    #[schemars(with = "BTreeMap<NameSchema, SourceSpec>", extend("minProperties" = 1))]
    sources: BTreeMap<Name, SourceSpec>,
    /// When, of which sources, and how long backups are kept, by name.
    #[schemars(with = "BTreeMap<NameSchema, Schedule>", extend("minProperties" = 1))]
    schedules: BTreeMap<Name, Schedule>,
    /// How long what proves backups is kept.
    #[serde(default, skip_serializing_if = "Evidence::is_default")]
    evidence: Evidence,
}

/// The policy's name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Metadata {
    /// The policy's name, a part of the keys of its backups.
    #[schemars(with = "NameSchema")]
    name: Name,
}

impl From<Policy> for Document {
    fn from(policy: Policy) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: Metadata { name: policy.name },
            repository: policy.repository,
            copies: policy.copies,
            sources: policy.sources,
            schedules: policy.schedules,
            evidence: policy.evidence,
        }
    }
}

impl TryFrom<Document> for Policy {
    type Error = InvalidEmbedded;

    fn try_from(document: Document) -> Result<Self, InvalidEmbedded> {
        if document.api_version != API_VERSION || document.kind != KIND {
            let found = format!("`{}` of `{}` is not a policy of drctl/v1", document.kind, document.api_version);
            return Err(InvalidEmbedded(found));
        }
        let unknown = |name: &&Name| !document.sources.contains_key(*name);
        if let Some(name) = document.schedules.values().flat_map(|schedule| &schedule.sources).find(unknown) {
            return Err(InvalidEmbedded(format!("a schedule names the source `{name}`, which it does not have")));
        }
        let unknown = |name: &&Name| !document.copies.contains_key(*name);
        if let Some(name) = document.schedules.values().flat_map(|schedule| &schedule.copy_to).find(unknown) {
            return Err(InvalidEmbedded(format!("a schedule names the copy `{name}`, which it does not have")));
        }
        Ok(Self {
            name: document.metadata.name,
            repository: document.repository,
            copies: document.copies,
            sources: document.sources,
            schedules: document.schedules,
            evidence: document.evidence,
        })
    }
}
