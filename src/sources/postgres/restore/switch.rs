//! The swap: the restored database takes the live one's name, and the way back.
//!
//! Two transactions. The first closes the live database to new sessions and writes so into the marker;
//! then its sessions are ended; the second renames both databases, moves the markers on and opens them.
//! Clients see the old database, then none, then the new one, never a mixture. After a crash the marker
//! tells which of the two was done: [`mend`] opens the live database again where only the first was.

use std::time::Instant;

use super::{
    super::{
        Error, Session,
        quote::{identifier, literal, readable},
    },
    RestoreError,
    databases::{self, Database, Traces},
    journal::{self, Marker, Stage, own_comment},
    names::RestoreId,
    pause::{self, Point},
    report::Switched,
    sessions::{self, end_sessions},
};

/// A database that changes its name and its marker.
struct Move<'a> {
    from: &'a str,
    to: &'a str,
    comment: Option<String>,
    /// It takes connections afterwards.
    open: bool,
}

impl Move<'_> {
    fn sql(&self) -> String {
        let (from, to) = (identifier(self.from), identifier(self.to));
        let comment = self.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
        format!(
            "ALTER DATABASE {from} RENAME TO {to}; COMMENT ON DATABASE {to} IS {comment}; \
             ALTER DATABASE {to} ALLOW_CONNECTIONS {};",
            self.open
        )
    }
}

/// Puts `scratch` in the place of the live database, which is then called `before`. Where there is no
/// live database, it only takes the name. `comment` is the restored database's own comment.
pub(super) async fn switch(
    session: &Session,
    scratch: &str,
    before: &str,
    comment: Option<String>,
) -> Result<Switched, RestoreError> {
    let all = databases::list(session).await?;
    let find = |name: &str| all.iter().find(|database| database.name == name).cloned();
    let gone = || RestoreError::NotReady { database: scratch.to_owned() };
    let restored = find(scratch).ok_or_else(gone)?;
    let marker = restored.marker().filter(|marker| marker.stage == Stage::Ready).ok_or_else(gone)?;
    let live = marker.of.clone();
    let old = find(&live);
    // Somebody who has closed the live database keeps everybody out of what is in it, the same as of yesterday too.
    let open = old.as_ref().is_none_or(|old| old.open);
    let incoming = Move { from: scratch, to: &live, comment: own_comment(comment), open };
    let began = Instant::now();
    let Some(old) = old else {
        let sql = format!("BEGIN; {} COMMIT", incoming.sql());
        end_sessions(session, &restored).await?;
        in_one_transaction(session, "name the restored database", &sql).await?;
        return Ok(Switched::known(&live, None));
    };
    if let Some(why) = journal::remembers(&old) {
        // It was shorter when the plan was made.
        return Err(RestoreError::Refused { database: live, reasons: vec![why] });
    }
    let replaced = Marker { comment: old.comment.clone(), ..marker.at(Stage::Replaced) };
    let outgoing = Move { from: &live, to: before, comment: Some(replaced.text()), open };
    let ended_sessions = swap(session, &old, &restored, &marker.at(Stage::Switching), &[outgoing, incoming]).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Switched { ended_sessions, seconds, closed: !open, ..Switched::known(&live, Some(before)) })
}

/// Refuses to open a live database because of what another one says that cannot have been made by a swap.
pub(super) fn trusted(other: &Database, live: &Database) -> Result<(), RestoreError> {
    if other.may_tell_of(live) {
        return Ok(());
    }
    let why = format!(
        "it is closed, and database {} says that a swap has closed it, but belongs to {}, and the live one to {}: if it was, \
         ALTER DATABASE {} ALLOW_CONNECTIONS true and run it again; if not, rename or drop that one",
        other.name,
        other.owner,
        live.owner,
        readable(&live.name),
    );
    Err(RestoreError::Refused { database: live.name.clone(), reasons: vec![why] })
}

