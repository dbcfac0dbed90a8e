//! S3 and stores that speak its protocol: `s3://bucket/prefix`.

mod connect;
mod error;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::list_objects_v2::ListObjectsV2Output,
    primitives::{ByteStream, DateTime},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, fmt::rfc2822};

pub use self::connect::S3Options;
use super::{
    Backend, Error, ErrorKind, Key, Listing, ObjectMeta, PutOutcome,
    failure::Failure,
    retry::{Patience, within},
};
use crate::{
    repository::large,
    types::{Location, Sha256Digest},
};

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
        let page_size = options.page_size;
        Ok(Self { inner: Arc::new(Inner { client, bucket: bucket.to_owned(), prefix, location, patience, page_size }) })
    }

    fn at(&self, act: &'static str, subject: &str) -> impl FnOnce(Failure) -> Error {
        let location = self.inner.location.clone();
        move |failure| failure.at(act, subject, &location)
    }
}

impl Inner {
    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn put(&self, key: &Key, bytes: &Bytes, sha256: &str) -> Result<PutOutcome, Failure> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .if_none_match("*")
            .checksum_sha256(sha256)
            .content_length(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
            .body(ByteStream::from(bytes.clone()));
        let answer = async {
            match put.send().await {
                Ok(_) => Ok(PutOutcome::Created),
                Err(error) => lost_or(&error),
            }
        };
        within(self.patience.for_bytes(bytes.len() as u64), "answer", answer).await
    }

    /// The bytes `range`, or all of them, of which at most `limit` are taken.
    async fn read(&self, key: &Key, range: Option<&Range<u64>>, limit: u64) -> Result<Bytes, Failure> {
        let header = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let get = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(header);
        let answer = async { get.send().await.map_err(|error| error::failure(&error)) };
        let answer = within(self.patience.answer, "answer", answer).await?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let Some(size) = size else {
            return Err(Failure::new(ErrorKind::Unsupported, "the store does not say how long the object is"));
        };
        if let Some(range) = range {
            part_of(answer.content_range(), size, range)?;
        }
        if size > limit {
            return Err(Failure::too_large(size, limit));
        }
        within(self.patience.for_bytes(size), "whole object", collect(answer.body, size)).await
    }

    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure> {
        let head = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let answer = async {
            head.send().await.map_err(|error| match error.raw_response().map(|answer| answer.status().as_u16()) {
                // This answer has no body that could say more.
                Some(404) => Failure::not_found(),
                _ => error::failure(&error),
            })
        };
        let answer = within(self.patience.answer, "answer", answer).await?;
        meta(key.clone(), answer.content_length(), answer.last_modified())
    }

    async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        let answer = async { delete.send().await.map_err(|error| error::failure(&error)) };
        match within(self.patience.answer, "answer", answer).await {
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }

    /// The time at which the store answers, whatever it answers: most likely that there is no such object.
    async fn time(&self) -> Result<Option<Timestamp>, Failure> {
        let head = self.client.head_object().bucket(&self.bucket).key(format!("{}{NO_OBJECT}", self.prefix));
        let answer = async {
            match head.send().await {
                Ok(_) => Ok(None),
                Err(error) => match error.raw_response().and_then(|answer| answer.headers().get("date")) {
                    Some(date) => Ok(rfc2822::DateTimeParser::new().parse_timestamp(date).ok()),
                    None => Err(error::failure(&error)),
                },
            }
        };
        within(self.patience.answer, "answer", answer).await
    }

    async fn page(&self, prefix: &str, token: Option<String>) -> Result<ListObjectsV2Output, Failure> {
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{prefix}", self.prefix))
            .set_max_keys(self.page_size.map(i32::from))
            .set_continuation_token(token);
        let answer = async { list.send().await.map_err(|error| error::failure(&error)) };
        // A page is some 300 kB.
        within(self.patience.for_bytes(1 << 20), "answer", answer).await
    }
}

/// No object of a repository has this key.
const NO_OBJECT: &str = "no-object";

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
        return Err(Failure::new(ErrorKind::Unsupported, "the store sends whole objects when asked for a part"));
    };
    if size != range.end.saturating_sub(range.start) {
        return Err(Failure::not_within(range, None));
    }
    let start = said.strip_prefix("bytes ").and_then(|said| said.split_once('-')).map(|(start, _)| start.parse());
    if start == Some(Ok(range.start)) {
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Unsupported, "the store sent another part than was asked for"))
}

