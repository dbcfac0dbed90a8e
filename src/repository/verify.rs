//! The repository held against itself.

use tokio_util::sync::CancellationToken;

use super::{Error, Repository};
use crate::types::{BackupId, Monitor, Name};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every object that a backup needs is listed with its size; manifest and meta objects are read.
    Presence,
    /// Everything is read: every chunk has its id, every part its length, BLAKE3, count and digest.
    Content,
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub level: Level,
    /// Bytes that may be held at once.
    pub memory: u64,
}

/// What a verify found. It never stops at the first finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The backups that were looked at.
    pub backups: Vec<BackupId>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// How many more findings there were than are listed.
    pub findings_omitted: u64,
    /// Objects whose presence was checked.
    pub objects: u64,
    /// Streams, parts and chunks that were read.
    pub streams: u64,
    /// Parts that were read and proven.
    pub parts: u64,
    /// Plain bytes that were read and proven.
    pub plain_bytes: u64,
    /// Stored bytes that were fetched.
    pub stored_bytes: u64,
}

/// One object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its key.
    pub object: String,
    /// What is wrong with it.
    pub kind: FindingKind,
    /// How one can tell, for people.
    pub detail: String,
    /// Which backups and streams it touches.
    pub affects: Vec<Affected>,
}

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// It is not in the store.
    Missing,
    /// Its bytes are not what was written.
    Damaged,
    /// It could not be read, so nothing is known of it.
    NotChecked,
}

/// A backup that a damaged object touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// `source/stream` of each stream of it that needs the object; empty: all of the backup.
    pub streams: Vec<String>,
}

impl VerifyReport {
    /// Whether everything was checked and is as it should be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies backups of a repository, each named by policy, schedule and id. Damage is in the report.
///
/// # Errors
/// What the store says when not even a listing could be had.
pub async fn verify(
    _repository: &Repository,
    _backups: &[(Name, Name, BackupId)],
    _options: &VerifyOptions,
    _monitor: &dyn Monitor,
    _cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
