//! The ways of a restore of a database, each as a person runs it: the command line, its exit code, and what `psql` finds
//! in the databases afterwards.

use serde_json::Value;

use crate::support::{
    bed::require,
    postgres::{self, Database, Postgres, Role},
    workshop::Workshop,
};

/// Tables of every sort that a merge has to tell apart, each with rows that are lost afterwards and others that stay.
const TABLES: &str = r#"
CREATE TABLE orders (id int PRIMARY KEY, email text UNIQUE, doubled int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO orders SELECT g, CASE WHEN g % 3 > 0 THEN 'c' || g END FROM generate_series(1, 300) g;
CREATE TABLE "orders x" (id int, CONSTRAINT "pkey" UNIQUE (id));
INSERT INTO "orders x" SELECT CASE WHEN g % 2 = 0 THEN g END FROM generate_series(1, 20) g;
CREATE TABLE notes (at json, place point, doc xml, t text, drctl_row int);
INSERT INTO notes SELECT '{"n": 1}', '(1,2)', '<a/>', NULL, 1 FROM generate_series(1, 3);
INSERT INTO notes VALUES (NULL, NULL, NULL, '', NULL), ('[]', '(0,0)', '<b/>', 'x', 2);
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, t text);
INSERT INTO late SELECT g, 'late ' || g FROM generate_series(1, 10) g;
CREATE TABLE events (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE "events old" PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE) PARTITION BY LIST (id);
CREATE TABLE events_new_1 PARTITION OF events_new FOR VALUES IN (1);
CREATE TABLE events_new_rest PARTITION OF events_new DEFAULT;
INSERT INTO events SELECT g, '2025-12-01'::date + g, 'event ' || g FROM generate_series(1, 60) g;
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TABLE hashed (c color, n int) PARTITION BY HASH (c);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT CASE WHEN g % 2 = 0 THEN 'red' ELSE 'green' END::color, g % 5 FROM generate_series(1, 40) g;
CREATE TABLE attach (partition int);
INSERT INTO attach VALUES (1), (1), (2);
"#;

/// What is lost, and one change that stays.
const LOST: &str = "
DELETE FROM orders WHERE id > 100;
DELETE FROM \"orders x\" WHERE id IS NULL OR id > 10;
DELETE FROM notes WHERE ctid IN (SELECT ctid FROM notes WHERE t IS NULL LIMIT 2); DELETE FROM notes WHERE t = 'x';
DELETE FROM late WHERE id > 3;
DELETE FROM events WHERE id % 2 = 0; DELETE FROM hashed WHERE n IN (1, 2); DELETE FROM attach;
";

const WANTED: [&str; 7] = [
    "public.orders",
    "public.\"orders x\"",
    "public.notes",
    "public.late",
    "public.events",
    "public.hashed",
    "public.attach",
];

fn tables_and_their_merge(server: &Postgres) {
    let live = server.create_database("tables");
    live.sql(TABLES);
    let before = live.contents();
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    live.sql(LOST);
    let lost = live.contents();
    assert_ne!(lost, before);

    let mut args = vec!["restore", "--yes"];
    WANTED.iter().for_each(|table| args.extend(["--table", table]));
    let report = workshop.json(0, &args);
    let loaded = &report["databases"][0]["loaded"];
    assert_eq!(loaded["differences"], Value::Array(Vec::new()), "{report:#}");
    let schema = live.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'drctl\\_%'");
    for (table, rows) in [("orders", "300"), ("orders x", "20"), ("events", "60"), ("hashed", "40"), ("late", "10")] {
        assert_eq!(live.sql(&format!("SELECT count(*) FROM {schema}.\"{table}\"")), rows, "{table}");
    }
    // Nothing but the schema has come: the live tables are merged by whoever runs what is printed, once or twice.
    let without_schema =
        |text: &str| text.lines().filter(|line| !line.starts_with("drctl_")).collect::<Vec<_>>().join("\n");
    assert_eq!(without_schema(&live.contents()), lost);
    let merge = loaded["merge"].as_str().unwrap();
    let (inserts, drop) = merge.rsplit_once("\n-- when it is not wanted any more:\n").unwrap();
    live.sql(inserts);
    assert_eq!(without_schema(&live.contents()), before, "{merge}");
    live.sql(inserts);
    assert_eq!(without_schema(&live.contents()), before, "the second time");
    live.sql(drop);
    assert_eq!((live.contents(), server.databases()), (before, vec![live.name().to_owned()]));

    // For people, too.
    let ended = workshop.done(&["restore", "--yes", "--table", "public.orders"]);
    for text in ["ON CONFLICT (\"id\") DO NOTHING;", "DROP SCHEMA \"drctl_", "300 rows in 1 table"] {
        assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
    }
}

