//! Requests for ranges of packs, and the proof of what they bring.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Error,
    backend::{Backend, ErrorKind},
    chunks::{StreamChunk, StreamChunks},
    codec::Decoder,
    layout,
};
use crate::types::{Blake3Digest, for_terminal};

/// Stored bytes of one request, unless a single frame is larger.
const MAX_STORED: u64 = 4 << 20;
/// Plain bytes of one request, unless a single chunk is larger.
const MAX_PLAIN: u64 = 8 << 20;
/// Bytes between two frames that are rather read than asked for in two requests.
const MAX_GAP: u64 = 64 << 10;

/// One request: some chunks in the order of the stream, whose frames lie close together in one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// Which chunks of the stream.
    pub(crate) chunks: Range<usize>,
    pack: u32,
    stored: Range<u64>,
    plain: u64,
    /// The bytes that are wanted of the first and of the last chunk, as offsets in the stream.
    wanted: Range<u64>,
}

impl Fetch {
    /// The most bytes that it holds at once.
    pub(crate) fn cost(&self) -> u64 {
        self.stored_bytes() + self.plain
    }

    /// The bytes of the pack that it asks for.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.end - self.stored.start
    }

    /// Which bytes of a chunk are wanted, as offsets in its plain bytes.
    fn wanted_of(&self, chunk: &StreamChunk) -> Range<u64> {
        let end = chunk.start + u64::from(chunk.plain);
        let within = |offset: u64| offset.clamp(chunk.start, end) - chunk.start;
        within(self.wanted.start)..within(self.wanted.end)
    }

    fn takes(&self, chunk: &StreamChunk) -> bool {
        let (begin, end) = (u64::from(chunk.offset), u64::from(chunk.offset) + u64::from(chunk.length));
        chunk.pack == self.pack
            && begin >= self.stored.end
            && begin - self.stored.end <= MAX_GAP
            && end - self.stored.start <= MAX_STORED
            && self.plain + u64::from(chunk.plain) <= MAX_PLAIN
    }
}

/// The requests for `length` bytes of a stream from `offset`.
pub(crate) fn plan(stream: &StreamChunks, offset: u64, length: u64) -> Vec<Fetch> {
    let wanted = offset..offset.saturating_add(length);
    let ends_before = |chunk: &StreamChunk| chunk.start + u64::from(chunk.plain) <= wanted.start;
    let first = stream.chunks.partition_point(ends_before);
    let mut fetches: Vec<Fetch> = Vec::new();
    for (at, chunk) in stream.chunks.iter().enumerate().skip(first) {
        if chunk.start >= wanted.end {
            break;
        }
        match fetches.last_mut() {
            Some(last) if last.takes(chunk) => {
                last.chunks.end = at + 1;
                last.stored.end = u64::from(chunk.offset) + u64::from(chunk.length);
                last.plain += u64::from(chunk.plain);
            }
            _ => fetches.push(Fetch {
                chunks: at..at + 1,
                pack: chunk.pack,
                stored: u64::from(chunk.offset)..u64::from(chunk.offset) + u64::from(chunk.length),
                plain: u64::from(chunk.plain),
                wanted: wanted.clone(),
            }),
        }
    }
    fetches
}

/// What came of one chunk, or of a whole request that failed.
#[derive(Debug)]
pub(crate) struct Piece {
    /// How many bytes of the range it stands for.
    pub(crate) length: u64,
    /// These bytes, from a chunk that has its id, or why they cannot be had.
    pub(crate) bytes: Result<Bytes, Error>,
}

/// Brings the wanted bytes of each chunk of `fetch`, each proven by its id.
pub(crate) async fn run(backend: &Arc<dyn Backend>, stream: &Arc<StreamChunks>, fetch: &Fetch) -> Vec<Piece> {
    let all = stream.chunks.get(fetch.chunks.clone()).unwrap_or_default();
    let length = all.iter().map(|chunk| fetch.wanted_of(chunk)).map(|wanted| wanted.end - wanted.start).sum();
    match bring(backend, stream, fetch).await {
        Ok(pieces) => pieces,
        Err(error) => vec![Piece { length, bytes: Err(error) }],
    }
}

async fn bring(backend: &Arc<dyn Backend>, stream: &Arc<StreamChunks>, fetch: &Fetch) -> Result<Vec<Piece>, Error> {
    let Some((backup, sha256)) = stream.packs.get(fetch.pack as usize) else {
        return Err(Error::Internal("a chunk lies in no pack".to_owned()));
    };
    let key = layout::pack(backup, sha256);
    let too_short = || Error::damaged(&key, "it is shorter than its index says");
    let stored = match backend.get_range(&key, fetch.stored.clone()).await {
        Ok(stored) if stored.len() as u64 == fetch.stored.end - fetch.stored.start => stored,
        Ok(_) => return Err(too_short()),
        Err(error) if error.kind == ErrorKind::Other => {
            // A range past the end looks like any other failure: the size tells them apart.
            return Err(match backend.head(&key).await {
                Ok(meta) if meta.size < fetch.stored.end => too_short(),
                _ => error.into(),
            });
        }
        Err(error) => return Err(Error::reading(&key, error)),
    };
    let (stream, fetch) = (Arc::clone(stream), fetch.clone());
    tokio::task::spawn_blocking(move || {
        let mut decoder = Decoder::new()?;
        let chunks = stream.chunks.get(fetch.chunks.clone()).unwrap_or_default();
        let piece = |chunk: &StreamChunk| {
            let wanted = fetch.wanted_of(chunk);
            let length = wanted.end - wanted.start;
            let proven = prove(&mut decoder, chunk, &stored, &fetch);
            let bytes = proven.map(|plain| slice(&plain, wanted)).map_err(|reason| Error::damaged(&key, reason));
            Piece { length, bytes }
        };
        Ok(chunks.iter().map(piece).collect())
    })
    .await?
}

fn slice(plain: &Bytes, wanted: Range<u64>) -> Bytes {
    let within = |offset: u64| usize::try_from(offset).unwrap_or(plain.len()).min(plain.len());
    plain.slice(within(wanted.start)..within(wanted.end))
}

/// The plain bytes of one chunk, if it is what its id says.
fn prove(decoder: &mut Decoder, chunk: &StreamChunk, stored: &Bytes, fetch: &Fetch) -> Result<Bytes, String> {
    let begin = usize::try_from(u64::from(chunk.offset).saturating_sub(fetch.stored.start)).unwrap_or(usize::MAX);
    let frame = stored.get(begin..begin.saturating_add(chunk.length as usize)).unwrap_or_default();
    let at = format!("the chunk at byte {}", chunk.offset);
    let plain =
        decoder.decode(frame, chunk.plain as usize).map_err(|reason| format!("{at}: {}", for_terminal(&reason)))?;
    if Blake3Digest::of(&plain) != chunk.id {
        return Err(format!("{at} does not have its id {}", chunk.id));
    }
    Ok(Bytes::from(plain))
}
