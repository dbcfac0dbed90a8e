//! `drctl policy check|show|schema|from-velero`.

use clap::{Args, Subcommand};

use super::{
    args::Global,
    context,
    exit::{Exit, Failure},
    from_velero,
    output::{self, OutputArgs},
};
use crate::policy;

/// Read, show and describe policy files.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Read the policy file and name everything that is wrong with it
    #[command(after_help = "Nothing is contacted: neither the repository nor a cluster.

Examples:
  drctl policy check -f policies/orders.yaml
  DRCTL_FILE=policies/orders.yaml drctl policy check")]
    Check,
    /// Show the policy as drctl understands it
    #[command(after_help = "Secrets are shown as the references that the file has, never resolved.

Examples:
  drctl policy show -f policies/orders.yaml
  drctl policy show -f policies/orders.yaml -o json")]
    Show(ShowArgs),
    /// Print the JSON Schema of policy files, for editors
    #[command(
        after_help = "Put this line at the top of a policy file, and an editor with a YAML language server checks it:
  # yaml-language-server: $schema=./policy.schema.json

Example:
  drctl policy schema > policy.schema.json"
    )]
    Schema,
    /// Make a policy of Velero's Schedules and BackupStorageLocations
    FromVelero(from_velero::FromVeleroArgs),
}

/// Show the policy as drctl understands it.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(command: &PolicyCommand, global: &Global) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check => {
            let (path, policy) = context::policy_file(global)?;
            let path = path.display().to_string();
            let (sources, schedules) = (policy.sources.len(), policy.schedules.len());
            output::write(&format!(
                "`{}` is a valid policy: `{}`, {sources} source{}, {schedules} schedule{}, into {}\n",
                crate::types::for_terminal(&path),
                policy.name,
                if sources == 1 { "" } else { "s" },
                if schedules == 1 { "" } else { "s" },
                policy.repository.url,
            ))?;
        }
        PolicyCommand::Show(args) => {
            let (_, policy) = context::policy_file(global)?;
            args.output.print_data(&policy)?;
        }
        PolicyCommand::FromVelero(args) => return from_velero::run(args, global),
        PolicyCommand::Schema => {
            let schema = policy::json_schema_of_policy();
            output::write(&format!("{schema:#}\n"))?;
        }
    }
    Ok(Exit::Done)
}
