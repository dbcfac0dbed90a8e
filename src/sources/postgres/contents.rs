//! What a backup holds of a PostgreSQL database: the names of its streams, and the documents among them.
//!
//! Capture writes these, restore and export read them. A backup that can be read at all may still be forged, so
//! everything that is read has bounds, and what contradicts itself is refused.

mod definitions;
mod documents;
mod error;

use std::collections::HashSet;

use bytes::BytesMut;
use futures::TryStreamExt;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Map;

use super::{archive::Toc, quote};
use crate::types::{BackupContents, Name, StreamInfo, for_terminal};
pub use definitions::definitions;
pub use documents::{
    Archive, Database, Exclusions, Extension, Lacking, LargeObjects, LeftOut, Locale, Membership, PasswordVerifier,
    Role, Roles, Sequence, Server, Setting, Snapshot, Table,
};
pub use error::Error;
use error::json_error;

/// The archive's header and table of contents, byte for byte.
pub const TOC: &str = "toc";
/// The [`Database`].
pub const DATABASE: &str = "database.json";
/// The [`Roles`].
pub const ROLES: &str = "roles.json";
/// SQL for recovery by hand: what is there before the rows.
pub const PRE_DATA: &str = "pre-data.sql";
/// SQL for recovery by hand: what follows the rows.
pub const POST_DATA: &str = "post-data.sql";
/// SQL for recovery by hand: the values of sequences.
pub const SEQUENCES: &str = "sequences.sql";
/// SQL for recovery by hand: large objects without their contents. Only of archives from 1.16 on; before, they are
/// in `pre-data.sql`.
pub const LARGE_OBJECTS: &str = "large-objects.sql";
/// The one part of each stream that is not rows and not large objects.
pub const WHOLE: &str = "whole";

/// The most bytes of a document.
const MAX_DOCUMENT: u64 = 64 << 20;

/// The version of the documents.
pub const API_VERSION: &str = "drctl/v1";

/// The name of the stream with a table's rows: schema and table, quoted where PostgreSQL needs it.
#[must_use]
pub fn table_stream(schema: &str, table: &str) -> String {
    quote::shown(schema, table)
}

/// The name of the stream with the large objects of an entry: its parts are named by their oids.
#[must_use]
pub fn large_objects_stream(dump_id: u32) -> String {
    format!("large-objects/{dump_id}")
}

/// The names of the streams of all tables of an archive, in its order. Names that are equal once they are shown as
/// UTF-8 get their dump ids appended.
#[must_use]
pub fn table_streams(toc: &Toc) -> Vec<(u32, String)> {
    let mut names =
        HashSet::from([TOC, DATABASE, ROLES, PRE_DATA, POST_DATA, SEQUENCES, LARGE_OBJECTS].map(str::to_owned));
    toc.tables()
        .map(|entry| {
            let mut name = table_stream(&entry.namespace(), &entry.tag());
            if !names.insert(name.clone()) {
                name = format!("{name}~{}", entry.dump_id());
                names.insert(name.clone());
            }
            (entry.dump_id(), name)
        })
        .collect()
}

/// A document of a database in a backup.
pub trait Document: Serialize + DeserializeOwned {
    /// The stream that holds it.
    const STREAM: &'static str;
    /// Its kind.
    const KIND: &'static str;

    /// The version and the kind that it says.
    fn identity(&self) -> (&str, &str);

