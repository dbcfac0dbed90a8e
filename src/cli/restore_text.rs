//! A restore's plan and report for people.

use std::collections::BTreeMap;

use super::{restore_asked, restore_databases_text, restore_mongodb, restore_plan};
use crate::{
    operations::{LaterDatabase, PlanWarning, RestoredDatabase, RestoredSource},
    report::{self, Table, words},
    sources::{
        kubernetes::restore::{Action, ComparisonReport, Counted, Notes, OnConflict, Plan, PlannedObject, ReadyReport},
        mongodb::restore::{Loaded, Plan as MongodbPlan},
        postgres::restore::Plan as DatabasePlan,
    },
    types::for_terminal,
};

/// So many single objects of each sort are shown; `-o json` has more.
const SHOWN: usize = 20;

/// All kinds of plans.
pub(super) type PlanDocument<'a> = report::RestorePlan<'a, Plan, DatabasePlan, MongodbPlan, LaterDatabase>;
/// All kinds of reports.
pub(super) type ReportDocument<'a> = report::RestoreReport<'a, RestoredSource, RestoredDatabase, Loaded, PlanWarning>;

/// The plan: what is written where, and what is not and why. Databases come first.
pub(super) fn plan(document: &PlanDocument<'_>) -> String {
    let mut text = restore_asked::line(document.asked.as_ref());
    text.push_str(&restore_asked::left_out(&document.backup, &document.databases_left_out));
    text.push_str(&restore_databases_text::plans(&document.backup, document.databases));
    text.push_str(&restore_mongodb::plans(document.mongodb_databases));
    text.push_str(&restore_databases_text::later(document.later_databases));
    match &document.target {
        Some(target) => text.push_str(&objects(document, target)),
        None => text.push_str("Nothing was changed.\n"),
    }
    text
}

fn objects(document: &PlanDocument<'_>, target: &report::TargetCluster) -> String {
    let plans = document.sources;
    let mut text = format!(
        "Plan: backup {} ({}) into cluster `{}` ({}, uid {}){}\n",
        for_terminal(&document.backup),
        document.state,
        for_terminal(&target.name),
        for_terminal(&target.version),
        for_terminal(&target.uid),
        if target.same { ", which it was taken of" } else { ", which is ANOTHER cluster" },
    );
    for plan in plans {
        text.push_str(&format!("\nSource {}:\n", for_terminal(&plan.source)));
        text.push_str(&counts(plan));
        text.push_str(&restore_plan::platform(plan));
        text.push_str(&left_out(plan));
        for action in [Action::Update, Action::Replace, Action::Conflict, Action::Cannot] {
            text.push_str(&named(plan, action));
        }
        text.push_str(&remarks(plan));
        text.push_str(&restore_plan::server(plan));
        text.push_str(&restore_asked::of_plan(plan));
    }
    let sum = |of: fn(&Plan) -> u64| plans.iter().map(of).sum();
    let fails = plans.iter().any(|plan| plan.on_conflict == OnConflict::Fail);
    text.push_str(&summary(sum(Plan::writes), sum(Plan::conflicts), sum(|plan| plan.total(Action::Cannot)), fails));
    text
}

/// What the plan comes to. `fails`: one conflict is enough for nothing to be written.
fn summary(writes: u64, conflicts: u64, cannot: u64, fails: bool) -> String {
    let mut text = format!("\n{} to write", words::count(writes, "object"));
    if cannot > 0 {
        text.push_str(&format!("; {} cannot be restored here", words::count(cannot, "object")));
    }
    let differing = words::count(conflicts, "live object");
    match (writes, conflicts, cannot) {
        (0, 0, 0) => text.push_str("; all that it would create is there"),
        (_, 0, _) => {}
        _ if fails => text.push_str(&format!(
            "; but it conflicts with {differing}, and then nothing at all is written, unless --on-conflict skip leaves \
             what is live as it is, update changes it, or replace deletes and creates it"
        )),
        _ => text.push_str(&format!("; {differing} in conflict left alone")),
    }
    text.push_str(". Nothing was changed.\n");
    text
}

fn counts(plan: &Plan) -> String {
    let mut by_namespace: BTreeMap<&str, [u64; Action::ALL.len()]> = BTreeMap::new();
    for count in plan.counts() {
        let slots = by_namespace.entry(count.namespace).or_default();
        for (slot, action) in slots.iter_mut().zip(Action::ALL) {
            *slot += count.of(action);
        }
    }
    // Update and replace are columns only where they were asked for.
    let asked = |action: &Action| match action {
        Action::Update | Action::Replace => plan.total(*action) > 0,
        _ => true,
    };
    let heads = Action::ALL.into_iter().filter(asked).map(column);
    let heads: Vec<&str> = std::iter::once("NAMESPACE").chain(heads).collect();
    let mut table = Table::new(&heads);
    for (namespace, numbers) in by_namespace {
        let numbers = numbers.iter().zip(Action::ALL).filter(|(_, action)| asked(action));
        table.row(std::iter::once(place(namespace)).chain(numbers.map(|(number, _)| number.to_string())));
    }
    table.text()
}

