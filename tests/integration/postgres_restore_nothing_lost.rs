//! What a restore of a database leaves out, replaces or refuses is what it says, and nothing else.

use drctl::sources::postgres::{
    contents::{self, Document},
    restore::{self, Ownership, Scope, Way},
};

use crate::support::{
    bed::require,
    dumped::{Bench, Dumped, SHOP},
    postgres::{self, Database, Role},
};

fn refuses(plan: &restore::Plan, what: &str) {
    assert!(plan.refusals.iter().any(|why| why.contains(what)), "{what}: {:#?}", plan.refusals);
}

/// A policy whose expressions read a table of another schema, and one that is for a role.
const POLICIES: &str = "
CREATE SCHEMA tenant; CREATE TABLE tenant.members (who text); INSERT INTO tenant.members VALUES ('ann');
CREATE SCHEMA tenant2; CREATE TABLE tenant2.members (who text);
CREATE TABLE notes (who text); INSERT INTO notes VALUES ('ann'); ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes FOR INSERT WITH CHECK (EXISTS (SELECT 1 FROM tenant.members m WHERE m.who = notes.who));
CREATE POLICY two ON notes AS RESTRICTIVE TO reader USING (who IN (SELECT m.who FROM tenant.members m))
  WITH CHECK (EXISTS (SELECT 1 FROM tenant.members m));
";

#[tokio::test]
async fn a_policys_expression_reads_the_same_tables_whatever_roles_are_mapped() {
    let server = require!(postgres::v15);
    let mapped =
        || Ownership::Map([("tenant", "tenant2"), ("reader", "owner")].map(|(a, b)| (a.into(), b.into())).into());
    for (name, ownership) in [("kept", Ownership::Keep), ("mapped", mapped())] {
        let live = server.create_database(name);
        live.sql(POLICIES);
        let (contents, schema) = (live.contents(), live.schema());
        let mut bench = Bench::new(&live, &live, Role::Admin);
        let is_mapped = ownership != Ownership::Keep;
        bench.options.ownership = ownership;
        bench.restore().await;
        let schema = if is_mapped { schema.replace(" TO reader ", " TO owner ") } else { schema };
        assert_eq!((live.contents(), live.schema()), (contents, schema), "{name}");
    }
}

/// Two partitions, one of which needs an extension that only a superuser may create. Rows without a key are of the first
/// one on every server.
const PARTITIONS: &str = "
CREATE EXTENSION unit;
CREATE TYPE color AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p');
CREATE TABLE hashed (c color, n int) PARTITION BY HASH (c);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed (CHECK ('1 m'::unit IS NOT NULL)) FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT NULL, g FROM generate_series(1, 20) g;
INSERT INTO hashed SELECT c, 0 FROM unnest(enum_range(NULL::color)) c;
DELETE FROM hashed_0 WHERE c IS NOT NULL;
";

#[tokio::test]
async fn a_partition_that_is_left_out_takes_its_own_rows_along_and_no_others() {
    let server = require!(postgres::v15);
    let live = server.create_database("hashed");
    live.sql(PARTITIONS);
    let of_the_other = live.sql("SELECT count(*) FROM hashed_1");
    let mut bench = Bench::new(&live, &live, Role::Owner);
    (bench.options.way, bench.options.database) = (Way::Create, Some(server.name("less")));
    bench.options.ownership = Ownership::None;
    refuses(&bench.plan().await, "the rows of table public.hashed_1 would be left out");
    bench.options.leave_out = true;
    let plan = bench.plan().await;
    assert_eq!((plan.rows, plan.tables, plan.refusals.len()), (20, 1, 0), "{plan:#?}");
    assert!(plan.warnings.iter().any(|text| text.contains("partition public.hashed_1 of ")), "{:#?}", plan.warnings);
    let (_, loaded, _) = bench.restore().await;
    assert!(loaded.left_out.iter().any(|left| left.what.contains("hashed_1")), "{:#?}", loaded.left_out);
    assert_eq!(server.database(&server.name("less")).sql("SELECT count(*) FROM hashed"), "20");

    // A superuser gets all of it.
    let mut twin = Bench::of(bench.dumped.clone(), &live.url(Role::Admin));
    (twin.options.way, twin.options.database) = (Way::Create, Some(server.name("all")));
    let (_, loaded, _) = twin.restore().await;
    assert_eq!(loaded.left_out, []);
    let all = server.database(&server.name("all"));
    let rows = live.sql("SELECT count(*) FROM hashed");
    assert_eq!(rows, (20 + of_the_other.parse::<u32>().unwrap()).to_string());
    assert_eq!(all.sql("SELECT count(*) FROM hashed"), rows);
}

