//! Sessions of a PostgreSQL server, all alike whatever the server's own settings are.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{Client, Config, NoTls, config::SslMode as ClientSslMode, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    calm::Calm,
    error::{Error, Reason},
    session::{ServerVersion, Session},
    tls,
    url::{ConnectionUrl, Host, SslMode},
    watch::{Announced, Watched, WatchedTls},
};

/// The oldest major version whose archives are understood.
pub const OLDEST_MAJOR: u32 = 12;
/// The newest one.
pub const NEWEST_MAJOR: u32 = 18;
/// How long one address is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server that has accepted a connection may take to begin a session: as long as it gives a client by default
/// (`authentication_timeout`). It starts a process for it, which may wait for a database that is renamed or copied; on a
/// busy machine that can take longer than an address that answers.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings that change how values are written as text. Every session and every child has them, on the
/// source and on the target: `ALTER DATABASE … SET` must not change what is captured or compared.
pub const TEXT_SETTINGS: [(&str, &str); 6] = [
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("array_nulls", "on"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
];

/// What else a session of ours needs; `pg_dump` sets the same for itself.
const SESSION_SETTINGS: [(&str, &str); 17] = [
    ("search_path", ""),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("synchronize_seqscans", "off"),
    ("row_security", "off"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("client_min_messages", "warning"),
    ("check_function_bodies", "off"),
    ("quote_all_identifiers", "off"),
    ("default_tablespace", ""),
    // To compile a question about thousands of tables takes longer than to answer it.
    ("jit", "off"),
];

/// What a session is begun with: a limit of the server's or the role's own would also end the first questions, which
/// come before all other settings. Every known version has these.
const FIRST_SETTINGS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";
/// SQLSTATE of who does not take them: a pooler that is not told to pass over them.
const PROTOCOL_VIOLATION: &str = "08P01";

/// One server, and how it is reached.
#[derive(Debug, Clone)]
pub struct Server {
    url: ConnectionUrl,
    /// The authorities' file, if certificates are verified.
    roots: Option<PathBuf>,
    /// Where a port-forward listens on this machine.
    forwarded: Option<SocketAddr>,
    /// The address that answered first: a snapshot lives on one server, so all sessions go to it.
    pinned: Arc<OnceLock<SocketAddr>>,
    /// Whether sessions are read by threads of their own.
    apart: bool,
    /// Set once sessions are to be begun without event triggers.
    silent: Arc<OnceLock<()>>,
}

impl Server {
    /// The server of `url`. `ca_file` names its authorities, whatever the address names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Tls`] if the authorities that are named cannot be read.
    pub fn new(mut url: ConnectionUrl, ca_file: Option<PathBuf>) -> Result<Self, Error> {
        if let Some(file) = ca_file {
            // A policy that names an authority wants it to be asked.
            if url.ssl_mode.is_none_or(|mode| mode == SslMode::Require) {
                url.ssl_mode = Some(SslMode::VerifyFull);
            }
            url.root_cert = Some(file);
        }
        let roots = tls::root_file(&url);
        if url.root_cert.is_some() {
            let failed = |reason| Error::Tls { server: url.server(), reason };
            tls::client_config(&url, roots.as_deref()).map_err(failed)?;
        }
        Ok(Self { url, roots, forwarded: None, pinned: Arc::default(), apart: false, silent: Arc::default() })
    }

    /// The same server, reached by a port-forward that listens at `address` on this machine. The forward is
    /// encrypted as far as the server's own host: where the address says nothing, the server's own encryption
    /// is used if it has some. A certificate that is checked must still name the host in the URL.
    #[must_use]
    pub fn forwarded_to(mut self, address: SocketAddr) -> Self {
        if self.url.ssl_mode.is_none() {
            self.url.ssl_mode = Some(SslMode::Prefer);
            self.roots = None;
        }
        Self { forwarded: Some(address), pinned: Arc::default(), ..self }
    }

    /// The same server, for a thread that has nothing to do but read what one session sends: while much comes, the thread
    /// sleeps for moments, and everything on its runtime with it.
    #[must_use]
    pub(super) fn read_apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// From now on no event trigger fires in sessions of ours, not even that of a login. Not every role may say so, and
    /// no server before 17.
    pub(super) fn without_event_triggers(&self) {
        self.silent.get_or_init(|| ());
    }

    /// What options of a session end with for that.
    pub(super) fn silence(&self) -> &'static str {
        if self.silent.get().is_some() { " -c event_triggers=off" } else { "" }
    }

    /// The address, without what must not be shown.
    #[must_use]
    pub fn url(&self) -> &ConnectionUrl {
        &self.url
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        self.url.server()
    }

    /// The authorities' file, if certificates are verified.
    #[must_use]
    pub fn roots(&self) -> Option<&std::path::Path> {
        self.roots.as_deref()
    }

    /// The address that sessions go to, once there was one.
    #[must_use]
    pub fn pinned(&self) -> Option<SocketAddr> {
        self.pinned.get().copied()
    }

    /// A session of the URL's database.
    ///
    /// # Errors
    /// Those of [`Self::connect_to`].
    pub async fn connect(&self, purpose: &str) -> Result<Session, Error> {
        self.connect_to(&self.url.database, purpose).await
    }

    /// A session of `database`. `purpose` is in its application name, `drctl: PURPOSE`, for who looks at
    /// `pg_stat_activity`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`], [`Error::Tls`], [`Error::Pooler`], [`Error::Version`].
    pub async fn connect_to(&self, database: &str, purpose: &str) -> Result<Session, Error> {
        let mut config = Config::new();
        config.user(&self.url.user).dbname(database).application_name(format!("drctl: {purpose}"));
        config.options(format!("{FIRST_SETTINGS}{}", self.silence()));
        if let Some(password) = &self.url.password {
            config.password(password.expose());
        }
        let announced = Announced::default();
        let mode = self.url.encryption();
        let opened = match (&self.url.host, mode) {
            (Host::Unix(folder), _) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.url.port));
                let stream = UnixStream::connect(&path).await.map_err(|error| self.unreachable(&error.to_string()))?;
                self.plain(&config, stream, &announced).await
            }
            (Host::Tcp(_), SslMode::Disable) => self.plain(&config, self.dial().await?, &announced).await,
            (Host::Tcp(host), SslMode::Prefer) => {
                match self.encrypted(&config, host, self.dial().await?, &announced).await {
                    // The server has no TLS: libpq goes on without, and so do we, where that was said.
                    Err(Opening::Client(error)) if error.as_db_error().is_none() => {
                        self.plain(&config, self.dial().await?, &announced).await
                    }
                    other => other,
                }
            }
            (Host::Tcp(host), _) => self.encrypted(&config, host, self.dial().await?, &announced).await,
        };
        let (client, driver) = opened.map_err(|error| self.opening_error(error, database))?;
        self.greet(client, driver, database, announced.pid()).await
    }

    /// A connection to the server, or to the address that answered first.
    pub(super) async fn dial(&self) -> Result<TcpStream, Error> {
        let pinned = self.pinned.get().copied();
        let addresses: Vec<SocketAddr> = match (self.forwarded, pinned, &self.url.host) {
            (Some(address), ..) | (None, Some(address), _) => vec![address],
            (None, None, Host::Tcp(host)) => timeout(CONNECT_TIMEOUT, lookup_host((host.as_str(), self.url.port)))
                .await
                .map_err(|_| self.unreachable("its name was not resolved within 15 s"))?
                .map_err(|error| self.unreachable(&error.to_string()))?
                .collect(),
            (None, None, Host::Unix(_)) => Vec::new(),
        };
        let mut reason = "its name has no address".to_owned();
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    keep_alive(&stream).map_err(|error| self.unreachable(&error.to_string()))?;
                    self.pinned.get_or_init(|| address);
                    return Ok(stream);
                }
                Ok(Err(error)) => reason = format!("{address}: {error}"),
                Err(_) => reason = format!("{address}: no answer within 15 s"),
            }
        }
        Err(self.unreachable(&reason))
    }

    async fn plain<S>(&self, config: &Config, stream: S, announced: &Announced) -> Result<Opened, Opening>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut config = config.clone();
        config.ssl_mode(ClientSslMode::Disable);
        let stream = Calm::new(stream, self.apart);
        let connecting = config.connect_raw(Watched::new(stream, announced.clone()), NoTls);
        let (client, connection) = within_timeout(connecting).await?;
        Ok((client, tokio::spawn(async move { log_end(connection.await) })))
    }

    async fn encrypted(
        &self,
        config: &Config,
        host: &str,
        stream: TcpStream,
        announced: &Announced,
    ) -> Result<Opened, Opening> {
        let mut config = config.clone();
        config.ssl_mode(ClientSslMode::Require);
        let rustls = tls::client_config(&self.url, self.roots.as_deref()).map_err(Opening::Tls)?;
        let mut make = MakeRustlsConnect::new(rustls);
        let inner = MakeTlsConnect::<Watched<Calm<TcpStream>>>::make_tls_connect(&mut make, host)
            .map_err(|error| Opening::Tls(error.to_string()))?;
        let tls = WatchedTls { inner, announced: announced.clone() };
        let (client, connection) =
            within_timeout(config.connect_raw(Watched::blind(Calm::new(stream, self.apart)), tls)).await?;
        Ok((client, tokio::spawn(async move { log_end(connection.await) })))
    }

    /// What every session does first: is it the server itself, which version, the fixed settings.
    async fn greet(
        &self,
        client: Client,
        driver: JoinHandle<()>,
        database: &str,
        announced: i32,
    ) -> Result<Session, Error> {
        let failed = |error: &tokio_postgres::Error| Error::Statement {
            doing: "begin a session".to_owned(),
            database: database.to_owned(),
            server: self.shown(),
            reason: error.into(),
        };
        let question = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num')::int, \
             pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_encoding'), \
             pg_catalog.current_setting('session_replication_role')";
        let row = client.query_one(question, &[]).await.map_err(|error| failed(&error))?;
        let (pid, number): (i32, i32) = (row.get(0), row.get(1));
        if announced != pid {
            return Err(Error::Pooler { server: self.shown() });
        }
        let number = u32::try_from(number).unwrap_or_default();
        let version = ServerVersion { major: number / 10_000, number, text: row.get(2) };
        if !(OLDEST_MAJOR..=NEWEST_MAJOR).contains(&version.major) {
            let (oldest, newest) = (OLDEST_MAJOR, NEWEST_MAJOR);
            return Err(Error::Version { server: self.shown(), found: version.text, oldest, newest });
        }
        let role: &str = row.get(4);
        client.batch_execute(&settings(version.major, role)).await.map_err(|error| failed(&error))?;
        let encoding = row.get(3);
        Ok(Session { client, driver, server: self.shown(), database: database.to_owned(), pid, version, encoding })
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable { server: self.shown(), reason: reason.to_owned() }
    }

    fn opening_error(&self, error: Opening, database: &str) -> Error {
        let server = self.shown();
        match error {
            Opening::Tls(reason) => Error::Tls { server, reason },
            Opening::Timeout => self.unreachable("it accepted the connection and did not begin a session within 60 s"),
            Opening::Client(error) => {
                let reason = Reason::from(&error);
                let refused = |words: &str| error.as_db_error().is_some_and(|said| said.message().contains(words));
                if reason.code() == Some(PROTOCOL_VIOLATION) && refused("startup parameter") {
                    Error::Pooler { server }
                } else if error.as_db_error().is_some()
                    || error.to_string() == "authentication error"
                    || error.to_string() == "invalid configuration"
                {
                    let user = self.url.user.clone();
                    Error::Refused { server, user, database: database.to_owned(), reason }
                } else if error.to_string().contains("TLS") {
                    Error::Tls { server, reason: reason.to_string() }
                } else {
                    Error::Unreachable { server, reason: reason.to_string() }
                }
            }
        }
    }
}

