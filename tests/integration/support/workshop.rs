//! A policy and a repository of a test's own, and `drctl` run on them.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    bed::{Bucket, Cluster},
    program::{self, Ended},
};

/// A folder with a policy file, and usually a repository, that a test may do anything to.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: TempDir,
    kubeconfig: PathBuf,
    environment: Vec<(String, String)>,
    /// What starts `drctl`, if not the test itself.
    launcher: Vec<String>,
    /// When the last backup ended, in seconds since 1970.
    last_backup: Cell<u64>,
}

impl Workshop {
    /// A policy `shop` with the source `services` of these namespaces and the schedule `daily`, and
    /// an initialised repository in a local folder.
    pub(crate) fn new(cluster: &Cluster, namespaces: &[&str]) -> Self {
        let workshop = Self::bare(cluster);
        workshop.write_policy(&workshop.local_repository(), namespaces);
        workshop.done(&["repository", "init"]);
        workshop
    }

    /// The same on S3, at `endpoint` (the bed's own, or a proxy's in front of it).
    pub(crate) fn on_s3(cluster: &Cluster, bucket: &Bucket, endpoint: &str, namespaces: &[&str]) -> Self {
        let mut workshop = Self::bare(cluster);
        workshop.environment.push(("TEST_ACCESS_KEY".to_owned(), bucket.access_key.clone()));
        workshop.environment.push(("TEST_SECRET_KEY".to_owned(), bucket.secret_key.clone()));
        workshop.write_policy(&s3_repository(bucket, endpoint), namespaces);
        workshop.done(&["repository", "init"]);
        workshop
    }

