//! Namespaces and cluster-scoped objects of a Kubernetes cluster.

mod capture;
mod client;
pub mod compare;
mod connect;
mod discovery;
mod error;
pub mod export;
mod flow;
mod forward;
mod kind;
pub mod kinds;
mod nesting;
pub mod objects;
mod references;
mod reply;
pub mod restore;
mod rights;
mod selection;
#[cfg(test)]
mod testing;
mod volumes;

pub use capture::{KubernetesSource, Sought};
pub use client::{Call, CallError, Cluster, Identity, Patience};
pub use connect::ConnectOptions;
pub use discovery::{Discovery, Unread};
pub use error::{Error, ErrorKind};
pub use flow::FlowReport;
pub use forward::{Forward, ServicePort};
pub use kind::{Kind, kind_id, segment};
pub use reply::{Reply, Status, StatusCause, StatusDetails};
pub use rights::{Kinds, Rights};
pub use selection::{ClusterScoped, KubernetesSelection, ObjectRule, UnknownKind, is_pattern, matches};
pub use volumes::{DatabaseService, VolumeRule, VolumeRules};
