//! What goes wrong with a MongoDB server in the middle of a run: each with its exit code, with the collection and the server's
//! words, with live data as it was, and the same again without the fault.

use std::process::{Command, Stdio};

use crate::{
    mongodb_backup::{fill, grow},
    support::{
        bed::require,
        mongo_proxy::{self, Fault, MongoProxy, Part},
        mongodb::{self, Database, OwnServer, unordered},
        program::Ended,
        workshop::{Workshop, wait_for},
    },
};

const NONE: &str = ", consistency: none";
const RESTORE: [&str; 4] = ["restore", "--yes", "--drop", "*"];

/// Live data that is not what a backup of before has.
fn change(database: &Database) -> Vec<(String, u64, String)> {
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    database.run(r#"{"insert": "session_log", "documents": [{"_id": "later"}]}"#);
    unordered(&database.contents())
}

/// What a restore has made and not removed.
pub(crate) fn left_in(database: &Database) -> Vec<String> {
    database.contents().into_iter().map(|it| it.name).filter(|name| name.starts_with("drctl_")).collect()
}

/// Runs `drctl` until it gives the `nth` such command, does something, and lets it go on.
pub(crate) fn meanwhile(
    workshop: &Workshop,
    proxy: &MongoProxy,
    at: (&str, usize),
    words: &[&str],
    act: impl FnOnce(),
) -> Ended {
    let pause = proxy.pause(at.0, at.1);
    let mut command = workshop.command(words);
    std::thread::scope(|scope| {
        let running = scope.spawn(move || command.output().unwrap());
        pause.wait_until_reached();
        act();
        pause.release();
        running.join().unwrap().into()
    })
}

#[test]
fn a_document_that_is_refused_or_an_answer_that_is_lost_ends_a_restore_and_leaves_live_data_alone() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let backed_up = unordered(&database.contents());
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let live = change(&database);
    for (fault, words) in [
        (
            Fault::refused_document(1, 121),
            "did not take 1 of 300 documents of collection `contacts`: Document failed validation (121)",
        ),
        (
            Fault::refused_document(1, 11000),
            "did not take 1 of 300 documents of collection `contacts`: E11000 duplicate key error",
        ),
        // A document that this server does not know how to keep.
        (Fault::refused_document(2, 2), "did not take 1 of 1 documents of collection `session_log`"),
        (Fault::error("insert", 3, 10334), "of collection `odd name/é`"),
        (Fault::error("create", 2, 13), "collection `session_log`"),
        (Fault::cut("insert", 1), "cannot insert documents of collection `contacts`"),
        (Fault::cut_after("insert", 2), "cannot insert documents of collection `session_log`"),
        (
            Fault::not_on_a_majority("insert", 1),
            "has the documents of collection `contacts`, and cannot promise that this lasts, since a majority of its replica set",
        ),
    ] {
        proxy.inject(fault);
        let made = proxy.faults_made();
        let ended = workshop.ends(1, &RESTORE);
        assert_eq!(proxy.faults_made(), made + 1, "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains("no live collection was changed"), "{words}: {}", ended.stderr);
        assert_eq!(unordered(&database.contents()), live, "{words}");
    }
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), backed_up);
}

#[test]
fn a_cursor_that_dies_while_what_was_loaded_is_read_back_ends_a_restore() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let backed_up = unordered(&database.contents());
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let live = change(&database);
    proxy.inject(Fault::error("getMore", 1, 43));
    let ended = workshop.ends(1, &RESTORE);
    assert!(ended.stderr.contains("cannot read collection `contacts` back"), "{}", ended.stderr);
    assert!(ended.stderr.contains("no live collection was changed"), "{}", ended.stderr);
    assert_eq!((proxy.faults_made(), unordered(&database.contents())), (1, live));
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), backed_up);
}

#[test]
fn an_insert_that_comes_after_a_restore_was_interrupted_leaves_nothing_behind() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let live = change(&database);
    let pause = proxy.pause("insert", 1);
    let child = workshop.command(&RESTORE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    pause.wait_until_reached();
    let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(done.success());
    // The server hears of it when the collection has been dropped, and makes it again.
    wait_for("the collection to be dropped", 120, || {
        proxy.seen().iter().any(|it| it.command == "drop" && it.database == database.name()).then_some(())
    });
    pause.release();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{ended:?}");
    assert_eq!(unordered(&database.contents()), live);
    workshop.done(&RESTORE);
}

#[test]
fn a_run_that_waits_for_a_server_without_an_answer_ends_when_it_is_told_to() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let live = unordered(&database.contents());
    for words in [["backup"].as_slice(), &["doctor"], &["restore", "--dry-run"], &RESTORE] {
        let pause = proxy.pause("listCollections", 1);
        let child = workshop.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        pause.wait_until_reached();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let ended = Ended::from(child.wait_with_output().unwrap());
        pause.release();
        assert_eq!(ended.code, 130, "{words:?}: {ended:?}");
    }
    assert_eq!((workshop.backups().len(), unordered(&database.contents())), (1, live));
    workshop.done(&["backup"]);
}

