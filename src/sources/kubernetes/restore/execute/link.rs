//! The second request: owners and managed fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    course::{Course, text},
    object::End,
    owners::Owner,
};
use crate::sources::kubernetes::restore::{
    judge::{has_apply_entries, second_patch},
    plan::Uid,
    report::Waiver,
};

impl Course<'_, '_> {
    /// The second request: owners and managed fields, or a note that it has to wait.
    pub(super) async fn link(&mut self, uid: Uid) {
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for reference in self.done.prepared.second.owners.clone() {
            let owner =
                self.worker.owners.find(self.worker.context.cluster, &self.worker.target, &reference, self.namespace);
            match owner.await {
                Ok(Owner::Is(new)) => found.push((reference, new.to_string())),
                Ok(Owner::Later) => {
                    self.done.deferred = Some(uid);
                    return;
                }
                Ok(Owner::Gone) => gone.push(reference),
                Err(error) => {
                    self.done.end = End::Failed(format!("created, but its owner cannot be looked up: {error}"));
                    return;
                }
            }
        }
        // Only now: an object that has to wait for an owner comes here again.
        gone.iter().for_each(|reference| self.drop_owner(reference));
        if found.is_empty() && self.done.prepared.second.managed_fields.is_empty() {
            return;
        }
        if !found.is_empty() {
            found.extend(std::mem::take(&mut self.kept_owners).into_iter().map(|owner| {
                let uid = text(&owner, "/uid").to_owned();
                (owner, uid)
            }));
        }
        let patch = second_patch(&self.done.prepared.second, &uid.to_string(), &found);
        // Sent twice, it would take away what the server notes of its first time: that drctl set the owners.
        let second = self.done.prepared.second.clone();
        let is_done = |live: &Value| has_owners(live, &patch) && has_apply_entries(&second, live);
        match self.patch_once(&patch, is_done).await {
            Ok(live) => {
                if !has_apply_entries(&self.done.prepared.second, &live) {
                    self.done.notes.push("the server did not take its managed fields back".to_owned());
                }
            }
            Err(End::Failed(why)) => {
                self.done.end =
                    End::Failed(format!("created, but its owners or managed fields could not be put back: {why}"));
            }
            Err(_) => {
                let why =
                    "created, but stopped before its owners or managed fields were put back; run the restore again";
                self.done.end = End::Failed(why.to_owned());
            }
        }
    }

    fn drop_owner(&mut self, reference: &Value) {
        let (kind, name) = (text(reference, "/kind").to_owned(), text(reference, "/name").to_owned());
        self.done.notes.push(format!("its owner {kind} {name} is not there; without it the object would be deleted as garbage, so it has no owner now"));
        self.done.waivers.push(Waiver::Owner(kind, name));
    }
}

/// Whether a live object has just the owners that `patch` gives it.
fn has_owners(live: &Value, patch: &Value) -> bool {
    let uids = |object: &Value| -> BTreeSet<String> {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().map(|owner| text(owner, "/uid").to_owned()).collect()
    };
    patch.pointer("/metadata/ownerReferences").is_none() || uids(live) == uids(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_has_its_owners_if_they_are_those_and_no_others() {
        let with = |uids: &[&str]| {
            let owners: Vec<Value> = uids.iter().map(|uid| json!({"uid": uid})).collect();
            json!({"metadata": {"ownerReferences": owners}})
        };
        assert!(has_owners(&with(&["b", "a"]), &with(&["a", "b"])));
        assert!(!has_owners(&with(&["a"]), &with(&["a", "b"])) && !has_owners(&json!({}), &with(&["a"])));
        assert!(!has_owners(&with(&["a", "b"]), &with(&["a"])));
        assert!(has_owners(&with(&["a"]), &json!({"metadata": {}})), "the patch says nothing of owners");
    }
}