/// A database with an extension, and what a user has added to its tables.
fn with_unit(server: &postgres::Postgres, name: &str, own: &str) -> Database {
    let database = server.create_database(name);
    database.sql("CREATE EXTENSION unit");
    if !own.is_empty() {
        database.sql(&format!("INSERT INTO unit_units (name, unit) VALUES ('{own}', '0.5 m')"));
    }
    database
}

const UNITS: &str = "SELECT string_agg(name, ',') FROM unit_units WHERE dump";

#[tokio::test]
async fn in_place_no_row_is_removed_that_was_added_to_an_extension() {
    let server = require!(postgres::v15);
    let source = with_unit(&server, "source", "backed_up");
    let live = with_unit(&server, "live", "live_own");
    let mut bench = Bench::new(&source, &live, Role::Admin);
    bench.options.way = Way::InPlace;
    refuses(&bench.plan().await, "rows that were added to public.unit_units of extension unit");
    assert_eq!(live.sql(UNITS), "live_own");

    // Rows that the extension brought are in nobody's way; what comes after the plan is seen, too.
    live.sql("DELETE FROM unit_units WHERE dump");
    let plan = bench.plan().await;
    assert!(plan.is_possible(), "{:#?}", plan.refusals);
    live.sql("INSERT INTO unit_units (name, unit) VALUES ('late', '2 m')");
    let error = restore::Restore::begin(bench.context(), &plan).await.unwrap().load().await.unwrap_err();
    assert!(error.to_string().contains("public.unit_units of extension unit"), "{error}");
    assert_eq!(live.sql(UNITS), "late");
    live.sql("DELETE FROM unit_units WHERE dump");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!(live.sql(UNITS), "backed_up");
}

#[tokio::test]
async fn rows_alone_come_back_into_an_extensions_tables_beside_what_it_brought() {
    let server = require!(postgres::v15);
    let source = with_unit(&server, "source", "backed_up");
    let live = with_unit(&server, "live", "live_own");
    let mut bench = Bench::new(&source, &live, Role::Admin);
    (bench.options.way, bench.options.scope) = (Way::InPlace, Scope::Data);
    let error = bench.load().await.unwrap_err();
    assert!(error.to_string().contains("public.unit_units"), "{error}");
    assert_eq!(live.sql(UNITS), "live_own");
    live.sql("DELETE FROM unit_units WHERE dump");
    let brought = live.sql("SELECT count(*) FROM unit_units");
    assert_ne!(brought, "0");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!(live.sql(UNITS), "backed_up");
    assert_eq!(live.sql("SELECT count(*) FROM unit_units WHERE dump IS NOT TRUE"), brought);
}

#[tokio::test]
async fn rows_of_an_extension_that_is_left_out_go_with_it_by_name() {
    let server = require!(postgres::v15);
    let source = with_unit(&server, "source", "backed_up");
    source.sql("CREATE EXTENSION pg_trgm; CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    for recorded in [false, true] {
        let mut bench = Bench::new(&source, &source, Role::Owner);
        let name = server.name(if recorded { "recorded" } else { "not" });
        (bench.options.way, bench.options.database) = (Way::Create, Some(name.clone()));
        bench.options.ownership = Ownership::None;
        let mut document = bench.dumped.document();
        if recorded {
            let configured = ["public.unit_prefixes", "public.unit_units"].map(str::to_owned).to_vec();
            let unit = contents::Extension { name: "unit".to_owned(), configured, ..contents::Extension::default() };
            document.extensions = vec![unit];
            bench.dumped.set_document(&document);
        } else {
            // Where another one is made it is not known whose they are, unless that is recorded.
            source.sql("DROP EXTENSION pg_trgm");
            bench.dumped = Dumped::of(&source);
        }
        refuses(&bench.plan().await, "the rows of table public.unit_units would be left out: extension unit,");
        bench.options.leave_out = true;
        let (_, loaded, _) = bench.restore().await;
        let named = |what: &str| loaded.left_out.iter().any(|left| left.what.contains(what));
        assert!(named("TABLE DATA public unit_units") && named("EXTENSION"), "{:#?}", loaded.left_out);
        assert_eq!(server.database(&name).sql("SELECT count(*) FROM t"), "10");
        if !recorded {
            source.sql("CREATE EXTENSION pg_trgm");
        }
    }
    // Who may create it gets them back.
    let mut twin = Bench::new(&source, &source, Role::Admin);
    (twin.options.way, twin.options.database) = (Way::Create, Some(server.name("all")));
    let (_, loaded, _) = twin.restore().await;
    assert_eq!((loaded.left_out, server.database(&server.name("all")).sql(UNITS)), (vec![], "backed_up".to_owned()));
}

