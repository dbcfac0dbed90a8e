//! When a schedule is due: five cron fields in one time zone.

use std::{borrow::Cow, fmt};

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::types::for_terminal;

/// A cron expression of five fields, as Kubernetes' CronJobs read them: numbers, names of months
/// and days, `*`, lists, ranges and steps.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    parsed: Box<croner::Cron>,
}

/// A text that is no [`Cron`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a cron expression: {reason}", for_terminal(.text))]
pub struct InvalidCron {
    text: String,
    reason: String,
}

impl Cron {
    /// Reads `text` as a cron expression.
    ///
    /// # Errors
    /// [`InvalidCron`] if it has not five fields, if one is out of its range, or if it is never due.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        let wrong = |reason: &str| InvalidCron { text: text.chars().take(100).collect(), reason: reason.to_owned() };
        let fields = text.split_whitespace().count();
        if fields != 5 {
            return Err(wrong(&format!(
                "it has {fields} field{}, not 5 (minute hour day-of-month month day-of-week)",
                if fields == 1 { "" } else { "s" }
            )));
        }
        // Other characters (`L`, `#`, `?`, `@`) are extensions that a Kubernetes CronJob does not share.
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !" \t*,-/".contains(*c)) {
            return Err(wrong(&format!("`{}` is not allowed", for_terminal(&odd.to_string()))));
        }
        for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            if !WORDS.contains(&word.to_ascii_lowercase().as_str()) {
                return Err(wrong(&format!("`{word}` is neither a month (jan to dec) nor a day (sun to sat)")));
            }
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser.parse(text).map_err(|error| wrong(&plain(&error.to_string())))?;
        let start = Timestamp::UNIX_EPOCH.to_zoned(tz::TimeZone::UTC);
        if parsed.find_next_occurrence(&start, false).is_err() {
            return Err(wrong("no such day exists, so it is never due"));
        }
        Ok(Self { text: text.to_owned(), parsed: Box::new(parsed) })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first instant after `after` at which the schedule is due, in `zone`. A time of day that a
    /// clock change leaves out is due at the first instant after the gap; one that it repeats is
    /// due once. `None` only past the end of the calendar.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.0.clone());
        self.parsed.find_next_occurrence(&start, false).ok().map(|due| due.timestamp())
    }
}

const WORDS: [&str; 19] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon", "tue", "wed",
    "thu", "fri", "sat",
];

/// The parser's message without its own prefix and full stop.
fn plain(message: &str) -> String {
    let text = message.split_once(": ").map_or(message, |(_, rest)| rest);
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl TryFrom<String> for Cron {
    type Error = InvalidCron;
    fn try_from(text: String) -> Result<Self, InvalidCron> {
        Self::parse(&text)
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

impl JsonSchema for Cron {
    fn schema_name() -> Cow<'static, str> {
        "Cron".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\s*[0-9A-Za-z*,/-]+(\s+[0-9A-Za-z*,/-]+){4}\s*$" })
    }
}

/// A time zone by its IANA name, `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZone(tz::TimeZone);

/// A text that is no [`TimeZone`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a time zone; use an IANA name like UTC or Europe/Berlin", for_terminal(.0))]
pub struct InvalidTimeZone(String);

impl TimeZone {
    /// Reads `text` as an IANA name.
    ///
    /// # Errors
    /// [`InvalidTimeZone`] if there is no such zone.
    pub fn parse(text: &str) -> Result<Self, InvalidTimeZone> {
        let wrong = || InvalidTimeZone(text.chars().take(100).collect());
        let zone = if text == "UTC" { tz::TimeZone::UTC } else { tz::TimeZone::get(text).map_err(|_| wrong())? };
        // `Local` and POSIX forms have no IANA name: they would mean another zone on another machine.
        if zone.iana_name().is_none() {
            return Err(wrong());
        }
        Ok(Self(zone))
    }

    /// The zone itself.
    pub(super) fn zone(&self) -> &tz::TimeZone {
        &self.0
    }

    /// The IANA name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self(tz::TimeZone::UTC)
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for TimeZone {
    type Error = InvalidTimeZone;
    fn try_from(text: String) -> Result<Self, InvalidTimeZone> {
        Self::parse(&text)
    }
}

impl From<TimeZone> for String {
    fn from(zone: TimeZone) -> Self {
        zone.as_str().to_owned()
    }
}

impl JsonSchema for TimeZone {
    fn schema_name() -> Cow<'static, str> {
        "TimeZone".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["UTC", "Europe/Berlin"], "default": "UTC" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(cron: &str, zone: &str, after: &str, times: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(cron).unwrap(), TimeZone::parse(zone).unwrap());
        let mut at: Timestamp = after.parse().unwrap();
        (0..times)
            .map(|_| {
                at = cron.next_after(at, &zone).unwrap();
                at.to_string()
            })
            .collect()
    }

    #[test]
    fn the_next_instant_is_after_and_never_at_the_given_one() {
        assert_eq!(
            due("0 2 * * *", "UTC", "2026-11-20T02:00:00Z", 2),
            ["2026-11-21T02:00:00Z", "2026-11-22T02:00:00Z"]
        );
        assert_eq!(due("0 2 * * *", "UTC", "2026-11-20T01:59:59.9Z", 1), ["2026-11-20T02:00:00Z"]);
        assert_eq!(due("0 3 * * 0", "UTC", "2026-11-20T00:00:00Z", 1), ["2026-11-22T03:00:00Z"]);
        assert_eq!(due("0 3 * * sun", "UTC", "2026-11-20T00:00:00Z", 1), ["2026-11-22T03:00:00Z"]);
    }

    #[test]
    fn the_hour_stays_the_wall_clocks_over_a_change_of_offset() {
        assert_eq!(
            due("0 5 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
            ["2026-10-24T03:00:00Z", "2026-10-25T04:00:00Z", "2026-10-26T04:00:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_is_due_after_the_gap() {
        // 02:00 to 03:00 does not exist on 2026-03-29.
        assert_eq!(
            due("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clock_repeats_is_due_once() {
        // 02:00 to 03:00 comes twice on 2026-10-25.
        assert_eq!(
            due("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn an_expression_that_is_none_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "0 fields"),
            ("0 2 * *", "4 fields"),
            ("0 0 2 * * *", "6 fields"),
            ("@daily", "1 field,"),
            ("60 2 * * *", "out of bounds"),
            ("0 24 * * *", "out of bounds"),
            ("0 2 L * *", "neither a month"),
            ("0 2 ? * *", "`?` is not allowed"),
            ("0 2 * * 5#2", "`#` is not allowed"),
            ("0 2 * * funday", "`funday`"),
            ("0 0 30 2 *", "never due"),
        ] {
            let message = Cron::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }

    #[test]
    fn a_zone_is_an_iana_name_and_nothing_else() {
        for good in ["UTC", "Europe/Berlin", "America/New_York", "Etc/GMT+5"] {
            assert_eq!(TimeZone::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Mars/Olympus", "CET-1CEST", "+02:00", "local", "Local"] {
            assert!(TimeZone::parse(bad).is_err(), "{bad} was taken");
        }
    }
}
