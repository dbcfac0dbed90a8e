//! The client: address, credentials, TLS and time-outs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use azure_core::http::{ClientOptions, RetryOptions};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use jiff::Timestamp;
use url::Url;

use super::{
    super::{ErrorKind, LockOptions, failure::Failure, retry::Patience},
    credential::{self, Credential},
    sign::CheckedBody,
    transport::transport,
};
use crate::types::Secret;

/// How to reach an Azure Blob store. What is not said comes from the usual places of Azure clients: the
/// environment, the Pod's or the machine's identity, the login of `az`.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// The address of the account's blob service, where it is not `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// The account's key, in Base64.
    pub account_key: Option<Secret>,
    /// A shared access signature, as parameters: `sv=…&sig=…`.
    pub sas: Option<Secret>,
    /// A PEM file of certificate authorities that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// How long the store may take for an answer. A transfer gets a second more for each 128 KiB,
    /// and a call ends after at most some five times that, with all attempts.
    pub patience: Duration,
    /// How many keys a page of a listing has, if fewer than 1,000.
    pub page_size: Option<u16>,
    /// How what is put is locked against deletion: `Governance` is the mode `Unlocked` there, `Compliance` is `Locked`.
    /// Absent: not at all.
    pub lock: Option<LockOptions>,
}

impl Default for AzureOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            account_key: None,
            sas: None,
            ca_file: None,
            patience: Duration::from_secs(30),
            page_size: None,
            lock: None,
        }
    }
}

/// What is known of the credentials, for the words of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// An account key.
    Key,
    /// A SAS, and its own words on when it is good.
    Sas {
        /// Not before this.
        from: Option<Timestamp>,
        /// Not after this.
        until: Option<Timestamp>,
    },
    /// A token of Entra.
    Token,
}

/// The client of a container, and who it asks as.
pub(super) async fn client(
    account: &str,
    container: &str,
    options: &AzureOptions,
    patience: &Patience,
) -> Result<(BlobContainerClient, Identity), Failure> {
    let url = container_url(account, container, options.endpoint.as_deref())?;
    let transport = transport(options.ca_file.as_ref(), url.scheme() == "https", patience).await?;
    let mut client_options =
        ClientOptions { retry: RetryOptions::none(), transport: Some(transport), ..ClientOptions::default() };
    let variable = |name: &str| std::env::var(name).ok();
    let credential = credential::choose(account, options, &client_options, variable)?;
    client_options.per_try_policies.push(Arc::new(CheckedBody));
    let (identity, token) = match credential {
        Credential::Key(key) => {
            client_options.per_try_policies.push(Arc::new(key));
            (Identity::Key, None)
        }
        Credential::Sas(sas) => {
            let (from, until) = sas.times();
            client_options.per_try_policies.push(Arc::new(sas));
            (Identity::Sas { from, until }, None)
        }
        Credential::Token(_) if url.scheme() == "http" => {
            let reason =
                "a token is never sent over http: use an https endpoint, or say `azure.accountKey` or `azure.sas`";
            return Err(Failure::new(ErrorKind::Unauthenticated, reason));
        }
        Credential::Token(token) => (Identity::Token, Some(token)),
    };
    let options = BlobContainerClientOptions { client_options, ..BlobContainerClientOptions::default() };
    let client = BlobContainerClient::new(url, token, Some(options)).map_err(|error| {
        Failure::new(ErrorKind::Other, "the client cannot be set up").because(super::super::said::chain(&error))
    })?;
    Ok((client, identity))
}

fn container_url(account: &str, container: &str, endpoint: Option<&str>) -> Result<Url, Failure> {
    let usual = format!("https://{account}.blob.core.windows.net");
    let text = endpoint.unwrap_or(&usual);
    let plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let Some(mut url) = Url::parse(text).ok().filter(plain) else {
        // It is not repeated: there may be a SAS in it.
        let reason = "the endpoint is not an address like https://account.blob.core.windows.net, without credentials and options";
        return Err(Failure::new(ErrorKind::Other, reason));
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(container);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_lies_below_the_endpoint() {
        for (endpoint, url) in [
            (None, "https://account.blob.core.windows.net/box"),
            (Some("https://account.blob.core.usgovcloudapi.net/"), "https://account.blob.core.usgovcloudapi.net/box"),
            (Some("http://127.0.0.1:10000/account"), "http://127.0.0.1:10000/account/box"),
        ] {
            assert_eq!(container_url("account", "box", endpoint).unwrap().as_str(), url);
        }
        for bad in [
            "account.blob.core.windows.net",
            "https://h/?sig=hunter2",
            "https://u:hunter2@h",
            "ftp://h",
            "https://h/#x",
        ] {
            let failure = container_url("account", "box", Some(bad)).unwrap_err();
            assert!(!failure.reason.contains("hunter2"), "{failure:?}");
        }
    }
}
