//! What kills a capture: never a manifest, the exact code, and a text that says what it was. Each has its
//! twin without the fault.

use std::process::{Child, Stdio};

use super::door::{Door, Then};
use super::*;
use crate::support::program::Ended;
use crate::support::workshop::wait_for;

/// 36 MB of rows that do not compress: more than all sockets on the way hold, so that the server is still at them while
/// somebody keeps them back.
fn rows(server: &Postgres, name: &str) -> Database {
    let database = server.create_database(name);
    database.sql(
        "CREATE TABLE t AS SELECT g, md5(g::text) AS a, md5((g * 7)::text) AS b FROM generate_series(1, 500000) g",
    );
    database
}

fn start(workshop: &Workshop, args: &[&str]) -> Child {
    workshop.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

/// The sessions of captures of this database.
fn sessions(database: &Database, what: &str) -> Vec<String> {
    let query = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'drctl: {what}%'",
        database.name()
    );
    database.server().sql(&query).lines().map(str::to_owned).collect()
}

fn refused(workshop: &Workshop, ended: &Ended, code: i32, says: &str) {
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
    assert!(ended.stderr.contains("\nnext: "), "{}", ended.stderr);
    assert_eq!(workshop.files("backups"), Vec::<std::path::PathBuf>::new(), "there is a manifest");
}

/// A backup of `rows` that stands still in the middle of the table.
struct Standing {
    database: Database,
    door: Door,
    workshop: Workshop,
    child: Child,
}

impl Standing {
    fn new(server: &Postgres, name: &str) -> Self {
        let database = rows(server, name);
        let door = Door::before(server.port(), 4 << 20, Then::Hold);
        let workshop = Workshop::of_databases(&[("db", &door.url(&database.url(Role::Reader), server.port()))]);
        let child = start(&workshop, &["backup"]);
        wait_for("the middle of the table", 60, || (door.reached() > 0).then_some(()));
        Self { database, door, workshop, child }
    }
}

#[test]
fn a_backup_that_nobody_disturbs_ends_well() {
    let server = require!(postgres::v15);
    let Standing { door, workshop, child, .. } = Standing::new(&server, "rows");
    door.open();
    let ended = end(child);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(workshop.backups().len(), 1);
    workshop.done(&["verify", "--level", "content"]);
}

#[test]
fn a_session_that_is_ended_on_the_server_ends_the_backup() {
    let server = require!(postgres::v15);
    for (session, says) in [
        ("leader", "the session that holds the snapshot was lost"),
        ("watch", "the session that watches the locks was lost"),
        ("pg_dump", "pg_dump failed (exit status: 1): "),
    ] {
        let Standing { database, door, workshop, child } = Standing::new(&server, session);
        let pids = sessions(&database, session);
        assert_eq!(pids.len(), 1, "{session}");
        server.sql(&format!("SELECT pg_terminate_backend({})", pids[0]));
        wait_for("its end", 120, || sessions(&database, session).is_empty().then_some(()));
        // What was held up comes now: `pg_dump` hears of it only then.
        door.open();
        refused(&workshop, &end(child), 1, says);
        wait_for("all sessions to end", 120, || sessions(&database, "").is_empty().then_some(()));
        drop(database);
    }
}

#[test]
fn a_pg_dump_that_is_killed_ends_the_backup() {
    let server = require!(postgres::v15);
    let Standing { database, door, workshop, child } = Standing::new(&server, "rows");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let dumps: Vec<String> = std::fs::read_to_string(&children)
        .map(|text| text.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default();
    // A child belongs to the thread that started it.
    let dumps = if dumps.is_empty() { children_of(child.id()) } else { dumps };
    assert_eq!(dumps.len(), 1, "{dumps:?}");
    assert!(std::process::Command::new("kill").args(["-9", &dumps[0]]).status().unwrap().success());
    refused(&workshop, &end(child), 1, "pg_dump failed (signal: 9 (SIGKILL))");
    door.open();
    wait_for("all sessions to end", 120, || sessions(&database, "").is_empty().then_some(()));
}

fn children_of(pid: u32) -> Vec<String> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().map(str::to_owned));
    }
    children
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_behind_and_the_next_one_is_whole() {
    let server = require!(postgres::v15);
    let Standing { database, door, workshop, mut child } = Standing::new(&server, "rows");
    child.kill().unwrap();
    child.wait().unwrap();
    door.open();
    assert_eq!(workshop.files("backups").len(), 0);
    wait_for("all sessions to end", 60, || sessions(&database, "").is_empty().then_some(()));
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--level", "content"]);
}

#[test]
fn ctrl_c_ends_a_backup_in_order() {
    let server = require!(postgres::v15);
    let Standing { database, workshop, child, door } = Standing::new(&server, "rows");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = end(child);
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert_eq!(workshop.files("backups").len(), 0);
    door.open();
    wait_for("all sessions to end", 120, || sessions(&database, "").is_empty().then_some(()));
    assert_eq!(workshop.files("sessions").len(), 1, "the next run goes on from there");
}

#[test]
fn a_connection_that_is_cut_ends_the_backup_wherever_it_is_cut() {
    let server = require!(postgres::v15);
    let database = rows(&server, "rows");
    let mut cut = 0;
    for limit in [500, 2_000, 8_000, 20_000, 60_000, 300_000, 3_000_000, 9_000_000, 1 << 30] {
        let door = Door::before(server.port(), limit, Then::Cut);
        let url = door.url(&database.url(Role::Reader), server.port());
        let workshop = Workshop::of_databases(&[("db", &url)]);
        let ended = workshop.run(&["backup"]);
        if door.reached() == 0 {
            assert_eq!(ended.code, 0, "{limit}: {}", ended.stderr);
            workshop.done(&["verify", "--level", "content"]);
            continue;
        }
        cut += 1;
        assert!(matches!(ended.code, 1 | 5), "{limit}: {} {}", ended.code, ended.stderr);
        assert_eq!(workshop.files("backups").len(), 0, "{limit}: there is a manifest");
        // `could not run` means that nothing was written.
        assert!(ended.code == 1 || workshop.files("sessions").is_empty(), "{limit}");
    }
    assert!(cut >= 6, "{cut}");
}

#[test]
fn one_database_that_fails_does_not_take_the_others_with_it() {
    let server = require!(postgres::v15);
    let (good, other) = (server.create_database("good"), rows(&server, "rows"));
    good.sql("CREATE TABLE t AS SELECT 1 AS one");
    for (limit, says) in [(3_000_000, "pg_dump failed"), (1_000, "")] {
        let door = Door::before(server.port(), limit, Then::Cut);
        let workshop = Workshop::of_databases(&[
            ("bad", &door.url(&other.url(Role::Reader), server.port())),
            ("good", &good.url(Role::Reader)),
        ]);
        let report = workshop.json(3, &["backup"]);
        let backup = &report["backup"];
        assert_eq!(backup["state"], "partial");
        assert_eq!(backup["missing"][0]["what"], "source bad");
        assert!(backup["missing"][0]["why"].as_str().unwrap().contains(says), "{report}");
        assert_eq!(backup["sources"][0]["name"], "good");
        let shown = workshop.json(0, &["show", backup["id"].as_str().unwrap(), "--streams"]);
        let streams = shown["streams"].as_array().unwrap();
        assert!(streams.iter().all(|stream| stream["source"] == "good"), "{shown}");
        workshop.done(&["verify", backup["id"].as_str().unwrap(), "--level", "content"]);
        workshop.ends(5, &["show", "latest"]);
    }
}
