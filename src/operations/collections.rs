//! The restore of MongoDB databases: planned, loaded under other names, compared, and only then given their names.

use std::time::Instant;

use super::{Error, PhaseTime, Run, mongodb, restore::unless_told, sources};
use crate::{
    policy::{Policy, SecretRef, SourceSpec},
    repository::{BackupReader, Repository, StoredManifest},
    sources::{
        kubernetes::{self, Cluster, Forward},
        mongodb::{
            Server,
            restore::{self, Loaded, Plan, PlanOptions, Restore, RestoreContext, RestoreError},
        },
    },
    types::{Name, check_database_name},
};

/// What the command line says about MongoDB databases.
#[derive(Debug, Clone, Default)]
pub struct CollectionOptions {
    /// The address of the server to restore into; absent: the one of the policy.
    pub address: Option<SecretRef>,
    /// The database to restore into; absent: the one of the policy, or of the address.
    pub database: Option<String>,
    /// Only these collections.
    pub collections: Vec<String>,
    /// Live collections that may be replaced; `*`: all that the backup has.
    pub drop: Vec<String>,
    /// Users and roles, too.
    pub users: bool,
}

/// Planned restores of MongoDB databases.
#[derive(Debug)]
pub struct CollectionRestore {
    reader: BackupReader,
    servers: Vec<(Server, Option<Forward>)>,
    /// One plan a database.
    pub plans: Vec<Plan>,
}

/// What a restore of MongoDB databases did, as far as it came.
#[derive(Debug, Default)]
pub struct CollectionOutcome {
    /// Database by database.
    pub databases: Vec<Loaded>,
    /// Phase by phase.
    pub phases: Vec<PhaseTime>,
    /// Why it ended early, if it did.
    pub ended: Option<Error>,
    /// Something was written, however it ended.
    pub wrote: bool,
    /// Something may be under a live name that was not there before, or may be gone from it.
    pub changed_live: bool,
    /// What a load that failed could not remove again.
    pub left: Vec<String>,
    /// What it has removed, and what may be made again by a command whose answer was lost.
    pub may_come_again: Vec<String>,
}

impl CollectionOutcome {
    /// Whether all that was loaded is equal to the backup.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.databases.iter().all(Loaded::is_equal)
    }

    /// Takes what another part of the same restore did.
    pub(super) fn add(&mut self, other: Self) {
        self.databases.extend(other.databases);
        self.phases.extend(other.phases);
        self.wrote |= other.wrote;
        self.changed_live |= other.changed_live;
        self.left.extend(other.left);
        self.may_come_again.extend(other.may_come_again);
        if self.ended.is_none() {
            self.ended = other.ended;
        }
    }
}

/// Plans the restore of the databases `names`. Nothing is written.
///
/// # Errors
/// [`Error`] if the backup or a server cannot be read, or nothing says where a database is.
pub(super) async fn plan(
    repository: &Repository,
    stored: &StoredManifest,
    policy: Option<&Policy>,
    names: &[Name],
    (options, id): (&CollectionOptions, &str),
    connect: &kubernetes::ConnectOptions,
    run: &Run,
) -> Result<CollectionRestore, Error> {
    let reader = repository.read_contents(&stored.manifest).await?;
    run.monitor.phase("connecting", "step", None);
    let mut planned = CollectionRestore { reader, servers: Vec::new(), plans: Vec::new() };
    let cluster = sources::cluster_for(policy, names, options.address.as_ref(), connect).await?;
    for name in names {
        let (server, forward) = server(policy, name, options, cluster.as_ref()).await?;
        let plan_options = asked_of(stored, name, options, id);
        let mut plan = restore::plan(context(&server, &planned.reader, run), &plan_options).await?;
        // Through port-forwards the same address leads to different servers.
        let before =
            planned.plans.iter().zip(&planned.servers).filter(|(_, (_, other))| other.is_none() && forward.is_none());
        if let Some((other, _)) = before.into_iter().find(|(other, _)| other.is_about_the_same(&plan)) {
            plan.refusals.push(format!("source {} is restored into the same database", other.source));
        }
        planned.servers.push((server, forward));
        planned.plans.push(plan);
    }
    Ok(planned)
}

