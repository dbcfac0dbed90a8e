//! The documents of `drctl show --objects`, `drctl diff` and `drctl history`. They are printed while they are made,
//! so that none of them is held in memory.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, words};
use crate::types::for_terminal;

/// The Kubernetes objects of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectList {
    /// The backup.
    pub backup: String,
    /// Its objects, by source, kind and namespace, in the order in which they are stored.
    pub objects: Vec<ObjectItem>,
}

/// What an [`ObjectList`] begins with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectListHead {
    /// The backup.
    pub backup: String,
}

/// One object of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectItem {
    /// The source.
    pub source: String,
    /// Its kind as policies write it: `deployments.apps`.
    pub kind: String,
    /// Its `apiVersion`.
    pub object_version: String,
    /// Its namespace; absent: it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its bytes as JSON, as the server sent it.
    pub bytes: u64,
}

impl Document for ObjectList {
    const KIND: &'static str = "ObjectList";
}

/// How wide the columns of a list of objects are: known from the names of streams and parts, before any is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectColumns {
    kind: usize,
    namespace: usize,
}

impl ObjectColumns {
    /// For kinds and namespaces of these names.
    #[must_use]
    pub fn of<'a>(kinds: impl Iterator<Item = &'a str>, namespaces: impl Iterator<Item = &'a str>) -> Self {
        let widest = |names: &mut dyn Iterator<Item = &'a str>, least: usize| {
            names.map(|name| for_terminal(name).chars().count().min(80)).fold(least, usize::max)
        };
        let (mut kinds, mut namespaces) = (kinds, namespaces);
        Self { kind: widest(&mut kinds, "KIND".len()), namespace: widest(&mut namespaces, "NAMESPACE".len()) }
    }

    /// The head line.
    #[must_use]
    pub fn head(&self) -> String {
        self.line("KIND", "NAMESPACE", "SIZE", "NAME")
    }

    /// An object's line.
    #[must_use]
    pub fn item(&self, item: &ObjectItem) -> String {
        let namespace = if item.namespace.is_empty() { "-" } else { &item.namespace };
        self.line(&item.kind, namespace, &words::size(item.bytes), &item.name)
    }

    fn line(&self, kind: &str, namespace: &str, size: &str, name: &str) -> String {
        let (kind, namespace, name) = (for_terminal(kind), for_terminal(namespace), for_terminal(name));
        format!("{kind:<0$}  {namespace:<1$}  {size:>9}  {name}\n", self.kind, self.namespace)
    }
}

/// One field that two versions of an object do not have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldChange {
    /// Where: `spec.template.spec.containers[name=api].image`.
    pub path: String,
    /// What was there, shortened; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What is there, shortened; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

impl FieldChange {
    /// The change for people, without indent.
    #[must_use]
    pub fn text(&self) -> String {
        let path = for_terminal(&self.path);
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old == new => format!("{path}: differs"),
            (Some(old), Some(new)) => format!("{path}: {} -> {}", for_terminal(old), for_terminal(new)),
            (Some(old), None) => format!("{path}: removed, was {}", for_terminal(old)),
            (None, Some(new)) => format!("{path}: added, {}", for_terminal(new)),
            (None, None) => format!("{path}: differs"),
        }
    }
}

/// What changed from one backup to another.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupDiff {
    /// The one that is compared with.
    pub from: ComparedBackup,
    /// The other one.
    pub to: ComparedBackup,
    /// Objects, tables and definitions that are not the same in both.
    pub changes: Vec<Change>,
    /// How many.
    pub summary: DiffSummary,
}

/// What a [`BackupDiff`] begins with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupDiffHead {
    /// The one that is compared with.
    pub from: ComparedBackup,
    /// The other one.
    pub to: ComparedBackup,
}

/// What a [`BackupDiff`] ends with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupDiffTail {
    /// How many.
    pub summary: DiffSummary,
}

/// A backup that is compared.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ComparedBackup {
    /// Its id.
    pub id: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// When its run began.
    pub started: Timestamp,
    /// Whether one of the pinned signers has signed it; absent if none is pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
}

/// One thing that is not the same in both backups.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// `object`, `table`, `largeObjects` or `definition`.
    pub what: String,
    /// The source.
    pub source: String,
    /// Of an object: its kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Of an object: its namespace; absent: it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of an object: it was deleted and made again between the two.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recreated: bool,
    /// The fields that are not the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// How many more fields are not the same than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub fields_omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How much is not the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffSummary {
    /// Only in the second backup.
    pub added: u64,
    /// Only in the first.
    pub removed: u64,
    /// In both, and not the same.
    pub changed: u64,
    /// Objects that differ only in what the server sets: status, resourceVersion, managedFields.
    pub server_set_only: u64,
    /// Parts that both have with the same bytes, which were not read.
    pub parts_equal: u64,
    /// Parts that were read.
    pub parts_read: u64,
}

