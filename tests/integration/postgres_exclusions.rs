//! What the policy excludes from a backup, and what refers to it: named by backup and doctor, left out by name by a
//! restore, and nothing else is.

use serde_json::Value;

use crate::support::{
    bed::require,
    postgres::{self, Database, Postgres, Role},
    workshop::Workshop,
};

/// Both versions whose catalogs differ in what concerns exclusions.
fn servers(test: &str) -> Option<[Postgres; 2]> {
    Some([postgres::v15(test)?, postgres::v18(test)?])
}

/// A database with `sql` in it, and a policy with `more`.
fn shop(server: &Postgres, name: &str, sql: &str, more: &str) -> (Database, Workshop) {
    let live = server.create_database(name);
    live.sql(sql);
    let workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.write_database_policy(&[("db", more)]);
    (live, workshop)
}

fn newest(workshop: &Workshop) -> String {
    workshop.backups().pop().unwrap()
}

/// The names in a list of `{what, why}`.
fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect()
}

fn left_out(report: &Value) -> Vec<&str> {
    names(&report["databases"][0]["loaded"]["leftOut"])
}

const AUDITED: &str = "
    CREATE SCHEMA audit; CREATE TABLE audit.log (id int PRIMARY KEY, t text); INSERT INTO audit.log VALUES (1, 'x');
    CREATE TABLE orders (id int PRIMARY KEY, n int); INSERT INTO orders SELECT g, g FROM generate_series(1, 10) g;
    CREATE VIEW fine AS SELECT * FROM orders";
