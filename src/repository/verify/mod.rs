//! The repository held against itself.

mod backup;
mod count;
mod findings;

use tokio_util::sync::CancellationToken;

use self::backup::Verifier;
use super::{Error, Repository};
use crate::types::{BackupId, Clock as _, Monitor, Name, SystemClock};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Manifest, session and everything under `meta/` is read and agrees with each other, and every
    /// pack is listed with its size. Packs are not read.
    Presence,
    /// Packs are read too: every chunk has its id, every part its length, BLAKE3, count and digest.
    Content,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub level: Level,
    /// Bytes of packs that may be held at once.
    pub memory: u64,
}

impl VerifyOptions {
    /// The usual way for `level`: within 32 MiB.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self { level, memory: 32 << 20 }
    }
}

/// A backup to verify: policy, schedule and id.
pub type BackupName = (Name, Name, BackupId);

/// What a verify found. It never stops at the first finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The backups that were looked at.
    pub backups: Vec<BackupId>,
    /// Everything that is wrong, by object.
    pub findings: Vec<Finding>,
    /// How many more objects are wrong than are listed.
    pub findings_omitted: u64,
    /// How many of these are missing or damaged, and not only unread.
    pub damage_omitted: u64,
    /// Distinct packs whose presence was checked.
    pub objects: u64,
    /// Streams whose chunks are all accounted for.
    pub streams: u64,
    /// Parts that were proven by their bytes.
    pub parts: u64,
    /// Plain bytes of these parts.
    pub plain_bytes: u64,
    /// Of these, what was read and proven as part of another backup in this run.
    pub shared_bytes: u64,
    /// Stored bytes that were asked for to prove the others.
    pub stored_bytes: u64,
    /// What a person should know beside: that the damage could not be marked for the next backup.
    pub notes: Vec<String>,
    /// It was told to stop before the end.
    pub interrupted: bool,
}

/// One object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its key, safe for a terminal.
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
    /// Its bytes are not what was written, or contradict another object.
    Damaged,
    /// It could not be read, so nothing is known of it.
    NotChecked,
}

/// A backup that an object touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The backup.
    pub backup: BackupId,
    /// `source/stream` of each stream of it that needs the object, safe for a terminal; empty: all
    /// of the backup.
    pub streams: Vec<String>,
}

impl VerifyReport {
    /// Whether everything was checked and is as it should be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && !self.interrupted
    }

    /// Whether something is missing or damaged (and not only unreadable), listed or not.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.damage_omitted > 0 || self.findings.iter().any(|finding| finding.kind != FindingKind::NotChecked)
    }
}

/// Verifies backups of a repository. Damage is in the report; a part that several of the backups
/// share is read once. A store that answers no more ends it early: what was found until then is
/// kept, and the rest is not checked. At [`Level::Content`] the packs that are damaged are marked in
/// the store, so that no later backup shares them; if that fails, [`VerifyReport::notes`] says so.
///
/// # Errors
/// Only faults of drctl itself: what cannot be read is a finding too.
pub async fn verify(
    repository: &Repository,
    backups: &[BackupName],
    options: &VerifyOptions,
    monitor: &dyn Monitor,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    let mut verifier = Verifier::new(repository, options, monitor, cancel);
    let total = u64::try_from(backups.len()).unwrap_or(u64::MAX);
    if options.level == Level::Presence {
        monitor.phase("verifying", "backups", Some(total));
    }
    for (at, backup) in backups.iter().enumerate() {
        if cancel.is_cancelled() {
            break;
        }
        match verifier.backup(backup).await {
            Ok(()) => {}
            Err(Error::Store(error)) => {
                verifier.not_checked(backups.get(at..).unwrap_or_default(), &error.to_string());
                break;
            }
            Err(error) => return Err(error),
        }
        if options.level == Level::Presence {
            monitor.advance(1);
        }
    }
    if options.level == Level::Content {
        verifier.mark_damage(SystemClock.now()).await;
    }
    Ok(verifier.into_report(cancel.is_cancelled()))
}
