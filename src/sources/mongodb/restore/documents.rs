//! The documents of a collection out of a backup, in batches.

use bytes::Bytes;
use futures::StreamExt as _;
use mongodb_driver::bson::{
    RawDocumentBuf,
    raw::{RawArrayBuf, RawBsonRef, RawDocument},
};

use super::{
    super::contents,
    RestoreError,
    room::{Room, Share},
};
use crate::types::{BackupContents, PartStream, StreamInfo};

/// The most bytes of a batch, unless one document has more. Several are on their way at once, and the driver holds each of
/// them four times.
pub(super) const BATCH: usize = 2 << 20;
/// What a batch of several documents may have more.
const SLACK: usize = 1 << 20;
/// From here on a document goes alone, and nothing else meanwhile: it is more than any batch.
const LARGE: usize = BATCH + SLACK;
/// The most documents of a batch.
const MOST: usize = 10_000;
/// The shortest document: its length and a zero.
const SHORTEST: usize = 5;
/// The largest document that a server may have made itself.
const LARGEST: usize = (16 << 20) + (16 << 10);

/// Documents that are sent together.
#[derive(Debug)]
pub(super) enum Batch {
    /// Some.
    Some(Several),
    /// One on which the memory is better spent alone, and what lets it.
    Large(RawDocumentBuf, Share),
}

/// Documents as an `insert` command has them.
#[derive(Debug, Default)]
pub(super) struct Several {
    pub(super) documents: RawArrayBuf,
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// The server would put its own time into one of them.
    pub(super) empty_timestamp: bool,
}

impl Several {
    pub(super) fn add(&mut self, document: &RawDocument) {
        self.bytes += document.as_bytes().len();
        self.count += 1;
        self.empty_timestamp |= has_empty_timestamp(document);
        self.documents.push(document);
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH || self.count >= MOST
    }
}

impl Batch {
    /// Bytes of its documents.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Some(several) => several.bytes,
            Self::Large(document, _) => document.as_bytes().len(),
        }
    }
}

/// Whether the driver sends the document as it is, if it is to send one alone: it must have an id, and not more than
/// `largest` bytes.
pub(super) fn goes_alone(document: &RawDocument, largest: u64) -> bool {
    let has_id = document.get("_id").is_ok_and(|id| id.is_some());
    document.as_bytes().len() as u64 <= largest && has_id && !has_empty_timestamp(document)
}

