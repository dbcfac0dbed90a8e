//! `drctl repository init|info|sessions`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    cluster_secret,
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    recipients::{self, RecipientsCommand},
};
use crate::{
    operations,
    policy::Encryption,
    report::{PolicyPins, RepositoryInfo, SessionItem, SessionList, SessionState},
    repository::{self, Repository, SessionEntry},
};

/// Make a repository, and look at one.
#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Make the repository that the policy names
    #[command(
        after_help = "The bucket must exist; a local folder is made. A repository that is there already is left as it is (exit 5).
With `encryption: {recipients: [age1...]}` in the policy it is encrypted, and signed. What the policy has to say then is \
printed; what a cluster needs is written into the file of --cluster-secret, which only its owner may read.

Examples:
  drctl repository init -f policies/orders.yaml
  drctl repository init -f policies/orders.yaml --cluster-secret /dev/shm/drctl-orders.yaml"
    )]
    Init(InitArgs),
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
    /// Who may read an encrypted repository
    #[command(
        subcommand,
        after_help = "Examples:
  drctl repository recipients list -f policies/orders.yaml --identity ~/age.key
  drctl repository recipients add age1... -f policies/orders.yaml --identity ~/age.key"
    )]
    Recipients(RecipientsCommand),
}

/// Arguments of `drctl repository init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where what a cluster needs is written: a Secret of Kubernetes. The file must not be there yet. Without encryption, a key that signs is made only with it
    #[arg(long, value_name = "FILE")]
    cluster_secret: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(command: &RepositoryCommand, context: &Context<'_>) -> Result<Exit, Failure> {
    match command {
        RepositoryCommand::Init(output) => {
            initialise(output, context).await?;
        }
        RepositoryCommand::Info(output) => {
            let opened = context.open().await?;
            output.print(&info(&opened.repository, false), RepositoryInfo::text)?;
        }
        RepositoryCommand::Recipients(command) => recipients::run(command, context).await?,
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

async fn initialise(args: &InitArgs, context: &Context<'_>) -> Result<(), Failure> {
    let policy = context.policy()?;
    let encrypted = policy.repository.encryption != Encryption::None;
    let path = args.cluster_secret.as_deref();
    if encrypted && path.is_none() {
        return Err(Failure::usage("an encrypted repository has keys that the cluster needs")
            .next("say with --cluster-secret FILE where they are written"));
    }
    operations::refuse_taken(&policy).await?;
    let keys = operations::new_keys(&policy, path.is_some())?;
    // Before there is a repository: one whose keys nobody has is of no use, and is in the way of the next.
    if let Some(path) = path {
        cluster_secret::write(path, &policy.name, &keys).await?;
    }
    let made = operations::initialise(&policy, &keys, &context.run).await;
    let made = made.map_err(|error| cluster_secret::of_no_use(error, path, "the repository"))?;
    let pins = PolicyPins {
        id: made.header().id.to_string(),
        signers: keys.signing_key.iter().map(|key| key.signer().to_string()).collect(),
        epoch: keys.epoch.as_ref().map(|epoch| epoch.name().to_string()),
        recipients: keys.recipients.iter().map(ToString::to_string).collect(),
    };
    let report = RepositoryInfo {
        policy: Some(pins),
        cluster_secret: path.map(|path| path.display().to_string()),
        ..info(&made, true)
    };
    args.output.print_done(&report, RepositoryInfo::text, (context.say, "the repository was made"))
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
        epochs: header
            .encryption
            .epochs
            .iter()
            .filter_map(|epoch| Some(epoch.get("epoch")?.as_str()?.to_owned()))
            .collect(),
        policy: None,
        cluster_secret: None,
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
