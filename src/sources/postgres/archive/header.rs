//! The beginning of an archive.

use std::fmt;

use super::{
    Error,
    read::{Reader, Span, Stop},
};

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArchiveVersion {
    /// pg_dump 12 to 15.
    V1_14,
    /// pg_dump 16.
    V1_15,
    /// pg_dump 17 and newer.
    V1_16,
}

impl fmt::Display for ArchiveVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1_14 => "1.14",
            Self::V1_15 => "1.15",
            Self::V1_16 => "1.16",
        })
    }
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The version of the format.
    pub version: ArchiveVersion,
    /// The database that was dumped.
    pub database: String,
    /// The server's version in its own words: `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// The version of pg_dump in its own words.
    pub pg_dump_version: String,
}

/// How many bytes of a name or a version are kept.
const MAX_SHOWN: usize = 1024;

/// Reads the header; what follows is the number of entries.
pub(super) fn read(reader: &mut Reader<'_>, bytes: &[u8]) -> Result<Header, Stop> {
    let magic = reader.take(5)?;
    if magic != b"PGDMP" {
        return Err(Error::NotAnArchive("it does not begin with PGDMP").into());
    }
    let version = match [reader.byte()?, reader.byte()?, reader.byte()?] {
        [1, 14, 0] => ArchiveVersion::V1_14,
        [1, 15, 0] => ArchiveVersion::V1_15,
        [1, 16, 0] => ArchiveVersion::V1_16,
        [major, minor, 0] => return Err(Error::Version(format!("{major}.{minor}")).into()),
        [major, minor, rev] => return Err(Error::Version(format!("{major}.{minor}-{rev}")).into()),
    };
    if [reader.byte()?, reader.byte()?] != [4, 8] {
        return Err(Error::NotAnArchive("its numbers have not 4 and 8 bytes").into());
    }
    if reader.byte()? != 1 {
        return Err(Error::NotAnArchive("it has pg_dump's tar or directory format").into());
    }
    let compressed = match version {
        ArchiveVersion::V1_14 => reader.int()? != 0,
        ArchiveVersion::V1_15 | ArchiveVersion::V1_16 => reader.byte()? != 0,
    };
    if compressed {
        return Err(Error::Options("is compressed".to_owned()).into());
    }
    // Second, minute, hour, day, month, year, daylight saving: the clock of whoever ran pg_dump.
    for _ in 0..7 {
        reader.int()?;
    }
    let mut text = || {
        let span: Span = reader.text()?;
        let shown = span.range().and_then(|range| bytes.get(range)).unwrap_or_default();
        let shown = shown.get(..MAX_SHOWN).unwrap_or(shown);
        Ok::<_, Stop>(String::from_utf8_lossy(shown).into_owned())
    };
    Ok(Header { version, database: text()?, server_version: text()?, pg_dump_version: text()? })
}
