//! The part of `drctl restore` that is about plans: saved to a file, executed from one, and what the server says.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    new_file::NewFile,
};
use crate::{
    operations::{self, PlanFile, Restore, RestoreOptions, WholeRestore},
    report::words,
    repository::StoredManifest,
    sources::kubernetes::restore::{Action, Answer, Plan, PlannedObject},
    types::{Name, for_terminal},
};

/// So many single objects are shown.
const SHOWN: usize = 20;

/// Options that a saved plan has an answer to, and those that are about no plan of objects.
const SAID_BY_THE_PLAN: [&str; 15] = [
    "backup",
    "sources",
    "on_conflict",
    "platform",
    "adopt_volumes",
    "namespaces",
    "kinds",
    "selectors",
    "names",
    "mapped",
    "modifiers",
    "plan_out",
    "undo",
    "switch",
    "no_switch",
];

/// Options about plans and the order in which they are executed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Plan")]
pub(super) struct PlanArgs {
    /// Write the plan into this new file, and end: nothing is restored
    #[arg(long, value_name = "FILE", conflicts_with = "undo")]
    pub(super) plan_out: Option<PathBuf>,
    /// Execute the plan in this file, if nothing that it was made of has changed since. The file says all that was
    /// asked: what is restored, where to, and how changed is not said again
    #[arg(long, value_name = "FILE", conflicts_with_all = SAID_BY_THE_PLAN)]
    pub(super) plan: Option<PathBuf>,
    /// A namespace that others need: it is restored and ready before them; may be repeated. Namespaces with
    /// webhooks, aggregated APIs and conversions are found without
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "undo")]
    pub(super) platform: Vec<String>,
}

impl PlanArgs {
    /// The saved plan that is to be executed, if one is.
    pub(super) async fn open(&self) -> Result<Option<PlanFile>, Failure> {
        match &self.plan {
            Some(path) => Ok(Some(PlanFile::open(path).await?)),
            None => Ok(None),
        }
    }
}

/// Makes sure that the plan is the one of the file.
pub(super) async fn is_as_saved(
    file: PlanFile,
    planned: &WholeRestore<'_>,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let Some(objects) = &planned.objects else {
        return Err(Failure::new(Exit::CouldNotRun, "the plan's file names no source of objects"));
    };
    let digest = file.check(objects, stored, &context.run).await?;
    context.say.lines(&format!("the plan is the saved one (blake3 {digest})\n"));
    Ok(())
}

/// Writes a plan into a new file.
pub(super) async fn save(
    path: &Path,
    planned: &WholeRestore<'_>,
    options: &RestoreOptions,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<(), Failure> {
    if planned.databases.is_some() || !planned.later.is_empty() {
        return Err(databases_are_no_part(stored));
    }
    let Some(objects) = &planned.objects else {
        return Err(Failure::usage("the backup holds no objects of a cluster, so there is no plan to save"));
    };
    let mut file = NewFile::begin(path).await?;
    let digest = operations::save_plan(objects, stored, options, &context.run, file.writer()).await?;
    file.keep().await?;
    let shown = path.display().to_string();
    context.say.lines(&format!("the plan is in {} (blake3 {digest})\n", for_terminal(&shown)));
    let shown = for_terminal(&shown);
    context.say.next(&format!(
        "look at it with `drctl show --plan {shown}`; when it is agreed to: `drctl restore --plan {shown}`"
    ));
    Ok(())
}

/// A plan of databases would be made of rows that change all the time: it cannot be held against them later.
fn databases_are_no_part(stored: &StoredManifest) -> Failure {
    let chosen = operations::choose_sources(stored, &[]).unwrap_or_default();
    let words = |names: &[Name], what: &str| names.iter().map(|name| format!("{what}{name}")).collect::<Vec<_>>();
    let databases = words(&chosen.databases, "");
    let message = format!(
        "a plan of databases cannot be saved, and the backup has some: {}; no plan was written",
        databases.join(", ")
    );
    let objects = words(&chosen.objects, "--source ").join(" ");
    let databases = words(&chosen.databases, "--source ").join(" ");
    Failure::usage(message).next(format!(
        "save a plan of the objects alone: `{objects} --plan-out FILE`; restore the databases by themselves, before what \
         uses them starts: `drctl restore {} {databases}`",
        stored.manifest.backup
    ))
}

/// What a question says of objects that are there and would be changed.
pub(super) fn changes(objects: &Restore) -> String {
    let total = |action| objects.plans.iter().map(|plan| plan.total(action)).sum::<u64>();
    let mut text = String::new();
    for (action, words) in [
        (Action::Update, "live and different, and would be CHANGED"),
        (Action::Replace, "live and different, and would be DELETED and created"),
    ] {
        if total(action) > 0 {
            text.push_str(&format!(";\n{} of them are {words}", total(action)));
        }
    }
    let rejected = objects.answers(Answer::Rejected);
    if rejected > 0 {
        text.push_str(&format!(
            ";\nof {} the server would refuse it or its Pods: the plan names them",
            words::count(rejected, "object")
        ));
    }
    text
}

/// What the server's dry run says.
pub(super) fn server(plan: &Plan) -> String {
    let [accepted, rejected, later] =
        [Answer::Accepted, Answer::Rejected, Answer::NotTestable].map(|answer| plan.answers(answer));
    if accepted + rejected + later == 0 {
        return String::new();
    }
    let mut text =
        format!("The server's own dry run: {accepted} accepted, {rejected} rejected, {later} not testable yet\n");
    let line = |object: PlannedObject<'_>| {
        let namespace = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
        let name = format!("{namespace}{}", object.name);
        format!(
            "  rejected: {} {}: {}\n",
            for_terminal(object.kind),
            for_terminal(&name),
            for_terminal(object.server_reason)
        )
    };
    let of = |answer: Answer| plan.objects().filter(move |object| object.server == answer);
    text.extend(of(Answer::Rejected).take(SHOWN).map(line));
    text.push_str(&more(rejected));
    let mut untestable: BTreeMap<&str, u64> = BTreeMap::new();
    for object in of(Answer::NotTestable) {
        *untestable.entry(object.server_reason).or_default() += 1;
    }
    let line = |(until, count): (&&str, &u64)| {
        format!("  not testable {}: {}\n", for_terminal(until), words::count(*count, "object"))
    };
    text.extend(untestable.iter().take(SHOWN).map(line));
    text.push_str(&more(u64::try_from(untestable.len()).unwrap_or(u64::MAX)));
    text
}

/// Which namespaces come first.
pub(super) fn platform(plan: &Plan) -> String {
    let names: Vec<&str> = plan.platform().into_iter().collect();
    if names.is_empty() {
        return String::new();
    }
    format!("  first, because others need what runs in them: {}\n", for_terminal(&names.join(", ")))
}

fn more(count: u64) -> String {
    let rest = count.saturating_sub(SHOWN as u64);
    if rest == 0 { String::new() } else { format!("  and {rest} more (see -o json)\n") }
}
