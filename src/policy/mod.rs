//! The policy file: what to back up, when, where to, and how long.

mod embed;
mod load;
mod model;
mod modifiers_schema;
mod period;
mod schedule;
mod schema;
mod secret;
mod yaml;

pub use embed::InvalidEmbedded;
pub use load::{
    FromVelero, FromVeleroError, InvalidPolicy, LARGEST_FILE, LoadError, ModifierFile, ModifierKey, PatchEntry,
    Problem, Replacement, RuleEntry, VeleroFile, VeleroNote, VeleroOptions, from_velero, load, load_modifiers, parse,
    parse_modifiers,
};
pub use model::{
    Azure, ClusterScoped, Encryption, Keep, KubernetesSpec, ObjectFilter, ObjectRule, Policy, PostgresSpec,
    PostgresTls, Repository, S3, Schedule, SecretRef, SourceSpec, Via, ViaService, VolumeRule,
};
pub use modifiers_schema::json_schema_of_modifiers;
pub use period::{InvalidPeriod, Period};
pub use schedule::{Cron, InvalidCron, InvalidTimeZone, TimeZone};
pub use schema::json_schema_of_policy;
pub use secret::SecretError;
pub use yaml::{YamlError, to_yaml};
