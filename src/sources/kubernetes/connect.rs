//! From a kubeconfig, or the Pod's own service account, to a client.

use std::{env, net::IpAddr, path::PathBuf, time::Duration};

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::{Error, ErrorKind};
use crate::types::for_terminal;

/// Which cluster to talk to. The policy never says it: the same file serves a cluster and its replacement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A kubeconfig file (`--kubeconfig`). Without one: the files of `KUBECONFIG`, else the Pod's
    /// service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of that kubeconfig (`--context`); without one its current context.
    pub context: Option<String>,
}

/// A client's configuration and how people call the cluster that it leads to.
pub(super) struct Connection {
    pub(super) config: Config,
    pub(super) name: String,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An API server gives up after 60 s by itself, so a silence that is longer is a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
const WRITE_TIMEOUT: Duration = Duration::from_secs(75);

const ACT: &str = "find out which cluster to use";

/// Reads the configuration that `options` name. Nothing is sent to the cluster.
pub(super) async fn resolve(options: &ConnectOptions) -> Result<Connection, Error> {
    let mut connection = match &options.kubeconfig {
        Some(path) => from_kubeconfig(Kubeconfig::read_from(path), options).await?,
        None if env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) => {
            from_kubeconfig(Kubeconfig::read(), options).await?
        }
        None if options.context.is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some() => in_cluster()?,
        None => from_kubeconfig(Kubeconfig::read(), options).await?,
    };
    let config = &mut connection.config;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Without this the time that a pooled connection lay idle counts as silence of the server.
    config.reset_reader_on_write = true;
    // The library would try a 503 fifteen times, and one broken aggregated API would cost minutes.
    config.default_retry = false;
    // Over a fast network compressing costs the API server more time than it saves.
    config.disable_compression |= is_loopback(&config.cluster_url);
    Ok(connection)
}

fn is_loopback(server: &http::Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn from_kubeconfig(
    read: Result<Kubeconfig, KubeconfigError>,
    options: &ConnectOptions,
) -> Result<Connection, Error> {
    let refused = |error: &KubeconfigError| Error::new(ErrorKind::Configuration, ACT, explain(error));
    let kubeconfig = read.map_err(|error| refused(&error))?;
    let name = cluster_name(&kubeconfig, options.context.as_deref());
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(|error| refused(&error))?;
    Ok(Connection { config, name })
}

fn in_cluster() -> Result<Connection, Error> {
    let mut config = Config::incluster().map_err(|error| {
        let reason = "the Pod's service account cannot be used: mount its token, or name a kubeconfig";
        Error::new(ErrorKind::Configuration, ACT, reason).because(error)
    })?;
    config.disable_compression = true;
    Ok(Connection { config, name: "in-cluster".to_owned() })
}

fn cluster_name(kubeconfig: &Kubeconfig, context: Option<&str>) -> String {
    let Some(context) = context.or(kubeconfig.current_context.as_deref()) else { return String::new() };
    let named = kubeconfig.contexts.iter().find(|named| named.name == context);
    named.and_then(|named| named.context.as_ref()).map_or_else(|| context.to_owned(), |found| found.cluster.clone())
}

/// The library's words, except where they could quote a kubeconfig's credentials.
fn explain(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig has no current context: name one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => {
            format!("the kubeconfig has no context `{}`: see `kubectl config get-contexts`", for_terminal(name))
        }
        KubeconfigError::ReadConfig(error, path) => format!("cannot read kubeconfig {}: {error}", path.display()),
        KubeconfigError::FindPath => "no kubeconfig: name one with --kubeconfig or KUBECONFIG".to_owned(),
        // The parser quotes the lines around a mistake, and a token may stand in them.
        KubeconfigError::Parse(_) => "the kubeconfig is not valid: try `kubectl config view`".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_this_machine_is_known_by_its_address() {
        for (server, near) in [
            ("https://127.0.0.1:6443", true),
            ("https://127.9.9.9", true),
            ("https://[::1]:6443", true),
            ("https://localhost:6443", true),
            ("https://10.0.0.1", false),
            ("https://localhost.example.com", false),
            ("https://[2001:db8::1]:6443", false),
        ] {
            assert_eq!(is_loopback(&server.parse().unwrap()), near, "{server}");
        }
    }

    #[test]
    fn what_a_kubeconfig_holds_is_not_quoted() {
        let error = Kubeconfig::from_yaml("users:\n- name: a\n  user: {token: s3cret, token: [s3cret}\n").unwrap_err();
        assert!(error.to_string().contains("s3cret"), "the library quotes it: {error}");
        assert!(!explain(&error).contains("s3cret"));
    }
}
