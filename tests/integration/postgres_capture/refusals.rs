//! What is in the way of a backup, or of a complete one: named, with the next step.

use super::*;
use crate::support::postgres::Pooling;

/// A backup that writes nothing, because something is in its way.
#[track_caller]
fn cannot_run(url: &str, says: &[&str]) {
    let workshop = Workshop::of_databases(&[("db", url)]);
    let ended = workshop.ends(5, &["backup"]);
    for text in says {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    assert!(workshop.files("sessions").is_empty() && workshop.files("backups").is_empty());
    let doctor = workshop.ends(5, &["doctor"]);
    assert!(doctor.stdout.contains("PREVENTS"), "{}", doctor.stdout);
}

#[test]
fn a_database_that_cannot_be_reached_is_named_before_anything_is_written() {
    let server = require!(postgres::v15);
    let database = server.create_database("there");
    database.sql("CREATE TABLE t AS SELECT 1 AS one");
    let url = database.url(Role::Reader);
    let password = server.password(Role::Reader);
    cannot_run(&url.replace(password, "wrong"), &["refuses role `reader`", "password authentication failed", "next: "]);
    cannot_run(&url.replace("reader:", "nobody:"), &["refuses role `nobody`"]);
    cannot_run(&url.replace(database.name(), "nowhere"), &["refuses role", "`nowhere`", "does not exist"]);
    cannot_run(&url.replace(&format!(":{}/", server.port()), ":1/"), &["cannot reach", "127.0.0.1:1", "refused"]);
    cannot_run(&url.replace("127.0.0.1", "no-such-host.invalid"), &["cannot reach", "no-such-host.invalid"]);
    cannot_run(&url.replace("127.0.0.1", "127.0.0.2"), &["127.0.0.2"]);
    // The twin without the fault.
    let workshop = Workshop::of_databases(&[("db", &url)]);
    workshop.done(&["backup"]);
    let doctor = workshop.done(&["doctor"]);
    assert!(doctor.stdout.contains("nothing stands in the way"), "{}", doctor.stdout);
}

#[test]
fn a_server_whose_certificate_nobody_knows_is_not_trusted() {
    let server = require!(postgres::v15);
    let database = server.create_database("tls");
    let authority = server.authority().display().to_string();
    let other = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null", "-out"])
        .arg(other.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let url = database.url(Role::Reader).replace(&authority, &other.path().display().to_string());
    cannot_run(&url, &["cannot encrypt the connection", "caFile"]);
}

#[test]
fn a_pooler_of_transactions_is_refused() {
    let server = require!(postgres::v15);
    let database = server.create_database("pooled");
    let says = ["connection pooler", "next: put the server's own host and port into the address"];
    cannot_run(&database.pooled_url(Pooling::Transaction, Role::Reader), &says);
}

#[test]
fn a_pooler_that_takes_no_settings_is_refused_as_one() {
    // What PgBouncer answers where `ignore_startup_parameters` does not say `options`.
    let refusal = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
    let message = [&b"E"[..], &u32::try_from(refusal.len() + 4).unwrap().to_be_bytes(), refusal].concat();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let mut startup = [0; 1024];
            let _length = stream.read(&mut startup).unwrap();
            stream.write_all(&message).unwrap();
        }
    });
    let url = format!("postgresql://app:secret@127.0.0.1:{port}/shop?sslmode=disable");
    cannot_run(&url, &["is a connection pooler", "next: put the server's own host and port into the address"]);
}

#[tokio::test]
async fn limits_of_the_role_do_not_hold_from_the_first_statement_on() {
    let server = require!(postgres::v15);
    let database = server.create_database("limits");
    let role = server.create_role("hurried", "LOGIN PASSWORD 'hurried'");
    server.sql(&format!("ALTER ROLE {} SET statement_timeout = '1h'", postgres::quoted(&role)));
    let url = database.url_as(&role, "hurried");
    let reset = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'";
    // What a session begins with, whatever it sets afterwards; the twin is any other client.
    let server =
        drctl::sources::postgres::Server::new(drctl::sources::postgres::ConnectionUrl::parse(&url).unwrap(), None);
    let session = server.unwrap().connect("test").await.unwrap();
    assert_eq!(session.row("ask", reset, &[]).await.unwrap().get::<_, &str>(0), "0");
    let other = database.try_sql_at(&url, reset);
    assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), "3600000");
}

