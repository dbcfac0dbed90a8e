//! What differs from the backup never takes the live database's place, however like it looks; and nobody else is in the
//! restored database before it is whole.

use serde_json::Value;

use crate::support::{
    bed::require,
    paused::Paused,
    postgres::{self, Database, Postgres, Role},
    workshop::Workshop,
};

const RESTORE: [&str; 4] = ["restore", "--yes", "-o", "json"];

/// A database made by `sql`, and a workshop with a backup of it.
fn shop(server: &Postgres, name: &str, sql: &str) -> (Database, Workshop) {
    let live = server.create_database(name);
    live.sql(sql);
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    (live, workshop)
}

/// The only database that is being restored, or was left, beside others.
fn scratch(server: &Postgres) -> Database {
    let names = server.databases();
    let mut beside = names.iter().filter(|name| name.contains("_drctl_"));
    let name = beside.next().unwrap_or_else(|| panic!("{names:?}"));
    assert_eq!(beside.next(), None, "{names:?}");
    server.database(name)
}

/// What a report says is different, and how.
fn differences(report: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(report).unwrap();
    let found = report["databases"][0]["loaded"]["differences"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found.iter().map(|difference| (text(&difference["what"]), text(&difference["how"]))).collect()
}

#[track_caller]
fn are(found: &[(String, String)], wanted: &[&str]) {
    let mut names: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
    let mut wanted = wanted.to_vec();
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted, "{found:#?}");
}

/// Definitions that look alike without their parentheses and casts; and some that a server writes in another way than
/// it was given them.
const ALIKE: &str = r"
CREATE TABLE t (id int PRIMARY KEY, x int, y int, z int, kind varchar(10) CHECK (kind IN ('a', 'b')),
  CONSTRAINT positive CHECK ((x > 0 OR y > 0) AND z > 0));
INSERT INTO t VALUES (1, 1, 1, 1, 'a');
CREATE INDEX t_x ON t ((x::text));
CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT (x + 1) * 2; END;
CREATE VIEW v AS SELECT (kind = 'b')::int AS n FROM t WHERE kind IN ('a', 'b');
";

#[test]
fn definitions_that_look_alike_without_their_parentheses_and_casts_are_different() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "alike", ALIKE);
    let contents = live.contents();
    workshop.done(&["restore", "--yes", "--no-switch"]);
    let beside = scratch(&server);
    beside.sql(
        "ALTER TABLE t DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (x > 0 OR (y > 0 AND z > 0)); \
         DROP INDEX t_x; CREATE INDEX t_x ON t ((x::bigint)); \
         CREATE OR REPLACE FUNCTION twice(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x + 1 * 2; END; \
         DROP VIEW v; CREATE VIEW v AS SELECT (kind = 'b')::int::bigint AS n FROM t WHERE kind IN ('a', 'b')",
    );
    let ended = workshop.ends(4, &["restore", "--switch", "--yes", "-o", "json"]);
    let wanted = ["TABLE public t", "INDEX public t_x", "FUNCTION public twice(integer)", "VIEW public v"];
    are(&differences(&ended.stdout), &wanted);
    assert_eq!(live.contents(), contents);
    // The database that the definitions were compared with is gone.
    assert_eq!(scratch(&server).name(), beside.name());
    server.sql(&format!("DROP DATABASE {}", beside.quoted()));

    workshop.done(&["restore", "--yes", "--no-switch"]);
    workshop.done(&["restore", "--switch", "--yes"]);
    assert_eq!(live.contents(), contents);
}

#[test]
fn a_kill_while_definitions_are_compared_leaves_nothing_that_the_next_run_does_not_drop() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "killed", ALIKE);
    let contents = live.contents();
    let beside = || server.databases().into_iter().filter(|name| name.contains("_drctl_")).count();
    // The twin: one that is not killed drops it itself.
    let ended = Paused::at(&workshop, "twin", &["restore", "--yes", "--no-switch"]).go_on();
    assert_eq!((ended.code, beside()), (0, 1), "{ended:?}");
    server.sql(&format!("DROP DATABASE {}", scratch(&server).quoted()));

    Paused::at(&workshop, "twin", &["restore", "--yes"]).kill();
    assert_eq!(beside(), 2, "what is loaded, and what it is compared with");
    let plan: Value = workshop.json(0, &["restore", "--dry-run"]);
    assert_eq!(plan["databases"][0]["dropped"].as_array().unwrap().len(), 2, "{plan}");
    live.sql("DELETE FROM t");
    workshop.done(&["restore", "--yes"]);
    assert_eq!((live.contents(), beside()), (contents, 0));
}

const GUARDED: &str = r"
CREATE TABLE t (id int PRIMARY KEY, owner text NOT NULL, kind varchar(10) CHECK (kind IN ('a', 'b')), code int);
INSERT INTO t VALUES (1, 'admin', 'a', 1);
CREATE UNIQUE INDEX t_code ON t (code);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (owner = CURRENT_USER);
CREATE VIEW v AS SELECT id FROM t WHERE kind IN ('a', 'b') AND code > 0;
";

