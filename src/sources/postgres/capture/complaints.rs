//! What `pg_dump` writes to stderr: each line is known to be harmless, or something is missing, or
//! nobody knows, and then the backup is partial.

use crate::types::for_terminal;

/// Lines that are kept.
const MOST: usize = 20;
/// Bytes of a line that are kept.
const LONGEST: usize = 2_000;

/// What a run of `pg_dump` complained of.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Complaints {
    /// What is missing and why.
    pub(super) missing: Vec<(String, String)>,
    /// Worth a line.
    pub(super) notes: Vec<String>,
    /// Why it failed, if it did: lines that say `error`, with their details.
    errors: Vec<String>,
    /// What the next line's details belong to.
    last: Last,
    /// The beginning of a line.
    cut: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Unknown,
    Harmless,
    Error,
}

impl Complaints {
    /// Takes the next piece of stderr.
    pub(super) fn push(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.cut.len());
            self.cut.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                self.end();
            }
        }
    }

    /// Takes what is left: the last line may have no end.
    pub(super) fn end(&mut self) {
        let line = std::mem::take(&mut self.cut);
        self.line(&line);
    }

    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        tracing::debug!(line = %for_terminal(line), "pg_dump says");
        let text = line.strip_prefix("pg_dump: ").unwrap_or(line);
        match detail(text) {
            Some(detail) => self.detail(detail, line),
            None => self.message(text, line),
        }
    }

    fn message(&mut self, text: &str, line: &str) {
        if let Some(error) = text.strip_prefix("error: ") {
            self.last = Last::Error;
            keep(&mut self.errors, error.to_owned());
        } else if let Some(what) = not_dumped(text) {
            self.last = Last::Harmless;
            let why = "pg_dump leaves them out unless the role is a superuser".to_owned();
            keep(&mut self.missing, (what.to_owned(), why));
        } else if is_harmless(text) {
            self.last = Last::Harmless;
            let note = format!("pg_dump: {}", text.trim_start_matches("warning: "));
            keep(&mut self.notes, note);
        } else {
            self.last = Last::Unknown;
            self.unknown(line);
        }
    }

    fn detail(&mut self, detail: &str, line: &str) {
        match self.last {
            Last::Error => keep(&mut self.errors, detail.to_owned()),
            Last::Harmless => {}
            Last::Unknown => self.unknown(line),
        }
    }

    fn unknown(&mut self, line: &str) {
        let why = "drctl does not know this line of pg_dump: what it means for the backup is not known".to_owned();
        keep(&mut self.missing, (format!("pg_dump said: {line}"), why));
    }

    /// Why `pg_dump` failed, in its own words; empty if it did not say.
    pub(super) fn reason(&self) -> String {
        let said = if self.errors.is_empty() {
            self.missing.iter().map(|(what, _)| what.trim_start_matches("pg_dump said: ").to_owned()).collect()
        } else {
            self.errors.clone()
        };
        said.join("; ")
    }

    /// Whether it gave up because others held a lock for too long.
    pub(super) fn is_lock_conflict(&self) -> bool {
        let said = |text: &str| self.errors.iter().any(|error| error.contains(text));
        // A timeout within the rows has another statement.
        said("LOCK TABLE")
            && (said("canceling statement due to statement timeout") || said("canceling statement due to lock timeout"))
    }
}

fn keep<T: PartialEq>(list: &mut Vec<T>, entry: T) {
    if list.len() < MOST && !list.contains(&entry) {
        list.push(entry);
    }
}

/// The text of a line that explains the one before.
fn detail(text: &str) -> Option<&str> {
    ["detail: ", "hint: ", "DETAIL:  ", "HINT:  ", "CONTEXT:  ", "LINE "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
}

/// What `pg_dump` says that it leaves out, by its name.
fn not_dumped(text: &str) -> Option<&'static str> {
    text.starts_with("warning: subscriptions not dumped").then_some("subscriptions")
}

/// Lines that say nothing about what is in the dump: foreign keys that refer to each other matter only
/// to a restore of the data alone, and a collation's version only to indexes.
fn is_harmless(text: &str) -> bool {
    text.starts_with("warning: there are circular foreign-key constraints on ")
        || (text.starts_with("WARNING:  database ") && text.ends_with(" has a collation version mismatch"))
        || (text.starts_with("WARNING:  database ")
            && text.ends_with(" has no actual collation version, but a version was recorded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Complaints {
        let mut complaints = Complaints::default();
        // Pieces end anywhere.
        text.as_bytes().chunks(7).for_each(|piece| complaints.push(piece));
        complaints.end();
        complaints
    }

    #[test]
    fn lines_that_are_known_make_no_backup_partial() {
        let complaints = of("pg_dump: warning: there are circular foreign-key constraints on this table:\n\
             pg_dump: detail: a\n\
             pg_dump: hint: You might not be able to restore the dump without using --disable-triggers or temporarily dropping the constraints.\n\
             WARNING:  database \"orders\" has a collation version mismatch\n\
             DETAIL:  The database was created using collation version 2.31, but the operating system provides version 2.36.\n\
             HINT:  Rebuild all objects in this database.\n");
        assert_eq!(complaints.missing, []);
        assert_eq!(complaints.notes.len(), 2);
        assert_eq!(complaints.reason(), "");
    }

    #[test]
    fn what_is_left_out_and_what_nobody_knows_is_missing() {
        let complaints = of("pg_dump: warning: subscriptions not dumped because current user is not a superuser\n\
             pg_dump: warning: something new\npg_dump: hint: do this\n");
        let what: Vec<&str> = complaints.missing.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(
            what,
            ["subscriptions", "pg_dump said: pg_dump: warning: something new", "pg_dump said: pg_dump: hint: do this"]
        );
    }

    #[test]
    fn an_error_is_told_with_its_details() {
        let complaints = of("pg_dump: error: query failed: ERROR:  permission denied for table t\n\
             pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE\n");
        let reason =
            "query failed: ERROR:  permission denied for table t; Query was: LOCK TABLE public.t IN ACCESS SHARE MODE";
        assert_eq!(complaints.reason(), reason);
        assert!(!complaints.is_lock_conflict());
        let timeout = of("pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
             pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE\n");
        assert!(timeout.is_lock_conflict());
        let rows = of("pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\n\
             pg_dump: detail: Error message from server: ERROR:  canceling statement due to lock timeout\n\
             pg_dump: detail: Command was: COPY public.t (a) TO stdout;\n");
        assert!(!rows.is_lock_conflict());
    }

    #[test]
    fn a_flood_of_lines_is_bounded() {
        let mut complaints = Complaints::default();
        for n in 0..1_000 {
            complaints.push(format!("noise {n} {}\n", "x".repeat(10_000)).as_bytes());
        }
        assert!(complaints.missing.len() <= MOST);
        assert!(complaints.missing.iter().all(|(what, _)| what.len() < LONGEST + 100));
    }
}