#[test]
fn only_the_client_programs_of_the_servers_own_major_are_used() {
    let server = require!(postgres::v18);
    let database = server.create_database("major");
    database.sql("CREATE TABLE t AS SELECT 1 AS one");
    let mut workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    workshop.set("DRCTL_PG_BIN_DIR", "/nonexistent");
    workshop.set("PATH", "/usr/bin:/bin");
    let ended = workshop.ends(5, &["backup"]);
    assert!(
        ended.stderr.contains("no pg_dump of PostgreSQL 18") && ended.stderr.contains("DRCTL_PG_BIN_DIR"),
        "{}",
        ended.stderr
    );
    workshop.set("DRCTL_PG_BIN_DIR", server.programs().to_str().unwrap());
    workshop.done(&["backup"]);
}

#[test]
fn a_newer_pg_dump_is_passed_over_for_the_servers_own() {
    let (server, newer) = (require!(postgres::v15), require!(postgres::v18));
    let database = server.create_database("older");
    database.sql("CREATE TABLE t AS SELECT 1 AS one");
    let mut workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    workshop.set("DRCTL_PG_BIN_DIR", newer.programs().to_str().unwrap());
    workshop.done(&["backup"]);
    let doctor = workshop.done(&["doctor"]);
    assert!(doctor.stdout.contains("pg_dump (PostgreSQL) 15."), "{}", doctor.stdout);
}

#[test]
fn what_the_role_may_not_read_is_named_all_at_once() {
    let server = require!(postgres::v15);
    let database = server.create_database("rights");
    database.sql(
        "CREATE TABLE open (a int); CREATE TABLE closed (a int); CREATE SEQUENCE shut; CREATE SCHEMA dark; CREATE TABLE dark.t (a int);
         GRANT SELECT ON open TO PUBLIC; REVOKE ALL ON closed FROM PUBLIC;",
    );
    let role = server.create_role("nobody", "LOGIN PASSWORD 'nobodys'");
    cannot_run(
        &database.url_as(&role, "nobodys"),
        &["may not read dark.t, public.closed, public.shut", "pg_read_all_data"],
    );
    let workshop = Workshop::of_databases(&[("db", &database.url_as(&role, "nobodys"))]);
    workshop.write_database_policy(&[("db", ", excludeTables: [closed, dark.*, public.shut]")]);
    workshop.done(&["backup"]);
}

#[test]
fn row_security_that_hides_rows_is_named() {
    let server = require!(postgres::v15);
    let database = server.create_database("rls");
    database.sql("CREATE TABLE secret (a int); INSERT INTO secret VALUES (1); ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE TABLE t (a int)");
    cannot_run(&database.url(Role::Reader), &["row security may hide rows", "public.secret", "BYPASSRLS"]);
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    workshop.done(&["backup"]);
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    workshop.write_database_policy(&[("db", ", excludeTableData: [secret]")]);
    workshop.done(&["backup"]);
}

#[test]
fn what_pg_dump_cannot_give_makes_the_backup_partial_and_is_named() {
    let server = require!(postgres::v15);
    let database = server.create_database("partial");
    database.sql("CREATE TABLE t AS SELECT 1 AS one; SELECT lo_from_bytea(4711, 'x')");
    database.run_file("torture-subscription.sql", &[]);
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    let report = workshop.json(3, &["backup"]);
    let missing = report["backup"]["missing"].as_array().unwrap();
    let what: Vec<&str> = missing.iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["subscriptions", "the one large object"]);
    assert!(missing[1]["why"].as_str().unwrap().contains("4711"), "{report}");
    let doctor = workshop.json(3, &["doctor"]);
    let partial = doctor["findings"].as_array().unwrap().iter().filter(|one| one["severity"] == "partial").count();
    assert_eq!(partial, 2, "{doctor}");
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    workshop.done(&["backup"]);
    database.sql("ALTER SUBSCRIPTION \"to \"\"nowhere\"\"\" DISABLE; DROP SUBSCRIPTION \"to \"\"nowhere\"\"\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_foreign_tables_are_elsewhere_and_that_is_said() {
    let server = require!(postgres::v15);
    let database = server.create_database("foreign");
    database.sql(
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE far (line text) SERVER files OPTIONS (filename '/etc/hostname'); CREATE UNLOGGED TABLE fast AS SELECT 1 AS a;
         GRANT SELECT ON far TO reader",
    );
    let (sink, report) = capture(&database.url(Role::Reader), Selection::default()).await;
    assert_eq!(missing(&report), []);
    assert_eq!(report.notes, ["source db: rows of public.far left out: a foreign table has its rows elsewhere"]);
    assert_eq!(tables(&sink)["public.fast"].0, 1, "unlogged tables are captured");
}
