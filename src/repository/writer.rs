//! Writing a backup: the protocol from the choice of parents to the first byte (B2, B3).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Repository, Scope, Session, Totals,
    backend::{Key, PutOutcome},
    catalog::StoredManifest,
    checkpoint::Checkpoints,
    chunker::CutRules,
    control,
    crypt::Cipher,
    finished::Finished,
    layout,
    objects::put_own,
    pack::CLOSE_AT,
    parents::{Parent, Wanted},
    pipeline::{MAX_WORKERS, Pipeline, PipelineOptions},
    sink::StreamWriter,
    tool,
};
use crate::types::{BackupId, CaptureSink, Clock, Name, SinkError, StreamSink, StreamSpec};

/// How far the clocks of this machine and of the store may be apart.
pub(super) const MAX_SKEW: SignedDuration = SignedDuration::from_mins(2);

/// How a backup is written.
#[derive(Debug, Clone)]
pub struct BeginOptions {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The new backup's id; its time is the start of the run, to the second. A backup of the same
    /// schedule that has this second, or one a little later, makes the run take the second after it.
    pub backup: BackupId,
    /// The start of the run.
    pub started: Timestamp,
    /// The sources that will be captured: parents are chosen for them.
    pub sources: Vec<Name>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// A checkpoint is written after so many packs,
    pub checkpoint_packs: u32,
    /// or after this time, even if there is nothing to say: it is the heartbeat.
    pub checkpoint_every: Duration,
    /// zstd's level. It is no part of the format.
    pub level: i32,
    /// A pack is closed when it has so many stored bytes; at most 8 MiB.
    pub pack_bytes: usize,
    /// Packs that are sent at once.
    pub parallel_puts: usize,
    /// Threads that hash and compress; at most 4.
    pub workers: usize,
    /// Bytes that may be held between a source and the store's acknowledgement.
    pub memory: u64,
    /// Chunks of parents that may be known at once, in 28 bytes each.
    pub known_chunks: usize,
    /// After this time a backup takes no parent and stores everything anew. Zero: this one does.
    pub full_every: Duration,
    /// What the model test does wrongly on purpose.
    #[cfg(any(test, feature = "testing"))]
    pub planted: super::Planted,
}

impl BeginOptions {
    /// The usual way: a checkpoint every 64 packs or 10 minutes, level 3 where it saves something, packs of
    /// 8 MiB, 4 puts at once, one thread
    /// a core and at most 4, 32 MiB, a million known chunks, everything anew every 30 days.
    #[must_use]
    pub fn new(policy: Name, schedule: Name, sources: Vec<Name>, clock: Arc<dyn Clock>) -> Self {
        let started = clock.now();
        Self {
            policy,
            schedule,
            backup: BackupId::new(started),
            started,
            sources,
            clock,
            checkpoint_packs: 64,
            checkpoint_every: Duration::from_secs(600),
            level: 3,
            pack_bytes: CLOSE_AT,
            parallel_puts: 4,
            workers: std::thread::available_parallelism().map_or(2, usize::from).min(MAX_WORKERS),
            memory: 32 << 20,
            known_chunks: 1_000_000,
            full_every: Duration::from_secs(30 * 24 * 3600),
            #[cfg(any(test, feature = "testing"))]
            planted: super::Planted::default(),
        }
    }

    /// Whether the fault that `which` picks is planted. Outside of tests there is none.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn planted(&self, which: impl Fn(&super::Planted) -> bool) -> bool {
        which(&self.planted)
    }

    #[cfg(not(any(test, feature = "testing")))]
    pub(super) fn planted(&self, _which: impl Fn(&super::planted::Planted) -> bool) -> bool {
        false
    }
}

/// What a run has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Sums so far, of chunks and packs; those of streams are set by the commit.
    pub totals: Totals,
    /// Whose packs may be reused.
    pub parents: Vec<BackupId>,
    /// What a person should know of the parents: one that was dropped, a table that is full.
    pub notes: Vec<String>,
    /// The most bytes that were in flight at once.
    pub most_in_flight: u64,
}

