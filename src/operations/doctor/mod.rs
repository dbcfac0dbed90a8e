//! What stands between a policy and its backups, said before one is tried.

mod copies;
mod keys;
mod locks;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Error, Run,
    backup::check_cluster,
    capture::chain,
    keys::KeyOptions,
    repositories::{self, kubernetes_selection},
    sources::{self, Reached},
};
use crate::{
    policy::{MongodbSpec, Policy, PostgresSpec, SourceSpec},
    repository::{self, Proof, Repository, Scope},
    sources::{
        Finding, Severity,
        kubernetes::{self, Cluster, Identity, KubernetesSource},
        postgres::capture::DatabaseIdentity,
    },
    types::{Name, counted},
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Everything, in the order of looking.
    pub findings: Vec<Finding>,
    /// What a backup would be.
    pub backup: Expected,
}

/// What a backup would be, by what was found: the worst of the schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// Nothing is missing that can be seen beforehand.
    Complete,
    /// Something would be missing, or a source of several.
    Partial,
    /// It would have to be accepted before it counts, whatever is missing beside.
    Suspect,
    /// None would come about.
    Impossible,
}

/// What a person does next about an error.
pub type Advise = fn(&Error) -> Option<&'static str>;

/// Looks at what the policy needs: its repository, the cluster, its databases. `only` names some of its
/// sources; empty: all.
///
/// What cannot be reached is a finding, with the next step that `advise` knows. Of all that it looks at, nothing is changed, save that the repository gets
/// a mark that stays (see [`Repository::prove`]).
///
/// # Errors
/// [`Error::NoSuchSource`] if `only` names a source that the policy has not, [`Error::Interrupted`].
pub async fn doctor(
    policy: &Policy,
    only: &[Name],
    (connect, given): (&kubernetes::ConnectOptions, &KeyOptions),
    advise: Advise,
    run: &Run,
) -> Result<Diagnosis, Error> {
    if let Some(stranger) = only.iter().find(|source| !policy.sources.contains_key(*source)) {
        return Err(Error::NoSuchSource {
            wanted: stranger.to_string(),
            holder: "the policy".to_owned(),
            choices: policy.sources.keys().map(ToString::to_string).collect(),
        });
    }
    let (findings, ills, databases) = (Vec::new(), Ills::default(), BTreeMap::new());
    let mut examination = Examination { policy, connect, given, advise, run, findings, ills, databases };
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => return Err(Error::Interrupted),
        () = examination.look(only) => {}
    }
    let backup = examination.ills.expected(policy, only);
    Ok(Diagnosis { findings: examination.findings, backup })
}

/// What was found, by what it concerns.
#[derive(Debug, Default)]
struct Ills {
    /// Of the repository: it concerns every backup.
    repository: Option<Severity>,
    /// A copy that a schedule names fails: a backup would be made, and the run end as if it were partial.
    copies: bool,
    /// The gravest of each source.
    sources: BTreeMap<Name, Severity>,
    /// Sources with which a run ends before anything of the others is read.
    fatal: BTreeSet<Name>,
}

impl Ills {
    fn add(&mut self, source: &Name, severity: Severity) {
        let gravest = self.sources.entry(source.clone()).or_insert(severity);
        *gravest = severity.max(*gravest);
    }

    /// What `backup` would end with: a source that fails beside others makes it partial.
    fn expected(&self, policy: &Policy, only: &[Name]) -> Expected {
        if self.repository == Some(Severity::Prevents) {
            return Expected::Impossible;
        }
        let scheduled: Vec<Vec<&Name>> = match only {
            [] => policy.schedules.values().map(|schedule| schedule.sources.iter().collect()).collect(),
            only => vec![only.iter().collect()],
        };
        let idle =
            policy.sources.keys().filter(|name| only.is_empty() && !scheduled.iter().flatten().any(|n| n == name));
        let runs = scheduled.iter().cloned().chain(idle.map(|name| vec![name]));
        let least = if self.copies { Expected::Partial } else { Expected::Complete };
        runs.map(|sources| self.of_run(&sources)).max().unwrap_or(least).max(least)
    }

