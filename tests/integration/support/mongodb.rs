//! A MongoDB server for a test, which makes databases of its own on it.
//!
//! ```ignore
//! let server = require!(mongodb::server);
//! let database = server.database("crm");
//! database.run(r#"{"insert": "people", "documents": [{"_id": 1}]}"#);
//! let url = database.url();
//! ```
//!
//! What a test makes is removed with the last of its handles: databases whose name begins with the test's prefix, so also
//! those that a restore made beside them. `DRCTL_TEST_KEEP=1` leaves them.
//!
//! The server is FerretDB of the bed, which says that it is 7.0 and leaves much out: `testbed/README.md` has the list, and
//! `support/mongo_proxy.rs` plays some of it. Where `DRCTL_TEST_MONGODB_URL` names a real mongod (`mongodb://…/?…`), the
//! same tests run there, and those that need a replica set on `DRCTL_TEST_MONGODB_REPLICA_SET_URL`.
//!
//! The helpers go through `tests/mongodb`, which is pymongo and knows nothing of drctl.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    env,
    io::Write,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
};

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{bed, workshop::wait_for};

const URL: &str = "DRCTL_TEST_MONGODB_URL";
const REPLICA_SET_URL: &str = "DRCTL_TEST_MONGODB_REPLICA_SET_URL";
const FERRETDB: &str = "DRCTL_BED_MONGODB_FERRETDB";
const POSTGRES: &str = "DRCTL_BED_MONGODB_POSTGRES";
const PYMONGO: &str = "DRCTL_BED_MONGODB_PYMONGO";

/// A standalone server: a real one where the environment names one, else the bed's.
pub(crate) fn server(test: &str) -> Option<MongoDb> {
    match env::var(URL) {
        Ok(url) => at(test, url, true),
        Err(_) => at(test, bed::component(test, "DRCTL_BED_MONGODB_URL")?, false),
    }
}

/// A real mongod without replication. The bed has none.
pub(crate) fn real(test: &str) -> Option<MongoDb> {
    at(test, named(test, URL)?, true)
}

/// A real replica set with one member. The bed has none.
pub(crate) fn replica_set(test: &str) -> Option<MongoDb> {
    at(test, named(test, REPLICA_SET_URL)?, true)
}

/// Whether the environment names a real replica set.
pub(crate) fn has_replica_set() -> bool {
    env::var_os(REPLICA_SET_URL).is_some()
}

/// Where the bed's server is reached by TLS, whose authority is private, and the file with that authority.
pub(crate) fn with_tls(test: &str) -> Option<(MongoDb, PathBuf)> {
    let authority = bed::component(test, "DRCTL_BED_MONGODB_CA")?;
    let server = at(test, bed::component(test, "DRCTL_BED_MONGODB_TLS_URL")?, false)?;
    Some((server, authority.into()))
}

/// The bed's server, and never a real one: for what only it does.
pub(crate) fn ferretdb(test: &str) -> Option<MongoDb> {
    at(test, bed::component(test, "DRCTL_BED_MONGODB_URL")?, false)
}

/// Another server over the data of the bed's, which the test may kill.
pub(crate) fn own_ferretdb(test: &str) -> Option<OwnServer> {
    bed::component(test, FERRETDB)?;
    bed::component(test, POSTGRES)?;
    bed::ran(test);
    Some(OwnServer::start())
}

/// A process of FerretDB. It ends with this value.
#[derive(Debug)]
pub(crate) struct OwnServer {
    process: Child,
    address: String,
    _state: TempDir,
}

