//! The way back to the database that was live before a restore.

use std::time::Instant;

use jiff::Timestamp;

use super::{
    super::{Server, Session, quote::readable},
    RestoreError, databases,
    journal::{Marker, Stage},
    lost::{self, Lost},
    names::RestoreId,
    report::Switched,
    switch,
};
use crate::types::counted;

/// What stands at the place of a database, for a person who wants to go back.
#[derive(Debug, Clone)]
pub struct Undoable {
    /// The database whose place is at stake.
    pub database: String,
    /// The server, host and port.
    pub server: String,
    /// A swap did not end, and left the live database closed: to open it again is all there is to do.
    pub closed: bool,
    /// Somebody had closed the live database before that swap: then it stays so.
    pub stays_closed: bool,
    /// What was live before the newest restore, and the restore.
    pub before: Option<(String, Marker)>,
    /// The restore that is undone; absent: there is none.
    pub restore: Option<String>,
    /// Why it cannot be done; empty: it can.
    pub refusals: Vec<String>,
    /// Object ids of the live database and of the one before, which no rename changes.
    pair: (Option<u32>, Option<u32>),
}

/// Looks for what [`undo`] would do. Nothing is written.
///
/// # Errors
/// [`RestoreError::Refused`] if the database that says it was live before is not to be trusted, or
/// the server's.
pub async fn undoable(server: &Server, database: &str) -> Result<Undoable, RestoreError> {
    let session = databases::beside(server, database).await?;
    let traces = databases::traces(&session, database).await?;
    let mut undoable = seen(server, database, &traces)?;
    undoable.refusals = refusals(server, &session, &traces, &undoable).await?;
    Ok(undoable)
}

/// What keeps the two databases from changing their names.
async fn refusals(
    server: &Server,
    session: &Session,
    traces: &databases::Traces,
    undoable: &Undoable,
) -> Result<Vec<String>, RestoreError> {
    let before = undoable.before.as_ref().map(|(name, _)| name);
    let old = traces.replaced.iter().chain(&traces.unended).map(|(old, _)| old).find(|old| Some(&old.name) == before);
    let mut why = Vec::new();
    for moved in old.into_iter().flat_map(|old| traces.live.iter().chain([old])) {
        if !moved.owned {
            why.push(format!("database {} belongs to {}: only its owner may rename it", moved.name, moved.owner));
        }
        if moved.prepared > 0 {
            why.push(format!(
                "database {} has {}, and cannot be renamed: commit or roll back what is in its pg_prepared_xacts",
                moved.name,
                counted(moved.prepared, "prepared transaction")
            ));
        }
        let strangers = databases::strangers(session, &moved.name).await?;
        if !strangers.is_empty() {
            why.push(format!(
                "role {} may not end the sessions of {} in database {}: GRANT pg_signal_backend TO {}, or stop them (a \
                 superuser's: undo as a superuser)",
                server.url().user,
                strangers.join(", "),
                moved.name,
                readable(&server.url().user)
            ));
        }
    }
    Ok(why)
}

impl Undoable {
    /// Whether what was to be done has been, as `now` shows; for a try that has failed.
    #[must_use]
    pub fn was_done(&self, now: &Self) -> bool {
        if self.closed { !now.closed } else { self.pair.1.is_some() && now.pair.0 == self.pair.1 }
    }
}

fn seen(server: &Server, database: &str, traces: &databases::Traces) -> Result<Undoable, RestoreError> {
    let was_switching = traces.unended.as_ref().is_some_and(|(_, marker)| marker.stage == Stage::Switching);
    let closed = was_switching && traces.live.is_some();
    if let (true, Some((other, _)), Some(live)) = (closed, &traces.unended, &traces.live) {
        switch::trusted(other, live)?;
    }
    let before = if closed { None } else { switch::candidate(traces, database)? };
    let unended = traces.unended.as_ref().filter(|_| closed).map(|(_, marker)| marker);
    let restore = before.map(|(_, marker)| marker).or(unended).map(|marker| marker.restore.clone());
    Ok(Undoable {
        database: database.to_owned(),
        server: server.shown(),
        closed,
        stays_closed: unended.is_some_and(|marker| marker.closed),
        before: before.map(|(database, marker)| (database.name.clone(), marker.clone())),
        restore,
        refusals: Vec::new(),
        pair: (traces.live.as_ref().map(|live| live.oid), before.map(|(database, _)| database.oid)),
    })
}

/// Puts the database that was live before the newest restore back in its place; or, if a swap did not
/// end, only opens the live database again. The restored database is kept under another name.
///
/// # Errors
/// [`RestoreError::NothingToUndo`], [`RestoreError::Busy`], or the server's.
pub async fn undo(server: &Server, database: &str, now: Timestamp) -> Result<Switched, RestoreError> {
    undo_seen(&undoable(server, database).await?, server, now).await
}

