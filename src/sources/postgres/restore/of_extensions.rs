//! Rows of tables that extensions make, where such an extension is left out: the archive says nothing of whose they are.

use std::collections::HashSet;

use super::{
    super::{
        archive::{Entry, Toc},
        contents::{Database as Document, table_stream},
    },
    report::LeftOut,
    selection::Selection,
};

/// Leaves out the rows of tables, and the values of sequences, that an extension would make which is left out. Of a backup
/// that does not record whose they are it is known where all of its extensions are left out.
pub(super) fn leave_out(toc: &Toc, document: &Document, selection: &mut Selection) {
    let extensions = || toc.entries().filter(|entry| entry.description() == "EXTENSION");
    let is_gone = |entry: &Entry<'_>| selection.out.contains(&entry.dump_id());
    let gone: Vec<String> = extensions().filter(is_gone).map(|entry| entry.tag().into_owned()).collect();
    if gone.is_empty() {
        return;
    }
    let all_gone = extensions().all(|entry| is_gone(&entry));
    let of = |entry: &Entry<'_>| {
        let name = table_stream(&entry.namespace(), &entry.tag());
        let recorded = document.extensions.iter().find(|extension| extension.configured.contains(&name));
        match recorded {
            Some(extension) => gone.contains(&extension.name).then(|| extension.name.clone()),
            None => all_gone.then(|| gone.join(", ")),
        }
    };
    let kind = |entry: &Entry<'_>| match entry.description().as_ref() {
        "TABLE" | "TABLE DATA" => Some("TABLE"),
        "SEQUENCE" | "SEQUENCE SET" => Some("SEQUENCE"),
        _ => None,
    };
    let key = |entry: &Entry<'_>| Some((kind(entry)?, entry.namespace().into_owned(), entry.tag().into_owned()));
    let is_made = |entry: &Entry<'_>| matches!(entry.description().as_ref(), "TABLE" | "SEQUENCE");
    let there: HashSet<_> = toc.entries().filter(is_made).filter_map(|entry| key(&entry)).collect();
    for entry in toc.entries().filter(|entry| entry.is_table_data() || entry.is_sequence_set()) {
        if selection.out.contains(&entry.dump_id()) || key(&entry).is_none_or(|key| there.contains(&key)) {
            continue;
        }
        if let Some(extension) = of(&entry) {
            selection.out.insert(entry.dump_id());
            let why = format!("extension {extension}, which makes it, is left out");
            selection.left_out.push(LeftOut { what: entry.shown(), why });
        }
    }
}
