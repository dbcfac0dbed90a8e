//! Numbers and times as people read them.

use jiff::Timestamp;

use crate::types::ByteSize;

/// How long before `now` the instant `then` was, in its largest unit: `3m`, `26h`, `12d`.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (minute, hour, day) = (60, 3600, 24 * 3600);
    match seconds {
        s if s < 2 * minute => format!("{s}s"),
        s if s < 2 * hour => format!("{}m", s / minute),
        s if s < 2 * day => format!("{}h", s / hour),
        s => format!("{}d", s / day),
    }
}

/// `bytes` with its unit.
#[must_use]
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `seconds` as `0.4 s`, `12.3 s` or `2 min 05 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "durations of runs are small and not negative"
    )]
    let whole = seconds as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// The time between two instants.
#[must_use]
pub fn between(from: Timestamp, to: Timestamp) -> String {
    seconds(to.duration_since(from).as_secs_f64().max(0.0))
}

/// `1 object`, `2 objects`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    crate::types::counted(number, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_unit_and_never_negative() {
        let now: Timestamp = "2026-11-20T02:00:00Z".parse().unwrap();
        for (then, shown) in [
            ("2026-11-20T01:58:01Z", "119s"),
            ("2026-11-20T01:58:00Z", "2m"),
            ("2026-11-19T02:00:00Z", "24h"),
            ("2026-11-18T02:00:00Z", "2d"),
            ("2026-11-20T02:00:30Z", "0s"),
        ] {
            assert_eq!(age(then.parse().unwrap(), now), shown, "{then}");
        }
    }

    #[test]
    fn durations_and_counts_are_short() {
        assert_eq!((seconds(0.44).as_str(), seconds(125.9).as_str()), ("0.4 s", "2 min 05 s"));
        assert_eq!((count(1, "object"), count(0, "object")), ("1 object".to_owned(), "0 objects".to_owned()));
    }
}