const REFERRING: &str = "
    ALTER TABLE orders ADD log int DEFAULT 1 CONSTRAINT logged REFERENCES audit.log;
    CREATE VIEW busy AS SELECT count(*) FROM audit.log; CREATE VIEW \"Busier\" AS SELECT * FROM busy;
    COMMENT ON VIEW busy IS 'how busy';
    CREATE MATERIALIZED VIEW kept AS SELECT id FROM audit.log; CREATE INDEX ON kept (id);
    CREATE RULE told AS ON DELETE TO orders DO ALSO DELETE FROM audit.log;
    CREATE FUNCTION last() RETURNS audit.log LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TABLE many (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE INDEX ON many (id);
    CREATE TABLE many_1 PARTITION OF many FOR VALUES FROM (0) TO (10); INSERT INTO many VALUES (1)";

#[test]
fn what_refers_to_an_excluded_table_makes_a_backup_partial_and_is_left_out_by_name() {
    for server in require!(servers) {
        let (live, workshop) = shop(&server, "refers", AUDITED, ", excludeTables: [audit.log, many]");
        live.sql(REFERRING);
        let wanted = [
            "FK CONSTRAINT public orders logged",
            "FUNCTION public last()",
            "INDEX public kept_id_idx",
            "MATERIALIZED VIEW public kept",
            "RULE public orders told",
            "VIEW public Busier",
            "VIEW public busy",
        ];
        let report = workshop.json(3, &["backup"]);
        let missing = &report["backup"]["missing"];
        let mut found = names(missing);
        found.sort_unstable();
        assert_eq!(found, wanted, "{missing:#}");
        let text = missing.to_string();
        for why in [
            "it needs table audit.log, which the policy's `excludeTables` leaves out",
            "it depends on VIEW public busy",
        ] {
            assert!(text.contains(why), "{why}: {text}");
        }
        let doctor = workshop.ends(3, &["doctor"]);
        for said in [
            "view public.busy cannot be made again: it needs table audit.log",
            "`excludeTableData`",
            "logged on public.orders",
        ] {
            assert!(doctor.stdout.contains(said), "{said}: {}", doctor.stdout);
        }

        let id = newest(&workshop);
        let refused = workshop.ends(5, &["restore", &id, "--yes"]);
        for said in ["VIEW public busy", "tables audit.log", "--leave-out"] {
            assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        }
        assert_eq!(server.databases(), [live.name()]);

        live.sql("TRUNCATE orders");
        let report = workshop.json(3, &["restore", &id, "--yes", "--leave-out"]);
        let out = left_out(&report);
        for what in wanted.iter().chain(&[
            "COMMENT public VIEW busy",
            "TABLE ATTACH public many_1",
            "INDEX ATTACH public many_1_pkey",
            "tables audit.log",
        ]) {
            assert!(out.contains(what), "{what}: {out:?}");
        }
        assert!(!out.iter().any(|what| what.contains("fine")), "{out:?}");
        assert_eq!(live.sql("SELECT count(*) FROM orders") + &live.sql("SELECT count(*) FROM fine"), "1010");
        assert_eq!(live.sql("SELECT to_regclass('busy') IS NULL, to_regclass('many') IS NULL"), "t|t");
        assert_eq!(live.sql("SELECT count(*) FROM many_1"), "1", "a partition can be made without its root");

        // Where nothing is lost, nobody has to agree.
        for name in server.databases() {
            server.sql(&format!("DROP DATABASE {} WITH (FORCE)", postgres::quoted(&name)));
        }
        let report = workshop.json(3, &["restore", &id, "--yes", "--create"]);
        assert!(left_out(&report).contains(&"VIEW public busy"), "{report}");
        assert_eq!(live.sql("SELECT count(*) FROM orders"), "10");
    }
}

#[test]
fn an_exclusion_that_nothing_refers_to_leaves_a_backup_complete() {
    for server in require!(servers) {
        let (live, workshop) = shop(&server, "alone", AUDITED, ", excludeTables: [audit.log]");
        let report = workshop.json(0, &["backup"]);
        assert_eq!(report["backup"]["missing"].as_array().unwrap().len(), 0, "{report}");
        let doctor = workshop.done(&["doctor"]);
        assert!(!doctor.stdout.contains("cannot be made"), "{}", doctor.stdout);
        let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
        assert_eq!(left_out(&report), ["tables audit.log"]);
        assert_eq!(live.sql("SELECT count(*) FROM fine"), "10");

        // What refers to it is excluded with it.
        live.sql(&format!("CREATE TABLE audit.log (id int PRIMARY KEY, t text); INSERT INTO audit.log VALUES (1, 'x'); {REFERRING}; ALTER TABLE orders DROP CONSTRAINT logged; \
                           DROP RULE told ON orders; DROP FUNCTION last"));
        workshop.write_database_policy(&[("db", ", excludeTables: [audit.log, busy, '\"Busier\"', kept]")]);
        workshop.done(&["backup"]);
    }
}

#[test]
fn what_refers_to_a_schema_that_is_not_selected_is_named_and_left_out_with_what_depends_on_it() {
    const SQL: &str = "
        CREATE SCHEMA kit; CREATE TYPE kit.level AS ENUM ('low', 'high'); CREATE DOMAIN kit.positive AS int CHECK (VALUE > 0);
        CREATE FUNCTION kit.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION kit.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE SEQUENCE kit.numbers;
        CREATE TABLE typed (id int PRIMARY KEY, l kit.level); INSERT INTO typed VALUES (1, 'low');
        CREATE TABLE defaulted (id int DEFAULT kit.one(), n int DEFAULT nextval('kit.numbers')); INSERT INTO defaulted DEFAULT VALUES;
        CREATE TABLE checked (id int, CONSTRAINT c CHECK (id > kit.one())); INSERT INTO checked VALUES (5);
        CREATE TABLE indexed (id kit.positive[]);
        CREATE TABLE fine (id int PRIMARY KEY, t text); INSERT INTO fine VALUES (1, 'a');
        CREATE INDEX by_one ON fine ((id + kit.one()));
        CREATE TRIGGER touched BEFORE INSERT ON fine FOR EACH ROW EXECUTE FUNCTION kit.touch();
        CREATE POLICY seen ON fine USING (id > kit.one());
        CREATE VIEW over AS SELECT l FROM typed";
    for server in require!(servers) {
        // An immutable function, so that an index may call it.
        let sql = SQL.replace("LANGUAGE sql AS 'SELECT 1'", "LANGUAGE sql IMMUTABLE AS 'SELECT 1'");
        let (live, workshop) = shop(&server, "schemas", &sql, ", schemas: [public]");
        let report = workshop.json(3, &["backup"]);
        let missing = names(&report["backup"]["missing"]);
        for what in [
            "TABLE public typed",
            "TABLE public defaulted",
            "TABLE public checked",
            "TABLE public indexed",
            "INDEX public by_one",
            "TRIGGER public fine touched",
            "POLICY public fine seen",
            "VIEW public over",
        ] {
            assert!(missing.contains(&what), "{what}: {missing:?}");
        }
        assert!(!missing.contains(&"TABLE public fine"), "{missing:?}");
        let why = report["backup"]["missing"].to_string();
        assert!(why.contains("`schemas` leave out schema kit"), "{why}");
        let doctor = workshop.ends(3, &["doctor"]);
        assert!(doctor.stdout.contains("table public.typed cannot be made again: it needs"), "{}", doctor.stdout);

        let id = newest(&workshop);
        workshop.ends(5, &["restore", &id, "--yes"]);
        let report = workshop.json(3, &["restore", &id, "--yes", "--leave-out"]);
        let out = left_out(&report);
        for what in ["TABLE public typed", "TABLE DATA public typed", "INDEX public by_one", "all schemas but public"] {
            assert!(out.contains(&what), "{what}: {out:?}");
        }
        assert_eq!(live.sql("SELECT t FROM fine"), "a");

        // The twin: the schema is selected, too.
        let (live, workshop) = shop(&server, "both", &sql, ", schemas: [public, kit]");
        workshop.done(&["backup"]);
        let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
        assert_eq!(left_out(&report), ["all schemas but public, kit"]);
        assert_eq!(live.sql("SELECT l FROM over"), "low");
    }
}

const PEOPLE: &str = "
    CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1), (2);
    CREATE TABLE orders (id int PRIMARY KEY, person int);
    ALTER TABLE orders ADD CONSTRAINT whose FOREIGN KEY (person) REFERENCES people;
    COMMENT ON CONSTRAINT whose ON orders IS 'of a person'";

