//! A database as a backup holds it, without a repository: `pg_dump` taken apart into memory. Tests of restores
//! change it to what no capture would write.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use drctl::{
    sources::postgres::{
        ConnectionUrl, Server,
        archive::{Event, Splitter},
        contents::{self, Document},
        restore::{self, Loaded, Ownership, Plan, PlanOptions, RestoreContext, RestoreError, Scope, Switched, Way},
        rows::RowTotals,
    },
    types::{
        BackupContents, Blake3Digest, ContentsError, MediaType, Name, PartInfo, PartStream, RowDigest, Silent,
        StreamInfo,
    },
};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::postgres::{Database, Role};

/// One source's streams in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dumped {
    streams: Vec<StreamInfo>,
    bytes: Vec<Vec<Bytes>>,
    /// From here on, reading this stream fails: its place, and after how many bytes.
    broken: Arc<Mutex<Option<(usize, usize)>>>,
}

/// The source's name.
pub(crate) fn source() -> Name {
    "orders-db".parse().unwrap()
}

impl Dumped {
    /// Dumps a database by the stock `pg_dump` of its server. Rows of a table lie in several parts, so
    /// that parts are tested.
    pub(crate) fn of(database: &Database) -> Self {
        let server = database.server();
        let mut pg_dump = server.program("pg_dump");
        // The settings that a capture has.
        pg_dump.env("PGOPTIONS", "-c TimeZone=UTC -c bytea_output=hex -c lc_monetary=C -c xmlbinary=base64");
        pg_dump.args(["-Fc", "-Z0", "-U", "admin", "-d", database.name(), "-p", &server.port().to_string(), "-h"]);
        let output = pg_dump.arg(server.socket()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let archive = Bytes::from(output.stdout);
        let mut dumped = Self::default();
        let mut splitter = Splitter::default();
        splitter.push(archive);
        let (mut toc, mut tables, mut blocks) = (None, Vec::new(), Vec::new());
        let (mut rows, mut object) = (Vec::new(), (0, Vec::new()));
        let mut current = 0;
        while let Some(event) = splitter.next_event().unwrap() {
            match event {
                Event::Toc(found) => toc = Some(found),
                Event::Table { dump_id } => (current, rows) = (dump_id, Vec::new()),
                Event::Rows(bytes) => rows.extend_from_slice(&bytes),
                Event::TableEnd => tables.push((current, std::mem::take(&mut rows))),
                Event::LargeObjects { dump_id } => blocks.push((dump_id, Vec::new())),
                Event::LargeObject { oid } => object = (oid, Vec::new()),
                Event::Contents(bytes) => object.1.extend_from_slice(&bytes),
                Event::LargeObjectEnd => blocks.last_mut().unwrap().1.push(std::mem::take(&mut object)),
                Event::LargeObjectsEnd => {}
            }
        }
        splitter.finish().unwrap();
        let toc = toc.unwrap();
        dumped.add(contents::TOC, MediaType::Blob, vec![(contents::WHOLE.to_owned(), toc.bytes().clone(), 1, None)]);
        let names: std::collections::HashMap<u32, String> = contents::table_streams(&toc).into_iter().collect();
        let mut document = document(database, &toc);
        for (dump_id, rows) in tables {
            let entry = toc.entry(dump_id).unwrap();
            let line = entry.copy_line().unwrap();
            document.tables.push(contents::Table {
                dump_id,
                schema: entry.namespace().into_owned(),
                name: entry.tag().into_owned(),
                stream: names[&dump_id].clone(),
                copy: entry.copy_statement().unwrap().into_owned(),
                root: entry.root(),
                columns: line.columns,
            });
            dumped.add(&names[&dump_id], MediaType::Table, parts_of(&rows));
        }
        for (dump_id, objects) in blocks {
            let stream = contents::large_objects_stream(dump_id);
            document.large_objects.push(contents::LargeObjects {
                dump_id,
                stream: stream.clone(),
                count: objects.len() as u64,
            });
            let part = |(oid, bytes): (u32, Vec<u8>)| {
                let mut digest = RowDigest::default();
                digest.add_row(&bytes);
                (oid.to_string(), Bytes::from(bytes), 1, Some(digest))
            };
            dumped.add(&stream, MediaType::Blob, objects.into_iter().map(part).collect());
        }
        dumped.set_document(&document);
        dumped
    }

    fn add(&mut self, name: &str, media_type: MediaType, parts: Vec<(String, Bytes, u64, Option<RowDigest>)>) {
        let number = u32::try_from(self.streams.len()).unwrap();
        let mut offset = 0;
        let mut infos = Vec::new();
        for (name, bytes, count, digest) in &parts {
            let (length, blake3) = (bytes.len() as u64, Blake3Digest::of(bytes));
            infos.push(PartInfo { name: name.clone(), offset, length, blake3, count: *count, digest: *digest });
            offset += length;
        }
        self.streams.push(StreamInfo { number, source: source(), name: name.to_owned(), media_type, parts: infos });
        self.bytes.push(parts.into_iter().map(|(_, bytes, ..)| bytes).collect());
    }

    /// The document about the database.
    pub(crate) fn document(&self) -> contents::Database {
        contents::Database::from_bytes(&self.bytes[self.place(contents::DATABASE)][0]).unwrap()
    }

    /// Puts another document in its place.
    pub(crate) fn set_document(&mut self, document: &contents::Database) {
        self.set_document_bytes(document.to_bytes().unwrap());
    }

    /// Puts any bytes in its place.
    pub(crate) fn set_document_bytes(&mut self, bytes: Vec<u8>) {
        self.remove(contents::DATABASE);
        self.add(contents::DATABASE, MediaType::Text, vec![(contents::WHOLE.to_owned(), bytes.into(), 1, None)]);
    }

    /// Puts other rows in the place of a table's, with the digest of `counted`.
    pub(crate) fn set_rows(&mut self, stream: &str, rows: &[u8], counted: &[u8]) {
        self.remove(stream);
        let totals = RowTotals::of(counted);
        let part = ("0".to_owned(), Bytes::copy_from_slice(rows), totals.rows, Some(totals.digest));
        self.add(stream, MediaType::Table, vec![part]);
    }

    /// The rows of a table.
    pub(crate) fn rows(&self, stream: &str) -> Vec<u8> {
        self.bytes[self.place(stream)].concat()
    }

    /// Reading this stream fails after so many bytes of its last part.
    pub(crate) fn break_stream(&self, stream: &str, after: usize) {
        *self.broken.lock().unwrap() = Some((self.place(stream), after));
    }

    fn place(&self, name: &str) -> usize {
        self.streams.iter().position(|stream| stream.name == name).unwrap_or_else(|| panic!("no stream {name}"))
    }

    fn remove(&mut self, name: &str) {
        if let Some(place) = self.streams.iter().position(|stream| stream.name == name) {
            self.streams.remove(place);
            self.bytes.remove(place);
        }
    }
}

fn parts_of(rows: &[u8]) -> Vec<(String, Bytes, u64, Option<RowDigest>)> {
    const ROWS: usize = 400;
    let lines: Vec<&[u8]> = rows.split_inclusive(|byte| *byte == b'\n').collect();
    let mut pieces: Vec<Vec<u8>> = lines.chunks(ROWS).map(<[&[u8]]>::concat).collect();
    if pieces.is_empty() {
        pieces.push(Vec::new());
    }
    let part = |(number, bytes): (usize, Vec<u8>)| {
        let totals = RowTotals::of(&bytes);
        (number.to_string(), Bytes::from(bytes), totals.rows, Some(totals.digest))
    };
    pieces.into_iter().enumerate().map(part).collect()
}

fn document(database: &Database, toc: &drctl::sources::postgres::archive::Toc) -> contents::Database {
    let name = database.name();
    let about = database.sql(
        "SELECT json_build_object('owner', pg_get_userbyid(datdba), 'acl', datacl::text[], \
         'comment', shobj_description(oid, 'pg_database'), 'encoding', pg_encoding_to_char(encoding), \
         'collate', datcollate, 'ctype', datctype, 'number', current_setting('server_version_num')::int, \
         'version', current_setting('server_version'), 'settings', (SELECT coalesce(json_agg(json_build_object( \
             'role', CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole) END, \
             'name', split_part(c, '=', 1), 'value', substr(c, strpos(c, '=') + 1))), '[]') \
             FROM pg_db_role_setting, unnest(setconfig) c WHERE setdatabase = d.oid)) \
         FROM pg_database d WHERE datname = current_database()",
    );
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let sequences = database.sql(
        "SELECT format('SELECT json_build_object(''schema'', %L, ''name'', %L, ''lastValue'', last_value, \
         ''isCalled'', is_called) FROM %I.%I', n.nspname, c.relname, n.nspname, c.relname) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind = 'S'\n\\gexec\n",
    );
    let sequences: Vec<serde_json::Value> = sequences.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let json = serde_json::json!({
        "apiVersion": "drctl/v1", "kind": "PostgresDatabase", "name": name,
        "owner": about["owner"], "acl": about["acl"], "comment": about["comment"],
        "settings": about["settings"], "encoding": about["encoding"],
        "locale": {"provider": "libc", "collate": about["collate"], "ctype": about["ctype"]},
        "server": {"version": about["version"], "number": about["number"]},
        "archive": {"version": toc.header().version.to_string(), "pgDump": toc.header().pg_dump_version,
                    "framing": "row", "bytes": 0},
        "snapshot": {"time": "2026-11-21T12:00:00Z"},
        "sequences": sequences,
    });
    serde_json::from_value(json).unwrap()
}

#[async_trait]
impl BackupContents for Dumped {
    fn streams(&self) -> &[StreamInfo] {
        &self.streams
    }

