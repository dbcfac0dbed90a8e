//! Writing a backup: the protocol's steps B2 to B7.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Error, ManifestDraft, Repository, Totals, catalog::StoredManifest};
use crate::types::{BackupId, CaptureSink, Clock, Name, SinkError, StreamSink, StreamSpec};

/// How a backup is written.
#[derive(Debug, Clone)]
pub struct BeginOptions {
    /// The policy.
    pub policy: Name,
    /// The schedule.
    pub schedule: Name,
    /// The new backup's id; its time is the start of the run.
    pub backup: BackupId,
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
    /// Packs that are sent at once.
    pub parallel_puts: usize,
    /// Threads that hash and compress.
    pub workers: usize,
    /// Bytes that may be held between a source and the store's acknowledgement.
    pub memory: u64,
    /// After this time a backup takes no parent and stores everything anew.
    pub full_every: Duration,
}

impl BeginOptions {
    /// The usual way: a checkpoint every 64 packs or 10 minutes, level 3, 4 puts at once, one thread
    /// a core, 48 MiB, everything anew every 30 days.
    #[must_use]
    pub fn new(policy: Name, schedule: Name, sources: Vec<Name>, clock: Arc<dyn Clock>) -> Self {
        Self {
            policy,
            schedule,
            backup: BackupId::new(clock.now()),
            sources,
            clock,
            checkpoint_packs: 64,
            checkpoint_every: Duration::from_secs(600),
            level: 3,
            parallel_puts: 4,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            memory: 48 << 20,
            full_every: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum CommitOutcome {
    /// The backup exists.
    Committed(Box<StoredManifest>),
    /// Another run had taken this one for dead and put an abort marker in its place: there is no backup.
    Fenced,
}

/// What a run has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Sums, as the manifest will have them.
    pub totals: Totals,
    /// Index objects written.
    pub checkpoints: u32,
    /// Whose packs are reused.
    pub parents: Vec<BackupId>,
    /// Something about parents that a person should know: one that was dropped, a table that is full.
    pub notes: Vec<String>,
}

/// A backup being written. Streams are opened through [`CaptureSink`], several at once.
#[derive(Debug)]
pub struct BackupWriter {
    backup: BackupId,
    previous: Option<StoredManifest>,
}

impl Repository {
    /// Begins a backup: chooses parents, writes the session, and loads what may be reused (B2, B3).
    ///
    /// # Errors
    /// [`Error::CreateOnlyIgnored`], [`Error::ClockSkew`], or what the store says.
    pub async fn begin(&self, _options: BeginOptions) -> Result<BackupWriter, Error> {
        Err(Error::Internal("not built yet".to_owned()))
    }
}

impl BackupWriter {
    /// The backup's id.
    #[must_use]
    pub fn backup(&self) -> &BackupId {
        &self.backup
    }

    /// The newest committed backup of this schedule when the run began, whatever its state.
    #[must_use]
    pub fn previous(&self) -> Option<&StoredManifest> {
        self.previous.as_ref()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats::default()
    }

    /// Stores what was captured so far and a checkpoint of it, so that the next run reuses it. For
    /// a run that is told to stop; the streams must not be written to any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Commits the backup (B5 to B7). Streams that were not finished do not belong to it.
    ///
    /// # Errors
    /// Any failure before: nothing was committed, and the next run reuses what is stored.
    pub async fn commit(&self, _draft: ManifestDraft) -> Result<CommitOutcome, Error> {
        Err(Error::Internal("not built yet".to_owned()))
    }
}

#[async_trait]
impl CaptureSink for BackupWriter {
    async fn open(&self, spec: StreamSpec) -> Result<Box<dyn StreamSink>, SinkError> {
        let source = Box::new(Error::Internal("not built yet".to_owned()));
        Err(SinkError { stream: spec.name, source })
    }
}
