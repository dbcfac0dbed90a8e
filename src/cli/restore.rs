//! `drctl restore`: plan, ask, execute, wait, compare.

use std::time::{Duration, Instant};

use clap::Args;

use super::{
    context::Context,
    duration::duration,
    exit::{Exit, Failure, unsigned},
    new_file,
    output::OutputArgs,
    restore_agree,
    restore_asked::{self, AskedArgs},
    restore_conflict::Conflict,
    restore_databases::{self, DatabaseArgs},
    restore_kept,
    restore_mongodb::{self, MongodbArgs},
    restore_next::{self, Given},
    restore_plan::{self, PlanArgs},
    restore_text, restore_undo, show,
};
use crate::{
    operations::{self, BackupRef, Restore, RestoreOptions, RestoreOutcome, WholeOptions, WholeOutcome, WholeRestore},
    report::{self, Phase, TargetCluster},
    repository::StoredManifest,
    sources::kubernetes::restore::{Action, Plan},
    types::{Name, State, for_terminal},
};

/// Bring databases and objects of a backup back.
#[derive(Debug, Args)]
#[command(
    after_help = "It plans first and writes nothing until the plan is agreed to: on a terminal by an answer, elsewhere by --yes.
What is there already and equal is left alone, so a second run goes on where an interrupted one ended.
Then it waits until workloads are ready, and compares every object with the backup, field by field.

A database is loaded into a new one beside the live one and compared, table by table; only if it is equal to the
backup it takes the live one's name, and the one before is kept until it is dropped by hand. --undo goes back.
Several databases take their places together: if one cannot, those before it are swapped back.
A MongoDB collection is loaded under another name, compared, and then gets its own; a live one is replaced only if --drop
names it, in the same step, and there is no way back.
Databases come first, so that an application which starts finds its data.

A plan can be written into a file, looked at by somebody, and executed later: only if the backup, the cluster and every
live object that it was made of are still the same. The file has all that was asked, so nothing of it is said again; it is
of objects alone. --dry-run and --plan-out ask the server what it would say to each write.

If the cluster is not the one that the backup was taken of, its name is asked for, or its uid by --cluster.
--namespace, --kind, --selector and --name choose objects: all of them must fit, and of a flag that is repeated one.
What is chosen and needs something that is neither chosen nor in the cluster is named in the plan. Databases are then
touched only if --source names them. --map-namespace restores a namespace beside the living one.

The exit code is 3 if something could not be restored or is not ready, and 4 if something that is there differs.
BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

