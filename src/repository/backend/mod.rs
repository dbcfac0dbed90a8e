//! A store of bytes under keys, create-only: the one small trait that every backend implements.
//!
//! The contract is what `docs/format.md` needs and no more: whole-object puts that never
//! overwrite, reads, ranges, listings by prefix, and deletion (for prune alone). One conformance
//! suite (`conformance`) is run against every implementation.

mod authorities;
mod azure;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod failure;
#[cfg(any(test, feature = "testing"))]
mod faulty;
mod fs;
mod lock;
mod memory;
mod network;
mod open;
mod proxy;
#[cfg(any(test, feature = "testing"))]
mod recording;
mod retry;
mod s3;
mod said;

use std::{fmt, fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::types::Sha256Digest;

pub use self::{
    azure::{Azure, AzureOptions},
    fs::Directory,
    lock::{BucketLock, Lock, LockAnswer, LockMode, LockOptions, LockProof, Powers, Relock},
    memory::Memory,
    open::{StoreOptions, open, open_or_make},
    s3::{AsOf, S3, S3Options},
};
#[cfg(any(test, feature = "testing"))]
pub use self::{
    faulty::{Fault, Faulty, Rule},
    recording::{Call, Op, Recording},
};

/// The key of an object: `/`-separated segments, relative to the repository's prefix.
///
/// 1 to 900 bytes of UTF-8; no empty, `.` or `..` segment, no leading or trailing `/`, no control
/// character, no backslash, and not U+FFFE or U+FFFF, which the XML of a listing cannot hold. So a
/// key is a safe relative path wherever it goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A text that is no [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid object key", crate::types::for_terminal(.0))]
pub struct InvalidKey(String);

impl Key {
    /// Checks `text` and takes it as a key.
    ///
    /// # Errors
    /// [`InvalidKey`] if it could mean another place.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let segment = |s: &str| !s.is_empty() && s != "." && s != "..";
        let safe = (1..=900).contains(&text.len())
            && text.split('/').all(segment)
            && !text.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{fffe}' | '\u{ffff}'));
        if safe { Ok(Self(text)) } else { Err(InvalidKey(text.chars().take(100).collect())) }
    }

    /// A key that `layout` has put together from checked words.
    pub(in crate::repository) fn from_checked(text: String) -> Self {
        debug_assert!(Self::new(text.as_str()).is_ok(), "{text:?} is no key");
        Self(text)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a listing or a head says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: Key,
    /// Its stored bytes.
    pub size: u64,
    /// When it was written, by the store's own clock.
    pub modified: Timestamp,
}

/// What became of a create-only put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is there now, with these bytes, by this put.
    Created,
    /// An object was there before, and was not touched. After a lost acknowledgement it may be our own.
    Exists,
}

/// Why a store did not do what was asked, by what a caller can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No object under this key.
    NotFound,
    /// The bucket, container or folder itself does not exist.
    NoSuchStore,
    /// The store knows who asks and says no.
    PermissionDenied,
    /// The object is locked against deletion until its time: by object lock, immutability or a legal hold.
    Locked,
    /// The store does not know who asks: wrong or expired credentials, or none found.
    Unauthenticated,
    /// The store takes no requests of this time: the machine's clock is wrong.
    ClockApart,
    /// No connection: name not resolved, refused, TLS not agreed.
    Unreachable,
    /// A connection but no answer in time, after all retries.
    TimedOut,
    /// The object is larger than the caller's limit; nothing of it was kept.
    TooLarge,
    /// No space, or a quota.
    Full,
    /// The store does not do what the format needs (create-only puts, ranges).
    Unsupported,
    /// What is there is no object that a put made, and is never followed: a symbolic link.
    NotAnObject,
    /// Anything else; the source says it.
    Other,
}

/// A store did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}{location}: {reason}", in_store(.subject))]
pub struct Error {
    /// What a caller can decide by.
    pub kind: ErrorKind,
    /// What was attempted, as a verb: `read`, `write`, `list`.
    pub act: &'static str,
    /// The key or prefix; empty where it is the whole store.
    pub subject: String,
    /// The store, as [`Backend::location`] says it: no secrets.
    pub location: String,
    /// Why, in one line without secrets, safe for a terminal.
    pub reason: String,
    /// The client library's error, for the log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

fn in_store(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!("`{}` in ", crate::types::for_terminal(subject)) }
}

