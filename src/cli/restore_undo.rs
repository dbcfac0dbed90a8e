//! `drctl restore --undo`: the way back for one database, or for all that a restore has replaced.

use super::{
    confirm::{self, Answer},
    context::Context,
    exit::{Exit, Failure, chain_of},
    output::OutputArgs,
    restore_databases::{DatabaseArgs, databases_of},
    restore_databases_text as text,
};
use crate::{
    operations::{self, DatabaseUndo},
    policy::Policy,
    report,
    sources::postgres::restore::Switched,
    types::{Name, for_terminal},
};

/// `drctl restore --undo`.
pub(super) async fn run(
    args: &DatabaseArgs,
    sources: &[Name],
    yes: bool,
    output: OutputArgs,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let options = args.options()?;
    let policy = policy(args, context)?;
    let names = match (&policy, sources) {
        (Some(policy), _) => databases_of(policy, sources)?,
        (None, [name]) => vec![name.clone()],
        (None, _) => return Err(Failure::usage("without a policy, name one database with --source")),
    };
    if names.len() > 1 && (options.address.is_some() || options.database.is_some()) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("name one database with --source; the policy has: {}", names.join(", "))));
    }
    let mut planned = Vec::new();
    for name in names {
        let undo = operations::plan_undo(policy.as_ref(), &name, &options, &context.connect()).await?;
        planned.push((name, undo));
    }
    let chosen = of_newest(&planned);
    if chosen.is_empty() {
        return Err(nothing(&planned));
    }
    for (_, undo) in planned.iter().filter(|(name, _)| !chosen.iter().any(|(other, _)| *other == name)) {
        context.say.lines(&left_alone(undo));
    }
    let refusals: Vec<String> = chosen.iter().flat_map(|(_, undo)| undo.undoable.refusals.clone()).collect();
    if !refusals.is_empty() {
        let lines: Vec<String> = refusals.iter().map(|why| format!("  - {}", for_terminal(why))).collect();
        let message = format!("it cannot be undone; nothing was changed:\n{}", lines.join("\n"));
        return Err(Failure::new(Exit::CouldNotRun, message).next("put that right, and run it again"));
    }
    let questions: Vec<String> = chosen.iter().map(|(_, undo)| question(undo)).collect();
    let question = questions.join(";\n");
    if !yes {
        if !confirm::can_ask() {
            return Err(Failure::usage(format!("{question}\nnobody is there to ask; nothing was changed"))
                .next("run it again with --yes"));
        }
        confirm::ask(context, &question, Answer::Yes).await?;
    }
    execute(&chosen, output, context).await
}

/// Those that the newest restore has replaced: databases of one restore belong together, and one that an earlier
/// restore has replaced does not belong to them.
fn of_newest(planned: &[(Name, DatabaseUndo)]) -> Vec<(&Name, &DatabaseUndo)> {
    let restore = |undo: &DatabaseUndo| undo.undoable.restore.clone();
    let newest = planned.iter().filter_map(|(_, undo)| restore(undo)).max();
    let of_it = planned.iter().filter(|(_, undo)| newest.is_some() && restore(undo) == newest);
    of_it.map(|(name, undo)| (name, undo)).collect()
}

async fn execute(
    chosen: &[(&Name, &DatabaseUndo)],
    output: OutputArgs,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    let (mut done, mut ended) = (Vec::new(), None);
    for (place, (name, undo)) in chosen.iter().enumerate() {
        match undo.execute(context.run.clock.now()).await {
            Ok(switched) => {
                let (source, server) = (name.to_string(), undo.undoable.server.clone());
                done.push(report::UndoneDatabase { source, server, switched });
            }
            Err(error) => {
                let failure = Failure::from(error);
                let earlier = chosen.get(..place).unwrap_or_default();
                ended = Some(match undo.was_done().await {
                    Some(true) => failure,
                    Some(false) => take_back(failure, earlier, &mut done).await,
                    None if earlier.is_empty() => failure,
                    None => {
                        let name = for_terminal(&undo.undoable.database);
                        failure.say_first(&format!(
                            "nobody knows which database {name} is now, and those before it are the ones from before"
                        ))
                    }
                });
                break;
            }
        }
    }
    context.telemetry.finish();
    let document = report::RestoreUndo { databases: done };
    if !document.databases.is_empty() {
        output.print(&document, |document| {
            document.databases.iter().map(|database| text::undone(&database.switched)).collect()
        })?;
    }
    match ended {
        None => Ok(Exit::Done),
        Some(mut failure) => {
            if failure.exit == Exit::CouldNotRun && !document.databases.is_empty() {
                failure.exit = Exit::Failed;
            }
            Err(failure)
        }
    }
}

