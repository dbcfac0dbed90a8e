//! `drctl export`: what stock tools make of it is the database again, and what is damaged is never exported.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use drctl::sources::postgres::archive::{Event, Splitter};

use crate::support::bed::require;
use crate::support::postgres::{self, Database, Postgres, Role};
use crate::support::program::drctl;
use crate::support::workshop::Workshop;

/// A small database with what an archive may hold of data.
fn database(server: &Postgres) -> Database {
    let database = server.create_database("shop");
    database.sql(
        "CREATE TABLE orders (id serial PRIMARY KEY, text text, data bytea);
         INSERT INTO orders (text, data) SELECT repeat(md5(n::text), n % 7) || E'\\n\\t\\\\.', decode(md5(n::text), 'hex')
             FROM generate_series(1, 5000) n;
         CREATE TABLE nothing (id int);
         SELECT lo_from_bytea(4242, decode(repeat('00ff0a', 20000), 'hex'));
         GRANT SELECT ON LARGE OBJECT 4242 TO PUBLIC;",
    );
    database
}

fn backed_up(database: &Database) -> Workshop {
    let workshop = Workshop::of_databases(&[("shop", &database.url(Role::Admin))]);
    workshop.done(&["backup"]);
    workshop
}

/// Runs a file of SQL as a person would.
fn run_sql(database: &Database, file: &Path) {
    let output = database.psql().arg("-f").arg(file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
}

fn rebuilds_the_torture_database(server: &Postgres) {
    let database = server.create_torture();
    let exported = rebuilds(&database, |name| server.create_database(name));
    assert!(exported.starts_with(b"PGDMP"), "an archive of pg_dump");
}

/// What drctl's own run of `pg_dump` wrote is kept on the way: it has no rows, for these drctl takes itself. So a second
/// run, under the same snapshot and with the same arguments, asks the server directly. Two runs may number what they
/// find differently: its blocks are compared by what they are of. (Through `cat`: into a file it would write another
/// table of contents.)
fn exports_the_very_bytes(server: &Postgres) {
    let database = server.create_torture();
    let mut workshop = Workshop::of_databases(&[("shop", &database.url(Role::Admin))]);
    let (folder, written) = (workshop.folder().join("programs"), workshop.folder().join("written.dump"));
    fs::create_dir(&folder).unwrap();
    let real = server.program("pg_dump").get_program().to_owned();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--snapshot*) ;; *) exec '{real}' \"$@\" ;; esac\n\
         PGHOST='{socket}' PGPORT={port} '{real}' \"$@\" | cat > '{written}.direct'\n\
         {{ '{real}' \"$@\"; echo $? > '{written}.status'; }} | tee '{written}'\nexit $(cat '{written}.status')\n",
        real = real.to_str().unwrap(),
        socket = server.socket().display(),
        port = server.port(),
        written = written.display(),
    );
    fs::write(folder.join("pg_dump"), script).unwrap();
    fs::set_permissions(folder.join("pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
    let others = std::env::var("DRCTL_PG_BIN_DIR").unwrap_or_default();
    workshop.set("DRCTL_PG_BIN_DIR", &format!("{}:{others}", folder.display()));

    let ended = workshop.run(&["backup"]);
    assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
    let (backup, archive) = (workshop.backups().pop().unwrap(), workshop.folder().join("shop.dump"));
    workshop.done(&["export", &backup, "shop", "-o", archive.to_str().unwrap()]);
    let (exported, direct) = (fs::read(archive).unwrap(), fs::read(written.with_extension("dump.direct")).unwrap());
    let written = fs::read(written).unwrap();
    assert!(direct.len() > 1_000_000 && direct.starts_with(b"PGDMP"), "pg_dump wrote {} bytes", direct.len());
    assert!(written.len() < direct.len() / 2, "rows went through pg_dump: {} bytes", written.len());
    let (ours, theirs) = (blocks(&exported), blocks(&direct));
    let table_of_contents = exported.len() - ours.iter().map(|(_, block)| block.len()).sum::<usize>();
    assert!(exported[..table_of_contents] == written[..table_of_contents], "another table of contents");
    let named = |blocks: &[(String, Vec<u8>)]| blocks.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(named(&ours), named(&theirs));
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        // Each begins with its kind and its number.
        assert!(ours[0] == theirs[0] && ours[6..] == theirs[6..], "the block of {name} is not what pg_dump wrote");
    }
    assert_eq!(exported.len(), direct.len());
}

/// The blocks of an archive, whole, with the names of what they are of.
fn blocks(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::copy_from_slice(archive));
    let Some(Event::Toc(toc)) = splitter.next_event().unwrap() else { panic!("no table of contents") };
    let number = |at: usize| u32::from_le_bytes(archive[at + 1..at + 5].try_into().unwrap()) as usize;
    let after_frames = |mut at: usize| {
        while number(at) > 0 {
            at += 5 + number(at);
        }
        at + 5
    };
    let (mut blocks, mut at) = (Vec::new(), toc.bytes().len());
    while at < archive.len() {
        let entry = toc.entry(u32::try_from(number(at + 1)).unwrap()).unwrap();
        let mut end = at + 6;
        if archive[at] == 1 {
            end = after_frames(end);
        } else {
            while number(end) > 0 {
                end = after_frames(end + 5);
            }
            end += 5;
        }
        blocks.push((format!("{}.{}", entry.namespace(), entry.tag()), archive[at..end].to_vec()));
        at = end;
    }
    blocks
}

