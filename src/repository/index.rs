//! `index-<n>.tsv.zst`: which chunk of which stream lies where.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{
    chunker::MAX_CHUNK,
    codec::{LineReader, LineWriter},
    pack::MAX_PACK,
};
use crate::types::{BackupId, Blake3Digest, Sha256Digest};

/// The longest line, without its end.
const MAX_LINE: usize = 512;
/// The most lines of an index object: it is written before it holds more.
pub(crate) const MAX_LINES: usize = 32_768;
/// The largest index object, as stored.
pub(crate) const MAX_INDEX: u64 = 16 << 20;
const MAX_PLAIN: u64 = MAX_LINES as u64 * MAX_LINE as u64;

/// A line of an index: a chunk of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The stream's number.
    pub(crate) stream: u32,
    /// The chunk's number in its stream, from 0.
    pub(crate) chunk: u32,
    /// BLAKE3 of its plain bytes.
    pub(crate) id: Blake3Digest,
    /// The backup that wrote its pack.
    pub(crate) backup: BackupId,
    /// The pack.
    pub(crate) pack: Sha256Digest,
    /// Where its frame begins in the pack.
    pub(crate) offset: u32,
    /// Bytes of its frame.
    pub(crate) length: u32,
    /// Its plain bytes.
    pub(crate) plain: u32,
}

impl Line {
    fn write(&self, text: &mut String) {
        let Self { stream, chunk, id, backup, pack, offset, length, plain } = self;
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "{stream}\t{chunk}\t{id}\t{backup}\t{pack}\t{offset}\t{length}\t{plain}");
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split('\t');
        let line = Self {
            stream: number(fields.next()?)?,
            chunk: number(fields.next()?)?,
            id: Blake3Digest::parse(fields.next()?).ok()?,
            backup: BackupId::parse(fields.next()?).ok()?,
            pack: Sha256Digest::parse(fields.next()?).ok()?,
            offset: number(fields.next()?)?,
            length: number(fields.next()?)?,
            plain: number(fields.next()?)?,
        };
        let end = u64::from(line.offset) + u64::from(line.length);
        let within = end <= MAX_PACK && line.length > 0 && line.plain > 0 && line.plain as usize <= MAX_CHUNK;
        (fields.next().is_none() && within).then_some(line)
    }
}

/// A number as the format writes it: decimal digits, without a sign or leading zeros.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The bytes to store for `lines`.
pub(crate) fn encode(lines: &[Line]) -> Result<Bytes, super::Error> {
    let mut writer = LineWriter::new()?;
    let mut text = String::with_capacity(MAX_LINE);
    for line in lines {
        line.write(&mut text);
        writer.line(text.as_bytes())?;
    }
    writer.finish()
}

/// Gives every line of a stored index to `take`.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn decode(stored: Bytes, mut take: impl FnMut(Line)) -> Result<(), String> {
    let mut reader = LineReader::new(stored, MAX_LINE, MAX_PLAIN)?;
    let mut count = 0;
    while let Some(line) = reader.next_line()? {
        count += 1;
        if count > MAX_LINES {
            return Err(format!("it has more than {MAX_LINES} lines"));
        }
        take(Line::parse(line).ok_or_else(|| format!("line {count} is no line of an index"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            stream: 3,
            chunk: 0,
            id: Blake3Digest::of(b"chunk"),
            backup: BackupId::parse("20261120T020000Z-abcdef").unwrap(),
            pack: Sha256Digest::of(b"pack"),
            offset: 10,
            length: 20,
            plain: 30,
        }
    }

    fn parse(line: &Line, change: impl Fn(&mut Vec<String>)) -> Option<Line> {
        let mut text = String::new();
        line.write(&mut text);
        let mut fields: Vec<_> = text.split('\t').map(str::to_owned).collect();
        change(&mut fields);
        Line::parse(fields.join("\t").as_bytes())
    }

    #[test]
    fn an_index_reads_back() {
        let lines = [line(), Line { chunk: 1, ..line() }];
        let stored = encode(&lines).unwrap();
        let mut read = Vec::new();
        decode(stored, |line| read.push(line)).unwrap();
        assert_eq!(read, lines);
    }

    #[test]
    fn lines_that_mean_nothing_are_refused() {
        assert_eq!(parse(&line(), |_| {}), Some(line()));
        for (field, bad) in [
            (0, "-1"),
            (0, "+3"),
            (0, "03"),
            (0, ""),
            (1, "4294967296"),
            (2, "00"),
            (3, "../../etc"),
            (4, "00"),
            (5, "16777216"),
            (6, "0"),
            (7, "0"),
            (7, "4194305"),
        ] {
            assert_eq!(parse(&line(), |fields| fields[field] = bad.to_owned()), None, "field {field}: {bad}");
        }
        assert_eq!(parse(&line(), |fields| fields.push("0".to_owned())), None);
        assert_eq!(parse(&line(), |fields| drop(fields.pop())), None);
    }
}
