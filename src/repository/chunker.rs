//! Where a stream is cut: FastCDC v2020, by content, with the parameters frozen in the header.
//!
//! The chunks of a run of bytes are those that the algorithm finds in the whole run, however it
//! comes in pieces. A run ends where its stream ends and, in tables, collections and blobs, where a
//! part ends. Readers never depend on where the cuts are.

mod gear;

use std::sync::Arc;

use fastcdc::v2020::{self, Normalization};

use self::gear::{Gear, Scan};
use super::{ChunkerParameters, CutSizes, Error, large::Pool};
use crate::types::{MediaType, for_terminal};

/// The largest chunk that the format allows, in plain bytes.
pub(crate) const MAX_CHUNK: usize = 4 << 20;

/// How many bytes the hash of the algorithm depends on: it moves one bit a byte.
const WINDOW: usize = 64;

/// How streams of one kind are cut.
#[derive(Debug, Clone)]
pub(crate) struct CutRule {
    sizes: CutSizes,
    masks: (u64, u64),
    gear: Arc<Gear>,
}

/// The two rules of a repository.
#[derive(Debug, Clone)]
pub(crate) struct CutRules {
    small: CutRule,
    large: CutRule,
}

impl CutRules {
    /// Takes the parameters of a header, which may say anything.
    ///
    /// # Errors
    /// [`Error::UnknownFeature`] for another algorithm, [`Error::Damaged`] for sizes out of bounds.
    pub(crate) fn new(parameters: &ChunkerParameters, location: &str) -> Result<Self, Error> {
        if parameters.algorithm != "fastcdc-v2020" {
            let features = format!("the chunker `{}`", for_terminal(&parameters.algorithm));
            return Err(Error::UnknownFeature { location: location.to_owned(), features });
        }
        let wrong = |what: &str| Error::damaged("repository.json", format!("its chunker has an impossible {what}"));
        let level = match parameters.normalization {
            0 => Normalization::Level0,
            1 => Normalization::Level1,
            2 => Normalization::Level2,
            3 => Normalization::Level3,
            _ => return Err(wrong("normalization")),
        };
        let seed = parameters.seed.as_str();
        let hex = seed.len() == 16 && seed.bytes().all(|b| b.is_ascii_hexdigit());
        let seed = u64::from_str_radix(seed, 16).ok().filter(|_| hex).ok_or_else(|| wrong("seed"))?;
        let (gear, _) = v2020::get_gear_with_seed(seed);
        let gear: Gear = gear.as_ref().try_into().map_err(|_| wrong("gear"))?;
        let gear = Arc::new(gear);
        let rule = |sizes: CutSizes| {
            let CutSizes { min, avg, max } = sizes;
            let even = [min, avg, max].iter().all(|size| size.is_multiple_of(2));
            let ordered = (64..=1 << 20).contains(&min) && min <= avg && (4096..=1 << 22).contains(&avg) && avg <= max;
            if !even || !ordered || max as usize > MAX_CHUNK {
                return Err(wrong("size"));
            }
            Ok(CutRule { sizes, masks: v2020::select_masks(avg as usize, level), gear: Arc::clone(&gear) })
        };
        Ok(Self { small: rule(parameters.small)?, large: rule(parameters.large)? })
    }

    /// The rule for streams of `media_type`.
    pub(crate) fn of(&self, media_type: MediaType) -> &CutRule {
        match media_type {
            MediaType::KubernetesObjects | MediaType::Text => &self.small,
            MediaType::Table | MediaType::Collection | MediaType::Blob => &self.large,
        }
    }
}

/// Whether a part of such a stream begins a new chunk.
pub(crate) fn parts_begin_chunks(media_type: MediaType) -> bool {
    matches!(media_type, MediaType::Table | MediaType::Collection | MediaType::Blob)
}

