//! From what a policy names to sources that can be captured: each is connected to, nothing is read yet.

use std::time::Duration;

use super::{Error, capture::Failed, repositories::kubernetes_selection};
use crate::{
    policy::{self, Encryption, KubernetesSpec, Policy, PostgresSpec, SecretRef, SourceSpec, Via, ViaService},
    sources::{
        Source,
        kubernetes::{
            self, Cluster, DatabaseService, Discovery, Forward, KubernetesSource, ServicePort, VolumeRule, VolumeRules,
        },
        mongodb::MongodbSource,
        postgres::{self, ConnectionUrl, PostgresSource, Selection, Server},
    },
    types::{Name, Protection},
};

/// How the sources of a run are reached.
#[derive(Debug)]
pub(super) struct ConnectOptions<'a> {
    /// Which cluster.
    pub(super) cluster: &'a kubernetes::ConnectOptions,
    /// How long others wait for a database's locks before the backup gives way; absent: the usual time.
    pub(super) patience: Option<Duration>,
}

/// The sources of a run, connected.
#[derive(Debug)]
pub(super) struct Connected {
    /// Databases first, then what is in the cluster.
    pub(super) sources: Vec<Box<dyn Source>>,
    /// The cluster, if one of them needs it.
    pub(super) identity: Option<kubernetes::Identity>,
    /// Those that could not be reached, while others could.
    pub(super) failed: Failed,
    /// Port-forwards that some of them are reached by; they are open as long as these live.
    pub(super) forwards: Vec<Forward>,
}

/// A database's server, and the port-forward that it is reached by, if there is one.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) server: Server,
    /// It is open as long as this lives.
    pub(super) forward: Option<Forward>,
}

/// The cluster, if one of the databases is reached through it, and not at the address that the command line names.
pub(super) async fn cluster_for(
    policy: Option<&Policy>,
    names: &[Name],
    address: Option<&SecretRef>,
    connect: &kubernetes::ConnectOptions,
) -> Result<Option<Cluster>, Error> {
    let mut specs = names.iter().filter_map(|name| policy?.sources.get(name));
    if address.is_some() || !specs.any(needs_cluster) {
        return Ok(None);
    }
    Ok(Some(Cluster::connect(connect).await?))
}

/// Why a database cannot be restored that nobody says where it is.
pub(super) fn no_address(name: &Name) -> String {
    format!(
        "no policy says where the database of source `{name}` is: name its address with --database-url (what a backup \
         itself says is believed only with --signer)"
    )
}

