//! What to do about an object that is already there.

use serde_json::{Map, Value, json};

use super::{
    plan::Action,
    report::Waiver,
    transform::{Prepared, Second},
};
use crate::sources::kubernetes::compare::{Comparison, Difference, GroupKind, compare};

/// The field manager of every request of a restore.
pub(super) const MANAGER: &str = "drctl";
/// Paths that a conflict's reason names.
const NAMED: usize = 3;

/// What is to be done about a live object, and why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    pub(super) action: Action,
    pub(super) reason: String,
    /// The differences, if it is a conflict.
    pub(super) differences: Vec<Difference>,
}

impl Judgement {
    fn new(action: Action, reason: impl Into<String>) -> Self {
        Self { action, reason: reason.into(), differences: Vec::new() }
    }
}

/// A live object that was made with its namespace or cluster, so that finding it is no conflict:
/// what it lacks is added, and what it has stays.
pub(super) fn is_merged(kind: GroupKind<'_>, name: &str) -> bool {
    kind.is("", "Namespace") || (kind.is("", "ServiceAccount") && name == "default")
}

/// Compares a live object with what the backup would make of it, apart from what is waived.
pub(super) fn judge(prepared: &Prepared, live: &Value, waivers: &[Waiver]) -> Judgement {
    let name = text(live, "/metadata/name");
    let deleted = live.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    if deleted {
        return Judgement::new(Action::Conflict, "it is being deleted; plan again when it is gone");
    }
    let mut expected = prepared.expected_beside(live);
    waive(&mut expected, waivers);
    let comparison = compare(&expected, live);
    if is_merged(GroupKind::of(&prepared.object), name) {
        return judge_merged(&comparison);
    }
    let ours = was_made_by_us(live);
    let unlinked =
        |difference: &Difference| difference.live.is_none() && difference.path.starts_with("metadata.ownerReferences");
    if comparison.differences.iter().all(unlinked) && ours && !comparison.is_equal() {
        return Judgement::new(Action::Merge, "its owners are put back");
    }
    if !comparison.is_equal() {
        let reason = conflict_reason(&comparison.differences);
        return Judgement { action: Action::Conflict, reason, differences: comparison.differences };
    }
    if ours && !has_apply_entries(&prepared.second, live) {
        return Judgement::new(Action::Merge, "its managed fields are put back");
    }
    Judgement::new(Action::Same, "")
}

fn judge_merged(comparison: &Comparison) -> Judgement {
    let missing = comparison.differences.iter().filter(|difference| difference.live.is_none()).count();
    let kept = comparison.differences.len() - missing;
    let kept = match comparison.differences.iter().find(|difference| difference.live.is_some()) {
        Some(first) => format!("{kept} live values differ from the backup's and stay: {}", first.path),
        None => String::new(),
    };
    Judgement::new(if missing > 0 { Action::Merge } else { Action::Same }, kept)
}

fn conflict_reason(differences: &[Difference]) -> String {
    let mut paths: Vec<&str> = differences.iter().take(NAMED).map(|difference| difference.path.as_str()).collect();
    let more = format!("{} more", differences.len().saturating_sub(NAMED));
    if differences.len() > NAMED {
        paths.push(&more);
    }
    let noun = if differences.len() == 1 { "field differs" } else { "fields differ" };
    format!("{} {noun}: {}", differences.len(), paths.join(", "))
}

/// Whether an earlier run of a restore created the object.
pub(super) fn was_made_by_us(live: &Value) -> bool {
    managers(live).any(|(manager, _)| manager == MANAGER)
}

/// Whether the backup's `Apply` entries are all among the live ones.
pub(super) fn has_apply_entries(second: &Second, live: &Value) -> bool {
    let wanted = second.managed_fields.iter().map(|entry| (text(entry, "/manager"), text(entry, "/operation")));
    wanted.filter(|(_, operation)| *operation == "Apply").all(|wanted| managers(live).any(|manager| manager == wanted))
}

