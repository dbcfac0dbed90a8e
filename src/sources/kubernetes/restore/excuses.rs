//! What an object need not have: what an earlier run of a restore could not give it, found out again,
//! so that a second run sees that nothing is left to do; and what an autoscaler sets.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::{
    RestoreContext, RestoreError, lines::Lines, live::LiveList, recipe::Mapping, report::Waiver, target::TargetCluster,
};
use crate::sources::kubernetes::{Cluster, ErrorKind, compare::GroupKind};

/// Why replicas are not compared.
pub(super) const AUTOSCALED: &str = "an autoscaler sets the number of its replicas";
const AUTOSCALERS: &str = "horizontalpodautoscalers.autoscaling";

/// Which Service holds which node port, and which workloads are scaled. Read when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Excuses {
    holders: Option<HashMap<u64, String>>,
    /// `namespace/group/Kind/name`.
    scaled: Option<HashSet<String>>,
    /// Where namespaces of the backup are restored.
    mapping: Mapping,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Ports {
    ports: Vec<Port>,
    health_check_node_port: u64,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    node_port: u64,
}

impl Excuses {
    pub(super) fn of_mapped(mapping: &Mapping) -> Self {
        Self { mapping: mapping.clone(), ..Self::default() }
    }

    /// What the live form of `object`, which differs, need not have.
    pub(super) async fn of(
        &mut self,
        context: &RestoreContext<'_>,
        target: &TargetCluster,
        source: &str,
        object: &Value,
        live: &Value,
    ) -> Result<Vec<Waiver>, RestoreError> {
        if GroupKind::of(object).is("", "Service") {
            return self.node_ports(context.cluster, target, object).await;
        }
        if !is_rescaled(object, live) {
            return Ok(Vec::new());
        }
        let scaled = match self.scaled.take() {
            Some(scaled) => scaled,
            None => read_scaled(context, target, source, &self.mapping).await?,
        };
        let is_scaled = scaled.contains(&workload_key(object));
        self.scaled = Some(scaled);
        Ok(is_scaled.then_some(Waiver::Replicas).into_iter().collect())
    }

    /// Which node ports of a Service belong to other live Services.
    async fn node_ports(
        &mut self,
        cluster: &Cluster,
        target: &TargetCluster,
        service: &Value,
    ) -> Result<Vec<Waiver>, RestoreError> {
        if self.holders.is_none() {
            self.holders = Some(read_holders(cluster, target).await?);
        }
        let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let own = super::live::full_name(text("/metadata/namespace"), text("/metadata/name"));
        let spec = ports_of(service);
        let taken = |port: u64| {
            port != 0
                && self.holders.as_ref().and_then(|holders| holders.get(&port)).is_some_and(|holder| *holder != own)
        };
        let ports = spec.ports.iter().enumerate().filter(|(_, port)| taken(port.node_port));
        let mut waivers: Vec<Waiver> = ports.map(|(index, _)| Waiver::NodePort(index)).collect();
        waivers.extend(taken(spec.health_check_node_port).then_some(Waiver::HealthCheckNodePort));
        Ok(waivers)
    }
}

fn ports_of(service: &Value) -> Ports {
    service.get("spec").and_then(|spec| Ports::deserialize(spec).ok()).unwrap_or_default()
}

async fn read_holders(cluster: &Cluster, target: &TargetCluster) -> Result<HashMap<u64, String>, RestoreError> {
    let mut holders = HashMap::new();
    let Some(kind) = target.kind_of("v1", "Service") else { return Ok(holders) };
    let mut list = LiveList::new(cluster, kind, None);
    while let Some(item) = list.next().await? {
        let spec = ports_of(&item.parse(kind)?);
        let ports = spec.ports.iter().map(|port| port.node_port).chain([spec.health_check_node_port]);
        holders.extend(ports.filter(|port| *port != 0).map(|port| (port, item.key.clone())));
    }
    Ok(holders)
}

/// Whether the number of replicas is another one. An autoscaler neither begins nor ends at none: that
/// is done by a person.
fn is_rescaled(object: &Value, live: &Value) -> bool {
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_u64).filter(|count| *count > 0);
    match (replicas(object), replicas(live)) {
        (Some(expected), Some(live)) => expected != live,
        _ => false,
    }
}

fn workload_key(object: &Value) -> String {
    let kind = GroupKind::of(object);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}/{}/{}", text("/metadata/namespace"), kind.group, kind.kind, text("/metadata/name"))
}

/// The workload that an autoscaler scales, as [`workload_key`] names it.
fn scaled_by(autoscaler: &Value, mapping: &Mapping) -> String {
    let text = |pointer: &str| autoscaler.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (mapping.target(text("/metadata/namespace")), text("/spec/scaleTargetRef/name"));
    let group = text("/spec/scaleTargetRef/apiVersion").split_once('/').map_or("", |(group, _)| group);
    format!("{namespace}/{group}/{}/{name}", text("/spec/scaleTargetRef/kind"))
}

/// The workloads that a live autoscaler scales, or one in the backup.
async fn read_scaled(
    context: &RestoreContext<'_>,
    target: &TargetCluster,
    source: &str,
    mapping: &Mapping,
) -> Result<HashSet<String>, RestoreError> {
    let mut scaled = HashSet::new();
    if let Some(kind) = target.kind_of("autoscaling/v2", "HorizontalPodAutoscaler") {
        let mut list = LiveList::new(context.cluster, kind, None);
        loop {
            match list.next().await {
                Ok(Some(item)) => scaled.insert(scaled_by(&item.parse(kind)?, &Mapping::default())),
                Ok(None) => break,
                // Who may not see them still has those of the backup.
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Expired) => break,
                Err(error) => return Err(error.into()),
            };
        }
    }
    let streams = context.contents.streams().iter();
    for stream in streams.filter(|stream| stream.name == AUTOSCALERS && stream.source.to_string() == source) {
        for part in 0..stream.parts.len() {
            let mut lines = Lines::open(context.contents, stream, part).await?;
            while let Some(line) = lines.next().await? {
                scaled.insert(scaled_by(lines.parse(&line)?.fields(), mapping));
            }
        }
    }
    Ok(scaled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
               "spec": {"replicas": replicas}})
    }

    #[test]
    fn an_autoscaler_names_its_workload() {
        let autoscaler = |target: Value| json!({"metadata": {"namespace": "n"}, "spec": {"scaleTargetRef": target}});
        let key = workload_key(&deployment(json!(1)));
        let named = |api: &str, kind: &str| {
            let target = json!({"apiVersion": api, "kind": kind, "name": "web"});
            scaled_by(&autoscaler(target), &Mapping::default())
        };
        assert_eq!(named("apps/v1", "Deployment"), key);
        assert_ne!(named("apps/v1", "StatefulSet"), key);
        assert_ne!(named("example.org/v1", "Deployment"), key);
    }

    #[test]
    fn only_another_number_of_running_replicas_is_an_autoscalers_work() {
        let rescaled = |expected: u64, live: u64| is_rescaled(&deployment(json!(expected)), &deployment(json!(live)));
        assert!(rescaled(2, 5));
        assert!(!rescaled(2, 2));
        assert!(!rescaled(2, 0), "somebody stopped it");
        assert!(!rescaled(0, 2), "it was stopped when it was backed up");
    }
}
