//! The rules of kinds that are not Pods or Jobs.

use serde_json::Value;

use super::{Prepared, at, object_mut, pods, text_at};
use crate::sources::kubernetes::compare::GroupKind;

const BINDING: &str = "says to which volume the claim was bound; a new volume is made";
/// Where a claim says which volume it is bound to.
pub(super) const VOLUME_NAME: &str = "spec.volumeName";
/// The annotation of a volume or a claim whose binding is the controller's choice.
pub(in super::super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const RECLAIM: &str = "persistentVolumeReclaimPolicy";
const TOKEN: &str = "the token controller fills it in for the new ServiceAccount";
const COUNTED: &str = "counted anew by the controller";

/// Changes what the kind's rules change.
pub(super) fn apply(prepared: &mut Prepared) {
    let (group, kind) = {
        let kind = GroupKind::of(&prepared.object);
        (kind.group.to_owned(), kind.kind.to_owned())
    };
    match (group.as_str(), kind.as_str()) {
        ("", "Service") => service(prepared),
        ("", "PersistentVolumeClaim") => claim(prepared),
        ("", "Secret") => secret(prepared),
        ("", "Namespace") => namespace(prepared),
        ("", "Pod") => pods::pod(prepared),
        ("batch", "Job") => pods::job(prepared),
        ("apps", "Deployment") => {
            let path = "metadata.annotations[deployment.kubernetes.io/revision]";
            prepared.drop_key(&["metadata", "annotations"], "deployment.kubernetes.io/revision", path, COUNTED);
        }
        ("apps", "DaemonSet") => {
            let path = "metadata.annotations[deprecated.daemonset.template.generation]";
            prepared.drop_key(&["metadata", "annotations"], "deprecated.daemonset.template.generation", path, COUNTED);
        }
        _ => {}
    }
}

/// The addresses that a LoadBalancer Service had.
pub(super) fn load_balancer_addresses(object: &Value) -> Vec<String> {
    if !GroupKind::of(object).is("", "Service") || text_at(object, &["spec", "type"]) != "LoadBalancer" {
        return Vec::new();
    }
    addresses_of(object)
}

/// The addresses in a Service's status.
pub(in super::super) fn addresses_of(object: &Value) -> Vec<String> {
    let ingress = at(object, &["status", "loadBalancer", "ingress"]).and_then(Value::as_array);
    let points = ingress.map(Vec::as_slice).unwrap_or_default();
    let address = |point: &Value| {
        let name = text_at(point, &["hostname"]);
        if name.is_empty() { text_at(point, &["ip"]).to_owned() } else { name.to_owned() }
    };
    points.iter().map(address).filter(|address| !address.is_empty()).collect()
}

fn service(prepared: &mut Prepared) {
    if text_at(&prepared.object, &["spec", "clusterIP"]) == "None" {
        return;
    }
    let why = "an address of the old cluster's range; the server gives a new one";
    prepared.drop_key(&["spec"], "clusterIP", "spec.clusterIP", why);
    prepared.drop_key(&["spec"], "clusterIPs", "spec.clusterIPs", why);
}

fn claim(prepared: &mut Prepared) {
    prepared.drop_key(&["spec"], "volumeName", VOLUME_NAME, BINDING);
    const ANNOTATIONS: &[(&str, &str)] = &[
        ("pv.kubernetes.io/bind-completed", "metadata.annotations[pv.kubernetes.io/bind-completed]"),
        ("pv.kubernetes.io/bound-by-controller", "metadata.annotations[pv.kubernetes.io/bound-by-controller]"),
        (
            "volume.beta.kubernetes.io/storage-provisioner",
            "metadata.annotations[volume.beta.kubernetes.io/storage-provisioner]",
        ),
        ("volume.kubernetes.io/storage-provisioner", "metadata.annotations[volume.kubernetes.io/storage-provisioner]"),
        ("volume.kubernetes.io/selected-node", "metadata.annotations[volume.kubernetes.io/selected-node]"),
        ("volume.kubernetes.io/storage-resizer", "metadata.annotations[volume.kubernetes.io/storage-resizer]"),
    ];
    for (key, path) in ANNOTATIONS {
        prepared.drop_key(&["metadata", "annotations"], key, path, BINDING);
    }
}

/// A volume that is adopted: reserved for its claim, which has a new uid, and kept whatever becomes of that.
pub(super) fn volume(prepared: &mut Prepared) {
    const RESERVED: &str = "the claim is made again with a new uid; the volume is reserved for it by name";
    for (key, path) in [("uid", "spec.claimRef.uid"), ("resourceVersion", "spec.claimRef.resourceVersion")] {
        prepared.drop_key(&["spec", "claimRef"], key, path, RESERVED);
    }
    let annotation = "metadata.annotations[pv.kubernetes.io/bound-by-controller]";
    prepared.drop_key(&["metadata", "annotations"], BOUND_BY_CONTROLLER, annotation, RESERVED);
    let Some(spec) = object_mut(&mut prepared.object, &["spec"]) else { return };
    let before = spec.insert(RECLAIM.to_owned(), Value::from("Retain"));
    if before.as_ref().and_then(Value::as_str) != Some("Retain") {
        let before = before.map_or_else(|| "absent".to_owned(), |value| value.to_string());
        let why = "an adopted volume is kept when its claim is deleted";
        prepared.record("spec.persistentVolumeReclaimPolicy", why, format!("set to Retain, was {before}"));
    }
}

fn secret(prepared: &mut Prepared) {
    if text_at(&prepared.object, &["type"]) != "kubernetes.io/service-account-token" {
        return;
    }
    let annotation = "metadata.annotations[kubernetes.io/service-account.uid]";
    prepared.drop_key(&["metadata", "annotations"], "kubernetes.io/service-account.uid", annotation, TOKEN);
    for (key, path) in [("token", "data.token"), ("ca.crt", "data[ca.crt]"), ("namespace", "data.namespace")] {
        prepared.drop_key(&["data"], key, path, TOKEN);
    }
    for (key, path) in [
        ("kubernetes.io/legacy-token-last-used", "metadata.labels[kubernetes.io/legacy-token-last-used]"),
        ("kubernetes.io/legacy-token-invalid-since", "metadata.labels[kubernetes.io/legacy-token-invalid-since]"),
    ] {
        prepared.drop_key(&["metadata", "labels"], key, path, TOKEN);
    }
}

/// Finalizers in a namespace's `spec` can only be set by a subresource.
fn namespace(prepared: &mut Prepared) {
    let why = "the server sets its own; those of others can only be set while a namespace is being deleted";
    prepared.drop_key(&["spec"], "finalizers", "spec.finalizers", why);
}
