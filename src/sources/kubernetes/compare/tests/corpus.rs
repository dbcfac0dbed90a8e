//! Every leaf of every object of the corpus, changed and removed.

use serde_json::{Value, json};

use super::{
    super::{
        lists::{self, ListRule},
        path::{Path, Step},
        *,
    },
    paths,
};

/// The objects of `tests/data/objects`.
pub(crate) fn corpus() -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/objects");
    let mut objects: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect();
    objects.sort_by(|left, right| left.0.cmp(&right.0));
    objects
}

/// One leaf of an object: a scalar, or an empty map or list.
pub(crate) struct Leaf {
    /// Where it is, as a JSON pointer.
    pub(crate) pointer: String,
    /// The path by which a change of it must be reported.
    pub(crate) path: String,
    /// It is the last step of the pointer that is a key of a map.
    pub(crate) in_map: bool,
    /// The server-set field that it belongs to.
    pub(crate) server_set: Option<&'static str>,
}

struct Leaves<'a> {
    kind: GroupKind<'a>,
    aggregated: bool,
    found: Vec<Leaf>,
}

/// Every leaf of `object`.
pub(crate) fn leaves(object: &Value) -> Vec<Leaf> {
    let aggregated = object.get("aggregationRule").is_some();
    let mut leaves = Leaves { kind: GroupKind::of(object), aggregated, found: Vec::new() };
    leaves.walk(object, &mut Path::default(), String::new(), None, None);
    leaves.found
}

impl Leaves<'_> {
    /// `whole`: the path of the item or element of which a change here changes the identity.
    fn walk(
        &mut self,
        value: &Value,
        path: &mut Path,
        pointer: String,
        whole: Option<&str>,
        server_set: Option<&'static str>,
    ) {
        let mut pattern = String::new();
        path.pattern(&mut pattern);
        let here = SERVER_SET.iter().find(|entry| {
            entry.path == pattern
                && (entry.kind.0 == "*" || (self.aggregated && self.kind.is(entry.kind.0, entry.kind.1)))
        });
        let server_set = server_set.or(here.map(|entry| entry.path));
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    path.push(Step::Key(key.clone()));
                    self.walk(value, path, pointer, whole, server_set);
                    path.pop();
                }
            }
            Value::Array(items) if !items.is_empty() => self.list(items, path, &pointer, (whole, server_set), &pattern),
            _ => {
                let in_map = pointer.rsplit('/').next().is_none_or(|last| last.parse::<usize>().is_err());
                let path = whole.map_or_else(|| path.to_string(), str::to_owned);
                self.found.push(Leaf { pointer, path, in_map, server_set });
            }
        }
    }

    fn list(
        &mut self,
        items: &[Value],
        path: &mut Path,
        pointer: &str,
        (whole, server_set): (Option<&str>, Option<&'static str>),
        pattern: &str,
    ) {
        let rule = lists::rule_of(self.kind, pattern);
        let keys = match rule {
            ListRule::Keys(keys) | ListRule::OrderedKeys(keys) => identities(keys, items),
            _ => Vec::new(),
        };
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            match rule {
                ListRule::Position => {
                    path.push(Step::Index(index));
                    self.walk(item, path, pointer, whole, server_set);
                }
                ListRule::Set => {
                    path.push(Step::Element(plain(item)));
                    let shown = path.to_string();
                    self.walk(item, path, pointer, Some(&shown), server_set);
                }
                ListRule::Keys(names) | ListRule::OrderedKeys(names) => {
                    let (values, nth) = keys[index].clone();
                    path.push(Step::Item(names.iter().copied().zip(values).collect(), nth));
                    let shown = path.to_string();
                    for (key, value) in item.as_object().unwrap() {
                        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                        path.push(Step::Key(key.clone()));
                        // A changed key makes it another item.
                        let whole = if names.contains(&key.as_str()) { Some(shown.as_str()) } else { whole };
                        self.walk(value, path, pointer, whole, server_set);
                        path.pop();
                    }
                }
            }
            path.pop();
        }
    }
}

/// Another value of the same sort.
pub(crate) fn changed(value: &Value) -> Value {
    match value {
        Value::Null => json!("no longer null"),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!(number + 1_000_003),
            None => json!(number.as_f64().unwrap() * 3.0 + 1.0),
        },
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(_) | Value::Object(_) => json!("no longer empty"),
    }
}

/// `object` without the field at `pointer`.
pub(crate) fn without(object: &Value, pointer: &str) -> Value {
    let mut object = object.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&key);
    object
}

#[test]
fn every_changed_leaf_of_every_kind_is_reported_by_its_path_or_is_server_set() {
    let objects = corpus();
    let kinds: std::collections::BTreeSet<String> =
        objects.iter().map(|(_, object)| format!("{} {}", object["apiVersion"], object["kind"])).collect();
    let mut exempt: std::collections::BTreeMap<&str, u32> = SERVER_SET.iter().map(|entry| (entry.path, 0)).collect();
    let (mut reported, mut removed) = (0, 0);
    for (name, object) in &objects {
        assert_eq!(compare(object, object), Comparison::default(), "{name}");
        let mut live = object.clone();
        for leaf in leaves(object) {
            let place = live.pointer_mut(&leaf.pointer).unwrap();
            let kept = place.clone();
            *place = changed(place);
            let found = paths(object, &live);
            *live.pointer_mut(&leaf.pointer).unwrap() = kept;
            if let Some(field) = leaf.server_set {
                assert!(found.is_empty(), "{name}: {} is server-set and reported", leaf.pointer);
                *exempt.entry(field).or_default() += 1;
                continue;
            }
            assert_eq!(found, [leaf.path.as_str()], "{name}: {}", leaf.pointer);
            reported += 1;
            if leaf.in_map && !object.pointer(&leaf.pointer).unwrap().is_null() {
                let found = paths(object, &without(object, &leaf.pointer));
                assert_eq!(found, [leaf.path.as_str()], "{name}: {} removed", leaf.pointer);
                removed += 1;
            }
        }
    }
    println!("{} objects of {} kinds", objects.len(), kinds.len());
    println!("{reported} changed leaves and {removed} removed ones, each reported by exactly its path");
    println!("server-set fields, and the leaves in them:");
    for entry in SERVER_SET {
        println!("  {:5} {} {} ({})", exempt[entry.path], entry.kind.1, entry.path, entry.why);
    }
    assert!(kinds.len() >= 50, "{kinds:#?}");
    assert!(reported > 1_600 && removed > 1_500, "{reported} {removed}");
}
