//! When a version of an object was made.

use jiff::Timestamp;

/// The time of a version. Some servers (versitygw) give a version that was replaced the time of its replacement; but
/// their version ids are ULIDs, which begin with the time at which they were made. Ids of other stores are none:
/// AWS's are longer, MinIO's are UUIDs.
pub(super) fn made(id: &str, modified: Option<Timestamp>) -> Option<Timestamp> {
    let modified = modified?;
    Some(ulid_time(id).map_or(modified, |made| made.min(modified)))
}

/// The time of a deletion. versitygw makes it of the file of the object, whose time is that of the object where the file
/// system sees no change in making an empty file empty; its id says the time at which it was made.
pub(super) fn deleted(id: &str, modified: Option<Timestamp>) -> Option<Timestamp> {
    let modified = modified?;
    Some(ulid_time(id).map_or(modified, |made| made.max(modified)))
}

/// The time in a ULID: 26 letters of Crockford's base 32, of which the first ten are milliseconds.
fn ulid_time(id: &str) -> Option<Timestamp> {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |letter: u8| ALPHABET.iter().position(|known| *known == letter).and_then(|at| i64::try_from(at).ok());
    let digits: Vec<i64> = id.bytes().map(digit).collect::<Option<_>>()?;
    let (time, _) = digits.split_at_checked(10)?;
    if digits.len() != 26 || time.first().is_none_or(|first| *first > 7) {
        return None;
    }
    Timestamp::from_millisecond(time.iter().fold(0, |sum, digit| sum * 32 + digit)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ulid_says_when_a_version_or_a_deletion_was_made_and_no_other_id_does() {
        let replaced: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        // The example of the ULID specification.
        let made_at = made("01ARZ3NDEKTSV4RRFFQ69G5FAV", Some(replaced)).unwrap();
        assert_eq!(made_at, "2016-07-30T23:54:10.259Z".parse().unwrap());
        for other in [
            "null",
            "",
            "3sL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo",
            "8d3f2a4e-0a59-4a3e-9c57-5f0c4a5d8f11",
            "01arz3ndektsv4rrffq69g5fav",
            "Z1ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
        ] {
            assert_eq!(made(other, Some(replaced)), Some(replaced), "{other}");
        }
        let early: Timestamp = "2010-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(made("01ARZ3NDEKTSV4RRFFQ69G5FAV", Some(early)), Some(early));
        assert_eq!(made("01ARZ3NDEKTSV4RRFFQ69G5FAV", None), None);
        assert_eq!(
            deleted("01ARZ3NDEKTSV4RRFFQ69G5FAV", Some(early)),
            Some("2016-07-30T23:54:10.259Z".parse().unwrap())
        );
        assert_eq!(deleted("01ARZ3NDEKTSV4RRFFQ69G5FAV", Some(replaced)), Some(replaced));
        assert_eq!((deleted("null", Some(early)), deleted("null", None)), (Some(early), None));
    }
}
