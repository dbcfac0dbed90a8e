//! One run of a schedule: read the sources, store what is new, commit the manifest.
//!
//! The order is that of `docs/format.md`, "Writing a backup" (B1 to B7): whatever fails before the
//! last step leaves no backup, and what was uploaded serves the next run.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt;

use super::{
    Error, Run,
    capture::{Failed, capture_all},
    judge::{Held, Holdings, judge},
    keys::check_pins,
    repositories::kubernetes_selection,
    restore::unless_told,
    sources::{self, ConnectOptions, Connected},
};
use crate::{
    policy::{Policy, Schedule, SourceSpec},
    repository::{
        BackupWriter, BeginOptions, Cluster as StoredCluster, CommitOutcome, GroupEntry, GroupTotal, Manifest,
        ManifestDraft, Repository, Scope, SourceEntry, StoredManifest, VolumeSummary,
    },
    sources::{CaptureReport, CapturedGroup, Source, kubernetes},
    types::{Missing, Name, State},
};

/// What the command line says about a backup.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// The schedule; absent: the policy's only one.
    pub schedule: Option<Name>,
    /// Of the schedule's sources only these; empty: all. A backup of some is `partial` on purpose.
    pub only: Vec<Name>,
    /// Take this cluster although the policy's newest backup is of another one.
    pub adopt_cluster: bool,
    /// Take no parent: everything is stored anew, whatever earlier backups hold.
    pub full: bool,
    /// Which cluster.
    pub connect: kubernetes::ConnectOptions,
    /// Packs between two checkpoints; absent: the format's 64.
    pub checkpoint_packs: Option<u32>,
    /// How long others wait for a database's locks before the backup gives way; absent: 60 s.
    pub patience: Option<Duration>,
}

/// A committed backup.
#[derive(Debug)]
pub struct BackupOutcome {
    /// Its manifest, as stored.
    pub manifest: Manifest,
    /// `partial` because `--source` asked for it, and nothing else is missing.
    pub on_purpose: bool,
}

/// Runs the backup of one schedule.
///
/// # Errors
/// [`Error`]; then there is no new backup. [`Error::Fenced`] if another run aborted this one.
pub async fn backup(
    repository: &Repository,
    policy: &Policy,
    options: &BackupOptions,
    run: &Run,
) -> Result<BackupOutcome, Error> {
    let asked = Asked::new(policy, options)?;
    check_pins(&policy.repository, repository)?;
    repository.can_write().await?;
    run.monitor.phase("connecting", "step", None);
    let connect = ConnectOptions { cluster: &options.connect, patience: options.patience };
    let connected = unless_told(run, sources::connect(policy, &asked.sources, &connect)).await?;
    backup_connected((repository, policy), asked, connected, options, run).await
}

/// What is to be backed up: a schedule, and all or some of its sources.
#[derive(Debug)]
pub(super) struct Asked<'p> {
    name: &'p Name,
    schedule: &'p Schedule,
    sources: Vec<Name>,
}

impl<'p> Asked<'p> {
    pub(super) fn new(policy: &'p Policy, options: &BackupOptions) -> Result<Self, Error> {
        let (name, schedule) = choose_schedule(policy, options.schedule.as_ref())?;
        let sources = choose_sources(schedule, name, &options.only)?;
        Ok(Self { name, schedule, sources })
    }
}

/// The run, from sources that are connected on.
pub(super) async fn backup_connected(
    (repository, policy): (&Repository, &Policy),
    asked: Asked<'_>,
    connected: Connected,
    options: &BackupOptions,
    run: &Run,
) -> Result<BackupOutcome, Error> {
    let Asked { name, schedule, sources } = asked;
    let Connected { sources: connected, identity, failed, forwards: _open } = connected;
    if let (Some(identity), false) = (&identity, options.adopt_cluster) {
        check_cluster(repository, &policy.name, identity).await?;
    }
    let begun = repository.begin(begin_options(policy, name, &sources, options, run)).await;
    let writer = begun.map_err(|error| match error {
        crate::repository::Error::Begun { backup, source } => Error::from(*source).after_start(&backup),
        error => error.into(),
    })?;
    let started = Started { repository, policy, schedule, name, sources: &sources, identity, failed };
    started.finish(&connected, &writer, run).await.map_err(|error| error.after_start(writer.backup()))
}

/// A run whose session is written: from here on, a failure has left something in the store.
#[derive(Debug)]
struct Started<'a> {
    repository: &'a Repository,
    policy: &'a Policy,
    schedule: &'a Schedule,
    name: &'a Name,
    sources: &'a [Name],
    identity: Option<kubernetes::Identity>,
    failed: Failed,
}

