//! The command line: what may be written on it.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::{operations, telemetry, types::Name};

/// Backs up Kubernetes namespaces and PostgreSQL databases, and proves that they restore.
#[derive(Debug, Parser)]
#[command(
    name = "drctl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 all done, 1 failed, 2 usage or policy file wrong, 3 done in part, \
                  4 damage or a difference, 5 could not run, 6 fenced, 130 interrupted.\n\
                  Data goes to standard output; progress, log and errors go to standard error.\n\n\
                  Examples:\n  drctl policy check -f policies/orders.yaml\n  drctl doctor -f policies/orders.yaml\n  \
                  drctl backup daily -f policies/orders.yaml\n  drctl list --repository s3://orders-dr/prod\n  \
                  drctl restore latest --dry-run -f policies/orders.yaml"
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// The policy file
    #[arg(
        short,
        long,
        global = true,
        env = "DRCTL_FILE",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub file: Option<PathBuf>,
    /// The repository, without a policy file: s3://bucket/prefix, az://account/container/prefix or file:///path; --file is not read then (AWS_ENDPOINT_URL and AZURE_STORAGE_SERVICE_ENDPOINT name a store that is not AWS, not Azure)
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    // Not parsed by clap, which would repeat credentials that somebody has put into it.
    pub repository: Option<String>,
    /// Work on this copy of the policy in place of its repository
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "repository", help_heading = "Global options")]
    pub copy: Option<Name>,
    /// The file with the secret key of a recipient (of `age-keygen`), which opens an encrypted repository (else DRCTL_IDENTITY)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub identity: Option<PathBuf>,
    /// A public SSH key whose signatures are believed, beside those of the policy; may be repeated
    // A private key begins with hyphens, and clap would show it.
    #[arg(
        long = "signer",
        global = true,
        value_name = "KEY",
        allow_hyphen_values = true,
        help_heading = "Global options"
    )]
    pub signers: Vec<String>,
    /// Look at the repository as it was at this time (2026-11-20T12:00Z), past later deletions and overwrites: for commands that read, and S3 buckets that keep versions
    #[arg(long, global = true, value_name = "TIME", value_parser = moment, help_heading = "Global options")]
    pub as_of: Option<Timestamp>,
    /// The kubeconfig that names the cluster (else KUBECONFIG, else the cluster that drctl runs in)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig (else its current one)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub context: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Global options")]
    pub log_format: LogFormat,
    /// More log; repeat it for more (DRCTL_LOG sets a filter of its own)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// No progress, and only errors in the log
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    operations::parse_moment(text).ok_or_else(|| "a time is written with its zone, like 2026-11-20T12:00Z".to_owned())
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Bars on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
}

impl Global {
    /// What the log shows.
    #[must_use]
    pub fn log_options(&self) -> telemetry::LogOptions {
        let format = match self.log_format {
            LogFormat::Auto => telemetry::LogFormat::Auto,
            LogFormat::Json => telemetry::LogFormat::Json,
        };
        let verbosity = if self.quiet { -1 } else { i8::try_from(self.verbose).unwrap_or(i8::MAX) };
        telemetry::LogOptions { format, verbosity }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a schedule's backup now
    Backup(super::backup::BackupArgs),
    /// List the backups
    List(super::list::ListArgs),
    /// Show one backup
    Show(super::show::ShowArgs),
    /// Hold the repository against itself
    Verify(super::verify::VerifyArgs),
    /// Bring objects of a backup back into a cluster
    Restore(Box<super::restore::RestoreArgs>),
    /// Write a source of a backup as stock tools read it
    Export(super::export::ExportArgs),
    /// Show what changed from one backup to another
    Diff(super::diff::DiffArgs),
    /// Show which backups hold an object, and where it changed
    History(super::history::HistoryArgs),
    /// Accept a suspect backup as the new base
    Accept(super::accept::AcceptArgs),
    /// Apply retention: mark what no rule keeps, and delete what was marked a day ago
    Prune(super::prune::PruneArgs),
    /// Keep a backup, whatever the rules say
    Pin(super::mark::PinArgs),
    /// Let the rules decide about a backup again
    Unpin(super::mark::UnpinArgs),
    /// Mark a backup by hand: prune deletes it a day later
    Delete(super::mark::DeleteArgs),
    /// Bring backups into a copy of the repository, or back from one
    Copy(super::copy::CopyArgs),
    /// Look at what stands between the policy and a complete backup
    Doctor(super::doctor::DoctorArgs),
    /// Read, show and describe policy files
    #[command(
        subcommand,
        after_help = "Examples:\n  drctl policy check -f policies/orders.yaml\n  drctl policy rbac -f policies/orders.yaml\n  \
                      drctl policy schema > policy.schema.json"
    )]
    Policy(super::policy::PolicyCommand),
    /// Make a repository, and look at one
    #[command(
        subcommand,
        after_help = "Examples:\n  drctl repository init -f policies/orders.yaml\n  \
                      drctl repository info --repository s3://orders-dr/prod"
    )]
    Repository(super::repository::RepositoryCommand),
    /// Print a completion script for a shell
    Completions(super::completions::CompletionsArgs),
    /// Print the manual page of a command, or write all of them into a folder
    Man(super::man::ManArgs),
}

impl Command {
    /// Whether it only reads the repository, so that it can look at an earlier time of it. `verify` leaves out its
    /// evidence then.
    pub(super) fn only_reads(&self) -> bool {
        use super::repository::RepositoryCommand;
        match self {
            Self::List(_)
            | Self::Show(_)
            | Self::Verify(_)
            | Self::Restore(_)
            | Self::Export(_)
            | Self::Diff(_)
            | Self::History(_) => true,
            Self::Repository(command) => matches!(command, RepositoryCommand::Info(_) | RepositoryCommand::Sessions(_)),
            _ => false,
        }
    }

    /// Whether it can work on a copy in place of the repository: it reads one, or takes backups of it away.
    pub(super) fn takes_a_copy(&self) -> bool {
        let marks = matches!(
            self,
            Self::Prune(_)
                | Self::Pin(_)
                | Self::Unpin(_)
                | Self::Delete(_)
                | Self::Policy(super::policy::PolicyCommand::Show(_))
        );
        marks || self.only_reads()
    }
}