#[test]
fn single_tables_of_postgresql_15_are_merged_by_what_is_printed() {
    tables_and_their_merge(&require!(postgres::v15));
}

#[test]
fn single_tables_of_postgresql_18_are_merged_by_what_is_printed() {
    tables_and_their_merge(&require!(postgres::v18));
}

#[test]
fn tables_that_cannot_be_had_by_themselves_are_refused_and_nothing_is_touched() {
    let server = require!(postgres::v15);
    let live = server.create_database("refused");
    live.sql(TABLES);
    live.sql("CREATE SCHEMA other; CREATE TABLE other.orders (id int); CREATE TABLE child () INHERITS (attach)");
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.write_database_policy(&[("db", ", excludeTableData: [events_new_1]")]);
    workshop.done(&["backup"]);
    let (contents, schema) = (live.contents(), live.schema());
    for (tables, says) in [
        (&["public.nothing"][..], "the backup has no table public.nothing; it has "),
        (&["orders"], "the backup has no table orders"),
        (&["public.hashed_1"], "name public.hashed"),
        (&["public.orders", "other.orders"], "have one name; restore one after the other"),
        (&["public.child"], "inherits from another"),
        (&["public.events"], "not all of its rows: none of public.events_new_1"),
    ] {
        let mut args = vec!["restore", "--yes"];
        tables.iter().for_each(|table| args.extend(["--table", table]));
        let ended = workshop.ends(2, &args);
        assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
    }
    assert_eq!((live.contents(), live.schema()), (contents, schema));
    workshop.done(&["restore", "--yes", "--table", "public.events_new_rest"]);
}

/// A live database with a backup, a role that owns something in it, and rows that were lost since.
struct Shop {
    live: Database,
    workshop: Workshop,
    keeper: String,
    contents: String,
}

impl Shop {
    fn open(server: &Postgres, name: &str) -> Self {
        let (live, keeper) = (server.create_database(name), server.create_role("keeper", ""));
        live.sql(&format!(
            "CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE orders (id serial PRIMARY KEY, who int REFERENCES people);
             INSERT INTO people SELECT generate_series(1, 50); INSERT INTO orders (who) SELECT generate_series(1, 50);
             ALTER TABLE orders OWNER TO {0}; GRANT SELECT ON people TO {0}",
            postgres::quoted(&keeper)
        ));
        let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
        workshop.done(&["backup"]);
        let contents = live.contents();
        Self { live, workshop, keeper, contents }
    }

    fn owner_of(database: &Database, table: &str) -> String {
        database.sql(&format!("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = '{table}'"))
    }
}

#[test]
fn rows_alone_are_loaded_into_tables_that_are_there_and_empty() {
    let server = require!(postgres::v15);
    let Shop { live, workshop, contents, .. } = Shop::open(&server, "data");
    let ended = workshop.ends(2, &["restore", "--yes", "--data-only"]);
    assert!(ended.stderr.contains("--in-place"), "{}", ended.stderr);
    // Rows that are there are nobody's to remove; that is seen once the table is locked.
    live.sql("DELETE FROM orders WHERE id > 10");
    let with_rows = live.contents();
    let ended = workshop.run(&["restore", "--yes", "--in-place", "--data-only"]);
    assert!(ended.code == 1 && ended.stderr.contains("is not empty"), "{ended:?}");
    assert_eq!(live.contents(), with_rows);

    live.sql("TRUNCATE orders, people RESTART IDENTITY");
    let ended = workshop.done(&["restore", "--yes", "--in-place", "--data-only"]);
    assert!(ended.stdout.contains("equal to the backup"), "{}", ended.stdout);
    assert_eq!((live.contents(), server.databases()), (contents, vec![live.name().to_owned()]));
}

