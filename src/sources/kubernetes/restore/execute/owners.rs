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
    /// Old uid → new uid; `None`: it is gone.
    new: HashMap<Uid, Option<Uid>>,
}

impl Owners {
    pub(super) fn of(plan: &Plan) -> Self {
        let parts = plan.kinds.iter().flat_map(|kind| &kind.parts);
        let created = parts.flat_map(|part| &part.entries).filter(|entry| entry.action == Action::Create);
        let pending = created.map(|entry| entry.uid).filter(|uid| plan.referenced.contains(uid)).collect();
        Self { known: Mutex::new(Known { pending, new: HashMap::new() }) }
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
            known.new.insert(old, Some(new));
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
        {
            let known = self.known();
            if let Some(new) = known.new.get(&old) {
                return Ok(new.map_or(Owner::Gone, Owner::Is));
            }
            if known.pending.contains(&old) {
                return Ok(Owner::Later);
            }
        }
        let live = live_uid(cluster, target, reference, namespace).await?.map(|uid| Uid::parse(&uid));
        if !old.is_none() {
            self.known().new.insert(old, live);
        }
        Ok(live.map_or(Owner::Gone, Owner::Is))
    }
}

/// The uid that an owner reference of the backup has.
pub(super) fn uid_of(reference: &Value) -> Uid {
    Uid::parse(reference.get("uid").and_then(Value::as_str).unwrap_or_default())
}
