//! Exit codes of what goes wrong with MongoDB databases.

use super::{
    Exit,
    codes::{Ending, of_contents},
};
use crate::sources::mongodb::{Error, capture::Failure, contents, export::ExportError, restore::RestoreError};

/// What is done about a database that is the server's own, or has a name that none takes.
const DATABASE: &str = "name the application's database: mongodb://USER:PASSWORD@HOST/DATABASE?authSource=admin, `database: NAME` in the \
                        policy, or --target-database at a restore";
/// The same where the address is given in place of the policy's.
const DATABASE_INSTEAD: &str = "write the application's database into the address of --database-url: \
                                mongodb://USER:PASSWORD@HOST/DATABASE?authSource=admin, or name it by --target-database";
/// What is done about a server that refuses.
const RIGHTS: &str = "correct user or password, or give the user the role `read` on the database";
/// The same, at a restore.
const RIGHTS_TO_RESTORE: &str = "correct user or password, or give the user the roles `readWrite` and `dbAdmin` on the database that is restored into";
/// What is done about a server that does not tell who may log in.
const ACCOUNTS: &str = "give the user the role `userAdmin` on the database, or take `users: true` out of the policy";

/// The same, at a restore.
const ACCOUNTS_TO_RESTORE: &str =
    "give the user the role `userAdmin` on the database and `restore` on `admin`, or leave out --users";

pub(super) fn of_mongodb(error: &Error) -> Ending {
    match error {
        Error::Url { .. } | Error::Address { .. } | Error::NoDatabase { .. } => {
            (Exit::CouldNotRun, Some("correct the address: mongodb://USER:PASSWORD@HOST/DATABASE"))
        }
        Error::Name { .. } => (Exit::CouldNotRun, Some(DATABASE)),
        Error::NameInstead { .. } => (Exit::CouldNotRun, Some(DATABASE_INSTEAD)),
        Error::Tls { .. } => (
            Exit::CouldNotRun,
            Some(
                "see that its files can be read, and name the authority that signs the server's certificate by `tls: {caFile: ...}` in the policy",
            ),
        ),
        Error::Handshake { .. } => (
            Exit::CouldNotRun,
            Some("if the server takes none, write `tls=false` into the address, and no `tls` into the policy"),
        ),
        Error::Unreachable { .. } => (
            Exit::CouldNotRun,
            Some("check the address, and that the server is up and, in a replica set, that it has a primary"),
        ),
        Error::Refused { .. } => (Exit::CouldNotRun, Some(RIGHTS)),
        Error::Accounts { .. } => (Exit::CouldNotRun, Some(ACCOUNTS)),
        Error::Mongos { .. } | Error::Shard { .. } | Error::Standalone { .. } => (Exit::CouldNotRun, None),
        Error::Command { .. } | Error::Contents(_) => (Exit::Failed, None),
        Error::Capture { source, .. } => match source.as_ref() {
            Failure::NoMoment => (Exit::CouldNotRun, None),
            Failure::SnapshotTooOld { .. }
            | Failure::SnapshotUnavailable { .. }
            | Failure::Changed { .. }
            | Failure::Read { .. }
            | Failure::Documents { .. }
            | Failure::Definition { .. }
            | Failure::Account { .. }
            | Failure::Listing(_) => (Exit::Failed, None),
        },
    }
}

/// What is done about documents, indexes or rules that the server does not take.
const NOT_TAKEN: &str = "put right what the server says (its log says more), and run it again";

pub(super) fn of_restore(error: &RestoreError) -> Ending {
    match error {
        RestoreError::Mongodb(Error::Refused { .. }) => (Exit::CouldNotRun, Some(RIGHTS_TO_RESTORE)),
        RestoreError::Mongodb(Error::Accounts { .. }) => (Exit::CouldNotRun, Some(ACCOUNTS_TO_RESTORE)),
        RestoreError::Mongodb(error) => of_mongodb(error),
        RestoreError::Backup(contents::Error::Contents(error)) => of_contents(error),
        _ if error.is_damage() => (Exit::Difference, Some("`drctl verify` names every backup that the damage touches")),
        RestoreError::Backup(_) => (Exit::Failed, None),
        RestoreError::Usage(_) => (Exit::Usage, None),
        RestoreError::Refused { .. } => (Exit::CouldNotRun, Some("put that right; --dry-run shows the plan")),
        RestoreError::Build { .. } | RestoreError::Documents { .. } | RestoreError::Account { .. } => {
            (Exit::Failed, Some(NOT_TAKEN))
        }
        RestoreError::MayNotLast { .. } => (Exit::Failed, Some("look at the other members, and run it again")),
        RestoreError::Malformed { .. } => (Exit::Difference, None),
        RestoreError::Switch { .. } => (Exit::Failed, Some("put right what the server says, and run it again")),
        RestoreError::Interrupted => (Exit::Interrupted, None),
    }
}

pub(super) fn of_export(error: &ExportError) -> Ending {
    match error {
        ExportError::Contents(contents::Error::Contents(error)) => of_contents(error),
        ExportError::Contents(_) | ExportError::Definition { .. } => {
            (Exit::Difference, Some("`drctl verify --level content` reads all of the backup; use another one"))
        }
        ExportError::Output(_) => (Exit::Failed, None),
        ExportError::Interrupted => (Exit::Interrupted, None),
    }
}