impl DiffSummary {
    /// Whether nothing that counts is different.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }

    /// The summary for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match self.is_equal() {
            true => "no differences".to_owned(),
            false => format!("{} added, {} removed, {} changed", self.added, self.removed, self.changed),
        };
        if self.server_set_only > 0 {
            let objects = words::count(self.server_set_only, "object");
            text.push_str(&format!("; {objects} with another status or version only"));
        }
        text.push_str(&format!("; {} equal and not read\n", words::count(self.parts_equal, "part")));
        text
    }
}

impl Document for BackupDiff {
    const KIND: &'static str = "BackupDiff";
}

impl Change {
    /// The change for people. `with_source`: objects are named with their source.
    #[must_use]
    pub fn text(&self, with_source: bool) -> String {
        let mark = match self.change.as_str() {
            "added" => "+",
            "removed" => "-",
            _ => "~",
        };
        let place = match (self.what.as_str(), self.namespace.as_str()) {
            ("object", "") => format!("{} {}", for_terminal(&self.kind), for_terminal(&self.name)),
            ("object", namespace) => {
                format!("{} {}/{}", for_terminal(&self.kind), for_terminal(namespace), for_terminal(&self.name))
            }
            (what, _) => {
                let what = if what == "largeObjects" { "large objects" } else { what };
                format!("{} {} of {}", what, for_terminal(&self.name), for_terminal(&self.source))
            }
        };
        let again = if self.recreated { " (deleted and made again)" } else { "" };
        let source = match with_source && self.what == "object" {
            true => format!(" of {}", for_terminal(&self.source)),
            false => String::new(),
        };
        let mut text = format!("{mark} {place}{source}{again}\n");
        for field in &self.fields {
            text.push_str(&format!("    {}\n", field.text()));
        }
        if self.fields_omitted > 0 {
            text.push_str(&format!("    and {} more fields\n", self.fields_omitted));
        }
        text
    }
}

/// The backups that hold an object, and where it changed; newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectHistory {
    /// The object's kind: `deployments.apps`.
    pub object_kind: String,
    /// Its namespace; absent: it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Backup by backup.
    pub backups: Vec<HistoryEntry>,
}

/// What an [`ObjectHistory`] begins with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectHistoryHead {
    /// The object's kind as it was asked for.
    pub object_kind: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One backup in an object's history.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The backup.
    pub backup: String,
    /// Its policy.
    pub policy: String,
    /// Its schedule.
    pub schedule: String,
    /// Its state.
    pub state: String,
    /// When its run began.
    pub started: Timestamp,
    /// The source that holds the object; absent: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Against the backup of the same schedule before it: `first` (that one does not hold it, or there is none),
    /// `changed`, `same`, `removed`, `absent`, `notCovered` (no source of the backup takes such an object), or `unknown`
    /// (one of the two cannot be read, or what is missing in it may be the object).
    pub change: String,
    /// The object was deleted and made again since the backup before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recreated: bool,
    /// The fields that changed since the backup before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// How many more fields changed than are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub fields_omitted: u64,
    /// Why nothing is known, or what else is worth a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Document for ObjectHistory {
    const KIND: &'static str = "ObjectHistory";
}

impl HistoryEntry {
    /// The entry for people; its age is counted to `now`. `with_policy`: the schedule is named with its policy.
    #[must_use]
    pub fn text(&self, now: Timestamp, with_policy: bool) -> String {
        let schedule = match with_policy {
            true => format!("{}/{}", self.policy, self.schedule),
            false => self.schedule.clone(),
        };
        let change = if self.change == "notCovered" { "not covered" } else { &self.change };
        let again = if self.recreated { ", deleted and made again" } else { "" };
        let age = words::age(self.started, now);
        let mut text = format!("{}  {schedule:<10}  {age:>5}  {:<9}  {change}{again}\n", self.backup, self.state);
        for field in &self.fields {
            text.push_str(&format!("    {}\n", field.text()));
        }
        if self.fields_omitted > 0 {
            text.push_str(&format!("    and {} more fields\n", self.fields_omitted));
        }
        if let Some(note) = &self.note {
            text.push_str(&format!("    note: {}\n", for_terminal(note)));
        }
        text
    }
}
