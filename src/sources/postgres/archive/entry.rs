//! One entry of a table of contents.

use std::{borrow::Cow, fmt, ops::Range};

use super::{
    ArchiveVersion, CopyLine, Error, Toc,
    read::{Reader, Span, Stop, parse_digits},
};

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// With what it belongs to: grants, comments.
    None,
    /// Before the rows: schemas, types, tables.
    PreData,
    /// Rows, large objects, values of sequences.
    Data,
    /// After the rows: indexes, constraints, triggers.
    PostData,
}

/// What the archive says about the place of an entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataState {
    /// There is data somewhere: what is written through a pipe has no places.
    Somewhere,
    /// The data begins at this byte.
    At(u64),
    /// There is none.
    NoData,
}

/// The texts of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The name of the object, as it is and not quoted.
    Tag,
    /// What it is: `TABLE`, `TABLE DATA`, `FK CONSTRAINT`.
    Description,
    /// The SQL that makes it.
    Definition,
    /// The SQL that drops it.
    Drop,
    /// The COPY statement of a table's rows.
    Copy,
    /// Its schema, not quoted.
    Namespace,
    /// Its tablespace.
    Tablespace,
    /// Its table access method.
    AccessMethod,
    /// Its owner, not quoted.
    Owner,
}

const FIELDS: usize = 9;

/// An entry as it is kept: places in the archive's bytes.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) dump_id: u32,
    pub(super) had_dumper: bool,
    catalog: (u32, u32),
    section: Section,
    relkind: Option<u8>,
    fields: [Span; FIELDS],
    /// From the entry's first byte to the one after its last.
    pub(super) place: (u32, u32),
    dependencies: (u32, u32),
    data: DataState,
}

impl Raw {
    /// Reads the entry at the reader's place.
    pub(super) fn read(reader: &mut Reader<'_>, version: ArchiveVersion) -> Result<Self, Stop> {
        let begin = reader.at();
        let dump_id = reader.int()?;
        let dump_id = u32::try_from(dump_id).ok().filter(|id| (1..1 << 31).contains(id));
        let dump_id = dump_id.ok_or_else(|| reader.wrong("an entry has an impossible dump id"))?;
        let had_dumper = match reader.int()? {
            0 => false,
            1 => true,
            _ => return Err(reader.wrong("an entry neither has nor has not data")),
        };
        let catalog = (reader.digits()?, reader.digits()?);
        let (tag, description) = (reader.text()?, reader.text()?);
        let section = match reader.int()? {
            1 => Section::None,
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            other => return Err(reader.wrong(format!("an entry is in section {other}"))),
        };
        let (definition, drop, copy) = (reader.text()?, reader.text()?, reader.text()?);
        let (namespace, tablespace, access_method) = (reader.text()?, reader.text()?, reader.text()?);
        let relkind = match version {
            ArchiveVersion::V1_16 => u8::try_from(reader.int()?).ok().filter(|kind| *kind != 0),
            ArchiveVersion::V1_14 | ArchiveVersion::V1_15 => None,
        };
        let owner = reader.text()?;
        // Whether it has oids, of which no version writes anything but `false`.
        reader.text()?;
        let dependencies_begin = reader.at();
        let dependencies_end = dependencies(reader)?;
        let data = data_state(reader)?;
        Ok(Self {
            dump_id,
            had_dumper,
            catalog,
            section,
            relkind,
            fields: [tag, description, definition, drop, copy, namespace, tablespace, access_method, owner],
            place: (place(begin), place(reader.at())),
            dependencies: (place(dependencies_begin), place(dependencies_end)),
            data,
        })
    }
}

/// Passes over the list of dependencies; the place after the last one.
fn dependencies(reader: &mut Reader<'_>) -> Result<usize, Stop> {
    loop {
        let before = reader.at();
        let mut ahead = reader.clone();
        if ahead.text()?.range().is_none() {
            *reader = ahead;
            return Ok(before);
        }
        reader.digits()?;
    }
}

