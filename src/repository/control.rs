//! Control objects: one line of JSON and a second line with its SHA-256.
//!
//! `head -n 1 object | sha256sum` gives the second line, `head -n 1 object | jq` shows the first.
//! The first field, `drctl`, says what the object is.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Error, backend::Key};
use crate::types::{Sha256Digest, for_terminal};

/// The largest control object, both lines together.
pub(crate) const MAX_CONTROL: usize = 1 << 20;
/// The deepest nesting of arrays and objects in it.
const MAX_DEPTH: usize = 64;
const BEGINNING: &[u8] = b"{\"drctl\":\"";
/// 64 hexadecimal characters and a line feed.
const CHECKSUM_LINE: usize = 65;

/// A value that is kept as a control object of its own kind.
pub(crate) trait Control: Serialize + DeserializeOwned {
    /// The value of the field `drctl`.
    const KIND: &'static str;
}

/// Why bytes are no control object of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing in them looks like a control object: a file of something else.
    NotOne,
    /// It was one, or claims to be, and is not whole; how one can tell.
    Damaged(String),
}

impl Refusal {
    pub(crate) fn into_error(self, key: &Key) -> Error {
        match self {
            Self::NotOne => Error::damaged(key, "it is no control object of drctl"),
            Self::Damaged(reason) => Error::damaged(key, reason),
        }
    }
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    drctl: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Incoming<T> {
    #[expect(dead_code, reason = "checked before; named here so that it is not kept as an unknown field")]
    drctl: String,
    #[serde(flatten)]
    body: T,
}

/// Both lines of `value`.
///
/// # Errors
/// [`Error::OverLimit`] if they are more than [`MAX_CONTROL`] bytes.
pub(crate) fn encode<T: Control>(value: &T) -> Result<Bytes, Error> {
    let mut bytes = serde_json::to_vec(&Outgoing { drctl: T::KIND, body: value })
        .map_err(|error| Error::Internal(format!("a {} cannot be written as JSON: {error}", T::KIND)))?;
    bytes.push(b'\n');
    let digest = Sha256Digest::of(&bytes);
    bytes.extend_from_slice(format!("{digest}\n").as_bytes());
    if bytes.len() > MAX_CONTROL {
        let what = format!("a {} of {} bytes", T::KIND, bytes.len());
        return Err(Error::OverLimit { what, limit: "1 MiB".to_owned() });
    }
    Ok(Bytes::from(bytes))
}

/// The first line of a control object whose checksum was compared, and whose bounds are right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'a>(&'a [u8]);

/// Compares the checksum, once for all that is read of the object.
pub(crate) fn checked(bytes: &[u8]) -> Result<Checked<'_>, Refusal> {
    checked_line(bytes).map(Checked)
}

/// Reads a control object of `T`'s kind. The checksum is compared before anything is parsed.
pub(crate) fn decode<T: Control>(bytes: &[u8]) -> Result<T, Refusal> {
    checked(bytes)?.decode()
}

impl<'a> Checked<'a> {
    /// The kind that it says it is.
    pub(crate) fn kind(self) -> Result<&'a str, Refusal> {
        kind_of(self.0).ok_or_else(|| Refusal::Damaged("it does not say what it is".to_owned()))
    }

    /// Reads it as `T`.
    pub(crate) fn decode<T: Control>(self) -> Result<T, Refusal> {
        parsed(self.0)
    }
}

fn parsed<T: Control>(line: &[u8]) -> Result<T, Refusal> {
    let found = kind_of(line).unwrap_or_default();
    if found != T::KIND {
        return Err(Refusal::Damaged(format!("it is `{}` where `{}` belongs", for_terminal(found), T::KIND)));
    }
    let parsed: Incoming<T> = serde_json::from_slice(line)
        .map_err(|error| Refusal::Damaged(format!("it is no valid {}: {error}", T::KIND)))?;
    Ok(parsed.body)
}

/// The kind that a sound control object says it is.
#[cfg(test)]
pub(crate) fn kind(bytes: &[u8]) -> Result<&str, Refusal> {
    checked(bytes)?.kind()
}

