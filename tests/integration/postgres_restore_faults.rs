//! What stands in the way of a restore of a database, and what goes wrong on the way: each is said, and the live
//! database is untouched.

use drctl::sources::postgres::{
    contents::Document,
    restore::{self, Ownership, RestoreError, Scope, Way},
};

use crate::support::{
    bed::require,
    dumped::{Bench, Dumped, SHOP},
    postgres::{self, Database, Postgres, Role},
};

/// A live database with a little in it, and the bench of its backup.
fn shop(server: &Postgres, name: &str) -> (Database, Bench) {
    let live = server.create_database(name);
    live.sql("CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT g, 'row ' || g FROM generate_series(1, 1000) g; CREATE TABLE b (x int)");
    let bench = Bench::new(&live, &live, Role::Admin);
    (live, bench)
}

/// The live database is as it was, and nothing else is left.
fn untouched(live: &Database, contents: &str) {
    assert_eq!(live.contents(), contents);
    assert_eq!(live.server().databases(), [live.name()]);
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn a_sound_backup_is_restored() {
    let server = require!(postgres::v15);
    let (live, bench) = shop(&server, "twin");
    let contents = live.contents();
    bench.restore().await;
    assert_eq!(live.contents(), contents);
}

#[tokio::test]
async fn a_backup_that_names_a_table_twice_is_refused() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "twice");
    let contents = live.contents();
    let mut document = bench.dumped.document();
    document.tables.push(document.tables[0].clone());
    bench.dumped.set_document_bytes(document.to_bytes().unwrap());
    let error = restore::plan(bench.context(), &bench.options).await.unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("names table public.a twice"), "{error}");

    // Under another name, it is the archive that it contradicts.
    document.tables[2].name = "c".to_owned();
    document.tables[2].stream = "public.b".to_owned();
    document.tables[1].stream = "public.c".to_owned();
    bench.dumped.set_document_bytes(document.to_bytes().unwrap());
    let error = restore::plan(bench.context(), &bench.options).await.unwrap_err();
    assert!(error.is_damage(), "{error}");
    untouched(&live, &contents);
}

#[tokio::test]
async fn rows_that_do_not_fit_their_table_end_the_restore_and_name_the_table() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "unfit");
    let contents = live.contents();
    for rows in [&b"1\tx\nhunter2\ty\n"[..], b"1\tx\ty\n", b"1\n", b"1\tx\n1"] {
        bench.dumped.set_rows("public.a", rows, rows);
        let error = bench.load().await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains("cannot load public.a"), "{text}");
        assert!(!text.contains("DETAIL"), "{text}");
        untouched(&live, &contents);
    }
}

#[tokio::test]
async fn rows_that_are_not_those_that_were_counted_end_the_restore() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "counted");
    let contents = live.contents();
    bench.dumped.set_rows("public.a", b"1\tx\n", b"1\tx\n2\ty\n");
    let error = bench.load().await.unwrap_err();
    assert!(
        error.is_damage() && chain(&error).contains("the backup has 2 rows of it, and the server took 1"),
        "{error}"
    );
    untouched(&live, &contents);
}

#[tokio::test]
async fn a_part_that_is_damaged_ends_the_restore_and_counts_for_nothing() {
    let server = require!(postgres::v15);
    let (live, bench) = shop(&server, "damaged");
    let contents = live.contents();
    bench.dumped.break_stream("public.a", 500);
    let error = bench.load().await.unwrap_err();
    assert!(error.is_damage() && chain(&error).contains("cannot load public.a"), "{}", chain(&error));
    untouched(&live, &contents);
}

#[tokio::test]
async fn rows_that_differ_are_named_and_never_swapped_in() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "differs");
    let contents = live.contents();
    bench.dumped.set_rows("public.a", b"1\tx\n", b"1\ty\n");
    let plan = bench.plan().await;
    let mut running = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    let loaded = running.load().await.unwrap();
    let what: Vec<&str> = loaded.differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(what, ["table public.a"]);
    let error = running.switch().await.unwrap_err();
    assert!(matches!(error, RestoreError::NotReady { .. }), "{error}");
    assert_eq!(live.contents(), contents);
    assert_eq!(server.database(&loaded.database).sql("SELECT count(*) FROM a"), "1");
}

