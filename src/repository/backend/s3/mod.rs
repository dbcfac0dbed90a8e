//! S3 and stores that speak its protocol: `s3://bucket/prefix`.

mod as_of;
mod connect;
mod error;
mod locks;
mod probe;
mod version;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectOutput, list_objects_v2::ListObjectsV2Output},
    primitives::{ByteStream, DateTime},
    types::ChecksumMode,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::stream;
use jiff::{Timestamp, fmt::rfc2822};

pub use self::{as_of::AsOf, connect::S3Options};
use super::{
    BucketLock, Error, ErrorKind, Key, Lock, LockOptions, ObjectMeta, Powers, PutOutcome,
    failure::Failure,
    network::{ANOTHER_PART, NO_LENGTH, NO_OBJECT, NO_PART, Remote, meta, received, unsupported},
    retry::{Patience, within},
};
use crate::types::{Location, Sha256Digest};

/// A bucket, or what lies in it under a prefix.
#[derive(Debug, Clone)]
pub struct S3 {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    bucket: String,
    /// Empty, or ending in `/`.
    prefix: String,
    location: String,
    patience: Patience,
    page_size: Option<u16>,
    lock: Option<LockOptions>,
}

impl S3 {
    /// The store under `prefix` in `bucket`. Nothing is sent yet.
    ///
    /// # Errors
    /// A file of authorities that cannot be used, an endpoint that is no address, a region that is not known.
    pub async fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, Error> {
        let location = Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }.to_string();
        let patience = Patience::new(options.patience);
        let client = connect::client(options, &patience).await.map_err(|failure| failure.at("open", "", &location))?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (page_size, lock) = (options.page_size, options.lock.clone());
        let bucket = bucket.to_owned();
        Ok(Self { inner: Arc::new(Inner { client, bucket, prefix, location, patience, page_size, lock }) })
    }
}

impl Inner {
    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The object, its current version or this one, whole or `range` of it; its bytes have not come yet.
    async fn ask(
        &self,
        key: &Key,
        version: Option<&str>,
        range: Option<&Range<u64>>,
    ) -> Result<GetObjectOutput, Failure> {
        let header = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let get = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(header);
        let get = get.set_version_id(version.map(str::to_owned));
        let answer = async { get.send().await.map_err(|error| error::failure(&error)) };
        within(self.patience.answer, "answer", answer).await
    }

    /// The bytes of `answer`, to a question for `range` or for all of them, of which at most `limit` are taken.
    async fn take_body(
        &self,
        answer: GetObjectOutput,
        range: Option<&Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, Failure> {
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let Some(size) = size else {
            return Err(unsupported(NO_LENGTH));
        };
        if let Some(range) = range {
            part_of(answer.content_range(), size, range)?;
        }
        if size > limit {
            return Err(Failure::too_large(size, limit));
        }
        let pieces = stream::unfold(answer.body, |mut body| async {
            let piece = body.next().await?;
            Some((piece.map_err(|error| error::broken_body(&error)), body))
        });
        received(pieces, size, &self.patience).await
    }

    /// The bytes `range`, or all of them, of which at most `limit` are taken.
    async fn read(&self, key: &Key, range: Option<&Range<u64>>, limit: u64) -> Result<Bytes, Failure> {
        let answer = self.ask(key, None, range).await?;
        self.take_body(answer, range, limit).await
    }
}

/// A create-only put that found the object there has succeeded at that.
fn lost_or<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> Result<PutOutcome, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let (status, code) = (answer.raw().status().as_u16(), answer.err().meta().code());
        if status == 412 || code == Some("PreconditionFailed") {
            return Ok(PutOutcome::Exists);
        }
        if status == 409 && code != Some("OperationAborted") {
            return Err(Failure::new(ErrorKind::Other, error::BUSY_OBJECT).passing());
        }
    }
    Err(error::failure(error))
}

/// Whether an answer of `size` bytes is the part `range`, by its `Content-Range: bytes 2-4/10`.
fn part_of(said: Option<&str>, size: u64, range: &Range<u64>) -> Result<(), Failure> {
    let Some(said) = said else {
        return Err(unsupported(NO_PART));
    };
    if size != range.end.saturating_sub(range.start) {
        return Err(Failure::not_within(range, None));
    }
    let start = said.strip_prefix("bytes ").and_then(|said| said.split_once('-')).map(|(start, _)| start.parse());
    if start == Some(Ok(range.start)) {
        return Ok(());
    }
    Err(unsupported(ANOTHER_PART))
}

fn size(said: Option<i64>) -> Option<u64> {
    said.and_then(|size| u64::try_from(size).ok())
}

fn modified(said: Option<&DateTime>) -> Option<Timestamp> {
    said.and_then(|time| Timestamp::from_nanosecond(time.as_nanos()).ok())
}

/// Where a listing is.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    token: Option<String>,
    /// The last key seen, with the store's prefix.
    last: String,
}

impl Cursor {
    /// The objects of the page, and where the next one begins.
    fn take(&mut self, page: ListObjectsV2Output, store: &str) -> Result<(Vec<ObjectMeta>, bool), Failure> {
        let mut found = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let full = object.key().unwrap_or_default();
            // Also what keeps a listing from going round in circles.
            if full <= self.last.as_str() {
                let reason = "the store does not list in the byte order of the keys, which drctl needs";
                return Err(unsupported(reason));
            }
            full.clone_into(&mut self.last);
            // What has no valid key was not put by drctl: folders made in a browser, say.
            if let Some(Ok(key)) = full.strip_prefix(store).map(Key::new) {
                found.push(meta(key, size(object.size()), modified(object.last_modified()))?);
            }
        }
        let more = page.is_truncated() == Some(true);
        if more && (page.contents().is_empty() || page.next_continuation_token().is_none()) {
            return Err(unsupported("the store says that a listing goes on, but not where"));
        }
        self.token = page.next_continuation_token;
        Ok((found, more))
    }
}

