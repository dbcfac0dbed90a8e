//! Whose word about the time of an original is taken.
//!
//! The session of a copy says when the original's was written ([`super::Copied`]), and whoever may put sessions can say any
//! time. In a repository of their own that would be a way to make backups of days that have passed, which count for
//! retention in the place of honest ones. So it is believed only
//! - in a place that the policy calls a copy: who may put there is who copies;
//! - of a backup that one of the pinned signers has signed: its id, and with it its time, is theirs;
//! - of a backup that is older than the place and was brought to it in its first days, where the repository was brought to it
//!   from a copy: its `repository.json`, which nobody who backs up may write, was put there long after it was made. Who makes
//!   backups of days that have passed has only these days for it; what is brought back later is in doubt, and so kept, and so
//!   is what was put before: nothing is brought to a place that is no repository yet.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Repository, crypt::Signature, layout};
use crate::types::BackupId;

/// A `repository.json` is put when it is made. One that is younger in its place than it says by more than this came from
/// another; clocks that are set wrongly are not so far apart.
const BROUGHT: SignedDuration = SignedDuration::from_hours(24);

/// A repository is brought back in so long: each backup within 7 days of its beginning, and the first begins at once.
const BRINGING: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Of which backups a place is believed what their sessions say of the originals'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vouched {
    /// Of all.
    is_copy: bool,
    /// Of those from before the repository was brought to this place.
    brought: Option<Timestamp>,
}

impl Vouched {
    /// Whether it is believed of this one, whose session was put there at `put`.
    pub(super) fn of(self, backup: &BackupId, put: Timestamp, signature: &Signature) -> bool {
        let in_time = |brought: Timestamp| put >= brought && put.duration_since(brought) <= BRINGING;
        let was_brought = |brought: Timestamp| backup.time() < brought && in_time(brought);
        self.is_copy || *signature == Signature::Good || self.brought.is_some_and(was_brought)
    }
}

impl Repository {
    /// When `repository.json` was put in this place, by its own clock. It tells the places of a repository from each other: nobody
    /// writes over it, and no store lets a writer choose the time.
    pub(super) async fn came(&self) -> Result<Timestamp, Error> {
        let look = || async {
            let key = layout::header();
            let found = self.backend.head(&key).await.map_err(|error| Error::reading(&key, error))?;
            Ok(found.modified)
        };
        self.came.get_or_try_init(look).await.copied()
    }

    /// Of which backups it is believed here; `is_copy` if the policy calls this place a copy.
    pub(super) async fn vouched(&self, is_copy: bool) -> Result<Vouched, Error> {
        if is_copy {
            return Ok(Vouched { is_copy, brought: None });
        }
        let put = self.came().await?;
        let brought = (put.duration_since(self.header.created) > BROUGHT).then_some(put);
        Ok(Vouched { is_copy, brought })
    }
}