#[tokio::test]
async fn what_is_in_the_way_is_said_before_anything_is_written() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "way");
    let contents = live.contents();
    let refused = async |bench: &Bench, what: &str| {
        let plan = bench.plan().await;
        assert!(plan.refusals.iter().any(|why| why.contains(what)), "{what}: {:#?}", plan.refusals);
        let error = restore::Restore::begin(bench.context(), &plan).await.unwrap_err();
        assert!(matches!(error, RestoreError::Refused { .. }), "{error}");
    };
    bench.options.way = Way::Create;
    refused(&bench, "exists").await;
    bench.options.way = Way::Beside;
    bench.options.database = Some(server.name("none"));
    refused(&bench, "create it with --create").await;
    bench.options.database = None;

    let mut child = live.psql().arg("-c").arg("SELECT pg_sleep(600)").spawn().unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", live.name());
    while server.sql(&sessions) != "1" {}
    bench.options.way = Way::InPlace;
    refused(&bench, "1 session in database").await;
    server.sql(&sessions.replace("count(*)", "pg_terminate_backend(pid)"));
    child.wait().unwrap();
    while server.sql(&sessions) != "0" {}
    bench.options.way = Way::Beside;

    let mut document = bench.dumped.document();
    document.server.number = 190_000;
    bench.dumped.set_document(&document);
    refused(&bench, "older than the 19").await;
    document.server.number = 150_000;
    document.owner = "nobody-here".to_owned();
    bench.dumped.set_document(&document);
    refused(&bench, "role nobody-here is not on the server").await;
    bench.options.ownership = Ownership::None;
    assert!(bench.plan().await.is_possible());
    untouched(&live, &contents);
}

#[tokio::test]
async fn a_database_that_appears_meanwhile_is_not_replaced() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "appears");
    let new = server.name("new");
    bench.options.database = Some(new.clone());
    bench.options.way = Way::Create;
    let plan = bench.plan().await;
    let mut running = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    running.load().await.unwrap();
    let appeared = server.create_database("new");
    let error = running.switch().await.unwrap_err();
    assert!(error.to_string().contains("exists by now"), "{error}");
    assert_eq!(appeared.contents(), "");
    drop(appeared);
    server.sql(&format!("DROP DATABASE {}", postgres::quoted(&new)));
    running.switch().await.unwrap();
    assert_eq!(server.database(&new).contents(), live.contents());
}

#[tokio::test]
async fn in_place_nothing_is_removed_and_no_other_encoding_is_taken() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "place");
    let contents = live.contents();
    bench.options.way = Way::InPlace;
    let plan = bench.plan().await;
    assert!(plan.refusals.iter().any(|why| why.contains("in place nothing is ever removed")), "{:#?}", plan.refusals);
    let error = bench.load().await.unwrap_err();
    assert!(error.to_string().contains("in place nothing is ever removed"), "{error}");
    untouched(&live, &contents);

    let latin = server.create_database_with("latin", "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let mut bench = Bench::of(bench.dumped.clone(), &latin.url(Role::Admin));
    bench.options.way = Way::InPlace;
    let plan = bench.plan().await;
    assert!(plan.refusals.iter().any(|why| why.contains("has the encoding LATIN1")), "{:#?}", plan.refusals);

    let empty = server.create_database("empty");
    let mut bench = Bench::of(bench.dumped.clone(), &empty.url(Role::Admin));
    bench.options.way = Way::InPlace;
    // What comes between the plan and its execution is seen, too.
    let plan = bench.plan().await;
    assert!(plan.is_possible(), "{:#?}", plan.refusals);
    empty.sql("CREATE TABLE meanwhile ()");
    let error = restore::Restore::begin(bench.context(), &plan).await.unwrap().load().await.unwrap_err();
    assert!(error.to_string().contains("public.meanwhile"), "{error}");
    empty.sql("DROP TABLE meanwhile");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!(empty.contents(), contents);
}

