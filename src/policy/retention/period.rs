//! The periods that backups fall into.

use std::fmt;

use jiff::Zoned;

use super::Rule;
use crate::types::BackupId;

/// The period of a rule that a backup falls into. Those of two rules are never equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A period of its own.
    Backup(BackupId),
    /// An hour: year, month, day, hour, and the seconds that the clock is ahead of UTC, so that an hour that the clock
    /// repeats is two.
    Hour(i16, i8, i8, i8, i32),
    /// A day: year, month, day.
    Day(i16, i8, i8),
    /// An ISO week, with the year that it belongs to.
    Week(i16, i8),
    /// A month: year, month.
    Month(i16, i8),
    /// A year.
    Year(i16),
}

impl Slot {
    /// The period of `rule` that the local time `at` falls into.
    pub(super) fn of(rule: Rule, id: &BackupId, at: &Zoned) -> Self {
        match rule {
            Rule::Last => Self::Backup(id.clone()),
            Rule::Hourly => Self::Hour(at.year(), at.month(), at.day(), at.hour(), at.offset().seconds()),
            Rule::Daily => Self::Day(at.year(), at.month(), at.day()),
            Rule::Weekly => {
                let week = at.date().iso_week_date();
                Self::Week(week.year(), week.week())
            }
            Rule::Monthly => Self::Month(at.year(), at.month()),
            Rule::Yearly => Self::Year(at.year()),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(id) => write!(f, "{id}"),
            Self::Hour(year, month, day, hour, _) => write!(f, "{year:04}-{month:02}-{day:02} {hour:02}h"),
            Self::Day(year, month, day) => write!(f, "{year:04}-{month:02}-{day:02}"),
            Self::Week(year, week) => write!(f, "{year:04}-W{week:02}"),
            Self::Month(year, month) => write!(f, "{year:04}-{month:02}"),
            Self::Year(year) => write!(f, "{year:04}"),
        }
    }
}