fn managers(live: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let entries = entries.map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| (text(entry, "/manager"), text(entry, "/operation")))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The JSON merge patch that adds to a live object what it lacks of the expected one, and changes
/// nothing that it has. `None` if it lacks nothing.
pub(super) fn merge_patch(expected: &Value, live: &Value) -> Option<Value> {
    let mut patch = Map::new();
    let metadata = ["labels", "annotations"].into_iter().filter_map(|field| {
        let wanted = expected.pointer(&format!("/metadata/{field}"))?.as_object()?;
        let there = live.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        let lacking: Map<String, Value> = wanted
            .iter()
            .filter(|(key, _)| !there.is_some_and(|there| there.contains_key(*key)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        (!lacking.is_empty()).then(|| (field.to_owned(), Value::Object(lacking)))
    });
    let metadata: Map<String, Value> = metadata.chain(lacking_finalizers(expected, live)).collect();
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    for field in ["imagePullSecrets", "secrets"] {
        patch.extend(union(expected.get(field), live.get(field)).map(|all| (field.to_owned(), all)));
    }
    if let Some(mount) = expected.get("automountServiceAccountToken")
        && live.get("automountServiceAccountToken").is_none()
    {
        patch.insert("automountServiceAccountToken".to_owned(), mount.clone());
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn lacking_finalizers(expected: &Value, live: &Value) -> Option<(String, Value)> {
    let all = union(expected.pointer("/metadata/finalizers"), live.pointer("/metadata/finalizers"))?;
    Some(("finalizers".to_owned(), all))
}

/// The live items and the expected ones that are not among them; `None` if nothing is added.
fn union(expected: Option<&Value>, live: Option<&Value>) -> Option<Value> {
    let expected = expected?.as_array()?;
    let live = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lacking: Vec<Value> = expected.iter().filter(|item| !live.contains(item)).cloned().collect();
    (!lacking.is_empty()).then(|| live.iter().cloned().chain(lacking).collect())
}

/// Takes out of the expected object what a restore could not give it.
pub(super) fn waive(expected: &mut Value, waivers: &[Waiver]) {
    for waiver in waivers {
        match waiver {
            Waiver::NodePort(index) => {
                let port = expected.pointer_mut(&format!("/spec/ports/{index}")).and_then(Value::as_object_mut);
                port.map(|port| port.remove("nodePort"));
            }
            Waiver::HealthCheckNodePort => {
                let spec = expected.pointer_mut("/spec").and_then(Value::as_object_mut);
                spec.map(|spec| spec.remove("healthCheckNodePort"));
            }
            Waiver::Replicas => {
                let spec = expected.pointer_mut("/spec").and_then(Value::as_object_mut);
                spec.map(|spec| spec.remove("replicas"));
            }
            Waiver::Owner(kind, name) => remove_owner(expected, kind, name),
        }
    }
}

fn remove_owner(expected: &mut Value, kind: &str, name: &str) {
    let Some(metadata) = expected.pointer_mut("/metadata").and_then(Value::as_object_mut) else { return };
    let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") else { return };
    owners.retain(|owner| text(owner, "/kind") != kind || text(owner, "/name") != name);
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    }
}

/// The body of the second request: owners with their new uids, and the managed fields of the
/// backup with the old uids in them replaced.
pub(super) fn second_patch(second: &Second, uid: &str, owners: &[(Value, String)]) -> Value {
    let mut metadata = Map::new();
    // A guard: an object that was replaced meanwhile is not touched.
    metadata.insert("uid".to_owned(), json!(uid));
    let mut renamed = Vec::new();
    let linked: Vec<Value> = owners
        .iter()
        .map(|(owner, new)| {
            let mut owner = owner.clone();
            renamed.push((text(&owner, "/uid").to_owned(), new.clone()));
            if let Some(fields) = owner.as_object_mut() {
                fields.insert("uid".to_owned(), json!(new));
            }
            owner
        })
        .collect();
    if !linked.is_empty() {
        metadata.insert("ownerReferences".to_owned(), Value::Array(linked));
    }
    if !second.managed_fields.is_empty() {
        let entries = second.managed_fields.iter().cloned().map(|mut entry| {
            rename_owner_keys(&mut entry, &renamed);
            entry
        });
        metadata.insert("managedFields".to_owned(), Value::Array(entries.collect()));
    }
    json!({ "metadata": metadata })
}

/// In managed fields an owner reference is named by its uid: `k:{"uid":"…"}`.
fn rename_owner_keys(entry: &mut Value, renamed: &[(String, String)]) {
    let references = entry.pointer_mut("/fieldsV1/f:metadata/f:ownerReferences").and_then(Value::as_object_mut);
    let Some(references) = references else { return };
    for (old, new) in renamed {
        if let Some(fields) = references.remove(&format!("k:{{\"uid\":\"{old}\"}}")) {
            references.insert(format!("k:{{\"uid\":\"{new}\"}}"), fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kubernetes::restore::transform::{Outcome, transform};

    fn prepared(kind: &str, object: Value) -> Prepared {
        match transform(kind, object) {
            Outcome::Restore(prepared) => *prepared,
            Outcome::Leave(reason) => panic!("{reason}"),
        }
    }

    fn map(metadata: Value, data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    }

    #[test]
    fn an_equal_object_is_the_same_whoever_made_it() {
        let backup = prepared("configmaps", map(json!({"name": "a", "uid": "1"}), json!({"k": "v"})));
        let live = map(json!({"name": "a", "uid": "2", "labels": {"added": "x"}}), json!({"k": "v"}));
        assert_eq!(judge(&backup, &live, &[]).action, Action::Same);
        let live = map(json!({"name": "a"}), json!({"k": "w"}));
        let judgement = judge(&backup, &live, &[]);
        assert_eq!((judgement.action, judgement.reason.as_str()), (Action::Conflict, "1 field differs: data.k"));
    }

    #[test]
    fn an_object_that_is_going_away_is_a_conflict() {
        let backup = prepared("configmaps", map(json!({"name": "a"}), json!({"k": "v"})));
        let live = map(json!({"name": "a", "deletionTimestamp": "2026-11-21T10:00:00Z"}), json!({"k": "v"}));
        assert_eq!(judge(&backup, &live, &[]).action, Action::Conflict);
    }

    #[test]
    fn only_an_object_of_an_earlier_run_is_completed() {
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]);
        let backup = prepared("configmaps", map(json!({"name": "a", "ownerReferences": owner}), json!({"k": "v"})));
        let live = |manager: &str| {
            map(json!({"name": "a", "managedFields": [{"manager": manager, "operation": "Update"}]}), json!({"k": "v"}))
        };
        assert_eq!(judge(&backup, &live("drctl"), &[]).action, Action::Merge);
        assert_eq!(judge(&backup, &live("kubectl"), &[]).action, Action::Conflict, "someone took the owner away");
        let waiver = Waiver::Owner("ConfigMap".to_owned(), "o".to_owned());
        assert_eq!(judge(&backup, &live("kubectl"), &[waiver]).action, Action::Same);
    }

    #[test]
    fn a_merge_adds_and_never_changes() {
        let expected = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]}, "imagePullSecrets": [{"name": "r"}],
                              "automountServiceAccountToken": false});
        let live = json!({"metadata": {"labels": {"a": "other"}, "finalizers": ["y"]}, "imagePullSecrets": [{"name": "s"}],
                          "automountServiceAccountToken": true});
        assert_eq!(
            merge_patch(&expected, &live),
            Some(json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y", "x"]},
                        "imagePullSecrets": [{"name": "s"}, {"name": "r"}]}))
        );
        assert_eq!(merge_patch(&expected, &expected), None);
    }

    #[test]
    fn the_second_request_names_the_new_owners_in_the_managed_fields_too() {
        let second = Second {
            owners: Vec::new(),
            managed_fields: vec![
                json!({"manager": "team", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:ownerReferences": {
                "k:{\"uid\":\"old\"}": {}}}}}),
            ],
        };
        let owner = json!({"kind": "ConfigMap", "name": "o", "uid": "old"});
        let patch = second_patch(&second, "me", &[(owner, "new".to_owned())]);
        assert_eq!(patch["metadata"]["uid"], json!("me"));
        assert_eq!(patch["metadata"]["ownerReferences"], json!([{"kind": "ConfigMap", "name": "o", "uid": "new"}]));
        let fields = &patch["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:ownerReferences"];
        assert_eq!(fields, &json!({"k:{\"uid\":\"new\"}": {}}));
    }

    #[test]
    fn a_job_that_runs_as_in_the_backup_is_no_conflict() {
        let job = |suspend: Value, image: &str| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"},
                "spec": {"suspend": suspend, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
        };
        let judged =
            |backed_up: &Value, live: &Value| judge(&prepared("jobs.batch", backed_up.clone()), live, &[]).action;
        for backed_up in [job(json!(false), "a:1"), job(Value::Null, "a:1")] {
            for live in [json!(false), json!(true), Value::Null] {
                assert_eq!(judged(&backed_up, &job(live.clone(), "a:1")), Action::Same, "{live}");
                assert_eq!(judged(&backed_up, &job(live.clone(), "a:2")), Action::Conflict, "{live}");
            }
        }
        let suspended = job(json!(true), "a:1");
        assert_eq!(judged(&suspended, &suspended), Action::Same);
        assert_eq!(judged(&suspended, &job(json!(false), "a:1")), Action::Conflict, "somebody had suspended it");
    }
}
