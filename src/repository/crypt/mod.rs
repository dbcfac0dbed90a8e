//! Encryption and signatures: what a program holds of keys, and what becomes of bytes with them.
//!
//! Contents (packs) are age files for one *epoch* key. The lists of streams and chunks are for the epoch key and for
//! the *index identity*, so that a backup can read its parents' lists and never their contents. The epoch's secrets
//! are in `keys/`, encrypted to the recipients: people who may read.

mod cipher;
mod key_file;
mod keys;
mod range;
mod sealed;
pub(crate) mod signature;

use std::fmt;

use rand::Rng as _;
use zeroize::Zeroizing;

pub(crate) use self::{
    cipher::{Cipher, Pack},
    key_file::MAX_KEY_FILE,
    signature::MAX_SIGNATURE,
};
pub use self::{
    key_file::Epoch,
    keys::{EpochFiles, KeyFileEntry},
    sealed::{Identity, Recipient},
    signature::{Signer, SigningKey},
};
use crate::types::Secret;

/// A text that should be a key and is none. The message shows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(&'static str);

/// The key that chunks are named with: 32 bytes, in 64 hexadecimal characters. It is cleared from memory.
#[derive(Clone)]
pub struct IdKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(…)")
    }
}

impl IdKey {
    /// A new one, by chance.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::rng().random()))
    }

    /// Reads 64 lower-case hexadecimal characters.
    ///
    /// # Errors
    /// [`InvalidKey`], which shows none of it.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        let digest = crate::types::Blake3Digest::parse(text.expose().trim());
        let digest = digest.map_err(|_| InvalidKey("is no id key: one is 64 lower-case hexadecimal characters"))?;
        Ok(Self(Zeroizing::new(*digest.as_bytes())))
    }

    /// The key as text. Never log it.
    #[must_use]
    pub fn expose(&self) -> Secret {
        Secret::new(crate::types::Blake3Digest::from_bytes(*self.0).to_string())
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// An id key as a cluster holds it, with the epoch that it is of: `age1...:<64 hexadecimal characters>`. So that keys of
/// one epoch are never used with another, which nobody could restore.
#[derive(Debug, Clone)]
pub struct HeldIdKey {
    /// The epoch's public key.
    pub epoch: Recipient,
    /// What chunks are named with, in that epoch.
    pub key: IdKey,
}

impl HeldIdKey {
    /// Reads the epoch's public key, a colon, and 64 lower-case hexadecimal characters.
    ///
    /// # Errors
    /// [`InvalidKey`], which shows none of it.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        const FORM: InvalidKey = InvalidKey(
            "does not say of which epoch it is: an id key is `age1...`, the public key of its epoch, then `:`, then 64 \
             lower-case hexadecimal characters",
        );
        let (epoch, key) = text.expose().trim().split_once(':').ok_or(FORM)?;
        Ok(Self { epoch: Recipient::parse(epoch).map_err(|_| FORM)?, key: IdKey::parse(&Secret::new(key))? })
    }

    /// The key as text. Never log it.
    #[must_use]
    pub fn expose(&self) -> Secret {
        let text = Zeroizing::new(format!("{}:{}", self.epoch, self.key.expose().expose()));
        Secret::new(text.as_str())
    }
}

/// Whether one of `identities` opens an age file: for tests of what must not be opened.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn opens(bytes: &[u8], identities: &[Identity]) -> bool {
    sealed::open(bytes, &identities.iter().collect::<Vec<_>>()).is_ok()
}

/// What a program holds of keys, and whose signatures it believes. Nothing is needed for a plain repository.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The epoch that new backups are encrypted to.
    pub epoch: Option<Recipient>,
    /// What chunks are named with, and in which epoch.
    pub id_key: Option<HeldIdKey>,
    /// Opens the lists of streams and chunks of that epoch.
    pub index_identity: Option<Identity>,
    /// Identities of recipients: they open key files, and so contents.
    pub identities: Vec<Identity>,
    /// What new backups are signed with.
    pub signing_key: Option<SigningKey>,
    /// Whether the policy names a key to sign with: without it no backup is written.
    pub must_sign: bool,
    /// Whose signatures are believed. If there is any, a backup without one does not count.
    pub signers: Vec<Signer>,
}

/// What is known of who made an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Signature {
    /// Nobody's signatures are asked for.
    #[default]
    NotAsked,
    /// It is signed by one whose signatures are believed.
    Good,
    /// It is not; why, for people.
    Bad(String),
}

impl Signature {
    /// Whether the object counts: nobody asks, or the signature is good.
    #[must_use]
    pub fn counts(&self) -> bool {
        !matches!(self, Self::Bad(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_key_names_its_epoch_and_one_that_does_not_is_refused_without_being_shown() {
        let epoch = Epoch::generate();
        let text = epoch.held_id_key().expose();
        assert!(text.expose().starts_with(&format!("{}:", epoch.name())));
        let read = HeldIdKey::parse(&text).unwrap();
        assert_eq!((read.epoch, read.key.bytes()), (epoch.name(), epoch.id_key.bytes()));
        let bare = epoch.id_key.expose();
        for bad in [bare.expose().to_owned(), format!("age1other:{}", bare.expose()), format!("{}:12", epoch.name())] {
            let error = HeldIdKey::parse(&Secret::new(bad)).unwrap_err().to_string();
            assert!(!error.contains(bare.expose()), "{error}");
        }
    }
}
