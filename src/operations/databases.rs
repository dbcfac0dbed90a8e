//! The restore of databases: planned, loaded beside the live ones, compared, swapped in.
//!
//! [`plan`] writes nothing. [`DatabaseRestore::load`] brings every database in and compares it, and only
//! when all of them are equal [`LoadedDatabases::switch`] swaps them in: two databases of one backup
//! belong together. If a later one cannot be swapped in, those before it are swapped back.

use std::time::Instant;

use futures::future::join_all;
use jiff::Timestamp;

use super::{
    Error, PhaseTime, Run,
    capture::chain,
    restore::stop_if_told,
    restored::{DatabaseOutcome, RestoredDatabase},
    sources::{self, Reached},
};
use crate::{
    policy::{Policy, SecretRef, SourceSpec},
    repository::{BackupReader, Repository, StoredManifest},
    sources::{
        kubernetes::{self, Cluster},
        postgres::{
            self, Server,
            restore::{
                Kept, Ownership, Plan, PlanOptions, Restore, RestoreContext, RestoreError, RestoreId, Scope, Switched,
                Undoable, Way,
            },
        },
    },
    types::Name,
};

/// What the command line says about databases.
#[derive(Debug, Clone, Default)]
pub struct DatabaseOptions {
    /// The address of the server to restore into; absent: the one of the policy.
    pub address: Option<SecretRef>,
    /// The database whose place is at stake; absent: the one that the address names.
    pub database: Option<String>,
    /// Where the data goes.
    pub way: Way,
    /// How much of it.
    pub scope: Scope,
    /// Only these tables.
    pub tables: Vec<String>,
    /// To whom it belongs.
    pub ownership: Ownership,
    /// Tables that the target cannot take, or what the backup never held, may be missing afterwards.
    pub leave_out: bool,
    /// Load and compare, and leave it beside the live database.
    pub no_switch: bool,
    /// Sessions side by side.
    pub jobs: Option<usize>,
    /// The restore that all of them are a part of; absent: each is one of its own.
    pub id: Option<RestoreId>,
    /// The restore `id` has loaded them already and left them beside: they are compared again and swapped in.
    pub kept: bool,
    /// A live database that holds something is not replaced.
    pub over_empty: bool,
}

/// Planned restores of databases.
#[derive(Debug)]
pub struct DatabaseRestore {
    reader: BackupReader,
    servers: Vec<Reached>,
    /// One plan a database.
    pub plans: Vec<Plan>,
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
    options: &DatabaseOptions,
    connect: &kubernetes::ConnectOptions,
    run: &Run,
) -> Result<DatabaseRestore, Error> {
    let reader = repository.read_contents(&stored.manifest).await?;
    run.monitor.phase("connecting", "step", None);
    let one_address = options.address.is_some() || options.database.is_some() || options.way == Way::Tables;
    if one_address && names.len() > 1 {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        return Err(RestoreError::Usage(format!(
            "the backup has several databases ({}): name the one that is meant with --source",
            names.join(", ")
        ))
        .into());
    }
    let mut restore = DatabaseRestore { reader, servers: Vec::new(), plans: Vec::new() };
    let cluster = sources::cluster_for(policy, names, options.address.as_ref(), connect).await?;
    for name in names {
        let reached = server(policy, name, options.address.as_ref(), cluster.as_ref()).await?;
        let mut plan_options = PlanOptions {
            backup: stored.manifest.backup.to_string(),
            source: name.clone(),
            database: options.database.clone(),
            way: options.way,
            scope: options.scope,
            tables: options.tables.clone(),
            ownership: options.ownership.clone(),
            leave_out: options.leave_out,
            no_switch: options.no_switch,
            jobs: options.jobs,
            now: run.clock.now(),
            id: options.id.clone(),
            kept: options.kept,
            over_empty: options.over_empty,
        };
        let mut plan = postgres::restore::plan(context(&reached.server, &restore.reader, run), &plan_options).await?;
        if options.kept && plan.live.is_none() {
            plan_options.way = Way::Create;
            plan = postgres::restore::plan(context(&reached.server, &restore.reader, run), &plan_options).await?;
        }
        restore.servers.push(reached);
        restore.plans.push(plan);
    }
    restore.refuse_one_twice();
    Ok(restore)
}

fn one_twice(one: &Plan, other: &Plan) -> String {
    format!(
        "sources {} and {} are one database, {} on {}: restore one of them with --source, or each into a place of its own \
         with --source and --target-database",
        one.source, other.source, other.database, other.server
    )
}

/// The server of a source: at the address that the command line names, or else where the policy says.
async fn server(
    policy: Option<&Policy>,
    name: &Name,
    address: Option<&SecretRef>,
    cluster: Option<&Cluster>,
) -> Result<Reached, Error> {
    let spec = policy.and_then(|policy| match policy.sources.get(name) {
        Some(SourceSpec::Postgres(spec)) => Some(spec),
        _ => None,
    });
    match (address, spec) {
        (Some(address), _) => Ok(Reached { server: sources::server_at(name, address, spec)?, forward: None }),
        (None, Some(spec)) => sources::reach(name, spec, cluster).await,
        (None, None) => Err(RestoreError::Usage(sources::no_address(name)).into()),
    }
}

