//! Whether a live object is ready, and why not.

use serde_json::Value;

/// Whether objects of a kind (`deployments.apps`) are waited for.
pub(super) fn is_waited_for(kind: &str) -> bool {
    matches!(
        kind,
        "deployments.apps"
            | "statefulsets.apps"
            | "daemonsets.apps"
            | "replicasets.apps"
            | "replicationcontrollers"
            | "pods"
            | "persistentvolumeclaims"
            | "customresourcedefinitions.apiextensions.k8s.io"
            | "apiservices.apiregistration.k8s.io"
    )
}

/// `Ok` if the object is ready, else why it is not.
pub(super) fn of(kind: &str, object: &Value) -> Result<(), String> {
    match kind {
        "deployments.apps" => deployment(object),
        "statefulsets.apps" => stateful_set(object),
        "replicasets.apps" | "replicationcontrollers" => replicas(object, "readyReplicas", "ready"),
        "daemonsets.apps" => daemon_set(object),
        "pods" => pod(object),
        "persistentvolumeclaims" => match text(object, "/status/phase") {
            "Bound" => Ok(()),
            phase => Err(format!("{} and not bound: no volume was made for it", or(phase, "Pending"))),
        },
        "customresourcedefinitions.apiextensions.k8s.io" => is_true(object, "Established"),
        "apiservices.apiregistration.k8s.io" => is_true(object, "Available"),
        _ => Ok(()),
    }
}

fn deployment(object: &Value) -> Result<(), String> {
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    observed(object)?;
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let updated = number(object, "/status/updatedReplicas").unwrap_or(0);
    if updated < wanted {
        let failure = condition(object, "ReplicaFailure").and_then(|it| it.get("message")?.as_str());
        let failure = failure.map(|message| format!(": {message}")).unwrap_or_default();
        return Err(format!("{updated} of {wanted} replicas made{failure}"));
    }
    replicas(object, "availableReplicas", "available")
}

fn replicas(object: &Value, field: &str, word: &str) -> Result<(), String> {
    observed(object)?;
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let there = number(object, &format!("/status/{field}")).unwrap_or(0);
    if there >= wanted { Ok(()) } else { Err(format!("{there} of {wanted} replicas {word}")) }
}

fn daemon_set(object: &Value) -> Result<(), String> {
    observed(object)?;
    let wanted = number(object, "/status/desiredNumberScheduled").unwrap_or(0);
    let ready = number(object, "/status/numberReady").unwrap_or(0);
    if ready < wanted {
        return Err(format!("{ready} of {wanted} Pods ready"));
    }
    let updated = number(object, "/status/updatedNumberScheduled").unwrap_or(0);
    if updated >= wanted || is_updated_by_hand(object) {
        return Ok(());
    }
    Err(format!("{updated} of {wanted} Pods are of the new template"))
}

/// Its Pods get a new template only when somebody deletes them.
fn is_updated_by_hand(object: &Value) -> bool {
    text(object, "/spec/updateStrategy/type") == "OnDelete"
}

fn stateful_set(object: &Value) -> Result<(), String> {
    replicas(object, "readyReplicas", "ready")?;
    if is_updated_by_hand(object) {
        return Ok(());
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let wanted = wanted.saturating_sub(partition.max(0)).max(0);
    let updated = number(object, "/status/updatedReplicas").unwrap_or(0);
    if updated < wanted {
        return Err(format!("{updated} of {wanted} replicas are of the new template"));
    }
    let revision = |field: &str| text(object, &format!("/status/{field}")).to_owned();
    if partition <= 0 && revision("currentRevision") != revision("updateRevision") {
        return Err("its update has not ended yet".to_owned());
    }
    Ok(())
}

fn pod(object: &Value) -> Result<(), String> {
    if text(object, "/status/phase") == "Succeeded" || is_true(object, "Ready").is_ok() {
        return Ok(());
    }
    Err(pod_trouble(object)
        .unwrap_or_else(|| format!("{} and not ready", or(text(object, "/status/phase"), "Pending"))))
}

/// What keeps a Pod from being ready, in the words of the kubelet or the scheduler.
pub(super) fn pod_trouble(pod: &Value) -> Option<String> {
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        for container in pod.pointer(list).and_then(Value::as_array).into_iter().flatten() {
            let name = text(container, "/name");
            for state in ["/state/waiting", "/state/terminated", "/lastState/terminated"] {
                let Some(state) = container.pointer(state) else { continue };
                let reason = text(state, "/reason");
                if matches!(reason, "" | "PodInitializing" | "Completed") {
                    continue;
                }
                let message = text(state, "/message");
                let message = if message.is_empty() { String::new() } else { format!(": {message}") };
                return Some(format!("container {name}: {reason}{message}"));
            }
        }
    }
    let unscheduled = condition(pod, "PodScheduled").filter(|it| text(it, "/status") == "False");
    let message = unscheduled.map(|it| text(it, "/message")).filter(|message| !message.is_empty());
    message.map(|message| format!("not scheduled: {message}"))
}

