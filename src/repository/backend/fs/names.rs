//! Segments of keys as names of files.
//!
//! A segment is its own name, so that the repository can be read with `ls` and `cat`. Only one
//! that begins with `.tmp-` (which means a write that is not finished) or with `%` has its first
//! character percent-encoded.

use std::borrow::Cow;

/// What the name of an unfinished write begins with.
pub(super) const TEMPORARY: &str = ".tmp-";

/// The file name of a segment of a key.
pub(super) fn to_file(segment: &str) -> Cow<'_, str> {
    let encoded = match segment.chars().next() {
        Some('%') => "%25",
        Some('.') if segment.starts_with(TEMPORARY) => "%2E",
        _ => return Cow::Borrowed(segment),
    };
    let rest = segment.get(1..).unwrap_or_default();
    Cow::Owned(format!("{encoded}{rest}"))
}

/// The segment that a file name stands for; none if no put made it.
pub(super) fn from_file(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let segment = match (name.strip_prefix("%25"), name.strip_prefix("%2E")) {
        (Some(rest), _) => format!("%{rest}"),
        (_, Some(rest)) => format!(".{rest}"),
        _ => name.to_owned(),
    };
    (to_file(&segment) == name && !name.starts_with(TEMPORARY)).then_some(segment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_names_are_unchanged_and_odd_ones_come_back() {
        for (segment, file) in [
            ("20261120T020000Z-abcdef", "20261120T020000Z-abcdef"),
            ("a b+c~é%41", "a b+c~é%41"),
            ("...", "..."),
            (".tmp", ".tmp"),
            (".tmp-x", "%2Etmp-x"),
            ("%", "%25"),
            ("%2Etmp-x", "%252Etmp-x"),
        ] {
            assert_eq!(to_file(segment), file);
            assert_eq!(from_file(file.as_bytes()).as_deref(), Some(segment));
        }
        for foreign in [".tmp-0011", "%41", "%2Ehidden"] {
            assert_eq!(from_file(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(from_file(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn every_segment_comes_back_from_its_file_name(segment in r"(\.tmp-|%|%2E|%25|\.)?[^/\x00]{0,8}") {
            let file = to_file(&segment).into_owned();
            prop_assert!(!file.starts_with(TEMPORARY));
            prop_assert_eq!(from_file(file.as_bytes()), Some(segment));
        }
    }
}
