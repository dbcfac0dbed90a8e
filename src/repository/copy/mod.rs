//! A copy is a replica: the repository's id, keys, names and bytes in another store. It needs no key.
//!
//! [`Repository::replica_in`] makes or opens one, [`Copier::copy`] brings one backup into it. First it looks whether it can
//! ([`look`]), and sends what needs no session ([`ahead`]). The order then is that of `docs/format.md`, section 9.2: a session that names every backup whose packs are needed, **then** marks and listings of
//! the copy, then packs, `meta/`, the signature, a listing again, and last the manifest, create-only. So what holds for a
//! backup beside a prune holds for a copy beside a prune of the copy: one of them sees the other, and the commit and the
//! fence compete for one key.
//!
//! Names of packs and of all else are the original's, so a pack that prune has deleted from the copy may be wanted in it
//! again: [`safe`] says on which packs a copy can rely.

mod ahead;
mod backup;
mod covered;
mod lacking;
mod look;
mod mend;
mod meta;
mod packs;
mod pins;
mod planted;
mod rate;
mod refused;
mod replica;
mod safe;
mod same;
mod session;

use std::{collections::HashSet, sync::Arc};

pub use self::{
    lacking::{CopyListed, Listings},
    rate::Rate,
    refused::{CopyRefused, WaitEnds},
};
#[cfg(any(test, feature = "testing"))]
use super::planted::Planted;
use super::{Error, Repository};
use crate::types::{BackupId, Clock, Monitor, Sha256Digest};

/// Packs on their way at once.
const AT_ONCE: usize = 4;
/// Bytes that may be held at once, in MiB.
const MEMORY_MIB: usize = 32;

/// How a copy works.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Hears of the bytes that are sent.
    pub monitor: Arc<dyn Monitor>,
    /// What all transfers together may send a second.
    pub rate: Arc<Rate>,
    /// The policy calls the place that is read a copy: what its sessions say of the originals' is passed on.
    pub from_copy: bool,
    /// The place that is written is a copy, and not the repository itself: there a prune is waited for, and pins are its own.
    pub to_copy: bool,
    /// What people call the place that is read, and the one that is written.
    pub names: (String, String),
    /// How many packs are on their way at once.
    pub at_once: usize,
    /// What the model test does wrongly on purpose.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Planted,
}

impl CopyOptions {
    /// The usual way: from the repository itself, four packs at once.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, monitor: Arc<dyn Monitor>, rate: Rate) -> Self {
        Self {
            clock,
            monitor,
            rate: Arc::new(rate),
            from_copy: false,
            to_copy: true,
            names: ("the repository".to_owned(), "the copy".to_owned()),
            at_once: AT_ONCE,
            #[cfg(any(test, feature = "testing"))]
            planted: Planted::default(),
        }
    }

    /// Whether the fault is planted that relies on packs which may be on their way out. Outside of tests it is not.
    #[cfg(any(test, feature = "testing"))]
    fn relies_on_all(&self) -> bool {
        self.planted.relies_on_all
    }

    /// Whether the fault is planted that passes over tombstones of the copy. Outside of tests it is not.
    #[cfg(any(test, feature = "testing"))]
    fn ignores_marks(&self) -> bool {
        self.planted.ignores_marks
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn ignores_marks(&self) -> bool {
        false
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn relies_on_all(&self) -> bool {
        false
    }
}

/// Brings backups from one store of a repository into another.
#[derive(Debug)]
pub struct Copier<'a> {
    from: &'a Repository,
    to: &'a Repository,
    options: CopyOptions,
    /// What backups of the copy need, as far as somebody has asked.
    read: tokio::sync::Mutex<covered::Read>,
}

/// What bringing one backup over was, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyCounts {
    /// Packs that were sent.
    pub packs: u64,
    /// Their bytes, and those of everything else that was sent.
    pub bytes: u64,
    /// Packs that were there.
    pub packs_there: u64,
}

/// What became of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// It is in the copy now.
    Copied(CopyCounts),
    /// It was there before, and lacked what was sent again.
    Mended(CopyCounts),
    /// It was there before.
    There,
    /// It was deleted, or is about to be, since somebody asked for it: there is nothing to copy.
    Gone,
}

/// Damage, with the place in which it is.
fn said_of(error: Error, place: &str) -> Error {
    match error {
        Error::Damaged { object, reason } => Error::Damaged { object, reason: format!("{reason}; it is in {place}") },
        Error::Gone { object } => Error::Damaged { object, reason: format!("it is missing in {place}") },
        error => error,
    }
}

/// Packs that a dry run has counted for an earlier backup.
#[derive(Debug, Default)]
pub struct Counted(HashSet<(BackupId, Sha256Digest)>);

impl<'a> Copier<'a> {
    /// Copies from `from` into `to`, which is a replica of it.
    #[must_use]
    pub fn new(from: &'a Repository, to: &'a Repository, options: CopyOptions) -> Self {
        Self { from, to, options, read: Default::default() }
    }

    /// The place that is read, for people.
    fn place_read(&self) -> String {
        format!("{} ({})", self.options.names.0, self.from.location())
    }

    /// The place that is written, for people.
    fn place_written(&self) -> String {
        format!("{} ({})", self.options.names.1, self.to.location())
    }
}
