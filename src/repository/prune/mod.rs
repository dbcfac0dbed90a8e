//! Taking backups away: steps P1 to P6 of the protocol, the only code that deletes.
//!
//! [`Repository::survey`] proves the store and reads all that a decision needs (P1, P2); who calls it decides which
//! backups are to go; [`Repository::prune`] fences dead runs, marks those backups with tombstones, and deletes what was
//! marked a day ago or longer (P3 to P6). It may die anywhere, run twice at once, and be run again.
//!
//! Why nothing that is needed goes: a backup writes its session and *then* reads tombstones and its parents' manifests;
//! prune writes a tombstone, and only a survey that began a day later acts on it, which lists sessions *before* manifests.
//! So a run that had not seen the tombstone is seen by the survey: as a session that names the backup, or, if it has
//! ended by then, as a manifest whose packs live. A run that prune takes for dead is fenced at the key that its commit
//! needs. The model test (`src/repository/tests/model/`) runs this code, and that of the backup, in every order that matters.

mod again;
mod began;
mod belief;
mod delete;
mod execute;
mod live;
mod marks;
mod probe;
mod proven;
mod status;
mod survey;

use std::sync::Arc;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

pub(super) use self::{belief::Belief, marks::Pin};
pub use self::{
    execute::Pruned,
    marks::{MarkOutcome, Tombstone, TombstoneBy},
    survey::{IdleRun, Survey, Surveyed},
};
#[cfg(any(test, feature = "testing"))]
use super::planted::Planted;
use crate::types::{Clock, Name};

/// A tombstone may be undone so long.
pub const UNDO: SignedDuration = SignedDuration::from_hours(24);
/// A survey that begins so long after a tombstone was written acts on it: an undo in its last moment is over by then.
const WAIT: SignedDuration = SignedDuration::from_mins(24 * 60 + 10);
/// A run without a checkpoint for longer than this is taken for dead, and fenced.
const IDLE: SignedDuration = SignedDuration::from_hours(6);
/// What belongs to no backup is garbage when it is so old: no run may last longer, by any clock that is accepted.
const GARBAGE: SignedDuration = SignedDuration::from_hours(7 * 24 + 1);
/// Abort markers are kept so long after the rest of their run is gone: a writer that stood still for less cannot commit.
const ABORTS: SignedDuration = SignedDuration::from_hours(400 * 24);
/// In a copy, so long: who copies commits in the moment in which it has looked how old its session is, or stood still since;
/// and until the marker is gone, the backup cannot be brought there again.
const ABORTS_OF_COPIES: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What was put so shortly before a survey, or after it, is not deleted by what that survey knows.
const SETTLED: SignedDuration = SignedDuration::from_hours(1);
/// The time of a backup's id and of its session may differ by this; else it is neither counted nor removed.
const IN_DOUBT: SignedDuration = SignedDuration::from_mins(15);

/// How prune works.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Whose backups are pruned. Those of other policies are read, and nothing of them goes.
    pub policy: Name,
    /// The machine's clock. Ages go by the store's.
    pub clock: Arc<dyn Clock>,
    /// The policy calls the place a copy: what its sessions say of the originals' is believed.
    pub is_copy: bool,
    /// Evidence of backups that are gone goes when it is older.
    pub evidence: SignedDuration,
    /// Ends it between two steps.
    pub cancel: CancellationToken,
    /// What the model test does wrongly on purpose.
    #[cfg(any(test, feature = "testing"))]
    pub planted: Planted,
}

impl PruneOptions {
    /// The usual way: no copy, and evidence is kept for 400 days.
    #[must_use]
    pub fn new(policy: Name, clock: Arc<dyn Clock>) -> Self {
        Self {
            policy,
            clock,
            is_copy: false,
            evidence: SignedDuration::from_hours(400 * 24),
            cancel: CancellationToken::new(),
            #[cfg(any(test, feature = "testing"))]
            planted: Planted::default(),
        }
    }

    /// Whether the fault that `which` picks is planted. Outside of tests there is none.
    #[cfg(any(test, feature = "testing"))]
    fn planted(&self, which: impl Fn(&Planted) -> bool) -> bool {
        which(&self.planted)
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn planted(&self, _which: impl Fn(&super::planted::Planted) -> bool) -> bool {
        false
    }
}
