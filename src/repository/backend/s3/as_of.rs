//! A bucket that keeps versions, as it was at a time: of each key the newest version that is not after it. Deletions
//! and overwrites that came later are not seen. Nothing can be written.
//!
//! What was not touched since then costs what it always costs: its current version is the one. Only where that is
//! later, or deleted, are the versions of the key listed.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_sdk_s3::{
    operation::list_object_versions::ListObjectVersionsOutput,
    types::{BucketVersioningStatus, DeleteMarkerEntry, ObjectVersion},
};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    super::{
        Error, ErrorKind, Key, ObjectMeta, PutOutcome,
        failure::Failure,
        network::{Remote, meta, unsupported},
        retry::{Patience, within},
    },
    S3, error, modified, size,
    version::{deleted, made},
};

/// The view of a store.
#[derive(Debug, Clone)]
pub struct AsOf {
    store: S3,
    time: Timestamp,
    /// Versions that were looked up: parts of one pack are read one after the other.
    known: Arc<Mutex<HashMap<String, Arc<str>>>>,
}

/// So many looked-up versions are remembered: some 500 kB.
const MOST_KNOWN: usize = 4_096;
const NO_VERSIONS: &str = "the bucket keeps no versions, so nothing of an earlier time can be read from it";

impl S3 {
    /// The store as it was at `time`. It can only be read.
    ///
    /// # Errors
    /// `Unsupported` if the bucket has never kept versions; else what the store says. An identity that may not ask
    /// for that goes on.
    pub async fn as_of(self, time: Timestamp) -> Result<AsOf, Error> {
        let inner = &self.inner;
        let ask = || async {
            let ask = inner.client.get_bucket_versioning().bucket(&inner.bucket);
            let answer = async { ask.send().await.map_err(|error| error::failure(&error)) };
            match within(inner.patience.answer, "answer", answer).await {
                Ok(answer) if answer.status.is_none() => Err(unsupported(NO_VERSIONS)),
                Ok(answer) => Ok(answer.status == Some(BucketVersioningStatus::Enabled)),
                Err(failure) if failure.kind == ErrorKind::PermissionDenied => Ok(true),
                Err(failure) => Err(failure),
            }
        };
        inner.patience.persist(ask).await.map_err(|failure| failure.at("read versions of", "", &inner.location))?;
        Ok(AsOf { store: self, time, known: Arc::default() })
    }
}

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    id: String,
    size: Option<u64>,
    made: Timestamp,
}

/// The newest entry of a key so far that is not after the time; of one moment, a version rather than a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Newest {
    Version(Version),
    Deleted(Timestamp),
}

impl Newest {
    fn made(&self) -> Timestamp {
        match self {
            Self::Version(version) => version.made,
            Self::Deleted(made) => *made,
        }
    }

