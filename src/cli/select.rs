//! From the global options to the policy, the repository and the cluster that a command works on.

use std::path::{Path, PathBuf};

use super::{args::Global, exit::Failure};
use crate::policy::{self, Policy};

/// The policy file that `--file` or `DRCTL_FILE` names, and the policy in it.
///
/// # Errors
/// A usage failure if none is named, or if it is not valid.
pub(super) fn policy_file(global: &Global) -> Result<(PathBuf, Policy), Failure> {
    let Some(path) = global.file.as_deref().filter(|path| *path != Path::new("")) else {
        return Err(Failure::usage("no policy file is named").next("name it with --file or DRCTL_FILE"));
    };
    Ok((path.to_owned(), policy::load(path)?))
}
