//! The proxy that the environment names, the same for all stores that are reached over a network.
//!
//! The client libraries could read the environment themselves; but then a client that asks the
//! machine's own address for credentials (169.254.169.254) would ask the proxy for them, which
//! answers for another machine, or not at all.

use url::Url;

use super::{ErrorKind, failure::Failure};

/// A proxy, and what is reached without it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Its address, with its credentials if it needs some: never for a message.
    pub(super) address: String,
    /// Hosts that are reached directly, separated by commas.
    pub(super) direct: String,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("direct", &self.direct).finish_non_exhaustive()
    }
}

/// Addresses of the machine or the Pod itself, where it asks who it is. No proxy is in between.
const LINK_LOCAL: &str = "169.254.0.0/16,fd00:ec2::/32";

/// The proxy for addresses that begin with `https://`, or else with `http://`.
///
/// # Errors
/// A variable that holds no address of a proxy.
pub(super) fn of_environment(https: bool) -> Result<Option<Proxy>, Failure> {
    chosen(https, |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

fn chosen(https: bool, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, Failure> {
    let names = if https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let names = [names[0], names[1], "ALL_PROXY", "all_proxy"];
    let Some((name, value)) = names.into_iter().find_map(|name| Some((name, variable(name)?))) else {
        return Ok(None);
    };
    let value = value.trim();
    let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let good = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !Url::parse(&address).is_ok_and(good) {
        // It is not repeated: there may be a password in it.
        let reason = format!("the variable {name} is not the address of a proxy, like http://proxy.example.org:3128");
        return Err(Failure::new(ErrorKind::Other, reason));
    }
    let direct = variable("NO_PROXY").or_else(|| variable("no_proxy"));
    let direct = direct.map_or_else(|| LINK_LOCAL.to_owned(), |hosts| format!("{hosts},{LINK_LOCAL}"));
    Ok(Some(Proxy { address, direct }))
}

/// The proxy wants to know who asks.
pub(super) const WANTS_CREDENTIALS: &str =
    "the proxy wants credentials: say them in its variable, as in HTTPS_PROXY=http://user:password@proxy:3128";

/// What the words of a client library say of a proxy, if they say something: both libraries' tunnel is the same.
pub(super) fn failure_in(text: &str) -> Option<Failure> {
    let (_, what) = text.split_once("tunnel error: ")?;
    let unreachable = |reason: &str| Failure::new(ErrorKind::Unreachable, reason);
    Some(match what {
        _ if what.starts_with("proxy authorization required") => unreachable(WANTS_CREDENTIALS),
        _ if what.starts_with("failed to create underlying connection") => {
            unreachable("the proxy cannot be reached: correct its address in HTTPS_PROXY, or the network").passing()
        }
        _ if what.starts_with("unsuccessful") => unreachable(
            "the proxy refused the connection, or cannot reach the store: let it through, or name the store's host in NO_PROXY",
        )
        .passing(),
        _ => unreachable("the proxy broke the connection off").passing(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(https: bool, variables: &[(&str, &str)]) -> Result<Option<Proxy>, Failure> {
        chosen(https, |name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    fn address(https: bool, variables: &[(&str, &str)]) -> Option<String> {
        of(https, variables).unwrap().map(|proxy| proxy.address)
    }

    #[test]
    fn the_variable_goes_with_the_kind_of_address() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "http://a:1")];
        assert_eq!(address(true, &both).unwrap(), "http://s:1");
        assert_eq!(address(false, &both).unwrap(), "http://p:1");
        assert_eq!(address(true, &[("HTTP_PROXY", "http://p:1")]), None);
        assert_eq!(address(false, &[("HTTPS_PROXY", "http://s:1")]), None);
        assert_eq!(address(true, &[("all_proxy", "http://a:1")]).unwrap(), "http://a:1");
        assert_eq!(address(true, &[("https_proxy", "s:1")]).unwrap(), "http://s:1");
        assert_eq!(address(true, &[]), None);
    }

    #[test]
    fn the_machines_own_address_is_always_reached_directly() {
        let direct = |variables| of(true, variables).unwrap().unwrap().direct;
        assert_eq!(direct(&[("HTTPS_PROXY", "http://s:1")]), LINK_LOCAL);
        assert_eq!(direct(&[("HTTPS_PROXY", "http://s:1"), ("NO_PROXY", ".local")]), format!(".local,{LINK_LOCAL}"));
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_the_variables_name_and_not_shown() {
        for bad in ["ftp://hunter2@p", "http://", "http://user:hunter2@"] {
            let failure = of(true, &[("HTTPS_PROXY", bad)]).unwrap_err();
            assert!(failure.reason.contains("HTTPS_PROXY") && !failure.reason.contains("hunter2"), "{failure:?}");
        }
        let with_password = of(true, &[("HTTPS_PROXY", "http://user:hunter2@p:1")]).unwrap().unwrap();
        assert!(!format!("{with_password:?}").contains("hunter2"));
    }
}
