//! Names of policies, schedules, sources and copies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name as Kubernetes allows it for a namespace (an RFC 1123 label): 1 to 63 of `a-z 0-9 -`,
/// beginning and ending with a letter or a digit. It is safe as a part of a store key, of a file
/// name and of a metric label, so nothing that takes a `Name` needs to escape it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a valid name: use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or a digit", super::for_terminal(.0))]
pub struct InvalidName(String);

impl Name {
    /// Checks `text` and takes it as a name.
    ///
    /// # Errors
    /// [`InvalidName`] if it is not an RFC 1123 label.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let inside = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if bytes.len() <= 63 && inside && edge(bytes.first()) && edge(bytes.last()) {
            Ok(Self(text))
        } else {
            Err(InvalidName(text))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken_and_anything_else_is_refused() {
        for good in ["a", "orders", "a-1", "0x", &"a".repeat(63)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "ä", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_refused_name_is_shown_without_its_control_characters() {
        let shown = Name::new("a\u{1b}[2Jb").unwrap_err().to_string();
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
