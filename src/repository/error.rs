//! What can go wrong with a repository, by what a caller can decide.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::backend;
use crate::types::{BackupId, for_terminal};

/// Work on a repository failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `repository.json`, or it is a file of something else. Nothing was changed.
    #[error("{location} is not a drctl repository: {reason}; create one with `drctl repository init`")]
    NotARepository {
        /// The store.
        location: String,
        /// What was found instead.
        reason: String,
    },
    /// `init` found a repository (or a file of its name) there, and left it as it was.
    #[error("{location} already has a `repository.json`, and it was not touched; use another prefix")]
    AlreadyARepository {
        /// The store.
        location: String,
    },
    /// The repository was made by a later drctl.
    #[error("{location} has repository format {format}, and this drctl reads up to {supported}; use a newer drctl")]
    NewerFormat {
        /// The store.
        location: String,
        /// Its format.
        format: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// The repository needs something that this program does not have.
    #[error("{location} needs {features}, which this drctl does not know; use a newer drctl")]
    UnknownFeature {
        /// The store.
        location: String,
        /// The names of its `requires` that are unknown, safe for a terminal.
        features: String,
    },
    /// The repository is encrypted, and nothing is held that opens what is wanted.
    #[error(
        "what is wanted of {location} is encrypted to the epoch {}, and no key of it is here; \
         name the identity of a recipient with --identity (or DRCTL_IDENTITY)", for_terminal(.epoch)
    )]
    NoKeys {
        /// The store.
        location: String,
        /// The epoch's public key.
        epoch: String,
    },
    /// None of the identities opens a key file of the epoch.
    #[error(
        "no identity that was given opens a key file of the epoch {} in {location} (there are {files}): it is no recipient's; \
         name another with --identity. `drctl repository recipients list` says which epochs it opens", for_terminal(.epoch)
    )]
    NotARecipient {
        /// The store.
        location: String,
        /// The epoch's public key.
        epoch: String,
        /// How many key files it has.
        files: usize,
    },
    /// A key file was taken from another repository.
    #[error(
        "`{object}` is a key file of the repository {of}, and this is {repository}: it was put there by mistake, or to deceive"
    )]
    ForeignKeyFile {
        /// Its key, safe for a terminal.
        object: String,
        /// The repository that it says it belongs to.
        of: String,
        /// This repository.
        repository: String,
    },
    /// The repository is encrypted, and the policy does not say to which epoch.
    #[error(
        "{location} is encrypted, and the policy pins no epoch: `repository.encryption.epoch` is what `drctl repository \
         init` (or `recipients new-epoch`) printed; never take it from the repository, where others may write"
    )]
    NoEpochPinned {
        /// The store.
        location: String,
    },
    /// The repository is encrypted, and what a backup needs of the epoch's keys is not here.
    #[error(
        "to write to the epoch {} of {location}, its id key and its index identity are needed: DRCTL_ID_KEY and \
         DRCTL_INDEX_IDENTITY (or `idKey` and `indexIdentity` of `repository.encryption`)", for_terminal(.epoch)
    )]
    NoKeysToWrite {
        /// The store.
        location: String,
        /// The epoch that is pinned.
        epoch: String,
    },
    /// The policy pins signers, or names a key to sign with, and there is no such key.
    #[error(
        "the policy wants what is put into {location} to be signed, and there is no key to sign with: \
         DRCTL_SIGNING_KEY (or `repository.signingKey`)"
    )]
    NoSigningKey {
        /// The store.
        location: String,
    },
    /// The key to sign with is not one that the policy pins.
    #[error(
        "the policy pins the signers of backups in {location}, and the key here is none of them: {signer}; \
         use another key, or add it to `repository.signers`"
    )]
    SigningKeyNotPinned {
        /// The store.
        location: String,
        /// Its public key.
        signer: String,
    },
    /// The backup does not count, because none of the signers that are pinned has signed it.
    #[error("backup {backup} does not count: {reason}")]
    Unsigned {
        /// The backup.
        backup: BackupId,
        /// What is wrong with its signature.
        reason: String,
    },
    /// The id key is of another epoch than the one that the policy pins.
    #[error(
        "the policy pins the epoch {} of {location}, and the id key that is held is of the epoch {}: what is written with \
         it could not be restored; nothing was written", for_terminal(.epoch), for_terminal(.held)
    )]
    IdKeyOfOtherEpoch {
        /// The store.
        location: String,
        /// The epoch that is pinned.
        epoch: String,
        /// The epoch of the id key.
        held: String,
    },
    /// The index identity does not open the lists of an earlier backup of the epoch that is pinned.
    #[error(
        "the index identity that is held does not open the lists of backup {backup}, which is of the same epoch {} in \
         {location}: it is of another epoch; nothing was written", for_terminal(.epoch)
    )]
    IndexIdentityOfOther {
        /// The store.
        location: String,
        /// The epoch that is pinned.
        epoch: String,
        /// The backup.
        backup: BackupId,
    },
    /// The policy pins an epoch that the repository does not have.
    #[error(
        "{location} has no key file of the epoch {}, which the policy pins: it is another repository, or its `keys/` \
         were deleted, and nobody could read what is written; nothing was written", for_terminal(.epoch)
    )]
    UnknownEpoch {
        /// The store.
        location: String,
        /// The epoch that is pinned.
        epoch: String,
    },
    /// An object is there and is not what was written.
    #[error("`{object}` is damaged: {reason}; `drctl verify` names every backup that it touches")]
    Damaged {
        /// Its key, safe for a terminal.
        object: String,
        /// How one can tell.
        reason: String,
    },
    /// An object that a backup needs is not in the store.
    #[error("`{object}` is missing from the store; `drctl verify` names every backup that it touches")]
    Gone {
        /// Its key, safe for a terminal.
        object: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(backend::Error),
    /// The store failed while the manifest was written, and then did not say what is there.
    #[error("it is not known whether backup {backup} was committed: {reason}; `drctl list` shows it")]
    CommitUnknown {
        /// The backup.
        backup: BackupId,
        /// What the store said, safe for a terminal.
        reason: String,
    },
    /// A second create-only put of the same key was taken: the store overwrites.
    #[error(
        "{location} ignores create-only puts (If-None-Match), so backups in it could be overwritten; \
         use a store that honours them"
    )]
    CreateOnlyIgnored {
        /// The store.
        location: String,
    },
    /// The store takes nothing under a key, and has nothing there: what was deleted counts for it as an object that is there.
    #[error(
        "{location} takes no object under `{key}`, and has none there: something of that name was deleted, and the store takes its \
         deletion marker for an object (AWS does not). Take the marker away with the store's own tools (`aws s3api \
         list-object-versions`, then `delete-object --version-id`), together with the versions under it"
    )]
    NameSpent {
        /// The store.
        location: String,
        /// The key, safe for a terminal.
        key: String,
    },
    /// The machine's clock and the store's are too far apart.
    #[error(
        "the clock of this machine ({local}) and of {location} ({store}) differ by more than 2 minutes; set the clock"
    )]
    ClockSkew {
        /// The store.
        location: String,
        /// The time here.
        local: Timestamp,
        /// The time there.
        store: Timestamp,
    },
    /// The run took too long: prune may already count its data as garbage.
    #[error("backup {backup} has run for {age:#}, more than the 7 days a session may last; start a new backup")]
    SessionTooOld {
        /// The backup that may not be committed any more.
        backup: BackupId,
        /// How long ago its session was written.
        age: SignedDuration,
    },
    /// Packs that this run stored or relied on are not in the store any more, so it was not committed.
    #[error(
        "{count} packs or lists that backup {backup} needs have gone from the store while it ran (the first: `{first}`), \
         so it was not committed; run it again: the next backup stores that data anew"
    )]
    PacksGone {
        /// The backup that was not committed.
        backup: BackupId,
        /// How many of both.
        count: usize,
        /// The key of the first.
        first: String,
    },
    /// No backup has this id or prefix.
    #[error("there is no backup `{}` in {location}; `drctl list` shows what there is", for_terminal(.text))]
    NoSuchBackup {
        /// The store.
        location: String,
        /// What was asked for.
        text: String,
    },
    /// Several backups begin like this.
    #[error("`{}` is the beginning of {count} backup ids ({first}, {second}, ...); give more of it", for_terminal(.text))]
    AmbiguousBackup {
        /// What was asked for.
        text: String,
        /// How many there are.
        count: usize,
        /// The oldest of them.
        first: BackupId,
        /// The next.
        second: BackupId,
    },
    /// The backup was fenced or is not a backup that can be read.
    #[error("backup {backup} was aborted before it could commit: there is nothing to read in it")]
    Aborted {
        /// The backup.
        backup: BackupId,
    },
    /// A source wants to store something that the format has no room for.
    #[error("{what} is over the limit of the repository format: {limit}")]
    OverLimit {
        /// What it is, safe for a terminal.
        what: String,
        /// The limit, in words.
        limit: String,
    },
    /// A source has used the sink in the wrong order.
    #[error("stream `{}`: {problem}", for_terminal(.stream))]
    Misuse {
        /// The stream.
        stream: String,
        /// What was done in the wrong order.
        problem: &'static str,
    },
    /// Writing had failed before; the first failure is the source.
    #[error("the backup can no longer be written")]
    Stopped(#[source] Arc<Error>),
    /// A run ended when its session was just written: nothing of it is stored beside that.
    #[error("backup {backup} was not committed")]
    Begun {
        /// The run's backup id.
        backup: BackupId,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A place takes no copy, or not yet.
    #[error(transparent)]
    Copy(#[from] super::CopyRefused),
    /// A listing did not show what the store had acknowledged: nothing that is decided by listings can be relied on.
    #[error("the listings of {location} lag behind ({how}): prune cannot rely on them, and deletes nothing")]
    ListingLags {
        /// The store.
        location: String,
        /// How that was seen.
        how: String,
    },
    /// Prune ended before its end, and something was changed by then. Nothing that is needed is gone.
    #[error("prune has not come to its end; nothing that a backup needs is gone, and the next prune goes on")]
    HalfPruned {
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A tombstone is older than a day, or its backup is gone.
    #[error(
        "backup {backup} can no longer be saved: its tombstone is of {made:.0}, and prune may have begun to delete it"
    )]
    TooLateToUndo {
        /// The backup.
        backup: BackupId,
        /// When its tombstone was written.
        made: Timestamp,
    },
    /// A backup is to be marked, and in the place of its tombstone is one that nobody who is pinned has signed.
    #[error(
        "backup {backup} has a tombstone already that does not count ({why}): find out who put it, and take it away with \
         `drctl prune --undo {backup}`"
    )]
    TombstoneNotBelieved {
        /// The backup.
        backup: BackupId,
        /// Why it does not count.
        why: String,
    },
    /// So many reports of verifications of one backup that nobody can look at all of them.
    #[error(
        "{location} has over {limit} reports of verifications of one backup under `{folder}`: somebody has put them there. Take away \
         there, with the store's own tools, what none of the pinned signers has signed"
    )]
    TooMuchEvidence {
        /// The store.
        location: String,
        /// What their keys begin with.
        folder: String,
        /// The most that are looked at.
        limit: usize,
    },
    /// Work inside the program ended where it should not.
    #[error("{0}; this is a fault of drctl")]
    Internal(String),
}
