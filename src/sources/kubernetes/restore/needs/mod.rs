//! What the chosen objects name that will not be there: a part of a backup may need another part.

mod keys;
mod refers;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use self::{
    keys::Sealed,
    refers::{Needed, references},
};
use super::{
    RestoreContext, RestoreError,
    choice::NAMESPACES,
    lines::Lines,
    live::get,
    plan::{Action, Plan},
    recipe::Mapping,
    report::ObjectName,
    target::TargetCluster,
};
use crate::types::StreamInfo;

const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
/// So many are looked for at once.
const AT_ONCE: usize = 16;

/// Something that a chosen object needs and that is neither in the cluster nor restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingReference {
    /// What is needed.
    #[serde(flatten)]
    pub object: ObjectName,
    /// One of the objects that need it.
    pub needed_by: ObjectName,
    /// How many others need it, too.
    pub others: u64,
    /// The backup holds it: it is not chosen.
    pub in_backup: bool,
    /// Why it is missing.
    pub reason: String,
}

/// What is needed, while a plan is made.
#[derive(Debug, Default)]
pub(super) struct Needs {
    wanted: BTreeMap<Need, (ObjectName, u64)>,
    sealed: Sealed,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    is: Needed,
    /// Empty: cluster-scoped.
    namespace: String,
    /// The namespace in the backup.
    origin: String,
    name: String,
}

impl Needs {
    /// Takes note of what `object` needs, which is restored under `name` and was in `origin` in the backup.
    pub(super) fn see(&mut self, name: &ObjectName, origin: &str, object: &Value) {
        self.sealed.see(name, object);
        for (is, needed) in references(object) {
            let inside = |namespace: &str| if is.3 { namespace.to_owned() } else { String::new() };
            let need = Need { is, namespace: inside(&name.namespace), origin: inside(origin), name: needed };
            self.wanted.entry(need).and_modify(|(_, others)| *others += 1).or_insert_with(|| (name.clone(), 0));
        }
    }

    /// What of it is neither restored by `plan` nor live.
    pub(super) async fn settle(
        mut self,
        context: RestoreContext<'_>,
        target: &TargetCluster,
        plan: &Plan,
        mapping: &Mapping,
    ) -> Result<Vec<MissingReference>, RestoreError> {
        self.take_out_planned(plan);
        let keys = self.sealed.settle(context, target, plan).await?;
        let absent = stream::iter(self.wanted).map(|(need, by)| async move {
            let is_live = is_live(context, target, &need).await?;
            Ok::<_, RestoreError>((!is_live).then_some((need, by)))
        });
        let absent: Vec<_> = absent.buffered(AT_ONCE).try_filter_map(|it| async move { Ok(it) }).try_collect().await?;
        let held = held(context, plan, absent.iter().map(|(need, _)| need)).await?;
        let missing = absent.into_iter().map(|(need, (needed_by, others))| {
            let in_backup = held.contains(&need);
            let reason = match in_backup {
                true => "the backup holds it, and it is not chosen",
                false => "it is neither in the cluster nor in the backup",
            };
            let object = ObjectName { kind: need.is.0.to_owned(), namespace: need.namespace, name: need.name };
            MissingReference { object, needed_by, others, in_backup, reason: reason.to_owned() }
        });
        let mut missing: Vec<MissingReference> = missing.collect();
        missing.extend(keys);
        if !mapping.is_empty() {
            missing.extend(unmapped_bindings(context, plan, mapping).await?);
        }
        Ok(missing)
    }

    fn take_out_planned(&mut self, plan: &Plan) {
        let there = [Action::Create, Action::Merge, Action::Same, Action::Conflict];
        let planned: BTreeSet<(&str, &str, &str)> = plan
            .objects()
            .filter(|object| there.contains(&object.action))
            .map(|object| (object.kind, object.namespace, object.name))
            .collect();
        self.wanted.retain(|need, _| !planned.contains(&(need.is.0, need.namespace.as_str(), need.name.as_str())));
    }
}

async fn is_live(context: RestoreContext<'_>, target: &TargetCluster, need: &Need) -> Result<bool, RestoreError> {
    let (_, api_version, kind, namespaced) = need.is;
    let Some(kind) = target.kind_of(api_version, kind) else { return Ok(false) };
    if namespaced && !target.namespaces.contains(&need.namespace) {
        return Ok(false);
    }
    Ok(get(context.cluster, kind, &need.namespace, &need.name).await?.is_some())
}

fn stream_of<'s>(context: RestoreContext<'s>, plan: &Plan, kind: &str) -> Option<&'s StreamInfo> {
    let mut streams = context.contents.streams().iter();
    streams.find(|stream| stream.name == kind && stream.source.to_string() == plan.source)
}

/// Which of `needs` the backup holds.
async fn held<'n>(
    context: RestoreContext<'_>,
    plan: &Plan,
    needs: impl Iterator<Item = &'n Need>,
) -> Result<BTreeSet<Need>, RestoreError> {
    let mut by_part: BTreeMap<(&str, &str), Vec<&Need>> = BTreeMap::new();
    for need in needs {
        by_part.entry((need.is.0, &need.origin)).or_default().push(need);
    }
    let mut held = BTreeSet::new();
    for ((kind, origin), needs) in by_part {
        let Some(stream) = stream_of(context, plan, kind) else { continue };
        let Some(part) = stream.parts.iter().position(|part| part.name == origin) else { continue };
        let mut lines = Lines::open(context.contents, stream, part).await?;
        while let Some(line) = lines.next().await? {
            let line = lines.parse(&line)?;
            let name = line.fields().pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            held.extend(needs.iter().filter(|need| need.name == name).map(|need| (*need).clone()));
        }
    }
    Ok(held)
}

/// ClusterRoleBindings of the backup that give rights to accounts of mapped namespaces: the accounts under the new
/// names have none of these rights.
async fn unmapped_bindings(
    context: RestoreContext<'_>,
    plan: &Plan,
    mapping: &Mapping,
) -> Result<Vec<MissingReference>, RestoreError> {
    let planned: BTreeSet<&str> =
        plan.objects().filter(|object| object.kind == CLUSTER_ROLE_BINDINGS).map(|object| object.name).collect();
    let mut found = Vec::new();
    let Some(stream) = stream_of(context, plan, CLUSTER_ROLE_BINDINGS) else { return Ok(found) };
    for part in 0..stream.parts.len() {
        let mut lines = Lines::open(context.contents, stream, part).await?;
        while let Some(line) = lines.next().await? {
            let line = lines.parse(&line)?;
            let name = line.fields().pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let Some(namespace) = mapping.first_of(line.fields()).filter(|_| !planned.contains(name)) else { continue };
            let named = |kind: &str, name: &str| ObjectName {
                kind: kind.to_owned(),
                namespace: String::new(),
                name: name.to_owned(),
            };
            found.push(MissingReference {
                object: named(CLUSTER_ROLE_BINDINGS, name),
                needed_by: named(NAMESPACES, namespace),
                others: 0,
                in_backup: true,
                reason: "it gives rights to the accounts of the old namespace, and those of the new one get none"
                    .to_owned(),
            });
        }
    }
    Ok(found)
}
