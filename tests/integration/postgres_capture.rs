//! Capture of real databases: what is in a backup is what `pg_dump` wrote, under a snapshot that nothing
//! has torn, and what is not in it is named.

mod door;
mod faults;
mod give_way;
mod large;
mod refusals;
mod secrets;
mod server_killed;
mod settings;
mod together;
mod truncated;

use std::collections::BTreeMap;
use std::time::Duration;

use drctl::sources::postgres::archive::{Assembler, Toc};
use drctl::sources::postgres::contents::{Database as Document, Document as _, Roles};
use drctl::sources::postgres::{ConnectionUrl, PostgresSource, Selection, Server};
use drctl::sources::testing::MemorySink;
use drctl::sources::{CaptureContext, CaptureError, CaptureReport, Source};
use drctl::types::{MediaType, Name, Silent};
use tokio_util::sync::CancellationToken;

use crate::support::bed::require;
use crate::support::postgres::{self, Database, Postgres, Role};
use crate::support::workshop::Workshop;

/// The source `db` of a database, as a role.
fn source(url: &str, selection: Selection) -> PostgresSource {
    let server = Server::new(ConnectionUrl::parse(url).unwrap(), None).unwrap();
    PostgresSource::new(Name::new("db").unwrap(), server, selection)
}

fn selection(schemas: &[&str], tables: &[&str], data: &[&str]) -> Selection {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Selection::new(&texts(schemas), &texts(tables), &texts(data)).unwrap()
}

async fn capture_into(sink: &MemorySink, source: &PostgresSource) -> Result<CaptureReport, CaptureError> {
    let cancel = CancellationToken::new();
    let context = CaptureContext { sink, monitor: &Silent, cancel: &cancel };
    source.prepare(context).await?.capture(context).await
}

async fn capture(url: &str, selection: Selection) -> (MemorySink, CaptureReport) {
    let sink = MemorySink::default();
    let report = capture_into(&sink, &source(url, selection)).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    (sink, report)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn missing(report: &CaptureReport) -> Vec<(&str, &str)> {
    report.missing.iter().map(|missing| (missing.what.as_str(), missing.why.as_str())).collect()
}

fn whole(sink: &MemorySink, stream: &str) -> Vec<u8> {
    let stream = sink.stream(stream).unwrap_or_else(|| panic!("no stream {stream}"));
    stream.parts.iter().flat_map(|part| part.bytes.clone()).collect()
}

fn document(sink: &MemorySink) -> Document {
    Document::from_bytes(&whole(sink, "database.json")).unwrap()
}

/// Rows, count and digest of each table's stream.
fn tables(sink: &MemorySink) -> BTreeMap<String, (u64, String)> {
    let of = |stream: drctl::sources::testing::MemoryStream| {
        let mut digest = drctl::types::RowDigest::default();
        stream.parts.iter().for_each(|part| digest.add(&part.summary.digest.unwrap()));
        (stream.spec.name, (stream.parts.iter().map(|part| part.summary.count).sum(), digest.to_string()))
    };
    sink.streams().into_iter().filter(|stream| stream.spec.media_type == MediaType::Table).map(of).collect()
}

/// The archive that the streams are of.
fn archive(sink: &MemorySink) -> Vec<u8> {
    let document = document(sink);
    let toc = Toc::parse(whole(sink, "toc").into()).unwrap();
    let mut archive = toc.bytes().to_vec();
    let mut assembler = Assembler::new(document.archive.framing);
    for entry in toc.entries().filter(drctl::sources::postgres::archive::Entry::has_data) {
        let id = entry.dump_id();
        if let Some(table) = document.tables.iter().find(|table| table.dump_id == id) {
            assembler.begin_table(id, &mut archive);
            assembler.rows(&whole(sink, &table.stream), &mut archive);
            assembler.end_table(&mut archive);
        } else {
            let block = document.large_objects.iter().find(|block| block.dump_id == id).unwrap();
            assembler.begin_large_objects(id, &mut archive);
            for part in sink.stream(&block.stream).unwrap().parts {
                assembler.begin_large_object(part.name.parse().unwrap(), &mut archive);
                assembler.contents(&part.bytes, &mut archive);
                assembler.end_large_object(&mut archive);
            }
            assembler.end_large_objects(&mut archive);
        }
    }
    archive
}

/// An archive without the time that its header says.
fn timeless(mut archive: Vec<u8>) -> Vec<u8> {
    let compression = if archive[6] >= 15 { 1 } else { 5 };
    archive[11 + compression..][..35].fill(0);
    archive
}

/// What stock `pg_dump` writes, with the settings of a capture: expressions in definitions depend on them.
fn dumped(database: &Database) -> Vec<u8> {
    let settings = drctl::sources::postgres::connect::TEXT_SETTINGS.map(|(name, value)| format!("-c {name}={value}"));
    let connection = format!("dbname='{}' options='{}'", database.name(), settings.join(" "));
    database.dump(&["-Fc", "-Z0", "-d", &connection])
}

/// Compares an archive with what stock `pg_dump` writes. Two runs of that may number their entries differently (18
/// does at times), so it gets some chances.
fn same_as_stock(ours: &[u8], database: &Database) {
    let mut difference = String::new();
    for _ in 0..6 {
        let theirs = timeless(dumped(database));
        if ours == theirs {
            return;
        }
        let at = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs).unwrap_or(ours.len());
        let around = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())]).into_owned()
        };
        difference = format!("{} and {} bytes:\n{}\n{}", ours.len(), theirs.len(), around(ours), around(&theirs));
    }
    panic!("{}: {difference}", database.name());
}

