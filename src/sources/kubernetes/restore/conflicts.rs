//! What is done about a live object that is something else than the backup's: it is left, changed into it,
//! or deleted and created.

use serde_json::{Map, Value, json};

use super::{
    judge::Judgement,
    plan::{Action, OnConflict},
    report::Waiver,
    transform::{BUILT_IN_FINALIZERS, Prepared},
};
use crate::sources::kubernetes::compare::GroupKind;

/// What a plan does about a conflict, and why. `shared`: the object has no namespace, and namespaces are mapped.
pub(super) fn settle(
    on_conflict: OnConflict,
    prepared: &Prepared,
    live: &Value,
    found: Judgement,
    shared: bool,
) -> (Action, String) {
    let (action, never) = match on_conflict {
        OnConflict::Fail | OnConflict::Skip => return (Action::Conflict, found.reason),
        // It says when to plan again.
        _ if is_going(live) => return (Action::Conflict, found.reason),
        _ if shared => (Action::Conflict, Some(never_mapped(&prepared.object))),
        OnConflict::Update => (Action::Update, never_updated(&prepared.object, live)),
        OnConflict::Replace => (Action::Replace, never_replaced(&prepared.object, live)),
    };
    let Some(never) = never.map(str::to_owned).or_else(|| loses_claims(&prepared.object, live, &found)) else {
        return (action, found.reason);
    };
    let next = match action {
        Action::Update if never_replaced(&prepared.object, live).is_none() && is_fixed(&prepared.object) => REPLACE,
        Action::Replace if never_updated(&prepared.object, live).is_none() => {
            "; --on-conflict update changes what can be changed in it"
        }
        _ => "",
    };
    (Action::Conflict, format!("{}; {never}{next}", found.reason))
}

/// The next step where an update is refused.
pub(super) const REPLACE: &str = "; --on-conflict replace deletes and creates it";

/// Its deletion was asked for.
pub(super) fn is_going(live: &Value) -> bool {
    live.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// A mapped restore makes a copy beside what lives. What has no namespace belongs to the living ones, too: to change it
/// into the copy's form would take something away from them, as the subjects of a binding their rights.
fn never_mapped(object: &Value) -> &'static str {
    if GroupKind::of(object).is("rbac.authorization.k8s.io", "ClusterRoleBinding") {
        return "the living namespaces have their rights by it, and a mapped restore never changes it: give the accounts \
                of the new namespace theirs by a binding of another name";
    }
    "it has no namespace and belongs to the living ones, too, and a mapped restore never changes it: restore it by itself, \
     without --map-namespace"
}

/// Kinds whose live objects cannot become what the backup holds.
fn is_fixed(object: &Value) -> bool {
    let kind = GroupKind::of(object);
    kind.is("", "Pod") || kind.is("batch", "Job")
}

/// Live objects that cannot become what the backup holds, or would lose something by it.
fn never_updated(object: &Value, live: &Value) -> Option<&'static str> {
    if is_fixed(object) {
        return Some("a Pod or a Job cannot be changed once it is there");
    }
    (GroupKind::of(object).is("", "Service") && is_balancer(live) && !is_balancer(object)).then_some(
        "the backup's is no LoadBalancer Service, and the live one's address would be lost: change it by hand",
    )
}

fn is_balancer(object: &Value) -> bool {
    object.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer")
}

/// A StatefulSet that would be scaled down and then deletes the claims of the Pods that go.
fn loses_claims(object: &Value, live: &Value, found: &Judgement) -> Option<String> {
    if !GroupKind::of(object).is("apps", "StatefulSet")
        || object.pointer("/spec/persistentVolumeClaimRetentionPolicy/whenScaled").and_then(Value::as_str)
            != Some("Delete")
        || !found.differences.iter().any(|difference| difference.path == "spec.replicas")
    {
        return None;
    }
    let replicas = |set: &Value| set.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let (from, to) = (replicas(live), replicas(object));
    (to < from).then(|| {
        format!(
            "it would be scaled from {from} to {to}, and it deletes the claims of the Pods that go, with their data \
             (whenScaled is Delete): scale it by hand first"
        )
    })
}

/// Objects with which something would be lost that the backup does not hold.
pub(super) fn never_replaced(object: &Value, live: &Value) -> Option<&'static str> {
    let kind = GroupKind::of(object);
    if kind.is("", "Namespace") {
        return Some("a Namespace is never replaced: all that is in it would be deleted");
    }
    if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return Some("a definition is never replaced: all objects of its kind would be deleted");
    }
    if kind.is("", "PersistentVolume") || kind.is("", "PersistentVolumeClaim") {
        return Some("a volume or a claim is never replaced: its data could be deleted");
    }
    if kind.is("", "ServiceAccount") {
        return Some("a ServiceAccount is never replaced: its token Secrets would be deleted with it");
    }
    if kind.is("", "Service") && (is_balancer(object) || is_balancer(live)) {
        return Some("a LoadBalancer Service is never replaced: its address would be lost");
    }
    has_foreign_finalizer(live).then_some(
        "it has a finalizer, with which its controller would delete what belongs to it: it is never replaced",
    )
}

fn has_foreign_finalizer(live: &Value) -> bool {
    let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str).any(|name| !BUILT_IN_FINALIZERS.contains(&name))
}

/// Whether what runs for a live object has to go when that is replaced. All that belongs to a deleted object stays,
/// its claims above all, and the new object's controller adopts it: a Deployment's ReplicaSets with their Pods. Where
/// the new selector would not find the Pods, they would run beside the new ones, and nobody would count them. So would
/// those of a Job, because a new Job looks for its own uid.
pub(super) fn leaves_pods(object: &Value, live: &Value) -> bool {
    let kind = GroupKind::of(object);
    let is_workload = kind.group == "apps" || kind.is("", "ReplicationController");
    let is_other_selector = is_workload && object.pointer("/spec/selector") != live.pointer("/spec/selector");
    is_other_selector || kind.is("batch", "Job")
}

