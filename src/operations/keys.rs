//! Keys: those that a policy, the environment and the command line give; and new ones, for a repository, an epoch, a
//! recipient.

use std::path::PathBuf;

use super::{
    Error, Run,
    repositories::{free, made},
};
use crate::{
    policy::{self, AgeEncryption, Encryption, Policy, SecretRef},
    repository::{
        Repository,
        crypt::{Access, Epoch, HeldIdKey, Identity, InvalidKey, Recipient, Signer, SigningKey},
    },
    types::Secret,
};

/// The environment variable of the id key.
pub(super) const ID_KEY: &str = "DRCTL_ID_KEY";
/// The environment variable of the index identity.
pub(super) const INDEX_IDENTITY: &str = "DRCTL_INDEX_IDENTITY";
/// The environment variable of the key that signs.
pub(super) const SIGNING_KEY: &str = "DRCTL_SIGNING_KEY";
/// The environment variable of a recipient's identity.
pub(super) const IDENTITY: &str = "DRCTL_IDENTITY";

/// What the command line gives of keys.
#[derive(Debug, Clone, Default)]
pub struct KeyOptions {
    /// A file with identities of recipients, as `age-keygen` writes it.
    pub identity: Option<PathBuf>,
    /// Public SSH keys whose signatures are believed, beside those of the policy.
    pub signers: Vec<String>,
}

/// Keys that were made just now, and what a policy has to say of them.
#[derive(Debug, Clone)]
pub struct NewKeys {
    /// The new epoch, if there is one.
    pub epoch: Option<Epoch>,
    /// Whom it is for.
    pub recipients: Vec<Recipient>,
    /// The new key that signs.
    pub signing_key: Option<SigningKey>,
}

impl NewKeys {
    /// What a cluster needs to write backups, as environment variables: nothing of it opens contents.
    ///
    /// # Errors
    /// [`Error::Repository`] if a key cannot be written as text.
    pub fn of_cluster(&self) -> Result<Vec<(&'static str, Secret)>, Error> {
        let mut held = Vec::new();
        if let Some(epoch) = &self.epoch {
            held.push((ID_KEY, epoch.held_id_key().expose()));
            held.push((INDEX_IDENTITY, epoch.index_identity.expose()));
        }
        if let Some(key) = &self.signing_key {
            held.push((SIGNING_KEY, key.expose()?));
        }
        Ok(held)
    }
}

fn unusable(what: &str, error: InvalidKey) -> Error {
    Error::UnusableKey { what: what.to_owned(), why: error.to_string() }
}

/// The value of a reference, or else of an environment variable. What is not there may not be needed: who needs it
/// says so.
fn secret(reference: Option<&SecretRef>, variable: &str) -> Result<Option<Secret>, Error> {
    let unset = || std::env::var_os(variable).is_none_or(|value| value.is_empty());
    match reference {
        Some(SecretRef::File(path)) if matches!(path.try_exists(), Ok(false)) => Ok(None),
        Some(SecretRef::Env(name)) if std::env::var_os(name).is_none() => Ok(None),
        Some(reference) => Ok(Some(reference.resolve()?)),
        None if unset() => Ok(None),
        None => Ok(Some(SecretRef::Env(variable.to_owned()).resolve()?)),
    }
}

