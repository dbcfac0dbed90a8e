//! A cluster with a Node on which Pods really run: they take memory, write logs and answer on their ports.
//!
//! ```ignore
//! let node = require!(node::node);
//! let namespace = node.create_namespace("shop");
//! let port = node::free_port();
//! node.apply(&node.postgres(&namespace, "postgres", port, "a password"));
//! node.wait_until_ready(&namespace, "statefulset/postgres");
//! let forward = node.forward(&namespace, "service/postgres", port);
//! ```
//!
//! It costs seconds and a gigabyte, so the first test that asks for it starts it, for all tests of this run; the bed takes
//! it away when their process is gone. A bed that runs `node` itself is used instead.
//!
//! Pods take the machine's network: each server in one needs a port of its own, from [`free_port`].

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::bed::{self, Cluster};

/// Ends with the test; see the module.
#[derive(Debug)]
pub(crate) struct Node {
    cluster: Cluster,
    api_port: String,
    image: String,
}

impl Deref for Node {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The Node, started if no test has asked for it before.
pub(crate) fn node(test: &str) -> Option<Node> {
    bed::component(test, "DRCTL_BED")?;
    let own = |name: &str| env::var(name).ok();
    if own("DRCTL_BED_NODE_KUBECONFIG").is_some() {
        return Some(of(test, own));
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        bed::not_run(test, "only root can run containers");
        return None;
    }
    static STARTED: OnceLock<Started> = OnceLock::new();
    let variables = &STARTED.get_or_init(start).variables;
    Some(of(test, |name| variables.get(name).cloned()))
}

/// A Node in a cluster of this test's own, which is thrown away when it is dropped: the next one has another uid.
pub(crate) fn own(test: &str) -> Option<OwnNode> {
    bed::component(test, "DRCTL_BED")?;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        bed::not_run(test, "only root can run containers");
        return None;
    }
    let started = start();
    Some(OwnNode { node: of(test, |name| started.variables.get(name).cloned()), started })
}

/// See [`own`].
#[derive(Debug)]
pub(crate) struct OwnNode {
    node: Node,
    started: Started,
}

impl Deref for OwnNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        drop(self.started.bed.stdin.take());
        let _ = self.started.bed.wait();
    }
}

fn of(test: &str, variable: impl Fn(&str) -> Option<String>) -> Node {
    let told = |name: &str| variable(name).unwrap_or_else(|| panic!("a bed with a node tells {name}"));
    Node {
        api_port: told("DRCTL_BED_NODE_API_PORT"),
        image: told("DRCTL_BED_NODE_IMAGE"),
        cluster: bed::cluster_of("NODE", test, |name| Some(told(name))).expect("nothing is missing"),
    }
}

/// A bed of its own, which ends when the other end of its input is gone: with this process, however that ends.
#[derive(Debug)]
struct Started {
    variables: BTreeMap<String, String>,
    bed: Child,
}

fn start() -> Started {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/bed");
    let script = "env | grep ^DRCTL_BED; echo; exec cat";
    let mut bed = Command::new(program)
        .args(["run", "--fresh", "node", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bed starts");
    let lines = BufReader::new(bed.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.take_while(|line| !line.is_empty());
    let variables: BTreeMap<_, _> =
        told.filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect();
    assert!(!variables.is_empty(), "no node came up; the bed has said why");
    Started { variables, bed }
}

impl Node {
    /// The apiserver's port on 127.0.0.1, for the environment of a Pod that asks it: `KUBERNETES_SERVICE_PORT`.
    pub(crate) fn api_port(&self) -> &str {
        &self.api_port
    }

    /// An image with PostgreSQL 15, its client programs and a shell; see `testbed/README.md`.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// A StatefulSet of PostgreSQL 15 and its Service, both named `name`; the superuser is `postgres`. It has an empty
    /// folder for its data, which goes with its Pod.
    pub(crate) fn postgres(&self, namespace: &str, name: &str, port: u16, password: &str) -> String {
        POSTGRES
            .replace("{namespace}", namespace)
            .replace("{name}", name)
            .replace("{image}", &self.image)
            .replace("{port}", &port.to_string())
            .replace("{password}", password)
    }

    /// Waits until a StatefulSet, Deployment or the like has all its Pods ready.
    ///
    /// # Panics
    /// After two minutes.
    pub(crate) fn wait_until_ready(&self, namespace: &str, workload: &str) {
        self.kubectl(&["rollout", "status", workload, "-n", namespace, "--timeout=120s"]);
    }

    /// Opens a way from a port of this machine to a port of a Service or Pod.
    ///
    /// # Panics
    /// If kubectl cannot.
    pub(crate) fn forward(&self, namespace: &str, target: &str, port: u16) -> Forward {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["port-forward", "-n", namespace, target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.split([':', ' ']).find_map(|word| word.parse().ok());
        Forward { port: port.unwrap_or_else(|| panic!("kubectl opened no port: {line:?}")), child, _output: output }
    }
}

/// An open way into a Pod, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
    child: Child,
    /// kubectl writes a line for each connection, and ends if nobody could read it.
    _output: BufReader<ChildStdout>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const POSTGRES: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: {name}, namespace: {namespace}}
stringData: {password: "{password}"}
---
apiVersion: v1
kind: Service
metadata: {name: {name}, namespace: {namespace}}
spec: {clusterIP: None, selector: {app: {name}}, ports: [{port: {port}}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: {name}, namespace: {namespace}}
spec:
  serviceName: {name}
  selector: {matchLabels: {app: {name}}}
  template:
    metadata: {labels: {app: {name}}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 5
      containers:
      - name: postgres
        image: {image}
        imagePullPolicy: Never
        args: ["-c", "listen_addresses=127.0.0.1", "-c", "port={port}"]
        ports: [{containerPort: {port}}]
        env: [{name: POSTGRES_PASSWORD, valueFrom: {secretKeyRef: {name: {name}, key: password}}}]
        volumeMounts: [{name: data, mountPath: /var/lib/postgresql}]
        readinessProbe: {exec: {command: [pg_isready, -h, 127.0.0.1, -p, "{port}"]}, periodSeconds: 1}
      volumes: [{name: data, emptyDir: {}}]
"#;
