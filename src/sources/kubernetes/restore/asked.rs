//! What a person asked of a plan beyond all of a backup as it is: a part of it, other namespaces, other fields.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    RestoreContext, RestoreError,
    choice::{Choice, NAMESPACES},
    chosen::Taken,
    needs::{MissingReference, Needs},
    plan::{Action, Plan, PlannedPart},
    recipe::{Mapping, ModifierRef, Recipe, RecipeError, Used},
    report::{Modified, ObjectName},
    target::TargetCluster,
    transform::{Outcome, Prepared, transform_to},
};
use crate::{sources::kubernetes::Kind, types::StreamInfo};

const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// So many objects that are in two namespaces are named.
const NAMED: usize = 5;

/// What a plan keeps of what was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) recipe: Arc<Recipe>,
    /// The objects that are changed by it.
    pub(super) modified: Modified,
    /// What chosen objects need and will not find.
    pub(super) missing: Vec<MissingReference>,
    /// The modifiers that are about something.
    pub(super) used: Used,
    /// Which of the names that were asked for there are.
    pub(super) names: BTreeSet<String>,
}

impl Plan {
    /// What becomes of an object of the kind `kind_id` of the backup. Planner, execution and comparison ask the same.
    /// `kind` is the one that it is created as, if it still has to be brought to that one's version.
    pub(super) fn prepare(&self, kind_id: &str, kind: Option<&Kind>, object: Value) -> Result<Outcome, RecipeError> {
        let rules = |object| self.adoption.outcome(kind_id, object, |object| transform_to(kind_id, kind, object));
        self.asked.recipe.apply(kind_id, object, rules)
    }

    /// Namespaces that get another name.
    pub(super) fn mapping(&self) -> &super::recipe::Mapping {
        &self.asked.recipe.mapping
    }

    /// Objects that are restored as somebody asked for, and not as they were.
    #[must_use]
    pub fn modified(&self) -> &Modified {
        &self.asked.modified
    }

    /// What the chosen objects need and will not find: neither in the cluster nor restored.
    #[must_use]
    pub fn missing_references(&self) -> &[MissingReference] {
        &self.asked.missing
    }

    /// The modifiers that are about an object of it.
    pub fn used_modifiers(&self) -> impl Iterator<Item = ModifierRef> {
        self.asked.used.iter().copied()
    }

    /// An object of it has a name that `pattern`, one of those that were asked for, fits.
    #[must_use]
    pub fn has_name(&self, pattern: &str) -> bool {
        self.asked.names.contains(pattern)
    }

    /// The namespaces that something of it is in, as they are called in the cluster.
    #[must_use]
    pub fn namespaces(&self) -> std::collections::BTreeSet<&str> {
        let parts = self.kinds.iter().flat_map(|kind| &kind.parts);
        parts.map(|part| part.namespace.as_str()).filter(|namespace| !namespace.is_empty()).collect()
    }

    /// A claim of it was bound to a volume, and it was asked what becomes of that.
    #[must_use]
    pub fn looks_at_volumes(&self) -> bool {
        !self.adoption.is_of_nothing()
    }

    /// How many objects it is about.
    #[must_use]
    pub fn size(&self) -> u64 {
        Action::ALL.into_iter().map(|action| self.total(action)).sum()
    }
}

/// What must be kept in mind while a plan of a part of a backup is made.
#[derive(Debug, Default)]
pub(super) struct Partial {
    choice: Choice,
    /// What the chosen objects need; only if not all is restored as it was.
    needs: Option<Needs>,
    /// Namespaces and definitions that nobody chose, and that what is chosen may need: (kind, part, entry).
    support: Vec<(usize, usize, usize)>,
}

impl Partial {
    pub(super) fn new(choice: &Choice, recipe: &Recipe) -> Self {
        let part = !choice.is_all() || !recipe.mapping.is_empty();
        Self { choice: choice.clone(), needs: part.then(Needs::default), support: Vec::new() }
    }

    /// Takes note of an object that is taken, at (kind, part, entry) of the plan.
    pub(super) fn take(&mut self, plan: &mut Plan, taken: Taken, at: (usize, usize, usize), name: &str) {
        if taken == Taken::Support {
            self.support.push(at);
            return;
        }
        for pattern in &self.choice.names {
            if crate::sources::kubernetes::matches(pattern, name) && !plan.asked.names.contains(pattern) {
                plan.asked.names.insert(pattern.clone());
            }
        }
    }

    /// Nobody chose the object at (kind, part, entry) of the plan, which was taken last: it is left as it is if it is live.
    pub(super) fn is_support(&self, at: (usize, usize, usize)) -> bool {
        self.support.last() == Some(&at)
    }

    /// Takes note of what becomes of an object that was in `origin` in the backup.
    pub(super) fn see(&mut self, plan: &mut Plan, name: &ObjectName, origin: &str, prepared: &Prepared) {
        plan.asked.modified.add(name, &prepared.changes);
        if let Some(needs) = &mut self.needs {
            needs.see(name, origin, &prepared.object);
        }
    }

