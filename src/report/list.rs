//! The document of `drctl list`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, VolumeCounts, table::Table, words};

/// The backups of a policy, or of a repository; oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupList {
    /// The repository's URL.
    pub repository: String,
    /// The backups.
    pub backups: Vec<BackupItem>,
}

/// One backup in a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupItem {
    /// Its id.
    pub id: String,
    /// The policy.
    pub policy: String,
    /// The schedule.
    pub schedule: String,
    /// `complete`, `partial`, `suspect`, `aborted`, or `damaged` if its manifest cannot be read.
    pub state: String,
    /// It counts as good: complete, or suspect and accepted; and signed, where signers are pinned. `latest` is the newest of these.
    pub good: bool,
    /// Prune is about to delete it.
    pub tombstoned: bool,
    /// When its run began.
    pub started: Timestamp,
    /// When its last byte was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// Objects, rows and documents in it.
    pub objects: u64,
    /// Plain bytes in it.
    pub bytes: u64,
    /// Bytes that it added to the store.
    pub new_bytes: u64,
    /// Its sources.
    pub sources: Vec<SourceItem>,
    /// Its newest verification at each level, and damage that no later one has disproved; newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<VerifiedItem>,
    /// Whether one of the pinned signers has signed it; absent if none is pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// How many things are missing in it.
    pub missing: u64,
    /// What makes it less than complete: the first missing thing, the first suspicion, or the damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A verification of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedItem {
    /// When it ended.
    pub at: Timestamp,
    /// `presence`, `stored` or `content`.
    pub level: String,
    /// Of the packs only one in so many was read: `1/10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// `sound`, `damaged` or `unfinished`.
    pub outcome: String,
}

/// One source of a backup in a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceItem {
    /// Its name in the policy.
    pub name: String,
    /// `kubernetes`.
    pub kind: String,
    /// How consistent the copy is.
    pub consistency: String,
    /// Objects, rows or documents.
    pub objects: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// Its claims of volumes, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumeCounts>,
}

impl Document for BackupList {
    const KIND: &'static str = "BackupList";
}

impl BackupList {
    /// The list for people; ages are counted to `now`.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        if self.backups.is_empty() {
            return "no backups\n".to_owned();
        }
        let first = self.backups.first().map(|item| &item.policy);
        let several = self.backups.iter().any(|item| Some(&item.policy) != first);
        let mut table = Table::new(&[
            "BACKUP", "SCHEDULE", ">AGE", "STATE", ">OBJECTS", ">SIZE", ">NEW", "VERIFIED", "SOURCES", "NOTE",
        ]);
        for item in &self.backups {
            let schedule = if several { format!("{}/{}", item.policy, item.schedule) } else { item.schedule.clone() };
            let there = item.finished.is_some();
            let shown = |text: String| if there { text } else { "-".to_owned() };
            table.row([
                item.id.clone(),
                schedule,
                words::age(item.started, now),
                item.state_in_words(),
                shown(item.objects.to_string()),
                shown(words::size(item.bytes)),
                shown(words::size(item.new_bytes)),
                item.verified_in_words(now),
                item.sources
                    .iter()
                    .map(|source| format!("{} ({})", source.name, source.consistency))
                    .collect::<Vec<_>>()
                    .join(", "),
                item.note_in_words(),
            ]);
        }
        table.text()
    }
}

impl BackupItem {
    fn note_in_words(&self) -> String {
        let unprotected: u64 = self.sources.iter().filter_map(|source| source.volumes).map(|it| it.unprotected).sum();
        let volumes = (unprotected > 0).then(|| format!("{} UNPROTECTED", words::count(unprotected, "volume")));
        self.note.iter().chain(&volumes).cloned().collect::<Vec<_>>().join("; ")
    }

    /// The newest verification: its age, and how thorough it was. Damage is loud: what is listed of it still stands.
    fn verified_in_words(&self, now: Timestamp) -> String {
        let damaged = self.verified.iter().find(|verified| verified.outcome == "damaged");
        let Some(newest) = damaged.or(self.verified.first()) else { return "-".to_owned() };
        let sample = newest.sample.as_deref().map(|sample| format!(" {sample}")).unwrap_or_default();
        let outcome = match newest.outcome.as_str() {
            "sound" => String::new(),
            other => format!(" {}", other.to_uppercase()),
        };
        format!("{} {}{sample}{outcome}", words::age(newest.at, now), newest.level)
    }

    fn state_in_words(&self) -> String {
        let mut state = self.state.clone();
        if self.good && self.state == "suspect" {
            state.push_str(", accepted");
        }
        if self.signed == Some(false) {
            state.push_str(", UNSIGNED");
        }
        if self.tombstoned {
            state.push_str(", to be deleted");
        }
        state
    }
}
