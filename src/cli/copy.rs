//! `drctl copy`, and the copies of a schedule's new backup.

use clap::Args;

use super::{
    context::Context,
    exit::{self, Exit, Failure},
    output::OutputArgs,
};
use crate::{
    operations::{self, BackupRef, Copies, CopyAsked, CopyFate, CopyPlace, Originals, WhichBackups},
    policy::{Bandwidth, Policy},
    report::{CopiedItem, CopyAction, CopyReport},
    types::Name,
};

/// Bring backups into a copy of the repository, or back from one.
#[derive(Debug, Args)]
#[command(
    after_help = "A copy has the repository's id, keys, names and bytes, and every command works on it by --copy NAME. No key is needed.
Without BACKUP, all backups are copied that the copy lacks and that its `keep` would keep, oldest first. What is there is
not sent again, so a copy that was stopped goes on; what a backup has lost there is, also of one that is asked for. Every pack is proven by its name on the way; a backup of which
anything is damaged or missing does not become visible in the copy.
The first copy makes the repository there, byte for byte; a place that holds another repository is refused (exit 5).
The exit code is 4 if something is damaged, and 3 if some backups could be copied and others not, were given up there, or
belong there and are about to be deleted there.

Examples:
  drctl copy --to us -f policies/orders.yaml
  drctl copy latest:weekly --to us --bandwidth 10MiB -f policies/orders.yaml
  drctl copy --to us --dry-run -f policies/orders.yaml
  drctl copy --from us --to repository -f policies/orders.yaml"
)]
pub struct CopyArgs {
    /// The backup: an id, the beginning of one, `latest`, `latest:SCHEDULE`, `@TIME`, or `all` (default: all)
    backup: Option<BackupRef>,
    /// Where to: a copy of the policy, or `repository`
    #[arg(long, value_name = "NAME")]
    to: CopyPlace,
    /// Where from: a copy of the policy, or `repository`
    #[arg(long, value_name = "NAME", default_value = "repository")]
    from: CopyPlace,
    /// Send at most so many bytes a second: 10MiB (default: what the policy says of the copy, else as many as go)
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<Bandwidth>,
    /// Show what would be sent, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &CopyArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let policy = context.policy()?;
    let which = match &args.backup {
        None => WhichBackups::All,
        Some(BackupRef::Id(text)) if text == "all" => WhichBackups::All,
        Some(wanted) => WhichBackups::One(wanted.clone()),
    };
    let asked = CopyAsked {
        from: args.from.clone(),
        to: args.to.clone(),
        which,
        bandwidth: args.bandwidth.as_ref().map(Bandwidth::bytes),
        dry_run: args.dry_run,
    };
    let copies = operations::copy(&policy, (&asked, &Originals::default()), &context.keys(), &context.run).await?;
    context.telemetry.finish();
    let report = report(&policy, &asked, &copies);
    let exit = exit_of(&copies);
    args.output.print_done(&report, CopyReport::text, (context.say, "the copy has come to its end"))?;
    let problems = report.problems();
    if !problems.is_empty() {
        context.say.lines(&format!("not everything is in {}:\n{problems}", asked.to.in_words()));
    }
    if let Some(next) = next_of(&copies, &asked.to) {
        context.say.next(&next);
    }
    Ok(exit)
}

/// How a copy ends: as the gravest of what could not be done, the codes of which [`gravity`] orders.
fn exit_of(copies: &Copies) -> Exit {
    let Some((exit, _)) = gravest(copies) else {
        return if copies.is_whole() { Exit::Done } else { Exit::Partial };
    };
    let wrote_backups = copies.copied() > 0 || copies.mended() > 0;
    match exit {
        Exit::Difference | Exit::Interrupted => exit,
        _ if wrote_backups => Exit::Partial,
        // `could not run` would say that nothing was written.
        Exit::CouldNotRun if copies.made => Exit::Failed,
        exit => exit,
    }
}

/// Damage outweighs an interruption, both what could not be done, and that what was not begun.
fn gravity(exit: Exit) -> u8 {
    match exit {
        Exit::Difference => 5,
        Exit::Interrupted => 4,
        Exit::Failed | Exit::Fenced => 3,
        Exit::CouldNotRun => 2,
        Exit::Usage | Exit::Partial => 1,
        Exit::Done => 0,
    }
}

