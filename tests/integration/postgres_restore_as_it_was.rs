//! What others have said of databases holds through a restore: who may come in, and whose turn it is.

use std::process::{Child, Stdio};

use crate::support::{
    bed::require,
    paused::Paused,
    postgres::{self, Database, Postgres, Role, quoted},
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// A database whose backup says `old` and which itself says `new` since.
fn shop(server: &Postgres, name: &str) -> (Database, Workshop) {
    let live = server.create_database(name);
    let made = live.try_sql_as(Role::Owner, "CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
    assert!(made.status.success());
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Owner))]);
    workshop.done(&["backup"]);
    live.sql("UPDATE a SET t = 'new'");
    (live, workshop)
}

fn is_open(server: &Postgres, name: &str) -> bool {
    server.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'")) == "t"
}

fn allow(database: &Database, open: bool) {
    database.server().sql(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {open}", database.quoted()));
}

/// What it says, whether it is open or not.
fn says(database: &Database) -> String {
    let open = is_open(database.server(), database.name());
    allow(database, true);
    let says = database.sql("SELECT t FROM a");
    allow(database, open);
    says
}

/// A session that does this, and then sleeps.
fn session(database: &Database, sql: &str) -> Child {
    let child = database
        .psql()
        .args(["-c", &format!("{sql}; SELECT pg_sleep(600)")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        database.name()
    );
    wait_for("the session", 120, || (database.server().sql(&count) == "1").then_some(()));
    child
}

fn end(database: &Database, mut session: Child) {
    let sql =
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = ";
    database.server().sql(&format!("{sql}'{}'", database.name()));
    session.wait().unwrap();
}

#[test]
fn a_database_that_its_admin_has_closed_is_opened_by_no_swap_and_no_undo() {
    let server = require!(postgres::v15);
    // The twin: one that is open.
    for open in [false, true] {
        let (live, workshop) = shop(&server, &format!("open-{open}"));
        allow(&live, open);
        let plan = workshop.json(0, &["restore", "--dry-run"]);
        let warned = plan["databases"][0]["warnings"].to_string().contains("takes no connections");
        assert_eq!(warned, !open, "{plan}");
        workshop.done(&["restore", "--yes"]);
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (open, "old"));
        let before = server.databases().into_iter().find(|name| name.contains("_before_")).unwrap();
        assert_eq!(is_open(&server, &before), open);

        workshop.done(&["restore", "--undo", "--yes"]);
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (open, "new"));
        // What was restored is opened for its users, who then want to go back.
        workshop.done(&["restore", "--yes"]);
        allow(&live, true);
        workshop.done(&["restore", "--undo", "--yes"]);
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (true, "new"));
        for name in server.databases() {
            server.sql(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&name)));
        }
    }
}

#[test]
fn a_swap_of_a_closed_database_that_was_killed_leaves_it_closed_for_the_next_run_too() {
    let server = require!(postgres::v15);
    for point in ["closed", "ended", "swapped"] {
        let (live, workshop) = shop(&server, point);
        allow(&live, false);
        Paused::at(&workshop, point, &["restore", "--yes"]).kill();
        assert!(!is_open(&server, live.name()), "{point}");
        if point == "swapped" {
            workshop.done(&["restore", "--undo", "--yes"]);
        } else {
            let plan = workshop.json(0, &["restore", "--dry-run"]);
            assert!(
                plan["databases"][0]["warnings"].to_string().contains("it stays closed, as it was before"),
                "{plan}"
            );
            // What was before an earlier restore is not what goes back: only the swap that did not end is taken back.
            let ended = workshop.done(&["restore", "--undo", "--yes"]);
            assert!(ended.stdout.contains("had not been replaced; it stays closed"), "{}", ended.stdout);
        }
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (false, "new"), "{point}");
        let ended = workshop.done(&["restore", "--yes"]);
        assert!(ended.stdout.contains("it takes no connections, like the one before"), "{}", ended.stdout);
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (false, "old"), "{point}");
        // And a kill on the way back.
        Paused::at(&workshop, point, &["restore", "--undo", "--yes"]).kill();
        if point != "swapped" {
            workshop.done(&["restore", "--undo", "--yes"]);
        }
        assert_eq!((is_open(&server, live.name()), says(&live).as_str()), (false, "new"), "{point}");
    }
}

