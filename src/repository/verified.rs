//! Evidence of verifications: one object a backup that was looked at, whose key alone tells when, how, and with what
//! outcome.

use std::collections::HashMap;

use futures::{TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Error, Repository, Scope,
    backend::{Key, PutOutcome},
    control::{self, Control},
    crypt::signature,
    header::RepositoryId,
    layout,
    looks::{Look, Looks, Taken},
    spread, tool,
    verify::{BackupName, FindingKind, Level, Sample, VerifyOptions, VerifyReport},
};
use crate::types::{BackupId, Name};

/// Notes that are put at once.
const PUTS: usize = 8;
/// The most findings that a report in the store lists.
const MAX_LISTED: usize = 100;
/// Two verifications of one second: the later one takes one of the next seconds.
const MAX_SECONDS: i64 = 5;
/// Verifications that are remembered: of each backup the newest of each kind.
const MAX_REMEMBERED: usize = 600_000;
/// Verifications that are held at once where each may have to be read; a listing has those of one backup beside each other.
const MAX_HELD: usize = 20_000;
/// Of one backup at most. A verification every hour makes as many in 11 years.
const MAX_OF_ONE: usize = 100_000;

/// Verifications of some backups, as their keys tell of them.
type Groups = Vec<((Name, BackupId), Vec<Look>)>;

/// What a verification found of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyOutcome {
    /// All that was looked at is as it should be.
    Sound,
    /// Something is missing or damaged.
    Damaged,
    /// Something could not be read, lists were not opened for want of a key, or it was told to stop before the end.
    Unfinished,
}

impl VerifyOutcome {
    /// Its name in keys and reports: `sound`, `damaged`, `unfinished`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Damaged => "damaged",
            Self::Unfinished => "unfinished",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Sound, Self::Damaged, Self::Unfinished].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// A verification of a backup, as the store tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When it ended.
    pub at: Timestamp,
    /// How thorough it was.
    pub level: Level,
    /// Only one in so many packs was read.
    pub sample: Option<u32>,
    /// What it found.
    pub outcome: VerifyOutcome,
}

/// `evidence/<policy>/<backup-id>/<time>-verify-<outcome>/<level>[-1-of-<n>-rest-<r>].json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Evidence {
    repository: RepositoryId,
    policy: Name,
    schedule: Name,
    backup: BackupId,
    level: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample: Option<String>,
    /// Which packs the sample took: those whose name leaves this rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rest: Option<u32>,
    outcome: String,
    at: Timestamp,
    findings: Vec<Found>,
    findings_omitted: u64,
    tool: String,
    /// The place that it was signed for: the time there of its `repository.json`, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Timestamp>,
    /// The signature of what a listing tells of it ([`Evidence::statement`]), so that it takes one read and not two. That of the
    /// whole object, its findings too, lies beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Found {
    object: String,
    kind: String,
    detail: String,
}

impl Control for Evidence {
    const KIND: &'static str = "evidence";
}

impl Evidence {
    /// Whether it is the report of this verification of this backup: whoever may write can put it under any key.
    pub(super) fn is_of(&self, repository: &RepositoryId, (policy, backup): (&Name, &BackupId), look: &Look) -> bool {
        let sample = look.sample.map(|sample| (format!("1/{}", sample.of()), sample.rest()));
        let own = self.sample.clone().zip(self.rest);
        let seconds = look.at.as_second() - self.at.as_second();
        // Earlier versions signed one time for all the keys that they tried.
        let later = if self.signature.is_some() { 1 } else { MAX_SECONDS };
        (&self.repository, &self.policy, &self.backup) == (repository, policy, backup)
            && (self.level.as_str(), self.outcome.as_str()) == (look.level.as_str(), look.outcome.as_str())
            && own == sample
            && self.sample.is_some() == look.sample.is_some()
            && (0..later).contains(&seconds)
    }

    /// What its own signature is over.
    pub(super) fn statement(&self, place: Timestamp) -> String {
        let Self { repository, policy, schedule, backup, level, outcome, at, .. } = self;
        let sample = self.sample.as_deref().unwrap_or("-");
        let rest = self.rest.map_or_else(|| "-".to_owned(), |rest| rest.to_string());
        format!(
            "drctl verified\nrepository {repository}\nplace {place}\npolicy {policy}\nschedule {schedule}\nbackup {backup}\n\
             level {level}\nsample {sample}\nrest {rest}\noutcome {outcome}\nat {at}\n"
        )
    }
}

