//! The stores: the conformance suite on a real S3 server and on Azurite, what their refusals mean, and how servers,
//! proxies and disks fail.

mod azure;
mod azure_refusals;
mod disk;
mod entra;
mod network;
mod proxy;
mod refusals;
mod s3;
mod scripted;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drctl::repository::backend::{Azure, AzureOptions, Backend, Error, ErrorKind, Key, S3, S3Options};
use drctl::types::Secret;
use futures::TryStreamExt;

use crate::support::bed::Bucket;

pub(super) const PATIENCE: Duration = Duration::from_secs(2);
pub(super) const SECRET: &str = "a-secret-that-is-never-shown";

pub(crate) fn options(bucket: &Bucket) -> S3Options {
    S3Options {
        region: Some(bucket.region.clone()),
        endpoint: Some(bucket.endpoint.clone()),
        path_style: true,
        access_key: Some((bucket.access_key.clone(), Secret::new(&bucket.secret_key))),
        ..S3Options::default()
    }
}

/// A store at an address where nothing of the bed is.
pub(super) fn elsewhere(endpoint: &str) -> S3Options {
    S3Options {
        region: Some("us-east-1".into()),
        endpoint: Some(endpoint.into()),
        path_style: true,
        access_key: Some(("AKIDEXAMPLE".into(), Secret::new(SECRET))),
        patience: PATIENCE,
        ..S3Options::default()
    }
}

/// S3 at an address where nothing of the bed is.
pub(super) async fn s3_at(endpoint: &str) -> Arc<dyn Backend> {
    Arc::new(S3::open("bucket", "prod", &elsewhere(endpoint)).await.unwrap())
}

/// Azure at an address where nothing of the bed is.
pub(super) async fn azure_at(endpoint: &str) -> Arc<dyn Backend> {
    let options = AzureOptions {
        endpoint: Some(endpoint.into()),
        account_key: Some(Secret::new("a2V5")),
        patience: PATIENCE,
        ..AzureOptions::default()
    };
    Arc::new(Azure::open("account", "box", "prod", &options).await.unwrap())
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// What each kind of call says on a store on which none can succeed.
pub(super) async fn errors(store: &dyn Backend) -> Vec<Error> {
    vec![
        store.put_new(&key("data/a"), Bytes::from_static(b"bytes")).await.unwrap_err(),
        store.get(&key("data/a"), 10).await.unwrap_err(),
        store.get_range(&key("data/a"), 0..1).await.unwrap_err(),
        store.list("data/").try_next().await.unwrap_err(),
        store.delete(&key("data/a")).await.unwrap_err(),
    ]
}

/// The error and all its causes, as the log has them.
pub(super) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    format!("{text} {error:?}")
}

pub(super) fn assert_says(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    for secret in [SECRET, "Signature=", "AWS4-HMAC", "X-Amz-Signature", "SharedKey ", "sig="] {
        assert!(!told(error).contains(secret), "`{secret}` is in: {}", told(error));
    }
}
