//! The address of a database, as its application has it: libpq URLs and keyword strings, Prisma's and SQLAlchemy's URLs.

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;

use crate::types::Secret;

mod words;

/// The longest address that is read, in bytes.
const LONGEST: usize = 8 * 1024;
/// PostgreSQL's port.
const PORT: u16 = 5432;

/// How a connection is encrypted, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the server can; no certificate is checked (libpq's `allow` is read as this).
    Prefer,
    /// Always; no certificate is checked.
    Require,
    /// Always; the certificate must be signed by a known authority.
    VerifyCa,
    /// Always; the certificate must also name the host.
    VerifyFull,
}

impl SslMode {
    /// The word of libpq's `sslmode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => Self::Disable,
            "allow" | "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// The address of one database: all that a connection needs. Shown without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionUrl {
    /// The server.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password, if there is one.
    pub password: Option<Secret>,
    /// What the address says about encryption; absent: `verify-full`, and nothing on this machine itself.
    pub ssl_mode: Option<SslMode>,
    /// The authorities that sign the server's certificate; absent: the system's.
    pub root_cert: Option<PathBuf>,
    /// The client's certificate and key, both PEM files.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// Prisma's `schema`: where its tables are. What is captured is the policy's to say; this is a hint for messages.
    pub schema: Option<String>,
}

/// A text that is no address. It is never repeated: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// Neither a URL nor keywords.
    #[error("not the address of a PostgreSQL database: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    Form,
    /// Another program's.
    #[error("`{0}://` is not the address of a PostgreSQL database")]
    Scheme(&'static str),
    /// Something that must be there.
    #[error("the address names no {0}")]
    Missing(&'static str),
    /// More than one host.
    #[error("the address names several hosts; name the one that is to be backed up")]
    SeveralHosts,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the address is not a number from 1 to 65535")]
    Port,
    /// A byte that no text has, or one after `%` that is not hexadecimal.
    #[error("the {0} in the address cannot be read; special characters are written as %XX, and `%` itself as %25")]
    Encoding(&'static str),
    /// A value that the option does not have.
    #[error("`{option}` in the address has a value that it cannot have; it can be: {choices}")]
    Value {
        /// The option.
        option: &'static str,
        /// What it can be.
        choices: &'static str,
    },
    /// An option that changes what a connection sees, and is not understood.
    #[error("`{0}` in the address is not supported")]
    Option(&'static str),
    /// An option that no program has. Its name is not shown: after an unwritten `%3F` it is a piece of the password.
    #[error(
        "the address has an option that is not known; if it is a piece of the password, write the password's special \
         characters as %XX (`?` as %3F), or between quotes in a keyword string"
    )]
    UnknownOption,
    /// The application reaches the database through a pooler.
    #[error("the address is that of a connection pooler (`pgbouncer=true`); name the server itself")]
    Pooler,
}

impl ConnectionUrl {
    /// Reads an address: `postgresql://` and `postgres://` URLs, also with Prisma's options
    /// (`?schema=public&sslaccept=strict`), SQLAlchemy's with a driver (`postgresql+psycopg2://`), and
    /// libpq's keywords (`host=… dbname=…`).
    ///
    /// # Errors
    /// [`InvalidUrl`] says what is wrong, and never shows the text.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST || text.contains(['\0', '\n', '\r']) {
            return Err(InvalidUrl::Form);
        }
        let mut parts = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains([' ', '=']) => from_url(scheme, rest)?,
            _ => from_keywords(text)?,
        };
        parts.address()
    }

    /// The same server, role and options with another database.
    #[must_use]
    pub fn with_database(&self, database: impl Into<String>) -> Self {
        Self { database: database.into(), ..self.clone() }
    }

    /// Whether the server is on this machine by its address: a socket, `localhost`, 127.0.0.0/8 or ::1.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Unix(_) => true,
            Host::Tcp(host) => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// How the connection is encrypted: what the address says, else `verify-full`, and `prefer` on this machine.
    #[must_use]
    pub fn encryption(&self) -> SslMode {
        match (&self.host, self.ssl_mode) {
            (Host::Unix(_), _) => SslMode::Disable,
            (_, Some(mode)) => mode,
            _ if self.is_local() => SslMode::Prefer,
            _ => SslMode::VerifyFull,
        }
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn server(&self) -> String {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Host::Tcp(host) => format!("{host}:{}", self.port),
            Host::Unix(folder) => format!("{}/.s.PGSQL.{}", folder.display(), self.port),
        }
    }
}

/// What an address says, before it is checked as a whole.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<String>,
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    ssl_mode: Option<SslMode>,
    root_cert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    schema: Option<String>,
}

/// Options that say nothing about what is read: how an application waits, pools and names itself.
const HARMLESS: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "max_idle_connection_lifetime",
    "pool_timeout",
    "prepared_statement_cache_size",
    "socket_timeout",
    "sslcompression",
    "sslnegotiation",
    "sslsni",
    "statement_cache_size",
    "tcp_user_timeout",
    "target_session_attrs",
];

