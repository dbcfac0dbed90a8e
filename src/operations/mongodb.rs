//! MongoDB databases of a policy: how they are reached, and what of them is captured.

use super::{Error, sources};
use crate::{
    policy::{self, MongodbSpec, SecretRef},
    sources::{
        kubernetes::{Cluster, Forward},
        mongodb::{self, Address, Consistency, MongodbSource, Selection, Server},
    },
    types::Name,
};

/// The server of a database source, as the policy says that it is reached: a port-forward is opened.
///
/// # Errors
/// Those of [`server_at`], and [`Error::Kubernetes`] if no port-forward can be opened.
pub(super) async fn reach(
    name: &Name,
    spec: &MongodbSpec,
    cluster: Option<&Cluster>,
) -> Result<(Server, Option<Forward>), Error> {
    let server = server_at(name, &spec.url, Some(spec), None)?;
    Ok(match sources::forward(spec.via.as_ref(), cluster).await? {
        Some(forward) => (server.forwarded_to(forward.address()), Some(forward)),
        None => (server, None),
    })
}

/// The server at `address`, in place of the one that `spec` names; database (unless one is named) and authorities stay those
/// of `spec`.
///
/// # Errors
/// [`Error::Secret`] if the address cannot be had, [`Error::Mongodb`] if it is none.
pub(super) fn server_at(
    name: &Name,
    address: &SecretRef,
    spec: Option<&MongodbSpec>,
    database: Option<&str>,
) -> Result<Server, Error> {
    let address = address.resolve()?;
    let address = Address::parse(address.expose())
        .map_err(|reason| mongodb::Error::Url { source_name: name.to_string(), reason })?;
    let tls = spec.and_then(|spec| spec.tls.clone()).unwrap_or_default();
    let database = database.map(str::to_owned).or_else(|| spec.and_then(|spec| spec.database.clone()));
    Ok(Server::new(address, database, tls.ca_file)?.with_server_name(tls.server_name))
}

/// A database source, as the policy says what of it is captured.
pub(super) fn source(name: &Name, spec: &MongodbSpec, server: Server) -> MongodbSource {
    let selection = Selection {
        include: spec.include.clone(),
        exclude: spec.exclude.clone(),
        time_series: spec.time_series,
        users: spec.users,
    };
    let consistency = match spec.consistency {
        policy::Consistency::Snapshot => Consistency::Snapshot,
        policy::Consistency::None => Consistency::None,
    };
    MongodbSource::new(name.clone(), server, selection, consistency)
}
