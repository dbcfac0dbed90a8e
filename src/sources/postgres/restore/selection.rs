//! Which entries of the archive are restored, when, and which are left out and why.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        archive::{Entry, Field, Section, Toc},
        contents::Lacking,
    },
    report::LeftOut,
    table_sql::table_name,
};

/// When an entry's turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before the rows: made by `pg_restore`.
    Before,
    /// After the rows, by `pg_restore`: indexes, constraints, triggers, and all grants, which could
    /// otherwise take from us the right to load.
    After,
    /// Last: materialized views are filled, and event triggers would see all the rest.
    Last,
    /// Rows, large objects, values of sequences, and the database itself: drctl brings them.
    Ours,
}

/// What is known about an entry's turn from what it is.
pub(super) fn turn(entry: &Entry<'_>) -> Turn {
    let description = entry.description();
    match description.as_ref() {
        "ENCODING"
        | "STDSTRINGS"
        | "SEARCHPATH"
        | "DATABASE"
        | "DATABASE PROPERTIES"
        | "TABLE DATA"
        | "BLOBS"
        | "BLOB COMMENTS"
        | "SEQUENCE SET"
        | "STATISTICS DATA" => Turn::Ours,
        "ACL" | "COMMENT" | "SECURITY LABEL"
            if entry.bytes(Field::Tag).is_some_and(|tag| tag.starts_with(b"DATABASE ")) =>
        {
            Turn::Ours
        }
        "ACL" | "DEFAULT ACL" | "COMMENT" | "SECURITY LABEL" => Turn::After,
        "BLOB" | "BLOB METADATA" => Turn::Before,
        "MATERIALIZED VIEW DATA" | "EVENT TRIGGER" => Turn::Last,
        _ if entry.section() == Section::PostData => Turn::After,
        _ => Turn::Before,
    }
}

/// What the target and its role can take.
#[derive(Debug, Clone, Default)]
pub(super) struct Abilities {
    pub(super) superuser: bool,
    /// Extensions that can be made here, and whether this role may.
    pub(super) extensions: HashMap<String, bool>,
    /// Grants are wanted.
    pub(super) grants: bool,
}

/// Entries by their dump ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
    pub(super) last: Vec<u32>,
    /// Foreign keys to rows that the policy excluded, and what depends on them: made after all others, or left out.
    pub(super) doubtful: Vec<u32>,
    /// What every database has from its beginning, and a dump of chosen schemas has all the same: schema `public`.
    pub(super) there: Vec<u32>,
    /// Large objects are among `before`.
    pub(super) out: HashSet<u32>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Selection {
    /// All entries that are made, in the order of their turns.
    pub(super) fn made(&self) -> Vec<u32> {
        [&self.before, &self.after, &self.doubtful, &self.last].into_iter().flatten().copied().collect()
    }
}

/// Chooses. What depends on something that is left out is left out too, and named; so is what the backup records to
/// lack something that the policy excluded.
pub(super) fn select(toc: &Toc, abilities: &Abilities, lacking: &[Lacking]) -> Selection {
    let mut selection = Selection::default();
    let lacking: HashMap<u32, &Lacking> = lacking.iter().map(|it| (it.dump_id, it)).collect();
    for entry in toc.entries() {
        let lacks = lacking.get(&entry.dump_id());
        let reason = impossible(&entry, abilities);
        let reason = reason.or_else(|| {
            let root = "what it would be attached to was excluded from the backup";
            toc.attaches_to_nothing(&entry).then(|| root.to_owned())
        });
        let reason = reason.or_else(|| lacks.filter(|it| !it.rows_only).map(|it| it.why.clone())).or_else(|| {
            let on = entry.dependencies().find(|id| selection.out.contains(id));
            let on = on.or_else(|| server_of_mapping(&entry, toc).filter(|id| selection.out.contains(id)))?;
            let what = toc.entry(on).map_or_else(|| on.to_string(), |entry| named(&entry));
            Some(format!("it depends on {what}"))
        });
        let reason = reason.or_else(|| root_is_out(&entry, toc, &selection.out));
        if let Some(why) = reason {
            selection.out.insert(entry.dump_id());
            selection.left_out.push(LeftOut { what: named(&entry), why });
            continue;
        }
        if is_there_anyway(&entry) {
            selection.there.push(entry.dump_id());
            continue;
        }
        // A comment on what comes last cannot come before it.
        let late = entry.dependencies().any(|id| selection.last.contains(&id));
        if lacks.is_some() || entry.dependencies().any(|id| selection.doubtful.contains(&id)) {
            selection.doubtful.push(entry.dump_id());
            continue;
        }
        match turn(&entry) {
            Turn::After if late => selection.last.push(entry.dump_id()),
            Turn::Before => selection.before.push(entry.dump_id()),
            Turn::After if abilities.grants || !is_grant(&entry) => selection.after.push(entry.dump_id()),
            Turn::Last => selection.last.push(entry.dump_id()),
            Turn::After | Turn::Ours => {}
        }
    }
    selection
}

