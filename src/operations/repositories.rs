//! From a policy or a place to an opened repository, and from its sources to what captures them.

use std::sync::Arc;

use super::Error;
use crate::{
    policy::{self, Encryption, KubernetesSpec, Policy, SecretRef},
    repository::{
        Error as RepositoryError, Repository,
        backend::{AzureOptions, Backend, S3Options, StoreOptions, open as open_store, open_or_make},
        holds_something, is_orphaned,
    },
    sources::kubernetes::{ClusterScoped, KubernetesSelection, ObjectRule},
    types::{Clock, Location},
};

/// Opens the repository of a policy.
///
/// # Errors
/// [`Error`] if a secret cannot be read, the store not be reached, or there is no repository in it.
pub async fn open(policy: &policy::Repository) -> Result<Repository, Error> {
    open_in(open_store(&policy.url, &store_options(policy)?).await?).await
}

/// Opens the repository at a place, with the credentials of the store's own chain. There is no
/// policy to say `pathStyle`: where the environment names an endpoint, the store is not AWS, and
/// the bucket goes into the path, which all of them take. An Azure endpoint is named as `az` takes it.
///
/// # Errors
/// As [`open`].
pub async fn open_at(location: &Location) -> Result<Repository, Error> {
    let path_style = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
    let endpoint = std::env::var("AZURE_STORAGE_SERVICE_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    let options = StoreOptions {
        s3: S3Options { path_style, ..S3Options::default() },
        azure: AzureOptions { endpoint, ..AzureOptions::default() },
    };
    open_in(open_store(location, &options).await?).await
}

/// Makes the repository that a policy names: its store must be there (a local folder is made), and
/// must not hold a repository yet.
///
/// # Errors
/// [`Error`]; an existing repository is left as it was.
pub async fn initialise(policy: &Policy, clock: &dyn Clock) -> Result<Repository, Error> {
    let store = open_or_make(&policy.repository.url, &store_options(&policy.repository)?).await?;
    refuse_orphans(store.as_ref()).await?;
    match policy.repository.encryption {
        Encryption::None => Ok(Repository::init(store, clock).await?),
    }
}

/// Opens what is in a store. Where `repository.json` is not there or is something else, but everything else is,
/// advice to create a repository would cost all backups in it.
async fn open_in(store: Arc<dyn Backend>) -> Result<Repository, Error> {
    match Repository::open(Arc::clone(&store)).await {
        Err(error @ RepositoryError::NotARepository { .. }) => match holds_something(store.as_ref()).await? {
            true => Err(Error::HeaderMissing { location: store.location().to_owned() }),
            false => Err(error.into()),
        },
        opened => Ok(opened?),
    }
}

/// Refuses a store without a `repository.json` in which something of a repository lies.
async fn refuse_orphans(store: &dyn Backend) -> Result<(), Error> {
    if is_orphaned(store).await? {
        return Err(Error::HeaderMissing { location: store.location().to_owned() });
    }
    Ok(())
}

/// How the policy says that its store is reached, with the secrets that it refers to.
fn store_options(repository: &policy::Repository) -> Result<StoreOptions, Error> {
    let secret = |reference: &Option<SecretRef>| reference.as_ref().map(SecretRef::resolve).transpose();
    let mut options = StoreOptions::default();
    if let Some(s3) = &repository.s3 {
        let (id, key) = (secret(&s3.access_key_id)?, secret(&s3.secret_access_key)?);
        options.s3 = S3Options {
            region: s3.region.clone(),
            endpoint: s3.endpoint.clone(),
            path_style: s3.path_style,
            ca_file: s3.ca_file.clone(),
            access_key: id.map(|id| id.expose().to_owned()).zip(key),
            ..S3Options::default()
        };
    }
    if let Some(azure) = &repository.azure {
        options.azure = AzureOptions {
            endpoint: azure.endpoint.clone(),
            account_key: secret(&azure.account_key)?,
            sas: secret(&azure.sas)?,
            ca_file: azure.ca_file.clone(),
            ..AzureOptions::default()
        };
    }
    Ok(options)
}

/// What a policy's source means to the cluster.
pub(super) fn kubernetes_selection(spec: &KubernetesSpec) -> KubernetesSelection {
    let cluster_scoped = spec.cluster_scoped.map(|scope| match scope {
        policy::ClusterScoped::All => ClusterScoped::All,
        policy::ClusterScoped::Referenced => ClusterScoped::Referenced,
        policy::ClusterScoped::None => ClusterScoped::None,
    });
    KubernetesSelection {
        namespaces: spec.namespaces.clone(),
        exclude_namespaces: spec.exclude_namespaces.clone(),
        include: spec.include.iter().map(object_rule).collect(),
        exclude: spec.exclude.iter().map(object_rule).collect(),
        cluster_scoped,
    }
}

fn object_rule(rule: &policy::ObjectRule) -> ObjectRule {
    match rule {
        policy::ObjectRule::Kind(kind) => ObjectRule::of_kind(kind),
        policy::ObjectRule::Objects(filter) => ObjectRule {
            kinds: filter.kinds.clone(),
            namespaces: filter.namespaces.clone(),
            selector: filter.selector.clone(),
        },
    }
}
