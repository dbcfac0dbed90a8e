//! Which exit code each error ends with, and its next step.

use std::error::Error;

use super::{
    Exit, Failure,
    stores::{of_repository, of_store},
};
use crate::{
    operations,
    policy::{self, LoadError},
    repository::{self, backend},
    sources::{
        CaptureError,
        kubernetes::{self, restore::RestoreError},
        postgres::{self, contents, export::ExportError, restore::RestoreError as DatabaseRestoreError},
    },
    telemetry,
    types::{ContentsError, SinkError},
};

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let next = match &error {
            LoadError::Read { .. } => "name an existing file with --file or DRCTL_FILE",
            LoadError::TooLarge { .. } | LoadError::NotText { .. } => "name a policy file with --file or DRCTL_FILE",
            LoadError::Invalid(_) => "correct the file; `drctl policy check` reads it again",
        };
        Self::new(Exit::Usage, error).next(next)
    }
}

impl From<policy::SecretError> for Failure {
    fn from(error: policy::SecretError) -> Self {
        Self::new(Exit::CouldNotRun, error).next(ANOTHER_PLACE)
    }
}

impl From<policy::InvalidEmbedded> for Failure {
    fn from(error: policy::InvalidEmbedded) -> Self {
        Self::new(Exit::CouldNotRun, error).next("name the policy's file with --file, or use a newer drctl")
    }
}

