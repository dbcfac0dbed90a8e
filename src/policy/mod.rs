//! The policy file: what to back up, when, where to, and how long.

mod copies;
mod embed;
mod encryption;
mod load;
mod lock;
mod model;
mod modifiers_schema;
mod mongodb;
mod period;
pub mod retention;
mod schedule;
mod schema;
mod secret;
mod via;
mod yaml;

pub use copies::{Bandwidth, CopySpec, InvalidBandwidth};
pub use embed::InvalidEmbedded;
pub use encryption::{AgeEncryption, Encryption};
pub use load::{
    FromVelero, FromVeleroError, InvalidPolicy, LARGEST_FILE, LoadError, ModifierFile, ModifierKey, PatchEntry,
    Problem, Replacement, RuleEntry, VeleroFile, VeleroNote, VeleroOptions, from_velero, load, load_modifiers, parse,
    parse_modifiers,
};
pub use lock::{Immutability, ImmutabilityMode, LockMode, ObjectLock};
pub use model::{
    Azure, ClusterScoped, Evidence, Keep, KubernetesSpec, ObjectFilter, ObjectRule, Policy, PostgresSpec, PostgresTls,
    Repository, S3, Schedule, SecretRef, SourceSpec, Via, ViaService, VolumeRule,
};
pub use modifiers_schema::json_schema_of_modifiers;
pub use mongodb::{Consistency, MongodbSpec, MongodbTls};
pub use period::{InvalidPeriod, Period};
pub use schedule::{Cron, InvalidCron, InvalidTimeZone, TimeZone};
pub use schema::json_schema_of_policy;
pub use secret::{SecretError, named};
pub use yaml::{YamlError, to_yaml};
