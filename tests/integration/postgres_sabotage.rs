//! What somebody does to the restored database before it is compared is found and named, and nothing is swapped in.

use serde_json::Value;

use crate::support::{
    bed::require,
    paused::Paused,
    postgres::{self, Database, Postgres, Role},
    workshop::Workshop,
};

const SHOP: &str = r#"
CREATE TABLE orders (id int PRIMARY KEY, note text, total numeric);
INSERT INTO orders SELECT g, CASE WHEN g % 10 = 0 THEN NULL ELSE 'note ' || g END, g / 3.0 FROM generate_series(1, 500) g;
CREATE INDEX orders_total ON orders (total);
CREATE TABLE log (line text);
INSERT INTO log SELECT 'line ' || g FROM generate_series(1, 50) g;
CREATE TABLE items (id serial PRIMARY KEY, "order" int REFERENCES orders);
INSERT INTO items ("order") SELECT g FROM generate_series(1, 20) g;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION touch();
GRANT SELECT ON log TO reader;
COMMENT ON TABLE log IS 'lines';
SELECT lo_from_bytea(4711, 'hello');
"#;

/// A database, and a workshop with a backup of it.
fn shop(server: &Postgres, name: &str) -> (Database, Workshop) {
    let live = server.create_database(name);
    live.sql(SHOP);
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    (live, workshop)
}

/// The database that is being restored beside `live`.
fn scratch(live: &Database) -> Database {
    let names = live.server().databases();
    let name = names.iter().find(|name| name.contains("_drctl_")).unwrap_or_else(|| panic!("{names:?}"));
    live.server().database(name)
}

const RESTORE: [&str; 4] = ["restore", "--yes", "-o", "json"];

/// Does each of these to a restored database at `point`, and finds what was named for it.
#[track_caller]
fn is_found(live: &Database, workshop: &Workshop, point: &str, sabotage: &[(&str, &str)]) {
    let contents = live.contents();
    let paused = Paused::at(workshop, point, &RESTORE);
    let scratch = scratch(live);
    for (sql, _) in sabotage {
        scratch.sql(sql);
    }
    let ended = paused.go_on();
    assert_eq!(ended.code, 4, "{sabotage:?}: {ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["equal"], &report["databases"][0]["switched"]), (&Value::Bool(false), &Value::Null));
    let found: Vec<&str> = report["databases"][0]["loaded"]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["what"].as_str().unwrap())
        .collect();
    for (sql, what) in sabotage {
        assert!(found.contains(what), "{sql}: {found:?}");
    }
    assert!(ended.stderr.contains(&format!("look at database {}", scratch.name())), "{}", ended.stderr);
    // It is kept to be looked at, and the live database is untouched.
    assert_eq!(live.contents(), contents);
    // The next run, and the doctor, know what it is.
    let known = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    assert!(scratch.sql(known).contains("\"stage\":\"differs\""), "{}", scratch.sql(known));
    live.server().sql(&format!("DROP DATABASE {}", scratch.quoted()));
}

#[test]
fn rows_that_somebody_changes_before_the_comparison_are_found() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "rows");
    for sql in [
        "UPDATE orders SET total = total + 0.000000000000001 WHERE id = 7",
        "DELETE FROM orders WHERE id = 7",
        "DELETE FROM log WHERE line = 'line 7'; INSERT INTO log VALUES ('line 8')",
        "INSERT INTO log VALUES ('line 7'), ('line 7')",
        "UPDATE orders SET note = 'NULL' WHERE id = 10",
        "UPDATE orders SET note = NULL WHERE id = 11",
        "TRUNCATE log",
    ] {
        let table = if sql.contains("log") { "table public.log" } else { "table public.orders" };
        is_found(&live, &workshop, "loaded", &[(sql, table)]);
    }
}

/// A table of three pieces: more than 64 MiB of blocks.
const LARGE: &str = "CREATE TABLE large (id int, note text NOT NULL); \
     INSERT INTO large SELECT g, repeat(md5(g::text), 7) FROM generate_series(1, 300000) g;";

