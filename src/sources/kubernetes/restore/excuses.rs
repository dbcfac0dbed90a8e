//! What an earlier run of a restore could not give an object, found out again: so a second run
//! sees that nothing is left to do.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::{RestoreError, live::LiveList, report::Waiver, target::TargetCluster};
use crate::sources::kubernetes::Cluster;

/// Which Service holds which node port. Read when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Excuses {
    holders: Option<HashMap<u64, String>>,
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
    /// Which node ports of a Service belong to other live Services.
    pub(super) async fn node_ports(
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
