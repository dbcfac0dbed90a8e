//! The document of `drctl verify`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, words};
use crate::types::for_terminal;

/// What a verify found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// The repository's URL.
    pub repository: String,
    /// `presence`, `stored` or `content`.
    pub level: String,
    /// Of the packs only one in so many was read: `1/10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// Whether there is a backup, everything was checked, and all is as it should be.
    pub sound: bool,
    /// Backups whose lists of streams and chunks were not opened, because no key was given: these are not called sound.
    #[serde(skip_serializing_if = "is_none")]
    pub unopened: u64,
    /// It was told to stop before the end: the rest was not looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The backups that were looked at.
    pub backups: Vec<String>,
    /// Objects of the store whose presence was checked.
    pub objects: u64,
    /// Of these, what was read and has the SHA-256 that is its name, at level `stored`.
    pub packs: u64,
    /// Streams that were read.
    pub streams: u64,
    /// Parts that were read and proven.
    pub parts: u64,
    /// Plain bytes that were read and proven.
    pub plain_bytes: u64,
    /// Stored bytes that were fetched.
    pub stored_bytes: u64,
    /// Everything that is wrong.
    pub findings: Vec<Problem>,
    /// How many more findings there are than are listed.
    pub findings_omitted: u64,
    /// What is worth knowing beside.
    pub notes: Vec<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// One object of the store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Its key.
    pub object: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
    /// How one can tell.
    pub detail: String,
    /// Which backups and streams it touches; none if nobody can tell.
    pub affects: Vec<Affected>,
}

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// It is not in the store.
    Missing,
    /// Its bytes are not what was written.
    Damaged,
    /// It could not be read, so nothing is known of it.
    NotChecked,
}

impl ProblemKind {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::NotChecked => "not checked",
        }
    }
}

/// A backup that an object touches.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Affected {
    /// The policy.
    pub policy: String,
    /// The schedule.
    pub schedule: String,
    /// The backup.
    pub backup: String,
    /// `source/stream` of each of its streams that needs the object; empty: all of the backup.
    pub streams: Vec<String>,
}

impl Document for VerifyReport {
    const KIND: &'static str = "VerifyReport";
}

impl VerifyReport {
    /// Nothing was found that is wrong, but that something could not be read.
    fn is_unread(&self) -> bool {
        let unread = |problem: &Problem| problem.kind == ProblemKind::NotChecked;
        !self.findings.is_empty() && self.findings_omitted == 0 && self.findings.iter().all(unread)
    }

    /// Nothing is wrong that could be looked at, and lists were not opened.
    fn is_unopened(&self) -> bool {
        self.unopened > 0 && self.findings.is_empty() && self.findings_omitted == 0
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        if self.backups.is_empty() && self.findings.is_empty() && self.interrupted {
            return "interrupted: nothing was verified yet, and NOTHING IS PROVEN\n".to_owned();
        }
        if self.backups.is_empty() && self.findings.is_empty() {
            return "there is no backup: nothing was verified, and NOTHING IS PROVEN\n".to_owned();
        }
        let sample = self.sample.as_deref().map(|sample| format!(", a sample of {sample},")).unwrap_or_default();
        let mut text = format!(
            "{} verified at level `{}`{sample} in {}: {}\n",
            words::count(self.backups.len() as u64, "backup"),
            self.level,
            words::seconds(self.seconds),
            match (self.sound, self.interrupted) {
                (true, _) => "sound",
                (false, false) if self.is_unopened() => {
                    "what can be seen without a key is there; the lists of streams and chunks were not opened"
                }
                (false, false) if self.is_unread() => "NOT PROVEN: not all of it could be looked at",
                (false, true) => "NOT SOUND: interrupted, and the rest was not looked at",
                (false, false) => "NOT SOUND",
            },
        );
        text.push_str(&format!("  {} present", words::count(self.objects, "object")));
        if self.level == "stored" {
            text.push_str(&format!("; {} read, {}", words::count(self.packs, "pack"), words::size(self.stored_bytes)));
            if self.packs == 0 && self.sample.is_some() {
                text.push_str("; no pack is in today's sample");
            }
        }
        if self.parts > 0 {
            let (parts, bytes) = (words::count(self.parts, "part"), words::size(self.plain_bytes));
            text.push_str(&format!("; {parts} of {} read and proven, {bytes}", words::count(self.streams, "stream")));
        } else if self.level == "content" && self.sample.is_some() {
            text.push_str("; no part is in today's sample");
        }
        text.push('\n');
        for finding in &self.findings {
            text.push_str(&finding.text());
        }
        if self.findings_omitted > 0 {
            text.push_str(&format!("  and {} more findings\n", self.findings_omitted));
        }
        text
    }
}

impl Problem {
    /// Pack → stream → backups, as a person follows it.
    fn text(&self) -> String {
        let mut text =
            format!("  {}: {}: {}\n", self.kind.words(), for_terminal(&self.object), for_terminal(&self.detail));
        for affected in &self.affects {
            let streams = match affected.streams.as_slice() {
                [] => "all of it".to_owned(),
                streams => streams.join(", "),
            };
            text.push_str(&format!(
                "    backup {} ({}/{}): {}\n",
                for_terminal(&affected.backup),
                for_terminal(&affected.policy),
                for_terminal(&affected.schedule),
                for_terminal(&streams)
            ));
        }
        text
    }
}