Examples:
  drctl restore latest:daily -f policies/orders.yaml --dry-run
  drctl restore -f policies/clync-app.yaml
  drctl restore -f policies/clync-app.yaml --source financial --yes
  drctl restore -f policies/clync-app.yaml --undo
  drctl restore -f policies/clync-app.yaml --source financial --no-switch
  drctl restore -f policies/clync-app.yaml --source financial --switch
  drctl restore -f policies/clync-app.yaml --source financial --database-url env:NEW_SERVER_URL --create
  drctl restore -f policies/crm.yaml --source crm-db --collection contacts --drop contacts
  drctl restore -f policies/crm.yaml --source crm-db --target-database crm_scratch --yes
  drctl restore @2026-11-20T12:00Z --on-conflict skip --yes
  drctl restore latest:daily --adopt-volumes --dry-run
  drctl restore latest:daily --on-conflict update --plan-out /tmp/plan.jsonl
  drctl show --plan /tmp/plan.jsonl
  drctl restore --plan /tmp/plan.jsonl --yes
  drctl restore --namespace orders --kind configmaps --kind secrets --selector app=web --dry-run
  drctl restore --map-namespace orders=orders-copy --modifiers clone.yaml --yes
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
    #[arg(long, value_enum, default_value_t, conflicts_with = "undo")]
    on_conflict: Conflict,
    /// Take the backup's volumes over: each claim is bound to the disk that it had, and not to a new one
    #[arg(long, conflicts_with = "undo")]
    adopt_volumes: bool,
    /// How long to wait in all until workloads are ready; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, conflicts_with = "undo")]
    wait_timeout: Duration,
    /// The uid of the cluster that is meant, if it is not the one that the backup was taken of
    #[arg(long, value_name = "UID", conflicts_with = "undo")]
    pub(super) cluster: Option<String>,
    /// Use a backup that no pinned signer has signed
    #[arg(long, conflicts_with = "undo")]
    allow_unsigned: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    #[command(flatten)]
    asked: AskedArgs,
    #[command(flatten)]
    pub(super) databases: DatabaseArgs,
    #[command(flatten)]
    mongodb: MongodbArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &RestoreArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    if args.databases.undo {
        return restore_undo::run(&args.databases, &args.sources, args.yes, args.output, context).await;
    }
    // What is wrong on the command line or in a file that it names is said before anything is opened.
    let saved = args.plan.open().await?;
    if let Some(path) = &args.plan.plan_out {
        new_file::refuse_taken(path).await?;
    }
    let mut wanted = options(args, context)?;
    let mut backup = args.backup.clone().unwrap_or(BackupRef::Latest);
    if let Some(file) = &saved {
        file.apply_to(&mut wanted.objects);
        backup = BackupRef::Id(file.head.backup.to_string());
    }
    let opened = context.open().await?;
    let stored = if args.databases.switch {
        restore_kept::choose(&opened, args.backup.as_ref(), &mut wanted, context).await?
    } else {
        opened.find(&backup, &context.say).await?.stored
    };
    stored.refuse_unsigned(args.allow_unsigned).map_err(unsigned)?;
    let chosen = operations::choose_sources(&stored, &wanted.objects.sources)?;
    args.databases.are_meant(&chosen)?;
    args.mongodb.are_meant(&chosen, args.databases.no_switch)?;
    let began = Instant::now();
    let policy = restore_databases::policy_of(&opened, &stored);
    let (repository, asked) = (&opened.repository, wanted.objects.clone());
    let mut planned = operations::plan_restore(repository, &stored, policy.as_ref(), wanted, &context.run).await?;
    if saved.is_some() || args.plan.plan_out.is_some() {
        planned.leave_all_databases();
    }
    let plan_phase = Phase { phase: "plan".to_owned(), seconds: began.elapsed().as_secs_f64() };
    context.telemetry.finish();
    if let Some(objects) = &planned.objects {
        is_meant(args, objects)?;
    }
    if let Some(file) = saved {
        restore_plan::is_as_saved(file, &planned, &stored, context).await?;
    }
    let manifest = &stored.manifest;
    if manifest.state != State::Complete {
        let missing = show::of_manifest(manifest).problems();
        context.say.lines(&format!("warning: backup {} is {}:\n{missing}", manifest.backup, manifest.state));
    }
    if let Some(warning) =
        show::of_manifest(manifest).empty_volumes().filter(|_| !args.adopt_volumes && creates_claims(&planned))
    {
        context.say.lines(&warning);
    }
    if let Some(path) = &args.plan.plan_out {
        restore_plan::save(path, &planned, &asked, &stored, context).await?;
    }
    if args.dry_run || args.plan.plan_out.is_some() {
        return dry_run(args, &planned, &stored, context);
    }
    if let Some(databases) = &planned.databases {
        restore_databases::possible(&databases.refusals())?;
    }
    if let Some(collections) = &planned.collections {
        restore_databases::possible(&collections.refusals())?;
    }
    restore_agree::agree(args, &planned, &stored, context).await?;
    let wait = Some(args.wait_timeout).filter(|timeout| !timeout.is_zero());
    let outcome = planned.execute(wait, &context.run).await?;
    context.telemetry.finish();
    report(args, &planned, plan_phase, outcome, context, &stored)
}

/// Whether a claim gets a new volume.
fn creates_claims(planned: &WholeRestore<'_>) -> bool {
    let plans = planned.objects.iter().flat_map(|objects| &objects.plans);
    plans
        .flat_map(Plan::objects)
        .any(|object| object.kind == "persistentvolumeclaims" && object.action == Action::Create)
}

pub(super) fn document<'a>(planned: &'a WholeRestore<'_>, stored: &StoredManifest) -> restore_text::PlanDocument<'a> {
    report::RestorePlan {
        backup: stored.manifest.backup.to_string(),
        state: stored.manifest.state.to_string(),
        origin: planned.objects.as_ref().and_then(|objects| objects.origin.as_ref().map(show::cluster)),
        target: planned.objects.as_ref().map(target),
        asked: restore_asked::document(planned.asked()),
        databases_left_out: planned.left_out.iter().map(ToString::to_string).collect(),
        conflicts: planned.objects.as_ref().map_or(0, Restore::conflicts),
        sources: planned.objects.as_ref().map_or(&[], |objects| objects.plans.as_slice()),
        databases: planned.databases.as_ref().map_or(&[], |databases| databases.plans.as_slice()),
        mongodb_databases: planned.collections.as_ref().map_or(&[], |databases| databases.plans.as_slice()),
        later_databases: &planned.later,
    }
}

fn options(args: &RestoreArgs, context: &Context<'_>) -> Result<WholeOptions, Failure> {
    let objects = RestoreOptions {
        sources: args.sources.clone(),
        on_conflict: args.on_conflict.of_plan(),
        adopt_volumes: args.adopt_volumes,
        platform: args.plan.platform.clone(),
        try_out: args.dry_run || args.plan.plan_out.is_some(),
        remember: args.plan.plan_out.is_some(),
        asked: args.asked.asked()?,
        connect: context.connect(),
    };
    let databases = args.databases.options()?;
    let collections = args.mongodb.options(&databases);
    Ok(WholeOptions { objects, databases, collections })
}

