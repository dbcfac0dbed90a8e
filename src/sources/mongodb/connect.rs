//! Sessions of a MongoDB server.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use mongodb_driver::{
    Client, Collection, Database,
    bson::{Document, RawDocumentBuf, doc},
    error::ErrorKind,
    options::{
        ClientOptions, CollectionOptions, ConnectionString, HostInfo, ReadConcern, ReadPreference, ServerAddress, Tls,
        TlsOptions,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    bridge::Bridge,
    error::{Error, Reason},
    shard,
    url::{Address, refused},
};
use crate::types::{check_database_name, for_terminal};

/// How long a server is looked for.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take to answer what is no work for it; a document, too, is on its way by then.
const ANSWER: Duration = Duration::from_secs(120);
/// What is said of one that has not.
const SILENT: &str = "the server has not answered";
/// Connections at once: one that reads or writes, one that keeps sessions alive, and some to spare.
const MOST_CONNECTIONS: u32 = 8;
/// What `hello` says of a router of a sharded cluster.
const ROUTER: &str = "isdbgrid";
/// The largest document that servers take, if they do not say otherwise.
const LARGEST_DOCUMENT: u64 = 16 << 20;

/// One database of one server, and how it is reached.
#[derive(Debug, Clone)]
pub struct Server {
    address: Address,
    database: String,
    ca_file: Option<PathBuf>,
    /// The name that its certificate must have, if not the address's.
    server_name: Option<String>,
    /// Where a port-forward listens on this machine.
    forwarded: Option<SocketAddr>,
}

impl Server {
    /// Database `database` (absent: the one that the address names) of the server at `address`. `ca_file` names the authorities
    /// that sign its certificate, and asks for encryption. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::NoDatabase`] if nothing says which one, [`Error::Name`] if it is the server's own or none.
    pub fn new(address: Address, database: Option<String>, ca_file: Option<PathBuf>) -> Result<Self, Error> {
        let Some(database) = database.or_else(|| address.database.clone()) else {
            return Err(Error::NoDatabase { server: address.shown().to_owned() });
        };
        if let Err(reason) = check_database_name(&database) {
            return Err(Error::Name { server: address.shown().to_owned(), reason });
        }
        Ok(Self { address, database, ca_file, server_name: None, forwarded: None })
    }

    /// The same server, reached by a port-forward that listens at `address` on this machine.
    #[must_use]
    pub fn forwarded_to(self, address: SocketAddr) -> Self {
        Self { forwarded: Some(address), ..self }
    }

    /// The same server, whose certificate must be for `name` where it is reached by a port-forward.
    #[must_use]
    pub fn with_server_name(self, name: Option<String>) -> Self {
        Self { server_name: name, ..self }
    }