/// The bytes of `body`, which must be `size`: neither more nor fewer are taken.
async fn collect(mut body: ByteStream, size: u64) -> Result<Bytes, Failure> {
    let length = usize::try_from(size).map_err(|_| Failure::too_large(size, usize::MAX as u64))?;
    let mut bytes = large::buffer(length);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| error::broken_body(&error))?;
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

fn meta(key: Key, size: Option<i64>, modified: Option<&DateTime>) -> Result<ObjectMeta, Failure> {
    let size = size.and_then(|size| u64::try_from(size).ok());
    let modified = modified.and_then(|time| Timestamp::from_nanosecond(time.as_nanos()).ok());
    match (size, modified) {
        (Some(size), Some(modified)) => Ok(ObjectMeta { key, size, modified }),
        _ => Err(Failure::new(ErrorKind::Unsupported, "the store does not say an object's size and time")),
    }
}

/// Where a listing is.
#[derive(Debug)]
struct Cursor {
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
                return Err(Failure::new(ErrorKind::Unsupported, reason));
            }
            full.clone_into(&mut self.last);
            // What has no valid key was not put by drctl: folders made in a browser, say.
            if let Some(Ok(key)) = full.strip_prefix(store).map(Key::new) {
                found.push(meta(key, object.size(), object.last_modified())?);
            }
        }
        let more = page.is_truncated() == Some(true);
        if more && (page.contents().is_empty() || page.next_continuation_token().is_none()) {
            return Err(Failure::new(ErrorKind::Unsupported, "the store says that a listing goes on, but not where"));
        }
        self.token = page.next_continuation_token;
        Ok((found, more))
    }
}

#[async_trait]
impl Backend for S3 {
    fn location(&self) -> &str {
        &self.inner.location
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let (sha256, bytes) = sha256(bytes).await.map_err(self.at("write", key.as_str()))?;
        let put = self.inner.patience.persist(|| self.inner.put(key, &bytes, &sha256));
        put.await.map_err(self.at("write", key.as_str()))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let get = self.inner.patience.persist(|| self.inner.read(key, None, limit));
        get.await.map_err(self.at("read", key.as_str()))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        if range.start >= range.end || i64::try_from(range.end).is_err() {
            // S3 has no words for an empty range, and servers take one that no object can have for none at all.
            let size = self.head(key).await?.size;
            let empty = range.start == range.end && range.end <= size;
            return if empty {
                Ok(Bytes::new())
            } else {
                Err(self.at("read", key.as_str())(Failure::not_within(&range, Some(size))))
            };
        }
        let get = self.inner.patience.persist(|| self.inner.read(key, Some(&range), u64::MAX));
        get.await.map_err(self.at("read", key.as_str()))
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        let head = self.inner.patience.persist(|| self.inner.look(key));
        head.await.map_err(self.at("look at", key.as_str()))
    }

    fn list(&self, prefix: &str) -> Listing {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        let start = Cursor { token: None, last: String::new() };
        stream::try_unfold(Some(start), move |cursor: Option<Cursor>| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let Some(mut cursor) = cursor else { return Ok(None) };
                let inner = &store.inner;
                let page = inner.patience.persist(|| inner.page(&prefix, cursor.token.clone())).await;
                let taken = page.and_then(|page| cursor.take(page, &inner.prefix));
                let (found, more) = taken.map_err(store.at("list", &prefix))?;
                Ok(Some((stream::iter(found.into_iter().map(Ok)), more.then_some(cursor))))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        let time = self.inner.patience.persist(|| self.inner.time());
        time.await.map_err(self.at("ask for the time of", ""))
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let delete = self.inner.patience.persist(|| self.inner.remove(key));
        delete.await.map_err(self.at("delete", key.as_str()))
    }
}

/// Above this, hashing is done where it may block.
const HASHED_AT_ONCE: usize = 64 << 10;

async fn sha256(bytes: Bytes) -> Result<(String, Bytes), Failure> {
    let hash = |bytes: Bytes| (BASE64_STANDARD.encode(Sha256Digest::of(&bytes).as_bytes()), bytes);
    if bytes.len() <= HASHED_AT_ONCE {
        return Ok(hash(bytes));
    }
    let done = tokio::task::spawn_blocking(move || hash(bytes)).await;
    done.map_err(|stopped| Failure::new(ErrorKind::Other, "the thread that did it has stopped").because(stopped))
}
