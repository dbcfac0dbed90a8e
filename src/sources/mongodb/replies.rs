//! How much a server is asked for at once.
//!
//! Left alone, servers send up to 16 MiB at once, and the driver holds what it receives twice.

use mongodb_driver::raw_batch_cursor::RawBatch;

/// What a reply has, about.
const REPLY: u64 = 4 << 20;
/// A reply with more bytes than this is dealt with before the next one is fetched, whatever it holds: where documents are of
/// very different sizes, the average says little of one reply.
const LARGE_REPLY: usize = 8 << 20;

/// How many documents of this size on the average are asked for at once; absent: nobody knows how large they are.
pub(super) fn batch_size(average: u64) -> Option<u32> {
    REPLY.checked_div(average).map(|documents| u32::try_from(documents).unwrap_or(u32::MAX).max(1))
}

/// Whether the memory is better spent on this one alone.
pub(super) fn is_large(batch: &RawBatch) -> bool {
    batch.as_raw_document().as_bytes().len() > LARGE_REPLY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_about_as_many_bytes_whatever_the_size_of_documents() {
        assert_eq!(batch_size(0), None);
        assert_eq!(batch_size(64), Some(65536));
        assert_eq!(batch_size(1 << 20), Some(4));
        assert_eq!(batch_size(16 << 20), Some(1));
        assert_eq!(batch_size(u64::MAX), Some(1));
    }
}