fn data_state(reader: &mut Reader<'_>) -> Result<DataState, Stop> {
    let state = reader.byte()?;
    let offset = reader.take(8)?.try_into().map_or(0, u64::from_le_bytes);
    match state {
        1 => Ok(DataState::Somewhere),
        2 => Ok(DataState::At(offset)),
        3 => Ok(DataState::NoData),
        other => Err(reader.wrong(format!("an entry's data is in state {other}"))),
    }
}

/// A table of contents is bounded far below 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// One entry of a table of contents. Its texts have the encoding of the archive, which is not always UTF-8:
/// [`Entry::text`] reads them in it, and shows what cannot be read by replacement characters; [`Entry::bytes`] is exact.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub(super) toc: &'a Toc,
    pub(super) raw: &'a Raw,
    pub(super) index: usize,
}

/// Kinds of entries that make nothing new: what belongs to another entry, and rows.
const MAKES_NOTHING: &[&str] = &[
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "DATABASE",
    "DATABASE PROPERTIES",
    "COMMENT",
    "ACL",
    "DEFAULT ACL",
    "SECURITY LABEL",
    "TABLE DATA",
    "TABLE ATTACH",
    "INDEX ATTACH",
    "SEQUENCE SET",
    "SEQUENCE OWNED BY",
    "BLOBS",
    "BLOB COMMENTS",
    "MATERIALIZED VIEW DATA",
    "STATISTICS DATA",
];

impl<'a> Entry<'a> {
    /// Its place in the table of contents, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its number in the archive; blocks of data and lists of `pg_restore` name it.
    #[must_use]
    pub fn dump_id(&self) -> u32 {
        self.raw.dump_id
    }

