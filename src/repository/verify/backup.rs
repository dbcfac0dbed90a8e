//! One backup after the other, with what they share remembered.

mod agree;
mod content;
mod sealed;
mod stored;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::TryStreamExt;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::{agree::Accounts, sealed::KeysWrong};
use super::{BackupName, FindingKind, Level, VerifyOptions, VerifyReport, findings::Findings};
use crate::{
    repository::{
        BackupReader, Error, Manifest, Repository,
        backend::{ErrorKind, Key},
        catalog::Marker,
        chunks::PackName,
        crypt::Signature,
        layout,
        objects::{check_ref, get_exact},
        refs::{self, Ref},
        reuse::blocking,
    },
    types::{BackupContents, BackupId, Clock as _, Monitor, Name, Sha256Digest, SystemClock},
};

/// So many calls in a row that got no answer in time, retried each, end it.
const MAX_TIMEOUTS: u32 = 5;
/// Packs whose listing is remembered; past it, until the next backup.
const MAX_LISTED: usize = 1 << 17;
/// Packs that are counted once; past it, one that several backups need counts for each.
const MAX_COUNTED: usize = 1 << 19;

/// Verifies backups, one after the other.
#[derive(Debug)]
pub(super) struct Verifier<'a> {
    pub(super) repository: &'a Repository,
    options: &'a VerifyOptions,
    monitor: &'a dyn Monitor,
    cancel: &'a CancellationToken,
    pub(super) findings: Findings,
    pub(super) report: VerifyReport,
    /// Sizes of the packs under the prefixes that were listed.
    listed: HashMap<PackName, u64>,
    prefixes: HashSet<BackupId>,
    proven: HashSet<[u8; 32]>,
    /// The beginnings of the packs' names: enough to count by.
    packs: HashSet<u64>,
    counted: u64,
    /// Packs that were read and have their SHA-256, by the beginnings of their names,
    hashed: HashSet<u64>,
    /// and those that have not, and why.
    bad: HashMap<PackName, (FindingKind, String)>,
    /// Calls in a row that got no answer in time.
    timeouts: u32,
    /// What is wrong with the key files of the epochs that were looked at.
    epochs: HashMap<String, Vec<KeysWrong>>,
}

