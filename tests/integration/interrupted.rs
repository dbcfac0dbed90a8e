//! Ctrl-C and kill -9, in the upload and in the restore: what was finished is kept and named, the
//! rest is not there, and the next run goes on.

use std::{
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

use crate::support::{
    bed::{self, Cluster, require},
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// A proxy in front of an HTTP server that lets `limit` requests for packs through and then
/// forwards nothing more, on any connection, until it is opened.
struct Gate {
    endpoint: String,
    packs: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Gate {
    fn new(endpoint: &str, limit: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (packs, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&packs), Arc::clone(&open));
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, (packs, open)) = (server.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    forward(client, server, &packs, &open, limit).await;
                });
            }
        });
        Self { endpoint, packs, open, _runtime: runtime }
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, packs: &AtomicUsize, open: &AtomicBool, limit: usize) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                let head = &up[..read.min(300)];
                if head.starts_with(b"PUT ") && head.windows(6).any(|window| window == b"/data/") {
                    packs.fetch_add(1, Ordering::SeqCst);
                }
                while packs.load(Ordering::SeqCst) > limit && !open.load(Ordering::SeqCst) {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                if server.write_all(&up[..read]).await.is_err() { return }
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&down[..read]).await.is_err() { return }
            }
        }
    }
}

fn start(workshop: &Workshop, args: &[&str]) -> Child {
    workshop.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let done = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

fn ended(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

#[test]
fn after_kill_9_in_the_upload_there_is_no_backup_and_the_next_run_reuses_what_was_stored() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let namespace = source.create_namespace("killed");
    source.random_secrets(&namespace, 40);
    let gate = Gate::new(&bucket.endpoint, 2);
    let workshop = Workshop::on_s3(&source, &bucket, &gate.endpoint, &[&namespace]);

    let child = start(&workshop, &["backup", "--checkpoint-packs", "1"]);
    wait_for("a third pack", 60, || (gate.packs.load(Ordering::SeqCst) > 2).then_some(()));
    signal(&child, "-KILL");
    ended(child);
    gate.open.store(true, Ordering::SeqCst);
    assert!(workshop.backups().is_empty(), "a killed run left a backup");
    let sessions = workshop.json(0, &["repository", "sessions"]);
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions:#}");

    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    let reused = shown["totals"]["reusedBytes"].as_u64().unwrap();
    assert!(reused > 1 << 20, "nothing of the killed run was reused: {shown:#}");
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn ctrl_c_in_the_upload_ends_with_130_and_the_next_run_reuses_what_was_stored() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let namespace = source.create_namespace("stopped");
    source.random_secrets(&namespace, 40);
    let gate = Gate::new(&bucket.endpoint, 2);
    let workshop = Workshop::on_s3(&source, &bucket, &gate.endpoint, &[&namespace]);

    let child = start(&workshop, &["backup"]);
    wait_for("a third pack", 60, || (gate.packs.load(Ordering::SeqCst) > 2).then_some(()));
    signal(&child, "-INT");
    gate.open.store(true, Ordering::SeqCst);
    let stopped = ended(child);
    assert_eq!(stopped.code, 130, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("interrupted"), "{}", stopped.stderr);
    assert!(workshop.backups().is_empty(), "an interrupted run left a backup");

    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert!(shown["totals"]["reusedBytes"].as_u64().unwrap() > 1 << 20, "{shown:#}");
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn a_bucket_that_turns_read_only_in_the_upload_is_named_and_nothing_is_lost() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    require!(program "versitygw");
    let namespace = source.create_namespace("read-only");
    source.kubectl(&["-n", &namespace, "create", "configmap", "settings", "--from-literal=a=1"]);
    let (access, secret) = bucket.keys_for(&["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    let runtime = Runtime::new().unwrap();
    let may = |actions: &[&str]| {
        let statement = serde_json::json!({
            "Effect": "Allow", "Principal": {"AWS": [&access]}, "Action": actions,
            "Resource": [format!("arn:aws:s3:::{}", bucket.name), format!("arn:aws:s3:::{}/*", bucket.name)],
        });
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let put = bucket.client().put_bucket_policy().bucket(&bucket.name).policy(policy);
        runtime.block_on(put.send()).unwrap();
    };
    let gate = Gate::new(&bucket.endpoint, 3);
    let mut workshop = Workshop::on_s3(&source, &bucket, &gate.endpoint, &[&namespace]);
    workshop.set("TEST_ACCESS_KEY", &access);
    workshop.set("TEST_SECRET_KEY", &secret);
    // One pack; it is the base of the next one.
    workshop.done(&["backup"]);
    let before = workshop.backups();
    source.random_secrets(&namespace, 40);

    let child = start(&workshop, &["backup", "--checkpoint-packs", "1"]);
    wait_for("a third pack of the second run", 60, || (gate.packs.load(Ordering::SeqCst) > 3).then_some(()));
    may(&["s3:GetObject", "s3:ListBucket"]);
    gate.open.store(true, Ordering::SeqCst);
    let failed = ended(child);
    assert_eq!(failed.code, 1, "something was written, and there is no backup: {}", failed.stderr);
    assert!(failed.stderr.contains("the credentials do not allow it"), "{}", failed.stderr);
    assert!(failed.stderr.contains(&bucket.name), "the bucket is not named: {}", failed.stderr);

    // What was there is there; a run that cannot even begin says so, and ends with another code.
    assert_eq!(workshop.backups(), before, "a run that failed left a backup");
    workshop.done(&["verify", "--all", "--level", "content", "--no-evidence"]);
    let refused = workshop.ends(5, &["backup"]);
    assert!(refused.stderr.contains("the credentials do not allow it"), "{}", refused.stderr);

    // The twin: with its rights again, the next run ends well, and shares what the failed one has stored.
    may(&["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert!(shown["totals"]["reusedBytes"].as_u64().unwrap() > 1 << 20, "{shown:#}");
    workshop.done(&["verify", "--all", "--level", "content"]);
}

const MAPS: usize = 3000;

/// A backup of many small objects whose namespace is gone, and its name.
fn to_restore(source: &Cluster) -> (Workshop, String) {
    let namespace = source.create_namespace("many");
    let items: Vec<_> = (0..MAPS)
        .map(|n| {
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("map-{n:04}"), "namespace": namespace}, "data": {"n": n.to_string()}})
        })
        .collect();
    source.create(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    let workshop = Workshop::new(source, &[&namespace]);
    workshop.done(&["backup"]);
    source.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
    (workshop, namespace)
}

fn restored(source: &Cluster, namespace: &str) -> usize {
    let names = source.try_kubectl(&["get", "configmaps", "-n", namespace, "-o", "name"]);
    String::from_utf8_lossy(&names.stdout).lines().filter(|name| name.contains("/map-")).count()
}

fn interrupt_a_restore(name: &str) -> Option<(Cluster, Workshop, String, Ended)> {
    let source = bed::source(name)?;
    let (workshop, namespace) = to_restore(&source);
    let child = start(&workshop, &["restore", "latest", "--yes"]);
    wait_for("the first restored objects", 60, || (restored(&source, &namespace) > 50).then_some(()));
    signal(&child, if name.contains("kill") { "-KILL" } else { "-INT" });
    let ended = ended(child);
    let there = restored(&source, &namespace);
    assert!(there < MAPS, "the restore was over before it was interrupted: make it larger");
    Some((source, workshop, namespace, ended))
}

fn goes_on(source: &Cluster, workshop: &Workshop, namespace: &str) {
    let there = restored(source, namespace) as u64;
    let report = workshop.json(0, &["restore", "latest", "--yes"]);
    let execution = &report["sources"][0]["execution"];
    assert!(execution["same"].as_u64().unwrap() >= there, "{there} were there: {execution:#}");
    assert_eq!(restored(source, namespace), MAPS);
}

#[test]
fn ctrl_c_in_the_restore_ends_with_130_says_what_was_done_and_the_next_run_goes_on() {
    let Some((source, workshop, namespace, ended)) = interrupt_a_restore(bed::test_name!()) else { return };
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("created") && said.contains("not attempted"), "{said}");
    goes_on(&source, &workshop, &namespace);
}

#[test]
fn after_kill_9_in_the_restore_the_next_run_goes_on() {
    let Some((source, workshop, namespace, _)) = interrupt_a_restore(bed::test_name!()) else { return };
    goes_on(&source, &workshop, &namespace);
}
