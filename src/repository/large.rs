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

/// From here on, glibc asks the kernel in the beginning.
const LARGE: usize = 128 << 10;
/// Above what glibc ever keeps in an arena.
const RESERVE: usize = 33 << 20;

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

/// A copy of `bytes`.
pub(crate) fn copy(bytes: &[u8]) -> Vec<u8> {
    let mut copy = buffer(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(copy(&[1, 2, 3]), [1, 2, 3]);
    }
}
