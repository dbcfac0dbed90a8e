//! `drctl prune`, and the table that `policy show --backups` prints.

use clap::Args;

use super::{
    confirm::{self, Answer},
    context::Context,
    exit::{Exit, Failure},
    mark,
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef, Fate, PlannedBackup, PruneAsked, PrunePlan},
    policy::Policy,
    report::{LockedObject, MarkAction, PruneAction, PruneReport, PrunedBackup, Swept},
    repository::{Pruned, Repository},
};

/// Apply retention: mark what no rule keeps, and delete what was marked a day ago.
#[derive(Debug, Args)]
#[command(
    after_help = "The rules are `keep` of each schedule of the policy file; `--dry-run` shows each backup with the rules that keep it.
What no rule keeps gets a tombstone; a prune that runs a day later, or later, deletes it. Until then --undo saves it.
A run that has written nothing for 6 hours is taken for dead, and can never commit from then on.

Never pruned: the newest good backup of a schedule, the newest that a drill has proven, what is pinned, what a run uses
that has not ended, backups of a schedule that the policy does not have, and backups whose id and the store disagree
about their time. No more than 3 backups, or a tenth of them, are marked at once without --max-delete.

Two prunes at once are safe, and one that was killed is run again. It needs an identity of its own, which may delete.

Examples:
  drctl prune --dry-run -f policies/orders.yaml
  drctl prune --yes -f policies/orders.yaml
  drctl prune --max-delete 14 -f policies/orders.yaml
  drctl prune --undo 20261120T020000Z-k3x7pq -f policies/orders.yaml"
)]
pub struct PruneArgs {
    /// Show what becomes of each backup and why, and change nothing
    #[arg(long, conflicts_with_all = ["undo", "yes"])]
    dry_run: bool,
    /// Take the tombstone of this backup away, within a day of its making: an id, or the beginning of one
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["max_delete", "yes"])]
    undo: Option<BackupRef>,
    /// So many backups may be marked at once (default: 3, or a tenth of them)
    #[arg(long, value_name = "N")]
    max_delete: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &PruneArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    if let Some(backup) = &args.undo {
        return mark::run(backup, MarkAction::Undone, args.output, context).await;
    }
    let policy = context.policy()?;
    if args.dry_run {
        return show(&policy, args.max_delete, args.output, context).await;
    }
    if !args.yes && !confirm::can_ask() {
        return Err(Failure::usage("prune deletes, and there is nobody to ask: --yes agrees to it")
            .next("--dry-run shows what it would do"));
    }
    let repository = operations::open_of(&policy, &context.keys(), None).await?;
    let asked = PruneAsked { max_delete: args.max_delete, look_only: false };
    let plan = operations::plan_prune(&repository, &policy, asked, &context.run).await?;
    plan.refuse_too_many()?;
    let mut report = report(&repository, &policy, &plan, false);
    if !args.yes && plan.count(Fate::ToMark) + plan.count(Fate::ToDelete) + plan.idle().len() > 0 {
        context.say.lines(&report.plan(context.run.clock.now()));
        confirm::ask(context, &question(&plan), Answer::Yes).await?;
    }
    let pruned = operations::prune(&repository, &policy, &plan, &context.run).await?;
    let interrupted = pruned.interrupted;
    for run in plan.idle().iter().filter(|run| !pruned.fenced.contains(&run.backup)) {
        context.say.lines(&format!(
            "note: the run {} was not given up: it has ended meanwhile; or its manifest was deleted, and the store gives no name again \
             (docs/stores.md): then its packs stay until its session is deleted there by hand\n",
            run.backup
        ));
    }
    add(&mut report, pruned);
    let now = context.run.clock.now();
    let text = |report: &PruneReport| format!("{}{}", report.plan(now), report.done());
    args.output.print_done(&report, text, (context.say, "the prune has come to its end"))?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Done })
}

/// Each backup of the policy with the rules that keep it. Nothing is changed.
pub(super) async fn show(
    policy: &Policy,
    max_delete: Option<u64>,
    output: OutputArgs,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let repository = operations::open_of(policy, &context.keys(), None).await?;
    let asked = PruneAsked { max_delete, look_only: true };
    let plan = operations::plan_prune(&repository, policy, asked, &context.run).await?;
    let refusal = plan.refuse_too_many().err();
    let report =
        PruneReport { refused: refusal.as_ref().map(ToString::to_string), ..report(&repository, policy, &plan, true) };
    let now = context.run.clock.now();
    output.print(&report, |report| report.plan(now))?;
    Ok(if refusal.is_some() { Exit::CouldNotRun } else { Exit::Done })
}

fn question(plan: &PrunePlan) -> String {
    format!(
        "{} to be marked, {} to be deleted now, {} to be fenced.",
        crate::types::counted(plan.count(Fate::ToMark) as u64, "backup"),
        crate::types::counted(plan.count(Fate::ToDelete) as u64, "backup"),
        crate::types::counted(plan.idle().len() as u64, "dead run"),
    )
}

fn report(repository: &Repository, policy: &Policy, plan: &PrunePlan, dry_run: bool) -> PruneReport {
    PruneReport {
        repository: repository.location().to_owned(),
        policy: policy.name.to_string(),
        dry_run,
        backups: plan.backups.iter().map(item).collect(),
        unmanaged: plan.unmanaged.iter().map(ToString::to_string).collect(),
        fenced: plan.idle().iter().map(|run| run.backup.to_string()).collect(),
        refused: None,
        swept: None,
    }
}

fn item(one: &PlannedBackup) -> PrunedBackup {
    PrunedBackup {
        id: one.backup.to_string(),
        schedule: one.schedule.to_string(),
        state: one.state.clone(),
        action: match one.fate {
            Fate::Kept => PruneAction::Keep,
            Fate::ToMark => PruneAction::Mark,
            Fate::Marked => PruneAction::Marked,
            Fate::ToDelete => PruneAction::Delete,
            Fate::Unmanaged => PruneAction::Unmanaged,
        },
        reasons: one.reasons.clone(),
        undo_until: one.undo_until,
    }
}

/// What was really done: a run may have committed before its fence, and Ctrl-C may have come.
fn add(report: &mut PruneReport, pruned: Pruned) {
    report.fenced = pruned.fenced.iter().map(ToString::to_string).collect();
    for one in &mut report.backups {
        let deleted = pruned.deleted.iter().any(|id| id.as_str() == one.id);
        if one.action == PruneAction::Delete && !deleted {
            one.action = PruneAction::Marked;
        }
    }
    report.swept = Some(Swept {
        packs: pruned.packs,
        bytes: pruned.bytes,
        objects: pruned.objects,
        live_packs: pruned.live_packs,
        interrupted: pruned.interrupted,
        locked: pruned.locked,
        locked_named: pruned
            .locked_named
            .into_iter()
            .map(|(key, until)| LockedObject { key: key.to_string(), until })
            .collect(),
    });
}