    fn of_run(&self, sources: &[&Name]) -> Expected {
        let severity = |name: &Name| self.sources.get(name).copied().unwrap_or(Severity::Good);
        let fails = |name: &&Name| severity(name) == Severity::Prevents;
        if sources.iter().any(|name| self.fatal.contains(*name)) || sources.iter().all(fails) {
            Expected::Impossible
        } else if sources.iter().any(|name| severity(name) == Severity::Suspect) {
            Expected::Suspect
        } else if sources.iter().any(|name| severity(name) >= Severity::Partial) {
            Expected::Partial
        } else {
            Expected::Complete
        }
    }
}

struct Examination<'a> {
    policy: &'a Policy,
    connect: &'a kubernetes::ConnectOptions,
    given: &'a KeyOptions,
    advise: Advise,
    run: &'a Run,
    findings: Vec<Finding>,
    ills: Ills,
    /// Sources by the databases that they are.
    databases: BTreeMap<DatabaseIdentity, Name>,
}

impl Examination<'_> {
    async fn look(&mut self, only: &[Name]) {
        let policy = self.policy;
        let chosen: Vec<(&Name, &SourceSpec)> =
            policy.sources.iter().filter(|(name, _)| only.is_empty() || only.contains(name)).collect();
        self.run.monitor.phase("looking", "things", Some(chosen.len() as u64 + 1));
        let repository = self.look_at_repository().await;
        match &repository {
            Some(repository) => self.look_at_copies(repository).await,
            None => self.look_at_copies_alone().await,
        }
        self.run.monitor.advance(1);
        let in_cluster: Vec<&Name> =
            chosen.iter().filter(|(_, spec)| sources::needs_cluster(spec)).map(|(name, _)| *name).collect();
        let cluster =
            if in_cluster.is_empty() { None } else { self.look_at_cluster(repository.as_ref(), &in_cluster).await };
        for (name, spec) in chosen {
            let looked = match (spec, &cluster) {
                (spec, None) if sources::needs_cluster(spec) => None,
                (SourceSpec::Kubernetes(wanted), Some(cluster)) => {
                    let source = KubernetesSource::new(name.clone(), cluster.clone(), kubernetes_selection(wanted));
                    Some(match sources::check_kinds(&[(name, spec)], cluster).await {
                        Ok(()) => match source.examine().await {
                            Ok(found) => {
                                self.found(name, found);
                                Ok(())
                            }
                            Err(error) => Err(error.into()),
                        },
                        Err(error) => {
                            // A policy that names what is not there is refused as a whole.
                            self.ills.fatal.insert(name.clone());
                            Err(error)
                        }
                    })
                }
                (SourceSpec::Kubernetes(_), None) => None,
                (SourceSpec::Mongodb(spec), _) => Some(self.look_at_mongodb(name, spec, cluster.as_ref()).await),
                (SourceSpec::Postgres(spec), _) => Some(self.look_at_database(name, spec, cluster.as_ref()).await),
            };
            match looked {
                Some(Ok(())) => {}
                Some(Err(error)) => self.source_fails(name, &error),
                None => self.ills.add(name, Severity::Prevents),
            }
            self.run.monitor.advance(1);
        }
    }

    fn found(&mut self, name: &Name, found: Vec<Finding>) {
        found.iter().for_each(|finding| self.ills.add(name, finding.severity));
        self.findings.extend(found);
    }

    fn source_fails(&mut self, name: &Name, error: &Error) {
        self.ills.add(name, Severity::Prevents);
        self.findings.push(self.prevents(format!("source {name}"), error));
    }

    async fn look_at_repository(&mut self) -> Option<Repository> {
        let opened = async {
            let repository = repositories::open_of(self.policy, self.given, None).await?;
            repository.can_write().await?;
            repository.check_held_index_identity(&self.policy.name).await?;
            let backups = repository.backups(&Scope::Policy(self.policy.name.clone())).await?;
            Ok::<_, Error>((repository, backups.len()))
        };
        let (repository, backups) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                self.repository_fails(&error);
                return None;
            }
        };
        let location = repository.location().to_owned();
        self.good(
            "repository",
            format!("{location} can be read and listed, and holds {} of the policy", counted(backups as u64, "backup")),
        );
        // A policy has at least one schedule.
        let Some(schedule) = self.policy.schedules.keys().next() else { return Some(repository) };
        match repository.prove(&self.policy.name, schedule, self.run.clock.as_ref()).await {
            Ok(proof) => {
                self.proven(&location, &proof);
                let found = locks::findings(&self.policy.repository, &proof);
                if found.iter().any(|finding| finding.severity == Severity::Prevents) {
                    self.ills.repository = Some(Severity::Prevents);
                }
                self.findings.extend(found);
            }
            Err(error) => self.repository_fails(&error.into()),
        }
        match keys::findings(&self.policy.repository, &repository).await {
            Ok(found) => self.findings.extend(found),
            Err(error) => {
                let finding = self.prevents("keys".to_owned(), &error.into());
                self.findings.push(Finding { severity: Severity::Note, ..finding });
            }
        }
        Some(repository)
    }

    fn proven(&mut self, location: &str, proof: &Proof) {
        let left = if proof.put { ", which was put for this and stays" } else { "" };
        let what = format!(
            "{location} takes an object and refuses a second one under its key (`{}`{left})",
            crate::types::for_terminal(&proof.key)
        );
        self.good("repository", what);
        match proof.ahead {
            Some(ahead) => {
                let what = format!("its clock and this machine's are {} s apart", ahead.abs().as_secs());
                self.good("clock", what);
            }
            None => self.findings.push(Finding {
                subject: "clock".to_owned(),
                severity: Severity::Note,
                what: format!("{location} does not say its time: the clocks are compared when a backup begins"),
                next: None,
            }),
        }
    }

    fn good(&mut self, subject: &str, what: String) {
        self.findings.push(Finding { subject: subject.to_owned(), severity: Severity::Good, what, next: None });
    }

    fn repository_fails(&mut self, error: &Error) {
        self.ills.repository = Some(Severity::Prevents);
        let mut finding = self.prevents("repository".to_owned(), error);
        if is_refused(error) {
            let rights = "give this identity its rights: docs/permissions.md says what one that backs up needs";
            finding.next = Some(rights.to_owned());
        }
        self.findings.push(finding);
    }

    fn prevents(&self, subject: String, error: &Error) -> Finding {
        let next = (self.advise)(error).map(str::to_owned);
        Finding { subject, severity: Severity::Prevents, what: chain(error), next }
    }

    /// Connects to the cluster that `sources` need.
    async fn look_at_cluster(&mut self, repository: Option<&Repository>, sources: &[&Name]) -> Option<Cluster> {
        let connect = self.connect;
        let reached = async {
            let cluster = Cluster::connect(connect).await?;
            let identity = cluster.identity().await?;
            Ok::<_, kubernetes::Error>((cluster, identity))
        };
        let (cluster, it) = match reached.await {
            Ok(reached) => reached,
            Err(error) => {
                // What a source needs and does not get is counted where it is looked at.
                self.findings.push(self.prevents("cluster".to_owned(), &error.into()));
                return None;
            }
        };
        self.good("cluster", format!("{} (Kubernetes {}, uid {}) answers", it.name, it.version, it.uid));
        if let Some(repository) = repository {
            self.compare_cluster(repository, &it, sources).await;
        }
        Some(cluster)
    }

    async fn look_at_database(
        &mut self,
        name: &Name,
        spec: &PostgresSpec,
        cluster: Option<&Cluster>,
    ) -> Result<(), Error> {
        let Reached { server, forward: _open } = sources::reach(name, spec, cluster).await?;
        let source = sources::database(name, spec, server)?;
        let (mut findings, ended) = source.examine().await;
        if let Some(identity) = source.identity().await {
            match self.databases.get(&identity) {
                Some(other) => findings.push(Finding {
                    subject: format!("source {name}"),
                    severity: Severity::Note,
                    what: format!("it is the same database as source {other}: both cannot be restored at once"),
                    next: Some("make one source of them, or restore one after the other with --source".to_owned()),
                }),
                None => drop(self.databases.insert(identity, name.clone())),
            }
        }
        self.found(name, findings);
        Ok(ended?)
    }

    async fn look_at_mongodb(
        &mut self,
        name: &Name,
        spec: &MongodbSpec,
        cluster: Option<&Cluster>,
    ) -> Result<(), Error> {
        let (server, _open) = super::mongodb::reach(name, spec, cluster, None).await?;
        let (found, ended) = super::mongodb::source(name, spec, server).examine().await;
        self.found(name, found);
        Ok(ended?)
    }

    /// Whether it is the cluster of the newest backup.
    async fn compare_cluster(&mut self, repository: &Repository, it: &Identity, sources: &[&Name]) {
        let Err(error) = check_cluster(repository, &self.policy.name, it).await else { return };
        self.ills.fatal.extend(sources.iter().map(|name| (*name).clone()));
        let next = "use the right --context; if this cluster is to take that one's place, `drctl backup --adopt-cluster` says \
                    so once";
        self.findings.push(Finding { next: Some(next.to_owned()), ..self.prevents("cluster".to_owned(), &error) });
    }
}