impl Error {
    /// Whether there is no object under the key.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

/// A listing: in the byte order of the keys, fetched page by page as it is read.
pub type Listing = BoxStream<'static, Result<ObjectMeta, Error>>;

/// A store. All methods may be called concurrently; implementations retry what is safe to retry,
/// with jitter and bounded in time, so that an error is final.
#[async_trait]
pub trait Backend: Debug + Send + Sync {
    /// The store for messages, as the policy writes it, without secrets: `s3://bucket/prefix`.
    fn location(&self) -> &str;

    /// Creates the object if, and only if, nothing is under `key`: atomic among any number of
    /// writers, and durable when it returns. Never overwrites, whatever happens.
    ///
    /// # Errors
    /// [`Error`] of any kind but `NotFound`. Then the object may or may not have been created.
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error>;

    /// The whole object, of at most `limit` bytes: what is larger is refused before it is held.
    ///
    /// # Errors
    /// `NotFound`, `TooLarge`, or what the store says.
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error>;

    /// The bytes `range` of the object. A range that ends past the object is an error, never a
    /// shorter answer.
    ///
    /// # Errors
    /// `NotFound`, or `Other` if the range is not within the object.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error>;

    /// Size and time of the object.
    ///
    /// # Errors
    /// `NotFound`, or what the store says.
    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error>;

    /// All objects whose keys begin with `prefix` (a text, not a folder: `data/2026` matches
    /// `data/20261120T…`), read after write. What is no object ([`ErrorKind::NotAnObject`]) is
    /// listed with no bytes, so that it is not passed over.
    fn list(&self, prefix: &str) -> Listing;

    /// The keys that begin with `prefix` under which something lies that is no object
    /// ([`ErrorKind::NotAnObject`]): at most 1,000. Stores that are no folders have none.
    ///
    /// # Errors
    /// What the store says.
    async fn strangers(&self, _prefix: &str) -> Result<Vec<Key>, Error> {
        Ok(Vec::new())
    }

    /// The time by the store's own clock, to the second; `None` if it does not say it. Nothing is left in the store.
    ///
    /// # Errors
    /// What the store says.
    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        Ok(None)
    }

    /// Removes the object; one that is not there is no error. For prune alone. A store that keeps versions
    /// keeps this one: the object is gone for every call but those of a view of an earlier time.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if a lock keeps it; else what the store says.
    async fn delete(&self, key: &Key) -> Result<(), Error>;

    /// How this store locks what is put; `None`: not at all.
    fn locks(&self) -> Option<&LockOptions> {
        None
    }

    /// Whether the store can lock as [`Backend::locks`] asks; `None` if nothing is asked, or if this identity may
    /// not look. Nothing is changed.
    ///
    /// # Errors
    /// `Unsupported` if it cannot; else what the store says.
    async fn lock_ready(&self) -> Result<Option<BucketLock>, Error> {
        Ok(None)
    }

    /// Sees to it that an object, which is there, stays locked for as long as one that is put now.
    ///
    /// # Errors
    /// What the store says.
    async fn keep_locked(&self, _key: &Key) -> Result<Relock, Error> {
        Ok(Relock::NotLocked)
    }

    /// Until when a lock keeps the object; `None` if none does, or if this identity may not look.
    ///
    /// # Errors
    /// What the store says.
    async fn locked_until(&self, _key: &Key) -> Result<Option<Timestamp>, Error> {
        Ok(None)
    }

    /// The SHA-256 of the object's bytes, as the store itself has computed and kept it; `None` if it does not tell one.
    ///
    /// # Errors
    /// What the store says.
    async fn sha256_of(&self, _key: &Key) -> Result<Option<Sha256Digest>, Error> {
        Ok(None)
    }

    /// What this identity may do to the object beyond reading it, tried on the object itself: nobody may miss it,
    /// and it is there again with these bytes afterwards, if it was. `None`: it cannot be found out here.
    ///
    /// # Errors
    /// What the store says.
    async fn probe(&self, _key: &Key, _bytes: Bytes) -> Result<Option<Powers>, Error> {
        Ok(None)
    }

    /// Removes what writes that were killed before `before` have left and no listing shows; gives how many. For prune
    /// alone. Only a folder has such rests.
    ///
    /// # Errors
    /// What the store says.
    async fn remove_leftovers(&self, _before: Timestamp) -> Result<u64, Error> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_prefix() {
        for good in ["a", "data/20261120T020000Z-abcdef/00ff", "odd name+%25/ä"] {
            assert!(Key::new(good).is_ok(), "{good} was refused");
        }
        for bad in
            ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", "a\0b", "a\u{ffff}", &"a".repeat(901)]
        {
            assert!(Key::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
