//! What drctl protects. Each folder is one kind of source; none knows where its bytes are kept.

pub mod kubernetes;
pub mod mongodb;
pub mod postgres;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::types::{CaptureSink, Missing, Moment, Monitor, Name, SinkError, Volume};

/// What a run gives to every source that it captures.
#[derive(Debug, Clone, Copy)]
pub struct CaptureContext<'a> {
    /// Where the streams go.
    pub sink: &'a dyn CaptureSink,
    /// Who hears of the progress.
    pub monitor: &'a dyn Monitor,
    /// Set when the run is to stop (Ctrl-C, SIGTERM).
    pub cancel: &'a CancellationToken,
}

/// A captured source in the manifest: what a person asks of it, and what the next run compares with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureReport {
    /// The source's name in the policy.
    pub source: Name,
    /// `kubernetes`, `postgres`, `mongodb`.
    pub kind: String,
    /// How consistent the copy is, in the field's words: `per-kind` for Kubernetes lists.
    pub consistency: String,
    /// Server and version, for people: `Kubernetes v1.36.3`.
    pub server: String,
    /// The moment that it was captured at, if there is one.
    pub moment: Option<Moment>,
    /// What was counted, by group (a namespace, a database; empty: cluster-scoped).
    pub groups: Vec<CapturedGroup>,
    /// The claims of volumes among it, and who has their data.
    pub volumes: Vec<Volume>,
    /// What should be there and is not.
    pub missing: Vec<Missing>,
    /// What the source itself shows to be wrong, in sentences without their full stop: a namespace that is
    /// being deleted. It makes the backup suspect.
    pub suspect: Vec<String>,
    /// What was left out by rule and is worth a line (aggregated APIs, unserved groups).
    pub notes: Vec<String>,
}

/// One namespace (or database) of a captured source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedGroup {
    /// The namespace or database; empty for what belongs to none.
    pub name: String,
    /// Objects, rows or documents captured.
    pub count: u64,
    /// Of these, what a restore would create (the rest comes back by itself, like a Deployment's Pods).
    pub restorable: u64,
    /// Plain bytes.
    pub bytes: u64,
}

/// A source could not be captured at all.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The repository refused to take more.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The Kubernetes cluster could not be read.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The PostgreSQL database could not be read.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// The MongoDB database could not be read.
    #[error(transparent)]
    Mongodb(#[from] mongodb::Error),
    /// The run was told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Something that was found out about a source, or about what a backup needs besides, before one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `source orders-db`.
    pub subject: String,
    /// What it means for a backup.
    pub severity: Severity,
    /// What was found, in a sentence without its full stop.
    pub what: String,
    /// What can be done about it.
    pub next: Option<String>,
}

/// What a [`Finding`] means for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is as it should be.
    Good,
    /// It is worth knowing.
    Note,
    /// A backup would be partial.
    Partial,
    /// A backup would be suspect.
    Suspect,
    /// What it is about cannot be backed up, or nothing can be.
    Prevents,
}

/// One source of a policy. All sources of a run are prepared before the first is captured, so that
/// their moments lie close together.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Its name in the policy.
    fn name(&self) -> &Name;

    /// Fixes the moment that it will be captured at, where it can: locks, a snapshot.
    ///
    /// # Errors
    /// [`CaptureError`] if it cannot be reached or fixed.
    async fn prepare(&self, context: CaptureContext<'_>) -> Result<Box<dyn PreparedSource>, CaptureError>;
}

/// A source whose moment is fixed. Dropped, it lets go of what it holds.
#[async_trait]
pub trait PreparedSource: Debug + Send + Sync {
    /// The moment that it will be captured at. A source whose streams are read one after the other has none.
    fn moment(&self) -> Option<Moment>;

    /// Whether the server keeps that moment for some time only, whoever reads: such a source is captured before others.
    fn fades(&self) -> bool {
        false
    }

    /// Writes all of it into the sink. What cannot be read is named in the report, never skipped
    /// in silence. The report's moment is the one that was captured in the end: a source that had to
    /// begin again has a later one.
    ///
    /// # Errors
    /// [`CaptureError`] if nothing of use could be captured, or the repository failed.
    async fn capture(self: Box<Self>, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError>;
}
