//! Label selectors, in the form of `kubectl --selector`.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Which labels an object must have: `app=web, tier in (front, edge), !legacy`. All of its parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// What must hold of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// The label is there, and has one of these values.
    In(Vec<String>),
    /// The label has none of these values, or is not there.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    Absent,
}

/// A text that is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a label selector: {reason}; write it like `app=web,tier in (front, edge),!legacy`",
    super::for_terminal(text)
)]
pub struct InvalidSelector {
    text: String,
    reason: String,
}

/// A longer key or value is none that the API server takes: 253 for a prefix, 63 for a name, and the `/`.
const LONGEST: usize = 317;

impl LabelSelector {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let invalid = |reason: String| InvalidSelector { text: text.to_owned(), reason };
        let requirements = parts(text).map_err(invalid)?.into_iter().map(requirement).collect::<Result<Vec<_>, _>>();
        let requirements = requirements.map_err(invalid)?;
        if requirements.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        Ok(Self { requirements })
    }
}

/// The text between the commas that are not in parentheses.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut from, mut open) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if open => return Err("a `(` inside of parentheses".to_owned()),
            '(' => open = true,
            ')' if !open => return Err("a `)` without its `(`".to_owned()),
            ')' => open = false,
            ',' if !open => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err("a `(` without its `)`".to_owned());
    }
    parts.push(text.get(from..).unwrap_or_default());
    Ok(if parts.iter().all(|part| part.trim().is_empty()) && parts.len() == 1 { Vec::new() } else { parts })
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let part = part.trim();
    if part.is_empty() {
        return Err("there is nothing between two commas".to_owned());
    }
    if let Some(open) = part.find('(') {
        return set(part.get(..open).unwrap_or_default(), part.get(open + 1..).unwrap_or_default());
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement { key: checked_key(key)?, test: Test::NotIn(vec![checked_value(value)?]) });
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement { key: checked_key(key)?, test: Test::In(vec![checked_value(value)?]) });
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement { key: checked_key(key)?, test: Test::Absent }),
        None => Ok(Requirement { key: checked_key(part)?, test: Test::Exists }),
    }
}

/// `tier in (front, edge)`, cut at the `(`.
fn set(before: &str, after: &str) -> Result<Requirement, String> {
    let values = after.strip_suffix(')').ok_or("something follows a `)`")?;
    let mut words = before.split_whitespace();
    let (key, word, more) = (words.next(), words.next(), words.next());
    let (Some(key), Some(word @ ("in" | "notin")), None) = (key, word, more) else {
        return Err("before a `(` there must be `KEY in` or `KEY notin`".to_owned());
    };
    let values = values.split(',').map(checked_value).collect::<Result<Vec<_>, _>>()?;
    let test = if word == "in" { Test::In(values) } else { Test::NotIn(values) };
    Ok(Requirement { key: checked_key(key)?, test })
}

fn checked_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_domain =
        |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let fits =
        !name.is_empty() && is_value(name) && prefix.is_none_or(|prefix| !prefix.is_empty() && is_domain(prefix));
    if fits && key.len() <= LONGEST { Ok(key.to_owned()) } else { Err(format!("`{key}` is no key of a label")) }
}

fn checked_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    if is_value(value) { Ok(value.to_owned()) } else { Err(format!("`{value}` is no value of a label")) }
}

/// At most 63 of letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends; or nothing.
fn is_value(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inside(*b)) && edge(bytes.first()) && edge(bytes.last())
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", values.join(","))?,
                },
                Test::NotIn(values) => match values.as_slice() {
                    [value] => write!(f, "{key}!={value}")?,
                    values => write!(f, "{key} notin ({})", values.join(","))?,
                },
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = InvalidSelector;

    fn try_from(text: String) -> Result<Self, InvalidSelector> {
        text.parse()
    }
}

impl From<LabelSelector> for String {
    fn from(selector: LabelSelector) -> Self {
        selector.to_string()
    }
}

impl JsonSchema for LabelSelector {
    fn schema_name() -> Cow<'static, str> {
        "LabelSelector".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "description": "A label selector: `app=web,tier in (front, edge),!legacy`." })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
        selector.parse::<LabelSelector>().unwrap().matches(&labels(pairs))
    }

    #[test]
    fn each_form_of_kubectl_is_read() {
        let web = &[("app", "web"), ("example.org/tier", "front")][..];
        for (selector, expected) in [
            ("app=web", true),
            ("app==web", true),
            (" app = web , example.org/tier = front ", true),
            ("app=db", false),
            ("app!=web", false),
            ("app!=db", true),
            ("other!=x", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db, cache)", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("other", false),
            ("!other", true),
            ("! app", false),
            ("app=web,!other,example.org/tier in (front,edge)", true),
            ("app=", false),
        ] {
            assert_eq!(matches(selector, web), expected, "{selector}");
        }
        assert!(matches("app=", &[("app", "")]), "an empty value is a value");
    }

    #[test]
    fn what_is_no_selector_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("app=web,", "nothing between two commas"),
            (",app", "nothing between two commas"),
            ("app in web", "`app in web` is no key"),
            ("app in (web", "a `(` without its `)`"),
            ("app in web)", "a `)` without its `(`"),
            ("app in ((web))", "a `(` inside"),
            ("app of (web)", "before a `(`"),
            ("app in (web) x", "something follows"),
            ("=web", "`` is no key"),
            ("app=we b", "`we b` is no value"),
            ("app=-web", "`-web` is no value"),
            ("EXAMPLE/app=web", "is no key"),
            ("/app=web", "is no key"),
            ("app=a=b", "`a=b` is no value"),
        ] {
            let error = bad.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    fn any_selector() -> impl Strategy<Value = LabelSelector> {
        let value = || "[ab]{0,2}";
        let test = prop_oneof![
            proptest::collection::vec(value(), 1..3).prop_map(Test::In),
            proptest::collection::vec(value(), 1..3).prop_map(Test::NotIn),
            Just(Test::Exists),
            Just(Test::Absent),
        ];
        let requirement = ("[ab]|e\\.x/[ab]", test).prop_map(|(key, test)| Requirement { key, test });
        proptest::collection::vec(requirement, 1..4).prop_map(|requirements| LabelSelector { requirements })
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(selector in any_selector()) {
            prop_assert_eq!(selector.to_string().parse::<LabelSelector>(), Ok(selector));
        }

        #[test]
        fn each_part_and_its_opposite_divide_all_labels(
            key in "[ab]",
            values in proptest::collection::vec("[ab]{1,2}", 1..3),
            labels in proptest::collection::btree_map("[abc]", "[ab]{0,2}", 0..3),
        ) {
            for (one, other) in [(Test::In(values.clone()), Test::NotIn(values.clone())), (Test::Exists, Test::Absent)] {
                let of = |test| LabelSelector { requirements: vec![Requirement { key: key.clone(), test }] };
                prop_assert_ne!(of(one).matches(&labels), of(other).matches(&labels));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a!=(), /]{0,12}") {
            let _read = text.parse::<LabelSelector>();
        }
    }
}
