//! `streams.jsonl.zst`: the indexes of a backup, its streams, and their parts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Error,
    codec::{LineReader, LineWriter},
    index::{MAX_INDEX, MAX_LINES},
};
use crate::types::{MediaType, Name, PartInfo, Sha256Digest, StreamInfo, for_terminal};

/// The largest such object, as stored.
pub(crate) const MAX_STREAMS_OBJECT: u64 = 64 << 20;
/// The most plain bytes of it.
const MAX_PLAIN: u64 = 256 << 20;
const MAX_LINE: usize = 16 << 10;
/// The longest name of a stream or a part, in bytes: escaped it still fits a line.
pub(crate) const MAX_NAME: usize = 1024;
/// The most streams of a backup.
pub(crate) const MAX_STREAMS: usize = 65_536;
/// The most parts of a backup, over all streams.
pub(crate) const MAX_PARTS: usize = 262_144;
/// The most indexes of a backup: a billion chunks.
pub(crate) const MAX_INDEXES: usize = 32_768;
/// A stream names the indexes that hold its lines in at most so many runs; past it in one that is too wide.
const MAX_RUNS: usize = 256;
/// The most chunks of a stream: a reader holds the places of all of them, in 56 bytes each.
pub(crate) const MAX_CHUNKS: u32 = 1 << 20;

/// An index object, and exactly that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexRecord {
    /// Its number: `index-<n>`.
    pub(crate) index: u32,
    /// Its stored bytes.
    pub(crate) size: u64,
    /// SHA-256 of them.
    pub(crate) sha256: Sha256Digest,
    /// Its lines.
    pub(crate) lines: u32,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRecord {
    pub(crate) info: StreamInfo,
    /// Its plain bytes.
    pub(crate) length: u64,
    /// Its chunks.
    pub(crate) chunks: u32,
    /// First and last number of each run of indexes that hold lines of it.
    pub(crate) indexes: Vec<(u32, u32)>,
}

/// All that the object says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Streams {
    pub(crate) indexes: Vec<IndexRecord>,
    pub(crate) streams: Vec<StreamRecord>,
}

/// One line of the object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Record {
    Index(IndexRecord),
    Stream(StreamLine),
    Part(PartLine),
    /// A line of a later program.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamLine {
    stream: u32,
    source: Name,
    name: String,
    media_type: MediaType,
    length: u64,
    chunks: u32,
    parts: u32,
    indexes: Vec<(u32, u32)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartLine {
    stream: u32,
    part: u32,
    #[serde(flatten)]
    info: PartInfo,
}

/// Adds index `n` to the runs of indexes that hold lines of a stream.
pub(crate) fn add_index(runs: &mut Vec<(u32, u32)>, n: u32) {
    let room = runs.len() < MAX_RUNS;
    match runs.last_mut() {
        Some((_, last)) if *last >= n => {}
        Some((_, last)) if last.saturating_add(1) == n || !room => *last = n,
        _ => runs.push((n, n)),
    }
}

/// How many lines the indexes of `runs` have, if there are `before[n]` in all before the index `n`.
fn lines_in(runs: &[(u32, u32)], before: &[u64]) -> u64 {
    let up_to = |n: usize| before.get(n).or(before.last()).copied().unwrap_or_default();
    let of_run = |(first, last): &(u32, u32)| up_to(*last as usize + 1).saturating_sub(up_to(*first as usize));
    runs.iter().map(of_run).fold(0, u64::saturating_add)
}

impl Streams {
    /// The bytes to store.
    pub(crate) fn encode(&self) -> Result<Bytes, Error> {
        let mut writer = LineWriter::new()?;
        let mut put = |record: &Record| {
            let line =
                serde_json::to_vec(record).map_err(|error| Error::Internal(format!("a stream record: {error}")))?;
            writer.line(&line)
        };
        for index in &self.indexes {
            put(&Record::Index(index.clone()))?;
        }
        for record in &self.streams {
            let StreamRecord { info, length, chunks, indexes } = record;
            put(&Record::Stream(StreamLine {
                stream: info.number,
                source: info.source.clone(),
                name: info.name.clone(),
                media_type: info.media_type,
                length: *length,
                chunks: *chunks,
                parts: u32::try_from(info.parts.len()).unwrap_or(u32::MAX),
                indexes: indexes.clone(),
            }))?;
            for (part, info) in (0..).zip(&info.parts) {
                put(&Record::Part(PartLine { stream: record.info.number, part, info: info.clone() }))?;
            }
        }
        writer.finish()
    }