#[tokio::test]
async fn rows_alone_go_into_tables_that_are_empty_and_into_no_others() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "rows");
    live.sql(
        "CREATE TABLE c (id int REFERENCES a); INSERT INTO c VALUES (3); CREATE TABLE aa (id int REFERENCES c2 (id))"
            .split(" CREATE TABLE aa")
            .next()
            .unwrap(),
    );
    live.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; CREATE TRIGGER no BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION no()");
    live.sql("ALTER TABLE b DISABLE TRIGGER no; INSERT INTO b VALUES (1); ALTER TABLE b ENABLE ALWAYS TRIGGER no");
    let (contents, schema) = (live.contents(), live.schema());
    bench.dumped = Dumped::of(&live);
    (bench.options.way, bench.options.scope) = (Way::InPlace, Scope::Data);
    let error = bench.load().await.unwrap_err();
    assert!(chain(&error).contains("is not empty"), "{}", chain(&error));
    assert_eq!(live.contents(), contents);

    live.sql("TRUNCATE a, b, c");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!((live.contents(), live.schema()), (contents, schema));
}

#[tokio::test]
async fn rows_that_do_not_fit_the_live_table_are_refused_with_the_servers_own_reason() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "misfit");
    live.sql("TRUNCATE a; ALTER TABLE a RENAME t TO note");
    (bench.options.way, bench.options.scope) = (Way::InPlace, Scope::Data);
    let error = bench.load().await.unwrap_err();
    assert!(chain(&error).contains("column \"t\" of relation \"a\" does not exist"), "{}", chain(&error));
    assert_eq!(live.sql("SELECT count(*) FROM a"), "0");

    live.sql("ALTER TABLE a RENAME note TO t");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
}

#[tokio::test]
async fn another_restore_of_the_same_database_is_not_run_beside_the_first() {
    let server = require!(postgres::v15);
    let (_live, bench) = shop(&server, "busy");
    let plan = bench.plan().await;
    let first = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    let error = restore::Restore::begin(bench.context(), &plan).await.unwrap_err();
    assert!(matches!(error, RestoreError::Busy { .. }), "{error}");
    drop(first);
    restore::Restore::begin(bench.context(), &plan).await.unwrap();
}

#[tokio::test]
async fn settings_of_the_target_change_nothing() {
    let server = require!(postgres::v15);
    let live = server.create_database("hostile");
    live.sql(SHOP);
    let contents = live.contents();
    let bench_of = |dumped: &Dumped, user: &str| Bench::of(dumped.clone(), &live.url_as(user, "secret"));
    let dumped = Dumped::of(&live);
    let hostile = server.create_role("hostile", "LOGIN SUPERUSER PASSWORD 'secret'");
    for setting in [
        "array_nulls = off",
        "bytea_output = escape",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = sql_standard",
        "search_path = nowhere",
        "session_replication_role = replica",
        "TimeZone = 'Asia/Kolkata'",
        "lc_monetary = 'C'",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "extra_float_digits = -5",
        "statement_timeout = 1000",
        "lock_timeout = 10",
        "standard_conforming_strings = off",
        "client_encoding = LATIN1",
        "check_function_bodies = on",
        "xmloption = document",
        "row_security = on",
        "default_tablespace = ''",
        "quote_all_identifiers = on",
    ] {
        server.sql(&format!("ALTER ROLE {} SET {setting}", postgres::quoted(&hostile)));
    }
    let (_, loaded, _) = bench_of(&dumped, &hostile).restore().await;
    assert!(loaded.is_equal());
    // This view holds what its query says in the time zone of whoever fills it.
    let but_view = |text: &str| text.lines().filter(|line| !line.contains("per_day")).collect::<Vec<_>>().join("\n");
    assert_eq!(but_view(&live.contents()), but_view(&contents));
}

