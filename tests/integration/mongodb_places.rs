//! How restored MongoDB collections come into their places, where one cannot be renamed, or where it is not known whether it was;
//! and what is said of what stays.

use crate::{
    mongodb_backup::fill,
    mongodb_faults::meanwhile,
    mongodb_live::{NONE, UNCHANGED, backed_up, documents_of, names},
    support::{
        bed::require,
        mongo_proxy::{self, Fault, MongoProxy, Seen},
        mongodb::{MongoDb, unordered},
        workshop::Workshop,
    },
};

const RESTORE: [&str; 4] = ["restore", "--yes", "--drop", "*"];

#[test]
fn functions_that_the_server_does_not_rename_are_made_in_their_place() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let through = server.behind(proxy.address());
    let (database, again) = (through.database("crm"), through.database("again"));
    fill(&database);
    database.run(r#"{"insert": "system.js", "documents": [{"_id": "f", "value": "function () {}"}]}"#);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let restore = ["restore", "--target-database", again.name(), "--yes", "--drop", "*"];
    // Nobody knows whether it was made: it is named.
    proxy.inject(Fault::cut_after("create", 1).of("system.js"));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains("collection system.js of database"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    let refused = workshop.ends(5, &restore);
    assert!(refused.stderr.contains("collection system.js is there already"), "{}", refused.stderr);
    again.run(r#"{"drop": "system.js"}"#);
    workshop.done(&restore);
    assert_eq!(again.documents("system.js"), database.documents("system.js"));
    assert!(!again.documents("system.js").is_empty());
    assert_eq!(unordered(&again.contents()), unordered(&database.contents()));
}

#[test]
fn a_rename_that_waits_in_the_server_after_its_answer_was_lost_is_seen() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = unordered(&database.contents());
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    proxy.inject(Fault::late("renameCollection", 1));
    workshop.done(&RESTORE);
    assert_eq!((proxy.faults_made(), unordered(&database.contents())), (1, before));
}

#[test]
fn what_a_majority_does_not_know_of_yet_is_said() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = unordered(&database.contents());
    for (command, words) in [
        (
            "create",
            "the server has done as told (create it) for collection `contacts`, and cannot promise that this lasts",
        ),
        ("createIndexes", "(create index `email_1`) for collection `contacts`, and cannot promise that this lasts"),
    ] {
        proxy.inject(Fault::not_on_a_majority(command, 1));
        let ended = workshop.ends(1, &RESTORE);
        assert!(ended.stderr.contains(words) && ended.stderr.contains(UNCHANGED), "{words}: {}", ended.stderr);
    }
    proxy.inject(Fault::not_on_a_majority("renameCollection", 1));
    let ended = workshop.ends(1, &RESTORE);
    let words = "collection `contacts` has its place, and a majority of the replica set does not know of it yet";
    assert!(ended.stderr.contains(words) && !ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    workshop.done(&RESTORE);
    assert_eq!((proxy.faults_made(), unordered(&database.contents())), (3, before));
}

#[test]
fn an_index_waits_for_a_majority_of_a_replica_set_and_a_standalone_hears_nothing_of_it() {
    let quorums = |server: &MongoDb, proxy: &MongoProxy| {
        let (workshop, database) = backed_up(server, proxy, "");
        workshop.done(&RESTORE);
        database.run(r#"{"dropDatabase": 1}"#);
        let of_index = |it: Seen| (it.command == "createIndexes").then_some(it.quorum);
        proxy.seen().into_iter().filter_map(of_index).collect::<Vec<_>>()
    };
    let majority = Some("majority".to_owned());
    let (set, before_set) = require!(mongo_proxy::replica_set);
    assert_eq!(quorums(&set, &before_set), [majority.clone(), majority]);
    let (server, proxy) = require!(mongo_proxy::standalone);
    assert_eq!(quorums(&server, &proxy), [None, None]);
}

#[test]
fn what_stays_is_named_also_where_the_restore_has_done_all_else() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let again = server.database("again");
    again.run(r#"{"create": "contacts"}"#);
    let restore = ["restore", "--target-database", again.name(), "--yes"];
    proxy.inject(Fault::error("drop", 1, 13));
    let done = workshop.done(&restore);
    let stayed: Vec<String> = names(&again).into_iter().filter(|name| name.ends_with("_old")).collect();
    assert_eq!((proxy.faults_made(), stayed.len()), (1, 1));
    let words = format!("collection {} of database {} stayed", stayed[0], again.name());
    assert!(done.stderr.contains(&words), "{}", done.stderr);
    // The next backup passes over it, and says so.
    let next = Workshop::of_mongodb(&proxy.url(&again), NONE);
    next.done(&["backup"]);
    let shown = next.json(0, &["show", "latest"]);
    assert!(
        shown["notes"].to_string().contains(&format!("and left it: {}; not taken: look at what it holds", stayed[0])),
        "{shown}"
    );
    assert_eq!(shown["sources"][0]["collections"].as_array().unwrap().len(), 4, "{shown}");
    // Without the fault nothing stays.
    again.run(&format!(r#"{{"drop": "{}"}}"#, stayed[0]));
    let done = workshop.done(&["restore", "--target-database", again.name(), "--yes", "--drop", "*"]);
    assert!(!done.stderr.contains("stayed"), "{}", done.stderr);
    assert_eq!(unordered(&again.contents()), unordered(&database.contents()));
}

#[test]
fn what_had_the_name_is_named_where_nobody_knows_what_became_of_it() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "&serverSelectionTimeoutMS=3000");
    let again = server.database("again");
    again.run(r#"{"create": "contacts"}"#);
    let restore = ["restore", "--target-database", again.name(), "--yes"];
    // It is simply refused that the empty one gets another name.
    proxy.inject(Fault::error("renameCollection", 1, 13));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    assert_eq!(names(&again), ["contacts"]);
    // It has another one, and the server is gone while the loaded one gets its name.
    let ended = meanwhile(&workshop, &proxy, ("renameCollection", 2), &restore, || proxy.go());
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("may have taken its place or not"), "{}", ended.stderr);
    let aside = names(&again).into_iter().find(|name| name.ends_with("_old")).unwrap();
    assert!(ended.stderr.contains(&format!("what had the name is called `{aside}` now")), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("collection {aside} of database")), "{}", ended.stderr);
    drop(database);
}

#[test]
fn a_live_collection_waits_under_another_name_until_the_view_is_there() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (_, database) = backed_up(&server, &proxy, "");
    let through = server.behind(proxy.address()).other_database(database.name());
    through.run(r#"{"create": "view", "viewOn": "contacts", "pipeline": []}"#);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    through.run(r#"{"drop": "view"}"#);
    through.run(r#"{"insert": "view", "documents": [{"_id": 1}]}"#);
    let restore = ["restore", "--yes", "--collection", "view", "--drop", "view"];
    proxy.inject(Fault::error("create", 1, 13).of("view"));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains("`view` could not take its place"), "{}", ended.stderr);
    assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    assert_eq!(documents_of(&database, "view"), Some(1));
    workshop.done(&restore);
    let listed = through.run(r#"{"listCollections": 1, "filter": {"name": "view"}}"#);
    assert_eq!(listed["cursor"]["firstBatch"][0]["type"], "view", "{listed}");
    assert!(names(&database).iter().all(|name| !name.starts_with("drctl_")), "{:?}", names(&database));
}

#[test]
fn a_capped_collection_ends_with_what_came_last_when_it_was_begun() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.behind(proxy.address()).database("log");
    database.run(r#"{"create": "log", "capped": true, "size": 67108864}"#);
    let text = "x".repeat(40_000);
    // More than one reply holds, whatever the server thinks of their size.
    let write = |from: usize| {
        for from in [from, from + 150, from + 300] {
            let all: Vec<String> = (from..from + 150).map(|id| format!(r#"{{"_id": {id}, "t": "{text}"}}"#)).collect();
            database.run(&format!(r#"{{"insert": "log", "documents": [{}]}}"#, all.join(", ")));
        }
    };
    write(0);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    let held = || workshop.json(0, &["show", "latest"])["sources"][0]["collections"][0]["documents"].clone();
    let ended = meanwhile(&workshop, &proxy, ("getMore", 1), &["backup"], || write(450));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(held(), 450);
    workshop.done(&["backup"]);
    assert_eq!(held(), 900);
}
