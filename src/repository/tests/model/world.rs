//! What is run: two backups and two prunes on a repository with two backups, the second of which is to go; and what must
//! hold afterwards.

use futures::{FutureExt, future::BoxFuture};
use jiff::SignedDuration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::{
    repository::{Level, Listed, Planted, PruneOptions, Scope, VerifyOptions, verify},
    types::{BackupId, Silent},
};

/// A fault of the protocol that is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    TombstonesOnce,
    SessionsLast,
    ManifestFirst,
    FenceByOverwrite,
    NoWait,
    IgnoresCreateOnly,
}

impl Bug {
    fn planted(self) -> Planted {
        Planted {
            tombstones_once: self == Self::TombstonesOnce,
            sessions_last: self == Self::SessionsLast,
            manifest_first: self == Self::ManifestFirst,
            fence_by_overwrite: self == Self::FenceByOverwrite,
            no_wait: self == Self::NoWait,
        }
    }
}

/// A process: 0 and 1 are backups, 2 and 3 prunes; those of [`AFTERWARDS`] come when these have ended.
pub(super) type Who = u8;
/// How many processes are at work at once.
pub(super) const ACTORS: Who = 4;
/// The prune before whose beginning a day passes.
pub(super) const SECOND_PRUNE: Who = 3;
/// Two more prunes, the second over a week later, and a backup.
pub(super) const AFTERWARDS: [Who; 3] = [4, 5, LAST_BACKUP];
pub(super) const LAST_BACKUP: Who = 6;
/// How many processes there are.
pub(super) const PROCESSES: Who = 7;
/// What passes while a process stands still, and before the second prune.
pub(super) const A_DAY: SignedDuration = SignedDuration::from_hours(25);

/// Whether a process is a prune.
pub(super) fn is_prune(who: Who) -> bool {
    (2..LAST_BACKUP).contains(&who)
}

/// The repository before anything happens.
#[derive(Debug)]
pub(super) struct World {
    pub(super) store: Memory,
    pub(super) start: jiff::Timestamp,
    first: BackupId,
    doomed: BackupId,
    runtime: Runtime,
}

/// One stream of a chunk for each of `seeds`.
fn data(seeds: &[u64]) -> Vec<TestStream> {
    let parts: Vec<(String, Vec<u8>)> = seeds.iter().map(|seed| (format!("p{seed}"), noise(*seed, 300))).collect();
    vec![TestStream { name: "media".to_owned(), media_type: MediaType::Blob, parts }]
}

/// What a backup holds: two chunks that others have, too, and one of its own.
fn of_run(own: u64) -> Vec<TestStream> {
    data(&[1, 2, own])
}

fn options_of(clock: &Arc<SetClock>, id: BackupId, bug: Bug) -> BeginOptions {
    BeginOptions {
        backup: id,
        workers: 1,
        parallel_puts: 1,
        level: 1,
        memory: 1 << 20,
        known_chunks: 1_000,
        planted: bug.planted(),
        ..BeginOptions::new(name("orders"), name("daily"), vec![name("services")], clock.clone())
    }
}

fn id(at: jiff::Timestamp, suffix: &str) -> BackupId {
    BackupId::parse(&format!("{}-{suffix}", at.strftime("%Y%m%dT%H%M%SZ"))).unwrap()
}

async fn back_up(backend: Arc<dyn Backend>, options: BeginOptions, streams: &[TestStream]) -> Option<BackupId> {
    let writer = Repository::open(backend).await.ok()?.begin(options).await.ok()?;
    write(&writer, streams).await.ok()?;
    match writer.commit(draft(streams)).await {
        Ok(CommitOutcome::Committed(stored)) => Some(stored.manifest.backup),
        _ => None,
    }
}

/// The doomed backup is marked, and goes when its time has come.
async fn clean_up(backend: Arc<dyn Backend>, clock: &Arc<SetClock>, doomed: &BackupId, bug: Bug) -> Option<()> {
    let options = PruneOptions { planted: bug.planted(), ..PruneOptions::new(name("orders"), clock.clone()) };
    let repository = Repository::open(backend).await.ok()?;
    let survey = repository.survey(&options, false).await.ok()?;
    let there = survey.backups.iter().any(|one| one.entry.backup == *doomed && one.tombstone.is_none());
    let doomed = if there { std::slice::from_ref(doomed) } else { &[] };
    repository.prune(&survey, doomed, &options).await.ok().map(drop)
}

impl World {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
        let store = Memory::new(clock.clone());
        let [first, doomed] = runtime.block_on(async {
            Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
            // The second shares with the first; both of what the backups to come share is in it, and a part nowhere else.
            let mut ids = Vec::new();
            for (suffix, streams) in [("aaaaaa", data(&[1])), ("bbbbbb", of_run(11))] {
                clock.set(clock.now() + SignedDuration::from_hours(1));
                let options = options_of(&clock, id(clock.now(), suffix), Bug::None);
                ids.extend(back_up(Arc::new(store.clone()), options, &streams).await);
            }
            ids.try_into().unwrap()
        });
        clock.set(clock.now() + SignedDuration::from_hours(1));
        Self { store, start: clock.now(), first, doomed, runtime }
    }

    /// What a process does from its beginning to its end.
    pub(super) fn work(
        &self,
        who: Who,
        bug: Bug,
        backend: Arc<dyn Backend>,
        clock: Arc<SetClock>,
    ) -> BoxFuture<'static, Option<BackupId>> {
        let doomed = self.doomed.clone();
        async move {
            if is_prune(who) {
                clean_up(backend, &clock, &doomed, bug).await;
                return None;
            }
            // So far apart that neither takes the second after the other.
            let at = clock.now() + SignedDuration::from_mins(10 * i64::from(who == 1));
            let suffix = if who == 0 { "cccccc" } else { "dddddd" };
            back_up(backend, options_of(&clock, id(at, suffix), bug), &of_run(20 + u64::from(who))).await
        }
        .boxed()
    }

    /// What does not hold: each backup that is listed is sound at level content, and nothing is missing that nobody wanted
    /// to go.
    pub(super) fn damage(&self, store: &Memory, committed: &[BackupId]) -> Option<String> {
        self.runtime.block_on(async {
            let repository = Repository::open(Arc::new(store.clone())).await.ok()?;
            let entries = repository.backups(&Scope::All).await.ok()?;
            let there = entries.iter().filter(|entry| matches!(entry.listed, Listed::Backup(_)));
            let names: Vec<_> =
                there.map(|entry| (entry.policy.clone(), entry.schedule.clone(), entry.backup.clone())).collect();
            for id in committed.iter().chain([&self.first]) {
                if !names.iter().any(|name| name.2 == *id) {
                    return Some(format!("backup {id} was committed, nobody wanted it to go, and it is not there"));
                }
            }
            let aborted = |entry: &crate::repository::BackupEntry| {
                entry.backup == self.doomed && matches!(entry.listed, Listed::Aborted)
            };
            if entries.iter().any(aborted) {
                return Some("a backup that had committed was fenced".to_owned());
            }
            let (silent, cancel) = (Silent, CancellationToken::new());
            let report =
                verify(&repository, &names, &VerifyOptions::new(Level::Content), &silent, &cancel).await.ok()?;
            let finding = report.findings.first()?;
            Some(format!("{} of a backup that is listed: {:?}, {}", finding.object, finding.kind, finding.detail))
        })
    }
}
