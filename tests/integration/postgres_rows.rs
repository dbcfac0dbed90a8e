//! Rows that cannot be loaded in any order or by any list of columns, and come back all the same.

use drctl::sources::postgres::restore::RestoreError;
use serde_json::Value;

use crate::support::{
    bed::require,
    dumped::Bench,
    postgres::{self, Postgres, Role},
    workshop::Workshop,
};

/// Partitions by the hash of an enum are loaded through their root; a second one has its columns in another order, and
/// has dropped one.
const MOODS: &str = "
    CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'sad');
    CREATE TABLE moods (feels mood, n int, t text) PARTITION BY HASH (feels);
    CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE moods_1 (t text, gone int, n int, feels mood); ALTER TABLE moods_1 DROP COLUMN gone;
    ALTER TABLE moods ATTACH PARTITION moods_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO moods SELECT (enum_range(NULL::mood))[1 + g % 16], g, CASE WHEN g % 7 > 0 THEN E'a\\tb\\n' || g END
    FROM generate_series(1, 5000) g";

#[test]
fn partitions_with_their_columns_in_another_order_come_back_through_their_root() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        let live = server.create_database("orders-of-columns");
        live.sql(MOODS);
        assert_ne!(live.sql("SELECT count(*) > 0 FROM moods_0") + &live.sql("SELECT count(*) > 0 FROM moods_1"), "tf");
        let contents = live.sql("SELECT feels, n, t FROM moods ORDER BY n");
        let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
        workshop.done(&["backup"]);
        live.sql("DELETE FROM moods WHERE n > 7");
        let report = workshop.json(0, &["restore", "--yes", "--no-switch"]);
        assert_eq!(report["databases"][0]["loaded"]["comparedTables"], 2, "{report}");
        let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
        assert_eq!(beside.sql("SELECT feels, n, t FROM moods ORDER BY n"), contents);
        // Compared again without being loaded: a field that is another is seen, and the twin is equal.
        beside.sql("UPDATE moods SET t = t || 'x' WHERE n = 4712");
        let report = workshop.json(4, &["restore", "--switch", "--yes"]);
        assert_eq!(report["databases"][0]["loaded"]["differences"][0]["what"], "table public.moods", "{report}");
        beside.sql("UPDATE moods SET t = left(t, -1) WHERE n = 4712");
        workshop.done(&["restore", "--switch", "--yes"]);
        assert_eq!(live.sql("SELECT feels, n, t FROM moods ORDER BY n"), contents);
        // By itself, as one table.
        let report = workshop.json(0, &["restore", "--yes", "--table", "public.moods"]);
        let merge = report["databases"][0]["loaded"]["merge"].to_string();
        assert!(merge.contains("public.moods: 5000 rows in the backup"), "{report}");
    }
}

/// Of one root: rows on another server, partitions by the hash of an enum (loaded through the root), and two that are
/// loaded by themselves, the larger one before those and the smaller one after them.
const MIXED: &str = "
    CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');
    CREATE TABLE sp (r int, m mood, x int) PARTITION BY RANGE (r);
    CREATE FOREIGN TABLE sp_far PARTITION OF sp FOR VALUES FROM (0) TO (10) SERVER elsewhere OPTIONS (table_name 'old');
    CREATE TABLE sp_mood PARTITION OF sp FOR VALUES FROM (10) TO (20) PARTITION BY HASH (m);
    CREATE TABLE sp_mood_0 PARTITION OF sp_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE sp_mood_1 PARTITION OF sp_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE sp_large PARTITION OF sp FOR VALUES FROM (20) TO (30);
    CREATE TABLE sp_small PARTITION OF sp FOR VALUES FROM (30) TO (40);
    INSERT INTO sp SELECT 10 + g % 10, (enum_range(NULL::mood))[1 + g % 8], g FROM generate_series(1, 300) g;
    INSERT INTO sp SELECT 20 + g % 10, 'a', g FROM generate_series(1, 5000) g;
    INSERT INTO sp SELECT 30 + g, 'b', g FROM generate_series(1, 3) g";