    /// The address, without what must not be shown.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        self.address.shown().to_owned()
    }

    /// Whether what is sent can be read on its way.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.address.encrypted && self.ca_file.is_none() && !self.address.is_loopback() && self.forwarded.is_none()
    }

    async fn options(&self) -> Result<ClientOptions, Error> {
        let unreachable = |error: mongodb_driver::error::Error| match error.kind.as_ref() {
            // Nothing was sent yet: no server is the cause.
            ErrorKind::InvalidArgument { .. } => {
                Error::Address { server: self.shown(), reason: refused(self.address.expose(), &error) }
            }
            _ => self.unreachable(&Reason::from(&error)),
        };
        let mut said = ConnectionString::parse(self.address.expose()).map_err(unreachable)?;
        if let Some(address) = self.forwarded {
            // Names mean something only where the server is: nothing is looked up here.
            if matches!(said.host_info, HostInfo::DnsRecord(_)) {
                said.tls.get_or_insert_with(|| Tls::Enabled(TlsOptions::default()));
            }
            let here = ServerAddress::Tcp { host: address.ip().to_string(), port: Some(address.port()) };
            said.host_info = HostInfo::HostIdentifiers(vec![here]);
            // Nor are the members' own names reached from here.
            said.direct_connection = Some(true);
            said.replica_set = None;
        }
        // It means that there is no limit, and the driver does not take it.
        said.max_pool_size = said.max_pool_size.filter(|most| *most > 0);
        let mut options = ClientOptions::parse(said).await.map_err(unreachable)?;
        options.app_name = Some("drctl".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
        options.max_pool_size = Some(options.max_pool_size.unwrap_or(MOST_CONNECTIONS).clamp(2, MOST_CONNECTIONS));
        // What we read says itself how it is to be read; the driver would not read at a moment beside this one.
        options.read_concern = None;
        // What failed half-way is begun again by us, or not at all.
        options.retry_writes = Some(false);
        if let Some(file) = &self.ca_file {
            let mut tls = match options.tls.take() {
                Some(Tls::Enabled(tls)) => tls,
                _ => TlsOptions::default(),
            };
            tls.ca_file_path = Some(file.clone());
            tls.allow_invalid_certificates = None;
            options.tls = Some(Tls::Enabled(tls));
        }
        if let Some(Tls::Enabled(tls)) = &options.tls {
            let looked = tls.ca_file_path.as_deref().map_or(Ok(()), look_at_authorities);
            let looked = looked.and_then(|()| tls.cert_key_file_path.as_deref().map_or(Ok(()), look_at_own));
            looked.map_err(|reason| Error::Tls { server: self.shown(), reason })?;
        }
        Ok(options)
    }

    /// Connects, and looks at what answers.
    ///
    /// # Errors
    /// [`Error`] names what is in the way. A mongos is refused, and so is one shard.
    pub async fn connect(&self) -> Result<Session, Error> {
        let mut options = self.options().await?;
        let bridge = self.bridge(&mut options).await?;
        let client = Client::with_options(options).map_err(|error| self.failed("connect", &error))?;
        let mut session = Session {
            server: self.clone(),
            database: client.database(&self.database),
            client,
            facts: Facts::default(),
            _bridge: bridge,
        };
        let hello = session.admin("ask the server what it is", doc! {"hello": 1}).await?;
        if hello.get_str("msg").is_ok_and(|message| message == ROUTER) {
            return Err(Error::Mongos { server: self.shown() });
        }
        if shard::is_one(&session, &hello).await? {
            return Err(Error::Shard { server: self.shown() });
        }
        let build = session.admin("ask for the server's version", doc! {"buildInfo": 1}).await?;
        session.facts = Facts::of(&hello, &build);
        Ok(session)
    }

    /// Through a port-forward, a certificate that is checked by named authorities is checked for the server's own name, too.
    async fn bridge(&self, options: &mut ClientOptions) -> Result<Option<Arc<Bridge>>, Error> {
        let (Some(to), Some(Tls::Enabled(tls))) = (self.forwarded, &options.tls) else { return Ok(None) };
        let TlsOptions { ca_file_path: Some(file), cert_key_file_path: None, .. } = tls else { return Ok(None) };
        if tls.allow_invalid_certificates == Some(true) {
            return Ok(None);
        }
        let name = self.server_name.as_deref().unwrap_or(&self.address.host);
        let bridge = Bridge::open(to, name, file).await;
        let bridge = bridge.map_err(|reason| Error::Tls { server: self.shown(), reason })?;
        let address = bridge.address();
        options.hosts = vec![ServerAddress::Tcp { host: address.ip().to_string(), port: Some(address.port()) }];
        options.tls = Some(Tls::Disabled);
        Ok(Some(Arc::new(bridge)))
    }

    fn unreachable(&self, reason: &Reason) -> Error {
        Error::Unreachable { server: self.shown(), reason: reason.to_string() }
    }

    /// What the driver says, as an error of ours.
    pub(super) fn failed(&self, doing: &str, error: &mongodb_driver::error::Error) -> Error {
        let reason = Reason::from(error);
        let text = reason.to_string();
        if tells_of(&reason, "tls handshake eof") {
            return Error::Handshake { server: self.shown(), reason };
        }
        if matches!(error.kind.as_ref(), ErrorKind::InvalidTlsConfig { .. }) || tells_of(&reason, "certificate") {
            return Error::Tls { server: self.shown(), reason: text };
        }
        if reason.is_refusal() {
            let user = self.address.user.as_deref();
            return Error::Refused {
                server: self.shown(),
                user: user.map_or("who does not log in".to_owned(), |user| format!("user `{}`", for_terminal(user))),
                database: for_terminal(&self.database).into_owned(),
                reason,
            };
        }
        let is_plain = !self.address.encrypted && self.ca_file.is_none();
        if is_plain && matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. }) && text.contains("end of file")
        {
            let words = "the server ends the connection, perhaps since it takes only encrypted ones, which `tls=true` in the address asks for";
            return self.unreachable(&Reason::text(format!("{words} ({text})")));
        }
        if let Some(set) = self.address.replica_set.as_deref().filter(|_| self.forwarded.is_none())
            && let ErrorKind::ServerSelection { message, .. } = error.kind.as_ref()
            && !message.contains("Servers: [")
        {
            let set = for_terminal(set);
            return self.unreachable(&Reason::text(format!(
                "what answers is no member of replica set `{set}`, which the address names by `replicaSet`"
            )));
        }
        if tells_of(&reason, SILENT) {
            return self.unreachable(&Reason::text(format!("cannot {doing}: {text}")));
        }
        match error.kind.as_ref() {
            ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } => self.unreachable(&reason),
            // Another one was told why; this one says what it was at.
            ErrorKind::ConnectionPoolCleared { .. } => {
                self.unreachable(&Reason::text(format!("cannot {doing}: {reason}")))
            }
            _ => self.command(doing, reason),
        }
    }

    pub(super) fn command(&self, doing: &str, reason: Reason) -> Error {
        Error::Command {
            doing: doing.to_owned(),
            database: for_terminal(&self.database).into_owned(),
            server: self.shown(),
            reason,
        }
    }
}

