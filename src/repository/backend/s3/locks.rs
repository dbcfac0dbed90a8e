//! Object lock: what a bucket can, and the locks on single objects. A bucket's default is never relied on: it would
//! lock sessions and tombstones as well.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode},
};

use super::{
    super::{BucketLock, ErrorKind, Key, Lock, LockMode, failure::Failure, retry::within},
    Inner, error,
    error::NO_LOCK,
    modified,
};

/// The mode as a put says it.
pub(super) fn mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

fn retention_mode(mode: LockMode) -> ObjectLockRetentionMode {
    match mode {
        LockMode::Governance => ObjectLockRetentionMode::Governance,
        LockMode::Compliance => ObjectLockRetentionMode::Compliance,
    }
}

fn lock(mode: &str, until: Option<&DateTime>) -> Option<Lock> {
    let mode = if mode == "COMPLIANCE" { LockMode::Compliance } else { LockMode::Governance };
    Some(Lock { mode, until: modified(until)? })
}

/// What a store said of an object's lock.
enum Said {
    Retention(Option<ObjectLockRetention>),
    NotUnderstood,
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

impl Inner {
    /// Whether the bucket locks at all, and what it locks by itself; `None` if this identity may not look.
    pub(super) async fn bucket_lock(&self) -> Result<Option<BucketLock>, Failure> {
        let ask = self.client.get_object_lock_configuration().bucket(&self.bucket);
        let answer = async { ask.send().await.map_err(|error| error::failure(&error)) };
        let answer = match within(self.patience.answer, "answer", answer).await {
            Ok(answer) => answer,
            Err(failure) if failure.kind == ErrorKind::PermissionDenied => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let Some(found) = answer.object_lock_configuration.filter(|found| found.object_lock_enabled.is_some()) else {
            return Err(Failure::new(ErrorKind::Unsupported, NO_LOCK));
        };
        let by_default = found.rule.and_then(|rule| rule.default_retention);
        Ok(Some(BucketLock { by_default: by_default.is_some_and(|found| found.mode.is_some()) }))
    }

    /// The lock on the current version of the object.
    pub(super) async fn lock_of(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        let ask = self.client.get_object_retention().bucket(&self.bucket).key(self.full(key));
        let answer = async {
            match ask.send().await {
                Ok(answer) => Ok(Said::Retention(answer.retention)),
                Err(error) if code(&error) == Some("NoSuchObjectLockConfiguration") => Ok(Said::Retention(None)),
                // versitygw's answer has another root than the SDK takes.
                Err(SdkError::ServiceError(answer)) if answer.raw().status().is_success() => Ok(Said::NotUnderstood),
                Err(SdkError::ResponseError(answer)) if answer.raw().status().is_success() => Ok(Said::NotUnderstood),
                Err(error) => Err(error::failure(&error)),
            }
        };
        let found = match within(self.patience.answer, "answer", answer).await? {
            Said::Retention(found) => found,
            Said::NotUnderstood => return self.lock_in_head(key).await,
        };
        Ok(found.and_then(|found| lock(found.mode?.as_str(), found.retain_until_date.as_ref())))
    }

    /// The same, of an identity that may read the object.
    async fn lock_in_head(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        let head = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let answer = async { head.send().await.map_err(|error| error::failure(&error)) };
        let found = within(self.patience.answer, "answer", answer).await?;
        Ok(found.object_lock_mode.and_then(|mode| lock(mode.as_str(), found.object_lock_retain_until_date.as_ref())))
    }

    /// Locks the current version of the object.
    pub(super) async fn set_lock(&self, key: &Key, lock: Lock) -> Result<(), Failure> {
        let retention = ObjectLockRetention::builder()
            .mode(retention_mode(lock.mode))
            .retain_until_date(DateTime::from_secs(lock.until.as_second()))
            .build();
        let set = self.client.put_object_retention().bucket(&self.bucket).key(self.full(key)).retention(retention);
        let answer = async { set.send().await.map(drop).map_err(|error| error::failure(&error)) };
        within(self.patience.answer, "answer", answer).await
    }
}