type Opened = (Client, JoinHandle<()>);

/// Why a session could not be opened.
enum Opening {
    Client(tokio_postgres::Error),
    Tls(String),
    Timeout,
}

async fn within_timeout<T>(connecting: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Opening> {
    timeout(OPEN_TIMEOUT, connecting).await.map_err(|_| Opening::Timeout)?.map_err(Opening::Client)
}

fn log_end(result: Result<(), tokio_postgres::Error>) {
    if let Err(error) = result {
        // Whoever uses the session hears of it too; this is for the log alone.
        tracing::debug!(error = %Reason::from(&error), "a session ended");
    }
}

/// A dead peer is noticed within about two minutes, also while a long statement runs.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    Ok(rustix::net::sockopt::set_tcp_keepcnt(stream, 9)?)
}

fn settings(major: u32, replication_role: &str) -> String {
    let mut sql = String::new();
    let mut set = |name: &str, value: &str| sql.push_str(&format!("SET {name} TO '{value}';"));
    TEXT_SETTINGS.iter().chain(&SESSION_SETTINGS).for_each(|(name, value)| set(name, value));
    if major >= 14 {
        set("idle_session_timeout", "0");
        // A backend that waits for a lock sees that its client is gone.
        set("client_connection_check_interval", "5000");
    }
    if major >= 17 {
        set("transaction_timeout", "0");
    }
    if replication_role != "origin" {
        set("session_replication_role", "origin");
    }
    sql
}