fn context<'a>(server: &'a Server, contents: &'a BackupReader, run: &'a Run) -> RestoreContext<'a> {
    RestoreContext { server, contents, monitor: run.monitor.as_ref(), cancel: &run.cancel }
}

/// Databases that are loaded and compared, and not yet swapped in.
#[derive(Debug)]
pub struct LoadedDatabases<'a> {
    running: Vec<Restore<'a>>,
    /// What was done so far.
    pub outcome: DatabaseOutcome,
}

impl DatabaseRestore {
    /// Why it cannot be done; empty: it can.
    #[must_use]
    pub fn refusals(&self) -> Vec<&str> {
        self.plans.iter().flat_map(|plan| plan.refusals.iter().map(String::as_str)).collect()
    }

    /// Takes the databases of another plan of the same backup along.
    pub(super) fn join(&mut self, other: Self) {
        self.servers.extend(other.servers);
        self.plans.extend(other.plans);
        self.refuse_one_twice();
    }

    /// Two sources that are restored into one database would wait for each other, and the second would take the place
    /// of the first.
    fn refuse_one_twice(&mut self) {
        let mut twice = Vec::new();
        for (place, plan) in self.plans.iter().enumerate() {
            let earlier = self.plans.iter().take(place).find(|other| other.is_about_the_same(plan));
            twice.extend(earlier.map(|other| (place, one_twice(other, plan))));
        }
        for (place, why) in twice {
            if let Some(plan) = self.plans.get_mut(place).filter(|plan| !plan.refusals.contains(&why)) {
                plan.refusals.push(why);
            }
        }
    }

    /// Loads and compares every database, one after the other. A failure is in the outcome.
    ///
    /// # Errors
    /// [`Error`] if a plan is not possible; then nothing was written.
    pub async fn load<'a>(&'a self, run: &'a Run) -> Result<LoadedDatabases<'a>, Error> {
        if let Some(plan) = self.plans.iter().find(|plan| !plan.is_possible()) {
            let (database, reasons) = (plan.database.clone(), plan.refusals.clone());
            return Err(RestoreError::Refused { database, reasons }.into());
        }
        let mut loaded = LoadedDatabases { running: Vec::new(), outcome: DatabaseOutcome::default() };
        for (plan, Reached { server, .. }) in self.plans.iter().zip(&self.servers) {
            if let Err(error) = loaded.add(context(server, &self.reader, run), plan, run).await {
                loaded.outcome.ended = Some(error);
                break;
            }
        }
        Ok(loaded)
    }
}

impl<'a> LoadedDatabases<'a> {
    async fn add(&mut self, context: RestoreContext<'a>, plan: &'a Plan, run: &Run) -> Result<(), Error> {
        stop_if_told(run)?;
        let restore = Restore::begin(context, plan).await?;
        let loaded = tokio::select! {
            loaded = restore.load() => loaded,
            // The locks of those that are loaded already.
            _ = join_all(self.running.iter().map(Restore::keep)), if !self.running.is_empty() => {
                Err(RestoreError::Interrupted)
            }
        };
        self.outcome.wrote |= restore.has_written();
        self.outcome.left.extend(restore.left_behind());
        let loaded = loaded?;
        for took in &loaded.phases {
            self.outcome.phases.push(PhaseTime { phase: took.phase, seconds: took.seconds });
        }
        self.outcome.databases.push(RestoredDatabase {
            source: plan.source.clone(),
            way: plan.way,
            schema: plan.schema.clone(),
            loaded,
            switched: None,
            switched_back: None,
        });
        self.running.push(restore);
        Ok(())
    }

