//! Collections, indexes and validators as a backup defines them.

use std::collections::BTreeMap;

use mongodb_driver::bson::{
    RawDocumentBuf,
    raw::{RawArrayBuf, RawBson, RawDocument, cstr},
    rawdoc,
};

use super::{
    super::{
        Reason, Session,
        capture::listing,
        definition::{Definition, Kind, QUESTION, index_name},
    },
    RestoreError,
    report::Difference,
    writes::{Writes, lagging, lasting},
};
use crate::types::for_terminal;

/// The index that every collection has.
const OWN_INDEX: &str = "_id_";
/// Options that are set last: what is loaded was valid where it came from, or was there before the rule, and is not to expire
/// before it is compared.
const RULES: [&str; 4] = ["validator", "validationLevel", "validationAction", "expireAfterSeconds"];
/// Options that servers of today refuse, that never meant anything to a reader, or with which a restart takes it all away.
const OBSOLETE: [&str; 4] = ["autoIndexId", "flags", "recordPreImages", "temp"];

/// A copy without some fields.
fn without(document: &RawDocument, names: &[&str]) -> RawDocumentBuf {
    let mut copy = RawDocumentBuf::new();
    for (key, value) in document.iter().flatten().filter(|(key, _)| !names.contains(&key.as_str())) {
        copy.append(key, value);
    }
    copy
}

/// Appends the fields of another document.
fn extend(document: &mut RawDocumentBuf, other: &RawDocument) {
    for (key, value) in other.iter().flatten() {
        document.append(key, value);
    }
}

/// An index as it is made in a collection with a collation of its own (`collated`), without what only the server says of it. DocumentDB says of some how it keeps them.
fn index(kept: &RawDocument, collated: bool) -> RawDocumentBuf {
    let is_documentdb = |engine: &RawDocument| engine.get("enableOrderedIndex").is_ok_and(|it| it.is_some());
    let mut index = match kept.get_document("storageEngine") {
        Ok(engine) if is_documentdb(engine) => without(kept, &["ns", "storageEngine"]),
        _ => without(kept, &["ns"]),
    };
    // Servers do not say of an index that it compares bytes, and give one that does not say so the collection's collation.
    if collated && index.get("collation").is_ok_and(|it| it.is_none()) {
        index.append(cstr!("collation"), rawdoc! {"locale": "simple"});
    }
    index
}

fn is_collated(definition: &Definition) -> bool {
    definition.options().is_some_and(|options| options.get("collation").is_ok_and(|it| it.is_some()))
}

/// Those that are made after the documents are in.
fn secondary(definition: &Definition) -> impl Iterator<Item = &RawDocumentBuf> {
    let own = |index: &&RawDocumentBuf| index_name(index) == OWN_INDEX || index.get_bool("clustered").unwrap_or(false);
    definition.indexes.iter().filter(move |index| !own(index))
}

/// What makes the collection `name`, without its rules.
fn create(definition: &Definition, name: &str) -> RawDocumentBuf {
    let mut command = rawdoc! {"create": name};
    let left_out: Vec<&str> = RULES.into_iter().chain(OBSOLETE).collect();
    if let Some(options) = definition.options() {
        extend(&mut command, &without(options, &left_out));
    }
    // One that is as it always is, is made without being asked for; so is that of documents which are kept in its order.
    let usual = ["v", "key", "name", "ns"];
    let is_clustered = |index: &RawDocument| index.get_bool("clustered").unwrap_or(false);
    let own = definition.indexes.iter().find(|index| index_name(index) == OWN_INDEX && !is_clustered(index));
    if let Some(own) = own.filter(|own| own.iter().flatten().any(|(key, _)| !usual.contains(&key.as_str()))) {
        command.append(cstr!("idIndex"), index(own, false));
    }
    command
}

/// Makes collections of one database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Builder<'a> {
    pub(super) session: &'a Session,
    pub(super) writes: &'a Writes,
}

