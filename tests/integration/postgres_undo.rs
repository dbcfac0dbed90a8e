//! The way back is for all databases of a restore or for none, and acts on nothing that it was not told.

use std::process::Stdio;

use crate::support::{
    bed::require,
    cutter::{Cutter, Then, When},
    paused::Paused,
    postgres::{self, Database, Postgres, Role},
    workshop::{Workshop, wait_for},
};

fn says(database: &Database) -> String {
    database.sql("SELECT t FROM a")
}

/// Two databases of one policy, whose backups say `old` and which themselves say `new` since.
fn two(server: &Postgres, role: Role) -> (Database, Database, Workshop) {
    let all = ["one", "other"].map(|name| {
        let live = server.create_database(name);
        let made = live.try_sql_as(role, "CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
        assert!(made.status.success());
        live
    });
    let workshop = Workshop::of_databases(&[("a-one", &all[0].url(role)), ("b-other", &all[1].url(role))]);
    workshop.done(&["backup"]);
    all.iter().for_each(|live| _ = live.sql("UPDATE a SET t = 'new'"));
    let [one, other] = all;
    (one, other, workshop)
}

/// A prepared transaction, with which a database cannot be renamed.
fn prepare(database: &Database) -> String {
    let name = database.server().name("prepared");
    database.sql(&format!("BEGIN; INSERT INTO a VALUES ('prepared'); PREPARE TRANSACTION '{name}'"));
    format!("ROLLBACK PREPARED '{name}'")
}

#[test]
fn what_stands_in_the_way_of_an_undo_is_said_before_the_first_database_goes_back() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server, Role::Owner);
    workshop.done(&["restore", "--yes"]);
    let away = prepare(&other);
    let ended = workshop.ends(5, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("1 prepared transaction, and cannot be renamed"), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nnext: "), "{}", ended.stderr);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);
    other.sql(&away);

    // A superuser's session, which the owner may not end.
    let mut user = other.psql().args(["-c", "SELECT pg_sleep(600)"]).stdin(Stdio::null()).spawn().unwrap();
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", other.name());
    wait_for("the session", 120, || (server.sql(&count) == "1").then_some(()));
    let ended = workshop.ends(5, &["restore", "--undo", "--yes"]);
    assert!(ended.stderr.contains("may not end the sessions of admin"), "{}", ended.stderr);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);
    server.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", other.name()));
    user.wait().unwrap();
    wait_for("the end of the session", 120, || (server.sql(&count) == "0").then_some(()));

    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn an_undo_of_which_a_later_part_fails_is_taken_back() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server, Role::Owner);
    workshop.done(&["restore", "--yes"]);
    let paused = Paused::at(&workshop, "swapped", &["restore", "--undo", "--yes"]);
    let away = prepare(&other);
    let ended = paused.go_on();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("not all could be undone") && ended.stderr.contains("\nnext: "), "{}", ended.stderr);
    assert_eq!(says(&one), "old");
    other.sql(&away);
    assert_eq!(says(&other), "old");
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn a_kill_between_two_swaps_is_named_with_both_ways_on() {
    let server = require!(postgres::v15);
    for forward in [true, false] {
        let (one, other, workshop) = two(&server, Role::Owner);
        Paused::at(&workshop, "swapped", &["restore", "--yes"]).kill();
        assert_eq!([says(&one), says(&other)], ["old", "new"]);
        let ended = workshop.ends(5, &["restore", "--switch", "--yes"]);
        for word in ["ended between two swaps", "--switch --source b-other`", "--undo --source a-one`"] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        if forward {
            workshop.done(&["restore", "--switch", "--source", "b-other", "--yes"]);
            assert_eq!([says(&one), says(&other)], ["old", "old"]);
        } else {
            workshop.done(&["restore", "--undo", "--source", "a-one", "--yes"]);
            assert_eq!([says(&one), says(&other)], ["new", "new"]);
        }
        for name in server.databases() {
            server.sql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
        }
    }
}

#[test]
fn an_undo_takes_no_word_about_a_restore() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server, Role::Owner);
    workshop.done(&["restore", "--yes"]);
    for words in [
        &["--no-switch"][..],
        &["--create"],
        &["--in-place"],
        &["--table", "public.a"],
        &["--schema-only"],
        &["--leave-out"],
        &["--ownership", "none"],
        &["--map-role", "a=b"],
        &["--jobs", "2"],
        &["--adopt-volumes"],
        &["--on-conflict", "fail"],
        &["--cluster", "0c4e7d1a"],
        &["--wait-timeout", "1s"],
        &["--allow-unsigned"],
        &["--platform", "a"],
        &["--plan-out", "plan.jsonl"],
    ] {
        let ended = workshop.ends(2, &[&["restore", "--undo", "--yes"][..], words].concat());
        assert!(ended.stderr.contains("cannot be used with"), "{words:?}: {}", ended.stderr);
    }
    workshop.ends(2, &["restore", "--yes", "--no-switch", "--table", "public.a", "--source", "a-one"]);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn a_database_that_somebody_has_closed_is_not_opened_because_of_what_a_stranger_wrote() {
    const ID: &str = "20260102030405abcd";
    let server = require!(postgres::v15);
    let mallory = server.create_role("mallory", "NOLOGIN");
    let (one, _, workshop) = two(&server, Role::Owner);
    workshop.done(&["restore", "--yes", "--source", "a-one"]);
    let forged = server.database(&format!("{}_drctl_{ID}", one.name()));
    server.sql(&format!("CREATE DATABASE {} OWNER \"{mallory}\"", forged.quoted()));
    let marker = serde_json::json!({ "restore": ID, "backup": "b", "of": one.name(), "stage": "switching" });
    server.sql(&format!("COMMENT ON DATABASE {} IS 'drctl restore {marker}'", forged.quoted()));
    let open = |open: bool| {
        server.sql(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open}", one.quoted()));
    };
    let is_open = || server.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{}'", one.name()));
    open(false);
    for command in
        [&["restore", "--undo", "--yes", "--source", "a-one"][..], &["restore", "--yes", "--source", "a-one"]]
    {
        let ended = workshop.ends(5, command);
        assert_eq!(is_open(), "f", "{}", ended.stderr);
        assert!(ended.stderr.contains("says that a swap has closed it, but belongs to"), "{}", ended.stderr);
    }
    // Where it is open, nothing of it can be true, and the undo is that of the restore which was.
    open(true);
    workshop.done(&["restore", "--undo", "--yes", "--source", "a-one"]);
    assert_eq!(says(&one), "new");
}

