//! What was found of keys, in words: what backups are encrypted to, and whether the identity that is given opens it.

use crate::{
    policy::{self, Encryption},
    repository::{
        Error as RepositoryError, Repository,
        crypt::{EpochFiles, Recipient},
    },
    sources::{Finding, Severity},
    types::{counted, for_terminal},
};

/// The findings about keys. That all is held which a backup needs was seen before.
///
/// # Errors
/// What the store says of the key files; they are looked at only where an identity is given.
pub(super) async fn findings(
    asked: &policy::Repository,
    repository: &Repository,
) -> Result<Vec<Finding>, RepositoryError> {
    let access = repository.access();
    let mut found = Vec::new();
    if let (false, Some(key)) = (access.signers.is_empty(), &access.signing_key) {
        found.push(good(format!("backups are signed by {}, which is pinned", key.signer())));
    }
    let Some(pinned) = access.epoch.as_ref().filter(|_| repository.is_encrypted()) else { return Ok(found) };
    found.push(good(format!("backups are encrypted to the epoch {pinned}")));
    if access.identities.is_empty() {
        found.push(good(
            "no identity is given: what is held here writes backups, and cannot read their contents".into(),
        ));
        return Ok(found);
    }
    for epoch in repository.epoch_files().await? {
        of_epoch(&epoch, pinned, asked, &mut found);
    }
    Ok(found)
}

fn of_epoch(epoch: &EpochFiles, pinned: &Recipient, asked: &policy::Repository, found: &mut Vec<Finding>) {
    let EpochFiles { epoch: name, files, .. } = epoch;
    let is_pinned = name == pinned;
    for wrong in files.iter().filter_map(|file| file.wrong.as_ref()) {
        found.push(note(format!("a key file of the epoch {name} is of no use: {wrong}"), None));
    }
    let which = if is_pinned { "that backups are encrypted to" } else { "of earlier or later backups" };
    // A later file replaces what the earlier ones say of recipients.
    match files.iter().rev().find_map(|file| file.recipients.as_ref()) {
        Some(recipients) => {
            let people = counted(recipients.len() as u64, "recipient");
            found.push(good(format!("the identity opens the epoch {name} {which}, as {people} can")));
            if is_pinned {
                compare(recipients, asked, found);
            }
        }
        None if files.is_empty() && !is_pinned => found.push(note(
            format!(
                "`repository.json` names the epoch {name}, of which there is no key file; backups are encrypted to the one that the \
                 policy pins, whatever it names"
            ),
            Some(
                "hold `repository.json` and `keys/` against those of a copy: one was changed, or a key file was taken away"
                    .to_owned(),
            ),
        )),
        None => found.push(note(
            format!(
                "the identity opens none of the {} of the epoch {name} {which}: their contents cannot be restored with it",
                counted(files.len() as u64, "key file")
            ),
            Some("name the identity of a recipient: `drctl repository recipients list` says who can read".to_owned()),
        )),
    }
}

/// The recipients that the policy names, and those that can read.
fn compare(recipients: &[Recipient], asked: &policy::Repository, found: &mut Vec<Finding>) {
    let Encryption::Age(age) = &asked.encryption else { return };
    let named = |one: &Recipient| age.recipients.iter().any(|text| *text == one.to_string());
    for absent in age.recipients.iter().filter(|text| !recipients.iter().any(|one| one.to_string() == **text)) {
        let absent = for_terminal(absent);
        found.push(note(
            format!("the policy names the recipient {absent}, who cannot read what is backed up"),
            Some(format!("`drctl repository recipients add {absent}`")),
        ));
    }
    for stranger in recipients.iter().filter(|one| !named(one)) {
        found.push(note(
            format!("{stranger} can read what is backed up, and the policy does not name it as a recipient"),
            Some(format!(
                "name it in the policy, or begin a new epoch without it: `drctl repository recipients remove {stranger} \
                 --new-epoch`"
            )),
        ));
    }
}

fn note(what: String, next: Option<String>) -> Finding {
    Finding { subject: "keys".to_owned(), severity: Severity::Note, what, next }
}

fn good(what: String) -> Finding {
    Finding { subject: "keys".to_owned(), severity: Severity::Good, what, next: None }
}