    /// The first thing in it that contradicts another, if there is one.
    fn contradiction(&self) -> Option<String> {
        None
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be written as JSON.
    fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| json_error(Self::STREAM, &error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads it from its bytes.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Version`], [`Error::Contradiction`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| json_error(Self::STREAM, &error))?;
        let (version, kind) = document.identity();
        if (version, kind) != (API_VERSION, Self::KIND) {
            let found = for_terminal(&format!("{version} {kind}")).into_owned();
            return Err(Error::Version { stream: Self::STREAM, found, wanted: Self::KIND });
        }
        match document.contradiction() {
            Some(what) => Err(Error::Contradiction { stream: Self::STREAM, what: for_terminal(&what).into_owned() }),
            None => Ok(document),
        }
    }
}

impl Document for Database {
    const STREAM: &'static str = DATABASE;
    const KIND: &'static str = "PostgresDatabase";

    fn identity(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }

    fn contradiction(&self) -> Option<String> {
        let (mut ids, mut streams, mut tables) = (HashSet::new(), HashSet::new(), HashSet::new());
        for table in &self.tables {
            if !tables.insert((&table.schema, &table.name)) {
                return Some(format!("it names table {} twice", table_stream(&table.schema, &table.name)));
            }
        }
        let tables = self.tables.iter().map(|table| (table.dump_id, &table.stream));
        for (id, stream) in tables.chain(self.large_objects.iter().map(|block| (block.dump_id, &block.stream))) {
            if !ids.insert(id) {
                return Some(format!("it names dump id {id} twice"));
            }
            if !streams.insert(stream) {
                return Some(format!("it names stream {stream} twice"));
            }
        }
        None
    }
}

impl Document for Roles {
    const STREAM: &'static str = ROLES;
    const KIND: &'static str = "PostgresRoles";

    fn identity(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
}

impl Roles {
    /// A new document.
    #[must_use]
    pub fn new(roles: Vec<Role>, memberships: Vec<Membership>) -> Self {
        let (api_version, kind) = (API_VERSION.to_owned(), Self::KIND.to_owned());
        Self { api_version, kind, roles, memberships, unknown: Map::new() }
    }
}

/// Whether the document says of every table with rows, every block of large objects and every sequence of the archive
/// where its rows, its objects and its value are: what it does not say would be missing from a restore in silence.
///
/// # Errors
/// [`Error::Contradiction`], which names the first of those that it says nothing of.
pub fn all_said(database: &Database, toc: &Toc) -> Result<(), Error> {
    let blocks = database.large_objects.iter().map(|block| block.dump_id);
    let ids: HashSet<u32> = database.tables.iter().map(|table| table.dump_id).chain(blocks).collect();
    let sequences: HashSet<(&str, &str)> =
        database.sequences.iter().map(|sequence| (sequence.schema.as_str(), sequence.name.as_str())).collect();
    let what = toc.entries().find_map(|entry| {
        let unsaid = if entry.has_data() && !ids.contains(&entry.dump_id()) {
            "where the data is"
        } else if entry.is_sequence_set() && !sequences.contains(&(&*entry.namespace(), &*entry.tag())) {
            "the value"
        } else {
            return None;
        };
        Some(format!("it does not say {unsaid} of {}", for_terminal(&entry.to_string())))
    });
    what.map_or(Ok(()), |what| Err(Error::Contradiction { stream: DATABASE, what }))
}

/// The stream of a source with this name.
///
/// # Errors
/// [`Error::NoStream`] if there is none.
pub fn stream<'a>(contents: &'a dyn BackupContents, source: &Name, name: &str) -> Result<&'a StreamInfo, Error> {
    let found = contents.streams().iter().find(|stream| stream.source == *source && stream.name == name);
    found.ok_or_else(|| Error::NoStream { source_name: source.clone(), stream: name.to_owned() })
}

/// All bytes of a stream that must be small; `most` bounds them.
///
/// # Errors
/// [`Error::NoStream`], [`Error::TooLarge`], [`Error::Contents`].
pub async fn read_whole(
    contents: &dyn BackupContents,
    source: &Name,
    name: &str,
    most: u64,
) -> Result<BytesMut, Error> {
    let info = stream(contents, source, name)?;
    let bytes = info.parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.length));
    if bytes > most {
        return Err(Error::TooLarge { stream: name.to_owned(), bytes, most });
    }
    let mut whole = BytesMut::new();
    for part in 0..info.parts.len() {
        let mut pieces = contents.read_part(info, part).await?;
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole)
}

/// Reads a document of a source.
///
/// # Errors
/// [`Error`] if it is not there, too large, or not as it should be.
pub async fn read<T: Document>(contents: &dyn BackupContents, source: &Name) -> Result<T, Error> {
    T::from_bytes(&read_whole(contents, source, T::STREAM, MAX_DOCUMENT).await?)
}

/// Reads the header and the table of contents of a source's archive.
///
/// # Errors
/// [`Error`] if they are not there, too large, or not as they should be.
pub async fn read_toc(contents: &dyn BackupContents, source: &Name) -> Result<Toc, Error> {
    Toc::parse(read_whole(contents, source, TOC, MAX_DOCUMENT).await?.freeze()).map_err(Error::Toc)
}