/// The database that an undo puts back in the place of `database`.
///
/// # Errors
/// [`RestoreError::Refused`] if it belongs to a role that could not have had a database in that place:
/// whoever may create databases can make one of that name with that comment.
pub(super) fn candidate<'t>(
    traces: &'t Traces,
    database: &str,
) -> Result<Option<&'t (Database, Marker)>, RestoreError> {
    let (Some(newest), Some(live)) = (traces.newest(), &traces.live) else { return Ok(traces.newest()) };
    let old = &newest.0;
    if old.owner == live.owner || old.superuser {
        return Ok(Some(newest));
    }
    let why = format!(
        "database {0} says that it was live before, but belongs to {1}, and the live one to {2}: if it was, \
         ALTER DATABASE {3} OWNER TO {4} and undo again; if not, rename or drop it",
        old.name,
        old.owner,
        live.owner,
        readable(&old.name),
        readable(&live.owner),
    );
    Err(RestoreError::Refused { database: database.to_owned(), reasons: vec![why] })
}

/// Puts `old`, which was live before the newest swap, back in its place; what is live is called `name` then, at
/// this stage. Where nothing is in that place, it only takes the name.
pub(super) async fn undo(
    session: &Session,
    live: Option<&Database>,
    (old, marker): &(Database, Marker),
    (name, stage): (&str, Stage),
) -> Result<Switched, RestoreError> {
    let began = Instant::now();
    let Some(live) = live else {
        let comment = own_comment(marker.comment.clone());
        let back = Move { from: &old.name, to: &marker.of, comment, open: old.open };
        let ended_sessions = end_sessions(session, old).await?;
        in_one_transaction(session, "put the database back", &format!("BEGIN; {} COMMIT", back.sql())).await?;
        let seconds = began.elapsed().as_secs_f64();
        let (closed, kept_as) = (!old.open, Some(old.name.clone()));
        return Ok(Switched { ended_sessions, seconds, closed, kept_as, ..Switched::known(&marker.of, None) });
    };
    // What goes back beside the live one as it was gets its comment from the backup, and is to be read again.
    let comment = live.comment.clone().filter(|_| stage != Stage::Ready);
    let out = Marker { comment, closed: false, ..marker.at(stage) };
    let stays_open = live.open || stage == Stage::Ready;
    let moves = [
        Move { from: &live.name, to: name, comment: Some(out.text()), open: stays_open },
        Move { from: &old.name, to: &live.name, comment: own_comment(marker.comment.clone()), open: live.open },
    ];
    let ended_sessions = swap(session, live, old, &marker.at(Stage::Undoing), &moves).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Switched { ended_sessions, seconds, closed: !live.open, ..Switched::known(&live.name, Some(name)) })
}

/// Swaps `undone`, which an undo has put beside the live database, in again: it is called as it was before its first swap,
/// so that a crash leaves nothing that the next run does not know.
pub(super) async fn again(session: &Session, undone: &str, id: &RestoreId, marker: Marker) -> Result<(), RestoreError> {
    let (scratch, before) = (id.scratch(&marker.of), id.before(&marker.of));
    let own = marker.comment.clone();
    let ready = Marker { comment: None, ..marker.at(Stage::Ready) };
    let back = Move { from: undone, to: &scratch, comment: Some(ready.text()), open: true };
    in_one_transaction(session, "take the undo back", &format!("BEGIN; {} COMMIT", back.sql())).await?;
    switch(session, &scratch, &before, own).await?;
    Ok(())
}

/// Takes the name away again from a database that had a place to itself. It is not closed meanwhile: nothing would
/// tell the next run of that.
pub(super) async fn give_back(
    session: &Session,
    live: &Database,
    name: &str,
    marker: &Marker,
) -> Result<Switched, RestoreError> {
    const TRIES: u32 = 5;
    let began = Instant::now();
    let back = Move { from: &live.name, to: name, comment: Some(marker.text()), open: true };
    let mut tries = 1;
    loop {
        let ended_sessions = end_sessions(session, live).await?;
        match in_one_transaction(session, "give the name back", &format!("BEGIN; {} COMMIT", back.sql())).await {
            Ok(()) => {
                let seconds = began.elapsed().as_secs_f64();
                return Ok(Switched { ended_sessions, seconds, ..Switched::known(&live.name, Some(name)) });
            }
            Err(error) if tries == TRIES || !error.is_in_use() => return Err(error.into()),
            Err(_) => tries += 1,
        }
    }
}

