//! In which order collections and views get their places.

use std::collections::BTreeSet;

use mongodb_driver::bson::raw::{RawBsonRef, RawDocument};

use super::{super::definition::Kind, plan::Kept};

/// Where a view's question names what it asks, at any depth.
const ASKED: [&str; 4] = ["viewOn", "from", "coll", "$unionWith"];
/// Deeper than servers take documents.
const DEEPEST: u32 = 200;

/// Collections first, then views, each after those that it asks: servers refuse a view that would ask itself in the end, and one
/// that is changed before those that it asks may do so for a moment.
pub(super) fn in_order(chosen: Vec<Kept>) -> Vec<Kept> {
    let (views, mut order): (Vec<Kept>, Vec<Kept>) =
        chosen.into_iter().partition(|it| it.definition.kind == Kind::View);
    let names: BTreeSet<String> = views.iter().map(|it| it.definition.name.clone()).collect();
    let mut waiting: Vec<(Kept, BTreeSet<String>)> = Vec::new();
    for view in views {
        let mut asked = BTreeSet::new();
        if let Some(options) = view.definition.options() {
            add_asked(options, &mut asked, DEEPEST);
        }
        asked.retain(|name| names.contains(name) && *name != view.definition.name);
        waiting.push((view, asked));
    }
    let mut done = BTreeSet::new();
    while !waiting.is_empty() {
        // Of views that ask each other, which no server has, the first one goes first.
        let next = waiting.iter().position(|(_, asked)| asked.is_subset(&done)).unwrap_or_default();
        let (view, _) = waiting.remove(next);
        done.insert(view.definition.name.clone());
        order.push(view);
    }
    order
}

/// Adds what a question names.
fn add_asked(question: &RawDocument, asked: &mut BTreeSet<String>, depth: u32) {
    for (key, value) in question.iter().flatten() {
        match value {
            RawBsonRef::String(name) if ASKED.contains(&key.as_str()) => drop(asked.insert(name.to_owned())),
            value => add_asked_in(value, asked, depth),
        }
    }
}

fn add_asked_in(value: RawBsonRef<'_>, asked: &mut BTreeSet<String>, depth: u32) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        RawBsonRef::Document(inner) => add_asked(inner, asked, depth),
        RawBsonRef::Array(items) => items.into_iter().flatten().for_each(|item| add_asked_in(item, asked, depth)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::{RawDocumentBuf, rawdoc};

    use super::{
        super::super::{contents::Collection, definition::Definition},
        *,
    };
    use crate::types::RowDigest;

    fn kept(name: &str, options: Option<RawDocumentBuf>) -> Kept {
        let kind = if options.is_some() { "view" } else { "collection" };
        let entry = rawdoc! {"name": name, "type": kind, "options": options.unwrap_or_default()};
        let definition = Definition::of_entry(&entry).unwrap();
        let collection = Collection {
            name: name.to_owned(),
            kind: kind.to_owned(),
            stream: None,
            documents: 0,
            bytes: 0,
            digest: RowDigest::default(),
            indexes: 0,
            outside_snapshot: false,
        };
        Kept { definition, collection }
    }

    fn order(all: Vec<Kept>) -> Vec<String> {
        in_order(all).into_iter().map(|it| it.definition.name).collect()
    }

    #[test]
    fn a_view_comes_after_the_collections_and_after_the_views_that_it_asks() {
        let join = rawdoc! {"$lookup": {"from": "d", "as": "x", "pipeline": [{"$unionWith": {"coll": "e"}}]}};
        let all = vec![
            kept("a", Some(rawdoc! {"viewOn": "b", "pipeline": []})),
            kept("b", Some(rawdoc! {"viewOn": "t", "pipeline": [join]})),
            kept("c", Some(rawdoc! {"viewOn": "t", "pipeline": [{"$match": {"from": "left"}}]})),
            kept("d", Some(rawdoc! {"viewOn": "t", "pipeline": [{"$unionWith": "c"}]})),
            kept("e", Some(rawdoc! {"viewOn": "t", "pipeline": []})),
            kept("t", None),
        ];
        assert_eq!(order(all), ["t", "c", "d", "e", "b", "a"]);
    }

    #[test]
    fn views_that_seem_to_ask_each_other_or_themselves_are_all_there() {
        let on = |name: &str| Some(rawdoc! {"viewOn": name, "pipeline": []});
        assert_eq!(order(vec![kept("a", on("b")), kept("b", on("a")), kept("c", on("c"))]), ["c", "a", "b"]);
    }
}