impl Builder<'_> {
    pub(super) async fn run(
        &self,
        doing: &str,
        collection: &str,
        mut command: RawDocumentBuf,
    ) -> Result<(), RestoreError> {
        command.append(cstr!("writeConcern"), lasting());
        let done = self.writes.run(self.session, command).await;
        match done.map(|reply| lagging(&reply)) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => {
                let (done, collection) = (format!("done as told ({doing}) for"), collection.to_owned());
                Err(RestoreError::MayNotLast { done, collection, reason })
            }
            Err(error) => Err(self.failed(doing, collection, &error)),
        }
    }

    fn failed(&self, doing: &str, collection: &str, error: &mongodb_driver::error::Error) -> RestoreError {
        let reason = Reason::from(error);
        match reason.code() {
            Some(_) => RestoreError::Build { doing: doing.to_owned(), collection: collection.to_owned(), reason },
            None => {
                let doing = format!("{doing} for collection `{}`", for_terminal(collection));
                self.session.server().failed(&doing, error).into()
            }
        }
    }

    /// Makes the collection under the name `place`, without secondary indexes and rules.
    pub(super) async fn create(&self, definition: &Definition, place: &str) -> Result<(), RestoreError> {
        self.run("create it", &definition.name, create(definition, place)).await
    }

    /// Makes the secondary indexes of what is at `place`, one after the other: so that the one that fails is named.
    pub(super) async fn indexes(&self, definition: &Definition, place: &str) -> Result<(), RestoreError> {
        for kept in secondary(definition) {
            let mut indexes = RawArrayBuf::new();
            indexes.push(index(kept, is_collated(definition)));
            let doing = format!("create index `{}`", for_terminal(index_name(kept)));
            let mut command = rawdoc! {"createIndexes": place, "indexes": indexes};
            // Else every member with a vote is waited for, also one that is down. Standalones refuse to hear of it.
            if self.session.facts.replica_set.is_some() {
                command.append(cstr!("commitQuorum"), "majority");
            }
            self.run(&doing, &definition.name, command).await?;
        }
        Ok(())
    }

    /// Sets the rules for documents of what is at `place`.
    pub(super) async fn rules(&self, definition: &Definition, place: &str) -> Result<(), RestoreError> {
        let mut command = rawdoc! {"collMod": place};
        let rules = definition.options().into_iter().flat_map(RawDocument::iter).flatten();
        let mut some = false;
        for (key, value) in rules.filter(|(key, _)| RULES.contains(&key.as_str())) {
            command.append(key, value);
            some = true;
        }
        if some { self.run("set its validator or when it expires", &definition.name, command).await } else { Ok(()) }
    }

    /// Gives the live view `name` the question of the backup's, in one step: there is always one of them.
    pub(super) async fn ask_otherwise(&self, definition: &Definition, name: &str) -> Result<(), RestoreError> {
        let mut command = rawdoc! {"collMod": name};
        let question = definition.options().into_iter().flat_map(RawDocument::iter).flatten();
        for (key, value) in question.filter(|(key, _)| QUESTION.contains(&key.as_str())) {
            command.append(key, value);
        }
        self.run("change what the view asks", &definition.name, command).await
    }

    /// What is defined at `place` and not as the backup has it.
    pub(super) async fn compare(&self, definition: &Definition, place: &str) -> Result<Vec<Difference>, RestoreError> {
        let live = listing::find(self.session, place).await?;
        let name = for_terminal(&definition.name);
        let what = format!("{} {name}", definition.kind.word());
        let Some(found) = live else {
            return Ok(vec![Difference { what, how: "it is not there".to_owned() }]);
        };
        let mut differences = Vec::new();
        if !are_alike(definition.options(), found.options()) {
            differences.push(Difference { what: what.clone(), how: "its options are others".to_owned() });
        }
        if definition.kind == Kind::View {
            return Ok(differences);
        }
        for kept in &definition.indexes {
            let shown = format!("index {} on {name}", for_terminal(index_name(kept)));
            match found.indexes.iter().find(|it| index_name(it) == index_name(kept)) {
                None => differences.push(Difference { what: shown, how: "it is not there".to_owned() }),
                Some(it) if !are_alike(Some(&index(kept, false)), Some(&index(it, false))) => {
                    differences.push(Difference { what: shown, how: "it is defined otherwise".to_owned() });
                }
                Some(_) => {}
            }
        }
        let is_kept = |it: &&RawDocumentBuf| definition.indexes.iter().any(|kept| index_name(kept) == index_name(it));
        // Servers make an index of a time series by themselves.
        let more = found.indexes.iter().filter(|it| definition.kind != Kind::TimeSeries && !is_kept(it));
        for more in more {
            let shown = format!("index {} on {name}", for_terminal(index_name(more)));
            differences.push(Difference { what: shown, how: "the backup does not have it".to_owned() });
        }
        Ok(differences)
    }
}

