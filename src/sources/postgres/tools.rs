//! The client programs of PostgreSQL: finding those of the server's major version, and running them
//! with nothing secret in their arguments or environment.

use std::{
    ffi::OsString,
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::fs::{MemfdFlags, Mode};
use tokio::process::Command;

use super::{
    connect::{OPEN_TIMEOUT, Server, TEXT_SETTINGS},
    error::Error,
    url::Host,
};

/// Folders to search first, separated by colons.
pub const BIN_DIR_VARIABLE: &str = "DRCTL_PG_BIN_DIR";
/// How long a program may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);
/// What is kept of a program's words on standard error.
const STDERR_KEPT: usize = 4 * 1024;

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `pg_dump`
    PgDump,
    /// `pg_restore`
    PgRestore,
}

impl Program {
    /// Its file name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PgDump => "pg_dump",
            Self::PgRestore => "pg_restore",
        }
    }
}

/// A client program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Which.
    pub program: Program,
    /// Where.
    pub path: PathBuf,
    /// As it says itself: `pg_dump (PostgreSQL) 15.18`.
    pub version: String,
    /// Its major version.
    pub major: u32,
}

/// Finds `program` of exactly `major`: in the folders of [`BIN_DIR_VARIABLE`], where distributions put
/// it, then in `PATH`.
///
/// # Errors
/// [`Error::NoTool`] names what was found in its place.
pub async fn find(program: Program, major: u32) -> Result<Tool, Error> {
    let mut found = Vec::new();
    for folder in folders(major) {
        let path = folder.join(program.name());
        if !path.is_file() {
            continue;
        }
        match version_of(&path).await {
            Some((version, theirs)) if theirs == major => return Ok(Tool { program, path, version, major }),
            Some((_, theirs)) if !found.contains(&(folder.clone(), theirs)) => found.push((folder, theirs)),
            _ => {}
        }
    }
    Err(Error::NoTool { program: program.name(), major, found })
}

fn folders(major: u32) -> Vec<PathBuf> {
    let list = |name: &str| std::env::var_os(name).map(|value| std::env::split_paths(&value).collect::<Vec<_>>());
    let mut folders = list(BIN_DIR_VARIABLE).unwrap_or_default();
    folders.push(format!("/usr/lib/postgresql/{major}/bin").into());
    folders.push(format!("/usr/pgsql-{major}/bin").into());
    folders.push(format!("/usr/libexec/postgresql{major}").into());
    folders.extend(list("PATH").unwrap_or_default());
    folders.retain(|folder| folder.is_absolute());
    folders
}

async fn version_of(path: &Path) -> Option<(String, u32)> {
    let mut command = clean(path);
    command.arg("--version").stdout(Stdio::piped()).stderr(Stdio::null());
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await.ok()?.ok()?;
    let version = String::from_utf8_lossy(output.stdout.get(..200).unwrap_or(&output.stdout)).trim().to_owned();
    let major = parse_major(&version)?;
    Some((version, major))
}

/// `pg_dump (PostgreSQL) 15.18 (Debian …)` → 15
fn parse_major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A command with an environment of its own: no `PG…` variable of ours, messages in English.
fn clean(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("LC_ALL", "C").env("HOME", "/nonexistent").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

impl Tool {
    /// A command that runs it without any connection.
    #[must_use]
    pub fn command(&self) -> Command {
        clean(&self.path)
    }

    /// A command that runs it against `database` of `server`. Keep the second value until it has ended: the
    /// password is in it.
    ///
    /// # Errors
    /// [`Error::Local`] if no memory file can be made for the password.
    pub fn command_for(&self, server: &Server, database: &str) -> Result<(Command, Option<MemoryFile>), Error> {
        let url = server.url();
        let mut command = clean(&self.path);
        match &url.host {
            Host::Unix(folder) => command.env("PGHOST", folder),
            Host::Tcp(host) => command.env("PGHOST", host),
        };
        command.env("PGPORT", url.port.to_string()).env("PGUSER", &url.user).env("PGDATABASE", database);
        if let Some(address) = server.pinned() {
            command.env("PGHOSTADDR", address.ip().to_string()).env("PGPORT", address.port().to_string());
        }
        command.env("PGSSLMODE", url.encryption().as_str()).env("PGGSSENCMODE", "disable");
        if let Some(roots) = server.roots() {
            command.env("PGSSLROOTCERT", roots);
        }
        if let Some((cert, key)) = &url.client_cert {
            command.env("PGSSLCERT", cert).env("PGSSLKEY", key);
        }
        let settings: Vec<String> = TEXT_SETTINGS.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        command.env("PGOPTIONS", settings.join(" "));
        command.env("PGAPPNAME", format!("drctl: {}", self.program.name()));
        command.env("PGCONNECT_TIMEOUT", OPEN_TIMEOUT.as_secs().to_string());
        let file = match &url.password {
            Some(password) => Some(MemoryFile::new("drctl-pass", pass_line(password.expose()).as_bytes())?),
            None => None,
        };
        let passfile = file.as_ref().map_or_else(|| OsString::from("/nonexistent/pgpass"), MemoryFile::path);
        command.env("PGPASSFILE", passfile);
        Ok((command, file))
    }

    /// The error of a run that ended with `status`.
    #[must_use]
    pub fn failed(&self, doing: &str, status: std::process::ExitStatus, stderr: &[u8]) -> Error {
        let kept = stderr.get(stderr.len().saturating_sub(STDERR_KEPT)..).unwrap_or(stderr);
        Error::Tool {
            program: self.program.name(),
            doing: doing.to_owned(),
            status: status.to_string(),
            stderr: String::from_utf8_lossy(kept).into_owned(),
        }
    }

    /// The error of a program that could not be started.
    #[must_use]
    pub fn not_started(&self, source: std::io::Error) -> Error {
        Error::Local { doing: format!("start {}", self.path.display()), source }
    }
}

/// A line of a password file that fits every connection.
fn pass_line(password: &str) -> String {
    format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:"))
}

/// Bytes that a child reads as a file and that are on no disk: readable by the owner alone, gone when dropped.
#[derive(Debug)]
pub struct MemoryFile(File);

impl MemoryFile {
    /// A memory file with `bytes` in it. `name` is for who looks at `/proc`.
    ///
    /// # Errors
    /// [`Error::Local`] if the kernel gives none.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let failed = |source: std::io::Error| Error::Local { doing: "make a file in memory".to_owned(), source };
        // Without CLOEXEC, or the child could not open it.
        let descriptor = rustix::fs::memfd_create(name, MemfdFlags::empty()).map_err(|error| failed(error.into()))?;
        rustix::fs::fchmod(&descriptor, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        let mut file = File::from(descriptor);
        file.write_all(bytes).map_err(failed)?;
        Ok(Self(file))
    }

    /// The path by which a child opens it. Each opening begins at its start.
    #[must_use]
    pub fn path(&self) -> OsString {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_programs_say() {
        assert_eq!(parse_major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("pg_dump (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("psql 3"), None);
    }

    #[test]
    fn a_password_line_escapes_what_ends_a_field() {
        assert_eq!(pass_line(r"a:b\c"), "*:*:*:*:a\\:b\\\\c\n");
    }

    #[tokio::test]
    async fn a_child_reads_a_memory_file_twice_and_others_may_not() {
        let file = MemoryFile::new("test", b"hunter2\n").unwrap();
        let path = file.path().into_string().unwrap();
        let script = format!("cat {path} {path}; stat -L -c %a {path}");
        let output = Command::new("sh").args(["-c", &script]).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hunter2\nhunter2\n600\n");
    }
}