#[test]
fn two_restores_of_one_database_exclude_each_other_wherever_their_sessions_are() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "locked");
    // One that was not let into the database that this one works from.
    let elsewhere = server.create_database("elsewhere");
    let lock = format!("SELECT pg_advisory_lock(hashtextextended('drctl restore {}', 0))", live.name());
    let other = session(&elsewhere, &lock);
    let ended = workshop.ends(5, &["restore", "--yes"]);
    assert!(ended.stderr.contains("another restore"), "{}", ended.stderr);
    assert_eq!(says(&live), "new");
    end(&elsewhere, other);

    // The twin: a lock of another database's restore.
    let other = session(&elsewhere, "SELECT pg_advisory_lock(hashtextextended('drctl restore of another', 0))");
    workshop.done(&["restore", "--yes"]);
    assert_eq!(says(&live), "old");
    end(&elsewhere, other);
}

#[test]
fn a_closed_database_that_was_opened_to_be_looked_at_is_closed_again_when_the_look_fails() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "looked-at");
    let of = |id: &str| server.database(&format!("{}_drctl_{id}", live.name()));
    let (precious, empty) = (of("20260102030405abcd"), of("20260102030406abcd"));
    for database in [&precious, &empty] {
        server.sql(&format!("CREATE DATABASE {} TEMPLATE template0 OWNER owner", database.quoted()));
    }
    precious.sql("CREATE TABLE precious ()");
    [&precious, &empty].iter().for_each(|database| allow(database, false));
    let as_it_was = |database: &Database| {
        server.sql(&format!(
            "SELECT NOT datallowconn AND has_database_privilege('public', oid, 'CONNECT') FROM pg_database WHERE datname = '{}'",
            database.name()
        ))
    };
    // Somebody changes the second one, so that it cannot be opened meanwhile.
    let elsewhere = server.create_database("elsewhere");
    let other = session(&elsewhere, &format!("BEGIN; ALTER DATABASE {} CONNECTION LIMIT 7", empty.quoted()));
    let mut command = workshop.command(&["restore", "--yes"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = format!("FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'", empty.name());
    let ask = format!("SELECT count(*) {waiting} AND query LIKE '%REVOKE%' AND pid <> pg_backend_pid()");
    wait_for("the look", 120, || (server.sql(&ask) == "1").then_some(()));
    assert_eq!(as_it_was(&precious), "f", "it is looked at");
    server.sql(&format!("SELECT pg_cancel_backend(pid) {waiting} AND pid <> pg_backend_pid()"));
    // That one stays changed by somebody, and cannot be closed before he is done.
    let close = format!("SELECT count(*) {waiting} AND pid <> pg_backend_pid() AND query NOT LIKE '%REVOKE%'");
    wait_for("the second one", 120, || (server.sql(&close) == "1").then_some(()));
    end(&elsewhere, other);
    let ended: Ended = run.wait_with_output().unwrap().into();
    assert_ne!(ended.code, 0, "{ended:?}");
    assert_eq!([as_it_was(&precious), as_it_was(&empty)], ["t", "t"], "{ended:?}");
    assert_eq!(says(&live), "new");

    // The twin: nobody is in the way.
    workshop.done(&["restore", "--yes"]);
    assert_eq!((says(&live).as_str(), as_it_was(&precious).as_str()), ("old", "t"));
    assert!(!server.databases().contains(&empty.name().to_owned()));
    allow(&precious, true);
    assert_eq!(precious.sql("SELECT count(*) FROM precious"), "0");
}

#[test]
fn advice_names_roles_as_sql_and_a_shell_take_them() {
    let server = require!(postgres::v15);
    let role = server.create_role("odd \"role's", "NOLOGIN");
    let live = server.create_database("roles");
    live.sql(&format!("CREATE TABLE a (); ALTER TABLE a OWNER TO {}", quoted(&role)));
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    live.sql(&format!("ALTER TABLE a OWNER TO owner; DROP ROLE {}", quoted(&role)));
    let ended = workshop.ends(5, &["restore", "--yes"]);
    let shell = format!("--map-role '{}=OTHER'", role.replace('\'', "'\\''"));
    for word in [format!("CREATE ROLE {},", quoted(&role)), shell] {
        assert!(ended.stderr.contains(&word), "{word}: {}", ended.stderr);
    }
    // The twin: the statement of the advice is one that the server takes.
    server.sql(&format!("CREATE ROLE {}", quoted(&role)));
    workshop.done(&["restore", "--yes"]);
}

/// A tablespace in the server's own folder, of the test's name.
struct Space {
    server: Postgres,
    name: String,
}

impl Space {
    fn new(server: &Postgres) -> Self {
        let name = server.name("space");
        server.sql(&format!("SET allow_in_place_tablespaces TO on; CREATE TABLESPACE {} LOCATION ''", quoted(&name)));
        Self { server: server.clone(), name }
    }

    fn remove(&self) {
        for name in self.server.databases() {
            self.server.sql(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&name)));
        }
        self.server.sql(&format!("DROP TABLESPACE {}", quoted(&self.name)));
    }
}

