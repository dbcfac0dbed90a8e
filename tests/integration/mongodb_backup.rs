//! Backups of MongoDB databases: what is in them is what the server holds, and what may be wrong with them is said.

use serde_json::Value;

use crate::support::{
    bed::require,
    mongo_proxy::{self, Fault, MongoProxy, Part},
    mongodb::{self, Database},
    program::Ended,
    workshop::Workshop,
};

const NONE: &str = ", consistency: none";

/// Some collections like those of an application.
pub(crate) fn fill(database: &Database) {
    let contacts: Vec<String> = (0..300)
        .map(|id| format!(r#"{{"_id": {id}, "email": "c{id}@example.com", "tags": ["a", "b"], "score": {id}.5}}"#))
        .collect();
    database.run(&format!(r#"{{"insert": "contacts", "documents": [{}]}}"#, contacts.join(", ")));
    database.run(
        r#"{"createIndexes": "contacts", "indexes": [{"key": {"email": 1}, "name": "email_1", "unique": true},
            {"key": {"score": -1, "tags": 1}, "name": "score_tags"}]}"#,
    );
    database.run(r#"{"insert": "odd name/é", "documents": [{"_id": "x"}]}"#);
    database.run(r#"{"insert": "session_log", "documents": [{"_id": 1, "at": {"$date": {"$numberLong": "0"}}}]}"#);
    database.run(r#"{"create": "empty"}"#);
}

/// Makes `contacts` too large for one reply of the server, and for one insert.
pub(crate) fn grow(database: &Database) {
    // No server keeps it in less.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    let text: String = (0..40_000).map(|_| letter()).collect();
    let update = format!(r#"{{"q": {{}}, "u": {{"$set": {{"text": "{text}"}}}}, "multi": true}}"#);
    database.run(&format!(r#"{{"update": "contacts", "updates": [{update}]}}"#));
}

fn note(report: &Value, words: &str) -> bool {
    report["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains(words))
}

#[test]
fn a_backup_without_a_moment_holds_all_documents_and_says_that_it_is_not_point_in_time() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    let report = workshop.json(0, &["backup"]);
    assert_eq!(report["backup"]["state"].as_str().or(report["state"].as_str()), Some("complete"), "{report}");
    let shown = workshop.json(0, &["show", "latest"]);
    let source = &shown["sources"][0];
    assert_eq!((source["kind"].as_str(), source["consistency"].as_str()), (Some("mongodb"), Some("none")));
    assert!(note(&shown, "not point-in-time"), "{shown}");
    let collections = source["collections"].as_array().unwrap();
    let held: Vec<(&str, u64, u64)> = collections
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["documents"].as_u64().unwrap(), it["bytes"].as_u64().unwrap()))
        .collect();
    let read = database.contents();
    let expected: Vec<(&str, u64, u64)> = read.iter().map(|it| (it.name.as_str(), it.count, it.bytes)).collect();
    assert_eq!(held, expected);
    assert_eq!(held.len(), 4);
    for level in ["presence", "stored", "content"] {
        workshop.done(&["verify", "latest", "--level", level]);
    }
    let text = workshop.done(&["show", "latest"]).stdout;
    assert!(text.contains("not point-in-time") && text.contains("302 documents"), "{text}");
    // The password of the address is nowhere.
    if let Some(password) = server.password() {
        let listed = workshop.done(&["list"]).stdout + &text;
        assert!(!listed.contains(password));
    }

    // An unchanged second backup, and one with a change.
    let again = workshop.json(0, &["backup"]);
    assert!(again["backup"]["totals"]["newBytes"].as_u64().unwrap() < 20_000, "{again}");
    database.run(r#"{"update": "contacts", "updates": [{"q": {"_id": 7}, "u": {"$set": {"email": "new"}}}]}"#);
    workshop.done(&["backup"]);
    let ids = workshop.backups();
    let diff = workshop.json(0, &["diff", &ids[1], &ids[2]]);
    assert!(diff.to_string().contains("contacts") && !diff.to_string().contains("odd name"), "{diff}");
}

#[test]
fn an_unchanged_second_backup_has_less_than_a_hundredth_of_new_bytes_and_a_changed_one_has_more() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    let bytes = |report: &Value, field: &str| report["backup"]["totals"][field].as_u64().unwrap();
    let first = workshop.json(0, &["backup"]);
    assert!(bytes(&first, "newBytes") > 50_000, "{first}");
    let second = workshop.json(0, &["backup"]);
    assert!(bytes(&second, "newBytes") * 100 < bytes(&second, "bytes"), "{second}");
    database.run(r#"{"update": "contacts", "updates": [{"q": {"_id": 7}, "u": {"$set": {"tags": []}}}]}"#);
    let third = workshop.json(0, &["backup"]);
    assert!(bytes(&third, "newBytes") > bytes(&second, "newBytes"), "{third}");
}

#[test]
fn a_standalone_server_is_refused_with_both_ways_out() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("replica set of one member"), "{}", ended.stderr);
    assert!(ended.stderr.contains("consistency: none"), "{}", ended.stderr);
    assert!(workshop.backups().is_empty());
    workshop.write_mongodb_policy(NONE);
    workshop.done(&["backup"]);
}

#[test]
fn a_replica_set_is_read_as_it_was_at_one_moment() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["consistency"], "snapshot");
    assert!(shown["sources"][0]["moment"]["position"].is_string(), "{shown}");
    assert!(!note(&shown, "point-in-time"), "{shown}");
    if !server.is_real() {
        let seen = proxy.seen();
        let finds: Vec<_> = seen.iter().filter(|it| it.command == "find" && it.database == database.name()).collect();
        assert!(finds.len() >= 5 && finds.iter().all(|it| it.read_concern.as_deref() == Some("snapshot")), "{finds:?}");
        let times: std::collections::BTreeSet<_> = finds.iter().filter_map(|it| it.at_cluster_time).collect();
        assert_eq!(times.len(), 1, "{finds:?}");
    }

    // A moment that the server has thrown away.
    proxy.inject(Fault::error("find", 3, 239));
    let ended = workshop.ends(1, &["backup"]);
    assert!(ended.stderr.contains("minSnapshotHistoryWindowInSeconds"), "{}", ended.stderr);
    assert_eq!(workshop.backups().len(), 1);
    workshop.done(&["backup"]);
}

#[test]
fn a_moment_that_is_older_than_the_list_of_collections_is_not_taken() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    // What a majority of the members has is an hour old: then there was no collection.
    proxy.lag_behind(3600);
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    let position = shown["sources"][0]["moment"]["position"].as_str().unwrap();
    let seconds: u64 = position.split('.').next().unwrap().parse().unwrap();
    assert!(seconds >= before - 1, "{position} is before {before}");
    if !server.is_real() {
        let seen = proxy.seen();
        let finds = seen.iter().filter(|it| it.command == "find" && it.database == database.name());
        let times: std::collections::BTreeSet<_> = finds.filter_map(|it| it.at_cluster_time).collect();
        assert_eq!(times.len(), 1, "{times:?}");
        assert!(times.iter().all(|time| u64::from(time.0) == seconds), "{times:?} and {position}");
    }
}

#[test]
fn collections_that_are_made_or_renamed_about_the_moment_are_in_the_backup() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    // The first read, which fixes the moment: what is listed before it is not what is there afterwards.
    let pause = proxy.pause("find", 1);
    let mut command = workshop.command(&["backup"]);
    let backup: Ended = std::thread::scope(|scope| {
        let running = scope.spawn(move || command.output().unwrap());
        pause.wait_until_reached();
        let through = server.behind(proxy.address());
        through.other_database(database.name()).run(r#"{"insert": "newer", "documents": [{"_id": 1}, {"_id": 2}]}"#);
        let name = database.name();
        let rename = format!(r#"{{"renameCollection": "{name}.session_log", "to": "{name}.moved"}}"#);
        through.other_database("admin").run(&rename);
        pause.release();
        running.join().unwrap().into()
    });
    assert_eq!(backup.code, 0, "{}", backup.stderr);
    let shown = workshop.json(0, &["show", "latest"]);
    let held: Vec<(&str, u64)> = shown["sources"][0]["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["documents"].as_u64().unwrap()))
        .collect();
    assert_eq!(held, [("contacts", 300), ("empty", 0), ("moved", 1), ("newer", 2), ("odd name/é", 1)]);
}

#[test]
fn a_killed_cursor_begins_its_stream_again_without_a_moment_and_ends_the_source_with_one() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    proxy.inject(Fault::error("getMore", 1, 43));
    let ended = workshop.done(&["backup"]);
    assert_eq!(proxy.faults_made(), 1);
    assert!(ended.stderr.contains("collection `contacts` is read from its beginning again"), "{}", ended.stderr);
    workshop.done(&["verify", "latest", "--level", "content"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["objects"], 302);

    workshop.write_mongodb_policy("");
    proxy.inject(Fault::error("getMore", 1, 43));
    let ended = workshop.ends(1, &["backup"]);
    assert!(ended.stderr.contains("cannot read collection `contacts`"), "{}", ended.stderr);
    assert_eq!(workshop.backups().len(), 1);
    workshop.done(&["backup"]);
}

#[test]
fn a_collection_that_is_dropped_or_renamed_while_it_is_read_is_named() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    for (change_it, change) in [
        (r#"{"drop": "session_log"}"#.to_owned(), "`session_log` was dropped"),
        (String::new(), "`session_log` was renamed to `moved`"),
    ] {
        fill_anew(&database);
        grow(&database);
        let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
        // The first collection is on its way then, and the last one has not been read.
        let pause = proxy.pause("getMore", 1);
        let mut command = workshop.command(&["backup"]);
        let backup: Ended = std::thread::scope(|scope| {
            let running = scope.spawn(move || command.output().unwrap());
            pause.wait_until_reached();
            if change_it.is_empty() {
                let name = database.name();
                let rename = format!(r#"{{"renameCollection": "{name}.session_log", "to": "{name}.moved"}}"#);
                server.other_database("admin").run(&rename);
            } else {
                database.run(&change_it);
            }
            pause.release();
            running.join().unwrap().into()
        });
        assert_eq!(backup.code, 1, "{}", backup.stderr);
        assert!(backup.stderr.contains(change), "{}", backup.stderr);
        assert!(workshop.backups().is_empty());
        workshop.done(&["backup"]);
    }
}

fn fill_anew(database: &Database) {
    database.try_run(r#"{"dropDatabase": 1}"#);
    fill(database);
}

#[test]
fn what_stands_in_the_way_of_a_connection_is_said_and_no_password_with_it() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let password = server.password().unwrap_or("none").to_owned();
    let mut workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    let mongos = MongoProxy::before(&server, Part::Mongos);
    let shard = MongoProxy::before(&server, Part::Shard);
    let wrong_user = database.url().replacen(&password, "wrong", 1);
    let dead = "mongodb://u:hunter2@127.0.0.1:1/crm?serverSelectionTimeoutMS=500".to_owned();
    for (url, code, words) in [
        ("postgres://u:hunter2@h/d".to_owned(), 5, "does not begin with `mongodb://`"),
        ("mongodb://u:hun/ter2@h/d".to_owned(), 5, "cannot be used"),
        (dead, 5, "cannot reach the MongoDB server 127.0.0.1:1"),
        (wrong_user, 5, "refuses user"),
        (server.url().to_owned(), 5, "nothing says which database"),
        (mongos.url(&database), 5, "is a mongos"),
        (shard.url(&database), 5, "is one shard of a sharded cluster"),
    ] {
        workshop.set("TEST_URL_CRM_DB", &url);
        let ended = workshop.run(&["backup"]);
        assert_eq!(ended.code, code, "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains(&password), "{}", ended.stderr);
    }
    // A shard that does not say whether it was added to a cluster counts as one.
    workshop.set("TEST_URL_CRM_DB", &shard.url(&database));
    shard.inject(Fault::error("find", 1, 13));
    assert_eq!(workshop.run(&["backup"]).code, 5);
    assert_eq!(shard.faults_made(), 1);
    // Whoever may not ask is not told; what is no answer to the question ends the backup.
    let proxy = MongoProxy::before(&server, Part::Itself);
    workshop.set("TEST_URL_CRM_DB", &proxy.url(&database));
    proxy.inject(Fault::error("getCmdLineOpts", 1, 8));
    let ended = workshop.run(&["backup"]);
    assert!(ended.code != 0 && ended.stderr.contains("whether the server is a shard"), "{ended:?}");
    assert_eq!(workshop.backups().len(), 1);
    proxy.inject(Fault::error("getCmdLineOpts", 1, 13));
    workshop.done(&["backup"]);
    assert_eq!((proxy.faults_made(), workshop.backups().len()), (2, 2));
    workshop.set("TEST_URL_CRM_DB", &database.url());
    workshop.done(&["backup"]);
}

#[test]
fn a_private_authority_is_asked_for_and_taken_from_the_policy() {
    let (server, authority) = require!(mongodb::with_tls);
    let database = server.database("crm");
    fill(&database);
    let url = database.url().split("&tlsCAFile").next().unwrap().to_owned() + "&authSource=admin";
    let mut workshop = Workshop::of_mongodb(&url, NONE);
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("cannot encrypt the connection"), "{}", ended.stderr);
    workshop.write_mongodb_policy(&format!("{NONE}, tls: {{caFile: {}}}", authority.display()));
    workshop.done(&["backup"]);
    workshop.write_mongodb_policy(&format!("{NONE}, tls: {{caFile: /there/is/none.pem}}"));
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("/there/is/none.pem"), "{}", ended.stderr);
    let nonsense = workshop.folder().join("nonsense.pem");
    std::fs::write(&nonsense, "no certificate").unwrap();
    workshop.write_mongodb_policy(&format!("{NONE}, tls: {{caFile: {}}}", nonsense.display()));
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("nonsense.pem` holds no certificate"), "{}", ended.stderr);
    // A server that speaks no TLS, and one who asks for it.
    let plain = require!(mongodb::ferretdb).database("crm").url() + "&serverSelectionTimeoutMS=2000";
    let plain = Workshop::of_mongodb(&plain, &format!("{NONE}, tls: {{caFile: {}}}", authority.display()));
    let ended = plain.ends(5, &["backup"]);
    assert!(ended.stderr.contains("perhaps since it takes no encrypted connections"), "{}", ended.stderr);
    assert!(ended.stderr.contains("write `tls=false` into the address"), "{}", ended.stderr);
    // One that takes no others, and who asks for none.
    workshop.set("TEST_URL_CRM_DB", &url.replace("tls=true&", "").replace("&tls=true", ""));
    workshop.write_mongodb_policy(NONE);
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("only encrypted ones, which `tls=true` in the address asks for"), "{}", ended.stderr);
    // A certificate of drctl's own that is not there.
    workshop.set("TEST_URL_CRM_DB", &format!("{url}&tlsCAFile={}", authority.display()));
    workshop.done(&["backup"]);
    workshop.set(
        "TEST_URL_CRM_DB",
        &format!("{url}&tlsCAFile={}&tlsCertificateKeyFile=/there/is/none.pem", authority.display()),
    );
    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("the certificate and key in `/there/is/none.pem`"), "{}", ended.stderr);
}

#[test]
fn the_policy_chooses_collections_and_what_it_names_must_be_there() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&database.url(), ", consistency: none, exclude: [\"session_*\", nothing]");
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["collections"].as_array().unwrap().len(), 3);
    assert!(note(&shown, "session_log left out") && note(&shown, "no collection fits it"), "{shown}");
    workshop.write_mongodb_policy(", consistency: none, include: [contacts, gone]");
    let ended = workshop.ends(3, &["backup"]);
    assert!(ended.stdout.contains("collection gone") || ended.stderr.contains("collection gone"), "{ended:?}");
    // All of it is left out, by which a backup would hold nothing.
    for nothing in ["exclude: [\"*\"]", "include: [con], exclude: [contacts]"] {
        workshop.write_mongodb_policy(&format!(", consistency: none, {nothing}"));
        let ended = workshop.run(&["backup"]);
        assert!([3, 4].contains(&ended.code), "{nothing}: {ended:?}");
        assert!((ended.stdout + &ended.stderr).contains("the policy takes none of its collections"), "{nothing}");
        let doctor = workshop.run(&["doctor"]);
        let words = format!("the policy takes none of the collections of database `{}`", database.name());
        assert!(doctor.code != 0 && doctor.stdout.contains(&words), "{nothing}: {doctor:?}");
    }
    workshop.write_mongodb_policy(", consistency: none, exclude: [\"session_*\"]");
    assert!(!workshop.run(&["doctor"]).stdout.contains("the policy takes none"));
    workshop.write_mongodb_policy(", consistency: none, database: nowhere");
    let ended = workshop.run(&["backup"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!((ended.stdout + &ended.stderr).contains("it has no collections"));
}

#[test]
fn doctor_says_what_a_backup_would_meet() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    let text = workshop.done(&["doctor"]).stdout;
    assert!(text.contains("replica set") && text.contains("a snapshot is kept for"), "{text}");
    proxy.inject(Fault::error("getParameter", 1, 13));
    let text = workshop.done(&["doctor"]).stdout;
    let words = "the server does not tell this user how long it keeps a snapshot (300 s unless it was raised)";
    assert!(text.contains(words) && !text.contains("a snapshot is kept for"), "{text}");
    workshop.write_mongodb_policy(NONE);
    let text = workshop.done(&["doctor"]).stdout;
    assert!(text.contains("not point-in-time"), "{text}");
    assert!(!text.contains("PREVENTS"), "{text}");
}

