//! The file of `drctl restore --modifiers`: what is changed in objects before they are created.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{
    InvalidPolicy, LoadError,
    decode::{Decoder, Table},
    node::{self, Node, Value},
    problem::{Place, Problem},
    read_text,
    source::{kind_pattern, selector},
};
use crate::{policy::embed::API_VERSION, types::LabelSelector};

const KIND: &str = "Modifiers";
const TOP: [&str; 5] = ["apiVersion", "kind", "storageClasses", "images", "rules"];
const RULE: [&str; 5] = ["kind", "name", "namespace", "selector", "patch"];

/// A file of modifiers, and where each of them is written.
#[derive(Debug, Clone)]
pub struct ModifierFile {
    path: PathBuf,
    text: String,
    /// Rules for objects of some kinds.
    pub rules: Vec<RuleEntry>,
    /// Storage classes.
    pub storage_classes: Vec<Replacement>,
    /// Images, or what they begin with.
    pub images: Vec<Replacement>,
}

/// One text in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Where it is written: `modifiers.yaml:3:5`.
    pub at: String,
    /// What is in the backup.
    pub old: String,
    /// What is put in its place.
    pub new: String,
    place: Place,
}

/// A JSON patch for some objects.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEntry {
    /// Where it is written: `modifiers.yaml:7:5`.
    pub at: String,
    /// The kind (`plural.group`), by name or pattern.
    pub kind: String,
    /// The name, by name or pattern.
    pub name: Option<String>,
    /// The namespace in the backup, by name or pattern.
    pub namespace: Option<String>,
    /// The labels in the backup.
    pub selector: Option<LabelSelector>,
    /// The operations, at least one.
    pub patch: Vec<PatchEntry>,
    place: Place,
}

/// One operation of a JSON patch (RFC 6902), as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchEntry {
    /// Where it is written: `modifiers.yaml:9:9`.
    pub at: String,
    /// `{"op": ..., "path": ..., ...}`; its fields were checked.
    pub operation: Json,
}

/// One modifier of a file, by its place in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModifierKey {
    /// A rule.
    Rule(usize),
    /// A storage class.
    StorageClass(usize),
    /// An image.
    Image(usize),
}

impl ModifierFile {
    /// How it is called.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file, as an error, with those of its modifiers that are about nothing in a backup.
    #[must_use]
    pub fn match_nothing(&self, modifiers: &[ModifierKey]) -> InvalidPolicy {
        let problem = |key: &ModifierKey| match *key {
            ModifierKey::Rule(place) => {
                let rule = self.rules.get(place);
                let message = "this rule is about no object that is restored";
                let help = "its kind, name, namespace and selector must fit an object as it is in the backup, and its `test`s must hold";
                Problem::new(rule.map_or_else(Place::start, |rule| rule.place), message).help(help)
            }
            ModifierKey::StorageClass(place) => of(self.storage_classes.get(place), "storage class"),
            ModifierKey::Image(place) => of(self.images.get(place), "image"),
        };
        let problems = modifiers.iter().map(problem).collect();
        InvalidPolicy::of("does not fit what is restored", self.path.clone(), &self.text, problems)
    }
}

fn of(replacement: Option<&Replacement>, what: &str) -> Problem {
    let place = replacement.map_or_else(Place::start, |it| it.place);
    let old = replacement.map(|it| it.old.as_str()).unwrap_or_default();
    Problem::new(place, format!("no object that is restored has the {what} `{old}`"))
        .help("write it as the objects have it; `drctl export` shows them")
}

/// Loads the modifiers in the file `path`, which is read once.
///
/// # Errors
/// [`LoadError`]: all problems of the file at once, each with line and column.
pub fn load_modifiers(path: &Path) -> Result<ModifierFile, LoadError> {
    Ok(parse_modifiers(path, &read_text(path, "file of modifiers")?)?)
}

/// Reads the modifiers that `text` is; `path` is only for the messages.
///
/// # Errors
/// [`InvalidPolicy`] with all problems.
pub fn parse_modifiers(path: &Path, text: &str) -> Result<ModifierFile, InvalidPolicy> {
    let invalid = |problems| InvalidPolicy::of("is not a valid file of modifiers", path.to_owned(), text, problems);
    let root = node::read(text).map_err(|problem| invalid(vec![problem]))?;
    let mut reader = Reader { decoder: Decoder::default(), file: path.display().to_string() };
    let mut file = ModifierFile {
        path: path.to_owned(),
        text: text.to_owned(),
        rules: Vec::new(),
        storage_classes: Vec::new(),
        images: Vec::new(),
    };
    reader.file(&root, &mut file);
    if reader.decoder.problems.is_empty() { Ok(file) } else { Err(invalid(reader.decoder.problems)) }
}