#[test]
fn a_newer_server_proves_definitions_that_it_writes_differently() {
    let (server, newer) = (require!(postgres::v15), require!(postgres::v18));
    let (_live, mut workshop) = shop(&server, "newer", GUARDED);
    let target = newer.database(&newer.name("target"));
    workshop.set("ELSEWHERE", &target.url(Role::Admin));
    let restore = [&RESTORE[..], &["--create", "--database-url", "env:ELSEWHERE"]].concat();
    let paused = Paused::at(&workshop, "built", &restore);
    scratch(&newer).sql(
        "ALTER TABLE t DROP CONSTRAINT t_kind_check, ALTER COLUMN owner DROP NOT NULL; \
         DROP INDEX t_code; CREATE INDEX t_code ON t (code); ALTER POLICY own ON t USING (true); \
         CREATE OR REPLACE VIEW v AS SELECT id FROM t",
    );
    let ended = paused.go_on();
    assert_eq!(ended.code, 4, "{ended:?}");
    are(
        &differences(&ended.stdout),
        &["TABLE public t", "INDEX public t_code", "POLICY public t own", "VIEW public v"],
    );
    newer.sql(&format!("DROP DATABASE {}", scratch(&newer).quoted()));

    let ended = workshop.done(&restore);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["databases"][0]["loaded"]["notes"], serde_json::json!([]), "{report}");
    assert_eq!(newer.databases(), [target.name()]);
}

#[test]
fn settings_and_the_connection_limit_of_the_database_are_compared_both_ways() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "settings", "CREATE TABLE t ()");
    live.sql(&format!(
        "ALTER DATABASE {0} SET work_mem TO '5MB'; ALTER DATABASE {0} SET search_path TO \"$user\", public; \
         ALTER ROLE reader IN DATABASE {0} SET lock_timeout TO '3s'",
        live.quoted()
    ));
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--yes", "--no-switch"]);
    let beside = scratch(&server);
    beside.sql(&format!(
        "ALTER DATABASE {0} SET statement_timeout = '7ms'; ALTER DATABASE {0} CONNECTION LIMIT 1; \
         ALTER ROLE reader IN DATABASE {0} SET role TO 'owner'",
        beside.quoted()
    ));
    let ended = workshop.ends(4, &["restore", "--switch", "--yes", "-o", "json"]);
    let wanted = ["setting statement_timeout", "its connection limit", "setting role of role reader"];
    let wanted = wanted.map(|what| format!("database {}: {what}", live.name()));
    are(&differences(&ended.stdout), &wanted.each_ref().map(String::as_str));

    beside.sql(&format!(
        "ALTER DATABASE {0} RESET statement_timeout; ALTER DATABASE {0} CONNECTION LIMIT -1; \
         ALTER ROLE reader IN DATABASE {0} RESET role",
        beside.quoted()
    ));
    workshop.done(&["restore", "--switch", "--yes"]);
}

#[test]
fn nobody_else_is_in_a_database_that_is_being_loaded() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "guest", "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let guest = server.create_role("visitor", "LOGIN PASSWORD 'secret'");
    let enters = |database: &Database| {
        let guest = percent(&guest);
        database.try_sql_at(&database.url_as(&guest, "secret"), "SELECT 1").status.success()
    };
    assert!(enters(&live));
    for point in ["loaded", "built"] {
        let paused = Paused::at(&workshop, point, &RESTORE);
        let beside = scratch(&server);
        assert!(!enters(&beside));
        assert!(beside.try_sql_as(Role::Owner, "SELECT 1").status.success());
        let ended = paused.go_on();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(enters(&live));
    }
}

const AUDITED: &str = r"
CREATE TABLE audit (what text);
CREATE TABLE salaries (who text, eur int);
INSERT INTO salaries SELECT 'name ' || g, g FROM generate_series(1, 100) g;
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
INSERT INTO parts VALUES (1);
SELECT lo_from_bytea(4711, 'hello');
CREATE FUNCTION noted() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit VALUES ('seen'); RETURN 1; END $$;
";

#[test]
fn what_the_build_itself_writes_is_found() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "build", AUDITED);
    live.sql("CREATE MATERIALIZED VIEW m AS SELECT noted() AS n");
    workshop.done(&["backup"]);
    let ended = workshop.ends(4, &RESTORE);
    are(&differences(&ended.stdout), &["table public.audit"]);
    let (_, how) = &differences(&ended.stdout)[0];
    assert!(how.starts_with("it has 2 rows, and the backup 1; it was written to after"), "{how}");
    assert_eq!(live.sql("SELECT count(*) FROM audit"), "1");
    server.sql(&format!("DROP DATABASE {}", scratch(&server).quoted()));

    live.sql("DROP MATERIALIZED VIEW m; CREATE MATERIALIZED VIEW m AS SELECT 1 AS n");
    workshop.done(&["backup"]);
    workshop.done(&RESTORE);
}

