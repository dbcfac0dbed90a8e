//! Requests to one cluster: bounded answers, bounded patience.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::BodyExt as _;
use kube::client::{AuthError, Body};
use rand::Rng as _;

use super::{
    Error, ErrorKind,
    connect::{self, ConnectOptions},
    flow::{Flow, FlowReport},
    reply::Reply,
};

/// One cluster, with credentials. Cheap to clone; clones share their connections, and how many requests
/// they have in flight.
///
/// Requests go over HTTP/1.1, one connection for each that is in flight: an API server creates
/// more small objects a second that way than over one HTTP/2 connection. There is no fixed rate:
/// at most 64 requests are in flight, and fewer while the server answers that it is busy (429).
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    config: Arc<kube::Config>,
    flow: Arc<Flow>,
    name: String,
    address: String,
}

/// Which cluster this is, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The uid of its namespace `kube-system`, which is made with the cluster and never again.
    pub uid: String,
    /// How its kubeconfig calls it; `in-cluster` in a Pod.
    pub name: String,
    /// The API server's version: `v1.36.3`.
    pub version: String,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// What is attempted, on what, for errors: `create configmap shop/settings`.
    pub act: &'a str,
    /// The verb.
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// Media type and bytes of the body.
    pub body: Option<(&'static str, Bytes)>,
    /// What answer is wanted, if not `application/json`.
    pub accept: Option<&'static str>,
    /// Bytes of an answer that are read at most.
    pub limit: usize,
}

/// Why a call brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// The answer is larger than the limit. These are its first bytes.
    TooLarge(Bytes),
    /// No answer, or not all of it: whether the request was carried out is not known.
    Transport(Error),
}

/// Longer than any request that an API server lets live, apart from one that trickles on purpose.
const CALL_DEADLINE: Duration = Duration::from_secs(300);
/// Of a refusal this much is read.
const REFUSAL_LIMIT: usize = 64 << 10;
/// Identity, version and other small answers.
const SMALL: usize = 1 << 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that is made because the server asks for it.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// How often a read is tried, and how long the pauses between are.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries in all, but for those that the server answered with "busy": it has done nothing then.
    pub tries: u32,
    /// The pause after the first try; it doubles, and up to half of it is taken off at random.
    pub pause: Duration,
    /// No try begins later than this.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 5, pause: Duration::from_millis(250), total: Duration::from_secs(90) }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// A read of `path`.
    #[must_use]
    pub fn get(act: &'a str, path: &'a str, limit: usize) -> Self {
        Self { act, method: Method::GET, path, body: None, accept: None, limit }
    }
}

impl CallError {
    /// As an error of the source.
    #[must_use]
    pub fn into_error(self, call: &Call<'_>) -> Error {
        match self {
            Self::TooLarge(_) => {
                Error::new(ErrorKind::TooLarge, call.act, format!("the answer is larger than {} bytes", call.limit))
            }
            Self::Transport(error) => error,
        }
    }
}