/// Reads the documents of a stream, part by part; each part is proven before the next is begun.
pub(super) struct Documents<'a> {
    contents: &'a dyn BackupContents,
    info: &'a StreamInfo,
    collection: &'a str,
    next_part: usize,
    part: Option<PartStream>,
    /// Bytes that came and are in no document yet.
    rest: Vec<u8>,
    piece: Bytes,
    /// A document that did not fit into the batch before.
    held: Option<Bytes>,
    room: Room,
    /// What the large document has that comes next.
    share: Option<Share>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(contents: &'a dyn BackupContents, info: &'a StreamInfo, collection: &'a str, room: Room) -> Self {
        let (rest, piece) = (Vec::new(), Bytes::new());
        Self { contents, info, collection, next_part: 0, part: None, rest, piece, held: None, room, share: None }
    }

    /// The next batch; none is the end.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, RestoreError> {
        let mut batch = Several::default();
        loop {
            loop {
                // Before it is put together.
                if self.share.is_none() && self.is_large_next()? {
                    if batch.count > 0 {
                        return Ok(Some(Batch::Some(batch)));
                    }
                    self.share = Some(self.room.alone().await);
                }
                let Some(document) = self.one()? else { break };
                let is_too_much = batch.bytes + document.len() > BATCH + SLACK;
                if batch.count > 0 && is_too_much {
                    self.held = Some(document);
                    return Ok(Some(Batch::Some(batch)));
                }
                if document.len() > LARGE {
                    let share = match self.share.take() {
                        Some(share) => share,
                        None => self.room.alone().await,
                    };
                    let document = RawDocumentBuf::from_bytes(document.into());
                    return document
                        .map(|it| Some(Batch::Large(it, share)))
                        .map_err(|error| self.malformed(&error.to_string()));
                }
                let document =
                    RawDocument::from_bytes(&document).map_err(|error| self.malformed(&error.to_string()))?;
                batch.add(document);
                if batch.is_full() {
                    return Ok(Some(Batch::Some(batch)));
                }
            }
            if !self.more().await? {
                return match self.rest.is_empty() {
                    true => Ok((batch.count > 0).then_some(Batch::Some(batch))),
                    false => Err(self.malformed("it ends within a document")),
                };
            }
        }
    }

    /// The document that was held back, or the next one that is there as a whole.
    fn one(&mut self) -> Result<Option<Bytes>, RestoreError> {
        match self.held.take() {
            Some(held) => Ok(Some(held)),
            None => self.document(),
        }
    }

    /// Whether the document that comes next is a large one, as far as its length is there.
    fn is_large_next(&mut self) -> Result<bool, RestoreError> {
        if self.held.is_some() {
            return Ok(false);
        }
        if self.rest.is_empty() {
            return Ok(self.length(&self.piece)?.is_some_and(|length| length > LARGE));
        }
        self.complete_length();
        Ok(self.length(&self.rest)?.is_some_and(|length| length > LARGE))
    }

    /// Takes as much of the piece as the length of the document wants that has begun in `rest`.
    fn complete_length(&mut self) {
        if self.rest.len() < 4 {
            let some = self.piece.split_to(self.piece.len().min(4 - self.rest.len()));
            self.rest.extend_from_slice(&some);
        }
    }

    /// Fetches the next piece; false at the end.
    async fn more(&mut self) -> Result<bool, RestoreError> {
        loop {
            if let Some(part) = &mut self.part {
                match part.next().await {
                    Some(piece) => {
                        self.piece = piece.map_err(contents::Error::Contents)?;
                        return Ok(true);
                    }
                    None => self.part = None,
                }
            }
            if self.next_part >= self.info.parts.len() {
                return Ok(false);
            }
            let part = self.contents.read_part(self.info, self.next_part).await;
            self.part = Some(part.map_err(contents::Error::Contents)?);
            self.next_part += 1;
        }
    }

    /// The next document that is there as a whole.
    fn document(&mut self) -> Result<Option<Bytes>, RestoreError> {
        if self.rest.is_empty() {
            // Most documents lie within one piece.
            let Some(length) = self.length(&self.piece)? else { return Ok(self.keep(None)) };
            if self.piece.len() < length {
                return Ok(self.keep(Some(length)));
            }
            return Ok(Some(self.piece.split_to(length)));
        }
        self.complete_length();
        let Some(length) = self.length(&self.rest)? else { return Ok(None) };
        self.rest.reserve_exact(length - self.rest.len());
        let some = self.piece.split_to(self.piece.len().min(length - self.rest.len()));
        self.rest.extend_from_slice(&some);
        if self.rest.len() < length {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.rest).into()))
    }

    /// Keeps what is left of the piece for the document that goes on in the next one.
    fn keep(&mut self, length: Option<usize>) -> Option<Bytes> {
        if !self.piece.is_empty() {
            self.rest.reserve_exact(length.unwrap_or(SHORTEST));
            let piece = std::mem::take(&mut self.piece);
            self.rest.extend_from_slice(&piece);
        }
        None
    }

    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, RestoreError> {
        let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(SHORTEST..=LARGEST).contains(&length) {
            return Err(self.malformed(&format!("a document says that it has {length} bytes")));
        }
        Ok(Some(length))
    }

    fn malformed(&self, what: &str) -> RestoreError {
        RestoreError::Malformed { collection: self.collection.to_owned(), what: what.to_owned() }
    }
}

