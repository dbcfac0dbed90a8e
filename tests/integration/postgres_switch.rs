//! The swap of a restored database, seen by clients and survived by kills, and the way back.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::support::{
    bed::require,
    paused::Paused,
    postgres::{self, Database, Postgres, Role},
    schema::misfits,
    workshop::Workshop,
};

/// A database whose backup says `old` and which itself says `new` since, and a workshop with the backup.
fn shop(server: &Postgres, name: &str, role: Role) -> (Database, Workshop) {
    let live = server.create_database(name);
    let output = live.try_sql_as(
        role,
        "CREATE TABLE a (t text); CREATE TABLE b (t text); INSERT INTO a VALUES ('old'); INSERT INTO b VALUES ('old')",
    );
    assert!(output.status.success());
    live.sql(&format!(
        "COMMENT ON DATABASE {0} IS 'the shop'; ALTER DATABASE {0} SET work_mem = '5MB'; GRANT CONNECT ON DATABASE {0} TO reader",
        live.quoted()
    ));
    let workshop = Workshop::of_databases(&[("db", &live.url(role))]);
    workshop.done(&["backup"]);
    live.sql("UPDATE a SET t = 'new'; UPDATE b SET t = 'new'");
    (live, workshop)
}

fn says(database: &Database) -> String {
    database.sql("SELECT a.t || b.t FROM a, b")
}

/// What belongs to the database itself.
fn properties(database: &Database) -> String {
    database.sql(
        "SELECT pg_get_userbyid(datdba), datacl, datallowconn, datconnlimit, shobj_description(oid, 'pg_database'), \
         (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d \
         WHERE datname = current_database()",
    )
}

#[test]
fn the_swap_and_its_undo_carry_owner_grants_settings_and_comment() {
    let server = require!(postgres::v15);
    for (name, role) in [("admin", Role::Admin), ("owner", Role::Owner)] {
        let (live, workshop) = shop(&server, name, role);
        let before = properties(&live);
        let report = workshop.json(0, &["restore", "--yes"]);
        assert_eq!(misfits(&schema("restore-report"), &report), Vec::<String>::new());
        assert_eq!((says(&live).as_str(), properties(&live)), ("oldold", before.clone()));
        let drop = report["databases"][0]["switched"]["drop"].as_str().unwrap();
        assert!(drop.starts_with("DROP DATABASE \""), "{drop}");

        let undone = workshop.json(0, &["restore", "--undo", "--yes"]);
        assert_eq!(misfits(&schema("restore-undo"), &undone), Vec::<String>::new());
        assert_eq!((says(&live).as_str(), properties(&live)), ("newnew", before));
        let ended = workshop.ends(5, &["restore", "--undo", "--yes"]);
        assert!(ended.stderr.contains("can be undone"), "{}", ended.stderr);
    }
}

fn schema(name: &str) -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn clients_that_come_back_all_the_time_see_the_old_database_or_the_new_one() {
    const CLIENTS: usize = 50;
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "clients", Role::Admin);
    let stop = Arc::new(AtomicBool::new(false));
    let client = || {
        let (live, stop) = (live.clone(), Arc::clone(&stop));
        thread::spawn(move || {
            let (mut seen, mut odd) = (Vec::new(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                // Both tables in two statements of one session: a mixture would show.
                let output = live.try_sql_as(Role::Admin, "SELECT t FROM a; SELECT pg_sleep(0.02); SELECT t FROM b");
                let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<String>();
                match (output.status.success(), text.as_str()) {
                    (true, "newnew" | "oldold") => seen.push(text),
                    (false, "" | "new" | "old") => {}
                    _ => odd.push(format!("{text}: {}", String::from_utf8_lossy(&output.stderr))),
                }
            }
            seen.dedup();
            (seen, odd)
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
    workshop.done(&["restore", "--yes"]);
    assert_eq!(says(&live), "oldold");
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "newnew");
    stop.store(true, Ordering::Relaxed);
    let mut whole = 0;
    for client in clients {
        let (seen, odd) = client.join().unwrap();
        assert_eq!(odd, Vec::<String>::new());
        // Old, then new, then old again: never back and forth.
        assert!(seen.len() <= 3, "{seen:?}");
        whole += seen.len();
    }
    assert!(whole >= CLIENTS, "the clients saw next to nothing: {whole}");
}

#[test]
fn a_kill_at_any_step_of_the_swap_is_found_and_mended_by_the_next_run() {
    let server = require!(postgres::v15);
    for (point, says_after) in
        [("loaded", "newnew"), ("ready", "newnew"), ("closed", ""), ("ended", ""), ("swapped", "oldold")]
    {
        let (live, workshop) = shop(&server, point, Role::Owner);
        Paused::at(&workshop, point, &["restore", "--yes"]).kill();
        let output = live.try_sql("SELECT a.t || b.t FROM a, b");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), says_after, "{point}");

        let plan = workshop.json(0, &["restore", "--dry-run"]);
        let warnings = plan["databases"][0]["warnings"].to_string();
        let wanted = match point {
            "loaded" => "left half loaded",
            "ready" => "drctl restore --switch",
            "swapped" => "was live until restore",
            _ => "it is opened again first",
        };
        assert!(warnings.contains(wanted), "{point}: {warnings}");
        workshop.done(&["restore", "--yes"]);
        assert_eq!(says(&live), "oldold", "{point}");
        let left = server.sql(&format!(
            "SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_drctl\\_%' \
             AND shobj_description(oid, 'pg_database') LIKE '%\"of\":\"{}\"%'",
            live.name()
        ));
        assert_eq!(left, if ["loaded", "swapped"].contains(&point) { "0" } else { "1" }, "{point}");
    }
}

