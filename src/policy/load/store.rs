//! How a store is reached: `s3` and `azure` of the repository and of its copies.

use std::path::PathBuf;

use super::{
    decode::{Decoder, Table},
    document::secret,
    node::Node,
};
use crate::policy::{Azure, Immutability, ImmutabilityMode, LockMode, ObjectLock, Period, S3};

const S3_KEYS: [&str; 7] =
    ["region", "endpoint", "pathStyle", "caFile", "accessKeyId", "secretAccessKey", "objectLock"];
const AZURE_KEYS: [&str; 5] = ["endpoint", "accountKey", "sas", "caFile", "immutability"];

/// `s3` at `path`. `None` only if the decoder has got a problem.
pub(super) fn s3(decoder: &mut Decoder, node: &Node, path: &str) -> Option<S3> {
    let table = decoder.table(node, path, &S3_KEYS, &[])?;
    let region = text(decoder, &table, "region");
    let ca_file = text(decoder, &table, "caFile").map(PathBuf::from);
    let endpoint = table.get("endpoint");
    let endpoint = endpoint.and_then(|node| decoder.parsed(node, &table.path_of("endpoint"), parse_endpoint));
    let path_style = table.get("pathStyle").and_then(|node| decoder.boolean(node, &table.path_of("pathStyle")));
    let access_key_id = table.get("accessKeyId").and_then(|node| secret(decoder, node, "accessKeyId"));
    let secret_access_key = table.get("secretAccessKey").and_then(|node| secret(decoder, node, "secretAccessKey"));
    for (one, other) in [("accessKeyId", "secretAccessKey"), ("secretAccessKey", "accessKeyId")] {
        if let (Some((key, _)), None) = (table.entry(one), table.entry(other)) {
            decoder.wrong(key.place, format!("`{one}` needs `{other}` beside it"));
        }
    }
    let object_lock = table.get("objectLock").map(|node| object_lock(decoder, node, &table.path_of("objectLock")));
    Some(S3 {
        region,
        endpoint,
        path_style: path_style.unwrap_or_default(),
        ca_file,
        access_key_id,
        secret_access_key,
        object_lock: object_lock.flatten(),
    })
}

/// `objectLock` at `path`. `None` only if the decoder has got a problem.
fn object_lock(decoder: &mut Decoder, node: &Node, path: &str) -> Option<ObjectLock> {
    let modes = [("governance", LockMode::Governance), ("compliance", LockMode::Compliance)];
    let (mode, period) = lock(decoder, node, path, modes)?;
    Some(ObjectLock { mode, period })
}

/// `immutability` at `path`. `None` only if the decoder has got a problem.
fn immutability(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Immutability> {
    let modes = [("unlocked", ImmutabilityMode::Unlocked), ("locked", ImmutabilityMode::Locked)];
    let (mode, period) = lock(decoder, node, path, modes)?;
    Some(Immutability { mode, period })
}

/// Mode and length of a lock, of these two modes.
fn lock<M: Copy>(decoder: &mut Decoder, node: &Node, path: &str, modes: [(&str, M); 2]) -> Option<(M, Period)> {
    let table = decoder.table(node, path, &["mode", "for"], &[])?;
    let read = |text: &str| {
        let known = modes.iter().find(|(word, _)| *word == text).map(|(_, mode)| *mode);
        known.ok_or_else(|| {
            let words = modes.map(|(word, _)| format!("`{word}`")).join(" or ");
            format!("`{path}.mode` must be {words}")
        })
    };
    let mode = decoder.required(&table, "mode");
    let mode = mode.and_then(|node| decoder.parsed(node, &format!("{path}.mode"), read));
    let period = decoder.required(&table, "for");
    let period = period.and_then(|node| decoder.parsed(node, &format!("{path}.for"), Period::parse));
    Some((mode?, period?))
}

/// `azure` at `path`. `None` only if the decoder has got a problem.
pub(super) fn azure(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Azure> {
    let table = decoder.table(node, path, &AZURE_KEYS, &[])?;
    let ca_file = text(decoder, &table, "caFile").map(PathBuf::from);
    let endpoint = table.get("endpoint");
    let endpoint =
        endpoint.and_then(|node| decoder.parsed(node, &table.path_of("endpoint"), |text| endpoint_of(text, true)));
    let account_key = table.get("accountKey").and_then(|node| secret(decoder, node, "accountKey"));
    let sas = table.get("sas").and_then(|node| secret(decoder, node, "sas"));
    if let (Some((key, _)), Some(_)) = (table.entry("sas"), table.entry("accountKey")) {
        decoder.wrong(key.place, "`sas` does not go with `accountKey`: say one of them");
    }
    let immutability =
        table.get("immutability").map(|node| immutability(decoder, node, &table.path_of("immutability")));
    Some(Azure { endpoint, account_key, sas, ca_file, immutability: immutability.flatten() })
}

fn text(decoder: &mut Decoder, table: &Table<'_>, key: &str) -> Option<String> {
    table.get(key).and_then(|node| decoder.text(node, &table.path_of(key)).map(str::to_owned))
}

/// The address of an S3 server.
pub(super) fn parse_endpoint(text: &str) -> Result<String, String> {
    endpoint_of(text, false)
}

/// The address of a store's service. That of an Azure account may have a path: emulators name the account in it.
fn endpoint_of(text: &str, with_path: bool) -> Result<String, String> {
    let wrong = match with_path {
        false => "`endpoint` must be a URL like https://s3.example.com:9000, without credentials, path or query",
        true => "`endpoint` must be a URL like https://account.blob.core.windows.net, without credentials or query",
    };
    let parsed = ::url::Url::parse(text).map_err(|_| wrong.to_owned())?;
    let bare = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    let path = with_path || parsed.path() == "/";
    let good = matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && bare && path;
    if good { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong.to_owned()) }
}
