//! `pg_restore`, for what is there before the rows and what follows them.

use std::{collections::VecDeque, process::Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Error, Server,
        connect::TEXT_SETTINGS,
        tools::{MemoryFile, Tool},
    },
    RestoreError,
};

/// Failures that are kept; more of them say nothing new.
const KEPT: usize = 200;
/// The longest line of its words that is read.
const LONGEST_LINE: usize = 64 * 1024;

/// What the roles and databases of the target say must not change what is built, and nothing is lost
/// by a commit that is not flushed: a server that crashes takes the run with it.
const SETTINGS: [(&str, &str); 7] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read\\ committed"),
    ("default_transaction_deferrable", "off"),
    ("synchronous_commit", "off"),
    ("default_tablespace", ""),
];

/// In which time zone statements run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeZone<'a> {
    /// In that of every capture.
    Utc,
    /// In the server's.
    Server,
    /// In the database's own.
    Own(&'a str),
}

/// A `pg_restore` and what it works with.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) tool: &'a Tool,
    pub(super) server: &'a Server,
    pub(super) database: &'a str,
    /// The archive's table of contents.
    pub(super) toc: &'a [u8],
    pub(super) jobs: usize,
    /// Objects belong to whom this run connects as.
    pub(super) no_owner: bool,
    pub(super) no_tablespaces: bool,
    /// The role says another one than `origin`, and may.
    pub(super) replication_role: bool,
    /// Materialized views are filled as their own database would: in its time zone, or in the server's.
    pub(super) time_zone: TimeZone<'a>,
    pub(super) cancel: &'a CancellationToken,
}

impl Builder<'_> {
    /// Makes the entries of these dump ids. Returns what could not be made, in the server's words.
    pub(super) async fn make(&self, doing: &str, entries: &[u32]) -> Result<Vec<String>, RestoreError> {
        Ok(self.make_named(doing, entries).await?.into_iter().map(|failure| failure.words).collect())
    }

    /// The same, and which entries they are.
    pub(super) async fn make_named(&self, doing: &str, entries: &[u32]) -> Result<Vec<Failure>, RestoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let list: String = entries.iter().map(|id| format!("{id};\n")).collect();
        let list = MemoryFile::new("drctl-list", list.as_bytes())?;
        let toc = MemoryFile::new("drctl-toc", self.toc)?;
        let (mut command, _password) = self.tool.command_for(self.server, self.database)?;
        // Only then a failure's entry is named.
        command.arg("--verbose");
        command.arg("-L").arg(list.path()).arg("-d").arg(connection_string(self.database));
        if self.jobs > 1 {
            command.arg(format!("--jobs={}", self.jobs));
        }
        if self.no_owner {
            command.arg("--no-owner");
        }
        if self.no_tablespaces {
            command.arg("--no-tablespaces");
        }
        command.env("PGOPTIONS", self.options()).arg(toc.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.tool.not_started(error))?;
        let stderr = child.stderr.take();
        let reading = async {
            let mut words = Words::default();
            if let Some(stderr) = stderr {
                words.read(stderr).await;
            }
            (child.wait().await, words)
        };
        let (status, words) = tokio::select! {
            ended = reading => ended,
            () = self.cancel.cancelled() => return Err(RestoreError::Interrupted),
        };
        let status = status.map_err(|source| Error::Local { doing: "wait for pg_restore".to_owned(), source })?;
        if !status.success() && words.failures.is_empty() {
            return Err(self.tool.failed(doing, status, words.last().as_bytes()).into());
        }
        Ok(words.failures)
    }

    fn options(&self) -> String {
        let fixed = TEXT_SETTINGS.iter().filter(|(name, _)| *name != "TimeZone").chain(&SETTINGS);
        let mut options: Vec<String> = fixed.map(|(name, value)| format!("-c {name}={value}")).collect();
        match self.time_zone {
            TimeZone::Utc => options.push("-c TimeZone=UTC".to_owned()),
            TimeZone::Server => {}
            TimeZone::Own(zone) => {
                let zone = zone.replace('\\', "\\\\").replace(' ', "\\ ");
                options.push(format!("-c TimeZone={zone}"));
            }
        }
        if self.replication_role {
            options.push("-c session_replication_role=origin".to_owned());
        }
        options.join(" ") + self.server.silence()
    }
}

/// The settings of every capture, and more.
pub(super) fn options(more: &[(&str, &str)]) -> String {
    let all: Vec<String> = TEXT_SETTINGS.iter().chain(more).map(|(name, value)| format!("-c {name}={value}")).collect();
    all.join(" ")
}

