//! A server that says what a test tells it to, and what a store on it must make of that.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use drctl::repository::backend::{Backend, Error, ErrorKind, PutOutcome};
use futures::TryStreamExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{assert_says, key};

/// A store whose server gives each request the next of its answers.
pub(super) struct Scripted {
    pub(super) store: Arc<dyn Backend>,
    /// The heads of the requests.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(super) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(super) async fn put(&self) -> Result<PutOutcome, Error> {
        self.store.put_new(&key("data/a"), Bytes::from_static(b"x")).await
    }

    /// A read fails in just this way, at once, and names the object and the store; what the store said is for the log.
    pub(super) async fn refuses(&self, (status, code): (u16, &str), kind: ErrorKind, words: &str) {
        let error = self.store.get(&key("data/a"), 10).await.unwrap_err();
        assert_says(&error, kind, words);
        assert_eq!(self.requests(), 1, "{code} was tried again");
        let begin = format!("cannot read `data/a` in {}: ", self.store.location());
        assert!(error.to_string().starts_with(&begin), "{error}");
        if kind != ErrorKind::NotFound {
            let source = error.source.unwrap().to_string();
            assert!(source.contains(&format!("{code} (HTTP {status}, request R3QU35T)")), "{source}");
        }
    }

    /// A listing is refused after at most two pages.
    pub(super) async fn lies(&self, what: &str, words: &str) {
        let error = self.store.list("").try_collect::<Vec<_>>().await.unwrap_err();
        assert_says(&error, ErrorKind::Unsupported, words);
        assert!(self.requests() <= 2, "{what}: {} requests", self.requests());
    }

    pub(super) async fn listed(&self) -> Vec<String> {
        self.store.list("").map_ok(|meta| meta.key.to_string()).try_collect().await.unwrap()
    }
}

/// A server that gives each request the next of its answers, and the last one to all that follow. An empty answer is a
/// closed connection. Returns its address, and the heads of the requests, in lower case.
pub(super) async fn server(answers: &[String]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (answers, requests) = (answers.to_vec(), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (answers, requests) = (answers.clone(), Arc::clone(&requests));
            tokio::spawn(async move { reply(connection, &answers, &requests).await });
        }
    });
    (endpoint, seen)
}

/// Reads one request whole and answers it.
async fn reply(mut connection: TcpStream, answers: &[String], requests: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    while request.len() < head + length && connection.read_buf(&mut request).await.unwrap_or(0) > 0 {}
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(text);
        requests.len()
    };
    let answer = &answers[(number - 1).min(answers.len() - 1)];
    let _ = connection.write_all(answer.as_bytes()).await;
    let _ = connection.shutdown().await;
}

/// An answer with a body.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
}
