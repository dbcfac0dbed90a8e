//! SSH signatures (SSHSIG): what `ssh-keygen -Y sign` makes and `ssh-keygen -Y verify` checks.

use std::fmt;

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, rand_core::OsRng};

use super::{super::Error, InvalidKey};
use crate::types::{Secret, for_terminal};

/// What a signature of a manifest is for: it is worth nothing elsewhere.
pub(crate) const MANIFEST: &str = "drctl-manifest";
/// What a signature of a piece of evidence is for.
pub(crate) const EVIDENCE: &str = "drctl-evidence";
/// What a signature within the report of a verification is for: it is over what a listing tells of it.
pub(crate) const VERIFIED: &str = "drctl-verified";
/// What a signature of a mark that accepts a backup is for.
pub(crate) const ACCEPT: &str = "drctl-accept";
/// What a signature of a tombstone is for.
pub(crate) const TOMBSTONE: &str = "drctl-tombstone";
/// The longest signature that is read: one of Ed25519 has some 300 bytes.
pub(crate) const MAX_SIGNATURE: u64 = 4 << 10;

/// A key whose signatures are believed: a line as in `~/.ssh/id_ed25519.pub`.
#[derive(Clone, PartialEq, Eq)]
pub struct Signer(PublicKey);

impl Signer {
    /// Reads `ssh-ed25519 AAAA... comment`.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is no public key, or not of Ed25519.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let key = PublicKey::from_openssh(text.trim());
        let key = key.map_err(|_| InvalidKey("is no public SSH key: one begins with `ssh-ed25519 `"))?;
        if key.algorithm() == Algorithm::Ed25519 {
            Ok(Self(key))
        } else {
            Err(InvalidKey("is no key of Ed25519, the only kind that signs here; `ssh-keygen -t ed25519` makes one"))
        }
    }
}

impl Signer {
    /// Whether both are the same key, whatever their comments say.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&for_terminal(&self.0.to_openssh().unwrap_or_default()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.0.fingerprint(HashAlg::Sha256))
    }
}

/// The secret key that signs. It is cleared from memory, and never shown.
#[derive(Clone)]
pub struct SigningKey(PrivateKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {:?})", self.signer())
    }
}

impl SigningKey {
    /// A new one, by chance, with a comment that its public key shows.
    ///
    /// # Errors
    /// [`Error::Internal`] if the machine has no randomness.
    pub fn generate(comment: &str) -> Result<Self, Error> {
        let failed = |error: ssh_key::Error| Error::Internal(format!("no signing key could be made: {error}"));
        let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
        key.set_comment(comment);
        Ok(Self(key))
    }

    /// Reads a secret key as `ssh-keygen -t ed25519` writes it, without a passphrase.
    ///
    /// # Errors
    /// [`InvalidKey`], which shows none of it.
    pub fn parse(text: &Secret) -> Result<Self, InvalidKey> {
        let key = PrivateKey::from_openssh(text.expose());
        let key =
            key.map_err(|_| InvalidKey("is no secret SSH key: one begins with `-----BEGIN OPENSSH PRIVATE KEY`"))?;
        if key.is_encrypted() {
            return Err(InvalidKey("has a passphrase, which nobody can be asked for here"));
        }
        if key.algorithm() == Algorithm::Ed25519 {
            Ok(Self(key))
        } else {
            Err(InvalidKey("is no key of Ed25519, the only kind that signs here; `ssh-keygen -t ed25519` makes one"))
        }
    }

    /// Its public key.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer(self.0.public_key().clone())
    }

    /// The key as `ssh-keygen` writes it. Never log it.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written.
    pub fn expose(&self) -> Result<Secret, Error> {
        let text = self.0.to_openssh(LineEnding::LF);
        let text = text.map_err(|error| Error::Internal(format!("a signing key cannot be written: {error}")))?;
        Ok(Secret::new(text.as_str()))
    }

    /// The signature of `bytes`, the same each time.
    pub(crate) fn sign(&self, namespace: &str, bytes: &[u8]) -> Result<String, Error> {
        let signed = self.0.sign(namespace, HashAlg::Sha512, bytes).and_then(|signed| signed.to_pem(LineEnding::LF));
        signed.map_err(|error| Error::Internal(format!("an object cannot be signed: {error}")))
    }
}

/// Which of `signers` has signed `bytes`.
///
/// # Errors
/// Why none of them has, for people.
pub(crate) fn check(signature: &[u8], namespace: &str, bytes: &[u8], signers: &[Signer]) -> Result<Signer, String> {
    let signature = SshSig::from_pem(signature).map_err(|_| "its signature is no SSH signature".to_owned())?;
    let by = |signer: &&Signer| signer.0.key_data() == signature.public_key();
    let Some(signer) = signers.iter().find(by) else {
        let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256);
        return Err(format!("it is signed by a key that is not trusted ({fingerprint})"));
    };
    match signer.0.verify(namespace, bytes, &signature) {
        Ok(()) => Ok(signer.clone()),
        Err(ssh_key::Error::Namespace) => Err("its signature was made for something else".to_owned()),
        Err(_) => Err("its signature is of other bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_one_text_and_one_purpose() {
        let (mine, other) = (SigningKey::generate("drctl").unwrap(), SigningKey::generate("drctl").unwrap());
        let signers = [other.signer(), mine.signer()];
        let signed = mine.sign(MANIFEST, b"text").unwrap();
        assert!(signed.starts_with("-----BEGIN SSH SIGNATURE-----\n"), "{signed}");
        assert_eq!(signed, mine.sign(MANIFEST, b"text").unwrap());
        assert_eq!(check(signed.as_bytes(), MANIFEST, b"text", &signers), Ok(mine.signer()));
        let why = |namespace, bytes: &[u8], signers: &[Signer]| {
            check(signed.as_bytes(), namespace, bytes, signers).unwrap_err()
        };
        assert_eq!(why(MANIFEST, b"texts", &signers), "its signature is of other bytes");
        assert_eq!(why(EVIDENCE, b"text", &signers), "its signature was made for something else");
        let stranger = why(MANIFEST, b"text", &[other.signer()]);
        assert!(stranger.starts_with("it is signed by a key that is not trusted (SHA256:"), "{stranger}");
        assert_eq!(check(b"x", MANIFEST, b"text", &signers).unwrap_err(), "its signature is no SSH signature");
    }

    #[test]
    fn keys_are_read_as_ssh_keygen_writes_them_and_never_shown() {
        let key = SigningKey::generate("drctl orders").unwrap();
        let text = key.expose().unwrap();
        assert!(text.expose().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        let read = SigningKey::parse(&text).unwrap();
        assert_eq!(read.signer(), key.signer());
        let line = key.signer().to_string();
        assert!(line.starts_with("ssh-ed25519 AAAA") && line.ends_with(" drctl orders"), "{line}");
        assert_eq!(Signer::parse(&line).unwrap(), key.signer());
        assert!(!format!("{key:?}").contains("PRIVATE"));
        for bad in ["", "age1", "ssh-ed25519 hunter2", text.expose()] {
            assert!(!Signer::parse(bad).unwrap_err().to_string().contains("hunter2"));
            assert!(bad == text.expose() || SigningKey::parse(&Secret::new(bad)).is_err());
        }
    }
}
