//! S3 as the bed's server speaks it.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drctl::repository::backend::{Backend, ErrorKind, PutOutcome, S3, S3Options, StoreOptions, conformance, open};
use drctl::types::{Location, Secret};
use futures::TryStreamExt;

use super::{SECRET, assert_says, errors, key, options};
use crate::support::bed::{self, require};
use crate::support::workshop::wait_for;

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
    let store = open(&location, &StoreOptions { s3: options(&bucket), ..StoreOptions::default() }).await.unwrap();
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
async fn a_writer_that_may_not_delete_can_do_all_that_a_backup_does() {
    let bucket = require!(bed::bucket);
    require!(program "versitygw");
    let writer = format!("writer-{}", bucket.name);
    let admin = |arguments: &[&str]| {
        let done = Command::new("versitygw")
            .args(["admin", "--access", &bucket.access_key, "--secret", &bucket.secret_key])
            .args(["--region", &bucket.region, "--endpoint-url", &bucket.endpoint])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    admin(&["create-user", "--access", &writer, "--secret", SECRET, "--role", "user"]);
    let access_key = Some((writer.clone(), Secret::new(SECRET)));
    let store = S3::open(&bucket.name, "prod", &S3Options { access_key, ..options(&bucket) }).await.unwrap();

    // The twin first: without any rights nothing is allowed.
    for error in errors(&store).await {
        assert_says(&error, ErrorKind::PermissionDenied, "the credentials do not allow it");
    }
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": ["{writer}"]}},
            "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::{0}", "arn:aws:s3:::{0}/*"]}}]}}"#,
        bucket.name
    );
    bucket.client().put_bucket_policy().bucket(&bucket.name).policy(policy).send().await.unwrap();
    let name = key("data/a");
    assert_eq!(store.put_new(&name, Bytes::from_static(b"kept")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"other")).await.unwrap(), PutOutcome::Exists);
    let error = store.delete(&name).await.unwrap_err();
    assert_says(&error, ErrorKind::PermissionDenied, "the credentials do not allow it");
    assert_eq!(store.get(&name, 100).await.unwrap(), "kept");
    assert_eq!(store.head(&name).await.unwrap().size, 4);
    assert_eq!(store.list("").try_collect::<Vec<_>>().await.unwrap().len(), 1);
    admin(&["delete-user", "--access", &writer]);
}

/// An S3 server of the test's own, which ends with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(folder: &std::path::Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An S3 server over TLS with a bucket `bucket`, a key `root` and an authority of its own, `ca.pem` in `here`; and its port.
pub(super) fn tls_server(here: &std::path::Path) -> (impl Drop + use<>, u16) {
    let key_pair = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(here, &format!("req -x509 {key_pair} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    openssl(here, &format!("req {key_pair} -keyout tls.key -out tls.csr -subj /CN=store"));
    std::fs::write(here.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(here, "x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tls.pem -days 2 -extfile names");
    std::fs::create_dir(here.join("root")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("versitygw")
        .args(["--port", &format!("127.0.0.1:{port}"), "--quiet"])
        .arg("--cert")
        .arg(here.join("tls.pem"))
        .arg("--key")
        .arg(here.join("tls.key"))
        .arg("posix")
        .arg(here.join("root"))
        .env("ROOT_ACCESS_KEY", "root")
        .env("ROOT_SECRET_KEY", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A bucket is a folder of this server.
    std::fs::create_dir(here.join("root/bucket")).unwrap();
    wait_for("the S3 server over TLS", 120, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (Server(server), port)
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_its_file_is_named_and_only_then() {
    require!(program "versitygw");
    require!(program "openssl");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (_server, port) = tls_server(here);
    let options = S3Options {
        region: Some("us-east-1".into()),
        endpoint: Some(format!("https://127.0.0.1:{port}")),
        path_style: true,
        ca_file: Some(here.join("ca.pem")),
        access_key: Some(("root".into(), Secret::new(SECRET))),
        patience: Duration::from_secs(5),
        ..S3Options::default()
    };
    let trusting = S3::open("bucket", "prod", &options).await.unwrap();
    let bytes = Bytes::from(vec![7; 1 << 20]);
    assert_eq!(trusting.put_new(&key("a"), bytes.clone()).await.unwrap(), PutOutcome::Created);
    assert_eq!(trusting.get(&key("a"), 1 << 20).await.unwrap(), bytes);

    let distrusting = S3::open("bucket", "prod", &S3Options { ca_file: None, ..options.clone() }).await.unwrap();
    let error = distrusting.get(&key("a"), 1 << 20).await.unwrap_err();
    assert_says(
        &error,
        ErrorKind::Unreachable,
        "the store's certificate is not trusted: say its authority as `s3.caFile`",
    );
    let endpoint = Some(format!("https://localhost:{port}"));
    let misnamed = S3::open("bucket", "prod", &S3Options { endpoint, ..options.clone() }).await.unwrap();
    let error = misnamed.get(&key("a"), 1 << 20).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "certificate");
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_said_so() {
    let bucket = require!(bed::bucket);
    let endpoint = Some(bucket.endpoint.replace("http://", "https://"));
    let patience = Duration::from_secs(5);
    let store = S3::open(&bucket.name, "", &S3Options { endpoint, patience, ..options(&bucket) }).await.unwrap();
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "TLS is not agreed: does the address speak https");
}
