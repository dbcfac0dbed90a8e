//! From the pipe of `pg_dump` to pieces of streams, on a thread of its own: reading, taking apart and hashing are work
//! for a processor, not for the runtime.

use std::{
    io::{self, PipeReader, Read as _},
    mem,
};

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot, watch};

use super::cutting::{Item, LargeObject};
use crate::sources::postgres::{
    Error,
    archive::{self, Event, Split, Splitter},
    rows::{CutRow, RowScanner, RowTotals},
};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// An archive that was taken apart to its end.
#[derive(Debug)]
pub(super) struct Archived {
    pub(super) split: Split,
    /// The tables in the order of their blocks: dump id, and the rows that were in the archive itself.
    pub(super) tables: Vec<(u32, RowTotals)>,
    /// The bytes of all these rows.
    pub(super) bytes: u64,
}

/// Why the archive was not taken apart to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It is not what `pg_dump` writes, or not all of it.
    Archive(archive::Error),
    /// A table's rows end within a row.
    CutRow(CutRow),
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
            Self::CutRow(error) => error.fmt(f),
            Self::Pipe(error) => write!(f, "its pipe could not be read: {error}"),
            Self::Abandoned => f.write_str("nobody takes it any more"),
        }
    }
}

/// What comes of taking an archive apart; nothing, if its thread has ended early.
pub(super) type Taken = oneshot::Receiver<Result<Archived, Stopped>>;

/// Takes the archive apart until it ends, on a thread that has a name: what it costs can be seen. `toc` hears when the
/// table of contents is complete.
pub(super) fn start(pipe: PipeReader, items: mpsc::Sender<Item>, toc: watch::Sender<bool>) -> Result<Taken, Error> {
    let (ended, taken) = oneshot::channel();
    let work = move || {
        // Nobody waits for it when the capture has ended before.
        let _given = ended.send(take(pipe, items, &toc));
    };
    let started = std::thread::Builder::new().name("drctl-archive".to_owned()).spawn(work);
    started.map_err(|source| Error::Local { doing: "start a thread".to_owned(), source })?;
    Ok(taken)
}

fn take(mut pipe: PipeReader, items: mpsc::Sender<Item>, toc: &watch::Sender<bool>) -> Result<Archived, Stopped> {
    let mut taker =
        Taker { items, toc, tables: Vec::new(), bytes: 0, rows: RowScanner::default(), object: LargeObject::default() };
    let mut splitter = Splitter::new();
    let mut buffer = BytesMut::new();
    loop {
        buffer.resize(PIECE, 0);
        let read = match pipe.read(&mut buffer) {
            Ok(0) => return Ok(Archived { split: splitter.finish()?, tables: taker.tables, bytes: taker.bytes }),
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

struct Taker<'a> {
    items: mpsc::Sender<Item>,
    toc: &'a watch::Sender<bool>,
    tables: Vec<(u32, RowTotals)>,
    bytes: u64,
    /// Of the present table.
    rows: RowScanner,
    object: LargeObject,
}

impl Taker<'_> {
    fn event(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Toc(toc) => {
                self.send(Item::Toc(toc))?;
                self.toc.send_replace(true);
                Ok(())
            }
            Event::Table { dump_id } => {
                self.tables.push((dump_id, RowTotals::default()));
                Ok(())
            }
            Event::Rows(rows) => {
                self.rows.push(&rows);
                self.bytes += rows.len() as u64;
                Ok(())
            }
            Event::TableEnd => {
                let totals = self.rows.take().map_err(Stopped::CutRow)?;
                if let Some((_, rows)) = self.tables.last_mut() {
                    *rows = totals;
                }
                Ok(())
            }
            Event::LargeObjects { dump_id } => self.send(Item::LargeObjects(dump_id)),
            Event::LargeObject { oid } => {
                self.object = LargeObject::default();
                self.send(Item::Part(oid.to_string()))
            }
            Event::Contents(bytes) => {
                self.object.push(&bytes);
                self.send(Item::Data(bytes))
            }
            Event::LargeObjectEnd => {
                let object = mem::take(&mut self.object);
                self.send(Item::PartEnd(object.end()))
            }
            Event::LargeObjectsEnd => self.send(Item::End),
        }
    }

    fn send(&self, item: Item) -> Result<(), Stopped> {
        self.items.blocking_send(item).map_err(|_| Stopped::Abandoned)
    }
}
