//! Takes an archive apart as it comes from the pipe, and proves that nothing of it is missing.

mod frames;

use std::{collections::HashSet, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Error, Framing, LARGE_OBJECTS_BLOCK, TABLE_BLOCK, TERMINATOR, Toc,
    framing::Proof,
    read::{INT, decode_int, oid_of},
    toc::TocParser,
};
use frames::Progress;

/// What the splitter has found.
#[derive(Debug, Clone)]
pub enum Event {
    /// The table of contents is complete.
    Toc(Arc<Toc>),
    /// The rows of a table begin: of the entry with this dump id.
    Table {
        /// The entry's dump id.
        dump_id: u32,
    },
    /// Rows of the table in COPY text form, each with its line end: whole rows, unless one is larger than a batch.
    Rows(Bytes),
    /// The rows of the table have ended with their terminator.
    TableEnd,
    /// A block of large objects begins: of the entry with this dump id.
    LargeObjects {
        /// The entry's dump id.
        dump_id: u32,
    },
    /// A large object begins.
    LargeObject {
        /// Its oid.
        oid: u32,
    },
    /// Contents of the large object.
    Contents(Bytes),
    /// The large object has ended.
    LargeObjectEnd,
    /// The block of large objects has ended.
    LargeObjectsEnd,
}

/// What was proven of a whole archive.
#[derive(Debug, Clone)]
pub struct Split {
    /// Its table of contents.
    pub toc: Arc<Toc>,
    /// The rule that all of its frames have followed.
    pub framing: Framing,
    /// Its bytes.
    pub bytes: u64,
}

/// Takes an archive apart: [`Splitter::push`] a piece of any size, then [`Splitter::next_event`] until there is none,
/// and [`Splitter::finish`] after the last piece.
///
/// It holds the table of contents (64 MiB at most), one piece and one batch.
#[derive(Debug, Default)]
pub struct Splitter {
    input: Bytes,
    /// Bytes of the archive before `input`.
    consumed: u64,
    /// The beginning of a number or of a terminator that a piece has cut.
    cut: Vec<u8>,
    state: State,
    /// Until it is complete.
    parser: TocParser,
    toc: Option<Arc<Toc>>,
    /// By places of entries: whether their block has come.
    seen: Vec<bool>,
    /// The place of the entry of the last block.
    last: Option<usize>,
    oids: HashSet<u32>,
    block: Block,
    /// Plain bytes that have not been handed out.
    batch: BytesMut,
    proof: Proof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Toc,
    /// Between two blocks.
    Border,
    /// In front of the dump id of a block of this kind.
    DumpId(u8),
    /// In front of an oid.
    Oid,
    /// In front of a frame's length.
    Length,
    /// Inside of a frame.
    Frame(Frame),
    /// The frames have ended; what is left of the batch is to be handed out.
    Ended,
}

/// A frame of which a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    length: usize,
    left: usize,
    /// A line end has come, and it was not the frame's last byte.
    line_inside: bool,
}

/// The block that is being read.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    entry: usize,
    table: bool,
    /// The last byte that was handed out of a table is no line end.
    in_row: bool,
}

impl Splitter {
    /// A splitter in front of an archive's first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece. All events of the piece before must have been taken.
    pub fn push(&mut self, piece: Bytes) {
        if self.input.is_empty() {
            self.input = piece;
        } else {
            let mut joined = BytesMut::from(self.input.chunk());
            joined.extend_from_slice(&piece);
            self.input = joined.freeze();
        }
    }

    /// The next event; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Error`] once something is not as the format says. Nothing of use comes after that.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let event = match self.state {
                State::Toc => return self.read_toc(),
                State::Border => match self.take_byte() {
                    None => return Ok(None),
                    Some(kind) => self.begin_block(kind)?,
                },
                State::DumpId(kind) => match self.take_int()? {
                    None => return Ok(None),
                    Some(dump_id) => Some(self.find_entry(kind, dump_id)?),
                },
                State::Oid => match self.take_int()? {
                    None => return Ok(None),
                    Some(oid) => Some(self.begin_large_object(oid)?),
                },
                State::Length | State::Frame(_) => match self.read_frames()? {
                    Progress::NeedsMore => return Ok(None),
                    Progress::Batch(bytes) => Some(self.data(bytes)),
                    Progress::Ended => None,
                },
                State::Ended => Some(self.end_data()?),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The end of the archive: what was proven of it.
    ///
    /// # Errors
    /// [`Error::CutShort`] within a block, [`Error::Missing`] if an entry's block has not come.
    pub fn finish(self) -> Result<Split, Error> {
        let at = self.at();
        let (State::Border, Some(toc)) = (self.state, &self.toc) else {
            return Err(Error::CutShort { at, within: self.within() });
        };
        let missing = |entry: &super::Entry<'_>| entry.has_data() && self.seen.get(entry.index()) != Some(&true);
        let mut missing = toc.entries().filter(missing);
        if let Some(first) = missing.next() {
            return Err(Error::Missing { at, count: 1 + missing.count(), first: first.to_string() });
        }
        drop(missing);
        Ok(Split { toc: Arc::clone(toc), framing: self.proof.framing(), bytes: at })
    }

    /// The bytes that have come.
    fn at(&self) -> u64 {
        self.consumed + self.input.len() as u64
    }