impl CutRule {
    /// The length of the first chunk of `bytes`, if they are the rest of a run or at least `max` of it. Of
    /// fewer bytes, a length that is not all of them is the first chunk's, too: where a cut is depends on
    /// nothing that comes after it. `passed` bytes are known to have no cut.
    fn first(&self, bytes: &[u8], passed: usize) -> usize {
        // What is known decides as if it were looked at again: the hash in front of a byte is that of the
        // 64 bytes before it.
        let from = passed.saturating_sub(WINDOW) & !1;
        let length = self.cut(bytes, from);
        // Where the window fills itself, its hash is another one.
        if length < passed { self.cut(bytes, 0) } else { length }
    }

    /// The first cut, if there is none in the first `from` bytes. The algorithm looks at pairs of bytes: all borders are
    /// even, and the last one of an odd number of bytes is not looked at.
    fn cut(&self, bytes: &[u8], from: usize) -> usize {
        let CutSizes { min, avg, max } = self.sizes;
        let (strict, loose) = self.masks;
        let length = bytes.len().min(max as usize);
        let (min, end) = ((min as usize).max(from), length & !1);
        let center = (avg as usize).clamp(min.min(end), end);
        let mut scan = Scan::new(&self.gear);
        let mut find = |from: usize, to: usize, mask: u64| {
            let at = scan.find(bytes.get(from..to).unwrap_or_default(), mask)?;
            Some(from + at)
        };
        let cut = find(min, center, strict).or_else(|| find(center, end, loose)).unwrap_or(length);
        cut.clamp(bytes.len().min(1), bytes.len())
    }
}

/// Cuts one stream as its bytes come.
#[derive(Debug)]
pub(crate) struct Chunker {
    rule: CutRule,
    pool: Arc<Pool>,
    /// Bytes of the present run that are in no chunk yet: fewer than the largest chunk, between calls.
    rest: Vec<u8>,
    /// How many of them have been looked at, and have no cut.
    passed: usize,
}

impl Chunker {
    /// Chunks are cut in buffers of `pool`, and are to be given back to it.
    pub(crate) fn new(rule: CutRule, pool: Arc<Pool>) -> Self {
        Self { rule, pool, rest: Vec::new(), passed: 0 }
    }

