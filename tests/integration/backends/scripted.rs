//! A server that says what a test tells it to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
