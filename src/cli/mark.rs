//! `drctl pin`, `unpin` and `delete`, and `drctl prune --undo`: marks on one backup.

use clap::Args;

use super::{
    confirm::{self, Answer},
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef},
    report::{MarkAction, MarkReport},
    repository::Scope,
};

/// Keep a backup, whatever the rules say.
#[derive(Debug, Args)]
#[command(after_help = "Prune never touches a pinned backup, and `drctl unpin` lets the rules decide again.

Examples:
  drctl pin 20261120T020000Z-k3x7pq -f policies/orders.yaml
  drctl pin 20261120T02 --repository s3://orders-dr/prod")]
pub struct PinArgs {
    /// The backup: an id, or the beginning of one
    backup: BackupRef,
    #[command(flatten)]
    output: OutputArgs,
}

/// Let the rules decide about a backup again.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  drctl unpin 20261120T020000Z-k3x7pq -f policies/orders.yaml")]
pub struct UnpinArgs {
    /// The backup: an id, or the beginning of one
    backup: BackupRef,
    #[command(flatten)]
    output: OutputArgs,
}

/// Mark a backup by hand: prune deletes it a day later.
#[derive(Debug, Args)]
#[command(
    after_help = "For a backup that must not be kept: one with a secret in it that has leaked, or one that is damaged.
It is `latest` no more at once; a `drctl prune` that runs a day later deletes it, with all that no other backup needs.
Until then `drctl prune --undo ID` saves it. Packs that other backups share stay: delete those backups, too.

Examples:
  drctl delete 20261120T020000Z-k3x7pq -f policies/orders.yaml
  drctl delete 20261120T02 --newest --yes --repository s3://orders-dr/prod"
)]
pub struct DeleteArgs {
    /// The backup: an id, or the beginning of one
    backup: BackupRef,
    /// Also if it is the newest good backup of its schedule, or the newest that a drill has proven
    #[arg(long)]
    newest: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn pin(args: &PinArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    run(&args.backup, MarkAction::Pinned, args.output, context).await
}

pub(super) async fn unpin(args: &UnpinArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    run(&args.backup, MarkAction::Unpinned, args.output, context).await
}

pub(super) async fn delete(args: &DeleteArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let text = id(&args.backup)?;
    if !args.yes {
        if !confirm::can_ask() {
            return Err(Failure::usage("delete takes a backup away, and there is nobody to ask: --yes agrees to it"));
        }
        let question = format!("Backup {} is to be deleted.", crate::types::for_terminal(text));
        confirm::ask(context, &question, Answer::Yes).await?;
    }
    let opened = context.open().await?;
    let scope = scope(opened.policy.as_ref());
    let marked = operations::delete_backup(&opened.repository, &scope, text, args.newest, &context.run).await?;
    print(opened.repository.location(), marked, MarkAction::Marked, args.output, context)
}

/// Makes or takes away a mark that no question is asked about.
pub(super) async fn run(
    backup: &BackupRef,
    action: MarkAction,
    output: OutputArgs,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let text = id(backup)?;
    let opened = context.open().await?;
    let (repository, scope) = (&opened.repository, scope(opened.policy.as_ref()));
    let marked = match action {
        MarkAction::Pinned => operations::pin(repository, &scope, text, &context.run).await?,
        MarkAction::Unpinned => operations::unpin(repository, &scope, text).await?,
        MarkAction::Undone => operations::undo_delete(repository, &scope, text, &context.run).await?,
        MarkAction::Marked => operations::delete_backup(repository, &scope, text, false, &context.run).await?,
    };
    print(repository.location(), marked, action, output, context)
}

fn scope(policy: Option<&crate::policy::Policy>) -> Scope {
    policy.map_or(Scope::All, |policy| Scope::Policy(policy.name.clone()))
}

/// A mark is made on a backup that is named, never on whichever is the newest.
fn id(backup: &BackupRef) -> Result<&str, Failure> {
    match backup {
        BackupRef::Id(text) => Ok(text),
        other => {
            let message = format!("`{other}` may mean another backup a moment later: name one by its id");
            Err(Failure::usage(message).next("`drctl list` shows the ids"))
        }
    }
}

fn print(
    location: &str,
    marked: operations::MarkedBackup,
    action: MarkAction,
    output: OutputArgs,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let report = MarkReport {
        repository: location.to_owned(),
        policy: marked.policy.to_string(),
        schedule: marked.schedule.to_string(),
        backup: marked.backup.to_string(),
        action,
        already: marked.already,
    };
    let done = report.text();
    output.print_done(&report, MarkReport::text, (context.say, done.trim_end()))?;
    Ok(Exit::Done)
}
