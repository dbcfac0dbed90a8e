//! What all stores share that are reached over a network: a put is hashed beforehand, every call is tried again while
//! its failure may pass, bodies are read into just as much memory as they need, and a failure is told with its place.
//! What one attempt of a call is, each store says by [`Remote`].

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    Backend, BucketLock, Error, ErrorKind, Key, Listing, Lock, LockOptions, ObjectMeta, Powers, PutOutcome, Relock,
    failure::Failure,
    retry::{Patience, within},
};
use crate::{repository::large, types::Sha256Digest};

/// A store, by what one attempt of each call on it is. A clone is the same store.
#[async_trait]
pub(super) trait Remote: Clone + Debug + Send + Sync + 'static {
    /// What the store holds the bytes of a put against.
    type Sum: Send + Sync + 'static;
    /// Where a listing is; its beginning by default.
    type Cursor: Default + Send + Sync;
    /// A page of a listing, as the store gives it.
    type Page: Send;

    /// The store for messages, as [`Backend::location`] has it.
    fn place(&self) -> &str;

    fn patience(&self) -> &Patience;

    fn sum(bytes: &[u8]) -> Self::Sum;

    /// A create-only put.
    async fn put(&self, key: &Key, bytes: &Bytes, sum: &Self::Sum) -> Result<PutOutcome, Failure>;

    /// The whole object, of at most `limit` bytes.
    async fn whole(&self, key: &Key, limit: u64) -> Result<Bytes, Failure>;

    /// The bytes `range` of the object, which are some.
    async fn part(&self, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure>;

    /// Size and time of the object.
    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure>;

    /// The next page of what begins with `prefix`.
    async fn page(&self, prefix: &str, cursor: &Self::Cursor) -> Result<Self::Page, Failure>;

    /// The objects of a page, and whether there is another; the cursor moves on.
    fn take(&self, cursor: &mut Self::Cursor, page: Self::Page) -> Result<(Vec<ObjectMeta>, bool), Failure>;

    /// The time at which the store answers, whatever it answers: most likely that there is no such object.
    async fn time(&self) -> Result<Option<Timestamp>, Failure>;

    /// Removes the object; that it is not there may be a failure.
    async fn remove(&self, key: &Key) -> Result<(), Failure>;

    /// How what is put is locked.
    fn lock_options(&self) -> Option<&LockOptions> {
        None
    }

    /// How the bucket is set up for locks; `None` if this identity may not look. Only asked where locks are.
    async fn bucket_lock(&self) -> Result<Option<BucketLock>, Failure> {
        Ok(None)
    }

    /// The lock on the object. Only asked where locks are.
    async fn lock_of(&self, _key: &Key) -> Result<Option<Lock>, Failure> {
        Ok(None)
    }

    /// Locks the object anew, for longer than before.
    async fn set_lock(&self, _key: &Key, _lock: Lock) -> Result<(), Failure> {
        Ok(())
    }

    /// As [`Backend::sha256_of`].
    async fn kept_sum(&self, _key: &Key) -> Result<Option<Sha256Digest>, Failure> {
        Ok(None)
    }

    /// As [`Backend::probe`].
    async fn powers(&self, _key: &Key, _bytes: &Bytes) -> Result<Option<Powers>, Failure> {
        Ok(None)
    }
}

/// No object of a repository has this key.
pub(super) const NO_OBJECT: &str = "no-object";
pub(super) const ANOTHER_PART: &str = "the store sent another part than was asked for";
pub(super) const NO_PART: &str = "the store sends whole objects when asked for a part";
pub(super) const NO_LENGTH: &str = "the store does not say how long the object is";

/// Above this, hashing is done where it may block.
const HASHED_AT_ONCE: usize = 64 << 10;

#[async_trait]
impl<S: Remote> Backend for S {
    fn location(&self) -> &str {
        self.place()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let at = at(self, "write", key.as_str());
        let (sum, bytes) = match hashed::<S>(bytes).await {
            Ok(hashed) => hashed,
            Err(failure) => return Err(at(failure)),
        };
        self.patience().persist(|| self.put(key, &bytes, &sum)).await.map_err(at)
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        self.patience().persist(|| self.whole(key, limit)).await.map_err(at(self, "read", key.as_str()))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        let at = at(self, "read", key.as_str());
        if range.start >= range.end || i64::try_from(range.end).is_err() {
            // There are no words for an empty range, and servers take one that no object can have for none at all.
            let size = self.head(key).await?.size;
            let empty = range.start == range.end && range.end <= size;
            return if empty { Ok(Bytes::new()) } else { Err(at(Failure::not_within(&range, Some(size)))) };
        }
        self.patience().persist(|| self.part(key, &range)).await.map_err(at)
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        self.patience().persist(|| self.look(key)).await.map_err(at(self, "look at", key.as_str()))
    }

