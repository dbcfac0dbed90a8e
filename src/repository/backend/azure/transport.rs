//! How requests leave this machine: TLS, authorities, proxy, time-outs, and no more bytes than a page can have.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    Error, Result,
    error::ErrorKind as SdkErrorKind,
    http::{AsyncRawResponse, Body, HttpClient, Method, Request, Transport, headers::Headers},
};
use futures::StreamExt;

use super::super::{ErrorKind, authorities, failure::Failure, proxy, retry::Patience, said::chain};

/// The largest object of the format: the client's own limits must leave it time.
const LARGEST_PUT: u64 = 16 << 20;
const CONNECT: Duration = Duration::from_secs(10);
/// What an answer without an object in it may have: a page of a listing is some 800 kB.
const LARGEST_ANSWER: usize = 32 << 20;

/// The transport of a store's client, and of the client that gets its tokens.
pub(super) async fn transport(
    ca_file: Option<&PathBuf>,
    https: bool,
    patience: &Patience,
) -> std::result::Result<Transport, Failure> {
    let not_set_up = |error: reqwest::Error| {
        Failure::new(ErrorKind::Other, "TLS cannot be set up").because(chain(&error.without_url()))
    };
    // The calls have limits of their own (`retry`); these stand behind them, for every request
    // that the client makes by itself.
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT.min(patience.answer))
        .read_timeout(patience.for_bytes(LARGEST_PUT))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(path) = ca_file {
        let pem = authorities::read(path.clone()).await?;
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).map_err(not_set_up)?);
    }
    if let Some(found) = proxy::of_environment(https)? {
        let proxy = if https { reqwest::Proxy::https(found.address) } else { reqwest::Proxy::http(found.address) };
        // What the library says of it may have the password in it.
        let proxy = proxy.map_err(|_| Failure::new(ErrorKind::Other, "the proxy's address is not understood"))?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&found.direct)));
    }
    let client = builder.build().map_err(not_set_up)?;
    Ok(Transport::new(Arc::new(Bounded(client))))
}

/// The SDK holds the whole answer to all requests but those for objects, whatever its size.
#[derive(Debug)]
struct Bounded(reqwest::Client);

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let Body::Bytes(body) = request.body() else {
            return Err(Error::with_message(SdkErrorKind::Other, "a body of unknown length is never sent"));
        };
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes());
        let method = method.map_err(|error| Error::new(SdkErrorKind::Other, error))?;
        let mut sent = self.0.request(method, request.url().clone()).body(body.clone());
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let answer = sent.send().await.map_err(unanswered)?;
        let status = answer.status();
        let is_object =
            request.method() == Method::Get && status.is_success() && request.url().query().is_none_or(str::is_empty);
        let is_empty = answer.headers().get("content-length").is_some_and(|length| length == "0");
        let mut headers = Headers::new();
        for (name, value) in answer.headers() {
            // Of an empty object some stores give bytes 0 to -1, which is no range to the SDK, and none at all.
            if is_empty && name == "content-range" {
                continue;
            }
            // A value that is no text is none of those that are asked for.
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let mut room = if is_object { usize::MAX } else { LARGEST_ANSWER };
        let body = answer.bytes_stream().map(move |piece| {
            let piece = piece.map_err(unanswered)?;
            room = room.checked_sub(piece.len()).ok_or_else(|| {
                Error::with_message(SdkErrorKind::DataConversion, "the answer is larger than any that a store gives")
            })?;
            Ok(piece)
        });
        Ok(AsyncRawResponse::new(status.as_u16().into(), headers, Box::pin(body)))
    }
}

/// Why a request got no answer, without its address: that may hold a signature.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);

fn unanswered(error: reqwest::Error) -> Error {
    let kind = if error.is_connect() { SdkErrorKind::Connection } else { SdkErrorKind::Io };
    // Named by words of our own, since the library's differ by the layer that gave up.
    let gave_up = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "connect timeout: ",
        (true, false) => "read timeout: ",
        _ => "",
    };
    Error::new(kind, Unanswered(format!("{gave_up}{}", chain(&error.without_url()))))
}
