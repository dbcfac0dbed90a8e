//! `drctl list`.

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    show,
};
use crate::{
    operations,
    report::{BackupItem, BackupList, SourceItem, VerifiedItem},
    repository::{BackupEntry, Listed, SourceSummary, Summary, Verified, crypt::Signature},
};

/// List the backups.
#[derive(Debug, Args)]
#[command(after_help = "With a policy its own backups are listed; with --repository those of every policy in it.
VERIFIED is the age and the level of a backup's newest verification; -o json has the newest of each level.
The exit code is 4 if a manifest is damaged.

Examples:
  drctl list -f policies/orders.yaml
  drctl list --repository s3://orders-dr/prod -o json")]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &ListArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open().await?;
    let (repository, policy) = (&opened.repository, opened.policy.as_ref());
    let (entries, mut verified) =
        futures::try_join!(operations::list(repository, policy), operations::verified(repository, policy))?;
    let damaged = entries.iter().any(|entry| matches!(entry.listed, Listed::Damaged(_)));
    let list = BackupList {
        repository: opened.repository.location().to_owned(),
        backups: entries
            .into_iter()
            .map(|entry| {
                let known = verified.remove(&(entry.policy.clone(), entry.backup.clone())).unwrap_or_default();
                BackupItem { verified: known.into_iter().map(verification).collect(), ..item(entry) }
            })
            .collect(),
    };
    let now = context.run.clock.now();
    args.output.print(&list, |list| list.text(now))?;
    Ok(if damaged { Exit::Difference } else { Exit::Done })
}

fn verification(verified: Verified) -> VerifiedItem {
    VerifiedItem {
        at: verified.at,
        level: verified.level.as_str().to_owned(),
        sample: verified.sample.map(|of| format!("1/{of}")),
        outcome: verified.outcome.as_str().to_owned(),
    }
}

fn item(entry: BackupEntry) -> BackupItem {
    let good = entry.is_good();
    let not_believed = entry.disbelieved.as_ref().map(|why| format!("its tombstone does not count: {why}"));
    let bare = BackupItem {
        id: entry.backup.to_string(),
        policy: entry.policy.to_string(),
        schedule: entry.schedule.to_string(),
        state: "aborted".to_owned(),
        good,
        tombstoned: entry.tombstoned,
        started: entry.backup.time(),
        finished: None,
        objects: 0,
        bytes: 0,
        new_bytes: 0,
        sources: Vec::new(),
        verified: Vec::new(),
        missing: 0,
        signed: None,
        note: None,
    };
    let item = match entry.listed {
        Listed::Backup(summary) => with_summary(bare, *summary),
        Listed::Aborted => bare,
        Listed::Newer(why) => BackupItem { state: "newer".to_owned(), note: Some(why), ..bare },
        Listed::Damaged(why) => BackupItem { state: "damaged".to_owned(), note: Some(why), ..bare },
    };
    match (not_believed, &item.note) {
        (None, _) => item,
        (Some(why), None) => BackupItem { note: Some(why), ..item },
        (Some(why), Some(note)) => BackupItem { note: Some(format!("{note}; {why}")), ..item },
    }
}

fn with_summary(bare: BackupItem, summary: Summary) -> BackupItem {
    let missing = summary.first_missing.map(|first| {
        let more = if summary.missing > 1 { format!(" and {} more", summary.missing - 1) } else { String::new() };
        format!("missing: {}{more}", first.what)
    });
    BackupItem {
        state: summary.state.to_string(),
        started: summary.started,
        finished: Some(summary.finished),
        objects: summary.totals.objects,
        bytes: summary.totals.plain_bytes,
        new_bytes: summary.totals.new_bytes,
        sources: summary.sources.into_iter().map(source).collect(),
        missing: summary.missing,
        signed: show::signed(&summary.signature),
        note: match summary.signature {
            Signature::Bad(why) => Some(format!("does not count: {why}")),
            _ => missing.or(summary.suspect),
        },
        ..bare
    }
}

fn source(source: SourceSummary) -> SourceItem {
    SourceItem {
        name: source.name.to_string(),
        kind: source.kind,
        consistency: source.consistency,
        objects: source.count,
        bytes: source.bytes,
        volumes: source.volumes.map(show::volume_counts),
    }
}
