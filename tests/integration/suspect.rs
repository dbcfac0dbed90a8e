//! An emptied, vanished or wrong cluster never becomes the newest good backup.

use crate::support::{
    bed::{self, require},
    postgres::{self, Role},
    workshop::Workshop,
};

fn config_maps(namespace: &str, count: usize) -> String {
    (0..count)
        .map(|n| {
            format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map-{n:03}, namespace: {namespace}}}\ndata: {{n: \"{n}\"}}\n")
        })
        .collect()
}

fn state_of(workshop: &Workshop, id: &str) -> String {
    let list = workshop.json(0, &["list"]);
    let backups = list["backups"].as_array().unwrap();
    let entry = backups.iter().find(|backup| backup["id"] == id).unwrap_or_else(|| panic!("{id} is not in {list:#}"));
    entry["state"].as_str().unwrap().to_owned()
}

fn latest(workshop: &Workshop) -> String {
    workshop.json(0, &["show", "latest"])["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_emptied_namespace_is_suspect_until_it_is_accepted() {
    let source = require!(bed::source);
    let (full, emptied) = (source.create_namespace("full"), source.create_namespace("emptied"));
    source.apply(&(config_maps(&full, 40) + &config_maps(&emptied, 3)));
    let workshop = Workshop::new(&source, &[&full, &emptied]);
    workshop.done(&["backup"]);
    let first = latest(&workshop);

    source.kubectl(&["-n", &emptied, "delete", "configmaps", "map-000", "map-001", "map-002"]);
    let ended = workshop.ends(4, &["backup"]);
    assert!(ended.stderr.contains(&emptied) && ended.stderr.contains("suspect"), "{}", ended.stderr);
    let second = workshop.backups().pop().unwrap();
    assert_eq!(state_of(&workshop, &second), "suspect");
    assert_eq!(latest(&workshop), first, "a suspect backup became latest");

    // It stays suspect as long as nobody says that it is meant.
    workshop.ends(4, &["backup"]);
    assert_eq!(latest(&workshop), first);

    workshop.done(&["accept", &second]);
    assert_eq!(latest(&workshop), second);
    workshop.done(&["backup"]);
    let third = workshop.backups().pop().unwrap();
    assert_eq!(latest(&workshop), third);
    assert_eq!(state_of(&workshop, &third), "complete");
}

#[test]
fn a_source_that_lost_half_of_its_objects_is_suspect() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("halved");
    source.apply(&config_maps(&namespace, 40));
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);

    // A quarter less is life.
    let names: Vec<String> = (0..10).map(|n| format!("map-{n:03}")).collect();
    let delete = |names: &[String]| {
        let mut words = vec!["-n", &namespace, "delete", "configmaps"];
        words.extend(names.iter().map(String::as_str));
        source.kubectl(&words);
    };
    delete(&names);
    workshop.done(&["backup"]);
    let names: Vec<String> = (10..36).map(|n| format!("map-{n:03}")).collect();
    delete(&names);
    let ended = workshop.ends(4, &["backup"]);
    assert!(ended.stderr.contains("fell from"), "{}", ended.stderr);
}

#[test]
fn a_namespace_that_does_not_exist_is_missing_and_the_rest_is_restorable() {
    let source = require!(bed::source);
    let (there, absent) = (source.create_namespace("there"), source.name("absent"));
    source.apply(&config_maps(&there, 3));
    let workshop = Workshop::new(&source, &[&there, &absent]);
    let ended = workshop.ends(3, &["backup"]);
    assert!(ended.stderr.contains(&absent), "{}", ended.stderr);
    let partial = workshop.backups().pop().unwrap();
    assert_eq!(state_of(&workshop, &partial), "partial");

    let refused = workshop.ends(5, &["restore", "latest", "--yes"]);
    assert!(refused.stderr.contains(&partial), "{}", refused.stderr);
    source.kubectl(&["delete", "namespace", &there, "--wait=true"]);
    workshop.done(&["restore", &partial, "--yes"]);
    assert!(source.get("configmap", &there, "map-002").is_some());

    // The twin: when the namespace exists, the backup is complete.
    let made = source.create_namespace("absent");
    assert_eq!(made, absent);
    workshop.done(&["backup"]);
}

