//! Real PostgreSQL servers for a test, which makes databases of its own on them.
//!
//! ```ignore
//! let server = require!(postgres::v15);
//! let database = server.create_database("orders");
//! database.sql("CREATE TABLE t (id int)");
//! let url = database.url(Role::Reader);
//! ```
//!
//! What a test makes is removed with the last of its handles, sessions included: databases and roles whose name begins
//! with the test's prefix, so also those that a restore made beside them. `DRCTL_TEST_KEEP=1` leaves them.
//!
//! `server.create_torture()` makes a database with every kind of object; `tests/data/torture-*.sql` are its variants.
//!
//! The helpers go through `psql`, `pg_dump` and `pg_restore` of the server's own major, which know nothing of drctl.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use super::bed;

/// PostgreSQL 15, with pgbouncer before it.
pub(crate) fn v15(test: &str) -> Option<Postgres> {
    server(test, 15)
}

/// PostgreSQL 18.
pub(crate) fn v18(test: &str) -> Option<Postgres> {
    server(test, 18)
}

fn server(test: &str, major: u16) -> Option<Postgres> {
    let variable = |name: &str| bed::component(test, &format!("DRCTL_BED_POSTGRES{major}_{name}"));
    let pooler = |name: &str| {
        env::var(format!("DRCTL_BED_POSTGRES{major}_{name}_POOLER_PORT")).ok().map(|port| port.parse().unwrap())
    };
    let server = Server {
        major,
        port: variable("PORT")?.parse().unwrap(),
        socket: variable("SOCKET")?.into(),
        authority: variable("CA")?.into(),
        programs: variable("BIN")?.into(),
        passwords: [variable("ADMIN_PASSWORD")?, variable("OWNER_PASSWORD")?, variable("READER_PASSWORD")?],
        poolers: [pooler("TRANSACTION"), pooler("SESSION")],
        prefix: bed::unique_name(test),
    };
    bed::ran(test);
    Some(Postgres(Arc::new(server)))
}

/// A role that every server of the bed has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Superuser.
    Admin,
    /// Owns the databases that a test makes; may make others. No superuser.
    Owner,
    /// A member of `pg_read_all_data` and nothing else.
    Reader,
}

impl Role {
    /// Its name on the server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Owner => "owner",
            Self::Reader => "reader",
        }
    }
}

/// How a pgbouncer shares its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pooling {
    /// Two transactions of a client may be two sessions of the server.
    Transaction,
    /// A client has one session of the server until it goes.
    Session,
}

/// One of the bed's servers, and this test's share of it.
#[derive(Clone, Debug)]
pub(crate) struct Postgres(Arc<Server>);

#[derive(Debug)]
struct Server {
    major: u16,
    port: u16,
    socket: PathBuf,
    authority: PathBuf,
    programs: PathBuf,
    passwords: [String; 3],
    poolers: [Option<u16>; 2],
    prefix: String,
}

impl Postgres {
    /// 15 or 18.
    pub(crate) fn major(&self) -> u16 {
        self.0.major
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// The port on 127.0.0.1 of a pgbouncer before this server.
    ///
    /// # Panics
    /// If it has none: only 15 has.
    pub(crate) fn pooler_port(&self, pooling: Pooling) -> u16 {
        self.0.poolers[pooling as usize].expect("this server has no pgbouncer")
    }

    /// The certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> &Path {
        &self.0.authority
    }

    /// The folder of the Unix socket, where nobody is asked for a password.
    pub(crate) fn socket(&self) -> &Path {
        &self.0.socket
    }

    /// The password of a role.
    pub(crate) fn password(&self, role: Role) -> &str {
        &self.0.passwords[role as usize]
    }

    /// The folder with `psql`, `pg_dump` and `pg_restore` of this major.
    pub(crate) fn programs(&self) -> &Path {
        &self.0.programs
    }

