//! What earlier restores of a database have left on its server, for people.

use super::{
    super::{Error, Server, Session, quote::readable},
    databases::{self, Traces},
    journal::{Marker, Stage},
    plan::{PlanOptions, Way},
    preflight::{Findings, Target},
};
use crate::types::counted;

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
    let drops = matches!(options.way, Way::Beside | Way::Create) && !options.kept;
    for (name, stage, Remains { what, next }) in beside(&target.traces) {
        match stage {
            _ if name == scratch => {}
            Stage::Loading if drops => findings.warn(dropped(&target.traces, name, &what, &next)),
            _ => findings.warn(format!("{what}: {next}")),
        }
    }
}

/// What becomes of a half loaded database: it goes, unless that would take something from somebody.
fn dropped(traces: &Traces, name: &str, what: &str, next: &str) -> String {
    let Some((half, marker)) = traces.abandoned.iter().find(|(half, _)| half.name == name) else {
        return format!("{what}: {next}");
    };
    if !half.owned {
        return format!(
            "{what}, and belongs to {}, who alone may drop it: it stays; DROP DATABASE {};",
            half.owner,
            readable(name)
        );
    }
    // Of a run that was killed before it could say whose it is, only the name tells.
    let condition = match (marker.backup.is_empty(), half.open) {
        (true, false) => "if it holds nothing, and nobody uses it by then",
        _ => "if nobody uses it by then",
    };
    let now = if half.sessions == 0 { String::new() } else { format!(" ({} now)", counted(half.sessions, "session")) };
    format!("{what}: it is dropped first, {condition}{now}")
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
    if let (Some((other, marker)), Some(_)) = (&traces.unended, &traces.live) {
        let (state, whose, next) = unended(marker);
        let restore = &marker.restore;
        all.push(Remains {
            what: format!(
                "database `{database}` {state}: {whose} {restore} did not end its swap with `{}`",
                other.name
            ),
            next: next.to_owned(),
        });
    }
    all.extend(beside(&traces).map(|(_, _, remains)| remains));
    for (left, id) in &traces.unmarked {
        all.push(Remains {
            what: format!(
                "database `{}` has the name of one that restore {} creates, and no more",
                left.name,
                id.as_str()
            ),
            next: format!(
                "look at it; the next restore drops it if it holds nothing, and so does {}",
                drop_of(&left.name)
            ),
        });
    }
    Ok(all)
}

fn drop_of(name: &str) -> String {
    format!("DROP DATABASE {};", readable(name))
}

/// The databases beside the live one that a restore has marked, by their names.
fn beside(traces: &Traces) -> impl Iterator<Item = (&str, Stage, Remains)> {
    let all = traces.abandoned.iter().chain(&traces.undone).chain(&traces.replaced);
    all.map(|(left, marker)| {
        let (name, restore, drop) = (left.name.as_str(), &marker.restore, drop_of(&left.name));
        let unwanted = format!("once it is not wanted any more: {drop}");
        let (what, next) = match marker.stage {
            Stage::Loading => (
                format!("was left half loaded by restore {restore}, which did not end"),
                format!("the next restore drops it, and so does {drop}"),
            ),
            Stage::Ready => (
                format!("is left of restore {restore}, which never swapped it in"),
                format!("`drctl restore --switch` swaps it in; if it is not wanted: {drop}"),
            ),
            Stage::Undone => (format!("was restored by {restore}, and taken out again by an undo"), unwanted),
            Stage::Replaced => (
                format!("was live until restore {restore}"),
                format!("`drctl restore --undo` puts the newest one back; {unwanted}"),
            ),
            _ => (format!("is left of restore {restore}, which has found it different from the backup"), unwanted),
        };
        (name, marker.stage, Remains { what: format!("database `{name}` {what}"), next })
    })
}

/// Of a swap that did not end: how the live database is, whose swap it was, and what to do.
pub(super) fn unended(marker: &Marker) -> (&'static str, &'static str, &'static str) {
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
