//! Claims of volumes: who has their data, and volumes that are taken over, with the controllers of a real cluster.

use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    workshop::{Workshop, wait_for},
};

/// A volume that no provisioner made, for one claim.
fn volume(
    cluster: &bed::Cluster,
    name: &str,
    reclaim: &str,
    source: (&str, Value),
    claim: Option<(&str, &str)>,
) -> Value {
    let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
                          "persistentVolumeReclaimPolicy": reclaim, source.0: source.1});
    if let Some((namespace, name)) = claim {
        spec["claimRef"] = json!({"namespace": namespace, "name": name});
    }
    if source.0 == "local" {
        let terms =
            json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-a"]}]}]);
        spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": spec,
           "metadata": {"name": name, "labels": {bed::Cluster::LABEL: cluster.prefix()}}})
}

fn claim(namespace: &str, name: &str, volume: &str, labels: Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
                          "resources": {"requests": {"storage": "1Gi"}}});
    if !volume.is_empty() {
        spec["volumeName"] = json!(volume);
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec,
           "metadata": {"name": name, "namespace": namespace, "labels": labels}})
}

fn apply(cluster: &bed::Cluster, objects: &[Value]) {
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
}

fn wait_for_phase(cluster: &bed::Cluster, kind: &str, namespace: &str, name: &str, phase: &str) {
    wait_for(&format!("{kind} {name} {phase}"), 30, || {
        (cluster.get(kind, namespace, name)?["status"]["phase"] == phase).then_some(())
    });
}

/// What a plan says of the objects of a kind: name, action, reason.
fn planned(plan: &Value, kind: &str) -> Vec<(String, String, String)> {
    let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let objects = plan["sources"][0]["objects"].as_array().unwrap().iter();
    let of_kind = objects.filter(|object| object["kind"] == kind);
    let mut found: Vec<_> =
        of_kind.map(|object| (text(object, "name"), text(object, "action"), text(object, "reason"))).collect();
    found.sort();
    found
}

