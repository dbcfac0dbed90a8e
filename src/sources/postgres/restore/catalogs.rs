//! The restored catalogs against the archive's table of contents.
//!
//! `pg_dump` is asked what it would dump of the restored database, and its table of contents is held
//! against the backup's: each entry by what it is, its name, owner and grants, and its definition. So
//! an index that is missing or not valid, a trigger that is off, or a constraint that was not checked
//! is seen: `pg_dump` writes each of them in another way, or not at all. Definitions are texts: those that are not
//! equal as they are, because a server writes what it has read in words of its own, are held against those of a twin.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    process::Stdio,
    sync::Arc,
};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Error, Server,
        archive::{Entry, Event, Field, Splitter, Toc},
        tools::Tool,
    },
    RestoreError, build,
    report::Difference,
    selection::{self, Turn},
};

/// The table of contents that `pg_dump` writes of `database` now. It is ended before the rows.
pub(super) async fn read(
    tool: &Tool,
    server: &Server,
    database: &str,
    cancel: &CancellationToken,
) -> Result<Arc<Toc>, RestoreError> {
    let doing = "read the restored catalogs";
    let (mut command, _password) = tool.command_for(server, database)?;
    let options = build::options(&[("quote_all_identifiers", "off"), ("standard_conforming_strings", "on")]);
    command.env("PGOPTIONS", options + server.silence());
    command.arg("-d").arg(build::connection_string(database));
    command.args(["-Fc", "-Z0", "--no-sync"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| tool.not_started(error))?;
    let (Some(mut out), Some(words)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(RestoreError::Interrupted);
    };
    let said = tokio::spawn(drained(words));
    let reading = async {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = out.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return Ok(None);
            }
            let piece = buffer.get(..length).unwrap_or_default();
            splitter.push(bytes::Bytes::copy_from_slice(piece));
            if let Some(Event::Toc(toc)) = splitter.next_event()? {
                return Ok::<_, super::super::archive::Error>(Some(toc));
            }
        }
    };
    let read = tokio::select! {
        read = reading => read,
        () = cancel.cancelled() => return Err(RestoreError::Interrupted),
    };
    let toc = read.map_err(|error| Error::Tool {
        program: tool.program.name(),
        doing: doing.to_owned(),
        status: "its output is not understood".to_owned(),
        stderr: error.to_string(),
    })?;
    if let Some(toc) = toc {
        // What follows is rows, and nobody wants them.
        let _killed = child.kill().await;
        return Ok(toc);
    }
    let stderr = said.await.unwrap_or_default();
    let status = child.wait().await.map_err(|source| Error::Local { doing: doing.to_owned(), source })?;
    Err(tool.failed(doing, status, &stderr).into())
}

/// What a program says, its first 64 KiB. All of it is read, or the program would wait for that.
async fn drained(mut words: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let _read = (&mut words).take(64 * 1024).read_to_end(&mut kept).await;
    let _rest = tokio::io::copy(&mut words, &mut tokio::io::sink()).await;
    kept
}

/// How strictly is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strictness {
    /// Owners and grants too.
    pub(super) owners: bool,
    /// Both were written by the same major version: what is there in addition is a difference without a doubt.
    pub(super) same_major: bool,
    /// There was nothing before: what is there in addition is a difference.
    pub(super) nothing_else: bool,
}

/// What the comparison of catalogs found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) entries: u64,
    pub(super) differences: Vec<Difference>,
    pub(super) notes: Vec<String>,
    /// What is written in another way than in the archive: only the server itself can say whether it is the same.
    pub(super) unproven: Vec<Difference>,
}

type Key<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn key<'a>(entry: &Entry<'a>) -> Key<'a> {
    let bytes = |field| entry.bytes(field).unwrap_or_default();
    (bytes(Field::Description), bytes(Field::Namespace), bytes(Field::Tag))
}

/// Entries that are rows or the like.
const NO_OBJECTS: [&str; 4] = ["BLOBS", "BLOB COMMENTS", "STATISTICS DATA", "SEQUENCE SET"];

fn by_key(toc: &Toc) -> HashMap<Key<'_>, Vec<Entry<'_>>> {
    let mut all: HashMap<Key<'_>, Vec<Entry<'_>>> = HashMap::new();
    toc.entries().for_each(|entry| all.entry(key(&entry)).or_default().push(entry));
    all
}

