//! Restores of MongoDB databases: what comes back is what was there, byte for byte, and live data is touched only by what is
//! equal to the backup.

use mongodb_driver::bson::{Bson, Decimal128, JavaScriptCodeWithScope, RawDocumentBuf, Timestamp, doc, rawdoc};

use crate::{
    mongodb_backup::{fill, grow},
    recover::{files, recover},
    support::{
        bed::require,
        mongo_proxy::{self, Fault},
        mongodb::{self, Contents, Database, unordered},
        workshop::Workshop,
    },
};

const NONE: &str = ", consistency: none";

fn raw(document: mongodb_driver::bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).unwrap()
}

/// A document with one element, byte by byte, beside its `_id`.
fn by_hand(id: i32, element: &[u8]) -> Vec<u8> {
    let mut body = vec![0x10];
    body.extend_from_slice(b"_id\0");
    body.extend_from_slice(&id.to_le_bytes());
    body.extend_from_slice(element);
    body.push(0);
    let mut document = u32::try_from(body.len() + 4).unwrap().to_le_bytes().to_vec();
    document.extend(body);
    document
}

/// Documents that copies often spoil, with a name for each.
fn odd_documents() -> Vec<(&'static str, Vec<u8>)> {
    let double = |bits: u64| [&b"\x01v\0"[..], &bits.to_le_bytes()].concat();
    let mut deep = doc! {"end": 1};
    for _ in 0..90 {
        deep = doc! {"d": deep};
    }
    let zero = Timestamp { time: 0, increment: 0 };
    let with_scope =
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "x".to_owned(), scope: doc! {"x": 1} });
    vec![
        ("NaN with a payload", by_hand(1, &double(0x7ff8_0000_dead_beef))),
        ("a negative NaN", by_hand(2, &double(0xfff8_0000_0000_0001))),
        ("minus zero", by_hand(3, &double(1 << 63))),
        ("a decimal", raw(doc! {"_id": 4, "v": Bson::Decimal128("1.10E+3".parse::<Decimal128>().unwrap())}).into_bytes()),
        ("a decimal NaN", raw(doc! {"_id": 5, "v": Bson::Decimal128("NaN".parse::<Decimal128>().unwrap())}).into_bytes()),
        ("a key twice", by_hand(6, b"\x0ak\0\x0ak\0")),
        ("a timestamp of zero inside", raw(doc! {"_id": 7, "v": {"t": zero}}).into_bytes()),
        ("a timestamp of zero at the top", raw(doc! {"_id": 8, "t": zero}).into_bytes()),
        ("code with scope", raw(doc! {"_id": 9, "v": with_scope}).into_bytes()),
        ("a DBRef", raw(doc! {"_id": 10, "v": {"$ref": "c", "$id": 1, "$db": "d"}}).into_bytes()),
        ("deep nesting", raw(doc! {"_id": 11, "v": deep}).into_bytes()),
        ("an empty key", by_hand(12, b"\x0a\0")),
        ("a dotted key", raw(doc! {"_id": 13, "a.b": 1, "é\u{1}": 2}).into_bytes()),
        ("min and max key", raw(doc! {"_id": 14, "v": [Bson::MinKey, Bson::MaxKey]}).into_bytes()),
        ("a symbol and undefined", raw(doc! {"_id": 15, "v": [Bson::Symbol("s".to_owned()), Bson::Undefined]}).into_bytes()),
        ("a long", raw(doc! {"_id": 16_i64, "v": i64::MIN}).into_bytes()),
        ("a date before all calendars", raw(doc! {"_id": 17, "v": mongodb_driver::bson::DateTime::MIN}).into_bytes()),
        ("old binary", by_hand(18, b"\x05v\0\x06\0\0\0\x02\x02\0\0\0ab")),
        ("a regular expression", raw(doc! {"_id": 19, "v": Bson::RegularExpression(mongodb_driver::bson::Regex { pattern: "a/b".try_into().unwrap(), options: "imsx".try_into().unwrap() })}).into_bytes()),
        ("a document as _id", raw(doc! {"_id": {"b": 1, "a": -0.0}}).into_bytes()),
        ("nearly 16 MiB", rawdoc! {"_id": 21, "v": "x".repeat((16 << 20) - 64)}.into_bytes()),
    ]
}

/// Inserts what the server takes, and says how many and which not.
fn insert_odd(database: &Database) -> (usize, Vec<&'static str>) {
    let all = odd_documents();
    let refused: Vec<&str> = all
        .iter()
        .filter(|(_, document)| !database.try_insert("odd", document).status.success())
        .map(|(name, _)| *name)
        .collect();
    (all.len() - refused.len(), refused)
}

