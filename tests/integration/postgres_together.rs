//! Several databases of one policy take their places together or not at all; and what was left beside is swapped in later.

use std::fs;

use serde_json::Value;

use crate::support::{
    bed::{self, require},
    paused::Paused,
    postgres::{self, Database, Postgres, Role},
    schema::misfits,
    workshop::Workshop,
};

/// A database that says `old`.
fn database(server: &Postgres, name: &str) -> Database {
    let live = server.create_database(name);
    live.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old'), ('and more')");
    live
}

fn says(database: &Database) -> String {
    database.sql("SELECT t FROM a WHERE t <> 'and more'")
}

fn renew(databases: &[&Database]) {
    for database in databases {
        database.sql("UPDATE a SET t = 'new' WHERE t = 'old'");
    }
}

/// Two databases of one policy, whose backups say `old` and which themselves say `new` since.
fn two(server: &Postgres) -> (Database, Database, Workshop) {
    let (one, other) = (database(server, "one"), database(server, "other"));
    let workshop = Workshop::of_databases(&[("a-one", &one.url(Role::Admin)), ("b-other", &other.url(Role::Admin))]);
    workshop.done(&["backup"]);
    renew(&[&one, &other]);
    (one, other, workshop)
}

fn one(server: &Postgres, name: &str) -> (Database, Workshop) {
    let live = database(server, name);
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    renew(&[&live]);
    (live, workshop)
}

fn beside(server: &Postgres) -> Vec<Database> {
    let names = server.databases();
    names.iter().filter(|name| name.contains("_drctl_")).map(|name| server.database(name)).collect()
}

fn schema(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn databases_of_one_policy_are_swapped_in_and_undone_together() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server);
    workshop.done(&["restore", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);
    let ended = workshop.ends(2, &["restore", "--undo"]);
    for name in [one.name(), other.name()] {
        assert!(ended.stderr.contains(&format!("the place of database `{name}`")), "{}", ended.stderr);
    }
    let undone = workshop.json(0, &["restore", "--undo", "--yes"]);
    assert_eq!(misfits(&schema("restore-undo"), &undone), Vec::<String>::new());
    assert_eq!(undone["databases"].as_array().unwrap().len(), 2);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);

    // One alone is another restore: the other one is no part of it.
    workshop.done(&["restore", "--yes"]);
    workshop.done(&["restore", "--yes", "--source", "b-other"]);
    let ended = workshop.ends(0, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("was replaced by another restore"), "{}", ended.stderr);
    assert_eq!([says(&one), says(&other)], ["old", "old"], "the other one is as the first restore has left it");
}

#[test]
fn a_later_swap_that_fails_takes_the_earlier_ones_back() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server);
    let paused = Paused::at(&workshop, "ready", &["restore", "--yes", "-o", "json"]);
    // A database with a prepared transaction cannot be renamed.
    let name = server.name("prepared");
    other.sql(&format!("BEGIN; INSERT INTO a VALUES ('prepared'); PREPARE TRANSACTION '{name}'"));
    let ended = paused.go_on();
    assert_eq!(ended.code, 1, "{ended:?}");
    for text in
        ["not all databases could be swapped in", "swapped back, and as they were before: ", one.name(), "--switch"]
    {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(misfits(&schema("restore-report"), &report), Vec::<String>::new());
    assert_eq!(report["databases"][0]["switchedBack"]["database"], one.name());
    assert!(report["databases"][0]["switched"].is_null() && report["databases"][1]["switched"].is_null(), "{report}");
    assert_eq!((&report["equal"], &report["complete"]), (&Value::Bool(false), &Value::Bool(false)));
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
    assert_eq!(beside(&server).len(), 2);
    workshop.ends(5, &["restore", "--undo", "--yes"]);

    other.sql(&format!("ROLLBACK PREPARED '{name}'"));
    workshop.done(&["restore", "--switch", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);
    assert_eq!(beside(&server).len(), 0);
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn an_interruption_between_two_swaps_takes_the_first_one_back() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server);
    let paused = Paused::at(&workshop, "swapped", &["restore", "--yes"]);
    let ended = paused.interrupt_and_go_on();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.stderr.contains("swapped back"), "{}", ended.stderr);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn what_was_left_beside_is_compared_again_and_swapped_in_later() {
    let server = require!(postgres::v15);
    let (live, workshop) = one(&server, "later");
    let ended = workshop.ends(5, &["restore", "--switch", "--yes"]);
    assert!(ended.stderr.contains("no restore has left a database beside"), "{}", ended.stderr);

    let ended = workshop.ends(0, &["restore", "--yes", "--no-switch"]);
    assert!(ended.stderr.contains("drctl restore --switch --source db --file "), "{}", ended.stderr);
    let scratch = beside(&server).remove(0);
    let ended = workshop.ends(2, &["restore", "--switch"]);
    assert!(ended.stderr.contains("compared again before") && ended.stderr.contains("REPLACES"), "{}", ended.stderr);
    let plan = workshop.json(0, &["restore", "--switch", "--dry-run"]);
    assert_eq!(misfits(&schema("restore-plan"), &plan), Vec::<String>::new());
    assert_eq!(
        (&plan["databases"][0]["kept"], &plan["databases"][0]["scratch"]),
        (&true.into(), &scratch.name().into())
    );

    // What was done to it meanwhile is found, and it stays where it is.
    scratch.sql("DELETE FROM a WHERE t = 'and more'; ALTER TABLE a ADD COLUMN x int");
    let report = workshop.json(4, &["restore", "--switch", "--yes"]);
    let differences = report["databases"][0]["loaded"]["differences"].to_string();
    assert!(differences.contains("table public.a") && differences.contains("TABLE public a"), "{differences}");
    assert_eq!(says(&live), "new");
    let known = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    assert!(scratch.sql(known).contains("\"stage\":\"differs\""), "{}", scratch.sql(known));
    scratch.sql("ALTER TABLE a DROP COLUMN x; INSERT INTO a VALUES ('and more')");
    let report = workshop.json(0, &["restore", "--switch", "--yes"]);
    assert_eq!(misfits(&schema("restore-report"), &report), Vec::<String>::new());
    assert_eq!((says(&live).as_str(), beside(&server).len()), ("old", 0));
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "new");
}

