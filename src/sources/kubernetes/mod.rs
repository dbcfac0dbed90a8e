//! Namespaces and cluster-scoped objects of a Kubernetes cluster.

mod error;

pub use error::{Error, ErrorKind};