impl Repository {
    /// Notes what a verification found, for each backup that it looked at.
    ///
    /// # Errors
    /// What the store says; a verification is no less one without its evidence.
    pub async fn note_verified(
        &self,
        report: &VerifyReport,
        options: &VerifyOptions,
        at: Timestamp,
    ) -> Result<(), Error> {
        let noted = report.names.iter().enumerate().map(|(place, name)| Ok((place + 1 == report.names.len(), name)));
        stream::iter(noted)
            .try_for_each_concurrent(PUTS, |(is_last, name)| self.note(report, options, name, is_last, at))
            .await
    }

    async fn note(
        &self,
        report: &VerifyReport,
        options: &VerifyOptions,
        name: &BackupName,
        is_last: bool,
        at: Timestamp,
    ) -> Result<(), Error> {
        let affects = |finding: &&super::Finding| {
            finding.affects.iter().any(|one| (&one.policy, &one.backup) == (&name.0, &name.2))
        };
        let findings: Vec<_> = report.findings.iter().filter(affects).collect();
        let is_damage = findings.iter().any(|finding| finding.kind != FindingKind::NotChecked);
        let outcome = if is_damage {
            VerifyOutcome::Damaged
        } else if !findings.is_empty()
            || report.findings_omitted > 0
            || (report.interrupted && is_last)
            || report.unopened.contains(name)
        {
            VerifyOutcome::Unfinished
        } else {
            VerifyOutcome::Sound
        };
        let found = |finding: &&super::Finding| Found {
            object: finding.object.clone(),
            kind: match finding.kind {
                FindingKind::Missing => "missing",
                FindingKind::Damaged => "damaged",
                FindingKind::NotChecked => "notChecked",
            }
            .to_owned(),
            detail: finding.detail.chars().take(500).collect(),
        };
        let listed = findings.iter().take(MAX_LISTED).map(found).collect();
        let omitted = findings.len().saturating_sub(MAX_LISTED) as u64;
        self.put_evidence(name, options, outcome, (listed, omitted), at).await
    }

    async fn put_evidence(
        &self,
        (policy, schedule, backup): &BackupName,
        options: &VerifyOptions,
        outcome: VerifyOutcome,
        (findings, findings_omitted): (Vec<Found>, u64),
        at: Timestamp,
    ) -> Result<(), Error> {
        let sample = options.sample.filter(|_| options.level > Level::Presence);
        let mut evidence = Evidence {
            repository: self.header.id.clone(),
            policy: policy.clone(),
            schedule: schedule.clone(),
            backup: backup.clone(),
            level: options.level.as_str().to_owned(),
            sample: sample.map(|sample| format!("1/{}", sample.of())),
            rest: sample.map(Sample::rest),
            outcome: outcome.as_str().to_owned(),
            at,
            findings,
            findings_omitted,
            tool: tool(),
            place: None,
            signature: None,
            unknown: Map::new(),
        };
        if self.access.signing_key.is_some() {
            evidence.place = Some(self.place().await?);
        }
        let what = what_of(options.level, sample);
        for second in 0..MAX_SECONDS {
            // What is signed is the time of the key: nobody else can put it under a later one.
            evidence.at = at + SignedDuration::from_secs(second);
            if let (Some(key), Some(place)) = (&self.access.signing_key, evidence.place) {
                evidence.signature = Some(key.sign(signature::VERIFIED, evidence.statement(place).as_bytes())?);
            }
            let bytes = control::encode(&evidence)?;
            let key = layout::verify_evidence((policy, backup), evidence.at, outcome.as_str(), &what);
            if self.backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created {
                return self.put_signature(&key, signature::EVIDENCE, &bytes).await;
            }
        }
        Err(Error::Internal(format!("{MAX_SECONDS} verifications of backup {backup} in one second")))
    }

    /// The verifications of each backup of `scope`, newest first: the damage that no later one has disproved, and the
    /// newest other one at each level. Only keys are looked at; where signers are pinned, also whether one of them has
    /// signed what is told: other evidence does not count.
    ///
    /// # Errors
    /// What the store says.
    pub async fn verified(&self, scope: &Scope) -> Result<HashMap<(Name, BackupId), Vec<Verified>>, Error> {
        if self.asks_for_signatures() {
            return self.verified_and_signed(scope, (MAX_HELD, MAX_OF_ONE)).await;
        }
        let mut looks: HashMap<(Name, BackupId), Looks> = HashMap::new();
        let mut remembered = 0;
        let mut objects = self.backend.list(&layout::all_evidence_of(scope.policy()));
        while let Some(meta) = objects.try_next().await? {
            let Some((backup, look)) = parse_key(&meta.key) else { continue };
            let room = remembered < MAX_REMEMBERED;
            remembered += usize::from(looks.entry(backup).or_default().take(look, room) == Taken::Kept);
        }
        Ok(looks.into_iter().map(|(backup, looks)| (backup, looks.tell())).collect())
    }