/// A backup being written. Streams are opened through [`CaptureSink`], several at once.
#[derive(Debug)]
pub struct BackupWriter {
    pub(super) repository: Repository,
    pub(super) options: BeginOptions,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) finished: Arc<Finished>,
    pub(super) previous: Option<Box<StoredManifest>>,
    pub(super) parents: Vec<BackupId>,
    pub(super) full_since: Timestamp,
    /// The session's time by the store's clock.
    pub(super) session_written: Timestamp,
    pub(super) cipher: Cipher,
    rules: CutRules,
    notes: Vec<String>,
    /// Ends the heartbeat.
    pub(super) end: CancellationToken,
}

impl Repository {
    /// Begins a backup: chooses parents, writes the session, and loads what may be reused (B2, B3).
    ///
    /// # Errors
    /// Before anything is written: what is missing of keys. What the store says; [`Error::Begun`] with [`Error::CreateOnlyIgnored`], [`Error::ClockSkew`], or what the store
    /// says once the session is written.
    pub async fn begin(&self, mut options: BeginOptions) -> Result<BackupWriter, Error> {
        let rules = CutRules::new(&self.header.chunker, self.location())?;
        self.check_signing_key()?;
        let cipher = self.cipher_to_write().await?;
        self.backend.lock_ready().await?;
        self.follow_newest(&mut options).await?;
        let wanted = Wanted {
            policy: &options.policy,
            schedule: &options.schedule,
            backup: &options.backup,
            sources: &options.sources,
            full_every: options.full_every,
            epoch: cipher.epoch(),
        };
        let mut choice = self.choose_parents(&wanted).await?;
        for parent in &choice.parents {
            if let Parent::Backup(stored) = parent {
                self.check_index_identity(&cipher, &stored.manifest).await?;
            }
        }
        let full_since = choice.full_since(options.started);
        let named: Vec<_> = choice.parents.iter().map(Parent::id).cloned().collect();
        let session_written = self.put_session(&options, named, full_since).await?;
        let (policy, begun) = (&options.policy, Error::begun(&options.backup));
        if !options.planted(|it| it.tombstones_once) {
            self.confirm_parents(policy, &mut choice).await.map_err(&begun)?;
        }
        let reusable = self.gather(policy, &mut choice, (&cipher, options.known_chunks)).await.map_err(&begun)?;

        let pipeline = Pipeline::start(
            Arc::clone(&self.backend),
            PipelineOptions {
                backup: options.backup.clone(),
                cipher: cipher.clone(),
                level: options.level,
                workers: options.workers,
                pack_bytes: options.pack_bytes.min(CLOSE_AT),
                parallel_puts: options.parallel_puts,
                memory: options.memory,
                checkpoint_packs: options.checkpoint_packs.max(1),
                packs_last: options.planted(|it| it.manifest_first),
            },
            reusable,
        )?;
        let checkpoints = Checkpoints::new(
            Arc::clone(&self.backend),
            (options.backup.clone(), cipher.clone()),
            Arc::clone(&pipeline),
        );
        let end = CancellationToken::new();
        tokio::spawn(Arc::clone(&checkpoints).run(options.checkpoint_every, end.clone()));
        Ok(BackupWriter {
            repository: self.clone(),
            pipeline,
            checkpoints,
            finished: Arc::default(),
            previous: choice.previous,
            parents: choice.parents.iter().map(Parent::id).cloned().collect(),
            full_since,
            session_written,
            cipher,
            rules,
            notes: choice.notes,
            end,
            options,
        })
    }

    /// Gives the run an id that sorts after the newest backup of its schedule, also if both begin in one second
    /// or another machine's clock is a little ahead: the newest by id is then the newest by `previous`, too.
    async fn follow_newest(&self, options: &mut BeginOptions) -> Result<(), Error> {
        let scope = Scope::Schedule(options.policy.clone(), options.schedule.clone());
        let Some(newest) = self.list_manifests(&scope).await?.pop() else { return Ok(()) };
        let ahead = newest.backup.time().duration_since(options.backup.time());
        if !ahead.is_negative() && ahead <= MAX_SKEW {
            options.backup = BackupId::new(newest.backup.time() + SignedDuration::from_secs(1));
        }
        Ok(())
    }