fn column(action: Action) -> &'static str {
    match action {
        Action::Create => ">CREATE",
        Action::Merge => ">MERGE",
        Action::Update => ">UPDATE",
        Action::Replace => ">REPLACE",
        Action::Same => ">SAME",
        Action::Conflict => ">CONFLICT",
        Action::Skip => ">SKIP",
        Action::Cannot => ">CANNOT",
    }
}

fn place(namespace: &str) -> String {
    if namespace.is_empty() { "(cluster-scoped)".to_owned() } else { namespace.to_owned() }
}

/// What rules leave out, by kind and rule.
fn left_out(plan: &Plan) -> String {
    let mut by_rule: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for object in plan.objects().filter(|object| object.action == Action::Skip) {
        *by_rule.entry((object.kind, object.reason)).or_default() += 1;
    }
    let line = |((kind, reason), count): (&(&str, &str), &u64)| {
        format!("  left out: {count} {}: {}\n", for_terminal(kind), for_terminal(reason))
    };
    by_rule.iter().map(line).collect()
}

fn named(plan: &Plan, action: Action) -> String {
    let line = |object: PlannedObject<'_>| {
        let namespace = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
        let (kind, name) = (for_terminal(object.kind), object.name);
        format!("  {action}: {kind} {}: {}\n", for_terminal(&format!("{namespace}{name}")), for_terminal(object.reason))
    };
    let mut text: String = plan.objects().filter(|object| object.action == action).take(SHOWN).map(line).collect();
    text.push_str(&more(plan.total(action), SHOWN));
    text
}

/// What there is to say of objects that are written or equal.
fn remarks(plan: &Plan) -> String {
    let worth = |object: &PlannedObject<'_>| object.action == Action::Create && !object.reason.is_empty();
    let line = |object: PlannedObject<'_>| {
        let namespace = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
        let name = for_terminal(&format!("{namespace}{}", object.name)).into_owned();
        format!("  {}: {} {name}: {}\n", object.action, for_terminal(object.kind), for_terminal(object.reason))
    };
    let all = u64::try_from(plan.objects().filter(worth).count()).unwrap_or(u64::MAX);
    let mut text: String = plan.objects().filter(worth).take(SHOWN).map(line).collect();
    text.push_str(&more(all, SHOWN));
    text
}

fn more(count: u64, shown: usize) -> String {
    let rest = count.saturating_sub(shown as u64);
    if rest == 0 { String::new() } else { format!("  and {rest} more (see -o json)\n") }
}

/// The report: what was written, what is ready, what is equal.
pub(super) fn report(document: &ReportDocument<'_>, plans: &[Plan]) -> String {
    let place = document.target.as_ref().map_or_else(String::new, |target| {
        format!(" into cluster `{}` (uid {})", for_terminal(&target.name), for_terminal(&target.uid))
    });
    let mut text = format!("restored backup {}{place}: {}\n", for_terminal(&document.backup), verdict(document));
    text.push_str(&restore_asked::line(document.asked.as_ref()));
    text.push_str(&restore_asked::left_out(&document.backup, &document.databases_left_out));
    text.push_str(&restore_databases_text::databases(document.databases));
    text.push_str(&restore_mongodb::databases(document.mongodb_databases));
    for (source, plan) in document.sources.iter().zip(plans) {
        text.push_str(&of_source(source));
        text.push_str(&named(plan, Action::Conflict));
    }
    let phases = document.phases.iter().map(|took| format!("{} {}", took.phase, words::seconds(took.seconds)));
    let total = document.phases.iter().map(|took| took.seconds).sum();
    text.push_str(&format!("  {} in all: {}\n", words::seconds(total), phases.collect::<Vec<_>>().join(", ")));
    text
}

