//! What defines a collection, as the server says it: kept byte for byte, and read as far as it must be understood.

use std::collections::BTreeMap;

use mongodb_driver::bson::{
    raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf},
    rawdoc,
};

use super::extjson::{InvalidDocument, canonical};

/// What a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// It holds documents.
    Collection,
    /// It is a question about others.
    View,
    /// It holds measurements, in buckets.
    TimeSeries,
}

impl Kind {
    /// The server's own word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Collection => "collection",
            Self::View => "view",
            Self::TimeSeries => "timeseries",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        [Self::Collection, Self::View, Self::TimeSeries].into_iter().find(|kind| kind.word() == word)
    }
}

/// One entry of `listCollections`, and the entries of `listIndexes` for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The entry of `listCollections`.
    pub(super) entry: RawDocumentBuf,
    /// Entries of `listIndexes`, in the order of their names.
    pub(super) indexes: Vec<RawDocumentBuf>,
    /// The id of what holds the documents of a time series, which has none itself.
    pub(super) buckets: Option<String>,
}

/// What a view is, and can be made otherwise while it is there.
pub(super) const QUESTION: [&str; 2] = ["viewOn", "pipeline"];
/// Where the documents of a time series are, before its name.
const BUCKETS: &str = "system.buckets.";

/// What cannot be a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDefinition(String);

impl Definition {
    /// Reads an entry of `listCollections`; its indexes are to be added.
    pub(super) fn of_entry(entry: &RawDocument) -> Result<Self, InvalidDefinition> {
        let bad = |what: &str| InvalidDefinition(format!("a collection's definition {what}"));
        let name = entry.get_str("name").map_err(|_| bad("has no name"))?;
        if name.is_empty() || name.contains('\0') {
            return Err(bad("has a name that is none"));
        }
        // Before 3.4 there were no types.
        let kind = match entry.get_str("type") {
            Ok(word) => Kind::of_word(word).ok_or_else(|| bad("is of an unknown type"))?,
            Err(_) => Kind::Collection,
        };
        Ok(Self { name: name.to_owned(), kind, entry: entry.to_owned(), indexes: Vec::new(), buckets: None })
    }

    pub(super) fn options(&self) -> Option<&RawDocument> {
        self.entry.get_document("options").ok()
    }

    /// The server's own id of the collection, which a rename does not change: 32 hexadecimal characters.
    pub(super) fn uuid(&self) -> Option<String> {
        self.own_uuid().or_else(|| self.buckets.clone())
    }