#[test]
fn volumes_are_taken_over_by_their_claims_and_never_from_another() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    let (data, cache) = (cluster.name("data"), cluster.name("cache"));
    let disk = |name: &str| json!({"path": format!("/nowhere/{}/{name}", cluster.prefix())});
    let of_data = || volume(&cluster, &data, "Retain", ("hostPath", disk("data")), Some((&namespace, "data")));
    let of_cache = || volume(&cluster, &cache, "Delete", ("local", disk("cache")), Some((&namespace, "cache")));
    apply(
        &cluster,
        &[
            of_data(),
            of_cache(),
            claim(&namespace, "data", &data, json!({})),
            claim(&namespace, "cache", &cache, json!({})),
        ],
    );
    for name in ["data", "cache"] {
        wait_for_phase(&cluster, "pvc", &namespace, name, "Bound");
    }
    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);

    // One volume is left, reserved for the claim that is gone; the other is gone with its claim.
    let destroy = || cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
    destroy();
    cluster.kubectl(&["delete", "pv", &cache, "--wait=true", "--timeout=180s"]);
    wait_for_phase(&cluster, "pv", "", &data, "Released");
    let without = workshop.json(0, &["restore", "--dry-run"]);
    assert!(planned(&without, "persistentvolumes").iter().all(|(_, action, _)| action == "skip"), "{without:#}");
    let with = workshop.json(0, &["restore", "--adopt-volumes", "--dry-run"]);
    let actions: Vec<_> =
        planned(&with, "persistentvolumes").into_iter().map(|(name, action, _)| (name, action)).collect();
    assert_eq!(actions, [(cache.clone(), "create".to_owned()), (data.clone(), "merge".to_owned())]);

    let report = workshop.json(0, &["restore", "--adopt-volumes", "--yes"]);
    assert_eq!((&report["complete"], &report["equal"]), (&json!(true), &json!(true)), "{report:#}");
    for (name, volume) in [("data", &data), ("cache", &cache)] {
        let claim = cluster.get("pvc", &namespace, name).unwrap();
        assert_eq!((&claim["spec"]["volumeName"], &claim["status"]["phase"]), (&json!(volume), &json!("Bound")));
        let live = cluster.get("pv", "", volume).unwrap();
        assert_eq!(live["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
        assert_eq!(live["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    }
    let again = workshop.json(0, &["restore", "--adopt-volumes", "--yes"]);
    let execution = &again["sources"][0]["execution"];
    assert_eq!((&execution["created"], &execution["merged"]), (&json!(0), &json!(0)), "{execution:#}");

    // Another claim has the disk of `data`, by a volume of another name; another the volume `cache` itself.
    destroy();
    cluster.kubectl(&["delete", "pv", &data, &cache, "--wait=true", "--timeout=180s"]);
    let other = cluster.create_namespace("other");
    let thief = cluster.name("thief");
    apply(
        &cluster,
        &[
            volume(&cluster, &thief, "Retain", ("hostPath", disk("data")), Some((&other, "mine"))),
            volume(&cluster, &cache, "Retain", ("local", disk("cache")), Some((&other, "yours"))),
            claim(&other, "mine", &thief, json!({})),
            claim(&other, "yours", &cache, json!({})),
        ],
    );
    for name in ["mine", "yours"] {
        wait_for_phase(&cluster, "pvc", &other, name, "Bound");
    }
    let plan = workshop.json(3, &["restore", "--adopt-volumes", "--dry-run"]);
    let reasons = planned(&plan, "persistentvolumes");
    assert!(reasons.iter().all(|(_, action, _)| action == "cannot"), "{reasons:?}");
    assert!(
        reasons[0].2.contains(&format!("PersistentVolume {cache} is Bound, for claim {other}/yours")),
        "{reasons:?}"
    );
    assert!(
        reasons[1].2.contains(&format!("as PersistentVolume {thief} (Bound, for claim {other}/mine)")),
        "{reasons:?}"
    );
    let report = workshop.json(3, &["restore", "--adopt-volumes", "--yes"]);
    assert_eq!(report["sources"][0]["execution"]["failed"]["count"], 4, "{report:#}");
    assert_eq!(report["sources"][0]["comparison"]["different"], json!([]), "{report:#}");
    assert!(cluster.get("pvc", &namespace, "data").is_none(), "an empty volume in its place would look like the data");
    assert_eq!(cluster.get("pv", "", &thief).unwrap()["spec"]["claimRef"]["namespace"], json!(other), "untouched");
}

#[test]
fn the_volume_of_a_claim_that_is_not_chosen_is_not_touched() {
    let cluster = require!(bed::source);
    let (shop, other) = (cluster.create_namespace("shop"), cluster.create_namespace("other"));
    // (namespace, claim, label): only the first is ever chosen.
    let claims = [(&shop, "data", "web"), (&shop, "cache", "db"), (&other, "data", "web")];
    let name = |place: usize| cluster.name(&format!("pv-{place}"));
    let volumes: Vec<Value> = claims
        .iter()
        .enumerate()
        .map(|(place, (namespace, claim, _))| {
            let disk = json!({"path": format!("/nowhere/{}/{place}", cluster.prefix())});
            volume(&cluster, &name(place), "Retain", ("hostPath", disk), Some((namespace, claim)))
        })
        .collect();
    apply(&cluster, &volumes);
    for (place, (namespace, name_of_claim, app)) in claims.iter().enumerate() {
        apply(&cluster, &[claim(namespace, name_of_claim, &name(place), json!({"app": app}))]);
        wait_for_phase(&cluster, "pvc", namespace, name_of_claim, "Bound");
    }
    let workshop = Workshop::new(&cluster, &[&shop, &other]);
    workshop.done(&["backup"]);
    for namespace in [&shop, &other] {
        cluster.kubectl(&["-n", namespace, "delete", "pvc", "--all", "--wait=true", "--timeout=180s"]);
    }
    let versions =
        || [0, 1, 2].map(|place| cluster.get("pv", "", &name(place)).unwrap()["metadata"]["resourceVersion"].clone());
    (0..3).for_each(|place| wait_for_phase(&cluster, "pv", "", &name(place), "Released"));
    let before = versions();

    let chosen: [&[&str]; 3] = [
        &["--namespace", &shop, "--selector", "app=web"],
        &["--namespace", &shop, "--name", "data"],
        &["--kind", "persistentvolumeclaims", "--namespace", &shop, "--selector", "app=web"],
    ];
    for words in chosen {
        let plan = workshop.json(0, &[&["restore", "--adopt-volumes", "--dry-run"], words].concat());
        let volumes = planned(&plan, "persistentvolumes");
        assert_eq!(
            volumes.iter().map(|(name, action, _)| (name.clone(), action.as_str())).collect::<Vec<_>>(),
            [(name(0), "merge")],
            "{words:?}"
        );
        let claims = planned(&plan, "persistentvolumeclaims");
        assert_eq!(claims.len(), 1, "{claims:?}");
    }
    assert_eq!(versions(), before, "a dry run writes nothing");
    workshop.json(0, &[&["restore", "--adopt-volumes", "--yes"], chosen[0]].concat());
    assert_eq!(cluster.get("pvc", &shop, "data").unwrap()["spec"]["volumeName"], json!(name(0)));
    assert!(cluster.get("pvc", &shop, "cache").is_none() && cluster.get("pvc", &other, "data").is_none());
    assert_eq!(versions()[1..], before[1..], "volumes of claims that are not chosen");

    // The twin: all that is chosen, and with it all volumes.
    workshop.json(0, &["restore", "--adopt-volumes", "--yes"]);
    for (place, (namespace, claim, _)) in claims.iter().enumerate() {
        assert_eq!(cluster.get("pvc", namespace, claim).unwrap()["spec"]["volumeName"], json!(name(place)));
    }
}

#[test]
fn a_backup_says_who_has_the_data_of_each_claim() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "postgres", "namespace": namespace},
        "spec": {"serviceName": "db", "replicas": 0, "selector": {"matchLabels": {"app": "postgres"}},
                 "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                                           "resources": {"requests": {"storage": "1Gi"}}}}],
                 "template": {"metadata": {"labels": {"app": "postgres"}},
                              "spec": {"containers": [{"name": "main", "image": "example.org/postgres:15"}]}}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": namespace},
        "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]}});
    apply(
        &cluster,
        &[
            set,
            service,
            claim(&namespace, "data-postgres-0", "", json!({})),
            claim(&namespace, "grafana", "", json!({"app": "grafana"})),
            claim(&namespace, "uploads", "", json!({})),
        ],
    );
    let workshop = Workshop::bare(&cluster);
    let policy = |volumes: &str| {
        format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  db: {{postgres: {{url: {{env: NO_URL}}, \
             via: {{kubernetes: {{namespace: {namespace}, service: db, port: 5432}}}}}}}}\n  services: {{kubernetes: {{namespaces: \
             [{namespace}], volumes: {volumes}}}}}\nschedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n",
            workshop.local_repository()
        )
    };
    std::fs::write(
        workshop.policy(),
        policy(&format!("[{{namespace: {namespace}, selector: {{app: grafana}}, disposable: true}}]")),
    )
    .unwrap();
    workshop.done(&["repository", "init"]);
    let report = workshop.json(0, &["backup"]);
    let expected = json!({"covered": 1, "disposable": 1, "unprotected": 1, "claims": [
        {"namespace": namespace, "name": "uploads", "size": "1Gi", "protection": "unprotected"},
        {"namespace": namespace, "name": "grafana", "size": "1Gi", "protection": "disposable"},
        {"namespace": namespace, "name": "data-postgres-0", "size": "1Gi", "protection": "covered", "coveredBy": "db"},
    ]});
    assert_eq!(report["backup"]["sources"][0]["volumes"], expected);
    let shown = workshop.done(&["show", "latest"]).stdout;
    assert!(shown.contains("3 claims of volumes: 1 covered, 1 disposable, 1 UNPROTECTED"), "{shown}");
    assert!(shown.contains("covered by db, which is not in this backup"), "{shown}");
    assert_eq!(workshop.json(0, &["show", "latest"])["sources"][0]["volumes"], expected);
    let listed = workshop.done(&["list"]).stdout;
    assert!(listed.contains("1 volume UNPROTECTED"), "{listed}");
    let counts = json!({"covered": 1, "disposable": 1, "unprotected": 1});
    assert_eq!(workshop.json(0, &["list"])["backups"][0]["sources"][0]["volumes"], counts);

    // The twin: nobody is missing once the policy says who has them; a rule about nothing is named.
    let all = format!("[{{namespace: {namespace}, disposable: true}}, {{namespace: elsewhere, disposable: true}}]");
    std::fs::write(workshop.policy(), policy(&all)).unwrap();
    let report = workshop.done(&["backup"]).stdout;
    assert!(report.contains("volumes: 3 disposable\n"), "{report}");
    assert!(report.contains("says something of elsewhere/*, and there is no such claim"), "{report}");
    assert!(!workshop.done(&["list"]).stdout.lines().last().unwrap().contains("UNPROTECTED"));
}
