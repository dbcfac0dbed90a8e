//! The `drctl` binary itself, run as a person or a CronJob runs it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// One run of the program, not yet started. Nothing of this process's environment that drctl reads is left in it.
pub(crate) fn drctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drctl"));
    command.args(args).stdin(Stdio::null());
    for variable in [
        "DRCTL_FILE",
        "DRCTL_LOG",
        "DRCTL_ID_KEY",
        "DRCTL_INDEX_IDENTITY",
        "DRCTL_IDENTITY",
        "DRCTL_SIGNING_KEY",
        "KUBECONFIG",
        "NO_COLOR",
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    command
}

/// The same run, started by another program: the command's own words follow those of `launcher`.
pub(crate) fn launched(launcher: &[String], command: Command) -> Command {
    let Some((program, words)) = launcher.split_first() else { return command };
    let mut launched = Command::new(program);
    launched.args(words).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => launched.env(name, value),
            None => launched.env_remove(name),
        };
    }
    launched
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `drctl` with `args` to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    drctl(args).output().unwrap().into()
}

/// Runs `drctl` with `args` in the folder `folder` to its end.
pub(crate) fn run_in(folder: &Path, args: &[&str]) -> Ended {
    drctl(args).current_dir(folder).output().unwrap().into()
}
