//! A DNS server of a test's own, and a `drctl` that asks it: **its answers are the tests' own idea of a name server**.
//!
//! The driver asks the name servers of `/etc/resolv.conf`, at port 53. So the server listens there on an address of this
//! machine that nobody else has, and `drctl` runs in a mount namespace of its own, in which that file names it. Nothing
//! outside the namespace sees any of it. Only root can make both.
//!
//! ```ignore
//! let dns = require!(dns::own);
//! dns.srv("_mongodb._tcp.crm.drctl.test", &[("db.drctl.test", 27017)]);
//! workshop.run_in(dns.namespace());
//! ```

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tempfile::NamedTempFile;

use super::bed;

/// Makes the namespace: the first word is the file to see as `/etc/resolv.conf`, the others are what to run there.
const VIEW: &str = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;

const A: u16 = 1;
const TXT: u16 = 16;
const SRV: u16 = 33;
/// Of every query and record: the internet's.
const CLASS: u16 = 1;
/// How long an answer may be kept, in seconds.
const TTL: u32 = 60;
/// There is no such name.
const NO_NAME: u8 = 3;

/// Records: by name, without a dot at its end, and by type.
type Zone = BTreeMap<(String, u16), Vec<Vec<u8>>>;

/// A server of this test; without the rights for one, the test is recorded as NOT RUN.
pub(crate) fn own(test: &str) -> Option<Dns> {
    for program in ["unshare", "mount"] {
        if !bed::has_program(test, program) {
            return None;
        }
    }
    match Dns::start() {
        Ok(dns) => {
            bed::ran(test);
            Some(dns)
        }
        Err(reason) => {
            bed::not_run(test, &format!("needs port 53 and a mount namespace, which root can have: {reason}"));
            None
        }
    }
}

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Dns {
    address: Ipv4Addr,
    state: Arc<State>,
    resolv_conf: NamedTempFile,
}

#[derive(Debug, Default)]
struct State {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<String>>,
    is_silent: AtomicBool,
    is_over: AtomicBool,
}

impl Dns {
    fn start() -> Result<Self, String> {
        let (socket, address) = listen().map_err(|error| format!("port 53: {error}"))?;
        let resolv_conf = NamedTempFile::new().map_err(|error| error.to_string())?;
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        thread::spawn(move || serve(&socket, &served));
        let dns = Self { address, state, resolv_conf };
        dns.wait_for(30);
        let tried =
            Command::new("unshare").args(dns.words()).arg("true").output().map_err(|error| error.to_string())?;
        match tried.status.success() {
            true => Ok(dns),
            false => Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
        }
    }

    /// How many seconds a client waits for an answer.
    pub(crate) fn wait_for(&self, seconds: u32) {
        let text = format!("nameserver {}\noptions timeout:{seconds} attempts:1\n", self.address);
        fs::write(self.resolv_conf.path(), text).unwrap();
    }

    /// The program that makes the namespace, and its words: those of a command follow them.
    pub(crate) fn namespace(&self) -> Vec<String> {
        let mut words = vec!["unshare".to_owned()];
        words.extend(self.words());
        words
    }

    fn words(&self) -> Vec<String> {
        let file = self.resolv_conf.path().to_str().unwrap();
        ["--mount", "--propagation", "private", "sh", "-c", VIEW, file].map(str::to_owned).to_vec()
    }

    /// Where a service is: its records in place of those of before. None: there is no such name.
    pub(crate) fn srv(&self, name: &str, targets: &[(&str, u16)]) {
        let record = |(target, port): &(&str, u16)| {
            // Priority and weight, then the port.
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            data.extend(labels(target));
            data
        };
        self.set(name, SRV, targets.iter().map(record).collect());
    }

    /// The texts of a name, in place of those of before.
    pub(crate) fn txt(&self, name: &str, texts: &[&str]) {
        let record = |text: &&str| {
            let mut data = vec![u8::try_from(text.len()).unwrap()];
            data.extend(text.bytes());
            data
        };
        self.set(name, TXT, texts.iter().map(record).collect());
    }

    fn set(&self, name: &str, kind: u16, records: Vec<Vec<u8>>) {
        self.state.zone.lock().unwrap().insert((name.to_owned(), kind), records);
    }

    /// Answers nothing any more, or again.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// The names that it was asked for, oldest first.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // It waits for a message.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", (self.address, 53)));
    }
}

/// Tests run side by side: each has an address of its own.
fn listen() -> io::Result<(UdpSocket, Ipv4Addr)> {
    let mut tries = 0;
    loop {
        let [.., one, two, three] = RandomState::new().build_hasher().finish().to_be_bytes();
        let address = Ipv4Addr::new(127, one.max(1), two, three.clamp(1, 254));
        match UdpSocket::bind((address, 53)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 10 => tries += 1,
            bound => return bound.map(|socket| (socket, address)),
        }
    }
}

fn serve(socket: &UdpSocket, state: &State) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if state.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Some(query) = Query::read(&buffer[..length]) else { continue };
        state.asked.lock().unwrap().push(query.name.clone());
        if !state.is_silent.load(Ordering::Relaxed) {
            let _ = socket.send_to(&query.answer(&state.zone.lock().unwrap()), from);
        }
    }
}

/// What a client asks.
struct Query<'a> {
    id: &'a [u8],
    name: String,
    kind: u16,
    /// The question, as it came.
    question: &'a [u8],
}

impl<'a> Query<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        let (mut at, mut name) = (12, Vec::new());
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            name.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
        Some(Self { id: message.get(..2)?, name: name.join("."), kind, question: message.get(12..at + 4)? })
    }

    /// Every name is an address of this machine, and only what the zone has is something else.
    fn answer(&self, zone: &Zone) -> Vec<u8> {
        let records = match self.kind {
            A => vec![Ipv4Addr::LOCALHOST.octets().to_vec()],
            kind => zone.get(&(self.name.clone(), kind)).cloned().unwrap_or_default(),
        };
        let code = if self.kind == SRV && records.is_empty() { NO_NAME } else { 0 };
        let mut answer = self.id.to_vec();
        // A response, of who may say so, to a client that asked for recursion, of a server that has it.
        answer.extend([0b1000_0101, 0b1000_0000 | code]);
        for count in [1, u16::try_from(records.len()).unwrap(), 0, 0] {
            answer.extend(count.to_be_bytes());
        }
        answer.extend(self.question);
        for data in records {
            // The name is that of the question.
            answer.extend([0xc0, 12]);
            answer.extend(self.kind.to_be_bytes());
            answer.extend(CLASS.to_be_bytes());
            answer.extend(TTL.to_be_bytes());
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        answer
    }
}

/// A name as a message has it.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}