/// Backs a database up, exports it in both forms, and has stock tools make new databases of them. The archive.
fn rebuilds(database: &Database, new: impl Fn(&str) -> Database) -> Vec<u8> {
    let workshop = Workshop::of_databases(&[("shop", &database.url(Role::Admin))]);
    // Rows of foreign tables are elsewhere, and said to be.
    let ended = workshop.run(&["backup"]);
    assert!([0, 3].contains(&ended.code), "{}", ended.stderr);
    let backup = workshop.backups().pop().unwrap();
    let (archive, sql) = (workshop.folder().join("shop.dump"), workshop.folder().join("shop.sql"));
    let ended = workshop.done(&["export", &backup, "shop", "-o", archive.to_str().unwrap()]);
    assert!(ended.stderr.contains("exported database"), "{}", ended.stderr);
    workshop.done(&["export", &backup, "shop", "--format", "sql", "-o", sql.to_str().unwrap()]);

    let (schema, contents) = (database.schema(), database.contents());
    let by_archive = new("by-archive");
    by_archive.restore(&archive, &[]);
    assert_eq!(by_archive.contents(), contents);
    assert_eq!(by_archive.schema(), schema);
    let by_sql = new("by-sql");
    run_sql(&by_sql, &sql);
    assert_eq!(by_sql.contents(), contents);
    assert_eq!(by_sql.schema(), schema);
    fs::read(&archive).unwrap()
}

#[test]
fn an_export_is_byte_for_byte_what_pg_dump_15_wrote() {
    exports_the_very_bytes(&require!(postgres::v15));
}

#[test]
fn an_export_is_byte_for_byte_what_pg_dump_18_wrote() {
    exports_the_very_bytes(&require!(postgres::v18));
}

#[test]
fn stock_tools_rebuild_the_torture_database_of_postgresql_15() {
    rebuilds_the_torture_database(&require!(postgres::v15));
}

#[test]
fn stock_tools_rebuild_the_torture_database_of_postgresql_18() {
    rebuilds_the_torture_database(&require!(postgres::v18));
}

#[test]
fn names_and_rows_that_are_not_utf8_are_kept() {
    let server = require!(postgres::v15);
    let new = |name: &str| server.create_database_with(name, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let database = new("latin1");
    database.run_file("torture-latin1.sql", &[]);
    rebuilds(&database, new);
}

#[test]
fn what_a_backslash_means_in_the_database_changes_no_large_object() {
    let server = require!(postgres::v15);
    let new = |name: &str| {
        let database = server.create_database(name);
        database.sql(&format!("ALTER DATABASE {} SET standard_conforming_strings = off", database.quoted()));
        database
    };
    let database = new("backslash");
    database.sql("SELECT lo_from_bytea(9001, decode('00ff5c7868656c6c6f0a27', 'hex'))");
    rebuilds(&database, new);
}

#[test]
fn an_export_to_standard_output_is_the_file() {
    let server = require!(postgres::v15);
    let database = database(&server);
    let workshop = backed_up(&database);
    let file = workshop.folder().join("shop.dump");
    workshop.done(&["export", "latest", "shop", "-o", file.to_str().unwrap()]);
    let output = workshop.command(&["export", "latest", "shop"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == fs::read(&file).unwrap());

    // A reader that has left did not get all of it.
    let mut child =
        workshop.command(&["export", "latest", "shop"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut begin = [0; 5];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut begin).unwrap();
    drop(stdout);
    assert_eq!(&begin, b"PGDMP");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("throw it away"), "{said}");
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let server = require!(postgres::v15);
    let workshop = backed_up(&database(&server));
    let file = workshop.folder().join("taken");
    fs::write(&file, "mine").unwrap();
    let ended = workshop.ends(2, &["export", "latest", "shop", "-o", file.to_str().unwrap()]);
    assert!(ended.stderr.contains("there already"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let ended = workshop.ends(2, &["export", "latest", "shops", "-o", workshop.folder().join("new").to_str().unwrap()]);
    assert!(ended.stderr.contains("it has: shop"), "{}", ended.stderr);
    assert_eq!(leftovers(&workshop), ["policy.yaml", "repository", "taken"]);
}

#[test]
fn a_damaged_backup_leaves_no_file() {
    let server = require!(postgres::v15);
    let workshop = backed_up(&database(&server));
    for format in ["archive", "sql"] {
        let path = workshop.folder().join(format);
        let arguments = ["export", "latest", "shop", "--format", format, "-o", path.to_str().unwrap()];
        workshop.done(&arguments);
        fs::remove_file(&path).unwrap();
    }
    let mut packs = Vec::new();
    for folder in fs::read_dir(workshop.repository().join("data")).unwrap() {
        packs.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    let largest = packs.into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let place = bytes.len() * 2 / 3;
    bytes[place] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    for format in ["archive", "sql"] {
        let path = workshop.folder().join(format);
        let ended = workshop.ends(4, &["export", "latest", "shop", "--format", format, "-o", path.to_str().unwrap()]);
        assert!(ended.stderr.contains("damage"), "{}", ended.stderr);
    }
    assert_eq!(leftovers(&workshop), ["policy.yaml", "repository"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_a_database_is_refused_for_a_source_of_objects() {
    let folder = tempfile::tempdir().unwrap();
    let backup = crate::recover::two_backups(&folder.path().join("repository"), &[]).await;
    let url = format!("file://{}/repository", folder.path().display());
    let output = drctl(&["export", &backup, "all", "--format", "sql", "--repository", &url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--format is for PostgreSQL databases"), "{said}");
    // The twin: without it the objects are written.
    let output = drctl(&["export", &backup, "all", "--repository", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// What is in the workshop's folder, hidden files too.
fn leftovers(workshop: &Workshop) -> Vec<String> {
    let entries = fs::read_dir(workshop.folder()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
