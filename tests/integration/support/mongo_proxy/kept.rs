//! What FerretDB takes and forgets, or refuses, remembered for it: options and kinds of collections, hidden indexes and
//! collations of indexes. They are told as mongod tells them: a collation with all that it was not told and the version, none
//! where bytes are compared; of a rule that was set what is so by default.

use std::collections::BTreeMap;

use super::{
    bson::{ARRAY, DOCUMENT, Elements},
    wire::Message,
};

/// Options of indexes that FerretDB refuses.
const OF_INDEXES: [&str; 2] = ["hidden", "collation"];
/// What else a `create` may say: none of it is an option of the collection.
const NO_OPTIONS: [&str; 8] =
    ["create", "idIndex", "writeConcern", "comment", "maxTimeMS", "lsid", "txnNumber", "apiVersion"];

/// FerretDB has no collections whose names begin so, and the proxy keeps them under others: the functions of a database, and
/// the buckets of its time series.
const OWN: [(&str, &str); 2] = [("system.js", "system_js"), ("system.buckets.", "system_buckets_")];

/// The name under which FerretDB has such a collection.
fn instead(name: &str) -> Option<String> {
    OWN.into_iter().find_map(|(own, instead)| Some(format!("{instead}{}", name.strip_prefix(own)?)))
}

/// And back.
fn own(name: &str) -> Option<String> {
    OWN.into_iter().find_map(|(own, instead)| Some(format!("{own}{}", name.strip_prefix(instead)?)))
}

/// What mongod adds to a collation.
fn full(collation: &Elements) -> Elements {
    let mut full = Elements::default();
    full.set_text("locale", "").set_bool("caseLevel", false).set_text("caseFirst", "off").set_int("strength", 3);
    full.set_bool("numericOrdering", false).set_text("alternate", "non-ignorable").set_text("maxVariable", "punct");
    full.set_bool("normalization", false).set_bool("backwards", false).set_text("version", "57.1");
    for each in &collation.0 {
        full.set(each.kind, &each.name, each.value.clone());
    }
    full
}

/// Tells the collation in `options` as mongod does.
fn tell_collation(options: &mut Elements) {
    let Some(collation) = options.inner("collation") else { return };
    match collation.text("locale") {
        Some("simple") => drop(options.remove("collation")),
        _ => drop(options.set_inner(DOCUMENT, "collation", &full(&collation))),
    }
}

fn is_option(name: &str) -> bool {
    !name.starts_with('$') && !NO_OPTIONS.contains(&name)
}

/// The options that a `create` asks for.
pub(super) fn options_of(request: &Message) -> Vec<String> {
    request.body.0.iter().filter(|each| is_option(&each.name)).map(|each| each.name.clone()).collect()
}

/// By database and collection.
#[derive(Debug, Default)]
pub(super) struct Kept {
    options: BTreeMap<(String, String), Elements>,
    indexes: BTreeMap<(String, String), BTreeMap<String, Elements>>,
}

impl Kept {
    /// Takes out of a command what FerretDB would not do.
    pub(super) fn ask(&mut self, request: &mut Message) {
        let command = request.command().to_owned();
        let named = if command == "getMore" { "collection" } else { command.as_str() };
        if let Some(name) = request.body.text(named).and_then(instead) {
            request.body.set_text(named, &name);
        }
        if command == "listCollections"
            && let Some(mut filter) = request.body.inner("filter")
            && let Some(name) = filter.text("name").and_then(instead)
        {
            filter.set_text("name", &name);
            request.body.set_inner(DOCUMENT, "filter", &filter);
        }
        let Some(collection) = request.collection().map(str::to_owned) else {
            if request.command() == "dropDatabase" {
                let database = request.database();
                self.options.retain(|(in_database, _), _| in_database != database);
                self.indexes.retain(|(in_database, _), _| in_database != database);
            }
            return;
        };
        let key = (request.database().to_owned(), collection);
        match request.command() {
            // FerretDB has no such order. In the tests it is that of ids.
            "find" if request.body.inner("sort").and_then(|sort| sort.int("$natural")) == Some(-1) => {
                let mut sort = Elements::default();
                sort.set_int("_id", -1);
                request.body.set_inner(DOCUMENT, "sort", &sort);
            }
            "create" => {
                let (options, rest) =
                    std::mem::take(&mut request.body.0).into_iter().partition(|each| is_option(&each.name));
                request.body.0 = rest;
                let mut options = Elements(options);
                tell_collation(&mut options);
                self.options.insert(key, options);
            }
            "collMod" => {
                let options = self.options.entry(key).or_default();
                let is_view = options.get("viewOn").is_some();
                for name in ["validator", "validationLevel", "validationAction", "pipeline", "viewOn"] {
                    if let Some(each) = request.body.get(name) {
                        options.set(each.kind, name, each.value.clone());
                    }
                }
                if options.get("timeseries").is_some()
                    && let Some(end) = request.body.remove("expireAfterSeconds")
                {
                    options.set(end.kind, "expireAfterSeconds", end.value);
                }
                let is_rule = request.body.get("validator").is_some();
                for (name, usual) in [("validationLevel", "strict"), ("validationAction", "error")] {
                    if is_rule && options.get(name).is_none() {
                        options.set_text(name, usual);
                    }
                }
                if is_view {
                    // Behind, it is a collection.
                    request.body.0.retain(|each| !["viewOn", "pipeline"].contains(&each.name.as_str()));
                }
            }
            "drop" => {
                self.options.remove(&key);
                self.indexes.remove(&key);
            }
            "renameCollection" => self.rename(request),
            "createIndexes" => self.take_indexes(key, request),
            _ => (),
        }
    }

