//! What `pg_restore` could not build is tried once more, alone, by a session of ours: that hears the SQLSTATE, which tells
//! a server that has no room any more from rows that an index cannot take. The server's words may be in any language.

use super::{
    super::{Session, archive::Field, quote::literal},
    Restore, RestoreError,
    build::Failure,
};

impl Restore<'_> {
    /// Tries what takes room. Returns what failed, but for what could be built this time.
    ///
    /// # Errors
    /// The server's, if it is not the backup that is in the way: no room, no memory, a shutdown, an error of the disk.
    pub(super) async fn try_again(&self, session: &Session, failed: Vec<Failure>) -> Result<Vec<String>, RestoreError> {
        let inner = &self.plan.inner;
        let mut words = Vec::new();
        for failure in failed {
            let entry = failure.entry.and_then(|id| inner.toc.entry(id));
            let keeps = entry.as_ref().map_or("", |entry| end_of(&entry.description()));
            let Some(entry) = entry.filter(|_| !keeps.is_empty()) else {
                words.push(failure.words);
                continue;
            };
            let tablespace = entry.text(Field::Tablespace);
            let tablespace = if inner.no_tablespaces { "" } else { tablespace.as_ref() };
            let sql = format!(
                "BEGIN; SET LOCAL default_tablespace TO {}; {} {keeps}",
                literal(tablespace),
                entry.text(Field::Definition)
            );
            let doing = format!("build {}", entry.shown());
            let done = self.rows().next(session.run(&doing, &sql)).await?;
            if done.is_err() {
                let _rolled_back = session.run("roll back", "ROLLBACK").await;
            }
            match done {
                Ok(()) if keeps == COMMIT => {}
                Err(error) if error.is_of_the_server() || session.is_closed() => return Err(error.into()),
                Ok(()) | Err(_) => words.push(failure.words),
            }
        }
        Ok(words)
    }
}

const COMMIT: &str = "COMMIT";

/// How the second try of such an entry ends. A view is filled in its own database's time zone, which this session has
/// not; what takes no room is not tried at all.
fn end_of(description: &str) -> &'static str {
    match description {
        "INDEX" | "CONSTRAINT" | "FK CONSTRAINT" => COMMIT,
        "MATERIALIZED VIEW DATA" => "ROLLBACK",
        _ => "",
    }
}
