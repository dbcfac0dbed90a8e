//! The part of an object's metadata that decides what becomes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// What of an object's metadata the rules look at. Absent and `null` are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Its name.
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    /// Its namespace; empty for a cluster-scoped object.
    #[serde(deserialize_with = "null_is_default")]
    pub namespace: String,
    /// Its labels.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// When its deletion was asked for; empty if it was not.
    #[serde(deserialize_with = "null_is_default")]
    pub deletion_timestamp: String,
    /// Its owners.
    #[serde(deserialize_with = "null_is_default")]
    pub owner_references: Vec<Owner>,
    /// Who wrote its fields.
    #[serde(deserialize_with = "null_is_default")]
    managed_fields: Vec<Manager>,
}

/// One owner of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's `kind`.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// This owner manages the object (there is at most one such).
    #[serde(deserialize_with = "null_is_default")]
    pub controller: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Manager {
    manager: String,
}

impl Owner {
    /// The owner's API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl Meta {
    /// The owner that manages the object.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Who wrote fields of the object, as far as the server recorded it.
    pub fn managers(&self) -> impl Iterator<Item = &str> {
        self.managed_fields.iter().map(|entry| entry.manager.as_str())
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