/// So many names each source has for its collections.
const NAMES: usize = 1_000_000;

fn asked_of(stored: &StoredManifest, name: &Name, options: &CollectionOptions, id: &str) -> PlanOptions {
    let databases = stored.manifest.sources.iter().filter(|entry| entry.kind == "mongodb");
    PlanOptions {
        backup: stored.manifest.backup.to_string(),
        source: name.clone(),
        collections: options.collections.clone(),
        drop: options.drop.clone(),
        users: options.users,
        id: id.to_owned(),
        first: NAMES * databases.take_while(|entry| entry.name != *name).count(),
    }
}

/// Refuses what is asked for of one database, if several are restored.
///
/// # Errors
/// [`RestoreError::Usage`] as an [`Error`].
pub(super) fn are_meant(names: &[Name], options: &CollectionOptions) -> Result<(), Error> {
    let of_one = options.address.is_some() || options.database.is_some() || !options.collections.is_empty();
    if !of_one || names.len() < 2 {
        return Ok(());
    }
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Err(RestoreError::Usage(format!(
        "the backup has several MongoDB databases ({}): name the one that is meant with --source",
        names.join(", ")
    ))
    .into())
}

/// Looks at all that is asked for before anything is written: also of databases whose servers the restore brings back first.
///
/// # Errors
/// [`Error`] if the backup cannot be read, an address is none, or what is asked for is not in the backup.
pub(super) async fn check(
    repository: &Repository,
    stored: &StoredManifest,
    policy: Option<&Policy>,
    (planned, later): (Option<&CollectionRestore>, &[Name]),
    options: &CollectionOptions,
) -> Result<(), Error> {
    let plans = planned.iter().flat_map(|planned| &planned.plans);
    let mut chosen: Vec<String> = plans.flat_map(|plan| plan.collections.iter().map(|it| it.name.clone())).collect();
    if !later.is_empty() {
        let reader = repository.read_contents(&stored.manifest).await?;
        let mut known = Vec::new();
        for name in later {
            if let Some(SourceSpec::Mongodb(spec)) = policy.and_then(|policy| policy.sources.get(name)) {
                let database = target(options)?.or(spec.database.as_deref());
                let server = mongodb::server_at(name, &spec.url, Some(spec), database)?;
                let place = (spec.via.as_ref(), server.database().to_lowercase());
                if let Some((other, _)) = known.iter().find(|(_, other)| *other == place) {
                    let reasons = vec![format!(
                        "sources {other} and {name} are restored into it: restore one of them with --source"
                    )];
                    return Err(RestoreError::Refused { database: server.database().to_owned(), reasons }.into());
                }
                known.push((name, place));
            }
            chosen.extend(restore::check(&reader, &asked_of(stored, name, options, "")).await?);
        }
    }
    Ok(restore::check_drop(&options.drop, &chosen)?)
}

/// The database that the command line names.
fn target(options: &CollectionOptions) -> Result<Option<&str>, Error> {
    let database = options.database.as_deref();
    match database.map(check_database_name) {
        Some(Err(reason)) => Err(RestoreError::Usage(format!("--target-database: {reason}")).into()),
        _ => Ok(database),
    }
}

/// The server of a source: at the address that the command line names, or else where the policy says.
async fn server(
    policy: Option<&Policy>,
    name: &Name,
    options: &CollectionOptions,
    cluster: Option<&Cluster>,
) -> Result<(Server, Option<Forward>), Error> {
    let spec = policy.and_then(|policy| match policy.sources.get(name) {
        Some(SourceSpec::Mongodb(spec)) => Some(spec),
        _ => None,
    });
    let database = target(options)?;
    match (&options.address, spec) {
        (Some(address), _) => Ok((mongodb::server_at(name, address, spec, database)?, None)),
        (None, Some(spec)) => mongodb::reach(name, spec, cluster, database).await,
        (None, None) => Err(RestoreError::Usage(sources::no_address(name)).into()),
    }
}

