//! Compares the restored objects with the backup's, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    RestoreContext, RestoreError,
    comparison::{ComparedGroup, ComparisonReport, Counted, DifferentObject},
    excuses::{AUTOSCALED, Excuses},
    judge::{is_merged, waive},
    lines::{Line, Lines},
    links::{Links, broken_link, called, deletion},
    live::Cursor,
    plan::{Action, Entry, Plan, PlannedKind, PlannedPart, Uid},
    planner::LIST_EACH,
    report::{NAMED, ObjectName, RestoreReport, Waiver},
    target::{TargetCluster, live_uid},
    transform::{Outcome, Prepared},
};
use crate::sources::kubernetes::compare::{Comparison, Difference, GroupKind, compare};
use crate::types::StreamInfo;

/// Differences of one object that are shown.
const SHOWN: usize = 20;
/// So many different additions are counted apart.
const MAX_ADDITIONS: usize = 500;
/// So few objects are asked for one by one.
const ASK_EACH: usize = 16;

struct Proof<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    restored: &'a RestoreReport,
    target: TargetCluster,
    excuses: Excuses,
    report: ComparisonReport,
    additions: BTreeMap<String, u64>,
    left_out: BTreeMap<String, u64>,
    links: Links,
}

/// Compares every object of the plan with the live one.
pub(super) async fn run(
    context: RestoreContext<'_>,
    plan: &Plan,
    restored: &RestoreReport,
) -> Result<ComparisonReport, RestoreError> {
    let target = TargetCluster::read(context.cluster).await?;
    if target.identity.uid != plan.target.uid {
        return Err(RestoreError::OtherCluster { planned: plan.target.uid.clone(), actual: target.identity.uid });
    }
    let total: usize = plan.kinds.iter().flat_map(|kind| &kind.parts).map(|part| part.entries.len()).sum();
    context.monitor.phase("comparing", "objects", u64::try_from(total).ok());
    let mut proof = Proof {
        context,
        plan,
        restored,
        target,
        excuses: Excuses::of_mapped(&plan.asked.recipe.mapping),
        report: ComparisonReport::default(),
        additions: BTreeMap::new(),
        left_out: BTreeMap::new(),
        links: Links::of(plan),
    };
    for kind in &plan.kinds {
        proof.kind(kind).await?;
    }
    proof.settle_links();
    let counted = |map: BTreeMap<String, u64>| map.into_iter().map(|(what, count)| Counted { what, count }).collect();
    proof.report.additions = counted(proof.additions);
    proof.report.left_out = counted(proof.left_out);
    Ok(proof.report)
}

