//! The vocabulary of drctl: identifiers, digests, sizes, time, streams, and how work reports on itself.
//!
//! Everything else may import this module; it imports nothing of the crate.

mod backup_id;
mod contents;
mod digest;
mod labels;
mod location;
mod mongodb_name;
mod monitor;
mod name;
mod near;
mod pattern;
mod problem;
mod secret;
mod size;
mod text;
mod time;
mod volume;

pub use backup_id::{BackupId, InvalidBackupId};
pub use contents::{
    BackupContents, CaptureSink, ContentsError, MediaType, PartInfo, PartStream, PartSummary, SinkError, StreamInfo,
    StreamSink, StreamSpec,
};
pub use digest::{Blake3Digest, Blake3Hasher, InvalidDigest, RowDigest, Sha256Digest, Sha256Hasher, md5_of, sha1_name};
pub use labels::{InvalidSelector, LabelSelector};
pub use location::{InvalidLocation, Location};
pub use mongodb_name::{InvalidDatabaseName, check_database_name};
pub use monitor::{Monitor, Silent};
pub use name::{InvalidName, Name};
pub use near::{distance, nearest};
pub use pattern::{InvalidPattern, SchemaPattern, TablePattern};
pub use problem::{Missing, State};
pub use secret::Secret;
pub use size::{ByteSize, InvalidSize};
pub use text::{counted, for_terminal, is_unsafe, lines_for_terminal, shell_option, shell_word};
#[cfg(any(test, feature = "testing"))]
pub use time::SetClock;
pub use time::{Clock, Moment, SystemClock};
pub use volume::{Protection, Volume, VolumeCounts};
