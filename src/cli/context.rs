//! What a command works with: the policy, the repository, the cluster, and who hears of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{
    args::Global,
    exit::{Exit, Failure},
    say::Say,
    signals,
};
use crate::{
    operations::{self, BackupRef, CopyPlace, Found, KeyOptions, Run},
    policy::{self, Policy},
    repository::Repository,
    sources::kubernetes::ConnectOptions,
    telemetry::Telemetry,
    types::{Location, SystemClock},
};

/// What every command is given.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) global: &'a Global,
    pub(super) telemetry: &'a Telemetry,
    pub(super) say: Say,
    pub(super) run: Run,
}

/// An opened repository, and the policy that it is looked at with.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) repository: Repository,
    /// Absent with `--repository`.
    pub(super) policy: Option<Policy>,
}

impl<'a> Context<'a> {
    pub(super) fn new(global: &'a Global, telemetry: &'a Telemetry) -> Self {
        let cancel = CancellationToken::new();
        let run = Run { monitor: telemetry.monitor(), clock: Arc::new(SystemClock), cancel };
        Self { global, telemetry, say: Say::new(global.log_format), run }
    }

    /// Runs `work` to its end, or to an orderly stop on Ctrl-C and SIGTERM.
    pub(super) fn block_on(&self, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot start the runtime: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
        let ended = runtime.block_on(async {
            signals::watch(self.run.cancel.clone(), self.say).map_err(failed)?;
            work.await
        });
        // A question that nobody has answered must not hold the process.
        runtime.shutdown_background();
        ended.map_err(|failure| if self.run.cancel.is_cancelled() { failure.interrupted() } else { failure })
    }

    /// Opens the repository of `--repository`, or else of the policy, as it is or as `--as-of` says.
    pub(super) async fn open(&self) -> Result<Opened, Failure> {
        let as_of = self.global.as_of;
        match &self.global.repository {
            Some(url) => {
                // Parsed here and not by clap, whose message would repeat a password in it.
                let location: Location = url.parse().map_err(|error| Failure::new(Exit::Usage, error))?;
                self.check_as_of(&location)?;
                let repository = operations::open_at_as_of(&location, &self.keys(), as_of).await?;
                Ok(Opened { repository, policy: None })
            }
            None => {
                let (_, policy) = policy_file(self.global)?;
                self.check_as_of(&policy.repository.url)?;
                let repository = operations::open_of(&policy, &self.keys(), as_of).await?;
                Ok(Opened { repository, policy: Some(policy) })
            }
        }
    }

    /// Refuses an earlier time of a store that keeps none, and a later one.
    fn check_as_of(&self, location: &Location) -> Result<(), Failure> {
        let Some(time) = self.global.as_of else { return Ok(()) };
        if !matches!(location, Location::S3 { .. }) {
            return Err(Failure::usage(format!(
                "--as-of needs an S3 bucket that keeps versions, and this is {location}"
            ))
            .next("leave --as-of out; of a folder or a container, what was deleted comes back by its own means"));
        }
        if time > self.run.clock.now() {
            return Err(Failure::usage(format!("--as-of {time} is in the future")).next("name a time that has been"));
        }
        Ok(())
    }

    /// The policy, for what needs one: a backup is never taken without its file.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        if self.global.repository.is_some() {
            return Err(Failure::usage("--repository does not go with this command, which needs a policy file")
                .next("name the policy with --file, and leave --repository out"));
        }
        policy_file(self.global).map(|(_, policy)| policy)
    }

    /// What the command line gives of keys.
    pub(super) fn keys(&self) -> KeyOptions {
        KeyOptions { identity: self.global.identity.clone(), signers: self.global.signers.clone() }
    }

    /// Which cluster the command line names.
    pub(super) fn connect(&self) -> ConnectOptions {
        ConnectOptions { kubeconfig: self.global.kubeconfig.clone(), context: self.global.context.clone() }
    }
}

impl Opened {
    /// The backup that `wanted` names. Without a policy file, the one inside the newest backup says
    /// what the schedules are.
    ///
    /// What was passed over because it is damaged is said: it might have been the one that is meant.
    pub(super) async fn find(&self, wanted: &BackupRef, say: &Say) -> Result<Found, Failure> {
        let embedded = match (&self.policy, wanted) {
            (None, BackupRef::Latest | BackupRef::LatestOf(_) | BackupRef::NotAfter(_)) => {
                operations::embedded_policy(&self.repository).await?
            }
            _ => None,
        };
        let found = operations::find(&self.repository, self.policy.as_ref().or(embedded.as_ref()), wanted).await?;
        for passed in &found.passed_over {
            say.lines(&format!("warning: `{wanted}` passes over {passed}\n"));
        }
        Ok(found)
    }
}

/// The policy file that `--file` or `DRCTL_FILE` names, and the policy in it: with `--copy`, the copy in its repository's place.
pub(super) fn policy_file(global: &Global) -> Result<(PathBuf, Policy), Failure> {
    let Some(path) = global.file.as_deref().filter(|path| *path != Path::new("")) else {
        return Err(Failure::usage("no policy file is named").next("name it with --file or DRCTL_FILE"));
    };
    let policy = policy::load(path)?;
    let place = global.copy.clone().map_or(CopyPlace::Repository, CopyPlace::Copy);
    Ok((path.to_owned(), place.of(&policy).map_err(operations::Error::from)?))
}
