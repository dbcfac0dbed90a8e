//! What a MongoDB database is besides its documents comes back: options of collections, views, indexes. And what only a real
//! server shows: many collections read at one moment while others write.

use std::{
    fs,
    io::Read as _,
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    bed::require,
    mongo_proxy,
    mongodb::{self, Database},
    workshop::Workshop,
};

const DEFINITIONS: [&str; 10] = [
    r#"{"create": "capped", "capped": true, "size": 65536, "max": 100}"#,
    r#"{"insert": "capped", "documents": [{"_id": 3}, {"_id": 1}, {"_id": 2}]}"#,
    r#"{"create": "checked", "validator": {"$jsonSchema": {"required": ["n"]}}, "validationLevel": "moderate"}"#,
    // It was there before the validator was.
    r#"{"insert": "checked", "documents": [{"_id": 1, "old": true}], "bypassDocumentValidation": true}"#,
    // It says nothing of what is so by default.
    r#"{"create": "ruled", "validator": {"n": {"$gt": 1}}}"#,
    r#"{"create": "german", "collation": {"locale": "de", "strength": 2}}"#,
    r#"{"createIndexes": "german", "indexes": [
        {"key": {"a": 1}, "name": "inherited"},
        {"key": {"b": 1}, "name": "bytes", "collation": {"locale": "simple"}}]}"#,
    r#"{"insert": "places", "documents": [{"_id": 1, "at": {"type": "Point", "coordinates": [1.5, 2.5]}, "words": "one two",
        "due": {"$date": "2026-11-20T12:00:00Z"}, "n": 7}]}"#,
    r#"{"createIndexes": "places", "indexes": [
        {"key": {"n": 1}, "name": "unique", "unique": true},
        {"key": {"due": 1}, "name": "ttl", "expireAfterSeconds": 315360000},
        {"key": {"n": -1, "due": 1}, "name": "partial", "partialFilterExpression": {"n": {"$gt": 5}}},
        {"key": {"words": "text"}, "name": "text"},
        {"key": {"at": "2dsphere"}, "name": "sphere"},
        {"key": {"n": "hashed"}, "name": "hashed"},
        {"key": {"$**": 1}, "name": "wildcard"},
        {"key": {"s": 1}, "name": "sparse", "sparse": true},
        {"key": {"h": 1}, "name": "hidden", "hidden": true},
        {"key": {"c": 1}, "name": "collated", "collation": {"locale": "fr"}}]}"#,
    r#"{"create": "view", "viewOn": "places", "pipeline": [{"$match": {"n": {"$gt": 1}}}, {"$project": {"n": 1}}]}"#,
];

/// What the bed's server does not have at all.
const OF_REAL_SERVERS: [&str; 3] = [
    r#"{"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true, "name": "by _id"}}"#,
    r#"{"create": "series", "timeseries": {"timeField": "at", "metaField": "who", "granularity": "hours"}}"#,
    r#"{"insert": "series", "documents": [{"at": {"$date": "2026-11-20T12:00:00Z"}, "who": "a", "n": 1}]}"#,
];

fn batch(database: &Database, command: &str) -> Vec<Value> {
    database.run(command)["cursor"]["firstBatch"].as_array().unwrap().clone()
}

/// How DocumentDB keeps an index depends on who made it.
fn without_engine(index: &mut Value) {
    if index["storageEngine"].get("enableOrderedIndex").is_some() {
        index.as_object_mut().unwrap().remove("storageEngine");
    }
}

/// The same definitions, in which each rule says what is so by default.
fn in_full(mut definitions: Value) -> Value {
    for options in definitions.as_array_mut().unwrap().iter_mut().map(|entry| &mut entry["options"]) {
        for (name, usual) in [("validationLevel", "strict"), ("validationAction", "error")] {
            if options.get("validator").is_some() && options.get(name).is_none() {
                options[name] = json!(usual);
            }
        }
    }
    definitions
}

