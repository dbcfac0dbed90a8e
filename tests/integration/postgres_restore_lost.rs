//! A connection that is lost while a restore creates or swaps databases: what is said, what is left, and that the next
//! run is clean. The twin of all of them is `postgres_switch`, whose connections last.

use crate::support::{
    bed::require,
    cutter::{Cutter, Then, When},
    postgres::{self, Database, Postgres, Role},
    program::Ended,
    workshop::Workshop,
};

/// A database whose backup says `old` and which itself says `new` since.
struct Shop {
    live: Database,
    workshop: Workshop,
}

impl Shop {
    fn open(server: &Postgres, name: &str) -> Self {
        let live = server.create_database(name);
        live.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
        let workshop = Workshop::of_databases(&[("db", &live.url(Role::Owner))]);
        live.sql("ALTER TABLE a OWNER TO owner");
        workshop.done(&["backup"]);
        live.sql("UPDATE a SET t = 'new'");
        Self { live, workshop }
    }

    /// A restore whose connections are lost.
    fn lose(&mut self, statement: &str, when: When, then: Then) -> Ended {
        let port = self.live.server().port();
        let cutter = Cutter::before(port, statement, when, then);
        self.workshop.set("TEST_URL_DB", &cutter.url(&self.live.url(Role::Owner), port));
        let ended = self.workshop.run(&["restore", "--yes"]);
        assert!(cutter.has_cut(), "{statement}: {ended:?}");
        self.workshop.set("TEST_URL_DB", &self.live.url(Role::Owner));
        ended
    }