#[test]
fn odd_documents_are_the_same_byte_for_byte_in_source_export_and_restored_database() {
    let server = require!(mongodb::server);
    let database = server.database("odd");
    let (taken, refused) = insert_odd(&database);
    println!("{taken} odd documents; the server itself refuses: {refused:?}");
    assert!(taken >= 15, "{refused:?}");
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
    let target = server.database("back");
    let plan = workshop.done(&["restore", "--target-database", target.name(), "--dry-run"]).stdout;
    assert!(plan.contains("create: collection odd"), "{plan}");
    let ended = workshop.ends(2, &["restore", "--target-database", "a b.c", "--yes"]);
    assert!(ended.stderr.contains("`a b.c` is no name of a MongoDB database"), "{}", ended.stderr);
    assert!(target.contents().is_empty());
    let report = workshop.json(0, &["restore", "--target-database", target.name(), "--yes"]);
    assert_eq!((report["complete"].as_bool(), report["equal"].as_bool()), (Some(true), Some(true)), "{report}");
    assert_eq!(unordered(&target.contents()), unordered(&database.contents()));
    let folder = workshop.folder().join("dump");
    workshop.done(&["export", "latest", "crm-db", "-o", folder.to_str().unwrap()]);
    let exported = database.decoded(&[folder.join(database.name()).join("odd.bson")]);
    assert_eq!(exported[0].unordered, database.contents()[0].unordered);
    println!(
        "{} documents and {} bytes are equal in source, export and restored database",
        exported[0].count, exported[0].bytes
    );
}

#[test]
fn live_collections_are_replaced_only_if_they_are_named_and_indexes_come_back() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let before = database.contents();
    let indexes = |database: &Database| {
        let listed = database.run(r#"{"listIndexes": "contacts"}"#);
        let mut names: Vec<String> =
            listed["cursor"]["firstBatch"].as_array().unwrap().iter().map(|it| it["name"].to_string()).collect();
        names.sort();
        names
    };
    let made = indexes(&database);
    assert_eq!(made.len(), 3);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    database.run(r#"{"delete": "contacts", "deletes": [{"q": {"_id": 5}, "limit": 1}]}"#);
    database.run(r#"{"insert": "newer", "documents": [{"_id": 1}]}"#);
    let refused = workshop.ends(5, &["restore", "--yes"]);
    assert!(refused.stderr.contains("`--drop contacts` replaces it"), "{}", refused.stderr);
    let refused = workshop.ends(2, &["restore", "--yes", "--drop", "nobody"]);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    // What is all of them for `--drop` is no collection.
    let refused = workshop.ends(2, &["restore", "--yes", "--collection", "*", "--drop", "*"]);
    assert!(refused.stderr.contains("--collection *: the backup has no such collection"), "{}", refused.stderr);
    assert!(refused.stderr.contains("without --collection all of them are restored"), "{}", refused.stderr);
    let refused = workshop.ends(2, &["restore", "--undo", "--yes"]);
    assert!(
        refused.stderr.contains("of a MongoDB database no restore keeps what could be swapped"),
        "{}",
        refused.stderr
    );
    // One collection alone.
    workshop.done(&["restore", "--yes", "--collection", "contacts", "--drop", "contacts"]);
    let now = database.contents();
    assert!(now.iter().any(|it| it.name == "newer"));
    let of = |all: &[Contents], name: &str| all.iter().find(|it| it.name == name).unwrap().unordered.clone();
    assert_eq!(of(&now, "contacts"), of(&before, "contacts"));
    assert_eq!(indexes(&database), made);
    // All of them: what the backup does not have stays.
    database.run(r#"{"delete": "session_log", "deletes": [{"q": {}, "limit": 0}]}"#);
    workshop.done(&["restore", "--yes", "--drop", "*"]);
    let mut now = unordered(&database.contents());
    now.retain(|(name, ..)| name != "newer");
    assert_eq!(now, unordered(&before));
}

#[test]
fn what_the_server_does_not_take_ends_the_restore_and_leaves_live_data_alone() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    workshop.done(&["backup"]);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let live = unordered(&database.contents());
    for (fault, words) in [
        (Fault::error("insert", 1, 121), "of collection `contacts`"),
        (Fault::error("createIndexes", 1, 11000), "cannot create index `email_1` for collection `contacts`"),
    ] {
        proxy.inject(fault);
        let made = proxy.faults_made();
        let ended = workshop.ends(1, &["restore", "--yes", "--drop", "*"]);
        assert!(proxy.faults_made() > made, "{words}");
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains("no live collection was changed"), "{}", ended.stderr);
        assert_eq!(unordered(&database.contents()), live);
    }
    workshop.done(&["restore", "--yes", "--drop", "*"]);
    assert_ne!(unordered(&database.contents()), live);
}

#[test]
fn what_was_loaded_is_read_back_at_the_primary_and_as_a_majority_has_it() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let database = server.database("crm");
    fill(&database);
    let mut workshop = Workshop::of_mongodb(&proxy.url(&database), "");
    workshop.done(&["backup"]);
    let again = server.database("again");
    // Of a whole set the address may prefer a member, and there is no secondary: what is read at one is not read at all.
    let set = proxy.url(&database).replace("directConnection=true", "directConnection=false");
    let secondary = set + "&readPreference=secondary&serverSelectionTimeoutMS=3000";
    workshop.set("TEST_URL_CRM_DB", &secondary);
    workshop.done(&["restore", "--target-database", again.name(), "--yes"]);
    assert_eq!(unordered(&again.contents()), unordered(&database.contents()));
    let seen = proxy.seen();
    let is_loaded = |name: &Option<String>| name.as_ref().is_some_and(|name| name.starts_with("drctl_"));
    let finds: Vec<_> = seen.iter().filter(|it| it.command == "find" && is_loaded(&it.collection)).collect();
    assert_eq!(finds.len(), 4, "{finds:?}");
    assert!(finds.iter().all(|it| it.read_concern.as_deref() == Some("majority")), "{finds:?}");
    // A backup asks whom the address says.
    if !server.is_real() {
        let ended = workshop.ends(1, &["backup"]);
        assert!(ended.stderr.contains("cannot reach the MongoDB server"), "{}", ended.stderr);
    }
}

