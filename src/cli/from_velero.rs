//! `drctl policy from-velero`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    args::Global,
    exit::{Exit, Failure},
    output,
    say::Say,
};
use crate::{
    policy::{self, FromVeleroError, VeleroFile, VeleroOptions},
    types::{Location, Name, for_terminal},
};

/// Make a policy of Velero's Schedules and BackupStorageLocations.
#[derive(Debug, Args)]
#[command(
    after_help = "The policy goes to standard output, with comments that say what has no equivalent; then the exit code
is 3. Nothing is contacted, and Velero goes on as before: the repository lies beside its backups.
docs/guides/from-velero.md has each feature of Velero's, and what to do instead.

Examples:
  kubectl -n velero get schedules,backupstoragelocations -o yaml | drctl policy from-velero - > policy.yaml
  drctl policy from-velero schedules.yaml locations.yaml --name orders --location far
  drctl policy from-velero schedules.yaml --url s3://orders-dr/prod"
)]
pub struct FromVeleroArgs {
    /// YAML files with Velero's objects, also lists of them; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The policy's name (default: that of the storage location)
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// The storage location whose schedules are taken, if they use several
    #[arg(long, value_name = "NAME")]
    location: Option<String>,
    /// Where the repository is to be (default: beside Velero's backups)
    // Not parsed by clap, which would repeat credentials that somebody has put into it.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The most that is read of one file, in bytes.
const LARGEST: u64 = 4 << 20;

pub(super) fn run(args: &FromVeleroArgs, global: &Global) -> Result<Exit, Failure> {
    let url: Option<Location> =
        args.url.as_ref().map(|url| url.parse()).transpose().map_err(|error| Failure::new(Exit::Usage, error))?;
    let files = args.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let options = VeleroOptions { name: args.name.clone(), location: args.location.clone(), url };
    let made = policy::from_velero(&files, &options).map_err(failure)?;
    output::write(&made.text().map_err(failure)?)?;
    let say = Say::new(global.log_format);
    for note in made.notes.iter().filter(|note| note.lost) {
        say.lines(&format!("without an equivalent: {note}\n"));
    }
    if !made.lost_something() {
        return Ok(Exit::Done);
    }
    say.next("look at what has no equivalent (docs/guides/from-velero.md), then `drctl policy check`");
    Ok(Exit::Partial)
}

fn read(path: &Path) -> Result<VeleroFile, Failure> {
    let shown = for_terminal(&path.display().to_string()).into_owned();
    let mut bytes = Vec::new();
    let outcome = match path == Path::new("-") {
        true => io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)),
    };
    outcome.map_err(|error| Failure::usage(format!("cannot read `{shown}`: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("`{shown}` is larger than {} MiB", LARGEST >> 20);
        return Err(Failure::usage(message).next("give it the Schedules and BackupStorageLocations alone"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Failure::usage(format!("`{shown}:{line}` is not UTF-8 text"))
    })?;
    Ok(VeleroFile { path: path.to_owned(), text })
}

fn failure(error: FromVeleroError) -> Failure {
    let next = match &error {
        FromVeleroError::Invalid(_) => "correct the file; `kubectl get ... -o yaml` prints what is in the cluster",
        FromVeleroError::Nothing(_) => "`kubectl -n velero get schedules,backupstoragelocations -o yaml` prints them",
        FromVeleroError::SeveralLocations(_) | FromVeleroError::NoSuchLocation(..) => "choose one with --location NAME",
        FromVeleroError::NoPlace(_) => "give the file with the BackupStorageLocation too, or --url",
        FromVeleroError::Name(_) => "name the policy with --name",
        FromVeleroError::Yaml(_) => return Failure::new(Exit::Failed, error),
    };
    Failure::new(Exit::Usage, error).next(next)
}
