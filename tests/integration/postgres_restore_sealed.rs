//! The moment before a restored database takes its place: who is in it, who writes into it, and who works from the
//! database whose place it takes. And what a plan says of what it meets, to those who agree beforehand, too.

use std::process::{Child, Stdio};

use crate::support::{
    bed::require,
    own_postgres::OwnPostgres,
    paused::Paused,
    postgres::{self, Database, Postgres, Role, quoted},
    workshop::{Workshop, wait_for},
};

const RESTORE: [&str; 2] = ["restore", "--yes"];

/// A database whose backup says `old` and which itself says `new` since.
fn shop(server: &Postgres, name: &str, role: Role) -> (Database, Workshop) {
    let live = server.create_database(name);
    let sql =
        "CREATE TABLE a (t text); INSERT INTO a VALUES ('old'); CREATE SEQUENCE s; SELECT lo_from_bytea(4711, 'hello')";
    assert!(live.try_sql_as(role, sql).status.success());
    let workshop = Workshop::of_databases(&[("db", &live.url(role))]);
    workshop.done(&["backup"]);
    live.sql("UPDATE a SET t = 'new'");
    (live, workshop)
}

fn says(database: &Database) -> String {
    database.sql("SELECT t FROM a")
}

/// The restored database beside the live one.
fn copy(server: &Postgres) -> Database {
    let names = server.databases();
    let mut copies = names.iter().filter(|name| name.contains("_drctl_"));
    let copy = copies.next().unwrap_or_else(|| panic!("{names:?}"));
    assert!(copies.next().is_none(), "{names:?}");
    server.database(copy)
}

fn drop_all(server: &Postgres) {
    for name in server.databases() {
        server.sql(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&name)));
    }
}

fn is_open(database: &Database) -> bool {
    let sql = format!("SELECT datallowconn FROM pg_database WHERE datname = '{}'", database.name());
    database.server().sql(&sql) == "t"
}

/// A session that has done this, and stays.
fn session(database: &Database, sql: &str) -> Child {
    let mut command = database.psql();
    command.args(["-c", sql, "-c", "SELECT pg_sleep(600)"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        database.name()
    );
    wait_for("the session", 120, || (database.server().sql(&count) == "1").then_some(()));
    child
}

#[test]
fn what_somebody_writes_between_the_last_comparison_and_the_swap_is_not_swapped_in() {
    let server = require!(postgres::v15);
    for (name, sql, what) in [
        ("row", "UPDATE a SET t = 'changed'", "table public.a"),
        ("sequence", "SELECT setval('s', 99)", "sequence public.s"),
        ("object", "SELECT lo_put(4711, 0, 'H')", "large objects"),
        // The twin: who only looks at it.
        ("look", "SELECT t FROM a", ""),
    ] {
        let (live, workshop) = shop(&server, name, Role::Admin);
        let paused = Paused::at(&workshop, "ready", &RESTORE);
        let beside = copy(&server);
        beside.sql(sql);
        let ended = paused.go_on();
        if what.is_empty() {
            assert_eq!((ended.code, says(&live).as_str()), (0, "old"), "{ended:?}");
        } else {
            assert_eq!((ended.code, says(&live).as_str()), (1, "new"), "{ended:?}");
            for word in ["somebody wrote into database", what, "drctl restore --switch", "stayed"] {
                assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
            }
            assert!(is_open(&beside), "to be looked at");
            let report = workshop.json(4, &["restore", "--switch", "--yes"]);
            assert_eq!((says(&live).as_str(), report["equal"].as_bool()), ("new", Some(false)));
        }
        drop_all(&server);
    }
}

#[test]
fn sessions_in_the_restored_database_are_ended_before_the_swap_and_nobody_comes_in_any_more() {
    let server = require!(postgres::v15);
    for (sql, code, after) in [("SELECT 1", 0, "old"), ("UPDATE a SET t = 'changed'", 1, "new")] {
        let (live, workshop) = shop(&server, &format!("ended-{code}"), Role::Admin);
        let paused = Paused::at(&workshop, "ready", &RESTORE);
        let mut user = session(&copy(&server), sql);
        let ended = paused.go_on();
        assert_eq!((ended.code, says(&live).as_str()), (code, after), "{ended:?}");
        assert!(!user.wait().unwrap().success());
        drop_all(&server);
    }
    let (live, workshop) = shop(&server, "closed", Role::Admin);
    let paused = Paused::at(&workshop, "closed", &RESTORE);
    let beside = copy(&server);
    assert!(!is_open(&beside) && !beside.try_sql("UPDATE a SET t = 'changed'").status.success());
    // And a run that is killed then leaves what the next one opens.
    paused.kill();
    workshop.done(&["restore", "--switch", "--yes"]);
    assert_eq!((says(&live).as_str(), is_open(&live)), ("old", true));
}

#[test]
fn a_session_in_the_restored_database_that_cannot_be_ended_keeps_it_from_being_swapped_in() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "stranger", Role::Owner);
    let paused = Paused::at(&workshop, "ready", &RESTORE);
    let mut user = session(&copy(&server), "SELECT 1");
    let ended = paused.go_on();
    assert_eq!((ended.code, says(&live).as_str()), (1, "new"), "{ended:?}");
    for word in ["may not end the sessions of admin in database", "drctl restore --switch"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let end =
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = ";
    server.sql(&format!("{end}'{}'", copy(&server).name()));
    user.wait().unwrap();
    workshop.done(&["restore", "--switch", "--yes"]);
    assert_eq!(says(&live), "old");
}

