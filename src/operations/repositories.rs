//! From a policy or a place to an opened repository, and from its sources to what captures them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    CopyError, Error,
    keys::{self, KeyOptions},
};
use crate::{
    policy::{self, KubernetesSpec, Policy, SecretRef},
    repository::{
        Error as RepositoryError, Repository,
        backend::{
            AzureOptions, Backend, ErrorKind, LockMode, LockOptions, S3Options, StoreOptions, open as open_store,
            open_or_make,
        },
        crypt::{Epoch, Recipient},
        holds_something, is_locked, is_orphaned,
    },
    sources::kubernetes::{ClusterScoped, KubernetesSelection, ObjectRule},
    types::{Clock, Location},
};

/// Opens the repository of a policy.
///
/// # Errors
/// [`Error`] if a secret cannot be read, the store not be reached, there is no repository in it, or it is another one
/// than the policy pins.
pub async fn open(policy: &policy::Repository, given: &KeyOptions) -> Result<Repository, Error> {
    open_as_of(policy, given, None).await
}

/// As [`open_as_of`], of a policy as a whole: where its repository is gone and there are copies of it, these are the way on,
/// and by no means a new repository.
///
/// # Errors
/// As [`open_as_of`], and [`CopyError::Lost`].
pub async fn open_of(policy: &Policy, given: &KeyOptions, as_of: Option<Timestamp>) -> Result<Repository, Error> {
    let opened = open_as_of(&policy.repository, given, as_of).await;
    if policy.copies.is_empty() || policy.is_at_copy() {
        return opened;
    }
    opened.map_err(|error| {
        let why = match &error {
            Error::HeaderMissing { .. } => "its `repository.json` is missing or overwritten".to_owned(),
            Error::Repository(RepositoryError::NotARepository { reason, .. }) => reason.clone(),
            Error::Repository(RepositoryError::Store(error)) if error.kind == ErrorKind::NoSuchStore => {
                error.reason.clone()
            }
            _ => return error,
        };
        let location = policy.repository.url.to_string();
        let copies = policy.copies.keys().map(ToString::to_string).collect();
        CopyError::Lost { location, why, copies }.into()
    })
}

/// Opens the repository of a policy as it was at a time, if one is said: then it can only be read.
///
/// # Errors
/// As [`open`]; and if the store keeps no versions.
pub async fn open_as_of(
    policy: &policy::Repository,
    given: &KeyOptions,
    as_of: Option<Timestamp>,
) -> Result<Repository, Error> {
    let access = keys::access(Some(policy), given)?;
    let options = StoreOptions { as_of, ..store_options(policy)? };
    let repository = open_in(open_store(&policy.url, &options).await?).await?;
    keys::check_pins(policy, &repository)?;
    Ok(repository.with_access(access))
}

/// Opens the repository at a place, with the credentials of the store's own chain. There is no
/// policy to say `pathStyle`: where the environment names an endpoint, the store is not AWS, and
/// the bucket goes into the path, which all of them take. An Azure endpoint is named as `az` takes it. As it was at
/// a time, if one is said.
///
/// # Errors
/// As [`open`].
pub async fn open_at(location: &Location, given: &KeyOptions) -> Result<Repository, Error> {
    open_at_as_of(location, given, None).await
}

/// As [`open_at`], as it was at a time, if one is said: then it can only be read.
///
/// # Errors
/// As [`open_at`]; and if the store keeps no versions.
pub async fn open_at_as_of(
    location: &Location,
    given: &KeyOptions,
    as_of: Option<Timestamp>,
) -> Result<Repository, Error> {
    let access = keys::access(None, given)?;
    let path_style = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().any(|name| std::env::var_os(name).is_some());
    let endpoint = std::env::var("AZURE_STORAGE_SERVICE_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    let options = StoreOptions {
        s3: S3Options { path_style, ..S3Options::default() },
        azure: AzureOptions { endpoint, ..AzureOptions::default() },
        as_of,
    };
    Ok(open_in(open_store(location, &options).await?).await?.with_access(access))
}

/// Makes the repository that a policy names: its store must be there (a local folder is made), and
/// must not hold a repository yet.
pub(super) async fn made(
    policy: &Policy,
    epoch: Option<&Epoch>,
    recipients: &[Recipient],
    clock: &dyn Clock,
) -> Result<Repository, Error> {
    let store = free(policy).await?;
    Ok(match epoch {
        None => Repository::init(store, clock).await?,
        Some(epoch) => Repository::init_encrypted(store, clock, epoch, recipients).await?,
    })
}

/// The store of a policy, in which there is no repository yet.
pub(super) async fn free(policy: &Policy) -> Result<Arc<dyn Backend>, Error> {
    let store = open_or_make(&policy.repository.url, &store_options(&policy.repository)?).await?;
    refuse_orphans(store.as_ref()).await?;
    match Repository::open(Arc::clone(&store)).await {
        Err(RepositoryError::NotARepository { .. }) => Ok(store),
        Err(error @ RepositoryError::Store(_)) => Err(error.into()),
        // Whatever is in its place, even if it cannot be read.
        Ok(_) | Err(_) => Err(RepositoryError::AlreadyARepository { location: store.location().to_owned() }.into()),
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

/// The store that a policy names; a local folder is made if it `may` be, and else `None` where there is none.
pub(super) async fn open_store_of(
    repository: &policy::Repository,
    may_make: bool,
) -> Result<Option<Arc<dyn Backend>>, Error> {
    let options = store_options(repository)?;
    if may_make {
        return Ok(Some(open_or_make(&repository.url, &options).await?));
    }
    match open_store(&repository.url, &options).await {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.kind == ErrorKind::NoSuchStore => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a store without a `repository.json` in which something of a repository lies.
pub(super) async fn refuse_orphans(store: &dyn Backend) -> Result<(), Error> {
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
            lock: s3.object_lock.map(lock_options),
            ..S3Options::default()
        };
    }
    if let Some(azure) = &repository.azure {
        options.azure = AzureOptions {
            endpoint: azure.endpoint.clone(),
            account_key: secret(&azure.account_key)?,
            sas: secret(&azure.sas)?,
            ca_file: azure.ca_file.clone(),
            lock: azure.immutability.map(immutability_options),
            ..AzureOptions::default()
        };
    }
    Ok(options)
}

/// What a policy's locks mean to the store.
fn lock_options(lock: policy::ObjectLock) -> LockOptions {
    locked_for(
        lock.period,
        match lock.mode {
            policy::LockMode::Governance => LockMode::Governance,
            policy::LockMode::Compliance => LockMode::Compliance,
        },
    )
}

fn immutability_options(lock: policy::Immutability) -> LockOptions {
    locked_for(
        lock.period,
        match lock.mode {
            policy::ImmutabilityMode::Unlocked => LockMode::Governance,
            policy::ImmutabilityMode::Locked => LockMode::Compliance,
        },
    )
}

fn locked_for(period: policy::Period, mode: LockMode) -> LockOptions {
    LockOptions { mode, period: SignedDuration::from_hours(period.hours().into()), locked: is_locked }
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