#[test]
fn a_kill_at_any_step_of_the_swap_can_be_undone() {
    let server = require!(postgres::v15);
    for point in ["closed", "ended", "swapped"] {
        let (live, workshop) = shop(&server, point, Role::Owner);
        let before = properties(&live);
        Paused::at(&workshop, point, &["restore", "--yes"]).kill();
        workshop.done(&["restore", "--undo", "--yes"]);
        assert_eq!((says(&live).as_str(), properties(&live)), ("newnew", before.clone()), "{point}");
        // And a kill on the way back.
        workshop.done(&["restore", "--yes"]);
        assert_eq!(says(&live), "oldold");
        Paused::at(&workshop, point, &["restore", "--undo", "--yes"]).kill();
        if point != "swapped" {
            workshop.done(&["restore", "--undo", "--yes"]);
        }
        assert_eq!((says(&live).as_str(), properties(&live)), ("newnew", before), "{point}");
    }
}

#[test]
fn a_swap_that_is_told_not_to_happen_does_not_happen() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "no-switch", Role::Admin);
    let report = workshop.json(0, &["restore", "--yes", "--no-switch"]);
    let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
    assert_eq!((says(&live).as_str(), says(&beside).as_str()), ("newnew", "oldold"));
}

#[test]
fn what_the_policy_excluded_is_not_taken_from_the_live_database_unless_that_is_agreed_to() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "excluded", Role::Admin);
    for more in [", excludeTableData: [b]", ", excludeTables: [b]", ", schemas: [public]"] {
        workshop.write_database_policy(&[("db", more)]);
        workshop.done(&["backup"]);
        for flags in [&["restore", "--yes"][..], &["restore", "--dry-run"]] {
            let ended = workshop.ends(5, flags);
            let text = format!("{}{}", ended.stdout, ended.stderr);
            for word in ["the backup does not hold", "--leave-out", "--no-switch", "--table"] {
                assert!(text.contains(word), "{more}: {word}: {text}");
            }
        }
        assert_eq!(server.databases(), [live.name()]);
    }
    // Beside it, nothing is lost; so it is a note.
    let plan = workshop.json(0, &["restore", "--dry-run", "--no-switch"]);
    assert!(plan["databases"][0]["warnings"].to_string().contains("all schemas but public"), "{plan}");

    workshop.write_database_policy(&[("db", ", excludeTableData: [b]")]);
    workshop.done(&["backup"]);
    let ended = workshop.ends(2, &["restore", "--leave-out"]);
    assert!(ended.stderr.contains("WITHOUT rows of *.b"), "{}", ended.stderr);
    let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
    assert_eq!(report["databases"][0]["loaded"]["leftOut"][0]["what"], "rows of *.b");
    assert_eq!(live.sql("SELECT count(*) FROM a") + &live.sql("SELECT count(*) FROM b"), "10");
}

#[test]
fn an_empty_live_database_loses_nothing() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "emptied", Role::Admin);
    workshop.write_database_policy(&[("db", ", excludeTableData: [b]")]);
    workshop.done(&["backup"]);
    live.sql("DROP TABLE a, b");
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.sql("SELECT t FROM a"), "new");
}