#[test]
fn where_the_server_counts_nothing_a_session_in_the_restored_database_is_in_the_way() {
    let server = require!(postgres::v15);
    for (stays, code, after) in [(true, 1, "new"), (false, 0, "old")] {
        let (live, workshop) = shop(&server, &format!("uncounted-{stays}"), Role::Admin);
        let paused = Paused::at(&workshop, "ready", &RESTORE);
        let beside = copy(&server);
        server.sql(&format!("ALTER DATABASE {} SET track_counts TO off", beside.quoted()));
        let user = stays.then(|| session(&beside, "UPDATE a SET t = t"));
        let ended = paused.go_on();
        assert_eq!((ended.code, says(&live).as_str()), (code, after), "{ended:?}");
        assert_eq!(ended.stderr.contains("does not count what is written"), stays, "{}", ended.stderr);
        user.into_iter().for_each(|mut user| _ = user.wait().unwrap());
        drop_all(&server);
    }
}

/// A server whose own database `postgres` and whose database `shop` say `new`, and whose backups say `old`.
fn two(server: &Postgres) -> OwnPostgres {
    let own = OwnPostgres::start(server);
    own.sql("CREATE DATABASE shop");
    for name in ["postgres", "shop"] {
        own.sql_in(name, "CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
    }
    own
}

fn set(own: &OwnPostgres, text: &str) {
    for name in ["postgres", "shop"] {
        own.sql_in(name, &format!("UPDATE a SET t = '{text}'"));
    }
}

#[test]
fn the_lock_of_another_restore_is_not_ended_with_the_sessions_of_the_database_that_it_works_from() {
    let server = require!(postgres::v15);
    let own = two(&server);
    let [postgres, shop] = ["postgres", "shop"].map(|name| Workshop::of_databases(&[("db", &own.url_of(name))]));
    for workshop in [&postgres, &shop] {
        workshop.done(&["backup"]);
    }
    set(&own, "new");
    let other = Paused::at(&shop, "loaded", &RESTORE);
    let ended = postgres.ends(1, &RESTORE);
    for word in ["another restore of database shop works from database postgres", "drctl restore --switch"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert_eq!(own.sql("SELECT t FROM a"), "new");
    let ended = other.go_on();
    assert_eq!((ended.code, own.sql_in("shop", "SELECT t FROM a").as_str()), (0, "old"), "{ended:?}");
    // The twin: the other one has ended.
    postgres.done(&["restore", "--switch", "--yes"]);
    assert_eq!(own.sql("SELECT t FROM a"), "old");

    // And so it is with the way back.
    let other = Paused::at(&shop, "ready", &RESTORE);
    let ended = postgres.ends(5, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("another restore of database shop works from"), "{}", ended.stderr);
    assert_eq!(own.sql("SELECT t FROM a"), "old");
    assert_eq!(other.go_on().code, 0);
    postgres.done(&["restore", "--undo", "--yes"]);
    assert_eq!(own.sql("SELECT t FROM a"), "new");
}

#[test]
fn one_restore_of_postgres_and_another_database_is_not_in_its_own_way() {
    let server = require!(postgres::v15);
    let own = two(&server);
    for names in [["postgres", "shop"], ["shop", "postgres"]] {
        set(&own, "old");
        let workshop = Workshop::of_databases(&[("a", &own.url_of(names[0])), ("b", &own.url_of(names[1]))]);
        workshop.done(&["backup"]);
        set(&own, "new");
        workshop.done(&RESTORE);
        assert_eq!(names.map(|name| own.sql_in(name, "SELECT t FROM a")), ["old", "old"], "{names:?}");
        workshop.done(&["restore", "--undo", "--yes"]);
        assert_eq!(names.map(|name| own.sql_in(name, "SELECT t FROM a")), ["new", "new"], "{names:?}");
    }
}

#[test]
fn into_a_database_that_takes_no_connections_nothing_is_restored_and_it_is_said_why() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "no-entry", Role::Owner);
    live.sql("DROP TABLE a; DROP SEQUENCE s; SELECT lo_unlink(4711)");
    let allow = |open: bool| server.sql(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open}", live.quoted()));
    allow(false);
    for way in [&["--in-place"][..], &["--in-place", "--data-only"], &["--table", "public.a"]] {
        for last in ["--yes", "--dry-run"] {
            let ended = workshop.ends(5, &[&["restore", last], way].concat());
            let said = format!("{}{}", ended.stdout, ended.stderr);
            let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", live.quoted());
            for word in ["takes no connections (ALLOW_CONNECTIONS false)", &open, "or restore"] {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
    }
    assert!(!is_open(&live));
    // The twin: it is open.
    allow(true);
    workshop.done(&["restore", "--in-place", "--yes"]);
    assert_eq!(says(&live), "old");
}

#[test]
fn what_a_plan_warns_of_is_said_to_those_who_agree_beforehand_and_is_in_the_report() {
    let server = require!(postgres::v15);
    let (_live, workshop) = shop(&server, "warned", Role::Admin);
    // The twin: there is nothing to warn of.
    let ended = workshop.done(&["restore", "--yes", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["warnings"].is_null() && !ended.stderr.contains("warning: source"), "{ended:?}");

    let kept = "was live until restore";
    let ended = workshop.done(&["restore", "--yes", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((report["warnings"].as_array().unwrap().len(), &report["warnings"][0]["source"]), (1, &"db".into()));
    assert!(report["warnings"][0]["warning"].as_str().unwrap().contains(kept), "{report}");
    let line = ended.stderr.lines().find(|line| line.starts_with("warning: source db: "));
    assert!(line.is_some_and(|line| line.contains(kept)), "{}", ended.stderr);
    for args in [&["restore", "--yes", "--no-switch"][..], &["restore", "--switch", "--yes"]] {
        let ended = workshop.done(args);
        assert!(ended.stderr.contains("warning: source db: "), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn a_plan_says_of_a_half_loaded_database_only_what_becomes_of_it() {
    const ID: &str = "20260102030405abcd";
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "half", Role::Owner);
    let half = server.database(&format!("{}_drctl_{ID}", live.name()));
    let plan = || {
        let plan = workshop.json(0, &["restore", "--dry-run"]);
        (
            plan["databases"][0]["warnings"].to_string(),
            plan["databases"][0]["dropped"].to_string().contains(half.name()),
        )
    };
    let create = |owner: &str| {
        server.sql(&format!("CREATE DATABASE {} OWNER {owner}", half.quoted()));
        let marker = serde_json::json!({ "restore": ID, "backup": "b", "of": live.name(), "stage": "loading" });
        server.sql(&format!("COMMENT ON DATABASE {} IS 'drctl restore {marker}'", half.quoted()));
    };
    // One that another role owns is not dropped by this one.
    create("reader");
    let (warnings, dropped) = plan();
    assert!(warnings.contains("belongs to reader, who alone may drop it: it stays") && !dropped, "{warnings}");
    workshop.done(&RESTORE);
    assert!(server.databases().contains(&half.name().to_owned()));
    server.sql(&format!("DROP DATABASE {}", half.quoted()));

    // One that somebody uses may stay.
    create("owner");
    let mut user = session(&half, "SELECT 1");
    let (warnings, dropped) = plan();
    assert!(
        warnings.contains("it is dropped first, if nobody uses it by then (1 session now)") && dropped,
        "{warnings}"
    );
    let end =
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = ";
    server.sql(&format!("{end}'{}'", half.name()));
    user.wait().unwrap();
    let (warnings, dropped) = plan();
    assert!(warnings.contains("it is dropped first, if nobody uses it by then\"") && dropped, "{warnings}");
    workshop.done(&RESTORE);
    assert!(!server.databases().contains(&half.name().to_owned()));

    // Of one that says nothing of itself only a look from within tells.
    server.sql(&format!("CREATE DATABASE {} OWNER owner ALLOW_CONNECTIONS false", half.quoted()));
    let (warnings, dropped) = plan();
    assert!(warnings.contains("it is dropped first, if it holds nothing, and nobody uses it") && dropped, "{warnings}");
}