    /// Reads the stored object.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn decode(stored: Bytes) -> Result<Self, String> {
        let mut streams = Self::default();
        let (mut parts, mut expected) = (0, 0);
        // How many lines the indexes before each have together.
        let mut lines = vec![0_u64];
        read_records(stored, |record| {
            match record {
                Record::Index(index) => {
                    lines.push(lines.last().map_or(0, |sum| sum + u64::from(index.lines)));
                    streams.take_index(index)?;
                }
                Record::Stream(line) => {
                    streams.ended(expected)?;
                    expected = line.parts;
                    let room = lines_in(&line.indexes, &lines);
                    if line.chunks > MAX_CHUNKS {
                        return Err(format!("stream {} has more than {MAX_CHUNKS} chunks", line.stream));
                    }
                    if u64::from(line.chunks) > room {
                        return Err(format!("stream {} has more chunks than its indexes have lines", line.stream));
                    }
                    streams.take_stream(line)?;
                }
                Record::Part(line) => {
                    parts += 1;
                    if parts > MAX_PARTS {
                        return Err(format!("it has more than {MAX_PARTS} parts"));
                    }
                    streams.take_part(line)?;
                }
                Record::Unknown => {}
            }
            Ok(true)
        })?;
        streams.ended(expected)?;
        let mut numbers: Vec<_> = streams.streams.iter().map(|stream| stream.info.number).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err("two streams have one number".to_owned());
        }
        Ok(streams)
    }

    /// Reads only the indexes, which come first.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn decode_indexes(stored: Bytes) -> Result<Vec<IndexRecord>, String> {
        let mut streams = Self::default();
        read_records(stored, |record| match record {
            Record::Index(index) => streams.take_index(index).map(|()| true),
            Record::Stream(_) | Record::Part(_) => Ok(false),
            Record::Unknown => Ok(true),
        })?;
        Ok(streams.indexes)
    }

    fn take_index(&mut self, index: IndexRecord) -> Result<(), String> {
        let place = u32::try_from(self.indexes.len()).unwrap_or(u32::MAX);
        let sane = index.index == place && index.size <= MAX_INDEX && index.lines as usize <= MAX_LINES;
        if !sane || !self.streams.is_empty() || self.indexes.len() >= MAX_INDEXES {
            return Err(format!("index {} is not what may come here", index.index));
        }
        self.indexes.push(index);
        Ok(())
    }

    fn take_stream(&mut self, line: StreamLine) -> Result<(), String> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(format!("it has more than {MAX_STREAMS} streams"));
        }
        let known = u32::try_from(self.indexes.len()).unwrap_or(u32::MAX);
        let ordered = line.indexes.iter().all(|(first, last)| first <= last && *last < known)
            && line.indexes.windows(2).all(|pair| matches!(pair, [(_, a), (b, _)] if a < b));
        if !ordered || line.name.len() > MAX_NAME {
            return Err(format!("stream {} is not what may come here", line.stream));
        }
        let StreamLine { stream: number, source, name, media_type, length, chunks, indexes, .. } = line;
        let info = StreamInfo { number, source, name, media_type, parts: Vec::new() };
        self.streams.push(StreamRecord { info, length, chunks, indexes });
        Ok(())
    }

    fn take_part(&mut self, line: PartLine) -> Result<(), String> {
        let wrong = || format!("part {} of stream {} is not what may come here", line.part, line.stream);
        let stream = self.streams.last_mut().filter(|last| last.info.number == line.stream).ok_or_else(wrong)?;
        let end = stream.info.parts.last().map_or(0, |last| last.offset + last.length);
        let fits = line.info.offset.checked_add(line.info.length).is_some_and(|end| end <= stream.length);
        let here = line.part as usize == stream.info.parts.len() && line.info.offset == end;
        if !fits || !here || line.info.name.len() > MAX_NAME {
            return Err(wrong());
        }
        stream.info.parts.push(line.info);
        Ok(())
    }

    /// Checks that the last stream has all its parts.
    fn ended(&self, expected: u32) -> Result<(), String> {
        let Some(StreamRecord { info, length, .. }) = self.streams.last() else { return Ok(()) };
        let end = info.parts.last().map_or(0, |last| last.offset + last.length);
        if info.parts.len() == expected as usize && end == *length {
            Ok(())
        } else {
            Err(format!("stream `{}` does not have all its parts", for_terminal(&info.name)))
        }
    }
}

