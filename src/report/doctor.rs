//! The document of `drctl doctor`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Document;
use crate::types::for_terminal;

/// What `drctl doctor` found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// The policy.
    pub policy: String,
    /// Whether a backup of all that was looked at can be taken, and be complete.
    pub healthy: bool,
    /// What a backup would be: the worst of the schedules.
    pub backup: DoctorBackup,
    /// Everything that was found, the gravest first.
    pub findings: Vec<DoctorFinding>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorFinding {
    /// What it means for a backup.
    pub severity: DoctorSeverity,
    /// What it is about: `repository`, `cluster`, `source orders-db`.
    pub subject: String,
    /// What was found.
    pub what: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a backup would be, by what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DoctorBackup {
    /// Nothing is missing that can be seen beforehand.
    Complete,
    /// Something would be missing, or a source of several.
    Partial,
    /// It would have to be accepted before it counts.
    Suspect,
    /// None would come about.
    Impossible,
}

/// What a finding means for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DoctorSeverity {
    /// What it is about cannot be backed up, or nothing can be.
    Prevents,
    /// A backup would be suspect.
    Suspect,
    /// A backup would be partial.
    Partial,
    /// It is worth knowing.
    Note,
    /// It is as it should be.
    Good,
}

impl DoctorSeverity {
    fn words(self) -> &'static str {
        match self {
            Self::Prevents => "PREVENTS",
            Self::Suspect => "SUSPECT",
            Self::Partial => "PARTIAL",
            Self::Note => "note",
            Self::Good => "good",
        }
    }
}

impl Document for DoctorReport {
    const KIND: &'static str = "DoctorReport";
}

impl DoctorReport {
    /// A report with its findings in order.
    #[must_use]
    pub fn new(policy: String, mut findings: Vec<DoctorFinding>, backup: DoctorBackup) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        let healthy = findings.iter().all(|finding| finding.severity >= DoctorSeverity::Note);
        Self { policy, healthy, backup, findings }
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let (word, subject) = (finding.severity.words(), for_terminal(&finding.subject));
            text.push_str(&format!("{word:<9} {subject}: {}\n", for_terminal(&finding.what)));
            if let Some(next) = &finding.next {
                text.push_str(&format!("{:<9} next: {}\n", "", for_terminal(next)));
            }
        }
        let grave = self.findings.iter().filter(|finding| finding.severity <= DoctorSeverity::Partial).count();
        text.push_str(&match self.backup {
            DoctorBackup::Complete => "nothing stands in the way of a complete backup\n".to_owned(),
            DoctorBackup::Partial => format!("a backup would be partial: {grave} of the findings say why\n"),
            DoctorBackup::Suspect => format!("a backup would be suspect: {grave} of the findings say why\n"),
            DoctorBackup::Impossible => format!("no backup can be taken: {grave} of the findings say why\n"),
        });
        text
    }
}