    fn list(&self, prefix: &str) -> Listing {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::try_unfold(Some(S::Cursor::default()), move |cursor: Option<S::Cursor>| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let Some(mut cursor) = cursor else { return Ok(None) };
                let page = store.patience().persist(|| store.page(&prefix, &cursor)).await;
                let taken = page.and_then(|page| store.take(&mut cursor, page));
                let (found, more) = taken.map_err(at(&store, "list", &prefix))?;
                Ok(Some((stream::iter(found.into_iter().map(Ok)), more.then_some(cursor))))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        self.patience().persist(|| self.time()).await.map_err(at(self, "ask for the time of", ""))
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.patience().persist(|| self.remove(key)).await {
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(at(self, "delete", key.as_str())(failure)),
            _ => Ok(()),
        }
    }

    fn locks(&self) -> Option<&LockOptions> {
        self.lock_options()
    }

    async fn lock_ready(&self) -> Result<Option<BucketLock>, Error> {
        if self.lock_options().is_none() {
            return Ok(None);
        }
        self.patience().persist(|| self.bucket_lock()).await.map_err(at(self, "lock objects in", ""))
    }

    async fn keep_locked(&self, key: &Key) -> Result<Relock, Error> {
        let Some(wanted) = self.lock_options().filter(|lock| (lock.locked)(key)) else { return Ok(Relock::NotLocked) };
        let now = Timestamp::now();
        let (found, hidden) = match self.patience().persist(|| self.lock_of(key)).await {
            Ok(found) => (found.filter(|lock| lock.until > now), false),
            // Who may not look may still lock.
            Err(failure) if failure.kind == ErrorKind::PermissionDenied => (None, true),
            Err(failure) => return Err(at(self, "look at the lock of", key.as_str())(failure)),
        };
        let lock = match found {
            Some(lock) if lock.until >= wanted.least(now) => return Ok(Relock::Enough),
            // A lock that is in force keeps its mode: another one would need the right to take it off.
            Some(lock) => Lock { until: wanted.until(now), ..lock },
            None => Lock { mode: wanted.mode, until: wanted.until(now) },
        };
        match self.patience().persist(|| self.set_lock(key, lock)).await {
            Ok(()) => Ok(Relock::Extended),
            // The lock that could not be seen is a longer one.
            Err(failure) if hidden && failure.kind == ErrorKind::Locked => Ok(Relock::Enough),
            Err(failure) => Err(at(self, "lock", key.as_str())(failure)),
        }
    }

    async fn locked_until(&self, key: &Key) -> Result<Option<Timestamp>, Error> {
        match self.patience().persist(|| self.lock_of(key)).await {
            Ok(found) => Ok(found.map(|lock| lock.until)),
            Err(failure) if matches!(failure.kind, ErrorKind::PermissionDenied | ErrorKind::NotFound) => Ok(None),
            Err(failure) => Err(at(self, "look at the lock of", key.as_str())(failure)),
        }
    }

    async fn sha256_of(&self, key: &Key) -> Result<Option<Sha256Digest>, Error> {
        match self.patience().persist(|| self.kept_sum(key)).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
            found => found.map_err(at(self, "look at the checksum of", key.as_str())),
        }
    }

    async fn probe(&self, key: &Key, bytes: Bytes) -> Result<Option<Powers>, Error> {
        let at = at(self, "try the rights on", key.as_str());
        self.patience().persist(|| self.powers(key, &bytes)).await.map_err(at)
    }
}

fn at<S: Remote>(store: &S, act: &'static str, subject: &str) -> impl FnOnce(Failure) -> Error + use<S> {
    let (location, subject) = (store.place().to_owned(), subject.to_owned());
    move |failure| failure.at(act, &subject, &location)
}

async fn hashed<S: Remote>(bytes: Bytes) -> Result<(S::Sum, Bytes), Failure> {
    let hash = |bytes: Bytes| (S::sum(&bytes), bytes);
    if bytes.len() <= HASHED_AT_ONCE {
        return Ok(hash(bytes));
    }
    let done = tokio::task::spawn_blocking(move || hash(bytes)).await;
    done.map_err(|stopped| Failure::new(ErrorKind::Other, "the thread that did it has stopped").because(stopped))
}

/// The bytes of `body`, which must be `size` and come in time: neither more nor fewer are taken.
pub(super) async fn received(
    body: impl Stream<Item = Result<Bytes, Failure>>,
    size: u64,
    patience: &Patience,
) -> Result<Bytes, Failure> {
    within(patience.for_bytes(size), "whole object", collect(body, size)).await
}

async fn collect(body: impl Stream<Item = Result<Bytes, Failure>>, size: u64) -> Result<Bytes, Failure> {
    let length = usize::try_from(size).map_err(|_| Failure::too_large(size, usize::MAX as u64))?;
    let mut bytes = large::buffer(length);
    let mut body = std::pin::pin!(body);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if bytes.len().saturating_add(piece.len()) > length {
            return Err(Failure::new(ErrorKind::Other, "the store sent more than it said it would"));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < length {
        return Err(Failure::new(ErrorKind::Unreachable, "the connection ended before the object did").passing());
    }
    Ok(bytes.into())
}

/// The store does not do what drctl needs of it.
pub(super) fn unsupported(reason: &str) -> Failure {
    Failure::new(ErrorKind::Unsupported, reason)
}

/// What a store said of an object, if it said it.
pub(super) fn meta(key: Key, size: Option<u64>, modified: Option<Timestamp>) -> Result<ObjectMeta, Failure> {
    match (size, modified) {
        (Some(size), Some(modified)) => Ok(ObjectMeta { key, size, modified }),
        _ => Err(unsupported("the store does not say an object's size and time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(pieces: &[&'static str], size: u64) -> Result<Bytes, Failure> {
        let pieces: Vec<Result<Bytes, Failure>> =
            pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        collect(stream::iter(pieces), size).await
    }

    #[tokio::test]
    async fn a_body_has_just_the_bytes_that_were_announced() {
        assert_eq!(collected(&["ab", "", "c"], 3).await.unwrap(), "abc");
        assert_eq!(collected(&[], 0).await.unwrap(), "");
        let short = collected(&["ab"], 3).await.unwrap_err();
        assert!(short.passing && short.kind == ErrorKind::Unreachable, "{short:?}");
        let long = collected(&["ab", "cd"], 3).await.unwrap_err();
        assert!(!long.passing && long.reason.contains("more than it said"), "{long:?}");
    }
}
