//! Packs: zstd frames one after the other, closed at 8 MiB.

use bytes::Bytes;

use super::{
    Error,
    budget::Held,
    crypt::{Cipher, Pack},
};

/// A pack is closed when it has so many stored bytes.
pub(crate) const CLOSE_AT: usize = 8 << 20;
/// No pack has more stored bytes.
pub(crate) const MAX_PACK: u64 = 16 << 20;

/// The pack that frames are appended to at present.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    pack: Option<Pack>,
    /// Bytes of frames in it, before any encryption.
    length: usize,
    held: Option<Held>,
}

impl PackBuilder {
    /// Appends a frame and gives its offset; `held` is what of the budget it takes.
    pub(crate) fn append(&mut self, cipher: &Cipher, frame: &[u8], held: Held) -> Result<u32, Error> {
        let pack = match &mut self.pack {
            Some(pack) => pack,
            none => none.insert(Pack::new(cipher)?),
        };
        pack.append(frame)?;
        // A pack is closed at 8 MiB and a frame is not much more than 4, so this is far from 2^32.
        let offset = u32::try_from(self.length).unwrap_or(u32::MAX);
        self.length += frame.len();
        match &mut self.held {
            Some(all) => all.join(held),
            none => *none = Some(held),
        }
        Ok(offset)
    }

    /// The bytes of its frames so far.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The pack's stored bytes and what they take of the budget.
    pub(crate) fn close(self) -> (Result<Bytes, Error>, Option<Held>) {
        (self.pack.map_or_else(|| Ok(Bytes::new()), Pack::finish), self.held)
    }
}