#[test]
fn another_role_takes_the_place_of_one_that_is_gone() {
    let server = require!(postgres::v15);
    let Shop { live, workshop, keeper, contents } = Shop::open(&server, "map");
    let heir = server.create_role("heir", "");
    let [old, new] = [&keeper, &heir].map(|role| postgres::quoted(role));
    live.sql(&format!("REASSIGN OWNED BY {old} TO admin; DROP OWNED BY {old}; DROP ROLE {old}"));
    let ended = workshop.ends(5, &["restore", "--yes"]);
    for text in
        [&format!("role {keeper} is not on the server"), &format!("--map-role {keeper}=OTHER"), "nothing was changed"]
    {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    assert_eq!(server.databases(), [live.name()]);

    workshop.done(&["restore", "--yes", "--map-role", &format!("{keeper}={heir}")]);
    assert_eq!((live.contents(), Shop::owner_of(&live, "orders")), (contents, heir.clone()));
    let may = format!("SELECT has_table_privilege('{heir}', 'people', 'SELECT')");
    assert_eq!((live.sql(&may).as_str(), live.schema().contains(&old)), ("t", false), "{new}");
}

#[test]
fn without_ownership_everything_belongs_to_the_role_that_restores() {
    let server = require!(postgres::v15);
    let Shop { live, mut workshop, keeper, contents } = Shop::open(&server, "nobodys");
    let new = server.database(&server.name("nobodys-new"));
    workshop.set("TEST_URL_DB", &live.url(Role::Owner));
    let create = ["restore", "--yes", "--create", "--target-database", new.name()];
    let ended = workshop.ends(5, &create);
    assert!(ended.stderr.contains("is no member of") && ended.stderr.contains("--ownership none"), "{}", ended.stderr);
    assert_eq!(server.databases(), [live.name()]);

    workshop.done(&[&create[..], &["--ownership", "none"]].concat());
    assert_eq!(new.contents(), contents);
    assert_eq!([Shop::owner_of(&new, "orders"), Shop::owner_of(&new, "people")], ["owner", "owner"]);
    assert!(!new.schema().contains(&keeper));
    assert_eq!((live.contents(), Shop::owner_of(&live, "orders")), (contents, keeper));
}

#[test]
fn another_database_than_that_of_the_address_is_made_or_replaced() {
    let server = require!(postgres::v15);
    let Shop { live, workshop, contents, .. } = Shop::open(&server, "target");
    live.sql("INSERT INTO people VALUES (1000)");
    let since = live.contents();
    let other = server.database(&server.name("other"));
    let target = ["--target-database", other.name()];
    let ended = workshop.ends(5, &[&["restore", "--yes"], &target[..]].concat());
    assert!(ended.stderr.contains(&format!("there is no database {}", other.name())), "{}", ended.stderr);
    assert!(ended.stderr.contains("--create"), "{}", ended.stderr);

    // Its definitions first, and then all of it in their place.
    workshop.done(&[&["restore", "--yes", "--create", "--schema-only"], &target[..]].concat());
    assert_eq!(other.sql("SELECT count(*) FROM people"), "0");
    assert_eq!(other.schema(), live.schema());
    let plan = workshop.done(&[&["restore", "--dry-run"], &target[..]].concat());
    for text in ["; needs about ", " beside the live database's "] {
        assert!(plan.stdout.contains(text), "{text}: {}", plan.stdout);
    }
    workshop.done(&[&["restore", "--yes"], &target[..]].concat());
    assert_eq!((other.contents(), live.contents()), (contents, since.clone()));
    workshop.done(&[&["restore", "--undo", "--yes"], &target[..]].concat());
    assert_eq!((other.sql("SELECT count(*) FROM people").as_str(), live.contents()), ("0", since));
}

#[test]
fn a_server_that_is_older_than_the_backup_is_refused() {
    let (newer, older) = (require!(postgres::v18), require!(postgres::v15));
    let live = newer.create_database("newer");
    live.sql("CREATE TABLE a AS SELECT generate_series(1, 100) AS n");
    let mut workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    let contents = live.contents();
    live.sql("DELETE FROM a");

    let target = older.create_database("older");
    target.sql("CREATE TABLE precious AS SELECT 1 AS one");
    let precious = (target.contents(), target.schema());
    workshop.set("TEST_URL_DB", &target.url(Role::Admin));
    for way in [&[][..], &["--in-place"], &["--create", "--target-database", "new"], &["--table", "public.a"]] {
        let ended = workshop.ends(5, &[&["restore", "--yes"], way].concat());
        for text in [
            "it cannot be restored; nothing was changed:",
            "- the server is PostgreSQL 15, older than the 18 that the backup was taken of: restore into 18 or newer",
            "\nnext: put that right, and look at the plan again with --dry-run",
        ] {
            assert!(ended.stderr.contains(text), "{way:?}: {text}: {}", ended.stderr);
        }
    }
    assert_eq!(((target.contents(), target.schema()), older.databases()), (precious, vec![target.name().to_owned()]));

    // Into the version that it was taken of.
    workshop.set("TEST_URL_DB", &live.url(Role::Admin));
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.contents(), contents);
}