/// Whether a Pod belongs to the workload `name` of `kind`.
pub(super) fn belongs_to(pod: &Value, kind: &str, name: &str) -> bool {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        let owner_name = text(owner, "/name");
        match (kind, text(owner, "/kind")) {
            ("deployments.apps", "ReplicaSet") => {
                owner_name.rsplit_once('-').is_some_and(|(deployment, _)| deployment == name)
            }
            ("statefulsets.apps", "StatefulSet")
            | ("daemonsets.apps", "DaemonSet")
            | ("replicasets.apps", "ReplicaSet")
            | ("replicationcontrollers", "ReplicationController") => owner_name == name,
            _ => false,
        }
    })
}

fn observed(object: &Value) -> Result<(), String> {
    let generation = number(object, "/metadata/generation").unwrap_or(0);
    let observed = number(object, "/status/observedGeneration").unwrap_or(0);
    if observed >= generation { Ok(()) } else { Err("its controller has not looked at it yet".to_owned()) }
}

fn is_true(object: &Value, name: &str) -> Result<(), String> {
    let Some(condition) = condition(object, name) else { return Err(format!("not {name} yet")) };
    if text(condition, "/status") == "True" {
        return Ok(());
    }
    Err(format!("not {name}: {}", or(text(condition, "/message"), text(condition, "/reason"))))
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == name)
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_is_ready_when_its_controller_has_seen_it_and_all_replicas_are_available() {
        let with = |observed: i64, updated: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2},
                   "status": {"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available}})
        };
        assert_eq!(of("deployments.apps", &with(2, 2, 2)), Ok(()));
        assert_eq!(of("deployments.apps", &with(2, 2, 1)), Err("1 of 2 replicas available".to_owned()));
        assert_eq!(of("deployments.apps", &with(2, 1, 2)), Err("1 of 2 replicas made".to_owned()));
        assert!(of("deployments.apps", &with(1, 2, 2)).is_err());
        assert_eq!(of("deployments.apps", &json!({"spec": {"replicas": 0}})), Ok(()));
        assert_eq!(of("deployments.apps", &json!({"spec": {"paused": true}})), Ok(()));
    }

    #[test]
    fn a_pod_that_is_not_ready_says_why() {
        let pulling = json!({"status": {"phase": "Pending", "containerStatuses": [
            {"name": "api", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}});
        assert_eq!(of("pods", &pulling), Err("container api: ImagePullBackOff: no such image".to_owned()));
        let unscheduled = json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}});
        assert_eq!(of("pods", &unscheduled), Err("not scheduled: 0/1 nodes are available".to_owned()));
        assert_eq!(of("pods", &json!({"status": {"phase": "Running"}})), Err("Running and not ready".to_owned()));
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(of("pods", &ready), Ok(()));
    }

    #[test]
    fn a_pod_finds_its_workload_through_the_name_of_the_replica_set() {
        let pod = json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-front-5d4f"}]}});
        assert!(belongs_to(&pod, "deployments.apps", "web-front"));
        assert!(!belongs_to(&pod, "deployments.apps", "web"));
    }

    #[test]
    fn claims_definitions_and_api_services_are_ready_by_their_own_marks() {
        assert!(of("persistentvolumeclaims", &json!({"status": {"phase": "Bound"}})).is_ok());
        assert!(of("persistentvolumeclaims", &json!({"status": {"phase": "Pending"}})).is_err());
        let with = |name: &str, status: &str| json!({"status": {"conditions": [{"type": name, "status": status, "message": "m"}]}});
        assert!(of("customresourcedefinitions.apiextensions.k8s.io", &with("Established", "True")).is_ok());
        assert_eq!(
            of("apiservices.apiregistration.k8s.io", &with("Available", "False")),
            Err("not Available: m".to_owned())
        );
        assert!(of("daemonsets.apps", &json!({"status": {"desiredNumberScheduled": 2, "numberReady": 1}})).is_err());
    }

    #[test]
    fn a_rollout_that_is_stuck_is_not_ready_however_many_old_pods_are() {
        let daemon = |updated: i64, strategy: &str| {
            json!({"spec": {"updateStrategy": {"type": strategy}},
                "status": {"desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": updated}})
        };
        assert_eq!(of("daemonsets.apps", &daemon(2, "RollingUpdate")), Ok(()));
        assert_eq!(
            of("daemonsets.apps", &daemon(1, "RollingUpdate")),
            Err("1 of 2 Pods are of the new template".to_owned())
        );
        assert_eq!(of("daemonsets.apps", &daemon(0, "OnDelete")), Ok(()));
        let set = |updated: i64, partition: i64, current: &str, strategy: &str| {
            json!({"spec": {"replicas": 3, "updateStrategy": {"type": strategy, "rollingUpdate": {"partition": partition}}},
                "status": {"readyReplicas": 3, "updatedReplicas": updated, "currentRevision": current, "updateRevision": "new"}})
        };
        let of = |set: Value| of("statefulsets.apps", &set);
        assert_eq!(of(set(3, 0, "new", "RollingUpdate")), Ok(()));
        assert_eq!(of(set(1, 0, "old", "RollingUpdate")), Err("1 of 3 replicas are of the new template".to_owned()));
        assert!(of(set(3, 0, "old", "RollingUpdate")).is_err());
        assert_eq!(of(set(1, 2, "old", "RollingUpdate")), Ok(()), "the partition keeps the others as they are");
        assert_eq!(of(set(0, 0, "old", "OnDelete")), Ok(()));
    }
}
