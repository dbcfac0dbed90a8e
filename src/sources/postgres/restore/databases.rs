//! The databases of a server, as a restore sees them from beside.

use super::{
    super::{Error, Server, Session, quote::identifier},
    RestoreError, found,
    journal::{Marker, Stage},
    names::RestoreId,
};

/// Databases that are tried, in this order, for a session that renames others.
const USUAL: [&str; 2] = ["postgres", "template1"];

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its object id, which a rename does not change.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its owner is a superuser.
    pub superuser: bool,
    /// The connecting role is its owner, or a member of its owner.
    pub owned: bool,
    /// Its owner is the connecting role itself.
    pub mine: bool,
    /// It takes connections.
    pub open: bool,
    /// Its tablespace.
    pub tablespace: String,
    /// Its encoding.
    pub encoding: String,
    /// Its size in bytes, where this role may ask.
    pub bytes: Option<u64>,
    /// Sessions in it.
    pub sessions: u64,
    /// Prepared transactions in it: no rename while there is one.
    pub prepared: u64,
    /// Its comment.
    pub comment: Option<String>,
}

impl Database {
    /// Whether what its marker says of `live` can be true: whoever may create databases can make one of any name with
    /// any comment, and only a role that has both could have closed the live one for a swap.
    #[must_use]
    pub fn may_tell_of(&self, live: &Self) -> bool {
        self.owner == live.owner || self.superuser || self.mine
    }

    /// What a restore wrote about it. A comment that does not fit its name was written by somebody else.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.comment.as_deref().and_then(Marker::parse).filter(|marker| marker.is_of(&self.name))
    }
}

/// A session of a database beside `database`: nobody can rename the one that he is in.
///
/// # Errors
/// The error of the last database that was tried.
pub(super) async fn beside(server: &Server, database: &str) -> Result<Session, Error> {
    let mut last = None;
    for name in USUAL.into_iter().filter(|name| *name != database) {
        match server.connect_to(name, "restore").await {
            Ok(session) => {
                session.run("begin a session", "SET default_transaction_read_only TO off").await?;
                return Ok(session);
            }
            Err(error) if error.is_of_the_role() => return Err(error.about(database)),
            Err(error @ Error::Refused { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Unreachable {
        server: server.shown(),
        reason: "there is no other database to work from".to_owned(),
    }))
}

/// All databases but the templates.
pub(super) async fn list(session: &Session) -> Result<Vec<Database>, Error> {
    let sql = "SELECT d.oid, d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text, \
         pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datallowconn, \
         pg_catalog.pg_encoding_to_char(d.encoding)::text, \
         CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) END, \
         (SELECT count(*) FROM pg_catalog.pg_stat_activity a \
          WHERE a.datid = d.oid AND a.usesysid IS NOT NULL), \
         (SELECT count(*) FROM pg_catalog.pg_prepared_xacts p WHERE p.database = d.datname), \
         pg_catalog.shobj_description(d.oid, 'pg_database'), \
         coalesce((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = d.datdba), false), \
         pg_catalog.pg_get_userbyid(d.datdba) = current_user, \
         coalesce((SELECT t.spcname::text FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace), '') \
         FROM pg_catalog.pg_database d WHERE NOT d.datistemplate ORDER BY d.datname";
    let rows = session.rows("list the databases", sql, &[]).await?;
    // A name that is no text is nobody's that this restore has to do with.
    Ok(rows.iter().filter_map(|row| of_row(row).ok()).collect())
}

fn of_row(row: &tokio_postgres::Row) -> Result<Database, tokio_postgres::Error> {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Database {
        oid: row.try_get(0)?,
        name: row.try_get(1)?,
        owner: row.try_get(2)?,
        owned: row.try_get(3)?,
        open: row.try_get(4)?,
        encoding: row.try_get(5)?,
        bytes: row.try_get::<_, Option<i64>>(6)?.map(unsigned),
        sessions: unsigned(row.try_get(7)?),
        prepared: unsigned(row.try_get(8)?),
        comment: row.try_get(9)?,
        superuser: row.try_get(10)?,
        mine: row.try_get(11)?,
        tablespace: row.try_get(12)?,
    })
}

/// What earlier restores of one database have left on the server.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces {
    /// The live database.
    pub(super) live: Option<Database>,
    /// The live database is closed because a swap, or the way back, did not end. This one tells of it.
    pub(super) unended: Option<(Database, Marker)>,
    /// Loaded or half loaded databases of runs that ended before the swap.
    pub(super) abandoned: Vec<(Database, Marker)>,
    /// What was live before, newest first.
    pub(super) replaced: Vec<(Database, Marker)>,
    /// What was restored, and taken out again by an undo.
    pub(super) undone: Vec<(Database, Marker)>,
    /// Databases that only their names tell of: a run that ended between creating and marking leaves one.
    pub(super) unmarked: Vec<(Database, RestoreId)>,
}

impl Traces {
    /// Restored databases that were compared and never swapped in, also those whose swap did not end.
    pub(super) fn kept(&self) -> impl Iterator<Item = &(Database, Marker)> {
        let unended = self.unended.iter().filter(|(_, marker)| marker.stage == Stage::Switching);
        self.abandoned.iter().filter(|(_, marker)| marker.stage != Stage::Loading).chain(unended)
    }

