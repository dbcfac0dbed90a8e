//! Exit codes of what goes wrong with a repository and its store.

use super::{Exit, codes::Ending};
use crate::repository::{self, backend};

const SET_THE_CLOCK: &str = "set this machine's clock (`timedatectl` says whether it is kept), and run it again";

pub(super) fn of_repository(error: &repository::Error) -> Ending {
    use repository::Error as E;
    match error {
        E::NotARepository { .. }
        | E::AlreadyARepository { .. }
        | E::NewerFormat { .. }
        | E::UnknownFeature { .. }
        | E::NoKeys { .. }
        | E::NotARecipient { .. }
        | E::ForeignKeyFile { .. }
        | E::NoEpochPinned { .. }
        | E::NoKeysToWrite { .. }
        | E::NoSigningKey { .. }
        | E::SigningKeyNotPinned { .. }
        | E::Copy(
            repository::CopyRefused::OtherRepository { .. }
            | repository::CopyRefused::SamePlace { .. }
            | repository::CopyRefused::Unguarded { .. },
        )
        | E::CreateOnlyIgnored { .. }
        | E::NameSpent { .. }
        | E::TooMuchEvidence { .. } => (Exit::CouldNotRun, None),
        E::IdKeyOfOtherEpoch { .. } | E::IndexIdentityOfOther { .. } => (
            Exit::CouldNotRun,
            Some(
                "apply the Secret that `--cluster-secret` wrote with the epoch that the policy pins, and run it again",
            ),
        ),
        E::UnknownEpoch { .. } => (
            Exit::CouldNotRun,
            Some(
                "put `keys/` back from a copy of the repository; without one, begin a new epoch with `drctl repository \
                 recipients new-epoch`",
            ),
        ),
        E::Unsigned { .. } => {
            (Exit::CouldNotRun, Some("find out who made it; use one that is signed: `drctl list` shows which are not"))
        }
        E::ClockSkew { .. } => (Exit::CouldNotRun, Some(SET_THE_CLOCK)),
        E::Damaged { .. } | E::Gone { .. } => (Exit::Difference, None),
        E::Store(error) => of_store(error),
        E::CommitUnknown { .. } => (Exit::Failed, None),
        E::NoSuchBackup { .. } | E::AmbiguousBackup { .. } | E::Aborted { .. } => (Exit::Usage, None),
        E::Stopped(first) => of_repository(first),
        // `could not run` and `usage` would say that nothing was written.
        E::Begun { source, .. } | E::HalfPruned { source } => match of_repository(source) {
            (Exit::CouldNotRun | Exit::Usage, next) => (Exit::Failed, next),
            ending => ending,
        },
        E::ListingLags { .. } => (
            Exit::CouldNotRun,
            Some("run it again later; where it stays so, keep backups in a store that lists what it has acknowledged"),
        ),
        E::Copy(repository::CopyRefused::Waits { to_copy, ends, .. }) => {
            (Exit::CouldNotRun, Some(end_of_wait(*to_copy, *ends)))
        }
        E::Copy(repository::CopyRefused::Goes { .. }) => {
            (Exit::Usage, Some("`drctl prune --undo ID --copy NAME` saves it there, within a day"))
        }
        E::Copy(repository::CopyRefused::PacksGone { .. }) => {
            (Exit::Failed, Some("find out who deletes in that place, and copy again: what is missing is sent then"))
        }
        E::Copy(repository::CopyRefused::TooLong { to_copy: false, .. }) => (
            Exit::CouldNotRun,
            Some("use it in the copy, or bring it to another prefix; later backups are copied as ever"),
        ),
        E::Copy(repository::CopyRefused::TooLong { .. }) => (
            Exit::CouldNotRun,
            Some(
                "`drctl prune --copy NAME --yes` gives it up there, and 30 days later it can be copied again; later backups are \
                 copied as ever",
            ),
        ),
        E::Copy(repository::CopyRefused::Marked { .. }) => {
            (Exit::CouldNotRun, Some("use it in the place where it is, or copy it under another prefix"))
        }
        E::TooLateToUndo { .. } | E::TombstoneNotBelieved { .. } => (Exit::CouldNotRun, None),
        E::SessionTooOld { .. } | E::PacksGone { .. } | E::OverLimit { .. } | E::Misuse { .. } | E::Internal(_) => {
            (Exit::Failed, None)
        }
    }
}

pub(super) fn of_store(error: &backend::Error) -> Ending {
    use backend::ErrorKind;
    match error.kind {
        ErrorKind::NoSuchStore => (
            Exit::CouldNotRun,
            Some(
                "correct the repository's URL, region or endpoint; a bucket or a container must be made first, a folder is made by \
                 `drctl repository init`",
            ),
        ),
        ErrorKind::PermissionDenied => (Exit::CouldNotRun, Some("give this identity the right to do that")),
        ErrorKind::Unauthenticated => (Exit::CouldNotRun, Some("check the credentials that this process has")),
        ErrorKind::ClockApart => (Exit::CouldNotRun, Some(SET_THE_CLOCK)),
        ErrorKind::Unreachable | ErrorKind::TimedOut => {
            (Exit::CouldNotRun, Some("check the URL, the endpoint and the network, and run it again"))
        }
        ErrorKind::Unsupported => (Exit::CouldNotRun, None),
        ErrorKind::Locked => {
            (Exit::CouldNotRun, Some("wait until its lock ends: `drctl doctor` shows how long locks are"))
        }
        ErrorKind::NotAnObject => (Exit::Difference, None),
        // Where something was written before, a wrapper says so.
        ErrorKind::Full => (Exit::CouldNotRun, Some("make room in the store, and run it again")),
        // A setting that cannot be used: nothing was sent.
        ErrorKind::Other if error.act == "open" => {
            (Exit::CouldNotRun, Some("correct that setting: in the policy, or in the environment"))
        }
        ErrorKind::NotFound | ErrorKind::Other => (
            Exit::CouldNotRun,
            Some("check that URL, endpoint and proxy lead to the store that is meant, and run it again"),
        ),
        ErrorKind::TooLarge => (Exit::Failed, None),
    }
}

/// What a person does about a copy that must wait. An undo of a tombstone is none: what is waited for has one of a day, or none.
fn end_of_wait(to_copy: bool, ends: repository::WaitEnds) -> &'static str {
    use repository::WaitEnds::{Lock, Prune, Run};
    match (to_copy, ends) {
        (true, Prune) => {
            "let `drctl prune --yes --copy NAME` come to its end there (what a lock keeps goes when that has ended), and copy again"
        }
        (true, Lock) => {
            "when the locks on that run's objects there have ended, let `drctl prune --yes --copy NAME` come to its end there, and \
             copy again"
        }
        (true, Run) => {
            "copy first the backup whose id is in that key, with `drctl copy ID`: its copying has begun there and has not ended; if it \
             cannot be copied, `drctl prune --yes --copy NAME` gives it up when its session there is 7 days old, and deletes what it has a day later"
        }
        (false, Run) => {
            "bring the backup back first whose id is in that key, if it has one: `drctl copy ID --from NAME --to repository`; \
             or use this one in the copy, or bring it to another prefix"
        }
        (false, Prune | Lock) => {
            "use this one in the copy, or bring it to another prefix; or, once all else is brought back (a prune gives up runs that \
             have no manifest), let a prune of the repository come to its end, where locks keep that when they have ended, and copy again"
        }
    }
}
