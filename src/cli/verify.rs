//! `drctl verify`.

use std::{collections::BTreeSet, time::Instant};

use clap::{Args, ValueEnum};

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef, PassedOver, Verification},
    report::{Affected, Problem, ProblemKind, VerifyReport},
    repository::{self, FindingKind, Place, Sample, VerifyOptions},
    types::Name,
};

/// Hold the repository against itself.
#[derive(Debug, Args)]
#[command(
    after_help = "It never stops at the first finding, and names for each damaged object the streams and backups that need it.
With --all the backups are also held against each other: a manifest that a later one names must be there.
A sample reads one in so many packs (level `stored`) or parts (level `content`), other ones each day: `--sample 1/10`, run
daily, reads all of them in 10 days. Each part is proven whole: its objects or rows by count and digest.
What was found is noted in the store under evidence/, and `list` shows it; that it could not be noted is a warning.
Without a key the lists of an encrypted backup are not opened: then nothing is called sound, and damage that was found
with a key stands.
The exit code is 4 if anything is missing or damaged, and 5 if something could not be read, or if there is no backup:
then nothing is proven.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl verify -f policies/clync-app.yaml
  drctl verify latest:daily --level content
  drctl verify --all --level content --sample 1/10
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
    /// Read only one in so many packs or parts, other ones each day: 1/10
    #[arg(long, value_name = "1/N", value_parser = sample)]
    sample: Option<u32>,
    /// Do not note in the store what was found
    #[arg(long)]
    no_evidence: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// `1/10`: one in ten.
fn sample(text: &str) -> Result<u32, String> {
    let of = text.strip_prefix("1/").and_then(|of| of.parse().ok());
    of.filter(|of| (1..=1000).contains(of))
        .ok_or_else(|| "a sample is written 1/10, and 1/1000 is the smallest".to_owned())
}

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Level {
    /// Every object that a backup needs is there with its size; nothing large is read
    #[default]
    Presence,
    /// Packs are read too: each has the SHA-256 that is its name
    Stored,
    /// Everything is read and decoded: every chunk, part, count and digest is proven
    Content,
}

impl Level {
    fn of_repository(self) -> repository::Level {
        match self {
            Self::Presence => repository::Level::Presence,
            Self::Stored => repository::Level::Stored,
            Self::Content => repository::Level::Content,
        }
    }
}

/// Bytes that a verify may hold at once.
const MEMORY: u64 = 48 << 20;

pub(super) async fn run(args: &VerifyArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    if args.sample.is_some() && args.level == Level::Presence {
        return Err(Failure::usage("--sample is of packs or parts that are read, and level `presence` reads none")
            .next("add --level stored or --level content"));
    }
    let opened = context.open().await?;
    let only = match args.all {
        true => None,
        false => Some(opened.find(args.backup.as_ref().unwrap_or(&BackupRef::Latest), &context.say).await?),
    };
    // A damaged newer backup is a finding, whichever one is looked at in its place.
    let passed_over = only
        .as_ref()
        .is_some_and(|found| found.passed_over.iter().any(|passed| matches!(passed, PassedOver::Damaged(_))));
    let only = only.map(|found| found.stored);
    let began = Instant::now();
    let sample = args.sample.map(|of| Sample::new(of, context.run.clock.now()));
    let options = VerifyOptions { level: args.level.of_repository(), sample, memory: MEMORY };
    let wanted = Verification { options, evidence: !args.no_evidence && context.global.as_of.is_none() };
    let found =
        operations::verify(&opened.repository, opened.policy.as_ref(), only.as_ref(), &wanted, &context.run).await?;
    let exit = match Exit::of_verify(&found) {
        Exit::Done if passed_over => Exit::Difference,
        exit => exit,
    };
    let next = match &context.global.copy {
        Some(name) if exit == Exit::Difference => next_in_a_copy(&found, name),
        _ => next_steps(&found, exit).into_iter().map(str::to_owned).collect(),
    };
    let report = document(found, args, opened.repository.location(), began.elapsed().as_secs_f64());
    context.telemetry.finish();
    args.output.print(&report, VerifyReport::text)?;
    for note in &report.notes {
        context.say.lines(&format!("note: {note}\n"));
    }
    for step in next {
        context.say.next(&step);
    }
    Ok(exit)
}