/// Connects to what `names` of `policy` need: the cluster only if one of them is in it. Nothing is written
/// yet, so what keeps all sources from being captured ends the run here.
pub(super) async fn connect(policy: &Policy, names: &[Name], options: &ConnectOptions<'_>) -> Result<Connected, Error> {
    let specs = names.iter().map(|name| spec_of(policy, name).map(|spec| (name, spec)));
    let specs: Vec<(&Name, &SourceSpec)> = specs.collect::<Result<_, _>>()?;
    let cluster = match specs.iter().any(|(_, spec)| needs_cluster(spec)) {
        true => Some(reach_cluster(options.cluster).await),
        false => None,
    };
    let mut reached =
        Connected { sources: Vec::new(), identity: None, failed: Failed::default(), forwards: Vec::new() };
    let cluster = match cluster {
        Some(Ok((cluster, identity))) => {
            reached.identity = Some(identity);
            Some(cluster)
        }
        Some(Err(error)) => {
            for (name, _) in specs.iter().filter(|(_, spec)| needs_cluster(spec)) {
                reached.failed.add(name, error.again().into());
            }
            None
        }
        None => None,
    };
    if let Some(cluster) = &cluster {
        check_kinds(&specs, cluster).await?;
    }
    let (mut databases, mut collections) = (Vec::new(), Vec::new());
    let mut in_cluster = Vec::new();
    for (name, spec) in specs {
        match (spec, &cluster) {
            (SourceSpec::Kubernetes(spec), Some(cluster)) => {
                in_cluster.push(namespaces(policy, name, spec, cluster));
            }
            (SourceSpec::Kubernetes(_), None) => {}
            (SourceSpec::Postgres(_) | SourceSpec::Mongodb(_), None) if needs_cluster(spec) => {}
            (SourceSpec::Mongodb(spec), _) => match super::mongodb::reach(name, spec, cluster.as_ref(), None).await {
                Ok((server, forward)) => {
                    reached.forwards.extend(forward);
                    collections.push(super::mongodb::source(name, spec, server));
                }
                Err(error) => reached.failed.add(name, error),
            },
            (SourceSpec::Postgres(spec), _) => {
                // An address that cannot be had, or leads nowhere, is of this database alone.
                let Reached { server, forward } = match reach(name, spec, cluster.as_ref()).await {
                    Ok(reached) => reached,
                    Err(error) => {
                        reached.failed.add(name, error);
                        continue;
                    }
                };
                reached.forwards.extend(forward);
                // A repository that is encrypted otherwise than the policy says was refused when it was opened.
                let encrypted = policy.repository.encryption != Encryption::None;
                let source = database(name, spec, server)?.with_passwords(encrypted);
                databases.push(match options.patience {
                    Some(patience) => source.with_patience(patience),
                    None => source,
                });
            }
        }
    }
    let outcomes = futures::future::join_all(databases.iter().map(PostgresSource::reach)).await;
    for (source, outcome) in databases.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => reached.sources.push(Box::new(source)),
            Err(error) => reached.failed.add(source.name(), error.into()),
        }
    }
    let outcomes = futures::future::join_all(collections.iter().map(MongodbSource::reach)).await;
    for (source, outcome) in collections.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => reached.sources.push(Box::new(source)),
            Err(error) => reached.failed.add(source.name(), error.into()),
        }
    }
    // Databases first: what is locked should be given back soon.
    let outcomes = futures::future::join_all(in_cluster.iter().map(KubernetesSource::reach)).await;
    for (source, outcome) in in_cluster.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => reached.sources.push(Box::new(source)),
            Err(error) => reached.failed.add(source.name(), error.into()),
        }
    }
    match reached.sources.is_empty() {
        true => Err(reached.failed.into_first().unwrap_or(Error::Interrupted)),
        false => Ok(reached),
    }
}

async fn reach_cluster(
    options: &kubernetes::ConnectOptions,
) -> Result<(kubernetes::Cluster, kubernetes::Identity), kubernetes::Error> {
    let cluster = kubernetes::Cluster::connect(options).await?;
    let identity = cluster.identity().await?;
    Ok((cluster, identity))
}

/// Refuses kinds that the cluster does not know: a slip of the pen would leave something out, or take what was meant to
/// be left out. The cluster is asked only if kinds are named.
pub(super) async fn check_kinds(specs: &[(&Name, &SourceSpec)], cluster: &Cluster) -> Result<(), Error> {
    let mut known: Option<Discovery> = None;
    for (name, spec) in specs {
        let SourceSpec::Kubernetes(spec) = spec else { continue };
        let selection = kubernetes_selection(spec);
        if !selection.names_kinds() {
            continue;
        }
        let discovery = match known.take() {
            Some(discovery) => discovery,
            None => Discovery::read(cluster).await?,
        };
        let kinds = selection.unknown_kinds(&discovery);
        if !kinds.is_empty() {
            return Err(Error::UnknownKinds { source_name: name.to_string(), kinds });
        }
        known = Some(discovery);
    }
    Ok(())
}

fn spec_of<'p>(policy: &'p Policy, name: &Name) -> Result<&'p SourceSpec, Error> {
    policy.sources.get(name).ok_or_else(|| Error::NoSuchSource {
        wanted: name.to_string(),
        holder: "the policy".to_owned(),
        choices: policy.sources.keys().map(ToString::to_string).collect(),
    })
}

