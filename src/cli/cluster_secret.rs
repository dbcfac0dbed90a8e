//! The file with what a cluster needs to write backups: a Secret of Kubernetes, which only its owner may read.

use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use super::{
    exit::{Exit, Failure},
    new_file::NewFile,
};
use crate::{
    operations::{self, NewKeys},
    types::{Name, for_terminal},
};

/// Writes the file, which must not be there yet, before the keys in it are used: a repository without its keys would be of
/// no use.
pub(super) async fn write(path: &Path, policy: &Name, keys: &NewKeys) -> Result<(), Failure> {
    let mut file = NewFile::begin(path).await?;
    let text = text_of(policy, keys)?;
    let written = file.writer().write_all(text.as_bytes()).await;
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write the cluster's Secret: {error}")))?;
    file.keep().await
}

/// The failure of what was to be made with the keys of a file that is there by now. The file stays: after a lost answer, what
/// was made may be there, too, and then only this file has its keys.
pub(super) fn of_no_use(error: operations::Error, path: Option<&Path>, what: &str) -> Failure {
    let failure = Failure::from(error);
    match path {
        Some(path) => failure.say_first(&format!(
            "{} has keys of {what}: remove it if {what} was not made (`drctl repository info`, `drctl repository recipients \
             list`), and run it again",
            for_terminal(&path.display().to_string())
        )),
        None => failure,
    }
}

fn text_of(policy: &Name, keys: &NewKeys) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(format!(
        "# What a cluster needs to write backups of the policy {policy}: `envFrom` gives it to drctl. It opens no contents.\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: drctl-{policy}\ntype: Opaque\nstringData:\n"
    ));
    for (name, secret) in keys.of_cluster()? {
        text.push_str(&format!("  {name}: |-\n"));
        for line in secret.expose().lines() {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}