    /// Where those belong that tell of a swap, or a way back, which did not end: it has closed the live database in the same
    /// transaction. Where that is open, the swap was not begun, or somebody has opened it.
    fn place(&mut self, told: Vec<(Database, Marker)>) {
        for (found, marker) in told {
            let Some(live) = self.live.as_ref().filter(|live| live.open) else {
                let is_better = self.live.as_ref().is_none_or(|live| found.may_tell_of(live));
                if is_better || self.unended.is_none() {
                    self.unended = Some((found, marker));
                }
                continue;
            };
            tracing::debug!(database = %live.name, "it is open, and no swap of it is under way");
            match marker.stage {
                Stage::Undoing => self.replaced.push((found, marker.at(Stage::Replaced))),
                _ => self.abandoned.push((found, marker.at(Stage::Ready))),
            }
        }
    }

    /// What was live before the newest restore, also if the way back to it did not end.
    pub(super) fn newest(&self) -> Option<&(Database, Marker)> {
        let unended = self.unended.iter().filter(|(_, marker)| marker.stage == Stage::Undoing);
        self.replaced.iter().chain(unended).max_by(|(_, one), (_, other)| one.restore.cmp(&other.restore))
    }
}

/// Looks for them.
pub(super) async fn traces(session: &Session, database: &str) -> Result<Traces, Error> {
    let (mut traces, mut unended) = (Traces::default(), Vec::new());
    for found in list(session).await? {
        if found.name == database {
            traces.live = Some(found);
            continue;
        }
        let Some(marker) = found.marker().filter(|marker| marker.of == database) else {
            let id = RestoreId::of_scratch(&found.name, database).filter(|_| found.comment.is_none());
            traces.unmarked.extend(id.map(|id| (found, id)));
            continue;
        };
        match marker.stage {
            Stage::Switching | Stage::Undoing => unended.push((found, marker)),
            Stage::Loading | Stage::Differs | Stage::Ready => traces.abandoned.push((found, marker)),
            Stage::Replaced => traces.replaced.push((found, marker)),
            Stage::Undone => traces.undone.push((found, marker)),
        }
    }
    traces.place(unended);
    traces.replaced.sort_by(|(_, one), (_, other)| other.restore.cmp(&one.restore));
    Ok(traces)
}

/// The same with what is unmarked and holds nothing among the half loaded: nothing is lost with it.
pub(super) async fn traces_of(server: &Server, session: &Session, database: &str) -> Result<Traces, Error> {
    let mut traces = traces(session, database).await?;
    for (found, id) in std::mem::take(&mut traces.unmarked) {
        // Nobody was ever in one that is still closed, as it was created: it is looked at before it is dropped.
        let holds_nothing = !found.open || found::found(server, &found.name).await.is_ok_and(|found| found.is_empty());
        if found.owned && holds_nothing {
            let (restore, of) = (id.as_str().to_owned(), database.to_owned());
            let marker =
                Marker { restore, backup: String::new(), of, stage: Stage::Loading, comment: None, closed: false };
            traces.abandoned.push((found, marker));
        }
    }
    Ok(traces)
}

/// Roles whose sessions in a database the connecting one may not end.
pub(super) async fn strangers(session: &Session, database: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT DISTINCT a.usename::text FROM pg_catalog.pg_stat_activity a \
         JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid \
         WHERE a.datname = $1 AND a.pid <> pg_catalog.pg_backend_pid() \
         AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
         AND (r.rolsuper OR NOT (pg_catalog.pg_has_role(r.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))";
    let rows = session.rows("look at the sessions", sql, &[&database]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Locks of `l` that other sessions have on the key `$1`. The server keeps such locks per database, and runs may sit in
/// different ones: one may not be let into the first of the usual ones. Everybody sees who holds which.
const HELD: &str = "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid() \
     AND (l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8 = pg_catalog.hashtextextended($1, 0)";

/// What is locked: the same bytes whatever the encoding of the session's database is.
pub(super) fn key(database: &str) -> String {
    format!("drctl restore {}", database.escape_default())
}

/// Makes sure that no other restore of this database runs, whichever database its session is in. The lock ends with the
/// session.
pub(super) async fn lock(session: &Session, database: &str) -> Result<(), RestoreError> {
    let take = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0))";
    let release = "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1, 0))";
    // Whoever looks after he has taken his own misses nobody.
    let elsewhere = format!("SELECT min(l.pid) FROM pg_catalog.pg_locks l WHERE {HELD}");
    let key = key(database);
    let mut held = false;
    // The session of a run that was killed is gone within moments.
    for _ in 0..20 {
        held = held || session.row("lock the restore", take, &[&key]).await?.get(0);
        if held {
            let other: Option<i32> = session.row("look for other restores", &elsewhere, &[&key]).await?.get(0);
            let Some(other) = other else { return Ok(()) };
            if other < session.pid {
                // Of two that have just come, one steps back.
                session.row("release the lock of the restore", release, &[&key]).await?;
                held = false;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Err(RestoreError::Busy { database: database.to_owned() })
}

/// Whether a restore of this database runs, wherever its session is.
pub(super) async fn is_locked(session: &Session, database: &str) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE {HELD})");
    Ok(session.row("look for other restores", &sql, &[&key(database)]).await?.get(0))
}

/// Removes a database that an earlier restore has left, unless somebody uses it: then it stays, and the
/// answer is `false`. The server waits 5 s for sessions to end.
pub(super) async fn drop_unused(session: &Session, name: &str) -> Result<bool, Error> {
    let sql = format!("DROP DATABASE IF EXISTS {}", identifier(name));
    match session.run("drop a half loaded database", &sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_in_use() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a database that this run has made.
pub(super) async fn drop_database(session: &Session, name: &str) -> Result<(), Error> {
    let force = if session.version.major >= 13 { " WITH (FORCE)" } else { "" };
    session.run("drop the scratch database", &format!("DROP DATABASE IF EXISTS {}{force}", identifier(name))).await
}