    /// Takes out what nobody chose and nothing needs, and names what is needed and will not be there.
    pub(super) async fn settle(
        self,
        context: RestoreContext<'_>,
        target: &TargetCluster,
        plan: &mut Plan,
    ) -> Result<(), RestoreError> {
        take_out_unneeded(plan, self.support);
        if let Some(needs) = self.needs {
            let mapping = plan.asked.recipe.mapping.clone();
            plan.asked.missing = needs.settle(context, target, plan, &mapping).await?;
        }
        Ok(())
    }
}

/// A Namespace or a definition that nobody chose stays in the plan only if it is not there, and something chosen is
/// created that needs it. What is live of them is left alone.
fn take_out_unneeded(plan: &mut Plan, support: Vec<(usize, usize, usize)>) {
    let unchosen: HashSet<(usize, usize, usize)> = support.iter().copied().collect();
    let (mut namespaces, mut kinds) = (HashSet::new(), HashSet::new());
    for (number, kind) in plan.kinds.iter().enumerate() {
        for (place, part) in kind.parts.iter().enumerate() {
            let created = part
                .entries
                .iter()
                .enumerate()
                .any(|(entry, it)| it.action.is_write() && !unchosen.contains(&(number, place, entry)));
            if created {
                namespaces.insert(part.namespace.clone());
                kinds.insert(kind.name.clone());
            }
        }
    }
    let mut unneeded: BTreeMap<(usize, usize), HashSet<usize>> = BTreeMap::new();
    for (number, place, entry) in support {
        let Some(kind) = plan.kinds.get(number) else { continue };
        let Some(it) = kind.parts.get(place).and_then(|part| part.entries.get(entry)) else { continue };
        let name: &str = &it.name;
        let needed = match kind.name.as_str() {
            NAMESPACES => namespaces.contains(name),
            DEFINITIONS => kinds.contains(name),
            _ => false,
        };
        if !needed || it.action != Action::Create {
            unneeded.entry((number, place)).or_default().insert(entry);
        }
    }
    for ((number, place), entries) in unneeded {
        let part = plan.kinds.get_mut(number).and_then(|kind| kind.parts.get_mut(place));
        if let Some(part) = part {
            let mut at = 0..;
            part.entries.retain(|_| at.next().is_none_or(|at| !entries.contains(&at)));
            let mut at = 0..;
            part.seen.retain(|_| at.next().is_none_or(|at| !entries.contains(&at)));
        }
        // The places of those behind them are others now.
        let is_here = |at: &(usize, usize, usize)| (at.0, at.1) == (number, place);
        let mut agreed = std::mem::take(&mut plan.agreed);
        agreed.retain(|at, _| !is_here(at) || !entries.contains(&at.2));
        let agreed = agreed.into_iter().map(|(at, mark)| {
            let before = entries.iter().filter(|it| **it < at.2).fold(0_usize, |sum, _| sum + 1);
            let moved = if is_here(&at) { at.2.saturating_sub(before) } else { at.2 };
            ((at.0, at.1, moved), mark)
        });
        plan.agreed = agreed.collect();
    }
}

/// Refuses two namespaces that become one and hold objects of the same name. What is made with every namespace is
/// merged, and no collision. `parts` are those of one kind.
pub(super) fn refuse_collisions(
    mapping: &Mapping,
    stream: &StreamInfo,
    parts: &[PlannedPart],
) -> Result<(), RecipeError> {
    if mapping.is_empty() {
        return Ok(());
    }
    let mut met: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut found: Vec<(String, (String, String), String)> = Vec::new();
    for part in parts.iter().filter(|part| !part.namespace.is_empty()) {
        let origin = stream.parts.get(part.part).map_or("", |part| part.name.as_str());
        let is_merged = |name: &str| stream.name == "serviceaccounts" && name == "default";
        for entry in part.entries.iter().filter(|entry| entry.action != Action::Skip && !is_merged(&entry.name)) {
            let first = met.insert((&part.namespace, &entry.name), origin);
            if let Some(first) = first.filter(|first| *first != origin) {
                let names = (first.to_owned(), origin.to_owned());
                found.push((part.namespace.clone(), names, format!("{} {}", stream.name, entry.name)));
            }
        }
    }
    let count = found.len();
    let Some((into, from, _)) = found.first().cloned() else { return Ok(()) };
    let names = found.into_iter().take(NAMED).map(|(.., name)| crate::types::for_terminal(&name).to_string()).collect();
    Err(RecipeError::Collision { into, from, count, names })
}

/// The labels of an object of the backup; `None` where they cannot be read.
pub(super) fn labels_of(object: &Value) -> Option<BTreeMap<String, String>> {
    match object.pointer("/metadata/labels") {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(labels) => serde_json::from_value(labels.clone()).ok(),
    }
}