/// All keys that are given for a repository, with a policy or without one.
pub(super) fn access(policy: Option<&policy::Repository>, given: &KeyOptions) -> Result<Access, Error> {
    let age = policy.and_then(|policy| match &policy.encryption {
        Encryption::Age(age) => Some(&**age),
        Encryption::None => None,
    });
    let epoch = age.and_then(|age| age.epoch.as_deref()).map(Recipient::parse).transpose();
    let epoch = epoch.map_err(|error| unusable("`repository.encryption.epoch`", error))?;
    let mut access = Access { epoch, ..Access::default() };
    if let Some(age) = age {
        if let Some(text) = secret(age.id_key.as_ref(), ID_KEY)? {
            access.id_key = Some(HeldIdKey::parse(&text).map_err(|error| unusable("the id key", error))?);
        }
        if let Some(text) = secret(age.index_identity.as_ref(), INDEX_IDENTITY)? {
            let identity = Identity::parse(&text).map_err(|error| unusable("the index identity", error))?;
            access.index_identity = Some(identity);
        }
    }
    let identity = match &given.identity {
        Some(path) => Some(SecretRef::File(path.clone()).resolve()?),
        None => secret(age.and_then(|age| age.identity.as_ref()), IDENTITY)?,
    };
    if let Some(text) = identity {
        access.identities = Identity::parse_file(&text).map_err(|error| unusable("the identity", error))?;
    }
    let signing_key = policy.and_then(|policy| policy.signing_key.as_ref());
    access.must_sign = signing_key.is_some();
    if let Some(text) = secret(signing_key, SIGNING_KEY)? {
        access.signing_key = Some(SigningKey::parse(&text).map_err(|error| unusable("the signing key", error))?);
    }
    let signers = policy.map(|policy| policy.signers.as_slice()).unwrap_or_default();
    for signer in signers.iter().chain(&given.signers) {
        access.signers.push(
            Signer::parse(signer)
                .map_err(|error| unusable(&format!("the signer `{}`", policy::named(signer)), error))?,
        );
    }
    Ok(access)
}

/// The keys of a new repository: for an encrypted one an epoch; where `signed`, or where it is encrypted and the policy
/// pins no signers yet, a key that signs. Nothing is written: who keeps them does so before [`initialise`].
///
/// # Errors
/// [`Error::PolicyContradictsRepository`] if the policy pins an epoch already; a recipient that is none.
pub fn new_keys(policy: &Policy, signed: bool) -> Result<NewKeys, Error> {
    let pinned = !policy.repository.signers.is_empty();
    let age = match &policy.repository.encryption {
        Encryption::Age(age) => Some(age),
        Encryption::None => None,
    };
    if let Some(AgeEncryption { epoch: Some(_), .. }) = age.map(|age| &**age) {
        let what = "the policy pins an epoch already; leave `epoch` out until the repository is made".to_owned();
        return Err(Error::PolicyContradictsRepository { location: policy.repository.url.to_string(), what });
    }
    let recipients = age.map(|age| recipients_of(age)).transpose()?.unwrap_or_default();
    let signing_key = match (signed || age.is_some()) && !pinned {
        true => Some(SigningKey::generate(&format!("drctl {}", policy.name))?),
        false => None,
    };
    Ok(NewKeys { epoch: age.map(|_| Epoch::generate()), recipients, signing_key })
}

/// Makes the repository that a policy names, with these keys.
///
/// # Errors
/// [`Error`]; an existing repository is left as it was.
pub async fn initialise(policy: &Policy, keys: &NewKeys, run: &Run) -> Result<Repository, Error> {
    made(policy, keys.epoch.as_ref(), &keys.recipients, run.clock.as_ref()).await
}

/// Refuses a place where no repository can be made, before keys are kept for it.
///
/// # Errors
/// As [`initialise`]; nothing is written, but that a local folder is made.
pub async fn refuse_taken(policy: &Policy) -> Result<(), Error> {
    free(policy).await.map(drop)
}

fn recipients_of(age: &AgeEncryption) -> Result<Vec<Recipient>, Error> {
    let parse = |text: &String| {
        let what = format!("the recipient `{}`", crate::types::for_terminal(text));
        Recipient::parse(text).map_err(|error| unusable(&what, error))
    };
    age.recipients.iter().map(parse).collect()
}

/// The recipients that a policy names, and the epoch that it pins.
fn pinned(policy: &Policy) -> Result<(Option<Recipient>, Vec<Recipient>), Error> {
    let Encryption::Age(age) = &policy.repository.encryption else {
        let what = "the policy says `encryption: none`: there are no recipients".to_owned();
        return Err(Error::PolicyContradictsRepository { location: policy.repository.url.to_string(), what });
    };
    let epoch = age.epoch.as_deref().map(Recipient::parse).transpose();
    Ok((epoch.map_err(|error| unusable("`repository.encryption.epoch`", error))?, recipients_of(age)?))
}

