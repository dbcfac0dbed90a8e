//! Lengths of time as a policy writes them.

use std::{borrow::Cow, fmt};

use jiff::{Span, Timestamp, tz};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::types::for_terminal;

/// A length of time in whole hours, days or weeks: `26h`, `30d`, `12w`. Hours are exact; days and weeks are those of the
/// calendar, where something is counted back in a zone ([`Period::before`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    count: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Hours,
    Days,
    Weeks,
}

/// A text that is no [`Period`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a period; use a whole number and h, d or w, like 26h, 30d or 12w", for_terminal(.0))]
pub struct InvalidPeriod(String);

/// A century: what is longer is a mistake.
const MOST_HOURS: u32 = 100 * 366 * 24;

impl Period {
    /// Reads `text` as a period.
    ///
    /// # Errors
    /// [`InvalidPeriod`] if the form is another, or if it is zero or over a century.
    pub fn parse(text: &str) -> Result<Self, InvalidPeriod> {
        let wrong = || InvalidPeriod(text.chars().take(40).collect());
        let (last, unit) = text.char_indices().next_back().ok_or_else(wrong)?;
        let unit = match unit {
            'h' => Unit::Hours,
            'd' => Unit::Days,
            'w' => Unit::Weeks,
            _ => return Err(wrong()),
        };
        let digits = text.get(..last).unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let period = Self { count: digits.parse().map_err(|_| wrong())?, unit };
        let hours = period.count.checked_mul(unit.hours()).filter(|hours| (1..=MOST_HOURS).contains(hours));
        hours.map(|_| period).ok_or_else(wrong)
    }

    /// `count` days.
    pub(super) const fn days(count: u32) -> Self {
        Self { count, unit: Unit::Days }
    }

    /// The time so long before `at`. Days and weeks are those of the calendar of `zone`: the same time of day, also over
    /// a change of the clocks.
    #[must_use]
    pub fn before(self, at: Timestamp, zone: &super::TimeZone) -> Timestamp {
        let count = i64::from(self.count);
        let span = match self.unit {
            Unit::Hours => Span::new().try_hours(count),
            Unit::Days => Span::new().try_days(count),
            Unit::Weeks => Span::new().try_weeks(count),
        };
        let local = at.to_zoned(tz::TimeZone::clone(zone.zone()));
        // Only before the beginning of the calendar is there no such time.
        span.and_then(|span| local.checked_sub(span)).map_or(Timestamp::MIN, |before| before.timestamp())
    }

    /// Its hours, where a day has 24.
    #[must_use]
    pub fn hours(self) -> u32 {
        self.count.saturating_mul(self.unit.hours())
    }
}

impl Unit {
    fn hours(self) -> u32 {
        match self {
            Self::Hours => 1,
            Self::Days => 24,
            Self::Weeks => 7 * 24,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Hours => 'h',
            Unit::Days => 'd',
            Unit::Weeks => 'w',
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;
    fn try_from(text: String) -> Result<Self, InvalidPeriod> {
        Self::parse(&text)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+[hdw]$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_in_hours_days_and_weeks() {
        for (text, hours) in [("26h", 26), ("30d", 720), ("2w", 336)] {
            let period = Period::parse(text).unwrap();
            assert_eq!(period.hours(), hours);
            assert_eq!(period.to_string(), text);
        }
        for bad in ["", "d", "30", "0d", "-1d", "1.5d", "30m", "30 d", "+3d", "99999999999d", "40000d", "3€"] {
            assert!(Period::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
