//! Two MongoDB databases in one policy, and one that two sources are about.

use std::{fs, time::Duration};

use crate::{
    mongodb_backup::fill,
    mongodb_live::{NONE, UNCHANGED, names},
    support::{
        bed::require,
        mongo_proxy,
        mongodb::{self, Database, MongoDb, unordered},
        program::Ended,
        workshop::Workshop,
    },
};

/// A policy with the sources `crm-db`, which is `first` as far as `include` says, and `other-db`, at `url`.
fn policy_of_two(first: &Database, include: [&str; 2], url: &str) -> Workshop {
    let workshop = policy(&first.url(), include, url, NONE);
    workshop.done(&["backup"]);
    workshop
}

fn policy(first: &str, include: [&str; 2], url: &str, more: &str) -> Workshop {
    let mut workshop = Workshop::of_mongodb(first, &format!("{more}, include: [{}]", include[0]));
    workshop.set("OTHER_URL", url);
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    let source = format!("other-db: {{mongodb: {{url: {{env: OTHER_URL}}{more}, include: [{}]}}}}", include[1]);
    let policy = policy.replacen("\nschedules:", &format!("\n  {source}\nschedules:"), 1);
    fs::write(workshop.policy(), policy.replacen("sources: [crm-db]", "sources: [crm-db, other-db]", 1)).unwrap();
    workshop
}

fn by_another_name(server: &MongoDb, database: &Database) -> String {
    let url = database.url();
    assert!(server.address().starts_with("127.0.0.1:"), "{}", server.address());
    url.replacen("127.0.0.1", "localhost", 1)
}

#[test]
fn two_sources_of_one_database_are_not_loaded_into_each_other() {
    let server = require!(mongodb::ferretdb);
    let database = server.database("crm");
    fill(&database);
    let other = by_another_name(&server, &database);
    let workshop = policy_of_two(&database, ["contacts", "session_log"], &other);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let live = unordered(&database.contents());
    let ended = workshop.ends(1, &["restore", "--yes", "--drop", "*"]);
    assert!(ended.stderr.contains("another source of this restore is loaded into the same database"), "{ended:?}");
    assert_eq!(unordered(&database.contents()), live);
    assert!(!names(&database).iter().any(|name| name.starts_with("drctl_")), "{:?}", names(&database));
    for source in ["crm-db", "other-db"] {
        workshop.done(&["restore", "--yes", "--drop", "*", "--source", source]);
    }
    let found = database.contents().into_iter().find(|it| it.name == "contacts").map(|it| it.count);
    let before = live.iter().find(|it| it.0 == "contacts").map(|it| it.1);
    assert_eq!(found, before.map(|count| count - 1), "what came later is gone, and nothing else");
}

#[test]
fn what_may_be_dropped_is_looked_for_in_all_databases_of_a_restore() {
    let server = require!(mongodb::server);
    let (first, second) = (server.database("crm"), server.database("shop"));
    fill(&first);
    second.run(r#"{"insert": "bills", "documents": [{"_id": 1}]}"#);
    let workshop = policy_of_two(&first, ["contacts", "\"*\""], &second.url());
    let backed_up = unordered(&first.contents());
    first.run(r#"{"drop": "contacts"}"#);
    second.run(r#"{"insert": "bills", "documents": [{"_id": "later"}]}"#);
    let live = unordered(&second.contents());
    let plan = workshop.ends(5, &["restore", "--dry-run"]);
    assert!((plan.stdout + &plan.stderr).contains("`--drop bills` replaces it"));
    for (options, words) in [
        (["--drop", "blils"].as_slice(), "--drop blils: no collection of this name is restored"),
        (&["--source", "crm-db", "--drop", "bills"], "--drop bills: no collection of this name is restored"),
        (
            &["--source", "crm-db", "--collection", "contacts", "--drop", "session_log"],
            "--drop session_log: no collection of this name is restored",
        ),
        (&["--collection", "bills"], "several MongoDB databases (crm-db, other-db)"),
    ] {
        let ended = workshop.ends(2, &[&["restore", "--yes"], options].concat());
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert!(!ended.stderr.contains(UNCHANGED) && unordered(&second.contents()) == live, "{}", ended.stderr);
    }
    workshop.done(&["restore", "--yes", "--drop", "bills"]);
    assert_eq!(unordered(&first.contents()), backed_up);
    assert_eq!(unordered(&second.contents()).iter().map(|it| it.1).sum::<u64>(), 1);
}

#[test]
fn a_moment_that_has_grown_old_while_another_database_was_read_is_given_up_for_a_new_one() {
    let (server, proxy) = require!(mongo_proxy::replica_set);
    let (first, second) = (server.database("crm"), server.database("shop"));
    fill(&first);
    second.run(r#"{"insert": "bills", "documents": [{"_id": 1}]}"#);
    let all = ["\"*\"", "\"*\""];
    let workshop = policy(&proxy.url(&first), all, &proxy.url(&second), "");
    let moments = || {
        let shown = workshop.json(0, &["show", "latest"]);
        let of = |source: usize| shown["sources"][source]["moment"]["time"].as_str().unwrap().parse().unwrap();
        let (one, other): (jiff::Timestamp, jiff::Timestamp) = (of(0), of(1));
        other.duration_since(one).as_secs()
    };
    workshop.done(&["backup"]);
    assert!(moments() < 30, "{}", moments());
    // The first collection is begun, and takes more than a minute.
    let pause = proxy.pause("collStats", 1);
    let mut command = workshop.command(&["backup"]);
    let ended: Ended = std::thread::scope(|scope| {
        let running = scope.spawn(move || command.output().unwrap());
        pause.wait_until_reached();
        // What is waited for is that time passes: a moment is old after a minute.
        std::thread::sleep(Duration::from_secs(62));
        pause.release();
        running.join().unwrap().into()
    });
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(moments() >= 60, "{}", moments());
}
