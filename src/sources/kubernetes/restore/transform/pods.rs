//! The rules of Pods and Jobs.

use serde_json::{Value, json};

use super::{Prepared, at, object_mut, take, take_items, text_at};
use crate::sources::kubernetes::compare::GroupKind;

const PLACED: &str = "set anew by the scheduler and by admission";
const TOKEN_VOLUME: &str = "admission adds a new one with the new token";
const UID_LABEL: &str = "the uid of the old Job; the server sets the new one";

/// The rule that suspends a Job.
pub(super) const SUSPENDED: &str = "spec.suspend";

/// Annotations of tools that run a Job as a step of theirs, and run it again when they need it.
const HOOKS: &[&str] = &["argocd.argoproj.io/hook", "helm.sh/hook"];
/// What admission puts beside a token; the second is OpenShift's.
const ROOT_CERTIFICATES: &[&str] = &["kube-root-ca.crt", "openshift-service-ca.crt"];
const UID_LABELS: &[&str] = &["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Why another tool runs a Job, if one does.
pub(super) fn left_to_others(object: &Value) -> Option<&'static str> {
    let is_hook = |key: &&str| at(object, &["metadata", "annotations", key]).is_some();
    let is_job = GroupKind::of(object).is("batch", "Job");
    (is_job && HOOKS.iter().any(is_hook)).then_some("a hook Job is run by its deployment tool")
}

/// A Pod that nothing makes again.
pub(super) fn pod(prepared: &mut Prepared) {
    for (field, path) in
        [("nodeName", "spec.nodeName"), ("priority", "spec.priority"), ("preemptionPolicy", "spec.preemptionPolicy")]
    {
        prepared.drop_key(&["spec"], field, path, PLACED);
    }
    let why = "the server takes them only in a Pod that runs";
    prepared.drop_key(&["spec"], "ephemeralContainers", "spec.ephemeralContainers", why);
    // Where a Pod wants no token, no admission makes it a volume: this one is its own.
    if at(&prepared.object, &["spec", "automountServiceAccountToken"]) == Some(&Value::Bool(false)) {
        return;
    }
    let volumes = take_items(&mut prepared.object, &["spec"], "volumes", is_token_volume);
    for volume in &volumes {
        let what = format!("removed {}", volume.get("name").unwrap_or(&Value::Null));
        prepared.record("spec.volumes[name=kube-api-access-*]", TOKEN_VOLUME, what);
    }
    let is_token = |name: &Value| volumes.iter().any(|volume| volume.get("name") == Some(name));
    for list in ["containers", "initContainers"] {
        let containers = object_mut(&mut prepared.object, &["spec"]).and_then(|spec| spec.get_mut(list));
        for container in containers.and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default() {
            take_items(container, &[], "volumeMounts", |mount| mount.get("name").is_some_and(is_token));
        }
    }
}

/// Whether admission made a Pod's volume, and nobody else: by its name and by all that is in it.
fn is_token_volume(volume: &Value) -> bool {
    let end = text_at(volume, &["name"]).strip_prefix("kube-api-access-").unwrap_or_default();
    let is_generated = end.len() == 5 && end.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let sources = at(volume, &["projected", "sources"]).and_then(Value::as_array);
    let sources = sources.map(Vec::as_slice).unwrap_or_default();
    let is_token = |source: &Value| {
        let token = source.get("serviceAccountToken");
        token.is_some_and(|token| text_at(token, &["path"]) == "token" && text_at(token, &["audience"]).is_empty())
    };
    let is_about_it = |source: &Value| {
        let namespace = at(source, &["downwardAPI", "items"]).and_then(Value::as_array).map(Vec::as_slice);
        ROOT_CERTIFICATES.contains(&text_at(source, &["configMap", "name"]))
            || matches!(namespace, Some([item]) if text_at(item, &["fieldRef", "fieldPath"]) == "metadata.namespace")
    };
    is_generated && sources.iter().any(is_token) && sources.iter().all(|source| is_token(source) || is_about_it(source))
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
        let why =
            "a Job that had not finished; start it with `kubectl patch job NAME -p '{\"spec\":{\"suspend\":false}}'`";
        prepared.record(SUSPENDED, why, "false to true".to_owned());
    }
}
