//! `drctl doctor`.

use clap::Args;

use super::{
    context::Context,
    exit::{self, Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, Expected},
    report::{DoctorBackup, DoctorFinding, DoctorReport, DoctorSeverity},
    sources::{Finding, Severity},
    types::Name,
};

/// Look at what stands between the policy and a complete backup.
#[derive(Debug, Args)]
#[command(
    after_help = "It looks at the repository (it is read and listed, a second object under one key is refused, the clocks agree; whether
this identity may delete or overwrite; where the policy asks for locks, that a locked version cannot be deleted; with
--identity, whether it opens what backups are encrypted to), the cluster (it is that of the newest backup; each kind may be listed in each namespace) and of each database the server, the
client programs, the privileges of the role, row security, large objects, subscriptions, foreign and unlogged tables,
locks and old transactions. It changes nothing; the first time it leaves one small mark in the repository, which stays
(docs/format.md).
The exit code is that of a backup: 5 if none can be taken, 4 if it would be suspect (a namespace is being deleted), and 3 if
something would be missing, or one of several sources.

Examples:
  drctl doctor -f policies/clync-app.yaml
  drctl doctor -f policies/clync-app.yaml --source financial -o json
  drctl doctor -f policies/orders.yaml --identity ~/.config/drctl/me.age"
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
    let with = (&context.connect(), &context.keys());
    let diagnosis = operations::doctor(&policy, &args.sources, with, exit::next_of, &context.run).await?;
    context.telemetry.finish();
    let findings = diagnosis.findings.into_iter().map(finding).collect();
    let backup = match diagnosis.backup {
        Expected::Complete => DoctorBackup::Complete,
        Expected::Partial => DoctorBackup::Partial,
        Expected::Suspect => DoctorBackup::Suspect,
        Expected::Impossible => DoctorBackup::Impossible,
    };
    let report = DoctorReport::new(policy.name.to_string(), findings, backup);
    args.output.print(&report, DoctorReport::text)?;
    Ok(Exit::of_doctor(diagnosis.backup))
}

fn finding(finding: Finding) -> DoctorFinding {
    let Finding { subject, severity, what, next } = finding;
    let severity = match severity {
        Severity::Prevents => DoctorSeverity::Prevents,
        Severity::Suspect => DoctorSeverity::Suspect,
        Severity::Partial => DoctorSeverity::Partial,
        Severity::Note => DoctorSeverity::Note,
        Severity::Good => DoctorSeverity::Good,
    };
    DoctorFinding { severity, subject, what, next }
}