/// What a server adds to a definition that does not say it, and says of its own accord.
const ADDED: [&str; 6] =
    ["v", "textIndexVersion", "2dsphereIndexVersion", "weights", "default_language", "language_override"];

/// Whether two definitions say the same, whatever the order of their fields; within them the order counts. What servers say
/// otherwise than it was said to them is the same.
fn are_alike(kept: Option<&RawDocument>, found: Option<&RawDocument>) -> bool {
    let (mut kept, mut found) = (kept.map(fields).unwrap_or_default(), found.map(fields).unwrap_or_default());
    for added in ADDED {
        if !kept.contains_key(added) {
            found.remove(added);
        }
    }
    match (kept.remove("collation"), found.remove("collation")) {
        (Some(RawBson::Document(kept)), Some(RawBson::Document(found))) if !holds(&found, &kept) => return false,
        (kept, found) if kept.is_some() != found.is_some() => return false,
        _ => {}
    }
    kept.len() == found.len() && kept.iter().all(|(key, value)| found.get(key).is_some_and(|it| is_same(value, it)))
}

/// Whether a collation is as it was asked for: a server adds what it was not told.
fn holds(found: &RawDocument, kept: &RawDocument) -> bool {
    kept.iter().flatten().all(|(key, value)| {
        found.get(key.as_str()).ok().flatten().is_some_and(|it| is_same(&RawBson::from(value), &RawBson::from(it)))
    })
}

/// Numbers are the same, whatever their type.
fn is_same(one: &RawBson, other: &RawBson) -> bool {
    let number = |value: &RawBson| match value {
        RawBson::Int32(number) => Some(f64::from(*number)),
        RawBson::Int64(number) => Some(*number as f64),
        RawBson::Double(number) => Some(*number),
        _ => None,
    };
    one == other || matches!((number(one), number(other)), (Some(one), Some(other)) if one == other)
}

