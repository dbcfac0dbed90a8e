//! From a BackupStorageLocation to the place of a repository.

use std::path::{Path, PathBuf};

use super::{FromVeleroError, VeleroNote, at, read};
use crate::{
    policy::{
        Encryption, Repository, S3,
        load::{
            decode::{Decoder, Table},
            node::{Node, Value},
            problem::Place,
            store::parse_endpoint,
        },
    },
    types::{Location, for_terminal},
};

/// Where Velero keeps its backups.
#[derive(Debug)]
pub(super) struct StorageLocation {
    pub(super) name: String,
    pub(super) default: bool,
    place: (PathBuf, usize),
    provider: String,
    bucket: String,
    prefix: String,
    /// The storage account, on Azure.
    account: Option<String>,
    s3: S3,
    notes: Vec<VeleroNote>,
}

/// What is added to the name of Velero's prefix or bucket: Velero finds fault with any folder in its own place that
/// it does not know.
const BESIDE: &str = "-drctl";

/// A repository at `url`, reached by the credentials of the environment.
pub(super) fn bare(url: Location) -> Repository {
    Repository {
        url,
        s3: None,
        azure: None,
        id: None,
        signers: Vec::new(),
        signing_key: None,
        encryption: Encryption::None,
    }
}

/// Reads a BackupStorageLocation.
pub(super) fn location(decoder: &mut Decoder, top: &Table<'_>, file: &Path) -> Option<StorageLocation> {
    let name = read::name(decoder, top);
    let spec = decoder.required(top, "spec").and_then(|node| decoder.any_table(node, "spec"))?;
    let provider = decoder.required(&spec, "provider").and_then(|node| decoder.text(node, "spec.provider"));
    let objects = decoder.required(&spec, "objectStorage");
    let objects = objects.and_then(|node| decoder.any_table(node, "spec.objectStorage"))?;
    let bucket = decoder.required(&objects, "bucket");
    let bucket = bucket.and_then(|node| decoder.text(node, "spec.objectStorage.bucket"));
    let prefix = text(decoder, &objects, "prefix");
    let default = spec.get("default").and_then(|node| decoder.boolean(node, "spec.default")).unwrap_or_default();
    let mut location = StorageLocation {
        name: name?,
        default,
        place: at(file, top.place),
        provider: provider?.to_owned(),
        bucket: bucket?.to_owned(),
        prefix: prefix.unwrap_or_default().trim_matches('/').to_owned(),
        account: None,
        s3: S3::default(),
        notes: Vec::new(),
    };
    if let Some((key, _)) = objects.entry("caCert") {
        let text = "`caCert`: save it as a file and name that as `s3: {caFile: ...}`";
        location.note(file, key.place, true, text);
    }
    if let Some((key, _)) = spec.entry("credential") {
        let text = "`credential`: credentials come from the SDK's own chain (IRSA, workload identity, environment), or \
                    from a mounted Secret that the policy names by `env:` or `file:`";
        location.note(file, key.place, false, text);
    }
    if let Some(node) = spec.get("accessMode")
        && decoder.text(node, "spec.accessMode") == Some("ReadOnly")
    {
        let text = "`accessMode: ReadOnly`: give drctl credentials that can only read; `list`, `show`, `verify`, \
                    `restore` need no more";
        location.note(file, node.place, true, text);
    }
    if let Some(node) = spec.get("config") {
        location.config(decoder, node, file);
    }
    Some(location)
}

fn text(decoder: &mut Decoder, table: &Table<'_>, key: &str) -> Option<String> {
    let node = table.get(key)?;
    // Velero takes an empty text for an absent one.
    if matches!(&node.value, Value::Text(text) if text.is_empty()) {
        return None;
    }
    decoder.text(node, &table.path_of(key)).map(str::to_owned)
}

impl StorageLocation {
    fn note(&mut self, file: &Path, place: Place, lost: bool, text: impl Into<String>) {
        self.notes.push(VeleroNote { place: Some(at(file, place)), text: text.into(), lost });
    }