impl OwnServer {
    /// Starts one, where [`own_ferretdb`] has started one.
    pub(crate) fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(env::var(FERRETDB).unwrap())
            .arg(format!("--postgresql-url={}", env::var(POSTGRES).unwrap()))
            .arg(format!("--listen-addr={address}"))
            .arg(format!("--state-dir={}", state.path().display()))
            .args(["--auth", "--telemetry=disable", "--debug-addr=-", "--log-level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, address, _state: state };
        wait_for("a server of the test's own", 60, || TcpStream::connect(&server.address).ok());
        server
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it as a machine that loses its power would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn named(test: &str, variable: &str) -> Option<String> {
    let url = env::var(variable).ok();
    if url.is_none() {
        bed::not_run(test, &format!("needs a real mongod, and {variable} names none"));
    }
    url
}

fn at(test: &str, url: String, is_real: bool) -> Option<MongoDb> {
    let (pymongo, prefix) = (bed::component(test, PYMONGO)?, bed::unique_name(test));
    let server = Server { url, is_real, pymongo, prefix, cleans_up: true };
    bed::ran(test);
    Some(MongoDb(Arc::new(server)))
}

/// A server, and this test's share of it.
#[derive(Clone, Debug)]
pub(crate) struct MongoDb(Arc<Server>);

#[derive(Debug)]
struct Server {
    url: String,
    is_real: bool,
    pymongo: String,
    prefix: String,
    cleans_up: bool,
}

impl MongoDb {
    /// Its address with user and password, and without a database: `mongodb://admin:…@127.0.0.1:PORT/?…`.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// False for the bed's FerretDB.
    pub(crate) fn is_real(&self) -> bool {
        self.0.is_real
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        let (_, after) = self.0.url.split_once("://").expect("a URL");
        let hosts = after.split('/').next().unwrap_or(after);
        hosts.rsplit('@').next().unwrap_or(hosts)
    }

    /// The password in the URL, which must be in nothing that drctl prints.
    pub(crate) fn password(&self) -> Option<&str> {
        let (_, after) = self.0.url.split_once("://")?;
        let (login, _) = after.split_once('@')?;
        login.split_once(':').map(|(_, password)| password)
    }

    /// The same server, behind something that listens at another `127.0.0.1:PORT`.
    pub(crate) fn behind(&self, address: &str) -> Self {
        let url = self.0.url.replacen(self.address(), address, 1);
        let (pymongo, prefix) = (self.0.pymongo.clone(), self.0.prefix.clone());
        Self(Arc::new(Server { url, is_real: self.0.is_real, pymongo, prefix, cleans_up: false }))
    }

    /// A database of this test, which is there as soon as something is in it.
    pub(crate) fn database(&self, suffix: &str) -> Database {
        self.other_database(&format!("{}-{suffix}", self.0.prefix))
    }

    /// A database that somebody else made or will make, such as a restore.
    pub(crate) fn other_database(&self, name: &str) -> Database {
        Database { server: self.clone(), name: name.to_owned() }
    }

    /// What the names of this test's databases begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Names of all databases that belong to this test, sorted.
    pub(crate) fn databases(&self) -> Vec<String> {
        let answer = self.other_database("admin").run(r#"{"listDatabases": 1, "nameOnly": true}"#);
        let listed = answer["databases"].as_array().unwrap_or_else(|| panic!("databases in {answer}"));
        let names = listed.iter().filter_map(|each| each["name"].as_str());
        let mut own: Vec<String> = names.filter(|name| name.starts_with(&self.0.prefix)).map(str::to_owned).collect();
        own.sort();
        own
    }

    /// `tests/mongodb` with these words, not yet started.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        self.0.client(words)
    }
}

impl Server {
    fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mongodb"));
        command.args(words).env("MONGODB_URL", &self.url).env(PYMONGO, &self.pymongo).stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.cleans_up && !bed::keeps() {
            // What cannot be removed goes with the bed.
            let _ = self.client(&["drop", &self.prefix]).output();
        }
    }
}

/// A database of a test.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    server: MongoDb,
    name: String,
}

/// What is in a collection, or in a file of documents. Two with the same `unordered` have the same documents, two with the
/// same `ordered` have them in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Contents {
    /// The collection, or the file.
    pub(crate) name: String,
    /// Documents.
    pub(crate) count: u64,
    /// Of all documents.
    pub(crate) bytes: u64,
    /// SHA-256 over all documents in natural order.
    pub(crate) ordered: String,
    /// The sum of the documents' SHA-256.
    pub(crate) unordered: String,
}

/// What is in each collection, in whatever order its documents lie.
pub(crate) fn unordered(contents: &[Contents]) -> Vec<(String, u64, String)> {
    contents.iter().map(|it| (it.name.clone(), it.count, it.unordered.clone())).collect()
}

impl Database {
    /// Its name on the server.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on.
    pub(crate) fn server(&self) -> &MongoDb {
        &self.server
    }

    /// Its address, as an application has it: the user is known to `admin`.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.server.address())
    }

    /// As [`Database::url`], behind something that listens at another `127.0.0.1:PORT`.
    pub(crate) fn url_at(&self, address: &str) -> String {
        let url = self.server.url().replacen(self.server.address(), address, 1);
        let (base, options) = url.split_once("/?").unwrap_or((url.trim_end_matches('/'), ""));
        let known_to = if base.contains('@') { "&authSource=admin" } else { "" };
        format!("{base}/{}?{options}{known_to}", self.name)
    }

    /// Runs a command in Extended JSON and returns the answer, also in Extended JSON (numbers as `{"$numberInt": "1"}`).
    ///
    /// # Panics
    /// If the server refuses.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> Value {
        let answer = self.try_run(command);
        let ok = &answer["ok"];
        let is_done = ["$numberInt", "$numberDouble"].iter().any(|each| matches!(ok[each].as_str(), Some("1" | "1.0")));
        assert!(is_done && answer.get("writeErrors").is_none(), "{command} in {}: {answer}", self.name);
        answer
    }

    /// As [`Database::run`], whatever comes of it.
    #[track_caller]
    pub(crate) fn try_run(&self, command: &str) -> Value {
        let line = command.replace('\n', " ");
        let output = feed(self.server.client(&["run", &self.name]), line.as_bytes());
        serde_json::from_slice(&output).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output)))
    }

    /// Inserts documents, byte for byte: BSON, one after the other.
    #[track_caller]
    pub(crate) fn insert(&self, collection: &str, documents: &[u8]) {
        feed(self.server.client(&["insert", &self.name, collection]), documents);
    }

    /// As [`Database::insert`], whatever comes of it.
    pub(crate) fn try_insert(&self, collection: &str, documents: &[u8]) -> Output {
        fed(self.server.client(&["insert", &self.name, collection]), documents)
    }

    /// The documents of a collection in natural order, one after the other, as they lie there.
    #[track_caller]
    pub(crate) fn documents(&self, collection: &str) -> Vec<u8> {
        feed(self.server.client(&["documents", &self.name, collection]), b"")
    }

    /// What is in each collection, sorted by name. A view is none.
    #[track_caller]
    pub(crate) fn contents(&self) -> Vec<Contents> {
        contents(&feed(self.server.client(&["read", &self.name]), b""))
    }

    /// What is in files of documents, as pymongo's own decoder reads them.
    #[track_caller]
    pub(crate) fn decoded(&self, files: &[PathBuf]) -> Vec<Contents> {
        let mut command = self.server.client(&["decode"]);
        command.args(files);
        contents(&feed(command, b""))
    }
}

fn contents(lines: &[u8]) -> Vec<Contents> {
    String::from_utf8_lossy(lines).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a client with this on its stdin, while its stdout is read; returns what it printed.
#[track_caller]
fn feed(command: Command, input: &[u8]) -> Vec<u8> {
    let output = fed(command, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/mongodb failed: {errors}");
    output.stdout
}

fn fed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("tests/mongodb runs");
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("tests/mongodb ends")
    })
}