fn space_of(database: &Database) -> String {
    database.server().sql(&format!(
        "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = '{}'",
        database.name()
    ))
}

#[test]
fn a_database_is_restored_into_the_tablespace_that_it_has_or_that_it_had() {
    let server = require!(postgres::v15);
    let space = Space::new(&server);
    let grant = |what: &str| server.sql(&format!("{what} owner", what = what.replace("NAME", &quoted(&space.name))));
    let live = server.create_database_with("placed", &format!("TEMPLATE template0 TABLESPACE {}", quoted(&space.name)));
    live.sql("CREATE TABLE a AS SELECT 1 AS x; ALTER TABLE a OWNER TO owner");
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Owner))]);
    workshop.done(&["backup"]);
    let doctor = workshop.done(&["doctor"]);
    assert!(doctor.stdout.contains(&format!("the database is in tablespace `{}`", space.name)), "{}", doctor.stdout);
    let warnings = |flags: &[&str]| {
        let plan = workshop.json(0, &[&["restore", "--dry-run"], flags].concat());
        plan["databases"][0]["warnings"].to_string()
    };

    // Who may create nothing in it is told so.
    assert!(warnings(&[]).contains("GRANT CREATE ON TABLESPACE"), "{}", warnings(&[]));
    grant("GRANT CREATE ON TABLESPACE NAME TO");
    assert!(!warnings(&[]).contains("tablespace"), "{}", warnings(&[]));
    workshop.done(&["restore", "--yes"]);
    assert_eq!(space_of(&live), space.name);
    // The database is gone, and the backup says where it was.
    server.sql(&format!("DROP DATABASE {}", live.quoted()));
    workshop.done(&["restore", "--yes", "--create"]);
    assert_eq!(space_of(&live), space.name);

    // The twin: one that was moved since.
    let moved = server.create_database("moved");
    moved.sql("CREATE TABLE a AS SELECT 1 AS x; ALTER TABLE a OWNER TO owner");
    let other = Workshop::of_databases(&[("db", &moved.url(Role::Owner))]);
    other.done(&["backup"]);
    let doctor = other.done(&["doctor"]);
    assert!(!doctor.stdout.contains("tablespace"), "{}", doctor.stdout);
    server.sql(&format!("ALTER DATABASE {} SET TABLESPACE {}", moved.quoted(), quoted(&space.name)));
    other.done(&["restore", "--yes"]);
    assert_eq!(space_of(&moved), space.name);

    // And a server that has none of this name.
    grant("REVOKE CREATE ON TABLESPACE NAME FROM");
    server.sql(&format!("DROP DATABASE {}", live.quoted()));
    space.remove();
    assert!(warnings(&["--create"]).contains("which is not on this server"), "{}", warnings(&["--create"]));
    workshop.done(&["restore", "--yes", "--create"]);
    assert_eq!((space_of(&live).as_str(), live.sql("SELECT x FROM a").as_str()), ("pg_default", "1"));
}

#[test]
fn what_a_killed_restore_has_left_is_named_by_the_doctor() {
    let server = require!(postgres::v15);
    for (point, code, says, next) in [
        ("loaded", 0, "was left half loaded by restore", "the next restore drops it"),
        ("ready", 0, "which never swapped it in", "drctl restore --switch"),
        ("closed", 5, "is closed: restore", "drctl restore --undo"),
        ("swapped", 0, "was live until restore", "DROP DATABASE"),
        ("undo closed", 5, "is closed: the undo of restore", "`drctl restore --undo` ends the way back"),
        ("undo swapped", 0, "taken out again by an undo", "DROP DATABASE"),
    ] {
        let (_live, workshop) = shop(&server, point);
        // The twin: nothing was left yet.
        let report = workshop.json(0, &["doctor"]).to_string();
        assert!(!report.contains("restore 2"), "{report}");
        let paused = match point.strip_prefix("undo ") {
            None => Paused::at(&workshop, point, &["restore", "--yes"]),
            Some(point) => {
                workshop.done(&["restore", "--yes"]);
                Paused::at(&workshop, point, &["restore", "--undo", "--yes"])
            }
        };
        // A restore that runs is at work on what it has made.
        if !point.ends_with("closed") {
            let report = workshop.json(0, &["doctor"]).to_string();
            assert!(!report.contains(says), "{point}: {report}");
        }
        paused.kill();
        let report = wait_for("the end of its lock", 120, || {
            let report = workshop.json(code, &["doctor"]);
            report.to_string().contains(says).then_some(report)
        });
        let found = report["findings"].as_array().unwrap().iter();
        let found = found.filter(|one| one["what"].as_str().unwrap().contains(says)).collect::<Vec<_>>();
        assert!(found.len() == 1 && found[0]["severity"] == "note", "{point}: {report}");
        assert!(found[0]["next"].as_str().unwrap().contains(next), "{point}: {report}");
    }
}