    /// [`Self::verified`] with at most so many held at once, and of one backup.
    pub(super) async fn verified_and_signed(
        &self,
        scope: &Scope,
        (most, of_one): (usize, usize),
    ) -> Result<HashMap<(Name, BackupId), Vec<Verified>>, Error> {
        let (mut told, mut groups, mut held) = (HashMap::new(), Groups::new(), 0);
        let mut objects = self.backend.list(&layout::all_evidence_of(scope.policy()));
        while let Some(meta) = objects.try_next().await? {
            let Some((backup, look)) = parse_key(&meta.key) else { continue };
            match groups.last_mut() {
                Some((last, looks)) if *last == backup => {
                    if looks.len() == of_one {
                        let (location, folder) =
                            (self.location().to_owned(), layout::evidence_about(&backup.0, &backup.1));
                        return Err(Error::TooMuchEvidence { location, folder, limit: of_one });
                    }
                    looks.push(look);
                }
                _ => {
                    if held >= most {
                        told.extend(self.told_of(std::mem::take(&mut groups)).await?);
                        held = 0;
                    }
                    groups.push((backup, vec![look]));
                }
            }
            held += 1;
        }
        told.extend(self.told_of(groups).await?);
        Ok(told)
    }

    /// What is told of these, of those of whom anything is.
    async fn told_of(&self, groups: Groups) -> Result<Vec<((Name, BackupId), Vec<Verified>)>, Error> {
        let repository = self.clone();
        let believed = spread::in_order(groups, move |(backup, looks)| {
            let repository = repository.clone();
            async move {
                let believed = repository.believed(&backup, looks).await?.tell();
                Ok((backup, believed))
            }
        });
        Ok(believed.await?.into_iter().filter(|(_, told)| !told.is_empty()).collect())
    }
}

/// The backup and the verification that a key tells of.
fn parse_key(key: &Key) -> Option<((Name, BackupId), Look)> {
    let (policy, backup, at, outcome, what) = layout::parse_verify_evidence(key)?;
    let (outcome, (level, sample)) = (VerifyOutcome::parse(outcome)?, parse_what(what, at)?);
    Some(((policy, backup), Look { at, level, sample, outcome }))
}

/// What was looked at, as a key says it: `content`, `stored-1-of-10-rest-3`.
pub(super) fn what_of(level: Level, sample: Option<Sample>) -> String {
    match sample {
        None => level.as_str().to_owned(),
        Some(sample) => format!("{}-1-of-{}-rest-{}", level.as_str(), sample.of(), sample.rest()),
    }
}

/// The reverse of [`what_of`], of a verification that ended `at`. Keys without a rest were written on its day.
fn parse_what(what: &str, at: Timestamp) -> Option<(Level, Option<Sample>)> {
    let Some((level, sample)) = what.split_once("-1-of-") else { return Some((Level::parse(what)?, None)) };
    let sample = match sample.split_once("-rest-") {
        None => Sample::new(sample.parse().ok()?, at),
        Some((of, rest)) => Sample::with_rest(of.parse().ok()?, rest.parse().ok()?)?,
    };
    Some((Level::parse(level)?, Some(sample)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_which_packs_were_read() {
        let at: Timestamp = "2026-11-21T23:59:59Z".parse().unwrap();
        let sample = Some(Sample::new(10, at));
        for (level, sample) in [(Level::Content, None), (Level::Stored, sample), (Level::Content, sample)] {
            let later = at + SignedDuration::from_hours(1);
            assert_eq!(parse_what(&what_of(level, sample), later), Some((level, sample)), "also past midnight");
        }
        assert_eq!(parse_what("stored-1-of-10", at), Some((Level::Stored, sample)));
        for other in ["deep", "stored-1-of-x", "stored-1-of-10-rest-10", "stored-1-of-0-rest-0", "stored-1-of-2-rest-"]
        {
            assert_eq!(parse_what(other, at), None, "{other}");
        }
    }
}
