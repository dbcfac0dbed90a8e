//! The memory that the tasks of a restore share.
//!
//! A collection is read back while the next one is loaded, and two batches are on their way to the server at once. Beside a
//! document of 16 MiB, which the driver copies as a whole, or a reply with one, there is no room for that: what is large waits
//! until nothing else is on its way, and all else waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The room. A clone is the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    shares: Arc<RwLock<()>>,
    some_large: Arc<AtomicBool>,
}

/// What one step uses of it, until this ends.
#[derive(Debug)]
pub(super) struct Share {
    _beside_others: Option<OwnedRwLockReadGuard<()>>,
    _alone: Option<OwnedRwLockWriteGuard<()>>,
}

impl Room {
    /// Waits for a share beside others.
    pub(super) async fn beside_others(&self) -> Share {
        Share { _beside_others: Some(Arc::clone(&self.shares).read_owned().await), _alone: None }
    }

    /// Waits until nobody else has a share. Those who come later wait.
    pub(super) async fn alone(&self) -> Share {
        self.some_large.store(true, Ordering::Relaxed);
        Share { _beside_others: None, _alone: Some(Arc::clone(&self.shares).write_owned().await) }
    }

    /// Whether something large has come. From then on the allocator keeps much more of what is freed, and for each thread: what
    /// follows stays on one of them.
    pub(super) fn has_had_large(&self) -> bool {
        self.some_large.load(Ordering::Relaxed)
    }

    /// As the size of what comes is.
    pub(super) async fn share(&self, is_large: bool) -> Share {
        if is_large { self.alone().await } else { self.beside_others().await }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_large_is_alone_and_what_is_not_is_beside_others() {
        let room = Room::default();
        assert!(!room.has_had_large());
        let (one, other) = (room.share(false).await, room.share(false).await);
        let mut alone = Box::pin(room.share(true));
        assert!(alone.as_mut().now_or_never().is_none());
        // What comes later does not pass what is large, which would else wait for ever.
        let mut later = Box::pin(room.share(false));
        assert!(later.as_mut().now_or_never().is_none());
        drop(one);
        assert!(alone.as_mut().now_or_never().is_none());
        drop(other);
        let alone = alone.await;
        assert!(later.as_mut().now_or_never().is_none());
        drop(alone);
        drop(later.await);
        assert!(room.has_had_large());
    }
}
