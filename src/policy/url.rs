//! Where a repository is.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::types::for_terminal;

/// The place of a repository: a store and a prefix in it. Shown as it is written in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RepositoryUrl {
    /// `s3://bucket/prefix`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix without slashes at its ends; may be empty.
        prefix: String,
    },
    /// `file:///path`.
    File {
        /// An absolute path.
        path: PathBuf,
    },
}

/// A text that is no [`RepositoryUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It has a user or a password in it. The text is not kept: it would be shown.
    #[error(
        "the repository URL holds credentials; take them out and name them under `s3:` as references (`env` or `file`)"
    )]
    Credentials,
    /// A store that this version does not know.
    #[error("`az://` repositories are not in this version; use s3://bucket/prefix or file:///path")]
    Azure,
    /// Anything else.
    #[error("`{}` is not a repository URL: {reason}; use s3://bucket/prefix or file:///path", for_terminal(.url))]
    Form {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl RepositoryUrl {
    /// Reads `text` as the place of a repository.
    ///
    /// # Errors
    /// [`InvalidUrl`] says what is wrong, never showing credentials.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let wrong = |reason| InvalidUrl::Form { url: text.chars().take(200).collect(), reason };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(InvalidUrl::Credentials);
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(wrong("it has a control character or a backslash in it"));
        }
        match scheme {
            "s3" if rest.contains(['?', '#']) => Err(wrong("options belong under `s3:`, not into the URL")),
            "s3" => Self::s3(rest).map_err(wrong),
            "file" => Self::file(rest).map_err(wrong),
            "az" => Err(InvalidUrl::Azure),
            _ => Err(wrong("this scheme is not known")),
        }
    }

    fn s3(rest: &str) -> Result<Self, &'static str> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(allowed) {
            return Err("a bucket's name has 3 to 63 of a-z, 0-9, '.' and '-'");
        }
        let prefix = prefix.trim_end_matches('/');
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        if !prefix.is_empty() && prefix.split('/').any(odd) {
            return Err("its prefix has an empty segment, `.` or `..` in it");
        }
        if prefix.len() > 512 {
            return Err("its prefix is longer than 512 bytes");
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    fn file(rest: &str) -> Result<Self, &'static str> {
        let path = Path::new(rest);
        if !path.is_absolute() {
            return Err("a file URL has three slashes and an absolute path");
        }
        if rest.split('/').any(|segment| segment == "..") {
            return Err("its path has `..` in it");
        }
        let path = if rest == "/" { rest } else { rest.trim_end_matches('/') };
        Ok(Self::File { path: PathBuf::from(path) })
    }

    /// Whether the store is S3.
    #[must_use]
    pub fn is_s3(&self) -> bool {
        matches!(self, Self::S3 { .. })
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}

impl std::str::FromStr for RepositoryUrl {
    type Err = InvalidUrl;
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RepositoryUrl {
    type Error = InvalidUrl;
    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        Self::parse(&text)
    }
}

impl From<RepositoryUrl> for String {
    fn from(url: RepositoryUrl) -> Self {
        url.to_string()
    }
}

impl JsonSchema for RepositoryUrl {
    fn schema_name() -> Cow<'static, str> {
        "RepositoryUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(s3://[a-z0-9.-]{3,63}(/.*)?|file:///.*)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stores_are_read_and_shown_as_written() {
        for (text, shown) in [
            ("s3://orders-dr/prod", "s3://orders-dr/prod"),
            ("s3://orders-dr", "s3://orders-dr"),
            ("s3://orders-dr/", "s3://orders-dr"),
            ("s3://orders-dr/a/b/", "s3://orders-dr/a/b"),
            ("file:///var/backups/", "file:///var/backups"),
            ("file:///", "file:///"),
        ] {
            assert_eq!(RepositoryUrl::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (text, reason) in [
            ("orders-dr/prod", "no scheme"),
            ("gs://orders-dr", "scheme is not known"),
            ("s3://X", "bucket's name"),
            ("s3://orders-dr//prod", "empty segment"),
            ("s3://orders-dr/../prod", "`..`"),
            ("s3://orders-dr/prod?region=x", "under `s3:`"),
            ("file://relative", "three slashes"),
            ("file:///a/../b", "`..`"),
            ("az://account/container", "not in this version"),
        ] {
            let message = RepositoryUrl::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_shown() {
        let message = RepositoryUrl::parse("s3://AKIA:hunter2@bucket/prefix").unwrap_err().to_string();
        assert!(message.contains("credentials") && !message.contains("hunter2"), "{message}");
    }
}
