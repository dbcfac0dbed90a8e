//! `drctl policy rbac`: a backup under exactly the roles that it prints is complete, and they allow nothing else.

use std::fs;

use serde_json::Value;

use crate::support::{
    bed::{self, Cluster, require},
    workshop::Workshop,
};

/// A ServiceAccount of the test's own, and a kubeconfig with its token.
pub(crate) fn account(source: &Cluster, workshop: &Workshop, namespace: &str) -> std::path::PathBuf {
    source.kubectl(&["-n", namespace, "create", "serviceaccount", "drctl"]);
    let token = source.kubectl(&["-n", namespace, "create", "token", "drctl"]);
    let admin: Value = serde_json::from_str(&source.kubectl(&["config", "view", "--raw", "-o", "json"])).unwrap();
    let cluster = &admin["clusters"][0]["cluster"];
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token.trim()}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let path = workshop.folder().join("account.kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// Whether the account may do this.
pub(crate) fn may(source: &Cluster, account: &str, words: &[&str]) -> bool {
    let who = format!("system:serviceaccount:{account}");
    let output = source.try_kubectl(
        &[
            &[
                "auth",
                "can-i",
                "--as",
                &who,
                "--as-group",
                "system:serviceaccounts",
                "--as-group",
                "system:authenticated",
            ],
            words,
        ]
        .concat(),
    );
    String::from_utf8_lossy(&output.stdout).trim() == "yes"
}

/// Applies what the program prints, labelled so that it goes with the test.
pub(crate) fn give(source: &Cluster, workshop: &Workshop, account: &str) {
    let name = source.name("backup");
    let printed = workshop.done(&["policy", "rbac", "--service-account", account, "--name", &name]);
    source.apply(&printed.stdout);
    let list: Value = serde_json::from_str(
        &workshop.done(&["policy", "rbac", "--service-account", account, "--name", &name, "-o", "json"]).stdout,
    )
    .unwrap();
    for object in
        list["items"].as_array().unwrap().iter().filter(|object| object["metadata"].get("namespace").is_none())
    {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        source.kubectl(&["label", kind, name, &source.label()]);
    }
}

#[track_caller]
fn nothing_but_list(source: &Cluster, account: &str, namespace: &str) {
    for words in [
        &["get", "secrets"][..],
        &["watch", "pods"],
        &["get", "pods", "--subresource=log"],
        &["get", "pods", "--subresource=exec"],
        &["create", "pods", "--subresource=exec"],
        &["create", "pods", "--subresource=portforward"],
        &["create", "configmaps"],
        &["patch", "deployments"],
        &["delete", "secrets"],
        &["create", "serviceaccounts", "--subresource=token"],
    ] {
        assert!(!may(source, account, &[words, &["-n", namespace]].concat()), "{account} may {words:?}");
    }
    assert!(may(source, account, &["list", "secrets", "-n", namespace]), "the question itself works");
}

#[test]
fn a_backup_of_namespaces_is_complete_with_the_least_role_and_no_other_namespace_can_be_read() {
    let source = require!(bed::source);
    let (shop, other) = (source.create_namespace("shop"), source.create_namespace("other"));
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &shop));
    let mut workshop = Workshop::new(&source, &[&shop]);
    let name = format!("{shop}/drctl");
    let kubeconfig = account(&source, &workshop, &shop);
    let id = format!("{shop}:drctl");

    // The twin: without any right there is no backup.
    workshop.use_kubeconfig(&kubeconfig);
    workshop.ends(5, &["backup"]);
    give(&source, &workshop, &name);
    let report = workshop.json(0, &["backup"]);
    assert_eq!(report["backup"]["state"], "complete", "{report:#}");
    assert!(report["backup"]["totals"]["objects"].as_u64().unwrap() > 15, "{report:#}");
    nothing_but_list(&source, &id, &shop);
    for kind in ["secrets", "configmaps", "pods"] {
        assert!(!may(&source, &id, &["list", kind, "-n", &other]), "{kind} of another namespace");
        assert!(!may(&source, &id, &["list", kind, "-A"]));
    }
    // What is really asked is really refused, and not only said to be.
    let exec = std::process::Command::new("kubectl")
        .args(["--kubeconfig", kubeconfig.to_str().unwrap(), "-n", &shop, "get", "secret", "database"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&exec.stderr).contains("forbidden"), "{exec:?}");
}

#[test]
fn a_backup_of_everything_is_complete_with_the_least_role() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &shop));
    let mut workshop = Workshop::new(&source, &["*"]);
    let kubeconfig = account(&source, &workshop, &shop);
    give(&source, &workshop, &format!("{shop}/drctl"));
    workshop.use_kubeconfig(&kubeconfig);
    // Other tests make and delete namespaces meanwhile; what may not be listed would be named.
    let ended = workshop.run(&["backup", "-o", "json"]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert!(!report["backup"]["missing"].to_string().contains("forbidden"), "{report:#}");
    assert!([0, 4].contains(&ended.code), "{report:#}");
    nothing_but_list(&source, &format!("{shop}:drctl"), &shop);
}

#[test]
fn a_port_forward_is_allowed_only_where_the_policy_names_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let text = "apiVersion: drctl/v1\nkind: Policy\nmetadata: {name: orders}\nrepository: {url: 'file:///r', encryption: none}\n\
        sources:\n  services: {kubernetes: {namespaces: [orders]}}\n\
        \x20 db: {postgres: {url: {env: DB}, via: {kubernetes: {namespace: data, service: postgres, port: 5432}}}}\n\
        schedules: {daily: {cron: '0 2 * * *', sources: [services, db]}}\n";
    fs::write(&policy, text).unwrap();
    let printed = crate::support::program::run(&[
        "policy",
        "rbac",
        "-f",
        policy.to_str().unwrap(),
        "--service-account",
        "ops/drctl",
    ]);
    assert_eq!(printed.code, 0, "{printed:?}");
    insta::assert_snapshot!("rbac", printed.stdout);
    let wrong =
        crate::support::program::run(&["policy", "rbac", "-f", policy.to_str().unwrap(), "--service-account", "drctl"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
