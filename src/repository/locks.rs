//! Locks on what a backup needs: proven before a run writes, extended before it commits.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    BackupWriter, Error, Repository,
    backend::{Backend, Key, Relock},
    layout,
    refs::Ref,
    writer::nearest_if_apart,
};
use crate::types::Clock;

/// Requests that are under way at once.
const AT_ONCE: usize = 16;

/// What keeping locks up has cost, in requests: one look at each reused object, and a second request where the
/// lock was extended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockCounts {
    /// Objects whose lock was looked at.
    pub looked_at: u64,
    /// Objects whose lock was extended.
    pub extended: u64,
}

/// Whether the store can lock as the policy asks, and this machine's clock is right enough to say until when:
/// what is locked until a wrong time cannot be unlocked.
///
/// # Errors
/// [`Error::ClockSkew`], or what the store says.
pub(super) async fn prepare(backend: &dyn Backend, clock: &dyn Clock) -> Result<(), Error> {
    if backend.locks().is_none() {
        return Ok(());
    }
    backend.lock_ready().await?;
    let before = clock.now();
    let Some(store) = backend.clock().await? else { return Ok(()) };
    match nearest_if_apart(before, store, clock.now()) {
        Some(local) => Err(Error::ClockSkew { location: backend.location().to_owned(), local, store }),
        None => Ok(()),
    }
}

impl BackupWriter {
    /// Sees to it that everything stays locked that this backup needs and that it has not put itself: packs of
    /// parents, the keys, and the header without which nothing is read (B5).
    pub(super) async fn extend_locks(&self, packs: &[Ref]) -> Result<LockCounts, Error> {
        let backend = self.repository.backend();
        if backend.locks().is_none() {
            return Ok(LockCounts::default());
        }
        let reused = packs.iter().filter(|pack| pack.backup != *self.backup());
        let mut needed: Vec<Key> = reused.map(|pack| layout::pack(&pack.backup, &pack.pack)).collect();
        needed.push(layout::header());
        let mut keys = backend.list(layout::KEYS);
        while let Some(meta) = keys.try_next().await? {
            needed.push(meta.key);
        }
        let counts = self.repository.keep_locked(needed).await?;
        tracing::debug!(looked_at = counts.looked_at, extended = counts.extended, "locks of what is reused");
        Ok(counts)
    }
}

impl Repository {
    /// Sees to it that these objects stay locked as long as those that are put now.
    pub(super) async fn keep_locked(&self, keys: Vec<Key>) -> Result<LockCounts, Error> {
        let looks = stream::iter(keys.into_iter().map(|key| {
            let backend = Arc::clone(self.backend());
            async move { backend.keep_locked(&key).await.map_err(|error| Error::reading(&key, error)) }
        }));
        let mut done = looks.buffer_unordered(AT_ONCE);
        let mut counts = LockCounts::default();
        while let Some(relock) = done.try_next().await? {
            counts.looked_at += u64::from(relock != Relock::NotLocked);
            counts.extended += u64::from(relock == Relock::Extended);
        }
        Ok(counts)
    }
}
