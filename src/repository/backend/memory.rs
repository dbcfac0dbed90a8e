//! A store in memory, for tests and models of the protocol.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{Backend, Error, Key, Listing, ObjectMeta, PutOutcome, failure::Failure};
use crate::types::{Clock, SystemClock};

const LOCATION: &str = "memory://";
const PAGE: usize = 100;

/// A store in memory. A clone is another handle on the same objects; [`Memory::copy`] is another store.
#[derive(Debug, Clone)]
pub struct Memory {
    objects: Arc<Mutex<Objects>>,
    clock: Arc<dyn Clock>,
    create_only: bool,
    /// Names that are never given again, where the store takes the deletion marker of an object for the object.
    spent: Option<Arc<Mutex<BTreeSet<String>>>>,
}

type Objects = BTreeMap<String, Stored>;

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    modified: Timestamp,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Memory {
    /// An empty store whose own clock is `clock`: [`ObjectMeta::modified`] is what it shows.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { objects: Arc::default(), clock, create_only: true, spent: None }
    }

    /// An empty store that ignores the create-only condition: it overwrites and answers `Created`,
    /// as some real servers do. For tests of what must notice it.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn overwriting(clock: Arc<dyn Clock>) -> Self {
        Self { create_only: false, ..Self::new(clock) }
    }

    /// An empty store that takes nothing under a name of which something was deleted, as some servers do that keep versions.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn keeping_names(clock: Arc<dyn Clock>) -> Self {
        Self { spent: Some(Arc::default()), ..Self::new(clock) }
    }

    /// Another store with the same objects and times as this one has now.
    #[must_use]
    pub fn copy(&self) -> Self {
        let objects = self.objects().clone();
        let spent = self.spent.as_ref().map(|spent| Arc::new(Mutex::new(held(spent).clone())));
        Self { objects: Arc::new(Mutex::new(objects)), spent, ..self.clone() }
    }

    /// As [`Memory::copy`], with another clock.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn copy_with(&self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self.copy() }
    }

    /// Puts `bytes` under `key` whatever is there, as damage or an intruder would; its time stays
    /// that of the object before it.
    #[cfg(any(test, feature = "testing"))]
    pub fn overwrite(&self, key: &Key, bytes: impl Into<Bytes>) {
        let now = self.clock.now();
        let mut objects = self.objects();
        let modified = objects.get(key.as_str()).map_or(now, |before| before.modified);
        objects.insert(key.as_str().to_owned(), Stored { bytes: bytes.into(), modified });
    }

    /// All keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.objects().keys().filter_map(|key| Key::new(key).ok()).collect()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        held(&self.objects)
    }

    fn stored(&self, key: &Key) -> Result<Stored, Failure> {
        self.objects().get(key.as_str()).cloned().ok_or_else(Failure::not_found)
    }

    /// At most [`PAGE`] objects after the key `after`.
    fn page(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectMeta> {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.objects()
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(PAGE)
            .filter_map(|(key, stored)| meta(&Key::new(key).ok()?, stored).into())
            .collect()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn meta(key: &Key, stored: &Stored) -> ObjectMeta {
    ObjectMeta { key: key.clone(), size: stored.bytes.len() as u64, modified: stored.modified }
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

#[async_trait]
impl Backend for Memory {
    fn location(&self) -> &str {
        LOCATION
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let modified = self.clock.now();
        let mut objects = self.objects();
        let is_spent = self.spent.as_ref().is_some_and(|spent| held(spent).contains(key.as_str()));
        if self.create_only && (is_spent || objects.contains_key(key.as_str())) {
            return Ok(PutOutcome::Exists);
        }
        objects.insert(key.as_str().to_owned(), Stored { bytes, modified });
        Ok(PutOutcome::Created)
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let at = |failure: Failure| failure.at("read", key.as_str(), LOCATION);
        let bytes = self.stored(key).map_err(at)?.bytes;
        let size = bytes.len() as u64;
        if size > limit { Err(at(Failure::too_large(size, limit))) } else { Ok(bytes) }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        let at = |failure: Failure| failure.at("read", key.as_str(), LOCATION);
        let bytes = self.stored(key).map_err(at)?.bytes;
        slice(&bytes, &range).ok_or_else(|| at(Failure::not_within(&range, Some(bytes.len() as u64))))
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        let stored = self.stored(key).map_err(|failure| failure.at("look at", key.as_str(), LOCATION))?;
        Ok(meta(key, &stored))
    }

    fn list(&self, prefix: &str) -> Listing {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::try_unfold(None, move |after: Option<String>| {
            let page = store.page(&prefix, after.as_deref());
            let next = page.last().map(|last| Some(last.key.as_str().to_owned()));
            std::future::ready(Ok(next.map(|next| (stream::iter(page.into_iter().map(Ok)), next))))
        })
        .try_flatten()
        .boxed()
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        Ok(Some(self.clock.now()))
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.objects().remove(key.as_str());
        if let Some(spent) = &self.spent {
            held(spent).insert(key.as_str().to_owned());
        }
        Ok(())
    }
}