/// The gravest failure, with its code; the first of those that are alike.
fn gravest(copies: &Copies) -> Option<(Exit, &operations::Error)> {
    let errors = copies.failed().map(|(_, error)| error).chain(&copies.ended);
    let ends = errors.map(|error| (exit::exit_of(error), error));
    ends.reduce(|first, next| if gravity(next.0) > gravity(first.0) { next } else { first })
}

/// What a person does next, in the words of the places that are meant.
fn next_of(copies: &Copies, to: &CopyPlace) -> Option<String> {
    let Some((_, error)) = gravest(copies) else {
        let Some(first) = copies.given_up().next() else {
            let (first, flag) = (copies.going().next()?, to.flag());
            return Some(format!("`drctl prune --undo {first}{flag}` saves it there, within a day of its marking"));
        };
        return Some(format!(
            "use {first} where it is (`drctl list` shows it), or copy it under another prefix; the rest is copied as ever"
        ));
    };
    let next = exit::next_of(error)?.replace(" --copy NAME", &to.flag());
    let concerned = copies.failed().find(|(_, one)| std::ptr::eq(*one, error)).map(|(backup, _)| backup.to_string());
    Some(concerned.map_or_else(|| next.clone(), |backup| next.replace(" ID", &format!(" {backup}"))))
}

fn report(policy: &Policy, asked: &CopyAsked, copies: &Copies) -> CopyReport {
    let counts = copies.counts();
    CopyReport {
        policy: policy.name.to_string(),
        from: asked.from.to_string(),
        from_url: copies.from.clone(),
        to: asked.to.to_string(),
        to_url: copies.to.clone(),
        dry_run: asked.dry_run,
        whole: copies.is_whole(),
        backups: copies.backups.iter().map(item).collect(),
        copied: copies.copied(),
        packs: counts.packs,
        bytes: counts.bytes,
        packs_there: counts.packs_there,
        accepts: copies.accepts,
        ended: copies.ended.as_ref().map(exit::chain_of),
    }
}

fn item(one: &operations::CopiedBackup) -> CopiedItem {
    let (action, why, counts) = match &one.fate {
        CopyFate::Copied(counts) => (CopyAction::Copied, None, counts.clone()),
        CopyFate::Mended(counts) => (CopyAction::Mended, None, counts.clone()),
        CopyFate::There => (CopyAction::There, None, Default::default()),
        CopyFate::GivenUp(why) => (CopyAction::GivenUp, Some(why.clone()), Default::default()),
        CopyFate::Going(why) => (CopyAction::Going, Some(why.clone()), Default::default()),
        CopyFate::LeftOut(why) => (CopyAction::LeftOut, Some(why.clone()), Default::default()),
        CopyFate::Failed(error) => (CopyAction::Failed, Some(exit::chain_of(error)), Default::default()),
    };
    CopiedItem {
        id: one.backup.to_string(),
        schedule: one.schedule.to_string(),
        action,
        why,
        packs: counts.packs,
        bytes: counts.bytes,
    }
}

