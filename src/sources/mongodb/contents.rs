//! What a backup holds of a MongoDB database: the names of its streams, and the documents among them.
//!
//! Capture writes these, restore and export read them. A backup that can be read at all may still be forged, so
//! everything that is read has bounds, and what contradicts itself is refused.

use std::collections::{BTreeMap, HashSet};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb_driver::bson::raw::RawDocument;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    accounts::{Account, AccountKind},
    definition::{Definition, InvalidDefinition, Kind, index_name},
};
use crate::types::{BackupContents, ContentsError, MediaType, Name, RowDigest, StreamInfo, for_terminal};

/// The [`Database`].
pub const DATABASE: &str = "database.json";
/// What defines each collection, as the server said it: BSON documents one after the other.
pub const DEFINITIONS: &str = "definitions";
/// For recovery by hand: a line for each collection with what `mongodump` writes of it.
pub const METADATA: &str = "metadata.jsonl";
/// Users and roles, if the policy asks for them: BSON documents one after the other.
pub const ACCOUNTS: &str = "users-and-roles";
/// The one part of each stream that is not documents.
pub const WHOLE: &str = "whole";
/// The version of the documents.
pub const API_VERSION: &str = "drctl/v1";
const KIND: &str = "MongodbDatabase";

/// The most bytes of a document of ours.
const MAX_DOCUMENT: u64 = 64 << 20;

/// What a backup holds of a MongoDB database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backup lacks a stream.
    #[error("the backup has no stream `{}` of source `{source_name}`", for_terminal(.stream))]
    NoStream {
        /// The source.
        source_name: Name,
        /// The stream.
        stream: String,
    },
    /// A document is too large to be one of ours.
    #[error("stream `{stream}` has {bytes} bytes; no more than {most} can be right")]
    TooLarge {
        /// The stream.
        stream: String,
        /// Its bytes.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// A document is not what it should be.
    #[error("stream `{stream}` is not as it should be: {}", for_terminal(.what))]
    Contradiction {
        /// The stream.
        stream: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Its bytes could not be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
}

impl Error {
    /// Whether the backup itself is at fault.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Contents(error) => error.damaged,
            Self::NoStream { .. } | Self::TooLarge { .. } | Self::Contradiction { .. } => true,
        }
    }
}

/// A captured database, for people and for what restores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// `drctl/v1`.
    pub api_version: String,
    /// `MongodbDatabase`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The server, for people.
    pub server: String,
    /// The server's version.
    pub version: String,
    /// `snapshot` or `none`.
    pub consistency: String,
    /// When reading began, by the server's clock.
    pub from: Timestamp,
    /// When it ended, by the server's clock.
    pub to: Timestamp,
    /// The cluster time of the snapshot: seconds and ordinal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_time: Option<String>,
    /// Its collections and views, in the order of their names.
    pub collections: Vec<Collection>,
    /// Its users and roles; absent: they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AccountCounts>,
    /// What the policy or the kind of a thing left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What a later version has written.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A collection or a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stream with its documents; a view has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Its documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum of their digests.
    pub digest: RowDigest,
    /// Its indexes.
    pub indexes: u64,
    /// It was not read at the moment of the snapshot: capped collections have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outside_snapshot: bool,
}

/// How many users and roles a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountCounts {
    /// Users.
    pub users: u64,
    /// Roles that are not the server's own.
    pub roles: u64,
}

impl AccountCounts {
    pub(super) fn of(accounts: &[Account]) -> Self {
        let roles = accounts.iter().filter(|account| account.kind == AccountKind::Role).count();
        Self { users: (accounts.len() - roles) as u64, roles: roles as u64 }
    }
}

