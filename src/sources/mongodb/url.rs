//! Addresses of MongoDB servers, without ever showing what is secret in them.

use std::fmt;

use mongodb_driver::options::{ConnectionString, HostInfo, ServerAddress, Tls};

use crate::types::{Secret, for_terminal};

/// A text that is no address of a MongoDB server. It is not shown: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It begins otherwise.
    #[error("it does not begin with `mongodb://` or `mongodb+srv://`")]
    Scheme,
    /// A socket file.
    #[error("it names a socket file, and drctl reaches servers over the network")]
    Socket,
    /// It may be the characters of a password.
    #[error(
        "it cannot be read as a connection string; in user name and password, `: / ? # [ ] @ %` are percent-encoded"
    )]
    Malformed,
    /// The driver says why, and the text holds nothing secret.
    #[error("{}", for_terminal(.0))]
    Other(String),
}

/// The address of a server, as an application has it.
#[derive(Clone)]
pub struct Address {
    text: Secret,
    shown: String,
    /// The database that it names.
    pub database: Option<String>,
    /// The user, if it names one.
    pub user: Option<String>,
    /// Whether it asks for an encrypted connection.
    pub encrypted: bool,
    /// The replica set that the server must be a member of.
    pub(super) replica_set: Option<String>,
    /// The first host that it names.
    pub(super) host: String,
    loopback: bool,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("shown", &self.shown).finish_non_exhaustive()
    }
}

impl Address {
    /// Reads `mongodb://` and `mongodb+srv://` URLs. Nothing is looked up.
    ///
    /// # Errors
    /// [`InvalidUrl`], which shows nothing secret.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if !text.starts_with("mongodb://") && !text.starts_with("mongodb+srv://") {
            return Err(InvalidUrl::Scheme);
        }
        let kept = for_this_driver(text);
        let parsed = ConnectionString::parse(&kept).map_err(|error| refused(text, &error))?;
        let (shown, host, loopback) = match &parsed.host_info {
            HostInfo::HostIdentifiers(hosts) => {
                if hosts.iter().any(|host| !matches!(host, ServerAddress::Tcp { .. })) {
                    return Err(InvalidUrl::Socket);
                }
                let list: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                let first = hosts.first().and_then(name_of).unwrap_or_default().to_owned();
                (list.join(","), first, hosts.iter().all(is_loopback))
            }
            HostInfo::DnsRecord(name) => (name.clone(), name.clone(), false),
            _ => return Err(InvalidUrl::Malformed),
        };
        let srv = matches!(parsed.host_info, HostInfo::DnsRecord(_));
        let encrypted = match &parsed.tls {
            Some(Tls::Enabled(_)) => true,
            Some(_) => false,
            None => srv,
        };
        Ok(Self {
            text: Secret::new(kept),
            shown: for_terminal(&shown).into_owned(),
            user: parsed.credential.as_ref().and_then(|credential| credential.username.clone()),
            database: parsed.default_database.clone().filter(|name| !name.is_empty()),
            encrypted,
            replica_set: parsed.replica_set.clone(),
            host,
            loopback,
        })
    }

    /// Hosts and ports, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    pub(super) fn expose(&self) -> &str {
        self.text.expose()
    }
}

fn name_of(host: &ServerAddress) -> Option<&str> {
    match host {
        ServerAddress::Tcp { host, .. } => Some(host),
        _ => None,
    }
}