    async fn read_part(&self, stream: &StreamInfo, part: usize) -> Result<PartStream, ContentsError> {
        let place = self.place(&stream.name);
        let bytes = self.bytes[place][part].clone();
        let broken = *self.broken.lock().unwrap();
        let mut pieces: Vec<Result<Bytes, ContentsError>> = Vec::new();
        match broken {
            Some((at, after)) if at == place && part + 1 == stream.parts.len() => {
                pieces.push(Ok(bytes.slice(..after.min(bytes.len()))));
                pieces.push(Err(ContentsError {
                    stream: stream.name.clone(),
                    part: stream.parts[part].name.clone(),
                    damaged: true,
                    source: "a test has damaged it".into(),
                }));
            }
            _ => pieces.extend(bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece)))),
        }
        Ok(futures::stream::iter(pieces).boxed())
    }
}

/// One of most things that a database can hold.
pub(crate) const SHOP: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE customers (id serial PRIMARY KEY, name varchar(40) NOT NULL, kind varchar(10) CHECK (kind IN ('a', 'b')),
  feels mood, tags text[], born date, balance numeric(12,2), "Odd ""name" bytea);
INSERT INTO customers (name, kind, feels, tags, born, balance, "Odd ""name")
  SELECT 'name ' || g || E'\t\\' || chr(10) || 'ü', CASE WHEN g % 2 = 0 THEN 'a' ELSE 'b' END,
    (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood, ARRAY['x', NULL, 'NULL', 'a,b'], '2000-01-01'::date + g, g / 7.0,
    decode(md5(g::text), 'hex')
  FROM generate_series(1, 2000) g;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers,
  total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED, at timestamptz);