    /// What clients read; nothing if they are not let in.
    fn says(&self) -> String {
        let output = self.live.try_sql("SELECT t FROM a");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn scratches(&self) -> usize {
        self.live.server().databases().iter().filter(|name| name.contains("_drctl_")).count()
    }
}

#[track_caller]
fn ends(ended: &Ended, code: i32, says: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for text in says {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
}

#[test]
fn a_connection_lost_while_a_database_is_created_leaves_nothing_that_the_next_run_does_not_remove() {
    let server = require!(postgres::v15);
    for (name, when, then, left) in
        [("b", When::Before, Then::Gone, 0), ("g", When::After, Then::Gone, 1), ("a", When::After, Then::Back, 1)]
    {
        let mut shop = Shop::open(&server, name);
        let ended = shop.lose("CREATE DATABASE", when, then);
        ends(&ended, 1, &["cannot create database ", "if the server has created it, stayed"]);
        assert_eq!((shop.says().as_str(), shop.scratches()), ("new", left), "{name}");

        let plan = shop.workshop.json(0, &["restore", "--dry-run"]);
        assert_eq!(plan["databases"][0]["dropped"].as_array().unwrap().len(), left, "{plan}");
        shop.workshop.done(&["restore", "--yes"]);
        assert_eq!((shop.says().as_str(), shop.scratches()), ("old", 0), "{name}");
        drop(shop);
    }
}

#[test]
fn an_unmarked_database_that_holds_something_is_nobodys_to_drop() {
    let server = require!(postgres::v15);
    let shop = Shop::open(&server, "unmarked");
    let own = server.database(&format!("{}_drctl_20260102030405abcd", shop.live.name()));
    server.sql(&format!("CREATE DATABASE {} OWNER owner", own.quoted()));
    own.sql("CREATE TABLE precious ()");
    shop.workshop.done(&["restore", "--yes"]);
    assert_eq!(own.sql("SELECT count(*) FROM precious"), "0");
}

#[test]
fn a_connection_lost_before_the_live_database_is_closed_changes_nothing() {
    let server = require!(postgres::v15);
    let mut shop = Shop::open(&server, "before");
    let ended = shop.lose("ALLOW_CONNECTIONS false", When::Before, Then::Gone);
    ends(
        &ended,
        1,
        &["the connection was lost during the swap", "may be closed to new sessions", "drctl restore --switch"],
    );
    assert_eq!(shop.says(), "new");
    shop.workshop.done(&["restore", "--switch", "--yes"]);
    assert_eq!((shop.says().as_str(), shop.scratches()), ("old", 0));
}

#[test]
fn a_connection_lost_with_the_live_database_closed_is_mended_by_the_next_run_or_the_undo() {
    let server = require!(postgres::v15);
    for (name, command, says) in [("undo", "--undo", "new"), ("switch", "--switch", "old")] {
        let mut shop = Shop::open(&server, name);
        let ended = shop.lose("ALLOW_CONNECTIONS false", When::After, Then::Gone);
        ends(&ended, 1, &["may be closed to new sessions", "drctl restore --undo", "drctl restore --switch"]);
        assert_eq!(shop.says(), "", "it is closed");
        shop.workshop.done(&["restore", command, "--yes"]);
        assert_eq!(shop.says(), says, "{name}");
    }
}

#[test]
fn a_server_that_is_back_at_once_is_asked_what_became_of_the_swap() {
    let server = require!(postgres::v15);
    for (name, statement, when) in
        [("closed", "ALLOW_CONNECTIONS false", When::After), ("rename", "RENAME TO", When::Before)]
    {
        let mut shop = Shop::open(&server, name);
        let ended = shop.lose(statement, when, Then::Back);
        ends(&ended, 1, &["is open, and was not swapped", "drctl restore --switch"]);
        assert_eq!(shop.says(), "new", "{name}");
        shop.workshop.done(&["restore", "--switch", "--yes"]);
        assert_eq!(shop.says(), "old", "{name}");
    }
    // It was done, and only the answer was lost.
    let mut shop = Shop::open(&server, "answer");
    let ended = shop.lose("RENAME TO", When::After, Then::Back);
    assert_eq!((ended.code, shop.says().as_str()), (0, "old"), "{ended:?}");
    assert!(ended.stdout.contains("swapped in") && ended.stdout.contains("kept: database"), "{}", ended.stdout);
    shop.workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(shop.says(), "new");
}

#[test]
fn a_swap_whose_answer_never_came_can_be_undone() {
    let server = require!(postgres::v15);
    let mut shop = Shop::open(&server, "gone");
    let ended = shop.lose("RENAME TO", When::After, Then::Gone);
    ends(&ended, 1, &["the connection was lost during the swap"]);
    assert_eq!(shop.says(), "old", "the server has done it");
    shop.workshop.done(&["restore", "--undo", "--yes"]);
    assert_eq!(shop.says(), "new");
}

#[test]
fn a_connection_lost_while_rows_are_loaded_is_named_and_the_next_run_is_clean() {
    let server = require!(postgres::v15);
    for (name, then, left) in [("back", Then::Back, 0), ("gone", Then::Gone, 1)] {
        let mut shop = Shop::open(&server, name);
        let ended = shop.lose("COPY public.a ", When::Before, then);
        ends(&ended, 1, &["cannot load public.a"]);
        assert_eq!((shop.says().as_str(), shop.scratches()), ("new", left), "{name}");
        assert_eq!(ended.stderr.contains("stayed"), left == 1, "{}", ended.stderr);
        shop.workshop.done(&["restore", "--yes"]);
        assert_eq!((shop.says().as_str(), shop.scratches()), ("old", 0), "{name}");
        drop(shop);
    }
}

#[test]
fn client_programs_that_are_killed_end_the_restore_and_leave_nothing_behind() {
    let server = require!(postgres::v15);
    for program in ["pg_restore", "pg_dump"] {
        let mut shop = Shop::open(&server, program);
        // A fault injector: the real program's version, and then SIGKILL.
        let folder = shop.workshop.folder().join("programs");
        std::fs::create_dir(&folder).unwrap();
        let real = server.programs().join(program);
        let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exec '{}' --version\nkill -9 $$\n", real.display());
        std::fs::write(folder.join(program), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join(program), mode).unwrap();
        shop.workshop.set("DRCTL_PG_BIN_DIR", folder.to_str().unwrap());
        let ended = shop.workshop.run(&["restore", "--yes"]);
        ends(&ended, 1, &[program, "signal: 9 (SIGKILL)"]);
        assert_eq!((shop.says().as_str(), shop.scratches()), ("new", 0), "{program}");
        shop.workshop.set("DRCTL_PG_BIN_DIR", "");
        shop.workshop.done(&["restore", "--yes"]);
        assert_eq!(shop.says(), "old", "{program}");
    }
}
