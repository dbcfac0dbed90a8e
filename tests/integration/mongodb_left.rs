//! What a restore of a MongoDB database leaves behind that was killed, or whose command the server did long after: it is named
//! by `doctor`, by the next backup and by the next restore, with what to do.

use std::process::{Child, Stdio};

use crate::{
    mongodb_backup::grow,
    mongodb_faults::left_in,
    mongodb_live::{UNCHANGED, backed_up},
    support::{
        bed::require,
        mongo_proxy::{self, Fault, MongoProxy},
        mongodb::{Database, unordered},
        workshop::{Workshop, wait_for},
    },
};

const RESTORE: [&str; 4] = ["restore", "--yes", "--drop", "*"];
const PLAN: [&str; 4] = ["restore", "--dry-run", "--drop", "*"];

/// What is in the collections that are no restore's.
fn live(database: &Database) -> Vec<(String, u64, String)> {
    let mut all = unordered(&database.contents());
    all.retain(|(name, ..)| !name.starts_with("drctl_"));
    all
}

/// The id in the name of a collection that a restore has made.
fn restore_of(name: &str) -> &str {
    name.split('_').nth(1).unwrap()
}

/// Kills `drctl` with SIGKILL at the `nth` such command.
pub(crate) fn kill_at(workshop: &Workshop, proxy: &MongoProxy, (command, nth): (&str, usize), words: &[&str]) {
    let pause = proxy.pause(command, nth);
    let mut drctl = workshop.command(words);
    let mut child: Child = drctl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    pause.wait_until_reached();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    pause.release();
}

#[test]
fn a_restore_that_is_killed_leaves_live_data_alone_and_what_it_left_is_named_until_it_is_dropped() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = live(&database);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let changed = live(&database);
    assert!(!workshop.done(&["doctor"]).stdout.contains("has left"));
    kill_at(&workshop, &proxy, ("insert", 2), &RESTORE);
    assert_eq!(live(&database), changed);
    let left = left_in(&database);
    assert_eq!(left.len(), 2, "{left:?}");
    let words =
        format!("restore {} has left 2 collections, loaded or half loaded: {}", restore_of(&left[0]), left.join(", "));
    let db = format!("db.getSiblingDB(\"{}\")", database.name());
    let how = format!("`{left:?}.forEach(it => {db}.getCollection(it).drop())`");
    for words_of in [workshop.done(&["doctor"]).stdout, workshop.done(&PLAN).stdout] {
        assert!(words_of.contains(&words) && words_of.contains(&how), "{words} in {words_of}");
    }
    // It is in nobody's way, and nobody drops it but a person.
    workshop.done(&RESTORE);
    assert_eq!((live(&database), left_in(&database)), (before, left.clone()));
    for name in left {
        database.run(&format!(r#"{{"drop": "{name}"}}"#));
    }
    for words_of in [workshop.done(&["doctor"]).stdout, workshop.done(&PLAN).stdout] {
        assert!(!words_of.contains("has left"), "{words_of}");
    }
}

#[test]
fn a_restore_that_is_killed_between_two_renames_has_replaced_some_and_is_told_as_such() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = live(&database);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    database.run(r#"{"insert": "session_log", "documents": [{"_id": "later"}]}"#);
    let changed = live(&database);
    kill_at(&workshop, &proxy, ("renameCollection", 2), &RESTORE);
    wait_for("the server to do what it was told last", 120, || (left_in(&database).len() == 2).then_some(()));
    // The first is the backup's, the last is as it was.
    let of = |all: &[(String, u64, String)], name: &str| all.iter().find(|(it, ..)| it == name).unwrap().clone();
    let now = live(&database);
    assert_eq!(of(&now, "contacts"), of(&before, "contacts"));
    assert_eq!(of(&now, "session_log"), of(&changed, "session_log"));
    let left = left_in(&database);
    let words = format!("restore {} has left 2 collections, loaded or half loaded", restore_of(&left[0]));
    let how = "some collections may be in their places already: restore again before you drop it";
    for words_of in [workshop.done(&["doctor"]).stdout, workshop.done(&PLAN).stdout] {
        assert!(words_of.contains(&words) && words_of.contains(how), "{words} in {words_of}");
    }
    workshop.done(&RESTORE);
    assert_eq!((live(&database), left_in(&database)), (before, left));
}

#[test]
fn a_backup_that_is_killed_is_none_and_the_next_one_is_whole() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    grow(&database);
    kill_at(&workshop, &proxy, ("getMore", 1), &["backup"]);
    assert_eq!(workshop.backups().len(), 1);
    workshop.done(&["backup"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
    assert_eq!(workshop.backups().len(), 2);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["objects"], 302, "{shown}");
}

#[test]
fn what_a_command_makes_after_the_restore_has_ended_was_announced_and_is_named() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = live(&database);
    proxy.inject(Fault::cut("insert", 1));
    let ended = workshop.ends(1, &RESTORE);
    assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    let beside = proxy.seen().into_iter().find(|it| it.command == "insert").and_then(|it| it.collection).unwrap();
    assert!(beside.starts_with("drctl_") && left_in(&database).is_empty(), "{beside}");
    let words =
        "removed, and a command whose answer was lost may make it again later; `drctl doctor` names what is there then";
    assert!(ended.stderr.contains(&beside) && ended.stderr.contains(words), "{}", ended.stderr);

    // The server does it now.
    database.run(&format!(r#"{{"insert": "{beside}", "documents": [{{"_id": 1}}]}}"#));
    let words = format!("restore {} has left 1 collection, loaded or half loaded: {beside}", restore_of(&beside));
    for words_of in [workshop.done(&["doctor"]).stdout, workshop.done(&PLAN).stdout] {
        assert!(words_of.contains(&words), "{words_of}");
    }
    workshop.done(&["backup"]);
    let notes = workshop.json(0, &["show", "latest"])["notes"].to_string();
    // The restore may run still: it says what doctor says.
    for words in
        [words.as_str(), "not taken: if that restore does not run any more", "restore again before you drop it"]
    {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    // A restore whose answers all come announces nothing.
    let done = workshop.done(&RESTORE);
    assert!(!done.stderr.contains("again later"), "{}", done.stderr);
    assert_eq!(live(&database), before);
}

#[test]
fn what_a_restore_has_set_aside_is_not_called_worthless() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    database.run(r#"{"insert": "drctl_20261120120000ab2d_3_old", "documents": [{"_id": "the only copy"}]}"#);
    for words_of in [workshop.done(&["doctor"]).stdout, workshop.done(&PLAN).stdout] {
        assert!(words_of.contains("has set 1 collection aside that had another name before"), "{words_of}");
        assert!(words_of.contains("which may be nowhere else"), "{words_of}");
        assert!(!words_of.contains("has left"), "{words_of}");
    }
}
