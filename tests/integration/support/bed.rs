//! Real servers for a test, each with a place of its own on them.
//!
//! ```ignore
//! #[tokio::test]
//! async fn a_backup_holds_every_namespace() {
//!     let source = require!(bed::source);
//!     let bucket = require!(bed::bucket);
//!     let namespace = source.create_namespace("shop");
//!     source.apply(&format!("..."));
//! }
//! ```
//!
//! The servers are those of `testbed/bed`, found by its variables. Where one is not there, the test returns and is
//! recorded as NOT RUN in the file `DRCTL_TEST_LOG`; `testbed/check-not-run` reads that file.
//! `DRCTL_TEST_KEEP=1` leaves namespaces and buckets for a look at them.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::env;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

/// The name of the test that it is used in, as `cargo test` shows it: `module::function`.
macro_rules! test_name {
    () => {{
        fn here() {}
        $crate::support::bed::name_of_parent(here)
    }};
}

/// What the test needs, or the end of the test: it is recorded as NOT RUN.
///
/// Takes a function `fn(test: &str) -> Option<T>`: `bed::source`, `bed::target`, `bed::bucket`; or
/// `program "b3sum"` for a program on PATH.
macro_rules! require {
    (program $name:expr) => {
        if !$crate::support::bed::has_program($crate::support::bed::test_name!(), $name) {
            return;
        }
    };
    ($component:path) => {
        match $component($crate::support::bed::test_name!()) {
            Some(component) => component,
            None => return,
        }
    };
}

pub(crate) use {require, test_name};

/// `require!` calls this; tests do not need to.
pub(crate) fn name_of_parent<F>(_: F) -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.strip_suffix("::here").unwrap_or(path);
    let path = path.trim_end_matches("::{{closure}}"); // the body of an async test
    path.split_once("::").map_or(path, |(_crate, rest)| rest)
}

/// The cluster that is backed up.
pub(crate) fn source(test: &str) -> Option<Cluster> {
    cluster("SOURCE", test)
}

/// A second cluster, to restore into.
pub(crate) fn target(test: &str) -> Option<Cluster> {
    cluster("TARGET", test)
}

fn cluster(which: &str, test: &str) -> Option<Cluster> {
    cluster_of(which, test, |variable| component(test, variable))
}

/// A cluster that these variables tell of, which need not be those of this process.
pub(super) fn cluster_of(which: &str, test: &str, variable: impl Fn(&str) -> Option<String>) -> Option<Cluster> {
    let cluster = Cluster {
        kubeconfig: variable(&format!("DRCTL_BED_{which}_KUBECONFIG"))?.into(),
        user_kubeconfig: variable(&format!("DRCTL_BED_{which}_USER_KUBECONFIG"))?.into(),
        etcd: variable(&format!("DRCTL_BED_{which}_ETCD"))?,
        user_name: variable("DRCTL_BED_USER_NAME")?,
        prefix: unique_name(test),
    };
    ran(test);
    Some(cluster)
}

/// A new, empty bucket.
pub(crate) fn bucket(test: &str) -> Option<Bucket> {
    new_bucket(test, false)
}

/// A new, empty bucket with object lock, and so with versions.
pub(crate) fn locked_bucket(test: &str) -> Option<Bucket> {
    new_bucket(test, true)
}

fn new_bucket(test: &str, lock: bool) -> Option<Bucket> {
    let bucket = Bucket {
        endpoint: component(test, "DRCTL_BED_S3_ENDPOINT")?,
        region: component(test, "DRCTL_BED_S3_REGION")?,
        access_key: component(test, "DRCTL_BED_S3_ACCESS_KEY")?,
        secret_key: component(test, "DRCTL_BED_S3_SECRET_KEY")?,
        name: unique_name(test),
    };
    ran(test);
    let (client, name) = (bucket.client(), bucket.name.clone());
    let create = client.create_bucket().bucket(name).object_lock_enabled_for_bucket(lock);
    block_on(async move { create.send().await.map(drop) }).expect("the bed's S3 server makes a bucket");
    Some(bucket)
}

/// Helm 3, as a path.
pub(crate) fn helm(test: &str) -> Option<String> {
    let program = component(test, "DRCTL_BED_HELM")?;
    ran(test);
    Some(program)
}

/// True if the program is on PATH; else the test is recorded as NOT RUN.
pub(crate) fn has_program(test: &str, name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if found {
        ran(test);
    } else {
        not_run(test, &format!("no program {name} on PATH"));
    }
    found
}

/// One of the bed's clusters, and this test's share of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    user_kubeconfig: PathBuf,
    etcd: String,
    user_name: String,
    prefix: String,
}

impl Cluster {
    /// The label of every object of this test that lies outside its namespaces; its value is [`Cluster::prefix`].
    pub(crate) const LABEL: &'static str = "drctl-test";

    /// The admin's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubeconfig of [`Cluster::user_name`].
    pub(crate) fn user_kubeconfig(&self) -> &Path {
        &self.user_kubeconfig
    }

