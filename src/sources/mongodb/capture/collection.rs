//! The documents of one collection into its stream.

use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use mongodb_driver::{
    ClientSession, Collection,
    bson::{
        RawDocumentBuf, doc,
        raw::{RawBson, RawBsonRef, RawDocument},
    },
    error::Error as DriverError,
    raw_batch_cursor::RawBatch,
};

use super::{
    super::{
        Session,
        connect::in_time,
        error::Reason,
        replies::{batch_size, is_large},
    },
    doctor::number,
    failure::Failure,
};
use crate::{
    sources::CaptureContext,
    types::{MediaType, Name, PartSummary, RowDigest, SinkError, StreamSink, StreamSpec},
};

const MIB: u64 = 1 << 20;
/// A part ends with the document that reaches this.
const PART: u64 = 64 * MIB;
/// What is handed to the sink at once.
const PIECE: usize = 1 << 20;
/// The server's own documents may be larger than what it takes from others.
const SLACK: u64 = 16 << 10;
/// The shortest document: its length and a zero.
const SHORTEST: usize = 5;

/// What was read of a collection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) digest: RowDigest,
}

/// Why a collection was not read to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// The repository takes no more.
    Sink(SinkError),
    /// The server, or the way to it.
    Server {
        reason: Reason,
        /// The cursor is gone, and another one would begin at the beginning.
        again: bool,
    },
    /// What came is no document.
    Documents(String),
}

impl From<SinkError> for Ended {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<&mongodb_driver::error::Error> for Ended {
    fn from(error: &mongodb_driver::error::Error) -> Self {
        use mongodb_driver::error::ErrorKind as K;
        let reason = Reason::from(error);
        let lost = matches!(error.kind.as_ref(), K::Io(_) | K::ConnectionPoolCleared { .. });
        Self::Server { again: lost || reason.is_dead_cursor(), reason }
    }
}

impl Ended {
    pub(super) fn into_failure(self, collection: &str, tries: u32) -> Result<Failure, SinkError> {
        let collection = collection.to_owned();
        match self {
            Self::Sink(error) => Err(error),
            Self::Server { reason, .. } if reason.is_lost_snapshot() => {
                Ok(Failure::SnapshotTooOld { collection, reason })
            }
            Self::Server { reason, .. } if reason.is_no_snapshot_yet() => {
                Ok(Failure::SnapshotUnavailable { collection, reason, tries })
            }
            Self::Server { reason, .. } => Ok(Failure::Read { collection, reason, tries }),
            Self::Documents(what) => Ok(Failure::Documents { collection, what }),
        }
    }
}

/// Reads all documents that `holder` has into the stream `name`, in the order in which the server sends them; of one that is
/// capped those that it has now: with what comes while it is read, they may be more than it holds.
pub(super) async fn take(
    context: CaptureContext<'_>,
    source: &Name,
    session: &Session,
    reads: &mut ClientSession,
    (holder, capped): (&str, bool),
    name: &str,
) -> Result<Taken, Ended> {
    let spec = StreamSpec { source: source.clone(), name: name.to_owned(), media_type: MediaType::Collection };
    let mut writer = Writer::new(context, context.sink.open(spec).await?, session.facts.largest_document);
    let collection = session.database.collection::<RawDocumentBuf>(holder);
    if capped {
        writer.until = in_time(last(&collection, reads)).await.map_err(|error| Ended::from(&error))?;
    }
    // Our own sessions are kept alive, so that no cursor is left behind for ever.
    let mut find = collection.find(doc! {}).no_cursor_timeout(true);
    if let Some(documents) = average(session, holder).await.and_then(batch_size) {
        find = find.batch_size(documents);
    }
    let mut cursor = in_time(find.session(&mut *reads).batch()).await.map_err(|error| Ended::from(&error))?;
    let mut batches = cursor.stream(reads);
    let mut batch = next(&mut batches).await?;
    while let Some(present) = batch {
        if is_large(&present) {
            writer.batch(&present).await?;
            if writer.is_at_end {
                break;
            }
            drop(present);
            batch = next(&mut batches).await?;
            continue;
        }
        // The next one is on its way while this one is stored.
        let (following, written) = futures::join!(next(&mut batches), writer.batch(&present));
        written?;
        if writer.is_at_end {
            break;
        }
        batch = following?;
    }
    writer.finish().await
}

/// What the server sends next; nothing at the end.
async fn next<T>(batches: &mut (impl Stream<Item = Result<T, DriverError>> + Unpin)) -> Result<Option<T>, Ended> {
    in_time(async { batches.next().await.transpose() }).await.map_err(|error| Ended::from(&error))
}

/// The id of the document that came last into a capped collection; absent: there is none, or the server does not read backwards.
async fn last(
    collection: &Collection<RawDocumentBuf>,
    reads: &mut ClientSession,
) -> Result<Option<RawBson>, DriverError> {
    let mut ends = Vec::new();
    for (direction, most) in [(-1, 2), (1, 1)] {
        let find = collection.find(doc! {}).sort(doc! {"$natural": direction}).limit(most);
        let mut cursor = find.session(&mut *reads).await?;
        while let Some(document) = cursor.next(reads).await.transpose()? {
            ends.push(document.get("_id").ok().flatten().map(RawBson::from));
        }
    }
    Ok(match ends.as_slice() {
        // What is not MongoDB's own sends its first one first, whatever it is asked for.
        [last, _, first] if last == first => None,
        [last, ..] => last.clone(),
        [] => None,
    })
}

/// How many bytes a document of a collection has on the average; absent: the server does not tell, or there is none.
async fn average(session: &Session, holder: &str) -> Option<u64> {
    let stats = session.run("ask for a collection's size", doc! {"collStats": holder}).await;
    stats.ok().and_then(|stats| number(&stats, "avgObjSize"))
}

/// Cuts documents into parts, counts and hashes them.
struct Writer<'a> {
    context: CaptureContext<'a>,
    stream: Box<dyn StreamSink>,
    largest: u64,
    taken: Taken,
    parts: u64,
    /// Bytes of the present part, if one has begun.
    open: Option<u64>,
    summary: PartSummary,
    buffer: BytesMut,
    /// Bytes of which the monitor was not told.
    untold: u64,
    /// The id of the document after which nothing more is taken.
    until: Option<RawBson>,
    /// It has come.
    is_at_end: bool,
}