#[test]
fn a_row_of_a_table_that_is_read_back_in_pieces_is_found_wherever_it_lies() {
    let server = require!(postgres::v15);
    let live = server.create_database("pieces");
    live.sql(LARGE);
    let bytes: u64 = live.sql("SELECT pg_relation_size('large')").parse().unwrap();
    assert!(bytes > 64 << 20, "{bytes}");
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    for sql in [
        "DELETE FROM large WHERE id = 150000",
        // Behind the last block that there was.
        "INSERT INTO large SELECT * FROM large WHERE id <= 1000",
    ] {
        is_found(&live, &workshop, "loaded", &[(sql, "table public.large")]);
    }
    let paused = Paused::at(&workshop, "loaded", &RESTORE);
    let ended = paused.go_on();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn sequences_and_large_objects_that_somebody_changes_are_found() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "others");
    let sabotage = [
        ("SELECT setval('items_id_seq', 19)", "sequence public.items_id_seq"),
        ("SELECT lo_put(4711, 0, 'H')", "large object 4711"),
    ];
    is_found(&live, &workshop, "loaded", &sabotage);
    is_found(&live, &workshop, "loaded", &[("SELECT lo_put(4711, 5, '!')", "large object 4711")]);
    is_found(&live, &workshop, "loaded", &[("SELECT lo_unlink(4711)", "large object 4711")]);
}

#[test]
fn objects_that_somebody_changes_are_found() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "objects");
    let guest = postgres::quoted(&server.create_role("guest", ""));
    let sabotage = [
        ("DROP INDEX orders_total", "INDEX public orders_total"),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_pkey'::regclass",
            "CONSTRAINT public items items_pkey",
        ),
        ("ALTER TABLE orders OWNER TO reader", "TABLE public orders"),
        ("REVOKE SELECT ON log FROM reader", "ACL public TABLE log"),
        ("ALTER TABLE items DISABLE TRIGGER touch", "TRIGGER public items touch"),
        ("ALTER TABLE items DROP CONSTRAINT items_order_fkey", "FK CONSTRAINT public items items_order_fkey"),
        ("COMMENT ON TABLE log IS 'other lines'", "COMMENT public TABLE log"),
        (
            "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
            "FUNCTION public touch()",
        ),
        ("CREATE TABLE strange ()", "TABLE public strange"),
        ("ALTER TABLE log ALTER COLUMN line TYPE varchar(99)", "TABLE public log"),
    ];
    is_found(&live, &workshop, "built", &sabotage);
    let grant = format!("GRANT DELETE ON items TO {guest}");
    is_found(&live, &workshop, "built", &[(&grant, "ACL public TABLE items")]);
    is_found(&live, &workshop, "built", &[("DROP TABLE items", "TABLE public items")]);
    let name = format!("database {}: its owner", live.name());
    let sql = "SELECT format('ALTER DATABASE %I OWNER TO reader', current_database())\n\\gexec\n";
    is_found(&live, &workshop, "built", &[(sql, &name)]);
}

#[test]
fn what_nobody_touches_is_equal_though_it_was_stopped_at_both_points() {
    let server = require!(postgres::v15);
    let (live, workshop) = shop(&server, "twin");
    let contents = live.contents();
    for point in ["loaded", "built"] {
        let ended = Paused::at(&workshop, point, &RESTORE).go_on();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(live.contents(), contents);
    }
}

#[test]
fn of_two_databases_none_is_swapped_in_if_one_is_not_equal() {
    let server = require!(postgres::v15);
    let databases = ["one", "two"].map(|name| {
        let database = server.create_database(name);
        database.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
        database
    });
    let urls = databases.each_ref().map(|database| database.url(Role::Admin));
    let workshop = Workshop::of_databases(&[("one", &urls[0]), ("two", &urls[1])]);
    workshop.done(&["backup"]);
    databases.iter().for_each(|database| drop(database.sql("UPDATE a SET t = 'new'")));
    let says = || databases.each_ref().map(|database| database.sql("SELECT t FROM a"));

    let paused = Paused::at(&workshop, "loaded", &RESTORE);
    scratch(&databases[0]).sql("UPDATE a SET t = 'other'");
    let ended = paused.go_on();
    assert_eq!(ended.code, 4, "{ended:?}");
    assert_eq!(says(), ["new", "new"]);

    workshop.done(&["restore", "--yes"]);
    assert_eq!(says(), ["old", "old"]);
}