    /// Versions of a key come newest first: of two of one moment the first is the newer one.
    fn is_before(&self, other: &Self) -> bool {
        match self.made().cmp(&other.made()) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => matches!((self, other), (Self::Deleted(_), Self::Version(_))),
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// Where a listing of versions is.
#[derive(Debug, Default)]
pub(in super::super) struct Cursor {
    /// Key and version after which the next page begins.
    marker: Option<(String, Option<String>)>,
    /// The key whose versions are being read, with the store's prefix, and what it had at the time.
    current: Option<(String, Option<Newest>)>,
}

impl Cursor {
    /// What the page says of keys whose versions it ends, and whether there is another page.
    fn take(
        &mut self,
        page: ListObjectVersionsOutput,
        time: Timestamp,
    ) -> Result<(Vec<(String, Version)>, bool), Failure> {
        let more = page.is_truncated() == Some(true);
        let next = page.next_key_marker.map(|key| (key, page.next_version_id_marker));
        let next = next.filter(|(key, _)| !key.is_empty());
        let versions = page.versions.unwrap_or_default().into_iter().map(of_version);
        let mut entries: Vec<(String, Newest)> = versions.collect::<Result<_, _>>()?;
        for marker in page.delete_markers.unwrap_or_default() {
            entries.push(of_marker(marker)?);
        }
        // Versions and deletions are told apart; each of the two is in order.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut found = Vec::new();
        for (key, entry) in entries {
            self.step(key, &mut found)?;
            if let Some((_, newest)) = &mut self.current
                && entry.made() <= time
                && newest.as_ref().is_none_or(|newest| newest.is_before(&entry))
            {
                *newest = Some(entry);
            }
        }
        if more && (next.is_none() || next == self.marker) {
            return Err(unsupported("the store says that a listing of versions goes on, but not where"));
        }
        self.marker = next;
        if !more {
            self.flush(&mut found);
        }
        Ok((found, more))
    }

    /// Goes on to `key`.
    fn step(&mut self, key: String, found: &mut Vec<(String, Version)>) -> Result<(), Failure> {
        match &self.current {
            Some((current, _)) if *current == key => return Ok(()),
            Some((current, _)) if *current > key => {
                return Err(unsupported("the store does not list versions in the byte order of the keys"));
            }
            _ => self.flush(found),
        }
        self.current = Some((key, None));
        Ok(())
    }

    fn flush(&mut self, found: &mut Vec<(String, Version)>) {
        if let Some((key, Some(Newest::Version(version)))) = self.current.take() {
            found.push((key, version));
        }
    }
}

fn of_version(version: ObjectVersion) -> Result<(String, Newest), Failure> {
    let id = version.version_id.unwrap_or_else(|| "null".to_owned());
    let made = made(&id, modified(version.last_modified.as_ref())).ok_or_else(|| unsupported(NO_TIME))?;
    let version_of = Version { id, size: size(version.size), made };
    Ok((version.key.unwrap_or_default(), Newest::Version(version_of)))
}

fn of_marker(marker: DeleteMarkerEntry) -> Result<(String, Newest), Failure> {
    let id = marker.version_id.unwrap_or_default();
    let made = deleted(&id, modified(marker.last_modified.as_ref())).ok_or_else(|| unsupported(NO_TIME))?;
    Ok((marker.key.unwrap_or_default(), Newest::Deleted(made)))
}

const NO_TIME: &str = "the store does not say when a version was made";

fn read_only() -> Failure {
    unsupported("it is looked at as it was at an earlier time, and that cannot be changed: leave --as-of out")
}

impl AsOf {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn versions(&self, prefix: &str, cursor: &Cursor) -> Result<ListObjectVersionsOutput, Failure> {
        let inner = &self.store.inner;
        let (key, version) = cursor.marker.clone().unzip();
        let list = inner
            .client
            .list_object_versions()
            .bucket(&inner.bucket)
            .prefix(format!("{}{prefix}", inner.prefix))
            .set_max_keys(inner.page_size.map(i32::from))
            .set_key_marker(key)
            .set_version_id_marker(version.flatten());
        let answer = async { list.send().await.map_err(|error| error::failure(&error)) };
        // A page is some 500 kB.
        within(inner.patience.for_bytes(1 << 20), "answer", answer).await
    }

    /// The version of the object that there was at the time.
    async fn find(&self, key: &Key) -> Result<Version, Failure> {
        let full = self.store.inner.full(key);
        let mut cursor = Cursor::default();
        loop {
            let page = self.versions(key.as_str(), &cursor).await?;
            let (found, more) = cursor.take(page, self.time)?;
            if let Some((_, version)) = found.into_iter().find(|(found, _)| *found == full) {
                let mut known = self.known();
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                known.insert(full, version.id.as_str().into());
                return Ok(version);
            }
            let passed = cursor.current.as_ref().is_none_or(|(current, _)| *current != full);
            if !more || passed {
                return Err(Failure::not_found());
            }
        }
    }

    async fn read(&self, key: &Key, range: Option<&Range<u64>>, limit: u64) -> Result<Bytes, Failure> {
        let inner = &self.store.inner;
        let known = self.known().get(&inner.full(key)).cloned();
        let id = match known {
            Some(id) => id,
            None => {
                match inner.ask(key, None, range).await {
                    Ok(answer) if modified(answer.last_modified()).is_some_and(|time| time <= self.time) => {
                        return inner.take_body(answer, range, limit).await;
                    }
                    Ok(_) => {}
                    // A later, shorter version in its place does not have the range.
                    Err(failure) if failure.kind == ErrorKind::NotFound || range.is_some() && !failure.passing => {}
                    Err(failure) => return Err(failure),
                }
                self.find(key).await?.id.into()
            }
        };
        let answer = inner.ask(key, Some(&id), range).await?;
        inner.take_body(answer, range, limit).await
    }
}

#[async_trait]
impl Remote for AsOf {
    type Sum = String;
    type Cursor = Cursor;
    type Page = ListObjectVersionsOutput;

    fn place(&self) -> &str {
        self.store.place()
    }

    fn patience(&self) -> &Patience {
        self.store.patience()
    }

    fn sum(bytes: &[u8]) -> String {
        S3::sum(bytes)
    }

    async fn put(&self, _key: &Key, _bytes: &Bytes, _sum: &String) -> Result<PutOutcome, Failure> {
        Err(read_only())
    }

    async fn whole(&self, key: &Key, limit: u64) -> Result<Bytes, Failure> {
        self.read(key, None, limit).await
    }

    async fn part(&self, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure> {
        self.read(key, Some(range), u64::MAX).await
    }

    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure> {
        match self.store.look(key).await {
            Ok(found) if found.modified <= self.time => Ok(found),
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure),
            _ => {
                let Version { size, made, .. } = self.find(key).await?;
                meta(key.clone(), size, Some(made))
            }
        }
    }

    async fn page(&self, prefix: &str, cursor: &Cursor) -> Result<ListObjectVersionsOutput, Failure> {
        self.versions(prefix, cursor).await
    }

    fn take(&self, cursor: &mut Cursor, page: ListObjectVersionsOutput) -> Result<(Vec<ObjectMeta>, bool), Failure> {
        let (found, more) = cursor.take(page, self.time)?;
        let mut objects = Vec::with_capacity(found.len());
        for (full, version) in found {
            // What has no valid key was not put by drctl.
            if let Some(Ok(key)) = full.strip_prefix(&self.store.inner.prefix).map(Key::new) {
                objects.push(meta(key, version.size, Some(version.made))?);
            }
        }
        Ok((objects, more))
    }

    async fn time(&self) -> Result<Option<Timestamp>, Failure> {
        self.store.time().await
    }

    async fn remove(&self, _key: &Key) -> Result<(), Failure> {
        Err(read_only())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::DateTime;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn version(key: &str, id: &str, seconds: i64) -> ObjectVersion {
        let version = ObjectVersion::builder().key(key).version_id(id).size(1);
        version.last_modified(DateTime::from_secs(seconds)).build()
    }

    fn marker(key: &str, seconds: i64) -> DeleteMarkerEntry {
        DeleteMarkerEntry::builder().key(key).version_id("m").last_modified(DateTime::from_secs(seconds)).build()
    }

    fn page(
        versions: Vec<ObjectVersion>,
        markers: Vec<DeleteMarkerEntry>,
        next: Option<(&str, &str)>,
    ) -> ListObjectVersionsOutput {
        ListObjectVersionsOutput::builder()
            .set_versions(Some(versions))
            .set_delete_markers(Some(markers))
            .is_truncated(next.is_some())
            .set_next_key_marker(next.map(|(key, _)| key.to_owned()))
            .set_next_version_id_marker(next.map(|(_, id)| id.to_owned()))
            .build()
    }

    fn seen(pages: Vec<ListObjectVersionsOutput>, time: i64) -> Vec<(String, String)> {
        let mut cursor = Cursor::default();
        let taken = pages.into_iter().flat_map(|page| cursor.take(page, at(time)).unwrap().0);
        taken.map(|(key, version)| (key, version.id)).collect()
    }

    #[test]
    fn of_each_key_the_newest_version_counts_that_is_not_after_the_time() {
        // `a` was overwritten at 20 and deleted at 30; `b` was deleted at 10 and put again at 25.
        let pages = || {
            let versions = vec![version("a", "a2", 20), version("a", "a1", 5), version("b", "b2", 25)];
            vec![page(versions, vec![marker("a", 30), marker("b", 10)], Some(("b", "m"))), {
                page(vec![version("b", "b1", 6), version("c", "c1", 40)], vec![], None)
            }]
        };
        let of = |time| seen(pages(), time).into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        assert_eq!(of(4), [""; 0]);
        assert_eq!(of(5), ["a1"]);
        assert_eq!(of(9), ["a1", "b1"]);
        assert_eq!(of(10), ["a1"]);
        assert_eq!(of(19), ["a1"]);
        assert_eq!(of(26), ["a2", "b2"]);
        assert_eq!(of(29), ["a2", "b2"]);
        assert_eq!(of(30), ["b2"]);
        assert_eq!(of(40), ["b2", "c1"]);
    }

    #[test]
    fn of_one_second_a_version_counts_rather_than_a_deletion_and_the_newer_version_first() {
        let pages = vec![page(vec![version("a", "new", 5), version("a", "old", 5)], vec![marker("a", 5)], None)];
        assert_eq!(seen(pages, 5), [("a".to_owned(), "new".to_owned())]);
    }

    #[test]
    fn a_listing_that_goes_back_or_round_is_refused() {
        let mut cursor = Cursor::default();
        cursor.take(page(vec![version("b", "1", 5)], vec![], Some(("b", "1"))), at(9)).unwrap();
        assert!(cursor.take(page(vec![version("a", "1", 5)], vec![], None), at(9)).is_err());
        let mut cursor = Cursor::default();
        cursor.take(page(vec![version("b", "1", 5)], vec![], Some(("b", "1"))), at(9)).unwrap();
        assert!(cursor.take(page(vec![version("b", "1", 5)], vec![], Some(("b", "1"))), at(9)).is_err());
        assert!(Cursor::default().take(page(vec![], vec![], Some(("", ""))), at(9)).is_err());
    }
}
