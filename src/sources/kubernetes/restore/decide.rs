//! What a plan does with one object, and why.

use std::collections::HashSet;

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    RestoreError, adopt, conflicts,
    excuses::AUTOSCALED,
    helm,
    judge::judge,
    live::Cursor,
    orphans::{self, Orphan},
    plan::{Action, OnConflict, Plan, Seen, Uid},
    planner::Planner,
    report::{ObjectName, Waiver},
    seen::Mark,
    target::{Service, live_uid},
    terminating::held_by,
    transform::{Outcome, Prepared},
    versions,
};
use crate::sources::kubernetes::{compare::GroupKind, kinds};

/// A live object that is equal and has owners.
pub(super) struct Child {
    pub(super) kind: usize,
    pub(super) part: usize,
    pub(super) entry: usize,
    pub(super) owners: Vec<Uid>,
}

/// What is done with an object, why, and what was seen of it.
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) reason: String,
    pub(super) seen: Seen,
}

impl Decision {
    pub(super) fn new(action: Action, reason: impl Into<String>) -> Self {
        Self { action, reason: reason.into(), seen: Seen::default() }
    }
}

/// An object that an earlier run created and could not link to its owners.
pub(super) struct Unlinked {
    pub(super) kind: usize,
    pub(super) part: usize,
    pub(super) entry: usize,
    pub(super) namespace: String,
    /// Those that it lacks.
    pub(super) owners: Vec<Value>,
}

/// The kind and namespace that the planner is at.
pub(super) struct Place<'k> {
    pub(super) id: &'k str,
    pub(super) service: &'k Service,
    /// `apiVersion` and `kind` of the stream's first object.
    pub(super) is: (String, String),
    /// Where its objects are restored.
    pub(super) namespace: &'k str,
    /// Where they are in the backup.
    pub(super) origin: &'k str,
}

/// Every cluster has these roles and bindings; one that a person changed in the old cluster must not
/// keep the rest from being restored into a new one.
fn is_default_rbac(kind_id: &str, live: &Value) -> bool {
    let meta = live.get("metadata").and_then(|meta| kinds::Meta::deserialize(meta).ok()).unwrap_or_default();
    kinds::is_default_rbac(kind_id, &meta)
}

