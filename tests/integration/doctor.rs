//! `doctor` says beforehand what `backup` would end with: each case is held against the backup itself.

use serde_json::Value;

use crate::support::azure;
use crate::support::bed::{self, Cluster, require};
use crate::support::workshop::Workshop;

const MARK: &str = "sessions/shop/19700101T000000Z-doctor.json";

/// The texts of the findings of this gravity.
fn findings(report: &Value, severity: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    all.filter(|one| one["severity"] == severity).map(|one| format!("{}: {}", one["subject"], one["what"])).collect()
}

#[track_caller]
fn has(report: &Value, severity: &str, words: &str) {
    let found = findings(report, severity);
    assert!(found.iter().any(|one| one.contains(words)), "no {severity} finding has `{words}`: {report:#}");
}

/// A user who may list namespaces, and these kinds in this namespace.
fn grant(cluster: &Cluster, namespace: &str, kinds: &str) {
    let (prefix, user) = (cluster.prefix(), cluster.user_name());
    let roles = include_str!("capture/roles.yaml");
    let roles = roles.replace("PREFIX", prefix).replace("USER", user).replace("KINDS", kinds);
    cluster.apply(&format!(
        "{roles}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: kinds, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {prefix}-kinds}}\nsubjects: [{{kind: User, name: {user}}}]\n"
    ));
}

#[test]
fn what_a_doctor_says_of_a_cluster_is_what_a_backup_ends_with() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut workshop = Workshop::new(&source, &[&shop]);

    let report = workshop.json(0, &["doctor"]);
    assert_eq!((&report["backup"], &report["healthy"]), (&Value::from("complete"), &Value::from(true)));
    has(&report, "good", "can be read and listed, and holds 0 backups");
    has(&report, "good", "takes an object and refuses a second one under its key");
    has(&report, "good", "its clock and this machine's are ");
    has(&report, "good", &format!("for the namespaces {shop}"));
    assert_eq!(workshop.files("sessions"), [workshop.repository().join(MARK)]);
    let before = workshop.contents();
    workshop.done(&["doctor"]);
    assert_eq!(workshop.contents(), before, "the second doctor has changed something");
    assert_eq!(workshop.json(0, &["repository", "sessions"])["sessions"], Value::Array(Vec::new()));
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--all"]);
    has(&workshop.json(0, &["doctor"]), "good", "holds 1 backup of");

    // A namespace that is named and not there.
    let gone = source.name("gone");
    workshop.write_policy(&workshop.local_repository(), &[&shop, &gone]);
    has(&workshop.json(3, &["doctor"]), "partial", &format!("namespace {gone}: the cluster has no such namespace"));
    workshop.ends(3, &["backup"]);
    workshop.write_policy(&workshop.local_repository(), &[&shop]);

    // Another cluster.
    workshop.use_kubeconfig(target.kubeconfig());
    let report = workshop.json(5, &["doctor"]);
    has(&report, "prevents", "this is not the cluster of the policy's newest backup");
    assert_eq!(report["backup"], "impossible");
    workshop.ends(5, &["backup"]);

    // A user who may do nothing, and then something.
    workshop.use_kubeconfig(source.user_kubeconfig());
    has(&workshop.json(5, &["doctor"]), "prevents", "forbidden");
    workshop.ends(5, &["backup"]);
    grant(&source, &shop, "configmaps, pods, services");
    let report = workshop.json(3, &["doctor"]);
    let partial = findings(&report, "partial");
    let named = |kind: &str| {
        partial.iter().any(|one| one.contains(&format!("kind {kind} in namespace {shop} cannot be listed")))
    };
    assert!(named("daemonsets.apps") && !named("configmaps"), "{partial:?}");
    assert!(partial.iter().any(|one| one.contains("and ") && one.contains(" more lists")), "{partial:?}");
    workshop.ends(3, &["backup"]);

    // A cluster that does not answer.
    let nowhere = workshop.folder().join("nowhere");
    let text = std::fs::read_to_string(source.kubeconfig()).unwrap();
    let address = text.lines().find(|line| line.trim().starts_with("server:")).unwrap().trim().to_owned();
    std::fs::write(&nowhere, text.replace(&address, "server: https://127.0.0.1:9")).unwrap();
    workshop.use_kubeconfig(&nowhere);
    has(&workshop.json(5, &["doctor"]), "prevents", "127.0.0.1:9");
}

#[test]
fn one_source_of_several_that_fails_is_no_more_than_partial() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::new(&source, &[&shop]);
    workshop.set("TEST_DATABASE", "postgresql://nobody:x@127.0.0.1:9/none");
    let policy = std::fs::read_to_string(workshop.policy()).unwrap();
    let two = policy
        .replace("sources:\n", "sources:\n  db: {postgres: {url: {env: TEST_DATABASE}}}\n")
        .replace("sources: [services]", "sources: [services, db]");
    std::fs::write(workshop.policy(), &two).unwrap();
    let report = workshop.json(3, &["doctor"]);
    has(&report, "prevents", "127.0.0.1:9");
    assert_eq!(report["backup"], "partial");
    workshop.ends(3, &["backup"]);
    // By itself it is all there is.
    workshop.ends(5, &["doctor", "--source", "db"]);
    workshop.ends(5, &["backup", "--source", "db"]);
    workshop.done(&["doctor", "--source", "services"]);
    // An address that cannot be had is of this source alone, too.
    std::fs::write(workshop.policy(), two.replace("TEST_DATABASE", "TEST_NOT_SET")).unwrap();
    has(&workshop.json(3, &["doctor"]), "prevents", "TEST_NOT_SET");
    workshop.ends(3, &["backup"]);
}