struct Reader {
    decoder: Decoder,
    /// How messages name the file.
    file: String,
}

impl Reader {
    fn file(&mut self, root: &Node, file: &mut ModifierFile) {
        if matches!(root.value, Value::Null) {
            self.decoder.wrong(Place::start(), "the file is empty");
            return;
        }
        let Some(top) = self.decoder.table(root, "", &TOP, &[]) else { return };
        for (key, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            let Some(node) = self.decoder.required(&top, key) else { continue };
            if let Some(found) = self.decoder.text(node, key)
                && found != expected
            {
                self.decoder.wrong(node.place, format!("`{key}` must be `{expected}`, and is `{found}`"));
            }
        }
        let lists = ["storageClasses", "images", "rules"].map(|key| top.get(key));
        if lists.iter().all(Option::is_none) {
            let problem = Problem::new(Place::start(), "the file changes nothing");
            self.decoder.report(problem.help("give it `rules`, `storageClasses` or `images`"));
        }
        let [classes, images, rules] = lists;
        file.storage_classes = classes.map(|node| self.replacements(node, "storageClasses")).unwrap_or_default();
        file.images = images.map(|node| self.replacements(node, "images")).unwrap_or_default();
        let rules = rules.and_then(|node| self.decoder.list(node, "rules")).unwrap_or_default();
        file.rules = rules.iter().filter_map(|node| self.rule(node)).collect();
    }

    fn at(&self, place: Place) -> String {
        format!("{}:{}:{}", self.file, place.line, place.column)
    }

    fn replacements(&mut self, node: &Node, path: &str) -> Vec<Replacement> {
        let mut found = Vec::new();
        for (key, value) in self.decoder.entries(node, path) {
            let Some(new) = self.decoder.text(value, &format!("{path}.{}", key.name)) else { continue };
            if key.name.is_empty() {
                self.decoder.wrong(key.place, format!("a key of `{path}` is empty"));
            } else if key.name == new {
                self.decoder.wrong(key.place, format!("`{new}` is put in its own place"));
            } else {
                let (at, place) = (self.at(key.place), key.place);
                found.push(Replacement { at, old: key.name.clone(), new: new.to_owned(), place });
            }
        }
        found
    }

    fn rule(&mut self, node: &Node) -> Option<RuleEntry> {
        let table = self.decoder.table(node, "rules[]", &RULE, &["match", "mergePatch", "strategicPatch"])?;
        let kind = self.decoder.required(&table, "kind");
        let kind = kind.and_then(|node| kind_pattern(&mut self.decoder, node, "rules[].kind"));
        let name = self.pattern(&table, "name");
        let namespace = self.pattern(&table, "namespace");
        let selector = table.get("selector").and_then(|node| selector(&mut self.decoder, node, "rules[].selector"));
        let patch = self.decoder.required(&table, "patch");
        let patch = patch.and_then(|node| self.decoder.list(node, "rules[].patch")).unwrap_or_default();
        let patch: Vec<PatchEntry> = patch.iter().filter_map(|node| self.operation(node)).collect();
        let (at, place) = (self.at(table.place), table.place);
        if !patch.is_empty() && patch.iter().all(|it| it.operation.get("op") == Some(&json!("test"))) {
            self.decoder.wrong(place, "this rule only tests, and changes nothing");
        }
        Some(RuleEntry { at, kind: kind?, name, namespace, selector, patch, place })
    }

    fn pattern(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        let node = table.get(key)?;
        self.decoder.text(node, &table.path_of(key)).map(str::to_owned)
    }

    fn operation(&mut self, node: &Node) -> Option<PatchEntry> {
        let path = "rules[].patch[]";
        let table = self.decoder.table(node, path, &["op", "path", "from", "value"], &[])?;
        let op = self.decoder.required(&table, "op")?;
        let word = self.decoder.text(op, "op")?;
        let needed = match word {
            "add" | "replace" | "test" => "value",
            "copy" | "move" => "from",
            "remove" => "",
            _ => {
                let problem = Problem::new(op.place, format!("`{word}` is no operation of a JSON patch"));
                self.decoder.report(problem.help("known: add, remove, replace, move, copy, test"));
                return None;
            }
        };
        let mut operation = json!({ "op": word });
        for key in ["path", "from", "value"] {
            let wanted = key == "path" || key == needed;
            match table.entry(key) {
                Some((key, _)) if !wanted => {
                    self.decoder.wrong(key.place, format!("`{}` does not go with `{word}`", key.name));
                }
                None if wanted => self.decoder.wrong(table.place, format!("`{word}` needs `{key}`")),
                // A value may be null; a path may not.
                Some((_, node)) if key == "value" => {
                    operation["value"] = self.decoder.json(node, "value");
                }
                Some((_, node)) => {
                    let changes = word != "test" && (key == "path" || word == "move");
                    operation[key] = json!(self.pointer(node, key, changes)?);
                }
                None => {}
            }
        }
        Some(PatchEntry { at: self.at(table.place), operation })
    }

