//! `refs.tsv.zst`: the packs that a backup needs, for everybody to read without a key.

use bytes::Bytes;

use super::{
    codec::{LineReader, LineWriter},
    index::number,
    pack::MAX_PACK,
};
use crate::types::{BackupId, Sha256Digest};

const MAX_LINE: usize = 512;
/// The largest such object, as stored: some 400,000 packs, 3 TiB.
pub(crate) const MAX_REFS: u64 = 32 << 20;
/// The most packs of a backup.
pub(crate) const MAX_PACKS: usize = 400_000;

/// A line of refs: a pack. Sorted by backup and pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ref {
    /// The backup that wrote the pack.
    pub(crate) backup: BackupId,
    /// The pack.
    pub(crate) pack: Sha256Digest,
    /// Its stored bytes.
    pub(crate) size: u64,
    /// How many of them are frames that this backup uses.
    pub(crate) used: u64,
}

impl Ref {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split('\t');
        let line = Self {
            backup: BackupId::parse(fields.next()?).ok()?,
            pack: Sha256Digest::parse(fields.next()?).ok()?,
            size: number(fields.next()?)?,
            used: number(fields.next()?)?,
        };
        (fields.next().is_none() && line.used <= line.size && line.size <= MAX_PACK).then_some(line)
    }
}

/// The bytes to store for `refs`, which are sorted.
pub(crate) fn encode(refs: &[Ref]) -> Result<Bytes, super::Error> {
    let mut writer = LineWriter::new()?;
    for Ref { backup, pack, size, used } in refs {
        writer.line(format!("{backup}\t{pack}\t{size}\t{used}").as_bytes())?;
    }
    writer.finish()
}

/// Reads stored refs.
///
/// # Errors
/// What is wrong with them, for people.
pub(crate) fn decode(stored: Bytes) -> Result<Vec<Ref>, String> {
    let mut reader = LineReader::new(stored, MAX_LINE, (MAX_PACKS * MAX_LINE) as u64)?;
    let mut refs: Vec<Ref> = Vec::new();
    while let Some(line) = reader.next_line()? {
        let number = refs.len() + 1;
        if number > MAX_PACKS {
            return Err(format!("it has more than {MAX_PACKS} lines"));
        }
        let next = Ref::parse(line).ok_or_else(|| format!("line {number} is no line of refs"))?;
        if refs.last().is_some_and(|last| (&last.backup, last.pack) >= (&next.backup, next.pack)) {
            return Err(format!("line {number} is not in order"));
        }
        refs.push(next);
    }
    Ok(refs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_ref(name: &str) -> Ref {
        let backup = BackupId::parse("20261120T020000Z-abcdef").unwrap();
        Ref { backup, pack: Sha256Digest::of(name.as_bytes()), size: 9, used: 8 }
    }

    #[test]
    fn refs_read_back_if_they_are_in_order() {
        let mut refs = vec![a_ref("a"), a_ref("b"), a_ref("c")];
        refs.sort();
        assert_eq!(decode(encode(&refs).unwrap()).unwrap(), refs);
        refs.reverse();
        assert_eq!(decode(encode(&refs).unwrap()).unwrap_err(), "line 2 is not in order");
        let twice = [a_ref("a"), a_ref("a")];
        assert_eq!(decode(encode(&twice).unwrap()).unwrap_err(), "line 2 is not in order");
    }

    #[test]
    fn a_pack_of_which_more_is_used_than_there_is_is_refused() {
        let wrong = Ref { used: 10, ..a_ref("a") };
        assert_eq!(decode(encode(&[wrong]).unwrap()).unwrap_err(), "line 1 is no line of refs");
    }
}
