//! What a pipeline knows: the table of packs, the open pack, and the index lines that wait.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        Error, Totals,
        budget::Held,
        crypt::Cipher,
        index::{self, MAX_LINES},
        known::{Known, KnownChunks, Place},
        pack::{MAX_PACK, PackBuilder},
        refs::{MAX_PACKS, Ref},
    },
    Reusable,
};
use crate::types::{BackupId, Blake3Digest, Sha256Digest};

/// An index line whose pack is a place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnLine {
    pub(super) stream: u32,
    pub(super) chunk: u32,
    pub(super) id: Blake3Digest,
    pub(super) place_pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) plain: u32,
}

impl OwnLine {
    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }
}

/// How a pipeline works.
#[derive(Debug, Clone)]
pub(crate) struct PipelineOptions {
    pub(crate) backup: BackupId,
    pub(crate) cipher: Cipher,
    pub(crate) level: i32,
    pub(crate) workers: usize,
    pub(crate) pack_bytes: usize,
    pub(crate) parallel_puts: usize,
    pub(crate) memory: u64,
    pub(crate) checkpoint_packs: u32,
    /// The planted fault that counts packs as stored before they are.
    pub(crate) packs_last: bool,
}

/// A pack that takes no more frames.
#[derive(Debug)]
pub(super) struct ClosedPack {
    /// Its place in the table.
    pub(super) number: u32,
    pub(super) bytes: Result<Bytes, Error>,
    pub(super) held: Option<Held>,
}

/// A pack that this backup uses, or may use.
#[derive(Debug, Clone)]
pub(crate) struct PackEntry {
    pub(crate) backup: BackupId,
    /// Zeros as long as this backup's own pack is not closed.
    pub(crate) sha256: Sha256Digest,
    pub(crate) size: u64,
    /// Bytes of it that this backup uses.
    pub(crate) used: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) known: KnownChunks,
    pub(super) packs: Vec<PackEntry>,
    pub(super) open: PackBuilder,
    /// The place of the open pack in `packs`, once it has a frame.
    pub(super) open_pack: Option<u32>,
    /// Lines of packs that are not acknowledged yet, by the pack's place.
    pub(super) waiting: HashMap<u32, Vec<OwnLine>>,
    /// Lines that belong into the next index.
    pub(super) lines: Vec<OwnLine>,
    pub(super) packs_since_checkpoint: u32,
    pub(super) queued: usize,
    pub(super) uploading: usize,
    pub(super) failure: Option<Arc<Error>>,
    pub(super) totals: Totals,
    /// Plain bytes that were not stored again, by stream.
    pub(super) reused: HashMap<u32, u64>,
    /// What packs are encrypted with.
    cipher: Cipher,
}

impl State {
    pub(super) fn new(reusable: Reusable, cipher: Cipher) -> Self {
        Self {
            known: reusable.known,
            packs: reusable.packs,
            open: PackBuilder::default(),
            open_pack: None,
            waiting: HashMap::new(),
            lines: Vec::new(),
            packs_since_checkpoint: 0,
            queued: 0,
            uploading: 0,
            failure: None,
            totals: Totals::default(),
            reused: HashMap::new(),
            cipher,
        }
    }

    /// How many lines wait for the pack that is open.
    pub(super) fn lines_of_open_pack(&self) -> usize {
        self.open_pack.and_then(|pack| self.waiting.get(&pack)).map_or(0, Vec::len)
    }

    /// Takes the lines of the next index; the rest stays.
    pub(super) fn take_lines(&mut self) -> Vec<OwnLine> {
        self.packs_since_checkpoint = 0;
        let rest = self.lines.split_off(self.lines.len().min(MAX_LINES));
        std::mem::replace(&mut self.lines, rest)
    }

