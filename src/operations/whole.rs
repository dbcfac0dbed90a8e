//! A restore of databases and objects together, in the order that keeps an application from starting before its data.
//!
//! 1. Databases that answer already are loaded, compared and swapped in, before anything of a cluster is touched.
//! 2. Where a database runs in the cluster and is to be created, the objects that it needs and its own workload
//!    come first; when that is ready, the database is loaded, compared and swapped in.
//! 3. Only then come the other workloads, and what acts on them.
//!
//! A database that could not be restored, or differs, ends it: nothing later is done.

use std::time::{Duration, Instant};

use super::{
    AskedRestore, ChosenSources, CollectionOptions, CollectionOutcome, CollectionRestore, DatabaseOptions,
    DatabaseOutcome, DatabaseRestore, Error, PhaseTime, PlanWarning, Restore, RestoreOptions, RestoreOutcome, Run,
    choose_sources, collections, databases,
    restore::{self, Executing},
};
use crate::{
    policy::{Policy, ViaService},
    repository::{Repository, StoredManifest},
    sources::{
        kubernetes::restore::ServiceName,
        postgres::restore::{RestoreId, Way},
    },
    types::{Name, for_terminal},
};

/// How long a new server is asked again, after its workload is ready.
const FIRST_ANSWER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked of a whole restore.
#[derive(Debug, Clone)]
pub struct WholeOptions {
    /// Of objects; its sources are those of the whole restore.
    pub objects: RestoreOptions,
    /// Of PostgreSQL databases.
    pub databases: DatabaseOptions,
    /// Of MongoDB databases.
    pub collections: CollectionOptions,
}

impl WholeOptions {
    /// What the restore is called, in names of what it makes.
    fn restore_id(&self) -> &str {
        self.databases.id.as_ref().map_or("", RestoreId::as_str)
    }
}

/// A restore, planned.
#[derive(Debug)]
pub struct WholeRestore<'a> {
    repository: &'a Repository,
    stored: &'a StoredManifest,
    policy: Option<&'a Policy>,
    options: WholeOptions,
    /// Objects of a cluster.
    pub objects: Option<Restore>,
    /// PostgreSQL databases whose servers answer.
    pub databases: Option<DatabaseRestore>,
    /// MongoDB databases whose servers answer.
    pub collections: Option<CollectionRestore>,
    /// Databases whose servers this restore brings back first.
    pub later: Vec<LaterDatabase>,
    /// Databases of the backup that are not touched, because only objects were chosen, or because a saved plan is of
    /// objects alone.
    pub left_out: Vec<Name>,
    /// Of the sources, those that are MongoDB databases.
    mongodb: Vec<Name>,
}

/// A database whose own workload is restored first. It is planned when that is ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct LaterDatabase {
    /// The source.
    pub source: String,
    /// The namespace of the Service that leads to it.
    pub namespace: String,
    /// That Service.
    pub service: String,
}

/// What a whole restore did, as far as it came.
#[derive(Debug, Default)]
pub struct WholeOutcome {
    /// PostgreSQL databases.
    pub databases: DatabaseOutcome,
    /// MongoDB databases.
    pub collections: CollectionOutcome,
    /// Objects; absent if it did not come to them, or there are none.
    pub objects: Option<RestoreOutcome>,
    /// Phase by phase, in order.
    pub phases: Vec<PhaseTime>,
    /// Databases stand in the way of objects that were therefore not restored.
    pub held_back: bool,
    /// What the plans that were made in the middle of it warn of.
    pub later_warnings: Vec<PlanWarning>,
}

/// Plans the restore of what `options` choose. Nothing is written.
///
/// # Errors
/// [`Error`] if the backup, the cluster or a database cannot be read.
pub async fn plan<'a>(
    repository: &'a Repository,
    stored: &'a StoredManifest,
    policy: Option<&'a Policy>,
    options: WholeOptions,
    run: &Run,
) -> Result<WholeRestore<'a>, Error> {
    restore::unless_told(run, plan_all(repository, stored, policy, options, run)).await
}

