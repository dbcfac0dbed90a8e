//! A door before the real API server, which forwards every request and spoils the few that a test
//! names: what a real server answers only on its worst day.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use drctl::sources::kubernetes::{Call, Cluster, Patience};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What becomes of one request.
pub(super) enum Answer {
    /// The server's own answer.
    Forward,
    /// This status, these headers (each with its line end) and this body.
    Say(u16, &'static str, String),
    /// The server's answer to a client that knows no aggregated discovery.
    ForwardPlain,
    /// The server's answer, changed.
    Change(Box<dyn FnOnce(String) -> String + Send>),
    /// The beginning of the server's answer, and then the connection is gone.
    Cut,
    /// Nothing, for ever.
    Hang,
}

/// Decides by the path and query of a request.
pub(super) type Rule = dyn Fn(&str) -> Answer + Send + Sync;

pub(super) struct Front {
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

const LIMIT: usize = 64 << 20;
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

impl Front {
    pub(super) async fn before(cluster: Cluster, rule: Box<Rule>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rule: Arc<Rule> = rule.into();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (cluster, rule) = (cluster.clone(), Arc::clone(&rule));
                tokio::spawn(async move { serve(socket, &cluster, &*rule).await });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig(address)).unwrap();
        Self { folder, task }
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: front, cluster: {{server: 'http://{address}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: front}}}}]\n"
    )
}

/// A copy of a kubeconfig with another word in it.
pub(super) fn changed(kubeconfig: &Path, change: impl FnOnce(String) -> String) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, change(std::fs::read_to_string(kubeconfig).unwrap())).unwrap();
    (folder, path)
}

async fn serve(socket: TcpStream, cluster: &Cluster, rule: &Rule) {
    let (read, mut write) = socket.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(first)) = lines.next_line().await {
        let Some(path) = first.split(' ').nth(1).map(str::to_owned) else { return };
        let mut accept = "application/json";
        while let Ok(Some(line)) = lines.next_line().await {
            if line.is_empty() {
                break;
            }
            if line.contains("apidiscovery") {
                accept = DISCOVERY;
            }
        }
        let (code, headers, body) = match rule(&path) {
            Answer::Forward => forward(cluster, &path, accept).await,
            Answer::ForwardPlain => forward(cluster, &path, "application/json").await,
            Answer::Say(code, headers, body) => (code, headers, body),
            Answer::Change(change) => {
                let (code, headers, body) = forward(cluster, &path, accept).await;
                (code, headers, change(body))
            }
            Answer::Cut => {
                let (_, _, body) = forward(cluster, &path, accept).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                write.write_all(head.as_bytes()).await.ok();
                write.write_all(&body.as_bytes()[..body.len() / 2]).await.ok();
                return;
            }
            Answer::Hang => std::future::pending().await,
        };
        let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        if write.write_all(head.as_bytes()).await.is_err() || write.write_all(body.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn forward(cluster: &Cluster, path: &str, accept: &'static str) -> (u16, &'static str, String) {
    let call = Call { accept: Some(accept), ..Call::get("forward", path, LIMIT) };
    // A real server on a busy machine has its own bad moments; they are not what is tested here.
    let reply = cluster.read(&call, Patience::default()).await.expect("the real server answers");
    (reply.code.as_u16(), "content-type: application/json\r\n", String::from_utf8(reply.body.to_vec()).unwrap())
}
