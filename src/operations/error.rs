//! Why an operation ended early. `cli/exit.rs` maps each to an exit code, and nothing else does.

use crate::{
    policy::{InvalidPolicy, SecretError},
    repository,
    sources::{
        CaptureError,
        kubernetes::{
            self,
            restore::{InvalidMapping, InvalidStep, NotHeld, RestoreError},
        },
        mongodb, postgres,
    },
    types::{BackupId, ContentsError, for_terminal},
};

/// An operation ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository, or its store.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The cluster.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// A PostgreSQL database.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// A MongoDB database.
    #[error(transparent)]
    Mongodb(#[from] mongodb::Error),
    /// A MongoDB database could not be restored.
    #[error(transparent)]
    RestoreMongodb(mongodb::restore::RestoreError),
    /// A MongoDB database could not be exported.
    #[error(transparent)]
    ExportMongodb(mongodb::export::ExportError),
    /// A source could not be captured at all.
    #[error(transparent)]
    Capture(CaptureError),
    /// A stream of the backup could not be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The policy has several schedules and none was named.
    #[error("the policy has several schedules; name one of: {}", .choices.join(", "))]
    WhichSchedule {
        /// The policy's schedules.
        choices: Vec<String>,
    },
    /// The policy has no such schedule.
    #[error("the policy has no schedule `{wanted}`; it has: {}", .choices.join(", "))]
    NoSuchSchedule {
        /// What was asked for.
        wanted: String,
        /// The policy's schedules.
        choices: Vec<String>,
    },
    /// The policy names kinds that the cluster does not know.
    #[error("source `{source_name}` names kinds that the cluster does not serve: {}", kinds_with_near(kinds))]
    UnknownKinds {
        /// The source.
        source_name: String,
        /// Which.
        kinds: Vec<kubernetes::UnknownKind>,
    },
    /// The schedule, or the backup, has no such source.
    #[error("{holder} has no source `{wanted}`; it has: {}", .choices.join(", "))]
    NoSuchSource {
        /// What was asked for.
        wanted: String,
        /// The schedule or the backup.
        holder: String,
        /// Its sources.
        choices: Vec<String>,
    },
    /// What was asked of a copy cannot be.
    #[error(transparent)]
    Copy(#[from] super::CopyError),
    /// A key that is given is none.
    #[error("{what} {why}")]
    UnusableKey {
        /// Which one, safe for a terminal.
        what: String,
        /// What is wrong with it, without any of it.
        why: String,
    },
    /// The repository is not what the policy says it is.
    #[error("{location} does not fit the policy: {what}")]
    PolicyContradictsRepository {
        /// The repository.
        location: String,
        /// The contradiction.
        what: String,
    },
    /// The policy's newest backup is of another cluster.
    #[error(
        "this is not the cluster of the policy's newest backup: that is of `{before_name}` (uid {before_uid}), \
         this is `{now_name}` (uid {now_uid})"
    )]
    WrongCluster {
        /// The cluster of the newest backup.
        before_name: String,
        /// Its uid.
        before_uid: String,
        /// The cluster that answers now.
        now_name: String,
        /// Its uid.
        now_uid: String,
    },
    /// No good backup fits what was asked for.
    #[error("no complete backup fits `{wanted}` in {location}: {hint}")]
    NoSuchBackup {
        /// What was asked for.
        wanted: String,
        /// The repository.
        location: String,
        /// What there is instead.
        hint: String,
    },
    /// What was asked for means something only with a policy.
    #[error("`{wanted}` needs a policy file (-f), which says what the schedules are; or name a backup by its id")]
    NeedsPolicy {
        /// What was asked for.
        wanted: String,
    },
    /// The repository holds backups of several policies, and nothing says which of them is meant.
    #[error("{location} holds backups of several policies ({})", .choices.join(", "))]
    SeveralPolicies {
        /// The repository.
        location: String,
        /// Its policies.
        choices: Vec<String>,
    },
    /// What a backup needs cannot be told, and so nobody knows what is garbage. Nothing was changed.
    #[error("nothing can be pruned while nobody can say which packs backup {backup} needs: {why}")]
    CannotPrune {
        /// The backup: policy, schedule, id.
        backup: String,
        /// Why it cannot be read.
        why: String,
        /// It is damaged; else it is of a later drctl.
        damaged: bool,
    },
    /// The rules would take away more backups at once than is likely to be meant. Nothing was changed.
    #[error("by the policy {count} backups would go at once, and without --max-delete no more than {allowed} do")]
    TooManyToPrune {
        /// How many would go.
        count: u64,
        /// How many may.
        allowed: u64,
    },
    /// The backup cannot be used for this.
    #[error("backup {backup} {why}")]
    Unusable {
        /// The backup.
        backup: String,
        /// Why.
        why: String,
    },
    /// What was chosen is not in the backup.
    #[error(transparent)]
    NotChosen(#[from] NotHeld),
    /// Namespaces are mapped as they cannot be meant.
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    /// Objects are chosen where there are none.
    #[error("what is restored holds no objects of a cluster, of which some could be chosen: {words}")]
    NothingToChoose {
        /// What was said.
        words: String,
    },
    /// A database would take the place of the live one, while its namespace does not.
    #[error(
        "source `{database}` is a database, which would take the place of the live one: a restore with \
         --map-namespace restores no databases"
    )]
    MappedDatabase {
        /// The source.
        database: String,
    },
    /// A modifier is about nothing.
    #[error(transparent)]
    Modifiers(Box<InvalidPolicy>),
    /// A modifier has an operation that is none.
    #[error(transparent)]
    PatchStep(#[from] InvalidStep),
    /// Live objects differ from the backup, and the restore was told not to touch them. Nothing was written.
    #[error(
        "{count} live objects differ from the backup (--on-conflict fail): nothing was written; the plan lists them"
    )]
    Conflicts {
        /// How many.
        count: u64,
    },
    /// A saved plan cannot be written, read, or is none.
    #[error("the plan's file cannot be used: {}", crate::types::for_terminal(.why))]
    PlanFile {
        /// What is wrong with it.
        why: String,
    },
    /// What a saved plan was made of has changed since. Nothing was written.
    #[error("{} changed since the plan was made, so nothing was written:{}", things(*.count), list(.changes, *.count))]
    PlanChanged {
        /// How many things.
        count: u64,
        /// The first of them, a sentence each.
        changes: Vec<String>,
    },
    /// A source has no form of stock tools yet.
    #[error("source `{source_name}` is of kind {kind}, which cannot be exported yet")]
    NotExported {
        /// The source.
        source_name: String,
        /// Its kind.
        kind: String,
    },
    /// An export could not be written, or what it was to be made of is damaged.
    #[error(transparent)]
    Export(postgres::export::ExportError),
    /// An export of objects could not be written, or the backup contradicts itself.
    #[error(transparent)]
    ExportObjects(kubernetes::export::ExportError),
    /// The backup holds no objects of a kind.
    #[error("the backup holds no kind `{kind}`; `drctl show BACKUP --streams` lists its kinds")]
    NoSuchKind {
        /// As it was written.
        kind: String,
    },
    /// Several kinds are called so.
    #[error("`{kind}` is the name of several kinds; write one of: {}", .choices.join(", "))]
    SeveralKinds {
        /// As it was written.
        kind: String,
        /// The kinds.
        choices: Vec<String>,
    },
    /// The backup holds no such object.
    #[error("the backup does not hold {object}")]
    NoSuchObject {
        /// Its kind and name.
        object: String,
    },
    /// A database's own workload did not come up: nothing could be loaded, and nothing that needs it was started.
    #[error("the workload of a database is not ready: {workload}: {why}; no other workload was started")]
    DatabaseNotReady {
        /// Which.
        workload: String,
        /// Why.
        why: String,
    },
    /// A database whose server had come back could not be restored. What it needs is in the cluster.
    #[error("source {database} could not be restored into its new server; no other workload was started")]
    LaterDatabase {
        /// The source.
        database: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A database could not be swapped in after others of the same restore were.
    #[error(
        "not all databases could be swapped in, and those of one backup belong together{}{}",
        named("; swapped back, and as they were before: ", .back),
        named("; STILL SWAPPED IN, until `drctl restore --undo`: ", .stay)
    )]
    NotAllSwapped {
        /// Databases that are live again as they were before.
        back: Vec<String>,
        /// Databases that could not be swapped back.
        stay: Vec<String>,
        /// Why the last one was not swapped in.
        #[source]
        source: Box<Error>,
    },
    /// A secret that the policy refers to cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A restore of objects could not go on.
    #[error(transparent)]
    Restore(RestoreError),
    /// A restore of a database could not go on.
    #[error(transparent)]
    RestoreDatabase(postgres::restore::RestoreError),
    /// A run failed after its session was written: what it uploaded stays, and no backup was committed.
    #[error("backup {backup} was not committed")]
    Unfinished {
        /// The run's backup id.
        backup: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// Manifests, packs or sessions are there, and what says what they are is not.
    #[error(
        "{location} holds a repository whose `repository.json` is missing or overwritten: put the original file back (a replica or a \
         copy of the store has it); do not create a repository over it"
    )]
    HeaderMissing {
        /// The store.
        location: String,
    },
    /// Another run took over this one's place: an abort marker is at its manifest key.
    #[error("another run fenced this one: its backup was not committed")]
    Fenced,
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