    /// Without a policy and without a repository.
    pub(crate) fn bare(cluster: &Cluster) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            kubeconfig: cluster.kubeconfig().to_owned(),
            environment: Vec::new(),
            launcher: Vec::new(),
            last_backup: Cell::new(0),
        }
    }

    /// A policy `shop` with a database source for each of these names and URLs, the schedule `daily`, and an
    /// initialised repository in a local folder. There is no cluster.
    pub(crate) fn of_databases(databases: &[(&str, &str)]) -> Self {
        let mut workshop = Self {
            folder: tempfile::tempdir().unwrap(),
            kubeconfig: "/there/is/no/cluster".into(),
            environment: Vec::new(),
            launcher: Vec::new(),
            last_backup: Cell::new(0),
        };
        for (name, url) in databases {
            workshop.set(&url_variable(name), url);
        }
        let more: Vec<_> = databases.iter().map(|(name, _)| (*name, "")).collect();
        workshop.write_database_policy(&more);
        workshop.done(&["repository", "init"]);
        workshop
    }

    /// Writes the policy of [`Workshop::of_databases`] anew: of each source its name, and what it says besides its URL
    /// (`, schemas: [app]`).
    pub(crate) fn write_database_policy(&self, sources: &[(&str, &str)]) {
        let source = |(name, more): &(&str, &str)| {
            format!("  {name}: {{postgres: {{url: {{env: {}}}{more}}}}}\n", url_variable(name))
        };
        let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n{}\
             schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [{}]}}\n",
            self.local_repository(),
            sources.iter().map(source).collect::<String>(),
            names.join(", ")
        );
        fs::write(self.policy(), text).unwrap();
    }

    /// A policy `shop` with the MongoDB source `crm-db` at `url`, and what it says besides (`, consistency: none`), the
    /// schedule `daily`, and an initialised repository in a local folder. There is no cluster.
    pub(crate) fn of_mongodb(url: &str, more: &str) -> Self {
        let mut workshop = Self {
            folder: tempfile::tempdir().unwrap(),
            kubeconfig: "/there/is/no/cluster".into(),
            environment: Vec::new(),
            launcher: Vec::new(),
            last_backup: Cell::new(0),
        };
        workshop.set(&url_variable("crm-db"), url);
        workshop.write_mongodb_policy(more);
        workshop.done(&["repository", "init"]);
        workshop
    }

    /// Writes the policy of [`Workshop::of_mongodb`] anew.
    pub(crate) fn write_mongodb_policy(&self, more: &str) {
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  \
             crm-db: {{mongodb: {{url: {{env: {}}}{more}}}}}\nschedules:\n  \
             daily: {{cron: \"0 2 * * *\", sources: [crm-db]}}\n",
            self.local_repository(),
            url_variable("crm-db"),
        );
        fs::write(self.policy(), text).unwrap();
    }

    /// Works on another cluster, or as another user, from now on.
    pub(crate) fn use_kubeconfig(&mut self, kubeconfig: &Path) {
        self.kubeconfig = kubeconfig.to_owned();
    }

    /// Sets a variable for all later runs.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The `repository:` section for a folder in the workshop.
    pub(crate) fn local_repository(&self) -> String {
        format!("repository: {{url: \"file://{}\", encryption: none}}", self.repository().display())
    }

    /// Writes the policy file.
    pub(crate) fn write_policy(&self, repository: &str, namespaces: &[&str]) {
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{repository}\n\
             sources:\n  services: {{kubernetes: {{namespaces: {}}}}}\n\
             schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n",
            serde_json::to_string(namespaces).unwrap()
        );
        fs::write(self.policy(), text).unwrap();
    }

    /// The policy file.
    pub(crate) fn policy(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// The folder of the local repository.
    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// The workshop's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From now on `drctl` is started by these words, which its own follow.
    pub(crate) fn run_in(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// A run of `drctl`, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program::launched(&self.launcher, program::drctl(args));
        command.env("DRCTL_FILE", self.policy()).env("KUBECONFIG", &self.kubeconfig);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `drctl` to its end. No two backups begin in the same second: their ids sort by it, and the
    /// tests ask for the newest one.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let is_backup = args.first() == Some(&"backup");
        if is_backup {
            wait_for("the next second", 120, || (now() > self.last_backup.get()).then_some(()));
        }
        let ended = self.command(args).output().unwrap().into();
        if is_backup {
            self.last_backup.set(now());
        }
        ended
    }

    /// Runs `drctl`, which must end with `code`.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "drctl {}\n{}\n{}", args.join(" "), ended.stdout, ended.stderr);
        ended
    }

    /// Runs `drctl`, which must end with 0.
    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> Ended {
        self.ends(0, args)
    }

    /// Runs `drctl … -o json`, which must end with `code`.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let ended = self.ends(code, &args);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
    }

    /// The ids of all backups, oldest first.
    pub(crate) fn backups(&self) -> Vec<String> {
        let list = self.json(0, &["list"]);
        let mut ids: Vec<String> = list["backups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|backup| backup["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// All files of the local repository under a prefix, sorted.
    pub(crate) fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.repository().join(prefix)];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }

    /// Every file of the local repository with its bytes: to prove that nothing was touched.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.files("").into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }
}

/// The variable with the URL of a database source.
fn url_variable(source: &str) -> String {
    format!("TEST_URL_{}", source.to_uppercase().replace('-', "_"))
}

/// The `repository:` section for a bucket.
pub(crate) fn s3_repository(bucket: &Bucket, endpoint: &str) -> String {
    format!(
        "repository:\n  url: s3://{}/prod\n  encryption: none\n  s3:\n    region: {}\n    endpoint: {endpoint}\n    \
         pathStyle: true\n    accessKeyId: {{env: TEST_ACCESS_KEY}}\n    secretAccessKey: {{env: TEST_SECRET_KEY}}",
        bucket.name, bucket.region
    )
}

/// Flips one bit in the middle of a file.
pub(crate) fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    make_writable(file);
    fs::write(file, bytes).unwrap();
}

/// A repository's files may be read-only; a test that damages them is not held up by it.
pub(crate) fn make_writable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Polls until `condition` gives a value.
///
/// # Panics
/// After `seconds`, saying what was waited for.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let seconds = seconds.max(120);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(std::time::Instant::now() < deadline, "{what}: not within {seconds} s");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
