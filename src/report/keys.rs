//! What `drctl repository init` and `drctl repository recipients` say of keys: never a secret one.

use schemars::JsonSchema;
use serde::Serialize;

use super::Document;
use crate::types::for_terminal;

/// What a policy has to say of a repository under `repository:`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPins {
    /// `id`.
    pub id: String,
    /// What belongs under `signers`, beside those that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// `encryption.epoch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// `encryption.recipients`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

impl PolicyPins {
    /// The lines of a policy file.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = format!("repository:\n  id: \"{}\"\n", self.id);
        if !self.signers.is_empty() {
            lines.push_str("  signers:\n");
            self.signers.iter().for_each(|signer| lines.push_str(&format!("    - {signer}\n")));
        }
        if let Some(epoch) = &self.epoch {
            lines.push_str(&format!("  encryption:\n    epoch: {epoch}\n    recipients:\n"));
            self.recipients.iter().for_each(|recipient| lines.push_str(&format!("      - {recipient}\n")));
        }
        lines
    }
}

/// The epochs of a repository and their key files.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecipientList {
    /// The repository's URL.
    pub repository: String,
    /// The epoch that the policy pins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The recipients that the policy names.
    pub recipients: Vec<String>,
    /// The epochs.
    pub epochs: Vec<EpochItem>,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpochItem {
    /// Its public key.
    pub epoch: String,
    /// The repository was made with it.
    pub first: bool,
    /// Its key files.
    pub files: Vec<KeyFileItem>,
}

/// One key file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyFileItem {
    /// Its number.
    pub number: u32,
    /// Whom it is for; absent if the identity that is given does not open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Vec<String>>,
    /// Why it is no key file of this repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

impl Document for RecipientList {
    const KIND: &'static str = "RecipientList";
}

impl RecipientList {
    /// The list for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for epoch in &self.epochs {
            let pinned = if self.pinned.as_ref() == Some(&epoch.epoch) { " (the policy pins it)" } else { "" };
            text.push_str(&format!("epoch {}{pinned}\n", for_terminal(&epoch.epoch)));
            for file in &epoch.files {
                let what = match (&file.wrong, &file.recipients) {
                    (Some(wrong), _) => wrong.clone(),
                    (None, Some(recipients)) => format!("opened; it is for {}", recipients.join(", ")),
                    (None, None) => "not opened by an identity that is given".to_owned(),
                };
                text.push_str(&format!("  key file {}: {}\n", file.number, for_terminal(&what)));
            }
        }
        if self.epochs.is_empty() {
            text.push_str("no epochs: the repository is not encrypted\n");
        }
        self.recipients.iter().for_each(|recipient| text.push_str(&format!("the policy names {recipient}\n")));
        text
    }
}

/// A recipient was added, or an epoch begun.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecipientsChanged {
    /// The repository's URL.
    pub repository: String,
    /// A new epoch was begun; else the pinned one has a recipient more.
    pub new_epoch: bool,
    /// What the policy has to say now.
    pub policy: PolicyPins,
    /// The file in which what a cluster needs was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_secret: Option<String>,
}

impl Document for RecipientsChanged {
    const KIND: &'static str = "RecipientsChanged";
}

impl RecipientsChanged {
    /// What was done, and what is next, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let done = match self.new_epoch {
            true => "a new epoch was begun: backups are encrypted to it once the policy pins it",
            false => "the epoch has a recipient more",
        };
        let mut text = format!("{done}\n{}", next_lines(&self.policy, self.cluster_secret.as_deref()));
        if self.new_epoch && self.policy.signers.len() == 1 {
            text.push_str(
                "\nUntil now the policy pins no signer. Once it pins this one, older backups do not count: to restore one takes\n\
                 --allow-unsigned. Pin the key that has signed them as well, if there is one.\n",
            );
        }
        if self.new_epoch && self.policy.signers.len() > 1 {
            text.push_str(
                "\nThe old signer stays above, because it has signed the backups that are there. If what the cluster held was \
                 stolen, take it\nout of `signers`: who has its key can sign backups. Older backups do not count then: to restore \
                 one takes\n--allow-unsigned, and the next backup is a full one.\n",
            );
        }
        text
    }
}

/// What a person has to do with new keys.
pub(super) fn next_lines(policy: &PolicyPins, cluster_secret: Option<&str>) -> String {
    let mut text = format!("\nThe policy has to say:\n\n{}", policy.lines());
    if let Some(path) = cluster_secret {
        text.push_str(&format!(
            "\nWhat a cluster needs to write backups is in {}: apply it where backups run, and delete the file.\n\
             It opens no contents: that takes the identity of a recipient.\n",
            for_terminal(path)
        ));
    }
    text
}
