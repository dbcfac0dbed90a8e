//! A small proxy, as companies have them between a cluster and the internet.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A proxy that forwards plain requests and opens tunnels (CONNECT).
pub(crate) struct Proxy {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

/// What a proxy does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Passes it on.
    Forward,
    /// Passes it on if it comes from `user` with `password`.
    Ask,
    /// Says 403.
    Refuse,
}

impl Proxy {
    pub(crate) fn new(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(socket, mood, &seen));
            }
        });
        Self { address, lines }
    }

    /// The first lines of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// Serves one request on a connection; its answer ends the connection.
fn serve(mut client: TcpStream, mood: Mood, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (line, fields) = head.split_once("\r\n")?;
    seen.lock().unwrap().push(line.to_owned());
    let known = fields.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnzd29yza=="); // user:password
    let refusal = match mood {
        Mood::Refuse => Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        Mood::Ask if !known => Some(
            "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        _ => None,
    };
    if let Some(refusal) = refusal {
        client.write_all(refusal.as_bytes()).ok()?;
        return None;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut server = if method == "CONNECT" {
        let server = TcpStream::connect(target).ok()?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
        server
    } else {
        let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
        let mut server = TcpStream::connect(host).ok()?;
        let line = format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n");
        server.write_all(line.as_bytes()).ok()?;
        server.write_all(fields.as_bytes()).ok()?;
        server
    };
    server.write_all(&bytes[end..]).ok()?;
    let (mut up, mut down) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    Some(())
}
