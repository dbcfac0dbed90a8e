//! How the store of a repository is reached: `repository.s3` and `repository.azure`.

use std::path::PathBuf;

use super::{
    decode::{Decoder, Table},
    document::secret,
    node::Node,
};
use crate::policy::{Azure, S3};

const S3_KEYS: [&str; 6] = ["region", "endpoint", "pathStyle", "caFile", "accessKeyId", "secretAccessKey"];
const AZURE_KEYS: [&str; 4] = ["endpoint", "accountKey", "sas", "caFile"];

/// `repository.s3`. `None` only if the decoder has got a problem.
pub(super) fn s3(decoder: &mut Decoder, node: &Node) -> Option<S3> {
    let table = decoder.table(node, "repository.s3", &S3_KEYS, &[])?;
    let region = text(decoder, &table, "region");
    let ca_file = text(decoder, &table, "caFile").map(PathBuf::from);
    let endpoint = table.get("endpoint");
    let endpoint = endpoint.and_then(|node| decoder.parsed(node, "repository.s3.endpoint", parse_endpoint));
    let path_style = table.get("pathStyle").and_then(|node| decoder.boolean(node, "repository.s3.pathStyle"));
    let access_key_id = table.get("accessKeyId").and_then(|node| secret(decoder, node, "accessKeyId"));
    let secret_access_key = table.get("secretAccessKey").and_then(|node| secret(decoder, node, "secretAccessKey"));
    for (one, other) in [("accessKeyId", "secretAccessKey"), ("secretAccessKey", "accessKeyId")] {
        if let (Some((key, _)), None) = (table.entry(one), table.entry(other)) {
            decoder.wrong(key.place, format!("`{one}` needs `{other}` beside it"));
        }
    }
    Some(S3 { region, endpoint, path_style: path_style.unwrap_or_default(), ca_file, access_key_id, secret_access_key })
}

/// `repository.azure`. `None` only if the decoder has got a problem.
pub(super) fn azure(decoder: &mut Decoder, node: &Node) -> Option<Azure> {
    let table = decoder.table(node, "repository.azure", &AZURE_KEYS, &[])?;
    let ca_file = text(decoder, &table, "caFile").map(PathBuf::from);
    let endpoint = table.get("endpoint");
    let endpoint =
        endpoint.and_then(|node| decoder.parsed(node, "repository.azure.endpoint", |text| endpoint_of(text, true)));
    let account_key = table.get("accountKey").and_then(|node| secret(decoder, node, "accountKey"));
    let sas = table.get("sas").and_then(|node| secret(decoder, node, "sas"));
    if let (Some((key, _)), Some(_)) = (table.entry("sas"), table.entry("accountKey")) {
        decoder.wrong(key.place, "`sas` does not go with `accountKey`: say one of them");
    }
    Some(Azure { endpoint, account_key, sas, ca_file })
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
