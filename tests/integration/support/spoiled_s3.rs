//! A proxy before a real S3 server that changes what its answers say: of the time, or of what a listing has.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822, tz::TimeZone};

use super::bed::Bucket;

/// What is wrong with the answers.
#[derive(Debug, Clone, Default)]
struct Wrong {
    /// All times are so much later.
    later: SignedDuration,
    /// A listing lacks the keys that hold this.
    lacks: Option<String>,
}

/// The proxy. Without a fault its answers are the server's.
#[derive(Debug)]
pub(crate) struct SpoiledS3 {
    /// Where it is.
    pub(crate) endpoint: String,
    wrong: Arc<Mutex<Wrong>>,
}

impl SpoiledS3 {
    pub(crate) fn before(bucket: &Bucket) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = bucket.endpoint.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        let wrong = Arc::<Mutex<Wrong>>::default();
        let known = Arc::clone(&wrong);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, wrong) = (server.clone(), Arc::clone(&known));
                std::thread::spawn(move || serve(client, &server, &wrong));
            }
        });
        Self { endpoint, wrong }
    }

    /// All times are so many minutes later from now on.
    pub(crate) fn clock_is_later_by(&self, minutes: i64) {
        self.wrong.lock().unwrap().later = SignedDuration::from_mins(minutes);
    }

    /// Listings lack the keys that hold this from now on.
    pub(crate) fn lists_lack(&self, part: Option<&str>) {
        self.wrong.lock().unwrap().lacks = part.map(str::to_owned);
    }
}

/// Serves one request on a connection; its answer ends the connection.
fn serve(mut client: TcpStream, server: &str, wrong: &Mutex<Wrong>) -> Option<()> {
    let (head, rest) = read_head(&mut client)?;
    let (line, fields) = head.split_once("\r\n")?;
    let is_list = line.starts_with("GET ") && line.contains("list-type=2");
    let mut up = TcpStream::connect(server).ok()?;
    let fields: String = fields
        .lines()
        .filter(|field| !field.to_lowercase().starts_with("connection:"))
        .fold(String::new(), |all, field| if field.is_empty() { all } else { format!("{all}{field}\r\n") });
    up.write_all(format!("{line}\r\nConnection: close\r\n{fields}\r\n").as_bytes()).ok()?;
    up.write_all(&rest).ok()?;
    let (mut more, mut to) = (client.try_clone().ok()?, up.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut more, &mut to));
    let (head, mut body) = read_head(&mut up)?;
    let wrong = wrong.lock().unwrap().clone();
    let head = later_in_head(&head, wrong.later);
    if is_list {
        up.read_to_end(&mut body).ok()?;
        let body = later_and_less(&whole(&head, body)?, &wrong);
        let mut fields: String = head
            .trim_end()
            .split("\r\n")
            .filter(|field| {
                let field = field.to_lowercase();
                !["content-length:", "transfer-encoding:"].iter().any(|name| field.starts_with(name))
            })
            .fold(String::new(), |all, field| format!("{all}{field}\r\n"));
        fields.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        client.write_all(fields.as_bytes()).ok()?;
        client.write_all(body.as_bytes()).ok()?;
    } else {
        client.write_all(head.as_bytes()).ok()?;
        client.write_all(&body).ok()?;
        std::io::copy(&mut up, &mut client).ok()?;
    }
    let _ = client.shutdown(Shutdown::Both);
    Some(())
}

/// A head with its end, and what was read of the body.
fn read_head(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match from.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

/// The body of a listing, whose pieces are put together.
fn whole(head: &str, body: Vec<u8>) -> Option<String> {
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return String::from_utf8(body).ok();
    }
    let (mut text, mut rest) = (Vec::new(), body.as_slice());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return String::from_utf8(text).ok();
        }
        text.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}

fn later_in_head(head: &str, later: SignedDuration) -> String {
    let field = |field: &str| match field.split_once(": ") {
        Some((name, time)) if matches!(name.to_lowercase().as_str(), "last-modified" | "date") => {
            let time = rfc2822::parse(time).unwrap().timestamp() + later;
            let time = time.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            format!("{name}: {time}")
        }
        _ => field.to_owned(),
    };
    head.split("\r\n").map(field).collect::<Vec<_>>().join("\r\n")
}

/// A listing whose times are later, and which lacks some keys.
fn later_and_less(body: &str, wrong: &Wrong) -> String {
    let mut pieces = body.split("<Contents>");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (object, after) = piece.split_once("</Contents>").unwrap();
        let (before, rest) = object.split_once("<LastModified>").unwrap();
        let (time, rest) = rest.split_once("</LastModified>").unwrap();
        let key = object.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>")).unwrap().0;
        if !wrong.lacks.as_ref().is_some_and(|part| key.contains(part)) {
            let time = time.parse::<Timestamp>().unwrap() + wrong.later;
            text.push_str(&format!("<Contents>{before}<LastModified>{time}</LastModified>{rest}</Contents>"));
        }
        text.push_str(after);
    }
    text
}