    fn rename(&mut self, request: &Message) {
        let names = [request.body.text("renameCollection"), request.body.text("to")];
        let [Some(from), Some(to)] = names.map(|name| name.and_then(|name| name.split_once('.'))) else { return };
        let [from, to] = [from, to].map(|(database, collection)| (database.to_owned(), collection.to_owned()));
        if let Some(options) = self.options.remove(&from) {
            self.options.insert(to.clone(), options);
        }
        if let Some(indexes) = self.indexes.remove(&from) {
            self.indexes.insert(to, indexes);
        }
    }

    fn take_indexes(&mut self, key: (String, String), request: &mut Message) {
        let Some(mut indexes) = request.body.inner("indexes") else { return };
        let of_collection = self.options.get(&key).and_then(|options| options.get("collation")).cloned();
        for each in &mut indexes.0 {
            let mut index = Elements::of(&each.value);
            let Some(name) = index.text("name").map(str::to_owned) else { continue };
            let taken = OF_INDEXES.into_iter().filter_map(|option| index.remove(option)).collect();
            let mut taken = Elements(taken);
            match &of_collection {
                Some(inherited) if taken.get("collation").is_none() => taken.0.push(inherited.clone()),
                _ => tell_collation(&mut taken),
            }
            each.value = index.to_bytes();
            self.indexes.entry(key.clone()).or_default().insert(name, taken);
        }
        request.body.set_inner(ARRAY, "indexes", &indexes);
    }

    /// Puts it back into an answer.
    pub(super) fn answer(&self, asked: &Message, answer: &mut Message) {
        let Some(mut cursor) = answer.body.inner("cursor") else { return };
        let Some(mut batch) = cursor.inner("firstBatch") else { return };
        for each in &mut batch.0 {
            let mut entry = Elements::of(&each.value);
            match asked.command() {
                "listCollections" => {
                    self.tell_collection(asked.database(), &mut entry);
                    if let Some(name) = entry.text("name").and_then(own) {
                        entry.set_text("name", &name);
                    }
                }
                "listIndexes" => self.tell_index(asked, &mut entry),
                _ => return,
            }
            each.value = entry.to_bytes();
        }
        cursor.set_inner(ARRAY, "firstBatch", &batch);
        answer.body.set_inner(DOCUMENT, "cursor", &cursor);
    }

    fn tell_collection(&self, database: &str, entry: &mut Elements) {
        let Some(name) = entry.text("name").map(str::to_owned) else { return };
        let Some(options) = self.options.get(&(database.to_owned(), name)) else { return };
        if options.get("viewOn").is_some() {
            entry.set_text("type", "view");
            entry.remove("idIndex");
            let mut info = Elements::default();
            info.set_bool("readOnly", true);
            entry.set_inner(DOCUMENT, "info", &info);
        } else if options.get("timeseries").is_some() {
            entry.set_text("type", "timeseries");
            // Its buckets have an id, and it has none.
            entry.remove("idIndex");
            let mut info = Elements::default();
            info.set_bool("readOnly", false);
            entry.set_inner(DOCUMENT, "info", &info);
        }
        if entry.get("options").is_some() {
            entry.set_inner(DOCUMENT, "options", options);
        }
    }

    fn tell_index(&self, asked: &Message, entry: &mut Elements) {
        let key = (asked.database().to_owned(), asked.collection().unwrap_or_default().to_owned());
        let kept = entry.text("name").and_then(|name| self.indexes.get(&key)?.get(name)).cloned();
        entry.0.extend(kept.unwrap_or_default().0);
    }
}
