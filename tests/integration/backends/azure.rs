//! Azure Blob storage as Azurite speaks it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drctl::repository::backend::{
    Azure, AzureOptions, Backend, ErrorKind, LockMode, LockOptions, PutOutcome, Relock, StoreOptions, conformance, open,
};
use drctl::types::{Location, Secret};
use futures::TryStreamExt;
use jiff::SignedDuration;

use super::{SECRET, assert_says, errors, key};
use crate::support::azure::{self, Container};
use crate::support::bed::{self, require};

const LATER: &str = "2099-01-01T00:00:00Z";

async fn opened(container: &Container, prefix: &str, options: &AzureOptions) -> Azure {
    Azure::open(&container.account, &container.name, prefix, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_conforms() {
    let container = require!(azure::container);
    let sas = container.with_sas(&container.sas("rcld", "", LATER));
    for (prefix, options) in
        [("", container.options()), ("a prefix/of+two", AzureOptions { page_size: Some(100), ..sas })]
    {
        // The second store lies beside what the first has left in the container.
        let store = opened(&container, prefix, &options).await;
        let begin = Instant::now();
        let findings = conformance::check(Arc::new(store)).await;
        println!("azure under `{prefix}`: {} checks in {:.1?}", findings.checks, begin.elapsed());
        assert_eq!(findings.failures, [""; 0]);
    }
}

#[tokio::test]
async fn a_place_opens_the_container_that_it_names() {
    let container = require!(azure::container);
    let location: Location = format!("az://{}/{}/prod", container.account, container.name).parse().unwrap();
    let options = StoreOptions { azure: container.options(), ..StoreOptions::default() };
    let store = open(&location, &options).await.unwrap();
    assert_eq!(store.location(), location.to_string());
    assert_eq!(store.put_new(&key("a/b"), Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    let answer = container.ask("GET", "/prod/a/b", "", "");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nx"), "{answer}");
    // The store has checked the bytes by their MD5, and kept it.
    assert!(answer.to_lowercase().contains("content-md5: ndtkysamgdt1yfzofvxnpg=="), "{answer}");
}

#[tokio::test]
async fn a_blob_that_is_put_with_a_lock_cannot_be_deleted() {
    let container = require!(azure::container);
    let lock = LockOptions { mode: LockMode::Governance, period: SignedDuration::from_hours(24), locked: |_| true };
    let store = opened(&container, "prod", &AzureOptions { lock: Some(lock), ..container.options() }).await;
    assert_eq!(store.put_new(&key("data/a"), Bytes::from_static(b"x")).await.unwrap(), PutOutcome::Created);
    if let Err(error) = store.keep_locked(&key("data/a")).await {
        // A store that takes a lock with a put, and does not have it, is found out by this before a backup commits.
        assert!(error.to_string().starts_with("cannot lock `data/a` in az://"), "{error}");
        let test = "backends::azure::a_blob_that_is_put_with_a_lock_cannot_be_deleted";
        return bed::not_run(test, &format!("the store knows no immutability policies: {error}"));
    }
    assert_eq!(store.delete(&key("data/a")).await.unwrap_err().kind, ErrorKind::Locked);
    assert_eq!(store.keep_locked(&key("data/a")).await.unwrap(), Relock::Enough);
    assert_eq!(store.get(&key("data/a"), 1).await.unwrap(), "x");
}

#[tokio::test]
async fn what_others_left_in_the_container_is_passed_over() {
    let container = require!(azure::container);
    for name in ["/prod/folder%2F", "/production/a", "/prod.json"] {
        container.ask("PUT", name, "", "theirs");
    }
    let store = opened(&container, "prod", &container.options()).await;
    store.put_new(&key("a"), Bytes::new()).await.unwrap();
    let listed: Vec<String> = store.list("").map_ok(|meta| meta.key.to_string()).try_collect().await.unwrap();
    assert_eq!(listed, ["a"]);
}

#[tokio::test]
async fn a_wrong_key_is_said_to_be_wrong() {
    let container = require!(azure::container);
    let options = AzureOptions { account_key: Some(Secret::new("d3Jvbmc=")), ..container.options() };
    let store = opened(&container, "prod", &options).await;
    for error in errors(&store).await {
        assert_says(&error, ErrorKind::Unauthenticated, "the account key is not that of this account: correct");
    }
    // The twin: with the right key all is well.
    let store = opened(&container, "prod", &container.options()).await;
    store.put_new(&key("data/a"), Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn a_sas_that_is_over_or_not_yet_good_or_changed_says_so() {
    let container = require!(azure::container);
    let good = container.sas("rcl", "2020-01-01T00:00:00Z", LATER);
    for (sas, words) in [
        (container.sas("rcl", "", "2020-01-01T00:00:00Z"), "the SAS expired at 2020-01-01T00:00:00Z: make a new one"),
        (container.sas("rcl", "2098-01-01T00:00:00Z", LATER), "the SAS is not valid before 2098-01-01T00:00:00Z"),
        (good.replace("sp=rcl", "sp=rcld"), "the store does not accept the SAS"),
    ] {
        let store = opened(&container, "prod", &container.with_sas(&sas)).await;
        for error in errors(&store).await {
            assert_says(&error, ErrorKind::Unauthenticated, words);
            assert!(!format!("{error:?} {error}").contains("sig="), "{error:?}");
        }
    }
    let store = opened(&container, "prod", &container.with_sas(&good)).await;
    store.put_new(&key("data/a"), Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn a_missing_container_and_a_wrong_account_are_no_such_store() {
    let container = require!(azure::container);
    let options = container.options();
    let store = Azure::open(&container.account, "no-such-container-here", "prod", &options).await.unwrap();
    for error in errors(&store).await {
        assert_says(&error, ErrorKind::NoSuchStore, "the container does not exist: make it, or correct its name");
    }
    let elsewhere = container.endpoint.replace(&container.account, "nosuchaccount");
    let options = AzureOptions { endpoint: Some(elsewhere), ..options };
    let store = Azure::open("nosuchaccount", &container.name, "prod", &options).await.unwrap();
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NoSuchStore | ErrorKind::Unauthenticated), "{error}");
}

#[tokio::test]
async fn a_writer_that_may_only_create_can_do_all_that_a_backup_does() {
    let container = require!(azure::container);
    // The twin first: without these rights nothing is allowed.
    let store = opened(&container, "prod", &container.with_sas(&container.sas("t", "", LATER))).await;
    for error in errors(&store).await {
        assert_says(&error, ErrorKind::PermissionDenied, "the credentials do not allow it: see docs/azure.md");
    }
    let store = opened(&container, "prod", &container.with_sas(&container.sas("rcl", "", LATER))).await;
    let name = key("data/a");
    assert_eq!(store.put_new(&name, Bytes::from_static(b"kept")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.put_new(&name, Bytes::from_static(b"other")).await.unwrap(), PutOutcome::Exists);
    assert_says(&store.delete(&name).await.unwrap_err(), ErrorKind::PermissionDenied, "do not allow it");
    assert_eq!(store.get(&name, 100).await.unwrap(), "kept");
    assert_eq!(store.head(&name).await.unwrap().size, 4);
    // Nothing is left of what it took to tell a creator from a reader, who is told that it may not write.
    assert_eq!(store.list("").try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let reader = opened(&container, "prod", &container.with_sas(&container.sas("rl", "", LATER))).await;
    for name in ["data/a", "data/new"] {
        let error = reader.put_new(&key(name), Bytes::from_static(b"other")).await.unwrap_err();
        assert_says(&error, ErrorKind::PermissionDenied, "the credentials do not allow it");
    }
    assert_eq!(reader.get(&name, 100).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_lease_of_another_program_is_no_object_of_ours() {
    let container = require!(azure::container);
    let store = opened(&container, "", &container.options()).await;
    store.put_new(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    lease(&container, "/a");
    let error = store.delete(&key("a")).await.unwrap_err();
    assert_says(&error, ErrorKind::PermissionDenied, "another program holds a lease on the object: break the lease");
    assert_eq!(store.get(&key("a"), 1).await.unwrap(), "x");
}

fn lease(container: &Container, blob: &str) {
    use std::io::{Read, Write};
    let sas = container.sas("rwdlac", "", LATER);
    let plain = container.endpoint.strip_prefix("http://").unwrap();
    let (address, account) = plain.split_once('/').unwrap();
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "PUT /{account}/{}{blob}?comp=lease&{sas} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\
         x-ms-version: 2018-11-09\r\nx-ms-lease-action: acquire\r\nx-ms-lease-duration: -1\r\n\r\n",
        container.name
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_its_file_is_named_and_only_then() {
    let container = require!(azure::entra_container);
    let options = AzureOptions { patience: Duration::from_secs(5), ..container.options() };
    let trusting = opened(&container, "prod", &options).await;
    let bytes = Bytes::from(vec![7; 1 << 20]);
    assert_eq!(trusting.put_new(&key("a"), bytes.clone()).await.unwrap(), PutOutcome::Created);
    assert_eq!(trusting.get(&key("a"), 1 << 20).await.unwrap(), bytes);
    let distrusting = opened(&container, "prod", &AzureOptions { ca_file: None, ..options.clone() }).await;
    let error = distrusting.get(&key("a"), 1 << 20).await.unwrap_err();
    let words = "the store's certificate is not trusted: say its authority as `azure.caFile`";
    assert_says(&error, ErrorKind::Unreachable, words);
    let plain = Some(container.endpoint.replace("https://", "http://"));
    let without_tls = opened(&container, "prod", &AzureOptions { endpoint: plain, ..options }).await;
    let error = without_tls.get(&key("a"), 1).await.unwrap_err();
    assert_ne!(error.kind, ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_said_so() {
    let container = require!(azure::container);
    let endpoint = Some(container.endpoint.replace("http://", "https://"));
    let options = AzureOptions { endpoint, patience: Duration::from_secs(5), ..container.options() };
    let store = opened(&container, "", &options).await;
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_says(&error, ErrorKind::Unreachable, "TLS is not agreed: does the address speak https");
}

#[tokio::test]
async fn no_secret_is_in_what_is_shown_of_a_store() {
    let options = AzureOptions {
        account_key: Some(Secret::new(SECRET)),
        sas: Some(Secret::new(format!("sig={SECRET}"))),
        ..AzureOptions::default()
    };
    assert!(!format!("{options:?}").contains(SECRET));
    let error = Azure::open("account", "box", "", &options).await.unwrap_err();
    assert_says(&error, ErrorKind::Unauthenticated, "`azure.accountKey` is no account key: it must be Base64");
}
