//! What is run: two backups and two prunes on a repository with two backups, the second of which is to go; and what must
//! hold afterwards.
//!
//! With a copy, which lies under a prefix in the same store: there is a third backup, which needs packs of the second. The
//! second has a tombstone in both places. One prune is of the repository, the other of the copy; and somebody brings what is
//! missing into the copy. Or the tombstone of the second stands only in the copy: then it may be brought into it anew, once
//! all of it has gone there, and nobody marks it again.

use async_trait::async_trait;
use futures::{FutureExt, future::LocalBoxFuture};
use jiff::SignedDuration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{super::*, process::Asking};
use crate::{
    repository::{
        Copier, CopyOptions, CopyOutcome, Level, Listed, Planted, PruneOptions, Rate, Scope, TombstoneBy,
        VerifyOptions,
        backend::{Error as StoreError, Listing, ObjectMeta, PutOutcome},
        verify,
    },
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
    ReliesOnAll,
    IgnoresMarks,
}

impl Bug {
    fn planted(self) -> Planted {
        Planted {
            tombstones_once: self == Self::TombstonesOnce,
            sessions_last: self == Self::SessionsLast,
            manifest_first: self == Self::ManifestFirst,
            fence_by_overwrite: self == Self::FenceByOverwrite,
            no_wait: self == Self::NoWait,
            relies_on_all: self == Self::ReliesOnAll,
            ignores_marks: self == Self::IgnoresMarks,
        }
    }
}

/// A process: 0 and 1 are backups, 2 and 3 prunes; those of [`AFTERWARDS`] come when these have ended.
pub(super) type Who = u8;
/// The processes that are at work at once.
const ACTORS: [Who; 4] = [0, 1, 2, 3];
/// The prune before whose beginning a day passes. With a copy it is one of the copy.
pub(super) const SECOND_PRUNE: Who = 3;
/// Two more prunes, the second over a week later, and a backup. With a copy the prunes are of the copy.
pub(super) const AFTERWARDS: [Who; 3] = [4, 5, LAST_BACKUP];
pub(super) const LAST_BACKUP: Who = 6;
/// Brings what is missing into the copy.
pub(super) const COPIER: Who = 7;
/// How many processes there are.
pub(super) const PROCESSES: Who = 8;
/// What passes while a process stands still, and before the second prune.
pub(super) const A_DAY: SignedDuration = SignedDuration::from_hours(25);
/// Where the copy lies in the store.
pub(super) const COPY: &str = "copy/";

/// The key or prefix in its place, be that the repository or the copy.
pub(super) fn in_place(subject: &str) -> &str {
    subject.strip_prefix(COPY).unwrap_or(subject)
}

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
    /// With a copy: the backup that is not in it yet.
    third: Option<BackupId>,
    /// The tombstone of the second stands only in the copy.
    deleted_there: bool,
    runtime: Runtime,
}

/// What lies under a prefix of a store, as a store.
#[derive(Debug, Clone)]
struct Under(Memory, &'static str);

impl Under {
    fn key(&self, key: &Key) -> Key {
        Key::new(format!("{}{key}", self.1)).unwrap()
    }
}

#[async_trait]
impl Backend for Under {
    fn location(&self) -> &str {
        self.0.location()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        self.0.put_new(&self.key(key), bytes).await
    }
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.0.get(&self.key(key), limit).await
    }
    async fn get_range(&self, key: &Key, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        self.0.get_range(&self.key(key), range).await
    }
    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        self.0.head(&self.key(key)).await
    }
    fn list(&self, prefix: &str) -> Listing {
        let bare = |meta: ObjectMeta| ObjectMeta { key: Key::new(in_place(meta.key.as_str())).unwrap(), ..meta };
        Box::pin(self.0.list(&format!("{}{prefix}", self.1)).map_ok(bare))
    }
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(&self.key(key)).await
    }
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

/// The doomed backup is marked, if there is one; and what is marked goes when its time has come.
async fn clean_up(backend: Arc<dyn Backend>, clock: &Arc<SetClock>, doomed: Option<&BackupId>, bug: Bug) -> Option<()> {
    let options = PruneOptions { planted: bug.planted(), ..PruneOptions::new(name("orders"), clock.clone()) };
    let repository = Repository::open(backend).await.ok()?;
    let survey = repository.survey(&options, false).await.ok()?;
    let unmarked = |id: &BackupId| survey.backups.iter().any(|one| one.entry.backup == *id && one.tombstone.is_none());
    let doomed: Vec<BackupId> = doomed.filter(|id| unmarked(id)).cloned().into_iter().collect();
    repository.prune(&survey, &doomed, &options).await.ok().map(drop)
}

