//! Where a repository is, as a policy or a command line says it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use url::Url;

/// The place of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Location {
    /// `s3://bucket/prefix`
    S3 {
        /// The bucket.
        bucket: String,
        /// What all keys begin with, without a `/` at either end; may be empty.
        prefix: String,
    },
    /// `az://account/container/prefix`
    Azure {
        /// The storage account.
        account: String,
        /// The container.
        container: String,
        /// What all keys begin with, without a `/` at either end; may be empty.
        prefix: String,
    },
    /// `file:///path`
    Directory(
        /// The absolute path of the folder.
        PathBuf,
    ),
}

/// A text that is no [`Location`]. The text is not repeated, because people put passwords into URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// No scheme that is known.
    #[error("not the place of a repository: use s3://bucket/prefix, az://account/container/prefix or file:///path")]
    Form,
    /// A user, a password or a query.
    #[error("a repository's place holds no credentials and no options: say them under `s3:` or `azure:`")]
    Credentials,
    /// The bucket's name breaks the rules of S3.
    #[error("the bucket's name is not valid: 3 to 63 lower-case letters, digits, dots and hyphens")]
    Bucket,
    /// The account's or the container's name breaks the rules of Azure.
    #[error(
        "the account's or the container's name is not valid: lower-case letters, digits and, in a container's, hyphens"
    )]
    Container,
    /// The prefix could mean another place.
    #[error(
        "the prefix is not valid: at most 100 bytes, no empty, `.` or `..` part, no control character, no backslash"
    )]
    Prefix,
    /// A path that is not absolute.
    #[error("the folder's path is not absolute: write file:// and then the whole path, as in file:///var/backups")]
    Path,
}

/// Object keys have up to 900 bytes below the prefix, and S3 takes 1024 for both.
const MAX_PREFIX: usize = 100;

impl Location {
    /// Whether both are one place, or one lies within the other, by their names.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let nested = |a: &str, b: &str| {
            let rest =
                |long: &str, short: &str| long.strip_prefix(short).map(|rest| rest.is_empty() || rest.starts_with('/'));
            a.is_empty() || b.is_empty() || rest(a, b) == Some(true) || rest(b, a) == Some(true)
        };
        match (self, other) {
            (Self::S3 { bucket, prefix }, Self::S3 { bucket: other, prefix: theirs }) => {
                bucket == other && nested(prefix, theirs)
            }
            (
                Self::Azure { account, container, prefix },
                Self::Azure { account: other, container: others, prefix: theirs },
            ) => (account, container) == (other, others) && nested(prefix, theirs),
            (Self::Directory(own), Self::Directory(theirs)) => own.starts_with(theirs) || theirs.starts_with(own),
            _ => false,
        }
    }
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidLocation::Form)?;
        match scheme {
            "s3" => s3(rest),
            "az" => azure(rest),
            "file" => directory(text, rest),
            _ => Err(InvalidLocation::Form),
        }
    }
}

fn s3(rest: &str) -> Result<Location, InvalidLocation> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    refuse_credentials(bucket)?;
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-');
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let name = bucket.as_bytes();
    let valid = (3..=63).contains(&name.len())
        && name.iter().all(|c| inner(*c))
        && ends(name.first())
        && ends(name.last())
        && !bucket.contains("..");
    if !valid {
        return Err(InvalidLocation::Bucket);
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix: checked_prefix(prefix)? })
}

fn azure(rest: &str) -> Result<Location, InvalidLocation> {
    let (account, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    refuse_credentials(account)?;
    refuse_credentials(container)?;
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = (3..=24).contains(&account.len())
        && account.bytes().all(plain)
        && (3..=63).contains(&container.len())
        && container.bytes().all(|c| plain(c) || c == b'-')
        && !container.starts_with('-')
        && !container.ends_with('-');
    if !valid {
        return Err(InvalidLocation::Container);
    }
    Ok(Location::Azure {
        account: account.to_owned(),
        container: container.to_owned(),
        prefix: checked_prefix(prefix)?,
    })
}

fn directory(text: &str, rest: &str) -> Result<Location, InvalidLocation> {
    if !rest.starts_with('/') {
        return Err(InvalidLocation::Path);
    }
    let url = Url::parse(text).map_err(|_| InvalidLocation::Path)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidLocation::Credentials);
    }
    let path = url.to_file_path().map_err(|()| InvalidLocation::Path)?;
    Location::directory(path)
}

