//! `drctl history`.

use clap::Args;
use jiff::Timestamp;

use super::{
    context::Context,
    diff::fields,
    exit::{Exit, Failure},
    output::OutputArgs,
    streamed::Streamed,
};
use crate::{
    operations::{self, HistoryItem, HistoryOptions, Step},
    report::{HistoryEntry, ObjectHistory, ObjectHistoryHead},
    repository::Listed,
    sources::kubernetes::objects::{KindWord, ObjectName},
};

/// Show which backups hold an object, and where it changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Newest first; each backup says what changed in the object since the backup of the same schedule before it. Backups
whose parts are equal are not read. With a policy its own backups are looked at; with --repository those of every policy.
`unknown`: a backup cannot be read, or what is missing in it may be the object. `not covered`: no source of it takes such
an object.
Values of Secrets are never shown, and other values that may be secret (data, variables, arguments, annotations, headers,
texts in custom resources) only with --reveal.
The exit code is 4 if a backup is damaged, and 1 if none holds the object.

Examples:
  drctl history deployment order-service/orders -f policies/orders.yaml
  drctl history configmap order-service/settings --changes --reveal
  drctl history clusterrole orders-reader --repository s3://orders-dr/prod -o json"
)]
pub struct HistoryArgs {
    /// The kind: deployments.apps, deployment
    kind: String,
    /// NAMESPACE/NAME, or NAME of an object without a namespace
    #[arg(value_name = "NAMESPACE/NAME")]
    name: ObjectName,
    /// Only backups that began since this time: 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only where something changed
    #[arg(long)]
    changes: bool,
    /// Show values that may be secret: data, variables, arguments, annotations, headers, texts in custom resources; never
    /// those of Secrets
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &HistoryArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open().await?;
    let options = HistoryOptions {
        kind: KindWord::new(&args.kind),
        name: args.name.clone(),
        since: args.since,
        reveal: args.reveal,
    };
    let head = ObjectHistoryHead {
        object_kind: args.kind.clone(),
        namespace: args.name.namespace.clone(),
        name: args.name.name.clone(),
    };
    let (now, with_policy) = (context.run.clock.now(), opened.policy.is_none());
    let mut out = Streamed::begin::<ObjectHistory>(args.output.output, head, "backups")?;
    let mut on = |item: HistoryItem| {
        let is_change = matches!(item.step, Step::First | Step::Changed | Step::Removed | Step::Unknown);
        if args.changes && !is_change {
            return std::ops::ControlFlow::Continue(());
        }
        out.item(&entry(item), |entry| entry.text(now, with_policy))
    };
    let totals = operations::history(&opened.repository, opened.policy.as_ref(), &options, &mut on, &context.run).await;
    context.telemetry.finish();
    let left = out.has_ended();
    out.end(serde_json::json!({}))?;
    let totals = totals?;
    if totals.damaged > 0 {
        context.say.next("`drctl verify --all` names what is damaged");
        return Ok(Exit::Difference);
    }
    if totals.holding == 0 && !left {
        let what = format!(
            "none of the {} backups that were looked at holds {} {}",
            totals.backups, options.kind, options.name
        );
        return Err(Failure::new(Exit::Failed, what).next("`drctl show BACKUP --objects` lists what a backup holds"));
    }
    Ok(Exit::Done)
}

fn entry(item: HistoryItem) -> HistoryEntry {
    let change = match item.step {
        Step::First => "first",
        Step::Changed => "changed",
        Step::Same => "same",
        Step::Removed => "removed",
        Step::Absent => "absent",
        Step::NotCovered => "notCovered",
        Step::Unknown => "unknown",
    };
    let state = match &item.entry.listed {
        Listed::Backup(summary) => summary.state.to_string(),
        Listed::Aborted => "aborted".to_owned(),
        Listed::Newer(_) => "newer".to_owned(),
        Listed::Damaged(_) => "damaged".to_owned(),
    };
    let started = item.entry.summary().map_or_else(|| item.entry.backup.time(), |summary| summary.started);
    HistoryEntry {
        backup: item.entry.backup.to_string(),
        policy: item.entry.policy.to_string(),
        schedule: item.entry.schedule.to_string(),
        state,
        started,
        source: item.source.map(|source| source.to_string()),
        change: change.to_owned(),
        recreated: item.recreated,
        fields: fields(item.fields),
        fields_omitted: item.omitted,
        note: item.note,
    }
}