impl Started<'_> {
    async fn finish(
        self,
        connected: &[Box<dyn Source>],
        writer: &BackupWriter,
        run: &Run,
    ) -> Result<BackupOutcome, Error> {
        let Started { repository, policy, schedule, name, sources, identity, mut failed } = self;
        let captured = match capture_all(connected, &mut failed, writer, run).await {
            Ok(reports) => store_rest(writer, run).await.map(|()| reports),
            Err(error) => Err(error),
        };
        let reports = match captured {
            Ok(reports) => reports,
            Err(error) => {
                // What is uploaded should serve the next run; the error to report is the first one.
                if let Err(second) = writer.checkpoint().await {
                    tracing::warn!(error = %second, "the last checkpoint could not be written");
                }
                return Err(error);
            }
        };

        run.monitor.phase("committing", "step", None);
        let left_out: Vec<&Name> = schedule.sources.iter().filter(|source| !sources.contains(source)).collect();
        let history = History { repository, policy, schedule: name };
        let mut draft = draft(policy, identity, &reports, &left_out, failed.missing);
        draft.notes.splice(0..0, writer.stats().notes);
        draft.suspect = reports.iter().flat_map(|report| report.suspect.iter().cloned()).collect();
        draft.suspect.extend(history.judge(&reports).await?);
        if !draft.suspect.is_empty() {
            draft.state = State::Suspect;
        }
        let on_purpose = !left_out.is_empty() && draft.missing.len() == left_out.len();
        match writer.commit(draft).await? {
            CommitOutcome::Committed(stored) => Ok(BackupOutcome { on_purpose, manifest: stored.manifest }),
            CommitOutcome::Fenced => Err(Error::Fenced),
        }
    }
}

fn begin_options(
    policy: &Policy,
    schedule: &Name,
    sources: &[Name],
    options: &BackupOptions,
    run: &Run,
) -> BeginOptions {
    let mut begin = BeginOptions::new(policy.name.clone(), schedule.clone(), sources.to_vec(), Arc::clone(&run.clock));
    if options.full {
        begin.full_every = std::time::Duration::ZERO;
    }
    begin.checkpoint_packs = options.checkpoint_packs.unwrap_or(begin.checkpoint_packs);
    begin
}

/// Refuses a cluster that is not the one of the policy's newest backup of a cluster: a wrong context must
/// not push good backups out.
pub(super) async fn check_cluster(
    repository: &Repository,
    policy: &Name,
    now: &kubernetes::Identity,
) -> Result<(), Error> {
    let of_cluster = |manifest: &Manifest| manifest.cluster.is_some();
    let newest = repository.newest_that(&Scope::Policy(policy.clone()), of_cluster).await?;
    match newest.and_then(|stored| stored.manifest.cluster) {
        Some(before) if before.uid != now.uid => Err(Error::WrongCluster {
            before_name: before.name,
            before_uid: before.uid,
            now_name: now.name.clone(),
            now_uid: now.uid.clone(),
        }),
        _ => Ok(()),
    }
}

/// Waits until everything that was captured is stored: the last moment at which the run can be told to stop.
async fn store_rest(writer: &BackupWriter, run: &Run) -> Result<(), Error> {
    run.monitor.phase("storing", "step", None);
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Interrupted),
        stored = writer.checkpoint() => Ok(stored?),
    }
}

/// The manifest as far as the sources decide it. What `--source` left out is missing, by name.
fn draft(
    policy: &Policy,
    identity: Option<kubernetes::Identity>,
    reports: &[CaptureReport],
    left_out: &[&Name],
    failed: Vec<Missing>,
) -> ManifestDraft {
    let on_purpose = |source: &&Name| Missing {
        source: source.to_string(),
        what: format!("source {source}"),
        why: "left out by --source".to_owned(),
    };
    let missing: Vec<Missing> = left_out
        .iter()
        .map(on_purpose)
        .chain(failed)
        .chain(reports.iter().flat_map(|report| report.missing.iter().cloned()))
        .collect();
    let state = if missing.is_empty() { State::Complete } else { State::Partial };
    let mut draft = ManifestDraft::new(state);
    let stored = |it: kubernetes::Identity| StoredCluster { uid: it.uid, name: it.name, version: it.version };
    draft.cluster = identity.map(stored);
    draft.sources = reports.iter().map(source_entry).collect();
    draft.missing = missing;
    draft.notes = reports.iter().flat_map(|report| report.notes.iter().cloned()).collect();
    draft.policy_document = Some(policy.to_embedded());
    draft
}

