//! Reading numbers and texts of a header and a table of contents that may not have come to their end yet.

use super::Error;

/// Why a value cannot be read.
#[derive(Debug)]
pub(super) enum Stop {
    /// More bytes are needed.
    More,
    /// It is wrong.
    Wrong(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Wrong(error)
    }
}

/// A text's place; absent texts have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte, from the archive's beginning.
    pub(super) at: u32,
    /// Its bytes; [`Span::ABSENT`] for no text at all.
    pub(super) length: u32,
}

impl Span {
    const ABSENT: u32 = u32::MAX;

    pub(super) fn range(self) -> Option<std::ops::Range<usize>> {
        (self.length != Self::ABSENT).then(|| self.at as usize..(self.at as usize).saturating_add(self.length as usize))
    }
}

/// A place in the bytes that have come so far.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The longest text. Every length is believed only so far as bytes have come, so this only says early what
/// cannot come.
const MAX_TEXT: u32 = 1 << 30;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn wrong(&self, what: impl Into<String>) -> Stop {
        Stop::Wrong(Error::damaged(self.at as u64, what))
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.saturating_add(length);
        let bytes = self.bytes.get(self.at..end).ok_or(Stop::More)?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.take(1)?.first().copied().ok_or(Stop::More)
    }

    /// A number as pg_dump writes it: a sign and four bytes, the lowest first.
    pub(super) fn int(&mut self) -> Result<i64, Stop> {
        let begin = self.at;
        let bytes = self.take(INT)?;
        decode_int(bytes).ok_or_else(|| Stop::Wrong(Error::damaged(begin as u64, "this is no number")))
    }

    /// A text; its length is bounded before a byte of it is looked at.
    pub(super) fn text(&mut self) -> Result<Span, Stop> {
        let begin = self.at;
        let length = self.int()?;
        if length < 0 {
            return Ok(Span { at: 0, length: Span::ABSENT });
        }
        let fits = u32::try_from(length).ok().filter(|length| *length <= MAX_TEXT).zip(u32::try_from(self.at).ok());
        let Some((length, at)) = fits else {
            return Err(Error::damaged(begin as u64, format!("a text cannot have {length} bytes")).into());
        };
        self.take(length as usize)?;
        Ok(Span { at, length })
    }

    /// A text that is a number without a sign.
    pub(super) fn digits(&mut self) -> Result<u32, Stop> {
        let begin = self.at;
        let span = self.text()?;
        parse_digits(span.range().and_then(|range| self.bytes.get(range)))
            .ok_or_else(|| Stop::Wrong(Error::damaged(begin as u64, "this text is no number")))
    }
}

/// The bytes of a number.
pub(super) const INT: usize = 5;

/// Decodes a number of [`INT`] bytes.
pub(super) fn decode_int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [sign @ (0 | 1), a, b, c, d] => {
            let value = i64::from(u32::from_le_bytes([*a, *b, *c, *d]));
            Some(if *sign == 0 { value } else { -value })
        }
        _ => None,
    }
}

/// Encodes a number as pg_dump does.
pub(super) fn encode_int(value: i64) -> [u8; INT] {
    // pg_dump writes the low 32 bits, whatever the number was.
    let [a, b, c, d] = u32::try_from(value.unsigned_abs() & u64::from(u32::MAX)).unwrap_or(u32::MAX).to_le_bytes();
    [u8::from(value < 0), a, b, c, d]
}

/// The number of an oid, which passes through a signed number on its way into the archive.
pub(super) fn oid_of(value: i64) -> Option<u32> {
    u32::try_from(value).ok().or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned))
}

/// The signed number that an oid is written as.
pub(super) fn int_of(oid: u32) -> i64 {
    i64::from(oid.cast_signed())
}

pub(super) fn parse_digits(text: Option<&[u8]>) -> Option<u32> {
    let text = text.filter(|text| text.first().is_some_and(u8::is_ascii_digit))?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
