//! `drctl copy`, and the copies of a schedule's new backup.

use clap::Args;

use super::{
    context::Context,
    exit::{self, Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef, Copies, CopyAsked, CopyFate, CopyPlace, WhichBackups},
    policy::{Bandwidth, Policy},
    report::{CopiedItem, CopyAction, CopyReport},
    types::Name,
};

/// Bring backups into a copy of the repository, or back from one.
#[derive(Debug, Args)]
#[command(
    after_help = "A copy has the repository's id, keys, names and bytes, and every command works on it by --copy NAME. No key is needed.
Without BACKUP, all backups are copied that the copy lacks and that its `keep` would keep, oldest first. What is there is
not sent again, so a copy that was stopped goes on. Every pack is proven by its name on the way; a backup of which
anything is damaged or missing does not become visible in the copy.
The first copy makes the repository there, byte for byte; a place that holds another repository is refused (exit 5).
The exit code is 4 if something is damaged, and 3 if some backups could be copied and others not.

Examples:
  drctl copy --to us -f policies/orders.yaml
  drctl copy latest:weekly --to us --bandwidth 10MiB -f policies/orders.yaml
  drctl copy --to us --dry-run -f policies/orders.yaml
  drctl copy --from us --to repository -f policies/orders.yaml"
)]
pub struct CopyArgs {
    /// The backup: an id, the beginning of one, `latest`, `latest:SCHEDULE`, `@TIME`, or `all` (default: all)
    backup: Option<BackupRef>,
    /// Where to: a copy of the policy, or `repository`
    #[arg(long, value_name = "NAME")]
    to: CopyPlace,
    /// Where from: a copy of the policy, or `repository`
    #[arg(long, value_name = "NAME", default_value = "repository")]
    from: CopyPlace,
    /// Send at most so many bytes a second: 10MiB (default: what the policy says of the copy, else as many as go)
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<Bandwidth>,
    /// Show what would be sent, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &CopyArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let policy = context.policy()?;
    let which = match &args.backup {
        None => WhichBackups::All,
        Some(BackupRef::Id(text)) if text == "all" => WhichBackups::All,
        Some(wanted) => WhichBackups::One(wanted.clone()),
    };
    let asked = CopyAsked {
        from: args.from.clone(),
        to: args.to.clone(),
        which,
        bandwidth: args.bandwidth.as_ref().map(Bandwidth::bytes),
        dry_run: args.dry_run,
    };
    let copies = operations::copy(&policy, &asked, &context.keys(), &context.run).await?;
    context.telemetry.finish();
    let report = report(&policy, &asked, &copies);
    let exit = exit_of(&copies);
    args.output.print_done(&report, CopyReport::text, (context.say, "the copy has come to its end"))?;
    let problems = report.problems();
    if !problems.is_empty() {
        context.say.lines(&format!("not everything is in the copy:\n{problems}"));
    }
    if let Some(next) = next_of(&copies) {
        context.say.next(next);
    }
    Ok(exit)
}

/// How a copy ends: damage outweighs an interruption, and both what could not be done.
fn exit_of(copies: &Copies) -> Exit {
    let own = |error| exit::exit_of(error);
    if copies.failed().any(|(_, error)| own(error) == Exit::Difference) {
        return Exit::Difference;
    }
    let failed = copies.failed().map(|(_, error)| own(error)).chain(copies.ended.as_ref().map(own)).last();
    match failed {
        None => Exit::Done,
        Some(Exit::Difference) => Exit::Difference,
        Some(Exit::Interrupted) => Exit::Interrupted,
        Some(_) if copies.copied() > 0 => Exit::Partial,
        Some(exit) => exit,
    }
}

fn next_of(copies: &Copies) -> Option<&'static str> {
    let errors = copies.ended.iter().chain(copies.failed().map(|(_, error)| error));
    errors.filter_map(exit::next_of).next()
}

fn report(policy: &Policy, asked: &CopyAsked, copies: &Copies) -> CopyReport {
    let counts = copies.counts();
    CopyReport {
        policy: policy.name.to_string(),
        from: asked.from.to_string(),
        from_url: copies.from.clone(),
        to: asked.to.to_string(),
        to_url: copies.to.clone(),
        dry_run: asked.dry_run,
        whole: copies.is_whole(),
        backups: copies.backups.iter().map(item).collect(),
        copied: copies.copied(),
        packs: counts.packs,
        bytes: counts.bytes,
        packs_there: counts.packs_there,
        accepts: copies.accepts,
        ended: copies.ended.as_ref().map(exit::chain_of),
    }
}

fn item(one: &operations::CopiedBackup) -> CopiedItem {
    let (action, why, counts) = match &one.fate {
        CopyFate::Copied(counts) => (CopyAction::Copied, None, counts.clone()),
        CopyFate::There => (CopyAction::There, None, Default::default()),
        CopyFate::LeftOut(why) => (CopyAction::LeftOut, Some(why.clone()), Default::default()),
        CopyFate::Failed(error) => (CopyAction::Failed, Some(exit::chain_of(error)), Default::default()),
    };
    CopiedItem {
        id: one.backup.to_string(),
        schedule: one.schedule.to_string(),
        action,
        why,
        packs: counts.packs,
        bytes: counts.bytes,
    }
}

/// Brings a schedule's backups into its copies, after the backup of it was made. Gives a report of each copy that could be
/// begun, and says what could not be done, and what is done next. The end is `Partial` if one failed.
pub(super) async fn after_backup(policy: &Policy, schedule: &Name, context: &Context<'_>) -> (Vec<CopyReport>, Exit) {
    let (mut reports, mut end) = (Vec::new(), Exit::Done);
    let names = policy.schedules.get(schedule).map(|schedule| schedule.copy_to.as_slice()).unwrap_or_default();
    for name in names {
        let asked = CopyAsked {
            from: CopyPlace::Repository,
            to: CopyPlace::Copy(name.clone()),
            which: WhichBackups::Schedule(schedule.clone()),
            bandwidth: None,
            dry_run: false,
        };
        let copies = match operations::copy(policy, &asked, &context.keys(), &context.run).await {
            Ok(copies) => copies,
            Err(error) => Copies::not_begun(policy, &asked, error),
        };
        let report = report(policy, &asked, &copies);
        if !report.whole {
            end = Exit::Partial;
        }
        reports.push(report);
    }
    (reports, end)
}