    /// Whether a block of data belongs to it.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.raw.had_dumper
    }

    /// The oid of the catalog that it is listed in, and its own in there.
    #[must_use]
    pub fn catalog(&self) -> (u32, u32) {
        self.raw.catalog
    }

    /// When it is restored.
    #[must_use]
    pub fn section(&self) -> Section {
        self.raw.section
    }

    /// The kind of relation (`r`, `p`, `m`), where the archive says it: from 1.16 on.
    #[must_use]
    pub fn relkind(&self) -> Option<char> {
        self.raw.relkind.map(char::from)
    }

    /// What the archive says about the place of its data.
    #[must_use]
    pub fn data_state(&self) -> DataState {
        self.raw.data
    }

    /// One of its texts, exactly.
    #[must_use]
    pub fn bytes(&self, field: Field) -> Option<&'a [u8]> {
        self.toc.bytes().get(self.place_of(field)?)
    }

    /// One of its texts; empty if it has none.
    #[must_use]
    pub fn text(&self, field: Field) -> Cow<'a, str> {
        self.toc.encoding.decode(self.bytes(field).unwrap_or_default())
    }

    /// Where the bytes of a text are in the archive, without their length before them.
    #[must_use]
    pub fn place_of(&self, field: Field) -> Option<Range<usize>> {
        self.raw.fields.get(field as usize).and_then(|span| span.range())
    }

    /// Where the entry is in the archive.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.raw.place.0 as usize..self.raw.place.1 as usize
    }

    /// Where the archive says the place of its data: one byte and eight.
    #[must_use]
    pub fn place_of_data_state(&self) -> Range<usize> {
        let end = self.place().end;
        end.saturating_sub(9)..end
    }

    /// What it is: `TABLE`, `TABLE DATA`, `FK CONSTRAINT`.
    #[must_use]
    pub fn description(&self) -> Cow<'a, str> {
        self.text(Field::Description)
    }

    /// Its name, not quoted.
    #[must_use]
    pub fn tag(&self) -> Cow<'a, str> {
        self.text(Field::Tag)
    }

    /// Its schema, not quoted; empty if it is in none.
    #[must_use]
    pub fn namespace(&self) -> Cow<'a, str> {
        self.text(Field::Namespace)
    }

    /// Its owner, not quoted; empty if it has none.
    #[must_use]
    pub fn owner(&self) -> Cow<'a, str> {
        self.text(Field::Owner)
    }

    /// The entry for people, as backups, plans and reports name it: `INDEX public orders_pkey`.
    #[must_use]
    pub fn shown(&self) -> String {
        let (description, namespace, tag) = (self.description(), self.namespace(), self.tag());
        if namespace.is_empty() { format!("{description} {tag}") } else { format!("{description} {namespace} {tag}") }
    }

    fn is(&self, description: &str) -> bool {
        self.bytes(Field::Description) == Some(description.as_bytes())
    }

    /// Whether it stands for rows of a table, which its block holds.
    #[must_use]
    pub fn is_table_data(&self) -> bool {
        self.raw.had_dumper && self.is("TABLE DATA")
    }

    /// Whether it stands for contents of large objects, which its block holds.
    #[must_use]
    pub fn is_large_objects(&self) -> bool {
        self.raw.had_dumper && self.is("BLOBS")
    }

    /// Whether it makes large objects, of which another entry has the contents.
    #[must_use]
    pub fn is_large_object_metadata(&self) -> bool {
        self.is("BLOB METADATA")
    }

    /// Whether it sets a sequence to its value.
    #[must_use]
    pub fn is_sequence_set(&self) -> bool {
        self.is("SEQUENCE SET")
    }

    /// Whether it makes something that was not there before: a table, an index, a large object. Grants, comments
    /// and rows do not.
    #[must_use]
    pub fn creates(&self) -> bool {
        let description = self.description();
        !MAKES_NOTHING.contains(&description.as_ref())
            && self.bytes(Field::Definition).is_some_and(|sql| !sql.trim_ascii().is_empty())
    }

    /// The entries that must be there before it, by their dump ids.
    pub fn dependencies(&self) -> impl Iterator<Item = u32> + use<'a> {
        let bytes = self.toc.bytes();
        let (mut at, end) = (self.raw.dependencies.0 as usize, self.raw.dependencies.1 as usize);
        std::iter::from_fn(move || {
            let mut reader = Reader::new(bytes.get(..end)?, at);
            let span = reader.text().ok()?;
            at = reader.at();
            parse_digits(bytes.get(span.range()?))
        })
    }

    /// The COPY statement of a table's rows, as pg_dump wrote it, without the line end.
    #[must_use]
    pub fn copy_statement(&self) -> Option<Cow<'a, str>> {
        let statement = self.bytes(Field::Copy)?.trim_ascii();
        (!statement.is_empty()).then(|| self.toc.encoding.decode(statement))
    }

    /// The COPY statement, taken apart.
    ///
    /// # Errors
    /// [`Error::Options`] if rows were dumped as INSERT statements, [`Error::Damaged`] if it cannot be understood.
    pub fn copy_line(&self) -> Result<CopyLine, Error> {
        let Some(statement) = self.copy_statement() else {
            return Err(Error::Options(format!("has rows of {self} as INSERT statements")));
        };
        CopyLine::parse(&statement).ok_or_else(|| {
            let at = self.place_of(Field::Copy).map_or(0, |range| range.start);
            Error::damaged(at as u64, format!("the COPY statement of {self} is not as pg_dump writes it"))
        })
    }

    /// The table at the root of the partitions that the rows are loaded through, quoted, if pg_dump found that
    /// they do not belong into the same partition everywhere.
    #[must_use]
    pub fn root(&self) -> Option<String> {
        let definition = self.text(Field::Definition);
        definition.lines().find_map(|line| line.strip_prefix("-- load via partition root ")).map(str::to_owned)
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, tag) = (self.namespace(), self.tag());
        let dot = if namespace.is_empty() { "" } else { "." };
        write!(f, "{namespace}{dot}{tag} (dump id {})", self.dump_id())
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.description())
    }
}
