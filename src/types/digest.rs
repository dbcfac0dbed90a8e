//! Digests: SHA-256 of stored bytes, BLAKE3 of plain bytes, and the additive digest of rows.

mod many;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal characters")]
pub struct InvalidDigest;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The digest that these bytes are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads 64 lower-case hexadecimal characters.
            ///
            /// # Errors
            /// [`InvalidDigest`] for anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidDigest;
            fn try_from(text: String) -> Result<Self, InvalidDigest> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

fn parse_hex(text: &str) -> Result<[u8; 32], InvalidDigest> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(InvalidDigest),
    };
    let text: &[u8; 64] = text.as_bytes().try_into().map_err(|_| InvalidDigest)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
    }
    Ok(bytes)
}

digest! {
    /// SHA-256 of bytes as they are stored (packs, meta objects, control objects): `sha256sum` proves them without a key.
    Sha256Digest
}

digest! {
    /// BLAKE3 of plain bytes (chunks and parts): `b3sum` proves a part by hand.
    Blake3Digest
}

digest! {
    /// The sum modulo 2^256 of the BLAKE3 digests of rows (a row's bytes without its line end; for
    /// Kubernetes one row is one object's line). Sums of parts add up to the sum of the whole in any
    /// order, and unlike XOR two equal rows do not cancel. Shown big-endian.
    #[derive(Default)]
    RowDigest
}

impl Sha256Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl Blake3Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of `bytes` for those who have `key`: nobody else can tell of what it is.
    #[must_use]
    pub fn keyed(key: &[u8; 32], bytes: &[u8]) -> Self {
        Self(*blake3::keyed_hash(key, bytes).as_bytes())
    }
}

impl RowDigest {
    /// Adds one row.
    pub fn add_row(&mut self, row: &[u8]) {
        self.add(&Self(*blake3::hash(row).as_bytes()));
    }

    /// Adds many rows: more quickly than one by one.
    pub fn add_rows<'a>(&mut self, rows: impl IntoIterator<Item = &'a [u8]>) {
        let mut many = many::Many::new();
        rows.into_iter().for_each(|row| many.push(row, row.len()));
        self.add(&many.finish());
    }

    /// Adds the lines of a text, without their line ends, and says how many they are: more quickly still. Bytes after the
    /// last line end are a line as well.
    pub fn add_lines(&mut self, text: &[u8]) -> u64 {
        let (mut many, mut lines, mut rest) = (many::Many::new(), 0, text);
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            many.push(rest, end);
            rest = rest.get(end + 1..).unwrap_or_default();
            lines += 1;
        }
        self.add(&many.finish());
        lines
    }

    /// Adds the digest of other rows.
    #[inline]
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        let (mine, _) = self.0.as_chunks_mut::<8>();
        let (theirs, _) = other.0.as_chunks::<8>();
        for (mine, theirs) in mine.iter_mut().zip(theirs).rev() {
            let (sum, over) = u64::from_be_bytes(*mine).overflowing_add(u64::from_be_bytes(*theirs));
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *mine = sum.to_be_bytes();
            carry = over || over_again;
        }
    }
}

/// SHA-1 of `bytes` in base64 for URLs, without padding: `mongodump` calls the files of collections with long names so.
#[must_use]
pub fn sha1_name(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

/// MD5 of `bytes`, which Azure takes to check a transfer by. It proves nothing against a person: SHA-256 does that.
#[must_use]
pub fn md5_of(bytes: &[u8]) -> [u8; 16] {
    use md5::Digest as _;
    md5::Md5::digest(bytes).into()
}

/// SHA-256 of bytes that come in pieces.
#[derive(Debug, Clone, Default)]
pub struct Sha256Hasher(sha2::Sha256);

impl Sha256Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finalize().into())
    }
}

/// BLAKE3 of bytes that come in pieces.
#[derive(Debug, Clone, Default)]
pub struct Blake3Hasher(blake3::Hasher);

impl Blake3Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(&self) -> Blake3Digest {
        Blake3Digest(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digests_are_those_of_the_standard_tools() {
        assert_eq!(
            Sha256Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            Blake3Digest::of(b"abc").to_string(),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
    }

    #[test]
    fn md5_is_that_of_the_standard_tools() {
        let hex: String = md5_of(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn text_that_is_not_a_digest_is_refused() {
        let good = "00".repeat(32);
        assert!(Sha256Digest::parse(&good).is_ok());
        for bad in ["", &good[1..], &format!("{good}0"), &"0A".repeat(32), &"é".repeat(32)] {
            assert!(Sha256Digest::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn two_equal_rows_do_not_cancel() {
        let mut once = RowDigest::default();
        once.add_row(b"a");
        let mut thrice = once;
        thrice.add_row(b"b");
        thrice.add_row(b"b");
        assert_ne!(once, thrice);
    }

    #[test]
    fn the_sum_carries_over_all_bytes() {
        let mut sum = RowDigest([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        sum.add(&RowDigest(one));
        assert_eq!(sum, RowDigest([0; 32]));
    }

    /// Byte by byte, as one would by hand.
    fn added_by_hand(one: [u8; 32], two: [u8; 32]) -> [u8; 32] {
        let (mut sum, mut carry) = ([0; 32], 0);
        for at in (0..32).rev() {
            let [high, low] = (u16::from(one[at]) + u16::from(two[at]) + carry).to_be_bytes();
            (sum[at], carry) = (low, u16::from(high));
        }
        sum
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_numbers(
            one in proptest::array::uniform32(prop_oneof![Just(0u8), Just(0xff), any::<u8>()]),
            two in proptest::array::uniform32(prop_oneof![Just(0u8), Just(0xff), any::<u8>()]),
        ) {
            let mut sum = RowDigest(one);
            sum.add(&RowDigest(two));
            prop_assert_eq!(sum, RowDigest(added_by_hand(one, two)));
        }

        #[test]
        fn the_order_and_grouping_of_rows_does_not_matter(rows in proptest::collection::vec(".{0,8}", 0..12), cut in 0usize..12) {
            let mut forward = RowDigest::default();
            rows.iter().for_each(|row| forward.add_row(row.as_bytes()));
            let (left, right) = rows.split_at(cut.min(rows.len()));
            let (mut first, mut second) = (RowDigest::default(), RowDigest::default());
            left.iter().rev().for_each(|row| first.add_row(row.as_bytes()));
            right.iter().rev().for_each(|row| second.add_row(row.as_bytes()));
            second.add(&first);
            prop_assert_eq!(forward, second);
        }
    }
}