/// Whether a source is in a cluster, or reached through one.
pub(super) fn needs_cluster(spec: &SourceSpec) -> bool {
    matches!(spec, SourceSpec::Kubernetes(_)) || spec.via().is_some()
}

fn namespaces(policy: &Policy, name: &Name, spec: &KubernetesSpec, cluster: &kubernetes::Cluster) -> KubernetesSource {
    KubernetesSource::new(name.clone(), cluster.clone(), kubernetes_selection(spec))
        .with_volumes(volume_rules(policy, spec))
}

/// Who has the data of the claims of a source: what the policy says, and its databases behind Services.
fn volume_rules(policy: &Policy, spec: &KubernetesSpec) -> VolumeRules {
    let rule = |rule: &policy::VolumeRule| VolumeRule {
        namespace: rule.namespace.clone(),
        name: rule.name.clone(),
        selector: rule.selector.clone(),
        protection: match (&rule.covered_by, rule.disposable) {
            (Some(source), _) => Protection::Covered { covered_by: source.clone() },
            (None, true) => Protection::Disposable,
            (None, false) => Protection::Unprotected,
        },
    };
    let database = |(name, spec): (&Name, &SourceSpec)| {
        spec.via().map(|via| DatabaseService {
            namespace: via.namespace.clone(),
            service: via.service.clone(),
            source: name.clone(),
        })
    };
    VolumeRules {
        rules: spec.volumes.iter().map(rule).collect(),
        databases: policy.sources.iter().filter_map(database).collect(),
    }
}

/// A database source, as the policy says what of it is captured.
///
/// # Errors
/// [`Error::Postgres`] if a pattern of the policy is none.
pub(super) fn database(name: &Name, spec: &PostgresSpec, server: Server) -> Result<PostgresSource, Error> {
    let selection = Selection::new(&spec.schemas, &spec.exclude_tables, &spec.exclude_table_data)
        .map_err(|error| postgres::capture::failed_capture(&server, error.into()))?;
    Ok(PostgresSource::new(name.clone(), server, selection))
}

/// The server of a database source, as the policy says that it is reached: a port-forward is opened.
///
/// # Errors
/// Those of [`server_of`], and [`Error::Kubernetes`] if no port-forward can be opened.
pub(super) async fn reach(name: &Name, spec: &PostgresSpec, cluster: Option<&Cluster>) -> Result<Reached, Error> {
    let server = server_of(name, spec)?;
    Ok(match forward(spec.via.as_ref(), cluster).await? {
        Some(forward) => Reached { server: server.forwarded_to(forward.address()), forward: Some(forward) },
        None => Reached { server, forward: None },
    })
}

/// Opens the port-forward that a policy asks for, if it does.
pub(super) async fn forward(via: Option<&Via>, cluster: Option<&Cluster>) -> Result<Option<Forward>, Error> {
    let (Some(Via::Kubernetes(via)), Some(cluster)) = (via, cluster) else { return Ok(None) };
    let ViaService { namespace, service, port } = via.clone();
    Ok(Some(cluster.forward(&ServicePort { namespace, service, port }).await?))
}

/// The server of a database source by its own address.
///
/// # Errors
/// [`Error::Secret`] if its address cannot be had, [`Error::Postgres`] if it is none.
fn server_of(name: &Name, spec: &PostgresSpec) -> Result<Server, Error> {
    server_at(name, &spec.url, Some(spec))
}

/// The server at `address`, in place of the one that `spec` names; its authorities stay those of `spec`.
///
/// # Errors
/// Those of [`server_of`].
pub(super) fn server_at(name: &Name, address: &SecretRef, spec: Option<&PostgresSpec>) -> Result<Server, Error> {
    let address = address.resolve()?;
    let url = ConnectionUrl::parse(address.expose())
        .map_err(|reason| postgres::Error::Url { source_name: name.to_string(), reason })?;
    let ca_file = spec.and_then(|spec| spec.tls.as_ref()).and_then(|tls| tls.ca_file.clone());
    Ok(Server::new(url, ca_file)?)
}