async fn plan_all<'a>(
    repository: &'a Repository,
    stored: &'a StoredManifest,
    policy: Option<&'a Policy>,
    mut options: WholeOptions,
    run: &Run,
) -> Result<WholeRestore<'a>, Error> {
    // All databases of a run are one restore, also those that are planned in the middle of it.
    options.databases.id.get_or_insert_with(|| RestoreId::new(run.clock.now()));
    let mut chosen = choose_sources(stored, &options.objects.sources)?;
    let left_out = leave_databases(&options.objects, &mut chosen)?;
    let objects = if chosen.objects.is_empty() {
        None
    } else {
        let services = chosen.all_databases().filter_map(|name| via_of(policy, name));
        let services = services.map(|via| ServiceName { namespace: via.namespace.clone(), name: via.service.clone() });
        let services: Vec<ServiceName> = services.collect();
        let wanted = RestoreOptions { sources: chosen.objects.clone(), ..options.objects.clone() };
        Some(restore::plan(repository, stored, &wanted, &services, run).await?)
    };
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for name in chosen.all_databases() {
        match via_of(policy, name).filter(|via| creates(objects.as_ref(), via)) {
            Some(via) if options.databases.address.is_none() => later.push(LaterDatabase {
                source: name.to_string(),
                namespace: via.namespace.clone(),
                service: via.service.clone(),
            }),
            _ => now.push(name.clone()),
        }
    }
    let mongodb = chosen.mongodb;
    let (mongodb_now, postgres_now): (Vec<Name>, Vec<Name>) = now.into_iter().partition(|name| mongodb.contains(name));
    let connect = &options.objects.connect;
    let databases = match postgres_now.as_slice() {
        [] => None,
        now => Some(databases::plan(repository, stored, policy, now, &options.databases, connect, run).await?),
    };
    let asked = (&options.collections, options.restore_id());
    collections::are_meant(&mongodb, &options.collections)?;
    let collections = match mongodb_now.as_slice() {
        [] => None,
        now => Some(collections::plan(repository, stored, policy, now, asked, connect, run).await?),
    };
    if !mongodb.is_empty() {
        let (_, later): (Vec<Name>, Vec<Name>) = mongodb.iter().cloned().partition(|name| mongodb_now.contains(name));
        collections::check(repository, stored, policy, (collections.as_ref(), &later), &options.collections).await?;
    }
    Ok(WholeRestore { repository, stored, policy, options, objects, databases, collections, later, left_out, mongodb })
}

/// Who chooses some objects, or restores them into another namespace, does not mean the live databases: they are
/// touched only if they are named. Under another namespace they are never: their place is that of the live ones.
fn leave_databases(options: &RestoreOptions, chosen: &mut ChosenSources) -> Result<Vec<Name>, Error> {
    let asked = &options.asked;
    if !asked.is_partial() && asked.modifiers.is_none() {
        return Ok(Vec::new());
    }
    if chosen.objects.is_empty() {
        return Err(Error::NothingToChoose { words: asked.words() });
    }
    if !asked.is_partial() {
        return Ok(Vec::new());
    }
    let first = chosen.all_databases().next().cloned();
    match (options.sources.is_empty(), first) {
        (false, Some(database)) if !asked.mapping.is_empty() => {
            Err(Error::MappedDatabase { database: database.to_string() })
        }
        (false, _) => Ok(Vec::new()),
        (true, _) => {
            let mut databases = std::mem::take(&mut chosen.databases);
            databases.append(&mut chosen.mongodb);
            Ok(databases)
        }
    }
}

fn via_of<'p>(policy: Option<&'p Policy>, name: &Name) -> Option<&'p ViaService> {
    policy?.sources.get(name)?.via()
}

/// Whether the plan creates the workload behind a database's own Service: another database of the namespace may be
/// there already.
fn creates(objects: Option<&Restore>, via: &ViaService) -> bool {
    let service = ServiceName { namespace: via.namespace.clone(), name: via.service.clone() };
    objects.is_some_and(|objects| objects.plans.iter().any(|plan| plan.creates_behind(&service)))
}

