//! What a restored MongoDB database is compared with: whatever somebody spoils between the load and the comparison ends the
//! restore with 4, is named, and takes nobody's place.

use crate::{
    mongodb_faults::{left_in, meanwhile},
    mongodb_live::{UNCHANGED, backed_up},
    support::{
        bed::require,
        mongo_proxy::{self, MongoProxy},
        mongodb::{Database, unordered},
        workshop::Workshop,
    },
};

const RESTORE: [&str; 4] = ["restore", "--yes", "--drop", "*"];

fn live(database: &Database) -> Vec<(String, u64, String)> {
    let mut all = unordered(&database.contents());
    all.retain(|(name, ..)| !name.starts_with("drctl_"));
    all
}

/// Restores, spoils at the `nth` such command what was loaded of `contacts`, and sees that it is found.
fn is_found(
    (workshop, proxy, database): (&Workshop, &MongoProxy, &Database),
    at: (&str, usize),
    spoil: &[String],
    words: &str,
) {
    let before = live(database);
    let ended = meanwhile(workshop, proxy, at, &RESTORE, || {
        let beside = left_in(database).into_iter().find(|name| {
            let counted = database.run(&format!(r#"{{"count": "{name}"}}"#));
            counted["n"].to_string().contains("300")
        });
        let beside = beside.expect("the contacts are loaded");
        for command in spoil {
            // FerretDB says `true` in the place of 1.
            let answer = database.try_run(&command.replace("BESIDE", &beside));
            assert!(answer.get("errmsg").is_none() && answer.get("writeErrors").is_none(), "{command}: {answer}");
        }
    });
    assert_eq!(ended.code, 4, "{words}: {ended:?}");
    assert!(ended.stdout.contains(&format!("DIFFERS: {words}")), "{words}: {}", ended.stdout);
    assert_eq!(ended.stdout.matches("DIFFERS").count(), 1, "{words}: {}", ended.stdout);
    assert!(ended.stderr.contains(UNCHANGED), "{words}: {}", ended.stderr);
    assert_eq!(live(database), before, "{words}");
    // It is kept, to be looked at, and named.
    let kept = left_in(database);
    assert!(kept.len() == 4 && kept.iter().all(|name| ended.stderr.contains(name)), "{kept:?}: {}", ended.stderr);
    kept.iter().for_each(|name| drop(database.run(&format!(r#"{{"drop": "{name}"}}"#))));
}

#[test]
fn a_document_that_is_spoiled_before_the_comparison_is_found_and_takes_nobodys_place() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let backed_up = live(&database);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let set = |field: &str| {
        format!(r#"{{"update": "BESIDE", "updates": [{{"q": {{"_id": 7}}, "u": {{"$set": {{{field}}}}}}}]}}"#)
    };
    let delete = r#"{"delete": "BESIDE", "deletes": [{"q": {"_id": 7}, "limit": 1}]}"#.to_owned();
    let insert = |documents: &str| format!(r#"{{"insert": "BESIDE", "documents": [{documents}]}}"#);
    let other = "collection contacts: its 300 documents are not those of the backup: their digest is another";
    for (spoil, words) in [
        (vec![set(r#""email": "d7@example.com""#)], other),
        // The same number, and another kind of one.
        (vec![set(r#""score": {"$numberDecimal": "7.5"}"#)], other),
        (vec![delete.clone()], "collection contacts: it has 299 documents in place of 300"),
        (vec![insert(r#"{"_id": 300}"#)], "collection contacts: it has 301 documents in place of 300"),
        // As many as before, of which one is there twice but for its id.
        (
            vec![
                delete,
                insert(
                    r#"{"_id": 1000, "email": "c8@example.com", "tags": ["a", "b"], "score": {"$numberDouble": "8.5"}}"#,
                ),
            ],
            other,
        ),
    ] {
        // The contacts are loaded first; when the next collection is made, they have not been read back.
        is_found((&workshop, &proxy, &database), ("create", 2), &spoil, words);
    }
    workshop.done(&RESTORE);
    assert_eq!((live(&database), left_in(&database)), (backed_up, Vec::new()));
}

#[test]
fn an_index_that_is_gone_or_another_before_the_comparison_is_found() {
    let (server, proxy) = require!(mongo_proxy::standalone);
    let (workshop, database) = backed_up(&server, &proxy, "");
    let backed_up = live(&database);
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    let gone = r#"{"dropIndexes": "BESIDE", "index": "email_1"}"#.to_owned();
    let made = |index: &str| {
        format!(r#"{{"createIndexes": "BESIDE", "indexes": [{{"key": {{"email": 1}}, "name": {index}}}]}}"#)
    };
    for (spoil, words) in [
        (vec![gone.clone()], "index email_1 on contacts: it is not there"),
        // It is not unique any more.
        (vec![gone, made(r#""email_1""#)], "index email_1 on contacts: it is defined otherwise"),
        (
            vec![r#"{"createIndexes": "BESIDE", "indexes": [{"key": {"n": 1}, "name": "n_1"}]}"#.to_owned()],
            "index n_1 on contacts: the backup does not have it",
        ),
    ] {
        // The first one of the contacts is there when the second one is made.
        is_found((&workshop, &proxy, &database), ("createIndexes", 2), &spoil, words);
    }
    workshop.done(&RESTORE);
    assert_eq!((live(&database), left_in(&database)), (backed_up, Vec::new()));
}
