//! One run of `pg_dump`: its archive comes through a pipe, its complaints through another.

use std::{
    io::PipeReader,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr},
    task::JoinHandle,
    time::timeout,
};

use super::{complaints::Complaints, failure::Failure, relay::Relay, selection::Selection};
use crate::sources::postgres::{
    Error, Server,
    tools::{self, MemoryFile, Program, Tool},
};

/// How long `pg_dump` may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes that the kernel keeps of the archive between `pg_dump` and drctl.
const PIPE: usize = 1 << 20;

/// What `pg_dump` is to do.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) server: &'a Server,
    pub(super) tool: &'a Tool,
    pub(super) selection: &'a Selection,
    pub(super) snapshot: &'a str,
    /// The suffix of its session's application name.
    pub(super) token: &'a str,
    /// How long it waits for a lock.
    pub(super) lock_wait: Duration,
    pub(super) large_objects: bool,
    /// The database's encoding: a setting of the database or the role must not change it.
    pub(super) encoding: &'a str,
}

/// A `pg_dump` that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Dump {
    child: Child,
    complaints: JoinHandle<Complaints>,
    /// The password's file, for as long as it may be read.
    _password: Option<MemoryFile>,
}

impl Order<'_> {
    /// Starts it as a client of `relay`, and gives the pipe that the archive comes through.
    pub(super) fn start(&self, relay: &Relay) -> Result<(Dump, PipeReader), Error> {
        let local = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Local { doing, source }
        };
        let (mut command, password) = self.tool.command_for(self.server, &self.server.url().database)?;
        relay.lead(&mut command);
        command.args(self.arguments());
        let options = command.as_std().get_envs().find(|(name, _)| *name == "PGOPTIONS").and_then(|(_, value)| value);
        let mut options = options.map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        // As in our own sessions: what a database or a role has its server say to clients is no complaint.
        options.push_str(" -c jit=off -c client_min_messages=warning");
        if self.tool.major >= 14 {
            // A session that waits for a lock would not notice that `pg_dump` is gone.
            options.push_str(" -c client_connection_check_interval=2000");
        }
        command.env("PGOPTIONS", options.trim_start());
        command.env("PGAPPNAME", format!("drctl: {} {}", self.tool.program.name(), self.token));
        let (reader, writer) = std::io::pipe().map_err(local("make a pipe"))?;
        // A larger pipe only saves switches between the two processes.
        let _size = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
        command.stdout(Stdio::from(writer)).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.tool.not_started(error))?;
        // It holds the other end of the pipe: while it lives, the archive has no end.
        drop(command);
        let stderr = child.stderr.take();
        let complaints = tokio::spawn(listen(stderr));
        Ok((Dump { child, complaints, _password: password }, reader))
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--format=custom", "--compress=0", "--no-password"].map(str::to_owned).to_vec();
        arguments.push(format!("--snapshot={}", self.snapshot));
        arguments.push(format!("--encoding={}", self.encoding));
        arguments.push(format!("--lock-wait-timeout={}", self.lock_wait.as_millis()));
        if self.tool.major >= 18 {
            arguments.push("--no-statistics".to_owned());
        }
        arguments.extend(self.selection.arguments(self.tool.major, self.large_objects));
        arguments
    }
}

/// The client programs of a capture, of exactly the server's major version.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) pg_dump: Tool,
    pub(super) pg_restore: Tool,
    /// Whether this `pg_restore` has a fence against psql's commands, of which the key can be said.
    pub(super) has_fence: bool,
}

impl Tools {
    /// Looks for them.
    pub(super) async fn find(major: u32) -> Result<Self, Error> {
        let (pg_dump, pg_restore) = tokio::join!(tools::find(Program::PgDump, major), restoring(major));
        // Where both are missing, it is always the first that is named.
        let (pg_dump, (pg_restore, has_fence)) = (pg_dump?, pg_restore?);
        Ok(Self { pg_dump, pg_restore, has_fence })
    }
}

async fn restoring(major: u32) -> Result<(Tool, bool), Error> {
    let tool = tools::find(Program::PgRestore, major).await?;
    let mut command = tool.command();
    let help = command.arg("--help").stdout(Stdio::piped()).stderr(Stdio::null()).output().await;
    let has_fence = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--restrict-key"));
    Ok((tool, has_fence))
}

impl Dump {
    /// Waits for its end, and what it has complained of.
    pub(super) async fn ended(mut self) -> Result<(ExitStatus, Complaints), Error> {
        let status = self.child.wait().await;
        let status = status.map_err(|source| Error::Local { doing: "wait for pg_dump".to_owned(), source })?;
        let complaints = (&mut self.complaints).await.unwrap_or_default();
        Ok((status, complaints))
    }

    /// Ends it. Asked to, it cancels what its session does on the server.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if timeout(GRACE, self.child.wait()).await.is_ok() {
                return;
            }
        }
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "pg_dump could not be killed");
        }
    }
}

/// The failure of a run that ended with another status than 0.
pub(super) fn dump_failure(status: ExitStatus, complaints: &Complaints) -> Failure {
    Failure::Dump { status: status.to_string(), reason: complaints.reason() }
}

async fn listen(stderr: Option<ChildStderr>) -> Complaints {
    let mut complaints = Complaints::default();
    let Some(mut stderr) = stderr else { return complaints };
    let mut piece = vec![0; 4 << 10];
    loop {
        match stderr.read(&mut piece).await {
            Ok(read @ 1..) => complaints.push(piece.get(..read).unwrap_or_default()),
            Ok(0) => break,
            // What it would have said is not known.
            Err(error) => {
                complaints.push(format!("\nits messages could not be read: {error}\n").as_bytes());
                break;
            }
        }
    }
    complaints.end();
    complaints
}