#[tokio::test]
async fn an_owner_who_may_create_databases_restores_what_is_his() {
    let server = require!(postgres::v15);
    let live = server.create_database("mine");
    let output = live.try_sql_as(
        Role::Owner,
        "CREATE TABLE a (id serial PRIMARY KEY, t text); INSERT INTO a (t) SELECT 'x' FROM generate_series(1, 100); \
         CREATE EXTENSION pgcrypto; GRANT SELECT ON a TO reader; SELECT lo_from_bytea(4711, 'mine')",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (contents, schema) = (live.contents(), live.schema());
    let bench = Bench::new(&live, &live, Role::Owner);
    let (_, loaded, _) = bench.restore().await;
    assert_eq!(loaded.left_out, []);
    assert_eq!((live.contents(), live.schema()), (contents, schema));

    // What belongs to others he may not give them.
    live.sql("CREATE TABLE others (); CREATE PUBLICATION all_of_it FOR ALL TABLES");
    let bench = Bench::new(&live, &live, Role::Owner);
    let plan = bench.plan().await;
    assert!(plan.refusals.iter().any(|why| why.contains("is no member of admin")), "{:#?}", plan.refusals);
    assert!(plan.left_out.iter().any(|left| left.what == "PUBLICATION all_of_it"), "{:#?}", plan.left_out);
    let mut bench = bench;
    bench.options.ownership = Ownership::None;
    let (_, loaded, _) = bench.restore().await;
    assert_eq!(loaded.left_out.len(), 1);
}

#[tokio::test]
async fn roles_are_put_in_the_place_of_others() {
    let server = require!(postgres::v15);
    let live = server.create_database("mapped");
    let (old, new, guest) =
        (server.create_role("old", ""), server.create_role("new", ""), server.create_role("guest", ""));
    let [old_name, guest_name] = [&old, &guest].map(|name| postgres::quoted(name));
    live.sql(&format!(
        "CREATE TABLE a (id int); ALTER TABLE a OWNER TO {old_name}; GRANT SELECT ON a TO {guest_name}; \
         ALTER DEFAULT PRIVILEGES FOR ROLE {old_name} GRANT SELECT ON TABLES TO {guest_name}; \
         CREATE POLICY p ON a TO {old_name} USING (id > 0)"
    ));
    let mut bench = Bench::new(&live, &live, Role::Admin);
    live.sql(&format!("DROP OWNED BY {old_name}; DROP OWNED BY {guest_name}; DROP ROLE {old_name}"));
    let plan = bench.plan().await;
    assert!(
        plan.refusals.iter().any(|why| why.contains(&format!("role {old} is not on the server"))),
        "{:#?}",
        plan.refusals
    );
    bench.options.ownership = Ownership::Map([(old.clone(), new.clone())].into());
    bench.restore().await;
    assert_eq!(live.sql("SELECT relowner::regrole FROM pg_class WHERE relname = 'a'"), postgres::quoted(&new));
    assert_eq!(live.sql("SELECT polroles::regrole[] FROM pg_policy"), format!("{{\"\\\"{new}\\\"\"}}"));
    assert!(!live.schema().contains(&old));
    assert!(live.schema().contains(&guest));
}

#[tokio::test]
async fn single_tables_come_into_a_schema_of_their_own() {
    let server = require!(postgres::v15);
    let live = server.create_database("single");
    live.sql(SHOP);
    let mut bench = Bench::new(&live, &live, Role::Admin);
    live.sql("DELETE FROM orders WHERE id > 100");
    bench.options.way = Way::Tables;
    bench.options.tables = vec!["public.orders".to_owned(), "customers".to_owned()];
    let error = restore::plan(bench.context(), &bench.options).await.unwrap_err();
    assert!(error.to_string().contains("the backup has no table customers"), "{error}");
    bench.options.tables = vec!["public.orders".to_owned(), "public.customers".to_owned()];
    let (plan, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    let schema = plan.schema.unwrap();
    assert_eq!(live.sql(&format!("SELECT count(*) FROM {schema}.orders")), "3000");
    assert_eq!(live.sql("SELECT count(*) FROM orders"), "100");
    live.sql(&loaded.merge.unwrap());
    assert_eq!(live.sql("SELECT count(*), sum(twice) FROM orders"), "3000|9003000");
}

/// A file system of a few megabytes that the server can write to; gone when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn new(server: &Postgres, megabytes: u32) -> Self {
        let owner = std::fs::metadata(server.socket()).unwrap();
        let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        let folder = std::env::temp_dir().join(server.name("disk"));
        std::fs::create_dir(&folder).unwrap();
        let options = format!("size={megabytes}m,uid={uid},gid={gid},mode=700");
        let disk = Self(folder);
        disk.mount(&["-t", "tmpfs", "-o", &options, "tmpfs"]);
        disk
    }

    fn mount(&self, words: &[&str]) {
        let status = std::process::Command::new("mount").args(words).arg(&self.0).status().unwrap();
        assert!(status.success());
    }

    /// A tablespace on it, as SQL names it.
    fn tablespace(&self, server: &Postgres) -> String {
        let space = postgres::quoted(&server.name("space"));
        server.sql(&format!("CREATE TABLESPACE {space} LOCATION '{}'", self.0.display()));
        space
    }
}