/// Collections with kind and options, and their indexes, by name.
fn definitions(database: &Database) -> Value {
    let mut collections = batch(database, r#"{"listCollections": 1}"#);
    collections.retain(|entry| !entry["name"].as_str().unwrap().starts_with("system."));
    collections.sort_by_key(|entry| entry["name"].to_string());
    let told = collections.iter().map(|entry| {
        let is_view = entry["type"] == "view";
        let list = json!({"listIndexes": entry["name"]}).to_string();
        let mut indexes = if is_view { Vec::new() } else { batch(database, &list) };
        indexes.sort_by_key(|index| index["name"].to_string());
        indexes.iter_mut().for_each(without_engine);
        json!({"name": entry["name"], "type": entry["type"], "options": entry["options"], "indexes": indexes})
    });
    Value::Array(told.collect())
}

#[test]
fn options_indexes_and_views_come_back_and_are_exported_as_they_were() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let through = server.behind(proxy.address());
    let (database, again) = (through.database("defined"), through.database("again"));
    let more = if server.is_real() { &OF_REAL_SERVERS[..] } else { &[] };
    for command in DEFINITIONS.iter().chain(more) {
        database.run(command);
    }
    let before = definitions(&database);
    assert_eq!(before.as_array().unwrap().len(), if server.is_real() { 8 } else { 6 }, "{before:#}");
    let workshop = Workshop::of_mongodb(&database.url(), ", consistency: none, timeSeries: true");
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--target-database", again.name(), "--yes"]);
    assert_eq!(in_full(definitions(&again)), in_full(before.clone()));
    // A capped collection keeps the order in which its documents came.
    assert_eq!(again.documents("capped"), database.documents("capped"));

    let folder = workshop.folder().join("dump");
    workshop.done(&["export", "latest", "crm-db", "-o", folder.to_str().unwrap()]);
    for entry in before.as_array().unwrap().iter().filter(|entry| entry["type"] == "collection") {
        let file = folder.join(database.name()).join(format!("{}.metadata.json", entry["name"].as_str().unwrap()));
        let metadata: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let options = metadata.get("options").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(options, entry["options"], "{}", file.display());
        let mut indexes = metadata["indexes"].as_array().unwrap().clone();
        indexes.sort_by_key(|index| index["name"].to_string());
        indexes.iter_mut().for_each(without_engine);
        assert_eq!(Value::Array(indexes), entry["indexes"], "{}", file.display());
    }
}

/// Somebody who moves what is in one collection into another, in transactions, until it is ended.
struct Mover(Child);

impl Mover {
    fn start(database: &Database) -> Self {
        let mut command = database.server().client(&["transfer", database.name()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut first).expect("the first transaction is done");
        Self(child)
    }

    /// How many transactions there were.
    fn end(mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success());
        text.trim().parse().unwrap()
    }
}

#[test]
fn a_snapshot_holds_two_collections_at_one_moment_while_others_write() {
    let server = require!(mongodb::replica_set);
    let database = server.database("moved");
    for collection in ["left", "right"] {
        let text = "x".repeat(5000);
        let documents: Vec<String> =
            (0..1000).map(|id| format!(r#"{{"_id": {id}, "n": 0, "text": "{text}"}}"#)).collect();
        database.run(&format!(r#"{{"insert": "{collection}", "documents": [{}]}}"#, documents.join(", ")));
    }
    let workshop = Workshop::of_mongodb(&database.url(), "");
    let mover = Mover::start(&database);
    workshop.done(&["backup"]);
    let moved = mover.end();
    assert!(moved > 10, "only {moved} transactions while the backup ran");
    let again = server.database("again");
    workshop.done(&["restore", "--target-database", again.name(), "--yes"]);
    let sum = |collection: &str| {
        let pipeline = r#"[{"$group": {"_id": null, "sum": {"$sum": "$n"}}}]"#;
        let answer = again.run(&format!(r#"{{"aggregate": "{collection}", "pipeline": {pipeline}, "cursor": {{}}}}"#));
        answer["cursor"]["firstBatch"][0]["sum"]["$numberInt"].as_str().unwrap().parse::<i64>().unwrap()
    };
    let (left, right) = (sum("left"), sum("right"));
    assert_eq!(left + right, 0, "what has left one collection is in the other");
    assert!(right > 0, "nothing had been moved by then");
}

/// The user that the guide makes for backups.
#[test]
fn a_user_who_may_only_read_the_database_is_enough_for_a_backup() {
    let server = require!(mongodb::real);
    let database = server.database("read");
    database.run(r#"{"insert": "some", "documents": [{"_id": 1}]}"#);
    let user = |name: &str, role: &str| {
        database.run(&format!(
            r#"{{"createUser": "{name}", "pwd": "a-password", "roles": [{{"role": "{role}", "db": "{}"}}]}}"#,
            database.name()
        ));
        let plain = database.url().replace("&authSource=admin", "");
        let (_, after) = plain.split_once('@').unwrap();
        format!("mongodb://{name}:a-password@{after}")
    };
    let (reader, nobody) = (user("reader", "read"), user("nobody", "dbAdmin"));
    Workshop::of_mongodb(&reader, ", consistency: none").done(&["backup"]);
    let refused = Workshop::of_mongodb(&nobody, ", consistency: none").ends(5, &["backup"]);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    database.run(r#"{"dropAllUsersFromDatabase": 1}"#);
}
