//! What refuses Pods and not the workloads that make them: Pod security, quotas, limits.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{RestoreError, live::LiveList, target::TargetCluster};
use crate::sources::kubernetes::{Cluster, ErrorKind, compare::GroupKind};

/// Kinds that make Pods from a template.
pub(super) const HAS_TEMPLATE: &[&str] = &[
    "cronjobs.batch",
    "daemonsets.apps",
    "deployments.apps",
    "jobs.batch",
    "replicasets.apps",
    "replicationcontrollers",
    "statefulsets.apps",
];

/// Kinds of objects that look at each Pod of their namespace.
const GUARDS: &[(&str, &str)] = &[("v1", "ResourceQuota"), ("v1", "LimitRange")];

/// The live namespaces in which something may refuse Pods.
pub(super) async fn namespaces(cluster: &Cluster, target: &TargetCluster) -> Result<HashSet<String>, RestoreError> {
    let mut guarded = target.secured.clone();
    for (api_version, name) in GUARDS {
        let Some(kind) = target.kind_of(api_version, name) else { continue };
        let mut list = LiveList::new(cluster, kind, None);
        loop {
            match list.next().await {
                Ok(Some(item)) => guarded.extend(item.key.split_once('/').map(|(namespace, _)| namespace.to_owned())),
                Ok(None) => break,
                // Who may not see them is told by the wait for the workloads.
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Expired) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(guarded)
}

/// Whether a namespace's labels say which Pods it takes.
pub(super) fn is_secured(namespace: &Value) -> bool {
    let level = namespace.pointer("/metadata/labels/pod-security.kubernetes.io~1enforce").and_then(Value::as_str);
    level.is_some_and(|level| level != "privileged")
}

/// A Pod as a workload would make it; absent if it makes none.
///
/// Its ServiceAccount may come with the same restore, and no guard looks at it: the Pod has that of its namespace.
pub(super) fn pod_of(object: &Value) -> Option<Value> {
    let kind = GroupKind::of(object);
    if kind.is("", "Pod") || kind.is("", "PodTemplate") {
        return None;
    }
    let path = kind.pod_spec()?.strip_suffix(".spec")?;
    let template = path.split('.').try_fold(object, |value, key| value.get(key))?;
    if object.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0) {
        return None;
    }
    let mut spec = template.get("spec")?.clone();
    let fields = spec.as_object_mut()?;
    for account in ["serviceAccountName", "serviceAccount"] {
        fields.remove(account);
    }
    let claims = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
    let volumes: Vec<Value> = claims
        .filter_map(|claim| claim.pointer("/metadata/name"))
        .map(|name| json!({"name": name, "emptyDir": {}}))
        .collect();
    if !volumes.is_empty() {
        let all = fields.entry("volumes").or_insert_with(|| json!([]));
        all.as_array_mut()?.extend(volumes);
    }
    let mut metadata = json!({"generateName": "drctl-dry-run-"});
    for field in ["labels", "annotations"] {
        if let Some(value) = template.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_what_its_workload_would_make() {
        let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"serviceAccountName": "s", "containers": [{"name": "c"}]}});
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "spec": {"template": template, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let pod = pod_of(&set).unwrap();
        assert_eq!(pod["metadata"], json!({"generateName": "drctl-dry-run-", "labels": {"app": "a"}}));
        assert_eq!(pod["spec"], json!({"containers": [{"name": "c"}], "volumes": [{"name": "data", "emptyDir": {}}]}));
        let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}});
        assert_eq!(pod_of(&cron).unwrap()["spec"]["containers"], json!([{"name": "c"}]));
        let stopped =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0, "template": template}});
        assert_eq!(pod_of(&stopped), None);
        assert_eq!(pod_of(&json!({"apiVersion": "v1", "kind": "ConfigMap"})), None);
    }

    #[test]
    fn a_namespace_is_secured_by_the_label_that_enforces() {
        let with = |label: &str, level: &str| json!({"metadata": {"labels": {label: level}}});
        assert!(is_secured(&with("pod-security.kubernetes.io/enforce", "restricted")));
        assert!(!is_secured(&with("pod-security.kubernetes.io/enforce", "privileged")));
        assert!(!is_secured(&with("pod-security.kubernetes.io/warn", "restricted")));
        assert!(!is_secured(&json!({})));
    }
}