    /// A name that no other test uses, and that is removed with this one: for a database or a role.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.0.prefix)
    }

    /// A new, empty database with UTF8 that belongs to [`Role::Owner`].
    ///
    /// # Panics
    /// If the server refuses.
    pub(crate) fn create_database(&self, suffix: &str) -> Database {
        self.create_database_with(suffix, "TEMPLATE template0 ENCODING 'UTF8'")
    }

    /// A new database that belongs to [`Role::Owner`], with these options of CREATE DATABASE.
    ///
    /// # Panics
    /// If the server refuses.
    pub(crate) fn create_database_with(&self, suffix: &str, options: &str) -> Database {
        let database = self.database(&self.name(suffix));
        self.sql(&format!("CREATE DATABASE {} OWNER owner {options}", database.quoted()));
        database
    }

    /// A new database with every kind of object: `tests/data/torture.sql`, which names its roles after this test. It takes
    /// some seconds.
    ///
    /// # Panics
    /// If the server refuses.
    pub(crate) fn create_torture(&self) -> Database {
        let database = self.create_database("torture");
        let roles = [("writer", "torture writer"), ("auditor", "torture \"auditor\"")];
        let variables = roles.map(|(variable, name)| (variable, self.name(name)));
        database.run_file("torture.sql", &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
        database
    }

    /// A database that somebody else made or will make, such as a restore.
    pub(crate) fn database(&self, name: &str) -> Database {
        Database { server: self.clone(), name: name.to_owned() }
    }

    /// Names of all databases that belong to this test, sorted.
    pub(crate) fn databases(&self) -> Vec<String> {
        let query =
            format!("SELECT datname FROM pg_database WHERE starts_with(datname, '{}') ORDER BY 1", self.0.prefix);
        self.sql(&query).lines().map(str::to_owned).collect()
    }

    /// A new role with these options of CREATE ROLE, such as `LOGIN PASSWORD 'x'`; returns its name.
    ///
    /// # Panics
    /// If the server refuses.
    pub(crate) fn create_role(&self, suffix: &str, options: &str) -> String {
        let name = self.name(suffix);
        self.sql(&format!("CREATE ROLE {} {options}", quoted(&name)));
        name
    }

    /// Runs SQL as [`Role::Admin`] in the database `postgres`; see [`Database::sql`].
    pub(crate) fn sql(&self, text: &str) -> String {
        self.database("postgres").sql(text)
    }

    /// One of this major's programs, not yet started, without a developer's own settings of libpq.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.programs.join(name));
        for (variable, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if bed::keeps() {
            return;
        }
        // Whatever the test left: what cannot be removed goes with the bed.
        let script = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots\n\
               WHERE starts_with(database, '{0}') AND NOT active\n\\g\n\
             DELETE FROM pg_subscription USING pg_database d\n\
               WHERE subdbid = d.oid AND starts_with(datname, '{0}')\n\\g\n\
             SELECT format('ALTER DATABASE %I IS_TEMPLATE false', datname) FROM pg_database\n\
               WHERE starts_with(datname, '{0}') AND datistemplate\n\\gexec\n\
             SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database\n\
               WHERE starts_with(datname, '{0}')\n\\gexec\n\
             SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE starts_with(rolname, '{0}')\n\\gexec\n",
            self.prefix
        );
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-U", "admin", "-d", "postgres", "-p"]).arg(self.port.to_string());
        command.arg("-h").arg(&self.socket).arg("-f").arg("-");
        feed(command, &script);
    }
}

/// A database of a test.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    server: Postgres,
    name: String,
}

impl Database {
    /// Its name, as it is: SQL takes [`Database::quoted`].
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name as an identifier in SQL.
    pub(crate) fn quoted(&self) -> String {
        quoted(&self.name)
    }

    /// The server that it is on.
    pub(crate) fn server(&self) -> &Postgres {
        &self.server
    }

    /// Where a role reaches it: by TCP, TLS and a password.
    pub(crate) fn url(&self, role: Role) -> String {
        self.url_as(role.name(), self.server.password(role))
    }

