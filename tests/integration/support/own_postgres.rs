//! A PostgreSQL server of a test's own, which it may kill as a whole.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{postgres::Postgres, workshop::wait_for};

/// The server. Its data goes with it.
#[derive(Debug)]
pub(crate) struct OwnPostgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    postmaster: Child,
}

impl OwnPostgres {
    /// A new server of the same programs as `like`; everybody on this machine is let in as `admin`.
    pub(crate) fn start(like: &Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let programs = like.programs().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = folder.path().join("data");
        let output = unprivileged(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "admin", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let postmaster = run(&programs, folder.path(), port);
        let server = Self { folder, programs, port, postmaster };
        server.wait();
        server
    }

    /// A standby of it, with a copy of all that it has.
    pub(crate) fn standby(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = unprivileged(&self.programs.join("pg_basebackup"));
        command.args(["-R", "-X", "stream", "--no-sync", "--checkpoint=fast", "-h", "127.0.0.1", "-U", "admin", "-p"]);
        let output = command.arg(self.port.to_string()).arg("-D").arg(folder.path().join("data")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let postmaster = run(&self.programs, folder.path(), port);
        let standby = Self { folder, programs: self.programs.clone(), port, postmaster };
        standby.wait();
        standby
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of its database `postgres`.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The address of a database whose name is fit for one.
    pub(crate) fn url_of(&self, database: &str) -> String {
        format!("postgresql://admin@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Runs SQL in `postgres`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    /// Runs SQL in a database.
    pub(crate) fn sql_in(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d", &self.url_of(database)]);
        command.output().unwrap()
    }

    /// The postmaster and all of its children, with SIGKILL and at once: as when the machine's memory is used up.
    pub(crate) fn kill(&mut self) {
        let mut pids = children(self.postmaster.id());
        assert!(pids.len() >= 5, "{pids:?}");
        // The postmaster first: it would end the others in order, and start itself again.
        pids.insert(0, self.postmaster.id());
        let words: Vec<String> = pids.iter().map(u32::to_string).collect();
        // Some may be gone before their turn.
        let _ = Command::new("kill").arg("-9").args(&words).stderr(Stdio::null()).status().unwrap();
        self.postmaster.wait().unwrap();
        let is_gone = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_err();
        wait_for("the end of the server", 120, || pids.iter().all(is_gone).then_some(()));
    }

    /// Starts it again over the same data.
    pub(crate) fn start_again(&mut self) {
        self.postmaster = run(&self.programs, self.folder.path(), self.port);
        self.wait();
    }

    fn wait(&self) {
        wait_for("the server", 60, || self.psql("postgres", "SELECT 1").status.success().then_some(()));
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.postmaster.id().to_string()]).status();
        let _ = self.postmaster.wait();
    }
}

fn run(programs: &Path, folder: &Path, port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let settings = ["fsync=off", "listen_addresses=127.0.0.1", "dynamic_shared_memory_type=mmap"];
    let mut command = unprivileged(&programs.join("postgres"));
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    command.args(["-c", &format!("unix_socket_directories={}", folder.display())]);
    settings.iter().for_each(|setting| _ = command.args(["-c", setting]));
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The server refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_read_search"]);
    command.args(["--ambient-caps=+dac_read_search", "--securebits=+no_setuid_fixup", "--"]).arg(program);
    command
}

fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        after_name.split(' ').nth(1) == Some(&parent.to_string())
    };
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).filter(is_child).collect()
}
