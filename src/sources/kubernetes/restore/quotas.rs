//! Quotas that have no room for all that is created: each object and each Pod by itself would be taken, and their sum
//! would not.
//!
//! A quota that is about some Pods only (it has scopes) is not counted, and neither is what a LimitRange adds to Pods:
//! the server says that of each Pod by itself.

use std::collections::HashMap;

use serde_json::Value;

use super::{RestoreError, live::LiveList, target::TargetCluster};
use crate::sources::kubernetes::{
    Cluster, ErrorKind,
    compare::{GroupKind, thousandths},
};

/// So many quotas are named.
const NAMED: usize = 100;
const ONE: i128 = 1000;

/// The live quotas, by namespace, and what is asked of each.
#[derive(Debug, Default)]
pub(super) struct Quotas(HashMap<String, Vec<Quota>>);

#[derive(Debug)]
struct Quota {
    name: String,
    resources: Vec<Resource>,
}

/// One thing that a quota limits. Numbers are thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource {
    /// As the quota calls it: `pods`, `requests.cpu`, `count/secrets`.
    name: String,
    hard: i128,
    used: i128,
    wanted: i128,
}

impl Quotas {
    /// Reads those of the cluster. Who may not see them is told by the wait for the workloads.
    pub(super) async fn read(cluster: &Cluster, target: &TargetCluster) -> Result<Self, RestoreError> {
        let mut quotas = Self::default();
        let Some(kind) = target.kind_of("v1", "ResourceQuota") else { return Ok(quotas) };
        let mut list = LiveList::new(cluster, kind, None);
        loop {
            match list.next().await {
                Ok(Some(item)) => quotas.add(&item.parse(kind)?),
                Ok(None) => return Ok(quotas),
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Expired) => return Ok(quotas),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, quota: &Value) {
        let text = |pointer: &str| quota.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let has_scopes = ["/spec/scopes", "/spec/scopeSelector"].iter().any(|pointer| quota.pointer(pointer).is_some());
        let Some(hard) = quota.pointer("/spec/hard").and_then(Value::as_object).filter(|_| !has_scopes) else { return };
        let used = |name: &String| {
            let used = quota.pointer("/status/used").and_then(|used| used.get(name)).and_then(Value::as_str);
            used.and_then(thousandths).unwrap_or_default()
        };
        let resources = hard.iter().filter_map(|(name, hard)| {
            let hard = hard.as_str().and_then(thousandths)?;
            Some(Resource { name: name.clone(), hard, used: used(name), wanted: 0 })
        });
        let quota = Quota { name: text("/metadata/name"), resources: resources.collect() };
        self.0.entry(text("/metadata/namespace")).or_default().push(quota);
    }

    /// Takes note of an object of the kind `kind_id` that is created in `namespace`.
    pub(super) fn see(&mut self, namespace: &str, kind_id: &str, object: &Value) {
        for resource in self.0.get_mut(namespace).into_iter().flatten().flat_map(|quota| &mut quota.resources) {
            resource.wanted = resource.wanted.saturating_add(asked(&resource.name, kind_id, object));
        }
    }

    /// A sentence for each quota and resource of which there is not enough.
    pub(super) fn short(self) -> Vec<String> {
        let mut short = Vec::new();
        for (namespace, quotas) in self.0 {
            for quota in quotas {
                let lacking = |it: &&Resource| it.wanted > 0 && it.used.saturating_add(it.wanted) > it.hard;
                for Resource { name, hard, used, wanted } in quota.resources.iter().filter(lacking) {
                    let [hard, used, wanted] = [hard, used, wanted].map(|number| shown(*number));
                    short.push(format!(
                        "resourcequotas {namespace}/{}: what is created asks for {wanted} of {name}, and it has {hard}, of \
                         which {used} are used: the server will refuse what comes last, or its Pods",
                        quota.name
                    ));
                }
            }
        }
        short.sort_unstable();
        short.truncate(NAMED);
        short
    }
}

/// Thousandths as a person writes them.
fn shown(number: i128) -> String {
    if number % ONE == 0 { (number / ONE).to_string() } else { format!("{number}m") }
}

/// How much of `resource` an object takes that is created, with the Pods that are made of it.
fn asked(resource: &str, kind_id: &str, object: &Value) -> i128 {
    let itself = i128::from(resource.strip_prefix("count/") == Some(kind_id)) * ONE;
    let of_pod = |resource: &str| pods(kind_id, object).saturating_mul(in_pod(resource, object));
    let of_claims = |each: &dyn Fn(&Value) -> i128| {
        let own = if kind_id == "persistentvolumeclaims" { each(object) } else { 0 };
        let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
        let set = if kind_id == "statefulsets.apps" { templates.map(each).sum() } else { 0 };
        own.saturating_add(replicas(object).saturating_mul(set))
    };
    match resource {
        "pods" | "count/pods" => pods(kind_id, object).saturating_mul(ONE),
        "persistentvolumeclaims" | "count/persistentvolumeclaims" => of_claims(&|_| ONE),
        "requests.storage" => {
            of_claims(&|claim| quantity(claim, "/spec/resources/requests/storage").unwrap_or_default())
        }
        "configmaps" | "replicationcontrollers" | "resourcequotas" | "secrets" | "services" => {
            i128::from(resource == kind_id) * ONE
        }
        "services.loadbalancers" => {
            let is_balancer = object.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer");
            i128::from(kind_id == "services" && is_balancer) * ONE
        }
        "cpu" | "memory" | "ephemeral-storage" => of_pod(&format!("requests.{resource}")),
        _ if resource.starts_with("requests.") || resource.starts_with("limits.") => of_pod(resource),
        _ => itself,
    }
}

fn replicas(object: &Value) -> i128 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).map_or(1, i128::from).max(0)
}