/// The store says no to this identity.
fn is_refused(error: &Error) -> bool {
    use repository::{Error as E, backend::ErrorKind};
    matches!(error, Error::Repository(E::Store(error)) if error.kind == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn policy() -> Policy {
        let text = "apiVersion: drctl/v1\nkind: Policy\nmetadata: {name: shop}\nrepository: {url: file:///r, encryption: none}\nsources:\n  \
                    a: {kubernetes: {namespaces: [a]}}\n  b: {kubernetes: {namespaces: [b]}}\n  c: {kubernetes: {namespaces: [c]}}\n\
                    schedules:\n  both: {cron: \"0 2 * * *\", sources: [a, b]}\n  one: {cron: \"0 2 * * *\", sources: [a]}\n";
        crate::policy::parse(std::path::Path::new("p.yaml"), text).unwrap()
    }

    fn ills(sources: &[(&str, Severity)]) -> Ills {
        let mut ills = Ills::default();
        sources.iter().for_each(|(source, severity)| ills.add(&name(source), *severity));
        ills
    }

    #[test]
    fn a_source_that_fails_beside_others_makes_a_backup_partial_and_alone_impossible() {
        use Expected::{Complete, Impossible, Partial, Suspect};
        use Severity::{Good, Note, Prevents};
        let policy = policy();
        for (found, only, expected) in [
            (ills(&[("a", Good), ("b", Note), ("c", Good)]), &[][..], Complete),
            (ills(&[("a", Good), ("b", Prevents)]), &[], Partial),
            (ills(&[("a", Good), ("b", Severity::Partial)]), &[], Partial),
            (ills(&[("a", Severity::Partial), ("b", Severity::Suspect)]), &[], Suspect),
            (ills(&[("a", Severity::Suspect), ("b", Prevents)]), &["a", "b"], Suspect),
            // The schedule `one` has no other source.
            (ills(&[("a", Prevents), ("b", Good)]), &[], Impossible),
            (ills(&[("a", Good), ("b", Prevents)]), &["b"], Impossible),
            (ills(&[("a", Prevents), ("b", Good)]), &["a", "b"], Partial),
            // No schedule has it.
            (ills(&[("c", Prevents)]), &[], Impossible),
            (ills(&[("b", Good), ("b", Prevents)]), &["b"], Impossible),
        ] {
            let only: Vec<Name> = only.iter().map(|text| name(text)).collect();
            assert_eq!(found.expected(&policy, &only), expected, "{found:?} {only:?}");
        }
        let mut copies = ills(&[("a", Good), ("b", Note)]);
        copies.copies = true;
        assert_eq!(copies.expected(&policy, &[]), Partial);
        copies.add(&name("a"), Severity::Suspect);
        assert_eq!(copies.expected(&policy, &[]), Suspect);
        let mut fatal = ills(&[("b", Prevents)]);
        fatal.fatal.insert(name("b"));
        assert_eq!(fatal.expected(&policy, &[]), Impossible);
        let store = Ills { repository: Some(Prevents), ..Ills::default() };
        assert_eq!(store.expected(&policy, &[]), Impossible);
    }
}
