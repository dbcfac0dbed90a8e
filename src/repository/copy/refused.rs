//! Why a place takes no copy, or not yet.

use jiff::SignedDuration;

use crate::types::{BackupId, counted};

/// A place takes no copy, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyRefused {
    /// In the place of a copy is another repository, or a file of something else. Nothing was changed.
    #[error("{location} is no copy of {original}: {why}; nothing was written, use another prefix")]
    OtherRepository {
        /// Where the copy should be.
        location: String,
        /// What it should be a copy of.
        original: String,
        /// What is there instead.
        why: String,
    },
    /// It is the repository itself, in whatever way it is reached. Nothing was changed.
    #[error(
        "{location} is no copy of {original}, but the same place by another name (a link, another address of the server), or \
         another tool's mirror of it; nothing was written, name a place of its own"
    )]
    SamePlace {
        /// What is called a copy.
        location: String,
        /// The repository.
        original: String,
    },
    /// The backup was made in this place and its manifest is lost. Its own session, which is there, does not name a run whose
    /// packs it needs, and that has no backup there.
    #[error(
        "backup {backup} cannot be brought back into {place}: its own session, which is still there, does not keep the packs \
         of run {owner} from a prune, and no backup there does; nothing was written, use it in the copy, or bring it to another prefix"
    )]
    Unguarded {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
        /// The run that nothing keeps from a prune.
        owner: BackupId,
    },
    /// The copy's prune may be about to delete packs or lists that a backup needs, and that no other backup in the copy does.
    #[error(
        "backup {backup} cannot be copied yet: {count} packs or lists that it needs are garbage in {place}, or belong to backups \
         that are about to be deleted there (the first: `{first}`), and a prune may be deleting them now"
    )]
    Waits {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
        /// How many packs.
        count: usize,
        /// The key of the first.
        first: String,
        /// What ends the wait, for that one.
        ends: WaitEnds,
        /// The place is a copy, and not the repository itself, whose prune gives up runs that have no manifest.
        to_copy: bool,
    },
    /// It was deleted from that place while it was copied, and a prune there would delete it again.
    #[error(
        "backup {backup} has been deleted from {place}, and its tombstone is still there: a prune would delete it again"
    )]
    Marked {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
    },
    /// It is there, and has a tombstone there.
    #[error("backup {backup} has a tombstone in {place}, and is about to be deleted there")]
    Goes {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
    },
    /// Somebody has deleted packs or lists while it was copied.
    #[error(
        "{count} packs or lists that backup {backup} needs have gone from {place} while it was copied (the first: `{first}`), so it \
         did not become visible there"
    )]
    PacksGone {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
        /// How many packs and lists.
        count: usize,
        /// The key of the first.
        first: String,
    },
    /// Its session there is so old that a prune there may have given it up, or may do so at any moment.
    #[error(
        "the copying of backup {backup} into {place} began {} ago, and had to end within 7 days: it may not become visible \
         there any more",
        days(*.age)
    )]
    TooLong {
        /// The backup.
        backup: BackupId,
        /// The place, as people call it.
        place: String,
        /// How old the session is.
        age: SignedDuration,
        /// The place is a copy, and not the repository itself, whose prune keeps abort markers longer.
        to_copy: bool,
    },
}

/// What ends the wait for a pack or a list in the place of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitEnds {
    /// A prune there that comes to its end: it deletes it.
    Prune,
    /// Its run has begun there and has not ended, and no prune takes away what such a run has: it ends when its own copy does.
    Run,
    /// A lock keeps what a prune there has to delete: first that must end.
    Lock,
}

fn days(age: SignedDuration) -> String {
    counted(u64::try_from(age.as_hours() / 24).unwrap_or_default(), "day")
}
