//! Clusters that do not answer, do not know us, or do not let us: exact exit code, message, untouched target.

use std::fs;

use crate::support::{
    bed::{self, Cluster, require},
    workshop::Workshop,
};

fn with_objects(source: &Cluster) -> String {
    let namespace = source.create_namespace("rights");
    source.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {namespace}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: b, namespace: {namespace}}}\n"
    ));
    namespace
}

#[test]
fn a_cluster_that_does_not_answer_is_said_and_nothing_is_written() {
    let source = require!(bed::source);
    let namespace = with_objects(&source);
    let mut workshop = Workshop::new(&source, &[&namespace]);
    let before = workshop.contents();

    let closed = fs::read_to_string(source.kubeconfig()).unwrap();
    let server =
        closed.split("https://127.0.0.1:").nth(1).unwrap().split(['"', '\n', ',']).next().unwrap().trim().to_owned();
    let file = workshop.folder().join("closed.kubeconfig");
    // Port 9 (discard) is closed here, and stays so.
    fs::write(&file, closed.replace(&format!("127.0.0.1:{server}"), "127.0.0.1:9")).unwrap();
    workshop.use_kubeconfig(&file);
    let refused = workshop.ends(5, &["backup"]);
    assert!(refused.stderr.contains("Connection refused"), "{}", refused.stderr);
    assert_eq!(workshop.contents(), before);

    workshop.use_kubeconfig(source.kubeconfig());
    workshop.done(&["backup"]);
}

#[test]
fn a_token_that_is_not_accepted_is_said_and_not_shown() {
    let source = require!(bed::source);
    let namespace = with_objects(&source);
    let mut workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let before = workshop.contents();

    let text = fs::read_to_string(source.kubeconfig()).unwrap();
    let token = text.split("token").nth(1).unwrap();
    let token = token.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| word.len() > 16).unwrap().to_owned();
    let file = workshop.folder().join("expired.kubeconfig");
    fs::write(&file, text.replace(&token, "0123456789abcdefexpired")).unwrap();
    workshop.use_kubeconfig(&file);
    for words in [&["backup"][..], &["restore", "latest", "--yes"]] {
        let refused = workshop.ends(5, words);
        assert!(refused.stderr.contains("Unauthorized") || refused.stderr.contains("401"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("0123456789abcdefexpired"), "the token is shown: {}", refused.stderr);
    }
    assert_eq!(workshop.contents(), before);
}

#[test]
fn a_forbidden_kind_is_named_and_the_backup_is_partial() {
    let source = require!(bed::source);
    let namespace = with_objects(&source);
    let mut workshop = Workshop::new(&source, &[&namespace]);
    // Everything may be listed but Secrets.
    source.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}, labels: {{{label}: {value}}}}}\n\
         rules:\n- {{apiGroups: [\"\"], resources: [namespaces, configmaps, services, pods, endpoints, serviceaccounts, \
         limitranges, resourcequotas, replicationcontrollers, podtemplates, persistentvolumeclaims, events], verbs: [list]}}\n\
         - {{apiGroups: [apps, batch, autoscaling, policy, networking.k8s.io, rbac.authorization.k8s.io, apiextensions.k8s.io, \
         storage.k8s.io, scheduling.k8s.io, node.k8s.io, discovery.k8s.io, coordination.k8s.io, resource.k8s.io, \
         admissionregistration.k8s.io, apiregistration.k8s.io, certificates.k8s.io, flowcontrol.apiserver.k8s.io, \
         events.k8s.io], resources: [\"*\"], verbs: [list]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}, labels: {{{label}: {value}}}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\n\
         subjects: [{{kind: User, name: {user}}}]\n",
        name = source.name("list"),
        label = Cluster::LABEL,
        value = source.prefix(),
        user = source.user_name(),
    ));
    workshop.use_kubeconfig(source.user_kubeconfig());
    let ended = workshop.ends(3, &["backup"]);
    assert!(ended.stderr.contains("secrets") && ended.stderr.contains("forbidden"), "{}", ended.stderr);
    let shown = workshop.json(0, &["show", &workshop.backups()[0]]);
    assert_eq!(shown["state"], "partial");
    let missing = shown["missing"].as_array().unwrap();
    assert!(missing.iter().any(|each| each["what"].as_str().unwrap().contains("secrets")), "{missing:?}");
    assert!(!missing.iter().any(|each| each["what"].as_str().unwrap().contains("configmaps")), "{missing:?}");
}