/// Drops a tablespace, and all databases of the test, which may hold something in it.
fn drop_tablespace(server: &Postgres, space: &str) {
    for name in server.databases() {
        server.sql(&format!("DROP DATABASE {} WITH (FORCE)", postgres::quoted(&name)));
    }
    server.sql(&format!("DROP TABLESPACE {space}"));
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_disk_that_is_full_ends_the_restore_and_leaves_nothing_of_it() {
    require!(program "mount");
    let server = require!(postgres::v15);
    let disk = SmallDisk::new(&server, 12);
    let space = disk.tablespace(&server);
    let live = server.create_database("full");
    live.sql(&format!("CREATE TABLE a (id int, t text) TABLESPACE {space}; INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 100000) g"));
    let contents = live.contents();
    let bench = Bench::new(&live, &live, Role::Admin);
    let error = bench.load().await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("cannot load public.a") && text.contains("No space left on device"), "{text}");
    untouched(&live, &contents);

    disk.mount(&["-o", "remount,size=40m"]);
    bench.restore().await;
    assert_eq!(live.contents(), contents);
    drop_tablespace(&server, &space);
}

#[tokio::test]
async fn a_disk_that_is_full_while_an_index_is_built_is_no_difference() {
    require!(program "mount");
    let server = require!(postgres::v15);
    let disk = SmallDisk::new(&server, 40);
    let space = disk.tablespace(&server);
    let live = server.create_database("fullindex");
    live.sql(&format!(
        "CREATE TABLE a (id int, t text); INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 100000) g; \
         CREATE INDEX a_t ON a (t) TABLESPACE {space}"
    ));
    let contents = live.contents();
    let bench = Bench::new(&live, &live, Role::Admin);
    // The index is dropped of the live database, so that the small disk is empty.
    live.sql("DROP INDEX a_t");
    disk.mount(&["-o", "remount,size=2m"]);
    let error = bench.load().await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("cannot build INDEX public a_t") && text.contains("(53100)"), "{text}");
    untouched(&live, &contents);

    disk.mount(&["-o", "remount,size=40m"]);
    bench.restore().await;
    assert_eq!(live.contents(), contents);
    drop_tablespace(&server, &space);
}

#[tokio::test]
async fn a_table_that_is_left_out_takes_the_sequence_of_its_identity_column_along() {
    let server = require!(postgres::v15);
    let live = server.create_database("identity");
    live.sql(
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'; \
         CREATE TABLE out (id int GENERATED ALWAYS AS IDENTITY, x int DEFAULT f(1)); INSERT INTO out (x) VALUES (1), (2); \
         CREATE TABLE stays (id int GENERATED ALWAYS AS IDENTITY, x int); INSERT INTO stays (x) VALUES (1), (2)",
    );
    let mut bench = Bench::new(&live, &live, Role::Owner);
    bench.options.ownership = Ownership::None;
    let plan = bench.plan().await;
    assert!(plan.refusals.iter().any(|why| why.contains("--leave-out")), "{:#?}", plan.refusals);
    bench.options.leave_out = true;
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    assert_eq!(loaded.compared_sequences, 1);
    let restored = server.database(&loaded.database);
    assert_eq!(restored.sql("SELECT last_value FROM stays_id_seq"), "2");
}