    /// A user without any rights, for tests that give some.
    pub(crate) fn user_name(&self) -> &str {
        &self.user_name
    }

    /// What the names of this test's namespaces and cluster-scoped objects begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name that no other test uses.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    /// Makes a namespace for this test and returns its name.
    pub(crate) fn create_namespace(&self, suffix: &str) -> String {
        let name = self.name(suffix);
        self.kubectl(&["create", "namespace", &name]);
        self.kubectl(&["label", "namespace", &name, &self.label()]);
        name
    }

    /// Runs kubectl as the admin; returns what it printed.
    ///
    /// # Panics
    /// If kubectl fails.
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        text_of(words, &self.try_kubectl(words))
    }

    /// Runs kubectl as the admin, whatever comes of it.
    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().expect("kubectl runs")
    }

    /// `kubectl apply` of one or more documents of YAML or JSON.
    ///
    /// # Panics
    /// If kubectl fails.
    pub(crate) fn apply(&self, documents: &str) -> String {
        self.feed(&["apply", "-f", "-"], documents)
    }

    fn feed(&self, words: &[&str], documents: &str) -> String {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        child.stdin.take().unwrap().write_all(documents.as_bytes()).expect("kubectl reads its input");
        text_of(words, &child.wait_with_output().expect("kubectl ends"))
    }

    /// `kubectl create` of one or more documents of YAML or JSON: as apply, without the annotation that doubles
    /// the object's size.
    ///
    /// # Panics
    /// If kubectl fails.
    pub(crate) fn create(&self, documents: &str) -> String {
        self.feed(&["create", "-f", "-"], documents)
    }

    /// So many Secrets of 900 KiB whose content does not compress, so that a backup of them fills several packs.
    ///
    /// # Panics
    /// If kubectl fails.
    pub(crate) fn random_secrets(&self, namespace: &str, count: usize) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut letters = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize])
        });
        let objects: Vec<_> = (0..count)
            .map(|n| {
                let value: String = letters.by_ref().take(900 * 1024).collect();
                serde_json::json!({"apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": format!("random-{n:03}"), "namespace": namespace}, "data": {"value": value}})
            })
            .collect();
        self.create(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    }

    /// One object as JSON; None if there is none.
    ///
    /// # Panics
    /// If the cluster cannot be asked.
    pub(crate) fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<serde_json::Value> {
        let words = ["get", kind, "-n", namespace, name, "-o", "json", "--ignore-not-found"];
        let text = self.kubectl(&words);
        (!text.is_empty()).then(|| serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    /// Makes etcd forget every revision but the newest. On [`target`], the next page of a list that began before then is
    /// refused with 410 Expired; [`source`] serves it from the apiserver's memory, as Kubernetes does since 1.34.
    ///
    /// # Panics
    /// If etcd refuses.
    pub(crate) fn compact(&self) {
        // An object that is written now has the newest revision, and etcd refuses to forget later ones.
        let marker = self.name("compaction");
        self.kubectl(&["create", "configmap", &marker, "-n", "default"]);
        let written = self.get("configmap", "default", &marker).expect("it was just created");
        self.kubectl(&["delete", "configmap", &marker, "-n", "default"]);
        let revision = written["metadata"]["resourceVersion"].as_str().unwrap();
        let answer = post(&self.etcd, "/v3/kv/compaction", &format!(r#"{{"revision":{revision},"physical":true}}"#));
        assert!(answer.starts_with("HTTP/1.1 200 "), "etcd said: {answer}");
    }

    /// The label and value that mark this test's cluster-scoped objects: they are removed with it.
    pub(crate) fn label(&self) -> String {
        format!("{}={}", Self::LABEL, self.prefix)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(words);
        command
    }

    /// Namespaces count by their name: one that a restore made has no label of ours.
    fn own_namespaces(&self) -> Vec<String> {
        let all = self.try_kubectl(&["get", "namespaces", "-o", "name"]);
        String::from_utf8_lossy(&all.stdout)
            .lines()
            .filter(|name| name.starts_with(&format!("namespace/{}-", self.prefix)))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if keeps() {
            return;
        }
        let namespaces = self.own_namespaces();
        if !namespaces.is_empty() {
            let mut words = vec!["delete", "--wait=false"];
            words.extend(namespaces.iter().map(String::as_str));
            self.try_kubectl(&words);
        }
        let cluster_scoped = "customresourcedefinitions,clusterroles,clusterrolebindings,persistentvolumes";
        self.try_kubectl(&["delete", "--wait=false", cluster_scoped, "-l", &self.label()]);
    }
}

/// A bucket of the bed's S3 server, for one test; emptied and removed at the end.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// `http://127.0.0.1:PORT`; the bucket's name goes into the path.
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) name: String,
}

impl Bucket {
    /// Access and secret key of a new user who may do just these actions in this bucket, such as `s3:GetObject`.
    /// A second call takes the rights of the first one's user away.
    ///
    /// # Panics
    /// If the bed's S3 server refuses; the test that calls this has asked for that server.
    pub(crate) fn keys_for(&self, actions: &[&str]) -> (String, String) {
        let (access_key, secret_key) = (unique_name("user"), unique_name("secret"));
        let output = Command::new("versitygw")
            .args(["admin", "--access", &self.access_key, "--secret", &self.secret_key])
            .args(["--region", &self.region, "--endpoint-url", &self.endpoint])
            .args(["create-user", "--role", "user", "--access", &access_key, "--secret", &secret_key])
            .output()
            .expect("versitygw runs");
        assert!(output.status.success(), "no user was made: {}", String::from_utf8_lossy(&output.stderr));
        let statement = serde_json::json!({
            "Effect": "Allow",
            "Principal": { "AWS": [&access_key] },
            "Action": actions,
            "Resource": [format!("arn:aws:s3:::{}", self.name), format!("arn:aws:s3:::{}/*", self.name)],
        });
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let (client, name) = (self.client(), self.name.clone());
        block_on(async move { client.put_bucket_policy().bucket(name).policy(policy).send().await.map(drop) })
            .expect("the bed's S3 server takes a policy");
        (access_key, secret_key)
    }

    /// A client of its own, for a look behind drctl's back.
    pub(crate) fn client(&self) -> Client {
        self.client_with(&self.access_key, &self.secret_key)
    }

    /// A client with other keys, such as those of [`Bucket::keys_for`].
    pub(crate) fn client_with(&self, access_key: &str, secret_key: &str) -> Client {
        let keys = Credentials::new(access_key, secret_key, None, None, "test bed");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .endpoint_url(&self.endpoint)
            .credentials_provider(keys)
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if keeps() {
            return;
        }
        let (client, name) = (self.client(), self.name.clone());
        // What cannot be removed (a locked object) goes with the bed.
        let _ = block_on(async move { remove(&client, &name).await });
    }
}

async fn remove(client: &Client, bucket: &str) -> Result<(), aws_sdk_s3::Error> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // A bucket in which a test still writes stays: deleting it says so.
    while std::time::Instant::now() < deadline {
        let page = client.list_objects_v2().bucket(bucket).send().await?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        let objects: Vec<_> = keys.filter_map(|key| ObjectIdentifier::builder().key(key).build().ok()).collect();
        if objects.is_empty() {
            break;
        }
        let objects = Delete::builder().set_objects(Some(objects)).quiet(true).build()?;
        let answer = client.delete_objects().bucket(bucket).delete(objects).send().await?;
        if !answer.errors().is_empty() {
            break;
        }
    }
    client.delete_bucket().bucket(bucket).send().await?;
    Ok(())
}

