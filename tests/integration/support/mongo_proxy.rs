//! A proxy before a MongoDB server: **not a real server's behaviour, but the tests' own idea of it**.
//!
//! The bed's server is FerretDB, which is no replica set, reads no snapshots, and forgets the options of collections. So
//! that the code for those can run at all on a machine without a real mongod, the proxy reads along and
//!
//! - plays a part ([`Part`]): it changes the answers to `hello` so that the server seems to be the primary of a replica set
//!   with one member, a mongos, or one shard. In a replica set it takes `readConcern: snapshot` out of what it passes on, answers with
//!   an `atClusterTime`, and notes both; every answer has an `operationTime`. **What is read is not a snapshot.** As a standalone it refuses such reads, as a
//!   real one does;
//! - remembers what FerretDB forgets ([`MongoProxy::remember`]): options and kinds of collections, hidden indexes and
//!   collations, as they were created through it. **Nothing of it has an effect**: a view is an empty collection, a
//!   validator refuses nothing;
//! - keeps users and roles itself: what proves a password is the tests' own idea, too, and nobody can log in with it;
//! - makes faults ([`Fault`]): errors 43, 239, 246 and others as answers, 121 for the last document of an insert, lost
//!   connections, and a pause at a message, in which a test may do something to the server.
//!
//! It speaks OP_MSG without compression and without TLS. What only a real server shows is in `tests/not-run.toml`.
//!
//! ```ignore
//! let (server, proxy) = require!(mongo_proxy::replica_set);
//! let database = server.database("crm");
//! proxy.inject(Fault::error("getMore", 2, 239));
//! workshop.set("URL", &proxy.url(&database));
//! ```
//!
//! [`replica_set`] and [`standalone`] take a real server where there is one, and then the proxy plays nothing.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

mod accounts;
mod bson;
mod fault;
mod kept;
mod part;
mod wire;

use std::{
    collections::BTreeMap,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use self::{accounts::Accounts, bson::Elements, fault::Effect, kept::Kept, wire::Message};
pub(crate) use self::{
    fault::{Fault, Pause},
    part::Part,
};
use super::mongodb::{self, Database, MongoDb};

/// A replica set with one member, and a proxy before it: a real one where the environment names one, else a played one.
pub(crate) fn replica_set(test: &str) -> Option<(MongoDb, MongoProxy)> {
    if mongodb::has_replica_set() {
        let server = mongodb::replica_set(test)?;
        let proxy = MongoProxy::before(&server, Part::Itself);
        return Some((server, proxy));
    }
    played(test, Part::ReplicaSet)
}

/// A server without replication, and a proxy before it: as [`replica_set`].
pub(crate) fn standalone(test: &str) -> Option<(MongoDb, MongoProxy)> {
    played(test, Part::Standalone)
}

fn played(test: &str, part: Part) -> Option<(MongoDb, MongoProxy)> {
    let server = mongodb::server(test)?;
    let proxy = MongoProxy::before(&server, if server.is_real() { Part::Itself } else { part });
    if !server.is_real() {
        proxy.remember();
    }
    Some((server, proxy))
}

/// A command that came through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `find`, `getMore`, `insert`, ...
    pub(crate) command: String,
    pub(crate) database: String,
    /// Where it is about one.
    pub(crate) collection: Option<String>,
    /// The level of its read concern: `snapshot`.
    pub(crate) read_concern: Option<String>,
    /// The time of the snapshot that it asked for.
    pub(crate) at_cluster_time: Option<(u32, u32)>,
    /// Documents that it brought along.
    pub(crate) documents: usize,
    /// How many members an index is to wait for.
    pub(crate) quorum: Option<String>,
    /// How many members are to have what it does, and for how many milliseconds they are waited for.
    pub(crate) write_concern: Option<(String, i64)>,
    /// Options of a collection that it makes, without its name, in their order.
    pub(crate) made_with: Vec<String>,
    /// Its boolean options that were true, such as `bypassDocumentValidation`, sorted.
    pub(crate) options: Vec<String>,
}

/// The proxy. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct MongoProxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// `127.0.0.1:PORT` of the proxy.
    address: String,
    server: String,
    part: Part,
    inner: Mutex<Inner>,
    /// Told when a pause is reached or over.
    paused: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    seen: Vec<Seen>,
    logins: Vec<String>,
    faults: Vec<fault::Counted>,
    /// A command whose client is gone, and that was not done yet.
    late: Option<Message>,
    kept: Option<(Kept, Accounts)>,
    /// The snapshots' clock.
    ticks: u32,
    /// How far the moments that the server chooses are behind, in seconds.
    lag: u32,
    /// In seconds, if not the usual one.
    window: Option<i32>,
    /// Both ends of all connections.
    sockets: BTreeMap<usize, [TcpStream; 2]>,
    connections: usize,
    gone: bool,
}

