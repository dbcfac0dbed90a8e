//! `drctl backup`.

use clap::Args;

use super::{
    context::Context,
    copy,
    exit::{Exit, Failure},
    output::OutputArgs,
    show,
};
use crate::{
    operations::{self, BackupOptions},
    report::BackupReport,
    types::Name,
};

/// Run a schedule's backup now.
#[derive(Debug, Args)]
#[command(after_help = "The repository must exist: `drctl repository init` makes it, once.
The exit code is 3 if the backup is partial (what is missing is named), and 4 if it is suspect: a source has lost
more than half of what it held, or a namespace is gone, empty or being deleted. Neither becomes `latest`.
Where the schedule says `copyTo`, its backups are then brought into these copies, also those that an earlier run could
not copy. A copy that fails leaves the backup as it is, and the exit code is 3.

Examples:
  drctl backup daily -f policies/orders.yaml
  drctl backup weekly -f policies/orders.yaml --context prod
  drctl backup daily --source services -o json")]
pub struct BackupArgs {
    /// The schedule (default: the policy's only one)
    schedule: Option<Name>,
    /// Only these sources of the schedule; the backup is partial then, on purpose
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<Name>,
    /// Take this cluster although the policy's newest backup is of another one
    #[arg(long)]
    adopt_cluster: bool,
    /// Store everything anew, and rely on nothing that earlier backups stored
    #[arg(long)]
    full: bool,
    /// Packs between two checkpoints (for tests)
    #[arg(long, hide = true, value_name = "PACKS", value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_packs: Option<u32>,
    /// Seconds that others wait for a database's locks before the backup gives way (for tests)
    #[arg(long, hide = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &BackupArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let policy = context.policy()?;
    let options = BackupOptions {
        schedule: args.schedule.clone(),
        only: args.sources.clone(),
        adopt_cluster: args.adopt_cluster,
        full: args.full,
        connect: context.connect(),
        checkpoint_packs: args.checkpoint_packs,
        patience: args.patience.map(std::time::Duration::from_secs),
    };
    let repository = operations::open_of(&policy, &context.keys(), None).await?;
    let outcome = operations::backup(&repository, &policy, &options, &context.run).await?;
    let exit = Exit::of_backup(&outcome);
    let copies = copy::after_backup(&policy, &outcome.manifest.schedule, context).await;
    let (copies, nexts): (Vec<_>, Vec<_>) = copies.into_iter().unzip();
    context.telemetry.finish();
    let report = BackupReport {
        repository: repository.location().to_owned(),
        backup: show::of_manifest(&outcome.manifest),
        partial_on_purpose: outcome.on_purpose,
        copies,
    };
    let id = &outcome.manifest.backup;
    let done = format!("backup {id} was made and is {}", report.backup.state);
    args.output.print_done(&report, BackupReport::text, (context.say, &done))?;
    if exit != Exit::Done {
        context.say.lines(&format!("the backup is {}:\n{}", report.backup.state, report.backup.problems()));
    }
    match exit {
        Exit::Difference => context
            .say
            .next(&format!("if that is as it should be, `drctl accept {id}`; else restore from an earlier one")),
        Exit::Partial => context.say.next("put right what is named as missing, and run it again"),
        _ => {}
    }
    for (copy, next) in report.copies.iter().zip(nexts).filter(|(copy, _)| !copy.whole) {
        let (to, problems, state) = (&copy.to, copy.problems(), &report.backup.state);
        let schedule = &outcome.manifest.schedule;
        context.say.lines(&format!(
            "not everything of schedule {schedule} is in the copy `{to}` (backup {id} is in the repository, and {state}):\n\
             {problems}"
        ));
        if let Some(next) = next {
            context.say.next(&next);
        }
        context.say.next(&format!("`drctl copy --to {to}` goes on, and so does the schedule's next run"));
    }
    match report.copies.iter().all(|copy| copy.whole) {
        true => Ok(exit),
        false if context.run.cancel.is_cancelled() => Ok(Exit::Interrupted),
        false => Ok(exit.graver(Exit::Partial)),
    }
}
