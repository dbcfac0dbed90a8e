//! No connection, no answer, half an answer: the same for every store that is reached over a network.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drctl::repository::backend::{Backend, ErrorKind, S3, S3Options};
use futures::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::scripted::{self, answer};
use super::{PATIENCE, SECRET, assert_says, azure_at, elsewhere, key, s3_at};

/// A store of each kind at this address.
async fn stores(endpoint: &str) -> [Arc<dyn Backend>; 2] {
    [s3_at(endpoint).await, azure_at(endpoint).await]
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    for store in stores(&format!("http://{closed}")).await {
        let begin = Instant::now();
        let error = store.get(&key("data/a"), 10).await.unwrap_err();
        assert_says(&error, ErrorKind::Unreachable, "the connection was refused: nothing listens at this address");
        assert!(error.to_string().contains("tried "), "it was not tried again: {error}");
        assert!(begin.elapsed() < PATIENCE * 6 + Duration::from_secs(60), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_host_name_that_does_not_exist_is_unreachable() {
    for store in stores("http://no-such-host.invalid:9000").await {
        let error = store.get(&key("data/a"), 10).await.unwrap_err();
        assert_says(&error, ErrorKind::Unreachable, "host name cannot be resolved: correct the ");
    }
}

/// A server that accepts connections and does with them what `answer` says.
async fn server<F: Future<Output = ()> + Send + 'static>(answer: fn(tokio::net::TcpStream) -> F) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection));
        }
    });
    format!("http://{address}")
}

/// Reads nothing and says nothing.
async fn stall(connection: tokio::net::TcpStream) {
    std::future::pending::<()>().await;
    drop(connection);
}

/// Begins a body of 100 bytes and stalls.
async fn stall_in_the_body(mut connection: tokio::net::TcpStream) {
    let mut request = [0; 4096];
    let _ = connection.read(&mut request).await;
    let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun").await;
    std::future::pending::<()>().await;
}

/// Says that the body has 100 bytes and closes after 5.
async fn break_off(mut connection: tokio::net::TcpStream) {
    let mut request = [0; 4096];
    let _ = connection.read(&mut request).await;
    let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun").await;
}

/// No S3, but a web page.
async fn web_page(mut connection: tokio::net::TcpStream) {
    let mut request = [0; 4096];
    let _ = connection.read(&mut request).await;
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\nConnection: close\r\n\r\n<html>not here</html>\n";
    let _ = connection.write_all(page).await;
}