/// Lets one more recipient read all backups of the pinned epoch. An identity of a recipient is needed. Gives the
/// number of the new key file and whom it is for.
///
/// # Errors
/// [`Error`]; then nothing was written.
pub async fn add_recipient(
    repository: &Repository,
    policy: &Policy,
    recipient: &str,
    run: &Run,
) -> Result<(u32, Vec<Recipient>), Error> {
    let (epoch, _) = pinned(policy)?;
    let location = || repository.location().to_owned();
    let epoch = epoch.ok_or_else(|| crate::repository::Error::NoEpochPinned { location: location() })?;
    let new = Recipient::parse(recipient).map_err(|error| unusable("the recipient", error))?;
    let (keys, mut recipients) = repository.open_keys(&epoch).await?;
    if recipients.contains(&new) {
        let what = format!("{new} is a recipient of the epoch already");
        return Err(Error::PolicyContradictsRepository { location: location(), what });
    }
    recipients.push(new);
    loop {
        let number = repository.put_key_file(&keys, &recipients, run.clock.now()).await?;
        // Whom others have added at the same time is in their file alone: the newest file names all.
        let (_, now) = repository.open_keys(&epoch).await?;
        if now.iter().all(|one| recipients.contains(one)) {
            return Ok((number, recipients));
        }
        recipients = now;
    }
}

/// The keys of a new epoch for the recipients that the policy names, without `removed`, and always a key that signs. New
/// backups are encrypted to it once it is begun and the policy pins it; nothing that is there changes, and who was removed
/// still reads that. Nothing is written: who keeps the keys does so before [`begin_epoch`].
///
/// # Errors
/// [`Error`] if the policy or the repository does not fit.
pub fn new_epoch(repository: &Repository, policy: &Policy, removed: Option<&str>) -> Result<NewKeys, Error> {
    let (_, mut recipients) = pinned(policy)?;
    let contradiction =
        |what: String| Error::PolicyContradictsRepository { location: repository.location().to_owned(), what };
    if let Some(removed) = removed {
        let removed = Recipient::parse(removed).map_err(|error| unusable("the recipient", error))?;
        let before = recipients.len();
        recipients.retain(|recipient| *recipient != removed);
        if recipients.len() == before {
            return Err(contradiction(format!("{removed} is no recipient that the policy names")));
        }
        if recipients.is_empty() {
            return Err(contradiction(format!("without {removed} nobody could read; add another recipient first")));
        }
    }
    if !repository.is_encrypted() {
        return Err(contradiction("it is not encrypted, and cannot become so; make another repository".to_owned()));
    }
    // What the cluster held was perhaps stolen: it gets another key that signs, too. An encrypted repository is signed.
    let signing_key = Some(SigningKey::generate(&format!("drctl {}", policy.name))?);
    Ok(NewKeys { epoch: Some(Epoch::generate()), recipients, signing_key })
}

/// Begins the epoch of `keys`.
///
/// # Errors
/// What the store says.
pub async fn begin_epoch(repository: &Repository, keys: &NewKeys, run: &Run) -> Result<(), Error> {
    match &keys.epoch {
        Some(epoch) => Ok(repository.put_key_file(epoch, &keys.recipients, run.clock.now()).await.map(drop)?),
        None => Ok(()),
    }
}

/// B1: the repository is what the policy says it is.
pub(super) fn check_pins(policy: &policy::Repository, repository: &Repository) -> Result<(), Error> {
    let contradiction =
        |what: String| Err(Error::PolicyContradictsRepository { location: repository.location().to_owned(), what });
    match &policy.encryption {
        Encryption::None if repository.is_encrypted() => {
            return contradiction("the policy says `encryption: none`, and the repository is encrypted".to_owned());
        }
        Encryption::Age(_) if !repository.is_encrypted() => {
            let what = "the policy says that it is encrypted, and its `repository.json` says that it is not: it is another \
                        repository, or was changed";
            return contradiction(what.to_owned());
        }
        Encryption::None | Encryption::Age(_) => {}
    }
    let found = repository.header().id.as_str();
    match policy.id.as_deref().filter(|pinned| *pinned != found) {
        Some(pinned) => contradiction(format!("the policy pins the repository {pinned}, and this is {found}")),
        None => Ok(()),
    }
}
