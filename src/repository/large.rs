//! Buffers of megabytes that give their memory back at once.
//!
//! glibc's allocator begins by asking the kernel for each block of 128 KiB or more, and giving it
//! back when it is freed. But each such block of up to 32 MiB that is freed raises that bound to its
//! size, and from then on blocks like it are cut from the arenas of the threads, where chunks of all
//! sizes leave gaps that nobody fills. Measured with sixteen tables on sixteen threads: 238 MiB
//! resident while a backup wrote, for 32 MiB in flight; 105 MiB with the bound held at 128 KiB.
//!
//! A block of more than 32 MiB always comes from the kernel and never raises the bound. So what may
//! become large is reserved that large. Pages that are never written are never in memory: it costs
//! addresses alone.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// From here on, glibc asks the kernel in the beginning.
const LARGE: usize = 128 << 10;
/// Above what glibc ever keeps in an arena.
const RESERVE: usize = 33 << 20;
/// How many buffers a [`Pool`] keeps: what is cut, one for each of two threads that compress, and two chunks that wait.
const KEPT: usize = 5;
/// With more streams than these at once nothing is kept.
const STREAMS: usize = 4;
/// As much as the largest chunk. Those that have held more are given back: 20 MiB are kept at most.
const KEPT_BYTES: usize = 4 << 20;

/// An empty buffer that has room for `length` bytes.
pub(crate) fn buffer(length: usize) -> Vec<u8> {
    Vec::with_capacity(if length < LARGE { length } else { length.max(RESERVE) })
}

/// Makes room for `length` bytes in all, in a buffer that may have been small until now.
pub(crate) fn make_room(bytes: &mut Vec<u8>, length: usize) {
    if length <= bytes.capacity() {
        return;
    }
    if length < LARGE {
        // Grows as a vector does.
        bytes.reserve(length - bytes.len());
        return;
    }
    let mut larger = buffer(length);
    larger.extend_from_slice(bytes);
    *bytes = larger;
}

/// Some large buffers that are used again.
///
/// The kernel clears each page that it gives: with a buffer of its own for each chunk that was a fifth of all that a
/// backup of a database did.
///
/// A buffer that is used again keeps the pages of its fullest time. So with many streams, each of which fills one slowly,
/// they are given back as before: sixteen tables at once took 126 MiB with them, and 105 without.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    kept: Mutex<Vec<Vec<u8>>>,
    streams: AtomicUsize,
}

impl Pool {
    /// Says how many streams are being cut.
    pub(crate) fn serve(&self, streams: usize) {
        self.streams.store(streams, Ordering::Relaxed);
        if streams > STREAMS {
            self.kept().clear();
        }
    }

    /// Makes room for `length` bytes in all, in a buffer that may have been small until now.
    pub(crate) fn make_room(&self, bytes: &mut Vec<u8>, length: usize) {
        if length < LARGE || length <= bytes.capacity() {
            return make_room(bytes, length);
        }
        let kept = self.kept().pop().filter(|kept| kept.capacity() >= length);
        let mut larger = kept.unwrap_or_else(|| buffer(length));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }

    /// Takes a buffer that is not needed any more.
    pub(crate) fn give(&self, mut bytes: Vec<u8>) {
        let many = self.streams.load(Ordering::Relaxed) > STREAMS;
        if many || bytes.capacity() < RESERVE || bytes.len() > KEPT_BYTES {
            return;
        }
        bytes.clear();
        let mut kept = self.kept();
        if kept.len() < KEPT {
            kept.push(bytes);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_large_buffers_are_kept_and_nothing_of_what_was_in_them() {
        let pool = Pool::default();
        let large = |length: usize| {
            let mut bytes = vec![7; 1000];
            pool.make_room(&mut bytes, length);
            bytes.resize(length, 7);
            bytes
        };
        let first = large(LARGE);
        let place = first.as_ptr();
        pool.give(first);
        let mut again = Vec::new();
        pool.make_room(&mut again, 1000);
        assert_ne!(again.as_ptr(), place, "a small one is not worth it");
        again.extend_from_slice(b"rows");
        pool.make_room(&mut again, KEPT_BYTES);
        assert_eq!((again.as_ptr(), again.as_slice()), (place, b"rows".as_slice()));
        pool.give(large(KEPT_BYTES + 1));
        pool.give(vec![0; 1000]);
        assert_eq!(pool.kept().len(), 0);
        let many: Vec<_> = (0..KEPT + 1).map(|_| large(LARGE)).collect();
        many.into_iter().for_each(|bytes| pool.give(bytes));
        assert_eq!(pool.kept().len(), KEPT);
        pool.serve(STREAMS + 1);
        pool.give(large(LARGE));
        assert_eq!(pool.kept().len(), 0);
    }

    #[test]
    fn what_is_large_is_reserved_above_the_arenas_and_what_is_small_is_not() {
        assert_eq!(buffer(LARGE - 1).capacity(), LARGE - 1);
        assert!(buffer(LARGE).capacity() > 32 << 20);
        assert!(buffer(64 << 20).capacity() >= 64 << 20);
        let mut grown = vec![7; 1000];
        make_room(&mut grown, 2000);
        assert!((2000..LARGE).contains(&grown.capacity()));
        make_room(&mut grown, LARGE);
        assert!(grown.capacity() > 32 << 20);
        assert_eq!(grown, [7; 1000]);
    }
}