    /// The provider's own settings. Their values are texts, also those that are numbers or true.
    fn config(&mut self, decoder: &mut Decoder, node: &Node, file: &Path) {
        let Some(table) = decoder.any_table(node, "spec.config") else { return };
        for (key, value) in table.entries() {
            let path = table.path_of(&key.name);
            let Some(text) = (if is_empty(value) { None } else { decoder.text(value, &path) }) else { continue };
            match key.name.as_str() {
                "region" => self.s3.region = Some(text.to_owned()),
                "s3Url" => match parse_endpoint(text) {
                    Ok(endpoint) => self.s3.endpoint = Some(endpoint),
                    Err(why) => decoder.wrong(value.place, why.replace("endpoint", "s3Url")),
                },
                "s3ForcePathStyle" => self.s3.path_style = text == "true",
                "storageAccount" => self.account = Some(text.to_owned()),
                "publicUrl" | "checksumAlgorithm" | "resourceGroup" | "subscriptionId" | "blockSizeInBytes"
                | "signatureVersion" => {}
                "serverSideEncryption" | "kmsKeyId" => {
                    let text = format!("`{}`: set it as the bucket's default encryption", key.name);
                    self.note(file, key.place, true, text);
                }
                "profile" | "credentialsFile" | "enableSharedConfig" | "storageAccountKeyEnvVar" | "useAAD" => {
                    let text = format!("`{}`: credentials come from the SDK's own chain (`AWS_PROFILE`, …)", key.name);
                    self.note(file, key.place, false, text);
                }
                "insecureSkipTLSVerify" if text == "false" => {}
                "insecureSkipTLSVerify" => {
                    let text = "`insecureSkipTLSVerify`: certificates are always checked; name the store's own authority \
                                by `caFile`";
                    self.note(file, key.place, true, text);
                }
                other => self.note(file, key.place, true, format!("`spec.config.{other}` has no equivalent")),
            }
        }
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Null) || matches!(&node.value, Value::Text(text) if text.is_empty())
}

/// The repository beside Velero's own place, and what there is to know of it.
pub(super) fn repository(location: &StorageLocation) -> Result<(Repository, Vec<VeleroNote>), FromVeleroError> {
    let mut notes = location.notes.clone();
    let mut note = |lost, text: String| notes.push(VeleroNote { place: Some(location.place.clone()), text, lost });
    let (bucket, prefix) = match location.prefix.as_str() {
        "" => {
            let bucket = format!("{}{BESIDE}", location.bucket);
            note(
                true,
                format!(
                    "Velero has all of `{}` (no prefix), and calls its place unavailable if anything else is in it: make \
                     `{bucket}`, or name another place by --url",
                    location.bucket
                ),
            );
            (bucket, "prod".to_owned())
        }
        prefix => (location.bucket.clone(), format!("{prefix}{BESIDE}")),
    };
    let what = |why: &dyn std::fmt::Display| {
        FromVeleroError::NoPlace(format!("of the BackupStorageLocation `{}`, {why}", for_terminal(&location.name)))
    };
    let is = |name: &str| location.provider == name || location.provider.ends_with(&format!("/{name}"));
    let (url, s3) = if is("aws") {
        let s3 = (location.s3 != S3::default()).then(|| location.s3.clone());
        (format!("s3://{bucket}/{prefix}"), s3)
    } else if is("azure") {
        let account = location.account.as_ref().ok_or_else(|| what(&"`spec.config.storageAccount` is missing"))?;
        (format!("az://{account}/{bucket}/{prefix}"), None)
    } else {
        let provider = for_terminal(&location.provider).into_owned();
        return Err(what(&format!("the provider `{provider}` is not known here: s3:// and az:// stores are")));
    };
    let url = url.parse::<Location>().map_err(|error| what(&error))?;
    Ok((Repository { s3, ..bare(url) }, notes))
}