impl Planner<'_> {
    pub(super) async fn decide(
        &mut self,
        place: &Place<'_>,
        mut object: Value,
        name: &str,
        cursor: Option<&mut Cursor<'_>>,
        entry: usize,
    ) -> Result<Decision, RestoreError> {
        if let Some(why) = self.plan.adoption.refuses(place.id, place.namespace, name) {
            return Ok(Decision::new(Action::Cannot, why));
        }
        if let Some(kind) = place.service.kind()
            && let Err(why) = versions::adapt(&mut object, kind)
        {
            return Ok(Decision::new(Action::Cannot, why));
        }
        let prepared = match self.plan.prepare(place.id, None, object)? {
            Outcome::Restore(prepared) => prepared,
            Outcome::Leave(reason) => {
                if place.id == "namespaces" && reason == kinds::BEING_DELETED {
                    self.going.insert(name.to_owned());
                }
                return Ok(Decision::new(Action::Skip, reason));
            }
        };
        self.plan.asked.used.extend(prepared.used.iter().copied());
        if self.going.contains(place.namespace) {
            return Ok(Decision::new(Action::Skip, "its namespace was being deleted when it was backed up"));
        }
        if let Some(why) = self.cannot(place, &prepared.object) {
            return Ok(Decision::new(Action::Cannot, why));
        }
        self.note(place, &prepared, entry);
        let (kind, namespace) = (place.id.to_owned(), place.namespace.to_owned());
        let full_name = ObjectName { kind, namespace, name: name.to_owned() };
        self.partial.see(&mut self.plan, &full_name, place.origin, &prepared);
        let live = match cursor {
            Some(cursor) => cursor.find(place.namespace, name).await?,
            None => None,
        };
        let (action, reason) = match &live {
            _ if self.plan.adoption.frees(place.id, name) => (Action::Merge, adopt::FREED.to_owned()),
            Some(live) => self.against_live(place, &prepared, live, entry).await?,
            None => (Action::Create, helm::pending(&prepared.object).unwrap_or_default()),
        };
        self.promise(&prepared, action, entry);
        let mut reason = reason;
        if action == Action::Create && place.id == "namespaces" {
            let is_first = self.coming.insert(name.to_owned());
            if !is_first && !self.plan.mapping().is_empty() {
                reason = "another namespace becomes it too: of labels and annotations that differ the first one's stay"
                    .to_owned();
            }
        }
        if action == Action::Create {
            self.quotas.see(place.namespace, place.id, &prepared.object);
        }
        let seen = if self.remember {
            let live = live.as_ref().map(Mark::of_live).unwrap_or_default();
            Seen { wanted: Mark::of(&prepared.expected()), live }
        } else {
            Seen::default()
        };
        Ok(Decision { action, reason, seen })
    }

    /// What a definition of the backup will serve, if the cluster's is as it is when the plan is done: one that is live
    /// and different, and left so, serves what it serves now.
    fn promise(&mut self, prepared: &Prepared, action: Action, entry: usize) {
        let (kind, part) = self.at();
        let is_left = action == Action::Update && self.partial.is_support((kind, part, entry));
        let is_definition = GroupKind::of(&prepared.object).is("apiextensions.k8s.io", "CustomResourceDefinition");
        if is_definition && action.is_there_after() && !is_left {
            self.target.promise(&prepared.object);
        }
    }

    /// What others of the plan have to know of an object.
    fn note(&mut self, place: &Place<'_>, prepared: &Prepared, entry: usize) {
        self.platform.see(&prepared.object);
        let owners = prepared.second.owners.iter().filter_map(|owner| owner.get("uid")?.as_str());
        self.plan.referenced.extend(owners.map(Uid::parse).filter(|uid| !uid.is_none()));
        if let Some(controller) = orphans::controller_made_again(&prepared.second.owners) {
            let (kind, part) = self.at();
            self.orphans.push(Orphan {
                kind,
                part,
                entry,
                namespace: place.namespace.to_owned(),
                controller: controller.clone(),
            });
        }
    }

    /// The places of the kind and the part that are being planned.
    pub(super) fn at(&self) -> (usize, usize) {
        let kind = self.plan.kinds.len().saturating_sub(1);
        (kind, self.plan.kinds.last().map_or(0, |kind| kind.parts.len()))
    }

    /// What is done about an object that is there.
    async fn against_live(
        &mut self,
        place: &Place<'_>,
        prepared: &Prepared,
        live: &Value,
        entry: usize,
    ) -> Result<(Action, String), RestoreError> {
        if place.id == "namespaces" && conflicts::is_going(live) {
            return Ok((Action::Create, format!("after the one that is being deleted is gone{}", held_by(live))));
        }
        let mut judgement = judge(prepared, live, &[]);
        let mut autoscaled = false;
        if judgement.action == Action::Conflict {
            let waivers =
                self.excuses.of(&self.context, &self.target, &self.plan.source, &prepared.object, live).await?;
            if !waivers.is_empty() {
                judgement = judge(prepared, live, &waivers);
            }
            autoscaled = waivers.contains(&Waiver::Replicas);
            if judgement.action == Action::Same && autoscaled {
                judgement.reason = AUTOSCALED.to_owned();
            }
        }
        if judgement.action == Action::Conflict {
            if is_default_rbac(place.id, live) {
                let reason = judgement.reason;
                return Ok((
                    Action::Cannot,
                    format!("the cluster has its own as its API server made it, and keeps it: {reason}"),
                ));
            }
            let shared = place.namespace.is_empty() && !self.plan.asked.recipe.mapping.is_empty();
            let settled = conflicts::settle(self.plan.on_conflict, prepared, live, judgement, shared);
            if settled.0 != Action::Conflict {
                let (kind, part) = self.at();
                self.plan.agreed.insert((kind, part, entry), Mark::of_agreed(live, autoscaled));
            }
            return Ok(settled);
        }
        let (kind, part) = self.at();
        let owners = lacking_owners(prepared.second.owners.clone(), live);
        if judgement.action == Action::Merge && !owners.is_empty() {
            self.unlinked.push(Unlinked { kind, part, entry, namespace: place.namespace.to_owned(), owners });
        } else if judgement.action == Action::Same
            && self.plan.on_conflict == OnConflict::Replace
            && !prepared.second.owners.is_empty()
        {
            let owners = prepared.second.owners.iter().filter_map(|owner| owner.get("uid")?.as_str());
            self.children.push(Child { kind, part, entry, owners: owners.map(Uid::parse).collect() });
        }
        Ok((judgement.action, judgement.reason))
    }

    /// Why the cluster cannot take an object, as far as can be known before.
    fn cannot(&self, place: &Place<'_>, object: &Value) -> Option<String> {
        if let Service::Not(why) = place.service {
            return Some(why.clone());
        }
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        if (text("apiVersion"), text("kind")) != (place.is.0.as_str(), place.is.1.as_str()) {
            return Some(format!(
                "it is a {} {} among {} {}",
                text("apiVersion"),
                text("kind"),
                place.is.0,
                place.is.1
            ));
        }
        let namespace = place.namespace;
        let known =
            namespace.is_empty() || self.target.namespaces.contains(namespace) || self.coming.contains(namespace);
        (!known).then(|| match self.target.terminating.get(namespace) {
            Some(held) => format!(
                "namespace {namespace} is being deleted{held}, and the backup does not hold it; create it first"
            ),
            None => format!("namespace {namespace} is neither in the cluster nor in the backup; create it first"),
        })
    }

    /// An object whose owners are neither in the backup nor live has nothing to be linked to.
    pub(super) async fn settle_unlinked(&mut self) -> Result<(), RestoreError> {
        let known = owners_to_be(&self.plan);
        for unlinked in std::mem::take(&mut self.unlinked) {
            let mut linkable = false;
            for owner in &unlinked.owners {
                let uid = Uid::parse(owner.get("uid").and_then(Value::as_str).unwrap_or_default());
                linkable |= known.contains(&uid)
                    || live_uid(self.context.cluster, &self.target, owner, &unlinked.namespace).await?.is_some();
            }
            let part = self.plan.kinds.get_mut(unlinked.kind).and_then(|kind| kind.parts.get_mut(unlinked.part));
            if !linkable && let Some(entry) = part.and_then(|part| part.entries.get_mut(unlinked.entry)) {
                entry.action = Action::Same;
                entry.reason = self.plan.reasons.intern("its owner is neither in the cluster nor in the backup");
            }
        }
        Ok(())
    }
}

