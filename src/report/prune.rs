//! The documents of `drctl prune`, `pin`, `unpin` and `delete`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, table::Table, words};
use crate::types::for_terminal;

/// What a prune decided, and what it has done.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// The repository's URL.
    pub repository: String,
    /// The policy.
    pub policy: String,
    /// Nothing was changed: the rest says what would be done.
    pub dry_run: bool,
    /// The backups of the policy, newest first.
    pub backups: Vec<PrunedBackup>,
    /// Schedules that have backups and are none of the policy: these backups are never pruned.
    pub unmanaged: Vec<String>,
    /// Backups of runs that were taken for dead, and can never commit now.
    pub fenced: Vec<String>,
    /// Why nothing can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was deleted; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swept: Option<Swept>,
}

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrunedBackup {
    /// Its id.
    pub id: String,
    /// Its schedule.
    pub schedule: String,
    /// `complete`, `partial`, `suspect`, `suspect, accepted`.
    pub state: String,
    /// What becomes of it.
    pub action: PruneAction,
    /// Why, each a few words.
    pub reasons: Vec<String>,
    /// Until when its tombstone can be undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_until: Option<Timestamp>,
}

/// What becomes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PruneAction {
    /// It is kept.
    Keep,
    /// It gets a tombstone, and is deleted by a prune a day later.
    Mark,
    /// It has a tombstone, and is not deleted yet.
    Marked,
    /// It is deleted.
    Delete,
    /// Its schedule is none of the policy: it is never pruned.
    Unmanaged,
}

/// An object that a lock keeps from deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockedObject {
    /// Its key.
    pub key: String,
    /// Until when; absent if the store does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a prune deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Packs.
    pub packs: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Other objects.
    pub objects: u64,
    /// Packs of backups that are gone which others still need.
    pub live_packs: u64,
    /// It was told to stop before the end; the next prune goes on.
    pub interrupted: bool,
    /// Objects that were to be deleted and that locks keep: a later prune deletes them.
    pub locked: u64,
    /// The first of them.
    pub locked_named: Vec<LockedObject>,
}

impl Document for PruneReport {
    const KIND: &'static str = "PruneReport";
}

impl PruneAction {
    fn in_words(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Keep, _) => "keep",
            (Self::Mark, true) => "would be marked",
            (Self::Mark, false) => "mark",
            (Self::Marked, _) => "marked",
            (Self::Delete, true) => "would be deleted",
            (Self::Delete, false) => "delete",
            (Self::Unmanaged, _) => "unmanaged",
        }
    }
}

impl PruneReport {
    /// The backups, and what becomes of each, for people; ages are counted to `now`.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> String {
        if self.backups.is_empty() {
            return "no backups\n".to_owned();
        }
        let mut table = Table::new(&["BACKUP", "SCHEDULE", ">AGE", "STATE", "WHAT", "WHY"]);
        for one in &self.backups {
            let began = crate::types::BackupId::parse(&one.id).map_or(now, |id| id.time());
            let why = match one.action {
                PruneAction::Mark => "no rule keeps it; a prune deletes it a day later".to_owned(),
                _ => one.reasons.join("; "),
            };
            table.row([
                one.id.clone(),
                one.schedule.clone(),
                words::age(began, now),
                one.state.clone(),
                one.action.in_words(self.dry_run).to_owned(),
                why,
            ]);
        }
        let mut text = table.text();
        for schedule in &self.unmanaged {
            text.push_str(&format!(
                "warning: schedule {} is none of the policy: its backups are never pruned; if it was renamed, name it again, or \
                 `drctl delete` them\n",
                for_terminal(schedule)
            ));
        }
        if let Some(refused) = &self.refused {
            text.push_str(&format!("refused: {}\n", for_terminal(refused)));
        }
        text
    }

    /// What was done, for people.
    #[must_use]
    pub fn done(&self) -> String {
        let count = |action| self.backups.iter().filter(|one| one.action == action).count() as u64;
        let (marked, deleted) = (count(PruneAction::Mark), count(PruneAction::Delete));
        let mut text = String::new();
        if !self.fenced.is_empty() {
            let runs = words::count(self.fenced.len() as u64, "dead run");
            text.push_str(&format!("{runs} fenced: {}\n", self.fenced.join(", ")));
        }
        if marked > 0 {
            let marked = words::count(marked, "backup");
            text.push_str(&format!("{marked} marked; `drctl prune --undo ID` saves one for a day\n"));
        }
        if let Some(swept) = &self.swept {
            if swept.locked > 0 {
                let locked = words::count(swept.locked, "object");
                text.push_str(&format!("{locked} kept by locks, which a later prune deletes:\n"));
            }
            for LockedObject { key, until } in &swept.locked_named {
                let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
                text.push_str(&format!("  `{}` is locked{until}\n", for_terminal(key)));
            }
            text.push_str(&format!(
                "{} deleted: {} ({}) and {}\n",
                words::count(deleted, "backup"),
                words::count(swept.packs, "pack"),
                words::size(swept.bytes),
                words::count(swept.objects, "other object"),
            ));
        }
        text
    }
}

/// What became of a mark on a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkReport {
    /// The repository's URL.
    pub repository: String,
    /// The policy.
    pub policy: String,
    /// The schedule.
    pub schedule: String,
    /// The backup.
    pub backup: String,
    /// What was done.
    pub action: MarkAction,
    /// It was so before.
    pub already: bool,
}

/// A mark on a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MarkAction {
    /// Prune keeps it.
    Pinned,
    /// Prune decides about it again.
    Unpinned,
    /// It has a tombstone: prune deletes it a day later.
    Marked,
    /// Its tombstone was taken away.
    Undone,
}

impl Document for MarkReport {
    const KIND: &'static str = "MarkReport";
}

impl MarkReport {
    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let what = match (self.action, self.already) {
            (MarkAction::Pinned, false) => "is pinned: prune keeps it",
            (MarkAction::Pinned, true) => "was pinned before",
            (MarkAction::Unpinned, false) => "is pinned no more: the policy's rules decide about it",
            (MarkAction::Unpinned, true) => "was not pinned",
            (MarkAction::Marked, false) => {
                "is marked: `drctl prune` deletes it from a day later on; until then `drctl prune --undo` saves it"
            }
            (MarkAction::Marked, true) => "was marked before",
            (MarkAction::Undone, false) => {
                "is saved; the next prune decides about it again: `drctl pin` keeps it whatever the rules say"
            }
            (MarkAction::Undone, true) => "was not marked",
        };
        format!("backup {} {what}\n", for_terminal(&self.backup))
    }
}