#[test]
fn doctor_says_what_to_do_about_a_server_that_cannot_be_used() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let mut workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    workshop.done(&["doctor"]);
    let with = |options: &str| {
        let between = if proxy.url(&database).contains('?') { '&' } else { '?' };
        format!("{}{between}{options}&serverSelectionTimeoutMS=2000", proxy.url(&database))
    };
    let direct = |url: String| url.replace("directConnection=true", "directConnection=false");
    for (url, words, next) in [
        (
            "mongodb://127.0.0.1:1/crm?serverSelectionTimeoutMS=500".to_owned(),
            "Connection refused",
            "next: check the address, and that the server is up",
        ),
        (with("tls=true"), "no answer in time", "next: check the address"),
        (
            database.url() + "&tls=true",
            "cannot encrypt the connection",
            "next: if the server takes none, write `tls=false`",
        ),
        (
            with("replicaSet=other"),
            "Connection string replicaSet name \"other\" does not match",
            "next: check the address",
        ),
        (direct(with("replicaSet=other")), "`replicaSet`", "next: check the address"),
        (with("tiemoutMS=1"), "tiemoutms is an invalid option", "next: correct the address"),
    ] {
        workshop.set("TEST_URL_CRM_DB", &url);
        let text = workshop.ends(5, &["doctor"]).stdout;
        assert!(text.contains(words) && text.contains(next), "{words}, {next}: {text}");
    }
}
