//! `drctl repository init|info|sessions`.

use clap::Subcommand;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations,
    report::{RepositoryInfo, SessionItem, SessionList, SessionState},
    repository::{self, Repository, SessionEntry},
};

/// Make a repository, and look at one.
#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Make the repository that the policy names
    #[command(
        after_help = "The bucket must exist; a local folder is made. A repository that is there already is left as it is (exit 5).

Example:
  drctl repository init -f policies/orders.yaml"
    )]
    Init(OutputArgs),
    /// Show what a repository says of itself
    #[command(after_help = "Examples:
  drctl repository info -f policies/orders.yaml
  drctl repository info --repository s3://orders-dr/prod -o json")]
    Info(OutputArgs),
    /// List the runs that have begun, and what became of them
    #[command(after_help = "An open session is a backup that runs, or one that died: its last checkpoint tells.

Examples:
  drctl repository sessions -f policies/orders.yaml
  drctl repository sessions --repository file:///var/backups/orders -o json")]
    Sessions(OutputArgs),
}

pub(super) async fn run(command: &RepositoryCommand, context: &Context<'_>) -> Result<Exit, Failure> {
    match command {
        RepositoryCommand::Init(output) => {
            let policy = context.policy()?;
            let made = operations::initialise(&policy, context.run.clock.as_ref()).await?;
            output.print_done(&info(&made, true), RepositoryInfo::text, (context.say, "the repository was made"))?;
        }
        RepositoryCommand::Info(output) => {
            let opened = context.open().await?;
            output.print(&info(&opened.repository, false), RepositoryInfo::text)?;
        }
        RepositoryCommand::Sessions(output) => {
            let opened = context.open().await?;
            let policy = opened.policy.as_ref().map(|policy| &policy.name);
            let sessions = opened.repository.sessions(policy).await?;
            let list = SessionList {
                repository: opened.repository.location().to_owned(),
                sessions: sessions.into_iter().map(session).collect(),
            };
            let now = context.run.clock.now();
            output.print(&list, |list| list.text(now))?;
            if list.sessions.iter().any(|session| session.state == SessionState::Damaged) {
                return Ok(Exit::Difference);
            }
        }
    }
    Ok(Exit::Done)
}

fn info(repository: &Repository, created_now: bool) -> RepositoryInfo {
    let header = repository.header();
    RepositoryInfo {
        repository: repository.location().to_owned(),
        id: header.id.to_string(),
        format: header.format,
        created: header.created,
        encryption: header.encryption.mode.clone(),
        requires: header.requires.clone(),
        tool: header.tool.clone(),
        created_now,
    }
}

fn session(entry: SessionEntry) -> SessionItem {
    let mut item = SessionItem {
        policy: entry.policy.to_string(),
        backup: entry.backup.to_string(),
        schedule: entry.schedule.map(|schedule| schedule.to_string()),
        began: entry.began,
        state: SessionState::Ended,
        last_checkpoint: None,
        note: None,
    };
    match entry.state {
        repository::SessionState::Ended => {}
        repository::SessionState::Open { last_checkpoint, .. } => {
            item.state = SessionState::Open;
            item.last_checkpoint = last_checkpoint;
        }
        repository::SessionState::Damaged(why) => {
            item.state = SessionState::Damaged;
            item.note = Some(why);
        }
    }
    item
}
