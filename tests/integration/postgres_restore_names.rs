//! Names, comments and addresses that are not what one expects, in what a restore prints and keeps.

use crate::support::{
    bed::require,
    postgres::{self, Database, Postgres, Role},
    program::Ended,
    workshop::Workshop,
};

/// A database with one row in `public.a`, and a workshop with its backup.
fn backed_up(server: &Postgres, name: &str, more: &str) -> (Database, Workshop) {
    let live = server.create_database(name);
    live.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
    live.sql(more);
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    (live, workshop)
}

fn says(database: &Database) -> String {
    database.sql("SELECT t FROM a")
}

/// Nothing that a terminal obeys.
#[track_caller]
fn is_quiet(ended: &Ended) {
    let text = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!text.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{text:?}");
}

/// What the line that begins with `kept:` says is to be run.
fn drop_of(ended: &Ended) -> String {
    let line = ended.stdout.lines().find(|line| line.trim_start().starts_with("kept:"));
    let line = line.unwrap_or_else(|| panic!("{}", ended.stdout));
    line[line.find("DROP DATABASE").unwrap()..].to_owned()
}

#[test]
fn a_name_that_moves_a_cursor_is_spelled_out_and_what_is_printed_of_it_can_be_run() {
    let server = require!(postgres::v15);
    let odd = "CREATE TABLE \"z\u{1b}[2J\u{1b}]0;x\u{7}\" (id int)";
    // The twin has an ordinary name.
    for name in ["\u{1b}[2J\u{7}\u{202e}x", "plain"] {
        let (live, workshop) = backed_up(&server, name, odd);
        let ended = workshop.ends(2, &["restore", "--yes", "--table", "public.zz"]);
        is_quiet(&ended);
        assert!(ended.stderr.contains(r"z\u{1b}[2J"), "{}", ended.stderr);
        is_quiet(&workshop.ends(2, &["restore", "--yes", "--table", "public.\u{1b}zz"]));
        is_quiet(&workshop.done(&["restore", "--dry-run"]));
        live.sql("UPDATE a SET t = 'new'");

        let restored = workshop.done(&["restore", "--yes"]);
        is_quiet(&restored);
        let undone = workshop.done(&["restore", "--undo", "--yes"]);
        is_quiet(&undone);
        assert_eq!(says(&live), "new");
        server.sql(&drop_of(&undone));
        let restored = workshop.done(&["restore", "--yes"]);
        server.sql(&drop_of(&restored));
        assert_eq!((says(&live).as_str(), server.databases()), ("old", vec![live.name().to_owned()]));
        server.sql(&format!("DROP DATABASE {}", live.quoted()));
    }
}

#[test]
fn a_name_that_ends_a_comment_is_no_sql_in_the_merge_that_is_printed() {
    let server = require!(postgres::v15);
    let name = "n\nDROP TABLE victim;\n--";
    let (live, workshop) = backed_up(
        &server,
        "merge",
        &format!(
            "CREATE TABLE victim (id int); CREATE TABLE \"{name}\" (\"i\nd\" int PRIMARY KEY, \"\\!\r\" text);
             INSERT INTO \"{name}\" VALUES (1, 'x'), (2, 'y');
             CREATE TABLE \"{name}2\" (\"i\nd\" int); INSERT INTO \"{name}2\" VALUES (1), (1)"
        ),
    );
    let before = live.contents();
    live.sql(&format!("DELETE FROM \"{name}\" WHERE \"i\nd\" = 1; DELETE FROM \"{name}2\""));
    let (one, two) = (format!("public.\"{name}\""), format!("public.\"{name}2\""));
    let tables = ["--table", &one, "--table", &two, "--table", "public.a"];
    let report = workshop.json(0, &[&["restore", "--yes"][..], &tables].concat());
    let merge = report["databases"][0]["loaded"]["merge"].as_str().unwrap();
    assert!(!merge.contains("\nDROP TABLE") && !merge.contains('\r'), "{merge}");
    live.sql(merge);
    assert_eq!(live.contents(), before, "{merge}");
    // For people, too: what is printed is what can be run.
    let ended = workshop.done(&[&["restore", "--yes"][..], &tables].concat());
    is_quiet(&ended);
    let (_, printed) = ended.stdout.split_once("\n-- The tables of backup").unwrap();
    let (printed, _) = printed.split_once(" CASCADE;").unwrap();
    live.sql(&format!("--{printed} CASCADE;"));
    assert_eq!(live.contents(), before, "{printed}");
}