/// Brings a schedule's backups into its copies, after the backup of it was made. Gives a report of each copy, with what is
/// done next where something could not be.
pub(super) async fn after_backup(
    policy: &Policy,
    schedule: &Name,
    context: &Context<'_>,
) -> Vec<(CopyReport, Option<String>)> {
    let (mut reports, originals) = (Vec::new(), Originals::default());
    let names = policy.schedules.get(schedule).map(|schedule| schedule.copy_to.as_slice()).unwrap_or_default();
    for name in names {
        let asked = CopyAsked {
            from: CopyPlace::Repository,
            to: CopyPlace::Copy(name.clone()),
            which: WhichBackups::Schedule(schedule.clone()),
            bandwidth: None,
            dry_run: false,
        };
        let copies = match operations::copy(policy, (&asked, &originals), &context.keys(), &context.run).await {
            Ok(copies) => copies,
            Err(error) => Copies::not_begun(policy, &asked, error),
        };
        reports.push((report(policy, &asked, &copies), next_of(&copies, &asked.to)));
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operations::{CopiedBackup, CopyError},
        types::BackupId,
    };

    fn of(fates: Vec<CopyFate>) -> Copies {
        let backup = BackupId::parse("20261120T020000Z-aaaaaa").unwrap();
        let one = |fate| CopiedBackup { schedule: Name::new("daily").unwrap(), backup: backup.clone(), fate };
        let backups = fates.into_iter().map(one).collect();
        Copies { from: String::new(), to: String::new(), backups, accepts: 0, made: false, ended: None }
    }

    fn failed(error: operations::Error) -> CopyFate {
        CopyFate::Failed(Box::new(error))
    }

    fn damaged() -> CopyFate {
        failed(CopyError::Unreadable { backup: "x".to_owned(), why: "it is".to_owned(), damaged: true }.into())
    }

    fn newer() -> CopyFate {
        failed(CopyError::Unreadable { backup: "x".to_owned(), why: "it is".to_owned(), damaged: false }.into())
    }

    fn unusable() -> CopyFate {
        failed(operations::Error::Unusable { backup: "x".to_owned(), why: "is gone".to_owned() })
    }

    #[test]
    fn a_copy_ends_with_the_gravest_of_its_failures_whatever_their_order() {
        let cases = [
            (vec![damaged(), newer()], Exit::Difference),
            (vec![newer(), damaged()], Exit::Difference),
            (vec![newer(), unusable()], Exit::CouldNotRun),
            (vec![unusable(), newer()], Exit::CouldNotRun),
            (vec![CopyFate::Copied(Default::default()), unusable(), newer()], Exit::Partial),
            (vec![CopyFate::Mended(Default::default()), newer()], Exit::Partial),
        ];
        for (fates, exit) in cases {
            let copies = of(fates);
            assert_eq!(exit_of(&copies), exit, "{copies:?}");
        }
        let interrupted = Copies { ended: Some(operations::Error::Interrupted), ..of(vec![newer()]) };
        assert_eq!(exit_of(&interrupted), Exit::Interrupted);
        // The twin: nothing has failed.
        assert_eq!(exit_of(&of(vec![CopyFate::There, CopyFate::LeftOut("it is old".to_owned())])), Exit::Done);
        assert_eq!(next_of(&of(vec![CopyFate::There]), &CopyPlace::Repository), None);
    }

    #[test]
    fn what_was_given_up_is_not_whole_and_where_the_place_was_made_something_was_written() {
        let given_up = of(vec![CopyFate::There, CopyFate::GivenUp("was given up".to_owned())]);
        assert_eq!((exit_of(&given_up), given_up.is_whole()), (Exit::Partial, false));
        assert!(next_of(&given_up, &CopyPlace::Repository).unwrap().contains("20261120T020000Z-aaaaaa"));
        assert_eq!(exit_of(&Copies { made: true, ..of(vec![newer()]) }), Exit::Failed);
        // So it is with what is about to be deleted there.
        let going = of(vec![CopyFate::There, CopyFate::Going("has a tombstone".to_owned())]);
        assert_eq!((exit_of(&going), going.is_whole()), (Exit::Partial, false));
        let us = CopyPlace::Copy(Name::new("us").unwrap());
        let said = next_of(&going, &us).unwrap();
        assert!(said.starts_with("`drctl prune --undo 20261120T020000Z-aaaaaa --copy us`"), "{said}");
    }

    #[test]
    fn the_next_step_names_the_place_and_the_backup() {
        use crate::repository::{CopyRefused, Error};
        let goes = || {
            let backup = BackupId::parse("20261120T020000Z-aaaaaa").unwrap();
            failed(Error::from(CopyRefused::Goes { backup, place: "the copy `us`".to_owned() }).into())
        };
        let us = CopyPlace::Copy(Name::new("us").unwrap());
        let said = next_of(&of(vec![goes()]), &us).unwrap();
        assert!(said.starts_with("`drctl prune --undo 20261120T020000Z-aaaaaa --copy us`"), "{said}");
        let said = next_of(&of(vec![goes()]), &CopyPlace::Repository).unwrap();
        assert!(said.starts_with("`drctl prune --undo 20261120T020000Z-aaaaaa`"), "{said}");
    }
}
