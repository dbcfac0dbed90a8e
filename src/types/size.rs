//! Numbers of bytes.

use std::{fmt, str::FromStr};

/// A number of bytes, shown with a binary unit (`1.5 MiB`) and read with one (`64MiB`, `2 GiB`, `512`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is no [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a size: use a whole number and B, KiB, MiB, GiB or TiB", super::for_terminal(.0))]
pub struct InvalidSize(String);

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 0;
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut value = self.0 as f64;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or("B");
        let text = if unit == 0 { format!("{} B", self.0) } else { format!("{value:.1} {name}") };
        f.pad(&text)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;
    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let wrong = || InvalidSize(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start();
        let power = if unit.is_empty() { 0 } else { UNITS.iter().position(|u| *u == unit).ok_or_else(wrong)? };
        let factor = 1024u64.checked_pow(u32::try_from(power).map_err(|_| wrong())?).ok_or_else(wrong)?;
        number.checked_mul(factor).map(ByteSize).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("512", 512, "512 B"),
            ("64MiB", 64 << 20, "64.0 MiB"),
            ("2 GiB", 2 << 30, "2.0 GiB"),
            ("1536KiB", 1536 << 10, "1.5 MiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), shown);
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "1 MB", "99999999999999999999", "18446744073709551615KiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad} was taken");
        }
    }
}
