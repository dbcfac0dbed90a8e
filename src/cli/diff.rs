//! `drctl diff`.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    streamed::Streamed,
};
use crate::{
    operations::{self, BackupRef, ChangedField, DiffItem, DiffKind, DiffOptions, DiffSubject, DiffTotals},
    report::{BackupDiff, BackupDiffHead, BackupDiffTail, Change, ComparedBackup, DiffSummary, FieldChange},
    repository::StoredManifest,
    sources::kubernetes::objects::KindWord,
    types::{Name, State},
};

/// Show what changed from one backup to another.
#[derive(Debug, Args)]
#[command(
    after_help = "Objects are compared field by field, without what the server sets (status, resourceVersion, managedFields); tables by
rows and digest, and what a database defines by the digest of its SQL. What both backups hold with the same bytes is
known by its BLAKE3, and not read. Values of Secrets are never shown, and other values that may be secret (data,
variables, arguments, annotations, headers, texts in custom resources) only with --reveal.
The exit code is 0 also where they differ; with --exit-code it is then 4. What was printed counts only if it is one of
these.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl diff 20261119T02 latest:daily -f policies/orders.yaml
  drctl diff 20261119T02 20261120T02 --namespace order-service --kind deployment
  drctl diff 20261119T02 20261120T02 --exit-code -o json --repository s3://orders-dr/prod"
)]
pub struct DiffArgs {
    /// The older backup
    from: BackupRef,
    /// The newer backup
    to: BackupRef,
    /// Only this source; repeat it for more
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<Name>,
    /// Only objects in this namespace, by name or pattern; repeat it for more (databases are left out)
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Only objects of this kind: deployments.apps, deployment, or a pattern; repeat it for more (databases are left out)
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Show values that may be secret: data, variables, arguments, annotations, headers, texts in custom resources; never
    /// those of Secrets
    #[arg(long)]
    reveal: bool,
    /// End with 4 if they differ
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &DiffArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open().await?;
    let from = opened.find(&args.from, &context.say).await?.stored;
    let to = opened.find(&args.to, &context.say).await?.stored;
    for stored in [&from, &to] {
        super::show::warn_unsigned(stored, context);
        if stored.manifest.state != State::Complete {
            let missing = super::show::of_manifest(&stored.manifest).problems();
            let (backup, state) = (&stored.manifest.backup, stored.manifest.state);
            context.say.lines(&format!("warning: backup {backup} is {state}:\n{missing}"));
        }
    }
    let options = DiffOptions {
        sources: args.sources.clone(),
        namespaces: args.namespaces.clone(),
        kinds: args.kinds.iter().map(|kind| KindWord::new(kind)).collect(),
        reveal: args.reveal,
    };
    let head = BackupDiffHead { from: compared(&from), to: compared(&to) };
    let mut out = Streamed::begin::<BackupDiff>(args.output.output, head, "changes")?;
    let with_source = say_sources(&from, &to, context);
    let mut on = |item: DiffItem| out.item(&change(item), |change| change.text(with_source));
    let totals = operations::diff(&opened.repository, (&from, &to), &options, &mut on, &context.run).await;
    context.telemetry.finish();
    let summary = summary(&totals.as_ref().copied().unwrap_or_default());
    let left = out.has_ended();
    if totals.is_ok() {
        let _ = out.text(&summary.text());
    }
    out.end(BackupDiffTail { summary })?;
    totals?;
    Ok(if args.exit_code && !left && !summary.is_equal() { Exit::Difference } else { Exit::Done })
}

/// Says which sources only one of the backups holds. Whether objects are to be named with their source.
fn say_sources(from: &StoredManifest, to: &StoredManifest, context: &Context<'_>) -> bool {
    let of = |stored: &StoredManifest| -> BTreeSet<Name> {
        stored.manifest.sources.iter().map(|source| source.name.clone()).collect()
    };
    let (before, after) = (of(from), of(to));
    let named = |names: &BTreeSet<Name>, others: &BTreeSet<Name>, stored: &StoredManifest| {
        let only: Vec<String> = names.difference(others).map(|name| format!("`{name}`")).collect();
        if !only.is_empty() {
            let (only, backup) = (only.join(", "), &stored.manifest.backup);
            let text = format!(
                "warning: only {backup} holds {only}: what the other one holds under another source counts \
                                as removed here and added there\n"
            );
            context.say.lines(&text);
        }
    };
    named(&before, &after, from);
    named(&after, &before, to);
    before != after || before.len() > 1
}

fn compared(stored: &StoredManifest) -> ComparedBackup {
    let manifest = &stored.manifest;
    ComparedBackup {
        id: manifest.backup.to_string(),
        state: manifest.state.to_string(),
        started: manifest.started,
        signed: super::show::signed(&stored.signature),
    }
}

fn change(item: DiffItem) -> Change {
    let how = match item.how {
        DiffKind::Added => "added",
        DiffKind::Removed => "removed",
        DiffKind::Changed => "changed",
    };
    let what = match item.subject {
        DiffSubject::Object => "object",
        DiffSubject::Table => "table",
        DiffSubject::Collection => "collection",
        DiffSubject::LargeObjects => "largeObjects",
        DiffSubject::Definition => "definition",
    };
    Change {
        change: how.to_owned(),
        what: what.to_owned(),
        source: item.source,
        kind: item.kind,
        namespace: item.namespace,
        name: item.name,
        recreated: item.recreated,
        fields: fields(item.fields),
        fields_omitted: item.omitted,
    }
}

/// Changed fields as they are printed.
pub(super) fn fields(fields: Vec<ChangedField>) -> Vec<FieldChange> {
    fields.into_iter().map(|ChangedField { path, old, new }| FieldChange { path, old, new }).collect()
}

fn summary(totals: &DiffTotals) -> DiffSummary {
    DiffSummary {
        added: totals.added,
        removed: totals.removed,
        changed: totals.changed,
        server_set_only: totals.server_set,
        parts_equal: totals.parts_equal,
        parts_read: totals.parts_read,
    }
}