impl MongoProxy {
    /// A proxy before the server, which plays a part.
    pub(crate) fn before(server: &MongoDb, part: Part) -> Self {
        Self::at(server.address(), part)
    }

    fn at(server: &str, part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            address: address.to_string(),
            server: server.to_owned(),
            part,
            inner: Mutex::default(),
            paused: Condvar::new(),
        });
        let proxy = Self { port: address.port(), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let state = Arc::clone(&state);
                thread::spawn(move || serve(client, &state));
            }
        });
        proxy
    }

    /// Remembers from now on what FerretDB forgets. A real server needs no such help.
    pub(crate) fn remember(&self) {
        self.state.inner.lock().unwrap().kept = Some(Default::default());
    }

    /// For how long a played replica set says that it keeps a moment: 300 s if this is not called.
    pub(crate) fn set_snapshot_window(&self, seconds: i32) {
        self.state.inner.lock().unwrap().window = Some(seconds);
    }

    /// Lets a played replica set choose moments of so many seconds ago, as one does whose other members lag behind.
    pub(crate) fn lag_behind(&self, seconds: u32) {
        self.state.inner.lock().unwrap().lag = seconds;
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        &self.state.address
    }

    /// The address of a database behind it.
    pub(crate) fn url(&self, database: &Database) -> String {
        database.url_at(self.address())
    }

    /// Makes a fault from now on; its counting begins here.
    pub(crate) fn inject(&self, fault: Fault) {
        self.state.inner.lock().unwrap().faults.push(fault.into());
    }

    /// How many faults have been made.
    pub(crate) fn faults_made(&self) -> usize {
        self.state.inner.lock().unwrap().faults.iter().map(|fault| fault.made).sum()
    }

    /// Stops at the `nth` of these commands, before the server hears of it, until the test lets go.
    pub(crate) fn pause(&self, command: &str, nth: usize) -> Pause {
        let mut inner = self.state.inner.lock().unwrap();
        inner.faults.push(Fault::new(command, nth, Effect::Pause).into());
        Pause::new(Arc::clone(&self.state), inner.faults.len() - 1)
    }

    /// All commands so far that clients gave, without hello and logins.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.inner.lock().unwrap().seen.clone()
    }

    /// The databases that users said that they are known to when they logged in.
    pub(crate) fn logins(&self) -> Vec<String> {
        self.state.inner.lock().unwrap().logins.clone()
    }

    /// Loses every connection, and takes none any more: the server is gone.
    pub(crate) fn go(&self) {
        let mut inner = self.state.inner.lock().unwrap();
        inner.gone = true;
        inner.cut();
    }
}