#[test]
fn an_undo_that_loses_its_connection_leaves_no_database_closed() {
    let server = require!(postgres::v15);
    for lost in [true, false] {
        let (one, other, workshop) = two(&server, Role::Admin);
        workshop.done(&["restore", "--yes"]);
        let paused = Paused::at(&workshop, "closed", &["restore", "--undo", "--yes"]);
        assert_eq!(server.sql(&is_open(one.name())), "f");
        if lost {
            // Who holds the lock of this one.
            server.sql(&format!(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' \
                 AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('drctl restore {}', 0)",
                one.name()
            ));
        }
        let ended = paused.go_on();
        assert_eq!(ended.code, i32::from(lost), "{ended:?}");
        let told = format!("database `{}` is open, and is still the restored one", one.name());
        assert_eq!(ended.stderr.contains(&told), lost, "{}", ended.stderr);
        assert_eq!([&one, &other].map(|live| server.sql(&is_open(live.name()))), ["t", "t"]);
        assert_eq!([says(&one), says(&other)], if lost { ["old", "old"] } else { ["new", "new"] });
        drop_all(&server);
    }
}

fn drop_all(server: &Postgres) {
    for name in server.databases() {
        server.sql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    }
}

fn is_open(name: &str) -> String {
    format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'")
}

#[test]
fn an_undo_whose_later_database_was_dropped_meanwhile_is_taken_back() {
    let server = require!(postgres::v15);
    let (one, other, workshop) = two(&server, Role::Admin);
    workshop.done(&["restore", "--yes"]);
    let paused = Paused::at(&workshop, "swapped", &["restore", "--undo", "--yes"]);
    let old = server.databases().into_iter().find(|name| name.starts_with(&format!("{}_before_", other.name())));
    server.sql(&format!("DROP DATABASE \"{}\"", old.unwrap()));
    let ended = paused.go_on();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("not all could be undone"), "{}", ended.stderr);
    assert_eq!([says(&one), says(&other)], ["old", "old"]);

    drop_all(&server);
    // The twin: nothing was dropped, and one of the two is gone. What was kept takes its place again.
    let (one, other, workshop) = two(&server, Role::Admin);
    workshop.done(&["restore", "--yes"]);
    server.sql(&format!("DROP DATABASE {}", one.quoted()));
    let ended = workshop.done(&["restore", "--undo", "--yes"]);
    assert!(
        ended.stdout.contains(&format!("database {} is there again: it was kept as", one.name())),
        "{}",
        ended.stdout
    );
    assert_eq!([says(&one), says(&other)], ["new", "new"]);
}

#[test]
fn an_undo_that_is_taken_back_is_looked_for_when_the_answer_is_lost() {
    let server = require!(postgres::v15);
    // The server has done the last step and its answer is lost; or it never heard of the first.
    for (step, when, restored) in
        [("RENAME TO \"%_before_", When::After, true), ("BEGIN; ALTER DATABASE \"%_undone_", When::Before, false)]
    {
        let (one, other, mut workshop) = two(&server, Role::Admin);
        workshop.done(&["restore", "--yes"]);
        let cutter = Cutter::before(server.port(), &step.replace('%', one.name()), when, Then::Back);
        workshop.set("TEST_URL_A_ONE", &cutter.url(&one.url(Role::Admin), server.port()));
        let paused = Paused::at(&workshop, "swapped", &["restore", "--undo", "--yes"]);
        let old = server.databases().into_iter().find(|name| name.starts_with(&format!("{}_before_", other.name())));
        server.sql(&format!("DROP DATABASE \"{}\"", old.unwrap()));
        let ended = paused.go_on();
        assert!(cutter.has_cut(), "{ended:?}");
        assert_eq!(ended.code, 1, "{ended:?}");
        let again = format!("not all could be undone, and so {} is the restored one again", one.name());
        let stays = format!("{} is the one from before, and others are not", one.name());
        assert_eq!(
            [&again, &stays].map(|text| ended.stderr.contains(text.as_str())),
            [restored, !restored],
            "{}",
            ended.stderr
        );
        assert_eq!([says(&one), says(&other)], [if restored { "old" } else { "new" }, "old"]);
        drop_all(&server);
    }
}
