//! A decorator that keeps a log of the calls, for tests of what a run costs.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, BucketLock, Error, Key, Listing, LockOptions, ObjectMeta, Powers, PutOutcome, Relock};
use crate::types::Sha256Digest;

/// The methods of a [`Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`Backend::put_new`]
    PutNew,
    /// [`Backend::get`]
    Get,
    /// [`Backend::get_range`]
    GetRange,
    /// [`Backend::head`]
    Head,
    /// [`Backend::list`]: one for the whole listing.
    List,
    /// [`Backend::delete`]
    Delete,
    /// [`Backend::keep_locked`]
    KeepLocked,
}

impl Op {
    /// Whether it may change the store.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::PutNew | Self::Delete | Self::KeepLocked)
    }
}

/// One call, once it has returned; a listing, when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub op: Op,
    /// The key, or the prefix of a listing.
    pub subject: String,
    /// The bytes that were put or got.
    pub bytes: u64,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// A store that remembers the calls on it.
#[derive(Debug)]
pub struct Recording {
    inner: Arc<dyn Backend>,
    calls: Mutex<Vec<Call>>,
}

impl Recording {
    /// Remembers the calls on `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self { inner, calls: Mutex::default() })
    }

    /// All calls so far, in the order in which they returned.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls of `op` there were whose key or prefix begins with `prefix`.
    #[must_use]
    pub fn count(&self, op: Op, prefix: &str) -> usize {
        self.calls().iter().filter(|call| call.op == op && call.subject.starts_with(prefix)).count()
    }

    /// How many bytes were put under keys that begin with `prefix`.
    #[must_use]
    pub fn bytes_put(&self, prefix: &str) -> u64 {
        let puts = |call: &&Call| call.op == Op::PutNew && call.subject.starts_with(prefix);
        self.calls().iter().filter(puts).map(|call| call.bytes).sum()
    }

    /// Forgets all calls.
    pub fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn note(&self, op: Op, subject: &str, bytes: u64, succeeded: bool) {
        let call = Call { op, subject: subject.to_owned(), bytes, succeeded };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

fn length(result: &Result<Bytes, Error>) -> u64 {
    result.as_ref().map_or(0, |bytes| bytes.len() as u64)
}

#[async_trait]
impl Backend for Recording {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let size = bytes.len() as u64;
        let result = self.inner.put_new(key, bytes).await;
        self.note(Op::PutNew, key.as_str(), size, result.is_ok());
        result
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let result = self.inner.get(key, limit).await;
        self.note(Op::Get, key.as_str(), length(&result), result.is_ok());
        result
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        let result = self.inner.get_range(key, range).await;
        self.note(Op::GetRange, key.as_str(), length(&result), result.is_ok());
        result
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        let result = self.inner.head(key).await;
        self.note(Op::Head, key.as_str(), 0, result.is_ok());
        result
    }

    fn list(&self, prefix: &str) -> Listing {
        self.note(Op::List, prefix, 0, true);
        self.inner.list(prefix)
    }

    async fn strangers(&self, prefix: &str) -> Result<Vec<Key>, Error> {
        self.note(Op::List, prefix, 0, true);
        self.inner.strangers(prefix).await
    }

    async fn clock(&self) -> Result<Option<jiff::Timestamp>, Error> {
        self.inner.clock().await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let result = self.inner.delete(key).await;
        self.note(Op::Delete, key.as_str(), 0, result.is_ok());
        result
    }

    fn locks(&self) -> Option<&LockOptions> {
        self.inner.locks()
    }

    async fn lock_ready(&self) -> Result<Option<BucketLock>, Error> {
        self.inner.lock_ready().await
    }

    async fn keep_locked(&self, key: &Key) -> Result<Relock, Error> {
        let result = self.inner.keep_locked(key).await;
        self.note(Op::KeepLocked, key.as_str(), 0, result.is_ok());
        result
    }

    async fn probe(&self, key: &Key, bytes: Bytes) -> Result<Option<Powers>, Error> {
        self.inner.probe(key, bytes).await
    }

    async fn locked_until(&self, key: &Key) -> Result<Option<jiff::Timestamp>, Error> {
        self.inner.locked_until(key).await
    }

    async fn sha256_of(&self, key: &Key) -> Result<Option<Sha256Digest>, Error> {
        self.inner.sha256_of(key).await
    }

    async fn remove_leftovers(&self, before: jiff::Timestamp) -> Result<u64, Error> {
        self.inner.remove_leftovers(before).await
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Memory, *};

    #[tokio::test]
    async fn calls_are_counted_by_method_and_prefix() {
        let store = Recording::new(Arc::new(Memory::default()));
        let key = Key::new("data/a").unwrap();
        store.put_new(&key, Bytes::from_static(b"four")).await.unwrap();
        store.put_new(&Key::new("meta/a").unwrap(), Bytes::from_static(b"xy")).await.unwrap();
        store.get(&key, 3).await.unwrap_err();
        let _ = store.list("data/");
        assert_eq!((store.count(Op::PutNew, ""), store.count(Op::PutNew, "data/")), (2, 1));
        assert_eq!((store.bytes_put(""), store.bytes_put("data/")), (6, 4));
        let call = Call { op: Op::Get, subject: "data/a".into(), bytes: 0, succeeded: false };
        assert_eq!(store.calls()[2], call);
        store.clear();
        assert_eq!(store.calls(), []);
    }
}