#[test]
fn an_exclusion_that_fits_nothing_is_said_and_leaves_nothing_out() {
    let server = require!(postgres::v15);
    let Shop { live, workshop, contents, .. } = Shop::open(&server, "useless");
    workshop.write_database_policy(&[("db", ", excludeTables: [audit.*], excludeTableData: [sessions, people]")]);
    let useless = "no table fits `audit.*` of `excludeTables`: it leaves nothing out";
    for (command, code) in [("doctor", 0), ("backup", 0)] {
        let ended = workshop.ends(code, &[command]);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(text.contains(useless), "{command}: {text}");
        assert!(text.contains("no table fits `*.sessions` of `excludeTableData`"), "{command}: {text}");
        assert!(!text.contains("no table fits `*.people`"), "{command}: {text}");
    }
    // What was left out needs agreement, and it alone.
    let ended = workshop.ends(5, &["restore", "--yes"]);
    assert!(ended.stderr.contains("the backup does not hold rows of *.people ("), "{}", ended.stderr);
    workshop.write_database_policy(&[("db", ", excludeTables: [audit.*], excludeTableData: [sessions]")]);
    workshop.done(&["backup"]);
    live.sql("TRUNCATE people, orders");
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.contents(), contents);
}

#[test]
fn client_programs_that_are_missing_or_of_another_major_are_named_before_anything_is_written() {
    let (server, older) = (require!(postgres::v18), require!(postgres::v15));
    let live = server.create_database("tools");
    live.sql("CREATE TABLE t AS SELECT 'old' AS t");
    let mut workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    let own = server.programs().to_str().unwrap().to_owned();
    workshop.set("PATH", "/usr/bin:/bin");
    workshop.set("DRCTL_PG_BIN_DIR", &own);
    workshop.done(&["backup"]);
    live.sql("UPDATE t SET t = 'new'");
    let others = older.programs().to_str().unwrap().to_owned();
    for (folder, found) in [("/nonexistent", None), (others.as_str(), Some("15"))] {
        workshop.set("DRCTL_PG_BIN_DIR", folder);
        for flags in [&["restore", "--yes"][..], &["restore", "--dry-run"], &["restore", "--yes", "--no-switch"]] {
            let ended = workshop.ends(5, flags);
            let text = format!("{}{}", ended.stdout, ended.stderr);
            for word in ["no pg_restore of PostgreSQL 18", "no pg_dump of PostgreSQL 18", "DRCTL_PG_BIN_DIR"] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(found.is_none_or(|found| text.contains(found) && text.contains(folder)), "{text}");
        }
        assert_eq!((live.sql("SELECT t FROM t").as_str(), server.databases()), ("new", vec![live.name().to_owned()]));
    }
    // The twin: the server's own, also behind those of another one.
    workshop.set("DRCTL_PG_BIN_DIR", &format!("{others}:{own}"));
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.sql("SELECT t FROM t"), "old");
}

#[test]
fn newer_client_programs_are_passed_over_for_the_servers_own() {
    let (server, newer) = (require!(postgres::v15), require!(postgres::v18));
    let live = server.create_database("passed-over");
    live.sql("CREATE TABLE t AS SELECT 'old' AS t");
    let mut workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    live.sql("UPDATE t SET t = 'new'");
    let (newer, own) = (newer.programs().display(), server.programs().display());
    workshop.set("DRCTL_PG_BIN_DIR", &format!("{newer}:{own}"));
    workshop.done(&["restore", "--yes"]);
    assert_eq!(live.sql("SELECT t FROM t"), "old");
}