#[test]
fn a_collection_that_cannot_take_its_place_is_named_with_those_that_have() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let backed_up = unordered(&database.contents());
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let live = change(&database);
    proxy.inject(Fault::error("renameCollection", 2, 13));
    let ended = workshop.ends(1, &RESTORE);
    let words = "collection `empty` could not take its place";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(ended.stderr.contains("these are in their places already: contacts"), "{}", ended.stderr);
    let now = unordered(&database.contents());
    let of = |all: &[(String, u64, String)], name: &str| all.iter().find(|it| it.0 == name).cloned();
    assert_eq!(of(&now, "contacts"), of(&backed_up, "contacts"));
    assert_eq!(of(&now, "session_log"), of(&live, "session_log"));
    assert_eq!(left_in(&database), [""; 0]);
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), backed_up);
}

#[test]
fn a_server_that_is_killed_while_documents_are_loaded_has_its_live_data_when_it_is_back() {
    let server = require!(mongodb::ferretdb);
    let mut own = require!(mongodb::own_ferretdb);
    let proxy = MongoProxy::before(&server.behind(own.address()), Part::Itself);
    let database = server.database("crm");
    fill(&database);
    let backed_up = unordered(&database.contents());
    let url = proxy.url(&database) + "&serverSelectionTimeoutMS=3000";
    let mut workshop = Workshop::of_mongodb(&url, NONE);
    workshop.done(&["backup"]);
    let live = change(&database);
    // The first collection is loaded, and the second one is on its way.
    let killed = meanwhile(&workshop, &proxy, ("insert", 2), &RESTORE, || own.kill());
    assert_eq!(killed.code, 1, "{killed:?}");
    // One is loaded while the one before is compared.
    let is_named =
        ["documents of collection `session_log`", "collection `contacts`"].iter().any(|it| killed.stderr.contains(it));
    assert!(is_named, "{}", killed.stderr);
    assert!(killed.stderr.contains("no live collection was changed"), "{}", killed.stderr);
    // What is left is what is named.
    let left = left_in(&database);
    assert!(!left.is_empty() && left.iter().all(|name| killed.stderr.contains(name)), "{left:?}: {}", killed.stderr);
    let mut now = unordered(&database.contents());
    now.retain(|(name, ..)| !name.starts_with("drctl_"));
    assert_eq!(now, live);
    for name in left {
        database.run(&format!(r#"{{"drop": "{name}"}}"#));
    }

    // A backup of a server that is killed: nothing of it is kept.
    grow(&database);
    let mut own = OwnServer::start();
    let proxy = MongoProxy::before(&server.behind(own.address()), Part::Itself);
    workshop.set("TEST_URL_CRM_DB", &(proxy.url(&database) + "&serverSelectionTimeoutMS=3000"));
    let killed = meanwhile(&workshop, &proxy, ("getMore", 1), &["backup"], || own.kill());
    assert_eq!(killed.code, 1, "{killed:?}");
    assert!(killed.stderr.contains("collection `contacts`"), "{}", killed.stderr);
    assert_eq!(workshop.backups().len(), 1);

    workshop.set("TEST_URL_CRM_DB", &database.url());
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), backed_up);
    workshop.done(&["backup"]);
}

#[test]
fn a_moment_that_the_server_has_thrown_away_ends_the_source_and_names_the_parameter() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    for (fault, words) in [
        // The first page of a collection; a later page.
        (Fault::error("find", 2, 239).of("contacts"), "SnapshotTooOld"),
        (Fault::error("getMore", 1, 239).of("contacts"), "SnapshotTooOld"),
    ] {
        proxy.inject(fault.clone());
        let made = proxy.faults_made();
        let ended = workshop.ends(1, &["backup"]);
        assert_eq!(proxy.faults_made(), made + 1, "{fault:?}");
        assert!(ended.stderr.contains("collection `contacts`") && ended.stderr.contains(words), "{}", ended.stderr);
        assert!(ended.stderr.contains("minSnapshotHistoryWindowInSeconds"), "{}", ended.stderr);
        assert!(workshop.backups().is_empty());
    }
    workshop.done(&["backup"]);
    // The same is said beforehand, of a database that takes longer than the window.
    if !server.is_real() {
        proxy.set_snapshot_window(0);
        let said = workshop.done(&["doctor"]).stdout;
        assert!(
            said.contains("a snapshot is kept for 0 s") && said.contains("minSnapshotHistoryWindowInSeconds"),
            "{said}"
        );
        proxy.set_snapshot_window(300);
        let said = workshop.done(&["doctor"]).stdout;
        assert!(!said.contains("minSnapshotHistoryWindowInSeconds"), "{said}");
    }
}

