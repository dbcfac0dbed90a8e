//! What stands between a policy and its backups, said before one is tried. Nothing is changed.

use super::{
    Error, Run,
    capture::chain,
    repositories,
    sources::{self, Reached},
};
use crate::{
    policy::{Policy, PostgresSpec, SourceSpec},
    repository::Scope,
    sources::{
        Finding, Severity,
        kubernetes::{self, Cluster},
    },
    types::Name,
};

/// Looks at what the policy needs: its repository, the cluster, its databases. `only` names some of its
/// sources; empty: all.
///
/// What cannot be reached is a finding.
///
/// # Errors
/// [`Error::NoSuchSource`] if `only` names a source that the policy has not, [`Error::Interrupted`].
pub async fn doctor(
    policy: &Policy,
    only: &[Name],
    connect: &kubernetes::ConnectOptions,
    run: &Run,
) -> Result<Vec<Finding>, Error> {
    if let Some(stranger) = only.iter().find(|source| !policy.sources.contains_key(*source)) {
        return Err(Error::NoSuchSource {
            wanted: stranger.to_string(),
            holder: "the policy".to_owned(),
            choices: policy.sources.keys().map(ToString::to_string).collect(),
        });
    }
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Interrupted),
        findings = examine(policy, only, connect, run) => Ok(findings),
    }
}

async fn examine(policy: &Policy, only: &[Name], connect: &kubernetes::ConnectOptions, run: &Run) -> Vec<Finding> {
    let chosen: Vec<(&Name, &SourceSpec)> =
        policy.sources.iter().filter(|(name, _)| only.is_empty() || only.contains(name)).collect();
    run.monitor.phase("looking", "things", Some(chosen.len() as u64 + 1));
    let mut findings = vec![of_repository(policy).await];
    run.monitor.advance(1);
    let mut cluster = None;
    if chosen.iter().any(|(_, spec)| sources::needs_cluster(spec)) {
        let (cluster_found, finding) = of_cluster(connect).await;
        cluster = cluster_found;
        findings.push(finding);
    }
    for (name, spec) in chosen {
        if let SourceSpec::Postgres(spec) = spec {
            match of_database(name, spec, cluster.as_ref()).await {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(prevents(format!("source {name}"), &error)),
            }
        }
        run.monitor.advance(1);
    }
    findings
}

async fn of_repository(policy: &Policy) -> Finding {
    let subject = "repository".to_owned();
    let looked = async {
        let repository = repositories::open(&policy.repository).await?;
        let backups = repository.backups(&Scope::Policy(policy.name.clone())).await?;
        Ok::<_, Error>((repository.location().to_owned(), backups.len()))
    };
    match looked.await {
        Ok((location, backups)) => {
            let what = format!(
                "{location} can be read, and holds {backups} backups of the policy; whether it can be written is not tried"
            );
            Finding { subject, severity: Severity::Good, what, next: None }
        }
        Err(error) => prevents(subject, &error),
    }
}

async fn of_database(name: &Name, spec: &PostgresSpec, cluster: Option<&Cluster>) -> Result<Vec<Finding>, Error> {
    let Reached { server, forward: _open } = sources::reach(name, spec, cluster).await?;
    Ok(sources::database(name, spec, server)?.examine().await)
}

async fn of_cluster(connect: &kubernetes::ConnectOptions) -> (Option<Cluster>, Finding) {
    let subject = "cluster".to_owned();
    let looked = async {
        let cluster = Cluster::connect(connect).await?;
        let identity = cluster.identity().await?;
        Ok::<_, kubernetes::Error>((cluster, identity))
    };
    match looked.await {
        Ok((cluster, it)) => {
            let what = format!("{} (Kubernetes {}, uid {}) answers", it.name, it.version, it.uid);
            (Some(cluster), Finding { subject, severity: Severity::Good, what, next: None })
        }
        Err(error) => (None, prevents(subject, &error.into())),
    }
}

fn prevents(subject: String, error: &Error) -> Finding {
    Finding { subject, severity: Severity::Prevents, what: chain(error), next: None }
}
