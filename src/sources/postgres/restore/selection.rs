//! Which entries of the archive are restored, when, and which are left out and why.

use std::collections::{HashMap, HashSet};

use super::{
    super::archive::{Entry, Field, Section, Toc},
    report::LeftOut,
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
    /// Large objects are among `before`.
    pub(super) out: HashSet<u32>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Selection {
    /// All entries that are made, in the order of their turns.
    pub(super) fn made(&self) -> Vec<u32> {
        [&self.before, &self.after, &self.last].into_iter().flatten().copied().collect()
    }
}

/// Chooses. What depends on something that is left out is left out too, and named.
pub(super) fn select(toc: &Toc, abilities: &Abilities) -> Selection {
    let mut selection = Selection::default();
    for entry in toc.entries() {
        let reason = impossible(&entry, abilities).or_else(|| {
            let on = entry.dependencies().find(|id| selection.out.contains(id))?;
            let what = toc.entry(on).map_or_else(|| on.to_string(), |entry| named(&entry));
            Some(format!("it depends on {what}"))
        });
        if let Some(why) = reason {
            selection.out.insert(entry.dump_id());
            selection.left_out.push(LeftOut { what: named(&entry), why });
            continue;
        }
        // A comment on what comes last cannot come before it.
        let late = entry.dependencies().any(|id| selection.last.contains(&id));
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
    let (description, namespace, tag) = (entry.description(), entry.namespace(), entry.tag());
    if namespace.is_empty() { format!("{description} {tag}") } else { format!("{description} {namespace} {tag}") }
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
