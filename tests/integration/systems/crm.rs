//! The CRM, built from its owner's document: destroyed with its cluster, and restored into a new one.
//!
//! Its Pods run on a real Node. No image of MongoDB can be had there: the Pod of the StatefulSet does nothing, and the way
//! into it leads to the bed's MongoDB on the same machine, whose database the test drops as the disk would go.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::adopt;
use crate::support::{
    bed::require,
    mongo_proxy::{self, MongoProxy},
    mongodb::Database,
    node::{self, Node},
    program::Ended,
    workshop::{Workshop, wait_for},
};

const NAMESPACE: &str = "crm";

/// A cluster with what its owner installs before the CRM: storage, and a disk on the Node.
fn prepare(node: &Node, disk: &Path) {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {
            "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "gp2",
            "persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": disk},
        },
    });
    node.apply(&volume.to_string());
}

/// The CRM as its owner applies it, and what controllers make of it: the Secret out of the SealedSecret, and the address of
/// the load balancer.
fn deploy(node: &Node, port: u16) {
    node.apply(include_str!("../../data/sealed-secrets.yaml"));
    node.kubectl(&["wait", "crd/sealedsecrets.bitnami.com", "--for=condition=Established", "--timeout=180s"]);
    node.kubectl(&["create", "namespace", NAMESPACE]);
    let crm = include_str!("../../data/crm.yaml").replace("NAMESPACE", NAMESPACE).replace("IMAGE", node.image());
    node.apply(&crm.replace("PORT", &port.to_string()));
    let sealed = node.get("sealedsecret", NAMESPACE, "mongodb").unwrap();
    let owner = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "mongodb", "controller": true,
        "uid": sealed["metadata"]["uid"],
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "mongodb", "namespace": NAMESPACE, "ownerReferences": [owner]},
        "stringData": {"uri": "mongodb://mongodb:27017/crm_db"},
    });
    node.apply(&secret.to_string());
    address(node, "old.elb.example.com");
    node.wait_until_ready(NAMESPACE, "statefulset/mongodb");
    node.wait_until_ready(NAMESPACE, "deployment/crm-app");
}

/// What the cloud's controller does once the Service is there.
fn address(node: &Node, name: &str) {
    let patch = json!({"status": {"loadBalancer": {"ingress": [{"hostname": name}]}}}).to_string();
    node.kubectl(&["patch", "service", "crm-app", "-n", NAMESPACE, "--subresource=status", "-p", &patch]);
}

/// Runs `drctl` while the cloud's controller gives the load balancer an address.
fn with_load_balancer(node: &Node, run: impl FnOnce() -> Ended) -> Ended {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if node.get("service", NAMESPACE, "crm-app").is_some() {
                    return address(node, "new.elb.example.com");
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        let ended = run();
        is_over.store(true, Ordering::Relaxed);
        ended
    })
}

fn uid(node: &Node) -> String {
    node.get("namespace", "default", "kube-system").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// What an application of customers has: indexes, a view, a log with a limit, and documents with fields of every kind.
fn fill(database: &Database) {
    let contacts: Vec<String> = (1..=500)
        .map(|n| {
            format!(
                r#"{{"_id": {{"$oid": "{n:024x}"}}, "name": "Contact {n}", "email": "c{n}@example.com",
                "worth": {{"$numberDecimal": "{n}.50"}}, "seen": {{"$date": "2026-11-20T12:00:00Z"}}, "tags": ["a", null, {n}]}}"#
            )
        })
        .collect();
    for command in [
        r#"{"create": "activity", "capped": true, "size": 1048576}"#.to_owned(),
        format!(r#"{{"insert": "contacts", "documents": [{}]}}"#, contacts.join(", ")),
        r#"{"insert": "activity", "documents": [{"_id": 1, "what": "call"}, {"_id": 2, "what": "mail"}]}"#.to_owned(),
        r#"{"createIndexes": "contacts", "indexes": [{"key": {"email": 1}, "name": "email_1", "unique": true},
            {"key": {"seen": 1}, "name": "seen_1", "expireAfterSeconds": 315360000}]}"#
            .to_owned(),
        r#"{"create": "worthy", "viewOn": "contacts", "pipeline": [{"$match": {"tags": "a"}}]}"#.to_owned(),
    ] {
        database.run(&command);
    }
}

/// What is in each collection, in any order.
fn documents_of(database: &Database) -> Vec<(String, u64, u64, String)> {
    database.contents().into_iter().map(|it| (it.name, it.count, it.bytes, it.unordered)).collect()
}

