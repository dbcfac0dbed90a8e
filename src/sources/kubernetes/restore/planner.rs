//! Makes a plan: the backup is streamed once against the live objects.

use std::collections::HashSet;

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    PlanOptions, RestoreContext, RestoreError,
    adopt::{self, Adoption},
    chosen::{Chosen, split_name, streams_of},
    databases::Databases,
    excuses::{AUTOSCALED, Excuses},
    helm,
    judge::judge,
    lines::{Line, Lines},
    live::Cursor,
    orphans::{self, Orphan},
    plan::{Action, Behind, Entry, Plan, PlannedKind, PlannedPart, Reasons, ServiceName, Uid},
    report::Waiver,
    target::{Service, TargetCluster, live_uid},
    tiers::{Tier, tier_of},
    transform::{Outcome, transform},
};
use crate::{
    sources::kubernetes::{Kind, compare::GroupKind, kinds},
    types::{PartInfo, StreamInfo},
};

/// Of more namespaces than this the objects of a kind are listed at once.
pub(super) const LIST_EACH: usize = 20;
/// So few cluster-scoped objects are asked for one by one.
const ASK_EACH: u64 = 16;

/// Makes a plan. Nothing is written.
pub(super) async fn make(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    let target = TargetCluster::read(context.cluster).await?;
    let streams = streams_of(context.contents.streams(), options)?;
    let chosen = Chosen::of(context.contents.streams(), &streams, options);
    let adoption = match options.adopt_volumes {
        true => Adoption::read(context, &target, &streams, |namespace, _| chosen.takes_namespace(namespace)).await?,
        false => Adoption::default(),
    };
    let mut planner = Planner {
        context,
        chosen,
        excuses: Excuses::default(),
        plan: Plan {
            backup: options.backup.clone(),
            source: options.source.to_string(),
            target: target.identity.clone(),
            on_conflict: options.on_conflict,
            counts: Default::default(),
            kinds: Vec::new(),
            reasons: Reasons::default(),
            databases: Vec::new(),
            referenced: HashSet::new(),
            adoption,
        },
        target,
        coming: HashSet::new(),
        unlinked: Vec::new(),
        orphans: Vec::new(),
        going: HashSet::new(),
        databases: Databases::new(&options.databases),
    };
    let parts = streams.iter().map(|(_, stream)| stream.parts.iter().map(|part| part.count).sum::<u64>()).sum();
    context.monitor.phase("planning", "objects", Some(parts));
    for (number, stream) in streams {
        planner.stream(number, stream).await?;
    }
    planner.settle_unlinked().await?;
    orphans::settle(&mut planner.plan, context.cluster, &planner.target, planner.orphans).await?;
    planner.plan.recount();
    Ok(planner.plan)
}

/// Every cluster has these roles and bindings; one that a person changed in the old cluster must not
/// keep the rest from being restored into a new one.
fn is_default_rbac(kind_id: &str, live: &Value) -> bool {
    let meta = live.get("metadata").and_then(|meta| kinds::Meta::deserialize(meta).ok()).unwrap_or_default();
    kinds::is_default_rbac(kind_id, &meta)
}

struct Planner<'a> {
    context: RestoreContext<'a>,
    chosen: Chosen,
    target: TargetCluster,
    excuses: Excuses,
    plan: Plan,
    /// Namespaces that this plan creates.
    coming: HashSet<String>,
    /// Objects that an earlier run created and could not link to their owners.
    unlinked: Vec<Unlinked>,
    /// Objects that belong to one that is made again.
    orphans: Vec<Orphan>,
    /// Namespaces that were being deleted when they were backed up.
    going: HashSet<String>,
    databases: Databases,
}

struct Unlinked {
    kind: usize,
    part: usize,
    entry: usize,
    namespace: String,
    /// Those that it lacks.
    owners: Vec<Value>,
}

/// The kind and namespace that the planner is at.
struct Place<'k> {
    id: &'k str,
    service: &'k Service,
    /// `apiVersion` and `kind` of the stream's first object.
    is: (String, String),
    namespace: &'k str,
}

/// Where a stream's reading begins: its first part with an object.
struct Beginning {
    part: usize,
    lines: Lines,
    first: Line,
}