/// What is not in the backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Database {
    /// A new document without collections.
    #[must_use]
    pub fn new(name: &str, consistency: &str, from: Timestamp) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.to_owned(),
            server: String::new(),
            version: String::new(),
            consistency: consistency.to_owned(),
            from,
            to: from,
            cluster_time: None,
            collections: Vec::new(),
            accounts: None,
            left_out: Vec::new(),
            unknown: Map::new(),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Error::Contradiction`] if it cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Bytes, Error> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| wrong(DATABASE, error))?;
        bytes.push(b'\n');
        Ok(bytes.into())
    }

    /// Reads it from its bytes.
    ///
    /// # Errors
    /// [`Error::Contradiction`] if it is not what it should be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| wrong(DATABASE, error))?;
        if (document.api_version.as_str(), document.kind.as_str()) != (API_VERSION, KIND) {
            return Err(wrong(DATABASE, format!("it is a {} {}", document.api_version, document.kind)));
        }
        let (mut names, mut streams) = (HashSet::new(), HashSet::new());
        for collection in &document.collections {
            if !names.insert(&collection.name) {
                return Err(wrong(DATABASE, format!("it names collection {} twice", collection.name)));
            }
            let Some(kind) = Kind::of_word(&collection.kind) else {
                return Err(wrong(DATABASE, format!("collection {} is of an unknown type", collection.name)));
            };
            if collection.stream.is_some() == (kind == Kind::View) {
                return Err(wrong(
                    DATABASE,
                    format!("{} {} with or without a stream", collection.kind, collection.name),
                ));
            }
            if collection.stream.as_ref().is_some_and(|stream| !streams.insert(stream)) {
                return Err(wrong(DATABASE, format!("collection {} has the stream of another", collection.name)));
            }
        }
        Ok(document)
    }
}

fn wrong(stream: &'static str, what: impl ToString) -> Error {
    Error::Contradiction { stream, what: what.to_string() }
}

impl From<InvalidDefinition> for Error {
    fn from(error: InvalidDefinition) -> Self {
        wrong(DEFINITIONS, error)
    }
}

/// The names of the streams of collections: their own, unless one of ours is called so.
pub(super) fn stream_names(collections: &[Definition]) -> Vec<String> {
    let mut taken = HashSet::from([DATABASE, DEFINITIONS, METADATA, ACCOUNTS].map(str::to_owned));
    let name = |(number, definition): (usize, &Definition)| {
        let mut name = definition.name.clone();
        while !taken.insert(name.clone()) {
            name = format!("{name}~{number}");
        }
        name
    };
    collections.iter().enumerate().map(name).collect()
}

/// The file of a collection in a folder of `mongodump`, without what follows the first dot of ours.
#[must_use]
pub fn file_name(collection: &str) -> String {
    const LONGEST: usize = 238;
    const KEPT: usize = 208;
    let mut escaped = String::new();
    for byte in collection.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.len() <= LONGEST {
        return escaped;
    }
    escaped.truncate(KEPT);
    format!("{escaped}%24{}", crate::types::sha1_name(collection.as_bytes()))
}

/// The stream of a source with this name.
///
/// # Errors
/// [`Error::NoStream`] if there is none.
pub fn stream<'a>(contents: &'a dyn BackupContents, source: &Name, name: &str) -> Result<&'a StreamInfo, Error> {
    let found = contents.streams().iter().find(|stream| stream.source == *source && stream.name == name);
    found.ok_or_else(|| Error::NoStream { source_name: source.clone(), stream: name.to_owned() })
}

async fn whole(contents: &dyn BackupContents, source: &Name, name: &str) -> Result<BytesMut, Error> {
    let info = stream(contents, source, name)?;
    let bytes = info.parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.length));
    if bytes > MAX_DOCUMENT {
        return Err(Error::TooLarge { stream: name.to_owned(), bytes, most: MAX_DOCUMENT });
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

/// What a backup holds of a database, read and found to agree with itself.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) database: Database,
    /// One for each of its collections, in the same order.
    pub(super) definitions: Vec<Definition>,
}

/// Reads the documents of a source.
pub(super) async fn read(contents: &dyn BackupContents, source: &Name) -> Result<Read, Error> {
    let database = Database::from_bytes(&whole(contents, source, DATABASE).await?)?;
    let definitions = definitions(&whole(contents, source, DEFINITIONS).await?)?;
    let alike = |(collection, definition): (&Collection, &Definition)| {
        collection.name == definition.name && collection.kind == definition.kind.word()
    };
    if database.collections.len() != definitions.len() || !database.collections.iter().zip(&definitions).all(alike) {
        return Err(wrong(DEFINITIONS, "it is not of the collections that the database has"));
    }
    for collection in &database.collections {
        let Some(name) = &collection.stream else { continue };
        let info = stream(contents, source, name)?;
        let (mut documents, mut bytes, mut digest) = (0u64, 0u64, RowDigest::default());
        for part in &info.parts {
            documents = documents.saturating_add(part.count);
            bytes = bytes.saturating_add(part.length);
            digest.add(&part.digest.unwrap_or_default());
        }
        if info.media_type != MediaType::Collection
            || (documents, bytes, digest) != (collection.documents, collection.bytes, collection.digest)
        {
            return Err(wrong(DATABASE, format!("stream {name} does not hold what it says")));
        }
    }
    Ok(Read { database, definitions })
}

/// The users and roles of a source; absent: the policy did not ask for them.
pub(super) async fn accounts(
    contents: &dyn BackupContents,
    source: &Name,
    database: &Database,
) -> Result<Option<Vec<Account>>, Error> {
    let Some(counts) = database.accounts else { return Ok(None) };
    let bytes = whole(contents, source, ACCOUNTS).await?;
    let all: Vec<Account> = documents(ACCOUNTS, &bytes)?
        .into_iter()
        .map(|document| Account::of_raw(document).map_err(|error| wrong(ACCOUNTS, error)))
        .collect::<Result<_, _>>()?;
    let mut known = HashSet::new();
    if let Some(twice) = all.iter().find(|account| !known.insert((account.kind, &account.name))) {
        return Err(wrong(ACCOUNTS, format!("{} is there twice", twice.shown())));
    }
    if AccountCounts::of(&all) != counts {
        return Err(wrong(ACCOUNTS, "it has not the users and roles that the database has"));
    }
    Ok(Some(all))
}

/// What a backup says that a source's database defines, by a name for people, with a digest of it. A collection that was
/// made anew alike is the same.
///
/// # Errors
/// [`Error`] if it cannot be read, or contradicts itself.
pub async fn defined(contents: &dyn BackupContents, source: &Name) -> Result<BTreeMap<String, RowDigest>, Error> {
    let mut all = BTreeMap::new();
    for definition in read(contents, source).await?.definitions {
        let of = |bytes: &[u8]| {
            let mut digest = RowDigest::default();
            digest.add_row(bytes);
            digest
        };
        let word = definition.kind.word().to_uppercase();
        let options = definition.options().map_or(&[][..], |options| options.as_bytes());
        all.insert(format!("{word} {}", definition.name), of(options));
        for index in &definition.indexes {
            let name = format!("INDEX {} on {}", index_name(index), definition.name);
            all.insert(name, of(index.as_bytes()));
        }
    }
    Ok(all)
}

/// Reads the stream of definitions.
pub(super) fn definitions(bytes: &[u8]) -> Result<Vec<Definition>, Error> {
    documents(DEFINITIONS, bytes)?.into_iter().map(|document| Ok(Definition::of_raw(document)?)).collect()
}

/// Cuts what a stream holds into its documents.
fn documents<'a>(stream: &'static str, mut bytes: &'a [u8]) -> Result<Vec<&'a RawDocument>, Error> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
        let document = length.filter(|length| *length > 0).and_then(|length| bytes.split_at_checked(length));
        let Some((document, rest)) = document else { return Err(wrong(stream, "it ends within a document")) };
        all.push(RawDocument::from_bytes(document).map_err(|error| wrong(stream, error))?);
        bytes = rest;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::rawdoc;
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Definition {
        Definition::of_entry(&rawdoc! {"name": name, "type": "collection"}).unwrap()
    }

    #[test]
    fn streams_are_called_like_their_collections_unless_the_name_is_taken() {
        let names =
            stream_names(&[named("contacts"), named("definitions"), named("definitions~1"), named("database.json")]);
        assert_eq!(names[0], "contacts");
        let all: HashSet<&String> = names.iter().collect();
        assert_eq!(all.len(), 4, "{names:?}");
        assert!(names.iter().all(|name| ![DATABASE, DEFINITIONS, METADATA].contains(&name.as_str())), "{names:?}");
    }

    #[test]
    fn files_are_called_as_mongodump_calls_them() {
        assert_eq!(file_name("contacts"), "contacts");
        assert_eq!(file_name("a b/é%+"), "a+b%2F%C3%A9%25%2B");
        let long = file_name(&"x".repeat(240));
        assert_eq!(long.len(), 208 + 3 + 27);
        assert!(long.starts_with(&"x".repeat(208)) && long[208..].starts_with("%24"), "{long}");
    }

    #[test]
    fn a_database_that_contradicts_itself_is_refused() {
        let mut database = Database::new("crm", "none", Timestamp::UNIX_EPOCH);
        let collection = |name: &str, kind: &str, stream: Option<&str>| Collection {
            name: name.to_owned(),
            kind: kind.to_owned(),
            stream: stream.map(str::to_owned),
            documents: 0,
            bytes: 0,
            digest: RowDigest::default(),
            indexes: 0,
            outside_snapshot: false,
        };
        database.collections = vec![collection("a", "collection", Some("a")), collection("v", "view", None)];
        assert_eq!(Database::from_bytes(&database.to_bytes().unwrap()).unwrap(), database);
        for wrong in [
            collection("a", "collection", Some("b")),
            collection("b", "collection", Some("a")),
            collection("b", "collection", None),
            collection("b", "view", Some("b")),
            collection("b", "galaxy", Some("b")),
        ] {
            let mut other = database.clone();
            other.collections.push(wrong);
            assert!(Database::from_bytes(&other.to_bytes().unwrap()).is_err(), "{other:?}");
        }
        assert!(Database::from_bytes(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_definitions_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = definitions(&bytes);
        }
    }
}
