//! A fault injector: a `pg_dump` that passes a prefix of the real archive through and ends as if all were well. Wherever the
//! archive ends too early, at a border of two blocks too, there is never a manifest that has the database.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use bytes::Bytes;
use drctl::sources::postgres::archive::{Event, Splitter};

use super::*;

/// Tables with and without rows, large objects, and a table after them in the archive.
fn database(server: &Postgres) -> Database {
    let database = server.create_database("cut");
    database.sql(
        "CREATE TABLE a AS SELECT g, md5(g::text) AS t FROM generate_series(1, 300) g; CREATE TABLE b (x int);
         CREATE TABLE c AS SELECT g FROM generate_series(1, 100) g; CREATE TABLE d (id serial PRIMARY KEY, t text);
         INSERT INTO d (t) SELECT repeat('x', g) FROM generate_series(1, 50) g;
         SELECT lo_from_bytea(4711, 'hello'); SELECT lo_from_bytea(4712, ''); SELECT lo_from_bytea(4713, decode(repeat('00ff', 3000), 'hex'))",
    );
    database
}

/// `pg_dump` of the real one's version; `DRCTL_PG_BIN_DIR` names its folder.
struct StandIn {
    folder: PathBuf,
    real: String,
}

impl StandIn {
    fn new(server: &Postgres, workshop: &mut Workshop) -> Self {
        let folder = workshop.folder().join("programs");
        fs::create_dir(&folder).unwrap();
        let real = server.programs().join("pg_dump").display().to_string();
        let others = std::env::var("DRCTL_PG_BIN_DIR").unwrap_or_default();
        workshop.set("DRCTL_PG_BIN_DIR", &format!("{}:{others}", folder.display()));
        Self { folder, real }
    }

    /// From now on `does` is done with what the real one writes: `head -c 100`.
    fn set(&self, does: &str) {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--snapshot*) ;; *) exec '{0}' \"$@\" ;; esac\n'{0}' \"$@\" 2>/dev/null | {does}\nexit 0\n",
            self.real
        );
        let path = self.folder.join("pg_dump");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Where the table of contents ends, and where each block and each large object begins and ends.
fn borders(archive: &[u8]) -> Vec<usize> {
    let mut splitter = Splitter::new();
    let mut borders = Vec::new();
    for (at, byte) in archive.iter().enumerate() {
        splitter.push(Bytes::copy_from_slice(&[*byte]));
        while let Some(event) = splitter.next_event().unwrap() {
            if !matches!(event, Event::Rows(_) | Event::Contents(_)) {
                borders.push(at + 1);
            }
        }
    }
    splitter.finish().unwrap();
    borders.dedup();
    borders
}

#[test]
fn an_archive_that_ends_at_a_border_of_its_blocks_is_never_taken_for_the_database() {
    let server = require!(postgres::v15);
    let database = database(&server);
    let mut workshop = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    let stand_in = StandIn::new(&server, &mut workshop);
    let written = workshop.folder().join("written.dump");
    // The twin: all of it is passed through.
    stand_in.set(&format!("tee '{}'", written.display()));
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--level", "content"]);
    let mut manifests = workshop.files("backups");

    let archive = fs::read(&written).unwrap();
    let borders = borders(&archive);
    assert!(borders.len() >= 12, "{borders:?}");
    assert!(*borders.last().unwrap() <= archive.len());
    // A border itself, and the byte before it.
    let around = borders.iter().flat_map(|border| [border - 1, *border]);
    let mut ends: Vec<usize> = [0, 1].into_iter().chain(around).filter(|end| *end < archive.len()).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut cut = 0;
    for end in &ends {
        // How many rows pg_dump itself gets, before its table of contents has come, is not the same each time.
        stand_in.set(&format!("tee -p '{}' | head -c {end}", written.display()));
        let ended = workshop.command(&["backup"]).output().unwrap();
        let (said, whole) = (String::from_utf8_lossy(&ended.stderr), fs::metadata(&written).unwrap().len());
        if whole <= *end as u64 {
            assert_eq!(ended.status.code(), Some(0), "all {whole} bytes came: {said}");
            manifests = workshop.files("backups");
            continue;
        }
        cut += 1;
        assert_eq!(ended.status.code(), Some(1), "cut at {end} of {whole}: {said}");
        assert!(said.contains("what pg_dump wrote cannot be trusted: "), "cut at {end}: {said}");
        assert!(said.contains("\nnext: run it again; if it stays, report it"), "cut at {end}: {said}");
        assert_eq!(workshop.files("backups"), manifests, "cut at {end}: there is another manifest");
    }
    assert!(cut >= 12, "{cut} of {}", ends.len());
    stand_in.set("cat");
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--level", "content"]);
}

#[test]
fn an_archive_that_is_cut_takes_no_other_source_with_it() {
    let server = require!(postgres::v15);
    let (bad, good) = (database(&server), server.create_database("good"));
    good.sql("CREATE TABLE t AS SELECT 1 AS one");
    let (bad_url, good_url) = (bad.url(Role::Admin), good.url(Role::Admin));
    let mut workshop = Workshop::of_databases(&[("bad", &bad_url), ("good", &good_url)]);
    let stand_in = StandIn::new(&server, &mut workshop);
    // Only the larger of the two is cut.
    stand_in.set("head -c 8000");
    let report = workshop.json(3, &["backup"]);
    assert_eq!(report["backup"]["missing"][0]["what"], "source bad");
    assert_eq!(report["backup"]["sources"][0]["name"], "good");
    workshop.done(&["verify", "--all", "--level", "content"]);
}
