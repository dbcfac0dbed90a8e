//! Makes a plan: the backup is streamed once against the live objects.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    PlanOptions, RestoreContext, RestoreError,
    adopt::{self, Adoption},
    asked::{Asked, Partial, refuse_collisions},
    chosen::{Chosen, DEFINITIONS, Taken, split_name, streams_of},
    databases::Databases,
    decide::{Child, Decision, Place, Unlinked, link_to_replaced},
    excuses::Excuses,
    lines::{Line, Lines},
    live::Cursor,
    orphans::{self, Orphan},
    plan::{Action, Answer, Behind, Entry, Plan, PlannedKind, PlannedPart, Reason, Reasons, Seen, ServiceName, Uid},
    platform::Platform,
    quotas::Quotas,
    target::{Service, TargetCluster},
    tiers::{Tier, tier_of},
    trial, versions,
};
use crate::{
    sources::kubernetes::Kind,
    types::{PartInfo, StreamInfo},
};

/// Of more namespaces than this the objects of a kind are listed at once.
pub(super) const LIST_EACH: usize = 20;
/// So few cluster-scoped objects are asked for one by one.
const ASK_EACH: u64 = 16;

/// Makes a plan. Nothing is written.
pub(super) async fn make(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    let mut target = TargetCluster::read(context.cluster).await?;
    target.promise_kinds(&options.brought.kinds);
    let streams = streams_of(context.contents.streams(), options)?;
    let chosen = Chosen::of(&streams, options);
    let adoption = match options.adopt_volumes {
        true => Adoption::read(context, &target, &streams, |claim| chosen.takes_claim(claim)).await?,
        false => Adoption::default(),
    };
    let mut planner = Planner {
        context,
        chosen,
        partial: Partial::new(&options.choice, &options.recipe),
        excuses: Excuses::of_mapped(&options.recipe.mapping),
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
            asked: Asked { recipe: Arc::clone(&options.recipe), ..Asked::default() },
            warnings: Vec::new(),
            agreed: HashMap::new(),
            needed_first: std::collections::BTreeSet::new(),
        },
        quotas: Quotas::read(context.cluster, &target).await?,
        target,
        coming: options.brought.namespaces.clone(),
        unlinked: Vec::new(),
        orphans: Vec::new(),
        going: HashSet::new(),
        databases: Databases::new(&options.databases),
        platform: Platform::new(&options.platform),
        children: Vec::new(),
        remember: options.remember,
    };
    let parts = streams.iter().map(|(_, stream)| stream.parts.iter().map(|part| part.count).sum::<u64>()).sum();
    context.monitor.phase("planning", "objects", Some(parts));
    for (number, stream) in streams {
        planner.stream(number, stream).await?;
    }
    planner.settle_unlinked().await?;
    orphans::settle(&mut planner.plan, context.cluster, &planner.target, planner.orphans).await?;
    link_to_replaced(&mut planner.plan, planner.children);
    planner.partial.settle(context, &planner.target, &mut planner.plan).await?;
    planner.platform.read_live(context.cluster, &planner.target).await?;
    planner.platform.mark(&mut planner.plan);
    trial::before_any_write(context, &mut planner.plan, &planner.target).await?;
    planner.plan.warnings = planner.quotas.short();
    planner.plan.recount();
    Ok(planner.plan)
}