impl Inner {
    fn cut(&mut self) {
        for socket in std::mem::take(&mut self.sockets).into_values().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Serves a connection: one request at a time, as drivers use them.
fn serve(client: TcpStream, state: &State) {
    let Ok(server) = TcpStream::connect(&state.server) else { return };
    let number = {
        let mut inner = state.inner.lock().unwrap();
        if inner.gone {
            return;
        }
        inner.connections += 1;
        let number = inner.connections;
        inner.sockets.insert(number, [client.try_clone().unwrap(), server.try_clone().unwrap()]);
        number
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = converse(&client, &server, state);
    for socket in [&client, &server] {
        let _ = socket.shutdown(Shutdown::Both);
    }
    state.inner.lock().unwrap().sockets.remove(&number);
}

/// None when the connection is over.
fn converse(mut client: &TcpStream, mut server: &TcpStream, state: &State) -> Option<()> {
    loop {
        let mut request = Message::read(&mut client)?;
        let effect = state.hear(&request);
        match effect {
            Some(Effect::Error(code)) => {
                request.answered(fault::error(code)).write(&mut client).ok()?;
                continue;
            }
            Some(Effect::Cut) => return None,
            Some(Effect::Late) => {
                state.inner.lock().unwrap().late = Some(request);
                return None;
            }
            Some(Effect::Pause) => state.hold(&request)?,
            Some(Effect::CutAfter | Effect::Refuse(_) | Effect::Lag) | None => (),
        }
        let refused = match effect {
            Some(Effect::Refuse(code)) => fault::take_last(&mut request).map(|at| (at, code)),
            _ => None,
        };
        if let Some((0, code)) = refused {
            // An insert of nothing is none: its one document was refused.
            let mut answer = request.answered(fault::nothing_inserted());
            fault::refuse(&mut answer, 0, code);
            answer.write(&mut client).ok()?;
            continue;
        }
        let late = if request.command() == "drop" { state.inner.lock().unwrap().late.take() } else { None };
        if let Some(mut late) = late {
            if let Some((kept, _)) = &mut state.inner.lock().unwrap().kept {
                kept.ask(&mut late);
            }
            late.write(&mut server).ok()?;
            Message::read(&mut server)?;
        }
        let asked = request.clone();
        let snapshot = match part::ask(&mut request, state) {
            part::Asked::Answer(body) => {
                request.answered(body).write(&mut client).ok()?;
                continue;
            }
            part::Asked::Pass(snapshot) => snapshot,
        };
        let told = match &mut state.inner.lock().unwrap().kept {
            Some((kept, accounts)) => {
                kept.ask(&mut request);
                accounts.answer(&request)
            }
            None => None,
        };
        if let Some(body) = told {
            if effect == Some(Effect::CutAfter) {
                return None;
            }
            let mut answer = request.answered(body);
            if effect == Some(Effect::Lag) {
                fault::lag(&mut answer);
            }
            answer.write(&mut client).ok()?;
            continue;
        }
        request.write(&mut server).ok()?;
        if request.has_more_to_come() {
            continue;
        }
        loop {
            let mut answer = Message::read(&mut server)?;
            if effect == Some(Effect::CutAfter) {
                return None;
            }
            part::answer(&asked, &mut answer, snapshot, state);
            if let Some((kept, _)) = &mut state.inner.lock().unwrap().kept {
                kept.answer(&asked, &mut answer);
            }
            if let Some((at, code)) = refused {
                fault::refuse(&mut answer, at, code);
            }
            if effect == Some(Effect::Lag) {
                fault::lag(&mut answer);
            }
            answer.write(&mut client).ok()?;
            if !answer.has_more_to_come() {
                break;
            }
        }
    }
}

impl State {
    /// Notes a command, and says what fault it has come to.
    fn hear(&self, request: &Message) -> Option<Effect> {
        if let Some(known_to) = login(request) {
            self.inner.lock().unwrap().logins.push(known_to);
        }
        if part::is_hello(request.command()) || request.command().starts_with("sasl") {
            return None;
        }
        let mut inner = self.inner.lock().unwrap();
        inner.seen.push(Seen::of(request));
        inner.faults.iter_mut().find_map(|fault| fault.hears(request))
    }

    /// Waits until the test lets go of the pause. None if it never does: nothing more is served.
    fn hold(&self, _request: &Message) -> Option<()> {
        self.paused.notify_all();
        let inner = self.inner.lock().unwrap();
        let held = |inner: &mut Inner| inner.faults.iter().any(fault::Counted::is_held);
        let (inner, waited) = self.paused.wait_timeout_while(inner, fault::PATIENCE, held).unwrap();
        drop(inner);
        (!waited.timed_out()).then_some(())
    }

    fn tick(&self) -> (u32, u32) {
        let mut inner = self.inner.lock().unwrap();
        inner.ticks += 1;
        (part::now_seconds() - inner.lag, inner.ticks)
    }

    /// The time of what was done last.
    fn operation_time(&self) -> (u32, u32) {
        (part::now_seconds(), self.inner.lock().unwrap().ticks)
    }
}

/// The database that a user says that he is known to, if he logs in by this.
fn login(request: &Message) -> Option<String> {
    match request.command() {
        "saslStart" => request.body.text("$db").map(str::to_owned),
        hello if part::is_hello(hello) => request.body.inner("speculativeAuthenticate")?.text("db").map(str::to_owned),
        _ => None,
    }
}

impl Seen {
    fn of(request: &Message) -> Self {
        let concern: Elements = request.body.inner("readConcern").unwrap_or_default();
        let in_body = ["documents", "updates", "deletes"].iter().filter_map(|name| request.body.inner(name));
        let mut options: Vec<String> =
            request.body.0.iter().filter(|each| each.is_true()).map(|each| each.name.clone()).collect();
        options.sort();
        let write_concern = request.body.inner("writeConcern").unwrap_or_default();
        let deadline =
            write_concern.text("w").map(|w| (w.to_owned(), write_concern.int("wtimeout").unwrap_or_default()));
        let made_with = if request.command() == "create" { kept::options_of(request) } else { Vec::new() };
        Self {
            command: request.command().to_owned(),
            database: request.database().to_owned(),
            collection: request.collection().map(str::to_owned),
            read_concern: concern.text("level").map(str::to_owned),
            at_cluster_time: concern.timestamp("atClusterTime"),
            documents: in_body.map(|array| array.0.len()).sum::<usize>()
                + request.sequences.iter().map(|each| each.documents.len()).sum::<usize>(),
            quorum: request.body.text("commitQuorum").map(str::to_owned),
            write_concern: deadline,
            made_with,
            options,
        }
    }
}
