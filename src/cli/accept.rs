//! `drctl accept`.

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef},
    report::AcceptReport,
    repository::AcceptOutcome,
};

/// Accept a suspect backup as the new base.
#[derive(Debug, Args)]
#[command(
    after_help = "A backup is suspect when a source has lost more than half of what it held, or a namespace is gone or empty.
If that is as it should be, accept it: it then counts as good, and later backups are compared with it.
Nothing of the backup is changed; a mark is written beside it.

Examples:
  drctl accept 20261120T020000Z-k3x7pq -f policies/orders.yaml
  drctl show 20261120T02 && drctl accept 20261120T02"
)]
pub struct AcceptArgs {
    /// The backup: an id, or the beginning of one
    backup: BackupRef,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &AcceptArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let BackupRef::Id(_) = &args.backup else {
        return Err(Failure::usage(format!(
            "`{}` can only mean a good backup, and those need no accepting",
            args.backup
        ))
        .next("`drctl list` shows the ids of suspect backups"));
    };
    let opened = context.open().await?;
    let stored = opened.find(&args.backup, &context.say).await?.stored;
    stored.refuse_unsigned(false)?;
    let outcome = operations::accept(&opened.repository, &stored, &context.run).await?;
    let report = AcceptReport {
        repository: opened.repository.location().to_owned(),
        backup: stored.manifest.backup.to_string(),
        already_accepted: outcome == AcceptOutcome::AlreadyAccepted,
    };
    let done = format!("backup {} was accepted", report.backup);
    args.output.print_done(&report, AcceptReport::text, (context.say, &done))?;
    Ok(Exit::Done)
}