/// The fields of a definition, without obsolete ones and without those that say what is so anyway.
fn fields(document: &RawDocument) -> BTreeMap<String, RawBson> {
    let is_usual = |key: &str, value: &RawBson| match (key, value) {
        ("background", _) | (_, RawBson::Boolean(false)) => true,
        ("validationLevel", RawBson::String(word)) => word == "strict",
        ("validationAction", RawBson::String(word)) => word == "error",
        ("validator", RawBson::Document(rule)) => rule.is_empty(),
        ("collation", RawBson::Document(collation)) => collation.get_str("locale").is_ok_and(|it| it == "simple"),
        _ => OBSOLETE.contains(&key),
    };
    let all = document.iter().flatten().map(|(key, value)| (key.as_str().to_owned(), RawBson::from(value)));
    all.filter(|(key, value)| !is_usual(key, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        let entry = rawdoc! {
            "name": "log", "type": "collection",
            "options": {"capped": true, "size": 4096, "validator": {"a": 1}, "validationLevel": "strict", "autoIndexId": true},
        };
        let mut definition = Definition::of_entry(&entry).unwrap();
        definition.indexes = vec![
            rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "ns": "crm.log"},
            rawdoc! {"v": 2, "key": {"b": 1, "a": -1}, "name": "b_a", "ns": "crm.log", "hidden": true},
        ];
        definition
    }

    #[test]
    fn a_collection_is_made_with_its_options_and_without_its_rules() {
        let definition = definition();
        assert_eq!(create(&definition, "x"), rawdoc! {"create": "x", "capped": true, "size": 4096});
        let secondary: Vec<_> = secondary(&definition).map(|it| index(it, false)).collect();
        assert_eq!(secondary, [rawdoc! {"v": 2, "key": {"b": 1, "a": -1}, "name": "b_a", "hidden": true}]);
    }

    #[test]
    fn how_documentdb_keeps_an_index_is_no_option_and_how_mongodb_does_is() {
        let plain = rawdoc! {"key": {"a": 1}, "name": "a"};
        let ordered = rawdoc! {"key": {"a": 1}, "name": "a", "storageEngine": {"enableOrderedIndex": true}};
        assert_eq!(index(&ordered, false), plain);
        let tuned = rawdoc! {"key": {"a": 1}, "name": "a", "storageEngine": {"wiredTiger": {"configString": ""}}};
        assert_eq!(index(&tuned, false), tuned);
    }

    #[test]
    fn an_own_index_that_is_not_the_usual_one_is_asked_for() {
        let mut definition = definition();
        definition.indexes[0] = rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "collation": {"locale": "de"}};
        let made = create(&definition, "x");
        assert_eq!(made.get_document("idIndex").unwrap(), definition.indexes[0].as_ref() as &RawDocument);
    }

    #[test]
    fn the_order_of_an_indexs_keys_counts_and_that_of_its_options_does_not() {
        let one = rawdoc! {"key": {"a": 1, "b": 1}, "name": "n"};
        assert!(are_alike(Some(&one), Some(&rawdoc! {"name": "n", "key": {"a": 1, "b": 1}})));
        assert!(!are_alike(Some(&one), Some(&rawdoc! {"name": "n", "key": {"b": 1, "a": 1}})));
    }

    #[test]
    fn what_a_server_says_otherwise_than_it_was_told_is_the_same_and_what_is_another_rule_is_not() {
        let rule = rawdoc! {"a": {"$gt": 1}};
        let full = rawdoc! {"locale": "de", "caseLevel": false, "strength": 2, "version": "57.1"};
        for (kept, found, alike) in [
            (
                rawdoc! {"validator": rule.clone()},
                rawdoc! {"validator": rule.clone(), "validationLevel": "strict", "validationAction": "error"},
                true,
            ),
            (
                rawdoc! {"validator": rule.clone()},
                rawdoc! {"validator": rule.clone(), "validationLevel": "moderate"},
                false,
            ),
            (rawdoc! {"validator": rule.clone()}, rawdoc! {}, false),
            (rawdoc! {"collation": {"locale": "simple"}}, rawdoc! {}, true),
            (rawdoc! {"collation": {"locale": "de", "strength": 2}}, rawdoc! {"collation": full.clone()}, true),
            (rawdoc! {"collation": {"locale": "de", "strength": 1}}, rawdoc! {"collation": full.clone()}, false),
            (rawdoc! {"collation": full.clone()}, rawdoc! {"collation": {"locale": "de", "strength": 2}}, false),
            (rawdoc! {"collation": full}, rawdoc! {}, false),
            (rawdoc! {"capped": true, "size": 4096.0}, rawdoc! {"capped": true, "size": 4096_i64}, true),
            (rawdoc! {"capped": true, "size": 4096}, rawdoc! {"capped": true, "size": 8192}, false),
            (rawdoc! {"key": {"a": 1}, "background": true}, rawdoc! {"v": 2, "key": {"a": 1}}, true),
            (rawdoc! {"key": {"a": 1}, "sparse": false}, rawdoc! {"key": {"a": 1}, "sparse": true}, false),
            (rawdoc! {"key": {"a": 1}}, rawdoc! {"key": {"a": 1}, "unique": true}, false),
            (rawdoc! {"v": 1, "key": {"a": 1}}, rawdoc! {"v": 2, "key": {"a": 1}}, false),
        ] {
            assert_eq!(are_alike(Some(&kept), Some(&found)), alike, "{kept:?} {found:?}");
        }
        assert!(are_alike(None, Some(&rawdoc! {})));
    }

    #[test]
    fn an_index_that_compares_bytes_says_so_in_a_collection_with_a_collation() {
        let plain = rawdoc! {"v": 2, "key": {"a": 1}, "name": "a"};
        let collation = index(&plain, true).get_document("collation").map(ToOwned::to_owned);
        assert_eq!(collation.unwrap(), rawdoc! {"locale": "simple"});
        let french = rawdoc! {"v": 2, "key": {"a": 1}, "name": "a", "collation": {"locale": "fr"}};
        assert_eq!(index(&french, true), french);
        assert_eq!(index(&plain, false), plain);
    }

    #[test]
    fn a_clustered_collection_is_made_without_an_index_of_its_own_and_expires_nothing_until_it_is_compared() {
        let entry = rawdoc! {
            "name": "c", "type": "collection",
            "options": {"clusteredIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_", "unique": true}, "expireAfterSeconds": 60_i64},
        };
        let mut definition = Definition::of_entry(&entry).unwrap();
        definition.indexes =
            vec![rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "unique": true, "clustered": true}];
        let clustered = rawdoc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "unique": true};
        assert_eq!(create(&definition, "x"), rawdoc! {"create": "x", "clusteredIndex": clustered});
        assert_eq!(secondary(&definition).count(), 0);
    }
}