#[tokio::test]
async fn in_place_waits_for_no_lock_for_ever_and_ends_when_it_is_told_to() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "locked");
    live.sql("TRUNCATE a");
    (bench.options.way, bench.options.scope) = (Way::InPlace, Scope::Data);
    let plan = bench.plan().await;
    live.sql("BEGIN; LOCK TABLE a; PREPARE TRANSACTION 'drctl test locked'");
    // At the plan, and once it is about to be executed.
    let later = bench.plan().await;
    assert!(later.refusals.iter().any(|why| why.contains("prepared transaction")), "{:#?}", later.refusals);
    let error = restore::Restore::begin(bench.context(), &plan).await.unwrap().load().await.unwrap_err();
    live.sql("ROLLBACK PREPARED 'drctl test locked'");
    assert!(error.to_string().contains("1 prepared transaction"), "{error}");

    // While the plan is executed: no longer than that for a lock, and a statement that hangs is left.
    live.sql("ALTER TABLE a ADD CHECK (current_setting('lock_timeout') = '10s')");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
    live.sql("TRUNCATE a; ALTER TABLE a ADD CHECK (pg_sleep(600) IS NULL)");
    let stop = async {
        let sleeps = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
            live.name()
        );
        while server.sql(&sleeps) == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        bench.context().cancel.cancel();
    };
    let both = async { tokio::join!(bench.load(), stop) };
    let (ended, ()) = tokio::time::timeout(std::time::Duration::from_secs(60), both).await.expect("it ends");
    assert!(matches!(ended, Err(RestoreError::Interrupted)), "{ended:?}");
    server.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", live.name()));
    assert_eq!(live.sql("SELECT count(*) FROM a"), "0");
}

#[tokio::test]
async fn in_place_objects_of_every_kind_are_something_that_is_there() {
    let server = require!(postgres::v15);
    let (_, bench) = shop(&server, "kinds");
    let target = server.create_database("filled");
    let mut bench = Bench::of(bench.dumped.clone(), &target.url(Role::Admin));
    bench.options.way = Way::InPlace;
    for (make, found, remove) in [
        ("DOMAIN d AS int", "type public.d", "DOMAIN d"),
        ("TYPE e AS ENUM ('x')", "type public.e", "TYPE e"),
        ("SCHEMA s", "schema s", "SCHEMA s"),
        ("CAST (xml AS int) WITH INOUT", "cast (pg_catalog.xml AS integer)", "CAST (xml AS int)"),
        ("COLLATION c (locale = 'C')", "collation public.c", "COLLATION c"),
        ("CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1", "conversion public.c", "CONVERSION c"),
        (
            "OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            "operator public.===(integer,integer)",
            "OPERATOR === (int, int)",
        ),
        ("OPERATOR FAMILY f USING btree", "operator family public.f USING btree", "OPERATOR FAMILY f USING btree"),
        (
            "TEXT SEARCH CONFIGURATION c (COPY = simple)",
            "text search configuration public.c",
            "TEXT SEARCH CONFIGURATION c",
        ),
        ("TEXT SEARCH DICTIONARY d (TEMPLATE = simple)", "text search dictionary public.d", "TEXT SEARCH DICTIONARY d"),
        ("PUBLICATION p", "publication p", "PUBLICATION p"),
        ("FOREIGN DATA WRAPPER w", "foreign-data wrapper w", "FOREIGN DATA WRAPPER w"),
    ] {
        target.sql(&format!("CREATE {make}"));
        let plan = bench.plan().await;
        let says = format!("the database is not empty ({found}), and in place nothing is ever removed");
        assert!(plan.refusals.iter().any(|why| why.contains(&says)), "{says}: {:#?}", plan.refusals);
        target.sql(&format!("DROP {remove}"));
    }
    // An extension and what it brings are nothing that a restore could meet.
    target.sql("CREATE EXTENSION pgcrypto");
    let (_, loaded) = bench.load().await.unwrap();
    assert!(loaded.is_equal(), "{:#?}", loaded.differences);
}

#[tokio::test]
async fn in_place_an_end_half_way_says_what_is_in_the_live_database() {
    let server = require!(postgres::v15);
    let (_, mut bench) = shop(&server, "half");
    let rows = bench.dumped.rows("public.a");
    bench.dumped.set_rows("public.a", b"x\ty\n", &rows);
    let empty = server.create_database("half-empty");
    let mut bench = Bench::of(bench.dumped.clone(), &empty.url(Role::Admin));
    bench.options.way = Way::InPlace;
    let error = bench.load().await.unwrap_err();
    for wanted in ["ended half way", "drop and create the database", "cannot load"] {
        assert!(chain(&error).contains(wanted), "{wanted}: {}", chain(&error));
    }
    assert_eq!(empty.sql("SELECT count(*) FROM a"), "0");
}