/// What a person does about damage in a copy: what is missing there is sent again.
fn next_in_a_copy(found: &repository::VerifyReport, name: &Name) -> Vec<String> {
    let of = |kind: FindingKind| found.findings.iter().filter(move |finding| finding.kind == kind);
    let mut steps = Vec::new();
    if of(FindingKind::Damaged).next().is_some() {
        steps.push(
            "take the damaged objects away in the store of the copy, by hand (drctl overwrites and deletes nothing of a backup)"
                .to_owned(),
        );
    }
    let affected = of(FindingKind::Missing).chain(of(FindingKind::Damaged)).flat_map(|finding| &finding.affects);
    let backups: BTreeSet<String> = affected.map(|one| one.backup.to_string()).collect();
    match (backups.first(), backups.len()) {
        (Some(one), 1) => steps.push(format!("`drctl copy {one} --to {name}` sends again what is missing of it")),
        (Some(one), count) => steps.push(format!(
            "`drctl copy ID --to {name}` sends again what is missing of a backup (ID: {one} and {} more)",
            count - 1
        )),
        (None, _) => steps.push(format!("`drctl copy --to {name}` sends again what is missing")),
    }
    steps
}

/// What a person does about what was found, the gravest first.
fn next_steps(found: &repository::VerifyReport, exit: Exit) -> Vec<&'static str> {
    let of = |place: Place, kind: FindingKind| {
        found.findings.iter().any(|finding| Place::of(&finding.object) == place && finding.kind == kind)
    };
    let damaged = |place| of(place, FindingKind::Damaged) || of(place, FindingKind::Missing);
    let packs = if found.unmarked {
        "take a new backup with `drctl backup --full`, which relies on nothing that is stored; what is named above is \
         lost to its backups unless a copy of the repository has it"
    } else {
        "take a new backup with `drctl backup`: it stores anew what the damaged packs hold, if the source still has \
         it; what is named above is lost to its backups unless a copy of the repository has it"
    };
    let steps = [
        (
            of(Place::Manifest, FindingKind::Missing),
            "put the missing manifest back from a copy of the repository: what it names is there still; and find out \
             who deletes in this store, because drctl did not",
        ),
        (damaged(Place::Pack), packs),
        (
            damaged(Place::Meta) || of(Place::Manifest, FindingKind::Damaged),
            "put the damaged objects of `meta/` and `backups/` back from a copy of the repository, and take a new \
             backup with `drctl backup`: it does not rely on them",
        ),
        (
            damaged(Place::Session),
            "a damaged session does its backup no harm: put it back from a copy of the repository, or leave it",
        ),
        (damaged(Place::Accept), "look at the backup with `drctl show`: a damaged mark accepts nothing"),
        (damaged(Place::Other), "put right what is named above, and verify again"),
        (
            found.findings.iter().any(|finding| finding.kind == FindingKind::NotChecked),
            "make readable what could not be read, and verify again",
        ),
        (
            exit == Exit::CouldNotRun && found.backups.is_empty(),
            "make a backup with `drctl backup`; if there should be one, `drctl repository sessions` names the runs that \
             have begun",
        ),
    ];
    let taken: Vec<_> = steps.iter().filter(|(applies, _)| *applies).map(|(_, step)| *step).collect();
    match exit {
        Exit::Difference if taken.is_empty() => {
            vec!["take a new backup with `drctl backup`, and verify all with `drctl verify --all`"]
        }
        Exit::Difference | Exit::CouldNotRun => taken,
        _ => Vec::new(),
    }
}

fn document(found: repository::VerifyReport, args: &VerifyArgs, location: &str, seconds: f64) -> VerifyReport {
    VerifyReport {
        repository: location.to_owned(),
        level: args.level.of_repository().as_str().to_owned(),
        sample: args.sample.map(|of| format!("1/{of}")),
        sound: found.is_sound(),
        unopened: found.unopened.len() as u64,
        interrupted: found.interrupted,
        backups: found.backups.iter().map(ToString::to_string).collect(),
        objects: found.objects,
        packs: found.packs,
        streams: found.streams,
        parts: found.parts,
        plain_bytes: found.plain_bytes,
        stored_bytes: found.stored_bytes,
        findings: found.findings.into_iter().map(problem).collect(),
        findings_omitted: found.findings_omitted,
        notes: found.notes,
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
