//! What a policy says of encryption.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// Whether the contents of a repository are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EncryptionForm", into = "EncryptionForm")]
pub enum Encryption {
    /// Not encrypted: who reads the store reads the Secrets in it.
    None,
    /// Encrypted to an epoch.
    Age(Box<AgeEncryption>),
}

/// How the contents of a repository are encrypted, and where keys are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct AgeEncryption {
    /// The public key of the epoch that new backups are encrypted to, as `drctl repository init` prints it. Absent
    /// only until the repository is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The public keys of those who may read (`age1...`): the next epoch is encrypted to them.
    #[schemars(length(min = 1))]
    pub recipients: Vec<String>,
    /// What chunks are named with. Absent: the environment variable `DRCTL_ID_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key: Option<SecretRef>,
    /// What opens the lists of earlier backups, and no contents. Absent: the environment variable
    /// `DRCTL_INDEX_IDENTITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_identity: Option<SecretRef>,
    /// The secret key of a recipient, which opens contents: never in a cluster that is backed up. Absent: the
    /// environment variable `DRCTL_IDENTITY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SecretRef>,
}

/// The form of [`Encryption`] in a policy file: a word, or keys and values.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum EncryptionForm {
    /// Not encrypted.
    Word(Word),
    /// Encrypted to an epoch.
    Age(Box<AgeEncryption>),
}

/// Not encrypted: who reads the store reads the Secrets in it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// Nothing is encrypted.
    None,
}

impl From<EncryptionForm> for Encryption {
    fn from(form: EncryptionForm) -> Self {
        match form {
            EncryptionForm::Word(Word::None) => Self::None,
            EncryptionForm::Age(age) => Self::Age(age),
        }
    }
}

impl From<Encryption> for EncryptionForm {
    fn from(encryption: Encryption) -> Self {
        match encryption {
            Encryption::None => Self::Word(Word::None),
            Encryption::Age(age) => Self::Age(age),
        }
    }
}
