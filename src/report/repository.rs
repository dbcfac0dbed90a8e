//! The documents of `drctl repository` and `drctl accept`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Document,
    keys::{PolicyPins, next_lines},
    table::Table,
    words,
};
use crate::types::for_terminal;

/// What a repository says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryInfo {
    /// Its URL.
    pub repository: String,
    /// Its identity.
    pub id: String,
    /// The version of its format.
    pub format: u32,
    /// When it was made.
    pub created: Timestamp,
    /// `none`, or how it is encrypted.
    pub encryption: String,
    /// What a program must understand to use it.
    pub requires: Vec<String>,
    /// The program that made it.
    pub tool: String,
    /// It was made by this very command.
    pub created_now: bool,
    /// The epochs of its encryption that it was made with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<String>,
    /// What the policy has to say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyPins>,
    /// The file in which what a cluster needs was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_secret: Option<String>,
}

impl Document for RepositoryInfo {
    const KIND: &'static str = "RepositoryInfo";
}

impl RepositoryInfo {
    /// The information for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.created_now {
            text.push_str(&format!("created a repository in {}\n", for_terminal(&self.repository)));
        }
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<12}{}\n", for_terminal(value)));
        line("Repository:", &self.repository);
        line("Id:", &self.id);
        line("Format:", &self.format.to_string());
        line("Created:", &format!("{:.0} by {}", self.created, self.tool));
        line("Encryption:", &self.encryption);
        if !self.requires.is_empty() {
            line("Requires:", &self.requires.join(", "));
        }
        for epoch in &self.epochs {
            line("Epoch:", epoch);
        }
        if let Some(policy) = &self.policy {
            text.push_str(&next_lines(policy, self.cluster_secret.as_deref()));
        }
        text
    }
}

/// The runs that have begun in a repository; oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// The repository's URL.
    pub repository: String,
    /// The sessions.
    pub sessions: Vec<SessionItem>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionItem {
    /// The policy.
    pub policy: String,
    /// The backup that it writes.
    pub backup: String,
    /// The schedule; absent if only a damaged session says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When it began, by the store's clock.
    pub began: Timestamp,
    /// What became of it so far.
    pub state: SessionState,
    /// When its last checkpoint was written, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<Timestamp>,
    /// Why it cannot be read, if it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// It committed, or was fenced.
    Ended,
    /// It runs, or died: nothing tells which but the age of its last checkpoint.
    Open,
    /// Its session cannot be read.
    Damaged,
}

impl Document for SessionList {
    const KIND: &'static str = "SessionList";
}

impl SessionList {
    /// The list for people; ages are counted to `now`.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let mut table = Table::new(&["BACKUP", "POLICY", "SCHEDULE", ">AGE", "STATE", ">LAST CHECKPOINT", "NOTE"]);
        for session in &self.sessions {
            let state = match session.state {
                SessionState::Ended => "ended",
                SessionState::Open => "open",
                SessionState::Damaged => "damaged",
            };
            table.row([
                session.backup.clone(),
                session.policy.clone(),
                session.schedule.clone().unwrap_or_else(|| "-".to_owned()),
                words::age(session.began, now),
                state.to_owned(),
                session.last_checkpoint.map_or_else(|| "-".to_owned(), |at| format!("{} ago", words::age(at, now))),
                session.note.clone().unwrap_or_default(),
            ]);
        }
        if table.is_empty() { "no sessions\n".to_owned() } else { table.text() }
    }
}

/// What became of `drctl accept`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptReport {
    /// The repository's URL.
    pub repository: String,
    /// The backup.
    pub backup: String,
    /// It had been accepted before.
    pub already_accepted: bool,
}

impl Document for AcceptReport {
    const KIND: &'static str = "AcceptReport";
}

impl AcceptReport {
    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let when = if self.already_accepted { "had been accepted before" } else { "is accepted" };
        format!("backup {} {when}: later backups are compared with it\n", for_terminal(&self.backup))
    }
}
