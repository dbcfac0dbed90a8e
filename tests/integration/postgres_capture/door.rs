//! A door before a real server: it lets so many bytes of each connection's answers through, and then
//! cuts the connection, or holds it until it is opened.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What happens to a connection after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Cut,
    Hold,
}

#[derive(Debug)]
pub(super) struct Door {
    port: u16,
    open: Arc<AtomicBool>,
    reached: Arc<AtomicUsize>,
}

impl Door {
    pub(super) fn before(port: u16, limit: usize, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self { port: listener.local_addr().unwrap().port(), open: Arc::default(), reached: Arc::default() };
        let (open, reached) = (Arc::clone(&door.open), Arc::clone(&door.reached));
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (mut up, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut up, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                let (open, reached) = (Arc::clone(&open), Arc::clone(&reached));
                thread::spawn(move || answers(server, client, limit, then, &open, &reached));
            }
        });
        door
    }

    /// The URL of a database behind the door.
    pub(super) fn url(&self, url: &str, port: u16) -> String {
        url.replacen(&format!(":{port}/"), &format!(":{}/", self.port), 1)
    }

    /// How many connections have come to their last byte.
    pub(super) fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// From now on everything goes through.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn answers(
    mut server: TcpStream,
    mut client: TcpStream,
    limit: usize,
    then: Then,
    open: &AtomicBool,
    reached: &AtomicUsize,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut through = 0;
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        let before = through;
        through += read;
        if through > limit && !open.load(Ordering::SeqCst) {
            if before <= limit {
                reached.fetch_add(1, Ordering::SeqCst);
            }
            if then == Then::Cut {
                let _ = client.write_all(&buffer[..limit.saturating_sub(before)]);
                break;
            }
            while !open.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