    /// Bytes that are in no chunk yet.
    pub(crate) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next bytes of the run and gives the chunks that are certain now.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Vec<u8>)) {
        let needed = self.rest.len() + bytes.len();
        self.pool.make_room(&mut self.rest, needed);
        self.rest.extend_from_slice(bytes);
        let CutSizes { min, max, .. } = self.rule.sizes;
        while self.rest.len() > min as usize {
            let length = self.rule.first(&self.rest, self.passed);
            if length == self.rest.len() && length < max as usize {
                // The last byte of an odd number was not looked at.
                self.passed = length & !1;
                return;
            }
            emit(self.take(length));
        }
    }

    /// Ends the run: all that is left becomes chunks.
    pub(crate) fn end_run(&mut self, mut emit: impl FnMut(Vec<u8>)) {
        while !self.rest.is_empty() {
            let length = self.rule.first(&self.rest, self.passed);
            emit(self.take(length));
        }
        self.rest = Vec::new();
    }

    /// The first `length` bytes. What is left is mostly the smaller part: it is what moves.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let tail = self.rest.get(length..).unwrap_or_default();
        let mut left = Vec::new();
        self.pool.make_room(&mut left, tail.len());
        left.extend_from_slice(tail);
        self.rest.truncate(length);
        self.passed = 0;
        std::mem::replace(&mut self.rest, left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Sha256Digest;

    /// Bytes that anybody can make again: SHA-256 of `0`, `1`, `2`, ... in decimal, one after the other.
    fn test_bytes(length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 32);
        for n in 0_u64.. {
            if bytes.len() >= length {
                break;
            }
            bytes.extend_from_slice(Sha256Digest::of(n.to_string().as_bytes()).as_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn rules(seed: &str) -> CutRules {
        let parameters = ChunkerParameters { seed: seed.to_owned(), ..ChunkerParameters::default() };
        CutRules::new(&parameters, "memory:").unwrap()
    }

    fn cut(rule: &CutRule, bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut chunker = Chunker::new(rule.clone(), Arc::default());
        let (mut lengths, mut joined) = (Vec::new(), Vec::new());
        let mut emit = |chunk: Vec<u8>| {
            lengths.push(chunk.len());
            joined.extend(chunk);
        };
        for piece in bytes.chunks(piece) {
            chunker.push(piece, &mut emit);
        }
        chunker.end_run(&mut emit);
        assert!(joined == bytes, "the chunks are not the bytes");
        lengths
    }

    #[test]
    fn the_test_vectors_of_the_format_document_hold() {
        let document = include_str!("../../docs/format.md");
        let vectors = document.split("```vectors\n").nth(1).unwrap().split("```").next().unwrap();
        let mut held = 0;
        for vector in vectors.lines() {
            let (what, lengths) = vector.split_once(": ").unwrap();
            let [size, seed, input] = what.split(", ").collect::<Vec<_>>()[..] else { panic!("{what}") };
            let rules = rules(seed.strip_prefix("seed ").unwrap());
            let rule = if size == "small" { &rules.small } else { &rules.large };
            let bytes = match input {
                "1 MiB" => test_bytes(1 << 20),
                "8 MiB" => test_bytes(8 << 20),
                "1 MiB of zeros" => vec![0; 1 << 20],
                other => panic!("{other}"),
            };
            let lengths: Vec<usize> = lengths.split(' ').map(|length| length.parse().unwrap()).collect();
            assert_eq!(cut(rule, &bytes, 100_000), lengths, "{what}");
            held += 1;
        }
        assert_eq!(held, 4);
    }

    #[test]
    fn the_library_cuts_the_whole_run_in_the_same_places() {
        let bytes = test_bytes(3 << 20);
        for (rule, CutSizes { min, avg, max }) in [
            (rules("0000000000000000").small, ChunkerParameters::default().small),
            (rules("0000000000000000").large, ChunkerParameters::default().large),
        ] {
            let reference = v2020::FastCDC::new(&bytes, min as usize, avg as usize, max as usize);
            let reference: Vec<_> = reference.map(|chunk| chunk.length).collect();
            assert_eq!(cut(&rule, &bytes, 100_000), reference);
        }
    }

    #[test]
    fn what_is_cut_does_not_wait_for_as_much_as_the_largest_chunk() {
        // The longest chunk of these bytes has 1.8 MB: they are found with half as much again, and a piece.
        let bytes = test_bytes(8 << 20);
        for piece in [1_000, 64 << 10, 256 << 10] {
            let mut chunker = Chunker::new(rules("0000000000000000").large, Arc::default());
            let mut most = 0;
            for piece in bytes.chunks(piece) {
                chunker.push(piece, |_| {});
                most = most.max(chunker.held());
            }
            assert!(most < 3_000_000, "{most} bytes with pieces of {piece}");
        }
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let wrong = |change: fn(&mut ChunkerParameters)| {
            let mut parameters = ChunkerParameters::default();
            change(&mut parameters);
            CutRules::new(&parameters, "memory:").is_err()
        };
        assert!(!wrong(|_| {}));
        assert!(wrong(|p| p.algorithm = "rabin".to_owned()));
        assert!(wrong(|p| p.normalization = 4));
        assert!(wrong(|p| p.seed = "+000000000000000".to_owned()));
        assert!(wrong(|p| p.seed = String::new()));
        assert!(wrong(|p| p.small.min = 0));
        assert!(wrong(|p| p.small.min = 16_385));
        assert!(wrong(|p| p.large.max = (4 << 20) + 2));
        assert!(wrong(|p| p.large.avg = p.large.max + 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_come(length in 0_usize..1_500_000, piece in 1_usize..400_000) {
            let bytes = test_bytes(length);
            let rule = rules("0000000000000000").small;
            let lengths = cut(&rule, &bytes, piece);
            prop_assert_eq!(&lengths, &cut(&rule, &bytes, length.max(1)));
            prop_assert!(lengths.iter().all(|length| *length > 0 && *length <= 256 << 10));
            let reference = v2020::FastCDC::new(&bytes, 16 << 10, 64 << 10, 256 << 10).map(|chunk| chunk.length);
            prop_assert_eq!(lengths, reference.collect::<Vec<_>>());
        }
    }
}