fn source_entry(report: &CaptureReport) -> SourceEntry {
    let group = |group: &CapturedGroup| GroupEntry {
        name: group.name.clone(),
        total: GroupTotal { count: group.count, restorable: group.restorable, bytes: group.bytes },
    };
    SourceEntry {
        name: report.source.clone(),
        kind: report.kind.clone(),
        consistency: report.consistency.clone(),
        server: report.server.clone(),
        moment: report.moment.clone(),
        total: GroupTotal::default(),
        groups: report.groups.iter().map(group).collect(),
        groups_omitted: 0,
        volumes: VolumeSummary::of(report.volumes.clone()),
    }
}

/// What earlier backups of the policy say of its sources.
#[derive(Debug)]
struct History<'a> {
    repository: &'a Repository,
    policy: &'a Policy,
    schedule: &'a Name,
}

impl History<'_> {
    /// Why the capture is suspect, in sentences; empty if it is not.
    async fn judge(&self, reports: &[CaptureReport]) -> Result<Vec<String>, Error> {
        let mine = Scope::Schedule(self.policy.name.clone(), self.schedule.clone());
        let of_schedule = self.repository.newest_good(&mine).await?;
        let mut findings = Vec::new();
        for report in reports {
            let before = match of_schedule.as_ref().and_then(|stored| entry_of(stored, &report.source)) {
                Some(entry) => Some(entry.clone()),
                None => self.last_holding(&report.source).await?,
            };
            let Some(before) = before else { continue };
            let selected = |namespace: &str| match self.policy.sources.get(&report.source) {
                Some(SourceSpec::Kubernetes(spec)) => kubernetes_selection(spec).takes_namespace(namespace),
                Some(SourceSpec::Postgres(_) | SourceSpec::Mongodb(_)) => true,
                None => false,
            };
            findings.extend(judge(report.source.as_str(), &held_before(&before), &held_now(report), selected));
        }
        Ok(findings)
    }

    /// The source in the newest good backup of the policy that holds it: the schedule's newest one may
    /// not, because the source was not in the schedule then, or is in another one as well.
    async fn last_holding(&self, source: &Name) -> Result<Option<SourceEntry>, Error> {
        let (_, mut entries) = self.repository.newest_first(&Scope::Policy(self.policy.name.clone())).await?;
        while let Some(entry) = entries.try_next().await? {
            let summary = entry.summary().filter(|_| entry.is_good() && !entry.tombstoned);
            if summary.is_some_and(|summary| summary.sources.iter().any(|held| held.name == *source)) {
                let stored = self.repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
                return Ok(entry_of(&stored, source).cloned());
            }
        }
        Ok(None)
    }
}

fn entry_of<'m>(stored: &'m StoredManifest, source: &Name) -> Option<&'m SourceEntry> {
    stored.manifest.sources.iter().find(|entry| entry.name == *source)
}

fn held_before(entry: &SourceEntry) -> Holdings {
    let held = |group: &GroupEntry| {
        (group.name.clone(), Held { count: group.total.count, restorable: group.total.restorable })
    };
    Holdings { groups: entry.groups.iter().map(held).collect() }
}

fn held_now(report: &CaptureReport) -> Holdings {
    let held = |group: &CapturedGroup| (group.name.clone(), Held { count: group.count, restorable: group.restorable });
    Holdings { groups: report.groups.iter().map(held).collect() }
}

fn choose_schedule<'p>(policy: &'p Policy, wanted: Option<&Name>) -> Result<(&'p Name, &'p Schedule), Error> {
    let choices = || policy.schedules.keys().map(ToString::to_string).collect();
    match wanted {
        Some(name) => policy
            .schedules
            .get_key_value(name)
            .ok_or_else(|| Error::NoSuchSchedule { wanted: name.to_string(), choices: choices() }),
        None if policy.schedules.len() == 1 => {
            policy.schedules.iter().next().ok_or(Error::WhichSchedule { choices: Vec::new() })
        }
        None => Err(Error::WhichSchedule { choices: choices() }),
    }
}

fn choose_sources(schedule: &Schedule, name: &Name, only: &[Name]) -> Result<Vec<Name>, Error> {
    if let Some(stranger) = only.iter().find(|source| !schedule.sources.contains(source)) {
        return Err(Error::NoSuchSource {
            wanted: stranger.to_string(),
            holder: format!("schedule `{name}`"),
            choices: schedule.sources.iter().map(ToString::to_string).collect(),
        });
    }
    let wanted = |source: &&Name| only.is_empty() || only.contains(source);
    Ok(schedule.sources.iter().filter(wanted).cloned().collect())
}
