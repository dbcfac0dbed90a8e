//! Who made an object: signatures put beside manifests and evidence, and checked when they are read.
//!
//! One question decides everywhere whether a backup counts: [`StoredManifest::counts`], which a listing keeps in
//! [`super::Summary::signature`] and [`super::BackupEntry::is_good`] asks.

use super::{
    Error, Repository, StoredManifest,
    backend::{self, ErrorKind, Key},
    crypt::{
        Signature,
        signature::{self, MAX_SIGNATURE},
    },
    layout,
    objects::put_own,
};

impl StoredManifest {
    /// Whether the backup counts: as `latest`, as parent, for retention, for a restore. Where signers are pinned, one
    /// that none of them has signed does not.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.signature.counts()
    }

    /// Refuses a backup that does not count, unless somebody says that it may.
    ///
    /// # Errors
    /// [`Error::Unsigned`].
    pub fn refuse_unsigned(&self, allow: bool) -> Result<(), Error> {
        match &self.signature {
            Signature::Bad(reason) if !allow => {
                Err(Error::Unsigned { backup: self.manifest.backup.clone(), reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl Repository {
    /// Whether signatures are asked for.
    pub(crate) fn asks_for_signatures(&self) -> bool {
        !self.access.signers.is_empty()
    }

    /// Refuses to write a backup that would not count, or that the policy wants to be signed and that would not be.
    pub(crate) fn check_signing_key(&self) -> Result<(), Error> {
        let location = || self.location().to_owned();
        match &self.access.signing_key {
            None if self.asks_for_signatures() || self.access.must_sign => {
                Err(Error::NoSigningKey { location: location() })
            }
            None => Ok(()),
            Some(_) if !self.asks_for_signatures() => Ok(()),
            Some(key) if self.access.signers.iter().any(|signer| signer.same_key(&key.signer())) => Ok(()),
            Some(key) => Err(Error::SigningKeyNotPinned { location: location(), signer: key.signer().to_string() }),
        }
    }

    /// Puts the signature of an object beside it, if there is a key to sign with.
    pub(crate) async fn put_signature(&self, key: &Key, namespace: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some(signing_key) = &self.access.signing_key else { return Ok(()) };
        let signed = signing_key.sign(namespace, bytes)?;
        put_own(&*self.backend, &layout::signature(key), signed.into()).await
    }

    /// An object and whether one of the signers has signed it.
    pub(crate) async fn get_signed(
        &self,
        key: &Key,
        namespace: &str,
        limit: u64,
    ) -> Result<(bytes::Bytes, Signature), Error> {
        let object = self.backend.get(key, limit);
        if !self.asks_for_signatures() {
            let bytes = object.await.map_err(|error| Error::reading(key, error))?;
            return Ok((bytes, Signature::NotAsked));
        }
        let beside = layout::signature(key);
        let (object, signature) = futures::join!(object, self.backend.get(&beside, MAX_SIGNATURE));
        let bytes = object.map_err(|error| Error::reading(key, error))?;
        let signature = self.judge(namespace, &bytes, signature)?;
        Ok((bytes, signature))
    }

    /// Whether one of the signers has signed `bytes`, by the signature beside the object that they are.
    pub(crate) async fn signature_beside(&self, key: &Key, namespace: &str, bytes: &[u8]) -> Result<Signature, Error> {
        let signature = self.backend.get(&layout::signature(key), MAX_SIGNATURE).await;
        self.judge(namespace, bytes, signature)
    }

    fn judge(
        &self,
        namespace: &str,
        bytes: &[u8],
        signature: Result<bytes::Bytes, backend::Error>,
    ) -> Result<Signature, Error> {
        let bad = |why: &str| Ok(Signature::Bad(why.to_owned()));
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) if error.is_not_found() => return bad("it is not signed"),
            Err(error) if matches!(error.kind, ErrorKind::TooLarge | ErrorKind::NotAnObject) => {
                return bad("its signature is no SSH signature");
            }
            Err(error) => return Err(error.into()),
        };
        match signature::check(&signature, namespace, bytes, &self.access.signers) {
            Ok(_) => Ok(Signature::Good),
            Err(why) => Ok(Signature::Bad(why)),
        }
    }
}
