//! `drctl policy check|show|schema|rbac|from-velero`.

use clap::{Args, Subcommand};

use super::{
    context::{self, Context},
    exit::{Exit, Failure},
    from_velero,
    output::{self, OutputArgs, OutputFormat},
    prune,
};
use crate::{
    operations::{self, Rbac, RbacOptions},
    policy,
};

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
With --backups each backup in the repository is shown with the rules of `keep` that keep it.

Examples:
  drctl policy show -f policies/orders.yaml
  drctl policy show --backups -f policies/orders.yaml
  drctl policy show -f policies/orders.yaml -o json")]
    Show(ShowArgs),
    /// Print the JSON Schema of policy files, for editors
    #[command(
        after_help = "Put this line at the top of a policy file, and an editor with a YAML language server checks it:
  # yaml-language-server: $schema=./policy.schema.json

Examples:
  drctl policy schema > policy.schema.json
  drctl policy schema --modifiers > modifiers.schema.json"
    )]
    Schema(SchemaArgs),
    /// Print the least roles that a backup by this policy needs in the cluster
    #[command(
        after_help = "For namespaces by name: `list` in these namespaces, and outside them only of Namespaces, of what says how kinds are
served, and of the cluster-scoped kinds that their objects refer to. Where the policy names all kinds that it takes
(`exclude: [\"*\"]` and `include`), these kinds alone. With `*` or a pattern of namespaces the same in the whole cluster.
Never `get`, which would include exec. A port-forward is allowed only where the policy says `via: {kubernetes: ...}`.
What every authenticated identity may do by Kubernetes' own role `system:discovery` is not repeated.

Nothing is contacted, unless --from-cluster says so: then each kind that the cluster serves and the policy takes is named
by itself. Roles cannot say \"all but Secrets\" in another way. A kind that is installed later is then missing in backups,
which name it and end with 3, until the roles are printed again.

Examples:
  drctl policy rbac -f policies/orders.yaml --service-account drctl/drctl | kubectl apply -f -
  drctl policy rbac -f policies/orders.yaml --from-cluster --context production
  drctl policy rbac -f policies/orders.yaml --kind gateways.example.org
  drctl policy rbac -f policies/orders.yaml --kind secrets     # with sealed-secrets, whose keys are elsewhere"
    )]
    Rbac(RbacArgs),
    /// Make a policy of Velero's Schedules and BackupStorageLocations
    FromVelero(from_velero::FromVeleroArgs),
}

/// Print the least roles that a backup by this policy needs in the cluster.
#[derive(Debug, Args)]
pub struct RbacArgs {
    /// Who is given the roles: NAMESPACE/NAME of a ServiceAccount
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "drctl/drctl")]
    service_account: String,
    /// What the names of the roles begin with (default: drctl-backup-POLICY)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A kind that may be listed everywhere, beside those that the policy needs: plural.group; repeat it for more
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Ask the cluster which kinds it serves, and name each that the policy takes
    #[arg(long)]
    from_cluster: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Print the JSON Schema of policy files, for editors.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// That of the files of `drctl restore --modifiers` instead
    #[arg(long)]
    modifiers: bool,
}

/// Show the policy as drctl understands it.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Show each backup in the repository, and which rules keep it
    #[arg(long)]
    backups: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(command: &PolicyCommand, context: &Context<'_>) -> Result<Exit, Failure> {
    let global = context.global;
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
            if args.backups {
                return context.block_on(prune::show(&policy, Some(u64::MAX), args.output, context));
            }
            args.output.print_data(&policy)?;
        }
        PolicyCommand::FromVelero(args) => return from_velero::run(args, global),
        PolicyCommand::Schema(args) => {
            let schema =
                if args.modifiers { policy::json_schema_of_modifiers() } else { policy::json_schema_of_policy() };
            output::write(&format!("{schema:#}\n"))?;
        }
        PolicyCommand::Rbac(args) => return context.block_on(rbac(args, context)),
    }
    Ok(Exit::Done)
}

async fn rbac(args: &RbacArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let (_, policy) = context::policy_file(context.global)?;
    let account = args.service_account.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name));
    let Some((namespace, account)) = account else {
        let what = crate::types::for_terminal(&args.service_account);
        return Err(Failure::usage(format!("`{what}` is no ServiceAccount: it is written NAMESPACE/NAME")));
    };
    let options = RbacOptions {
        name: args.name.clone().unwrap_or_else(|| format!("drctl-backup-{}", policy.name)),
        namespace: namespace.to_owned(),
        account: account.to_owned(),
        kinds: args.kinds.clone(),
    };
    let Rbac { objects, notes } = if args.from_cluster {
        operations::rbac_of_cluster(&policy, &options, &context.connect(), &context.run).await?
    } else {
        operations::rbac(&policy, &options)
    };
    if args.output.output == OutputFormat::Json {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        args.output.print_data(&list)?;
        return Ok(Exit::Done);
    }
    let mut text = format!("# What `drctl backup` needs by the policy `{}`, and no more.\n", policy.name);
    text.extend(notes.iter().map(|note| format!("# Note: {note}.\n")));
    if objects.is_empty() {
        text.push_str("# Nothing of it is in a cluster or reached through one.\n");
    }
    for object in &objects {
        let yaml = policy::to_yaml(object).map_err(|error| Failure::new(Exit::Failed, error))?;
        text.push_str(&format!("---\n{}\n", yaml.trim_end()));
    }
    output::write(&text)?;
    Ok(Exit::Done)
}

/// The names of Kubernetes that can be in a reference to a ServiceAccount.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.len() <= 253 && text.chars().all(plain)
}