/// [`undo`] of exactly what was `shown` to a person before.
///
/// # Errors
/// As [`undo`], and [`RestoreError::Refused`] if other databases are in their places by now.
pub async fn undo_seen(shown: &Undoable, server: &Server, now: Timestamp) -> Result<Switched, RestoreError> {
    let database = shown.database.as_str();
    let session = databases::beside(server, database).await?;
    databases::lock(&session, database).await?;
    let mut traces = databases::traces(&session, database).await?;
    let found = seen(server, database, &traces)?;
    if (found.closed, found.pair) != (shown.closed, shown.pair) {
        let why = "the databases changed since the question; of this one nothing was changed: run it again".to_owned();
        return Err(RestoreError::Refused { database: database.to_owned(), reasons: vec![why] });
    }
    let began = Instant::now();
    if let Some(mended) = switch::mend(&session, &traces).await? {
        if found.closed {
            // The old database never left its place: to open it was the way back.
            let seconds = began.elapsed().as_secs_f64();
            return Ok(Switched { seconds, closed: !mended.opened, ..Switched::known(&mended.database, None) });
        }
        traces = databases::traces(&session, database).await?;
    }
    let before = switch::candidate(&traces, database)?.filter(|(before, _)| Some(before.oid) == shown.pair.1);
    let undone = RestoreId::new(now).undone(database);
    let before = before.ok_or(RestoreError::NothingToUndo)?;
    let switched = switch::undo(&session, traces.live.as_ref(), before, (&undone, Stage::Undone)).await;
    let is_lost = session.is_closed();
    // Its database may be the next one that changes its name.
    session.close().await;
    match switched {
        Err(error) if is_lost => find_out(server, shown, &undone, error).await,
        switched => switched,
    }
}

/// What became of the way back if its connection was lost. A live database that it has left closed is opened.
async fn find_out(
    server: &Server,
    shown: &Undoable,
    undone: &str,
    source: RestoreError,
) -> Result<Switched, RestoreError> {
    let database = shown.database.clone();
    let (_session, became) = lost::became(server, &database, shown.pair.1).await;
    let state = match became {
        Lost::Done(traces) => {
            let closed = traces.live.is_some_and(|live| !live.open);
            let kept_as = shown.before.as_ref().map(|(name, _)| name.clone()).filter(|_| shown.pair.0.is_none());
            let undone = kept_as.is_none().then_some(undone);
            return Ok(Switched { closed, kept_as, ..Switched::known(&database, undone) });
        }
        Lost::Not(state) => format!("{state}, and is still the restored one"),
        Lost::Unknown => {
            "may be closed to new sessions; as soon as the server answers, `drctl restore --undo` ends the way back"
                .to_owned()
        }
    };
    Err(RestoreError::LostInSwap { database, state, source: Box::new(source) })
}

/// Takes an undo back: what was restored is live again, and what was live before it is kept again. For undos that belong
/// together, of which a later one could not be done.
///
/// # Errors
/// [`RestoreError::NotReady`] if nobody knows any more what was restored, or the server's.
pub async fn take_back(server: &Server, undone: &Switched) -> Result<(), RestoreError> {
    let Some(name) = &undone.before else { return Ok(()) };
    let database = undone.database.as_str();
    let session = databases::beside(server, database).await?;
    databases::lock(&session, database).await?;
    let all = databases::list(&session).await?;
    let found = all.iter().find(|found| found.name == *name);
    let marker = found.and_then(|found| found.comment.as_deref()).and_then(Marker::parse);
    let known = marker.filter(|marker| marker.stage == Stage::Undone && marker.of == database);
    let known = known.and_then(|marker| RestoreId::parse(&marker.restore).map(|id| (id, marker)));
    let (id, marker) = known.ok_or_else(|| RestoreError::NotReady { database: name.clone() })?;
    let restored = found.map(|found| found.oid);
    let taken_back = switch::again(&session, name, &id, marker).await;
    let is_lost = session.is_closed();
    session.close().await;
    match taken_back {
        Err(source) if is_lost => was_taken_back(server, database, restored, source).await,
        taken_back => taken_back,
    }
}

/// What became of an undo that was to be taken back, if the connection was lost meanwhile.
async fn was_taken_back(
    server: &Server,
    database: &str,
    restored: Option<u32>,
    source: RestoreError,
) -> Result<(), RestoreError> {
    let (_session, became) = lost::became(server, database, restored).await;
    let state = match became {
        Lost::Done(_) => return Ok(()),
        Lost::Not(state) => format!("{state}, and is still the one from before"),
        Lost::Unknown => {
            "may be closed to new sessions; as soon as the server answers, `drctl restore --undo` opens it".to_owned()
        }
    };
    Err(RestoreError::LostInSwap { database: database.to_owned(), state, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undoable(closed: bool, live: Option<u32>, before: Option<u32>) -> Undoable {
        Undoable {
            database: "shop".to_owned(),
            server: "localhost:5432".to_owned(),
            closed,
            stays_closed: false,
            before: None,
            restore: None,
            refusals: Vec::new(),
            pair: (live, before),
        }
    }

    #[test]
    fn an_undo_was_done_once_the_database_from_before_has_its_place_or_the_closed_one_is_open() {
        let shown = undoable(false, Some(1), Some(2));
        assert!(shown.was_done(&undoable(false, Some(2), None)));
        for not in
            [undoable(false, Some(1), Some(2)), undoable(false, None, Some(2)), undoable(false, Some(3), Some(2))]
        {
            assert!(!shown.was_done(&not), "{not:?}");
        }
        // Without one from before nothing could be done.
        assert!(!undoable(false, None, None).was_done(&undoable(false, None, None)));
        let closed = undoable(true, Some(1), None);
        assert!(closed.was_done(&undoable(false, Some(1), None)) && !closed.was_done(&undoable(true, Some(1), None)));
    }
}