    fn own_uuid(&self) -> Option<String> {
        let info = self.entry.get_document("info").ok()?;
        let uuid = info.get_binary("uuid").ok()?;
        Some(uuid.bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn is_capped(&self) -> bool {
        self.options().is_some_and(|options| options.get_bool("capped").unwrap_or(false))
    }

    /// Whether the server removes documents once their time has passed.
    pub(super) fn expires(&self) -> bool {
        const AFTER: &str = "expireAfterSeconds";
        let has = |it: &RawDocument| matches!(it.get(AFTER), Ok(Some(_)));
        self.options().is_some_and(has) || self.indexes.iter().any(|index| has(index))
    }

    /// Where its documents are.
    pub(super) fn holder(&self) -> String {
        match self.kind {
            Kind::Collection | Kind::View => self.name.clone(),
            Kind::TimeSeries => format!("{BUCKETS}{}", self.name),
        }
    }

    /// Whether a view can become this one in one step.
    pub(super) fn is_same_but_for_its_question(&self, live: &Self) -> bool {
        let rest = |it: &Self| {
            let options = it.options().into_iter().flat_map(RawDocument::iter).flatten();
            let mut rest = RawDocumentBuf::new();
            options
                .filter(|(key, _)| !QUESTION.contains(&key.as_str()))
                .for_each(|(key, value)| rest.append(key, value));
            rest
        };
        self.kind == Kind::View && live.kind == Kind::View && rest(self) == rest(live)
    }

    /// As a backup keeps it.
    pub(super) fn to_raw(&self) -> RawDocumentBuf {
        let mut indexes = RawArrayBuf::new();
        self.indexes.iter().for_each(|index| indexes.push(index.clone()));
        rawdoc! {"collection": self.entry.clone(), "indexes": indexes}
    }

    /// Reads what [`Self::to_raw`] made.
    pub(super) fn of_raw(document: &RawDocument) -> Result<Self, InvalidDefinition> {
        let bad = |what: &str| InvalidDefinition(format!("a kept definition {what}"));
        let entry = document.get_document("collection").map_err(|_| bad("has no collection"))?;
        let mut definition = Self::of_entry(entry)?;
        for index in document.get_array("indexes").map_err(|_| bad("has no indexes"))? {
            match index {
                Ok(RawBsonRef::Document(index)) => definition.indexes.push(index.to_owned()),
                _ => return Err(bad("has an index that is none")),
            }
        }
        Ok(definition)
    }

    /// What `mongodump` writes into `*.metadata.json`.
    pub(super) fn metadata(&self) -> Result<String, InvalidDocument> {
        let mut parts = Vec::new();
        if let Some(options) = self.options().filter(|options| !options.is_empty()) {
            parts.push(format!("\"options\":{}", canonical(options)?));
        }
        let indexes: Vec<String> = self.indexes.iter().map(|index| canonical(index)).collect::<Result<_, _>>()?;
        parts.push(format!("\"indexes\":[{}]", indexes.join(",")));
        if let Some(uuid) = self.own_uuid() {
            parts.push(format!("\"uuid\":\"{uuid}\""));
        }
        parts.push(format!("\"collectionName\":{}", serde_json::Value::from(self.name.as_str())));
        parts.push(format!("\"type\":\"{}\"", self.kind.word()));
        Ok(format!("{{{}}}", parts.join(",")))
    }
}

/// Tells each time series of a list the id of what holds its documents, which is in the list, too.
pub(super) fn find_buckets(all: &mut [Definition]) {
    let ids: BTreeMap<String, String> =
        all.iter().filter_map(|it| Some((it.name.strip_prefix(BUCKETS)?.to_owned(), it.own_uuid()?))).collect();
    for series in all.iter_mut().filter(|it| it.kind == Kind::TimeSeries) {
        series.buckets = ids.get(&series.name).cloned();
    }
}

/// The name of an index.
pub(super) fn index_name(index: &RawDocument) -> &str {
    index.get_str("name").unwrap_or_default()
}

/// What happened to a collection while it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Dropped,
    /// It has another name now.
    Renamed(String),
    /// It was not there before.
    Made,
    /// It was dropped, and another was made in its place.
    MadeAnew,
    /// Its options are others.
    Options,
    /// Its indexes are others.
    Indexes,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dropped => f.write_str("was dropped"),
            Self::Renamed(to) => write!(f, "was renamed to `{}`", crate::types::for_terminal(to)),
            Self::Made => f.write_str("was made"),
            Self::MadeAnew => f.write_str("was dropped and made anew"),
            Self::Options => f.write_str("got other options"),
            Self::Indexes => f.write_str("got other indexes"),
        }
    }
}

/// What happened to collections of `before`, by name. Those that are only in `after` came later.
pub(super) fn changes(before: &[Definition], after: &[Definition]) -> Vec<(String, Change)> {
    let change = |old: &Definition| {
        let Some(new) = after.iter().find(|new| new.name == old.name) else {
            let same = |new: &&Definition| old.uuid().is_some() && new.uuid() == old.uuid();
            return Some(after.iter().find(same).map_or(Change::Dropped, |new| Change::Renamed(new.name.clone())));
        };
        if new.uuid() != old.uuid() || new.kind != old.kind {
            Some(Change::MadeAnew)
        } else if new.entry != old.entry {
            Some(Change::Options)
        } else if new.indexes != old.indexes {
            Some(Change::Indexes)
        } else {
            None
        }
    };
    before.iter().filter_map(|old| change(old).map(|change| (old.name.clone(), change))).collect()
}