/// Databases of one restore go back together or not at all: those that went before the one that failed are swapped in again.
async fn take_back(
    mut failure: Failure,
    undone: &[(&Name, &DatabaseUndo)],
    done: &mut Vec<report::UndoneDatabase<Switched>>,
) -> Failure {
    let (mut again, mut stay) = (Vec::new(), Vec::new());
    for (place, (_, undo)) in undone.iter().enumerate().rev() {
        let Some(one) = done.get(place).filter(|one| one.switched.before.is_some()) else { continue };
        let name = for_terminal(&undo.undoable.database).into_owned();
        match undo.take_back(&one.switched).await {
            Ok(()) => {
                done.remove(place);
                again.push(name);
            }
            Err(error) => {
                tracing::warn!(error = %chain_of(&error), database = %name, "its undo could not be taken back");
                stay.push(name);
            }
        }
    }
    let list = |names: &[String]| names.join(", ");
    if !again.is_empty() {
        failure.exit = Exit::Failed;
        failure =
            failure.say_first(&format!("not all could be undone, and so {} is the restored one again", list(&again)));
    }
    if !stay.is_empty() {
        failure = failure.say_first(&format!("{} is the one from before, and others are not", list(&stay)));
    }
    failure
}

fn question(undo: &DatabaseUndo) -> String {
    let undoable = &undo.undoable;
    let (database, server) = (for_terminal(&undoable.database), for_terminal(&undoable.server));
    match &undoable.before {
        Some((before, marker)) if !undoable.closed => format!(
            "putting `{}` back in the place of database `{database}` on {server}; it was live until restore {} of backup {}; \
             what was written since then stays in the database that is live now, which is kept under another name",
            for_terminal(before),
            for_terminal(&marker.restore),
            for_terminal(&marker.backup)
        ),
        _ if undoable.stays_closed => format!(
            "taking back a swap of database `{database}` on {server} that did not end; it stays closed, as it was before"
        ),
        _ => format!("opening database `{database}` on {server} again, which a swap that did not end has closed"),
    }
}

fn nothing(planned: &[(Name, DatabaseUndo)]) -> Failure {
    let places = planned.iter().map(|(_, undo)| {
        let (database, server) = (for_terminal(&undo.undoable.database), for_terminal(&undo.undoable.server));
        format!("`{database}` on {server}")
    });
    let places = places.collect::<Vec<_>>().join(", ");
    let message = format!("no restore of database {places} can be undone; nothing was changed");
    Failure::new(Exit::CouldNotRun, message)
        .next("databases that were live before are called NAME_before_…; `psql -l` lists them")
}

fn left_alone(undo: &DatabaseUndo) -> String {
    let database = for_terminal(&undo.undoable.database);
    match &undo.undoable.restore {
        Some(restore) => format!(
            "note: database `{database}` was replaced by another restore ({}) and is left alone; --source names it\n",
            for_terminal(restore)
        ),
        None => format!("note: no restore of database `{database}` can be undone; it is left alone\n"),
    }
}

/// The policy, which an address on the command line makes needless.
fn policy(args: &DatabaseArgs, context: &Context<'_>) -> Result<Option<Policy>, Failure> {
    let unnamed = context.global.file.as_ref().is_none_or(|file| file.as_os_str().is_empty());
    if args.database_url.is_some() && (unnamed || context.global.repository.is_some()) {
        return Ok(None);
    }
    context.policy().map(Some)
}