impl Cluster {
    /// A client for the cluster that `options` name. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there is no usable configuration.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        let connection = connect::resolve(options).await?;
        let address = connection.config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let act = format!("use cluster {}", connection.name);
        let config = Arc::new(connection.config);
        let client = kube::Client::try_from((*config).clone()).map_err(|error| no_answer(&act, &address, error))?;
        Ok(Self { client, config, flow: Arc::default(), name: connection.name, address })
    }

    /// A client whose connections may be silent for as long as they like: a port-forward to a database that
    /// builds an index says nothing for minutes.
    pub(super) fn streaming_client(&self, act: &str) -> Result<kube::Client, Error> {
        let mut config = (*self.config).clone();
        (config.read_timeout, config.write_timeout) = (None, None);
        kube::Client::try_from(config).map_err(|error| no_answer(act, &self.address, error))
    }

    /// How its kubeconfig calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the cluster took the requests so far.
    #[must_use]
    pub fn flow(&self) -> FlowReport {
        self.flow.report()
    }

    /// For how long the cluster has answered nothing but that it is busy.
    pub(super) fn busy_for(&self) -> Duration {
        self.flow.busy_for()
    }

    /// Which cluster this is. It needs no more than the right to list namespaces.
    ///
    /// # Errors
    /// If the cluster cannot be read, or has no namespace `kube-system`.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let act = "read the cluster's identity";
        let path = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system&limit=1";
        let (namespaces, version) = tokio::try_join!(self.get(act, path, SMALL), self.version())?;
        let uid = uid_of_first(&namespaces)
            .ok_or_else(|| Error::new(ErrorKind::Malformed, act, "it has no namespace kube-system"))?;
        Ok(Identity { uid, name: self.name.clone(), version })
    }

    /// The API server's version: `v1.36.3`.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn version(&self) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }
        let act = "read the server's version";
        let body = self.get(act, "/version", SMALL).await?;
        let version: Version = serde_json::from_slice(&body).map_err(|error| malformed(act, &error))?;
        Ok(version.git_version)
    }

    /// The body at `path`, with patience for a busy server.
    ///
    /// # Errors
    /// If the server refuses, does not answer, or answers with more than `limit` bytes.
    pub async fn get(&self, act: &str, path: &str, limit: usize) -> Result<Bytes, Error> {
        let call = Call::get(act, path, limit);
        let reply = self.read(&call, Patience::default()).await.map_err(|error| error.into_error(&call))?;
        reply.success(act)
    }

    /// Makes a call that may be repeated (a read, a dry run), until it is answered with something
    /// other than "busy", or patience ends: then the last answer is given.
    ///
    /// # Errors
    /// [`CallError`] if there was no answer to the last try, or it was too large.
    pub async fn read(&self, call: &Call<'_>, patience: Patience) -> Result<Reply, CallError> {
        let mut pause = patience.pause;
        let mut tries_left = patience.tries.max(1);
        let begin = tokio::time::Instant::now();
        loop {
            let outcome = self.call(call).await;
            let (busy, asked) = match &outcome {
                Ok(reply) if reply.is_transient() => (reply.is_busy(), reply.retry_after),
                Err(CallError::Transport(error)) if error.kind == ErrorKind::Unreachable => (false, None),
                _ => return outcome,
            };
            tries_left -= u32::from(!busy);
            if tries_left == 0 || begin.elapsed() > patience.total {
                return outcome;
            }
            tokio::time::sleep(wait(asked, pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Makes a call once. The one that writes decides by itself what may be repeated.
    ///
    /// # Errors
    /// [`CallError`] if there was no answer, or it was too large. A refusal is an answer.
    pub async fn call(&self, call: &Call<'_>) -> Result<Reply, CallError> {
        let lost = |error: kube::Error| CallError::Transport(no_answer(call.act, &self.address, error));
        let mut builder = Request::builder().method(call.method.clone()).uri(call.path);
        builder = builder.header(header::ACCEPT, call.accept.unwrap_or("application/json"));
        let body = match &call.body {
            Some((media_type, bytes)) => {
                builder = builder.header(header::CONTENT_TYPE, *media_type);
                Body::from(bytes.clone())
            }
            None => Body::empty(),
        };
        let request = builder.body(body).map_err(|error| lost(kube::Error::HttpError(error)))?;
        let pass = self.flow.pass().await;
        let exchange = async {
            let response = self.client.send(request).await.map_err(lost)?;
            read_reply(response, call.limit).await.map_err(|unread| match unread {
                Unread::TooLarge(start) => CallError::TooLarge(start),
                Unread::Failed(error) => lost(error),
            })
        };
        match tokio::time::timeout(CALL_DEADLINE, exchange).await {
            Ok(outcome) => {
                if let Ok(reply) = &outcome {
                    pass.answered(reply.is_busy());
                }
                outcome
            }
            Err(_) => Err(CallError::Transport(Error::new(
                ErrorKind::Unreachable,
                call.act,
                format!("no complete answer from {} in {} s", self.address, CALL_DEADLINE.as_secs()),
            ))),
        }
    }
}

enum Unread {
    TooLarge(Bytes),
    Failed(kube::Error),
}

async fn read_reply(response: Response<Body>, limit: usize) -> Result<Reply, Unread> {
    let code = response.status();
    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let limit = if code.is_success() { limit } else { REFUSAL_LIMIT };
    let declared = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let expected = declared.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);

    let mut body = response.into_body();
    let mut read = BytesMut::with_capacity(expected.min(limit));
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(Unread::Failed)?.into_data() else { continue };
        let room = limit - read.len();
        if piece.len() > room {
            read.extend_from_slice(piece.get(..room).unwrap_or_default());
            if code.is_success() {
                return Err(Unread::TooLarge(read.freeze()));
            }
            break;
        }
        read.extend_from_slice(&piece);
    }
    Ok(Reply { code, body: read.freeze(), retry_after })
}

/// Why nothing came back. The error of a credential command is not passed on, because it quotes
/// what the command printed, and that is where tokens are.
fn no_answer(act: &str, address: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => Error::new(
            ErrorKind::Unauthenticated,
            act,
            format!("the kubeconfig's credential command `{cmd}` failed ({})", out.status),
        ),
        kube::Error::Auth(error) => {
            Error::new(ErrorKind::Unauthenticated, act, "the kubeconfig's credentials cannot be used").because(error)
        }
        error @ (kube::Error::HyperError(_) | kube::Error::Service(_)) => {
            let cause = root_cause(&error);
            let reason =
                format!("no answer from {address} ({cause}); check the address, the network and the server's health");
            Error::new(ErrorKind::Unreachable, act, reason).because(error)
        }
        error => Error::new(ErrorKind::Configuration, act, "the kubeconfig cannot be used").because(error),
    }
}

/// The innermost error, which says what happened: `Connection refused (os error 111)`.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

pub(super) fn malformed(act: &str, error: &serde_json::Error) -> Error {
    let reason = format!("the answer is not what the API promises ({error})");
    Error::new(ErrorKind::Malformed, act, reason)
}

fn uid_of_first(list: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct List {
        items: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
        uid: String,
    }
    let list: List = serde_json::from_slice(list).ok()?;
    let first = list.items.into_iter().next()?;
    (first.metadata.name == "kube-system" && !first.metadata.uid.is_empty()).then_some(first.metadata.uid)
}

/// How long to wait before the next try: as the server asks, and up to a quarter longer, so that all whom it
/// sent away do not come back at once; else up to `pause`.
pub(super) fn wait(asked: Option<Duration>, pause: Duration) -> Duration {
    match asked {
        Some(asked) => asked.min(LONGEST_ASKED).mul_f64(rand::rng().random_range(1.0..=1.25)),
        None => pause.mul_f64(rand::rng().random_range(0.5..=1.0)),
    }
}
