//! A real API server whose Priority and Fairness gives a client little: it answers 429, and nothing fails.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use drctl::sources::kubernetes::{Call, Cluster, ConnectOptions, FlowReport, Patience};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    workshop::Workshop,
};

/// A user of the test's own, who may do anything and whose requests have a priority level of their own.
struct Narrow<'c> {
    cluster: &'c bed::Cluster,
    name: String,
    folder: tempfile::TempDir,
}

impl<'c> Narrow<'c> {
    /// The user's requests have one share of the server's seats, and what finds no seat is refused at once.
    fn new(cluster: &'c bed::Cluster) -> Self {
        let name = cluster.name("narrow");
        let namespace = cluster.create_namespace("account");
        let narrow = Self { cluster, name: name.clone(), folder: tempfile::tempdir().unwrap() };
        let account = json!({"kind": "ServiceAccount", "name": "client", "namespace": namespace});
        let labels = json!({bed::Cluster::LABEL: cluster.prefix()});
        let items = json!([
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "client", "namespace": namespace}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
             "metadata": {"name": name, "labels": labels}, "subjects": [account],
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}},
            {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
             "metadata": {"name": name, "labels": labels},
             "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "lendablePercent": 0,
                      "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}},
            {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
             "metadata": {"name": name, "labels": labels},
             "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": name}, "rules": [{
                 "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "client", "namespace": namespace}}],
                 "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                                    "namespaces": ["*"]}]}]}},
        ]);
        cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
        let token = cluster.kubectl(&["-n", &namespace, "create", "token", "client", "--duration=1h"]);
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let with_token = |line: &str| match line.split_once("token: ") {
            Some((before, _)) => format!("{before}token: {}\n", token.trim()),
            None => format!("{line}\n"),
        };
        std::fs::write(narrow.kubeconfig(), text.lines().map(with_token).collect::<String>()).unwrap();
        narrow
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on the user's requests are treated as everybody else's.
    fn widen(&self) {
        self.cluster.kubectl(&["delete", "flowschema,prioritylevelconfiguration", &self.name, "--ignore-not-found"]);
    }
}

impl Drop for Narrow<'_> {
    fn drop(&mut self) {
        self.cluster.try_kubectl(&[
            "delete",
            "flowschema,prioritylevelconfiguration",
            &self.name,
            "--ignore-not-found",
        ]);
    }
}

async fn connect(kubeconfig: &Path) -> Cluster {
    Cluster::connect(&ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), context: None }).await.unwrap()
}

/// Sends a read from 64 places at once; all of them are answered in the end.
async fn round(cluster: &Cluster, path: &str) {
    let path: Arc<str> = path.into();
    let reads = (0..64).map(|_| {
        let (cluster, path) = (cluster.clone(), Arc::clone(&path));
        tokio::spawn(async move {
            let call = Call::get("read", &path, 4 << 20);
            let reply = cluster.read(&call, Patience::default()).await.expect("an answer");
            assert!(reply.is_success(), "{}", reply.code);
        })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap();
    }
}

/// Round after round until `enough` of what the client knows.
async fn press(cluster: &Cluster, path: &str, seconds: u64, enough: impl Fn(FlowReport) -> bool) -> FlowReport {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !enough(cluster.flow()) {
        assert!(Instant::now() < deadline, "{:?}", cluster.flow());
        round(cluster, path).await;
    }
    cluster.flow()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_in_flight_fall_while_the_server_is_busy_and_rise_again_when_it_is_not() {
    let cluster = require!(bed::source);
    let narrow = Narrow::new(&cluster);
    let client = connect(&narrow.kubeconfig()).await;
    let path = "/api/v1/namespaces?limit=50";
    let busy = press(&client, path, 60, |flow| flow.lowest <= 16).await;
    assert!(busy.refused > 0 && busy.limit < 64, "{busy:?}");
    narrow.widen();
    let calm = press(&client, path, 60, |flow| flow.limit >= 40).await;
    assert!(calm.lowest <= 16, "{calm:?}");

    // Without the fault nothing is refused.
    let twin = connect(cluster.kubeconfig()).await;
    round(&twin, path).await;
    assert_eq!(twin.flow(), FlowReport { limit: 64, lowest: 64, refused: 0 });
}

#[test]
fn a_backup_and_a_restore_lose_nothing_to_a_busy_server() {
    let cluster = require!(bed::source);
    let narrow = Narrow::new(&cluster);
    let namespace = cluster.create_namespace("shop");
    let objects = |count: usize| {
        let config = |n: usize| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n:03}"), "namespace": namespace},
                   "data": {"pad": "x".repeat(2000)}})
        };
        json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(config).collect::<Vec<_>>()}).to_string()
    };
    cluster.create(&objects(120));
    let mut workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.use_kubeconfig(&narrow.kubeconfig());
    let report = workshop.json(0, &["backup"]);
    assert_eq!(report["backup"]["state"], "complete", "{report:#}");
    let restore = |workshop: &Workshop| -> (Value, f64) {
        cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
        let report = workshop.json(0, &["restore", "--yes"]);
        let time = |field: &str| -> jiff::Timestamp {
            report["sources"][0]["execution"][field].as_str().unwrap().parse().unwrap()
        };
        let took = time("lastRequest").duration_since(time("firstRequest")).as_secs_f64();
        (report, took)
    };
    let (report, slow) = restore(&workshop);
    let execution = &report["sources"][0]["execution"];
    assert_eq!(
        (&execution["failed"]["count"], &report["complete"], &report["equal"]),
        (&json!(0), &json!(true), &json!(true))
    );
    assert!(execution["busy"].as_u64().unwrap() > 0, "the server was never busy: {execution:#}");

    narrow.widen();
    let (report, quick) = restore(&workshop);
    assert_eq!(report["sources"][0]["execution"]["busy"], 0);
    assert!(quick < slow, "{quick} s without the limit, {slow} s with it");
}
