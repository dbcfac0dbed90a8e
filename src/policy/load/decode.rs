//! Reads tables, lists and values out of a tree, and gathers what is wrong with them.

use std::{collections::BTreeMap, fmt::Display};

use super::{
    node::{Key, Node, Value},
    problem::{Place, Problem, may_hold_secret},
};
use crate::types::{Name, distance};

/// Gathers the problems of a file. Every method returns what it could read, and goes on.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pub(super) problems: Vec<Problem>,
}

/// A table whose keys were checked.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// How messages name it: `repository`, `schedules.daily`.
    pub(super) path: String,
    pub(super) place: Place,
    entries: BTreeMap<&'a str, (&'a Key, &'a Node)>,
}

impl<'a> Table<'a> {
    /// The value under `key`, unless it is absent or says nothing.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|(_, node)| node).filter(|node| !matches!(node.value, Value::Null))
    }

    /// Key and value under `key`.
    pub(super) fn entry(&self, key: &str) -> Option<(&'a Key, &'a Node)> {
        self.entries.get(key).copied()
    }

    /// All keys and values, in the order of the keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a Key, &'a Node)> {
        self.entries.values().copied()
    }

    /// How messages name what is under `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Decoder {
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn wrong(&mut self, place: Place, message: impl Into<String>) {
        self.report(Problem::new(place, message));
    }

    fn wrong_type(&mut self, node: &Node, path: &str, expected: &str) {
        self.wrong(node.place, format!("`{path}` must be {expected}, and is {}", node.kind()));
    }

    /// A table that may have the keys of `known`; `later` are those that a later version will know.
    pub(super) fn table<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        known: &[&str],
        later: &[&str],
    ) -> Option<Table<'a>> {
        let table = self.any_table(node, path)?;
        for (key, value) in table.entries.values() {
            if !known.contains(&key.name.as_str()) {
                self.unknown_key(key, value, path, known, later);
            }
        }
        Some(table)
    }

    /// A table with any keys, each at most once.
    pub(super) fn any_table<'a>(&mut self, node: &'a Node, path: &str) -> Option<Table<'a>> {
        let Value::Table(list) = &node.value else {
            self.wrong_type(node, path, "keys and values");
            return None;
        };
        let mut entries: BTreeMap<&str, (&Key, &Node)> = BTreeMap::new();
        for (key, value) in list {
            match entries.get(key.name.as_str()) {
                Some((first, _)) => {
                    let message =
                        format!("`{}` is here a second time; the first is in line {}", key.name, first.place.line);
                    self.wrong(key.place, message);
                }
                None => {
                    entries.insert(&key.name, (key, value));
                }
            }
        }
        Some(Table { path: path.to_owned(), place: node.place, entries })
    }

    fn unknown_key(&mut self, key: &Key, value: &Node, path: &str, known: &[&str], later: &[&str]) {
        let name = key.name.as_str();
        let holds_secret = may_hold_secret(name) && !matches!(value.value, Value::Table(_));
        if holds_secret {
            self.inline_secret(key.place, name);
            return;
        }
        let place = if path.is_empty() { "at the top".to_owned() } else { format!("in `{path}`") };
        let problem = Problem::new(key.place, format!("unknown key `{name}` {place}"));
        let near = known.iter().map(|k| (distance(name, k), k)).min().filter(|(far, k)| *far <= 1 + k.len() / 4);
        self.report(match near {
            _ if later.contains(&name) => problem.help(format!("`{name}` is not in this version of drctl")),
            Some((_, near)) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("known here: {}", known.join(", "))),
        });
    }

    pub(super) fn inline_secret(&mut self, place: Place, path: &str) {
        let message = format!("`{path}` has a secret in it; a policy names secrets and never holds them");
        let help = format!(
            "write `{path}: {{env: VARIABLE}}` or `{path}: {{file: /path}}`, and change the secret: it was in a file"
        );
        self.report(Problem::new(place, message).help(help).hidden());
    }

    /// What must be there: the value under `key`.
    pub(super) fn required<'a>(&mut self, table: &Table<'a>, key: &str) -> Option<&'a Node> {
        let path = table.path_of(key);
        match table.entry(key) {
            Some((key, Node { value: Value::Null, .. })) => self.wrong(key.place, format!("`{path}` has no value")),
            Some((_, node)) => return Some(node),
            None => self.wrong(table.place, format!("`{path}` is missing")),
        }
        None
    }

    pub(super) fn text<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) if text.is_empty() => self.wrong(node.place, format!("`{path}` is empty")),
            Value::Text(text) => return Some(text),
            Value::Number(_) | Value::Bool(_) => {
                let message = format!("`{path}` must be a text, and is {}", node.kind());
                self.report(Problem::new(node.place, message).help("put it in quotes"));
            }
            _ => self.wrong_type(node, path, "a text"),
        }
        None
    }

    pub(super) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(node, path, "true or false");
                None
            }
        }
    }

    pub(super) fn count(&mut self, node: &Node, path: &str) -> Option<u32> {
        let number = match &node.value {
            Value::Number(number) => number.parse().ok().filter(|number| *number >= 1),
            _ => {
                self.wrong_type(node, path, "a whole number");
                return None;
            }
        };
        if number.is_none() {
            self.wrong(node.place, format!("`{path}` must be a whole number from 1"));
        }
        number
    }

    /// A text that `read` makes a value of; its error is the problem.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        node: &Node,
        path: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(node, path)?;
        read(text).map_err(|error| self.wrong(node.place, error.to_string())).ok()
    }

    /// A list that is not empty.
    pub(super) fn list<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(items) if items.is_empty() => self.wrong(node.place, format!("`{path}` is empty")),
            Value::List(items) => return Some(items),
            _ => self.wrong_type(node, path, "a list"),
        }
        None
    }

    /// The items of a list of texts, each at most once.
    pub(super) fn texts<'a>(&mut self, node: &'a Node, path: &str) -> Option<Vec<(Place, &'a str)>> {
        let mut texts: Vec<(Place, &str)> = Vec::new();
        for item in self.list(node, path)? {
            if let Some(text) = self.text(item, &format!("{path}[]")) {
                if texts.iter().any(|(_, other)| *other == text) {
                    self.wrong(item.place, format!("`{text}` is in `{path}` a second time"));
                } else {
                    texts.push((item.place, text));
                }
            }
        }
        Some(texts)
    }

    /// A table with any keys, at least one: each key at most once, with its value.
    pub(super) fn entries<'a>(&mut self, node: &'a Node, path: &str) -> Vec<(&'a Key, &'a Node)> {
        let Some(table) = self.any_table(node, path) else { return Vec::new() };
        if table.entries.is_empty() {
            self.wrong(node.place, format!("`{path}` is empty"));
        }
        table.entries.into_values().collect()
    }

    /// Any value, as JSON has it.
    pub(super) fn json(&mut self, node: &Node, path: &str) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(number) => {
                let number = serde_json::from_str(number).ok();
                if number.is_none() {
                    self.wrong(node.place, format!("`{path}` is a number that JSON does not have"));
                }
                number.unwrap_or_default()
            }
            Value::Text(text) => serde_json::Value::String(text.clone()),
            Value::List(items) => items.iter().map(|item| self.json(item, path)).collect(),
            Value::Table(_) => {
                let Some(table) = self.any_table(node, path) else { return serde_json::Value::Null };
                let fields = table.entries.into_values();
                fields.map(|(key, value)| (key.name.clone(), self.json(value, path))).collect()
            }
        }
    }

    /// A table of things by name, at least one.
    pub(super) fn named<'a>(&mut self, node: &'a Node, path: &str) -> Vec<(Name, &'a Key, &'a Node)> {
        let Some(table) = self.any_table(node, path) else { return Vec::new() };
        if table.entries.is_empty() {
            self.wrong(node.place, format!("`{path}` is empty"));
        }
        let mut named = Vec::new();
        for (key, value) in table.entries.into_values() {
            match Name::new(key.name.as_str()) {
                Ok(name) => named.push((name, key, value)),
                Err(error) => self.wrong(key.place, error.to_string()),
            }
        }
        named
    }
}
