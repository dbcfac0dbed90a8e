//! A fault injector: a proxy before a real PostgreSQL server that loses every connection at the moment when a client
//! says a certain statement, before the server hears of it or after the server has done it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// When the connections are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The server never hears the statement.
    Before,
    /// The server has done it, and its answer is lost.
    After,
}

/// What lies behind, once the connections were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// New connections go through.
    Back,
    /// Nothing goes through any more.
    Gone,
}

#[derive(Debug)]
struct State {
    statement: Vec<u8>,
    when: When,
    then: Then,
    /// It has happened.
    cut: bool,
    /// Both ends of all connections.
    sockets: Vec<TcpStream>,
}

/// The proxy. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Cutter {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Cutter {
    /// A proxy before `port` of this machine, which loses all connections at the first `statement`.
    pub(crate) fn before(port: u16, statement: &str, when: When, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let statement = statement.as_bytes().to_vec();
        let state = Arc::new(Mutex::new(State { statement, when, then, cut: false, sockets: Vec::new() }));
        let cutter = Self { port: listener.local_addr().unwrap().port(), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let mut known = state.lock().unwrap();
                if known.cut && known.then == Then::Gone {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                known.sockets.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(known);
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (asked, answered) = (Arc::clone(&state), Arc::clone(&state));
                let said = Arc::new(Mutex::new(false));
                let heard = Arc::clone(&said);
                thread::spawn(move || questions(from_client, to_server, &asked, &said));
                thread::spawn(move || answers(server, client, &answered, &heard));
            }
        });
        cutter
    }

    /// The URL of a database behind it, without encryption: it reads along.
    pub(crate) fn url(&self, url: &str, port: u16) -> String {
        let url = url.split_once('?').map_or(url, |(url, _)| url);
        format!("{}?sslmode=disable", url.replacen(&format!(":{port}/"), &format!(":{}/", self.port), 1))
    }

    /// Whether the statement was said, and the connections are lost.
    pub(crate) fn has_cut(&self) -> bool {
        self.state.lock().unwrap().cut
    }
}

fn cut(state: &Mutex<State>) {
    let mut state = state.lock().unwrap();
    state.cut = true;
    for socket in state.sockets.drain(..) {
        let _ = socket.shutdown(Shutdown::Both);
    }
}

fn questions(mut client: TcpStream, mut server: TcpStream, state: &Mutex<State>, said: &Mutex<bool>) {
    let mut buffer = vec![0; 16 << 10];
    // A statement may come in two pieces.
    let mut tail = Vec::new();
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..read]);
        let (is_said, when) = {
            let state = state.lock().unwrap();
            let is_said = !state.cut && tail.windows(state.statement.len()).any(|piece| piece == state.statement);
            tail.drain(..tail.len().saturating_sub(state.statement.len()));
            (is_said, state.when)
        };
        if is_said {
            tail.clear();
            if when == When::Before {
                return cut(state);
            }
            *said.lock().unwrap() = true;
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn answers(mut server: TcpStream, mut client: TcpStream, state: &Mutex<State>, said: &Mutex<bool>) {
    let mut buffer = vec![0; 16 << 10];
    // Answers to what was asked before may still be on their way: this one tells that the server has done it.
    let done: &[u8] =
        if state.lock().unwrap().statement == b"CREATE DATABASE" { b"CREATE DATABASE\0" } else { b"COMMIT\0" };
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if *said.lock().unwrap() && buffer[..read].windows(done.len()).any(|piece| piece == done) {
            return cut(state);
        }
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