#[test]
fn what_is_loaded_through_a_root_touches_no_partition_beside_it_and_no_other_server() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        let far = server.create_database("far");
        far.sql("CREATE TABLE old AS SELECT g % 10 AS r, 'a'::text AS m, g AS x FROM generate_series(1, 777) g");
        let live = server.create_database("near");
        live.sql(&format!(
            "CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw \
             OPTIONS (host '{}', port '{}', dbname '{}'); CREATE USER MAPPING FOR PUBLIC SERVER elsewhere \
             OPTIONS (user '{}', password '{}'); {MIXED}",
            server.socket().display(),
            server.port(),
            far.name(),
            Role::Admin.name(),
            server.password(Role::Admin),
        ));
        // By the partitions of the root: which of its own a row of `sp_mood` is in, the new database decides.
        let counts = "SELECT string_agg(p || ' ' || n, ', ' ORDER BY p) FROM \
             (SELECT r / 10 AS p, count(*) || '/' || sum(x) AS n FROM sp GROUP BY r / 10) c";
        let before = live.sql(counts);
        assert!(before.starts_with("0 777/") && before.ends_with("3 3/6"), "{before}");
        let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
        workshop.done(&["backup"]);
        live.sql("DELETE FROM sp WHERE r > 21");
        for jobs in ["1", "4"] {
            let report = workshop.json(0, &["restore", "--yes", "--no-switch", "--jobs", jobs]);
            assert_eq!(report["databases"][0]["loaded"]["comparedTables"], 4, "{report}");
            let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
            assert_eq!(beside.sql(counts), before, "{jobs} jobs");
        }
        assert_eq!(far.sql("SELECT count(*) FROM old"), "777");
        // A row that is another is seen, in each of them.
        let ended = workshop.json(0, &["restore", "--yes", "--no-switch"]);
        let beside = server.database(ended["databases"][0]["loaded"]["database"].as_str().unwrap());
        for (r, table) in [(11, "table public.sp"), (22, "table public.sp_large"), (32, "table public.sp_small")] {
            beside.sql(&format!("UPDATE sp SET x = x + 1 WHERE r = {r}"));
            let report = workshop.json(4, &["restore", "--switch", "--yes"]);
            let differences = &report["databases"][0]["loaded"]["differences"];
            assert_eq!((&differences[0]["what"], &differences[1]), (&table.into(), &Value::Null), "{report}");
            beside.sql(&format!("UPDATE sp SET x = x - 1 WHERE r = {r}"));
        }
        workshop.done(&["restore", "--switch", "--yes"]);
        assert_eq!(live.sql(counts), before);
        // The rows alone, into the tables that are there.
        live.sql("TRUNCATE sp_mood, sp_large, sp_small");
        workshop.done(&["restore", "--in-place", "--data-only", "--yes"]);
        assert_eq!(live.sql(counts), before);
        assert_eq!(far.sql("SELECT count(*) FROM old"), "777");
    }
}

/// Columns in other orders again, of partitions of a range, which are loaded one by one.
#[test]
fn partitions_of_a_range_with_other_orders_of_columns_are_restored_as_one_table() {
    let server = require!(postgres::v15);
    let live = server.create_database("ranges");
    live.sql(
        "CREATE TABLE days (day int, t text) PARTITION BY RANGE (day);
         CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10); CREATE TABLE days_2 (t text, day int);
         ALTER TABLE days ATTACH PARTITION days_2 FOR VALUES FROM (10) TO (20);
         INSERT INTO days SELECT g, 'on ' || g FROM generate_series(0, 19) g",
    );
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    let report = workshop.json(0, &["restore", "--yes", "--table", "public.days"]);
    let merge = report["databases"][0]["loaded"]["merge"].to_string();
    assert!(merge.contains("public.days: 20 rows in the backup"), "{report}");
    let restored = live.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drctl%'");
    let rows = format!("SELECT string_agg(day || t, ',' ORDER BY day) FROM {restored}.days");
    assert_eq!(live.sql(&rows), live.sql("SELECT string_agg(day || t, ',' ORDER BY day) FROM days"));
}

/// Tables whose constraints call functions that read other tables: the largest ones, which are loaded first, and two that
/// wait for each other if they are loaded at once.
fn reading(server: &Postgres) -> Bench {
    let live = server.create_database("reading");
    live.sql(
        "CREATE TABLE limits (most int); INSERT INTO limits VALUES (100000);
         CREATE TABLE kinds (kind text PRIMARY KEY); INSERT INTO kinds VALUES ('a');
         CREATE FUNCTION within(int) RETURNS bool LANGUAGE sql AS 'SELECT coalesce($1 <= (SELECT max(most) FROM public.limits), false)';
         CREATE FUNCTION is_kind(text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN
             IF NOT EXISTS (SELECT FROM public.kinds k WHERE k.kind = $1) THEN RAISE EXCEPTION 'no kind %', $1; END IF; RETURN true; END$$;
         CREATE TABLE large (n int CHECK (within(n)), kind text); INSERT INTO large SELECT g, 'a' FROM generate_series(1, 20000) g;
         CREATE TABLE larger (n int, kind text CHECK (is_kind(kind))); INSERT INTO larger SELECT g, 'a' FROM generate_series(1, 30000) g;
         ALTER TABLE kinds ADD CHECK (within(length(kind)));
         CREATE TABLE one (n int); CREATE TABLE two (n int);
         CREATE FUNCTION ones() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.one';
         CREATE FUNCTION twos() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.two';
         INSERT INTO one SELECT generate_series(1, 100); INSERT INTO two SELECT generate_series(1, 100);
         ALTER TABLE one ADD CHECK (twos() >= 0); ALTER TABLE two ADD CHECK (ones() >= 0)",
    );
    Bench::new(&live, &live, Role::Admin)
}

#[tokio::test]
async fn tables_whose_constraints_read_other_tables_are_loaded_after_those() {
    let server = require!(postgres::v15);
    for jobs in [1, 4] {
        let mut bench = reading(&server);
        bench.options.jobs = Some(jobs);
        let (_, loaded) = bench.load().await.unwrap();
        assert!(loaded.is_equal(), "{:#?}", loaded.differences);
        assert_eq!((loaded.compared_tables, loaded.rows), (6, 50_202));
        for name in server.databases() {
            server.sql(&format!("DROP DATABASE {} WITH (FORCE)", postgres::quoted(&name)));
        }
    }
}

#[tokio::test]
async fn a_table_that_never_fulfils_its_constraint_ends_the_restore() {
    let server = require!(postgres::v15);
    let mut bench = reading(&server);
    bench.dumped.set_rows("public.limits", b"5\n", b"5\n");
    let error = bench.load().await.unwrap_err();
    let RestoreError::Rows { table, source } = &error else { panic!("{error}") };
    assert_eq!(table, "public.large", "{source}");
    assert!(source.to_string().contains("23514"), "{source}");
}
