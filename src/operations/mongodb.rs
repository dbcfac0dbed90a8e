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

/// The server of a database source, as the policy says that it is reached: a port-forward is opened. `database` is meant in
/// place of the policy's.
///
/// # Errors
/// Those of [`server_at`], and [`Error::Kubernetes`] if no port-forward can be opened.
pub(super) async fn reach(
    name: &Name,
    spec: &MongodbSpec,
    cluster: Option<&Cluster>,
    database: Option<&str>,
) -> Result<(Server, Option<Forward>), Error> {
    let server = server_at(name, &spec.url, Some(spec), database.or(spec.database.as_deref()))?;
    Ok(match sources::forward(spec.via.as_ref(), cluster).await? {
        Some(forward) => (server.forwarded_to(forward.address()), Some(forward)),
        None => (server, None),
    })
}

/// The server at `address`, in place of the one that `spec` names. The database is `database`, or else the one that the address
/// names, or else that of `spec`, whose authorities stay: whoever gives an address means what it says.
///
/// # Errors
/// [`Error::Secret`] if the address cannot be had, [`Error::Mongodb`] if it is none, or its database cannot be meant.
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
    let of_spec = spec.and_then(|spec| spec.database.as_deref());
    // What the policy names, where the address goes before it.
    let instead = of_spec.filter(|_| database.is_none() && address.database.is_some()).map(str::to_owned);
    let database = database.or(address.database.as_deref()).or(of_spec).map(str::to_owned);
    let server = Server::new(address, database, tls.ca_file).map_err(|error| match (error, instead) {
        (mongodb::Error::Name { server, reason }, Some(of_policy)) => {
            mongodb::Error::NameInstead { server, reason, of_policy }
        }
        (error, _) => error,
    })?;
    Ok(server.with_server_name(tls.server_name))
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
