//! Namespaces and cluster-scoped objects of a Kubernetes cluster.

mod client;
pub mod compare;
mod connect;
mod error;
mod reply;
pub mod restore;

pub use client::{Call, CallError, Cluster, Identity, Patience};
pub use connect::ConnectOptions;
pub use error::{Error, ErrorKind};
pub use reply::{Reply, Status, StatusCause, StatusDetails};
