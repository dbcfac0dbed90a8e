//! `drctl verify`.

use std::time::Instant;

use clap::{Args, ValueEnum};

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef},
    report::{Affected, Problem, ProblemKind, VerifyReport},
    repository::{self, FindingKind, VerifyOptions},
};

/// Hold the repository against itself.
#[derive(Debug, Args)]
#[command(
    after_help = "It never stops at the first finding, and names for each damaged object the streams and backups that need it.
The exit code is 4 if anything is missing or damaged, and 5 if something could not be read.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl verify -f policies/orders.yaml
  drctl verify latest:daily --level content
  drctl verify --all --level content --repository s3://orders-dr/prod -o json"
)]
pub struct VerifyArgs {
    /// The backup (default: latest)
    #[arg(conflicts_with = "all")]
    backup: Option<BackupRef>,
    /// Every backup of the policy (with --repository: of the repository)
    #[arg(long)]
    all: bool,
    /// How thoroughly
    #[arg(long, value_enum, default_value_t)]
    level: Level,
    #[command(flatten)]
    output: OutputArgs,
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Level {
    /// Every object that a backup needs is there with its size; nothing large is read
    #[default]
    Presence,
    /// Everything is read: every chunk, part, count and digest is proven
    Content,
}

/// Bytes that a verify may hold at once.
const MEMORY: u64 = 64 << 20;

pub(super) async fn run(args: &VerifyArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open().await?;
    let only = match args.all {
        true => None,
        false => Some(opened.find(args.backup.as_ref().unwrap_or(&BackupRef::Latest), &context.say).await?),
    };
    // A damaged newer backup is a finding, whichever one is looked at in its place.
    let passed_over = only.as_ref().is_some_and(|found| !found.passed_over.is_empty());
    let only = only.map(|found| found.stored);
    let level = match args.level {
        Level::Presence => repository::Level::Presence,
        Level::Content => repository::Level::Content,
    };
    let began = Instant::now();
    let options = VerifyOptions { level, memory: MEMORY };
    let found =
        operations::verify(&opened.repository, opened.policy.as_ref(), only.as_ref(), &options, &context.run).await?;
    let exit = match Exit::of_verify(&found) {
        Exit::Done if passed_over => Exit::Difference,
        exit => exit,
    };
    let notes = found.notes.clone();
    let report = document(found, args.level, opened.repository.location(), began.elapsed().as_secs_f64());
    context.telemetry.finish();
    args.output.print(&report, VerifyReport::text)?;
    for note in &notes {
        context.say.lines(&format!("note: {note}"));
    }
    match exit {
        Exit::Difference => context.say.next(
            "take a new backup with `drctl backup --full`: it relies on nothing that is stored; keep the sound ones",
        ),
        Exit::CouldNotRun => context.say.next("make the store readable again, and run it again"),
        _ => {}
    }
    Ok(exit)
}

fn document(found: repository::VerifyReport, level: Level, location: &str, seconds: f64) -> VerifyReport {
    VerifyReport {
        repository: location.to_owned(),
        level: match level {
            Level::Presence => "presence".to_owned(),
            Level::Content => "content".to_owned(),
        },
        sound: found.is_sound(),
        backups: found.backups.iter().map(ToString::to_string).collect(),
        objects: found.objects,
        streams: found.streams,
        parts: found.parts,
        plain_bytes: found.plain_bytes,
        stored_bytes: found.stored_bytes,
        findings: found.findings.into_iter().map(problem).collect(),
        findings_omitted: found.findings_omitted,
        seconds,
    }
}

fn problem(finding: repository::Finding) -> Problem {
    let affected = |affected: repository::Affected| Affected {
        policy: affected.policy.to_string(),
        schedule: affected.schedule.to_string(),
        backup: affected.backup.to_string(),
        streams: affected.streams,
    };
    Problem {
        object: finding.object,
        kind: match finding.kind {
            FindingKind::Missing => ProblemKind::Missing,
            FindingKind::Damaged => ProblemKind::Damaged,
            FindingKind::NotChecked => ProblemKind::NotChecked,
        },
        detail: finding.detail,
        affects: finding.affects.into_iter().map(affected).collect(),
    }
}