#[async_trait]
impl Remote for S3 {
    /// SHA-256, in Base64.
    type Sum = String;
    type Cursor = Cursor;
    type Page = ListObjectsV2Output;

    fn place(&self) -> &str {
        &self.inner.location
    }

    fn patience(&self) -> &Patience {
        &self.inner.patience
    }

    fn sum(bytes: &[u8]) -> String {
        BASE64_STANDARD.encode(Sha256Digest::of(bytes).as_bytes())
    }

    async fn put(&self, key: &Key, bytes: &Bytes, sha256: &String) -> Result<PutOutcome, Failure> {
        let put = self
            .inner
            .client
            .put_object()
            .bucket(&self.inner.bucket)
            .key(self.inner.full(key))
            .if_none_match("*")
            .checksum_sha256(sha256)
            .content_length(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
            .body(ByteStream::from(bytes.clone()));
        let lock = self.inner.lock.as_ref().filter(|lock| (lock.locked)(key));
        let lock = lock.map(|lock| Lock { mode: lock.mode, until: lock.until(Timestamp::now()) });
        let put = put
            .set_object_lock_mode(lock.map(|lock| locks::mode(lock.mode)))
            .set_object_lock_retain_until_date(lock.map(|lock| DateTime::from_secs(lock.until.as_second())));
        let answer = async {
            match put.send().await {
                Ok(_) => Ok(PutOutcome::Created),
                Err(error) => lost_or(&error),
            }
        };
        within(self.inner.patience.for_bytes(bytes.len() as u64), "answer", answer).await
    }

    async fn whole(&self, key: &Key, limit: u64) -> Result<Bytes, Failure> {
        self.inner.read(key, None, limit).await
    }

    async fn part(&self, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure> {
        self.inner.read(key, Some(range), u64::MAX).await
    }

    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure> {
        let head = self.inner.client.head_object().bucket(&self.inner.bucket).key(self.inner.full(key));
        let answer = async {
            head.send().await.map_err(|error| match error.raw_response().map(|answer| answer.status().as_u16()) {
                // This answer has no body that could say more.
                Some(404) => Failure::not_found(),
                _ => error::failure(&error),
            })
        };
        let answer = within(self.inner.patience.answer, "answer", answer).await?;
        meta(key.clone(), size(answer.content_length()), modified(answer.last_modified()))
    }

    async fn kept_sum(&self, key: &Key) -> Result<Option<Sha256Digest>, Failure> {
        let head = self.inner.client.head_object().bucket(&self.inner.bucket).key(self.inner.full(key));
        let head = head.checksum_mode(ChecksumMode::Enabled);
        let answer = async {
            head.send().await.map_err(|error| match error.raw_response().map(|answer| answer.status().as_u16()) {
                Some(404) => Failure::not_found(),
                _ => error::failure(&error),
            })
        };
        let answer = within(self.inner.patience.answer, "answer", answer).await?;
        // One of several parts is of another kind, and no base64 alone.
        let told = answer.checksum_sha256().and_then(|text| BASE64_STANDARD.decode(text).ok());
        Ok(told.and_then(|bytes| Some(Sha256Digest::from_bytes(bytes.try_into().ok()?))))
    }

    async fn page(&self, prefix: &str, cursor: &Cursor) -> Result<ListObjectsV2Output, Failure> {
        let list = self
            .inner
            .client
            .list_objects_v2()
            .bucket(&self.inner.bucket)
            .prefix(format!("{}{prefix}", self.inner.prefix))
            .set_max_keys(self.inner.page_size.map(i32::from))
            .set_continuation_token(cursor.token.clone());
        let answer = async { list.send().await.map_err(|error| error::failure(&error)) };
        // A page is some 300 kB.
        within(self.inner.patience.for_bytes(1 << 20), "answer", answer).await
    }

    fn take(&self, cursor: &mut Cursor, page: ListObjectsV2Output) -> Result<(Vec<ObjectMeta>, bool), Failure> {
        cursor.take(page, &self.inner.prefix)
    }

    async fn time(&self) -> Result<Option<Timestamp>, Failure> {
        let head =
            self.inner.client.head_object().bucket(&self.inner.bucket).key(format!("{}{NO_OBJECT}", self.inner.prefix));
        let answer = async {
            match head.send().await {
                Ok(_) => Ok(None),
                Err(error) => match error.raw_response().and_then(|answer| answer.headers().get("date")) {
                    Some(date) => Ok(rfc2822::DateTimeParser::new().parse_timestamp(date).ok()),
                    None => Err(error::failure(&error)),
                },
            }
        };
        within(self.inner.patience.answer, "answer", answer).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let delete = self.inner.client.delete_object().bucket(&self.inner.bucket).key(self.inner.full(key));
        let answer = async { delete.send().await.map(drop).map_err(|error| error::failure(&error)) };
        within(self.inner.patience.answer, "answer", answer).await
    }

    fn lock_options(&self) -> Option<&LockOptions> {
        self.inner.lock.as_ref()
    }

    async fn bucket_lock(&self) -> Result<Option<BucketLock>, Failure> {
        self.inner.bucket_lock().await
    }

    async fn lock_of(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        self.inner.lock_of(key).await
    }

    async fn set_lock(&self, key: &Key, lock: Lock) -> Result<(), Failure> {
        self.inner.set_lock(key, lock).await
    }

    async fn powers(&self, key: &Key, bytes: &Bytes) -> Result<Option<Powers>, Failure> {
        probe::powers(self, key, bytes).await.map(Some)
    }
}