/// What a server says, if it says something: one that takes a connection and then stands still is not waited for until somebody
/// comes and looks.
pub(super) async fn in_time<T>(
    asked: impl IntoFuture<Output = mongodb_driver::error::Result<T>>,
) -> mongodb_driver::error::Result<T> {
    let silent = |_| std::io::Error::other(format!("{SILENT} for {} s", ANSWER.as_secs()));
    tokio::time::timeout(ANSWER, asked.into_future()).await.map_err(silent)?
}

/// Whether the connection itself is what failed, and these words say how. An answer has a code, and any name may be in it.
fn tells_of(reason: &Reason, words: &str) -> bool {
    reason.code().is_none() && reason.to_string().contains(words)
}

/// Sees that there are authorities in a file. The driver passes over what is no certificate, and then knows none.
fn look_at_authorities(file: &Path) -> Result<(), String> {
    let shown = for_terminal(&file.display().to_string()).into_owned();
    match std::fs::read(file) {
        Err(error) => Err(format!("cannot read the authorities in `{shown}`: {error}")),
        Ok(text) if !CertificateDer::pem_slice_iter(&text).any(|it| it.is_ok()) => {
            Err(format!("`{shown}` holds no certificate (PEM)"))
        }
        Ok(_) => Ok(()),
    }
}

/// Sees that the file with drctl's own certificate can be read.
fn look_at_own(file: &Path) -> Result<(), String> {
    let shown = for_terminal(&file.display().to_string()).into_owned();
    std::fs::read(file).map(drop).map_err(|error| format!("cannot read the certificate and key in `{shown}`: {error}"))
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its version: `7.0.14`.
    pub version: String,
    /// What it is, where it is not MongoDB's own: `FerretDB v2.7.0`.
    pub product: Option<String>,
    /// The replica set that it is a member of.
    pub replica_set: Option<String>,
    /// The largest document that it takes, in bytes.
    pub largest_document: u64,
    /// Its clock.
    pub time: Timestamp,
}

impl Facts {
    fn of(hello: &Document, build: &Document) -> Self {
        let text = |document: &Document, key: &str| document.get_str(key).ok().map(str::to_owned);
        let ferretdb = build.get_document("ferretdb").ok();
        let product = ferretdb.map(|it| format!("FerretDB {}", it.get_str("version").unwrap_or_default()));
        let largest = hello.get_i32("maxBsonObjectSize").ok().and_then(|bytes| u64::try_from(bytes).ok());
        Self {
            version: text(build, "version").unwrap_or_default(),
            product,
            replica_set: text(hello, "setName"),
            largest_document: largest.filter(|bytes| *bytes > 0).unwrap_or(LARGEST_DOCUMENT).min(LARGEST_DOCUMENT),
            time: time_of(hello).unwrap_or_else(Timestamp::now),
        }
    }

    /// For people: `MongoDB 7.0.14`.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.product {
            Some(product) => format!("{} (MongoDB {})", for_terminal(product), for_terminal(&self.version)),
            None => format!("MongoDB {}", for_terminal(&self.version)),
        }
    }
}

fn time_of(hello: &Document) -> Option<Timestamp> {
    let time = hello.get_datetime("localTime").ok()?;
    Timestamp::from_millisecond(time.timestamp_millis()).ok()
}

