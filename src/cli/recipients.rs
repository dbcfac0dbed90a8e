//! `drctl repository recipients`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{cluster_secret, context::Context, exit::Failure, output::OutputArgs};
use crate::{
    operations::{self, NewKeys},
    policy::{Encryption, Policy},
    report::{EpochItem, KeyFileItem, PolicyPins, RecipientList, RecipientsChanged},
    repository::crypt::{EpochFiles, Recipient},
};

/// Who may read an encrypted repository.
#[derive(Debug, Subcommand)]
pub enum RecipientsCommand {
    /// List the epochs and their key files, and whom those are for that an identity opens
    #[command(after_help = "Example:
  drctl repository recipients list -f policies/orders.yaml --identity ~/age.key")]
    List(OutputArgs),
    /// Let one more recipient read all backups of the pinned epoch
    #[command(
        after_help = "It takes the identity of a recipient. Backups that are there are not changed: a small key file is added.

Example:
  drctl repository recipients add age1... -f policies/orders.yaml --identity ~/age.key"
    )]
    Add(AddArgs),
    /// Begin a new epoch without a recipient
    #[command(
        after_help = "What is there stays readable to who was removed: only new backups, from when the policy pins the new epoch, are not.
The first of them stores everything anew.

Example:
  drctl repository recipients remove age1... --new-epoch --cluster-secret /dev/shm/drctl.yaml -f policies/orders.yaml"
    )]
    Remove(RemoveArgs),
    /// Begin a new epoch for the recipients that the policy names, for example when what the cluster holds was stolen
    #[command(after_help = "Example:
  drctl repository recipients new-epoch --cluster-secret /dev/shm/drctl.yaml -f policies/orders.yaml")]
    NewEpoch(EpochArgs),
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The public key of the new recipient
    #[arg(value_name = "RECIPIENT")]
    recipient: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The public key of the recipient
    #[arg(value_name = "RECIPIENT")]
    recipient: String,
    /// Yes, begin a new epoch: nothing else keeps a recipient from reading
    #[arg(long, required = true)]
    new_epoch: bool,
    #[command(flatten)]
    epoch: EpochArgs,
}

/// Arguments of what begins an epoch.
#[derive(Debug, Args)]
pub struct EpochArgs {
    /// Where what a cluster needs is written: a Secret of Kubernetes. The file must not be there yet
    #[arg(long, value_name = "FILE")]
    cluster_secret: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(command: &RecipientsCommand, context: &Context<'_>) -> Result<(), Failure> {
    match command {
        RecipientsCommand::List(output) => list(*output, context).await,
        RecipientsCommand::Add(args) => add(args, context).await,
        RecipientsCommand::Remove(args) => begin(&args.epoch, Some(&args.recipient), context).await,
        RecipientsCommand::NewEpoch(args) => begin(args, None, context).await,
    }
}

async fn list(output: OutputArgs, context: &Context<'_>) -> Result<(), Failure> {
    let opened = context.open().await?;
    let (pinned, recipients) = match opened.policy.as_ref().map(|policy| &policy.repository.encryption) {
        Some(Encryption::Age(age)) => (age.epoch.clone(), age.recipients.clone()),
        _ => (None, Vec::new()),
    };
    let epochs = opened.repository.epoch_files().await?;
    let repository = opened.repository.location().to_owned();
    let list = RecipientList { repository, pinned, recipients, epochs: epochs.into_iter().map(epoch).collect() };
    output.print(&list, RecipientList::text)
}

fn epoch(found: EpochFiles) -> EpochItem {
    let texts = |recipients: Vec<Recipient>| recipients.iter().map(Recipient::to_string).collect();
    let file = |file: crate::repository::crypt::KeyFileEntry| KeyFileItem {
        number: file.number,
        recipients: file.recipients.map(texts),
        wrong: file.wrong,
    };
    EpochItem {
        epoch: found.epoch.to_string(),
        first: found.in_header,
        files: found.files.into_iter().map(file).collect(),
    }
}

async fn add(args: &AddArgs, context: &Context<'_>) -> Result<(), Failure> {
    let policy = context.policy()?;
    let repository = operations::open_of(&policy, &context.keys(), None).await?;
    let (_, recipients) = operations::add_recipient(&repository, &policy, &args.recipient, &context.run).await?;
    let epoch = match &policy.repository.encryption {
        Encryption::Age(age) => age.epoch.clone(),
        Encryption::None => None,
    };
    let changed = RecipientsChanged {
        repository: repository.location().to_owned(),
        new_epoch: false,
        policy: PolicyPins {
            id: repository.header().id.to_string(),
            signers: Vec::new(),
            epoch,
            recipients: recipients.iter().map(Recipient::to_string).collect(),
        },
        cluster_secret: None,
    };
    args.output.print_done(&changed, RecipientsChanged::text, (context.say, "the recipient was added"))
}

async fn begin(args: &EpochArgs, removed: Option<&str>, context: &Context<'_>) -> Result<(), Failure> {
    let policy = context.policy()?;
    let repository = operations::open_of(&policy, &context.keys(), None).await?;
    let keys = operations::new_epoch(&repository, &policy, removed)?;
    let path = args.cluster_secret.as_path();
    cluster_secret::write(path, &policy.name, &keys).await?;
    let begun = operations::begin_epoch(&repository, &keys, &context.run).await;
    begun.map_err(|error| cluster_secret::of_no_use(error, Some(path), "the epoch"))?;
    let changed = RecipientsChanged {
        repository: repository.location().to_owned(),
        new_epoch: true,
        policy: pins(repository.header().id.as_str(), &policy, &keys),
        cluster_secret: Some(args.cluster_secret.display().to_string()),
    };
    args.output.print_done(&changed, RecipientsChanged::text, (context.say, "the epoch was begun"))
}

/// What the policy has to say with new keys: the signers that it has stay, because they have signed what is there.
fn pins(id: &str, policy: &Policy, keys: &NewKeys) -> PolicyPins {
    let new = keys.signing_key.iter().map(|key| key.signer().to_string());
    PolicyPins {
        id: id.to_owned(),
        signers: policy.repository.signers.iter().cloned().chain(new).collect(),
        epoch: keys.epoch.as_ref().map(|epoch| epoch.name().to_string()),
        recipients: keys.recipients.iter().map(Recipient::to_string).collect(),
    }
}
