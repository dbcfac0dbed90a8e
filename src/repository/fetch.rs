//! Requests for ranges of packs, and the proof of what they bring.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{
    Error,
    backend::Backend,
    chunks::{StreamChunk, StreamChunks},
    codec::Decoder,
    crypt::Cipher,
    layout,
};
use crate::types::{Blake3Digest, for_terminal};

/// Stored bytes of one request, unless a single frame is larger.
const MAX_STORED: u64 = 4 << 20;
/// Plain bytes of one request, unless a single chunk is larger.
const MAX_PLAIN: u64 = 8 << 20;
/// Bytes between two frames that are rather read than asked for in two requests.
const MAX_GAP: u64 = 64 << 10;

/// Requests whose frames are decoded at once: more would only hold more memory.
static DECODING: Semaphore = Semaphore::const_new(2);

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

/// Small chunks of which only a part was wanted: most likely the next part of the stream, a
/// namespace with few objects, wants the rest. So a chunk that many parts share is fetched once.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<(Blake3Digest, Bytes)>>);

impl Recent {
    const MOST: usize = 32;
    const LARGEST: u32 = 256 << 10;

    fn find(&self, id: &Blake3Digest) -> Option<Bytes> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|(known, _)| known == id).map(|(_, plain)| plain.clone())
    }

    fn keep(&self, id: Blake3Digest, plain: Bytes) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.iter().all(|(known, _)| *known != id) {
            recent.push_back((id, plain));
        }
        if recent.len() > Self::MOST {
            recent.pop_front();
        }
    }
}

/// Brings the wanted bytes of each chunk of `fetch`, each proven by its id.
pub(crate) async fn run(
    backend: &Arc<dyn Backend>,
    stream: &Arc<StreamChunks>,
    (recent, cipher): (&Arc<Recent>, &Cipher),
    fetch: &Fetch,
) -> Vec<Piece> {
    let all = stream.chunks.get(fetch.chunks.clone()).unwrap_or_default();
    if let [chunk] = all
        && let Some(plain) = recent.find(&chunk.id).filter(|plain| plain.len() == chunk.plain as usize)
    {
        let wanted = fetch.wanted_of(chunk);
        return vec![Piece { length: wanted.end - wanted.start, bytes: Ok(slice(&plain, wanted)) }];
    }
    let length = all.iter().map(|chunk| fetch.wanted_of(chunk)).map(|wanted| wanted.end - wanted.start).sum();
    match bring(backend, stream, (recent, cipher), fetch).await {
        Ok(pieces) => pieces,
        Err(error) => vec![Piece { length, bytes: Err(error) }],
    }
}