fn keys(database: &Database) -> String {
    database.sql("SELECT count(*), coalesce(bool_and(convalidated), true) FROM pg_constraint WHERE conname = 'whose'")
}

#[test]
fn a_foreign_key_to_rows_that_are_excluded_is_left_out_by_name_if_it_does_not_hold() {
    const KEY: &str = "FK CONSTRAINT public orders whose";
    for server in require!(servers) {
        let (live, workshop) = shop(&server, "rows", PEOPLE, ", excludeTableData: [people]");
        live.sql("INSERT INTO orders VALUES (1, 1), (2, NULL)");
        let report = workshop.json(0, &["backup"]);
        let note = report["backup"]["notes"].to_string();
        assert!(note.contains(KEY) && note.contains("rows of public.people"), "{note}");
        let doctor = workshop.done(&["doctor"]);
        assert!(doctor.stdout.contains("whose on public.orders if it does not hold"), "{}", doctor.stdout);

        let plan = workshop.json(3, &["restore", "--dry-run", "--leave-out"]);
        assert!(plan["databases"][0]["warnings"].to_string().contains(KEY), "{plan}");
        let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
        let mut out = left_out(&report);
        out.sort_unstable();
        assert_eq!(out, ["COMMENT public CONSTRAINT whose ON orders", KEY, "rows of *.people"], "{report}");
        assert_eq!((keys(&live).as_str(), live.sql("SELECT count(*) FROM orders").as_str()), ("0|t", "2"));

        // Left beside, put right by hand, compared again: the key holds then.
        live.sql("INSERT INTO people VALUES (1)");
        let report = workshop.json(3, &["restore", "--yes", "--leave-out", "--no-switch"]);
        let beside = server.database(report["databases"][0]["loaded"]["database"].as_str().unwrap());
        beside.sql("UPDATE orders SET person = NULL");
        let report = workshop.json(4, &["restore", "--switch", "--yes", "--leave-out"]);
        assert_eq!(report["databases"][0]["loaded"]["differences"][0]["what"], "table public.orders", "{report}");
        assert_eq!(keys(&beside), "1|t");

        // The twin: no row refers to one that is excluded.
        let (live, workshop) = shop(&server, "holds", PEOPLE, ", excludeTableData: [people]");
        live.sql("INSERT INTO orders VALUES (2, NULL)");
        workshop.done(&["backup"]);
        let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
        assert_eq!((left_out(&report), keys(&live).as_str()), (vec!["rows of *.people"], "1|t"), "{report}");

        // Nor is a word said where the rows that refer are excluded, too.
        workshop.write_database_policy(&[("db", ", excludeTableData: [people, orders]")]);
        // (The backup is suspect: it has fewer rows than the last one.)
        let notes = workshop.json(4, &["backup"])["backup"]["notes"].to_string();
        assert!(!notes.contains("FK CONSTRAINT"), "{notes}");
    }
}

#[test]
fn partitions_whose_rows_are_excluded_concern_the_keys_of_their_root() {
    for server in require!(servers) {
        let sql = "CREATE TABLE people (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (10);
            CREATE TABLE people_2 PARTITION OF people FOR VALUES FROM (10) TO (20); INSERT INTO people VALUES (1), (11);
            CREATE TABLE orders (id int, person int CONSTRAINT whose REFERENCES people) PARTITION BY RANGE (id);
            CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (10); INSERT INTO orders VALUES (1, 11)";
        let (live, workshop) = shop(&server, "leaves", sql, ", excludeTableData: [people_2]");
        workshop.done(&["backup"]);
        let report = workshop.json(3, &["restore", "--yes", "--leave-out"]);
        let out = left_out(&report);
        assert!(out.contains(&"FK CONSTRAINT public orders whose"), "{out:?}");
        assert_eq!(live.sql("SELECT count(*) FROM people") + &live.sql("SELECT person FROM orders"), "111");
    }
}

#[test]
fn a_user_mapping_goes_with_its_server() {
    let server = require!(postgres::v15);
    let live = server.create_database("mapped");
    live.sql(
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER \"far away\" FOREIGN DATA WRAPPER nothing; \
         CREATE USER MAPPING FOR owner SERVER \"far away\"; CREATE TABLE a (t text); INSERT INTO a VALUES ('old'); \
         ALTER TABLE a OWNER TO owner",
    );
    let mut workshop = Workshop::of_databases(&[("db", &live.url(Role::Admin))]);
    workshop.done(&["backup"]);
    // The twin: who may create all of it.
    workshop.done(&["restore", "--yes", "--no-switch"]);
    workshop.set("TEST_URL_DB", &live.url(Role::Owner));
    live.sql(&format!("ALTER DATABASE {} OWNER TO owner", live.quoted()));
    let report = workshop.json(3, &["restore", "--yes", "--ownership", "none"]);
    let out = left_out(&report);
    for what in ["FOREIGN DATA WRAPPER nothing", "SERVER far away", "USER MAPPING USER MAPPING owner SERVER far away"] {
        assert!(out.contains(&what), "{what}: {out:?}");
    }
    assert_eq!(live.sql("SELECT t FROM a"), "old");
}