fn kind_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(BEGINNING)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// The first line (without its end) of an object whose checksum and bounds are right.
fn checked_line(bytes: &[u8]) -> Result<&[u8], Refusal> {
    let claims = bytes.starts_with(BEGINNING);
    let damaged = |reason: &str| Refusal::Damaged(reason.to_owned());
    if bytes.len() > MAX_CONTROL {
        return Err(if claims { damaged("it is larger than 1 MiB") } else { Refusal::NotOne });
    }
    let split = bytes.len().checked_sub(CHECKSUM_LINE).and_then(|at| bytes.split_at_checked(at));
    let checksum =
        split.and_then(|(first, second)| Some((first.strip_suffix(b"\n")?, first, second.strip_suffix(b"\n")?)));
    let Some((line, with_end, digest)) = checksum else {
        return Err(if claims { damaged("its checksum line is missing or cut off") } else { Refusal::NotOne });
    };
    let Some(digest) = std::str::from_utf8(digest).ok().and_then(|text| Sha256Digest::parse(text).ok()) else {
        return Err(if claims { damaged("its second line is no SHA-256") } else { Refusal::NotOne });
    };
    if Sha256Digest::of(with_end) != digest {
        return Err(damaged("its first line does not have the SHA-256 of its second line"));
    }
    if !claims {
        return Err(Refusal::NotOne);
    }
    if line.contains(&b'\n') {
        return Err(damaged("it has more than two lines"));
    }
    if depth(line) > MAX_DEPTH {
        return Err(damaged("its JSON is nested deeper than 64 levels"));
    }
    Ok(line)
}

/// How deeply arrays and objects are nested; strings are skipped.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_string = false,
            (true, false, _) => {}
            (false, _, b'"') => in_string = true,
            (false, _, b'[' | b'{') => {
                now += 1;
                most = most.max(now);
            }
            (false, _, b']' | b'}') => now = now.saturating_sub(1),
            (false, ..) => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        #[serde(flatten)]
        unknown: serde_json::Map<String, serde_json::Value>,
    }

    impl Control for Note {
        const KIND: &'static str = "note";
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Other {}

    impl Control for Other {
        const KIND: &'static str = "other";
    }

    fn note() -> Note {
        Note { text: "a\nb".to_owned(), unknown: serde_json::Map::new() }
    }

    fn with_checksum(line: &str) -> Vec<u8> {
        let line = format!("{line}\n");
        format!("{line}{}\n", Sha256Digest::of(line.as_bytes())).into_bytes()
    }

    #[test]
    fn an_object_is_two_lines_and_reads_back() {
        let bytes = encode(&note()).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.lines().next(), Some(r#"{"drctl":"note","text":"a\nb"}"#));
        assert_eq!(text.lines().count(), 2);
        assert_eq!(decode::<Note>(&bytes).unwrap(), note());
        assert_eq!(kind(&bytes), Ok("note"));
    }

    #[test]
    fn unknown_fields_are_kept_when_the_object_is_written_again() {
        let bytes = with_checksum(r#"{"drctl":"note","text":"a","later":[1]}"#);
        let note: Note = decode(&bytes).unwrap();
        assert_eq!(encode(&note).unwrap(), bytes);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_damage() {
        let bytes = encode(&note()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(decode::<Note>(&flipped).is_err(), "bit {bit} of byte {at}");
            }
            let refusal = decode::<Note>(&bytes[..at]).unwrap_err();
            assert_eq!(matches!(refusal, Refusal::NotOne), at < BEGINNING.len(), "cut at {at}: {refusal:?}");
        }
    }

    #[test]
    fn another_file_is_told_from_a_damaged_object() {
        for other in ["", "hello", "{}", "{\"drctl\": 1}", "<html></html>", &"x".repeat(MAX_CONTROL + 1)] {
            assert_eq!(decode::<Note>(other.as_bytes()), Err(Refusal::NotOne), "{}", &other[..other.len().min(20)]);
        }
        assert_eq!(decode::<Note>(&with_checksum("{\"a\":1}")), Err(Refusal::NotOne));
        let mut flipped = encode(&note()).unwrap().to_vec();
        flipped[0] ^= 1;
        assert!(matches!(decode::<Note>(&flipped), Err(Refusal::Damaged(_))), "a flipped first byte is damage");
        let other = decode::<Other>(&encode(&note()).unwrap()).unwrap_err();
        assert_eq!(other, Refusal::Damaged("it is `note` where `other` belongs".to_owned()));
    }

    #[test]
    fn bounds_hold_before_anything_is_parsed() {
        let deep = |levels: usize| {
            with_checksum(&format!(
                r#"{{"drctl":"note","text":"]]","x":{}{}}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            ))
        };
        assert!(decode::<Note>(&deep(63)).is_ok());
        assert_eq!(
            decode::<Note>(&deep(64)),
            Err(Refusal::Damaged("its JSON is nested deeper than 64 levels".to_owned()))
        );
        let long = Note { text: "x".repeat(MAX_CONTROL), unknown: serde_json::Map::new() };
        assert!(matches!(encode(&long), Err(Error::OverLimit { .. })));
    }
}