/// Where a server that is gone without a word is noticed, as in our own sessions. No variable of the
/// environment says it.
const ALIVE: &str = "keepalives_idle=30 keepalives_interval=10 keepalives_count=9 tcp_user_timeout=120000";

/// `dbname=…`, so that a database's name is never taken for a connection string.
pub(super) fn connection_string(database: &str) -> String {
    format!("dbname='{}' {ALIVE}", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The entry's dump id, if it was named.
    pub(super) entry: Option<u32>,
    /// The server's words.
    pub(super) words: String,
}

/// What `pg_restore` says: of each failure the entry and the server's error, and nothing of the
/// statement, which may hold a password.
#[derive(Debug, Default)]
struct Words {
    entry: String,
    id: Option<u32>,
    failures: Vec<Failure>,
    tail: VecDeque<String>,
}

impl Words {
    async fn read(&mut self, from: impl tokio::io::AsyncRead + Unpin) {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match Self::line(&mut reader, &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.take(String::from_utf8_lossy(&line).trim_end()),
            }
        }
    }

    /// Reads to the end of a line, and keeps no more of it than the longest one has. Returns how much there was.
    async fn line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<usize> {
        let mut read = 0;
        loop {
            let some = reader.fill_buf().await?;
            let end = some.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(some.len(), |end| end + 1);
            let kept = taken.min(LONGEST_LINE.saturating_sub(line.len()));
            line.extend_from_slice(some.get(..kept).unwrap_or_default());
            reader.consume(taken);
            read += taken;
            if end.is_some() || taken == 0 {
                return Ok(read);
            }
        }
    }

    fn take(&mut self, line: &str) {
        let Some(said) = line.strip_prefix("pg_restore: ") else { return };
        if let Some(entry) = said.strip_prefix("from TOC entry ") {
            // `3282; 2606 16397 CONSTRAINT public t t_pkey postgres`
            self.id = entry.split(';').next().and_then(|id| id.trim().parse().ok());
            self.entry = entry.splitn(4, ' ').nth(3).unwrap_or(entry).to_owned();
        } else if let Some(error) = said.strip_prefix("error: ") {
            let error = error.strip_prefix("could not execute query: ").unwrap_or(error).replace("ERROR:  ", "");
            if self.failures.len() < KEPT {
                let at = if self.entry.is_empty() { String::new() } else { format!("{}: ", self.entry) };
                self.failures.push(Failure { entry: self.id, words: format!("{at}{error}") });
            }
        }
        if self.tail.len() == 5 {
            self.tail.pop_front();
        }
        self.tail.push_back(said.to_owned());
    }

    fn last(&self) -> String {
        self.tail.iter().cloned().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_entry_and_the_error_and_never_the_statement() {
        let mut words = Words::default();
        for line in [
            "pg_restore: while PROCESSING TOC:",
            "pg_restore: from TOC entry 3282; 2606 16397 CONSTRAINT public t t_pkey postgres",
            "pg_restore: error: could not execute query: ERROR:  could not create unique index \"t_pkey\"",
            "DETAIL:  Key (id)=(hunter2) is duplicated.",
            "Command was: CREATE USER MAPPING FOR x OPTIONS (password 'hunter2');",
            "pg_restore: warning: errors ignored on restore: 1",
        ] {
            words.take(line);
        }
        let words_of = "CONSTRAINT public t t_pkey postgres: could not create unique index \"t_pkey\"".to_owned();
        assert_eq!(words.failures, [Failure { entry: Some(3282), words: words_of }]);
        assert!(!words.last().contains("hunter2"));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_read_and_not_kept() {
        let long =
            [b"pg_restore: error: ".as_slice(), &vec![b'x'; 3 * LONGEST_LINE], b"\npg_restore: error: short"].concat();
        let mut words = Words::default();
        words.read(long.as_slice()).await;
        assert_eq!(words.failures.len(), 2);
        let length = words.failures[0].words.len();
        assert!(length < LONGEST_LINE, "{length}");
        assert_eq!(words.failures[1].words, "short");
        let mut line = Vec::new();
        assert_eq!(Words::line(&mut long.as_slice(), &mut line).await.unwrap(), long.len() - 24);
        assert_eq!((line.len(), line.capacity() < 2 * LONGEST_LINE), (LONGEST_LINE, true));
    }

    #[test]
    fn a_databases_name_is_no_connection_string() {
        assert_eq!(connection_string("a=b 'c'"), format!(r"dbname='a=b \'c\'' {ALIVE}"));
    }
}