/// Whether the server would put its own time into the document: for a timestamp of zero at its top.
pub(super) fn has_empty_timestamp(document: &RawDocument) -> bool {
    if memchr::memmem::find(document.as_bytes(), &[0; 8]).is_none() {
        return false;
    }
    let is_empty =
        |value: RawBsonRef<'_>| matches!(value, RawBsonRef::Timestamp(at) if at.time == 0 && at.increment == 0);
    document.iter().any(|element| element.is_ok_and(|(_, value)| is_empty(value)))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use mongodb_driver::bson::{Timestamp, rawdoc};
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Blake3Digest, ContentsError, MediaType, Name, PartInfo};

    /// A stream that comes in pieces.
    #[derive(Debug)]
    struct Pieces(Vec<Bytes>);

    #[async_trait]
    impl BackupContents for Pieces {
        fn streams(&self) -> &[StreamInfo] {
            &[]
        }

        async fn read_part(&self, _: &StreamInfo, _: usize) -> Result<PartStream, ContentsError> {
            Ok(futures::stream::iter(self.0.clone().into_iter().map(Ok)).boxed())
        }
    }

    fn info() -> StreamInfo {
        let part = PartInfo {
            name: "1".to_owned(),
            offset: 0,
            length: 0,
            blake3: Blake3Digest::of(b""),
            count: 0,
            digest: None,
        };
        let source = Name::new("db").unwrap();
        StreamInfo { number: 1, source, name: "c".to_owned(), media_type: MediaType::Collection, parts: vec![part] }
    }

    fn of(batch: &Batch) -> Vec<RawDocumentBuf> {
        let documents = match batch {
            Batch::Large(document, _) => return vec![document.clone()],
            Batch::Some(several) => &several.documents,
        };
        documents.into_iter().map(|it| it.unwrap().as_document().unwrap().to_owned()).collect()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<RawDocumentBuf>, RestoreError> {
        let pieces = Pieces(bytes.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect());
        let info = info();
        let mut documents = Documents::new(&pieces, &info, "c", Room::default());
        futures::executor::block_on(async {
            let mut all = Vec::new();
            loop {
                let Some(batch) = documents.next().await? else { return Ok(all) };
                all.extend(of(&batch));
            }
        })
    }

    proptest! {
        #[test]
        fn documents_are_found_however_their_bytes_come(
            texts in prop::collection::vec("[a-z]{0,40}", 0..20),
            piece in 1..100_usize,
        ) {
            let documents: Vec<RawDocumentBuf> = texts.iter().map(|text| rawdoc! {"t": text.as_str()}).collect();
            let bytes: Vec<u8> = documents.iter().flat_map(|document| document.as_bytes().to_vec()).collect();
            prop_assert_eq!(read(&bytes, piece).unwrap(), documents);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), piece in 1..20_usize) {
            let _ = read(&bytes, piece);
        }
    }

    #[test]
    fn a_document_that_would_make_a_batch_too_large_goes_in_the_next_and_a_large_one_alone() {
        let large = |bytes: usize| rawdoc! {"t": "x".repeat(bytes)};
        let sizes = [10, BATCH + SLACK - 20, 10, BATCH / 2, BATCH / 2, 10, LARGE, 10];
        let documents = sizes.map(large);
        let bytes: Vec<u8> = documents.iter().flat_map(|document| document.as_bytes().to_vec()).collect();
        let pieces = Pieces(bytes.chunks(1 << 20).map(Bytes::copy_from_slice).collect());
        let info = info();
        let mut reader = Documents::new(&pieces, &info, "c", Room::default());
        let batches: Vec<Batch> = futures::executor::block_on(async {
            let mut all = Vec::new();
            while let Some(batch) = reader.next().await.unwrap() {
                all.push(batch);
            }
            all
        });
        let counts: Vec<_> = batches.iter().map(|it| (of(it).len(), matches!(it, Batch::Large(..)))).collect();
        assert_eq!(counts, [(1, false), (1, false), (3, false), (1, false), (1, true), (1, false)]);
        assert_eq!(batches.iter().flat_map(of).collect::<Vec<_>>(), documents);
    }

    #[test]
    fn a_large_document_goes_as_the_driver_sends_it_only_if_the_driver_leaves_it_as_it_is() {
        assert!(goes_alone(&rawdoc! {"_id": 1, "t": "x"}, 16 << 20));
        assert!(!goes_alone(&rawdoc! {"_id": 1, "t": "x"}, 10));
        assert!(!goes_alone(&rawdoc! {"t": "x"}, 16 << 20));
        let zero = Timestamp { time: 0, increment: 0 };
        assert!(!goes_alone(&rawdoc! {"_id": 1, "at": zero, "t": "x"}, 16 << 20));
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let whole = rawdoc! {"a": 1}.into_bytes();
        assert!(matches!(read(&whole[..whole.len() - 1], 3), Err(RestoreError::Malformed { .. })));
        assert!(matches!(read(&[255, 255, 255, 127, 0], 100), Err(RestoreError::Malformed { .. })));
        assert!(matches!(read(&[4, 0, 0, 0], 100), Err(RestoreError::Malformed { .. })));
        assert!(matches!(read(&[1, 0], 1), Err(RestoreError::Malformed { .. })));
    }

    #[test]
    fn a_timestamp_of_zero_at_the_top_is_seen() {
        let zero = Timestamp { time: 0, increment: 0 };
        assert!(has_empty_timestamp(&rawdoc! {"_id": 1, "t": zero}));
        assert!(!has_empty_timestamp(&rawdoc! {"_id": 1, "t": {"t": zero}}));
        assert!(!has_empty_timestamp(&rawdoc! {"_id": 1, "t": Timestamp { time: 1, increment: 0 }, "n": 0_i64}));
    }
}
