//! Sources of one backup are restored as one: what an object of one needs may come with another.

use serde_json::json;

use crate::support::{
    bed::{self, require},
    workshop::{Workshop, wait_for},
};

#[test]
fn a_custom_resource_of_one_source_waits_for_its_definition_of_a_later_one() {
    let cluster = require!(bed::source);
    let [one, two] = ["one", "two"].map(|name| cluster.create_namespace(name));
    let group = format!("{}.example.org", cluster.name("together"));
    let kind = format!("gadgets.{group}");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": kind},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    cluster.apply(&definition.to_string());
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=180s", &format!("crd/{kind}")]);
    for namespace in [&one, &two] {
        let gadget = json!({"apiVersion": format!("{group}/v1"), "kind": "Gadget",
            "metadata": {"name": "g", "namespace": namespace}, "spec": {"size": 1}});
        wait_for("the kind to be served", 60, || {
            cluster.try_kubectl(&["get", &kind, "-n", namespace]).status.success().then_some(())
        });
        cluster.apply(&gadget.to_string());
    }
    let workshop = Workshop::new(&cluster, &[&one]);
    let policy = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  \
         early: {{kubernetes: {{namespaces: [{one}], clusterScoped: none}}}}\n  \
         late: {{kubernetes: {{namespaces: [{two}], clusterScoped: referenced}}}}\n\
         schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [early, late]}}\n",
        workshop.local_repository()
    );
    std::fs::write(workshop.policy(), policy).unwrap();
    workshop.done(&["backup"]);
    cluster.kubectl(&["delete", "namespace", &one, &two, "--wait=true"]);
    cluster.kubectl(&["delete", "crd", &kind, "--wait=true"]);

    let plan = workshop.ends(0, &["restore", "--dry-run"]).stdout;
    assert!(!plan.contains("cannot"), "{plan}");
    workshop.done(&["restore", "--yes"]);
    for namespace in [&one, &two] {
        assert_eq!(cluster.get(&kind, namespace, "g").unwrap()["spec"], json!({"size": 1}));
    }

    // Alone, the early source has nothing that brings the definition.
    cluster.kubectl(&["delete", "namespace", &one, &two, "--wait=true"]);
    cluster.kubectl(&["delete", "crd", &kind, "--wait=true"]);
    let alone = workshop.run(&["restore", "--source", "early", "--yes"]);
    assert_eq!(alone.code, 3, "{alone:?}");
    assert!(format!("{}{}", alone.stdout, alone.stderr).contains("gadgets"), "{alone:?}");
}
