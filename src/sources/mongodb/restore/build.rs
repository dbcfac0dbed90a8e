//! Collections, indexes and validators as a backup defines them.

use mongodb_driver::bson::{
    RawDocumentBuf,
    raw::{RawArrayBuf, RawBson, RawDocument, cstr},
    rawdoc,
};

use super::{
    super::{Reason, Session, capture::listing, definition::Definition, definition::Kind, definition::index_name},
    RestoreError,
    report::Difference,
};
use crate::types::for_terminal;

/// The index that every collection has.
const OWN_INDEX: &str = "_id_";
/// Options that are set last: what is loaded was valid where it came from, or was there before the rule.
const RULES: [&str; 3] = ["validator", "validationLevel", "validationAction"];
/// Options that servers of today refuse, and that never meant anything to a reader.
const OBSOLETE: [&str; 2] = ["autoIndexId", "flags"];

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

/// An index as it is made, without what only the server says of it. DocumentDB says of some how it keeps them.
fn index(kept: &RawDocument) -> RawDocumentBuf {
    let is_documentdb = |engine: &RawDocument| engine.get("enableOrderedIndex").is_ok_and(|it| it.is_some());
    match kept.get_document("storageEngine") {
        Ok(engine) if is_documentdb(engine) => without(kept, &["ns", "storageEngine"]),
        _ => without(kept, &["ns"]),
    }
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
    // One that is as it always is, is made without being asked for.
    let usual = ["v", "key", "name", "ns"];
    let own = definition.indexes.iter().find(|index| index_name(index) == OWN_INDEX);
    if let Some(own) = own.filter(|own| own.iter().flatten().any(|(key, _)| !usual.contains(&key.as_str()))) {
        command.append(cstr!("idIndex"), index(own));
    }
    command
}

/// Makes collections of one database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Builder<'a> {
    pub(super) session: &'a Session,
}

impl Builder<'_> {
    pub(super) async fn run(&self, doing: &str, collection: &str, command: RawDocumentBuf) -> Result<(), RestoreError> {
        let done = self.session.database.run_raw_command(command).await;
        done.map(drop).map_err(|error| self.failed(doing, collection, &error))
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
            indexes.push(index(kept));
            let doing = format!("create index `{}`", for_terminal(index_name(kept)));
            self.run(&doing, &definition.name, rawdoc! {"createIndexes": place, "indexes": indexes}).await?;
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
        if some { self.run("set its validator", &definition.name, command).await } else { Ok(()) }
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
        let options = |it: &Definition| it.options().map(fields).unwrap_or_default();
        if options(&found) != options(definition) {
            differences.push(Difference { what: what.clone(), how: "its options are others".to_owned() });
        }
        if definition.kind == Kind::View {
            return Ok(differences);
        }
        for kept in &definition.indexes {
            let shown = format!("index {} on {name}", for_terminal(index_name(kept)));
            match found.indexes.iter().find(|it| index_name(it) == index_name(kept)) {
                None => differences.push(Difference { what: shown, how: "it is not there".to_owned() }),
                Some(it) if fields(&index(it)) != fields(&index(kept)) => {
                    differences.push(Difference { what: shown, how: "it is defined otherwise".to_owned() });
                }
                Some(_) => {}
            }
        }
        for more in
            found.indexes.iter().filter(|it| !definition.indexes.iter().any(|kept| index_name(kept) == index_name(it)))
        {
            let shown = format!("index {} on {name}", for_terminal(index_name(more)));
            differences.push(Difference { what: shown, how: "the backup does not have it".to_owned() });
        }
        Ok(differences)
    }
}

/// The fields of a document, whatever their order; within them the order counts. Obsolete ones are left out.
fn fields(document: &RawDocument) -> Vec<(String, RawBson)> {
    let mut fields: Vec<(String, RawBson)> = document
        .iter()
        .flatten()
        .filter(|(key, _)| !OBSOLETE.contains(&key.as_str()))
        .map(|(key, value)| (key.as_str().to_owned(), RawBson::from(value)))
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
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
        let secondary: Vec<_> = secondary(&definition).map(|it| index(it)).collect();
        assert_eq!(secondary, [rawdoc! {"v": 2, "key": {"b": 1, "a": -1}, "name": "b_a", "hidden": true}]);
    }

    #[test]
    fn how_documentdb_keeps_an_index_is_no_option_and_how_mongodb_does_is() {
        let plain = rawdoc! {"key": {"a": 1}, "name": "a"};
        let ordered = rawdoc! {"key": {"a": 1}, "name": "a", "storageEngine": {"enableOrderedIndex": true}};
        assert_eq!(index(&ordered), plain);
        let tuned = rawdoc! {"key": {"a": 1}, "name": "a", "storageEngine": {"wiredTiger": {"configString": ""}}};
        assert_eq!(index(&tuned), tuned);
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
        assert_eq!(fields(&one), fields(&rawdoc! {"name": "n", "key": {"a": 1, "b": 1}}));
        assert_ne!(fields(&one), fields(&rawdoc! {"name": "n", "key": {"b": 1, "a": 1}}));
    }
}
