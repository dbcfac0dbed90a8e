//! A range of an encrypted pack, without the rest of it: age seals blocks of 64 KiB each for itself.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

use bytes::Bytes;

use super::sealed::{Identity, NotOpened, reader};

/// Plain bytes of a block of age.
const BLOCK: u64 = 64 << 10;
/// The same block as stored.
const SEALED_BLOCK: u64 = BLOCK + 16;
/// The random bytes after the header.
const NONCE: usize = 16;
/// The longest header that a reader takes. That of one recipient has some 200 bytes, and writers may add a
/// little that means nothing.
pub(crate) const MAX_HEADER: u64 = 4 << 10;

/// What of an encrypted pack every range of it needs.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The whole pack, in stored bytes.
    pub(crate) size: u64,
    /// Its header and the random bytes after it.
    header: Bytes,
}

impl Head {
    /// Finds the header in the beginning of a pack of `size` bytes.
    pub(crate) fn find(size: u64, beginning: &Bytes) -> Result<Self, NotOpened> {
        const LAST_LINE: &[u8] = b"\n--- ";
        let damaged = || NotOpened::Damaged("it does not begin as an age file".to_owned());
        let last = beginning.windows(LAST_LINE.len()).position(|window| window == LAST_LINE).ok_or_else(damaged)?;
        let after = last + LAST_LINE.len();
        let rest = beginning.get(after..).unwrap_or_default();
        let end = after + rest.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)? + 1 + NONCE;
        if end > beginning.len() {
            return Err(damaged());
        }
        Ok(Self { size, header: beginning.slice(..end) })
    }

    /// The stored bytes that the `plain` range of the pack is in; `None` if the pack has no such range.
    pub(crate) fn stored(&self, plain: &Range<u64>) -> Option<Range<u64>> {
        let header = self.header.len() as u64;
        let begin = header + plain.start / BLOCK * SEALED_BLOCK;
        let last = plain.end.checked_sub(1)?;
        let end = (header + (last / BLOCK + 1) * SEALED_BLOCK).min(self.size);
        let needed = header + last / BLOCK * SEALED_BLOCK + last % BLOCK + 1 + (SEALED_BLOCK - BLOCK);
        (end >= needed && begin < end).then_some(begin..end)
    }

    /// The bytes of the `plain` range, of which `stored` holds the blocks.
    pub(crate) fn open(&self, plain: &Range<u64>, stored: Bytes, identity: &Identity) -> Result<Bytes, NotOpened> {
        let unreadable =
            |_: io::Error| NotOpened::Damaged("its bytes do not have their authentication code".to_owned());
        let begin = self.header.len() as u64 + plain.start / BLOCK * SEALED_BLOCK;
        let sparse = Sparse { head: self.header.clone(), begin, blocks: stored, size: self.size, at: 0 };
        let mut reader = reader(sparse, &[identity])?;
        if plain.start >= BLOCK && plain.start.is_multiple_of(BLOCK) {
            // To go to the first byte of a block, age would read the last block of all. So one byte further, and back.
            reader.seek(SeekFrom::Start(plain.start + 1)).map_err(unreadable)?;
        }
        reader.seek(SeekFrom::Start(plain.start)).map_err(unreadable)?;
        let length = usize::try_from(plain.end.saturating_sub(plain.start)).unwrap_or(usize::MAX);
        let mut bytes = crate::repository::large::buffer(length);
        reader.take(length as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() == length {
            Ok(Bytes::from(bytes))
        } else {
            Err(NotOpened::Damaged("it is shorter than its index says".to_owned()))
        }
    }
}

/// A file of which only the header and some blocks are there.
#[derive(Debug)]
struct Sparse {
    head: Bytes,
    begin: u64,
    blocks: Bytes,
    size: u64,
    at: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fn rest(bytes: &Bytes, begin: u64, at: u64) -> Option<&[u8]> {
            let at = usize::try_from(at.checked_sub(begin)?).ok()?;
            bytes.get(at..).filter(|rest| !rest.is_empty())
        }
        let found = rest(&self.head, 0, self.at).or_else(|| rest(&self.blocks, self.begin, self.at));
        let mut found = match found {
            Some(found) => found,
            None if self.at >= self.size => return Ok(0),
            None => return Err(io::Error::other("a block that was not fetched")),
        };
        let count = found.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let moved = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = moved.ok_or_else(|| io::Error::other("before the beginning"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repository::crypt::sealed::seal;

    fn read(sealed: &Bytes, identity: &Identity, plain: Range<u64>) -> Result<Bytes, NotOpened> {
        let beginning = sealed.slice(..sealed.len().min(usize::try_from(MAX_HEADER).unwrap()));
        let head = Head::find(sealed.len() as u64, &beginning)?;
        let short = || NotOpened::Damaged("short".to_owned());
        let stored = head.stored(&plain).ok_or_else(short)?;
        let (begin, end) = (usize::try_from(stored.start).unwrap(), usize::try_from(stored.end).unwrap());
        head.open(&plain, sealed.slice(begin..end), identity)
    }

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at.wrapping_mul(31) % 251).unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_range_of_a_file_is_what_it_is_in_the_whole(
            length in prop_oneof![Just(65_536_usize), Just(131_072), Just(65_537), 1_usize..300_000],
            range in (any::<prop::sample::Index>(), any::<prop::sample::Index>()), block in any::<bool>(),
        ) {
            let identity = Identity::generate();
            let plain = plain(length);
            let sealed = seal(&plain, &[&identity.recipient()]).unwrap();
            let (a, b) = (range.0.index(length), range.1.index(length));
            let (mut start, end) = (a.min(b), a.max(b) + 1);
            if block {
                start = start / 65_536 * 65_536;
            }
            let found = read(&sealed, &identity, start as u64..end as u64).unwrap();
            prop_assert_eq!(&found[..], &plain[start..end]);
        }
    }

    #[test]
    fn a_range_past_the_end_and_a_changed_block_are_refused() {
        let identity = Identity::generate();
        for length in [100_usize, 65_536, 200_000] {
            let sealed = seal(&plain(length), &[&identity.recipient()]).unwrap();
            let end = length as u64;
            assert!(read(&sealed, &identity, end - 1..end).is_ok());
            assert!(read(&sealed, &identity, end - 1..end + 1).is_err());
            assert!(read(&sealed, &identity, end..end + 1).is_err());
            assert!(read(&sealed, &identity, 1 << 40..(1 << 40) + 1).is_err());
            let mut changed = sealed.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            assert!(read(&Bytes::from(changed), &identity, end - 1..end).is_err());
            let stranger = Identity::generate();
            assert_eq!(read(&sealed, &stranger, 0..1).unwrap_err(), NotOpened::OtherKeys);
        }
    }

    #[test]
    fn a_beginning_without_a_header_is_refused() {
        for bytes in [&b""[..], b"age-encryption.org/v1\n-> X25519 abc\n", b"\n--- abc\nshort"] {
            assert!(Head::find(1 << 20, &Bytes::copy_from_slice(bytes)).is_err());
        }
    }
}
