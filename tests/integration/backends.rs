//! The stores: the conformance suite on a real S3 server, and how S3 fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drctl::repository::backend::{
    Backend, Error, ErrorKind, Key, PutOutcome, S3, S3Options, StoreOptions, conformance, open,
};
use drctl::types::{Location, Secret};
use futures::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::bed::{self, Bucket, require};

const PATIENCE: Duration = Duration::from_millis(500);
const SECRET: &str = "a-secret-that-is-never-shown";

fn options(bucket: &Bucket) -> S3Options {
    S3Options {
        region: Some(bucket.region.clone()),
        endpoint: Some(bucket.endpoint.clone()),
        path_style: true,
        access_key: Some((bucket.access_key.clone(), Secret::new(&bucket.secret_key))),
        ..S3Options::default()
    }
}

/// A store at an address where nothing of the bed is.
fn elsewhere(endpoint: &str) -> S3Options {
    S3Options {
        region: Some("us-east-1".into()),
        endpoint: Some(endpoint.into()),
        path_style: true,
        access_key: Some(("AKIDEXAMPLE".into(), Secret::new(SECRET))),
        patience: PATIENCE,
        ..S3Options::default()
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// What each kind of call says on a store on which none can succeed.
async fn errors(store: &S3) -> Vec<Error> {
    vec![
        store.put_new(&key("data/a"), Bytes::from_static(b"bytes")).await.unwrap_err(),
        store.get(&key("data/a"), 10).await.unwrap_err(),
        store.get_range(&key("data/a"), 0..1).await.unwrap_err(),
        store.list("data/").try_next().await.unwrap_err(),
        store.delete(&key("data/a")).await.unwrap_err(),
    ]
}

/// The error and all its causes, as the log has them.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    format!("{text} {error:?}")
}

fn assert_says(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    for secret in [SECRET, "Signature=", "AWS4-HMAC", "X-Amz-Signature"] {
        assert!(!told(error).contains(secret), "`{secret}` is in: {}", told(error));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_conforms() {
    let bucket = require!(bed::bucket);
    for (prefix, page_size) in [("", None), ("a prefix/of+two", Some(7))] {
        // The second store lies beside what the first has left in the bucket.
        let store = S3::open(&bucket.name, prefix, &S3Options { page_size, ..options(&bucket) }).await.unwrap();
        let begin = Instant::now();
        let findings = conformance::check(Arc::new(store)).await;
        println!("s3 under `{prefix}`: {} checks in {:.1?}", findings.checks, begin.elapsed());
        assert_eq!(findings.failures, [""; 0]);
    }
}

#[tokio::test]
async fn a_place_opens_the_store_that_it_names() {
    let bucket = require!(bed::bucket);
    let location: Location = format!("s3://{}/prod", bucket.name).parse().unwrap();
    let store = open(&location, &StoreOptions { s3: options(&bucket) }).await.unwrap();
    assert_eq!(store.location(), location.to_string());
    assert_eq!(store.put_new(&key("a/b"), Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    let object = bucket.client().get_object().bucket(&bucket.name).key("prod/a/b").send().await.unwrap();
    assert_eq!(object.body.collect().await.unwrap().into_bytes(), "x");
    assert!(object.checksum_sha256.is_none_or(|sum| sum == "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="));
}

#[tokio::test]
async fn what_others_left_in_the_bucket_is_passed_over() {
    let bucket = require!(bed::bucket);
    let client = bucket.client();
    for name in ["prod/folder/", "production/a", "prod.json"] {
        client.put_object().bucket(&bucket.name).key(name).send().await.unwrap();
    }
    let store = S3::open(&bucket.name, "prod", &options(&bucket)).await.unwrap();
    store.put_new(&key("a"), Bytes::new()).await.unwrap();
    let listed: Vec<String> = store.list("").map_ok(|meta| meta.key.to_string()).try_collect().await.unwrap();
    assert_eq!(listed, ["a"]);
}

#[tokio::test]
async fn a_wrong_secret_is_said_to_be_wrong() {
    let bucket = require!(bed::bucket);
    let access_key = Some((bucket.access_key.clone(), Secret::new(SECRET)));
    let store = S3::open(&bucket.name, "prod", &S3Options { access_key, ..options(&bucket) }).await.unwrap();
    for error in errors(&store).await {
        assert_says(
            &error,
            ErrorKind::Unauthenticated,
            "the secret access key is wrong for this access key id: correct",
        );
    }
    // A head has no text that could tell wrong credentials from missing rights.
    assert_says(
        &store.head(&key("a")).await.unwrap_err(),
        ErrorKind::PermissionDenied,
        "the credentials do not allow it",
    );
    // The twin: with the right secret all is well.
    let store = S3::open(&bucket.name, "prod", &options(&bucket)).await.unwrap();
    store.put_new(&key("data/a"), Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_access_key_is_said_to_be_unknown() {
    let bucket = require!(bed::bucket);
    let access_key = Some(("AKIDUNKNOWN".to_owned(), Secret::new(SECRET)));
    let store = S3::open(&bucket.name, "prod", &S3Options { access_key, ..options(&bucket) }).await.unwrap();
    for error in errors(&store).await {
        assert_says(&error, ErrorKind::Unauthenticated, "the store does not know the access key id: correct");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_no_such_store() {
    let bucket = require!(bed::bucket);
    let store = S3::open("no-such-bucket-here", "prod", &options(&bucket)).await.unwrap();
    for error in errors(&store).await.iter().filter(|error| error.act != "delete") {
        assert_says(error, ErrorKind::NoSuchStore, "the bucket does not exist: make it, or correct its name");
    }
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let store = S3::open("bucket", "prod", &elsewhere(&format!("http://{closed}"))).await.unwrap();
    let begin = Instant::now();
    let error = store.get(&key("data/a"), 10).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "the connection was refused: nothing listens at this address");
    assert!(error.to_string().contains("tried "), "it was not tried again: {error}");
    assert!(begin.elapsed() < PATIENCE * 6, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_host_name_that_does_not_exist_is_unreachable() {
    let store = S3::open("bucket", "prod", &elsewhere("http://no-such-host.invalid:9000")).await.unwrap();
    let error = store.get(&key("data/a"), 10).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "the store's host name cannot be resolved: correct the endpoint");
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
    let store = S3::open("bucket", "prod", &elsewhere(&server(stall).await)).await.unwrap();
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
    assert!(begin.elapsed() < PATIENCE * 6 + Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_or_breaks_off_is_never_taken_for_the_object() {
    let store = S3::open("bucket", "prod", &elsewhere(&server(stall_in_the_body).await)).await.unwrap();
    let error = store.get(&key("data/a"), 1000).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut, "{error}");
    let store = S3::open("bucket", "prod", &elsewhere(&server(break_off).await)).await.unwrap();
    let error = store.get(&key("data/a"), 1000).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "the connection broke off");
    // What is too large is refused by what the server says of it, before a byte is waited for.
    let error = store.get(&key("data/a"), 99).await.unwrap_err();
    assert_says(&error, ErrorKind::TooLarge, "it has 100 bytes, and at most 99 are taken here");
}

#[tokio::test]
async fn an_overloaded_server_is_tried_again_and_named() {
    let store = S3::open("bucket", "prod", &elsewhere(&server(overloaded).await)).await.unwrap();
    let error = store.get(&key("data/a"), 1000).await.unwrap_err();
    assert_says(&error, ErrorKind::Other, "the store is overloaded or asks to slow down (HTTP 503) (tried ");
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_a_store() {
    let store = S3::open("bucket", "prod", &elsewhere(&server(web_page).await)).await.unwrap();
    let error = store.list("").try_next().await.unwrap_err();
    assert_says(&error, ErrorKind::Other, "the answer is not that of an S3 store");
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