/// Brings what the copy lacks into it, oldest first, as `drctl copy` does. Gives what it was told to be there now and not
/// about to be deleted.
async fn bring(
    (from, to): (Arc<dyn Backend>, Arc<dyn Backend>),
    clock: &Arc<SetClock>,
    third: &BackupId,
    bug: Bug,
) -> Vec<BackupId> {
    let Ok(from) = Repository::open(from).await else { return Vec::new() };
    let Ok(to) = from.replica_in(to, &**clock).await else { return Vec::new() };
    let Ok(originals) = from.backups(&Scope::All).await else { return Vec::new() };
    let usual = CopyOptions::new(clock.clone(), Arc::new(Silent), Rate::new(None));
    let copier = Copier::new(&from, &to, CopyOptions { planted: bug.planted(), at_once: 1, ..usual });
    let mut brought = Vec::new();
    for entry in originals {
        if entry.tombstoned || !matches!(entry.listed, Listed::Backup(_)) {
            continue;
        }
        // What is there, and by the listings lacks nothing, is passed over.
        if entry.backup != *third && to.manifest(&entry.policy, &entry.schedule, &entry.backup).await.is_ok() {
            continue;
        }
        match copier.copy(&entry.policy, &entry.schedule, &entry.backup).await {
            Ok(CopyOutcome::Copied(_)) => brought.push(entry.backup),
            // What was there may have a tombstone there.
            Ok(CopyOutcome::There) if entry.backup == *third => brought.push(entry.backup),
            _ => {}
        }
    }
    brought
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(false, false)
    }

    /// With a copy.
    pub(super) fn copying() -> Self {
        Self::with(true, false)
    }

    /// With a copy, from which alone the second backup is to go.
    pub(super) fn copying_what_was_deleted() -> Self {
        Self::with(true, true)
    }

    fn with(copy: bool, deleted_there: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
        let store = Memory::new(clock.clone());
        let pass = |hours| clock.set(clock.now() + SignedDuration::from_hours(hours));
        let ids = runtime.block_on(async {
            Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
            // The second shares with the first; both of what the backups to come share is in it, and a part nowhere else.
            let mut made = vec![("aaaaaa", data(&[1])), ("bbbbbb", of_run(11))];
            if copy {
                made.push(("eeeeee", of_run(12)));
            }
            let mut ids = Vec::new();
            for (suffix, streams) in made {
                pass(1);
                let options = options_of(&clock, id(clock.now(), suffix), Bug::None);
                ids.extend(back_up(Arc::new(store.clone()), options, &streams).await);
            }
            if copy {
                pass(1);
                begin_the_copy(&store, &clock, &ids[..2], deleted_there).await;
                pass(25);
            }
            ids
        });
        pass(1);
        let [first, doomed] = [ids[0].clone(), ids[1].clone()];
        Self { store, start: clock.now(), first, doomed, third: ids.get(2).cloned(), deleted_there, runtime }
    }

    /// The processes that are at work at once.
    pub(super) fn actors(&self) -> Vec<Who> {
        ACTORS.into_iter().chain(self.third.as_ref().map(|_| COPIER)).collect()
    }

    /// Whether a prune is one of the copy.
    fn is_of_copy(&self, who: Who) -> bool {
        self.third.is_some() && is_prune(who) && who >= SECOND_PRUNE
    }

    /// What a process does from its beginning to its end.
    pub(super) fn work(
        &self,
        who: Who,
        bug: Bug,
        asking: Arc<Asking>,
        clock: Arc<SetClock>,
    ) -> LocalBoxFuture<'static, Vec<BackupId>> {
        let (doomed, third) = (self.doomed.clone(), self.third.clone());
        let place: Arc<dyn Backend> = if self.is_of_copy(who) { asking.of(COPY) } else { asking.clone() };
        // What was brought anew into the copy is not to go again.
        let marks = !(self.deleted_there && self.is_of_copy(who));
        async move {
            if is_prune(who) {
                clean_up(place, &clock, marks.then_some(&doomed), bug).await;
                return Vec::new();
            }
            if let (COPIER, Some(third)) = (who, third) {
                return bring((place, asking.of(COPY)), &clock, &third, bug).await;
            }
            // So far apart that neither takes the second after the other.
            let at = clock.now() + SignedDuration::from_mins(10 * i64::from(who == 1));
            let suffix = if who == 0 { "cccccc" } else { "dddddd" };
            back_up(place, options_of(&clock, id(at, suffix), bug), &of_run(20 + u64::from(who)))
                .await
                .into_iter()
                .collect()
        }
        .boxed_local()
    }

    /// What does not hold: each backup that is listed is sound at level content, and nothing is missing that nobody wanted
    /// to go; in the repository, and in the copy, where there is one.
    pub(super) fn damage(&self, store: &Memory, committed: &[BackupId]) -> Option<String> {
        let Some(third) = &self.third else { return self.damage_in(Arc::new(store.clone()), committed, true) };
        // Who brings the third, or the second anew, into the copy is told so; in the repository the third is in any case.
        let brought = |one: &&BackupId| [third, &self.doomed].contains(one);
        let copied: Vec<BackupId> = committed.iter().filter(brought).cloned().collect();
        let all: Vec<BackupId> = committed.iter().filter(|one| **one != self.doomed).chain([third]).cloned().collect();
        self.damage_in(Arc::new(store.clone()), &all, true).or_else(|| {
            let what = self.damage_in(Arc::new(Under(store.clone(), COPY)), &copied, false)?;
            Some(format!("in the copy: {what}"))
        })
    }

    fn damage_in(&self, place: Arc<dyn Backend>, committed: &[BackupId], here: bool) -> Option<String> {
        self.runtime.block_on(async {
            let repository = Repository::open(place).await.ok()?;
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
                here && entry.backup == self.doomed && matches!(entry.listed, Listed::Aborted)
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

/// A copy with both of these backups, the second of which has a tombstone there and, unless it is to go there alone, in the
/// repository.
async fn begin_the_copy(store: &Memory, clock: &Arc<SetClock>, ids: &[BackupId], deleted_there: bool) {
    let from = Repository::open(Arc::new(store.clone())).await.unwrap();
    let to = from.replica_in(Arc::new(Under(store.clone(), COPY)), &**clock).await.unwrap();
    let (policy, schedule) = (name("orders"), name("daily"));
    for id in ids {
        let options = CopyOptions::new(clock.clone(), Arc::new(Silent), Rate::new(None));
        Copier::new(&from, &to, options).copy(&policy, &schedule, id).await.unwrap();
    }
    for place in [to].into_iter().chain((!deleted_there).then_some(from)) {
        place.put_tombstone((&policy, &schedule, &ids[1]), TombstoneBy::Asked, &**clock).await.unwrap();
    }
}