fn rows_changed_after_the_build(server: &Postgres) {
    let (live, workshop) = shop(server, "later", AUDITED);
    let contents = live.contents();
    for (sql, what) in [
        ("UPDATE salaries SET eur = 0 WHERE eur = 7", "table public.salaries"),
        ("TRUNCATE salaries", "table public.salaries"),
        ("DELETE FROM parts", "table public.parts_1"),
        ("SELECT lo_put(4711, 0, 'H')", "large object 4711"),
    ] {
        let paused = Paused::at(&workshop, "built", &RESTORE);
        scratch(server).sql(sql);
        let ended = paused.go_on();
        assert_eq!(ended.code, 4, "{sql}: {ended:?}");
        are(&differences(&ended.stdout), &[what]);
        assert_eq!(live.contents(), contents);
        server.sql(&format!("DROP DATABASE {}", scratch(server).quoted()));
    }
    // A session that stays may have told nothing yet of what it wrote.
    let paused = Paused::at(&workshop, "built", &RESTORE);
    let beside = scratch(server);
    let mut held = beside.psql().stdin(std::process::Stdio::piped()).spawn().unwrap();
    let sql = b"UPDATE salaries SET eur = -1 WHERE eur = 7;\n";
    std::io::Write::write_all(held.stdin.as_mut().unwrap(), sql).unwrap();
    crate::support::workshop::wait_for("the update", 120, || {
        (beside.sql("SELECT count(*) FROM salaries WHERE eur = -1") == "1").then_some(())
    });
    let ended = paused.go_on();
    drop(held.stdin.take());
    held.wait().unwrap();
    assert_eq!(ended.code, 4, "{ended:?}");
    are(&differences(&ended.stdout), &["table public.salaries"]);
    server.sql(&format!("DROP DATABASE {}", beside.quoted()));

    let ended = Paused::at(&workshop, "built", &RESTORE).go_on();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(live.contents(), contents);
}

#[test]
fn rows_that_somebody_changes_after_the_build_of_postgresql_15_are_found() {
    rows_changed_after_the_build(&require!(postgres::v15));
}

#[test]
fn rows_that_somebody_changes_after_the_build_of_postgresql_18_are_found() {
    rows_changed_after_the_build(&require!(postgres::v18));
}

#[test]
fn an_event_trigger_of_logins_counts_no_session_of_a_restore() {
    let server = require!(postgres::v18);
    let (live, workshop) =
        shop(&server, "logins", "CREATE TABLE seen (at timestamptz); INSERT INTO seen VALUES (now())");
    live.sql(
        "CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql \
         AS $$ BEGIN INSERT INTO public.seen VALUES (now()); END $$; \
         CREATE EVENT TRIGGER seen ON login EXECUTE FUNCTION seen()",
    );
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--yes", "--no-switch"]);
    let ended = workshop.done(&["restore", "--switch", "--yes", "-o", "json"]);
    are(&differences(&ended.stdout), &[]);
}

#[test]
fn row_security_that_binds_the_owner_keeps_no_restore_from_its_end() {
    let server = require!(postgres::v15);
    let live = server.create_database("forced");
    let sql = "CREATE TABLE t (x int); INSERT INTO t VALUES (1); ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
               CREATE POLICY few ON t USING (x > 1); ALTER TABLE t FORCE ROW LEVEL SECURITY";
    assert!(live.try_sql_as(Role::Owner, sql).status.success());
    let mut workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    workshop.set("OWN", &live.url(Role::Owner));
    let restore = [&RESTORE[..], &["--database-url", "env:OWN"]].concat();
    for (sql, code) in [("SELECT 1", 0), ("UPDATE t SET x = 2", 4)] {
        let paused = Paused::at(&workshop, "built", &restore);
        scratch(&server).sql(sql);
        let ended = paused.go_on();
        assert_eq!(ended.code, code, "{ended:?}");
    }
    // A session that stays: everything is to be compared again, and this cannot be.
    server.sql(&format!("DROP DATABASE {}", scratch(&server).quoted()));
    let paused = Paused::at(&workshop, "built", &restore);
    let mut held = scratch(&server).psql().stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(held.stdin.as_mut().unwrap(), b"SELECT 1;\n").unwrap();
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND state = 'idle' AND datname = ";
    let sessions = format!("{sessions}'{}'", scratch(&server).name());
    crate::support::workshop::wait_for("the session", 120, || (server.sql(&sessions) == "1").then_some(()));
    let ended = paused.go_on();
    drop(held.stdin.take());
    held.wait().unwrap();
    // The session is a superuser's, which an owner cannot end: nothing is swapped.
    assert!(ended.code == 1 && ended.stderr.contains("may not end the sessions of admin"), "{ended:?}");
    // And what cannot be known is no success.
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let left_out = report["databases"][0]["loaded"]["leftOut"].to_string();
    assert!(left_out.contains("the comparison of table public.t after the build"), "{report}");
    assert_eq!(report["complete"], false, "{report}");
}

/// A name in a URL.
fn percent(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
