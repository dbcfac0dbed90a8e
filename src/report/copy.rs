//! The document of `drctl copy`, and what `drctl backup` says of its copies.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, table::Table, words};
use crate::types::for_terminal;

/// What a copy has done.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyReport {
    /// The policy.
    pub policy: String,
    /// The place that was read: `repository`, or a copy's name.
    pub from: String,
    /// Its URL.
    pub from_url: String,
    /// The place that was written.
    pub to: String,
    /// Its URL.
    pub to_url: String,
    /// Nothing was written: the rest says what would be done.
    pub dry_run: bool,
    /// Everything that belongs into the copy is in it.
    pub whole: bool,
    /// The backups that were looked at, oldest first.
    pub backups: Vec<CopiedItem>,
    /// How many were copied.
    pub copied: u64,
    /// The packs that were sent for it.
    pub packs: u64,
    /// The bytes that were sent for it.
    pub bytes: u64,
    /// The packs that were there before.
    pub packs_there: u64,
    /// Accept marks that were sent.
    pub accepts: u64,
    /// Why it ended before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// A backup, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopiedItem {
    /// Its id.
    pub id: String,
    /// Its schedule.
    pub schedule: String,
    /// What became of it.
    pub action: CopyAction,
    /// Why it was left out, is going, or could not be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The packs that were sent for it.
    pub packs: u64,
    /// The bytes that were sent for it.
    pub bytes: u64,
}

/// What became of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CopyAction {
    /// It is in the copy now; in a dry run: it would be copied.
    Copied,
    /// It was there before, and lacked what was sent again; in a dry run: it would be.
    Mended,
    /// It was there before.
    There,
    /// It was given up there, and cannot be brought there for long.
    GivenUp,
    /// It is there, belongs there, and has a tombstone there.
    Going,
    /// It does not belong into the copy.
    LeftOut,
    /// It could not be copied.
    Failed,
}

impl Document for CopyReport {
    const KIND: &'static str = "CopyReport";
}

impl CopyAction {
    fn in_words(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Copied, false) => "copied",
            (Self::Copied, true) => "would be copied",
            (Self::Mended, false) => "mended",
            (Self::Mended, true) => "would be mended",
            (Self::GivenUp, _) => "GIVEN UP",
            (Self::Going, _) => "GOING",
            (Self::There, _) => "there",
            (Self::LeftOut, _) => "left out",
            (Self::Failed, _) => "FAILED",
        }
    }
}

impl CopyReport {
    /// The report for people. Backups that were there before are only counted.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new(&["BACKUP", "SCHEDULE", "WHAT", ">PACKS", ">SENT", "WHY"]);
        for one in self.backups.iter().filter(|one| one.action != CopyAction::There) {
            let sent = matches!(one.action, CopyAction::Copied | CopyAction::Mended);
            table.row([
                one.id.clone(),
                one.schedule.clone(),
                one.action.in_words(self.dry_run).to_owned(),
                if sent { one.packs.to_string() } else { "-".to_owned() },
                if sent { words::size(one.bytes) } else { "-".to_owned() },
                one.why.clone().unwrap_or_default(),
            ]);
        }
        let mut text = if table.is_empty() { String::new() } else { table.text() };
        text.push_str(&self.line());
        text
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let count = |action| self.backups.iter().filter(|one| one.action == action).count() as u64;
        let there = count(CopyAction::There);
        let sent = if self.dry_run { "would be sent" } else { "sent" };
        let mut text = format!(
            "copy `{}` ({}): {} {}, {} there before; {} {sent} in {}\n",
            for_terminal(&self.to),
            for_terminal(&self.to_url),
            words::count(self.copied, "backup"),
            CopyAction::Copied.in_words(self.dry_run),
            there,
            words::size(self.bytes),
            words::count(self.packs, "pack"),
        );
        let mended = count(CopyAction::Mended);
        if mended > 0 {
            let (backups, has) = (words::count(mended, "backup"), if mended == 1 { "has" } else { "have" });
            let words = CopyAction::Mended.in_words(self.dry_run);
            text.push_str(&format!("{backups} that {has} lost something there {words}\n"));
        }
        if self.accepts > 0 {
            text.push_str(&format!("{} sent\n", words::count(self.accepts, "accept mark")));
        }
        text
    }

    /// What could not be copied and why, a line each.
    #[must_use]
    pub fn problems(&self) -> String {
        let mut text = String::new();
        for one in &self.backups {
            let said = match (one.action, self.dry_run) {
                (CopyAction::Failed, false) => " could not be copied:",
                (CopyAction::Failed, true) => " could not be copied now:",
                (CopyAction::GivenUp | CopyAction::Going, _) => "",
                _ => continue,
            };
            let why = one.why.as_deref().unwrap_or_default();
            text.push_str(&format!("  backup {}{said} {}\n", for_terminal(&one.id), for_terminal(why)));
        }
        if let Some(ended) = &self.ended {
            text.push_str(&format!("  it ended before its end: {}\n", for_terminal(ended)));
        }
        text
    }
}
