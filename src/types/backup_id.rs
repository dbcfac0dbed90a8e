//! The identifier of a backup.

use std::fmt;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// A backup's identifier, `20261120T020000Z-k3x7pq`: the start of its run in UTC, to the second,
/// and six random characters of `a-z 2-7`. Identifiers sort by time as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(String);

/// A text that is no [`BackupId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a backup id (like 20261120T020000Z-k3x7pq)", super::for_terminal(.0))]
pub struct InvalidBackupId(String);

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const LENGTH: usize = 23;

impl BackupId {
    /// A new identifier for a run that started at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let mut rng = rand::rng();
        let suffix: String = (0..6).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
        Self(format!("{}-{suffix}", start.strftime(TIME_FORMAT)))
    }

    /// Checks `text` and takes it as an identifier.
    ///
    /// # Errors
    /// [`InvalidBackupId`] if the form, the time or the suffix is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidBackupId> {
        let wrong = || InvalidBackupId(text.chars().take(64).collect());
        if text.len() != LENGTH || !text.is_ascii() || time_of(text).is_none() {
            return Err(wrong());
        }
        let suffix = text.as_bytes().get(17..).unwrap_or_default();
        if suffix.iter().all(|b| ALPHABET.contains(b)) { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }

    /// The start of the run.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        // Checked when it was made; the fallback keeps this total.
        time_of(&self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn time_of(text: &str) -> Option<Timestamp> {
    let (time, _) = text.split_once('-')?;
    if time.len() != 16 {
        return None;
    }
    let civil = DateTime::strptime(TIME_FORMAT, time).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for BackupId {
    type Error = InvalidBackupId;
    fn try_from(text: String) -> Result<Self, InvalidBackupId> {
        Self::parse(&text)
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_parses_and_gives_its_time_back() {
        let start: Timestamp = "2026-11-20T02:00:00.9Z".parse().unwrap();
        let id = BackupId::new(start);
        assert!(id.as_str().starts_with("20261120T020000Z-"));
        assert_eq!(BackupId::parse(id.as_str()).unwrap(), id);
        assert_eq!(id.time().to_string(), "2026-11-20T02:00:00Z");
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "",
            "20261120T020000Z",
            "20261120T020000Z-",
            "20261120T020000Z-ABCDEF",
            "20261120T020000Z-abcde1",
            "20261320T020000Z-abcdef",
            "20261120t020000z-abcdef",
            "20261120T020000Z-abcdefg",
            "../61120T020000Z-abcdef",
        ] {
            assert!(BackupId::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