/// Gives every record to `take` until it says `false`.
fn read_records(stored: Bytes, mut take: impl FnMut(Record) -> Result<bool, String>) -> Result<(), String> {
    let mut reader = LineReader::new(stored, MAX_LINE, MAX_PLAIN)?;
    let mut number = 0_u64;
    while let Some(line) = reader.next_line()? {
        number += 1;
        let record = serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
        if !take(record)? {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Blake3Digest;

    fn part(name: &str, offset: u64, length: u64) -> PartInfo {
        let blake3 = Blake3Digest::of(name.as_bytes());
        PartInfo { name: name.to_owned(), offset, length, blake3, count: 1, digest: None }
    }

    fn sample() -> Streams {
        let index = |index| IndexRecord { index, size: 10, sha256: Sha256Digest::of(b""), lines: 3 };
        let stream = |number, name: &str, parts: Vec<PartInfo>| StreamRecord {
            length: parts.iter().map(|part| part.length).sum(),
            info: StreamInfo {
                number,
                source: Name::new("services").unwrap(),
                name: name.to_owned(),
                media_type: MediaType::KubernetesObjects,
                parts,
            },
            chunks: 1,
            indexes: vec![(0, 1)],
        };
        Streams {
            indexes: vec![index(0), index(1)],
            streams: vec![
                stream(4, "deployments.apps", vec![part("a", 0, 5), part("b", 5, 0), part("c", 5, 7)]),
                stream(2, "empty", vec![]),
            ],
        }
    }

    #[test]
    fn streams_read_back() {
        let stored = sample().encode().unwrap();
        assert_eq!(Streams::decode(stored.clone()).unwrap(), sample());
        assert_eq!(Streams::decode_indexes(stored).unwrap(), sample().indexes);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let wrong = |change: fn(&mut Streams)| {
            let mut streams = sample();
            change(&mut streams);
            Streams::decode(streams.encode().unwrap()).unwrap_err()
        };
        assert_eq!(wrong(|s| s.streams[1].info.number = 4), "two streams have one number");
        assert_eq!(wrong(|s| s.streams[0].length += 1), "stream `deployments.apps` does not have all its parts");
        assert_eq!(wrong(|s| s.streams[0].info.parts[1].offset = 4), "part 1 of stream 4 is not what may come here");
        assert_eq!(
            wrong(|s| s.streams[0].info.parts[2].length = u64::MAX),
            "part 2 of stream 4 is not what may come here"
        );
        assert_eq!(wrong(|s| s.streams[0].chunks = MAX_CHUNKS + 1), "stream 4 has more than 1048576 chunks");
        assert_eq!(wrong(|s| s.streams[0].chunks = 7), "stream 4 has more chunks than its indexes have lines");
        assert_eq!(wrong(|s| s.indexes[1].index = 5), "index 5 is not what may come here");
        assert_eq!(wrong(|s| s.streams[0].indexes = vec![(1, 2)]), "stream 4 is not what may come here");
    }

    #[test]
    fn lines_of_later_programs_are_passed_over() {
        let mut writer = LineWriter::new().unwrap();
        writer.line(br#"{"type":"later","x":[1]}"#).unwrap();
        assert_eq!(Streams::decode(writer.finish().unwrap()).unwrap(), Streams::default());
    }

    #[test]
    fn runs_of_indexes_are_joined_and_bounded() {
        let mut runs = Vec::new();
        [0, 0, 1, 2, 5, 5].into_iter().for_each(|n| add_index(&mut runs, n));
        assert_eq!(runs, [(0, 2), (5, 5)]);
        (0..10_000).for_each(|n| add_index(&mut runs, 10 + 2 * n));
        assert_eq!((runs.len(), runs.last().unwrap().1), (MAX_RUNS, 10 + 2 * 9999));
    }
}
