//! A store in memory that says of its objects what servers say: until when a lock keeps them, and what SHA-256 they have.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    repository::backend::{Backend, Error, ErrorKind, Key, Listing, Memory, ObjectMeta, PutOutcome},
    types::Sha256Digest,
};

/// The store.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) inner: Memory,
    /// Until when a lock keeps sessions from deletion.
    pub(super) sessions_until: Option<Timestamp>,
    /// The objects of which no SHA-256 is kept; absent: none is kept of any.
    pub(super) without_sha256: Option<Vec<Key>>,
}

impl Server {
    /// One that says nothing more than `inner`.
    pub(super) fn over(inner: &Memory) -> Self {
        Self { inner: inner.clone(), sessions_until: None, without_sha256: None }
    }
}

#[async_trait]
impl Backend for Server {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        self.inner.put_new(key, bytes).await
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        self.inner.get(key, limit).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        self.inner.head(key).await
    }

    fn list(&self, prefix: &str) -> Listing {
        self.inner.list(prefix)
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        self.inner.clock().await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        if self.locked_until(key).await?.is_some() {
            let (subject, location) = (key.to_string(), self.location().to_owned());
            let (kind, reason) = (ErrorKind::Locked, "it is locked".to_owned());
            return Err(Error { kind, act: "delete", subject, location, reason, source: None });
        }
        self.inner.delete(key).await
    }

    async fn locked_until(&self, key: &Key) -> Result<Option<Timestamp>, Error> {
        Ok(self.sessions_until.filter(|_| key.as_str().starts_with("sessions/")))
    }

    async fn sha256_of(&self, key: &Key) -> Result<Option<Sha256Digest>, Error> {
        let keeps = self.without_sha256.as_ref().is_some_and(|without| !without.contains(key));
        Ok(if keeps { Some(Sha256Digest::of(&self.inner.get(key, u64::MAX).await?)) } else { None })
    }
}