#[test]
fn an_identity_that_may_read_nothing_of_a_source_takes_no_backup_and_leaves_nothing() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::new(&source, &[&shop]);
    let (prefix, user) = (source.prefix(), source.user_name());
    // It may learn which cluster it is, and nothing else.
    source.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {prefix}-identity, labels: {{drctl-test: {prefix}}}}}\n\
         rules: [{{apiGroups: [''], resources: [namespaces], resourceNames: [kube-system], verbs: [list]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
         metadata: {{name: {prefix}-identity, labels: {{drctl-test: {prefix}}}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {prefix}-identity}}\n\
         subjects: [{{kind: User, name: {user}}}]\n"
    ));
    workshop.use_kubeconfig(source.user_kubeconfig());
    let report = workshop.json(5, &["doctor"]);
    has(&report, "prevents", "nothing of it can be read");
    let before = workshop.contents();
    workshop.ends(5, &["backup"]);
    assert_eq!(workshop.contents(), before, "a run that could not begin has left something");
    // Beside another source it is no more than partial.
    let policy = std::fs::read_to_string(workshop.policy()).unwrap();
    workshop.set("TEST_DATABASE", "postgresql://nobody:x@127.0.0.1:9/none");
    let two = policy
        .replace("sources:\n", "sources:\n  db: {postgres: {url: {env: TEST_DATABASE}}}\n")
        .replace("sources: [services]", "sources: [services, db]");
    std::fs::write(workshop.policy(), two).unwrap();
    // Neither can be had: there is no backup again.
    workshop.json(5, &["doctor"]);
    workshop.ends(5, &["backup"]);
}

#[test]
fn a_namespace_that_is_being_deleted_makes_a_backup_suspect_and_a_kind_that_is_unknown_makes_none() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "held", "--from-literal=a=1"]);
    let finalizers = |list: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{list}}}}}"#);
        source.try_kubectl(&["-n", &shop, "patch", "configmap", "held", "--type=merge", "-p", &patch])
    };
    assert!(finalizers(r#"["example.org/keep"]"#).status.success());
    let workshop = Workshop::new(&source, &[&shop]);
    workshop.json(0, &["doctor"]);
    workshop.done(&["backup"]);

    // One of two sources names a kind that is not served: the policy is wrong, and nothing is tried.
    let policy = std::fs::read_to_string(workshop.policy()).unwrap();
    let two = policy
        .replace(
            "sources:\n",
            &format!("sources:\n  other: {{kubernetes: {{namespaces: [{shop}], include: [nothings.example.org]}}}}\n"),
        )
        .replace("sources: [services]", "sources: [services, other]");
    std::fs::write(workshop.policy(), two).unwrap();
    has(&workshop.json(5, &["doctor"]), "prevents", "nothings.example.org");
    workshop.ends(5, &["backup"]);
    std::fs::write(workshop.policy(), policy).unwrap();

    source.kubectl(&["delete", "namespace", &shop, "--wait=false"]);
    let report = workshop.json(4, &["doctor"]);
    has(&report, "suspect", &format!("namespace `{shop}` is being deleted"));
    assert_eq!((&report["backup"], &report["healthy"]), (&Value::from("suspect"), &Value::from(false)));
    workshop.ends(4, &["backup"]);
    // And partial at once is suspect.
    let gone = source.name("gone");
    workshop.write_policy(&workshop.local_repository(), &[&shop, &gone]);
    workshop.ends(4, &["doctor"]);
    workshop.ends(4, &["backup"]);
    finalizers("null");
}

#[test]
fn an_identity_that_may_not_write_is_found_out() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    require!(program "versitygw");
    let shop = source.create_namespace("shop");
    let mut workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &[&shop]);
    let keys = |workshop: &mut Workshop, actions: &[&str]| {
        let (access, secret) = bucket.keys_for(actions);
        workshop.set("TEST_ACCESS_KEY", &access);
        workshop.set("TEST_SECRET_KEY", &secret);
    };
    keys(&mut workshop, &["s3:GetObject", "s3:ListBucket"]);
    let report = workshop.json(5, &["doctor"]);
    has(&report, "prevents", "cannot write `sessions/shop/19700101T000000Z-doctor.json`");
    assert!(report["findings"][0]["next"].as_str().unwrap().contains("docs/permissions.md"), "{report:#}");
    workshop.ends(5, &["backup"]);
    // A writer that cannot delete proves it, as often as it likes, and leaves one object.
    keys(&mut workshop, &["s3:GetObject", "s3:ListBucket", "s3:PutObject"]);
    for _ in 0..2 {
        has(&workshop.json(0, &["doctor"]), "good", "its clock and this machine's are ");
    }
    workshop.done(&["backup"]);
}

#[test]
fn a_backup_in_azure_is_taken_verified_and_shared() {
    let source = require!(bed::source);
    let container = require!(azure::container);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut workshop = Workshop::bare(&source);
    workshop.set("TEST_ACCOUNT_KEY", &container.key);
    workshop.write_policy(&container.repository("prod"), &[&shop]);
    workshop.done(&["repository", "init"]);
    let again = workshop.ends(5, &["repository", "init"]);
    assert!(again.stderr.contains("az://"), "{}", again.stderr);
    has(&workshop.json(0, &["doctor"]), "good", "its clock and this machine's are ");
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--all", "--level", "content"]);
    source.kubectl(&["-n", &shop, "delete", "configmap", "settings"]);
    workshop.done(&["restore", "--yes"]);
    assert!(source.get("configmap", &shop, "settings").is_some());
}
