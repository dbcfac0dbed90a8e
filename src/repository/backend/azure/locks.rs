//! Immutability policies of single blobs. The container needs version-level immutability; a put that asks for a lock in
//! another one is refused by the store.

use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{BlobClientSetImmutabilityPolicyOptions, ImmutabilityPolicyMode};
use jiff::Timestamp;

use super::{
    super::{ErrorKind, Key, Lock, LockMode, failure::Failure, retry::within},
    Inner, time_in,
};

/// The mode as the store has it.
pub(super) fn mode(mode: LockMode) -> ImmutabilityPolicyMode {
    match mode {
        LockMode::Governance => ImmutabilityPolicyMode::Unlocked,
        LockMode::Compliance => ImmutabilityPolicyMode::Locked,
    }
}

/// The end of a lock as the client library has it.
pub(super) fn expiry(until: Timestamp) -> Result<OffsetDateTime, Failure> {
    let time = OffsetDateTime::from_unix_timestamp(until.as_second());
    time.map_err(|error| Failure::new(ErrorKind::Other, "the end of the lock is no time").because(error))
}

impl Inner {
    /// The lock on the blob.
    pub(super) async fn lock_of(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        let blob = self.blob(key);
        let answer = async { blob.get_properties(None).await.map_err(|error| self.failed(error)) };
        let answer = within(self.patience.answer, "answer", answer).await?;
        let mode = answer.headers().get_optional_str(&"x-ms-immutability-policy-mode".into());
        let mode = if mode.is_some_and(|mode| mode.eq_ignore_ascii_case("locked")) {
            LockMode::Compliance
        } else {
            LockMode::Governance
        };
        let until = time_in(answer.headers(), "x-ms-immutability-policy-until-date");
        Ok(until.map(|until| Lock { mode, until }))
    }

    /// Locks the blob.
    pub(super) async fn set_lock(&self, key: &Key, lock: Lock) -> Result<(), Failure> {
        let options = BlobClientSetImmutabilityPolicyOptions {
            immutability_policy_mode: Some(mode(lock.mode)),
            ..BlobClientSetImmutabilityPolicyOptions::default()
        };
        let (blob, until) = (self.blob(key), expiry(lock.until)?);
        let set = blob.set_immutability_policy(&until, Some(options));
        let answer = async { set.await.map(drop).map_err(|error| self.failed(error)) };
        within(self.patience.answer, "answer", answer).await
    }
}
