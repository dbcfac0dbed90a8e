//! YAML text → a tree in which everything knows its place.
//!
//! The tree is read without a schema, so that the checks that follow can name every problem of a
//! file and not only the first.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Location, Spanned,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

use super::problem::{Place, Problem};

/// One value of a file, and where it is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number, as it would be shown.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Keys in the order of the file, those that come twice included.
    Table(Vec<(Key, Node)>),
}

/// A key of a table, and where it is.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

impl Node {
    /// The first value under `key`, if this is a table that has it.
    pub(super) fn at(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|(it, _)| it.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What the value is, in words, for messages. It never shows the value.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "keys and values",
        }
    }
}

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    // A policy of a thousand namespaces has some thousand nodes. What needs more is no policy.
    let options = options(1, 50_000);
    serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
        .map(Node::from)
        .map_err(|error| problem(&error, text))
}

/// Reads every YAML document of a text; those that hold nothing are passed over.
pub(super) fn read_all(text: &str) -> Result<Vec<Node>, Problem> {
    let options = options(1_000, 200_000);
    serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options)
        .map(|all| all.into_iter().map(Node::from).collect())
        .map_err(|error| problem(&error, text))
}

fn options(documents: usize, nodes: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: documents,
            max_depth: 32,
            max_nodes: nodes,
            max_events: nodes * 2,
            max_aliases: 1_000,
            max_anchors: 100,
            max_total_scalar_bytes: 4 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn problem(error: &serde_saphyr::Error, text: &str) -> Problem {
    let place = error.location().map_or_else(Place::start, Place::from);
    Problem::new(place, without_place(&error.to_string())).hidden_if_secret(text)
}

/// The parser's message without the place that it ends with, which is shown in front.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line.get(..end).unwrap_or(line).trim_end_matches(['.', ',', ':']).to_owned()
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { place: Place::from(spanned.defined), value: spanned.value }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()).max(1),
            column: number(location.column()).max(1),
            length: number(location.span().len()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Spanned<Value>>()? {
            nodes.push(Node::from(node));
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = table.next_key::<Spanned<String>>()? {
            let node = Node::from(table.next_value::<Spanned<Value>>()?);
            entries.push((Key { place: Place::from(key.defined), name: key.value }, node));
        }
        Ok(Value::Table(entries))
    }
}
