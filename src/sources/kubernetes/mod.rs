//! Namespaces and cluster-scoped objects of a Kubernetes cluster.

mod client;
mod connect;
mod error;
mod reply;

pub use client::{Call, CallError, Cluster, Identity, Patience};
pub use connect::ConnectOptions;
pub use error::{Error, ErrorKind};
pub use reply::{Reply, Status, StatusCause, StatusDetails};