    /// Whether all of them may be swapped in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.outcome.ended.is_none() && self.outcome.is_equal()
    }

    /// Swaps every database in, if all of them are equal to the backup. If one cannot be, those before it are
    /// swapped back.
    pub async fn switch(&mut self) {
        if !self.is_ready() || !self.running.iter().any(Restore::swaps) {
            return;
        }
        let began = Instant::now();
        if let Err(error) = self.look_again().await {
            self.outcome.ended = Some(error);
        }
        if !self.is_ready() {
            return;
        }
        let swaps = self.running.iter_mut().zip(&mut self.outcome.databases).filter(|(running, _)| running.swaps());
        let mut failed: Option<Error> = None;
        for (running, database) in swaps {
            match running.switch().await {
                Ok(switched) => database.switched = Some(switched),
                Err(error) => {
                    failed = Some(error.into());
                    break;
                }
            }
        }
        if let Some(error) = failed {
            self.outcome.ended = Some(self.switch_back(error).await);
        }
        self.outcome.phases.push(PhaseTime { phase: "switch", seconds: began.elapsed().as_secs_f64() });
    }

    /// Looks at all of them once more, where there are several: while the later ones were loaded, nobody saw what was
    /// written to the earlier ones.
    async fn look_again(&mut self) -> Result<(), Error> {
        // What takes long to compare again gives others time.
        const ROUNDS: usize = 3;
        let several = self.running.iter().filter(|running| running.swaps()).count() > 1;
        for _ in 0..ROUNDS {
            let mut compared = false;
            let places = self.running.iter().zip(&mut self.outcome.databases);
            for (running, database) in places.filter(|(running, _)| several && running.swaps()) {
                compared |= tokio::select! {
                    compared = running.look_before_swap(&mut database.loaded) => compared?,
                    _ = join_all(self.running.iter().map(Restore::keep)) => return Err(RestoreError::Interrupted.into()),
                };
            }
            if !compared || !self.outcome.is_equal() {
                break;
            }
        }
        Ok(())
    }

    /// Swaps back what this run has swapped in, the last one first.
    async fn switch_back(&mut self, error: Error) -> Error {
        let (mut back, mut stay) = (Vec::new(), Vec::new());
        for (running, database) in self.running.iter_mut().zip(&mut self.outcome.databases).rev() {
            let Some(switched) = &database.switched else { continue };
            let name = switched.database.clone();
            match running.switch_back().await {
                Ok(switched) => {
                    (database.switched, database.switched_back) = (None, Some(switched));
                    back.push(name);
                }
                Err(second) => {
                    tracing::warn!(error = %chain(&Error::from(second)), database = %name, "it could not be swapped back");
                    stay.push(name);
                }
            }
        }
        if back.is_empty() && stay.is_empty() {
            return error;
        }
        Error::NotAllSwapped { back, stay, source: Box::new(error) }
    }
}

/// What earlier restores have loaded and left beside the databases `names`, newest first. Nothing is written.
///
/// # Errors
/// [`Error`] if no policy and no option says where a database is, or its server cannot be read.
pub async fn find_kept(
    policy: Option<&Policy>,
    names: &[Name],
    options: &DatabaseOptions,
    connect: &kubernetes::ConnectOptions,
) -> Result<Vec<(Name, Kept)>, Error> {
    let cluster = sources::cluster_for(policy, names, options.address.as_ref(), connect).await?;
    let mut all = Vec::new();
    for name in names {
        let reached = server(policy, name, options.address.as_ref(), cluster.as_ref()).await?;
        let database = options.database.as_ref().unwrap_or(&reached.server.url().database);
        let kept = postgres::restore::kept(&reached.server, database).await?;
        all.extend(kept.into_iter().map(|kept| (name.clone(), kept)));
    }
    all.sort_by(|(_, one), (_, other)| other.restore.as_str().cmp(one.restore.as_str()));
    Ok(all)
}

/// A database that an earlier restore can be undone for.
#[derive(Debug)]
pub struct DatabaseUndo {
    reached: Reached,
    /// What would be done.
    pub undoable: Undoable,
}

/// Looks for what an undo would do. Nothing is written.
///
/// # Errors
/// [`Error`] if no policy and no option says where the database is, or its server cannot be read.
pub async fn plan_undo(
    policy: Option<&Policy>,
    name: &Name,
    options: &DatabaseOptions,
    connect: &kubernetes::ConnectOptions,
) -> Result<DatabaseUndo, Error> {
    let cluster = sources::cluster_for(policy, std::slice::from_ref(name), options.address.as_ref(), connect).await?;
    let reached = server(policy, name, options.address.as_ref(), cluster.as_ref()).await?;
    let database = options.database.clone().unwrap_or_else(|| reached.server.url().database.clone());
    let undoable = postgres::restore::undoable(&reached.server, &database).await?;
    Ok(DatabaseUndo { reached, undoable })
}

impl DatabaseUndo {
    /// Puts the database that was live before back.
    ///
    /// # Errors
    /// [`Error`] if there is nothing to undo, or the server refuses.
    pub async fn execute(&self, now: Timestamp) -> Result<Switched, Error> {
        Ok(postgres::restore::undo_seen(&self.undoable, &self.reached.server, now).await?)
    }

    /// Whether it was done all the same, after a try that has failed: its connection may have been lost once it was. Absent:
    /// nobody knows, because the server does not answer.
    pub async fn was_done(&self) -> Option<bool> {
        match postgres::restore::undoable(&self.reached.server, &self.undoable.database).await {
            Ok(now) => Some(self.undoable.was_done(&now)),
            Err(RestoreError::Refused { .. }) => Some(false),
            Err(_) => None,
        }
    }

    /// Takes it back, because another one that belongs to it could not be done.
    ///
    /// # Errors
    /// [`Error`] if the server refuses; then the database that was live before stays live.
    pub async fn take_back(&self, undone: &Switched) -> Result<(), Error> {
        Ok(postgres::restore::take_back(&self.reached.server, undone).await?)
    }
}