INSERT INTO orders (customer, total, at) SELECT 1 + g % 2000, g, '2026-01-01'::timestamptz + g * interval '1 min'
  FROM generate_series(1, 3000) g;
CREATE INDEX orders_at ON orders (at);
CREATE TABLE events (at int, what text) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (500);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (500) TO (1000);
INSERT INTO events SELECT g, 'event ' || g FROM generate_series(0, 999) g;
CREATE TABLE moods (feels mood, n int) PARTITION BY HASH (feels);
CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO moods SELECT (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::mood, g FROM generate_series(1, 100) g;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (a int);
CREATE VIEW rich AS SELECT * FROM customers WHERE balance > 100;
CREATE MATERIALIZED VIEW per_day AS SELECT at::date AS day, count(*) FROM orders GROUP BY 1;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := NEW.total; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER off BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE orders DISABLE TRIGGER off;
ALTER TABLE customers ADD CONSTRAINT later CHECK (balance > -1) NOT VALID;
CREATE SEQUENCE own START 5; SELECT nextval('own'); SELECT nextval('own');
CREATE SEQUENCE fresh START 9;
COMMENT ON TABLE customers IS 'who buys';
SELECT lo_from_bytea(70001, 'hello'); SELECT lo_from_bytea(70002, ''); SELECT lo_from_bytea(70003, convert_to(repeat('0123456789', 300000), 'UTF8'));
"#;

/// A source in memory, and the server that it goes back to.
pub(crate) struct Bench {
    pub(crate) dumped: Dumped,
    pub(crate) server: Server,
    pub(crate) options: PlanOptions,
    cancel: CancellationToken,
}

impl Bench {
    pub(crate) fn new(source: &Database, target: &Database, role: Role) -> Self {
        Self::of(Dumped::of(source), &target.url(role))
    }

    pub(crate) fn of(dumped: Dumped, url: &str) -> Self {
        let server = Server::new(ConnectionUrl::parse(url).unwrap(), None).unwrap();
        let options = PlanOptions {
            backup: "20261121T120000Z-abcdef".to_owned(),
            source: source(),
            database: None,
            way: Way::Beside,
            scope: Scope::All,
            tables: Vec::new(),
            ownership: Ownership::Keep,
            leave_out: false,
            no_switch: false,
            jobs: Some(2),
            now: "2026-11-21T15:00:00Z".parse().unwrap(),
            id: None,
            kept: false,
            over_empty: false,
        };
        Self { dumped, server, options, cancel: CancellationToken::new() }
    }

    pub(crate) fn context(&self) -> RestoreContext<'_> {
        RestoreContext { server: &self.server, contents: &self.dumped, monitor: &Silent, cancel: &self.cancel }
    }

    pub(crate) async fn plan(&self) -> Plan {
        restore::plan(self.context(), &self.options).await.unwrap()
    }

    /// Plans, loads and compares; does not swap.
    pub(crate) async fn load(&self) -> Result<(Plan, Loaded), RestoreError> {
        let plan = restore::plan(self.context(), &self.options).await?;
        let loaded = restore::Restore::begin(self.context(), &plan).await?.load().await?;
        Ok((plan, loaded))
    }

    /// All of it.
    pub(crate) async fn restore(&self) -> (Plan, Loaded, Switched) {
        let plan = self.plan().await;
        assert!(plan.is_possible(), "{:#?}", plan.refusals);
        let mut running = restore::Restore::begin(self.context(), &plan).await.unwrap();
        let loaded = running.load().await.unwrap();
        assert!(loaded.is_equal(), "{:#?}", loaded.differences);
        let switched = running.switch().await.unwrap();
        (plan, loaded, switched)
    }
}
