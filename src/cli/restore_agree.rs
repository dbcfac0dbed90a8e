//! What has to be agreed to before a restore, and what is said to those who agree beforehand.

use super::{
    confirm::{self, Answer},
    context::Context,
    exit::Failure,
    restore::{RestoreArgs, document},
    restore_databases, restore_mongodb, restore_plan, restore_text,
};
use crate::{
    operations::{PlanWarning, Restore, WholeRestore},
    repository::StoredManifest,
    sources::kubernetes::restore::Plan,
    types::{State, for_terminal},
};

/// So many are shown; `-o json` has all.
const SHOWN: usize = 20;

/// What the plans warn of, source by source, in the order of the plan that is shown.
pub(super) fn warnings(planned: &WholeRestore<'_>) -> Vec<PlanWarning> {
    let databases = planned.databases.iter().flat_map(|databases| &databases.plans);
    let databases = databases.flat_map(|plan| PlanWarning::of(&plan.source, &plan.warnings));
    let collections = planned.collections.iter().flat_map(|databases| &databases.plans);
    let collections = collections.flat_map(|plan| PlanWarning::of(&plan.source, &plan.notes));
    let objects = planned.objects.iter().flat_map(|objects| &objects.plans);
    let objects = objects.flat_map(|plan| PlanWarning::of(&plan.source, plan.warnings()));
    databases.chain(collections).chain(objects).collect()
}

fn shown(warnings: &[PlanWarning]) -> String {
    let line =
        |it: &PlanWarning| format!("warning: source {}: {}\n", for_terminal(&it.source), for_terminal(&it.warning));
    let mut text: String = warnings.iter().take(SHOWN).map(line).collect();
    if let Some(more @ 1..) = warnings.len().checked_sub(SHOWN) {
        text.push_str(&format!("  and {more} more (see -o json)\n"));
    }
    text
}

/// Makes sure that this restore, into this cluster and these databases, is meant.
pub(super) async fn agree(
    args: &RestoreArgs,
    planned: &WholeRestore<'_>,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let databases =
        planned.databases.as_ref().map(|plans| restore_databases::question(plans, args.databases.no_switch));
    let collections = planned.collections.as_ref().map(restore_mongodb::question);
    let objects = planned.objects.as_ref().filter(|objects| asks_for_objects(objects));
    let is_named = args.cluster.is_some() || args.plan.plan.is_some();
    let named = objects.is_none_or(|objects| objects.is_same_cluster() || is_named);
    if (databases.is_none() && collections.is_none() && objects.is_none()) || (args.yes && named) {
        // Nobody is shown the plan, which has them.
        context.say.lines(&shown(&warnings(planned)));
        return Ok(());
    }
    let later = planned.later.iter().map(restore_databases::later_question);
    let databases = databases.into_iter().chain(collections);
    let parts = databases.chain(objects.map(|objects| question(objects, writes(objects)))).chain(later);
    let question = parts.collect::<Vec<_>>().join(";\n");
    let asks = confirm::can_ask();
    if asks {
        context.say.lines(&format!("{}\n", restore_text::plan(&document(planned, stored))));
    }
    let nobody = || Failure::usage(format!("{question}\nnobody is there to ask; nothing was changed"));
    match (objects.filter(|_| !named), asks) {
        (None, true) => confirm::ask(context, &question, Answer::Yes).await,
        (Some(objects), true) => confirm::ask(context, &question, Answer::Name(objects.target.name.clone())).await,
        (None, false) => Err(nobody().next("look at the plan with --dry-run, then run it again with --yes")),
        (Some(objects), false) => {
            let uid = &objects.target.uid;
            Err(nobody().next(format!("if this cluster is meant, run it again with --cluster {uid} --yes")))
        }
    }
}

/// What writes nothing needs no agreement, and conflicts are refused before anything is written.
fn asks_for_objects(objects: &Restore) -> bool {
    writes(objects) > 0 && objects.refuse_conflicts().is_ok()
}

fn writes(objects: &Restore) -> u64 {
    objects.plans.iter().map(Plan::writes).sum()
}

fn question(restore: &Restore, writes: u64) -> String {
    let (name, uid) = (for_terminal(&restore.target.name), for_terminal(&restore.target.uid));
    let mut text =
        format!("restoring backup {} writes {writes} objects into cluster `{name}` (uid {uid})", restore.backup);
    match &restore.origin {
        Some(_) if restore.is_same_cluster() => text.push_str(", which it was taken of"),
        Some(origin) => {
            let (name, uid) = (for_terminal(&origin.name), for_terminal(&origin.uid));
            text.push_str(&format!(";\nit was taken of ANOTHER cluster: `{name}` (uid {uid})"));
        }
        None => text.push_str(";\nit does not say which cluster it was taken of"),
    }
    text.push_str(&restore_plan::changes(restore));
    if restore.state != State::Complete {
        text.push_str(&format!(";\nthe backup is {}: `drctl show {}` says why", restore.state, restore.backup));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_warnings_some_are_shown_and_the_others_counted() {
        let warning = |n: usize| PlanWarning { source: "db".to_owned(), warning: format!("number {n}") };
        let text = |count: usize| shown(&(0..count).map(warning).collect::<Vec<_>>());
        assert_eq!(text(0), "");
        assert_eq!(text(1), "warning: source db: number 0\n");
        assert!(text(SHOWN).ends_with(&format!("number {}\n", SHOWN - 1)));
        assert!(text(SHOWN + 3).ends_with("  and 3 more (see -o json)\n"));
    }
}