#[test]
fn the_script_recovers_what_the_server_has_and_pymongo_reads() {
    let server = require!(mongodb::server);
    require!(program "zstd");
    require!(program "b3sum");
    require!(program "jq");
    let database = server.database("crm");
    fill(&database);
    grow(&database);
    insert_odd(&database);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    let (out, dump) = (workshop.folder().join("out"), workshop.folder().join("dump"));
    let output = recover(&[&workshop.repository(), workshop.backups()[0].as_ref(), &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let recovered = out.join("crm-db.mongorestore").join(database.name());
    // The same files as those that drctl writes for mongorestore.
    workshop.done(&["export", "latest", "crm-db", "-o", dump.to_str().unwrap()]);
    let exported = files(&dump.join(database.name()));
    let found = files(&recovered);
    assert_eq!(found.len(), 10);
    assert_eq!(found.keys().collect::<Vec<_>>(), exported.keys().collect::<Vec<_>>());
    for (path, bytes) in &found {
        assert!(exported.get(path) == Some(bytes), "{}", path.display());
    }
    // And what is in them is what the server has, and has again.
    let again = server.database("again");
    let collections = database.contents();
    assert_eq!(collections.len(), 5);
    for (path, metadata) in &found {
        let Some(file) = path.to_str().unwrap().strip_suffix(".metadata.json") else { continue };
        let metadata: serde_json::Value = serde_json::from_slice(metadata).unwrap();
        let name = metadata["collectionName"].as_str().unwrap();
        let collection = collections.iter().find(|it| it.name == name).unwrap();
        let documents = recovered.join(format!("{file}.bson"));
        let decoded = &database.decoded(std::slice::from_ref(&documents))[0];
        assert_eq!((decoded.count, &decoded.unordered), (collection.count, &collection.unordered), "{name}");
        again.insert(name, &std::fs::read(documents).unwrap());
    }
    let mut expected = unordered(&collections);
    expected.retain(|(_, count, _)| *count > 0);
    assert_eq!(unordered(&again.contents()), expected);
}

#[test]
fn an_address_on_the_command_line_says_which_database_is_restored_into() {
    let server = require!(mongodb::server);
    let (database, other, third) = (server.database("crm"), server.database("other"), server.database("third"));
    fill(&database);
    let before = unordered(&database.contents());
    let bare = database.url().replacen(&format!("/{}?", database.name()), "/?", 1);
    assert_ne!(bare, database.url());
    let mut workshop = Workshop::of_mongodb(&bare, &format!("{NONE}, database: {}", database.name()));
    workshop.done(&["backup"]);
    for each in [&database, &other] {
        each.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    }
    let live = unordered(&database.contents());
    // As an application has it: what it says of its connections and of compression is no hindrance.
    workshop.set("ELSEWHERE", &format!("{}&maxPoolSize=0&compressors=zstd,snappy&zlibCompressionLevel=6", other.url()));
    let elsewhere = ["restore", "--drop", "*", "--database-url", "env:ELSEWHERE"];
    let plan = workshop.done(&[&elsewhere[..], &["--dry-run"]].concat()).stdout;
    assert!(plan.contains(&format!("into database {} on", other.name())), "{plan}");
    workshop.done(&[&elsewhere[..], &["--yes"]].concat());
    assert_eq!((unordered(&database.contents()), unordered(&other.contents())), (live.clone(), before.clone()));
    // --target-database goes before both.
    workshop.done(&[&elsewhere[..], &["--yes", "--target-database", third.name()]].concat());
    assert_eq!((unordered(&database.contents()), unordered(&third.contents())), (live, before.clone()));
    // An address without a database leaves it to the policy.
    workshop.set("ELSEWHERE", &bare);
    workshop.done(&[&elsewhere[..], &["--yes"]].concat());
    assert_eq!(unordered(&database.contents()), before);
}

#[test]
fn a_database_of_the_server_itself_is_neither_backed_up_nor_restored_into() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let mut workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    let restore = ["restore", "--yes", "--drop", "*"];
    for name in ["admin", "Local"] {
        let (own, words) =
            (server.other_database(name).url(), format!("database `{name}` belongs to the server itself"));
        let refused = workshop.ends(2, &[&restore[..], &["--target-database", name]].concat());
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
        workshop.set("ELSEWHERE", &own);
        let refused = workshop.ends(5, &[&restore[..], &["--database-url", "env:ELSEWHERE"]].concat());
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
        workshop.set("TEST_URL_CRM_DB", &own);
        let refused = workshop.ends(5, &["backup"]);
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
        workshop.set("TEST_URL_CRM_DB", &database.url());
    }
    assert_eq!(workshop.backups().len(), 1);
    // The address may lead there if the policy names another one.
    workshop.set("TEST_URL_CRM_DB", &server.other_database("admin").url());
    workshop.write_mongodb_policy(&format!("{NONE}, database: {}", database.name()));
    workshop.done(&["backup"]);
    workshop.done(&restore);
    // That of --database-url goes before the policy's, and is what has to be changed.
    workshop.set("ELSEWHERE", &server.other_database("admin").url());
    let elsewhere = [&restore[..], &["--database-url", "env:ELSEWHERE"]].concat();
    let refused = workshop.ends(5, &elsewhere);
    let counts = format!("it counts before `database: {}` of the policy", database.name());
    for words in ["database `admin` belongs to the server itself", &counts, "into the address of --database-url"] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    workshop.done(&[&elsewhere[..], &["--target-database", database.name()]].concat());
}

#[test]
fn a_collection_that_is_called_as_all_are_can_be_replaced_alone() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    database.run(r#"{"insert": "*", "documents": [{"_id": 1}]}"#);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.done(&["backup"]);
    let before = unordered(&database.contents());
    database.run(r#"{"insert": "*", "documents": [{"_id": 2}]}"#);
    let refused = workshop.ends(5, &["restore", "--yes"]);
    assert!(refused.stderr.contains("`--collection '*' --drop '*'` replaces it"), "{}", refused.stderr);
    workshop.done(&["restore", "--yes", "--collection", "*", "--drop", "*"]);
    assert_eq!(unordered(&database.contents()), before);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let changed = unordered(&database.contents());
    workshop.done(&["restore", "--yes", "--collection", "*", "--drop", "*"]);
    assert_eq!(unordered(&database.contents()), changed);
}

#[test]
fn a_database_with_nothing_but_what_a_restore_has_left_makes_a_partial_backup() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    database.run(r#"{"insert": "drctl_20261120120000ab2d_0", "documents": [{"_id": 1}]}"#);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    let doctor = workshop.run(&["doctor"]);
    assert!(doctor.stdout.contains("has no collections"), "{doctor:?}");
    let partial = workshop.ends(3, &["backup"]);
    assert!((partial.stdout + &partial.stderr).contains("it has no collections"));
    database.run(r#"{"insert": "contacts", "documents": [{"_id": 1}]}"#);
    workshop.done(&["backup"]);
    assert!(!workshop.done(&["doctor"]).stdout.contains("has no collections"));
}