pub(super) fn is_grant(entry: &Entry<'_>) -> bool {
    matches!(entry.description().as_ref(), "ACL" | "DEFAULT ACL")
}

/// An entry for people: `INDEX public orders_pkey`.
pub(super) fn named(entry: &Entry<'_>) -> String {
    entry.shown()
}

/// Whether a new database has it: a dump of chosen schemas makes `public` and its comment; one of all of a database
/// does not.
pub(super) fn is_there_anyway(entry: &Entry<'_>) -> bool {
    let definition = entry.text(Field::Definition);
    match entry.description().as_ref() {
        "SCHEMA" => entry.tag() == "public" && definition.trim_start().starts_with("CREATE SCHEMA public;"),
        "COMMENT" => {
            entry.tag() == "SCHEMA public"
                && definition.trim() == "COMMENT ON SCHEMA public IS 'standard public schema';"
        }
        _ => false,
    }
}

/// Rows that are loaded through the root of their partitions, which does not come: no other way knows which partition each
/// of them belongs into here.
fn root_is_out(entry: &Entry<'_>, toc: &Toc, out: &HashSet<u32>) -> Option<String> {
    let root = entry.is_table_data().then(|| entry.root())??;
    let (schema, name) = table_name(&root)?;
    let is_root = |other: &Entry<'_>| {
        other.description() == "TABLE" && other.namespace() == schema.as_str() && other.tag() == name.as_str()
    };
    let comes = toc.entries().any(|other| is_root(&other) && !out.contains(&other.dump_id()));
    (!comes).then(|| {
        format!(
            "its rows are loaded through {root}, the root of its partitions, which is left out (`drctl export` gives them to load \
             by hand)"
        )
    })
}

/// The server that a user mapping is of: `pg_dump` writes no dependency, and names it in the tag alone,
/// `USER MAPPING role SERVER name`. Names may have blanks: the longest one that fits is meant.
fn server_of_mapping(entry: &Entry<'_>, toc: &Toc) -> Option<u32> {
    if entry.description() != "USER MAPPING" {
        return None;
    }
    let tag = entry.tag();
    let fits = |server: &Entry<'_>| {
        server.description() == "SERVER"
            && tag.strip_suffix(server.tag().as_ref()).is_some_and(|of| of.ends_with(" SERVER "))
    };
    let servers = toc.entries().filter(fits);
    servers.max_by_key(|server| server.tag().len()).map(|server| server.dump_id())
}

/// Why the target cannot take an entry, whatever else it can.
fn impossible(entry: &Entry<'_>, abilities: &Abilities) -> Option<String> {
    let description = entry.description();
    if description == "EXTENSION" {
        return match abilities.extensions.get(entry.tag().as_ref()) {
            Some(true) => None,
            Some(false) => Some("only a superuser may create this extension".to_owned()),
            None => Some("the extension is not installed on the server".to_owned()),
        };
    }
    if abilities.superuser {
        return None;
    }
    let definition = || entry.text(Field::Definition);
    let needs = match description.as_ref() {
        "EVENT TRIGGER"
        | "FOREIGN DATA WRAPPER"
        | "ACCESS METHOD"
        | "OPERATOR CLASS"
        | "OPERATOR FAMILY"
        | "TEXT SEARCH PARSER"
        | "TEXT SEARCH TEMPLATE"
        | "SUBSCRIPTION" => true,
        "PUBLICATION" => definition().contains("FOR ALL TABLES"),
        "FUNCTION" | "PROCEDURE" => definition().contains("LANGUAGE c\n") || definition().contains("LANGUAGE internal"),
        "PROCEDURAL LANGUAGE" | "LANGUAGE" => true,
        _ => false,
    };
    needs.then(|| "only a superuser may create it".to_owned())
}