#[test]
fn what_is_written_into_one_database_while_another_is_loaded_keeps_both_from_being_swapped_in() {
    let server = require!(postgres::v15);
    let go_on = server.name("go-on");
    for (sql, code, says_after) in [("UPDATE a SET t = 'changed'", 4, "new"), ("SELECT", 0, "old")] {
        let (one, other) = (server.create_database("one"), server.create_database("other"));
        for live in [&one, &other] {
            live.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
        }
        // Its restore waits for a role of this name.
        server.sql(&format!("CREATE ROLE {}", quoted(&go_on)));
        other.sql(&format!(
            "CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
             WHILE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{go_on}') LOOP PERFORM pg_catalog.pg_sleep(0.05); \
             END LOOP; RETURN 1; END $$; CREATE MATERIALIZED VIEW waits AS SELECT wait() AS x"
        ));
        let databases = [("a-one", &one), ("b-other", &other)].map(|(name, live)| (name, live.url(Role::Admin)));
        let workshop = Workshop::of_databases(&databases.each_ref().map(|(name, url)| (*name, url.as_str())));
        workshop.done(&["backup"]);
        for live in [&one, &other] {
            live.sql("UPDATE a SET t = 'new'");
        }
        server.sql(&format!("DROP ROLE {}", quoted(&go_on)));
        let mut command = workshop.command(&["restore", "--yes", "-o", "json"]);
        let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ready = format!(
            "SELECT datname FROM pg_database WHERE datname LIKE '{}\\_drctl\\_%' \
             AND shobj_description(oid, 'pg_database') LIKE '%\"ready\"%'",
            one.name()
        );
        let scratch = wait_for("the first database", 120, || Some(server.sql(&ready)).filter(|name| !name.is_empty()));
        server.database(&scratch).sql(sql);
        server.sql(&format!("CREATE ROLE {}", quoted(&go_on)));
        let ended: Ended = run.wait_with_output().unwrap().into();
        assert_eq!(ended.code, code, "{ended:?}");
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let differences = report["databases"][0]["loaded"]["differences"].to_string();
        assert_eq!(differences.contains("table public.a"), code == 4, "{report}");
        if code == 4 {
            let known =
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
            let known = server.database(&scratch).sql(known);
            assert!(known.contains("\"stage\":\"differs\""), "{known}");
        }
        assert_eq!([one.sql("SELECT t FROM a"), other.sql("SELECT t FROM a")], [says_after, says_after]);
        for name in server.databases() {
            server.sql(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&name)));
        }
        server.sql(&format!("DROP ROLE {}", quoted(&go_on)));
    }
}

#[test]
fn rows_that_go_through_a_root_which_does_not_come_are_refused_with_what_to_do() {
    let server = require!(postgres::v15);
    let live = server.create_database("rootless");
    live.sql(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE moods (m mood, x int) PARTITION BY HASH (m); \
         CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
         INSERT INTO moods SELECT m, 1 FROM unnest(enum_range(NULL::mood)) m; CREATE TABLE a AS SELECT 1 AS x",
    );
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    // The twin: the root comes.
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.sql("SELECT count(*) FROM moods"), "2");
    workshop.write_database_policy(&[("db", ", excludeTables: [moods]")]);
    workshop.run(&["backup"]);
    let ended = workshop.ends(5, &["restore", "--yes", "--no-switch"]);
    for word in [
        "the rows of table public.moods_0 would be left out",
        "the root of its partitions",
        "--leave-out",
        "drctl export",
    ] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    let report = workshop.json(3, &["restore", "--yes", "--no-switch", "--leave-out"]);
    let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
    assert_eq!(
        (beside.sql("SELECT x FROM a").as_str(), beside.sql("SELECT count(*) FROM moods_0").as_str()),
        ("1", "0")
    );
}