    /// `lines` as an index keeps them.
    pub(super) fn resolve(&self, lines: &[OwnLine]) -> Vec<index::Line> {
        let resolved = lines.iter().filter_map(|line| {
            let pack = self.packs.get(line.place_pack as usize)?;
            Some(index::Line {
                stream: line.stream,
                chunk: line.chunk,
                id: line.id,
                backup: pack.backup.clone(),
                pack: pack.sha256,
                offset: line.offset,
                length: line.length,
                plain: line.plain,
            })
        });
        resolved.collect()
    }

    /// The packs of which something is used.
    pub(super) fn refs(&self) -> Vec<Ref> {
        let used = self.packs.iter().filter(|pack| pack.used > 0);
        used.map(|pack| Ref {
            backup: pack.backup.clone(),
            pack: pack.sha256,
            size: pack.size,
            used: pack.used.min(pack.size),
        })
        .collect()
    }

    /// Notes that a line refers to a chunk that need not be stored.
    pub(super) fn refer(&mut self, known: Known, line: OwnLine) {
        if known.first_use
            && let Some(pack) = self.packs.get_mut(known.place.pack as usize)
        {
            pack.used += u64::from(known.place.length);
        }
        let plain = u64::from(line.plain);
        self.totals.reused_bytes += plain;
        *self.reused.entry(line.stream).or_default() += plain;
        match self.waiting.get_mut(&known.place.pack) {
            // In a pack of this backup that the store has not acknowledged.
            Some(waiting) => waiting.push(line),
            None => self.lines.push(line),
        }
    }

    /// Takes the open pack, if it has a frame, to be sent.
    pub(super) fn take_pack(&mut self) -> Option<ClosedPack> {
        let number = self.open_pack.take()?;
        let (bytes, held) = std::mem::take(&mut self.open).close();
        self.uploading += 1;
        Some(ClosedPack { number, bytes, held })
    }

    /// Puts a frame into the open pack.
    pub(super) fn append(&mut self, backup: &BackupId, frame: &[u8], held: Held) -> Result<Place, Error> {
        let end = self.open.length() as u64 + frame.len() as u64;
        if end > MAX_PACK {
            return Err(Error::Internal(format!("a pack of {end} bytes")));
        }
        let pack = match self.open_pack {
            Some(pack) => pack,
            None => {
                if self.packs.len() >= MAX_PACKS {
                    let what = "the number of packs of a backup".to_owned();
                    return Err(Error::OverLimit { what, limit: MAX_PACKS.to_string() });
                }
                let pack = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
                let sha256 = Sha256Digest::from_bytes([0; 32]);
                self.packs.push(PackEntry { backup: backup.clone(), sha256, size: 0, used: 0 });
                self.waiting.insert(pack, Vec::new());
                self.open_pack = Some(pack);
                pack
            }
        };
        let offset = self.open.append(&self.cipher, frame, held)?;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if let Some(entry) = self.packs.get_mut(pack as usize) {
            entry.used += u64::from(length);
        }
        Ok(Place { pack, offset, length })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::budget::Budget, *};

    #[test]
    fn a_pack_is_never_larger_than_a_reader_takes() {
        let backup = BackupId::parse("20261120T020000Z-abcdef").unwrap();
        let mut state = State::new(Reusable { known: KnownChunks::default(), packs: Vec::new() }, Cipher::Plain);
        let budget = Budget::new(1 << 30);
        let append = |state: &mut State, length: usize| {
            state.append(&backup, &vec![0; length], budget.try_take(length as u64).unwrap())
        };
        for n in 0..4 {
            assert_eq!(append(&mut state, 4 << 20).unwrap().offset, n << 22);
        }
        assert!(matches!(append(&mut state, 1), Err(Error::Internal(_))));
        let full = state.take_pack().unwrap();
        assert_eq!((full.number, full.bytes.unwrap().len() as u64, state.uploading), (0, MAX_PACK, 1));
        let next = append(&mut state, 1).unwrap();
        assert_eq!((next.pack, next.offset), (1, 0));
    }
}