fn named(what: &str, names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| for_terminal(name)).collect();
    if names.is_empty() { String::new() } else { format!("{what}{}", names.join(", ")) }
}

fn things(count: u64) -> String {
    if count == 1 { "1 thing has".to_owned() } else { format!("{count} things have") }
}

/// A line each, and how many more there are.
fn list(changes: &[String], count: u64) -> String {
    let mut text: String = changes.iter().map(|change| format!("\n  {}", for_terminal(change))).collect();
    let more = count.saturating_sub(u64::try_from(changes.len()).unwrap_or(u64::MAX));
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

/// Kinds that are not known, each with what may be meant.
fn kinds_with_near(kinds: &[kubernetes::UnknownKind]) -> String {
    let shown = |kind: &kubernetes::UnknownKind| match kind.near.join("` or `") {
        near if near.is_empty() => format!("`{}`", for_terminal(&kind.name)),
        near => format!("`{}` (did you mean `{}`?)", for_terminal(&kind.name), for_terminal(&near)),
    };
    kinds.iter().map(shown).collect::<Vec<_>>().join(", ")
}

impl Error {
    /// Whether a server that has just come up may answer otherwise a moment later.
    pub(super) fn may_pass(&self) -> bool {
        use postgres::Error as E;
        // 57P03: it is starting up. 3D000, 28P01: its image has not made the database or the role yet.
        let early = |reason: &postgres::Reason| matches!(reason.code(), Some("57P03" | "57P01" | "3D000" | "28P01"));
        match self {
            Self::Kubernetes(_) | Self::Postgres(E::Unreachable { .. } | E::Tls { .. }) => true,
            Self::Postgres(E::Refused { reason, .. }) => early(reason),
            Self::RestoreMongodb(error) => error.is_early(),
            Self::Mongodb(error) => error.is_early(),
            _ => false,
        }
    }

    /// The error of a run whose session is written. Being told to stop, or fenced, says it all by itself.
    pub(super) fn after_start(self, backup: &BackupId) -> Self {
        match self {
            Self::Interrupted | Self::Fenced => self,
            error => Self::Unfinished { backup: backup.to_string(), source: Box::new(error) },
        }
    }
}

impl From<CaptureError> for Error {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Interrupted => Self::Interrupted,
            CaptureError::Kubernetes(error) => Self::Kubernetes(error),
            CaptureError::Postgres(error) => Self::Postgres(error),
            CaptureError::Mongodb(error) => Self::Mongodb(error),
            other => Self::Capture(other),
        }
    }
}

impl From<repository::backend::Error> for Error {
    fn from(error: repository::backend::Error) -> Self {
        Self::Repository(error.into())
    }
}

impl From<RestoreError> for Error {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Interrupted => Self::Interrupted,
            RestoreError::Kubernetes(error) => Self::Kubernetes(error),
            RestoreError::Contents(error) => Self::Contents(error),
            other => Self::Restore(other),
        }
    }
}

impl From<postgres::restore::RestoreError> for Error {
    fn from(error: postgres::restore::RestoreError) -> Self {
        use postgres::restore::RestoreError as E;
        match error {
            E::Interrupted => Self::Interrupted,
            E::Postgres(error) => Self::Postgres(error),
            other => Self::RestoreDatabase(other),
        }
    }
}
