//! Time series: their buckets are kept as the server has them, and made again in their own place.
//!
//! FerretDB has none. Behind the proxy, which plays their kind and keeps their buckets under another name, it is seen what is
//! asked of a server; what a server makes of it is seen on a real one.

use mongodb_driver::bson::{DateTime, rawdoc};

use crate::support::{
    bed::require,
    mongo_proxy::{self, Seen},
    mongodb::{self, Database},
    workshop::Workshop,
};

const NONE: &str = ", consistency: none";
const SERIES: &str = ", consistency: none, timeSeries: true";
const BUCKETS: &str = "system.buckets.weather";

/// A series that expires in a hundred years, and something in it.
fn fill(database: &Database, is_real: bool) {
    database.run(
        r#"{"create": "weather", "timeseries": {"timeField": "at", "metaField": "place", "granularity": "hours"},
            "expireAfterSeconds": {"$numberLong": "3153600000"}}"#,
    );
    if is_real {
        let measured = |place: &str, hour: i64| {
            let at = 1_795_000_000_000 + hour * 3_600_000;
            format!(r#"{{"at": {{"$date": {{"$numberLong": "{at}"}}}}, "place": "{place}", "degrees": {hour}.5}}"#)
        };
        let all: Vec<String> = (0..50).flat_map(|hour| [measured("a", hour), measured("b", hour)]).collect();
        database.run(&format!(r#"{{"insert": "weather", "documents": [{}]}}"#, all.join(", ")));
        return;
    }
    for id in 0..3 {
        let at = DateTime::from_millis(1_795_000_000_000);
        let control = rawdoc! {"version": 1, "min": {"at": at}, "max": {"at": at, "degrees": 0.5}};
        let bucket = rawdoc! {
            "_id": id, "control": control, "meta": "a", "data": {"at": {"0": at}, "degrees": {"0": -0.0}},
        };
        database.insert(BUCKETS, bucket.as_bytes());
    }
}

/// What the server says of the series.
fn definition(database: &Database) -> serde_json::Value {
    let listed = database.run(r#"{"listCollections": 1, "filter": {"name": "weather"}}"#);
    let entry = &listed["cursor"]["firstBatch"][0];
    serde_json::json!({"type": entry["type"], "options": entry["options"]})
}

#[test]
fn a_time_series_is_taken_only_if_it_is_asked_for_and_made_again_in_its_place() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let through = server.behind(proxy.address());
    let (database, again) = (through.database("crm"), through.database("again"));
    fill(&database, server.is_real());
    let workshop = Workshop::of_mongodb(&proxy.url(&database), NONE);
    let partial = workshop.ends(3, &["backup"]);
    let said = partial.stdout + &partial.stderr + &workshop.run(&["doctor"]).stdout;
    assert!(said.contains("collection weather is a time series"), "{said}");
    assert!(said.contains("write `timeSeries: true` into the policy"), "{said}");

    workshop.write_mongodb_policy(SERIES);
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert!(shown["notes"].to_string().contains("weather is kept as the server's own buckets"), "{shown}");
    let held = &shown["sources"][0]["collections"];
    assert_eq!((held.as_array().map(Vec::len), &held[0]["name"]), (Some(1), &"weather".into()), "{shown}");

    let restore = ["restore", "--target-database", again.name(), "--yes"];
    let plan = workshop.done(&["restore", "--target-database", again.name(), "--dry-run"]).stdout;
    assert!(plan.contains("weather is restored as buckets"), "{plan}");
    workshop.done(&restore);
    what_was_asked(&proxy.seen().into_iter().filter(|it| it.database == again.name()).collect::<Vec<_>>());
    assert!(!again.documents(BUCKETS).is_empty());
    assert_eq!(again.documents(BUCKETS), database.documents(BUCKETS));
    assert_eq!(definition(&again), definition(&database));

    // There is one now, and servers do not rename them.
    let refused = workshop.ends(5, &[&restore[..], &["--drop", "*"]].concat());
    assert!(refused.stderr.contains("time-series collection weather is there already"), "{}", refused.stderr);
    assert!(refused.stderr.contains("drop it by hand, or use another database"), "{}", refused.stderr);
    assert_eq!(again.documents(BUCKETS), database.documents(BUCKETS));
}

/// The series is made without its end, its buckets are put into it as they are and read back, and only then it gets its end.
fn what_was_asked(seen: &[Seen]) {
    let only = |command: &str, collection: &str| {
        let is_it = |it: &&Seen| it.command == command && it.collection.as_deref() == Some(collection);
        let all: Vec<usize> = seen.iter().enumerate().filter(|(_, it)| is_it(it)).map(|(at, _)| at).collect();
        let at = *all.last().unwrap_or_else(|| panic!("{command} of {collection} in {seen:?}"));
        (at, &seen[at])
    };
    let (made_at, made) = only("create", "weather");
    assert_eq!(made.made_with, ["timeseries"], "{made:?}");
    let (put_at, put) = only("insert", BUCKETS);
    assert!(put.options.contains(&"bypassDocumentValidation".to_owned()), "{put:?}");
    assert_eq!(put.write_concern, Some(("majority".to_owned(), 120_000)), "{put:?}");
    let (read_at, _) = only("find", BUCKETS);
    let (ends_at, _) = only("collMod", "weather");
    assert!(made_at < put_at && put_at < read_at && read_at < ends_at, "{seen:?}");
    assert!(!seen.iter().any(|it| it.command == "renameCollection"), "{seen:?}");
}

#[test]
fn a_real_servers_series_has_its_measurements_again() {
    let server = require!(mongodb::real);
    let (database, again) = (server.database("crm"), server.database("again"));
    fill(&database, true);
    let workshop = Workshop::of_mongodb(&database.url(), SERIES);
    workshop.done(&["backup"]);
    workshop.done(&["restore", "--target-database", again.name(), "--yes"]);
    let measured = |database: &Database| {
        let found = database.run(r#"{"find": "weather", "sort": {"at": 1, "place": 1}, "batchSize": 1000}"#);
        found["cursor"]["firstBatch"].clone()
    };
    assert_eq!(measured(&database).as_array().map(Vec::len), Some(100));
    assert_eq!(measured(&again), measured(&database));
    assert_eq!(definition(&again), definition(&database));
    // It takes more.
    again.run(
        r#"{"insert": "weather", "documents": [{"at": {"$date": {"$numberLong": "1795900000000"}}, "place": "c"}]}"#,
    );
    assert_eq!(measured(&again).as_array().map(Vec::len), Some(101));
}
