//! What belongs to an object that a controller makes again. Its owner comes back with another uid, or
//! under another name, so that a restored one would belong to nobody: the claim of an ephemeral
//! volume would keep its Pod from starting.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    RestoreError,
    plan::{Action, Plan, Uid},
    target::{TargetCluster, live_uid},
};
use crate::sources::kubernetes::{Cluster, kinds};

/// An object of a plan that such an owner controls.
pub(super) struct Orphan {
    pub(super) kind: usize,
    pub(super) part: usize,
    pub(super) entry: usize,
    pub(super) namespace: String,
    pub(super) controller: Value,
}

/// The owner that manages the object, if it is of a kind that controllers make again.
pub(super) fn controller_made_again(owners: &[Value]) -> Option<&Value> {
    let controller = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let group = text(controller, "apiVersion").split_once('/').map_or("", |(group, _)| group);
    kinds::MADE_AGAIN_OWNERS.contains(&(group, text(controller, "kind"))).then_some(controller)
}

/// Leaves out each whose owner is neither restored by the plan nor live as it was.
pub(super) async fn settle(
    plan: &mut Plan,
    cluster: &Cluster,
    target: &TargetCluster,
    orphans: Vec<Orphan>,
) -> Result<(), RestoreError> {
    let entries = plan.kinds.iter().flat_map(|kind| kind.parts.iter().flat_map(|part| &part.entries));
    let restored = entries.filter(|entry| entry.action != Action::Skip).map(|entry| entry.uid);
    let restored: HashSet<Uid> = restored.filter(|uid| plan.referenced.contains(uid)).collect();
    for orphan in orphans {
        let uid = text(&orphan.controller, "uid");
        if restored.contains(&Uid::parse(uid))
            || live_uid(cluster, target, &orphan.controller, &orphan.namespace).await?.as_deref() == Some(uid)
        {
            continue;
        }
        let reason = plan.reasons.intern(&reason(&orphan.controller));
        let part = plan.kinds.get_mut(orphan.kind).and_then(|kind| kind.parts.get_mut(orphan.part));
        if let Some(entry) = part.and_then(|part| part.entries.get_mut(orphan.entry)) {
            entry.action = Action::Skip;
            entry.reason = reason;
        }
    }
    Ok(())
}

fn reason(controller: &Value) -> String {
    format!(
        "it belongs to a {} that is not restored but made again, and is made again for it",
        text(controller, "kind")
    )
}

fn text<'a>(owner: &'a Value, field: &str) -> &'a str {
    owner.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_controller_counts_and_only_of_a_kind_that_is_made_again() {
        let owner = |api: &str, kind: &str, controller: bool| json!({"apiVersion": api, "kind": kind, "name": "o", "controller": controller});
        for (api, kind, controller, expected) in [
            ("v1", "Pod", true, true),
            ("apps/v1", "ReplicaSet", true, true),
            ("batch/v1", "Job", true, true),
            ("v1", "Pod", false, false),
            ("apps/v1", "Deployment", true, false),
            ("apps/v1", "StatefulSet", true, false),
            ("example.org/v1", "Pod", true, false),
        ] {
            let owners = [owner("v1", "ConfigMap", false), owner(api, kind, controller)];
            assert_eq!(controller_made_again(&owners).is_some(), expected, "{api} {kind} {controller}");
        }
        assert_eq!(controller_made_again(&[]), None);
    }
}