impl WholeRestore<'_> {
    /// Which objects were asked for, into which namespaces, and how changed.
    #[must_use]
    pub fn asked(&self) -> &AskedRestore {
        &self.options.objects.asked
    }

    /// Takes note that a plan that is saved is of objects alone: none of the backup's databases is part of it.
    pub fn leave_all_databases(&mut self) {
        let chosen = choose_sources(self.stored, &[]).unwrap_or_default();
        self.left_out = chosen.all_databases().cloned().collect();
    }

    /// Does it. `wait` bounds the sum of all waits for workloads; absent: nothing is waited for but the
    /// databases' own workloads.
    ///
    /// # Errors
    /// [`Error`] if a plan is not possible; then nothing was written. Any later failure is in the outcome.
    pub async fn execute(&self, wait: Option<Duration>, run: &Run) -> Result<WholeOutcome, Error> {
        let mut outcome = WholeOutcome::default();
        if let Some(objects) = &self.objects {
            objects.refuse_conflicts()?;
        }
        if let Some(collections) = &self.collections {
            collections.refuse()?;
        }
        if let Some(databases) = &self.databases {
            outcome.add(self.bring_in(databases, run).await?);
        }
        if let Some(collections) = self.collections.as_ref().filter(|_| outcome.may_go_on()) {
            outcome.add_collections(collections.execute(run).await?);
        }
        let Some(objects) = &self.objects else { return Ok(outcome) };
        if !outcome.may_go_on() || (self.databases.is_some() && self.options.databases.no_switch) {
            outcome.held_back = true;
            return Ok(outcome);
        }
        let mut executing = objects.begin(wait, run);
        if self.later.is_empty() {
            executing.rest().await;
        } else {
            self.later_databases(&mut executing, &mut outcome, run).await;
            outcome.held_back = !outcome.may_go_on() || executing.has_ended() || self.options.databases.no_switch;
            if !outcome.held_back {
                executing.rest().await;
            }
        }
        let objects = executing.finish();
        outcome.phases.extend(objects.phases.iter().cloned());
        outcome.objects = Some(objects);
        Ok(outcome)
    }

    /// Loads and compares, and swaps in what is equal.
    async fn bring_in(&self, databases: &DatabaseRestore, run: &Run) -> Result<DatabaseOutcome, Error> {
        let mut loaded = databases.load(run).await?;
        if !self.options.databases.no_switch {
            loaded.switch().await;
        }
        Ok(loaded.outcome)
    }

    /// What databases need, their workloads, and then their contents: all of them are loaded and compared before
    /// the first takes its place.
    async fn later_databases(&self, executing: &mut Executing<'_>, outcome: &mut WholeOutcome, run: &Run) {
        executing.databases().await;
        (outcome.databases.wrote, outcome.collections.wrote) = (true, true);
        if executing.has_ended() {
            return;
        }
        let mut all: Option<DatabaseRestore> = None;
        let is_mongodb = |later: &&LaterDatabase| self.mongodb.iter().any(|name| name.as_str() == later.source);
        for later in self.later.iter().filter(|later| !is_mongodb(later)) {
            match self.plan_later(later, run).await {
                Ok(planned) => match &mut all {
                    Some(all) => all.join(planned),
                    None => all = Some(planned),
                },
                Err(error) => {
                    outcome.databases.ended = Some(of_later(&later.source, error));
                    return;
                }
            }
        }
        if let Some(all) = all {
            outcome.warn(all.plans.iter().flat_map(|plan| PlanWarning::of(&plan.source, &plan.warnings)), run);
            let names: Vec<&str> = self.later.iter().map(|later| later.source.as_str()).collect();
            match self.bring_in(&all, run).await {
                Ok(databases) => outcome.add(databases),
                Err(error) => outcome.databases.ended = Some(of_later(&names.join(", "), error)),
            }
        }
        for later in self.later.iter().filter(is_mongodb) {
            if !outcome.may_go_on() {
                return;
            }
            let restored = match self.plan_later_mongodb(later, run).await {
                Ok(planned) => {
                    outcome.warn(planned.plans.iter().flat_map(|plan| PlanWarning::of(&plan.source, &plan.notes)), run);
                    planned.execute(run).await
                }
                Err(error) => Err(error),
            };
            match restored {
                Ok(restored) => outcome.add_collections(restored),
                Err(error) => outcome.collections.ended = Some(of_later(&later.source, error)),
            }
        }
    }

    /// As [`Self::plan_later`], of a MongoDB database.
    async fn plan_later_mongodb(&self, later: &LaterDatabase, run: &Run) -> Result<CollectionRestore, Error> {
        let names: Vec<Name> = Name::new(later.source.as_str()).into_iter().collect();
        let deadline = Instant::now() + FIRST_ANSWER;
        loop {
            let connect = &self.options.objects.connect;
            let (repository, stored, policy) = (self.repository, self.stored, self.policy);
            let asked = (&self.options.collections, self.options.restore_id());
            let planned = collections::plan(repository, stored, policy, &names, asked, connect, run);
            match restore::unless_told(run, planned).await {
                Err(error) if error.may_pass() && Instant::now() < deadline && !run.cancel.is_cancelled() => {
                    tokio::time::sleep(PAUSE).await;
                }
                planned => return planned,
            }
        }
    }

    /// The plan of a database whose server has just come up. It may refuse connections for a moment more, and what
    /// its image made of an empty volume is all that it holds.
    async fn plan_later(&self, later: &LaterDatabase, run: &Run) -> Result<DatabaseRestore, Error> {
        let names: Vec<Name> = Name::new(later.source.as_str()).into_iter().collect();
        let deadline = Instant::now() + FIRST_ANSWER;
        let mut options = DatabaseOptions { over_empty: true, ..self.options.databases.clone() };
        loop {
            let connect = &self.options.objects.connect;
            let (repository, stored, policy) = (self.repository, self.stored, self.policy);
            match databases::plan(repository, stored, policy, &names, &options, connect, run).await {
                Ok(plan) if options.way == Way::Beside && plan.plans.iter().any(|plan| plan.live.is_none()) => {
                    options.way = Way::Create;
                }
                Ok(plan) => return Ok(plan),
                Err(error) if Instant::now() >= deadline || run.cancel.is_cancelled() || !error.may_pass() => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn of_later(source: &str, error: Error) -> Error {
    Error::LaterDatabase { database: source.to_owned(), source: Box::new(error) }
}

impl WholeOutcome {
    /// Nobody has seen the plans that these are of.
    fn warn(&mut self, warnings: impl Iterator<Item = PlanWarning>, run: &Run) {
        for warning in warnings {
            let (source, text) = (for_terminal(&warning.source), for_terminal(&warning.warning));
            run.monitor.note(&format!("warning: source {source}: {text}"));
            self.later_warnings.push(warning);
        }
    }

    fn add(&mut self, databases: DatabaseOutcome) {
        self.phases.extend(databases.phases.iter().cloned());
        self.databases.databases.extend(databases.databases);
        self.databases.wrote |= databases.wrote;
        self.databases.left.extend(databases.left);
        if self.databases.ended.is_none() {
            self.databases.ended = databases.ended;
        }
    }

    fn add_collections(&mut self, collections: CollectionOutcome) {
        self.phases.extend(collections.phases.iter().cloned());
        self.collections.add(collections);
    }

    fn may_go_on(&self) -> bool {
        let postgres = self.databases.ended.is_none() && self.databases.is_equal();
        postgres && self.collections.ended.is_none() && self.collections.is_equal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operations::AskedRestore,
        sources::kubernetes::{
            ConnectOptions,
            restore::{Choice, Mapping, OnConflict},
        },
    };

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::new(*name).unwrap()).collect()
    }

    /// What is left out of a backup of objects and a database, and what is said otherwise.
    fn left_out(sources: &[&str], choice: bool, mapping: bool) -> Result<Vec<Name>, String> {
        let kinds = if choice { vec!["secrets".to_owned()] } else { Vec::new() };
        let pairs = mapping.then(|| ("a".to_owned(), "b".to_owned()));
        let asked = AskedRestore {
            choice: Choice { kinds, ..Choice::default() },
            mapping: Mapping::new(pairs).unwrap(),
            modifiers: None,
        };
        let connect = ConnectOptions::default();
        let options = RestoreOptions {
            sources: names(sources),
            on_conflict: OnConflict::Fail,
            adopt_volumes: false,
            platform: Vec::new(),
            try_out: false,
            remember: false,
            asked,
            connect,
        };
        let taken = |name: &&str| sources.is_empty() || sources.contains(name);
        let of = |all: &[&str]| names(&all.iter().copied().filter(|name| taken(name)).collect::<Vec<_>>());
        let mut chosen = ChosenSources { objects: of(&["services"]), databases: of(&["orders"]), mongodb: Vec::new() };
        leave_databases(&options, &mut chosen).map_err(|error| error.to_string())
    }

    #[test]
    fn a_restore_of_some_objects_touches_no_database_that_is_not_named() {
        assert_eq!(left_out(&[], false, false), Ok(Vec::new()), "all of it");
        assert_eq!(left_out(&[], true, false), Ok(names(&["orders"])));
        assert_eq!(left_out(&["services", "orders"], true, false), Ok(Vec::new()));
        assert_eq!(left_out(&[], false, true), Ok(names(&["orders"])));
        assert_eq!(left_out(&["services"], false, true), Ok(Vec::new()));
        let refused = left_out(&["services", "orders"], false, true).unwrap_err();
        assert!(refused.starts_with("source `orders` is a database"), "{refused}");
        let refused = left_out(&["orders"], true, false).unwrap_err();
        assert_eq!(
            refused,
            "what is restored holds no objects of a cluster, of which some could be chosen: --kind secrets"
        );
    }
}
