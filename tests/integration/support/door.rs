//! A door before a real API server that forwards every request, reads and writes, and spoils those
//! that a test names.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use drctl::sources::kubernetes::{Call, Cluster};
use http::Method;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// The server's own answer.
    Forward,
    /// The server does it, and the connection is gone before the answer.
    LoseAnswer,
    /// The connection is gone, and the server hears nothing.
    Drop,
    /// The server does it, and somebody on the way answers in its place.
    Garble(u16, String),
    /// This status, these headers (each with its line end) and this body; the server hears nothing.
    Say(u16, &'static str, String),
}

/// Decides by the method, path and query of a request.
pub(crate) type Rule = dyn Fn(&Method, &str) -> Fate + Send + Sync;

pub(crate) struct Door {
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    pub(crate) async fn before(cluster: Cluster, rule: impl Fn(&Method, &str) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rule: Arc<Rule> = Arc::new(rule);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (cluster, rule) = (cluster.clone(), Arc::clone(&rule));
                tokio::spawn(async move { serve(socket, &cluster, &*rule).await });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: door, cluster: {{server: 'http://{address}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: door}}}}]\n"
        );
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { folder, task }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Spoils the first `times` requests that `which` names; the counter says how many it saw.
pub(crate) fn first(
    times: usize,
    fate: Fate,
    which: impl Fn(&Method, &str) -> bool + Send + Sync + 'static,
) -> (impl Fn(&Method, &str) -> Fate + Send + Sync + 'static, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let rule = move |method: &Method, path: &str| {
        let spoilt = which(method, path) && counter.fetch_add(1, Ordering::SeqCst) < times;
        if spoilt { fate.clone() } else { Fate::Forward }
    };
    (rule, seen)
}

/// A refusal as an API server words it.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> String {
    serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}).to_string()
}

#[derive(Default)]
struct Head {
    method: Method,
    path: String,
    length: usize,
    accept: String,
    content: String,
}

async fn serve(socket: TcpStream, cluster: &Cluster, rule: &Rule) {
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    while let Some(head) = read_head(&mut read).await {
        let mut body = vec![0; head.length];
        if read.read_exact(&mut body).await.is_err() {
            return;
        }
        let (code, headers, answer) = match rule(&head.method, &head.path) {
            Fate::Forward => forward(cluster, &head, body).await,
            Fate::LoseAnswer => {
                forward(cluster, &head, body).await;
                return;
            }
            Fate::Drop => return,
            Fate::Garble(code, answer) => {
                forward(cluster, &head, body).await;
                (code, "", Bytes::from(answer))
            }
            Fate::Say(code, headers, answer) => (code, headers, Bytes::from(answer)),
        };
        let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n{headers}\r\n", answer.len());
        if write.write_all(head.as_bytes()).await.is_err() || write.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn read_head(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<Head> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut words = line.split(' ');
    let mut head = Head { method: words.next()?.parse().ok()?, path: words.next()?.to_owned(), ..Head::default() };
    loop {
        let mut line = String::new();
        read.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { return Some(head) };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().unwrap(),
            "accept" => value.clone_into(&mut head.accept),
            "content-type" => value.clone_into(&mut head.content),
            _ => {}
        }
    }
}

async fn forward(cluster: &Cluster, head: &Head, body: Vec<u8>) -> (u16, &'static str, Bytes) {
    // A call's media types are those of its maker: here they are the few that restore uses.
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let call = Call {
        act: "forward",
        method: head.method.clone(),
        path: &head.path,
        body: (!body.is_empty()).then(|| (leak(&head.content), Bytes::from(body))),
        accept: (!head.accept.is_empty()).then(|| leak(&head.accept)),
        limit: 64 << 20,
    };
    let reply = cluster.call(&call).await.expect("the real server answers");
    (reply.code.as_u16(), "content-type: application/json\r\n", reply.body)
}