    /// Puts the session twice: the second put must find the first, or the store overwrites. Gives
    /// the session's time by the store's clock.
    async fn put_session(
        &self,
        options: &BeginOptions,
        parents: Vec<BackupId>,
        full_since: Timestamp,
    ) -> Result<Timestamp, Error> {
        let key = layout::session(&options.policy, &options.backup);
        let session = Session {
            repository: self.header.id.clone(),
            policy: options.policy.clone(),
            schedule: options.schedule.clone(),
            backup: options.backup.clone(),
            parents,
            full_since,
            started: options.clock.now(),
            tool: tool(),
            copied: None,
            unknown: serde_json::Map::new(),
        };
        let bytes = control::encode(&session)?;
        let before = options.clock.now();
        put_own(&*self.backend, &key, bytes.clone()).await?;
        self.prove_session(&key, bytes, options, before).await.map_err(Error::begun(&options.backup))
    }

    /// The session is there since `before`: the store must not take it again, and its clock must agree.
    async fn prove_session(
        &self,
        key: &Key,
        bytes: Bytes,
        options: &BeginOptions,
        before: Timestamp,
    ) -> Result<Timestamp, Error> {
        if self.backend.put_new(key, bytes).await? == PutOutcome::Created {
            return Err(Error::CreateOnlyIgnored { location: self.location().to_owned() });
        }
        let store = self.backend.head(key).await.map_err(|error| Error::reading(key, error))?.modified;
        let after = options.clock.now();
        match nearest_if_apart(before, store, after) {
            Some(local) => Err(Error::ClockSkew { location: self.location().to_owned(), local, store }),
            None => Ok(store),
        }
    }
}

/// The local time nearest to the store's time of an object, if they are too far apart. The object was
/// written at some time from `before` to `after`: a put that took long is no clock that is wrong.
pub(super) fn nearest_if_apart(before: Timestamp, store: Timestamp, after: Timestamp) -> Option<Timestamp> {
    let local = store.clamp(before, after.max(before));
    (local.duration_since(store).abs() > MAX_SKEW).then_some(local)
}

impl BackupWriter {
    /// The backup's id.
    #[must_use]
    pub fn backup(&self) -> &BackupId {
        &self.options.backup
    }

    /// The newest committed backup of this schedule when the run began, whatever its state.
    #[must_use]
    pub fn previous(&self) -> Option<&StoredManifest> {
        self.previous.as_deref()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats {
            totals: self.pipeline.totals(),
            parents: self.parents.clone(),
            notes: self.notes.clone(),
            most_in_flight: self.pipeline.most_in_flight(),
        }
    }

    /// Stores what was captured so far and a checkpoint of it, so that the next run reuses it. For
    /// a run that is told to stop: what is written to streams afterwards may be lost.
    ///
    /// # Errors
    /// What the store says.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.pipeline.drain().await?;
        self.checkpoints.write_all().await
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        self.end.cancel();
        self.pipeline.fail(Error::Internal("the backup's writer is gone".to_owned()));
    }
}

#[async_trait]
impl CaptureSink for BackupWriter {
    async fn open(&self, spec: StreamSpec) -> Result<Box<dyn StreamSink>, SinkError> {
        let name = spec.name.clone();
        let rule = self.rules.of(spec.media_type).clone();
        let (pipeline, finished) = (Arc::clone(&self.pipeline), Arc::clone(&self.finished));
        let number = finished.next_number();
        match StreamWriter::new(pipeline, finished, number, spec, rule) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(error) => Err(SinkError { stream: name, source: Box::new(error) }),
        }
    }

    async fn abandon(&self, source: &Name) {
        self.finished.abandon(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_that_took_long_is_no_wrong_clock() {
        let at = |seconds: i64| Timestamp::from_second(1_795_140_000 + seconds).unwrap();
        // The puts took ten minutes; the object was written at any time between.
        for (store, apart) in [(-121, true), (-120, false), (0, false), (300, false), (720, false), (721, true)] {
            assert_eq!(nearest_if_apart(at(0), at(store), at(600)).is_some(), apart, "{store} s");
        }
        assert_eq!(nearest_if_apart(at(0), at(1000), at(600)), Some(at(600)));
        assert_eq!(nearest_if_apart(at(0), at(-1000), at(600)), Some(at(0)));
    }
}
