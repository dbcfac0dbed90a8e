//! The bytes in flight: one number that all streams of a backup share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A bound on bytes that are held at once. It never blocks by itself: who does not get bytes waits
/// for [`Budget::changed`] and may do something about it meanwhile.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: Mutex<Used>,
    /// Told of whenever bytes are given back, and by others when something else has changed.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Used {
    now: u64,
    most: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::default(), changed: Notify::new() })
    }

    /// Takes `bytes`, if so many are free.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let mut used = self.used();
        let now = used.now.saturating_add(bytes);
        if now > self.limit {
            return None;
        }
        used.now = now;
        used.most = used.most.max(now);
        Some(Held { budget: Arc::clone(self), bytes })
    }

    /// Takes `bytes` even if they are not free: for what must go on so that others can.
    pub(crate) fn take_anyway(self: &Arc<Self>, bytes: u64) -> Held {
        let mut used = self.used();
        used.now = used.now.saturating_add(bytes);
        used.most = used.most.max(used.now);
        Held { budget: Arc::clone(self), bytes }
    }

    /// The most that was held at once.
    pub(crate) fn most(&self) -> u64 {
        self.used().most
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a [`Budget`]; dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Held {
    /// Takes `other` (of the same budget) into this one.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    /// Parts with `bytes` of it, or with all if it has fewer.
    pub(crate) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }

    /// Makes it `bytes`: gives back the rest, or takes the little that a frame of random bytes is
    /// longer than its chunk.
    pub(crate) fn resize(&mut self, bytes: u64) {
        if bytes < self.bytes {
            drop(self.split(self.bytes - bytes));
        } else {
            let more = self.budget.take_anyway(bytes - self.bytes);
            self.join(more);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut used = self.budget.used();
            used.now = used.now.saturating_sub(self.bytes);
            drop(used);
            self.budget.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_come_back_however_they_are_split() {
        let budget = Budget::new(100);
        let mut held = budget.try_take(80).unwrap();
        assert!(budget.try_take(21).is_none());
        let part = held.split(30);
        let mut other = budget.try_take(20).unwrap();
        other.join(part);
        other.resize(10);
        drop(held);
        assert_eq!(budget.used().now, 10);
        drop(other);
        assert_eq!(budget.used().now, 0);
        assert_eq!(budget.most(), 100);
    }
}
