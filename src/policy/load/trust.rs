//! What a policy pins of a repository: its id, its epoch, its recipients and signers.
//!
//! Only the form of keys is looked at here. Whether they are keys, who uses them says.

use super::{
    decode::Decoder,
    document::secret,
    node::{Node, Value},
    problem::Problem,
};
use crate::policy::{AgeEncryption, Encryption};

const KEYS: [&str; 5] = ["epoch", "recipients", "idKey", "indexIdentity", "identity"];

/// `repository.encryption`. `None` only if the decoder has got a problem.
pub(super) fn encryption(decoder: &mut Decoder, node: &Node) -> Option<Encryption> {
    match &node.value {
        Value::Text(text) if text == "none" => Some(Encryption::None),
        Value::Table(_) => age(decoder, node).map(|age| Encryption::Age(Box::new(age))),
        _ => {
            let problem = Problem::new(node.place, "`repository.encryption` must be `none`, or name recipients");
            decoder.report(
                problem.help("write `encryption: {recipients: [age1...]}`; `age-keygen` makes a recipient's key"),
            );
            None
        }
    }
}

fn age(decoder: &mut Decoder, node: &Node) -> Option<AgeEncryption> {
    let path = "repository.encryption";
    let table = decoder.table(node, path, &KEYS, &[])?;
    let epoch = table.get("epoch").and_then(|node| decoder.parsed(node, &table.path_of("epoch"), age_key));
    let mut recipients = Vec::new();
    if let Some(node) = decoder.required(&table, "recipients") {
        let texts = decoder.texts(node, &table.path_of("recipients"));
        if texts.as_ref().is_some_and(Vec::is_empty) {
            let problem = Problem::new(node.place, "`repository.encryption.recipients` is empty: nobody could read");
            decoder.report(problem.help("name at least one public key; `age-keygen` makes one"));
        }
        for (place, text) in texts.unwrap_or_default() {
            match age_key(text) {
                Ok(key) => recipients.push(key),
                Err(why) => {
                    // A secret key in the place of a public one is not shown.
                    decoder.report(Problem::new(place, why).hidden());
                }
            }
        }
    }
    let mut reference = |key: &str| table.get(key).and_then(|node| secret(decoder, node, key));
    let (id_key, index_identity) = (reference("idKey"), reference("indexIdentity"));
    Some(AgeEncryption { epoch, recipients, id_key, index_identity, identity: reference("identity") })
}

/// A public key of age.
fn age_key(text: &str) -> Result<String, String> {
    let form = text.len() == 62
        && text.starts_with("age1")
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if form {
        Ok(text.to_owned())
    } else {
        Err("`repository.encryption` needs public keys of age: `age1` and 58 letters and digits".to_owned())
    }
}

/// The identity of a repository.
pub(super) fn repository_id(text: &str) -> Result<String, String> {
    let form = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if form {
        Ok(text.to_owned())
    } else {
        Err("`repository.id` must be 32 lower-case hexadecimal characters".to_owned())
    }
}

/// `repository.signers`.
pub(super) fn signers(decoder: &mut Decoder, node: &Node) -> Vec<String> {
    let mut signers = Vec::new();
    let texts = decoder.texts(node, "repository.signers");
    if texts.as_ref().is_some_and(Vec::is_empty) {
        let problem = Problem::new(node.place, "`repository.signers` is empty: whose signatures are believed?");
        decoder.report(problem.help("leave it out if signatures are not asked for"));
    }
    for (place, text) in texts.unwrap_or_default() {
        if text.starts_with("ssh-ed25519 AAAA") {
            signers.push(text.to_owned());
        } else {
            let message = "a signer must be a public SSH key of Ed25519, `ssh-ed25519 AAAA...`";
            decoder.report(Problem::new(place, message).hidden());
        }
    }
    signers
}
