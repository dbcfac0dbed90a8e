//! Owners' new uids, as far as anything needs them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::sources::kubernetes::{
    Cluster,
    restore::{
        RestoreError,
        plan::{Action, Plan, Uid},
        target::{TargetCluster, live_uid},
    },
};

/// What is known of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there, with this uid.
    Is(Uid),
    /// Its turn comes later.
    Later,
    /// It is not there, and will not be.
    Gone,
}

/// The owners that objects of the plan name. It holds nothing of objects that own nothing.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Owners whose turn has not come.
    pending: HashSet<Uid>,
    /// Old uid → new uid, of objects of the plan.
    new: HashMap<Uid, Uid>,
    /// Old uid and namespace → uid of the live object that has the owner's kind and name there. What
    /// is not there is looked for each time: a controller may make it meanwhile.
    live: HashMap<(Uid, Box<str>), Uid>,
}

impl Owners {
    pub(super) fn of(plan: &Plan) -> Self {
        let parts = plan.kinds.iter().flat_map(|kind| &kind.parts);
        let is_new = |action| matches!(action, Action::Create | Action::Replace);
        let created = parts.flat_map(|part| &part.entries).filter(|entry| is_new(entry.action));
        let pending = created.map(|entry| entry.uid).filter(|uid| plan.referenced.contains(uid)).collect();
        Self { known: Mutex::new(Known { pending, ..Known::default() }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object of the backup is there now, or could not be made.
    pub(super) fn settle(&self, old: Uid, new: Option<Uid>) {
        let mut known = self.known();
        if known.pending.remove(&old)
            && let Some(new) = new
        {
            known.new.insert(old, new);
        }
    }

    /// Whether none of these is still to come.
    pub(super) fn are_settled(&self, owners: &[Uid]) -> bool {
        let known = self.known();
        !owners.iter().any(|uid| known.pending.contains(uid))
    }

    /// What is known of the owner that `reference` names.
    pub(super) async fn find(
        &self,
        cluster: &Cluster,
        target: &TargetCluster,
        reference: &Value,
        namespace: &str,
    ) -> Result<Owner, RestoreError> {
        let old = uid_of(reference);
        if let Some(owner) = self.recall(old, namespace) {
            return Ok(owner);
        }
        let live = live_uid(cluster, target, reference, namespace).await?.map(|uid| Uid::parse(&uid));
        self.remember(old, namespace, live);
        Ok(live.map_or(Owner::Gone, Owner::Is))
    }

    /// What is known without a look at the cluster.
    fn recall(&self, old: Uid, namespace: &str) -> Option<Owner> {
        let known = self.known();
        if known.pending.contains(&old) {
            return Some(Owner::Later);
        }
        let new = known.new.get(&old).or_else(|| known.live.get(&(old, namespace.into())));
        new.copied().map(Owner::Is)
    }

    fn remember(&self, old: Uid, namespace: &str, live: Option<Uid>) {
        if let Some(live) = live.filter(|_| !old.is_none()) {
            self.known().live.insert((old, namespace.into()), live);
        }
    }
}

/// The uid that an owner reference of the backup has.
pub(super) fn uid_of(reference: &Value) -> Uid {
    Uid::parse(reference.get("uid").and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_was_found_is_remembered_for_its_namespace_and_one_that_was_not_is_looked_for_again() {
        let owners = Owners::default();
        let old = Uid::parse("6f5f6e7a-0000-4000-8000-000000000001");
        let live = Uid::parse("6f5f6e7a-0000-4000-8000-000000000002");
        owners.remember(old, "a", None);
        assert_eq!(owners.recall(old, "a"), None, "it may be there the next time");
        owners.remember(old, "a", Some(live));
        assert_eq!(owners.recall(old, "a"), Some(Owner::Is(live)));
        assert_eq!(owners.recall(old, "b"), None, "what has its name in another namespace is another object");
        owners.remember(Uid::default(), "a", Some(live));
        assert_eq!(owners.recall(Uid::default(), "a"), None, "without a uid there is nothing to know it by");
    }
}
