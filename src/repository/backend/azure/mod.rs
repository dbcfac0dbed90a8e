//! Azure Blob storage: `az://account/container/prefix`.

mod connect;
mod credential;
mod error;
mod listing;
mod sign;
mod transport;

use std::{num::NonZero, ops::Range, sync::Arc};

use async_trait::async_trait;
use azure_core::http::{
    AsyncResponseBody, Body, ClientMethodOptions, Context,
    headers::{HeaderName, Headers},
};
use azure_storage_blob::{
    BlobClient, BlobContainerClient,
    models::{BlobClientDownloadOptions, BlockBlobClientUploadOptions},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, fmt::rfc2822};

pub use self::connect::AzureOptions;
use self::{connect::Identity, error::Exists, listing::Cursor, sign::BodyMd5};
use super::{
    Backend, Error, ErrorKind, Key, Listing, ObjectMeta, PutOutcome,
    failure::Failure,
    retry::{Patience, within},
};
use crate::{
    repository::large,
    types::{Location, md5_of},
};

/// A container, or what lies in it under a prefix.
#[derive(Debug, Clone)]
pub struct Azure {
    inner: Arc<Inner>,
}

struct Inner {
    client: BlobContainerClient,
    identity: Identity,
    /// Empty, or ending in `/`.
    prefix: String,
    location: String,
    patience: Patience,
    page_size: u16,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("location", &self.location).finish_non_exhaustive()
    }
}

/// As many as a page of S3 has; the store's own 5,000 are some 4 MB of XML.
const PAGE: u16 = 1_000;

impl Azure {
    /// The store under `prefix` in `container` of the storage account `account`. Nothing is sent yet.
    ///
    /// # Errors
    /// A file of authorities that cannot be used, an endpoint that is no address, credentials that are none.
    pub async fn open(account: &str, container: &str, prefix: &str, options: &AzureOptions) -> Result<Self, Error> {
        let location =
            Location::Azure { account: account.to_owned(), container: container.to_owned(), prefix: prefix.to_owned() };
        let location = location.to_string();
        let patience = Patience::new(options.patience);
        let client = connect::client(account, container, options, &patience).await;
        let (client, identity) = client.map_err(|failure| failure.at("open", "", &location))?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let page_size = options.page_size.unwrap_or(PAGE);
        Ok(Self { inner: Arc::new(Inner { client, identity, prefix, location, patience, page_size }) })
    }

    fn at(&self, act: &'static str, subject: &str) -> impl FnOnce(Failure) -> Error {
        let location = self.inner.location.clone();
        move |failure| failure.at(act, subject, &location)
    }
}

impl Inner {
    fn blob(&self, key: &Key) -> BlobClient {
        self.client.blob_client(&format!("{}{key}", self.prefix))
    }

    fn failed(&self, error: azure_core::Error) -> Failure {
        error::failure(&error, self.identity)
    }

    async fn put(&self, key: &Key, bytes: &Bytes, md5: &BodyMd5) -> Result<PutOutcome, Failure> {
        let options = BlockBlobClientUploadOptions {
            // One request, whatever the size: a put is whole or it is not there.
            partition_size: Some(NonZero::<u64>::MAX),
            method_options: ClientMethodOptions { context: Context::new().with_value(md5.clone()) },
            ..BlockBlobClientUploadOptions::default()
        };
        let blob = self.blob(key);
        let put = blob.upload(Body::Bytes(bytes.clone()).into(), Some(options.if_not_exists()));
        let answer = async { put.await.map(drop).map_err(|error| (error::exists(&error), self.failed(error))) };
        let answer = async {
            match answer.await {
                Ok(()) => Ok(PutOutcome::Created),
                Err((Some(Exists::Yes), _)) => Ok(PutOutcome::Exists),
                Err((Some(doubt), failure)) => {
                    let seen = self.look(key).await.is_ok();
                    let there = seen && (doubt == Exists::IfSeen || self.may_create().await);
                    if there { Ok(PutOutcome::Exists) } else { Err(failure) }
                }
                Err((None, failure)) => Err(failure),
            }
        };
        within(self.patience.for_bytes(bytes.len() as u64), "answer", answer).await
    }

