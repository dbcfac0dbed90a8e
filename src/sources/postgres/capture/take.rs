//! From the pipe of `pg_dump` to pieces of streams, on a thread of its own: reading, taking apart,
//! counting and hashing rows are work for a processor, not for the runtime.

use std::{
    io::{self, PipeReader, Read as _},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use crate::{
    sources::postgres::{
        Error,
        archive::{self, Event, Split, Splitter, Toc},
        rows::{PartCuts, RowScanner},
    },
    types::{Blake3Hasher, PartSummary, RowDigest},
};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait for the sink: some 2 MiB.
pub(super) const WAITING: usize = 8;

/// What becomes of an archive, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// Header and table of contents.
    Toc(Arc<Toc>),
    /// The stream of this entry begins: a table's rows, or a block of large objects.
    Begin(u32),
    /// A part of it begins.
    Part(String),
    /// Bytes of the part.
    Data(Bytes),
    /// The part ends.
    PartEnd(PartSummary),
    /// The stream ends.
    End,
}

/// Why the archive was not taken apart to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It is not what `pg_dump` writes, or not all of it.
    Archive(archive::Error),
    /// A table's rows end within a row.
    CutRow(String),
    /// The pipe could not be read.
    Pipe(io::Error),
    /// Nobody takes the items any more.
    Abandoned,
}

impl From<archive::Error> for Stopped {
    fn from(error: archive::Error) -> Self {
        Self::Archive(error)
    }
}

impl Stopped {
    /// Whether the archive has only ended too early: then `pg_dump` itself says why.
    pub(super) fn is_early_end(&self) -> bool {
        matches!(self, Self::Archive(archive::Error::CutShort { .. } | archive::Error::Missing { .. }))
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Archive(error) => error.fmt(f),
            Self::CutRow(error) => f.write_str(error),
            Self::Pipe(error) => write!(f, "its pipe could not be read: {error}"),
            Self::Abandoned => f.write_str("nobody takes it any more"),
        }
    }
}

/// What comes of taking an archive apart; nothing, if its thread has ended early.
pub(super) type Taken = oneshot::Receiver<Result<Split, Stopped>>;

/// Takes the archive apart until it ends, on a thread that has a name: what it costs can be seen.
pub(super) fn start(pipe: PipeReader, items: mpsc::Sender<Item>) -> Result<Taken, Error> {
    let (ended, taken) = oneshot::channel();
    let work = move || {
        // Nobody waits for it when the capture has ended before.
        let _given = ended.send(take(pipe, items));
    };
    let started = std::thread::Builder::new().name("drctl-split".to_owned()).spawn(work);
    started.map_err(|source| Error::Local { doing: "start a thread".to_owned(), source })?;
    Ok(taken)
}

fn take(mut pipe: PipeReader, items: mpsc::Sender<Item>) -> Result<Split, Stopped> {
    let mut taker = Taker { items, cuts: PartCuts::default(), rows: RowScanner::default(), part: Part::None, parts: 0 };
    let mut splitter = Splitter::new();
    let mut buffer = BytesMut::new();
    loop {
        buffer.resize(PIECE, 0);
        let read = match pipe.read(&mut buffer) {
            Ok(0) => return Ok(splitter.finish()?),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Stopped::Pipe(error)),
        };
        splitter.push(buffer.split_to(read).freeze());
        while let Some(event) = splitter.next_event()? {
            taker.event(event)?;
        }
    }
}

struct Taker {
    items: mpsc::Sender<Item>,
    cuts: PartCuts,
    rows: RowScanner,
    part: Part,
    /// Parts of the table so far.
    parts: u64,
}

enum Part {
    None,
    /// Rows of a table.
    Rows,
    /// A large object: its digest is that of one row.
    Object(Box<Blake3Hasher>),
}

impl Taker {
    fn event(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Toc(toc) => self.send(Item::Toc(toc)),
            Event::Table { dump_id } => {
                (self.cuts, self.rows, self.parts) = (PartCuts::default(), RowScanner::default(), 0);
                self.send(Item::Begin(dump_id))
            }
            Event::Rows(rows) => self.rows(rows),
            Event::TableEnd => self.end_table(),
            Event::LargeObjects { dump_id } => self.send(Item::Begin(dump_id)),
            Event::LargeObject { oid } => {
                self.part = Part::Object(Box::default());
                self.send(Item::Part(oid.to_string()))
            }
            Event::Contents(bytes) => {
                if let Part::Object(hasher) = &mut self.part {
                    hasher.update(&bytes);
                }
                self.send(Item::Data(bytes))
            }
            Event::LargeObjectEnd => self.end_object(),
            Event::LargeObjectsEnd => self.send(Item::End),
        }
    }

    fn rows(&mut self, mut rows: Bytes) -> Result<(), Stopped> {
        while !rows.is_empty() {
            let (piece, ended) = self.cuts.take(&mut rows);
            self.begin_rows()?;
            self.rows.push(&piece);
            self.send(Item::Data(piece))?;
            if ended {
                self.end_rows()?;
            }
        }
        Ok(())
    }

    fn begin_rows(&mut self) -> Result<(), Stopped> {
        if matches!(self.part, Part::Rows) {
            return Ok(());
        }
        self.part = Part::Rows;
        let name = self.parts.to_string();
        self.parts += 1;
        self.send(Item::Part(name))
    }

    fn end_rows(&mut self) -> Result<(), Stopped> {
        let totals = self.rows.take().map_err(|error| Stopped::CutRow(error.to_string()))?;
        self.part = Part::None;
        self.send(Item::PartEnd(totals.into()))
    }

    fn end_table(&mut self) -> Result<(), Stopped> {
        // A table without rows has one part without rows.
        if self.parts == 0 {
            self.begin_rows()?;
        }
        if matches!(self.part, Part::Rows) {
            self.end_rows()?;
        }
        self.send(Item::End)
    }

    fn end_object(&mut self) -> Result<(), Stopped> {
        let Part::Object(hasher) = std::mem::replace(&mut self.part, Part::None) else {
            return Err(Stopped::CutRow("a large object ends that has not begun".to_owned()));
        };
        let digest = RowDigest::from_bytes(*hasher.finish().as_bytes());
        self.send(Item::PartEnd(PartSummary { count: 1, digest: Some(digest) }))
    }

    fn send(&self, item: Item) -> Result<(), Stopped> {
        self.items.blocking_send(item).map_err(|_| Stopped::Abandoned)
    }
}