/// Collections with their options, and the indexes of the contacts.
fn definitions(database: &Database) -> Value {
    let listed = |command: &str, field: &str| {
        let batch = database.run(command)["cursor"]["firstBatch"].clone();
        let mut entries: Vec<Value> = batch.as_array().unwrap().clone();
        for entry in &mut entries {
            entry.as_object_mut().unwrap().remove(field);
        }
        entries.sort_by_key(|entry| entry["name"].to_string());
        entries
    };
    // A collection that is made anew has another uuid.
    json!([listed(r#"{"listCollections": 1}"#, "info"), listed(r#"{"listIndexes": "contacts"}"#, "ns")])
}

/// The application's address of the database: the name of its Service, and nothing that only works from outside.
fn address_in_cluster(proxy: &MongoProxy, database: &Database) -> String {
    let url = proxy.url(database).replace(proxy.address(), "mongodb:27017");
    url.replace("directConnection=true&", "").replace("?directConnection=true", "")
}

/// Of what a user sees, what must be the same after a restore.
fn seen(node: &Node) -> Value {
    let field = |kind: &str, name: &str, pointer: &str| {
        let object = node.get(kind, NAMESPACE, name).unwrap_or_else(|| panic!("no {kind} {name}"));
        object.pointer(pointer).cloned().unwrap_or(Value::Null)
    };
    json!({
        "replicas": field("deployment", "crm-app", "/status/readyReplicas"),
        "template": field("deployment", "crm-app", "/spec/template"),
        "database": field("statefulset", "mongodb", "/spec/template"),
        "claim": field("persistentvolumeclaim", "data-mongodb-0", "/spec/resources"),
        "headless": field("service", "mongodb", "/spec/clusterIP"),
        "balancer": field("service", "crm-app", "/spec/type"),
        "settings": field("configmap", "crm-app", "/data"),
        "uri": field("secret", "mongodb", "/data"),
        "sealed": field("sealedsecret", "mongodb", "/spec"),
    })
}

#[test]
fn the_crm_comes_back_in_a_cluster_made_anew_which_is_then_adopted() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let first = require!(node::own);
    let disks = tempfile::tempdir().unwrap();
    let (_, port) = proxy.address().split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let database = server.behind(proxy.address()).database("crm_db");
    fill(&database);
    let (documents, definitions_before) = (documents_of(&database), definitions(&database));
    assert_eq!(documents.len(), 2, "{documents:?}");
    prepare(&first, &disks.path().join("first"));
    deploy(&first, port);
    let (before, old_uid) = (seen(&first), uid(&first));
    assert_eq!((&before["replicas"], &before["headless"]), (&json!(2), &json!("None")), "{before:#}");
    let mut workshop = Workshop::bare(&first);
    workshop.set("MONGODB_URI", &address_in_cluster(&proxy, &database));
    adopt(&workshop, "crm.yaml", &[("port: 27017", &format!("port: {port}"))]);
    workshop.done(&["backup"]);
    assert!(proxy.seen().iter().any(|seen| seen.at_cluster_time.is_some()), "one moment for all collections");
    drop(first); // `terraform destroy`
    database.run(r#"{"dropDatabase": 1}"#);

    let second = require!(node::own);
    assert_ne!(uid(&second), old_uid);
    workshop.use_kubeconfig(second.kubeconfig());
    prepare(&second, &disks.path().join("second"));
    let refused = workshop.ends(2, &["restore", "latest", "--yes"]);
    assert!(refused.stderr.contains("--cluster"), "{}", refused.stderr);
    let named = ["restore", "latest", "--yes", "--cluster", &uid(&second)];
    // What cannot be done is said before anything is created, although the database's server is not there yet.
    for (options, words) in [
        (["--target-database", "admin"].as_slice(), "belongs to the server itself"),
        (&["--collection", "nosuch"], "--collection nosuch: the backup has no such collection"),
        (&["--drop", "nosuch"], "--drop nosuch: no collection of this name is restored"),
        (&["--users"], "--users: the backup has no users"),
    ] {
        for way in [named.as_slice(), &["restore", "latest", "--dry-run"]] {
            let ended = workshop.ends(2, &[way, options].concat());
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
        assert!(second.get("statefulset", NAMESPACE, "mongodb").is_none(), "something was created");
    }
    let loading = proxy.pause("insert", 1);
    let mut command = workshop.command(&named);
    let restored = thread::scope(|scope| {
        let run = scope.spawn(|| with_load_balancer(&second, || command.output().unwrap().into()));
        loading.wait_until_reached();
        second.wait_until_ready(NAMESPACE, "statefulset/mongodb");
        assert!(second.get("deployment", NAMESPACE, "crm-app").is_none(), "the application came before its data");
        loading.release();
        run.join().unwrap()
    });
    assert_eq!(restored.code, 0, "{restored:?}");
    // Nobody has seen the plan of a database that was planned in the middle of it.
    assert!(restored.stderr.contains("warning: source crm-db: documents of collection"), "{}", restored.stderr);
    assert_eq!((documents_of(&database), definitions(&database)), (documents, definitions_before));
    wait_for("both Pods of the application", 60, || (seen(&second)["replicas"] == 2).then_some(()));
    assert_eq!(seen(&second), before);
    for address in ["old.elb.example.com", "new.elb.example.com"] {
        assert!(restored.stdout.contains(address), "DNS has to follow: {}", restored.stdout);
    }

    // The key of the sealed-secrets controller is back, before what it opens; the Secret belongs to the new SealedSecret.
    let revision = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    let key = second.get("secret", "kube-system", "sealed-secrets-keyabc12").expect("the key");
    let sealed = second.get("sealedsecret", NAMESPACE, "mongodb").unwrap();
    assert!(revision(&key) < revision(&sealed), "the key came after what it opens");
    let secret = second.get("secret", NAMESPACE, "mongodb").unwrap();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], sealed["metadata"]["uid"]);

    let unknown = workshop.ends(5, &["backup"]);
    assert!(unknown.stderr.contains("--adopt-cluster"), "{}", unknown.stderr);
    workshop.done(&["backup", "--adopt-cluster"]);
    workshop.done(&["backup"]);
}