    /// Whether this identity may create an object: one is offered whose MD5 is wrong. The store refuses it in any
    /// case; but it asks who offers it before it looks at what is offered.
    async fn may_create(&self) -> bool {
        let wrong = BodyMd5(BASE64_STANDARD.encode([0; 16]));
        let options = BlockBlobClientUploadOptions {
            method_options: ClientMethodOptions { context: Context::new().with_value(wrong) },
            ..BlockBlobClientUploadOptions::default()
        };
        let blob = self.client.blob_client(&format!("{}{NO_OBJECT}", self.prefix));
        let body = Body::Bytes(Bytes::from_static(b"x"));
        let offered = blob.upload(body.into(), Some(options.if_not_exists())).await;
        offered.is_err_and(|error| error.http_status().is_some_and(|status| u16::from(status) == 400))
    }

    /// The bytes `range` of the object, as the store says which they are.
    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Part, Failure> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let options = BlobClientDownloadOptions {
            range: Some(range.into()),
            // One request, and nothing of it in a buffer of the SDK.
            partition_size: NonZero::new(length),
            parallel: Some(NonZero::<usize>::MIN),
            ..BlobClientDownloadOptions::default()
        };
        let blob = self.blob(key);
        let answer = async { blob.download(Some(options)).await.map_err(|error| self.failed(error)) };
        let answer = within(self.patience.answer, "answer", answer).await?;
        let size = number(&answer.headers, "content-length");
        let size = size.ok_or_else(|| unsupported("the store does not say how long the object is"))?;
        Ok(Part { range: content_range(&answer.headers), size, body: answer.body })
    }

    /// The whole object, of at most `limit` bytes.
    async fn whole(&self, key: &Key, limit: u64) -> Result<Bytes, Failure> {
        // One byte more is asked for, to see whether there is one.
        let asked = limit.saturating_add(1).min(1 << 40);
        let part = self.read(key, 0..asked).await?;
        match part.range {
            None if part.size > limit => return Err(Failure::too_large(part.size, limit)),
            None => {}
            Some((_, total)) if total > limit => return Err(Failure::too_large(total, limit)),
            Some((0, total)) if total == part.size => {}
            Some(_) => return Err(unsupported(ANOTHER_PART)),
        }
        within(self.patience.for_bytes(part.size), "whole object", collect(part.body, part.size)).await
    }

    async fn part(&self, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure> {
        let part = self.read(key, range.clone()).await?;
        match part.range {
            // The SDK asks an empty object again without a range.
            None if part.size == 0 => return Err(Failure::not_within(range, Some(0))),
            None => return Err(unsupported("the store sends whole objects when asked for a part")),
            Some((start, total)) if part.size != range.end - range.start => {
                let ours = start == range.start;
                return Err(if ours { Failure::not_within(range, Some(total)) } else { unsupported(ANOTHER_PART) });
            }
            Some((start, _)) if start != range.start => return Err(unsupported(ANOTHER_PART)),
            Some(_) => {}
        }
        within(self.patience.for_bytes(part.size), "whole object", collect(part.body, part.size)).await
    }

    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure> {
        let blob = self.blob(key);
        let answer = async { blob.get_properties(None).await.map_err(|error| self.failed(error)) };
        let answer = within(self.patience.answer, "answer", answer).await?;
        meta(key.clone(), number(answer.headers(), "content-length"), time_in(answer.headers(), "last-modified"))
    }

    /// The time at which the store answers, whatever it answers: most likely that there is no such object.
    async fn time(&self) -> Result<Option<Timestamp>, Failure> {
        let blob = self.client.blob_client(&format!("{}{NO_OBJECT}", self.prefix));
        let answer = async {
            match blob.get_properties(None).await {
                Ok(answer) => Ok(time_in(answer.headers(), "date")),
                Err(error) => match error::time_of(&error) {
                    Some(time) => Ok(Some(time)),
                    None => Err(self.failed(error)),
                },
            }
        };
        within(self.patience.answer, "answer", answer).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let blob = self.blob(key);
        let answer = async { blob.delete(None).await.map(drop).map_err(|error| self.failed(error)) };
        match within(self.patience.answer, "answer", answer).await {
            Err(failure) if failure.kind != ErrorKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }
}

const ANOTHER_PART: &str = "the store sent another part than was asked for";

fn unsupported(reason: &str) -> Failure {
    Failure::new(ErrorKind::Unsupported, reason)
}

/// A part of an object, of which nothing was read yet.
struct Part {
    /// Where it begins, and how long the whole object is; absent if the store did not take it for a part.
    range: Option<(u64, u64)>,
    /// How long it is.
    size: u64,
    body: AsyncResponseBody,
}

/// No object of a repository has this key.
const NO_OBJECT: &str = "no-object";

fn time_in(headers: &Headers, name: &'static str) -> Option<Timestamp> {
    let text = headers.get_optional_str(&HeaderName::from_static(name))?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn number(headers: &Headers, name: &'static str) -> Option<u64> {
    headers.get_optional_str(&HeaderName::from_static(name)).and_then(|text| text.parse().ok())
}

/// Start and size of the whole, of `Content-Range: bytes 2-4/10`.
fn content_range(headers: &Headers) -> Option<(u64, u64)> {
    let said = headers.get_optional_str(&HeaderName::from_static("content-range"))?;
    let (part, whole) = said.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.parse().ok()?, whole.parse().ok()?))
}

