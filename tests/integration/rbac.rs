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
    give_with(source, workshop, account, &[]);
}

/// As [`give`], with more options.
fn give_with(source: &Cluster, workshop: &Workshop, account: &str, options: &[&str]) {
    let name = source.name("backup");
    let words = [&["policy", "rbac", "--service-account", account, "--name", &name], options].concat();
    source.apply(&workshop.done(&words).stdout);
    let list: Value = serde_json::from_str(&workshop.done(&[&words[..], &["-o", "json"]].concat()).stdout).unwrap();
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

/// Writes the policy anew, with what the source says besides its namespaces.
fn narrow(workshop: &Workshop, namespaces: &[&str], more: &str) {
    workshop.write_policy(&workshop.local_repository(), namespaces);
    let names = serde_json::to_string(namespaces).unwrap();
    let text = fs::read_to_string(workshop.policy()).unwrap();
    let text = text.replace(&format!("namespaces: {names}"), &format!("namespaces: {names}, {more}"));
    fs::write(workshop.policy(), text).unwrap();
}

#[test]
fn a_policy_that_names_its_kinds_needs_these_alone_and_a_backup_names_the_one_that_is_taken_away() {
    let source = require!(bed::source);
    let (shop, other) = (source.create_namespace("shop"), source.create_namespace("other"));
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &shop));
    source.kubectl(&["-n", &other, "create", "configmap", "settings", "--from-literal=a=1"]);
    source.kubectl(&["-n", &other, "create", "secret", "generic", "key", "--from-literal=a=1"]);
    let mut workshop = Workshop::new(&source, &[&shop]);
    let rules = format!(
        "exclude: [\"*\"], include: [configmaps, deployments.apps, storageclasses.storage.k8s.io, {{kinds: [secrets], \
         namespaces: [{shop}]}}]"
    );
    narrow(&workshop, &[&shop, &other], &rules);
    let account_name = format!("{shop}/drctl");
    let kubeconfig = account(&source, &workshop, &shop);
    let id = format!("{shop}:drctl");
    give(&source, &workshop, &account_name);
    for kind in ["pods", "services", "statefulsets.apps", "serviceaccounts"] {
        assert!(!may(&source, &id, &["list", kind, "-n", &shop]), "{kind}");
    }
    for kind in ["clusterroles.rbac.authorization.k8s.io", "persistentvolumes", "secrets"] {
        assert!(!may(&source, &id, &["list", kind, "-A"]), "{kind}");
    }
    assert!(!may(&source, &id, &["list", "secrets", "-n", &other]), "only those of {shop} are in the policy");
    assert!(may(&source, &id, &["list", "storageclasses.storage.k8s.io"]));
    nothing_but_list(&source, &id, &shop);

    workshop.use_kubeconfig(&kubeconfig);
    workshop.ends(0, &["doctor"]);
    let report = workshop.json(0, &["backup"]);
    assert_eq!(report["backup"]["state"], "complete", "{report:#}");
    let held = workshop.done(&["show", "latest", "--objects"]).stdout;
    for (kind, namespace, is_held) in [
        ("configmaps", &other, true),
        ("deployments.apps", &shop, true),
        ("secrets", &shop, true),
        ("secrets", &other, false),
        ("services", &shop, false),
    ] {
        let found = held.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&kind) && words.contains(&namespace.as_str())
        });
        assert_eq!(found, is_held, "{kind} in {namespace}:\n{held}");
    }

    // The twin: one kind is taken away, and is named.
    let role = source.name("backup");
    let mut text: Value =
        serde_json::from_str(&source.kubectl(&["-n", &shop, "get", "role", &role, "-o", "json"])).unwrap();
    text["rules"].as_array_mut().unwrap().retain(|rule| rule["apiGroups"][0] != "apps");
    source.apply(&text.to_string());
    let missing = format!("kind deployments.apps in namespace {shop}");
    let looked = workshop.json(3, &["doctor"]);
    assert!(looked["findings"].to_string().contains(&format!("{missing} cannot be listed")), "{looked:#}");
    let report = workshop.json(3, &["backup"]);
    let named: Vec<&str> =
        report["backup"]["missing"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(named, [missing], "{report:#}");
}

#[test]
fn with_the_kinds_of_the_cluster_what_a_policy_leaves_out_may_not_be_listed() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &shop));
    let mut workshop = Workshop::new(&source, &[&shop]);
    narrow(&workshop, &[&shop], "exclude: [secrets]");
    // The twin: the policy alone cannot say it, and that is said.
    let printed = workshop.done(&["policy", "rbac"]).stdout;
    assert!(printed.contains("these let secrets be listed"), "{printed}");
    let kubeconfig = account(&source, &workshop, &shop);
    give_with(&source, &workshop, &format!("{shop}/drctl"), &["--from-cluster"]);
    workshop.use_kubeconfig(&kubeconfig);
    let ended = workshop.run(&["backup", "-o", "json"]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    // Other tests install kinds of their own meanwhile.
    let missing = report["backup"]["missing"].as_array().unwrap();
    assert!(missing.iter().all(|one| one["what"].to_string().contains(".example.")), "{report:#}");
    assert!(report["backup"]["totals"]["objects"].as_u64().unwrap() > 10, "{report:#}");
    let id = format!("{shop}:drctl");
    assert!(!may(&source, &id, &["list", "secrets", "-n", &shop]));
    assert!(may(&source, &id, &["list", "configmaps", "-n", &shop]));
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