async fn bring(
    backend: &Arc<dyn Backend>,
    stream: &Arc<StreamChunks>,
    (recent, cipher): (&Arc<Recent>, &Cipher),
    fetch: &Fetch,
) -> Result<Vec<Piece>, Error> {
    let Some((backup, sha256)) = stream.packs.get(fetch.pack as usize) else {
        return Err(Error::Internal("a chunk lies in no pack".to_owned()));
    };
    let key = layout::pack(backup, sha256);
    let fetched = cipher.fetch(&**backend, &key, fetch.stored.clone()).await?;
    let _turn = DECODING.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
    let (stream, recent, fetch) = (Arc::clone(stream), Arc::clone(recent), fetch.clone());
    let cipher = cipher.clone();
    tokio::task::spawn_blocking(move || {
        let mut decoder = Decoder::new()?;
        let stored = fetched.open().map_err(|reason| Error::damaged(&key, reason))?;
        let chunks = stream.chunks.get(fetch.chunks.clone()).unwrap_or_default();
        let piece = |chunk: &StreamChunk| {
            let wanted = fetch.wanted_of(chunk);
            let length = wanted.end - wanted.start;
            let proven = prove((&mut decoder, &cipher), chunk, &stored, &fetch);
            if let Ok(plain) = &proven
                && length < u64::from(chunk.plain)
                && chunk.plain <= Recent::LARGEST
            {
                recent.keep(chunk.id, plain.clone());
            }
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
fn prove(
    (decoder, cipher): (&mut Decoder, &Cipher),
    chunk: &StreamChunk,
    stored: &Bytes,
    fetch: &Fetch,
) -> Result<Bytes, String> {
    let begin = usize::try_from(u64::from(chunk.offset).saturating_sub(fetch.stored.start)).unwrap_or(usize::MAX);
    let frame = stored.get(begin..begin.saturating_add(chunk.length as usize)).unwrap_or_default();
    let at = format!("the chunk at byte {}", chunk.offset);
    let plain =
        decoder.decode(frame, chunk.plain as usize).map_err(|reason| format!("{at}: {}", for_terminal(&reason)))?;
    if cipher.chunk_id(&plain) != chunk.id {
        return Err(format!("{at} does not have its id {}", chunk.id));
    }
    Ok(Bytes::from(plain))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        repository::codec::Encoder,
        types::{BackupId, Sha256Digest},
    };

    /// Chunks of the given lengths, each compressed to half, in packs of which one follows the other.
    fn chunks(lengths: &[u32], in_pack: usize) -> StreamChunks {
        let mut stream = StreamChunks::default();
        let backup = BackupId::parse("20261120T020000Z-abcdef").unwrap();
        let (mut start, mut offset) = (0, 0);
        for (n, plain) in lengths.iter().enumerate() {
            if n % in_pack == 0 {
                stream.packs.push((backup.clone(), Sha256Digest::of(&n.to_be_bytes())));
                offset = 0;
            }
            let (pack, length) = (u32::try_from(n / in_pack).unwrap(), plain / 2 + 1);
            let id = Blake3Digest::of(&n.to_be_bytes());
            stream.chunks.push(StreamChunk { id, pack, offset, length, plain: *plain, start });
            start += u64::from(*plain);
            offset += length;
        }
        stream
    }

    /// Frames have no checksum of their own: one that decodes to other bytes is told by the chunk's id alone.
    #[test]
    fn a_frame_that_decodes_to_other_bytes_is_refused_by_the_chunks_id() {
        // What does not compress is stored as it is: the last byte of the frame is the last one of the chunk.
        let plain: Vec<u8> = (0..100_u8).map(|n| Sha256Digest::of(&[n]).as_bytes()[0]).collect();
        let mut stored = Encoder::new(3).unwrap().encode(0, &plain).unwrap().to_vec();
        let mut decoder = Decoder::new().unwrap();
        let length = u32::try_from(stored.len()).unwrap();
        let id = Blake3Digest::of(&plain);
        let chunk = StreamChunk { id, pack: 0, offset: 0, length, plain: 100, start: 0 };
        let fetch = Fetch { stored: 0..u64::from(length), ..plan(&chunks(&[100], 1), 0, 100).remove(0) };
        let mut proven =
            |stored: &[u8]| prove((&mut decoder, &Cipher::Plain), &chunk, &Bytes::copy_from_slice(stored), &fetch);
        assert_eq!(proven(&stored).unwrap(), plain);
        *stored.last_mut().unwrap() ^= 1;
        let refused = proven(&stored).unwrap_err();
        assert_eq!(refused, format!("the chunk at byte 0 does not have its id {id}"));
    }

    #[test]
    fn frames_that_lie_beside_each_other_come_in_one_request() {
        let stream = chunks(&[100; 10], 4);
        let requests = |offset, length| plan(&stream, offset, length).into_iter().map(|f| f.chunks).collect::<Vec<_>>();
        assert_eq!(requests(0, 1000), [0..4, 4..8, 8..10]);
        assert_eq!(requests(150, 500), [1..4, 4..7]);
        assert_eq!(requests(150, 50).len(), 1);
        assert_eq!(requests(200, 0), Vec::<Range<usize>>::new());
        let large = chunks(&[4 << 20; 6], 3);
        let costs: Vec<_> = plan(&large, 0, 24 << 20).iter().map(Fetch::cost).collect();
        assert!(costs.iter().all(|cost| *cost <= MAX_STORED + MAX_PLAIN), "{costs:?}");
    }

    proptest! {
        #[test]
        fn a_plan_wants_each_byte_of_its_range_once_and_in_order(
            lengths in proptest::collection::vec(1_u32..3_000_000, 1..20), in_pack in 1_usize..6,
            range in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let stream = chunks(&lengths, in_pack);
            let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
            let (a, b) = (range.0.index(usize::try_from(total).unwrap()) as u64, range.1.index(usize::try_from(total).unwrap()) as u64);
            let wanted = a.min(b)..a.max(b);
            let mut at = wanted.start;
            for fetch in plan(&stream, wanted.start, wanted.end - wanted.start) {
                for chunk in &stream.chunks[fetch.chunks.clone()] {
                    let here = fetch.wanted_of(chunk);
                    prop_assert_eq!(chunk.start + here.start, at);
                    at = chunk.start + here.end;
                }
            }
            prop_assert_eq!(at, wanted.end);
        }
    }
}