/// Asks to slow down, always.
async fn overloaded(mut connection: tokio::net::TcpStream) {
    let mut request = [0; 4096];
    let _ = connection.read(&mut request).await;
    let answer = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let _ = connection.write_all(answer).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_stalls_is_given_up_in_bounded_time() {
    for store in stores(&server(stall).await).await {
        let small = async { store.get(&key("data/a"), 10).await.unwrap_err() };
        let head = async { store.head(&key("data/a")).await.unwrap_err() };
        let list = async { store.list("").try_next().await.unwrap_err() };
        let put = async { store.put_new(&key("data/a"), Bytes::from_static(b"x")).await.unwrap_err() };
        // More than the sockets' buffers hold.
        let large = async { store.put_new(&key("data/b"), Bytes::from(vec![0; 1 << 20])).await.unwrap_err() };
        let begin = Instant::now();
        let (small, head, list, put, large) = tokio::join!(small, head, list, put, large);
        for error in [small, head, list, put, large] {
            assert_says(&error, ErrorKind::TimedOut, "no answer in ");
        }
        // The large one has 8 s more for its 1 MiB.
        assert!(begin.elapsed() < PATIENCE * 6 + Duration::from_secs(60), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_stalls_or_breaks_off_is_never_taken_for_the_object() {
    for store in stores(&server(stall_in_the_body).await).await {
        let error = store.get(&key("data/a"), 1000).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
    }
    for store in stores(&server(break_off).await).await {
        let error = store.get(&key("data/a"), 1000).await.unwrap_err();
        assert_says(&error, ErrorKind::Unreachable, "the connection broke off");
        // What is too large is refused by what the server says of it, before a byte is waited for.
        let error = store.get(&key("data/a"), 99).await.unwrap_err();
        assert_says(&error, ErrorKind::TooLarge, "it has 100 bytes, and at most 99 are taken here");
    }
}

#[tokio::test]
async fn an_overloaded_server_is_tried_again_and_named() {
    for store in stores(&server(overloaded).await).await {
        let error = store.get(&key("data/a"), 1000).await.unwrap_err();
        assert_says(&error, ErrorKind::Other, "the store is overloaded or asks to slow down (HTTP 503) (tried ");
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() {
    for (store, code) in [(false, "SlowDown"), (true, "ServerBusy")] {
        let head = format!("Retry-After: 1\r\nx-ms-error-code: {code}\r\n");
        let busy = answer(503, &head, &format!("<Error><Code>{code}</Code></Error>"));
        let seen = answer(200, "Last-Modified: Fri, 20 Nov 2026 02:00:00 GMT\r\n", "");
        let (endpoint, requests) = scripted::server(&[busy, seen]).await;
        let store = if store { azure_at(&endpoint).await } else { s3_at(&endpoint).await };
        let begin = Instant::now();
        store.head(&key("data/a")).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        assert_eq!(requests.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_a_store() {
    for store in stores(&server(web_page).await).await {
        let error = store.list("").try_next().await.unwrap_err();
        assert_says(&error, ErrorKind::Unsupported, "the answer is not that of an ");
    }
}

#[tokio::test]
async fn a_file_of_authorities_is_checked_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let open = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        let options = S3Options { ca_file: Some(file.clone()), ..elsewhere("https://127.0.0.1:9") };
        S3::open("bucket", "", &options).await
    };
    let empty = open("nothing\n").await.unwrap_err();
    assert_says(&empty, ErrorKind::Other, "holds no certificate");
    let broken = open("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").await.unwrap_err();
    assert_says(&broken, ErrorKind::Other, "is not PEM");
    let other = open("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").await.unwrap_err();
    assert_says(&other, ErrorKind::Other, "holds what is no certificate");
    let options = S3Options { ca_file: Some("/no/such/file".into()), ..elsewhere("https://127.0.0.1:9") };
    let missing = S3::open("bucket", "", &options).await.unwrap_err();
    assert_says(&missing, ErrorKind::Other, "cannot be read");
}

#[tokio::test]
async fn an_endpoint_with_credentials_is_refused_and_not_shown() {
    for endpoint in [format!("https://user:{SECRET}@host"), format!("https://host/?key={SECRET}"), "host:9000".into()] {
        let error = S3::open("bucket", "", &elsewhere(&endpoint)).await.unwrap_err();
        assert_says(&error, ErrorKind::Other, "the endpoint is not an address like https://s3.example.org:9000");
    }
}

/// Set for the inner run of [`without_credentials_the_next_step_is_said`].
const INNER: &str = "DRCTL_TEST_WITHOUT_CREDENTIALS";

#[tokio::test]
async fn without_credentials_the_next_step_is_said() {
    if std::env::var_os(INNER).is_none() {
        // Where a client looks for credentials is the environment of the process: another process has another.
        for (variable, value) in [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // A machine outside AWS: nothing answers where a role could be asked for.
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
        ] {
            let mut inner = Command::new(std::env::current_exe().unwrap());
            inner.args(["--exact", "backends::network::without_credentials_the_next_step_is_said"]);
            inner.env_clear().env(INNER, "1").env("HOME", "/nonexistent").env(variable, value);
            let output = inner.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{variable}: {said}");
        }
        return;
    }
    let store =
        S3::open("bucket", "", &S3Options { access_key: None, ..elsewhere("http://127.0.0.1:9") }).await.unwrap();
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_says(
        &error,
        ErrorKind::Unauthenticated,
        "no credentials found: say `s3.accessKeyId` and `s3.secretAccessKey`, set",
    );
    let nowhere = S3Options { region: None, endpoint: None, ..elsewhere("") };
    let error = S3::open("bucket", "", &nowhere).await.unwrap_err();
    assert_says(&error, ErrorKind::NoSuchStore, "the region of the bucket is not known: say it as `s3.region`");
}