/// Closes `live`, ends its sessions and those of `incoming`, and does the moves. If that fails, `live`
/// is under its name as open as it was.
async fn swap(
    session: &Session,
    live: &Database,
    incoming: &Database,
    marker: &Marker,
    moves: &[Move<'_>],
) -> Result<u64, RestoreError> {
    // Before anything is closed, too: whoever wants in meanwhile would be turned away for nothing.
    sessions::refuse_locks(session, live).await?;
    let marker = Marker { closed: !live.open, ..marker.clone() };
    let close = format!(
        "BEGIN; ALTER DATABASE {} ALLOW_CONNECTIONS false; COMMENT ON DATABASE {} IS {}; COMMIT",
        identifier(&live.name),
        identifier(&incoming.name),
        literal(&marker.text()),
    );
    in_one_transaction(session, "close the live database", &close).await?;
    let swapped = renamed(session, live, incoming, moves).await;
    if swapped.is_err() && !session.is_closed() {
        // The error to report is the first one; the next run mends what this cannot.
        let back = incoming.marker().unwrap_or_else(|| marker.clone());
        if let Err(error) = opened(session, &live.name, &incoming.name, &back, live.open).await {
            tracing::warn!(%error, "the live database could not be opened again; run the restore again, or --undo");
        }
    }
    swapped
}

async fn renamed(
    session: &Session,
    live: &Database,
    incoming: &Database,
    moves: &[Move<'_>],
) -> Result<u64, RestoreError> {
    pause::at(Point::Closed).await;
    let ended = end_sessions(session, live).await?;
    end_sessions(session, incoming).await?;
    pause::at(Point::Ended).await;
    let steps: String = moves.iter().map(Move::sql).collect();
    in_one_transaction(session, "swap the databases", &format!("BEGIN; {steps} COMMIT")).await?;
    pause::at(Point::Swapped).await;
    Ok(ended)
}

/// Makes the live database as open as it was, and puts the marker of the other one back to `back`.
async fn opened(session: &Session, live: &str, other: &str, back: &Marker, open: bool) -> Result<(), Error> {
    let sql = format!(
        "BEGIN; ALTER DATABASE {} ALLOW_CONNECTIONS {open}; COMMENT ON DATABASE {} IS {}; COMMIT",
        identifier(live),
        identifier(other),
        literal(&back.text()),
    );
    in_one_transaction(session, "open the live database", &sql).await
}

/// What [`mend`] has done.
#[derive(Debug)]
pub(super) struct Mended {
    /// The live database.
    pub(super) database: String,
    /// It takes connections again. Where somebody had closed it before the swap, it does not.
    pub(super) opened: bool,
}

/// Undoes the first half of a swap whose second half never came, if there is one.
///
/// # Errors
/// [`RestoreError::Refused`] if nobody can know that it was a swap which has closed it, or the server's.
pub(super) async fn mend(session: &Session, traces: &Traces) -> Result<Option<Mended>, RestoreError> {
    let (Some((other, marker)), Some(live)) = (&traces.unended, &traces.live) else { return Ok(None) };
    trusted(other, live)?;
    let stage = if marker.stage == Stage::Switching { Stage::Ready } else { Stage::Replaced };
    let back = Marker { closed: false, ..marker.at(stage) };
    opened(session, &live.name, &other.name, &back, !marker.closed).await?;
    Ok(Some(Mended { database: live.name.clone(), opened: !marker.closed }))
}

/// Runs a transaction; after an error none is open.
async fn in_one_transaction(session: &Session, doing: &str, sql: &str) -> Result<(), Error> {
    let done = session.run(doing, sql).await;
    if done.is_err() {
        // Without a connection this fails too, and the server has rolled back by itself.
        let _rolled_back = session.run("roll back", "ROLLBACK").await;
    }
    done
}
