//! The tests' own proxy before a MongoDB server: does it do what the tests of MongoDB stand on?

use serde_json::Value;

use crate::support::{
    bed::require,
    mongo_proxy::{Fault, MongoProxy, Part},
    mongodb::{self, Database, MongoDb},
};

/// The test's database, seen through the proxy.
fn through(proxy: &MongoProxy, server: &MongoDb) -> Database {
    server.behind(proxy.address()).database("data")
}

fn number(value: &Value) -> &str {
    ["$numberInt", "$numberLong", "$numberDouble"].iter().find_map(|kind| value[kind].as_str()).unwrap_or("none")
}

/// Five documents, to be read in batches of two.
fn five(database: &Database) {
    let documents: Vec<String> = (1..=5).map(|id| format!(r#"{{"_id": {id}}}"#)).collect();
    database.run(&format!(r#"{{"insert": "five", "documents": [{}]}}"#, documents.join(", ")));
}

#[test]
fn each_part_says_in_hello_what_it_is() {
    let server = require!(mongodb::server);
    let hello = |part| {
        let proxy = MongoProxy::before(&server, part);
        let said = through(&proxy, &server).run(r#"{"hello": 1}"#);
        (said["setName"].clone(), said["msg"].clone(), said["hosts"][0] == proxy.address())
    };
    assert_eq!(hello(Part::Standalone), (Value::Null, Value::Null, false));
    assert_eq!(hello(Part::Mongos), (Value::Null, "isdbgrid".into(), false));
    assert_eq!(hello(Part::ReplicaSet), ("played".into(), Value::Null, true));
}

#[test]
fn a_driver_that_looks_for_a_replica_set_finds_the_played_one() {
    let server = require!(mongodb::server);
    let proxy = MongoProxy::before(&server, Part::ReplicaSet);
    let url = server.behind(proxy.address()).url().replace("directConnection=true", "replicaSet=played");
    let output = server.client(&["read", "nothing"]).env("MONGODB_URL", url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_played_replica_set_reads_at_a_time_and_a_played_standalone_refuses() {
    let server = require!(mongodb::server);
    five(&server.database("data"));
    let proxy = MongoProxy::before(&server, Part::ReplicaSet);
    let database = through(&proxy, &server);
    let find = |concern: &str| format!(r#"{{"find": "five", "batchSize": 2, "readConcern": {concern}}}"#);
    let first = database.run(&find(r#"{"level": "snapshot"}"#));
    let time = first["cursor"]["atClusterTime"]["$timestamp"].clone();
    let (seconds, ticks) = (time["t"].as_u64().unwrap(), time["i"].as_u64().unwrap());
    assert!(seconds > 1_700_000_000 && ticks == 1, "{first}");
    let again = database.run(&find(&format!(r#"{{"level": "snapshot", "atClusterTime": {{"$timestamp": {time}}}}}"#)));
    assert_eq!(again["cursor"]["atClusterTime"]["$timestamp"], time);
    let seen = proxy.seen();
    assert!(seen.iter().all(|each| each.read_concern.as_deref() == Some("snapshot")), "{seen:?}");
    assert_eq!(seen.last().unwrap().at_cluster_time, Some((seconds as u32, 1)));

    let standalone = MongoProxy::before(&server, Part::Standalone);
    let refused = through(&standalone, &server).try_run(&find(r#"{"level": "snapshot"}"#));
    assert_eq!(number(&refused["code"]), "123", "{refused}");
    through(&standalone, &server).run(&find(r#"{"level": "local"}"#));
}

#[test]
fn errors_come_at_their_command_and_at_no_other() {
    let server = require!(mongodb::server);
    five(&server.database("data"));
    let proxy = MongoProxy::before(&server, Part::Itself);
    let database = through(&proxy, &server);
    let find = r#"{"find": "five"}"#;
    for code in [43, 239, 246] {
        proxy.inject(Fault::error("find", 2, code).of("five"));
        database.run(r#"{"find": "another"}"#);
        database.run(find);
        assert_eq!(number(&database.try_run(find)["code"]), code.to_string());
        assert_eq!(database.run(find)["cursor"]["firstBatch"].as_array().unwrap().len(), 5);
    }
    assert_eq!(proxy.faults_made(), 3);
}

#[test]
fn the_last_document_of_an_insert_is_refused_and_the_others_are_there() {
    let server = require!(mongodb::server);
    let proxy = MongoProxy::before(&server, Part::Itself);
    let database = through(&proxy, &server);
    proxy.inject(Fault::refused_document(1, 121).times(2));
    let two = database.try_run(r#"{"insert": "some", "documents": [{"_id": 1}, {"_id": 2}]}"#);
    assert_eq!((number(&two["n"]), number(&two["writeErrors"][0]["index"])), ("1", "1"), "{two}");
    assert_eq!(number(&two["writeErrors"][0]["code"]), "121");
    let one = database.try_run(r#"{"insert": "some", "documents": [{"_id": 3}]}"#);
    assert_eq!((number(&one["n"]), number(&one["writeErrors"][0]["index"])), ("0", "0"), "{one}");
    database.run(r#"{"insert": "some", "documents": [{"_id": 3}]}"#);
    assert_eq!(server.database("data").contents()[0].count, 2);
    assert_eq!(proxy.seen().iter().map(|each| each.documents).sum::<usize>(), 4);
}

#[test]
fn a_connection_is_lost_before_or_after_the_server_has_heard() {
    let server = require!(mongodb::server);
    for (fault, stored) in [(Fault::cut("insert", 1), 0), (Fault::cut_after("insert", 1), 1)] {
        let proxy = MongoProxy::before(&server, Part::Itself);
        proxy.inject(fault);
        let name = format!("data-{stored}");
        let output =
            server.behind(proxy.address()).database(&name).try_insert("some", b"\x0e\0\0\0\x10_id\0\x01\0\0\0\0");
        assert!(!output.status.success());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("connection closed"), "{errors}");
        assert_eq!(server.database(&name).contents().len(), stored);
    }
}

#[test]
fn a_message_waits_until_the_test_lets_go_and_a_server_that_is_gone_answers_no_more() {
    let server = require!(mongodb::server);
    let proxy = MongoProxy::before(&server, Part::Itself);
    let database = through(&proxy, &server);
    let pause = proxy.pause("insert", 1);
    std::thread::scope(|scope| {
        let inserted = scope.spawn(|| five(&database));
        pause.wait_until_reached();
        assert!(server.database("data").contents().is_empty());
        pause.release();
        inserted.join().unwrap();
    });
    assert_eq!(server.database("data").contents()[0].count, 5);
    proxy.go();
    let url = format!("{}&serverSelectionTimeoutMS=500", proxy.url(&database));
    let output = server.client(&["read", "nothing"]).env("MONGODB_URL", url).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn what_ferretdb_forgets_is_remembered() {
    let server = require!(mongodb::server);
    if server.is_real() {
        return; // it forgets nothing, and needs the proxy for nothing of this
    }
    let proxy = MongoProxy::before(&server, Part::Itself);
    proxy.remember();
    let database = through(&proxy, &server);
    database.run(r#"{"create": "logs", "capped": true, "size": 4096, "max": 10}"#);
    database.run(r#"{"create": "view", "viewOn": "logs", "pipeline": [{"$match": {"a": 1}}]}"#);
    database.run(r#"{"create": "plain"}"#);
    database.run(r#"{"createIndexes": "plain", "indexes": [{"key": {"a": 1}, "name": "a_1", "hidden": true, "collation": {"locale": "de"}}]}"#);
    let listed = database.run(r#"{"listCollections": 1}"#)["cursor"]["firstBatch"].clone();
    let entry = |name: &str| listed.as_array().unwrap().iter().find(|each| each["name"] == name).unwrap().clone();
    assert_eq!(number(&entry("logs")["options"]["max"]), "10");
    assert_eq!((&entry("view")["type"], &entry("view")["options"]["viewOn"]), (&"view".into(), &"logs".into()));
    assert!(entry("view").get("idIndex").is_none() && entry("view")["info"].get("uuid").is_none());
    assert_eq!(entry("plain")["options"], serde_json::json!({}));
    let indexes = database.run(r#"{"listIndexes": "plain"}"#)["cursor"]["firstBatch"].clone();
    assert_eq!((&indexes[1]["hidden"], &indexes[1]["collation"]["locale"]), (&true.into(), &"de".into()), "{indexes}");

    database.run(r#"{"drop": "logs"}"#);
    database.run(r#"{"create": "logs"}"#);
    let listed = database.run(r#"{"listCollections": 1, "filter": {"name": "logs"}}"#);
    assert_eq!(listed["cursor"]["firstBatch"][0]["options"], serde_json::json!({}));
}