/// A variable of the bed; without it the test is recorded as NOT RUN.
pub(super) fn component(test: &str, variable: &str) -> Option<String> {
    let value = env::var(variable).ok();
    if value.is_none() {
        not_run(test, &format!("{variable} is not set: run it by testbed/bed run --fresh -- COMMAND"));
    }
    value
}

/// Records that a test ran. One that is also recorded as NOT RUN counts as that.
pub(super) fn ran(test: &str) {
    record(&format!("RAN\t{test}\n"));
}

/// Records that a test did not run. The caller has to return.
pub(crate) fn not_run(test: &str, reason: &str) {
    eprintln!("NOT RUN {test}: {reason}");
    record(&format!("NOT RUN\t{test}\t{reason}\n"));
}

fn record(line: &str) {
    let Some(log) = env::var_os("DRCTL_TEST_LOG") else { return };
    let mut file = OpenOptions::new().append(true).create(true).open(log).expect("DRCTL_TEST_LOG can be written");
    file.write_all(line.as_bytes()).expect("DRCTL_TEST_LOG can be written"); // one write: tests run side by side
}

/// A DNS label that no other test has, here or in another run: `t`, six random digits, and the test's own name.
pub(super) fn unique_name(test: &str) -> String {
    let random = RandomState::new().build_hasher().finish() & 0xff_ffff;
    let function = test.rsplit("::").next().unwrap_or(test).replace('_', "-");
    // A restore cuts long names of databases, and the prefix is to stay whole.
    let short: String = function.chars().take(20).collect();
    format!("t{random:06x}-{}", short.trim_end_matches('-'))
}

pub(super) fn keeps() -> bool {
    env::var("DRCTL_TEST_KEEP").is_ok_and(|value| value == "1")
}

/// Runs a future from anywhere, also from inside an async test and from `drop`.
fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    std::thread::spawn(run).join().unwrap()
}

/// A POST without a client library; returns the answer as it came.
fn post(server: &str, path: &str, body: &str) -> String {
    let address = server.strip_prefix("http://").expect("a server without TLS");
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let mut connection = TcpStream::connect(address).expect("the server listens");
    connection.write_all((head + body).as_bytes()).expect("the server reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the server answers");
    answer
}

fn text_of(words: &[&str], output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {} failed: {errors}", words.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