/// A collection of `after` that was not there before.
pub(super) fn made(before: &[Definition], after: &[Definition]) -> Option<(String, Change)> {
    let new = after.iter().find(|new| !before.iter().any(|old| old.name == new.name))?;
    Some((new.name.clone(), Change::Made))
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::{Binary, RawBson, spec::BinarySubtype};

    use super::*;

    fn definition(name: &str, uuid: u8, capped: bool, indexes: &[&str]) -> Definition {
        let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![uuid; 16] };
        let options = if capped {
            rawdoc! {"capped": true, "size": 4096}
        } else {
            rawdoc! {}
        };
        let entry = rawdoc! {
            "name": name, "type": "collection", "options": options,
            "info": {"readOnly": false, "uuid": RawBson::Binary(uuid)},
        };
        let mut definition = Definition::of_entry(&entry).unwrap();
        definition.indexes = indexes.iter().map(|name| rawdoc! {"v": 2, "key": {"k": 1}, "name": *name}).collect();
        definition
    }

    #[test]
    fn metadata_has_the_fields_of_mongodump_in_their_order() {
        let foo = definition("foo", 6, false, &["_id"]);
        assert_eq!(
            foo.metadata().unwrap(),
            "{\"indexes\":[{\"v\":{\"$numberInt\":\"2\"},\"key\":{\"k\":{\"$numberInt\":\"1\"}},\"name\":\"_id\"}],\
             \"uuid\":\"06060606060606060606060606060606\",\"collectionName\":\"foo\",\"type\":\"collection\"}"
        );
        assert!(definition("log", 1, true, &[]).metadata().unwrap().starts_with("{\"options\":{\"capped\":true,"));
    }

    #[test]
    fn a_definition_is_read_back_as_it_was_kept() {
        let before = definition("a/b", 7, true, &["x", "y"]);
        assert_eq!(Definition::of_raw(&before.to_raw()).unwrap(), before);
        assert!(Definition::of_raw(&rawdoc! {"collection": {"name": ""}, "indexes": []}).is_err());
        assert!(Definition::of_raw(&rawdoc! {"collection": {"name": "a", "type": "galaxy"}, "indexes": []}).is_err());
        assert!(Definition::of_raw(&rawdoc! {"collection": {"name": "a"}, "indexes": [1]}).is_err());
    }

    #[test]
    fn what_happens_to_a_collection_meanwhile_is_seen_and_what_is_new_is_not() {
        let old = definition("a", 1, false, &["x"]);
        for (after, change) in [
            (vec![old.clone(), definition("new", 9, false, &[])], None),
            (vec![], Some(Change::Dropped)),
            (vec![definition("b", 1, false, &["x"])], Some(Change::Renamed("b".to_owned()))),
            (vec![definition("a", 2, false, &["x"])], Some(Change::MadeAnew)),
            (vec![definition("a", 1, true, &["x"])], Some(Change::Options)),
            (vec![definition("a", 1, false, &["x", "y"])], Some(Change::Indexes)),
        ] {
            let found = changes(std::slice::from_ref(&old), &after);
            assert_eq!(found, change.into_iter().map(|change| ("a".to_owned(), change)).collect::<Vec<_>>());
        }
        let both = [old.clone(), definition("new", 9, false, &[])];
        assert_eq!(made(std::slice::from_ref(&old), &both), Some(("new".to_owned(), Change::Made)));
        assert_eq!(made(&both, &both), None);
    }

    #[test]
    fn a_time_series_is_known_by_what_holds_its_documents() {
        let listed = |uuid: u8| {
            let entry = rawdoc! {"name": "s", "type": "timeseries", "options": {}, "info": {"readOnly": false}};
            let mut all = [Definition::of_entry(&entry).unwrap(), definition("system.buckets.s", uuid, false, &[])];
            find_buckets(&mut all);
            all
        };
        let [series, _] = listed(1);
        assert_eq!(changes(std::slice::from_ref(&series), &listed(1)), []);
        assert_eq!(changes(std::slice::from_ref(&series), &listed(2)), [("s".to_owned(), Change::MadeAnew)]);
        assert!(!series.metadata().unwrap().contains("uuid"));
    }

    #[test]
    fn a_view_becomes_another_in_one_step_unless_it_compares_otherwise() {
        let view = |options: RawDocumentBuf| {
            Definition::of_entry(&rawdoc! {"name": "v", "type": "view", "options": options}).unwrap()
        };
        let german = rawdoc! {"viewOn": "a", "pipeline": [], "collation": {"locale": "de"}};
        let one = view(rawdoc! {"viewOn": "a", "pipeline": []});
        assert!(one.is_same_but_for_its_question(&view(rawdoc! {"viewOn": "b", "pipeline": [{"$limit": 1}]})));
        assert!(!one.is_same_but_for_its_question(&view(german.clone())));
        assert!(view(german.clone()).is_same_but_for_its_question(&view(german)));
        assert!(!one.is_same_but_for_its_question(&definition("v", 1, false, &[])));
    }
}