fn refuse_credentials(name: &str) -> Result<(), InvalidLocation> {
    if name.contains(['@', ':', '?', '#']) { Err(InvalidLocation::Credentials) } else { Ok(()) }
}

fn checked_prefix(prefix: &str) -> Result<String, InvalidLocation> {
    let prefix = prefix.strip_suffix('/').filter(|prefix| !prefix.is_empty()).unwrap_or(prefix);
    if prefix.contains(['?', '#']) {
        return Err(InvalidLocation::Credentials);
    }
    let safe = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '\\');
    if prefix.is_empty() || (prefix.len() <= MAX_PREFIX && prefix.split('/').all(safe)) {
        return Ok(prefix.to_owned());
    }
    Err(InvalidLocation::Prefix)
}

impl Location {
    /// The place of the folder `path`.
    ///
    /// # Errors
    /// [`InvalidLocation::Path`] if `path` is not absolute.
    pub fn directory(path: impl AsRef<Path>) -> Result<Self, InvalidLocation> {
        let path = path.as_ref();
        if path.is_absolute() { Ok(Self::Directory(path.components().collect())) } else { Err(InvalidLocation::Path) }
    }
}

impl TryFrom<String> for Location {
    type Error = InvalidLocation;
    fn try_from(text: String) -> Result<Self, InvalidLocation> {
        text.parse()
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = |f: &mut fmt::Formatter<'_>, scheme: &str, parts: &[&str]| {
            write!(f, "{scheme}://")?;
            let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
            f.write_str(&parts.join("/"))
        };
        match self {
            Self::S3 { bucket, prefix } => parts(f, "s3", &[bucket, prefix]),
            Self::Azure { account, container, prefix } => parts(f, "az", &[account, container, prefix]),
            Self::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => f.write_str(url.as_str()),
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_as_the_policy_writes_them() {
        for text in [
            "s3://orders-dr/prod",
            "s3://orders-dr/prod/eu west+1",
            "s3://a.b-3",
            "az://account1/my-container/prod",
            "az://account1/my-container",
            "file:///var/backups/drctl",
            "file:///with%20space/%25/caf%C3%A9",
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), text);
        }
        assert_eq!("s3://orders-dr/prod/".parse::<Location>().unwrap().to_string(), "s3://orders-dr/prod");
        assert_eq!("s3://orders-dr/".parse::<Location>().unwrap().to_string(), "s3://orders-dr");
        assert_eq!("file:///a/../b/./c/".parse::<Location>().unwrap(), Location::Directory("/b/c".into()));
        assert_eq!("file:///with%20space".parse::<Location>().unwrap(), Location::Directory("/with space".into()));
    }

    #[test]
    fn what_is_no_place_is_refused_by_its_fault() {
        use InvalidLocation::{Bucket, Container, Credentials, Form, Path, Prefix};
        for (text, fault) in [
            ("", Form),
            ("/var/backups", Form),
            ("memory://", Form),
            ("https://bucket.s3.amazonaws.com/prod", Form),
            ("S3://bucket", Form),
            ("s3://", Bucket),
            ("s3://ab", Bucket),
            ("s3:///prefix", Bucket),
            ("s3://Bucket/x", Bucket),
            ("s3://-bucket", Bucket),
            ("s3://a..b", Bucket),
            ("s3://key:secret@bucket/x", Credentials),
            ("s3://bucket/x?X-Amz-Signature=1", Credentials),
            ("s3://bucket/../other", Prefix),
            ("s3://bucket/a//b", Prefix),
            ("s3://bucket//", Prefix),
            ("s3://bucket/a\nb", Prefix),
            ("az://account", Container),
            ("az://Account1/container", Container),
            ("az://account/container?sig=secret", Credentials),
            ("file://relative/path", Path),
            ("file://host/path", Path),
            ("file:///a?b=c", Credentials),
        ] {
            assert_eq!(text.parse::<Location>(), Err(fault), "{text}");
        }
        assert_eq!(format!("s3://bucket/{}", "a".repeat(101)).parse::<Location>(), Err(Prefix));
    }

    #[test]
    fn no_message_repeats_what_may_be_a_password() {
        for text in ["s3://key:hunter2@bucket/x", "s3://bucket/x?sig=hunter2", "ftp://u:hunter2@h"] {
            let message = text.parse::<Location>().unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