pub(super) struct Planner<'a> {
    pub(super) context: RestoreContext<'a>,
    pub(super) chosen: Chosen,
    pub(super) partial: Partial,
    pub(super) target: TargetCluster,
    pub(super) excuses: Excuses,
    pub(super) plan: Plan,
    /// Namespaces that this plan creates, or one of another source that is restored with it.
    pub(super) coming: HashSet<String>,
    /// Objects that an earlier run created and could not link to their owners.
    pub(super) unlinked: Vec<Unlinked>,
    /// Objects that belong to one that is made again.
    pub(super) orphans: Vec<Orphan>,
    /// Namespaces that were being deleted when they were backed up.
    pub(super) going: HashSet<String>,
    pub(super) databases: Databases,
    pub(super) platform: Platform,
    /// Live quotas, and what is created in their namespaces.
    pub(super) quotas: Quotas,
    /// Live objects that are equal, and the uids of their owners in the backup; only where owners may be replaced.
    pub(super) children: Vec<Child>,
    /// Digests of what was seen are kept.
    pub(super) remember: bool,
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
        let mut is = (text("apiVersion"), text("kind"));
        let service = self.service_of(&mut is, group, plural).await?;
        let served = match &service {
            Service::Served(kind) => Some(kind),
            _ => None,
        };
        let kind = service.kind().cloned();
        let cluster = self.context.cluster;
        let recipe = Arc::clone(&self.plan.asked.recipe);
        let live = |part: &PartInfo| self.target.namespaces.contains(recipe.mapping.target(&part.name));
        let live_parts = parts.iter().filter(|(_, part)| live(part)).count();
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
            let namespace = recipe.mapping.target(&part.name);
            let mut own = self.cursor(served, part, namespace);
            let cursor = if own.is_some() && wide.is_some() { wide.as_mut() } else { own.as_mut() };
            let origin = part.name.as_str();
            let place = Place { id: &stream.name, service: &service, is: is.clone(), namespace, origin };
            let (entries, seen) = self.part(&place, lines, first, cursor).await?;
            if let Some(kind) = self.plan.kinds.last_mut() {
                let namespace = namespace.to_owned();
                kind.parts.push(PlannedPart { part: index, namespace, platform: false, entries, seen });
            }
        }
        let parts = self.plan.kinds.last().map(|kind| kind.parts.as_slice()).unwrap_or_default();
        refuse_collisions(&recipe.mapping, stream, parts)?;
        Ok(())
    }

    /// How objects of `is` are created; where that version is not served, at another one that means the same.
    async fn service_of(&self, is: &mut (String, String), group: &str, plural: &str) -> Result<Service, RestoreError> {
        let service = self.target.service_of(&is.0, &is.1, group, plural);
        if matches!(service, Service::Not(_))
            && let Some(kind) = versions::other(self.context.cluster, &self.target, &is.0, group, plural).await?
        {
            *is = (kind.api_version(), kind.name.clone());
            return Ok(Service::Served(kind));
        }
        if matches!(service, Service::Not(_)) && self.leaves_definition_out(group, plural).await? {
            let (version, name) = (&is.0, &is.1);
            return Ok(Service::Not(format!(
                "the cluster does not serve {version} {name}; a mapped restore leaves its definition out, which the \
                 backup holds: restore that first with --kind {DEFINITIONS} --name {plural}.{group}"
            )));
        }
        Ok(service)
    }

    /// Whether a definition that the cluster lacks is in the backup and not in the plan, because namespaces are mapped.
    async fn leaves_definition_out(&self, group: &str, plural: &str) -> Result<bool, RestoreError> {
        if self.plan.mapping().is_empty() || self.target.versions(group, plural).next().is_some() {
            return Ok(false);
        }
        let wanted = format!("{plural}.{group}");
        let streams = self.context.contents.streams().iter();
        for stream in streams.filter(|it| it.name == DEFINITIONS && it.source.as_str() == self.plan.source) {
            for part in 0..stream.parts.len() {
                let mut lines = Lines::open(self.context.contents, stream, part).await?;
                while let Some(line) = lines.next().await? {
                    let line = lines.parse(&line)?;
                    if line.fields().pointer("/metadata/name").and_then(Value::as_str) == Some(&wanted) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
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
    fn cursor<'k>(&self, served: Option<&'k Kind>, part: &PartInfo, namespace: &str) -> Option<Cursor<'k>>
    where
        Self: 'k,
    {
        let kind = served?;
        let cluster = self.context.cluster;
        if part.name.is_empty() {
            let few = part.count <= ASK_EACH;
            return Some(if few { Cursor::single(cluster, kind) } else { Cursor::over(cluster, kind, None, part) });
        }
        self.target.namespaces.contains(namespace).then(|| Cursor::over(cluster, kind, Some(namespace), part))
    }

    async fn part(
        &mut self,
        place: &Place<'_>,
        mut lines: Lines,
        mut first: Option<Line>,
        mut cursor: Option<&mut Cursor<'_>>,
    ) -> Result<(Vec<Entry>, Vec<Seen>), RestoreError> {
        let (mut entries, mut seen) = (Vec::new(), Vec::new());
        loop {
            if self.context.cancel.is_cancelled() {
                return Err(RestoreError::Interrupted);
            }
            let line = match first.take() {
                Some(line) => line,
                None => match lines.next().await? {
                    Some(line) => lines.parse(&line)?,
                    None => return Ok((entries, seen)),
                },
            };
            let text = |pointer: &str| line.fields().pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let uid = Uid::parse(text("/metadata/uid"));
            let taken = self.chosen.object(place.id, place.origin, text("/metadata/name"), line.fields());
            let mapping = &self.plan.asked.recipe.mapping;
            let name: Box<str> = mapping.entry(place.id, text("/metadata/name")).unwrap_or_default().into();
            self.context.monitor.advance(1);
            let taken = if self.adopts(place.id, &name) { Taken::Chosen } else { taken };
            if taken != Taken::Not {
                let at = (
                    self.plan.kinds.len().saturating_sub(1),
                    self.plan.kinds.last().map_or(0, |kind| kind.parts.len()),
                    entries.len(),
                );
                self.partial.take(&mut self.plan, taken, at, &name);
                let services = self.services_before(place, &name, line.fields());
                let decision = match line {
                    Line::Object(object) => {
                        self.decide(place, object, &name, cursor.as_deref_mut(), entries.len()).await?
                    }
                    Line::Unreadable(_, why) => Decision::new(Action::Cannot, why),
                };
                let first = !services.is_empty();
                if first {
                    let (kind, part) = self.at();
                    let behind = Behind { kind, part, entry: entries.len(), services };
                    self.plan.databases.push(behind);
                }
                let reason = self.plan.reasons.intern(&decision.reason);
                let (action, answer, words) = (decision.action, Answer::None, Reason::default());
                entries.push(Entry { name, uid, action, reason, first, answer, words });
                seen.extend(self.remember.then_some(decision.seen));
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
}
