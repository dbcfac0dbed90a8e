//! Documents as large as a server takes. A document of more than 8 MiB is a declared exception of the memory limit: the driver
//! copies what it receives and what it sends as a whole.

use mongodb_driver::bson::{Binary, rawdoc, spec::BinarySubtype};

use super::peak;
use crate::support::{bed::require, mongodb, workshop::Workshop};

/// How many: together as much again as this limit.
const DOCUMENTS: i32 = 18;
const LIMIT: u64 = 160 << 20;
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
    let mut over = Vec::new();
    for words in commands {
        let peak = peak(&workshop, words);
        eprintln!("{}: peak RSS {:.1} MiB", words[0], peak as f64 / f64::from(1 << 20));
        over.extend((peak > LIMIT).then_some((words[0], peak)));
    }
    assert!(over.is_empty(), "over 160 MiB: {over:?}");
    assert_eq!(target.contents()[0].unordered, database.contents()[0].unordered);
}