impl Planner<'_> {
    async fn stream(&mut self, number: usize, stream: &StreamInfo) -> Result<(), RestoreError> {
        let (plural, group) = split_name(&stream.name);
        let all = stream.parts.iter().enumerate();
        let wanted = |part: &PartInfo| self.chosen.part(&stream.name, &part.name) || self.adopts_some(&stream.name);
        let parts: Vec<_> = all.filter(|(_, part)| wanted(part)).collect();
        let Some(beginning) = self.beginning(stream, &parts).await? else { return Ok(()) };
        let text =
            |field: &str| beginning.first.fields().get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is = (text("apiVersion"), text("kind"));
        let service = self.target.service_of(&is.0, &is.1, group, plural);
        let served = match &service {
            Service::Served(kind) => Some(kind),
            _ => None,
        };
        let kind = match &service {
            Service::Served(kind) | Service::Promised(kind) => Some(kind.clone()),
            Service::Not(_) => None,
        };
        let cluster = self.context.cluster;
        let live_parts = parts.iter().filter(|(_, part)| self.target.namespaces.contains(&part.name)).count();
        let first = stream.parts.first();
        let wide = served.filter(|_| live_parts > LIST_EACH).zip(first);
        let mut wide = wide.map(|(kind, part)| Cursor::over(cluster, kind, None, part));
        let tier = tier_of(group, plural);
        self.plan.kinds.push(PlannedKind { stream: number, name: stream.name.clone(), tier, kind, parts: Vec::new() });
        let mut opened = Some((beginning.part, beginning.lines, beginning.first));
        for (index, part) in parts {
            let (lines, first) = match opened.take_if(|(at, ..)| *at == index) {
                Some((_, lines, first)) => (lines, Some(first)),
                None => (Lines::open(self.context.contents, stream, index).await?, None),
            };
            let mut own = self.cursor(served, part);
            let cursor = if own.is_some() && wide.is_some() { wide.as_mut() } else { own.as_mut() };
            let place = Place { id: &stream.name, service: &service, is: is.clone(), namespace: &part.name };
            let entries = self.part(&place, lines, first, cursor).await?;
            if let Some(kind) = self.plan.kinds.last_mut() {
                kind.parts.push(PlannedPart { part: index, namespace: part.name.clone(), entries });
            }
        }
        Ok(())
    }

    /// The first object tells which version of its kind a stream holds.
    async fn beginning(
        &self,
        stream: &StreamInfo,
        parts: &[(usize, &PartInfo)],
    ) -> Result<Option<Beginning>, RestoreError> {
        for (part, _) in parts {
            let mut lines = Lines::open(self.context.contents, stream, *part).await?;
            if let Some(line) = lines.next().await? {
                let first = lines.parse(&line)?;
                return Ok(Some(Beginning { part: *part, lines, first }));
            }
        }
        Ok(None)
    }

    /// How the live objects of a part are found; `None` if there can be none.
    fn cursor<'k>(&self, served: Option<&'k Kind>, part: &PartInfo) -> Option<Cursor<'k>>
    where
        Self: 'k,
    {
        let kind = served?;
        let cluster = self.context.cluster;
        if part.name.is_empty() {
            let few = part.count <= ASK_EACH;
            return Some(if few { Cursor::single(cluster, kind) } else { Cursor::over(cluster, kind, None, part) });
        }
        self.target.namespaces.contains(&part.name).then(|| Cursor::over(cluster, kind, Some(&part.name), part))
    }

    async fn part(
        &mut self,
        place: &Place<'_>,
        mut lines: Lines,
        mut first: Option<Line>,
        mut cursor: Option<&mut Cursor<'_>>,
    ) -> Result<Vec<Entry>, RestoreError> {
        let mut entries = Vec::new();
        loop {
            if self.context.cancel.is_cancelled() {
                return Err(RestoreError::Interrupted);
            }
            let line = match first.take() {
                Some(line) => line,
                None => match lines.next().await? {
                    Some(line) => lines.parse(&line)?,
                    None => return Ok(entries),
                },
            };
            let text = |pointer: &str| line.fields().pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (name, uid) = (Box::from(text("/metadata/name")), Uid::parse(text("/metadata/uid")));
            self.context.monitor.advance(1);
            if self.chosen.object(place.id, place.namespace, &name) || self.adopts(place.id, &name) {
                let services = self.services_before(place, &name, line.fields());
                let (action, reason) = match line {
                    Line::Object(object) => {
                        self.decide(place, object, &name, cursor.as_deref_mut(), entries.len()).await?
                    }
                    Line::Unreadable(_, why) => (Action::Cannot, why),
                };
                let reason = self.plan.reasons.intern(&reason);
                let first = !services.is_empty();
                if first {
                    let kind = self.plan.kinds.len().saturating_sub(1);
                    let part = self.plan.kinds.last().map_or(0, |kind| kind.parts.len());
                    let behind = Behind { kind, part, entry: entries.len(), services };
                    self.plan.databases.push(behind);
                }
                entries.push(Entry { name, uid, action, reason, first });
            }
        }
    }

    /// Whether an object is a volume that goes with a chosen claim.
    fn adopts(&self, kind_id: &str, name: &str) -> bool {
        kind_id == adopt::VOLUMES && self.plan.adoption.names(name)
    }

    fn adopts_some(&self, kind_id: &str) -> bool {
        kind_id == adopt::VOLUMES && !self.plan.adoption.is_empty()
    }

    /// The databases' Services that lead to an object, if it is a workload; a Service is looked at for it.
    fn services_before(&mut self, place: &Place<'_>, name: &str, object: &Value) -> Vec<ServiceName> {
        if place.id == "services" {
            self.databases.see_service(place.namespace, name, object);
        }
        let tier = self.plan.kinds.last().map(|kind| kind.tier);
        if tier == Some(Tier::Workloads) { self.databases.before(place.namespace, object) } else { Vec::new() }
    }

    async fn decide(
        &mut self,
        place: &Place<'_>,
        object: Value,
        name: &str,
        cursor: Option<&mut Cursor<'_>>,
        entry: usize,
    ) -> Result<(Action, String), RestoreError> {
        if let Some(why) = self.plan.adoption.refuses(place.id, place.namespace, name) {
            return Ok((Action::Cannot, why));
        }
        let prepared = match self.plan.adoption.outcome(place.id, object, |object| transform(place.id, object)) {
            Outcome::Restore(prepared) => prepared,
            Outcome::Leave(reason) => {
                if place.id == "namespaces" && reason == kinds::BEING_DELETED {
                    self.going.insert(name.to_owned());
                }
                return Ok((Action::Skip, reason.to_owned()));
            }
        };
        if self.going.contains(place.namespace) {
            return Ok((Action::Skip, "its namespace was being deleted when it was backed up".to_owned()));
        }
        if let Some(why) = self.cannot(place, &prepared.object) {
            return Ok((Action::Cannot, why));
        }
        if self.plan.adoption.frees(place.id, name) {
            return Ok((Action::Merge, adopt::FREED.to_owned()));
        }
        let kind = GroupKind::of(&prepared.object);
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.target.promise(&prepared.object);
        }
        let owners = prepared.second.owners.iter().filter_map(|owner| owner.get("uid")?.as_str());
        self.plan.referenced.extend(owners.map(Uid::parse).filter(|uid| !uid.is_none()));
        if let Some(controller) = orphans::controller_made_again(&prepared.second.owners) {
            self.orphans.push(Orphan {
                kind: self.plan.kinds.len().saturating_sub(1),
                part: self.plan.kinds.last().map_or(0, |kind| kind.parts.len()),
                entry,
                namespace: place.namespace.to_owned(),
                controller: controller.clone(),
            });
        }
        let live = match cursor {
            Some(cursor) => cursor.find(place.namespace, name).await?,
            None => None,
        };
        let Some(live) = live else {
            if kind.is("", "Namespace") {
                self.coming.insert(name.to_owned());
            }
            return Ok((Action::Create, helm::pending(&prepared.object).unwrap_or_default()));
        };
        if kind.is("", "Namespace") && !self.target.namespaces.contains(name) {
            self.coming.insert(name.to_owned());
            return Ok((Action::Create, "after the one that is being deleted is gone".to_owned()));
        }
        let mut judgement = judge(&prepared, &live, &[]);
        if judgement.action == Action::Conflict {
            let waivers =
                self.excuses.of(&self.context, &self.target, &self.plan.source, &prepared.object, &live).await?;
            if !waivers.is_empty() {
                judgement = judge(&prepared, &live, &waivers);
            }
            if judgement.action == Action::Same && waivers.contains(&Waiver::Replicas) {
                judgement.reason = AUTOSCALED.to_owned();
            }
        }
        if judgement.action == Action::Conflict && is_default_rbac(place.id, &live) {
            judgement.action = Action::Cannot;
            judgement.reason =
                format!("the cluster has its own as its API server made it, and keeps it: {}", judgement.reason);
        }
        let owners = lacking_owners(prepared.second.owners, &live);
        if judgement.action == Action::Merge && !owners.is_empty() {
            self.unlinked.push(Unlinked {
                kind: self.plan.kinds.len().saturating_sub(1),
                part: self.plan.kinds.last().map_or(0, |kind| kind.parts.len()),
                entry,
                namespace: place.namespace.to_owned(),
                owners,
            });
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
        (!known).then(|| format!("namespace {namespace} is neither in the cluster nor in the backup; create it first"))
    }

    /// An object whose owners are neither in the backup nor live has nothing to be linked to.
    async fn settle_unlinked(&mut self) -> Result<(), RestoreError> {
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

/// The owners that are there when the plan is done, by their uids in the backup. What a rule leaves
/// out, or what cannot be restored, is no owner, unless something of its name is live.
fn owners_to_be(plan: &Plan) -> HashSet<Uid> {
    let entries = plan.kinds.iter().flat_map(|kind| kind.parts.iter().flat_map(|part| &part.entries));
    let there = entries.filter(|entry| matches!(entry.action, Action::Create | Action::Merge | Action::Same));
    there.map(|entry| entry.uid).filter(|uid| plan.referenced.contains(uid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kubernetes::restore::{OnConflict, Target, Tier};

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
        };
        let entries: Vec<Entry> = Action::ALL.iter().enumerate().map(entry).collect();
        let there = |entry: &&Entry| matches!(entry.action, Action::Create | Action::Merge | Action::Same);
        let expected: HashSet<Uid> = entries.iter().filter(there).map(|entry| entry.uid).collect();
        let part = PlannedPart { part: 0, namespace: "n".to_owned(), entries };
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
            adoption: Adoption::default(),
        };
        assert_eq!((owners_to_be(&plan), expected.len()), (expected, 3));
        plan.referenced.clear();
        assert!(owners_to_be(&plan).is_empty(), "nobody names them");
    }
}
