//! Uids, kept small.

/// A uid as its 16 bytes; all zero if it is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Uid([u8; 16]);

impl Uid {
    /// Reads `8-4-4-4-12` hexadecimal digits.
    pub(super) fn parse(text: &str) -> Self {
        let mut bytes = [0; 16];
        let mut digits = text.bytes().filter(|b| *b != b'-').map(|b| char::from(b).to_digit(16));
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else { return Self::default() };
            *byte = u8::try_from(high * 16 + low).unwrap_or_default();
        }
        if digits.next().is_some() { Self::default() } else { Self(bytes) }
    }

    /// The text was no uid.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_kept_in_16_bytes() {
        let text = "6f5f6e7a-0123-4000-8000-0000000000ff";
        assert_eq!(Uid::parse(text).to_string(), text);
        for odd in ["", "6f5f6e7a", &format!("{text}0"), "zf5f6e7a-0123-4000-8000-0000000000ff", "ü"] {
            assert!(Uid::parse(odd).is_none(), "{odd}");
        }
    }
}