/// Holds `found` against the entries `wanted` of `expected`, text by text. Where they are not equal, `twin` says what the
/// server that wrote `found` makes of the archive's own statements; nothing else makes two definitions equal.
pub(super) fn compare(
    expected: &Toc,
    wanted: &[u32],
    found: &Toc,
    twin: Option<&Toc>,
    strictness: Strictness,
) -> Compared {
    let mut compared = Compared::default();
    let mut there = by_key(found);
    let twins = twin.map(by_key);
    let is_in_twin = |entry: &Entry<'_>| twins.as_ref().is_some_and(|twins| twins.contains_key(&key(entry)));
    let is_as_in_twin = |entry: &Entry<'_>| {
        let alike = twins.as_ref().and_then(|twins| twins.get(&key(entry)));
        alike.is_some_and(|alike| alike.iter().any(|twin| same_definition(twin, entry)))
    };
    let mut large_objects = 0u64;
    for entry in wanted.iter().filter_map(|id| expected.entry(*id)) {
        let description = entry.description();
        if NO_OBJECTS.contains(&description.as_ref()) {
            continue;
        }
        if !strictness.same_major && is_of_large_objects(&entry) {
            // Versions differ in which large objects they list together.
            large_objects += 1;
            continue;
        }
        compared.entries += 1;
        let what = selection::named(&entry);
        let is_there_anyway = selection::is_there_anyway(&entry);
        let Some(others) = there.get_mut(&key(&entry)).filter(|others| !others.is_empty()) else {
            // All of the database is asked for here, and then `pg_dump` names it only if it was changed.
            if is_there_anyway {
                continue;
            }
            compared.differences.push(Difference { what, how: "it is missing, or not valid".to_owned() });
            continue;
        };
        let nearest = others.iter().position(|other| same_definition(&entry, other));
        let nearest = nearest.or_else(|| others.iter().position(is_as_in_twin)).unwrap_or(0);
        let other = others.swap_remove(nearest);
        if strictness.owners && entry.owner() != other.owner() {
            let how = format!("its owner is {}, and in the backup {}", other.owner(), entry.owner());
            compared.differences.push(Difference { what: what.clone(), how });
        }
        if is_there_anyway || same_definition(&entry, &other) || is_as_in_twin(&other) {
            continue;
        }
        let (list, how) = match (twin, is_in_twin(&entry)) {
            (None, _) => (&mut compared.unproven, "its definition is written in another way"),
            (Some(_), true) => (&mut compared.differences, "its definition is another"),
            (Some(_), false) => {
                (&mut compared.differences, "its definition is another, or could not be made again to be compared")
            }
        };
        list.push(Difference { what, how: how.to_owned() });
    }
    if large_objects > 0 {
        compared.notes.push("owners and grants of large objects are not compared between versions".to_owned());
    }
    let more = there.into_values().flatten().filter(|entry| !is_as_in_twin(entry));
    let more: Vec<Entry<'_>> = more.filter(|entry| strictness.same_major || !is_of_large_objects(entry)).collect();
    let mut is_more = |what: String, how: &str| {
        let may_be_none = twin.is_none() && !strictness.same_major;
        let list = if may_be_none { &mut compared.unproven } else { &mut compared.differences };
        list.push(Difference { what, how: how.to_owned() });
    };
    if strictness.nothing_else {
        let found = more.iter().filter(|entry| is_worth_a_word(entry)).map(selection::named);
        found.for_each(|what| is_more(what, "it is not in the backup"));
    } else if strictness.owners {
        // What was there before is not the restore's, but what was granted on the restored objects is.
        let made = wanted.iter().filter_map(|id| expected.entry(*id)).filter(|entry| !selection::is_grant(entry));
        let made: HashSet<_> = made.map(|entry| (entry.namespace(), entry.tag())).collect();
        let found = more.iter().filter(|entry| is_of_one(entry, &made)).map(selection::named);
        found.for_each(|what| is_more(what, "the backup has no grants on it"));
    }
    compared.differences.sort_by(|one, other| one.what.cmp(&other.what));
    compared.notes.sort();
    compared
}

/// Whether an entry is grants on one of the objects `made`, by schema and name: on `TABLE a`, or on its `COLUMN a.b`.
fn is_of_one(grants: &Entry<'_>, made: &HashSet<(Cow<'_, str>, Cow<'_, str>)>) -> bool {
    let (namespace, tag) = (grants.namespace(), grants.tag());
    let Some((kind, name)) = tag.split_once(' ').filter(|_| grants.description() == "ACL") else { return false };
    let is_made = |name: &str| made.contains(&(Cow::Borrowed(namespace.as_ref()), Cow::Borrowed(name)));
    let mut tables = name.match_indices('.').filter_map(|(dot, _)| name.get(..dot));
    is_made(name) || kind == "COLUMN" && tables.any(is_made)
}

pub(super) fn is_of_large_objects(entry: &Entry<'_>) -> bool {
    let belongs = || entry.bytes(Field::Tag).is_some_and(|tag| tag.starts_with(b"LARGE OBJECT"));
    match entry.description().as_ref() {
        "BLOB" | "BLOB METADATA" => true,
        "ACL" | "COMMENT" | "SECURITY LABEL" => belongs(),
        _ => false,
    }
}

/// Comments come with extensions, and rows of tables whose rows were left out are none.
fn is_worth_a_word(entry: &Entry<'_>) -> bool {
    let description = entry.description();
    let is_none = NO_OBJECTS.contains(&description.as_ref())
        || matches!(description.as_ref(), "COMMENT" | "TABLE DATA" | "MATERIALIZED VIEW DATA");
    !is_none && selection::turn(entry) != Turn::Ours
}

fn same_definition(one: &Entry<'_>, other: &Entry<'_>) -> bool {
    let (one_sql, other_sql) = (one.text(Field::Definition), other.text(Field::Definition));
    if one_sql == other_sql || !selection::is_grant(one) {
        return one_sql == other_sql;
    }
    // The order of grants says nothing.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    sorted(&one_sql) == sorted(&other_sql)
}
