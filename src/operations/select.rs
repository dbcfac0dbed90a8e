//! Which backup a person means: an id, the beginning of one, `latest`, or a time.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::types::{Name, for_terminal};

/// A reference to a backup, as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupRef {
    /// The newest complete backup, of the only schedule.
    Latest,
    /// The newest complete backup of this schedule: `latest:daily`.
    LatestOf(Name),
    /// The newest complete backup that began not after this: `@2026-11-20T12:00Z`.
    NotAfter(Timestamp),
    /// A backup id, or the beginning of exactly one.
    Id(String),
}

/// A text that names no backup, whatever the repository holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` names no backup: use an id or the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`",
    for_terminal(.0)
)]
pub struct InvalidBackupRef(String);

impl std::str::FromStr for BackupRef {
    type Err = InvalidBackupRef;

    fn from_str(text: &str) -> Result<Self, InvalidBackupRef> {
        let wrong = || InvalidBackupRef(text.chars().take(80).collect());
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Some(schedule) = text.strip_prefix("latest:") {
            return Name::new(schedule).map(Self::LatestOf).map_err(|_| wrong());
        }
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).map(Self::NotAfter).ok_or_else(wrong);
        }
        let of_an_id = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || matches!(c, 'T' | 'Z' | '-');
        let fits = (4..=23).contains(&text.len())
            && text.chars().all(of_an_id)
            && text.starts_with(|c: char| c.is_ascii_digit());
        if fits { Ok(Self::Id(text.to_owned())) } else { Err(wrong()) }
    }
}

impl std::fmt::Display for BackupRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::LatestOf(schedule) => write!(f, "latest:{schedule}"),
            Self::NotAfter(time) => write!(f, "@{time}"),
            Self::Id(text) => f.write_str(text),
        }
    }
}

/// The instant that `text` writes, with its zone: `2026-11-20T12:00Z`. `None` if it is none.
#[must_use]
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    parse_time(text)
}

/// An instant with a zone, to the second, the minute or the day (then its end is meant by writing the next).
fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    let civil: DateTime = text.strip_suffix('Z')?.parse().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in ["latest", "latest:daily", "20261120T020000Z-k3x7pq", "20261120", "@2026-11-20T12:00:00Z"] {
            assert_eq!(text.parse::<BackupRef>().unwrap().to_string(), text);
        }
        assert_eq!("@2026-11-20T12:00Z".parse::<BackupRef>().unwrap().to_string(), "@2026-11-20T12:00:00Z");
        assert_eq!("@2026-11-20T14:00:00+02:00".parse::<BackupRef>().unwrap().to_string(), "@2026-11-20T12:00:00Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "newest",
            "latest:",
            "latest:Daily",
            "@",
            "@yesterday",
            "@2026-11-20T12:00",
            "../x",
            "2026\u{1b}[2J",
            "202",
        ] {
            assert!(bad.parse::<BackupRef>().is_err(), "{bad:?} was taken");
        }
    }
}