/// The bytes of `body`, which must be `size`: neither more nor fewer are taken.
async fn collect(mut body: AsyncResponseBody, size: u64) -> Result<Bytes, Failure> {
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

fn meta(key: Key, size: Option<u64>, modified: Option<Timestamp>) -> Result<ObjectMeta, Failure> {
    match (size, modified) {
        (Some(size), Some(modified)) => Ok(ObjectMeta { key, size, modified }),
        _ => Err(unsupported("the store does not say an object's size and time")),
    }
}

#[async_trait]
impl Backend for Azure {
    fn location(&self) -> &str {
        &self.inner.location
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let (md5, bytes) = md5(bytes).await.map_err(self.at("write", key.as_str()))?;
        let put = self.inner.patience.persist(|| self.inner.put(key, &bytes, &md5));
        put.await.map_err(self.at("write", key.as_str()))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let get = self.inner.patience.persist(|| self.inner.whole(key, limit));
        get.await.map_err(self.at("read", key.as_str()))
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        if range.start >= range.end || i64::try_from(range.end).is_err() {
            // There are no words for an empty range, and servers take one that no object can have for none at all.
            let size = self.head(key).await?.size;
            let empty = range.start == range.end && range.end <= size;
            return if empty {
                Ok(Bytes::new())
            } else {
                Err(self.at("read", key.as_str())(Failure::not_within(&range, Some(size))))
            };
        }
        let get = self.inner.patience.persist(|| self.inner.part(key, &range));
        get.await.map_err(self.at("read", key.as_str()))
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        let head = self.inner.patience.persist(|| self.inner.look(key));
        head.await.map_err(self.at("look at", key.as_str()))
    }

    fn list(&self, prefix: &str) -> Listing {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::try_unfold(Some(Cursor::default()), move |cursor: Option<Cursor>| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let Some(mut cursor) = cursor else { return Ok(None) };
                let inner = &store.inner;
                let page = inner.patience.persist(|| inner.page(&prefix, cursor.marker.clone())).await;
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

async fn md5(bytes: Bytes) -> Result<(BodyMd5, Bytes), Failure> {
    let hash = |bytes: Bytes| (BodyMd5(BASE64_STANDARD.encode(md5_of(&bytes))), bytes);
    if bytes.len() <= HASHED_AT_ONCE {
        return Ok(hash(bytes));
    }
    let done = tokio::task::spawn_blocking(move || hash(bytes)).await;
    done.map_err(|stopped| Failure::new(ErrorKind::Other, "the thread that did it has stopped").because(stopped))
}