#[test]
fn databases_whose_long_names_begin_alike_are_one_restore() {
    let server = require!(postgres::v15);
    // The test's own prefix is of 28 bytes at most.
    let [one, other] = ["social", "financial"].map(|end| {
        let live = server.create_database(&format!("expenses-of-production-{end}"));
        live.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
        live
    });
    assert!(one.name()[..38] == other.name()[..38] && one.name() != other.name(), "{one:?} {other:?}");
    let workshop = Workshop::of_databases(&[("one", &one.url(Role::Admin)), ("two", &other.url(Role::Admin))]);
    workshop.done(&["backup"]);
    let all = [&one, &other];
    let say = || all.map(says);
    all.iter().for_each(|live| _ = live.sql("UPDATE a SET t = 'new'"));
    workshop.done(&["restore", "--yes"]);
    assert_eq!(say(), ["old", "old"]);
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(say(), ["new", "new"]);
    workshop.done(&["restore", "--yes", "--no-switch"]);
    workshop.done(&["restore", "--yes", "--switch"]);
    assert_eq!(say(), ["old", "old"]);
}

#[test]
fn a_swap_whose_way_back_could_not_be_read_is_refused_before_anything_is_written() {
    let server = require!(postgres::v15);
    let (live, workshop) = backed_up(&server, "comment", "");
    let comment = |length: u32| {
        live.sql(&format!(
            "SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), repeat('c', {length}))\n\\gexec"
        ));
        live.sql("UPDATE a SET t = 'new'");
    };
    comment(66_000);
    workshop.done(&["restore", "--yes"]);
    assert_eq!(says(&live), "old");
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "new");
    let length =
        "SELECT length(shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = current_database()";
    assert_eq!(live.sql(length), "66000");

    comment(1_100_000);
    let ended = workshop.ends(5, &["restore", "--yes"]);
    assert!(ended.stderr.contains("too long to be kept for the way back: shorten it"), "{}", ended.stderr);
    assert_eq!(says(&live), "new");
    workshop.done(&["restore", "--yes", "--no-switch"]);
    let ended = workshop.ends(5, &["restore", "--switch", "--yes"]);
    assert!(ended.stderr.contains("shorten it"), "{}", ended.stderr);
    comment(10);
    workshop.done(&["restore", "--switch", "--yes"]);
    workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(says(&live), "new");
}

#[test]
fn a_restore_names_what_cannot_be_reached_and_writes_nothing() {
    let server = require!(postgres::v15);
    let (live, mut workshop) = backed_up(&server, "reached", "");
    live.sql("UPDATE a SET t = 'new'");
    let url = live.url(Role::Owner);
    let other = tempfile::NamedTempFile::new().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null", "-out"])
        .arg(other.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let authority = server.authority().display().to_string();
    let password = server.password(Role::Owner);
    for (wrong, says) in [
        (url.replace(password, "wrong"), &["refuses role `owner`", live.name(), "password authentication failed"][..]),
        (url.replace("owner:", "nobody:"), &["refuses role `nobody`", live.name()]),
        (url.replace(live.name(), "nowhere"), &["there is no database nowhere", "--create"]),
        (url.replace(&format!(":{}/", server.port()), ":1/"), &["cannot reach", "127.0.0.1:1"]),
        (url.replace("127.0.0.1", "no-such-host.invalid"), &["cannot reach", "no-such-host.invalid"]),
        (url.replace(&authority, &other.path().display().to_string()), &["cannot encrypt the connection", "caFile"]),
    ] {
        workshop.set("TEST_URL_DB", &wrong);
        let ended = workshop.ends(5, &["restore", "--yes"]);
        for word in says.iter().chain(&["\nnext: "]) {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("template1") && !ended.stderr.contains(password), "{}", ended.stderr);
    }
    assert_eq!((says(&live).as_str(), server.databases()), ("new", vec![live.name().to_owned()]));
    // The twin without the fault.
    workshop.set("TEST_URL_DB", &url);
    workshop.done(&["restore", "--yes", "--ownership", "none"]);
    assert_eq!(says(&live), "old");
}