impl<'a> Verifier<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        monitor: &'a dyn Monitor,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            repository,
            options,
            monitor,
            cancel,
            findings: Findings::default(),
            report: VerifyReport::default(),
            listed: HashMap::new(),
            prefixes: HashSet::new(),
            proven: HashSet::new(),
            packs: HashSet::new(),
            counted: 0,
            hashed: HashSet::new(),
            bad: HashMap::new(),
            timeouts: 0,
            epochs: HashMap::new(),
        }
    }

    /// Verifies `backups`. Whether the store answered to the end: if not, the rest is not checked.
    pub(super) async fn each(&mut self, backups: &[BackupName]) -> Result<bool, Error> {
        if self.options.level == Level::Presence {
            self.monitor.phase("verifying", "backups", Some(backups.len() as u64));
        }
        for (at, backup) in backups.iter().enumerate() {
            if self.cancel.is_cancelled() {
                break;
            }
            match self.backup(backup).await {
                Ok(()) => {}
                Err(Error::Store(error)) => {
                    self.not_checked(backups.get(at..).unwrap_or_default(), &error.to_string());
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            if self.options.level == Level::Presence {
                self.monitor.advance(1);
            }
        }
        Ok(true)
    }

    /// Marks what is damaged, and ends.
    pub(super) async fn finish(mut self) -> VerifyReport {
        if self.options.level > Level::Presence {
            self.mark_damage(SystemClock.now()).await;
        }
        let interrupted = self.cancel.is_cancelled();
        self.into_report(interrupted)
    }

    fn into_report(mut self, interrupted: bool) -> VerifyReport {
        self.report.objects = self.counted;
        self.report.interrupted = interrupted;
        let (findings, omitted) = self.findings.finish();
        self.report.findings = findings;
        (self.report.findings_omitted, self.report.damage_omitted) = (omitted.findings, omitted.damage);
        self.report
    }

    /// Marks the packs that are damaged, in the store, for the next backup.
    async fn mark_damage(&mut self, at: Timestamp) {
        let mut marks: BTreeMap<(Name, BackupId), Vec<PackName>> = BTreeMap::new();
        for (object, backups) in self.findings.damaged() {
            let Some(pack) = Key::new(object).ok().and_then(|key| layout::parse_pack(&key)) else { continue };
            for (policy, backup) in backups {
                marks.entry((policy.clone(), backup.clone())).or_default().push(pack.clone());
            }
        }
        for ((policy, backup), packs) in marks {
            if let Err(error) = self.repository.mark_damaged((&policy, &backup), &packs, self.options.level, at).await {
                self.report.unmarked = true;
                self.report.notes.push(format!(
                    "the damage could not be marked in the store, so the next backup of {policy} may share the \
                     damaged packs unless it is a full one: {error}"
                ));
                return;
            }
        }
    }

    /// Notes that nothing more is known of `backups`.
    fn not_checked(&mut self, backups: &[BackupName], why: &str) {
        for backup in backups {
            let object = layout::manifest(&backup.0, &backup.1, &backup.2).to_string();
            self.findings.add(backup, None, object, FindingKind::NotChecked, why.to_owned());
        }
    }

    /// Takes a failure that touches all of a backup. A fault of drctl itself is no finding.
    pub(super) fn whole(&mut self, backup: &BackupName, object: &str, error: Error) -> Result<(), Error> {
        if self.ends(&error) {
            return Err(error);
        }
        self.findings.take(backup, None, object, &error);
        Ok(())
    }

    /// Whether going on makes no sense: a fault of drctl, or a store that answers nothing.
    fn ends(&mut self, error: &Error) -> bool {
        match error {
            Error::Internal(_) | Error::NoKeys { .. } => true,
            Error::Store(error) => match error.kind {
                ErrorKind::NoSuchStore
                | ErrorKind::Unauthenticated
                | ErrorKind::ClockApart
                | ErrorKind::Unreachable => true,
                ErrorKind::TimedOut => {
                    self.timeouts += 1;
                    self.timeouts >= MAX_TIMEOUTS
                }
                _ => false,
            },
            _ => false,
        }
    }

    async fn backup(&mut self, backup: &BackupName) -> Result<(), Error> {
        let (policy, schedule, id) = backup;
        self.report.backups.push(id.clone());
        self.report.names.push(backup.clone());
        let manifest = match self.repository.marker(policy, schedule, id).await {
            Ok(Marker::Manifest(stored)) => {
                if let Signature::Bad(why) = &stored.signature {
                    let object = layout::manifest(policy, schedule, id).to_string();
                    self.findings.add(backup, None, object, FindingKind::Damaged, why.clone());
                }
                stored.manifest
            }
            Ok(Marker::Aborted) => return Ok(()),
            Err(error) => return self.whole(backup, layout::manifest(policy, schedule, id).as_str(), error),
        };
        if let Err(error) = self.repository.session(policy, id).await {
            self.whole(backup, layout::session(policy, id).as_str(), error)?;
        }
        self.key_files(backup, &manifest).await?;
        let packs = match self.refs(&manifest).await {
            Ok(packs) => packs,
            Err(error) => return self.whole(backup, layout::refs(id).as_str(), error),
        };
        let mut absent = self.presence(backup, &packs).await?;
        if self.options.level == Level::Stored {
            self.hash_packs(backup, &packs, &mut absent).await?;
        }
        let reader = match self.repository.read_within(&manifest, self.options.memory).await {
            Ok(reader) => reader,
            Err(error) => {
                // Which streams they belong to is not known then.
                absent.iter().for_each(|pack| self.absent(backup, None, pack));
                if matches!(error, Error::NoKeys { .. }) && self.options.level < Level::Content {
                    return self.sealed_lists(backup, &manifest).await;
                }
                return self.whole(backup, self.streams_key(id).as_str(), error);
            }
        };
        if self.options.level == Level::Content {
            reader.needs_contents(self.repository.location(), &manifest)?;
        }
        if self.options.level == Level::Content {
            self.monitor.phase(&format!("reading {id}"), "bytes", Some(manifest.totals.plain_bytes));
        }
        let mut accounts = Accounts::new(&packs);
        self.streams(backup, &reader, &mut accounts, &absent).await?;
        if self.cancel.is_cancelled() { Ok(()) } else { self.agree(backup, &manifest, &reader, &accounts).await }
    }

    pub(super) fn streams_key(&self, backup: &BackupId) -> Key {
        layout::streams(backup, self.repository.is_encrypted())
    }

    async fn refs(&self, manifest: &Manifest) -> Result<Vec<Ref>, Error> {
        let key = layout::refs(&manifest.backup);
        check_ref(&manifest.backup, &key, &manifest.refs)?;
        let bytes = get_exact(&**self.repository.backend(), &key, manifest.refs.size, manifest.refs.sha256).await?;
        blocking(&key, move || refs::decode(bytes)).await
    }

    /// Holds the packs of a backup against the store's listing; gives those that are not as recorded.
    async fn presence(&mut self, backup: &BackupName, packs: &[Ref]) -> Result<HashSet<PackName>, Error> {
        // Between two backups only: all prefixes of one are needed at once.
        if self.listed.len() > MAX_LISTED {
            self.listed.clear();
            self.prefixes.clear();
        }
        let mut unlisted = HashSet::new();
        for pack in packs {
            if self.prefixes.contains(&pack.backup) || unlisted.contains(&pack.backup) {
                continue;
            }
            if let Err(error) = self.list(&pack.backup).await {
                self.whole(backup, &layout::packs_of(&pack.backup), error)?;
                unlisted.insert(pack.backup.clone());
            }
        }
        let mut absent = HashSet::new();
        for pack in packs {
            let name = (pack.backup.clone(), pack.pack);
            let size = self.listed.get(&name).copied();
            if size != Some(pack.size) && !unlisted.contains(&pack.backup) {
                absent.insert(name.clone());
            }
            self.count(&name);
        }
        Ok(absent)
    }

    /// Counts a pack that was not counted yet.
    fn count(&mut self, (_, sha256): &PackName) {
        let beginning = beginning(sha256);
        let known = self.packs.contains(&beginning);
        if self.packs.len() < MAX_COUNTED {
            self.packs.insert(beginning);
        }
        self.counted += u64::from(!known);
    }

    async fn list(&mut self, backup: &BackupId) -> Result<(), Error> {
        let mut objects = self.repository.backend().list(&layout::packs_of(backup));
        while let Some(meta) = objects.try_next().await? {
            if let Some(name) = layout::parse_pack(&meta.key) {
                self.listed.insert(name, meta.size);
            }
        }
        self.timeouts = 0;
        self.prefixes.insert(backup.clone());
        Ok(())
    }

    async fn streams(
        &mut self,
        backup: &BackupName,
        reader: &BackupReader,
        accounts: &mut Accounts<'_>,
        absent: &HashSet<PackName>,
    ) -> Result<(), Error> {
        let mut named = HashSet::new();
        for stream in reader.streams() {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            let name = format!("{}/{}", stream.source, stream.name);
            let chunks = match reader.chunks(stream.number).await {
                Ok(chunks) => chunks,
                Err(error) if self.ends(&error) => return Err(error),
                Err(error) => {
                    accounts.whole = false;
                    self.findings.take(backup, Some(&name), &reader.index_names(), &error);
                    continue;
                }
            };
            self.report.streams += 1;
            self.account(backup, &name, &chunks, accounts);
            for pack in chunks.packs.iter().filter(|pack| absent.contains(pack)) {
                self.absent(backup, Some(&name), pack);
                named.insert(pack.clone());
            }
            if self.options.level == Level::Content {
                self.content(backup, reader, stream, &chunks).await?;
            }
        }
        for pack in absent.difference(&named) {
            self.absent(backup, None, pack);
        }
        Ok(())
    }

    fn absent(&mut self, backup: &BackupName, stream: Option<&str>, pack: &PackName) {
        let object = layout::pack(&pack.0, &pack.1).to_string();
        let (kind, detail) = match (self.bad.get(pack), self.listed.get(pack)) {
            (Some((kind, detail)), _) => (*kind, detail.clone()),
            (None, None) => (FindingKind::Missing, "it is not in the store".to_owned()),
            (None, Some(size)) => (FindingKind::Damaged, format!("it has {size} bytes, and another size is recorded")),
        };
        self.findings.add(backup, stream, object, kind, detail);
    }
}

/// The first bytes of a pack's name: enough to know it again by.
fn beginning(sha256: &Sha256Digest) -> u64 {
    sha256.as_bytes().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