impl Parts {
    fn option(&mut self, name: &str, value: String) -> Result<(), InvalidUrl> {
        match name {
            "host" | "hostaddr" => self.host = Some(value),
            "port" => self.port = Some(value),
            "dbname" => self.database = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "schema" => self.schema = Some(value),
            "sslrootcert" if value == "system" => self.root_cert = None,
            "sslrootcert" => self.root_cert = Some(value.into()),
            "sslcert" => self.cert = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            // asyncpg's `ssl` is libpq's `sslmode`.
            "sslmode" | "ssl" => self.ssl_mode = Some(ssl_mode(&value)?),
            "sslaccept" => self.accept(&value)?,
            "pgbouncer" if value == "true" => return Err(InvalidUrl::Pooler),
            "pgbouncer" => {}
            _ if HARMLESS.contains(&name) => {}
            _ => {
                let known = words::UNSUPPORTED.iter().find(|known| **known == name);
                return Err(known.map_or(InvalidUrl::UnknownOption, |known| InvalidUrl::Option(known)));
            }
        }
        Ok(())
    }

    /// Prisma's word for whether a certificate is checked.
    fn accept(&mut self, value: &str) -> Result<(), InvalidUrl> {
        let mode = match value {
            "strict" => SslMode::VerifyFull,
            "accept_invalid_certs" => SslMode::Require,
            _ => return Err(InvalidUrl::Value { option: "sslaccept", choices: "strict, accept_invalid_certs" }),
        };
        if self.ssl_mode.is_none_or(|said| said == SslMode::Require || said == SslMode::Prefer) {
            self.ssl_mode = Some(mode);
        }
        Ok(())
    }

    fn address(&mut self) -> Result<ConnectionUrl, InvalidUrl> {
        let present = |value: &mut Option<String>| value.take().filter(|value| !value.is_empty());
        let host = present(&mut self.host).ok_or(InvalidUrl::Missing("host"))?;
        let user = present(&mut self.user).ok_or(InvalidUrl::Missing("user"))?;
        let database = present(&mut self.database).ok_or(InvalidUrl::Missing("database"))?;
        if host.contains(',') {
            return Err(InvalidUrl::SeveralHosts);
        }
        let port = match present(&mut self.port) {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(InvalidUrl::Port)?,
            None => PORT,
        };
        // With a key it is the client's certificate; alone it is Prisma's word for the authority's.
        let (client_cert, prisma_root) = match (self.cert.take(), self.key.take()) {
            (Some(cert), Some(key)) => (Some((cert, key)), None),
            (Some(cert), None) => (None, Some(cert)),
            _ => (None, None),
        };
        Ok(ConnectionUrl {
            host: if host.starts_with('/') { Host::Unix(host.into()) } else { Host::Tcp(host) },
            port,
            database,
            user,
            password: present(&mut self.password).map(Secret::new),
            ssl_mode: self.ssl_mode,
            root_cert: self.root_cert.take().or(prisma_root),
            client_cert,
            schema: present(&mut self.schema),
        })
    }
}

fn ssl_mode(value: &str) -> Result<SslMode, InvalidUrl> {
    let choices = "disable, allow, prefer, require, verify-ca, verify-full";
    SslMode::parse(value).ok_or(InvalidUrl::Value { option: "sslmode", choices })
}

fn from_url(scheme: &str, rest: &str) -> Result<Parts, InvalidUrl> {
    let (base, _driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !matches!(base, "postgresql" | "postgres") {
        let other = words::SCHEMES.iter().find(|other| **other == base);
        return Err(other.map_or(InvalidUrl::Form, |other| InvalidUrl::Scheme(other)));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts = Parts::default();
    // A password may hold `@` where it was not encoded: the last one ends it.
    let place = match authority.rsplit_once('@') {
        Some((login, place)) => {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
            parts.user = Some(decoded("user", user)?);
            parts.password = password.map(|word| decoded("password", word)).transpose()?;
            place
        }
        None => authority,
    };
    host_and_port(&mut parts, place)?;
    parts.database = Some(decoded("database", path.trim_end_matches('/'))?).filter(|name| !name.is_empty());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(InvalidUrl::Encoding("query"))?;
        parts.option(&decoded("query", name)?, decoded("query", value)?)?;
    }
    Ok(parts)
}

fn host_and_port(parts: &mut Parts, place: &str) -> Result<(), InvalidUrl> {
    if place.contains(',') {
        return Err(InvalidUrl::SeveralHosts);
    }
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(InvalidUrl::Form)?;
            (host, after.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    parts.host = Some(decoded("host", host)?).filter(|host| !host.is_empty());
    parts.port = port.map(str::to_owned);
    Ok(())
}

fn decoded(what: &'static str, text: &str) -> Result<String, InvalidUrl> {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let broken = bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !(is_hex(at + 1) && is_hex(at + 2)));
    if broken {
        return Err(InvalidUrl::Encoding(what));
    }
    let text = percent_decode_str(text).decode_utf8().map_err(|_| InvalidUrl::Encoding(what))?;
    if text.contains(['\0', '\n', '\r']) { Err(InvalidUrl::Encoding(what)) } else { Ok(Cow::into_owned(text)) }
}

fn from_keywords(text: &str) -> Result<Parts, InvalidUrl> {
    let mut parts = Parts::default();
    for (name, value) in words::pairs(text)? {
        parts.option(&name, value)?;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