/// The owners that a live object lacks.
fn lacking_owners(owners: Vec<Value>, live: &Value) -> Vec<Value> {
    let there = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let there = there.map(Vec::as_slice).unwrap_or_default();
    let is_there = |owner: &Value| {
        there.iter().any(|other| ["kind", "name"].iter().all(|field| other.get(field) == owner.get(field)))
    };
    owners.into_iter().filter(|owner| !is_there(owner)).collect()
}

/// What belongs to an object that is replaced loses that owner with it, and is linked to the new one.
pub(super) fn link_to_replaced(plan: &mut Plan, children: Vec<Child>) {
    let entries = plan.kinds.iter().flat_map(|kind| &kind.parts).flat_map(|part| &part.entries);
    let replaced: HashSet<Uid> =
        entries.filter(|entry| entry.action == Action::Replace).map(|entry| entry.uid).collect();
    let reason = plan.reasons.intern("its owner is replaced, and it is linked to the new one");
    for child in children.iter().filter(|child| child.owners.iter().any(|owner| replaced.contains(owner))) {
        let part = plan.kinds.get_mut(child.kind).and_then(|kind| kind.parts.get_mut(child.part));
        if let Some(entry) = part.and_then(|part| part.entries.get_mut(child.entry)) {
            (entry.action, entry.reason) = (Action::Merge, reason);
        }
    }
}

/// The owners that are there when the plan is done, by their uids in the backup. What a rule leaves
/// out, or what cannot be restored, is no owner, unless something of its name is live.
fn owners_to_be(plan: &Plan) -> HashSet<Uid> {
    let entries = plan.kinds.iter().flat_map(|kind| kind.parts.iter().flat_map(|part| &part.entries));
    let there = entries.filter(|entry| entry.action.is_there_after());
    there.map(|entry| entry.uid).filter(|uid| plan.referenced.contains(uid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kubernetes::restore::{
        OnConflict, Target, Tier,
        plan::{Answer, Entry, PlannedKind, PlannedPart, Reasons},
    };

    #[test]
    fn an_owner_that_is_linked_already_needs_no_second_request() {
        let owner = |name: &str, uid: &str| serde_json::json!({"kind": "ConfigMap", "name": name, "uid": uid});
        let live = serde_json::json!({"metadata": {"ownerReferences": [owner("here", "new")]}});
        let lacking = lacking_owners(vec![owner("here", "old"), owner("gone", "old")], &live);
        assert_eq!(lacking, [owner("gone", "old")]);
        assert_eq!(lacking_owners(lacking.clone(), &Value::Null), lacking);
    }

    #[test]
    fn what_is_not_restored_is_no_owner() {
        let uid = |number: usize| Uid::parse(&format!("6f5f6e7a-0000-4000-8000-{number:012}"));
        let entry = |(number, action): (usize, &Action)| Entry {
            name: format!("o{number}").into(),
            uid: uid(number),
            action: *action,
            first: false,
            reason: Default::default(),
            answer: Answer::None,
            words: Default::default(),
        };
        let entries: Vec<Entry> = Action::ALL.iter().enumerate().map(entry).collect();
        let there = |entry: &&Entry| !matches!(entry.action, Action::Conflict | Action::Skip | Action::Cannot);
        let expected: HashSet<Uid> = entries.iter().filter(there).map(|entry| entry.uid).collect();
        let part = PlannedPart { part: 0, namespace: "n".to_owned(), platform: false, entries, seen: Vec::new() };
        let name = "configmaps".to_owned();
        let kind = PlannedKind { stream: 0, name, tier: Tier::Configuration, kind: None, parts: vec![part] };
        let mut plan = Plan {
            backup: String::new(),
            source: String::new(),
            target: Target { uid: String::new(), name: String::new(), version: String::new() },
            on_conflict: OnConflict::Fail,
            counts: Default::default(),
            kinds: vec![kind],
            reasons: Reasons::default(),
            databases: Vec::new(),
            referenced: (0..Action::ALL.len()).map(uid).collect(),
            adoption: Default::default(),
            asked: Default::default(),
            warnings: Vec::new(),
            agreed: Default::default(),
            needed_first: Default::default(),
        };
        assert_eq!((owners_to_be(&plan), expected.len()), (expected, 5));
        plan.referenced.clear();
        assert!(owners_to_be(&plan).is_empty(), "nobody names them");
    }
}