#[tokio::test]
async fn an_undo_is_of_the_databases_that_were_shown_and_of_no_others() {
    let server = require!(postgres::v15);
    let (live, bench) = shop(&server, "shown");
    bench.restore().await;
    let shown = restore::undoable(&bench.server, live.name()).await.unwrap();
    bench.restore().await;
    let error = restore::undo_seen(&shown, &bench.server, bench.options.now).await.unwrap_err();
    assert!(error.to_string().contains("changed since the question"), "{error}");
    let shown = restore::undoable(&bench.server, live.name()).await.unwrap();
    restore::undo_seen(&shown, &bench.server, bench.options.now).await.unwrap();
}

#[tokio::test]
async fn grants_that_the_live_database_adds_by_itself_are_named_in_place() {
    let server = require!(postgres::v15);
    let (_live, bench) = shop(&server, "grants");
    for (name, sql, found) in [
        ("plain", "", &[][..]),
        (
            "given",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader",
            &["ACL public TABLE a", "ACL public TABLE b"],
        ),
    ] {
        let empty = server.create_database(name);
        empty.sql(sql);
        let mut bench = Bench::of(bench.dumped.clone(), &empty.url(Role::Admin));
        bench.options.way = Way::InPlace;
        let (_, loaded) = bench.load().await.unwrap();
        let differs: Vec<&str> = loaded.differences.iter().map(|difference| difference.what.as_str()).collect();
        assert_eq!(differs, found, "{:#?}", loaded.differences);
    }
}

#[tokio::test]
async fn a_plan_is_not_carried_out_once_another_restore_has_ended() {
    let server = require!(postgres::v15);
    let (live, bench) = shop(&server, "second");
    let plan = bench.plan().await;
    bench.restore().await;
    let (contents, names) = (live.contents(), server.databases());
    let error = restore::Restore::begin(bench.context(), &plan).await.unwrap_err();
    assert!(error.to_string().contains("is not the one any more that the plan was made for"), "{error}");
    assert_eq!((live.contents(), server.databases()), (contents, names));
    bench.restore().await;

    // Between the load and the swap.
    let plan = bench.plan().await;
    let mut running = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    running.load().await.unwrap();
    let (name, aside) = (live.quoted(), postgres::quoted(&server.name("aside")));
    server.sql(&format!("ALTER DATABASE {name} RENAME TO {aside}"));
    server.sql(&format!("CREATE DATABASE {name}"));
    let error = running.switch().await.unwrap_err();
    assert!(error.to_string().contains("is not the one any more"), "{error}");
    server.sql(&format!("DROP DATABASE {name}"));
    server.sql(&format!("ALTER DATABASE {aside} RENAME TO {name}"));
    running.switch().await.unwrap();
}

#[tokio::test]
async fn a_name_that_was_free_can_be_given_back() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "back");
    let new = server.name("new");
    (bench.options.database, bench.options.way) = (Some(new.clone()), Way::Create);
    let plan = bench.plan().await;
    let mut running = restore::Restore::begin(bench.context(), &plan).await.unwrap();
    let loaded = running.load().await.unwrap();
    running.switch().await.unwrap();
    let back = running.switch_back().await.unwrap();
    assert_eq!(back.before.as_ref(), Some(&loaded.database));
    assert!(!server.databases().contains(&new), "{:?}", server.databases());
    let kept = restore::kept(&bench.server, &new).await.unwrap();
    assert_eq!(kept.iter().map(|kept| &kept.database).collect::<Vec<_>>(), [&loaded.database]);
    running.switch().await.unwrap();
    assert_eq!(server.database(&new).contents(), live.contents());
}

#[tokio::test]
async fn a_server_that_came_up_with_the_restore_loses_nothing_that_was_written_meanwhile() {
    let server = require!(postgres::v15);
    let (live, mut bench) = shop(&server, "written");
    let contents = live.contents();
    bench.options.over_empty = true;
    let error = bench.load().await.unwrap_err();
    assert!(error.to_string().contains("holds something already (table public."), "{error}");
    untouched(&live, &contents);
    // What an image makes of an empty volume holds nothing.
    live.sql("DROP TABLE a, b; CREATE EXTENSION pgcrypto");
    bench.restore().await;
    assert_eq!(live.contents(), contents);
}