fn context<'a>(server: &'a Server, contents: &'a BackupReader, run: &'a Run) -> RestoreContext<'a> {
    RestoreContext { server, contents, monitor: run.monitor.as_ref(), cancel: &run.cancel }
}

impl CollectionRestore {
    /// Why it cannot be done; empty: it can.
    #[must_use]
    pub fn refusals(&self) -> Vec<&str> {
        self.plans.iter().flat_map(|plan| plan.refusals.iter().map(String::as_str)).collect()
    }

    /// Refuses what a plan says cannot be done.
    ///
    /// # Errors
    /// [`RestoreError::Refused`] as an [`Error`].
    pub(super) fn refuse(&self) -> Result<(), Error> {
        match self.plans.iter().find(|plan| !plan.is_possible()) {
            Some(plan) => {
                let (database, reasons) = (plan.database.clone(), plan.refusals.clone());
                Err(RestoreError::Refused { database, reasons }.into())
            }
            None => Ok(()),
        }
    }

    /// Loads and compares every database, makes and compares the users of every one, and gives what was loaded its names if all
    /// of it is equal to the backup. A failure is in the outcome.
    ///
    /// # Errors
    /// [`Error`] if a plan is not possible; then nothing was written.
    pub(super) async fn execute(&self, run: &Run) -> Result<CollectionOutcome, Error> {
        self.refuse()?;
        let mut outcome = CollectionOutcome::default();
        let mut running = Vec::new();
        let began = Instant::now();
        for (plan, (server, _)) in self.plans.iter().zip(&self.servers) {
            if let Err(error) = add(&mut running, context(server, &self.reader, run), plan, run).await {
                outcome.ended = Some(error);
                break;
            }
        }
        outcome.phases.push(PhaseTime { phase: "load", seconds: began.elapsed().as_secs_f64() });
        let are_equal = |running: &[Restore<'_>]| running.iter().all(|restore| restore.loaded.is_equal());
        let is_loaded = outcome.ended.is_none() && are_equal(&running);
        let began = Instant::now();
        // Those of all databases: what differs in one keeps every collection out of its place.
        for restore in running.iter_mut().filter(|_| is_loaded) {
            if let Err(error) = restore.make_accounts().await {
                outcome.ended = Some(error.into());
                break;
            }
        }
        let is_ready = is_loaded && outcome.ended.is_none() && are_equal(&running);
        for restore in &mut running {
            if !is_ready || outcome.ended.is_some() {
                restore.clean_up().await;
            } else if let Err(error) = restore.switch().await {
                outcome.ended = Some(error.into());
            }
        }
        if is_loaded {
            outcome.phases.push(PhaseTime { phase: "switch", seconds: began.elapsed().as_secs_f64() });
        }
        for restore in running {
            outcome.wrote |= restore.has_written();
            outcome.changed_live |= restore.has_changed_live();
            outcome.left.extend(restore.left_behind());
            outcome.may_come_again.extend(restore.may_come_again());
            outcome.databases.push(restore.loaded);
        }
        Ok(outcome)
    }
}

async fn add<'a>(
    running: &mut Vec<Restore<'a>>,
    context: RestoreContext<'a>,
    plan: &'a Plan,
    run: &Run,
) -> Result<(), Error> {
    let begun = async { Ok(Restore::begin(context, plan).await?) };
    let mut restore = unless_told(run, begun).await?;
    let loaded = restore.load().await;
    running.push(restore);
    Ok(loaded?)
}

impl From<RestoreError> for Error {
    fn from(error: RestoreError) -> Self {
        use RestoreError as E;
        match error {
            E::Interrupted => Self::Interrupted,
            other => Self::RestoreMongodb(other),
        }
    }
}
