//! The repository held against itself.

mod backup;
mod chain;
mod count;
mod findings;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::backup::Verifier;
use super::{Error, Listed, Repository, Scope};
use crate::types::{BackupId, Monitor, Name, PartInfo, Sha256Digest, StreamInfo};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Manifest, session and everything under `meta/` is read and agrees with each other, and every
    /// pack is listed with its size. Packs are not read.
    Presence,
    /// Packs are read too, and each has the SHA-256 that is its name. Nothing is decoded.
    Stored,
    /// Packs are read and decoded: every chunk has its id, every part its length, BLAKE3, count and digest.
    Content,
}

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub level: Level,
    /// Only some of the packs ([`Level::Stored`]) or parts ([`Level::Content`]) are read.
    pub sample: Option<Sample>,
    /// Bytes of packs that may be held at once.
    pub memory: u64,
}

impl VerifyOptions {
    /// The usual way for `level`: within 32 MiB.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self { level, sample: None, memory: 32 << 20 }
    }

    /// Whether this pack is to be read.
    pub(super) fn reads(&self, pack: &Sha256Digest) -> bool {
        self.sample.is_none_or(|sample| sample.takes(pack))
    }

    /// Whether this part is to be proven.
    pub(super) fn proves(&self, stream: &StreamInfo, part: &PartInfo) -> bool {
        self.sample.is_none_or(|sample| sample.takes_part(stream, part))
    }
}

impl Level {
    /// Its name: `presence`, `stored`, `content`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Stored => "stored",
            Self::Content => "content",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Presence, Self::Stored, Self::Content].into_iter().find(|level| level.as_str() == text)
    }
}

/// One in so many packs or parts: those whose name, as a number, leaves the same rest as the day. So each has its day,
/// and as many days in a row read all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    of: u32,
    rest: u32,
}

impl Sample {
    /// One in `of` of them (at least 1), on the day of `now` in UTC.
    #[must_use]
    pub fn new(of: u32, now: Timestamp) -> Self {
        let (of, day) = (of.max(1), now.as_second().div_euclid(24 * 3600));
        Self { of, rest: u32::try_from(day.rem_euclid(i64::from(of))).unwrap_or(0) }
    }

    /// One in `of` packs: those whose name leaves `rest`. `None` if no number does.
    pub(crate) fn with_rest(of: u32, rest: u32) -> Option<Self> {
        (rest < of).then_some(Self { of, rest })
    }

    /// One in so many.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// What the names of its packs leave.
    pub(crate) fn rest(self) -> u32 {
        self.rest
    }

    /// Whether every pack of `other` is in this one as well.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.of.is_multiple_of(self.of) && other.rest % self.of == self.rest
    }

    /// Whether this pack is in it: a name is a digest, so that its first bytes are as good as any others.
    #[must_use]
    pub fn takes(self, pack: &Sha256Digest) -> bool {
        let number = pack.as_bytes().iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        number % u64::from(self.of) == u64::from(self.rest)
    }

    /// Whether this part is in it: by the SHA-256 of its source, its stream and its name, a zero byte after each of
    /// the first two.
    #[must_use]
    pub fn takes_part(self, stream: &StreamInfo, part: &PartInfo) -> bool {
        self.takes(&Sha256Digest::of(format!("{}\0{}\0{}", stream.source, stream.name, part.name).as_bytes()))
    }
}

/// A backup to verify: policy, schedule and id.
pub type BackupName = (Name, Name, BackupId);

/// What a verify found. It never stops at the first finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// The backups that were looked at.
    pub backups: Vec<BackupId>,
    /// The same by their whole names.
    pub names: Vec<BackupName>,
    /// Of these, whose lists of streams and chunks were not opened, because no key was given: of their indexes nothing
    /// is known.
    pub unopened: std::collections::BTreeSet<BackupName>,
    /// Everything that is wrong, by object.
    pub findings: Vec<Finding>,
    /// How many more objects are wrong than are listed.
    pub findings_omitted: u64,
    /// How many of these are missing or damaged, and not only unread.
    pub damage_omitted: u64,
    /// Distinct packs whose presence was checked.
    pub objects: u64,
    /// Of these, what was read and has the SHA-256 that is its name.
    pub packs: u64,
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
        self.finds_nothing() && self.unopened.is_empty()
    }

    /// Whether all that could be looked at is as it should be. Without a key that is less than [`Self::is_sound`].
    #[must_use]
    pub fn finds_nothing(&self) -> bool {
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
/// kept, and the rest is not checked. Above [`Level::Presence`] the packs that are damaged are marked in
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_has_its_day_in_a_sample() {
        let start: Timestamp = "2026-11-20T23:59:59Z".parse().unwrap();
        let day = |n: i64| start + jiff::SignedDuration::from_hours(24 * n);
        for pack in 0..200_u32 {
            let pack = Sha256Digest::of(&pack.to_be_bytes());
            let days: Vec<i64> = (0..10).filter(|n| Sample::new(10, day(*n)).takes(&pack)).collect();
            assert_eq!(days.len(), 1, "{pack}: {days:?}");
            assert!(Sample::new(1, start).takes(&pack));
        }
        let (late, next) = (Sample::new(7, start), Sample::new(7, "2026-11-21T00:00:00Z".parse().unwrap()));
        assert_ne!(late, next, "a day ends at midnight UTC");
    }

    #[test]
    fn levels_are_known_by_their_names() {
        for level in [Level::Presence, Level::Stored, Level::Content] {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("deep"), None);
    }
}
