//! `keys/<epoch>-<n>.age`: an epoch's secrets, encrypted to those who may read.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    super::{
        Error,
        backend::Key,
        control::{self, Control},
        header::RepositoryId,
        tool,
    },
    HeldIdKey, IdKey, Identity, Recipient,
    sealed::{self, NotOpened},
};
use crate::types::{Secret, for_terminal};

/// The largest key file that is read.
pub(crate) const MAX_KEY_FILE: u64 = 64 << 10;

/// The secrets of an epoch, as an administrator has them.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Opens all that was stored in it; its public key is the epoch's name.
    pub identity: Identity,
    /// What chunks are named with.
    pub id_key: IdKey,
    /// Opens the lists of streams and chunks, and no contents.
    pub index_identity: Identity,
}

impl Epoch {
    /// A new one, by chance.
    #[must_use]
    pub fn generate() -> Self {
        Self { identity: Identity::generate(), id_key: IdKey::generate(), index_identity: Identity::generate() }
    }

    /// Its name: the public key that contents are encrypted to.
    #[must_use]
    pub fn name(&self) -> Recipient {
        self.identity.recipient()
    }

    /// The id key with its epoch, as a cluster holds it.
    #[must_use]
    pub fn held_id_key(&self) -> HeldIdKey {
        HeldIdKey { epoch: self.name(), key: self.id_key.clone() }
    }
}

/// What a key file holds, inside the encryption: a control object.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contents {
    repository: RepositoryId,
    epoch: String,
    secret_key: Zeroizing<String>,
    id_key: Zeroizing<String>,
    index_identity: Zeroizing<String>,
    recipients: Vec<String>,
    created: Timestamp,
    tool: String,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Control for Contents {
    const KIND: &'static str = "key";
}

/// A key file that was opened.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile {
    pub(crate) epoch: Epoch,
    /// Whom it is for, as it says itself.
    pub(crate) recipients: Vec<Recipient>,
}

/// The bytes of a key file of `epoch` for `recipients`.
pub(crate) fn encode(
    repository: &RepositoryId,
    epoch: &Epoch,
    recipients: &[Recipient],
    created: Timestamp,
) -> Result<Bytes, Error> {
    let secret = |secret: Secret| Zeroizing::new(secret.expose().to_owned());
    let contents = Contents {
        repository: repository.clone(),
        epoch: epoch.name().to_string(),
        secret_key: secret(epoch.identity.expose()),
        id_key: secret(epoch.id_key.expose()),
        index_identity: secret(epoch.index_identity.expose()),
        recipients: recipients.iter().map(Recipient::to_string).collect(),
        created,
        tool: tool(),
        unknown: Map::new(),
    };
    let plain = Zeroizing::new(Vec::from(control::encode(&contents)?));
    sealed::seal(&plain, &recipients.iter().collect::<Vec<_>>())
}

/// Why a key file gives no epoch.
#[derive(Debug)]
pub(crate) enum NoEpoch {
    /// It is for others.
    OtherKeys,
    /// It belongs to another repository or another epoch, or is damaged.
    Wrong(Error),
}

/// Opens a key file that lies under `key` and should be of `epoch`.
pub(crate) fn decode(
    key: &Key,
    repository: &RepositoryId,
    epoch: &Recipient,
    bytes: &[u8],
    identities: &[Identity],
) -> Result<KeyFile, NoEpoch> {
    let damaged = |reason: &str| NoEpoch::Wrong(Error::damaged(key, reason));
    let opened = sealed::open(bytes, &identities.iter().collect::<Vec<_>>());
    let plain = Zeroizing::new(opened.map_err(|error| match error {
        NotOpened::OtherKeys => NoEpoch::OtherKeys,
        NotOpened::Damaged(reason) => damaged(&reason),
    })?);
    let contents: Contents = control::decode(&plain).map_err(|_| damaged("it holds no keys of drctl"))?;
    if contents.repository != *repository {
        let (object, of) = (for_terminal(key.as_str()).into_owned(), contents.repository.to_string());
        return Err(NoEpoch::Wrong(Error::ForeignKeyFile { object, of, repository: repository.to_string() }));
    }
    let secret = |text: &str| Secret::new(text);
    let keys = || {
        let identity = Identity::parse(&secret(&contents.secret_key)).ok()?;
        let id_key = IdKey::parse(&secret(&contents.id_key)).ok()?;
        let index_identity = Identity::parse(&secret(&contents.index_identity)).ok()?;
        Some(Epoch { identity, id_key, index_identity })
    };
    let found = keys().ok_or_else(|| damaged("a key in it is none"))?;
    if found.name() != *epoch || contents.epoch != epoch.to_string() {
        return Err(damaged("it holds the keys of another epoch than its name says"));
    }
    let recipients = contents.recipients.iter().take(1_000).filter_map(|text| Recipient::parse(text).ok()).collect();
    Ok(KeyFile { epoch: found, recipients })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_opened_by_its_recipients_for_its_repository_and_its_epoch() {
        let (mine, other, epoch) = (Identity::generate(), Identity::generate(), Epoch::generate());
        let (here, elsewhere) = (RepositoryId::random(), RepositoryId::random());
        let key = Key::new("keys/x-1.age").unwrap();
        let bytes = encode(&here, &epoch, &[mine.recipient()], "2026-11-20T02:00:00Z".parse().unwrap()).unwrap();
        let open = |repository, epoch: &Recipient, identity: &Identity| {
            decode(&key, repository, epoch, &bytes, std::slice::from_ref(identity))
        };
        let opened = open(&here, &epoch.name(), &mine).unwrap();
        assert_eq!(opened.recipients, [mine.recipient()]);
        assert_eq!(opened.epoch.identity.recipient(), epoch.name());
        assert_eq!(opened.epoch.id_key.bytes(), epoch.id_key.bytes());
        assert!(matches!(open(&here, &epoch.name(), &other), Err(NoEpoch::OtherKeys)));
        let Err(NoEpoch::Wrong(foreign)) = open(&elsewhere, &epoch.name(), &mine) else { panic!("taken") };
        assert!(matches!(foreign, Error::ForeignKeyFile { .. }), "{foreign}");
        let Err(NoEpoch::Wrong(renamed)) = open(&here, &other.recipient(), &mine) else { panic!("taken") };
        assert!(renamed.is_damage(), "{renamed}");
    }
}
