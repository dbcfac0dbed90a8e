//! How the servers of a policy's databases are reached.

use super::{SourceSpec, Via, ViaService};

impl SourceSpec {
    /// How its server is reached, if it is a database that needs more than its address.
    #[must_use]
    pub fn via(&self) -> Option<&ViaService> {
        let via = match self {
            Self::Kubernetes(_) => None,
            Self::Postgres(spec) => spec.via.as_ref(),
            Self::Mongodb(spec) => spec.via.as_ref(),
        };
        via.map(|Via::Kubernetes(via)| via)
    }
}