/// How many Pods are made of an object at once, at least: a DaemonSet makes one a node.
fn pods(kind_id: &str, object: &Value) -> i128 {
    match kind_id {
        "pods" | "daemonsets.apps" => 1,
        "deployments.apps" | "replicasets.apps" | "replicationcontrollers" | "statefulsets.apps" => replicas(object),
        "jobs.batch" if object.pointer("/spec/suspend") != Some(&Value::Bool(true)) => {
            object.pointer("/spec/parallelism").and_then(Value::as_i64).map_or(1, i128::from).max(0)
        }
        _ => 0,
    }
}

/// How much of `requests.cpu`, `limits.memory` and the like one Pod of an object takes: that of its containers, or of
/// an init container that takes more.
fn in_pod(resource: &str, object: &Value) -> i128 {
    let kind = GroupKind::of(object);
    let spec = kind.pod_spec().and_then(|path| path.split('.').try_fold(object, |value, key| value.get(key)));
    let (Some(spec), Some((section, name))) = (spec, resource.split_once('.')) else { return 0 };
    let each = |list: &str| {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        containers.map(|container| in_container(container, section, name)).collect::<Vec<_>>()
    };
    let together: i128 = each("containers").into_iter().fold(0, i128::saturating_add);
    together.max(each("initContainers").into_iter().max().unwrap_or_default())
}

/// Where a container says nothing of what it requests, it requests its limit.
fn in_container(container: &Value, section: &str, name: &str) -> i128 {
    let of = |section: &str| {
        let text = container.get("resources")?.get(section)?.get(name)?;
        text.as_str().map_or_else(|| text.as_i64().map(|number| i128::from(number) * ONE), thousandths)
    };
    let limit = || if section == "requests" { of("limits") } else { None };
    of(section).or_else(limit).unwrap_or_default()
}

fn quantity(object: &Value, pointer: &str) -> Option<i128> {
    thousandths(object.pointer(pointer)?.as_str()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: u64, cpu: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": replicas, "template": {"spec": {
            "initContainers": [{"resources": {"requests": {"cpu": "150m"}}}],
            "containers": [{"resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}}, {}]}}}})
    }

    #[test]
    fn an_object_asks_for_itself_and_for_its_pods() {
        let web = deployment(3, "200m");
        let of = |resource: &str| asked(resource, "deployments.apps", &web);
        assert_eq!((of("pods"), of("count/pods"), of("count/deployments.apps")), (3000, 3000, 1000));
        assert_eq!((of("cpu"), of("requests.cpu"), of("limits.cpu")), (600, 600, 0));
        assert_eq!(of("requests.memory"), 3 * 1024 * 1024 * 1024 * 1000, "the limit is the request");
        assert_eq!((of("count/secrets"), of("secrets"), of("requests.storage")), (0, 0, 0));
        assert_eq!(asked("requests.cpu", "deployments.apps", &deployment(1, "100m")), 150, "an init container");
        assert_eq!(asked("secrets", "secrets", &json!({})), 1000);
        let job = |suspend: bool| json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": suspend, "parallelism": 2}});
        assert_eq!((asked("pods", "jobs.batch", &job(true)), asked("pods", "jobs.batch", &job(false))), (0, 2000));
    }

    #[test]
    fn claims_are_counted_with_those_of_stateful_sets() {
        let claim = json!({"spec": {"resources": {"requests": {"storage": "2"}}}});
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"replicas": 2, "volumeClaimTemplates": [claim]}});
        let of = |resource: &str| {
            (asked(resource, "persistentvolumeclaims", &claim), asked(resource, "statefulsets.apps", &set))
        };
        assert_eq!(of("persistentvolumeclaims"), (1000, 2000));
        assert_eq!(of("requests.storage"), (2000, 4000));
    }

    #[test]
    fn what_is_short_is_named_and_what_has_room_is_not() {
        let mut quotas = Quotas::default();
        let quota = |name: &str, scopes: Value| {
            let mut quota = json!({"metadata": {"namespace": "shop", "name": name},
                "spec": {"hard": {"pods": "4", "requests.cpu": "1"}}, "status": {"used": {"pods": "2", "requests.cpu": "100m"}}});
            if !scopes.is_null() {
                quota["spec"]["scopes"] = scopes;
            }
            quota
        };
        quotas.add(&quota("all", Value::Null));
        quotas.add(&quota("some", json!(["BestEffort"])));
        quotas.see("other", "deployments.apps", &deployment(9, "1"));
        quotas.see("shop", "deployments.apps", &deployment(1, "200m"));
        quotas.see("shop", "deployments.apps", &deployment(2, "200m"));
        assert_eq!(
            quotas.short(),
            [
                "resourcequotas shop/all: what is created asks for 3 of pods, and it has 4, of which 2 are used: the server \
              will refuse what comes last, or its Pods"
            ]
        );
        assert_eq!((shown(1500), shown(2000), shown(-1000)), ("1500m".to_owned(), "2".to_owned(), "-1".to_owned()));
    }
}
