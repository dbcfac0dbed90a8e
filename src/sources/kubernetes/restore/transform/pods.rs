//! The rules of Pods and Jobs.

use serde_json::{Value, json};

use super::{Prepared, at, object_mut, take, take_items, text_at};
use crate::sources::kubernetes::compare::Kind;

const PLACED: &str = "set anew by the scheduler and by admission";
const TOKEN_VOLUME: &str = "admission adds a new one with the new token";
const UID_LABEL: &str = "the uid of the old Job; the server sets the new one";

/// Annotations of tools that run a Job as a step of theirs, and run it again when they need it.
const HOOKS: &[&str] = &["argocd.argoproj.io/hook", "helm.sh/hook"];
const UID_LABELS: &[&str] = &["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Why a Pod or a Job is not restored, if a rule says so.
pub(super) fn left_out(kind: Kind<'_>, object: &Value) -> Option<&'static str> {
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            let phase = text_at(object, &["status", "phase"]);
            matches!(phase, "Succeeded" | "Failed").then_some("a finished Pod would run again")
        }
        ("batch", "Job") => {
            let annotation = |key: &&str| at(object, &["metadata", "annotations", key]).is_some();
            if HOOKS.iter().any(annotation) {
                return Some("a hook Job is run by its deployment tool");
            }
            is_finished(object).then_some("a finished Job would run again")
        }
        _ => None,
    }
}

fn is_finished(job: &Value) -> bool {
    let conditions = at(job, &["status", "conditions"]).and_then(Value::as_array);
    conditions.map(Vec::as_slice).unwrap_or_default().iter().any(|condition| {
        matches!(text_at(condition, &["type"]), "Complete" | "Failed" | "SuccessCriteriaMet" | "FailureTarget")
            && text_at(condition, &["status"]) == "True"
    })
}

/// A Pod that nothing makes again.
pub(super) fn pod(prepared: &mut Prepared) {
    for (field, path) in [
        ("nodeName", "spec.nodeName"),
        ("priority", "spec.priority"),
        ("preemptionPolicy", "spec.preemptionPolicy"),
    ] {
        prepared.drop_key(&["spec"], field, path, PLACED);
    }
    let why = "the server takes them only in a Pod that runs";
    prepared.drop_key(&["spec"], "ephemeralContainers", "spec.ephemeralContainers", why);
    let is_token = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let volumes = take_items(&mut prepared.object, &["spec"], "volumes", |volume| {
        volume.get("name").is_some_and(is_token)
    });
    for volume in &volumes {
        let what = format!("removed {}", volume.get("name").unwrap_or(&Value::Null));
        prepared.record("spec.volumes[name=kube-api-access-*]", TOKEN_VOLUME, what);
    }
    if volumes.is_empty() {
        return;
    }
    for list in ["containers", "initContainers"] {
        let containers = object_mut(&mut prepared.object, &["spec"]).and_then(|spec| spec.get_mut(list));
        for container in containers.and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default() {
            take_items(container, &[], "volumeMounts", |mount| mount.get("name").is_some_and(is_token));
        }
    }
}

/// A Job that has not finished: it comes back suspended, so that nothing runs twice unasked.
pub(super) fn job(prepared: &mut Prepared) {
    if at(&prepared.object, &["spec", "manualSelector"]) != Some(&Value::Bool(true)) {
        prepared.drop_key(&["spec"], "selector", "spec.selector", UID_LABEL);
        for key in UID_LABELS {
            prepared.drop_key(&["metadata", "labels"], key, "metadata.labels[controller-uid]", UID_LABEL);
            take(&mut prepared.object, &["spec", "template", "metadata", "labels"], key);
        }
    }
    if at(&prepared.object, &["spec", "suspend"]) != Some(&Value::Bool(true))
        && let Some(spec) = object_mut(&mut prepared.object, &["spec"])
    {
        spec.insert("suspend".to_owned(), json!(true));
        let why = "a Job that had not finished; start it with `kubectl patch job NAME -p '{\"spec\":{\"suspend\":false}}'`";
        prepared.record("spec.suspend", why, "false to true".to_owned());
    }
}
