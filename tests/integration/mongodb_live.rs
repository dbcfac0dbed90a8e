//! What is live while a MongoDB database is restored: what others write into it after the plan stays, and what is said of it is
//! true, also when answers are lost.

use crate::{
    mongodb_backup::fill,
    mongodb_faults::meanwhile,
    support::{
        bed::require,
        mongo_proxy::{self, Fault, MongoProxy},
        mongodb::{Database, MongoDb, unordered},
        workshop::Workshop,
    },
};

pub(crate) const NONE: &str = ", consistency: none";
pub(crate) const UNCHANGED: &str = "no live collection was changed";

pub(crate) fn names(database: &Database) -> Vec<String> {
    database.contents().into_iter().map(|it| it.name).collect()
}

pub(crate) fn documents_of(database: &Database, collection: &str) -> Option<u64> {
    database.contents().into_iter().find(|it| it.name == collection).map(|it| it.count)
}

/// A backup of a filled database.
pub(crate) fn backed_up(server: &MongoDb, proxy: &MongoProxy, more: &str) -> (Workshop, Database) {
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&(proxy.url(&database) + more), NONE);
    workshop.done(&["backup"]);
    (workshop, database)
}

#[test]
fn documents_that_come_into_an_empty_collection_after_the_plan_stay() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let again = server.database("again");
    again.run(r#"{"create": "contacts"}"#);
    let restore = ["restore", "--target-database", again.name(), "--yes"];
    let ended = meanwhile(&workshop, &proxy, ("createIndexes", 1), &restore, || {
        again.run(r#"{"insert": "contacts", "documents": [{"_id": "live"}]}"#);
    });
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("documents have come into it"), "{}", ended.stderr);
    assert_eq!((names(&again), documents_of(&again, "contacts")), (vec!["contacts".to_owned()], Some(1)));
    // One that stays empty gives its name away, and nothing of it stays.
    again.run(r#"{"delete": "contacts", "deletes": [{"q": {}, "limit": 0}]}"#);
    workshop.done(&restore);
    assert_eq!(unordered(&again.contents()), unordered(&database.contents()));
}

#[test]
fn a_collection_that_is_made_after_the_plan_stays_as_it_is() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let again = server.database("again");
    let restore = ["restore", "--target-database", again.name(), "--yes"];
    let ended = meanwhile(&workshop, &proxy, ("createIndexes", 1), &restore, || {
        again.run(r#"{"insert": "session_log", "documents": [{"_id": "a"}, {"_id": "b"}]}"#);
    });
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("`session_log` could not take its place"), "{}", ended.stderr);
    assert!(ended.stderr.contains("has been made since the plan"), "{}", ended.stderr);
    assert!(ended.stderr.contains("in their places already: contacts, empty, odd name/é"), "{}", ended.stderr);
    assert_eq!(documents_of(&again, "session_log"), Some(2));
    assert!(names(&again).iter().all(|name| !name.starts_with("drctl_")), "{:?}", names(&again));
    workshop.done(&["restore", "--target-database", again.name(), "--yes", "--drop", "*"]);
    assert_eq!(unordered(&again.contents()), unordered(&database.contents()));
}

#[test]
fn a_rename_whose_answer_is_lost_is_looked_after() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let before = unordered(&database.contents());
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let live = unordered(&database.contents());
    // The server never heard of it.
    proxy.inject(Fault::cut("renameCollection", 1));
    let ended = workshop.ends(1, &["restore", "--yes", "--drop", "*"]);
    assert!(ended.stderr.contains("`contacts` could not take its place"), "{}", ended.stderr);
    assert_eq!(unordered(&database.contents()), live);
    // It has done it.
    proxy.inject(Fault::cut_after("renameCollection", 1));
    workshop.done(&["restore", "--yes", "--drop", "*"]);
    assert_eq!((proxy.faults_made(), unordered(&database.contents())), (2, before));
}

#[test]
fn of_what_may_have_been_changed_nothing_is_claimed() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let through = server.behind(proxy.address());
    let (workshop, database) = backed_up(&server, &proxy, "&serverSelectionTimeoutMS=3000");
    through.other_database(database.name()).run(r#"{"create": "view", "viewOn": "contacts", "pipeline": []}"#);
    workshop.done(&["backup"]);
    let restore = ["restore", "--yes", "--drop", "*"];
    let view = r#"{"collMod": "view", "viewOn": "session_log", "pipeline": []}"#;
    through.other_database(database.name()).run(view);
    // Collections are in their places by then.
    proxy.inject(Fault::error("collMod", 1, 13));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains("`view` could not take its place"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    workshop.done(&restore);
    // Before the first of them, all is as it was.
    proxy.inject(Fault::error("create", 1, 13));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    // The server is gone with a rename on its way.
    let ended = meanwhile(&workshop, &proxy, ("renameCollection", 1), &restore, || proxy.go());
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("may have taken its place or not"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
}

#[test]
fn a_plan_says_which_documents_expire_and_its_advice_can_be_pasted() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (_, database) = backed_up(&server, &proxy, "");
    database.run(r#"{"insert": "it's old", "documents": [{"_id": 1}]}"#);
    let index = r#"[{"key": {"at": 1}, "name": "at_1", "expireAfterSeconds": 86400}]"#;
    database.run(&format!(r#"{{"createIndexes": "session_log", "indexes": {index}}}"#));
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    let plan = workshop.ends(5, &["restore", "--dry-run"]);
    let text = plan.stdout + &plan.stderr;
    assert!(text.contains(r"with about 1 document: `--drop 'it'\''s old'` replaces it"), "{text}");
    assert!(text.contains("documents of collection session_log expire (TTL)"), "{text}");
    assert!(!text.contains("collection contacts expire"), "{text}");
    workshop.done(&["restore", "--yes", "--collection", "it's old", "--drop", "it's old"]);
}

#[test]
fn a_view_takes_the_place_of_a_live_one_in_one_step() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (_, database) = backed_up(&server, &proxy, "");
    let through = server.behind(proxy.address()).other_database(database.name());
    through.run(r#"{"create": "view", "viewOn": "contacts", "pipeline": [{"$match": {"score": 1}}]}"#);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    through.run(r#"{"collMod": "view", "viewOn": "session_log", "pipeline": []}"#);
    let asks = || {
        let listed = through.run(r#"{"listCollections": 1, "filter": {"name": "view"}}"#);
        listed["cursor"]["firstBatch"][0]["options"]["viewOn"].as_str().map(str::to_owned)
    };
    let restore = ["restore", "--yes", "--collection", "view", "--drop", "view"];
    proxy.inject(Fault::error("collMod", 1, 13));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains("`view` could not take its place"), "{}", ended.stderr);
    assert!(ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    assert_eq!(asks().as_deref(), Some("session_log"));
    workshop.done(&restore);
    assert_eq!(asks().as_deref(), Some("contacts"));
    // The server has done it, and its answer is lost.
    through.run(r#"{"collMod": "view", "viewOn": "session_log", "pipeline": []}"#);
    proxy.inject(Fault::cut_after("collMod", 1));
    workshop.done(&restore);
    assert_eq!(asks().as_deref(), Some("contacts"));
    let is_dropped = |it: &mongo_proxy::Seen| it.command == "drop" && it.collection.as_deref() == Some("view");
    assert!(!proxy.seen().iter().any(is_dropped));
}
