//! The client: credentials, region, TLS and time-outs.

use std::{path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig,
    },
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use super::super::{ErrorKind, LockOptions, authorities, failure::Failure, proxy, retry::Patience};
use crate::types::Secret;

/// How to reach an S3 store. What is not said comes from the usual places of AWS clients: the
/// environment, the shared files, the Pod's or the machine's role.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The region of the bucket.
    pub region: Option<String>,
    /// The address of a store that is not AWS: `https://s3.example.org:9000`.
    pub endpoint: Option<String>,
    /// Whether the bucket is the first part of the path and not of the host's name.
    pub path_style: bool,
    /// A PEM file of certificate authorities that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// An access key id and its secret access key, in place of the usual chain.
    pub access_key: Option<(String, Secret)>,
    /// How long the store may take for an answer. A transfer gets a second more for each 128 KiB,
    /// and a call ends after at most some five times that, with all attempts.
    pub patience: Duration,
    /// How many keys a page of a listing has, if fewer than the store's own 1,000.
    pub page_size: Option<u16>,
    /// How what is put is locked against deletion; absent: not at all.
    pub lock: Option<LockOptions>,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            path_style: false,
            ca_file: None,
            access_key: None,
            patience: Duration::from_secs(30),
            page_size: None,
            lock: None,
        }
    }
}

/// The largest object of the format: the client's own limits must leave it time.
const LARGEST_PUT: u64 = 16 << 20;
/// A store that is not AWS takes any region; this is the one that they expect.
const ANY_REGION: &str = "us-east-1";
const CONNECT: Duration = Duration::from_secs(10);

/// The client that `options` describe.
pub(super) async fn client(options: &S3Options, patience: &Patience) -> Result<Client, Failure> {
    check_endpoint(options.endpoint.as_deref())?;
    // The calls have limits of their own (`retry`); these stand behind them, for every request
    // that the client makes by itself.
    let longest = patience.for_bytes(LARGEST_PUT);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(patience.answer))
        .read_timeout(longest)
        .operation_attempt_timeout(longest)
        .build();
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(patience.answer).build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client(options).await?)
        .timeout_config(timeouts)
        .stalled_stream_protection(stalls);
    if let Some((id, secret)) = &options.access_key {
        let key =
            Credentials::builder().access_key_id(id).secret_access_key(secret.expose()).provider_name("policy").build();
        loader = loader.credentials_provider(key);
    }
    if let Some(endpoint) = &options.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let shared = loader.load().await;
    let region = match (shared.region(), shared.endpoint_url()) {
        (Some(region), _) => region.clone(),
        (None, Some(_)) => Region::from_static(ANY_REGION),
        (None, None) => {
            let reason = "the region of the bucket is not known: say it as `s3.region` or in AWS_REGION";
            return Err(Failure::new(ErrorKind::NoSuchStore, reason));
        }
    };
    let config = aws_sdk_s3::config::Builder::from(&shared)
        .region(region)
        .force_path_style(options.path_style)
        .retry_config(RetryConfig::disabled())
        // Puts bring their SHA-256. Reads are checked by their readers, who know the digest.
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok(Client::from_conf(config))
}

fn check_endpoint(endpoint: Option<&str>) -> Result<(), Failure> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let plain = url::Url::parse(endpoint).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
    });
    if plain {
        return Ok(());
    }
    // It is not repeated: there may be a password in it.
    let reason = "the endpoint is not an address like https://s3.example.org:9000, without credentials and options";
    Err(Failure::new(ErrorKind::Other, reason))
}

async fn http_client(options: &S3Options) -> Result<SharedHttpClient, Failure> {
    let mut trusted = TrustStore::default();
    if let Some(path) = options.ca_file.clone() {
        trusted = trusted.with_pem_certificate(authorities::read(path).await?);
    }
    let tls = TlsContext::builder().with_trust_store(trusted).build();
    let tls = tls.map_err(|error| Failure::new(ErrorKind::Other, "TLS cannot be set up").because(error))?;
    let proxy = proxy_config(is_https(options.endpoint.as_deref(), |name| std::env::var(name).ok()))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build()
    }))
}

/// Whether the store is spoken to by https: the client takes its address from the policy, else from the environment.
fn is_https(endpoint: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> bool {
    let said = |name| variable(name).filter(|value| !value.trim().is_empty());
    let ignored = said("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let of_environment = || said("AWS_ENDPOINT_URL_S3").or_else(|| said("AWS_ENDPOINT_URL")).filter(|_| !ignored);
    let endpoint = endpoint.map(str::to_owned).or_else(of_environment);
    endpoint.is_none_or(|endpoint| !endpoint.trim().to_ascii_lowercase().starts_with("http://"))
}

/// The proxy of the environment, for addresses of the endpoint's kind.
fn proxy_config(https: bool) -> Result<ProxyConfig, Failure> {
    let Some(found) = proxy::of_environment(https)? else { return Ok(ProxyConfig::disabled()) };
    let config = if https { ProxyConfig::https(found.address) } else { ProxyConfig::http(found.address) };
    // What the library says of it may have the password in it.
    let config = config.map_err(|_| Failure::new(ErrorKind::Other, "the proxy's address is not understood"))?;
    Ok(config.no_proxy(found.direct))
}

#[cfg(test)]
mod tests {
    use super::is_https;

    #[test]
    fn the_kind_of_address_is_that_of_the_endpoint_wherever_it_is_said() {
        let of = |endpoint: Option<&str>, variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(other, _)| *other == name);
            is_https(endpoint, |name| found(name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(None, &[]));
        assert!(!of(Some("http://s3:9000"), &[]) && of(Some("https://s3:9000"), &[]));
        assert!(!of(None, &[("AWS_ENDPOINT_URL", "http://s3:9000")]));
        assert!(of(None, &[("AWS_ENDPOINT_URL", "https://s3:9000")]));
        assert!(!of(None, &[("AWS_ENDPOINT_URL_S3", "http://s3:9000"), ("AWS_ENDPOINT_URL", "https://s3:9000")]));
        assert!(of(Some("https://s3"), &[("AWS_ENDPOINT_URL", "http://s3:9000")]), "the policy comes first");
        let ignored = [("AWS_ENDPOINT_URL", "http://s3:9000"), ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert!(of(None, &ignored));
    }
}
