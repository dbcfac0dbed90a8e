//! A port-forward to a Pod behind a Service: how a database without an address outside the cluster is reached.
//!
//! It listens on a free port of this machine's loopback address. Each connection there becomes a
//! stream of its own through the API server (`pods/portforward`, WebSocket).

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::Deserialize;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Cluster, Error, ErrorKind, client::malformed, segment};
use crate::types::for_terminal;

/// A Service, a list of Pods.
const LIMIT: usize = 8 << 20;

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The Service's port; the Pod's may be another one.
    pub port: u16,
}

/// An open port-forward. Dropped, it is closed, and all connections with it.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    pod: String,
    task: JoinHandle<()>,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}/{} port {}", self.namespace, self.service, self.port)
    }
}

impl Forward {
    /// Where it listens on this machine.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Pod that it leads to.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Deserialize)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct ServiceSpec {
    #[serde(default)]
    selector: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<ServicePortSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePortSpec {
    port: u16,
    target_port: Option<TargetPort>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum TargetPort {
    Number(u16),
    Name(String),
}

#[derive(Deserialize)]
struct Pods {
    items: Vec<Pod>,
}

impl Cluster {
    /// Opens a port-forward to a ready Pod of a Service. It needs the rights to get the Service, to list Pods in
    /// its namespace, and to create `pods/portforward` there.
    ///
    /// # Errors
    /// If there is no such Service or port, it has no selector, or none of its Pods is ready.
    pub async fn forward(&self, to: &ServicePort) -> Result<Forward, Error> {
        let act = format!("open a port-forward to {to}");
        let ServicePort { namespace, service, port } = to;
        let path = format!("/api/v1/namespaces/{}/services/{}", segment(namespace), segment(service));
        // What the policy names and the cluster has not is a fault of the policy.
        let absent = |error: Error| match error.kind {
            ErrorKind::NotFound => Error { kind: ErrorKind::Configuration, ..error },
            _ => error,
        };
        let body = self.get(&act, &path, LIMIT).await.map_err(absent)?;
        let Service { spec } = serde_json::from_slice(&body).map_err(|error| malformed(&act, &error))?;
        if spec.selector.is_empty() {
            let reason = "the Service has no selector, so it leads to no Pod; name the database's own address";
            return Err(Error::new(ErrorKind::Configuration, act, reason));
        }
        let Some(found) = spec.ports.iter().find(|candidate| candidate.port == *port) else {
            let ports: Vec<String> = spec.ports.iter().map(|candidate| candidate.port.to_string()).collect();
            let reason = format!("the Service has no port {port}; it has: {}", ports.join(", "));
            return Err(Error::new(ErrorKind::Configuration, act, reason));
        };
        let target = found.target_port.clone().unwrap_or(TargetPort::Number(*port));

        let selector: Vec<String> = spec.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let selector = segment(&selector.join(",")).to_string();
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", segment(namespace));
        let body = self.get(&act, &path, LIMIT).await?;
        let Pods { items } = serde_json::from_slice(&body).map_err(|error| malformed(&act, &error))?;
        let (pod, port) =
            choose(&items, &target).map_err(|reason| Error::new(ErrorKind::Configuration, &act, reason))?;
        self.listen(&act, namespace, pod, port).await
    }

    async fn listen(&self, act: &str, namespace: &str, pod: String, port: u16) -> Result<Forward, Error> {
        let local = |error: std::io::Error| Error::new(ErrorKind::Other, act, error.to_string());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(local)?;
        let address = listener.local_addr().map_err(local)?;
        let pods: Api<Pod> = Api::namespaced(self.streaming_client(act)?, namespace);
        let name = pod.clone();
        let task = tokio::spawn(async move {
            // A set of tasks ends them all when it is dropped with this one.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (pods, name) = (pods.clone(), name.clone());
                connections.spawn(async move { carry(&pods, &name, port, stream).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Forward { address, pod, task })
    }
}

/// One connection, until either side ends it.
async fn carry(pods: &Api<Pod>, name: &str, port: u16, mut local: TcpStream) {
    let _ = local.set_nodelay(true);
    let mut forwarder = match pods.portforward(name, &[port]).await {
        Ok(forwarder) => forwarder,
        Err(error) => {
            tracing::warn!(pod = name, port, error = %for_terminal(&error.to_string()), "the port-forward was refused");
            return;
        }
    };
    let failure = forwarder.take_error(port);
    let Some(mut remote) = forwarder.take_stream(port) else { return };
    let copied = copy_bidirectional(&mut local, &mut remote).await;
    drop(remote);
    forwarder.abort();
    if let Some(failure) = failure
        && let Some(words) = failure.await
    {
        tracing::warn!(pod = name, port, error = %for_terminal(&words), "the port-forward failed");
    } else if let Err(error) = copied {
        tracing::debug!(pod = name, port, %error, "a forwarded connection ended");
    }
}

/// The Pod to use, by name the first that is ready, and its port's number.
fn choose(pods: &[Pod], target: &TargetPort) -> Result<(String, u16), String> {
    let mut ready: Vec<&Pod> = pods.iter().filter(|pod| is_ready(pod)).collect();
    ready.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let Some(pod) = ready.first() else {
        return Err(match pods.len() {
            0 => "the Service has no Pods".to_owned(),
            count => format!("none of the Service's {count} Pods is ready"),
        });
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let port = match target {
        TargetPort::Number(port) => *port,
        TargetPort::Name(wanted) => {
            named_port(pod, wanted).ok_or_else(|| format!("Pod {name} has no port named `{}`", for_terminal(wanted)))?
        }
    };
    Ok((name, port))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn named_port(pod: &Pod, wanted: &str) -> Option<u16> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let found = ports.find(|port| port.name.as_deref() == Some(wanted))?;
    u16::try_from(found.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: &str, dying: bool) -> Pod {
        let deletion = dying.then_some("2026-11-21T10:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": deletion},
            "spec": {"containers": [{"name": "db", "ports": [{"name": "pg", "containerPort": 6432}]}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn the_first_ready_pod_is_used_and_a_named_port_is_looked_up() {
        let pods = [pod("db-2", "True", false), pod("db-0", "False", false), pod("db-1", "True", false)];
        assert_eq!(choose(&pods, &TargetPort::Number(5432)), Ok(("db-1".to_owned(), 5432)));
        assert_eq!(choose(&pods, &TargetPort::Name("pg".to_owned())), Ok(("db-1".to_owned(), 6432)));
        let error = choose(&pods, &TargetPort::Name("sql".to_owned())).unwrap_err();
        assert_eq!(error, "Pod db-1 has no port named `sql`");
    }

    #[test]
    fn pods_that_are_not_ready_or_are_going_are_not_used() {
        let going = [pod("db-0", "False", false), pod("db-1", "True", true)];
        let target = TargetPort::Number(5432);
        assert_eq!(choose(&going, &target).unwrap_err(), "none of the Service's 2 Pods is ready");
        assert_eq!(choose(&[], &target).unwrap_err(), "the Service has no Pods");
    }
}
