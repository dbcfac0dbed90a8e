//! What earlier restores of a database have left on its server, for people.

use super::{
    super::{Error, Server, Session, quote::readable},
    databases,
    journal::{Marker, Stage},
    plan::{PlanOptions, Way},
    preflight::{Findings, Target},
};

/// What earlier restores have left. `scratch` is this one's.
pub(super) fn check(findings: &mut Findings, options: &PlanOptions, target: &Target, scratch: &str) {
    if let Some((other, marker)) = &target.traces.unended {
        let then = if marker.closed { "it stays closed, as it was before" } else { "it is opened again first" };
        let whose = if marker.stage == Stage::Undoing { "the undo of restore" } else { "restore" };
        findings.warn(format!(
            "database {} is closed, because {whose} {} did not end its swap with {}: {then}",
            target.database, marker.restore, other.name
        ));
    }
    let is_there = || target.traces.kept().any(|(database, _)| database.name == scratch);
    if options.kept && !is_there() {
        findings.refuse(format!("database {scratch} is not there any more: restore from the backup again"));
    }
    for (database, marker) in target.traces.abandoned.iter().filter(|(database, _)| database.name != scratch) {
        let drop = format!("DROP DATABASE {};", readable(&database.name));
        match marker.stage {
            Stage::Loading if matches!(options.way, Way::Beside | Way::Create) && !options.kept => findings.warn(format!(
                "database {} was left half loaded by restore {}: it is dropped first",
                database.name, marker.restore
            )),
            Stage::Ready => findings.warn(format!(
                "database {} is left of restore {}, which never swapped it in: `drctl restore --switch` does, or {drop}",
                database.name, marker.restore
            )),
            _ => findings.warn(format!("database {} is left of restore {}: {drop}", database.name, marker.restore)),
        }
    }
    for (database, marker) in &target.traces.undone {
        let drop = format!("DROP DATABASE {};", readable(&database.name));
        findings
            .warn(format!("database {} was taken out by an undo of restore {}: {drop}", database.name, marker.restore));
    }
    for (database, _) in &target.traces.replaced {
        let drop = format!("DROP DATABASE {};", readable(&database.name));
        findings.warn(format!("database {} was live before an earlier restore: {drop}", database.name));
    }
}

/// Something on the server that an earlier restore of a database has left there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// What earlier restores of `database` have left on the server of this session. Of a restore that runs, nothing is said:
/// its databases are at work. Nothing is written.
///
/// # Errors
/// The server's.
pub async fn remains(session: &Session, database: &str) -> Result<Vec<Remains>, Error> {
    if databases::is_locked(session, database).await? {
        return Ok(Vec::new());
    }
    let traces = databases::traces(session, database).await?;
    let mut all = Vec::new();
    let mut add = |what: String, next: String| all.push(Remains { what, next });
    let drop = |name: &str| format!("DROP DATABASE {};", readable(name));
    if let (Some((other, marker)), Some(_)) = (&traces.unended, &traces.live) {
        let (state, whose, next) = unended(marker);
        let restore = &marker.restore;
        add(
            format!("database `{database}` {state}: {whose} {restore} did not end its swap with `{}`", other.name),
            next.to_owned(),
        );
    }
    for (left, marker) in &traces.abandoned {
        let (name, restore) = (&left.name, &marker.restore);
        match marker.stage {
            Stage::Loading => add(
                format!("database `{name}` was left half loaded by restore {restore}, which did not end"),
                format!("the next restore drops it, and so does {}", drop(name)),
            ),
            Stage::Ready => add(
                format!("database `{name}` is left of restore {restore}, which never swapped it in"),
                format!("`drctl restore --switch` swaps it in; if it is not wanted: {}", drop(name)),
            ),
            _ => add(
                format!("database `{name}` is left of restore {restore}, which has found it different from the backup"),
                format!("once it is not wanted any more: {}", drop(name)),
            ),
        }
    }
    for (left, id) in &traces.unmarked {
        add(
            format!("database `{}` has the name of one that restore {} creates, and no more", left.name, id.as_str()),
            format!("look at it; the next restore drops it if it holds nothing, and so does {}", drop(&left.name)),
        );
    }
    for (left, marker) in &traces.undone {
        add(
            format!("database `{}` was restored by {}, and taken out again by an undo", left.name, marker.restore),
            format!("once it is not wanted any more: {}", drop(&left.name)),
        );
    }
    for (left, marker) in &traces.replaced {
        add(
            format!("database `{}` was live until restore {}", left.name, marker.restore),
            format!(
                "`drctl restore --undo` puts the newest one back; once it is not wanted any more: {}",
                drop(&left.name)
            ),
        );
    }
    Ok(all)
}

/// Of a swap that did not end: how the live database is, whose swap it was, and what to do.
fn unended(marker: &Marker) -> (&'static str, &'static str, &'static str) {
    match (marker.stage, marker.closed) {
        (Stage::Undoing, closed) => (
            if closed { "was not put back" } else { "is closed" },
            "the undo of restore",
            "`drctl restore --undo` ends the way back",
        ),
        (_, true) => (
            "was not swapped",
            "restore",
            "`drctl restore --switch` ends the swap, and `drctl restore --undo` takes it back; it stays closed, as it was before",
        ),
        (_, false) => (
            "is closed",
            "restore",
            "`drctl restore --undo` opens it again, and `drctl restore --switch` ends the swap",
        ),
    }
}

/// [`remains`] of a database that lets nobody in, seen from beside.
///
/// # Errors
/// The server's.
pub async fn remains_beside(server: &Server, database: &str) -> Result<Vec<Remains>, Error> {
    let session = databases::beside(server, database).await?;
    let found = remains(&session, database).await;
    session.close().await;
    found
}