impl Proof<'_> {
    async fn kind(&mut self, kind: &PlannedKind) -> Result<(), RestoreError> {
        let Some(stream) = self.context.contents.streams().get(kind.stream) else { return Ok(()) };
        let cluster = self.context.cluster;
        let live_parts = kind.parts.iter().filter(|part| self.target.namespaces.contains(&part.namespace)).count();
        let api = kind.kind.as_ref();
        let wide = api.filter(|_| live_parts > LIST_EACH).zip(stream.parts.first());
        let mut wide = wide.map(|(api, part)| Cursor::over(cluster, api, None, part).counting_extra());
        let begin = self.report.groups.len();
        let mut extra: BTreeMap<String, u64> = BTreeMap::new();
        for part in &kind.parts {
            let live_there = part.namespace.is_empty() || self.target.namespaces.contains(&part.namespace);
            let mut own = api.filter(|_| live_there).zip(stream.parts.get(part.part)).map(|(api, info)| {
                let few = part.namespace.is_empty() && part.entries.len() <= ASK_EACH;
                let over = || Cursor::over(cluster, api, Some(&part.namespace), info).counting_extra();
                if few { Cursor::single(cluster, api) } else { over() }
            });
            let is_wide = own.is_some() && wide.is_some() && !part.namespace.is_empty();
            let mut cursor = if is_wide { wide.as_mut() } else { own.as_mut() };
            let group = self.part((kind, stream), part, cursor.as_deref_mut()).await?;
            self.report.groups.push(group);
            if let Some(cursor) = cursor.filter(|_| !is_wide) {
                cursor.pass_rest().await?;
                extra.extend(cursor.extra().map(|(namespace, count)| (namespace.clone(), *count)));
            }
        }
        if let Some(wide) = &mut wide {
            wide.pass_rest().await?;
            extra.extend(wide.extra().map(|(namespace, count)| (namespace.clone(), *count)));
        }
        for group in self.report.groups.iter_mut().skip(begin) {
            group.extra = extra.get(&group.namespace).copied().unwrap_or(0);
        }
        Ok(())
    }

    async fn part(
        &mut self,
        (kind, stream): (&PlannedKind, &StreamInfo),
        part: &PlannedPart,
        mut cursor: Option<&mut Cursor<'_>>,
    ) -> Result<ComparedGroup, RestoreError> {
        let mut group =
            ComparedGroup { kind: kind.name.clone(), namespace: part.namespace.clone(), ..ComparedGroup::default() };
        let mut lines = Lines::open(self.context.contents, stream, part.part).await?;
        let mut entries = part.entries.iter();
        let mut next = entries.next();
        while let Some(line) = lines.next().await? {
            if self.context.cancel.is_cancelled() {
                return Err(RestoreError::Interrupted);
            }
            let line = lines.parse(&line)?;
            let name = line.fields().pointer("/metadata/name").and_then(Value::as_str);
            let name = name.and_then(|name| self.plan.asked.recipe.mapping.entry(&kind.name, name));
            let Some(entry) = next.filter(|entry| name == Some(&entry.name)) else { continue };
            next = entries.next();
            match line {
                Line::Object(object) => {
                    self.object(&mut group, (kind, entry), object, cursor.as_deref_mut()).await?;
                }
                Line::Unreadable(_, why) => {
                    let (kind, namespace) = (kind.name.clone(), part.namespace.clone());
                    (group.expected, group.missing) = (group.expected + 1, group.missing + 1);
                    self.report.missing.add(ObjectName { kind, namespace, name: entry.name.to_string() }, why);
                }
            }
            self.context.monitor.advance(1);
        }
        Ok(group)
    }

    async fn object(
        &mut self,
        group: &mut ComparedGroup,
        (kind, entry): (&PlannedKind, &Entry),
        object: Value,
        cursor: Option<&mut Cursor<'_>>,
    ) -> Result<(), RestoreError> {
        let live = match cursor {
            Some(cursor) => cursor.find(&group.namespace, &entry.name).await?,
            None => None,
        };
        let name =
            ObjectName { kind: kind.name.clone(), namespace: group.namespace.clone(), name: entry.name.to_string() };
        if let Some(live) = &live {
            self.links.meet(entry.uid, live);
        }
        let plan = self.plan;
        let skipped = match (entry.action, plan.prepare(&kind.name, kind.kind.as_ref(), object)?) {
            (_, Outcome::Leave(rule)) => Err(rule),
            (Action::Skip, _) => Err(plan.reasons.text(entry.reason)),
            (Action::Conflict, _) => Err("another object of its name was left as it is"),
            (_, Outcome::Restore(prepared)) => Ok(prepared),
        };
        let prepared = match skipped {
            Ok(prepared) => prepared,
            Err(rule) => {
                group.left_out += 1;
                *self.left_out.entry(format!("{}: {rule}", kind.name)).or_default() += 1;
                return Ok(());
            }
        };
        group.expected += 1;
        let Some(live) = live else {
            group.missing += 1;
            let reason = self.plan.reasons.text(entry.reason);
            self.report.missing.add(name, if entry.action == Action::Cannot { reason } else { "it is not there" });
            return Ok(());
        };
        let mut comparison = self.compare(&name, &prepared, &live).await?;
        self.count_additions(&kind.name, &comparison);
        comparison.differences.extend(deletion(&live));
        if comparison.is_equal() {
            comparison.differences.extend(self.link(&name, &prepared, &live).await?);
        }
        if comparison.is_equal() {
            group.equal += 1;
            return Ok(());
        }
        group.different += 1;
        self.name_different(name, comparison.differences);
        Ok(())
    }

    fn name_different(&mut self, object: ObjectName, differences: Vec<Difference>) {
        if self.report.different.len() < NAMED {
            let count = u64::try_from(differences.len()).unwrap_or(u64::MAX);
            let differences = differences.into_iter().take(SHOWN).collect();
            self.report.different.push(DifferentObject { object, count, differences });
        }
    }

    /// Whether an object that is equal is linked to the owners that are there. Those that the plan
    /// holds are looked at in the end.
    async fn link(
        &mut self,
        name: &ObjectName,
        prepared: &Prepared,
        live: &Value,
    ) -> Result<Option<Difference>, RestoreError> {
        // The group comes into the report when all of it is compared.
        let group = self.report.groups.len();
        for (owner, uid) in self.links.note(group, &name.name, &prepared.second.owners, live) {
            let is = live_uid(self.context.cluster, &self.target, owner, &name.namespace).await?;
            if is.as_deref().map(Uid::parse) != Some(uid) {
                return Ok(Some(broken_link(&called(owner), is, uid)));
            }
        }
        Ok(None)
    }

    fn settle_links(&mut self) {
        for (link, difference) in std::mem::take(&mut self.links).broken() {
            let Some(group) = self.report.groups.get_mut(link.group) else { continue };
            group.equal = group.equal.saturating_sub(1);
            group.different += 1;
            let (kind, namespace) = (group.kind.clone(), group.namespace.clone());
            self.name_different(ObjectName { kind, namespace, name: link.name.into_string() }, vec![difference]);
        }
    }

    /// Compares one object, apart from what the restore could not give it.
    async fn compare(
        &mut self,
        name: &ObjectName,
        prepared: &Prepared,
        live: &Value,
    ) -> Result<Comparison, RestoreError> {
        let mut expected = prepared.expected_beside(live);
        waive(&mut expected, self.restored.waived.get(name).map(Vec::as_slice).unwrap_or_default());
        let mut comparison = compare(&expected, live);
        if is_merged(GroupKind::of(&expected), &name.name) {
            // What it had of its own stays.
            comparison.differences.retain(|difference| difference.live.is_none());
        }
        if comparison.is_equal() {
            return Ok(comparison);
        }
        // An earlier run may have waived what this one does not know of.
        let mut waivers = self.lost_owners(prepared, &comparison, &name.namespace).await?;
        waivers.extend(self.excuses.of(&self.context, &self.target, &self.plan.source, &expected, live).await?);
        if waivers.contains(&Waiver::Replicas) {
            *self.left_out.entry(format!("{} spec.replicas: {AUTOSCALED}", name.kind)).or_default() += 1;
        }
        if waivers.is_empty() {
            return Ok(comparison);
        }
        waive(&mut expected, &waivers);
        Ok(compare(&expected, live))
    }

    /// The owners that are neither referenced nor live.
    async fn lost_owners(
        &self,
        prepared: &Prepared,
        comparison: &Comparison,
        namespace: &str,
    ) -> Result<Vec<Waiver>, RestoreError> {
        let mut lost = Vec::new();
        if comparison.differences.iter().any(|difference| difference.path.starts_with("metadata.ownerReferences")) {
            for owner in &prepared.second.owners {
                if live_uid(self.context.cluster, &self.target, owner, namespace).await?.is_none() {
                    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                    lost.push(Waiver::Owner(text("kind"), text("name")));
                }
            }
        }
        Ok(lost)
    }

    fn count_additions(&mut self, kind: &str, comparison: &Comparison) {
        for path in &comparison.additions {
            let what = format!("{kind} {path}");
            if self.additions.len() < MAX_ADDITIONS || self.additions.contains_key(&what) {
                *self.additions.entry(what).or_default() += 1;
            } else {
                *self.additions.entry("others".to_owned()).or_default() += 1;
            }
        }
    }
}
