//! P1: what prune must know of a store before it may believe it.

use futures::TryStreamExt;
use jiff::Timestamp;

use super::{
    super::{
        Error, Repository,
        backend::{Key, PutOutcome},
        layout,
        writer::nearest_if_apart,
    },
    PruneOptions, TombstoneBy,
};
use crate::types::BackupId;

impl Repository {
    /// Proves that the store creates and never overwrites, that a listing shows what was just put and does not show what
    /// was just deleted, and that its clock and this machine's agree. Gives the store's time.
    ///
    /// The mark that it puts is the tombstone of a backup that there never was, in 1970; it is deleted at once, and a
    /// later prune deletes one that was left by a crash.
    pub(super) async fn probe(&self, options: &PruneOptions) -> Result<Timestamp, Error> {
        let backup = BackupId::new(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1));
        let key = layout::tombstone(&options.policy, &backup);
        let name = (&options.policy, &options.policy, &backup);
        let bytes = self.tombstone(name, TombstoneBy::Probe, options.clock.as_ref()).await?;
        let before = options.clock.now();
        // The name is new: what is there is this very put, after a lost answer.
        self.backend.put_new(&key, bytes.clone()).await?;
        if self.backend.put_new(&key, bytes).await? == PutOutcome::Created {
            return Err(Error::CreateOnlyIgnored { location: self.location().to_owned() });
        }
        let store = self.backend.head(&key).await.map_err(|error| Error::reading(&key, error))?.modified;
        let after = options.clock.now();
        if !self.lists(&key).await? {
            return Err(self.lags("an object that was just put is not listed"));
        }
        self.backend.delete(&key).await?;
        if self.lists(&key).await? {
            return Err(self.lags("an object that was just deleted is still listed"));
        }
        match nearest_if_apart(before, store, after) {
            Some(local) => Err(Error::ClockSkew { location: self.location().to_owned(), local, store }),
            None => Ok(store),
        }
    }

    async fn lists(&self, key: &Key) -> Result<bool, Error> {
        Ok(self.backend.list(key.as_str()).try_next().await?.is_some_and(|found| found.key == *key))
    }

    pub(super) fn lags(&self, how: &str) -> Error {
        Error::ListingLags { location: self.location().to_owned(), how: how.to_owned() }
    }
}
