//! age files: sealed to recipients' public keys, opened with an identity. The only file that knows the format.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    str::FromStr as _,
};

use age::{DecryptError, Decryptor, Encryptor, secrecy::ExposeSecret as _, stream::StreamWriter, x25519};
use bytes::Bytes;

use super::{super::Error, InvalidKey};
use crate::{repository::large, types::Secret};

/// A public key of age's own kind, `age1...`: of an epoch, or of a person who may read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is none, or one of another kind (SSH keys and plugins are not taken).
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let what = "is no public key of age: one begins with `age1`, and `age-keygen` prints it";
        x25519::Recipient::from_str(text.trim()).map(Self).map_err(|_| InvalidKey(what))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// A secret key of age's own kind, `AGE-SECRET-KEY-1...`. It is cleared from memory, and never shown.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(of {})", self.recipient())
    }
}

impl Identity {
    /// A new one, by chance.
    #[must_use]
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Reads one secret key.
    ///
    /// # Errors
    /// [`InvalidKey`], which shows none of it.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        let what = "is no secret key of age: one begins with `AGE-SECRET-KEY-1`, and `age-keygen` makes it";
        x25519::Identity::from_str(text.expose().trim()).map(Self).map_err(|_| InvalidKey(what))
    }

    /// Reads the secret keys of an identity file as `age-keygen` writes it: one a line; lines that begin with `#`
    /// say nothing.
    ///
    /// # Errors
    /// [`InvalidKey`] if a line is something else, or if there is none.
    pub fn parse_file(text: &Secret) -> Result<Vec<Self>, InvalidKey> {
        let lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities = lines.map(|line| Self::parse(&Secret::new(line))).collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() { Err(InvalidKey("has no secret key of age in it")) } else { Ok(identities) }
    }

    /// Its public key.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The key as `age-keygen` writes it. Never log it.
    #[must_use]
    pub fn expose(&self) -> Secret {
        Secret::new(self.0.to_string().expose_secret())
    }
}

/// Why an age file was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// It is sealed to other keys than these.
    OtherKeys,
    /// It is no age file, or not the one that was written; why.
    Damaged(String),
}

impl NotOpened {
    fn of(error: &DecryptError) -> Self {
        match error {
            DecryptError::NoMatchingKeys => Self::OtherKeys,
            DecryptError::InvalidMac => Self::damaged("its header does not have its authentication code"),
            DecryptError::InvalidHeader | DecryptError::UnknownFormat => {
                Self::damaged("it does not begin as an age file")
            }
            _ => Self::damaged("it cannot be decrypted"),
        }
    }

    fn damaged(reason: &str) -> Self {
        Self::Damaged(reason.to_owned())
    }

    fn reading(error: &io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut off",
            _ => "its bytes do not have their authentication code",
        };
        Self::damaged(what)
    }
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Internal(format!("age could not encrypt: {error}"))
}

/// Encrypts bytes while they are gathered, so that a pack is never in memory twice.
pub(crate) struct Sealer(StreamWriter<Vec<u8>>);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Begins a file for `recipients` in `buffer`.
    pub(crate) fn new(recipients: &[&Recipient], buffer: Vec<u8>) -> Result<Self, Error> {
        let recipients = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(recipients).map_err(failed)?;
        encryptor.wrap_output(buffer).map(Self).map_err(failed)
    }

    /// Takes the next plain bytes.
    pub(crate) fn write(&mut self, plain: &[u8]) -> Result<(), Error> {
        self.0.write_all(plain).map_err(failed)
    }

    /// The whole file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        self.0.finish().map_err(failed)
    }
}

/// The age file of `plain` for `recipients`.
pub(crate) fn seal(plain: &[u8], recipients: &[&Recipient]) -> Result<Bytes, Error> {
    // The header of two recipients, and 16 bytes for each 64 KiB.
    let room = plain.len() + plain.len() / 4096 + 1024;
    let mut sealer = Sealer::new(recipients, large::buffer(room))?;
    sealer.write(plain)?;
    sealer.finish().map(Bytes::from)
}

/// The plain bytes of an age file, which are fewer than its own.
pub(crate) fn open(sealed: &[u8], identities: &[&Identity]) -> Result<Vec<u8>, NotOpened> {
    let mut plain = large::buffer(sealed.len());
    reader(sealed, identities)?.read_to_end(&mut plain).map_err(|error| NotOpened::reading(&error))?;
    Ok(plain)
}

/// Reads an age file.
pub(super) fn reader<R: io::Read>(
    sealed: R,
    identities: &[&Identity],
) -> Result<age::stream::StreamReader<R>, NotOpened> {
    let decryptor = Decryptor::new(sealed).map_err(|error| NotOpened::of(&error))?;
    let identities = identities.iter().map(|identity| &identity.0 as &dyn age::Identity);
    decryptor.decrypt(identities).map_err(|error| NotOpened::of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_to_two_is_opened_by_each_and_by_nobody_else() {
        let (one, two, other) = (Identity::generate(), Identity::generate(), Identity::generate());
        for length in [0, 1, 65_535, 65_536, 65_537, 300_000] {
            let plain = vec![7; length];
            let sealed = seal(&plain, &[&one.recipient(), &two.recipient()]).unwrap();
            assert_eq!(open(&sealed, &[&one]).unwrap(), plain);
            assert_eq!(open(&sealed, &[&other, &two]).unwrap(), plain);
            assert_eq!(open(&sealed, &[&other]).unwrap_err(), NotOpened::OtherKeys);
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let one = Identity::generate();
        let sealed = seal(&[7; 200], &[&one.recipient()]).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 0x20;
            assert!(open(&changed, &[&one]).is_err(), "byte {at} was changed");
            assert!(open(&sealed[..at], &[&one]).is_err(), "cut at {at}");
        }
        assert!(open(&sealed, &[&one]).is_ok());
    }

    #[test]
    fn keys_are_read_as_age_keygen_writes_them_and_refused_without_being_shown() {
        let one = Identity::generate();
        let file = format!("# created: today\n# public key: {}\n{}\n", one.recipient(), one.expose().expose());
        let read = Identity::parse_file(&Secret::new(file)).unwrap();
        assert_eq!(read.iter().map(Identity::recipient).collect::<Vec<_>>(), [one.recipient()]);
        assert_eq!(Recipient::parse(&one.recipient().to_string()).unwrap(), one.recipient());
        for bad in ["", "# nothing", "AGE-SECRET-KEY-1QQQ", "hunter2"] {
            let error = Identity::parse_file(&Secret::new(bad)).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for bad in ["", "age1qqqq", "ssh-ed25519 AAAA", one.expose().expose()] {
            assert!(Recipient::parse(bad).is_err());
        }
        assert!(!format!("{one:?}").contains("SECRET"));
    }
}
