//! Azure Blob storage: `az://account/container/prefix`.

mod connect;
mod credential;
mod error;
mod listing;
mod locks;
mod refusals;
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
    models::{BlobClientDownloadOptions, BlockBlobClientUploadOptions, ListBlobsResponse},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::TryStreamExt;
use jiff::{Timestamp, fmt::rfc2822};

pub use self::connect::AzureOptions;
use self::{connect::Identity, error::Exists, listing::Cursor, sign::BodyMd5};
use super::{
    Error, Key, Lock, LockOptions, ObjectMeta, PutOutcome,
    failure::Failure,
    network::{ANOTHER_PART, NO_LENGTH, NO_OBJECT, NO_PART, Remote, meta, received, unsupported},
    retry::{Patience, within},
};
use crate::types::{Location, md5_of};

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
    lock: Option<LockOptions>,
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
        let (page_size, lock) = (options.page_size.unwrap_or(PAGE), options.lock.clone());
        Ok(Self { inner: Arc::new(Inner { client, identity, prefix, location, patience, page_size, lock }) })
    }
}

impl Inner {
    fn blob(&self, key: &Key) -> BlobClient {
        self.client.blob_client(&format!("{}{key}", self.prefix))
    }

    fn failed(&self, error: azure_core::Error) -> Failure {
        error::failure(&error, self.identity)
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
        let size = size.ok_or_else(|| unsupported(NO_LENGTH))?;
        Ok(Part { range: content_range(&answer.headers), size, body: answer.body })
    }
}

/// A part of an object, of which nothing was read yet.
struct Part {
    /// Where it begins, and how long the whole object is; absent if the store did not take it for a part.
    range: Option<(u64, u64)>,
    /// How long it is.
    size: u64,
    body: AsyncResponseBody,
}

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

impl Part {
    async fn received(self, patience: &Patience) -> Result<Bytes, Failure> {
        received(self.body.map_err(|error| error::broken_body(&error)), self.size, patience).await
    }
}

#[async_trait]
impl Remote for Azure {
    type Sum = BodyMd5;
    type Cursor = Cursor;
    type Page = ListBlobsResponse;

    fn place(&self) -> &str {
        &self.inner.location
    }

    fn patience(&self) -> &Patience {
        &self.inner.patience
    }

    fn sum(bytes: &[u8]) -> BodyMd5 {
        BodyMd5(BASE64_STANDARD.encode(md5_of(bytes)))
    }

    async fn put(&self, key: &Key, bytes: &Bytes, md5: &BodyMd5) -> Result<PutOutcome, Failure> {
        let lock = self.inner.lock.as_ref().filter(|lock| (lock.locked)(key));
        let lock = lock.map(|lock| Lock { mode: lock.mode, until: lock.until(Timestamp::now()) });
        let options = BlockBlobClientUploadOptions {
            immutability_policy_expiry: lock.map(|lock| locks::expiry(lock.until)).transpose()?,
            immutability_policy_mode: lock.map(|lock| locks::mode(lock.mode)),
            // One request, whatever the size: a put is whole or it is not there.
            partition_size: Some(NonZero::<u64>::MAX),
            method_options: ClientMethodOptions { context: Context::new().with_value(md5.clone()) },
            ..BlockBlobClientUploadOptions::default()
        };
        let blob = self.inner.blob(key);
        let put = blob.upload(Body::Bytes(bytes.clone()).into(), Some(options.if_not_exists()));
        let answer = async { put.await.map(drop).map_err(|error| (error::exists(&error), self.inner.failed(error))) };
        let answer = async {
            match answer.await {
                Ok(()) => Ok(PutOutcome::Created),
                Err((Some(Exists::Yes), _)) => Ok(PutOutcome::Exists),
                Err((Some(doubt), failure)) => {
                    let seen = self.look(key).await.is_ok();
                    let there = seen && (doubt == Exists::IfSeen || self.inner.may_create().await);
                    if there { Ok(PutOutcome::Exists) } else { Err(failure) }
                }
                Err((None, failure)) => Err(failure),
            }
        };
        within(self.inner.patience.for_bytes(bytes.len() as u64), "answer", answer).await
    }

    async fn whole(&self, key: &Key, limit: u64) -> Result<Bytes, Failure> {
        // One byte more is asked for, to see whether there is one.
        let asked = limit.saturating_add(1).min(1 << 40);
        let part = self.inner.read(key, 0..asked).await?;
        match part.range {
            None if part.size > limit => return Err(Failure::too_large(part.size, limit)),
            None => {}
            Some((_, total)) if total > limit => return Err(Failure::too_large(total, limit)),
            Some((0, total)) if total == part.size => {}
            Some(_) => return Err(unsupported(ANOTHER_PART)),
        }
        part.received(&self.inner.patience).await
    }

    async fn part(&self, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure> {
        let part = self.inner.read(key, range.clone()).await?;
        match part.range {
            // The SDK asks an empty object again without a range.
            None if part.size == 0 => return Err(Failure::not_within(range, Some(0))),
            None => return Err(unsupported(NO_PART)),
            Some((start, total)) if part.size != range.end - range.start => {
                let ours = start == range.start;
                return Err(if ours { Failure::not_within(range, Some(total)) } else { unsupported(ANOTHER_PART) });
            }
            Some((start, _)) if start != range.start => return Err(unsupported(ANOTHER_PART)),
            Some(_) => {}
        }
        part.received(&self.inner.patience).await
    }

    async fn look(&self, key: &Key) -> Result<ObjectMeta, Failure> {
        let blob = self.inner.blob(key);
        let answer = async { blob.get_properties(None).await.map_err(|error| self.inner.failed(error)) };
        let answer = within(self.inner.patience.answer, "answer", answer).await?;
        meta(key.clone(), number(answer.headers(), "content-length"), time_in(answer.headers(), "last-modified"))
    }

    async fn page(&self, prefix: &str, cursor: &Cursor) -> Result<ListBlobsResponse, Failure> {
        self.inner.page(prefix, cursor.marker.clone()).await
    }

    fn take(&self, cursor: &mut Cursor, page: ListBlobsResponse) -> Result<(Vec<ObjectMeta>, bool), Failure> {
        cursor.take(page, &self.inner.prefix)
    }

    async fn time(&self) -> Result<Option<Timestamp>, Failure> {
        let blob = self.inner.client.blob_client(&format!("{}{NO_OBJECT}", self.inner.prefix));
        let answer = async {
            match blob.get_properties(None).await {
                Ok(answer) => Ok(time_in(answer.headers(), "date")),
                Err(error) => match error::time_of(&error) {
                    Some(time) => Ok(Some(time)),
                    None => Err(self.inner.failed(error)),
                },
            }
        };
        within(self.inner.patience.answer, "answer", answer).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let blob = self.inner.blob(key);
        let answer = async { blob.delete(None).await.map(drop).map_err(|error| self.inner.failed(error)) };
        within(self.inner.patience.answer, "answer", answer).await
    }

    fn lock_options(&self) -> Option<&LockOptions> {
        self.inner.lock.as_ref()
    }

    async fn lock_of(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        self.inner.lock_of(key).await
    }

    async fn set_lock(&self, key: &Key, lock: Lock) -> Result<(), Failure> {
        self.inner.set_lock(key, lock).await
    }
}
