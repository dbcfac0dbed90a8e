//! The history of an object where a policy has several schedules and sources, and where a backup could not read all.

use std::fs;

use serde_json::Value;

use crate::support::{
    bed::{self, Cluster, require},
    workshop::Workshop,
};

/// Two sources of one namespace, told apart by a label, every day; another namespace every week.
fn write_policy(workshop: &Workshop, both: &str, other: &str) {
    let split = |namespace: &str, team: &str| {
        format!(
            "{{kubernetes: {{namespaces: [{namespace}], clusterScoped: none, exclude: [\"*\"], include: [{{kinds: [configmaps, secrets], \
             selector: \"team={team}\"}}]}}}}"
        )
    };
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  a: {}\n  b: {}\n  rest: {{kubernetes: {{namespaces: \
         [{other}], clusterScoped: none}}}}\nschedules:\n  daily: {{cron: \"0 2 * * *\", sources: [a, b]}}\n  weekly: {{cron: \"0 3 * * 0\", \
         sources: [rest]}}\n",
        workshop.local_repository(),
        split(both, "a"),
        split(both, "b"),
    );
    fs::write(workshop.policy(), text).unwrap();
}

fn config(namespace: &str, name: &str, team: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{team: {team}}}}}\ndata: {{k: \"1\"}}\n"
    )
}

/// Of each backup, newest first: schedule, change, source.
fn steps(history: &Value) -> Vec<(String, String, String)> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or("-").to_owned();
    let items = history["backups"].as_array().unwrap();
    items.iter().map(|item| (text(item, "schedule"), text(item, "change"), text(item, "source"))).collect()
}

fn step(schedule: &str, change: &str, source: &str) -> (String, String, String) {
    (schedule.to_owned(), change.to_owned(), source.to_owned())
}

/// Lets the cluster's second user list ConfigMaps of a namespace, and no Secrets.
fn give_config_maps(source: &Cluster, namespace: &str) {
    let (user, name, label) = (source.user_name(), source.name("namespaces"), source.label().replace('=', ": "));
    let subject = format!("subjects: [{{kind: User, name: \"{user}\", apiGroup: rbac.authorization.k8s.io}}]");
    let api = "apiVersion: rbac.authorization.k8s.io/v1";
    source.apply(&format!(
        "{api}\nkind: ClusterRole\nmetadata: {{name: {name}, labels: {{{label}}}}}\nrules: [{{apiGroups: [\"\"], resources: [namespaces], verbs: [list]}}]\n---\n\
         {api}\nkind: ClusterRoleBinding\nmetadata: {{name: {name}, labels: {{{label}}}}}\n{subject}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\n---\n\
         {api}\nkind: Role\nmetadata: {{name: maps, namespace: {namespace}}}\nrules: [{{apiGroups: [\"\"], resources: [configmaps], verbs: [list]}}]\n---\n\
         {api}\nkind: RoleBinding\nmetadata: {{name: maps, namespace: {namespace}}}\n{subject}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: maps}}\n"
    ));
}

#[test]
fn a_history_compares_within_a_schedule_and_looks_into_every_source() {
    let source = require!(bed::source);
    let (both, other) = (source.create_namespace("both"), source.create_namespace("other"));
    source.apply(&[config(&both, "of-a", "a"), config(&both, "of-b", "b"), config(&other, "weekly", "x")].concat());
    source.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s1, namespace: {both}, labels: {{team: b}}}}\nstringData: {{k: hunter2}}\n"
    ));
    let mut workshop = Workshop::bare(&source);
    write_policy(&workshop, &both, &other);
    workshop.done(&["repository", "init"]);
    for schedule in ["daily", "weekly", "daily", "weekly"] {
        workshop.done(&["backup", schedule]);
    }
    let of = |workshop: &Workshop, name: String| steps(&workshop.json(0, &["history", "cm", &name]));
    let nothing = step("weekly", "notCovered", "-");
    for (name, holder) in [("of-a", "a"), ("of-b", "b")] {
        let expected =
            [nothing.clone(), step("daily", "same", holder), nothing.clone(), step("daily", "first", holder)];
        assert_eq!(of(&workshop, format!("{both}/{name}")), expected, "{name}");
    }
    let weekly = [
        step("weekly", "same", "rest"),
        step("daily", "notCovered", "-"),
        step("weekly", "first", "rest"),
        step("daily", "notCovered", "-"),
    ];
    assert_eq!(of(&workshop, format!("{other}/weekly")), weekly);

    // What could not be read is not known to be gone; the twin is in the same backup, and can be read.
    give_config_maps(&source, &both);
    workshop.use_kubeconfig(source.user_kubeconfig());
    workshop.ends(3, &["backup", "daily"]);
    let secret = workshop.json(0, &["history", "secret", &format!("{both}/s1")]);
    assert_eq!(steps(&secret)[0], step("daily", "unknown", "-"), "{secret:#}");
    let note = secret["backups"][0]["note"].as_str().unwrap();
    assert!(note.contains(&format!("missing: kind secrets in namespace {both}")), "{note}");
    assert_eq!(of(&workshop, format!("{both}/of-b"))[0], step("daily", "same", "b"));

    // Without a policy file there may be several policies: each schedule is named with its own.
    let name = format!("{both}/of-a");
    let text = workshop.done(&["history", "cm", &name]).stdout;
    assert!(text.contains("  daily ") && !text.contains("shop/daily"), "{text}");
    let url = format!("file://{}", workshop.repository().display());
    let text = workshop.done(&["history", "cm", &name, "--repository", &url]).stdout;
    assert!(text.contains("  shop/daily "), "{text}");
}
