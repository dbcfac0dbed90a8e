//! What `drctl doctor` says of a database: each thing by itself, and nothing of a database that has none of them.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use drctl::sources::{
    Severity,
    postgres::{ConnectionUrl, PostgresSource, Selection, Server},
};
use serde_json::Value;

use crate::support::{
    bed::require,
    own_postgres::OwnPostgres,
    postgres::{self, Database, Role},
    workshop::{Workshop, wait_for},
};

/// Findings of a report that are no good news, as `severity: text`.
fn findings(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    let bad = all.filter(|one| one["severity"] != "good");
    bad.map(|one| format!("{}: {}", one["severity"].as_str().unwrap(), one["what"].as_str().unwrap())).collect()
}

/// A session that stays in its transaction until it is dropped.
struct Session {
    child: Child,
    database: Database,
}

/// Sessions of this sort in a database.
fn sleepers(database: &Database) -> String {
    format!(
        "FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%pg_sleep(600)' AND wait_event = 'PgSleep'",
        database.name()
    )
}

impl Session {
    fn open(database: &Database, sql: &str) -> Self {
        let mut command = database.psql();
        let sql = format!("BEGIN; {sql}; SELECT pg_sleep(600)");
        let child = command.arg("-c").arg(sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let count = format!("SELECT count(*) {}", sleepers(database));
        wait_for("the session", 60, || (database.sql(&count) == "1").then_some(()));
        Self { child, database: database.clone() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its end alone would leave the server's side asleep.
        self.database.sql(&format!("SELECT pg_terminate_backend(pid, 10000) {}", sleepers(&self.database)));
        let _ = self.child.wait();
    }
}

#[test]
fn each_thing_in_the_way_has_its_line_and_a_plain_database_has_none() {
    let server = require!(postgres::v15);
    let plain = server.create_database("plain");
    plain
        .sql("CREATE TABLE t AS SELECT 1 AS a; SELECT lo_from_bytea(1, 'x'); GRANT SELECT ON LARGE OBJECT 1 TO reader");
    let report = |database: &Database, code: i32, role: Role| {
        Workshop::of_databases(&[("db", &database.url(role))]).json(code, &["doctor"])
    };
    assert_eq!(findings(&report(&plain, 0, Role::Reader)), Vec::<String>::new());

    // What makes the thing, the exit code, what is said of it, and what to do.
    let cases = [
        (
            "CREATE UNLOGGED TABLE fast ()",
            0,
            "note: a crash of the server empties unlogged tables, and a standby has none of their rows: public.fast",
            "",
        ),
        (
            "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; \
             CREATE FOREIGN TABLE far (line text) SERVER files OPTIONS (filename '/etc/hostname')",
            0,
            "note: rows of foreign tables are not captured: public.far",
            "back them up where they are",
        ),
        (
            "CREATE TABLE rows (a int); ALTER TABLE rows ENABLE ROW LEVEL SECURITY",
            5,
            "prevents: row security may hide rows from role `reader` in public.rows",
            "ALTER ROLE reader BYPASSRLS, or leave them out by `excludeTables`",
        ),
        (
            "SELECT lo_from_bytea(4711, 'x')",
            3,
            "partial: role `reader` may not read 1 of 1 large object (`pg_read_all_data` does not reach them): all of them would be left out",
            "use their owner or a superuser, or GRANT SELECT ON LARGE OBJECT",
        ),
        (
            "SELECT pg_create_logical_replication_slot('drctl_doctor_' || pg_backend_pid(), 'test_decoding')",
            0,
            "(inactive) is not part of a backup; a restored database has none",
            "",
        ),
        (
            "BEGIN; CREATE TABLE p (); PREPARE TRANSACTION 'drctl doctor'",
            0,
            "note: transaction `drctl doctor` of role `admin` was prepared 0 min ago and not ended",
            "",
        ),
    ];
    for (place, (sql, code, says, next)) in cases.iter().enumerate() {
        let database = server.create_database(&format!("case-{place}"));
        database.sql(sql);
        let report = report(&database, *code, Role::Reader);
        let found = findings(&report);
        assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:#?}");
        let told = report["findings"].as_array().unwrap().iter().find(|one| one["severity"] != "good").unwrap();
        assert_eq!(told["next"].as_str().unwrap_or_default(), *next, "{says}");
        assert_eq!(told["subject"], "source db");
        if sql.contains("PREPARE") {
            database.sql("ROLLBACK PREPARED 'drctl doctor'");
        }
        if *code > 0 {
            // To a superuser it is not in the way.
            assert_eq!(findings(&self::report(&database)), Vec::<String>::new(), "{says}");
        }
    }
}

fn report(database: &Database) -> Value {
    Workshop::of_databases(&[("db", &database.url(Role::Admin))]).json(0, &["doctor"])
}

/// The same, whatever its exit code: a lock is in the way once it has been held for 10 s.
fn whatever(database: &Database) -> Value {
    let ended = Workshop::of_databases(&[("db", &database.url(Role::Admin))]).run(&["doctor", "-o", "json"]);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn subscriptions_are_named_to_whoever_may_not_read_them() {
    let server = require!(postgres::v15);
    let database = server.create_database("subscribed");
    database.sql("CREATE TABLE t AS SELECT 1 AS a");
    database.run_file("torture-subscription.sql", &[]);
    let reader = Workshop::of_databases(&[("db", &database.url(Role::Reader))]).json(3, &["doctor"]);
    assert_eq!(findings(&reader), ["partial: 1 subscription is left out: only a superuser may read what it says"]);
    assert_eq!(findings(&report(&database)), Vec::<String>::new());
    database.sql("ALTER SUBSCRIPTION \"to \"\"nowhere\"\"\" DISABLE; DROP SUBSCRIPTION \"to \"\"nowhere\"\"\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_hold_locks_or_stay_in_a_transaction_are_named() {
    let server = require!(postgres::v15);
    let database = server.create_database("held");
    database.sql("CREATE TABLE t AS SELECT 1 AS a");
    assert_eq!(findings(&report(&database)), Vec::<String>::new());
    let locker = Session::open(&database, "LOCK TABLE t");
    let found = findings(&whatever(&database));
    assert!(found.len() == 1 && found[0].contains(": session "), "{found:#?}");
    assert!(
        found[0].contains("(role `admin`) holds an exclusive lock on `public.t`; a backup waits 10 s for it"),
        "{found:#?}"
    );
    drop(locker);
    assert_eq!(findings(&report(&database)), Vec::<String>::new());

    // Others than superusers and members of pg_read_all_stats are not told when a transaction began.
    let url = ConnectionUrl::parse(&database.url(Role::Admin)).unwrap();
    let source = PostgresSource::new("db".parse().unwrap(), Server::new(url, None).unwrap(), Selection::default());
    let _reader = Session::open(&database, "SELECT FROM t");
    let not_good = async |source: &PostgresSource| {
        let (findings, ended) = source.examine().await;
        ended.unwrap();
        let findings = findings.into_iter().filter(|one| one.severity != Severity::Good);
        // The server vacuums when it likes to.
        findings.map(|one| one.what).filter(|what| !what.contains("role ``")).collect::<Vec<_>>()
    };
    assert_eq!(not_good(&source).await, Vec::<String>::new(), "it is not old yet");
    let found = not_good(&source.with_old_transactions(Duration::ZERO)).await;
    assert!(found.len() == 1 && found[0].contains("has a transaction open for 0 min"), "{found:#?}");
    assert!(found[0].contains("(role `admin`, application `psql`)"), "{found:#?}");
}

#[test]
fn client_programs_that_are_missing_or_of_another_major_are_named_with_where_they_were_looked_for() {
    let (newer, older) = (require!(postgres::v18), require!(postgres::v15));
    let database = newer.create_database("tools");
    database.sql("CREATE TABLE t AS SELECT 1 AS a");
    let mut workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    workshop.set("PATH", "/usr/bin:/bin");
    workshop.set("DRCTL_PG_BIN_DIR", "/nonexistent");
    let missing = findings(&workshop.json(5, &["doctor"]));
    let lines = |found: &[String], program: &str| {
        found
            .iter()
            .filter(|line| line.starts_with(&format!("prevents: there is no {program} of PostgreSQL 18")))
            .count()
    };
    assert_eq!((missing.len(), lines(&missing, "pg_dump"), lines(&missing, "pg_restore")), (2, 1, 1), "{missing:#?}");

    let others = older.programs().to_str().unwrap().to_owned();
    workshop.set("DRCTL_PG_BIN_DIR", &others);
    let wrong = findings(&workshop.json(5, &["doctor"]));
    assert_eq!((lines(&wrong, "pg_dump"), lines(&wrong, "pg_restore")), (1, 1), "{wrong:#?}");
    assert!(wrong.iter().all(|line| line.contains("15") && line.contains(&others)), "{wrong:#?}");

    workshop.set("DRCTL_PG_BIN_DIR", newer.programs().to_str().unwrap());
    assert_eq!(findings(&workshop.json(0, &["doctor"])), Vec::<String>::new());
}

#[test]
fn a_standby_has_no_rows_of_unlogged_tables_and_that_is_said() {
    let primary = OwnPostgres::start(&require!(postgres::v15));
    primary.sql("CREATE UNLOGGED TABLE fast AS SELECT 1 AS a; CREATE TABLE kept AS SELECT 1 AS a");
    let standby = primary.standby();
    let workshop = Workshop::of_databases(&[("db", &standby.url())]);
    let says = "a standby has no rows of unlogged tables: public.fast";
    assert_eq!(findings(&workshop.json(3, &["doctor"])), [format!("partial: {says}")]);
    let report = workshop.json(3, &["backup"]);
    assert_eq!(report["backup"]["missing"][0]["what"], "rows of public.fast", "{report:#}");
    workshop.write_database_policy(&[("db", ", excludeTableData: [fast]")]);
    assert_eq!(findings(&workshop.json(0, &["doctor"])), Vec::<String>::new());
    workshop.done(&["backup"]);
}

#[test]
fn names_that_are_no_text_are_shown_and_nothing_is_lost_of_them() {
    let server = require!(postgres::v15);
    let database = server.create_database_with("ascii", "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    database.run_file("torture-sql-ascii.sql", &[("odd_names", "1")]);
    database.sql("SET client_encoding = 'SQL_ASCII'; DO $$ BEGIN EXECUTE format('CREATE UNLOGGED TABLE %I (a int)', E'f\\xe4st'); END $$");
    let contents = database.contents();
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    let found = findings(&workshop.json(0, &["doctor"]));
    assert!(
        found.iter().any(|line| line.contains("names that are no UTF-8") && line.contains("caf\u{fffd}")),
        "{found:#?}"
    );
    let noted = workshop.done(&["backup"]).stdout;
    assert!(noted.contains("names that are no UTF-8") && noted.contains("caf\u{fffd}"), "{noted}");
    let shown = workshop.done(&["show", "latest"]);
    assert!(shown.stdout.contains("caf\u{fffd}"), "{}", shown.stdout);
    let refused = workshop.ends(5, &["restore", "--yes"]);
    for text in
        ["names that are no UTF-8 cannot be loaded, of public.", "caf\u{fffd}", "drctl export", "nothing was changed"]
    {
        assert!(refused.stderr.contains(text), "{text}: {}", refused.stderr);
    }
    assert_eq!((database.contents(), server.databases()), (contents.clone(), vec![database.name().to_owned()]));
    // What can be named is restored, and so is all of it once it can.
    let report = workshop.json(0, &["restore", "--yes", "--table", "public.bytes"]);
    assert_eq!(report["databases"][0]["loaded"]["differences"].as_array().unwrap().len(), 0, "{report:#}");
    let schema = database.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drctl\\_%'");
    database.sql(&format!("DROP SCHEMA {schema} CASCADE"));
    assert_eq!(database.contents(), contents);
    let locked = Session::open(&database, "DO $$ BEGIN EXECUTE format('LOCK TABLE %I', E'caf\\xe9'); END $$");
    let found = findings(&whatever(&database));
    assert!(found.iter().any(|line| line.contains("holds an exclusive lock on `public.")), "{found:#?}");
    drop(locked);
    // In place, it is something that is there.
    let ended = workshop.ends(5, &["restore", "--yes", "--in-place"]);
    assert!(ended.stderr.contains("the database is not empty"), "{}", ended.stderr);
}
