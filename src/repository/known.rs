//! Which chunks need not be stored again: those of the parents, and those of this backup so far.

use std::collections::HashMap;

use crate::types::Blake3Digest;

/// The first half of a chunk's id. Two chunks that share 128 bits of BLAKE3 are not found by chance.
type Prefix = [u8; 16];

/// The highest bit of [`Parent::length`]: this backup has used the frame.
const USED: u32 = 1 << 31;
/// The most chunks of its own that a backup remembers; past it, an equal chunk is stored again.
const MAX_OWN: usize = 1 << 18;

/// Where a chunk's frame lies: a place in the table of packs, and a range of that pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A chunk of a parent, in 28 bytes.
#[derive(Debug, Clone, Copy)]
struct Parent {
    id: Prefix,
    pack: u32,
    offset: u32,
    length: u32,
}

/// A chunk that need not be stored again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) place: Place,
    /// Nothing of this backup has referred to it before.
    pub(crate) first_use: bool,
}

/// The table of known chunks.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    /// Sorted by id.
    parents: Vec<Parent>,
    own: HashMap<Prefix, Place>,
}

/// Gathers the parents' chunks.
#[derive(Debug)]
pub(crate) struct KnownBuilder {
    parents: Vec<Parent>,
    limit: usize,
    left_out: u64,
}

impl KnownBuilder {
    pub(crate) fn new(limit: usize) -> Self {
        Self { parents: Vec::new(), limit, left_out: 0 }
    }

    /// Adds a chunk, if there is room.
    pub(crate) fn add(&mut self, id: &Blake3Digest, place: Place) {
        if self.parents.len() >= self.limit {
            self.left_out += 1;
            return;
        }
        let Place { pack, offset, length } = place;
        self.parents.push(Parent { id: prefix(id), pack, offset, length });
    }

    /// How many found no room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Sums the bytes of all distinct frames, pack by pack.
    pub(crate) fn frames(&self, mut each: impl FnMut(Place)) {
        let mut places: Vec<_> = self.parents.iter().map(|p| (p.pack, p.offset, p.length)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().for_each(|(pack, offset, length)| each(Place { pack, offset, length }));
    }

    /// The table, without what lies in packs that `keep` refuses.
    pub(crate) fn build(mut self, keep: impl Fn(Place) -> bool) -> KnownChunks {
        self.parents.retain(|p| keep(Place { pack: p.pack, offset: p.offset, length: p.length }));
        self.parents.sort_unstable_by_key(|p| (p.id, p.pack, p.offset));
        self.parents.dedup_by_key(|p| p.id);
        self.parents.shrink_to_fit();
        KnownChunks { parents: self.parents, own: HashMap::new() }
    }
}

impl KnownChunks {
    /// Finds a chunk, and marks it as used.
    pub(crate) fn find(&mut self, id: &Blake3Digest) -> Option<Known> {
        let prefix = prefix(id);
        if let Some(place) = self.own.get(&prefix) {
            return Some(Known { place: *place, first_use: false });
        }
        let at = self.parents.binary_search_by_key(&prefix, |p| p.id).ok()?;
        let parent = self.parents.get_mut(at)?;
        let first_use = parent.length & USED == 0;
        let place = Place { pack: parent.pack, offset: parent.offset, length: parent.length & !USED };
        parent.length |= USED;
        Some(Known { place, first_use })
    }

    /// Remembers a chunk that this backup has put into a pack, if there is room.
    pub(crate) fn insert(&mut self, id: &Blake3Digest, place: Place) {
        if self.own.len() < MAX_OWN {
            self.own.insert(prefix(id), place);
        }
    }
}

fn prefix(id: &Blake3Digest) -> Prefix {
    let mut prefix = [0; 16];
    prefix.iter_mut().zip(id.as_bytes()).for_each(|(to, from)| *to = *from);
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Blake3Digest {
        Blake3Digest::of(&n.to_be_bytes())
    }

    fn place(n: u32) -> Place {
        Place { pack: n % 3, offset: n, length: n + 1 }
    }

    #[test]
    fn chunks_are_found_and_their_first_use_is_told() {
        let mut builder = KnownBuilder::new(1000);
        (0..1000).for_each(|n| builder.add(&id(n), place(n)));
        let mut known = builder.build(|place| place.pack != 2);
        for n in 0..1000 {
            let expected = |first_use| (n % 3 != 2).then_some(Known { place: place(n), first_use });
            assert_eq!(known.find(&id(n)), expected(true));
            assert_eq!(known.find(&id(n)), expected(false));
        }
        assert_eq!(known.find(&id(5000)), None);
        known.insert(&id(5000), place(5));
        assert_eq!(known.find(&id(5000)), Some(Known { place: place(5), first_use: false }));
    }

    #[test]
    fn the_table_takes_no_more_than_its_limit_and_28_bytes_a_chunk() {
        let mut builder = KnownBuilder::new(10);
        (0..15).for_each(|n| builder.add(&id(n), place(n)));
        assert_eq!(builder.left_out(), 5);
        assert_eq!(builder.build(|_| true).parents.len(), 10);
        assert_eq!(size_of::<Parent>(), 28);
    }

    #[test]
    fn frames_that_two_parents_share_count_once() {
        let mut builder = KnownBuilder::new(10);
        for n in [0, 3, 3, 6, 1] {
            builder.add(&id(n), place(n));
        }
        let mut sums = [0; 3];
        builder.frames(|place| sums[place.pack as usize] += place.length);
        assert_eq!(sums, [1 + 4 + 7, 2, 0]);
    }
}