#[test]
fn a_database_without_rows_never_takes_the_place_of_one_with_rows() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "schema-only", Role::Admin);
    // One that is filled, and stays without rows, too.
    live.sql("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM a");
    workshop.done(&["backup"]);
    let ended = workshop.ends(5, &["restore", "--yes", "--schema-only"]);
    for word in ["--no-switch", "--create", "--in-place"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert_eq!((server.databases(), says(&live).as_str()), (vec![live.name().to_owned()], "newnew"));
    let report = workshop.json(0, &["restore", "--yes", "--schema-only", "--no-switch"]);
    let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
    assert_eq!((beside.sql("SELECT count(*) FROM a").as_str(), says(&live).as_str()), ("0", "newnew"));
}

#[test]
fn a_restore_that_nobody_agreed_to_writes_nothing() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "agreed", Role::Admin);
    let ended = workshop.ends(2, &["restore"]);
    for word in ["REPLACES database", live.name(), "nobody is there to ask"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let plan = workshop.json(0, &["restore", "--dry-run"]);
    assert_eq!(misfits(&schema("restore-plan"), &plan), Vec::<String>::new());
    workshop.ends(5, &["restore", "--undo"]);
    workshop.ends(2, &["restore", "--source", "other", "--yes"]);
    let url = live.url(Role::Admin);
    let ended = workshop.ends(2, &["restore", "--yes", "--database-url", &url]);
    assert!(!ended.stderr.contains(server.password(Role::Admin)), "{}", ended.stderr);
    assert_eq!(server.databases(), [live.name()]);
    assert_eq!(says(&live), "newnew");
}

#[test]
fn a_lost_database_is_created_again_here_or_on_another_server() {
    let server = require!(postgres::v15);
    let (live, mut workshop) = shop(&server, "lost", Role::Admin);
    let before = properties(&live);
    server.sql(&format!("DROP DATABASE {}", live.quoted()));
    let ended = workshop.ends(5, &["restore", "--yes"]);
    assert!(ended.stderr.contains("create it with --create"), "{}", ended.stderr);
    workshop.done(&["restore", "--yes", "--create"]);
    assert_eq!((says(&live).as_str(), properties(&live)), ("oldold", before));

    let newer = require!(postgres::v18);
    let other = newer.database(&newer.name("elsewhere"));
    workshop.set("ELSEWHERE", &other.url(Role::Admin));
    workshop.done(&["restore", "--yes", "--create", "--database-url", "env:ELSEWHERE"]);
    assert_eq!(says(&other), "oldold");
}

#[test]
fn a_restore_is_undone_by_what_it_says_and_without_a_policy_by_an_address() {
    let server = require!(postgres::v15);
    let (live, mut workshop) = shop(&server, "undo", Role::Admin);
    let ended = workshop.ends(0, &["restore", "--yes"]);
    for word in ["drctl restore --undo --source db --file ", " goes back"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let repository = format!("file://{}", workshop.repository().display());
    workshop.set("ADDRESS", &live.url(Role::Admin));
    let undo = ["restore", "--undo", "--yes", "--repository", &repository, "--database-url", "env:ADDRESS"];
    let ended = workshop.ends(2, &undo);
    assert!(ended.stderr.contains("--source"), "{}", ended.stderr);
    workshop.ends(0, &[&undo[..], &["--source", "db"]].concat());
    assert_eq!(says(&live), "newnew");
}

#[test]
fn a_restore_that_is_interrupted_leaves_nothing_behind() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "interrupted", Role::Admin);
    let ended = Paused::at(&workshop, "loaded", &["restore", "--yes"]).interrupt_and_go_on();
    assert_eq!(ended.code, 130, "{ended:?}");
    for text in ["next: live databases are as they were", "what was half loaded is removed; run it again"] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("stayed"), "{}", ended.stderr);
    assert_eq!(server.databases(), [live.name()]);
    assert_eq!(says(&live), "newnew");
}

const ID: &str = "20260102030405abcd";

/// What the restore [`ID`] calls a database that it makes or moves.
fn named(live: &Database, word: &str) -> String {
    let room = live.name().len().min(63 - word.len() - ID.len());
    format!("{}{word}{ID}", &live.name()[..room])
}