    /// As [`Database::url`], for a role that the test made. The two words have to be fit for a URL.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let (port, name, authority) = (self.server.port(), &self.name, self.server.authority().display());
        format!("postgresql://{user}:{password}@127.0.0.1:{port}/{name}?sslmode=verify-full&sslrootcert={authority}")
    }

    /// Where a role reaches it through pgbouncer.
    pub(crate) fn pooled_url(&self, pooling: Pooling, role: Role) -> String {
        let direct = self.url(role);
        direct.replacen(&format!(":{}/", self.server.port()), &format!(":{}/", self.server.pooler_port(pooling)), 1)
    }

    /// Runs SQL as [`Role::Admin`], each statement by itself, and stops at the first error. Returns the rows: a line
    /// each, columns by `|`. `psql`'s own commands work, too.
    ///
    /// # Panics
    /// If a statement fails.
    pub(crate) fn sql(&self, text: &str) -> String {
        let output = self.try_sql(text);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql in {} failed: {errors}", self.name);
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// As [`Database::sql`], whatever comes of it.
    pub(crate) fn try_sql(&self, text: &str) -> Output {
        feed(self.psql(), text)
    }

    /// As [`Database::try_sql`], by another role, over TCP and TLS.
    pub(crate) fn try_sql_as(&self, role: Role, text: &str) -> Output {
        self.try_sql_at(&self.url(role), text)
    }

    /// As [`Database::try_sql`], at a URL of a test's own.
    pub(crate) fn try_sql_at(&self, url: &str, text: &str) -> Output {
        let mut command = self.server.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", url]);
        feed(command, text)
    }

    /// Runs a file of `tests/data` as [`Role::Admin`], with these variables of `psql`.
    ///
    /// # Panics
    /// If a statement fails.
    pub(crate) fn run_file(&self, file: &str, variables: &[(&str, &str)]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
        let mut command = self.psql();
        for (name, value) in variables {
            command.arg("-v").arg(format!("{name}={value}"));
        }
        let output = command.arg("-f").arg(path).output().expect("psql runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file} in {} failed: {errors}", self.name);
    }

    /// `psql` as [`Role::Admin`], not yet started: a session that a test holds open, to lock or to write.
    pub(crate) fn psql(&self) -> Command {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// What the stock `pg_dump` writes, with these options.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn dump(&self, options: &[&str]) -> Vec<u8> {
        let output = self.client("pg_dump").args(options).output().expect("pg_dump runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump of {} failed: {errors}", self.name);
        output.stdout
    }

    /// Restores an archive into it by the stock `pg_restore`, with these options more.
    ///
    /// # Panics
    /// If it fails or warns.
    pub(crate) fn restore(&self, archive: &Path, options: &[&str]) {
        let output = self.client("pg_restore").args(options).arg(archive).output().expect("pg_restore runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "pg_restore into {} failed: {errors}", self.name);
    }

    /// The definition of everything in it, as the stock `pg_dump` writes it: two databases with the same text have
    /// the same tables, views, functions, comments, owners and rights.
    pub(crate) fn schema(&self) -> String {
        let text = String::from_utf8_lossy(&self.dump(&["--schema-only"])).into_owned();
        // A dump's own key, which differs each time, and the versions.
        let changing = ["\\restrict ", "\\unrestrict ", "-- Dumped "];
        text.lines().filter(|line| !changing.iter().any(|each| line.starts_with(each))).fold(
            String::new(),
            |mut kept, line| {
                kept.push_str(line);
                kept.push('\n');
                kept
            },
        )
    }

    /// What is in it, a line for each thing, sorted: tables and materialized views with the count and a digest of
    /// their rows in any order, sequences with their values, large objects with owner, rights and digest.
    pub(crate) fn contents(&self) -> String {
        self.sql(CONTENTS)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.server.program(program);
        command.arg("-h").arg(self.server.socket()).arg("-p").arg(self.server.port().to_string());
        command.args(["-U", Role::Admin.name(), "-d", &self.name]);
        command
    }
}

/// Below a hash partitioned table, a restore may put a row elsewhere: it is read at its root. The others are read leaf by
/// leaf, because a leaf may be a foreign table that nobody can reach. Columns are taken by name.
const CONTENTS: &str = r#"
SET search_path = '';
SET bytea_output = hex;
SET extra_float_digits = 3;
SET datestyle = ISO;
SET intervalstyle = postgres;
SET timezone = 'UTC';
SET lc_monetary = 'C';
SET row_security = off;
SELECT format('SELECT %L, count(*), md5(string_agg(row, '''' ORDER BY row COLLATE "C")) FROM (SELECT md5(ROW(%s)::text) AS row FROM %s %s) t',
  c.oid::regclass,
  (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname COLLATE "C") FROM pg_catalog.pg_attribute
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
  CASE WHEN c.relkind = 'r' THEN 'ONLY' END, c.oid::regclass)
  FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
  WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated OR p.partstrat = 'h')
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a JOIN pg_catalog.pg_partitioned_table h ON h.partrelid = a.relid
        WHERE h.partstrat = 'h' AND a.relid <> c.oid)
    AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  ORDER BY c.oid::regclass::text COLLATE "C"
\gexec
SELECT format('SELECT %L, last_value, is_called FROM %s', c.oid::regclass, c.oid::regclass)
  FROM pg_catalog.pg_class c WHERE c.relkind = 'S' ORDER BY c.oid::regclass::text COLLATE "C"
\gexec
SELECT 'large object ' || oid, lomowner::regrole, lomacl, md5(lo_get(oid))
  FROM pg_catalog.pg_largeobject_metadata ORDER BY oid;
"#;

/// An identifier in SQL, always in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs a program with this input, to its end.
fn feed(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_owned());
    // It may write more than a pipe holds before it has read everything, and end before it has read all.
    let writer = thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    let _ = writer.join();
    output
}
