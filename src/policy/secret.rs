//! From a reference to the secret itself.

use std::{fs::File, io::Read, path::PathBuf};

use super::SecretRef;
use crate::types::Secret;

/// A secret that a policy refers to could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or is empty.
    #[error("the environment variable `{}`, which should hold a secret, is not set", named(.0))]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read the secret in `{}`", named(&.path.display().to_string()))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The value is empty, too long or not a text.
    #[error("the secret in {place} {reason}")]
    Unusable {
        /// Where it is: a file or a variable by name.
        place: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A name for a terminal; a key that was given in the place of one is not shown.
#[must_use]
pub fn named(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper.contains("SECRET-KEY-") || upper.contains("PRIVATE KEY") {
        "(a secret key, which is not shown)".to_owned()
    } else {
        crate::types::for_terminal(text).into_owned()
    }
}

/// The longest secret that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

impl SecretRef {
    /// Reads the secret. One line end after it (`\n` or `\r\n`) is not part of it.
    ///
    /// # Errors
    /// [`SecretError`] names where it should be, and never shows any of it.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let (place, text) = match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| SecretError::NotSet(name.clone()))?;
                (format!("the environment variable `{name}`"), value.into_encoded_bytes())
            }
            Self::File(path) => {
                let mut bytes = Vec::new();
                File::open(path)
                    .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
                    .map_err(|source| SecretError::File { path: path.clone(), source })?;
                (format!("`{}`", path.display()), bytes)
            }
        };
        let unusable = |reason| SecretError::Unusable { place: named(&place), reason };
        if text.len() as u64 > LONGEST {
            return Err(unusable("is longer than 64 KiB"));
        }
        let text = String::from_utf8(text).map_err(|_| unusable("is not text"))?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() { Err(unusable("is empty")) } else { Ok(Secret::new(text)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(content: &[u8]) -> Result<Secret, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        SecretRef::File(path).resolve()
    }

    #[test]
    fn one_line_end_is_taken_off_and_no_more() {
        for (content, secret) in [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(of_file(content.as_bytes()).unwrap().expose(), secret);
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_being_shown() {
        for (content, reason) in [(&b""[..], "is empty"), (b"\n", "is empty"), (b"hunter2\xff", "is not text")] {
            let message = of_file(content).unwrap_err().to_string();
            assert!(message.contains(reason) && !message.contains("hunter2"), "{message}");
        }
        assert!(of_file(&vec![b'a'; 65 * 1024]).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn a_key_in_the_place_of_a_file_is_not_shown() {
        let begin = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2";
        for key in ["AGE-SECRET-KEY-1HUNTER2", "age-secret-key-1hunter2", begin] {
            for reference in [SecretRef::File(key.into()), SecretRef::Env(key.to_owned())] {
                let message = reference.resolve().unwrap_err().to_string().to_lowercase();
                assert!(message.contains("not shown") && !message.contains("hunter2"), "{message}");
            }
        }
    }

    #[test]
    fn a_missing_variable_and_a_missing_file_are_named() {
        let message = SecretRef::Env("DRCTL_TEST_NOT_SET".to_owned()).resolve().unwrap_err().to_string();
        assert!(message.contains("DRCTL_TEST_NOT_SET"));
        let message = SecretRef::File("/does/not/exist".into()).resolve().unwrap_err().to_string();
        assert!(message.contains("/does/not/exist"));
    }
}
