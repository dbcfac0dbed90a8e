//! Header and table of contents: read as they come, kept byte for byte.

use bytes::{Bytes, BytesMut};

use super::{
    Error, Field, Header, Section,
    encoding::{self, Encoding},
    entry::{Entry, Raw},
    header,
    read::{Reader, Stop},
};

/// The most bytes of header and table of contents: some 80,000 tables.
const MAX_BYTES: usize = 64 << 20;
/// The most entries.
const MAX_ENTRIES: i64 = 400_000;

/// The header and the table of contents of an archive.
#[derive(Debug, Clone)]
pub struct Toc {
    bytes: Bytes,
    header: Header,
    entries: Vec<Raw>,
    /// Dump ids with the places of their entries, sorted.
    ids: Vec<(u32, u32)>,
    pub(super) encoding: Encoding,
}

impl Toc {
    /// Reads the header and the table of contents; whatever follows them is an error.
    ///
    /// # Errors
    /// [`Error`] for anything but a header and a table of contents of a known version.
    pub fn parse(bytes: Bytes) -> Result<Self, Error> {
        let length = bytes.len() as u64;
        let mut parser = TocParser::default();
        match parser.push(&bytes)? {
            Some((toc, rest)) if rest.is_empty() => Ok(toc),
            Some((toc, _)) => Err(Error::damaged(toc.bytes.len() as u64, "more follows the table of contents")),
            None => Err(Error::CutShort { at: length, within: "within the table of contents".to_owned() }),
        }
    }

    /// The archive's bytes up to its first block, exactly.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the archive says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The encoding of its texts and rows, as PostgreSQL calls it: `UTF8`.
    #[must_use]
    pub fn encoding(&self) -> Option<String> {
        let statement = self.entries().find(|entry| entry.description() == "ENCODING")?;
        encoding::name_in(&statement.text(Field::Definition)).map(str::to_owned)
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.entries.iter().enumerate().map(|(index, raw)| Entry { toc: self, raw, index })
    }

    /// The entry at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Entry<'_>> {
        self.entries.get(index).map(|raw| Entry { toc: self, raw, index })
    }

    /// The entry with this dump id.
    #[must_use]
    pub fn entry(&self, dump_id: u32) -> Option<Entry<'_>> {
        let place = self.ids.binary_search_by_key(&dump_id, |(id, _)| *id).ok()?;
        self.ids.get(place).and_then(|(_, index)| self.get(*index as usize))
    }

    /// The entries whose blocks hold the rows of a table.
    pub fn tables(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries().filter(Entry::is_table_data)
    }

    /// The entries whose blocks hold large objects.
    pub fn large_objects(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries().filter(Entry::is_large_objects)
    }

    /// The entries that set sequences.
    pub fn sequence_sets(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries().filter(Entry::is_sequence_set)
    }

    /// The entries that make large objects without their contents, with their grants and comments. Before archive
    /// version 1.16 there are none: they are among those of [`Section::PreData`](super::Section::PreData).
    pub fn large_object_metadata(&self) -> impl Iterator<Item = Entry<'_>> {
        let makes = |entry: &Entry<'_>| entry.section() == Section::Data && entry.is_large_object_metadata();
        self.entries().filter(move |entry| {
            let belongs = |id| self.entry(id).is_some_and(|other| makes(&other));
            makes(entry) || (entry.section() == Section::None && entry.dependencies().any(belongs))
        })
    }

    /// Whether an entry attaches a partition, or an index of one, to what is not in the archive: a dump that leaves out
    /// the root attaches its partitions all the same.
    #[must_use]
    pub fn attaches_to_nothing(&self, entry: &Entry<'_>) -> bool {
        let description = entry.description();
        let kinds: &[&str] = match description.as_ref() {
            "TABLE ATTACH" => &["TABLE", "FOREIGN TABLE"],
            "INDEX ATTACH" => &["INDEX", "CONSTRAINT"],
            _ => return false,
        };
        let is_one = |id: &u32| self.entry(*id).is_some_and(|on| kinds.contains(&on.description().as_ref()));
        let both: std::collections::HashSet<u32> = entry.dependencies().filter(is_one).collect();
        both.len() < 2
    }

    /// How many entries make something.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.entries().filter(Entry::creates).count() as u64
    }
}

/// Reads a table of contents from pieces of any size. No length that the archive says is allocated before its
/// bytes have come.
#[derive(Debug, Default)]
pub(super) struct TocParser {
    buffer: BytesMut,
    /// What was read of it for good.
    read: usize,
    header: Option<(Header, usize)>,
    entries: Vec<Raw>,
}

impl TocParser {
    /// How many bytes have come.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next piece. When the table of contents is complete, it comes with what follows it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Option<(Toc, Bytes)>, Error> {
        self.buffer.extend_from_slice(piece);
        match self.read_on() {
            Ok(header) => self.complete(header).map(Some),
            Err(Stop::Wrong(error)) => Err(error),
            Err(Stop::More) if self.buffer.len() > MAX_BYTES => Err(Error::OverLimit("64 MiB")),
            Err(Stop::More) => Ok(None),
        }
    }

    fn read_on(&mut self) -> Result<Header, Stop> {
        let (header, count) = match self.header.clone() {
            Some(read) => read,
            None => self.read_header()?,
        };
        while self.entries.len() < count {
            let mut reader = Reader::new(&self.buffer, self.read);
            self.entries.push(Raw::read(&mut reader, header.version)?);
            self.read = reader.at();
        }
        Ok(header)
    }

    fn read_header(&mut self) -> Result<(Header, usize), Stop> {
        let mut reader = Reader::new(&self.buffer, 0);
        let header = header::read(&mut reader, &self.buffer)?;
        let count = reader.int()?;
        if count > MAX_ENTRIES {
            return Err(Error::OverLimit("400,000 entries").into());
        }
        let count = usize::try_from(count).map_err(|_| reader.wrong("there is a negative number of entries"))?;
        self.read = reader.at();
        Ok(self.header.insert((header, count)).clone())
    }

    fn complete(&mut self, header: Header) -> Result<(Toc, Bytes), Error> {
        if self.read > MAX_BYTES {
            return Err(Error::OverLimit("64 MiB"));
        }
        let mut bytes = std::mem::take(&mut self.buffer);
        let rest = bytes.split_off(self.read).freeze();
        let entries = std::mem::take(&mut self.entries);
        let mut ids: Vec<_> = entries.iter().zip(0u32..).map(|(entry, index)| (entry.dump_id, index)).collect();
        ids.sort_unstable();
        if let Some([_, (id, index)]) = ids.array_windows::<2>().find(|[one, two]| one.0 == two.0) {
            let at = entries.get(*index as usize).map_or(0, |entry| entry.place.0);
            return Err(Error::damaged(u64::from(at), format!("a second entry has the dump id {id}")));
        }
        let mut toc = Toc { bytes: bytes.freeze(), header, entries, ids, encoding: Encoding::default() };
        toc.encoding = toc.encoding().map_or_else(Encoding::default, |name| Encoding::named(&name));
        Ok((toc, rest))
    }
}
