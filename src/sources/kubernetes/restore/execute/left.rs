//! What runs for an object that is replaced, where the new one would not take it over.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    course::{Course, text},
    object::End,
};
use crate::{
    sources::kubernetes::{Error, Kind, compare::GroupKind, restore::live::LiveList},
    types::counted,
};

/// One object that the live one made.
pub(super) struct Left {
    kind: Kind,
    name: String,
    uid: String,
}

/// What makes the Pods of a workload, in the order in which it goes: what makes Pods first, lest it makes them again.
fn made_by(kind: GroupKind<'_>) -> &'static [(&'static str, &'static str)] {
    match kind.kind {
        "Deployment" => &[("apps/v1", "ReplicaSet"), ("v1", "Pod")],
        "DaemonSet" | "StatefulSet" => &[("apps/v1", "ControllerRevision"), ("v1", "Pod")],
        _ => &[("v1", "Pod")],
    }
}

impl Course<'_, '_> {
    /// The Pods of the live object, and what stands between. Claims are not among them: they stay in any case.
    pub(super) async fn belongings(&self, live: &Value) -> Result<Vec<Left>, Error> {
        let mut owners: HashSet<String> = [text(live, "/metadata/uid").to_owned()].into();
        let mut left = Vec::new();
        for (api_version, name) in made_by(GroupKind::of(live)) {
            let Some(kind) = self.worker.target.kind_of(api_version, name) else { continue };
            let mut list = LiveList::new(self.worker.context.cluster, kind, Some(self.namespace));
            while let Some(item) = list.next().await? {
                let object = item.parse(kind)?;
                if !is_controlled_by(&object, &owners) {
                    continue;
                }
                let uid = text(&object, "/metadata/uid").to_owned();
                if *name == "ReplicaSet" {
                    owners.insert(uid.clone());
                }
                left.push(Left { kind: kind.clone(), name: text(&object, "/metadata/name").to_owned(), uid });
            }
        }
        Ok(left)
    }

    /// Deletes what the one from before made. Says what could not be deleted: it runs beside the new one's, and nobody
    /// counts it.
    pub(super) async fn sweep(&mut self, left: Vec<Left>) -> Option<String> {
        let mut failed: Vec<String> = Vec::new();
        for it in left {
            if let Err(end) = self.delete_one(&it.kind, &it.name, &it.uid).await {
                let why = match end {
                    End::Failed(why) => why,
                    _ => "stopped".to_owned(),
                };
                failed.push(format!("{} {} ({why})", it.kind.id(), it.name));
            }
        }
        still_there(&failed)
    }
}

fn still_there(failed: &[String]) -> Option<String> {
    let first = failed.first()?;
    Some(format!(
        "it was replaced, but {} of the one from before could not be deleted and run beside it, the first: {first}; \
         delete them by hand",
        counted(failed.len() as u64, "object")
    ))
}

fn is_controlled_by(object: &Value, owners: &HashSet<String>) -> bool {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references
        .into_iter()
        .flatten()
        .any(|owner| owner.get("controller") == Some(&Value::Bool(true)) && owners.contains(text(owner, "/uid")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_controls_is_not_among_the_belongings() {
        let owned = |uid: &str, controller: bool| json!({"metadata": {"ownerReferences": [{"uid": uid, "controller": controller}]}});
        let owners: HashSet<String> = ["u".to_owned()].into();
        assert!(is_controlled_by(&owned("u", true), &owners));
        assert!(!is_controlled_by(&owned("u", false), &owners) && !is_controlled_by(&owned("v", true), &owners));
        assert!(!is_controlled_by(&json!({}), &owners));
    }

    #[test]
    fn what_runs_on_beside_the_new_one_is_no_success() {
        assert_eq!(still_there(&[]), None);
        let why = still_there(&["pods db-0 (forbidden)".to_owned()]).unwrap();
        assert!(why.contains("but 1 object of") && why.contains("the first: pods db-0 (forbidden);"), "{why}");
    }

    #[test]
    fn what_makes_pods_goes_before_them() {
        let of = |kind| made_by(GroupKind { group: "apps", kind }).iter().map(|(_, name)| *name).collect::<Vec<_>>();
        assert_eq!(of("Deployment"), ["ReplicaSet", "Pod"]);
        assert_eq!(of("StatefulSet").last(), Some(&"Pod"));
        assert_eq!(made_by(GroupKind { group: "batch", kind: "Job" }), [("v1", "Pod")]);
    }
}
