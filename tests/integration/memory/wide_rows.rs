//! A real database with wide rows: a real backup of it, and a real restore.

use super::{LIMIT, peak};
use crate::support::{
    bed::require,
    postgres::{self, Role},
    workshop::Workshop,
};

/// Rows of 6 MiB, and many narrow ones of 60 columns: neither is ever held as a whole table.
const WIDE: &str = "\
CREATE TABLE documents (id int PRIMARY KEY, text text NOT NULL);
ALTER TABLE documents ALTER COLUMN text SET STORAGE EXTERNAL;
INSERT INTO documents SELECT g, repeat(md5(g::text), 6 * 32768) FROM generate_series(1, 30) g;
SELECT 'CREATE TABLE columns (' || string_agg('c' || c || ' text', ', ') || ')' FROM generate_series(1, 60) c
\\gexec
SELECT 'INSERT INTO columns SELECT ' || string_agg('md5(g::text || ' || c || ')', ', ') || ' FROM generate_series(1, 20000) g' FROM generate_series(1, 60) c
\\gexec
SELECT lo_from_bytea(4711, convert_to(repeat('0123456789abcdef', 2 << 20), 'UTF8'));
";

#[test]
fn a_backup_and_a_restore_of_rows_of_6_mib_stay_within_the_memory_limit() {
    let server = require!(postgres::v15);
    let live = server.create_database("wide");
    live.sql(WIDE);
    let contents = live.contents();
    let bytes: u64 = live.sql("SELECT pg_database_size(current_database())").parse().unwrap();
    assert!(bytes > LIMIT + LIMIT / 2, "{bytes}");
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    // As many sessions on every machine.
    let mut peaks = Vec::new();
    for words in [&["backup"][..], &["verify", "latest", "--level", "content"], &["restore", "--yes", "--jobs", "2"]] {
        peaks.push((words[0], peak(&workshop, words)));
    }
    for (command, peak) in &peaks {
        eprintln!("{command}: peak RSS {:.1} MiB", *peak as f64 / f64::from(1 << 20));
    }
    let over: Vec<_> = peaks.iter().filter(|(_, peak)| *peak > LIMIT).collect();
    assert!(over.is_empty(), "over 128 MiB: {over:?}");
    assert_eq!(live.contents(), contents);
}
