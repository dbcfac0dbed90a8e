//! `drctl doctor`.

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations,
    report::{DoctorFinding, DoctorReport, DoctorSeverity},
    sources::{Finding, Severity},
    types::Name,
};

/// Look at what stands between the policy and a complete backup.
#[derive(Debug, Args)]
#[command(
    after_help = "It reads, and changes nothing: the repository, the cluster, and of each database the server, the client programs,
the privileges of the role, row security, large objects, subscriptions, foreign and unlogged tables, locks and old
transactions. Of the cluster it asks only whether it answers: what cannot be listed there, the backup names.
The exit code is 5 if a source cannot be backed up, and 3 if something of one would be missing.

Examples:
  drctl doctor -f policies/clync-app.yaml
  drctl doctor -f policies/clync-app.yaml --source financial -o json"
)]
pub struct DoctorArgs {
    /// Only these sources of the policy
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<Name>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &DoctorArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let policy = context.policy()?;
    let findings = operations::doctor(&policy, &args.sources, &context.connect(), &context.run).await?;
    context.telemetry.finish();
    let exit = Exit::of_doctor(&findings);
    let report = DoctorReport::new(policy.name.to_string(), findings.into_iter().map(finding).collect());
    args.output.print(&report, DoctorReport::text)?;
    Ok(exit)
}

fn finding(finding: Finding) -> DoctorFinding {
    let Finding { subject, severity, what, next } = finding;
    let severity = match severity {
        Severity::Prevents => DoctorSeverity::Prevents,
        Severity::Partial => DoctorSeverity::Partial,
        Severity::Note => DoctorSeverity::Note,
        Severity::Good => DoctorSeverity::Good,
    };
    DoctorFinding { severity, subject, what, next }
}