#[test]
fn a_server_that_has_no_moment_just_now_is_asked_again_and_then_ends_the_source_with_advice_of_its_own() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    // Fixing the moment, again and again; the first page of a collection; a later page.
    for (fault, made) in [
        (Fault::error("find", 1, 246).times(5), 5),
        (Fault::error("find", 2, 246).of("contacts"), 1),
        (Fault::error("getMore", 1, 246).of("contacts"), 1),
    ] {
        proxy.inject(fault.clone());
        let before = proxy.faults_made();
        let ended = workshop.ends(1, &["backup"]);
        assert_eq!(proxy.faults_made(), before + made, "{fault:?}");
        for words in ["collection `contacts`", "SnapshotUnavailable", "has no such moment just now: run it again"] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("minSnapshotHistoryWindowInSeconds"), "{}", ended.stderr);
        assert!(workshop.backups().is_empty());
    }
    // It has one soon.
    let before = proxy.faults_made();
    proxy.inject(Fault::error("find", 1, 246).times(2));
    workshop.done(&["backup"]);
    assert_eq!((proxy.faults_made(), workshop.backups().len()), (before + 2, 1));
}

#[test]
fn a_replica_set_that_answers_and_has_no_primary_is_told_as_such() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let url = |part| {
        let proxy = MongoProxy::before(&server, part);
        proxy.url(&database).replace("directConnection=true", "directConnection=false")
    };
    let mut workshop = Workshop::of_mongodb(&url(Part::Secondary), NONE);
    let words = "none of its servers is a primary that can be read from or written to: an election runs";
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    workshop.set("TEST_URL_CRM_DB", &url(Part::Ghost));
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains(words) && ended.stderr.contains("rs.initiate()"), "{}", ended.stderr);
    workshop.set("TEST_URL_CRM_DB", &url(Part::Standalone));
    workshop.done(&["backup"]);
}

#[test]
fn a_cursor_that_dies_again_and_again_ends_the_source_after_three_times() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    proxy.inject(Fault::error("getMore", 1, 43).times(3));
    let ended = workshop.ends(1, &["backup"]);
    assert_eq!(proxy.faults_made(), 3);
    let words = "cannot read collection `contacts`: cursor id 1 not found (CursorNotFound, 43) (tried 3 times)";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(workshop.backups().is_empty());
    // A connection that is lost once is the same as a cursor that dies once.
    proxy.inject(Fault::cut("getMore", 1));
    let ended = workshop.done(&["backup"]);
    assert_eq!(proxy.faults_made(), 4);
    assert!(ended.stderr.contains("`contacts` is read from its beginning again"), "{}", ended.stderr);
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn a_backup_among_writers_without_a_moment_says_so_in_manifest_output_and_report() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    // Between two pages of the first collection, somebody writes into both.
    let written = meanwhile(&workshop, &proxy, ("getMore", 1), &["backup"], || drop(change(&database)));
    assert_eq!(written.code, 0, "{written:?}");
    assert!((written.stdout + &written.stderr).contains("not point-in-time"));
    let shown = workshop.json(0, &["show", "latest"]);
    assert!(shown["notes"].to_string().contains("not point-in-time"), "{shown}");
    let listed = workshop.done(&["list"]).stdout;
    assert!(listed.contains("none"), "{listed}");
    let manifest = workshop.files("backups").into_iter().next().unwrap();
    let text = std::fs::read_to_string(manifest).unwrap();
    assert!(text.contains("not point-in-time") && text.contains(r#""consistency":"none""#), "{text}");
    // It can be restored, and the plan says what it is.
    let plan = workshop.done(&["restore", "--dry-run", "--drop", "*"]).stdout;
    assert!(plan.contains("the backup is not point-in-time"), "{plan}");
    // It is said to who agrees beforehand, too.
    let ended = workshop.done(&["restore", "--yes", "--drop", "*", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["warnings"][0]["warning"].as_str().unwrap().contains("not point-in-time"), "{report}");
    assert!(ended.stderr.contains("warning: source crm-db: the backup is not point-in-time"), "{}", ended.stderr);
}

#[test]
fn another_authority_than_that_of_the_server_is_not_enough() {
    let (server, authority) = require!(mongodb::with_tls);
    let database = server.database("crm");
    fill(&database);
    let url = database.url().split("&tlsCAFile").next().unwrap().to_owned() + "&authSource=admin";
    let workshop = Workshop::of_mongodb(&url, NONE);
    let other = workshop.folder().join("other.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=another", "-keyout", "/dev/null", "-out"])
        .arg(&other)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    workshop.write_mongodb_policy(&format!("{NONE}, tls: {{caFile: {}}}", other.display()));
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("cannot encrypt the connection to 127.0.0.1"), "{}", ended.stderr);
    assert!(workshop.backups().is_empty());
    workshop.write_mongodb_policy(&format!("{NONE}, tls: {{caFile: {}}}", authority.display()));
    workshop.done(&["backup"]);
}