    /// A JSON pointer; one that `changes` what it leads to must not lead to what an object is known by.
    fn pointer(&mut self, node: &Node, key: &str, changes: bool) -> Option<String> {
        let text = self.decoder.text(node, key)?;
        let wrong = match tokens(text) {
            None => {
                Some(format!("`{text}` is no path of a JSON patch: it begins with `/`, and has `~` only as ~0 and ~1"))
            }
            Some(tokens) if changes => reserved(&tokens).map(|why| format!("`{text}` {why}")),
            Some(_) => None,
        };
        match wrong {
            None => Some(text.to_owned()),
            Some(message) => {
                self.decoder.wrong(node.place, message);
                None
            }
        }
    }
}

/// The steps of a JSON pointer; `None` if it is none, or leads to the whole document.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    let rest = pointer.strip_prefix('/')?;
    let token = |text: &str| {
        let plain = text.replace("~0", "").replace("~1", "");
        (!plain.contains('~')).then(|| text.replace("~1", "/").replace("~0", "~"))
    };
    rest.split('/').map(token).collect()
}

/// Why no modifier may change what is at a pointer, if so.
fn reserved(tokens: &[String]) -> Option<&'static str> {
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    match tokens.as_slice() {
        ["apiVersion" | "kind" | "metadata"] | ["metadata", "name" | "namespace" | "uid", ..] => Some(
            "is what an object is known by, and no modifier changes it; a namespace is mapped with --map-namespace",
        ),
        ["status", ..]
        | [
            "metadata",
            "creationTimestamp"
            | "deletionGracePeriodSeconds"
            | "deletionTimestamp"
            | "generation"
            | "managedFields"
            | "resourceVersion"
            | "selfLink",
            ..,
        ] => Some("is set by the server, and not restored"),
        ["metadata", "ownerReferences", ..] => Some("is put back by the restore itself, with the owners' new uids"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"apiVersion: drctl/v1
kind: Modifiers
storageClasses: {gp2: gp3}
images:
  docker.io/: registry.example.org/mirror/
rules:
  - kind: deployments.apps
    name: "web-*"
    namespace: shop
    selector: tier in (front, edge)
    patch:
      - {op: test, path: /spec/paused, value: null}
      - {op: replace, path: /spec/replicas, value: 1}
      - {op: add, path: /metadata/annotations/example.org~1clone, value: {a: [1.5, true, "x"]}}
"#;

    fn read(text: &str) -> Result<ModifierFile, InvalidPolicy> {
        parse_modifiers(Path::new("m.yaml"), text)
    }

    #[test]
    fn a_good_file_is_read_whole_and_each_place_is_known() {
        let file = read(GOOD).unwrap();
        let [rule] = file.rules.as_slice() else { panic!("{file:?}") };
        assert_eq!((rule.at.as_str(), rule.kind.as_str()), ("m.yaml:7:5", "deployments.apps"));
        assert_eq!((rule.name.as_deref(), rule.namespace.as_deref()), (Some("web-*"), Some("shop")));
        assert_eq!(rule.selector.as_ref().unwrap().to_string(), "tier in (front,edge)");
        let operations: Vec<&Json> = rule.patch.iter().map(|it| &it.operation).collect();
        assert_eq!(
            operations,
            [
                &json!({"op": "test", "path": "/spec/paused", "value": null}),
                &json!({"op": "replace", "path": "/spec/replicas", "value": 1}),
                &json!({"op": "add", "path": "/metadata/annotations/example.org~1clone", "value": {"a": [1.5, true, "x"]}}),
            ]
        );
        assert_eq!(rule.patch[1].at, "m.yaml:13:9");
        let [image] = file.images.as_slice() else { panic!("{file:?}") };
        assert_eq!((image.at.as_str(), image.old.as_str()), ("m.yaml:5:3", "docker.io/"));
        assert_eq!(file.storage_classes[0].new, "gp3");
    }

    #[test]
    fn every_problem_is_named_at_its_place() {
        for (from, to, expected) in [
            ("kind: Modifiers", "kind: Policy", "2:7: `kind` must be `Modifiers`, and is `Policy`"),
            ("images:", "image:", "4:1: unknown key `image` at the top"),
            ("{gp2: gp3}", "{gp2: gp2}", "3:18: `gp2` is put in its own place"),
            ("{gp2: gp3}", "{gp2: gp3, gp2: gp4}", "3:28: `gp2` is here a second time"),
            ("{gp2: gp3}", "{gp2: 3}", "3:23: `storageClasses.gp2` must be a text, and is a number"),
            ("kind: deployments.apps", "kind: Deployment", "7:11: `Deployment` is no kind"),
            ("kind: deployments.apps\n    name", "name", "7:5: `rules[].kind` is missing"),
            ("tier in (front, edge)", "tier in front", "10:15: `tier in front` is not a label selector"),
            ("op: replace", "op: set", "13:14: `set` is no operation of a JSON patch"),
            ("value: 1}", "from: /a}", "13:45: `from` does not go with `replace`"),
            (
                "replace, path: /spec/replicas, value: 1",
                "replace, path: /spec/replicas",
                "13:9: `replace` needs `value`",
            ),
            ("op: replace, path: /spec/replicas, value: 1", "op: remove", "13:9: `remove` needs `path`"),
            ("/spec/replicas", "spec/replicas", "13:29: `spec/replicas` is no path of a JSON patch"),
            ("/spec/replicas", "/spec/~2", "13:29: `/spec/~2` is no path of a JSON patch"),
            ("/spec/replicas", "/metadata/name", "13:29: `/metadata/name` is what an object is known by"),
            ("/spec/replicas", "/metadata/namespace", "13:29: `/metadata/namespace` is what an object is known by"),
            ("/spec/replicas", "/apiVersion", "13:29: `/apiVersion` is what an object is known by"),
            ("/spec/replicas", "/metadata", "13:29: `/metadata` is what an object is known by"),
            ("/spec/replicas", "/status/x", "13:29: `/status/x` is set by the server"),
            ("/spec/replicas", "/metadata/ownerReferences/0", "13:29: `/metadata/ownerReferences/0` is put back by"),
            (
                "op: replace, path: /spec/replicas, value: 1",
                "op: move, path: /spec/x, from: /metadata/uid",
                "13:41: `/metadata/uid` is what an object is known by",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let invalid = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            let found: Vec<String> = invalid
                .problems()
                .iter()
                .map(|it| format!("{}:{}: {}", it.line(), it.column(), it.message()))
                .collect();
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{to}: {found:?}");
        }
        let only_tests = "apiVersion: drctl/v1\nkind: Modifiers\nrules:\n- kind: secrets\n  patch: [{op: test, path: /a, value: 1}]\n";
        assert!(read(only_tests).unwrap_err().to_string().contains("m.yaml:4:3: this rule only tests"));
        assert!(
            read("apiVersion: drctl/v1\nkind: Modifiers\n")
                .unwrap_err()
                .to_string()
                .contains("the file changes nothing")
        );
        let words = read("").unwrap_err().to_string();
        assert!(
            words.starts_with("`m.yaml` is not a valid file of modifiers (1 problem); nothing was touched"),
            "{words}"
        );
    }

    #[test]
    fn what_matches_nothing_is_shown_where_it_is_written() {
        let file = read(GOOD).unwrap();
        let all = [ModifierKey::Rule(0), ModifierKey::StorageClass(0), ModifierKey::Image(0)];
        let words = file.match_nothing(&all).to_string();
        assert!(
            words.starts_with("`m.yaml` does not fit what is restored (3 problems); nothing was touched"),
            "{words}"
        );
        for place in [
            "m.yaml:3:18: no object that is restored has the storage class `gp2`\n",
            "m.yaml:5:3: no object that is restored has the image `docker.io/`\n",
            "m.yaml:7:5: this rule is about no object that is restored\n",
        ] {
            assert!(words.contains(place), "{words}");
        }
    }

    #[test]
    fn a_path_is_read_as_json_pointers_are() {
        assert_eq!(tokens("/a~1b/c~0d/"), Some(vec!["a/b".to_owned(), "c~d".to_owned(), String::new()]));
        assert_eq!(tokens("/~01"), Some(vec!["~1".to_owned()]));
        assert_eq!((tokens(""), tokens("a"), tokens("/~"), tokens("/~2")), (None, None, None, None));
    }
}
