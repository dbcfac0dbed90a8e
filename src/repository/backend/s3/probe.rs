//! What an identity may do beyond what a backup needs, tried on an object that nobody misses.
//!
//! Each call carries a condition that does not hold: a store that knows conditions says 403 to one who may not, and
//! 412 to one who may, and changes nothing. One that does not know them carries the call out; then the object is put
//! again.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{ErrorKind, Key, Lock, LockAnswer, LockProof, Powers, failure::Failure, network::Remote, retry::within},
    S3, error,
};

/// The entity tag of no object.
const NO_TAG: &str = "\"00000000000000000000000000000000\"";
/// A version of the mark is locked for so long, anew when it is over: a mark that is locked for good could never be
/// tidied away.
const LOCKED_FOR: SignedDuration = SignedDuration::from_hours(24);
const LEFT_AT_LEAST: SignedDuration = SignedDuration::from_mins(10);

/// What became of a call that should not be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Refused,
    /// It may be done; and whether it was.
    Allowed {
        done: bool,
    },
    NotKnown,
}

impl Tried {
    fn known(self) -> Option<bool> {
        match self {
            Self::Refused => Some(false),
            Self::Allowed { .. } => Some(true),
            Self::NotKnown => None,
        }
    }
}

pub(super) async fn powers(store: &S3, key: &Key, bytes: &Bytes) -> Result<Powers, Failure> {
    let overwritten = overwrite(store, key, bytes).await?;
    let deleted = delete(store, key).await?;
    if deleted == (Tried::Allowed { done: true }) {
        again(store, key, bytes).await?;
    }
    let lock = match store.inner.lock {
        Some(_) => delete_locked(store, key, bytes).await?,
        None => None,
    };
    Ok(Powers { deletes: deleted.known(), overwrites: overwritten.known(), lock })
}

async fn again(store: &S3, key: &Key, bytes: &Bytes) -> Result<(), Failure> {
    store.put(key, bytes, &S3::sum(bytes)).await.map(drop)
}

/// A put without `If-None-Match`, of the same bytes.
async fn overwrite(store: &S3, key: &Key, bytes: &Bytes) -> Result<Tried, Failure> {
    let inner = &store.inner;
    let put = inner.client.put_object().bucket(&inner.bucket).key(inner.full(key));
    let put = put.if_match(NO_TAG).checksum_sha256(S3::sum(bytes)).body(ByteStream::from(bytes.clone()));
    let answer = async { tried(put.send().await.as_ref().map(|_| ())) };
    within(inner.patience.answer, "answer", answer).await
}

async fn delete(store: &S3, key: &Key) -> Result<Tried, Failure> {
    let inner = &store.inner;
    let delete = inner.client.delete_object().bucket(&inner.bucket).key(inner.full(key)).if_match(NO_TAG);
    let answer = async { tried(delete.send().await.as_ref().map(|_| ())) };
    within(inner.patience.answer, "answer", answer).await
}

fn tried<E>(answer: Result<(), &SdkError<E, HttpResponse>>) -> Result<Tried, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Err(error) = answer else { return Ok(Tried::Allowed { done: true }) };
    match error.raw_response().map(|answer| answer.status().as_u16()) {
        Some(412) => Ok(Tried::Allowed { done: false }),
        Some(403) => Ok(Tried::Refused),
        Some(400..=499 | 501) => Ok(Tried::NotKnown),
        _ => Err(error::failure(error)),
    }
}

/// Locks the current version of the mark, and deletes it: that must be refused.
async fn delete_locked(store: &S3, key: &Key, bytes: &Bytes) -> Result<Option<LockProof>, Failure> {
    let (inner, now) = (&store.inner, Timestamp::now());
    let Some(mode) = inner.lock.as_ref().map(|lock| lock.mode) else { return Ok(None) };
    let found = inner.lock_of(key).await?;
    if found.is_none_or(|lock| lock.until < now + LEFT_AT_LEAST) {
        let mode = found.filter(|lock| lock.until > now).map_or(mode, |lock| lock.mode);
        inner.set_lock(key, Lock { mode, until: now + LOCKED_FOR }).await?;
    }
    let Some(lock) = inner.lock_of(key).await? else {
        return Err(Failure::new(ErrorKind::Unsupported, "the store has taken a lock, and does not have it"));
    };
    let head = inner.client.head_object().bucket(&inner.bucket).key(inner.full(key));
    let head = async { head.send().await.map_err(|error| error::failure(&error)) };
    let version = within(inner.patience.answer, "answer", head).await?.version_id;
    let Some(version) = version.filter(|version| version != "null") else {
        return Err(Failure::new(ErrorKind::Unsupported, "the bucket keeps no versions, so nothing in it is locked"));
    };
    let delete = inner.client.delete_object().bucket(&inner.bucket).key(inner.full(key)).version_id(version);
    let answer = async { delete.send().await.map(drop).map_err(|error| error::failure(&error)) };
    let answer = match within(inner.patience.answer, "answer", answer).await {
        Ok(()) => {
            again(store, key, bytes).await?;
            LockAnswer::Deleted
        }
        Err(failure) if failure.kind == ErrorKind::Locked => LockAnswer::Locked,
        Err(failure) if failure.kind == ErrorKind::PermissionDenied => LockAnswer::NoRight,
        Err(failure) => return Err(failure),
    };
    Ok(Some(LockProof { lock, answer }))
}
