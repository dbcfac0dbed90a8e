//! Packs: zstd frames one after the other, closed at 8 MiB.

use bytes::Bytes;

use super::{budget::Held, large};

/// A pack is closed when it has so many stored bytes.
pub(crate) const CLOSE_AT: usize = 8 << 20;
/// No pack has more stored bytes.
pub(crate) const MAX_PACK: u64 = 16 << 20;

/// The pack that frames are appended to at present.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
    held: Option<Held>,
}

impl PackBuilder {
    /// Appends a frame and gives its offset; `held` is what of the budget it takes.
    pub(crate) fn append(&mut self, frame: &[u8], held: Held) -> u32 {
        if self.bytes.capacity() == 0 {
            self.bytes = large::buffer(CLOSE_AT);
        }
        // A pack is closed at 8 MiB and a frame is not much more than 4, so this is far from 2^32.
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(frame);
        match &mut self.held {
            Some(all) => all.join(held),
            none => *none = Some(held),
        }
        offset
    }

    /// Its stored bytes so far.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The pack's bytes and what they take of the budget.
    pub(crate) fn close(self) -> (Bytes, Option<Held>) {
        (Bytes::from(self.bytes), self.held)
    }
}
