//! A database restored beside the live one, compared, and swapped in.

use drctl::sources::postgres::restore;

use crate::support::{
    bed::require,
    dumped::{Bench, SHOP},
    postgres::{self, Database, Postgres, Role},
};

#[tokio::test]
async fn a_damaged_database_is_replaced_by_its_backup_and_the_old_one_is_kept() {
    let server = require!(postgres::v15);
    let live = server.create_database("shop");
    live.sql(SHOP);
    let (contents, schema) = (live.contents(), live.schema());
    let bench = Bench::new(&live, &live, Role::Admin);
    live.sql("DELETE FROM orders; DROP TABLE events");

    let (plan, loaded, switched) = bench.restore().await;
    assert_eq!(live.contents(), contents);
    assert_eq!(normal(&live.schema()), normal(&schema));
    assert_eq!((loaded.rows, loaded.large_objects), (plan.rows, 3));
    assert_eq!(loaded.compared_tables, plan.tables);
    assert_eq!(loaded.compared_large_objects, 3);
    let before = server.database(switched.before.as_deref().unwrap());
    assert_eq!(before.sql("SELECT count(*) FROM orders"), "0");

    let back = restore::undo(&bench.server, live.name(), bench.options.now).await.unwrap();
    assert_eq!(live.sql("SELECT count(*) FROM orders"), "0");
    assert_eq!(server.database(back.before.as_deref().unwrap()).contents(), contents);
}

#[tokio::test]
async fn what_is_equal_is_swapped_in_though_the_live_database_is_in_use() {
    let server = require!(postgres::v15);
    let live = server.create_database("used");
    live.sql("CREATE TABLE t AS SELECT 1 AS a");
    let bench = Bench::new(&live, &live, Role::Admin);
    let mut child = live.psql().arg("-c").arg("SELECT pg_sleep(600)").spawn().unwrap();
    wait_for_sessions(&live, 1);
    let plan = bench.plan().await;
    assert!(plan.warnings.iter().any(|warning| warning.contains("1 session of database")), "{:?}", plan.warnings);
    let (_, _, switched) = bench.restore().await;
    assert_eq!(switched.ended_sessions, 1);
    assert!(!child.wait().unwrap().success());
}

#[tokio::test]
async fn what_is_restored_has_statistics_and_a_table_that_cannot_be_analyzed_is_named_alone() {
    let server = require!(postgres::v15);
    let live = server.create_database("statistics");
    live.sql(
        "CREATE FUNCTION quiet(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             IF current_query() LIKE 'ANALYZE%' THEN RAISE EXCEPTION 'not now'; END IF; RETURN a; END $$;
         CREATE TABLE refuses AS SELECT g AS a FROM generate_series(1, 999) g; CREATE INDEX ON refuses (quiet(a))",
    );
    for table in 0..30 {
        live.sql(&format!("CREATE TABLE t{table} AS SELECT g AS a FROM generate_series(1, 40) g"));
    }
    for twin in [false, true] {
        let bench = Bench::new(&live, &live, Role::Admin);
        let (_, loaded, _) = bench.restore().await;
        let known = "SELECT count(DISTINCT s.tablename) FROM pg_stats s WHERE s.schemaname = 'public'";
        assert_eq!(live.sql(known), if twin { "31" } else { "30" });
        let named: Vec<&String> = loaded.notes.iter().filter(|note| note.contains("analyze")).collect();
        assert_eq!(named.len(), usize::from(!twin), "{:?}", loaded.notes);
        assert!(
            named.iter().all(|note| note.contains("analyze public.refuses ") && note.contains("not now")),
            "{named:?}"
        );
        live.sql("DROP INDEX IF EXISTS refuses_quiet_idx");
    }
}

/// A server writes an expression with IN in another way once it has read it back.
fn normal(schema: &str) -> String {
    let lines = schema.lines().filter(|line| !(line.contains("CHECK") && line.contains("= ANY")));
    lines.collect::<Vec<_>>().join("\n")
}

fn wait_for_sessions(database: &Database, wanted: u32) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", database.name());
    for _ in 0..2400 {
        if database.server().sql(&sql) == wanted.to_string() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("there are not {wanted} sessions");
}

async fn torture(source: &Postgres, target: &Postgres) {
    let database = source.create_torture();
    let contents = database.contents();
    let mut bench = Bench::new(&database, &target.database("postgres"), Role::Admin);
    let restored = target.database(&target.name("again"));
    bench.options.database = Some(restored.name().to_owned());
    bench.options.way = restore::Way::Create;
    let mut names = Vec::new();
    if source.major() != target.major() {
        let roles =
            source.sql(&format!("SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{}')", source.name("")));
        names = roles
            .lines()
            .enumerate()
            .map(|(n, role)| (role.to_owned(), target.create_role(&n.to_string(), "")))
            .collect();
        bench.options.ownership = restore::Ownership::Map(names.iter().cloned().collect());
    }
    let plan = bench.plan().await;
    assert!(plan.is_possible(), "{:#?}", plan.refusals);
    let mut running = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    let loaded = running.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}\n{:#?}", loaded.differences, loaded.notes);
    assert_eq!(loaded.left_out, []);
    running.switch().await.unwrap();
    let renamed = names.iter().fold(contents, |text, (old, new)| {
        let forms = [old.replace('"', "\\\"\\\""), old.replace('"', "\"\""), old.clone()];
        forms.iter().fold(text, |text, old| text.replace(old, new))
    });
    let restored_contents = restored.contents();
    let other: Vec<_> = restored_contents.lines().zip(renamed.lines()).filter(|(one, other)| one != other).collect();
    assert_eq!(other, []);
    assert_eq!(restored_contents.len(), renamed.len());
    if source.major() == target.major() {
        assert_eq!(normal(&restored.schema()), normal(&database.schema()));
        assert_eq!(loaded.notes, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_torture_database_comes_back_equal_on_postgresql_15() {
    let server = require!(postgres::v15);
    torture(&server, &server).await;
}

#[tokio::test]
async fn the_torture_database_of_postgresql_15_comes_back_equal_on_18() {
    let (source, target) = (require!(postgres::v15), require!(postgres::v18));
    torture(&source, &target).await;
}

#[tokio::test]
async fn the_torture_database_comes_back_equal_on_postgresql_18() {
    let server = require!(postgres::v18);
    torture(&server, &server).await;
}

/// Made by a file of SQL, lost, and restored.
async fn comes_back(server: &Postgres, name: &str, file: &str, options: &str) {
    let live = server.create_database_with(name, options);
    live.run_file(file, &[]);
    if name == "extension" {
        // This row is one that the extension itself would bring.
        live.sql("DELETE FROM measures.unit_units WHERE name = 'not_dumped'");
    }
    let (contents, schema) = (live.contents(), live.schema());
    let bench = Bench::new(&live, &live, Role::Admin);
    bench.restore().await;
    assert_eq!((live.contents(), live.schema()), (contents, schema), "{name}");
}

#[tokio::test]
async fn tables_of_an_extension_get_back_what_users_have_added() {
    let server = require!(postgres::v15);
    comes_back(&server, "extension", "torture-extension.sql", "TEMPLATE template0 ENCODING 'UTF8'").await;
}

#[tokio::test]
async fn a_database_with_another_encoding_comes_back_with_it() {
    let server = require!(postgres::v15);
    let latin = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'";
    comes_back(&server, "latin", "torture-latin1.sql", latin).await;
    let none = "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'";
    comes_back(&server, "none", "torture-sql-ascii.sql", none).await;
}