fn is_loopback(host: &ServerAddress) -> bool {
    let Some(host) = name_of(host) else { return false };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Options of applications, in small letters, which are none of a backup's, and which this driver does not know: an offer to the
/// server, which speaks without compression, too; how long the application waits, how it looks after its servers and tries again;
/// checks that are never made; how PyMongo shows documents.
const OF_APPLICATIONS: [&str; 18] = [
    "compressors",
    "zlibcompressionlevel",
    "timeoutms",
    "sockettimeoutms",
    "waitqueuetimeoutms",
    "heartbeatfrequencyms",
    "servermonitoringmode",
    "adaptiveretries",
    "maxadaptiveretries",
    "enableoverloadretargeting",
    "tlsdisableocspendpointcheck",
    "tlsdisablecertificaterevocationcheck",
    "uuidrepresentation",
    "tz_aware",
    "connect",
    "document_class",
    "datetime_conversion",
    "unicode_decode_error_handler",
];

/// An address without the options that are for applications alone. What looks otherwise than such an option stays: it may be a
/// piece of a password.
fn for_this_driver(text: &str) -> String {
    let Some((address, options)) = text.split_once('?') else { return text.to_owned() };
    let is_plain = |value: &str| value.bytes().all(|it| it.is_ascii_alphanumeric() || b",-%_.".contains(&it));
    let is_kept = |option: &&str| {
        let Some((name, value)) = option.split_once('=') else { return true };
        let name = name.to_lowercase();
        // In other drivers it has values that say how servers are reached.
        let is_ours = name == "connect" && !["true", "false"].contains(&value.to_lowercase().as_str());
        is_ours || !(OF_APPLICATIONS.contains(&name.as_str()) && is_plain(value))
    };
    let kept: Vec<&str> = options.split('&').filter(is_kept).collect();
    match kept.is_empty() {
        true => address.to_owned(),
        false => format!("{address}?{}", kept.join("&")),
    }
}

/// Whether something else than a number of five digits stands where the port of a host belongs: it may be a password.
fn has_odd_port(address: &str) -> bool {
    let hosts = address.rsplit_once('@').map_or(address, |(_, hosts)| hosts);
    let hosts = hosts.split_once(['/', '?']).map_or(hosts, |(hosts, _)| hosts);
    hosts.split(',').any(|host| {
        let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
        after.split_once(':').is_some_and(|(_, port)| port.len() > 5 || !port.bytes().all(|it| it.is_ascii_digit()))
    })
}

/// The driver's reason, if no piece of the address beyond its options is in it.
pub(super) fn refused(text: &str, error: &mongodb_driver::error::Error) -> InvalidUrl {
    let mongodb_driver::error::ErrorKind::InvalidArgument { message, .. } = error.kind.as_ref() else {
        return InvalidUrl::Malformed;
    };
    let (address, options) = text.split_once('?').unwrap_or((text, ""));
    let address = address.split_once("://").map_or("", |(_, after)| after);
    // Where nothing says whose password it is, it stands in the place of a port, which is looked at below.
    let login = text.rsplit_once('@').map(|(before, _)| before.split_once("://").map_or("", |(_, after)| after));
    let secret = login.unwrap_or_default();
    let is_secret =
        |name: &str| ["password", "properties", "token"].iter().any(|word| name.to_lowercase().contains(word));
    let values = options.split('&').filter_map(|option| option.split_once('=')).filter(|(name, _)| is_secret(name));
    // The driver writes options in small letters, and a password in whose middle a `?` stands is such options.
    let said = message.to_lowercase();
    let pieces =
        secret.split(|c: char| !c.is_alphanumeric()).chain(values.flat_map(|(_, value)| value.split([':', ','])));
    let told = pieces.filter(|piece| !piece.is_empty()).any(|piece| said.contains(&piece.to_lowercase()));
    if told || has_odd_port(address) || message.contains("mongodb://") || message.contains("mongodb+srv://") {
        return InvalidUrl::Malformed;
    }
    // The driver forgets to say what it speaks of, or names it as its own program text does.
    let message =
        message.replace("{key}={tls}", "`tls` or `ssl`").replace("max_staleness value", "maxStalenessSeconds");
    InvalidUrl::Other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_hosts_database_and_user_and_never_its_password() {
        let address =
            Address::parse("mongodb://app:hunter2@db-0.db:27017,db-1.db:27018/crm_db?replicaSet=rs0&tls=true").unwrap();
        assert_eq!(address.shown(), "db-0.db:27017,db-1.db:27018");
        assert_eq!((address.database.as_deref(), address.user.as_deref()), (Some("crm_db"), Some("app")));
        assert!(address.encrypted && !address.is_loopback());
        assert!(!format!("{address:?}").contains("hunter2"));
        let plain = Address::parse("mongodb://127.0.0.1:27017,localhost/").unwrap();
        assert!(plain.is_loopback() && !plain.encrypted && plain.database.is_none() && plain.user.is_none());
        let srv = Address::parse("mongodb+srv://app:pw@cluster.example.com/crm").unwrap();
        assert!(srv.encrypted);
        assert_eq!(srv.shown(), "cluster.example.com");
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_shown() {
        for text in [
            "postgres://app:hunter2@h/d",
            "mongodb://app:hunter2@",
            "mongodb://app:hun/ter2@h/d",
            "mongodb://app:hunter2@h:hunter2/d",
            "mongodb://hunter2:@h/d?tls=maybe",
            "mongodb://app:hunter2@h/hun$ter2",
            "mongodb://app:hun%zzter2@h/d",
            "hunter2",
            "mongodb://app:hunter2",
            "mongodb://app:abc?hunter2=x@h/d",
            "mongodb://app:abc/x?hunter2=x@h/d",
            "mongodb://app:abc/x?HUNTER2=x&y@h/d",
            "mongodb://app:hunter2/crm",
            "mongodb://admin@h:hunter2/d",
            "mongodb://app:4711471147",
            "mongodb://admin@h:27017,h2:hunter2/d?tls=true",
            "mongodb://admin@[::1]:hunter2/d",
            "mongodb://admin@h:hun/ter2",
            "mongodb://admin@h:hun?ter2",
            "mongodb+srv://admin@h:hunter2/d",
            "mongodb://app:1234?compressors=hunter2@h/d",
            "mongodb://h/d?tlsCertificateKeyFilePassword=hunter2&tls=false&tlsInsecure=hunter2",
            "mongodb://h/d?authMechanism=MONGODB-AWS&authMechanismProperties=hunter2",
        ] {
            let refused = Address::parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(!refused.to_lowercase().contains("hunter2") && !refused.contains("ter2"), "{text}: {refused}");
            assert!(!refused.contains("4711471147"), "{text}: {refused}");
        }
        // A number is no secret, and what is wrong with it is said.
        let refused = Address::parse("mongodb://admin@h:99999/d").map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("99999"), "{refused}");
        for (text, said) in [
            ("mongodb://h:27017/d?tiemoutMS=1", "tiemoutms is an invalid option"),
            ("mongodb://h:27017/d?connect=direct", "connect is an invalid option"),
            ("mongodb://h:27017/d?ssl=false&tls=true", "cannot set `tls` or `ssl` if TLS is disabled"),
            ("mongodb://app:pw@h:27017/d?authMechanism=FOO", "FOO"),
        ] {
            let refused = Address::parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(refused.contains(said), "{text}: {refused}");
        }
        assert_eq!(Address::parse("mongodb://%2Ftmp%2Fm.sock/d").map(|_| ()).unwrap_err(), InvalidUrl::Socket);
    }

    #[test]
    fn what_is_for_applications_alone_is_left_out_and_nothing_else_is() {
        for (text, kept) in [
            ("mongodb://h/d?compressors=zstd,snappy", "mongodb://h/d"),
            ("mongodb://h/d?Compressors=zlib&zlibCompressionLevel=-1&tls=true", "mongodb://h/d?tls=true"),
            ("mongodb://h/d?w=1&appName=compressors", "mongodb://h/d?w=1&appName=compressors"),
            ("mongodb://h/d?timeoutMS=5000&tlsDisableOCSPEndpointCheck=true", "mongodb://h/d"),
            ("mongodb://h/d?socketTimeoutMS=30000&w=1&waitQueueTimeoutMS=1000", "mongodb://h/d?w=1"),
            ("mongodb://h/d?heartbeatFrequencyMS=100&serverMonitoringMode=poll&adaptiveRetries=true", "mongodb://h/d"),
            ("mongodb://h/d?uuidRepresentation=standard&tz_aware=true&connect=false", "mongodb://h/d"),
            ("mongodb://h/d?document_class=bson.SON&datetime_conversion=DATETIME_MS", "mongodb://h/d"),
            (
                "mongodb://h/d?unicode_decode_error_handler=ignore&connectTimeoutMS=9",
                "mongodb://h/d?connectTimeoutMS=9",
            ),
            ("mongodb://h/d?", "mongodb://h/d?"),
            ("mongodb://h/d", "mongodb://h/d"),
            ("mongodb://app:1?compressors=x@h/d", "mongodb://app:1?compressors=x@h/d"),
        ] {
            assert_eq!(for_this_driver(text), kept);
        }
        let address = Address::parse("mongodb://app:pw@h/d?compressors=zstd&tls=true").unwrap();
        assert!(address.encrypted && !address.expose().contains("compressors"));
    }
}
