//! What a policy says of copies: other places that hold the same repository.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    Keep, Policy,
    model::{Azure, Repository, S3},
    schema::LocationSchema,
};
use crate::types::{ByteSize, InvalidSize, Location, Name};

/// A copy of the repository: its own place, credentials and retention. It has the repository's id, keys, names and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct CopySpec {
    /// The store and the prefix in it; another one than the repository's.
    #[schemars(with = "LocationSchema")]
    pub url: Location,
    /// How an S3 store is reached; only with an `s3://` URL. Absent: the AWS SDK's own chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// How an Azure Blob store is reached; only with an `az://` URL. Absent: the usual places of Azure clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// Which backups of each schedule are copied, and kept in the copy by `drctl prune --copy NAME`. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// How many bytes a second are sent to it at most. Absent: as many as go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

impl CopySpec {
    /// What says that two stores are the same one, as far as a policy can tell.
    pub(super) fn place(&self) -> (&Location, Option<&str>) {
        place(&self.url, self.s3.as_ref(), self.azure.as_ref())
    }
}

/// A place, and the server that it is on where one is named.
fn place<'a>(url: &'a Location, s3: Option<&'a S3>, azure: Option<&'a Azure>) -> (&'a Location, Option<&'a str>) {
    let endpoint = s3.and_then(|s3| s3.endpoint.as_deref()).or(azure.and_then(|azure| azure.endpoint.as_deref()));
    (url, endpoint)
}

impl Repository {
    /// The server that it is on, where one is named.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.place().1
    }

    /// What says that a copy is this store itself.
    pub(super) fn place(&self) -> (&Location, Option<&str>) {
        place(&self.url, self.s3.as_ref(), self.azure.as_ref())
    }
}

impl Policy {
    /// The policy as it is with a copy in the repository's place: the copy's store and its `keep` for every schedule. Keys and
    /// pins are the repository's own. `None` if there is no such copy.
    #[must_use]
    pub fn at_copy(&self, copy: &Name) -> Option<Self> {
        let spec = self.copies.get(copy)?;
        let mut policy = self.clone();
        policy.repository.url = spec.url.clone();
        policy.repository.s3 = spec.s3.clone();
        policy.repository.azure = spec.azure.clone();
        for schedule in policy.schedules.values_mut() {
            schedule.keep = spec.keep.clone();
        }
        Some(policy)
    }

    /// Whether this is a policy [`at_copy`](Self::at_copy): no copy is where the repository is, so its place says it.
    #[must_use]
    pub fn is_at_copy(&self) -> bool {
        self.copies.values().any(|copy| copy.place() == self.repository.place())
    }
}

/// Bytes a second: `10MiB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bandwidth {
    text: String,
    bytes: u64,
}

/// A text that is no [`Bandwidth`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBandwidth {
    /// It is no size.
    #[error(transparent)]
    Size(#[from] InvalidSize),
    /// Nothing would ever be sent.
    #[error("a bandwidth of less than 1 KiB a second sends nothing in any time")]
    TooSmall,
}

impl Bandwidth {
    /// Reads `text` as bytes a second.
    ///
    /// # Errors
    /// [`InvalidBandwidth`].
    pub fn parse(text: &str) -> Result<Self, InvalidBandwidth> {
        let ByteSize(bytes) = text.parse()?;
        if bytes < 1024 { Err(InvalidBandwidth::TooSmall) } else { Ok(Self { text: text.to_owned(), bytes }) }
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Bandwidth {
    type Err = InvalidBandwidth;
    fn from_str(text: &str) -> Result<Self, InvalidBandwidth> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Bandwidth {
    type Error = InvalidBandwidth;
    fn try_from(text: String) -> Result<Self, InvalidBandwidth> {
        Self::parse(&text)
    }
}

impl From<Bandwidth> for String {
    fn from(bandwidth: Bandwidth) -> Self {
        bandwidth.text
    }
}

impl JsonSchema for Bandwidth {
    fn schema_name() -> Cow<'static, str> {
        "Bandwidth".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|TiB)?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_a_size_that_sends_something() {
        assert_eq!(Bandwidth::parse("10MiB").unwrap().bytes(), 10 << 20);
        assert_eq!(Bandwidth::parse("1536 KiB").unwrap().to_string(), "1536 KiB");
        for bad in ["", "0", "1000", "10 MB", "fast"] {
            assert!(Bandwidth::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