#[test]
fn what_a_killed_run_has_made_ready_is_swapped_in_later() {
    let server = require!(postgres::v15);
    for point in ["ready", "closed"] {
        let (live, workshop) = one(&server, point);
        Paused::at(&workshop, point, &["restore", "--yes"]).kill();
        let plan = workshop.json(0, &["restore", "--dry-run"]);
        let warnings = plan["databases"][0]["warnings"].to_string();
        assert!(warnings.contains("drctl restore --switch") == (point == "ready"), "{warnings}");
        workshop.done(&["restore", "--switch", "--yes"]);
        assert_eq!(says(&live), "old", "{point}");
    }
}

#[test]
fn options_about_databases_need_a_database() {
    let (cluster, server) = (require!(bed::source), require!(postgres::v15));
    let namespace = cluster.create_namespace("options");
    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    for option in ["--in-place", "--no-switch", "--create", "--schema-only", "--leave-out"] {
        let ended = workshop.ends(2, &["restore", "--dry-run", option]);
        assert!(ended.stderr.contains(&format!("{option} is about databases")), "{option}: {}", ended.stderr);
    }
    for command in ["--undo", "--switch"] {
        let ended = workshop.ends(2, &["restore", command, "--yes"]);
        assert!(ended.stderr.contains("policy `shop` has no database"), "{}", ended.stderr);
    }
    workshop.done(&["restore", "--dry-run"]);

    // The policy says where one is; a source that is none is named.
    let (_live, workshop) = one(&server, "options");
    for command in ["--undo", "--switch"] {
        let ended = workshop.ends(2, &["restore", command, "--source", "services", "--yes"]);
        assert!(ended.stderr.contains("`services` is no database of policy"), "{}", ended.stderr);
    }
    workshop.done(&["restore", "--dry-run", "--no-switch"]);
}

#[test]
fn an_address_that_is_not_there_is_of_one_database_alone() {
    let server = require!(postgres::v15);
    let (_live, mut workshop) = one(&server, "unset");
    workshop.write_database_policy(&[("db", ""), ("unset", "")]);
    let report = workshop.json(3, &["backup"]);
    assert_eq!(report["backup"]["missing"][0]["what"], "source unset");
    assert!(report["backup"]["missing"][0]["why"].as_str().unwrap().contains("`TEST_URL_UNSET`"), "{report}");
    workshop.set("TEST_URL_UNSET", "mysql://nobody:hunter2@nowhere/nothing");
    let report = workshop.json(3, &["backup"]);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    let ended = workshop.ends(5, &["backup", "--source", "unset"]);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn two_sources_that_are_one_database_are_not_restored_at_once() {
    let server = require!(postgres::v15);
    let (live, other) = (database(&server, "same"), database(&server, "another"));
    let url = live.url(Role::Admin);
    // Another way to the same server.
    let socket = format!(
        "postgresql://admin@/{}?host={}&port={}&password={}",
        live.name(),
        server.socket().display(),
        server.port(),
        server.password(Role::Admin)
    );
    let workshop = Workshop::of_databases(&[("a", &url), ("b", &socket), ("c", &other.url(Role::Admin))]);
    workshop.done(&["backup"]);
    let doctor = workshop.done(&["doctor"]);
    let said: Vec<&str> = doctor.stdout.lines().filter(|line| line.contains("the same database as source")).collect();
    assert!(said.len() == 1 && said[0].contains("source a"), "{}", doctor.stdout);
    renew(&[&live, &other]);
    for flags in [&["restore", "--yes"][..], &["restore", "--dry-run"], &["restore", "--yes", "--no-switch"]] {
        let ended = workshop.ends(5, flags);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        for word in ["sources a and b are one database", live.name(), "--source", "--target-database"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(([says(&live), says(&other)], beside(&server).len()), (["new".to_owned(), "new".to_owned()], 0));
    }
    // The twin: one of the two.
    workshop.done(&["restore", "--yes", "--source", "b", "--source", "c"]);
    assert_eq!([says(&live), says(&other)], ["old", "old"]);
}

#[test]
fn a_database_of_the_server_itself_is_no_target() {
    let server = require!(postgres::v15);
    let (live, workshop) = one(&server, "templates");
    for (name, said) in
        [("template1", "is a template"), ("template0", "is a template"), ("postgres", "is the server's own")]
    {
        let flags = ["restore", "--yes", "--create", "--target-database", name];
        let ended = workshop.ends(5, &flags);
        for word in [said, name, "--target-database", live.name()] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        workshop.ends(5, &["restore", "--yes", "--target-database", name]);
    }
    assert_eq!((says(&live).as_str(), server.databases()), ("new", vec![live.name().to_owned()]));
    // The twin: a name that is free.
    let free = server.name("free");
    workshop.done(&["restore", "--yes", "--create", "--target-database", &free]);
    assert_eq!(says(&server.database(&free)), "old");
}