    /// What was being read, for people.
    fn within(&self) -> String {
        let Some(toc) = &self.toc else { return "within the table of contents".to_owned() };
        match self.state {
            State::Toc | State::Border | State::DumpId(_) => "at the beginning of a block".to_owned(),
            _ => toc.get(self.block.entry).map_or_else(String::new, |entry| format!("within the data of {entry}")),
        }
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::damaged(self.consumed, what)
    }

    fn read_toc(&mut self) -> Result<Option<Event>, Error> {
        let piece = std::mem::take(&mut self.input);
        let Some((toc, rest)) = self.parser.push(&piece)? else {
            self.consumed = self.parser.len() as u64;
            return Ok(None);
        };
        self.consumed = toc.bytes().len() as u64;
        self.input = rest;
        for entry in toc.entries().filter(super::Entry::has_data) {
            if entry.is_table_data() {
                entry.copy_line()?;
            } else if !entry.is_large_objects() {
                let at = entry.place().start as u64;
                return Err(Error::damaged(at, format!("{entry:?} has data of a kind that drctl does not know")));
            }
        }
        self.seen = vec![false; toc.entries().len()];
        self.state = State::Border;
        let toc = self.toc.insert(Arc::new(toc));
        Ok(Some(Event::Toc(Arc::clone(toc))))
    }

    fn begin_block(&mut self, kind: u8) -> Result<Option<Event>, Error> {
        if kind != TABLE_BLOCK && kind != LARGE_OBJECTS_BLOCK {
            self.consumed -= 1;
            return Err(self.damaged(format!("a block of kind {kind} begins")));
        }
        self.state = State::DumpId(kind);
        Ok(None)
    }

    fn find_entry(&mut self, kind: u8, dump_id: i64) -> Result<Event, Error> {
        let unknown = || self.damaged(format!("a block has the dump id {dump_id}, which no entry has"));
        let toc = self.toc.clone().ok_or_else(unknown)?;
        let entry = u32::try_from(dump_id).ok().and_then(|dump_id| toc.entry(dump_id)).ok_or_else(unknown)?;
        let (table, index, dump_id) = (kind == TABLE_BLOCK, entry.index(), entry.dump_id());
        let fits = if table { entry.is_table_data() } else { entry.is_large_objects() };
        if !fits {
            return Err(self.damaged(format!("the block of {entry:?} is of kind {kind}")));
        }
        match self.seen.get_mut(index) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(self.damaged(format!("a second block of {entry} begins"))),
        }
        if self.last.is_some_and(|last| last > index) {
            self.proof.out_of_order();
        }
        self.last = Some(index);
        self.block = Block { entry: index, table, in_row: false };
        if table {
            self.proof.begin(true);
            self.state = State::Length;
            return Ok(Event::Table { dump_id });
        }
        self.state = State::Oid;
        Ok(Event::LargeObjects { dump_id })
    }

    fn begin_large_object(&mut self, oid: i64) -> Result<Event, Error> {
        if oid == 0 {
            self.state = State::Border;
            return Ok(Event::LargeObjectsEnd);
        }
        let oid = oid_of(oid).ok_or_else(|| self.damaged(format!("a large object has the oid {oid}")))?;
        if !self.oids.insert(oid) {
            return Err(self.damaged(format!("large object {oid} begins a second time")));
        }
        self.proof.begin(false);
        self.state = State::Length;
        Ok(Event::LargeObject { oid })
    }

    /// The frames of a table or a large object have ended: hands out what is left, then says so.
    fn end_data(&mut self) -> Result<Event, Error> {
        if self.block.table && self.batch.len() <= TERMINATOR.len() {
            if self.batch != TERMINATOR || self.block.in_row {
                return Err(self.damaged("the rows of a table do not end with their terminator"));
            }
            self.batch.clear();
            self.proof.end();
            self.state = State::Border;
            return Ok(Event::TableEnd);
        }
        if !self.batch.is_empty() {
            let all = self.batch.len() - if self.block.table { TERMINATOR.len() } else { 0 };
            let rest = self.hand_out(all);
            return Ok(self.data(rest));
        }
        self.proof.end();
        self.state = State::Oid;
        Ok(Event::LargeObjectEnd)
    }

    fn data(&self, bytes: Bytes) -> Event {
        if self.block.table { Event::Rows(bytes) } else { Event::Contents(bytes) }
    }

    fn take_byte(&mut self) -> Option<u8> {
        let byte = self.input.first().copied()?;
        self.advance(1);
        Some(byte)
    }

    fn advance(&mut self, bytes: usize) {
        self.input.advance(bytes);
        self.consumed += bytes as u64;
    }

    /// A number, which a piece may have cut.
    fn take_int(&mut self) -> Result<Option<i64>, Error> {
        let begin = self.consumed - self.cut.len() as u64;
        let take = (INT - self.cut.len()).min(self.input.len());
        let come = self.input.split_to(take);
        self.consumed += take as u64;
        self.cut.extend_from_slice(&come);
        if self.cut.len() < INT {
            return Ok(None);
        }
        let value = decode_int(&self.cut);
        self.cut.clear();
        value.map(Some).ok_or_else(|| Error::damaged(begin, "this is no number"))
    }
}