async fn reassembles(server: &Postgres, database: &Database) {
    let (sink, report) = capture(&database.url(Role::Admin), Selection::default()).await;
    assert_eq!(missing(&report), []);
    let ours = timeless(archive(&sink));
    // Byte for byte it is compared with what drctl's own pg_dump wrote, in `export.rs`: a second run of pg_dump may
    // number what it finds differently.
    let document = document(&sink);
    assert_eq!(document.archive.bytes, ours.len() as u64);
    assert_eq!(document.name, database.name());
    assert_eq!(document.owner, "owner");
    assert_eq!(document.server.number / 10_000, u32::from(server.major()));
    assert_eq!(report.groups[0].name, database.name());
    assert!(report.groups[0].restorable > 50, "{report:?}");
    let counted: u64 = tables(&sink).values().map(|(rows, _)| rows).sum();
    let objects: u64 = document.large_objects.iter().map(|block| block.count).sum();
    assert_eq!(report.groups[0].count, counted + objects);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_torture_database_is_put_together_to_one_archive() {
    let server = require!(postgres::v15);
    reassembles(&server, &server.create_torture()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_torture_database_of_18_is_put_together_to_one_archive() {
    let server = require!(postgres::v18);
    reassembles(&server, &server.create_torture()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_in_other_encodings_are_put_together_too() {
    let server = require!(postgres::v15);
    for (encoding, file, variables) in
        [("LATIN1", "torture-latin1.sql", &[][..]), ("SQL_ASCII", "torture-sql-ascii.sql", &[("odd_names", "1")][..])]
    {
        let options = format!("TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        let database = server.create_database_with(&encoding.to_lowercase(), &options);
        database.run_file(file, variables);
        let (sink, report) = capture(&database.url(Role::Admin), Selection::default()).await;
        assert_eq!(missing(&report), [], "{encoding}");
        same_as_stock(&timeless(archive(&sink)), &database);
        assert_eq!(document(&sink).encoding, encoding);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_digests_sequences_and_text_say_what_is_in_the_database() {
    let server = require!(postgres::v15);
    let database = server.create_database("counts");
    database.sql(
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, what text);
         INSERT INTO orders (what) SELECT 'x' || g FROM generate_series(1, 1000) g;
         CREATE TABLE empty (a int);
         CREATE TABLE \"Odd \"\"name\"\"\" (a int); INSERT INTO \"Odd \"\"name\"\"\" VALUES (1);
         CREATE SEQUENCE spare START 5;
         CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM orders;
         CREATE ROLE \"reports\" NOLOGIN; GRANT SELECT ON orders TO \"reports\";"
            .replace("reports", &server.name("reports"))
            .as_str(),
    );
    let (sink, report) = capture(&database.url(Role::Reader), Selection::default()).await;
    assert_eq!(missing(&report), []);
    let tables = tables(&sink);
    let counts: Vec<(&str, u64)> = tables.iter().map(|(name, (rows, _))| (name.as_str(), *rows)).collect();
    assert_eq!(counts, [("public.\"Odd \"\"name\"\"\"", 1), ("public.empty", 0), ("public.orders", 1000)]);
    assert_eq!(sink.stream("public.empty").unwrap().parts.len(), 1, "an empty table has one part");
    let mut expected = drctl::types::RowDigest::default();
    (1..=1000).for_each(|n| expected.add_row(format!("{n}\tx{n}").as_bytes()));
    assert_eq!(tables["public.orders"].1, expected.to_string());

    let document = document(&sink);
    let sequences: Vec<_> =
        document.sequences.iter().map(|one| (one.name.as_str(), one.last_value, one.is_called)).collect();
    assert_eq!(sequences, [("orders_id_seq", 1000, true), ("spare", 5, false)]);
    assert_eq!(document.tables.iter().find(|table| table.name == "orders").unwrap().columns, ["id", "what"]);
    assert!(document.snapshot.lsn.is_some() && !document.snapshot.standby);
    assert_eq!(Some(document.snapshot.time), report.moment.map(|moment| moment.time));
    let roles = Roles::from_bytes(&whole(&sink, "roles.json")).unwrap();
    let names: Vec<&str> = roles.roles.iter().map(|role| role.name.as_str()).collect();
    assert!(names.contains(&"owner") && names.contains(&server.name("reports").as_str()), "{names:?}");

    let text = |name: &str| String::from_utf8(whole(&sink, name)).unwrap();
    assert!(text("pre-data.sql").contains("CREATE TABLE public.orders"));
    assert!(
        text("post-data.sql").contains("REFRESH MATERIALIZED VIEW public.m") || text("post-data.sql").contains("SET ")
    );
    assert!(text("sequences.sql").contains("setval('public.spare', 5, false)"));
    assert!(!text("sequences.sql").contains("CREATE TABLE"));
}

#[test]
fn an_unchanged_database_is_stored_once_and_every_table_is_shown() {
    let server = require!(postgres::v15);
    let database = server.create_database("twice");
    database.sql(
        "CREATE TABLE big AS SELECT g AS id, md5(g::text) || md5((g + 1)::text) AS noise FROM generate_series(1, 300000) g;
         CREATE TABLE small AS SELECT 1 AS one",
    );
    let workshop = Workshop::of_databases(&[("db", &database.url(Role::Reader))]);
    let first = workshop.json(0, &["backup"]);
    let second = workshop.json(0, &["backup"]);
    let bytes = |report: &serde_json::Value| report["backup"]["totals"]["newBytes"].as_u64().unwrap();
    assert!(bytes(&first) > 5_000_000, "{}", bytes(&first));
    assert!(bytes(&second) * 100 < bytes(&first), "{} after {}", bytes(&second), bytes(&first));
    assert!(second["backup"]["cluster"].is_null());

    let shown = workshop.json(0, &["show", "latest"]);
    let tables = shown["sources"][0]["tables"].as_array().unwrap();
    let named: Vec<_> =
        tables.iter().map(|table| (table["name"].as_str().unwrap(), table["rows"].as_u64().unwrap())).collect();
    assert_eq!(named, [("public.big", 300_000), ("public.small", 1)]);
    assert_eq!(tables[1]["digest"].as_str().unwrap().len(), 64);
    assert!(shown["sources"][0]["moment"]["position"].is_string());
    let text = workshop.done(&["show", "latest"]).stdout;
    assert!(text.contains("public.big") && text.contains("300000"), "{text}");
    let list = workshop.done(&["list"]).stdout;
    assert!(list.contains("db"), "{list}");
    workshop.done(&["verify", "--level", "content"]);
}

#[test]
fn several_databases_have_moments_close_together_and_the_skew_is_recorded() {
    let server = require!(postgres::v15);
    let databases = [server.create_database("one"), server.create_database("two")];
    for database in &databases {
        database.sql("CREATE TABLE t AS SELECT generate_series(1, 10)");
    }
    let workshop =
        Workshop::of_databases(&[("one", &databases[0].url(Role::Reader)), ("two", &databases[1].url(Role::Reader))]);
    let report = workshop.json(0, &["backup"]);
    let skew = report["backup"]["skewMs"].as_u64().unwrap();
    assert!(skew < 20_000, "{report}");
    assert_eq!(report["backup"]["sources"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_leaves_out_is_left_out_and_said() {
    let server = require!(postgres::v15);
    let database = server.create_database("some");
    database.sql(
        "CREATE SCHEMA app; CREATE SCHEMA audit; CREATE SCHEMA other;
         CREATE TABLE app.t AS SELECT 1 AS a; CREATE TABLE app.sessions AS SELECT 1 AS a;
         CREATE TABLE audit.log AS SELECT 1 AS a; CREATE TABLE other.t AS SELECT 1 AS a;
         SELECT lo_from_bytea(4711, 'hello');",
    );
    let out = selection(&["app", "au*"], &["audit.*", "nothing.*"], &["sessions"]);
    let (sink, report) = capture(&database.url(Role::Admin), out).await;
    assert_eq!(tables(&sink).into_keys().collect::<Vec<_>>(), ["app.t"]);
    assert_eq!(missing(&report), []);
    let notes = report.notes.join("\n");
    for note in [
        "all schemas but app, au*",
        "tables audit.*",
        "rows of *.sessions",
        "no table fits `nothing.*` of `excludeTables`",
    ] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
    let document = document(&sink);
    assert_eq!(document.exclusions.exclude_tables, ["audit.*"]);
    assert_eq!(document.large_objects[0].count, 1, "large objects belong to no schema");
    assert!(String::from_utf8(whole(&sink, "pre-data.sql")).unwrap().contains("CREATE TABLE app.sessions"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_there_is_missing() {
    let server = require!(postgres::v15);
    let database = server.create_database("schema");
    database.sql("CREATE TABLE t AS SELECT 1 AS a");
    let (_, report) = capture(&database.url(Role::Reader), selection(&["public", "gone"], &[], &[])).await;
    assert_eq!(missing(&report), [("schema gone", "no schema of the database fits it")]);
    let sink = MemorySink::default();
    let source = source(&database.url(Role::Reader), selection(&["gone"], &[], &[]));
    let error = chain(&capture_into(&sink, &source).await.unwrap_err());
    assert!(error.contains("no schema fits `schemas` of the policy: gone"), "{error}");
}