#[test]
fn a_vanished_namespace_is_suspect_and_named() {
    let source = require!(bed::source);
    let (stays, goes) = (source.create_namespace("stays"), source.create_namespace("goes"));
    source.apply(&(config_maps(&stays, 30) + &config_maps(&goes, 3)));
    let workshop = Workshop::new(&source, &[&stays, &goes]);
    workshop.done(&["backup"]);
    source.kubectl(&["delete", "namespace", &goes, "--wait=true"]);
    let ended = workshop.ends(4, &["backup"]);
    assert!(ended.stderr.contains(&goes) && ended.stderr.contains("gone"), "{}", ended.stderr);
}

#[test]
fn another_cluster_is_refused_before_anything_is_written_unless_it_is_adopted() {
    let source = require!(bed::source);
    let target = require!(bed::target);
    let namespace = source.create_namespace("twin");
    source.apply(&config_maps(&namespace, 5));
    target.kubectl(&["create", "namespace", &namespace]);
    target.apply(&config_maps(&namespace, 5));
    let mut workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let before = workshop.contents();

    workshop.use_kubeconfig(target.kubeconfig());
    let refused = workshop.ends(5, &["backup"]);
    assert!(
        refused.stderr.contains("not the cluster") && refused.stderr.contains("--adopt-cluster"),
        "{}",
        refused.stderr
    );
    assert_eq!(workshop.contents(), before, "a refused backup wrote into the repository");

    workshop.done(&["backup", "--adopt-cluster"]);
    target.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn a_namespace_that_is_being_deleted_is_suspect() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("dying");
    source.apply(&config_maps(&namespace, 4));
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let good = latest(&workshop);

    // A finalizer holds three of the four, so that the namespace stays under deletion.
    let held = |finalizers: &str| {
        for name in ["map-000", "map-001", "map-002"] {
            let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
            source.kubectl(&["-n", &namespace, "patch", "configmap", name, "--type=merge", "-p", &patch]);
        }
    };
    held(r#"["example.com/hold"]"#);
    source.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    let ended = workshop.ends(4, &["backup"]);
    assert!(ended.stderr.contains("is being deleted") && ended.stderr.contains(&namespace), "{}", ended.stderr);
    assert_eq!(latest(&workshop), good, "a backup of a dying namespace became latest");
    held("null");
}

#[test]
fn a_database_that_was_emptied_is_suspect_and_does_not_become_the_one_that_is_restored() {
    let server = require!(postgres::v15);
    let live = server.create_database("emptied");
    let fill = "CREATE TABLE a AS SELECT g FROM generate_series(1, 100) g; CREATE TABLE b AS SELECT g FROM generate_series(1, 100) g";
    for (sql, says) in [
        ("DELETE FROM a; DELETE FROM b WHERE g > 20", Some("fell from 200 to 20")),
        ("DROP TABLE a; TRUNCATE b", Some("fell from 200 to 0")),
        ("DROP TABLE a, b", Some("holds nothing that a restore would create")),
        // The twin: a quarter less is life.
        ("DELETE FROM b WHERE g > 50", None),
    ] {
        live.sql(fill);
        let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
        workshop.done(&["backup"]);
        let first = latest(&workshop);
        live.sql(sql);
        let ended = workshop.ends(if says.is_some() { 4 } else { 0 }, &["backup"]);
        assert!(ended.stderr.contains(says.unwrap_or_default()), "{sql}: {}", ended.stderr);
        assert_eq!(latest(&workshop) == first, says.is_some(), "{sql}");
        if says.is_some() {
            let second = workshop.backups().pop().unwrap();
            assert_eq!(state_of(&workshop, &second), "suspect", "{sql}");
            workshop.done(&["accept", &second]);
            assert_eq!(latest(&workshop), second, "{sql}");
        }
        live.sql("DROP TABLE IF EXISTS a, b");
    }
}
