//! The repository: format version 1 of `docs/format.md` over any backend.
//!
//! [`Repository`] opens one; [`Repository::begin`] writes a backup, [`Repository::read`] reads one,
//! [`Repository::backups`] lists them and [`verify()`] holds them against themselves.

mod ahead;
pub mod backend;
mod believed;
mod budget;
mod catalog;
mod checkpoint;
mod chunker;
mod chunks;
mod codec;
mod commit;
mod control;
mod copy;
pub mod crypt;
mod error;
mod error_kinds;
mod evidence;
mod fetch;
mod finished;
mod header;
mod index;
mod known;
mod large;
mod layout;
mod levels;
mod listed;
mod locks;
mod looks;
mod manifest;
mod mark_names;
mod marks;
mod named;
mod objects;
mod orphans;
mod pack;
mod parents;
mod pipeline;
mod planted;
mod proof;
mod prune;
mod reader;
mod refs;
mod reuse;
mod session;
mod sink;
mod spread;
mod streams;
mod summary;
#[cfg(test)]
mod tests;
mod trust;
mod verified;
mod verify;
mod vouched;
mod writer;

use std::sync::Arc;

use jiff::Timestamp;

#[cfg(any(test, feature = "testing"))]
pub use self::planted::Planted;
use self::{
    backend::{Backend, ErrorKind, PutOutcome},
    control::{Control as _, Refusal},
    header::Gate,
};
pub use self::{
    catalog::{BackupEntry, Listed, Scope, StoredManifest},
    commit::CommitOutcome,
    copy::{Copier, CopyCounts, CopyListed, CopyOptions, CopyOutcome, CopyRefused, Counted, Listings, Rate, WaitEnds},
    error::Error,
    header::{ChunkerParameters, CutSizes, Encryption, FORMAT, Header, RepositoryId, tool},
    layout::{Place, is_locked},
    locks::LockCounts,
    manifest::{
        Cluster, GroupEntry, GroupTotal, MAX_LISTED, MAX_VOLUMES, Manifest, ManifestDraft, ObjectRef, Previous,
        SourceEntry, Totals, VolumeSummary,
    },
    marks::{AcceptOutcome, SessionEntry, SessionState},
    orphans::{holds_something, is_orphaned},
    proof::{MOST_APART, Proof},
    prune::{IdleRun, MarkOutcome, PruneOptions, Pruned, Survey, Surveyed, Tombstone, TombstoneBy, UNDO},
    reader::BackupReader,
    session::{Abort, Accept, Copied, Session},
    summary::{SourceSummary, Summary},
    verified::{Verified, VerifyOutcome},
    verify::{
        Affected, BackupName, Finding, FindingKind, Level, Sample, VerifyOptions, VerifyReport, verify, verify_all,
    },
    writer::{BackupWriter, BeginOptions, WriteStats},
};
use crate::types::Clock;

/// A repository that was found and understood.
#[derive(Debug, Clone)]
pub struct Repository {
    backend: Arc<dyn Backend>,
    header: Arc<Header>,
    access: Arc<crypt::Access>,
    /// When its `repository.json` was put in this place, once somebody has asked.
    came: Arc<tokio::sync::OnceCell<Timestamp>>,
}

impl Repository {
    /// Makes a new, plain repository in an empty store. A store that overwrites is found out, and
    /// before that nothing is put where something is.
    ///
    /// # Errors
    /// [`Error::AlreadyARepository`] if there is a `repository.json`; [`Error::CreateOnlyIgnored`],
    /// then there is one now, which no backup uses; else what the store says.
    pub async fn init(backend: Arc<dyn Backend>, clock: &dyn Clock) -> Result<Self, Error> {
        locks::prepare(&*backend, clock).await?;
        Self::create(backend, Header::new(clock.now())).await
    }

