//! Velero's ways of saying when.

use std::time::Duration;

use crate::policy::{Cron, TimeZone};

/// When a schedule is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) cron: Cron,
    pub(super) timezone: TimeZone,
    /// What is not quite the same.
    pub(super) note: Option<String>,
    /// It is due at other times than it was.
    pub(super) lost: bool,
}

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads `CRON_TZ=Europe/Berlin 0 2 * * *`, `@daily`, `@every 6h`.
pub(super) fn read(text: &str) -> Result<When, String> {
    let text = text.trim();
    let zone = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
    let (timezone, expression) = match zone.map(|rest| rest.split_once(char::is_whitespace).unwrap_or((rest, ""))) {
        Some((zone, rest)) => (TimeZone::parse(zone).map_err(|error| error.to_string())?, rest.trim()),
        None => (TimeZone::default(), text),
    };
    let of = |expression: &str| Cron::parse(expression).map_err(|error| error.to_string());
    if let Some(every) = expression.strip_prefix("@every ") {
        let (cron, note, lost) = every_so_often(every.trim())?;
        return Ok(When { cron: of(&cron)?, timezone, note: Some(note), lost });
    }
    let expression = MACROS.iter().find(|(name, _)| *name == expression).map_or(expression, |(_, cron)| cron);
    Ok(When { cron: of(expression)?, timezone, note: None, lost: false })
}

/// The nearest cron expression, what there is to say of it, and whether it is due less or more often.
fn every_so_often(text: &str) -> Result<(String, String, bool), String> {
    let length = duration(text).ok_or_else(|| format!("`@every {text}` is no length of time, like 6h or 1h30m"))?;
    let minutes = length.as_secs() / 60;
    let fits = |unit: u64, most: u64| {
        minutes.is_multiple_of(unit) && (1..=most).contains(&(minutes / unit)) && most.is_multiple_of(minutes / unit)
    };
    let exact = length.subsec_nanos() == 0 && length.as_secs().is_multiple_of(60);
    let cron = match () {
        () if exact && fits(1, 60) => format!("*/{minutes} * * * *").replace("*/60", "0"),
        () if exact && fits(60, 24) => format!("0 */{} * * *", minutes / 60).replace("*/24", "0"),
        () => {
            let (cron, often) =
                if minutes < 24 * 60 { ("0 * * * *", "every hour") } else { ("0 0 * * *", "every day") };
            let note = format!("`@every {text}` has no cron expression; here it is due {often}, by `{cron}`");
            return Ok((cron.to_owned(), note, true));
        }
    };
    let note = format!("`@every {text}` counts from when Velero started; here it is due by the clock, by `{cron}`");
    Ok((cron, note, false))
}

/// A length of time as Go writes it: `720h0m0s`, `1h30m`, `1.5h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at_checked(number)?;
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let length = Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(length)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_saying_when_is_read() {
        for (text, cron, zone, lost) in [
            ("0 2 * * *", "0 2 * * *", "UTC", false),
            ("@daily", "0 0 * * *", "UTC", false),
            ("CRON_TZ=Europe/Berlin 0 2 * * 1", "0 2 * * 1", "Europe/Berlin", false),
            ("TZ=America/New_York @weekly", "0 0 * * 0", "America/New_York", false),
            ("@every 15m", "*/15 * * * *", "UTC", false),
            ("@every 1h", "0 * * * *", "UTC", false),
            ("@every 6h0m0s", "0 */6 * * *", "UTC", false),
            ("@every 24h", "0 0 * * *", "UTC", false),
            ("@every 7h", "0 * * * *", "UTC", true),
            ("@every 90s", "0 * * * *", "UTC", true),
            ("@every 168h", "0 0 * * *", "UTC", true),
        ] {
            let when = read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((when.cron.as_str(), when.timezone.as_str(), when.lost), (cron, zone, lost), "{text}");
        }
        for bad in
            ["", "@sometimes", "0 25 * * *", "CRON_TZ=Europe/Bern 0 2 * * *", "CRON_TZ=UTC", "@every day", "@every "]
        {
            assert!(read(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn lengths_of_time_are_those_of_go() {
        for (text, seconds) in [("720h0m0s", 2_592_000.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("250ms", 0.25)] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "30d", "-1h", "h", "1", "1h2", "1..5h", "99999999999999999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
