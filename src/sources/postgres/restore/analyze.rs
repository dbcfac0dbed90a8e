//! Statistics for the planner: without them, an application that comes back meets its first queries unprepared.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use futures::future::join_all;

use super::{
    super::{Server, Session},
    loading_session,
    planner::text_list,
};

/// The most tables of one statement.
const AT_ONCE: usize = 20;
/// So many notes say enough.
const NOTED: usize = 5;

/// Gathers statistics of all tables by some sessions. What cannot be analyzed is worth a note and no more: the rows are
/// compared. Foreign tables are asked nothing.
pub(super) async fn analyze(session: &Session, server: &Server, database: &str, jobs: usize) -> Vec<String> {
    let sql = "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname !~ '^(pg_|information_schema)' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class f ON f.oid = i.inhrelid \
             WHERE i.inhparent = c.oid AND f.relkind IN ('f', 'p')) ORDER BY c.relpages DESC, c.oid";
    let tables = match text_list(session, "list the tables to analyze", sql).await {
        Ok(tables) => tables,
        Err(error) => return vec![error.to_string()],
    };
    let jobs = jobs.clamp(1, tables.len().max(1));
    // Each session finds something at the end, too.
    let at_once = (tables.len() / jobs / 4).clamp(1, AT_ONCE);
    let left: Mutex<VecDeque<&[String]>> = Mutex::new(tables.chunks(at_once).collect());
    let failures = join_all((0..jobs).map(|_| by_one(server, database, &left))).await;
    noted(failures.into_iter().flatten().collect())
}

/// What one session could not analyze.
async fn by_one(server: &Server, database: &str, left: &Mutex<VecDeque<&[String]>>) -> Vec<String> {
    let session = match loading_session(server, database).await {
        Ok(session) => session,
        Err(error) => return vec![error.to_string()],
    };
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut failures = Vec::new();
    while let Some(tables) = next() {
        if session.run("analyze tables", &format!("ANALYZE {}", tables.join(", "))).await.is_ok() {
            continue;
        }
        // The first that fails ends a statement: those after it are analyzed all the same.
        for table in tables {
            let analyzed = session.run(&format!("analyze {table}"), &format!("ANALYZE {table}")).await;
            failures.extend(analyzed.err().map(|error| error.to_string()));
        }
        if session.is_closed() {
            break;
        }
    }
    session.close().await;
    failures
}

fn noted(mut failures: Vec<String>) -> Vec<String> {
    let more = failures.len().saturating_sub(NOTED);
    failures.truncate(NOTED);
    if more > 0 {
        failures.push(format!("{more} more tables could not be analyzed"));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_failures_some_are_named_and_the_others_counted() {
        let failures = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(noted(failures(NOTED)), failures(NOTED));
        assert_eq!(noted(failures(NOTED + 2)).last().unwrap(), "2 more tables could not be analyzed");
    }
}