fn dry_run(
    args: &RestoreArgs,
    planned: &WholeRestore<'_>,
    stored: &StoredManifest,
    context: &Context<'_>,
) -> Result<Exit, Failure> {
    args.output.print(&document(planned, stored), restore_text::plan)?;
    let refused = planned.databases.as_ref().is_some_and(|databases| !databases.refusals().is_empty())
        || planned.collections.as_ref().is_some_and(|databases| !databases.refusals().is_empty());
    if refused {
        context.say.next("put right what is refused");
        return Ok(Exit::CouldNotRun);
    }
    let left_out =
        planned.databases.iter().flat_map(|databases| &databases.plans).any(|plan| !plan.left_out.is_empty());
    let has_databases = planned.databases.is_some() || !planned.later.is_empty();
    let held_back = args.databases.no_switch && has_databases && planned.objects.is_some();
    let of_databases = if left_out || held_back { Exit::Partial } else { Exit::Done };
    let Some(objects) = &planned.objects else { return Ok(of_databases) };
    if objects.refuse_conflicts().is_err() {
        context.say.next(
            "put right what differs; or --on-conflict skip leaves it as it is, update changes it, replace deletes and creates it",
        );
    }
    Ok(match Exit::of_plan(objects) {
        Exit::Done => of_databases,
        other => other,
    })
}

fn report(
    args: &RestoreArgs,
    planned: &WholeRestore<'_>,
    plan_phase: Phase,
    outcome: WholeOutcome,
    context: &Context<'_>,
    stored: &StoredManifest,
) -> Result<Exit, Failure> {
    let conflicts = planned.objects.as_ref().map_or(0, Restore::conflicts);
    let mut warnings = restore_agree::warnings(planned);
    let WholeOutcome { mut databases, mut collections, objects, phases: took, held_back: skipped, later_warnings } =
        outcome;
    warnings.extend(later_warnings);
    let mut phases = vec![plan_phase];
    phases.extend(took.iter().map(|took| Phase { phase: took.phase.to_owned(), seconds: took.seconds }));
    let ended = databases.ended.as_ref().or(collections.ended.as_ref());
    let ended = ended.or(objects.as_ref().and_then(|outcome| outcome.ended.as_ref()));
    let plans: &[Plan] = planned.objects.as_ref().map_or(&[], |objects| objects.plans.as_slice());
    let document = report::RestoreReport {
        backup: stored.manifest.backup.to_string(),
        state: stored.manifest.state.to_string(),
        target: planned.objects.as_ref().map(target),
        asked: restore_asked::document(planned.asked()),
        databases_left_out: planned.left_out.iter().map(ToString::to_string).collect(),
        warnings,
        complete: databases.is_complete()
            && collections.ended.is_none()
            && !skipped
            && conflicts == 0
            && objects.as_ref().is_none_or(RestoreOutcome::is_complete),
        // What ended early was not compared to its end.
        equal: ended.is_none()
            && databases.is_equal()
            && collections.is_equal()
            && !skipped
            && objects.as_ref().is_none_or(RestoreOutcome::is_equal),
        sources: objects.as_ref().map_or(&[], |outcome| outcome.sources.as_slice()),
        databases: &databases.databases,
        mongodb_databases: &collections.databases,
        phases,
        ended: ended.map(ToString::to_string),
    };
    let done = format!("the restore of backup {} has ended", stored.manifest.backup);
    args.output.print_done(&document, |document| restore_text::report(document, plans), (context.say, &done))?;
    restore_mongodb::stayed(&collections).iter().for_each(|stayed| context.say.next(stayed));
    // What one part says of itself is not so of the whole, if another one has written.
    let wrote = databases.wrote || collections.wrote;
    let lifted = |mut failure: Failure| {
        if wrote && failure.exit == Exit::CouldNotRun {
            failure.exit = Exit::Failed;
        }
        failure
    };
    let of_collections = restore_mongodb::exit_of(&mut collections).map_err(lifted);
    let of_databases = restore_databases::exit_of(&mut databases)?.graver(of_collections?);
    let of_objects = match objects {
        Some(outcome) => match Exit::of_restore(conflicts, outcome).map_err(lifted)? {
            // `could not run` would say that nothing was changed.
            Exit::CouldNotRun if wrote => Exit::Partial,
            exit => exit,
        },
        None => Exit::Done,
    };
    let of_held_back = if skipped { Exit::Partial } else { Exit::Done };
    let exit = of_databases.graver(of_objects).graver(of_held_back);
    let next = match restore_mongodb::next(&collections) {
        Some(next) if exit == Exit::Done || !collections.is_equal() => Some(next),
        _ => restore_next::next(given(args, context), &databases, skipped, exit),
    };
    if let Some(next) = next {
        context.say.next(&next);
    }
    Ok(exit)
}

fn given<'a>(args: &'a RestoreArgs, context: &Context<'a>) -> Given<'a> {
    let policy = context.global.file.as_deref().filter(|_| context.global.repository.is_none());
    let (address, database) = (args.databases.database_url.as_deref(), args.databases.target_database.as_deref());
    Given { policy, repository: context.global.repository.as_deref(), address, database }
}

fn target(restore: &Restore) -> TargetCluster {
    TargetCluster {
        uid: restore.target.uid.clone(),
        name: restore.target.name.clone(),
        version: restore.target.version.clone(),
        same: restore.is_same_cluster(),
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
