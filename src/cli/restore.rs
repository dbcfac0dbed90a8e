//! `drctl restore`: plan, ask, execute, wait, compare.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{
    confirm::{self, Answer},
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    restore_text, show,
};
use crate::{
    operations::{self, BackupRef, Restore, RestoreOptions},
    report::{self, Phase, TargetCluster},
    sources::kubernetes::restore::OnConflict,
    types::{Name, State, for_terminal},
};

/// Bring objects of a backup back into a cluster.
#[derive(Debug, Args)]
#[command(
    after_help = "It plans first and writes nothing until the plan is agreed to: on a terminal by an answer, elsewhere by --yes.
What is there already and equal is left alone, so a second run goes on where an interrupted one ended.
Then it waits until workloads are ready, and compares every object with the backup, field by field.

If the cluster is not the one that the backup was taken of, its name is asked for, or its uid by --cluster.
The exit code is 3 if something could not be restored or is not ready, and 4 if something that is there differs.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl restore -f policies/orders.yaml --dry-run
  drctl restore latest:daily -f policies/orders.yaml
  drctl restore @2026-11-20T12:00Z --on-conflict skip --yes
  drctl restore 20261120T02 --repository s3://orders-dr/prod --context new --cluster 0c4e7d1a-… --yes"
)]
pub struct RestoreArgs {
    /// The backup (default: latest)
    backup: Option<BackupRef>,
    /// Only these sources of the backup
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<Name>,
    /// Show the plan and end: nothing is written
    #[arg(long)]
    dry_run: bool,
    /// What is done about live objects that differ from the backup
    #[arg(long, value_enum, default_value_t)]
    on_conflict: Conflict,
    /// How long to wait in all until workloads are ready; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    wait_timeout: Duration,
    /// The uid of the cluster that is meant, if it is not the one that the backup was taken of
    #[arg(long, value_name = "UID")]
    cluster: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is done about live objects that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Conflict {
    /// Nothing at all is written
    #[default]
    Fail,
    /// They are left as they are, and the rest is restored
    Skip,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "use a whole number and s, m or h, like 90s, 5m or 1h".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

pub(super) async fn run(args: &RestoreArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open().await?;
    let stored = opened.find(args.backup.as_ref().unwrap_or(&BackupRef::Latest), &context.say).await?.stored;
    let options = RestoreOptions {
        sources: args.sources.clone(),
        on_conflict: match args.on_conflict {
            Conflict::Fail => OnConflict::Fail,
            Conflict::Skip => OnConflict::Skip,
        },
        connect: context.connect(),
    };
    let began = Instant::now();
    let restore = operations::plan_restore(&opened.repository, &stored, &options, &context.run).await?;
    let planned = Phase { phase: "plan".to_owned(), seconds: began.elapsed().as_secs_f64() };
    context.telemetry.finish();
    is_meant(args, &restore)?;
    if restore.state != State::Complete {
        let missing = show::of_manifest(&stored.manifest).problems();
        context.say.lines(&format!("warning: backup {} is {}:\n{missing}", restore.backup, restore.state));
    }
    if args.dry_run {
        let plan = plan_document(&restore);
        args.output.print(&plan, |plan| restore_text::plan(plan, &restore.plans))?;
        if restore.conflicts() > 0 && args.on_conflict == Conflict::Fail {
            context.say.next("put right what differs; or --on-conflict skip leaves it as it is and restores the rest");
        }
        return Ok(Exit::of_plan(&restore, options.on_conflict));
    }
    agree(args, &restore, context).await?;
    let wait = Some(args.wait_timeout).filter(|timeout| !timeout.is_zero());
    let outcome = restore.execute(wait, &context.run).await?;
    context.telemetry.finish();
    let mut phases = vec![planned];
    phases.extend(outcome.phases.iter().map(|took| Phase { phase: took.phase.to_owned(), seconds: took.seconds }));
    let document = report::RestoreReport {
        backup: restore.backup.to_string(),
        state: restore.state.to_string(),
        target: target(&restore),
        complete: outcome.is_complete() && restore.conflicts() == 0,
        equal: outcome.is_equal(),
        sources: &outcome.sources,
        phases,
        ended: outcome.ended.as_ref().map(ToString::to_string),
    };
    let done = format!("the restore of backup {} has ended", restore.backup);
    let text = |document: &_| restore_text::report(document, &restore.plans);
    args.output.print_done(&document, text, (context.say, &done))?;
    let exit = Exit::of_restore(restore.conflicts(), outcome)?;
    if exit != Exit::Done {
        context.say.next("put right what is named, and run it again: what is restored already is left alone");
    }
    Ok(exit)
}

fn target(restore: &Restore) -> TargetCluster {
    TargetCluster {
        uid: restore.target.uid.clone(),
        name: restore.target.name.clone(),
        version: restore.target.version.clone(),
        same: restore.is_same_cluster(),
    }
}

fn plan_document(restore: &Restore) -> report::RestorePlan<'_, crate::sources::kubernetes::restore::Plan> {
    report::RestorePlan {
        backup: restore.backup.to_string(),
        state: restore.state.to_string(),
        origin: restore.origin.as_ref().map(show::cluster),
        target: target(restore),
        conflicts: restore.conflicts(),
        sources: &restore.plans,
    }
}

/// Refuses a cluster that is not the one of `--cluster`.
fn is_meant(args: &RestoreArgs, restore: &Restore) -> Result<(), Failure> {
    let uid = &restore.target.uid;
    let Some(meant) = args.cluster.as_ref().filter(|meant| *meant != uid) else { return Ok(()) };
    let (meant, name) = (for_terminal(meant), for_terminal(&restore.target.name));
    let message = format!("this is cluster `{name}` with uid {uid}, and not {meant}; nothing was changed");
    Err(Failure::new(Exit::CouldNotRun, message).next("use the right --kubeconfig and --context"))
}

/// Makes sure that this restore into this cluster is meant.
async fn agree(args: &RestoreArgs, restore: &Restore, context: &Context<'_>) -> Result<(), Failure> {
    let uid = &restore.target.uid;
    let named = restore.is_same_cluster() || args.cluster.is_some();
    let writes: u64 = restore.plans.iter().map(crate::sources::kubernetes::restore::Plan::writes).sum();
    // What writes nothing needs no agreement, and conflicts are refused before anything is written.
    if writes == 0 || (restore.conflicts() > 0 && args.on_conflict == Conflict::Fail) || (args.yes && named) {
        return Ok(());
    }
    let question = question(restore, writes);
    let asks = confirm::can_ask();
    if asks {
        context.say.lines(&format!("{}\n", restore_text::plan(&plan_document(restore), &restore.plans)));
    }
    match (named, asks) {
        (true, true) => confirm::ask(context, &question, Answer::Yes).await,
        (false, true) => confirm::ask(context, &question, Answer::Name(restore.target.name.clone())).await,
        (true, false) => Err(Failure::usage(format!("{question}\nnobody is there to ask; nothing was changed"))
            .next("look at the plan with --dry-run, then run it again with --yes")),
        (false, false) => Err(Failure::usage(format!("{question}\nnobody is there to ask; nothing was changed"))
            .next(format!("if this cluster is meant, run it again with --cluster {uid} --yes"))),
    }
}

fn question(restore: &Restore, writes: u64) -> String {
    let (name, uid) = (for_terminal(&restore.target.name), for_terminal(&restore.target.uid));
    let mut text =
        format!("restoring backup {} writes {writes} objects into cluster `{name}` (uid {uid})", restore.backup);
    match &restore.origin {
        Some(_) if restore.is_same_cluster() => text.push_str(", which it was taken of"),
        Some(origin) => {
            let (name, uid) = (for_terminal(&origin.name), for_terminal(&origin.uid));
            text.push_str(&format!(";\nit was taken of ANOTHER cluster: `{name}` (uid {uid})"));
        }
        None => text.push_str(";\nit does not say which cluster it was taken of"),
    }
    if restore.state != State::Complete {
        text.push_str(&format!(";\nthe backup is {}: `drctl show {}` says why", restore.state, restore.backup));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "5", "m", "-1s", "1.5h", "5 m", "5d", "99999999999s"] {
            assert!(duration(bad).is_err(), "{bad} was taken");
        }
    }
}