/// A server that answers.
#[derive(Clone)]
pub struct Session {
    server: Server,
    pub(super) client: Client,
    pub(super) database: Database,
    /// What it says of itself.
    pub facts: Facts,
    _bridge: Option<Arc<Bridge>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.server).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Session {
    /// Where it is.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs a command in the database.
    pub(super) async fn run(&self, doing: &str, command: Document) -> Result<Document, Error> {
        in_time(self.database.run_command(command)).await.map_err(|error| self.server.failed(doing, &error))
    }

    /// Runs a command in `admin`.
    pub(super) async fn admin(&self, doing: &str, command: Document) -> Result<Document, Error> {
        let admin = self.client.database("admin");
        in_time(admin.run_command(command)).await.map_err(|error| self.server.failed(doing, &error))
    }

    /// A collection as the primary has it, whichever member the address prefers for reading. With `lasting`, only what no
    /// election takes back.
    pub(super) fn at_primary(&self, name: &str, lasting: bool) -> Collection<RawDocumentBuf> {
        let concern = match lasting && self.facts.replica_set.is_some() {
            true => ReadConcern::majority(),
            false => ReadConcern::local(),
        };
        let options = CollectionOptions::builder()
            .selection_criteria(Some(ReadPreference::Primary.into()))
            .read_concern(Some(concern))
            .build();
        self.database.collection_with_options(name, options)
    }

    /// A time of the replica set that is at or after all that it has told until now; absent: it has no such times.
    pub(super) async fn cluster_time(&self) -> Result<Option<mongodb_driver::bson::Timestamp>, Error> {
        if self.facts.replica_set.is_none() {
            return Ok(None);
        }
        let reply = self.admin("ask for the replica set's time", doc! {"ping": 1}).await?;
        Ok(reply.get_timestamp("operationTime").ok())
    }

    /// The server's clock.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        let hello = self.admin("ask for the server's time", doc! {"hello": 1}).await?;
        Ok(time_of(&hello).unwrap_or_else(Timestamp::now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Server {
        Server::new(Address::parse(address).unwrap(), None, None).unwrap()
    }

    #[test]
    fn a_refusal_that_speaks_of_certificates_is_none_of_tls() {
        let server = server("mongodb://app@h/certificates");
        let said = |code: i32, message: &str| -> mongodb_driver::error::Error {
            let answer = doc! {"code": code, "codeName": "Said", "errmsg": message};
            ErrorKind::Command(mongodb_driver::bson::deserialize_from_document(answer).unwrap()).into()
        };
        let refused = server.failed("list", &said(13, "not authorized on certificates to execute command"));
        assert!(matches!(refused, Error::Refused { .. }), "{refused}");
        let failed = server.failed("list", &said(26, "no such collection: tls handshake eof"));
        assert!(matches!(failed, Error::Command { .. }), "{failed}");
        let io = |words: &str| mongodb_driver::error::Error::from(std::io::Error::other(words));
        let of_tls = server.failed("connect", &io("invalid peer certificate: UnknownIssuer"));
        assert!(matches!(of_tls, Error::Tls { .. }), "{of_tls}");
        assert!(matches!(server.failed("connect", &io("tls handshake eof")), Error::Handshake { .. }));
    }

    #[test]
    fn a_database_of_the_server_itself_is_refused_unless_another_one_is_named() {
        let of = |database: Option<&str>| {
            let address = Address::parse("mongodb://root:hunter2@h/admin").unwrap();
            Server::new(address, database.map(str::to_owned), None)
        };
        let refused = of(None).unwrap_err().to_string();
        assert!(refused.contains("database `admin` belongs to the server itself"), "{refused}");
        assert_eq!(of(Some("crm")).unwrap().database(), "crm");
    }

    #[tokio::test]
    async fn an_option_that_the_driver_does_not_take_is_named_and_no_password_is() {
        let of = async |address: &str| server(address).options().await.map(drop).map_err(|error| error.to_string());
        for (options, words) in [
            ("w=0&journal=true", "write concern cannot have w=0 and j=true"),
            (
                "readPreference=secondary&maxStalenessSeconds=10",
                "invalid maxStalenessSeconds: must be at least 90 seconds",
            ),
            ("maxConnecting=0", "cannot specify maxConnecting=0"),
        ] {
            let refused = of(&format!("mongodb://app:hunter2@h/d?{options}")).await.unwrap_err();
            assert_eq!(refused, format!("the address of the MongoDB server h:27017 cannot be used: {words}"));
            let hidden = of(&format!("mongodb://app:cannot@h/d?{options}")).await.unwrap_err();
            assert!(!hidden.contains(words) || !words.contains("cannot"), "{hidden}");
        }
        for options in
            ["w=1&journal=true", "socketTimeoutMS=5000", "heartbeatFrequencyMS=100", "uuidRepresentation=standard"]
        {
            assert_eq!(of(&format!("mongodb://app:hunter2@h/d?{options}")).await, Ok(()), "{options}");
        }
    }

    #[tokio::test]
    async fn no_limit_of_connections_becomes_our_own_and_compression_is_left_out() {
        let of =
            async |options: &str| server(&format!("mongodb://h/d?{options}")).options().await.unwrap().max_pool_size;
        for (options, most) in [
            ("maxPoolSize=0", MOST_CONNECTIONS),
            ("maxPoolSize=3", 3),
            ("maxPoolSize=500&compressors=snappy,zlib", MOST_CONNECTIONS),
            ("zlibCompressionLevel=6&appName=crm", MOST_CONNECTIONS),
        ] {
            assert_eq!(of(options).await, Some(most), "{options}");
        }
    }
}
