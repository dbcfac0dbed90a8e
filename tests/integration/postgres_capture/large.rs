//! Large rows, many tables, many large objects: within the memory of a small container.

use super::*;
use crate::memory::{LIMIT, peak};

#[test]
fn a_row_of_32_mib_and_two_thousand_tables_stay_within_the_memory_limit() {
    let server = require!(postgres::v15);
    let database = server.create_database("large");
    database.sql(
        "CREATE TABLE huge AS SELECT string_agg(md5(g::text), '') AS t FROM generate_series(1, 1048576) g;
         CREATE TABLE wide AS SELECT g, repeat(md5(g::text), 30) AS t FROM generate_series(1, 60000) g;
         DO $$ BEGIN FOR i IN 1..2000 LOOP
             EXECUTE format('CREATE TABLE t%s AS SELECT %s AS n', i, i);
             IF i % 500 = 0 THEN COMMIT; END IF;
         END LOOP; END $$;
         SELECT count(lo_from_bytea(0, decode(md5(g::text), 'hex'))) FROM generate_series(1, 2000) g;",
    );
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    let peak = peak(&workshop, &["backup"]);
    assert!(peak <= LIMIT, "{:.1} MiB", peak as f64 / f64::from(1 << 20));
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["tables"].as_array().unwrap().len(), 2002);
    assert_eq!(shown["sources"][0]["objects"], 1 + 60_000 + 2000 + 2000);
    workshop.done(&["verify", "--level", "content"]);
}
