//! What became of a swap, or of the way back, whose connection was lost: the server may have done it all the same, or may have
//! closed the live database and no more.

use std::time::Duration;

use super::{
    super::{Server, Session},
    RestoreError,
    databases::{self, Traces},
    switch,
};

/// How often the server is asked again.
const TRIES: u32 = 20;
/// And how long it is left alone in between.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of it.
#[derive(Debug)]
pub(super) enum Lost {
    /// It was done.
    Done(Box<Traces>),
    /// It was not, and what it had closed is open again; how the live database is now.
    Not(&'static str),
    /// The server does not answer.
    Unknown,
}

/// Asks what became of it, and opens the live database if no more was done than to close it. `incoming` is the object id of
/// the database that was to take the place of `database`. Gives the session that it has asked by, which has the lock.
pub(super) async fn became(server: &Server, database: &str, incoming: Option<u32>) -> (Option<Session>, Lost) {
    for _ in 0..TRIES {
        let Ok((session, traces)) = look(server, database).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if incoming.is_some() && traces.live.as_ref().map(|live| live.oid) == incoming {
            return (Some(session), Lost::Done(Box::new(traces)));
        }
        if let Ok(mended) = switch::mend(&session, &traces).await {
            let is_open = match (mended, &traces.live) {
                (Some(mended), _) => mended.opened,
                (None, Some(live)) => live.open,
                (None, None) => return (Some(session), Lost::Not("is not there")),
            };
            return (Some(session), Lost::Not(if is_open { "is open" } else { "is closed, as it was before" }));
        }
    }
    (None, Lost::Unknown)
}

async fn look(server: &Server, database: &str) -> Result<(Session, Traces), RestoreError> {
    let session = databases::beside(server, database).await?;
    databases::lock(&session, database).await?;
    let traces = databases::traces(&session, database).await?;
    Ok((session, traces))
}