impl<'a> Writer<'a> {
    fn new(context: CaptureContext<'a>, stream: Box<dyn StreamSink>, largest: u64) -> Self {
        let (taken, summary) = (Taken::default(), PartSummary::default());
        let (buffer, until) = (BytesMut::new(), None);
        let (parts, open, untold, is_at_end) = (0, None, 0, false);
        Self { context, stream, largest, taken, parts, open, summary, buffer, untold, until, is_at_end }
    }

    async fn batch(&mut self, batch: &RawBatch) -> Result<(), Ended> {
        let invalid = |error: String| Ended::Documents(error);
        let slices = batch.doc_slices().map_err(|error| invalid(error.to_string()))?;
        let mut documents: Vec<&[u8]> = Vec::new();
        let mut present = self.open.unwrap_or_default();
        for item in slices {
            let document = match item {
                Ok(RawBsonRef::Document(document)) => {
                    self.is_at_end = self.is_last(document);
                    document.as_bytes()
                }
                Ok(_) => return Err(invalid("it holds what is no document".to_owned())),
                Err(error) => return Err(invalid(error.to_string())),
            };
            if document.len() < SHORTEST || document.len() as u64 > self.largest + SLACK {
                return Err(invalid(format!("a document has {} bytes", document.len())));
            }
            documents.push(document);
            present += document.len() as u64;
            if present >= PART {
                self.documents(&documents).await?;
                self.end_part().await?;
                documents.clear();
                present = 0;
            }
            if self.is_at_end {
                break;
            }
        }
        if !documents.is_empty() {
            self.documents(&documents).await?;
        }
        Ok(())
    }

    fn is_last(&self, document: &RawDocument) -> bool {
        let Some(until) = &self.until else { return false };
        document.get("_id").ok().flatten().is_some_and(|id| id == until.as_raw_bson_ref())
    }

    async fn documents(&mut self, documents: &[&[u8]]) -> Result<(), SinkError> {
        self.begin_part().await?;
        let mut digest = RowDigest::default();
        digest.add_rows(documents.iter().copied());
        self.summary.count += documents.len() as u64;
        self.summary.digest.get_or_insert_default().add(&digest);
        for document in documents {
            let mut rest = *document;
            while !rest.is_empty() {
                let (here, after) = rest.split_at(rest.len().min(PIECE - self.buffer.len()));
                if self.buffer.capacity() == 0 {
                    self.buffer.reserve(PIECE.min(rest.len().max(64 << 10)));
                }
                self.buffer.extend_from_slice(here);
                rest = after;
                if self.buffer.len() == PIECE {
                    self.flush().await?;
                }
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let length = bytes.len() as u64;
        self.open = Some(self.open.unwrap_or_default() + length);
        self.taken.bytes += length;
        self.untold += length;
        if self.untold >= MIB {
            self.context.monitor.advance(self.untold / MIB);
            self.untold %= MIB;
        }
        self.stream.write(bytes).await
    }

    async fn begin_part(&mut self) -> Result<(), SinkError> {
        if self.open.is_none() {
            self.open = Some(0);
            self.summary = PartSummary { count: 0, digest: Some(RowDigest::default()) };
            self.stream.begin_part(&self.parts.to_string()).await?;
            self.parts += 1;
        }
        Ok(())
    }

    async fn end_part(&mut self) -> Result<(), SinkError> {
        if self.open.take().is_some() {
            self.taken.documents += self.summary.count;
            self.taken.digest.add(&self.summary.digest.unwrap_or_default());
            self.stream.end_part(self.summary).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Taken, Ended> {
        // A collection without documents has one part without documents.
        if self.parts == 0 {
            self.begin_part().await?;
        }
        self.end_part().await?;
        self.stream.finish().await?;
        Ok(self.taken)
    }
}