/// Fields that belong to the live object alone: the server or a controller gave them to it, the rules leave the
/// backup's out, and an update that lacks them is refused or takes something away.
const LIVE_OWN: &[(&str, &str, &[&str])] = &[
    ("", "Service", &["/spec/clusterIP", "/spec/clusterIPs"]),
    (
        "",
        "PersistentVolumeClaim",
        &[
            "/spec/volumeName",
            "/metadata/annotations/pv.kubernetes.io~1bind-completed",
            "/metadata/annotations/pv.kubernetes.io~1bound-by-controller",
            "/metadata/annotations/volume.beta.kubernetes.io~1storage-provisioner",
            "/metadata/annotations/volume.kubernetes.io~1storage-provisioner",
            "/metadata/annotations/volume.kubernetes.io~1selected-node",
            "/metadata/annotations/volume.kubernetes.io~1storage-resizer",
        ],
    ),
    (
        "",
        "Secret",
        &[
            "/metadata/annotations/kubernetes.io~1service-account.uid",
            "/metadata/labels/kubernetes.io~1legacy-token-last-used",
            "/metadata/labels/kubernetes.io~1legacy-token-invalid-since",
        ],
    ),
    ("apps", "Deployment", &["/metadata/annotations/deployment.kubernetes.io~1revision"]),
    ("apps", "DaemonSet", &["/metadata/annotations/deprecated.daemonset.template.generation"]),
];

/// Takes out of a live object what belongs to it alone.
pub(super) fn drop_own(live: &mut Value) {
    let kind = GroupKind::of(live);
    let Some((.., paths)) = LIVE_OWN.iter().find(|(group, name, _)| kind.is(group, name)) else { return };
    for path in *paths {
        let Some((parent, key)) = path.rsplit_once('/') else { continue };
        if let Some(fields) = live.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(&key.replace("~1", "/"));
        }
    }
}

/// What a token controller fills in.
const TOKEN: &[&str] = &["/data/token", "/data/ca.crt", "/data/namespace"];

/// The object that an update sends: what the backup holds, and of the live one what is its own. What else only the
/// live one has is gone afterwards: it was added since the backup.
pub(super) fn updated(prepared: &Prepared, live: &Value, waivers: &[Waiver]) -> Value {
    let mut object = prepared.object.clone();
    super::judge::waive(&mut object, waivers);
    let kind = GroupKind::of(&prepared.object);
    let is_token = object.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token");
    let own = LIVE_OWN.iter().find(|(group, name, _)| kind.is(group, name)).map_or(&[][..], |(.., paths)| paths);
    own.iter().chain(TOKEN.iter().filter(|_| is_token)).for_each(|path| carry(&mut object, live, path));
    // A number that an autoscaler sets is its own.
    if waivers.contains(&Waiver::Replicas) {
        carry(&mut object, live, "/spec/replicas");
    }
    // Some custom resources have no subresource `status`: in these an update would delete it.
    carry(&mut object, live, "/status");
    for field in ["/metadata/uid", "/metadata/resourceVersion", "/metadata/ownerReferences"] {
        carry(&mut object, live, field);
    }
    let finalizers = union(live.pointer("/metadata/finalizers"), object.pointer("/metadata/finalizers"));
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && !finalizers.is_empty()
    {
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
    }
    object
}

/// Sets the value at `pointer` to the live one, unless it has one.
fn carry(object: &mut Value, live: &Value, pointer: &str) {
    let Some(value) = live.pointer(pointer) else { return };
    let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let mut steps: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    let Some(last) = steps.pop() else { return };
    let mut at = object;
    for step in steps {
        let Some(fields) = at.as_object_mut() else { return };
        at = fields.entry(step).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(fields) = at.as_object_mut() {
        fields.entry(last).or_insert_with(|| value.clone());
    }
}

fn union(first: Option<&Value>, second: Option<&Value>) -> Vec<Value> {
    let items = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = items(first);
    for item in items(second) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

/// Owners that only the live object has: they stay its owners.
pub(super) fn live_owners(prepared: &Prepared, live: &Value) -> Vec<Value> {
    let is_ours = |owner: &Value| {
        let same = |field: &str, other: &Value| other.get(field) == owner.get(field);
        prepared.second.owners.iter().any(|other| same("kind", other) && same("name", other))
    };
    let owners = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().filter(|owner| !is_ours(owner)).cloned().collect()
}

/// A live object as it can be created again.
pub(super) fn put_back(live: &Value) -> Value {
    let mut object = live.clone();
    if let Some(root) = object.as_object_mut() {
        root.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let set_anew = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
        set_anew.into_iter().for_each(|field| {
            metadata.remove(field);
        });
    }
    if GroupKind::of(live).is("batch", "Job") {
        put_back_job(&mut object);
    }
    object
}

/// A Job's selector and labels name its uid, and the next one has another. It does not begin again by itself: what the
/// deleted one began still runs.
fn put_back_job(job: &mut Value) {
    let manual = job.pointer("/spec/manualSelector") == Some(&Value::Bool(true));
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.insert("suspend".to_owned(), Value::Bool(true));
    if manual {
        return;
    }
    spec.remove("selector");
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = job.pointer_mut(labels).and_then(Value::as_object_mut) {
            labels.remove("controller-uid");
            labels.remove("batch.kubernetes.io/controller-uid");
        }
    }
}

/// The body of a deletion: of this very object, and of no other that has its name by now. What belongs to it stays.
pub(super) fn deletion(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan", "preconditions": {"uid": uid}})
}

#[cfg(test)]
mod tests;
