//! `repository.json`: what a repository is, written once by an administrator.

use std::fmt;

use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, control::Control, crypt::Recipient};
use crate::types::for_terminal;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The `requires` that this program understands.
const KNOWN_FEATURES: [&str; 1] = [ENCRYPTION_AGE];

/// What a program must understand to read or write an encrypted repository.
pub(crate) const ENCRYPTION_AGE: &str = "encryption-age";
/// The mode of an encrypted repository.
pub(crate) const AGE: &str = "age";

/// A repository's identity: 32 hexadecimal characters. A replica has its original's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryId(String);

impl RepositoryId {
    /// A new one, by chance.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::rng().random::<u128>()))
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text))
        } else {
            Err("a repository id is 32 lower-case hexadecimal characters")
        }
    }
}

impl From<RepositoryId> for String {
    fn from(id: RepositoryId) -> Self {
        id.0
    }
}

/// Sizes between which a stream is cut, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutSizes {
    /// No chunk but the last of a run is smaller.
    pub min: u32,
    /// What chunks are on average, roughly.
    pub avg: u32,
    /// No chunk is larger.
    pub max: u32,
}

/// How streams are cut. Frozen for the life of a repository, or nothing would be found again.
/// Readers never depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkerParameters {
    /// Always `fastcdc-v2020`.
    pub algorithm: String,
    /// Level of the normalisation, 0 to 3.
    pub normalization: u8,
    /// 16 hexadecimal characters, XORed with the gear table.
    pub seed: String,
    /// For Kubernetes objects and text.
    pub small: CutSizes,
    /// For tables, collections and blobs.
    pub large: CutSizes,
}

impl Default for ChunkerParameters {
    fn default() -> Self {
        const KIB: u32 = 1024;
        Self {
            algorithm: "fastcdc-v2020".to_owned(),
            normalization: 1,
            seed: format!("{:016x}", 0),
            small: CutSizes { min: 16 * KIB, avg: 64 * KIB, max: 256 * KIB },
            large: CutSizes { min: 256 * KIB, avg: 1024 * KIB, max: 4096 * KIB },
        }
    }
}

/// Whether what is stored is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// `none`, or `age`, which puts `encryption-age` into `requires`.
    pub mode: String,
    /// The epochs there were when the repository was made. Later ones are found under `keys/`.
    pub epochs: Vec<Value>,
}

impl Encryption {
    /// Plain: whoever reads the store reads what is in it.
    #[must_use]
    pub fn none() -> Self {
        Self { mode: "none".to_owned(), epochs: Vec::new() }
    }

    /// Encrypted to an epoch.
    #[must_use]
    pub fn age(epoch: &Recipient) -> Self {
        let epoch = serde_json::json!({ "epoch": epoch.to_string() });
        Self { mode: AGE.to_owned(), epochs: vec![epoch] }
    }
}

/// The contents of `repository.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The repository's identity.
    pub id: RepositoryId,
    /// What a program must understand to read or write here, beyond the format itself.
    pub requires: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// How streams are cut.
    pub chunker: ChunkerParameters,
    /// Whether what is stored is encrypted.
    pub encryption: Encryption,
    /// The program that made it.
    pub tool: String,
    /// Fields of later programs, kept as they are.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Control for Header {
    const KIND: &'static str = "repository";
}

/// The two fields that must be understood before any other is looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate {
    format: u32,
    #[serde(default)]
    requires: Vec<String>,
}

impl Control for Gate {
    const KIND: &'static str = Header::KIND;
}

impl Gate {
    /// Refuses what this program does not understand.
    pub(crate) fn pass(&self, location: &str) -> Result<(), Error> {
        if self.format > FORMAT {
            let (location, format) = (location.to_owned(), self.format);
            return Err(Error::NewerFormat { location, format, supported: FORMAT });
        }
        let unknown: Vec<_> = self.requires.iter().filter(|need| !KNOWN_FEATURES.contains(&need.as_str())).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let shown = unknown.iter().take(10).map(|need| format!("`{}`", for_terminal(need)));
        let features = shown.collect::<Vec<_>>().join(", ");
        Err(Error::UnknownFeature { location: location.to_owned(), features })
    }
}

impl Header {
    /// The header of a new plain repository.
    #[must_use]
    pub fn new(created: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id: RepositoryId::random(),
            requires: Vec::new(),
            created,
            chunker: ChunkerParameters::default(),
            encryption: Encryption::none(),
            tool: tool(),
            unknown: Map::new(),
        }
    }

    /// The header of a new repository that is encrypted to `epoch`.
    #[must_use]
    pub fn encrypted(created: Timestamp, epoch: &Recipient) -> Self {
        let encryption = Encryption::age(epoch);
        Self { requires: vec![ENCRYPTION_AGE.to_owned()], encryption, ..Self::new(created) }
    }

    /// Refuses a header that says one thing of its encryption in one place and another elsewhere.
    pub(crate) fn agree(&self) -> Result<(), String> {
        let mode = self.encryption.mode.as_str();
        let required = self.requires.iter().any(|need| need == ENCRYPTION_AGE);
        match mode {
            "none" if !required => Ok(()),
            AGE if required => Ok(()),
            "none" | AGE => {
                Err("what it requires and how it says that it is encrypted contradict each other".to_owned())
            }
            other => Err(format!("it is encrypted by `{}`, which this format does not have", for_terminal(other))),
        }
    }
}

/// This program and its version, as objects record it.
#[must_use]
pub fn tool() -> String {
    concat!("drctl ", env!("CARGO_PKG_VERSION")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::control;

    fn gate(json: &str) -> Result<(), Error> {
        serde_json::from_str::<Gate>(json).unwrap().pass("memory:")
    }

    #[test]
    fn newer_formats_and_unknown_features_are_refused_in_words() {
        assert!(gate(r#"{"format":1,"requires":[]}"#).is_ok());
        let newer = gate(r#"{"format":2,"requires":["x"]}"#).unwrap_err();
        assert_eq!(
            newer.to_string(),
            "memory: has repository format 2, and this drctl reads up to 1; use a newer drctl"
        );
        let unknown = gate(r#"{"format":1,"requires":["later","encryption-age","b\u001b"]}"#).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            r"memory: needs `later`, `b\u{1b}`, which this drctl does not know; use a newer drctl"
        );
    }

    #[test]
    fn a_header_reads_back_with_the_fields_of_later_programs() {
        let mut header = Header::new("2026-11-20T02:00:00Z".parse().unwrap());
        header.unknown.insert("later".to_owned(), Value::Bool(true));
        let bytes = control::encode(&header).unwrap();
        assert_eq!(control::decode::<Header>(&bytes).unwrap(), header);
    }
}