#[tokio::test]
async fn rows_alone_are_committed_only_with_their_sequences() {
    let server = require!(postgres::v15);
    let live = server.create_database("sequences");
    live.sql(
        "CREATE TABLE a (id serial PRIMARY KEY, t text); INSERT INTO a (t) SELECT 'x' FROM generate_series(1, 50)",
    );
    let dumped = Dumped::of(&live);
    live.sql("TRUNCATE a RESTART IDENTITY");
    let user = server.create_role("app", "LOGIN PASSWORD 'secret'");
    let role = postgres::quoted(&user);
    live.sql(&format!("GRANT ALL ON a TO {role}; GRANT USAGE, SELECT ON SEQUENCE a_id_seq TO {role}"));
    let mut bench = Bench::of(dumped, &live.url_as(&user, "secret"));
    (bench.options.way, bench.options.scope) = (Way::InPlace, Scope::Data);
    refuses(&bench.plan().await, "may not set 1 sequence (\"public\".\"a_id_seq\")");

    live.sql(&format!("GRANT UPDATE ON SEQUENCE a_id_seq TO {role}"));
    live.sql("ALTER SEQUENCE a_id_seq MAXVALUE 10");
    let error = bench.load().await.unwrap_err();
    assert!(
        error.to_string().contains("cannot set the sequences") && error.to_string().contains("no row was kept"),
        "{error}"
    );
    assert_eq!(live.sql("SELECT count(*) FROM a"), "0");

    live.sql("ALTER SEQUENCE a_id_seq NO MAXVALUE");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!(live.sql("INSERT INTO a (t) VALUES ('new') RETURNING id"), "51");
}

#[tokio::test]
async fn a_backup_that_says_nothing_of_a_table_is_refused_and_names_it() {
    let server = require!(postgres::v15);
    let live = server.create_database("unsaid");
    live.sql(SHOP);
    let contents = live.contents();
    let mut bench = Bench::new(&live, &live, Role::Admin);
    let whole = bench.dumped.document();
    let without = |change: &dyn Fn(&mut contents::Database)| {
        let mut document = whole.clone();
        change(&mut document);
        document
    };
    for (document, names) in [
        (without(&|it| it.tables.retain(|table| table.name != "orders")), "where the data is of public.orders"),
        (without(&|it| it.large_objects.clear()), "BLOBS"),
        (without(&|it| it.sequences.retain(|sequence| sequence.name != "own")), "the value of public.own"),
    ] {
        bench.dumped.set_document(&document);
        let error = restore::plan(bench.context(), &bench.options).await.unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(names), "{names}: {error}");
    }
    bench.dumped.set_document_bytes(whole.to_bytes().unwrap());
    bench.restore().await;
    assert_eq!(live.contents(), contents);
}

#[tokio::test]
async fn rows_that_row_security_hides_by_now_are_said_before_a_later_swap() {
    let server = require!(postgres::v15);
    let live = server.create_database("forced");
    live.sql("CREATE TABLE a AS SELECT generate_series(1, 10) AS n; ALTER TABLE a OWNER TO owner; ALTER TABLE a ENABLE ROW LEVEL SECURITY");
    live.sql("ALTER TABLE a FORCE ROW LEVEL SECURITY");
    let mut bench = Bench::new(&live, &live, Role::Owner);
    bench.options.no_switch = true;
    let (plan, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    let kept = restore::kept(&bench.server, live.name()).await.unwrap();
    bench.options.id = Some(kept[0].restore.clone());
    (bench.options.kept, bench.options.no_switch) = (true, false);
    let error = bench.load().await.unwrap_err().to_string();
    assert!(error.contains("row security would hide rows of public.a from role owner"), "{error}");
    assert!(error.contains("BYPASSRLS"), "{error}");
    assert_eq!(live.sql("SELECT count(*) FROM a"), "10");

    // Who sees them all swaps it in.
    let mut twin = Bench::of(bench.dumped.clone(), &live.url(Role::Admin));
    (twin.options.id, twin.options.kept) = (bench.options.id.clone(), true);
    let (again, _, _) = twin.restore().await;
    assert_eq!((again.scratch, live.sql("SELECT count(*) FROM a")), (plan.scratch, "10".to_owned()));
}
