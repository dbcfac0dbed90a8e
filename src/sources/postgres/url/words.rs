//! libpq's keyword strings: `host=db port=5432 password='it''s'`; and the words that a message may repeat.

use super::InvalidUrl;

/// Schemes of other addresses, which are taken for that of a database. What is not among them may be a secret.
pub(super) const SCHEMES: &[&str] = &[
    "cockroachdb",
    "file",
    "http",
    "https",
    "jdbc",
    "mariadb",
    "mongodb",
    "mssql",
    "mysql",
    "oracle",
    "prisma",
    "redis",
    "sqlite",
    "sqlserver",
    "tcp",
    "unix",
];

/// Options of libpq, Prisma, SQLAlchemy and its drivers that change what a connection sees, or how it is made. The name of any
/// other may be a piece of a password.
pub(super) const UNSUPPORTED: &[&str] = &[
    "async_fallback",
    "authtype",
    "autocommit",
    "client_encoding",
    "command_timeout",
    "direct_tls",
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "prepare_threshold",
    "prepared_statement_name_func",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "server_settings",
    "service",
    "servicefile",
    "socket",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslidentity",
    "sslkeylogfile",
    "sslpassword",
    "timeout",
    "tty",
    "use_native_unicode",
];

/// The pairs of a keyword string, in order. Values may stand in quotes, with `\'` and `\\` inside.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, InvalidUrl> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(InvalidUrl::Form)?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(InvalidUrl::Form);
        }
        let (value, after) = value(after.trim_start())?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// One value, and what comes after it.
fn value(text: &str) -> Result<(String, &str), InvalidUrl> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.push(characters.next().ok_or(InvalidUrl::Form)?.1),
            '\'' if quoted => return Ok((value, body.get(at + 1..).unwrap_or_default())),
            c if !quoted && c.is_whitespace() => return Ok((value, body.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    if quoted { Err(InvalidUrl::Form) } else { Ok((value, "")) }
}