impl From<telemetry::InvalidFilter> for Failure {
    fn from(error: telemetry::InvalidFilter) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<operations::InvalidBackupRef> for Failure {
    fn from(error: operations::InvalidBackupRef) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<repository::Error> for Failure {
    fn from(error: repository::Error) -> Self {
        let (exit, next) = of_repository(&error);
        Self::new(exit, error).maybe_next(next)
    }
}

impl From<operations::Error> for Failure {
    fn from(error: operations::Error) -> Self {
        let (exit, next) = of_operation(&error);
        Self::new(exit, error).maybe_next(next)
    }
}

pub(super) type Ending = (Exit, Option<&'static str>);

/// What is done about a secret that is not where it should be.
const ANOTHER_PLACE: &str =
    "put it there, or name another place where this one was named: in the policy, or by an option";

pub(super) fn of_operation(error: &operations::Error) -> Ending {
    use operations::{CopyError, Error as E};
    match error {
        E::Repository(error) => of_repository(error),
        E::Kubernetes(error) => of_cluster(error),
        E::Postgres(error) => of_database(error),
        E::Mongodb(error) => super::mongodb::of_mongodb(error),
        E::Capture(error) => of_capture(error),
        E::Contents(error) => of_contents(error),
        E::Restore(error) => of_restore(error),
        E::ExportMongodb(error) => super::mongodb::of_export(error),
        E::RestoreMongodb(error) => super::mongodb::of_restore(error),
        E::RestoreDatabase(error) => of_database_restore(error),
        E::SeveralPolicies { .. } => (
            Exit::Usage,
            Some("name the policy's file with --file in place of --repository, or name a backup by its id"),
        ),
        E::WhichSchedule { .. } => (Exit::Usage, Some("name the schedule: SCHEDULE, or latest:SCHEDULE for a backup")),
        E::NoSuchSchedule { .. } | E::NoSuchSource { .. } | E::NeedsPolicy { .. } => (Exit::Usage, None),
        E::Copy(CopyError::NoSuchCopy { .. }) => {
            (Exit::Usage, Some("name one of `copies` of the policy, or `repository`"))
        }
        E::Copy(CopyError::ToItself { .. }) => {
            (Exit::Usage, Some("name two places of the policy with --from and --to"))
        }
        E::Copy(CopyError::Within { .. }) => {
            (Exit::Usage, Some("correct the `url` of the copy in the policy, or of the repository"))
        }
        E::Copy(CopyError::Unreadable { damaged: true, .. }) => {
            (Exit::Difference, Some("`drctl verify` says what it is"))
        }
        E::Copy(CopyError::Unreadable { .. }) => (Exit::CouldNotRun, Some("use a newer drctl")),
        E::UnknownKinds { .. } => (
            Exit::CouldNotRun,
            Some("correct the policy: a kind is written `plural.group`; a pattern like `widgets.*` may match nothing"),
        ),
        E::NotChosen(_) => (Exit::Usage, Some("`drctl show BACKUP` lists what it holds")),
        E::Mapping(_) | E::NothingToChoose { .. } | E::PatchStep(_) => (Exit::Usage, None),
        E::MappedDatabase { .. } => (
            Exit::Usage,
            Some(
                "name the sources of objects alone with --source; a copy of the database comes beside the live one with \
                 --source, --create and --target-database",
            ),
        ),
        E::Modifiers(_) => (Exit::Usage, Some("correct the file, or take out what is not needed")),
        E::Unusable { .. } => (Exit::Usage, Some("`drctl list` shows the state of every backup")),
        E::UnusableKey { .. } => {
            (Exit::CouldNotRun, Some("correct it where the policy, the environment or the command line has it"))
        }
        E::PolicyContradictsRepository { .. } => {
            (Exit::CouldNotRun, Some("correct the policy, or use another repository"))
        }
        E::WrongCluster { .. } => (
            Exit::CouldNotRun,
            Some("use the right --context; if this cluster is to take that one's place, --adopt-cluster says so once"),
        ),
        E::CannotPrune { damaged: true, .. } => (
            Exit::Difference,
            Some(
                "`drctl verify` says what it is; if it is lost, `drctl delete ID` marks it, and a day later prune goes on without it",
            ),
        ),
        E::CannotPrune { .. } => (Exit::CouldNotRun, Some("use a newer drctl")),
        E::TooManyToPrune { .. } => (
            Exit::CouldNotRun,
            Some("look at them with --dry-run; if they are meant to go, say so with --max-delete N"),
        ),
        E::NoSuchBackup { .. } => (Exit::CouldNotRun, Some("`drctl list` shows the backups and their states")),
        E::Conflicts { .. } => (
            Exit::CouldNotRun,
            Some(
                "look at them with --dry-run; --on-conflict skip leaves them as they are, update changes them, replace deletes and creates them",
            ),
        ),
        E::PlanFile { .. } => (Exit::CouldNotRun, Some("make the plan again with --plan-out; nothing was changed")),
        E::PlanChanged { .. } => (Exit::CouldNotRun, Some("make the plan again with --plan-out, and look at it")),
        E::Export(error) => of_export(error),
        E::NoSuchKind { .. } | E::SeveralKinds { .. } => (Exit::Usage, None),
        E::NoSuchObject { .. } => {
            (Exit::Failed, Some("`drctl history KIND NAMESPACE/NAME` says which backups hold it"))
        }
        E::ExportObjects(error) => of_object_export(error),
        E::NotExported { .. } => (Exit::Usage, Some("a newer drctl may know this kind of source")),
        E::DatabaseNotReady { .. } => {
            (Exit::Failed, Some("put the workload right and run it again: what is restored already is left alone"))
        }
        E::Secret(_) => (Exit::CouldNotRun, Some(ANOTHER_PLACE)),
        // `could not run` would say that nothing was written, and so would `usage`.
        E::Unfinished { source, .. } | E::LaterDatabase { source, .. } | E::NotAllSwapped { source, .. } => {
            match of_operation(source) {
                (Exit::CouldNotRun | Exit::Usage, next) => (Exit::Failed, next),
                ending => ending,
            }
        }
        E::HeaderMissing { .. } => (Exit::CouldNotRun, None),
        E::Copy(CopyError::Lost { .. }) => (
            Exit::CouldNotRun,
            Some(
                "if the repository is lost, restore from a copy at once (`drctl restore BACKUP --copy NAME`), and bring it back \
                 with `drctl copy --from NAME --to repository`, into an empty place that exists; only what never was is made by \
                 `drctl repository init`",
            ),
        ),
        E::Fenced => (Exit::Fenced, Some("run it again: a new backup is made")),
        E::Interrupted => (Exit::Interrupted, Some("what was finished is kept; run it again to go on")),
    }
}

fn of_database(error: &postgres::Error) -> Ending {
    use postgres::Error as E;
    match error {
        error if error.is_lack_of_room() => (
            Exit::Failed,
            Some("make room on the server (its disk, memory or sessions; its log says more), and run it again"),
        ),
        E::Url { .. } => (Exit::CouldNotRun, Some("correct the address where the policy's `url` points to")),
        E::Tls { .. } => (
            Exit::CouldNotRun,
            Some("name the server's authority by `tls: {caFile: ...}`, and the host as its certificate does"),
        ),
        E::Unreachable { .. } => {
            (Exit::CouldNotRun, Some("check host, port and network; `via: {kubernetes: ...}` opens a port-forward"))
        }
        E::Refused { reason, .. } if reason.code() == Some("53300") => (
            Exit::CouldNotRun,
            Some("run it again when there are fewer sessions, or give the server or the role more of them"),
        ),
        E::Refused { .. } => (Exit::CouldNotRun, Some("check role, password, database and pg_hba.conf")),
        E::Pooler { .. } => (
            Exit::CouldNotRun,
            Some("put the server's own host and port into the address where the policy's `url` points to"),
        ),
        E::Version { .. } => (Exit::CouldNotRun, Some("use a version of drctl that knows this one")),
        E::NoTool { .. } => (Exit::CouldNotRun, None),
        E::Capture { source, .. } => of_capture_failure(source),
        E::Contents(error) if error.is_damage() => (Exit::Difference, None),
        E::Statement { .. } => {
            (Exit::Failed, Some("put right what the server says (its log says more), and run it again"))
        }
        E::Tool { .. } => (Exit::Failed, Some("put right what the program says, and run it again")),
        E::Local { .. } => (Exit::Failed, Some("put that right on this machine, and run it again")),
        E::Contents(_) => (Exit::Failed, None),
    }
}

fn of_capture_failure(failure: &postgres::capture::Failure) -> Ending {
    use postgres::capture::Failure as F;
    match failure {
        F::Pattern(_) | F::NoSchema(_) => (Exit::CouldNotRun, Some("correct the policy")),
        F::Unreadable { .. } | F::RowSecurity { .. } => {
            (Exit::CouldNotRun, Some("`drctl doctor` names all that is in the way of a backup"))
        }
        F::Locked { .. } | F::GaveWay { .. } | F::Changing { .. } => (Exit::Failed, None),
        F::LeaderLost(_) | F::WatchLost(_) => {
            (Exit::Failed, Some("check the server's log and the network, and run it again"))
        }
        F::Dump { .. } => {
            (Exit::Failed, Some("`drctl doctor` names what pg_dump cannot read; the server's log may say more"))
        }
        F::Archive(_) | F::Rows(_) => {
            (Exit::Failed, Some("run it again; if it stays, report it with the version of pg_dump"))
        }
    }
}

fn of_cluster(error: &kubernetes::Error) -> Ending {
    use kubernetes::ErrorKind;
    match error.kind {
        ErrorKind::Configuration => (Exit::CouldNotRun, Some("name a cluster with --kubeconfig and --context")),
        ErrorKind::Unreachable => {
            (Exit::CouldNotRun, Some("check that the cluster is up and can be reached from here"))
        }
        ErrorKind::Unauthenticated => {
            (Exit::CouldNotRun, Some("get new credentials for the cluster, and run it again"))
        }
        ErrorKind::Forbidden => (Exit::CouldNotRun, Some("give this identity the right to do that")),
        ErrorKind::Busy => (Exit::CouldNotRun, Some("the API server is too busy; run it again later")),
        ErrorKind::NotFound | ErrorKind::Expired | ErrorKind::TooLarge | ErrorKind::Malformed | ErrorKind::Other => {
            (Exit::Failed, None)
        }
    }
}

fn of_capture(error: &CaptureError) -> Ending {
    match error {
        CaptureError::Sink(SinkError { source, .. }) => of_inner(source.as_ref()),
        CaptureError::Kubernetes(error) => of_cluster(error),
        CaptureError::Postgres(error) => of_database(error),
        CaptureError::Mongodb(error) => super::mongodb::of_mongodb(error),
        CaptureError::Interrupted => (Exit::Interrupted, None),
    }
}

pub(super) fn of_contents(error: &ContentsError) -> Ending {
    if error.damaged {
        return (Exit::Difference, Some("`drctl verify` names every backup that the damage touches"));
    }
    of_inner(error.source.as_ref())
}

fn of_export(error: &ExportError) -> Ending {
    match error {
        ExportError::Contents(contents::Error::Contents(error)) => of_contents(error),
        ExportError::Contents(error) if error.is_damage() => {
            (Exit::Difference, Some("`drctl verify --level content` reads all of the backup; use another one"))
        }
        ExportError::Contents(_) => (Exit::CouldNotRun, None),
        ExportError::Output(_) => (Exit::Failed, None),
        ExportError::Interrupted => (Exit::Interrupted, None),
    }
}

fn of_object_export(error: &kubernetes::export::ExportError) -> Ending {
    use kubernetes::export::ExportError as E;
    match error {
        E::Read(error) => of_restore(error),
        E::Twice(_) => (Exit::Difference, None),
        E::Output(_) => (Exit::Failed, None),
        E::Interrupted => (Exit::Interrupted, None),
    }
}

fn of_restore(error: &RestoreError) -> Ending {
    match error {
        RestoreError::Kubernetes(error) => of_cluster(error),
        RestoreError::Contents(error) => of_contents(error),
        RestoreError::Malformed { .. } => (Exit::Difference, None),
        RestoreError::NoSuchSource { .. } | RestoreError::Recipe(_) => (Exit::Usage, None),
        RestoreError::Conflicts(_) | RestoreError::OtherCluster { .. } => (Exit::CouldNotRun, None),
        RestoreError::Interrupted => (Exit::Interrupted, None),
    }
}

/// What is done about rows that the server does not take.
const ROWS: &str = "no live row was changed: put right what the server says (its log says more), and run it again";
/// What is done about sequences that cannot be set.
const SEQUENCES: &str = "put right what the server says, and run it again: the tables are still empty";
/// What is done about objects that the server does not make.
const BUILD: &str = "no live object was changed: give the server what they need (its log says more), and run it again; or \
                     `drctl export` writes the archive, of which pg_restore makes what it can";

fn of_database_restore(error: &DatabaseRestoreError) -> Ending {
    use DatabaseRestoreError as E;
    match error {
        E::Postgres(error) => of_database(error),
        _ if error.is_damage() => (Exit::Difference, Some("`drctl verify` names every backup that the damage touches")),
        E::Backup(contents::Error::Contents(error)) => of_contents(error),
        E::Usage(_) => (Exit::Usage, None),
        E::Refused { .. } => (Exit::CouldNotRun, Some("put that right; --dry-run shows the plan")),
        E::Busy { .. } | E::NothingToUndo => (Exit::CouldNotRun, None),
        // Something was written by then.
        E::Rows { source, .. } => match of_database_restore(source) {
            (Exit::Failed, _) if matches!(**source, E::Postgres(postgres::Error::Statement { .. })) => {
                (Exit::Failed, Some(ROWS))
            }
            (Exit::CouldNotRun | Exit::Failed, next) => (Exit::Failed, next.or(Some(ROWS))),
            ending => ending,
        },
        E::HalfInPlace { source, .. } => match of_database_restore(source) {
            (Exit::CouldNotRun | Exit::Failed, _) => (Exit::Failed, None),
            ending => ending,
        },
        E::Sequences { .. } => (Exit::Failed, Some(SEQUENCES)),
        E::Build { .. } => (Exit::Failed, Some(BUILD)),
        E::Interrupted => (Exit::Interrupted, None),
        E::LostInSwap { .. } => (Exit::Failed, None),
        E::SessionsRemain { .. } => (Exit::Failed, Some("stop what uses the database, and run it again")),
        E::NotReady { .. } => (Exit::Failed, Some("restore from the backup again")),
        E::Backup(_) | E::Count { .. } | E::NotEmpty => (Exit::Failed, None),
    }
}

/// A repository's error that came through a border which does not know its type.
fn of_inner(error: &(dyn Error + Send + Sync + 'static)) -> Ending {
    let mut inner: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<repository::Error>() {
            return of_repository(error);
        }
        if let Some(error) = error.downcast_ref::<backend::Error>() {
            return of_store(error);
        }
        inner = error.source();
    }
    (Exit::Failed, None)
}