    /// [`Self::init`] of a repository that is encrypted to `epoch`, whose secrets `recipients` may read. The key file
    /// is there before the repository is: no backup can be written that nobody could read.
    ///
    /// # Errors
    /// Those of [`Self::init`].
    pub async fn init_encrypted(
        backend: Arc<dyn Backend>,
        clock: &dyn Clock,
        epoch: &crypt::Epoch,
        recipients: &[crypt::Recipient],
    ) -> Result<Self, Error> {
        // The key file is locked as well.
        locks::prepare(&*backend, clock).await?;
        let header = Header::encrypted(clock.now(), &epoch.name());
        let (header, access) = (Arc::new(header), Arc::default());
        let planned = Self { backend: Arc::clone(&backend), header, access, came: Arc::default() };
        match backend.head(&layout::header()).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Error::AlreadyARepository { location: backend.location().to_owned() }),
        }
        planned.put_key_file(epoch, recipients, clock.now()).await?;
        let header = Header::clone(&planned.header);
        Self::create(backend, header).await
    }

    async fn create(backend: Arc<dyn Backend>, header: Header) -> Result<Self, Error> {
        let bytes = control::encode(&header)?;
        let (key, location) = (layout::header(), backend.location().to_owned());
        match backend.get(&key, control::MAX_CONTROL as u64).await {
            Err(error) if error.is_not_found() => {}
            Err(error) if error.kind != ErrorKind::TooLarge => return Err(error.into()),
            _ => return Err(Error::AlreadyARepository { location }),
        }
        // Twice: the second put finds the first, or the store overwrites.
        for second in [false, true] {
            match backend.put_new(&key, bytes.clone()).await? {
                PutOutcome::Created if second => return Err(Error::CreateOnlyIgnored { location }),
                PutOutcome::Created => {}
                PutOutcome::Exists => {
                    let found = backend.get(&key, control::MAX_CONTROL as u64).await;
                    let found = found.map_err(|error| match error.kind {
                        ErrorKind::NotFound => Error::spent(&location, &key),
                        _ => error.into(),
                    })?;
                    // Equal bytes carry our own random id: they are our own put.
                    if found != bytes {
                        return Err(Error::AlreadyARepository { location });
                    }
                }
            }
        }
        Ok(Self { backend, header: Arc::new(header), access: Arc::default(), came: Arc::default() })
    }

    /// Opens the repository in a store.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::NewerFormat`], [`Error::UnknownFeature`],
    /// [`Error::Damaged`], or what the store says.
    pub async fn open(backend: Arc<dyn Backend>) -> Result<Self, Error> {
        let location = backend.location().to_owned();
        let not_one = |reason: &str| Error::NotARepository { location: location.clone(), reason: reason.to_owned() };
        let key = layout::header();
        let bytes = match backend.get(&key, control::MAX_CONTROL as u64).await {
            Ok(bytes) => bytes,
            Err(error) => match error.kind {
                ErrorKind::NotFound => return Err(not_one("there is no `repository.json`")),
                ErrorKind::TooLarge => return Err(not_one("its `repository.json` is a file of something else")),
                _ => return Err(error.into()),
            },
        };
        let refusal = |refusal| match refusal {
            Refusal::NotOne => not_one("its `repository.json` is a file of something else"),
            damaged @ Refusal::Damaged(_) => damaged.into_error(&key),
        };
        control::decode::<Gate>(&bytes).map_err(refusal)?.pass(&location)?;
        let header = control::decode::<Header>(&bytes).map_err(refusal)?;
        header.agree().map_err(|reason| Error::damaged(&key, reason))?;
        Ok(Self { backend, header: Arc::new(header), access: Arc::default(), came: Arc::default() })
    }

    /// What the repository says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The store under it.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The store for messages, without secrets.
    #[must_use]
    pub fn location(&self) -> &str {
        self.backend.location()
    }
}

/// The kind of the control object that a manifest's key may also hold.
const ABORT: &str = Abort::KIND;