fn verdict(document: &ReportDocument<'_>) -> &'static str {
    match (document.ended.is_some(), document.complete, document.equal) {
        (true, ..) => "NOT FINISHED",
        (false, true, true) => "complete, and equal to the backup",
        (false, true, false) => "complete, but NOT EQUAL to the backup",
        (false, false, _) => "NOT COMPLETE",
    }
}

fn of_source(source: &RestoredSource) -> String {
    let done = &source.execution;
    let count = |number: u64, word: &str| if number > 0 { format!("{number} {word}, ") } else { String::new() };
    let mut text = format!(
        "  source {}: {} created, {} merged, {}{}{} were there and equal, {} left out, {} failed\n",
        for_terminal(&source.source),
        done.created,
        done.merged,
        count(done.updated, "updated"),
        count(done.replaced, "replaced"),
        done.same,
        done.skipped,
        done.failed.count,
    );
    if done.not_attempted > 0 {
        text.push_str(&format!("  not attempted: {}\n", words::count(done.not_attempted, "object")));
    }
    if done.busy > 0 {
        let times = words::count(done.busy, "time");
        text.push_str(&format!("  the server was busy {times}; each of these requests was sent again\n"));
    }
    text.push_str(&notes("failed", &done.failed));
    text.push_str(&notes("adjusted", &done.adjusted));
    text.push_str(&restore_asked::modified(&done.modified));
    if let Some(ready) = &source.readiness {
        text.push_str(&readiness(ready));
    }
    if let Some(comparison) = &source.comparison {
        text.push_str(&compared(comparison));
    }
    text
}

fn notes(word: &str, notes: &Notes) -> String {
    let line = |note: &crate::sources::kubernetes::restore::ObjectNote| {
        format!("  {word}: {}: {}\n", note.object, for_terminal(&note.reason))
    };
    let mut text: String = notes.objects.iter().take(SHOWN).map(line).collect();
    text.push_str(&more(notes.count, SHOWN));
    text
}

fn readiness(ready: &ReadyReport) -> String {
    let mut text = format!(
        "  ready: {} of {} waited for\n",
        ready.waited_for.saturating_sub(ready.not_ready.count),
        ready.waited_for
    );
    text.push_str(&notes("not ready", &ready.not_ready));
    for balancer in &ready.load_balancers {
        let addresses = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let (old, new) = (addresses(&balancer.old), addresses(&balancer.new));
        text.push_str(&format!(
            "  load balancer {}: was {}, is {}\n",
            for_terminal(&format!("{}/{}", balancer.namespace, balancer.name)),
            for_terminal(&old),
            for_terminal(&new),
        ));
    }
    text
}

fn compared(comparison: &ComparisonReport) -> String {
    let (equal, expected) = (comparison.equal(), comparison.expected());
    let mut text =
        format!("  compared: {equal} of {} equal in every field of the backup\n", words::count(expected, "object"));
    for different in comparison.different.iter().take(SHOWN) {
        let fields = different.differences.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join("; ");
        text.push_str(&format!("  different: {}: {fields}\n", different.object));
    }
    text.push_str(&more(comparison.different_objects(), SHOWN));
    text.push_str(&notes("missing", &comparison.missing));
    text.push_str(&notes("not compared", &comparison.not_compared));
    text.push_str(&added(comparison));
    text
}

/// What only the live objects have: most often first, so that the odd ones are looked for in all of it.
fn added(comparison: &ComparisonReport) -> String {
    let mut all: Vec<_> = comparison.additions.iter().collect();
    all.sort_by_key(|added| std::cmp::Reverse(added.count));
    let line = |added: &&Counted| format!("  only in the cluster: {} {}\n", added.count, for_terminal(&added.what));
    let mut text: String = all.iter().take(SHOWN).map(line).collect();
    text.push_str(&more(u64::try_from(all.len()).unwrap_or(u64::MAX), SHOWN));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_a_plan_says_what_keeps_it_from_being_done() {
        for (numbers, said) in [
            ((0, 0, 0, true), "0 objects to write; all that it would create is there."),
            ((1, 0, 0, true), "1 object to write."),
            ((0, 0, 2, true), "0 objects to write; 2 objects cannot be restored here."),
            ((0, 3, 0, true), "0 objects to write; but it conflicts with 3 live objects, and then nothing at all"),
            ((5, 1, 0, true), "unless --on-conflict skip leaves what is live as it is, update"),
            ((5, 1, 0, false), "5 objects to write; 1 live object in conflict left alone."),
        ] {
            let (writes, conflicts, cannot, fails) = numbers;
            let text = summary(writes, conflicts, cannot, fails);
            assert!(text.contains(said) && text.ends_with(". Nothing was changed.\n"), "{text}");
        }
    }

    #[test]
    fn what_only_the_cluster_has_is_listed() {
        let additions = vec![Counted { what: "services spec.clusterIP".to_owned(), count: 3 }];
        let text = compared(&ComparisonReport { additions, ..ComparisonReport::default() });
        assert!(text.contains("equal in every field of the backup\n"), "{text}");
        assert!(text.contains("  only in the cluster: 3 services spec.clusterIP\n"), "{text}");
    }
}
