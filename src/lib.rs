//! drctl backs up Kubernetes namespaces, and the databases beside them, and proves that they restore.
//!
//! The layers, each of which imports only those to its right (`tests/architecture.rs` holds this):
//!
//! `cli → operations → {sources, repository, policy, report} → types`
//!
//! `sources` and `repository` never import each other: `operations` joins them through the traits
//! of [`types::BackupContents`] and [`types::CaptureSink`]. `telemetry` is used by `cli` alone.

pub mod cli;
pub mod operations;
pub mod policy;
pub mod report;
pub mod repository;
pub mod sources;
pub mod telemetry;
pub mod types;
