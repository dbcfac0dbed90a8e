//! Documents as large as a server takes, alone and among small ones. A document of more than 8 MiB is a declared exception of
//! the memory limit: the driver copies what it receives and what it sends as a whole.

use mongodb_driver::bson::{Binary, rawdoc, spec::BinarySubtype};

use super::peak;
use crate::support::{
    bed::require,
    mongodb::{self, Database, unordered},
    workshop::Workshop,
};

/// How many: together as much again as this limit.
const DOCUMENTS: i32 = 18;
/// What is not optimised needs more.
const LIMIT: u64 = if cfg!(debug_assertions) { 160 << 20 } else { super::LIMIT };
/// A document has at most 16 MiB; this is what its key and its headers take.
const HEADERS: usize = 64;

/// Bytes that do not compress and never repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn documents_of_16_mib_stay_within_the_memory_limit_and_two_documents_more() {
    let server = require!(mongodb::server);
    let database = server.database("large");
    for id in 1..=DOCUMENTS {
        let bytes = noise(id.unsigned_abs().into(), (16 << 20) - HEADERS);
        let document = rawdoc! {"_id": id, "data": Binary { subtype: BinarySubtype::Generic, bytes }};
        database.insert("large", document.as_bytes());
    }
    let workshop = Workshop::of_mongodb(&database.url(), ", consistency: none");
    let folder = workshop.folder().join("dump");
    let target = server.database("again");
    let commands: [&[&str]; 5] = [
        &["backup"],
        &["backup"],
        &["verify", "latest", "--level", "content"],
        &["restore", "latest", "--target-database", target.name(), "--yes"],
        &["export", "latest", "crm-db", "-o", folder.to_str().unwrap()],
    ];
    stay_within(LIMIT, &workshop, &commands);
    assert_eq!(target.contents()[0].unordered, database.contents()[0].unordered);
}

/// Runs these one after the other.
///
/// # Panics
/// If one of them fails, or needs more than the limit.
fn stay_within(limit: u64, workshop: &Workshop, commands: &[&[&str]]) {
    let mut over = Vec::new();
    for words in commands {
        let peak = peak(workshop, words);
        eprintln!("{}: peak RSS {:.1} MiB", words[0], peak as f64 / f64::from(1 << 20));
        over.extend((peak > limit).then_some((words[0], peak)));
    }
    assert!(over.is_empty(), "over {} MiB: {over:?}", limit >> 20);
}

/// Adds documents of these sizes, so many of each one after the other.
fn add(database: &Database, collection: &str, first: &mut i32, sizes: &[(usize, usize)]) {
    for (number, size) in sizes {
        let mut documents = Vec::new();
        for _ in 0..*number {
            *first += 1;
            let bytes = noise(first.unsigned_abs().into(), *size);
            let document = rawdoc! {"_id": *first, "data": Binary { subtype: BinarySubtype::Generic, bytes }};
            documents.extend_from_slice(document.as_bytes());
        }
        database.insert(collection, &documents);
    }
}

#[test]
fn large_documents_among_small_ones_in_several_collections_stay_within_two_documents_more() {
    let server = require!(mongodb::server);
    let database = server.database("mixed");
    let whole = (16 << 20) - HEADERS;
    let mut id = 0;
    // A server is asked for thousands of such documents at once, on the average of a few KiB; one reply has some of 16 MiB.
    add(&database, "first", &mut id, &[(6000, 1000), (3, whole), (3000, 1000)]);
    for _ in 0..4 {
        add(&database, "second", &mut id, &[(1, whole), (1000, 1000)]);
    }
    // Each of them goes with others in a batch, or nearly; many of them make a reply of 16 MiB.
    for _ in 0..3 {
        add(&database, "third", &mut id, &[(4000, 1000), (7, 2_500_000), (2, 3_200_000)]);
    }
    add(&database, "fourth", &mut id, &[(9000, 1000), (1, whole)]);
    let workshop = Workshop::of_mongodb(&database.url(), ", consistency: none");
    let folder = workshop.folder().join("dump");
    let target = server.database("again");
    let restore = ["restore", "latest", "--target-database", target.name(), "--yes"];
    let commands: [&[&str]; 5] = [
        &["backup"],
        &["backup"],
        &["verify", "latest", "--level", "content"],
        &restore,
        &["export", "latest", "crm-db", "-o", folder.to_str().unwrap()],
    ];
    stay_within(LIMIT, &workshop, &commands);
    assert_eq!(unordered(&target.contents()), unordered(&database.contents()));
}