/// Writes what a restore would have written about a database of `live`.
fn mark(database: &Database, live: &Database, stage: &str) {
    let marker = serde_json::json!({ "restore": ID, "backup": "b", "of": live.name(), "stage": stage });
    database.server().sql(&format!("COMMENT ON DATABASE {} IS 'drctl restore {marker}'", database.quoted()));
}

fn create(server: &Postgres, name: &str, owner: &str) -> Database {
    let database = server.database(name);
    server.sql(&format!("CREATE DATABASE {} OWNER {owner}", database.quoted()));
    database
}

#[test]
fn a_database_with_the_marker_of_a_half_loaded_one_is_dropped_only_under_the_name_of_one() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "marked", Role::Admin);
    let bystander = server.create_database("bystander");
    let half = create(&server, &named(&live, "_drctl_"), "owner");
    for database in [&bystander, &half] {
        mark(database, &live, "loading");
    }
    workshop.done(&["restore", "--yes"]);
    let names = server.databases();
    assert!(names.contains(&bystander.name().to_owned()), "{names:?}");
    assert!(!names.contains(&half.name().to_owned()), "{names:?}");
    assert_eq!(says(&live), "oldold");
}

#[test]
fn a_half_loaded_database_that_somebody_uses_stays() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "used", Role::Admin);
    let half = create(&server, &named(&live, "_drctl_"), "owner");
    mark(&half, &live, "loading");
    let mut psql = half.psql();
    let mut user = psql.args(["-c", "SELECT pg_sleep(120)"]).stdin(Stdio::null()).spawn().unwrap();
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", half.name());
    crate::support::workshop::wait_for("the session", 120, || (server.sql(&count) == "1").then_some(()));
    let ended = workshop.done(&["restore", "--yes"]);
    assert!(ended.stderr.contains("is in use: it stays"), "{}", ended.stderr);
    assert_eq!((server.sql(&count).as_str(), says(&live).as_str()), ("1", "oldold"));
    user.kill().unwrap();
    user.wait().unwrap();
}

#[test]
fn a_backups_comment_that_reads_as_a_marker_is_not_given_to_the_database() {
    let server = require!(postgres::v15);
    let (live, _) = shop(&server, "comment", Role::Admin);
    mark(&live, &live, "loading");
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--yes"]);
    assert_eq!(
        live.sql("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"),
        ""
    );
}

#[test]
fn an_undo_puts_only_a_database_back_that_can_have_been_there() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "forged", Role::Admin);
    let mallory = server.create_role("mallory", "NOLOGIN");
    // Another name: nobody looks at it.
    let other = server.create_database("other-name");
    mark(&other, &live, "replaced");
    let ended = workshop.ends(5, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("can be undone"), "{}", ended.stderr);
    // The name, and another owner.
    let forged = create(&server, &named(&live, "_before_"), &format!("\"{mallory}\""));
    mark(&forged, &live, "replaced");
    let ended = workshop.ends(5, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("says that it was live before, but belongs to"), "{}", ended.stderr);
    assert_eq!(says(&live), "newnew");
    // The live one's owner.
    server.sql(&format!("ALTER DATABASE {} OWNER TO owner", forged.quoted()));
    forged.sql("CREATE TABLE a AS SELECT 'for'::text AS t; CREATE TABLE b AS SELECT 'ged'::text AS t");
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "forged");
}

#[test]
fn an_undo_that_did_not_end_asks_for_what_it_then_does() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "asked", Role::Owner);
    Paused::at(&workshop, "closed", &["restore", "--yes"]).kill();
    let ended = workshop.ends(2, &["restore", "--undo"]);
    assert!(ended.stderr.contains("opening database"), "{}", ended.stderr);
    workshop.done(&["restore", "--yes"]);
    Paused::at(&workshop, "closed", &["restore", "--undo", "--yes"]).kill();
    let ended = workshop.ends(2, &["restore", "--undo"]);
    assert!(ended.stderr.contains("back in the place of database"), "{}", ended.stderr);
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "newnew");
}

#[test]
fn an_undo_without_a_live_database_names_the_kept_one() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "gone", Role::Admin);
    let before = properties(&live);
    workshop.done(&["restore", "--yes"]);
    server.sql(&format!("DROP DATABASE {}", live.quoted()));
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!((says(&live).as_str(), properties(&live)), ("newnew", before));
    assert_eq!(server.databases(), [live.name()]);
}
