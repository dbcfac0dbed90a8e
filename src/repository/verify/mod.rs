//! The repository held against itself.

mod backup;
mod chain;
mod count;
mod findings;

use tokio_util::sync::CancellationToken;

use self::backup::Verifier;
use super::{Error, Listed, Repository, Scope};
use crate::types::{BackupId, Monitor, Name};

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
    /// Damaged packs could not be marked, so that the next backup may share them; the notes say why.
    pub unmarked: bool,
    /// What a person should know beside.
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
    /// Which backups and streams it touches; none if nobody can tell.
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
    /// Whether something was checked, all of it, and is as it should be. Without a backup nothing is
    /// proven.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.backups.is_empty() && self.findings.is_empty() && !self.interrupted
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
    verifier.each(backups).await?;
    Ok(verifier.finish().await)
}

/// As [`verify`], for all backups of `scope`, and beside them what they and their marks say of each
/// other: a manifest that a later one or an accept mark names must be there, unless prune has left a
/// tombstone; nothing in the repository's folders may be a link.
///
/// # Errors
/// [`Error`] if the store cannot even be listed, or a fault of drctl itself.
pub async fn verify_all(
    repository: &Repository,
    scope: &Scope,
    options: &VerifyOptions,
    monitor: &dyn Monitor,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    let entries = repository.backups(scope).await?;
    // A fenced run left a mark and no backup: there is nothing to hold against itself.
    let there = entries.iter().filter(|entry| !matches!(entry.listed, Listed::Aborted));
    let names: Vec<BackupName> =
        there.map(|entry| (entry.policy.clone(), entry.schedule.clone(), entry.backup.clone())).collect();
    let mut verifier = Verifier::new(repository, options, monitor, cancel);
    verifier.strangers().await?;
    if verifier.each(&names).await? && !cancel.is_cancelled() {
        verifier.surroundings(scope, &entries).await?;
    }
    Ok(verifier.finish().await)
}
