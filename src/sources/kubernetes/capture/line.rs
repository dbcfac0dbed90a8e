//! From an item of a list to a line of a stream.

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::super::{kind::Kind, kinds::Meta};

/// What of an item must be understood to write it down. Everything else passes unread.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'a> {
    #[serde(default, deserialize_with = "present")]
    api_version: bool,
    #[serde(default, deserialize_with = "present")]
    kind: bool,
    pub(super) metadata: Meta,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> Item<'a> {
    pub(super) fn read(json: &'a str) -> Result<Self, serde_json::Error> {
        let item: Self = serde_json::from_str(json)?;
        if item.metadata.name.is_empty() {
            return Err(serde::de::Error::custom("an object has no name"));
        }
        Ok(item)
    }

    /// Its status, if it has one that can be read.
    pub(super) fn status(&self) -> Value {
        self.status.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
    }
}

/// What lists leave out of their items, because all items of a list have it in common.
#[derive(Debug)]
pub(super) struct Head {
    api_version: String,
    kind: String,
}

impl Head {
    pub(super) fn of(kind: &Kind) -> Self {
        let quoted = |text: &str| Value::from(text).to_string();
        Self {
            api_version: format!("\"apiVersion\":{},", quoted(&kind.api_version())),
            kind: format!("\"kind\":{},", quoted(&kind.name)),
        }
    }

    /// Appends the line of `item`, whose bytes are `json`, without its line end. The bytes stay as
    /// they were sent; only what the list left out is put first.
    pub(super) fn write(&self, item: &Item<'_>, json: &str, out: &mut BytesMut) {
        let start = out.len();
        // An item that was read is an object.
        let inside = json.strip_prefix('{').unwrap_or(json);
        out.reserve(json.len() + self.api_version.len() + self.kind.len() + 1);
        out.put_u8(b'{');
        if !item.api_version {
            out.put_slice(self.api_version.as_bytes());
        }
        if !item.kind {
            out.put_slice(self.kind.as_bytes());
        }
        out.put_slice(inside.as_bytes());
        // Servers send compact JSON. One that does not would break the line.
        let line = out.get(start..).unwrap_or_default();
        if line.contains(&b'\n') || line.contains(&b'\r') {
            let compact = without_whitespace(line);
            out.truncate(start);
            out.put_slice(&compact);
        }
    }
}

/// JSON without the white space between its tokens.
fn without_whitespace(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in json {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            quoted = byte == b'"';
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                continue;
            }
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::super::testing, *};

    fn secret() -> Kind {
        Kind { name: "Secret".to_owned(), ..testing::kind("secrets") }
    }

    fn line(json: &str) -> String {
        let mut out = BytesMut::new();
        Head::of(&secret()).write(&Item::read(json).unwrap(), json, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_the_list_left_out_is_put_first_and_nothing_else_changes() {
        assert_eq!(
            line(r#"{"metadata":{"name":"a"},"data":{"k":"djE="},"n":1.0e2}"#),
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"k":"djE="},"n":1.0e2}"#
        );
        let whole = r#"{"kind":"Secret","metadata":{"name":"a"},"apiVersion":"v1"}"#;
        assert_eq!(line(whole), whole);
        assert_eq!(
            line(r#"{"apiVersion":"v2","metadata":{"name":"a"}}"#),
            r#"{"kind":"Secret","apiVersion":"v2","metadata":{"name":"a"}}"#
        );
    }

    #[test]
    fn a_pretty_printed_item_becomes_one_line() {
        let json = "{\n  \"metadata\" : {\"name\": \"a\"},\r\n\t\"s\": \"two  \\\"words\\\\\" , \"n\": 1.50\n}";
        assert_eq!(
            line(json),
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"s":"two  \"words\\","n":1.50}"#
        );
    }

    #[test]
    fn what_is_no_object_with_a_name_is_refused() {
        for bad in [
            "1",
            "[]",
            "null",
            "{}",
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"name":""}}"#,
            r#"{"metadata":{"name":"a"},"metadata":{"name":"b"}}"#,
        ] {
            assert!(Item::read(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_status_is_read_where_it_can_be() {
        assert_eq!(
            Item::read(r#"{"metadata":{"name":"a"},"status":{"phase":"Failed"}}"#).unwrap().status()["phase"],
            "Failed"
        );
        let deep = format!(r#"{{"metadata":{{"name":"a"}},"status":{}{}}}"#, "[".repeat(9999), "]".repeat(9999));
        assert_eq!(Item::read(&deep).unwrap().status(), Value::Null);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_an_object_holds_its_line_is_one_line_and_equal(spec in any_json(), pretty in any::<bool>()) {
            let object = serde_json::json!({"metadata": {"name": "a"}, "spec": spec});
            let json = if pretty { serde_json::to_string_pretty(&object).unwrap() } else { object.to_string() };
            let line = line(&json);
            prop_assert!(!line.contains('\n'));
            let mut read: Value = serde_json::from_str(&line).unwrap();
            let fields = read.as_object_mut().unwrap();
            prop_assert_eq!(fields.remove("apiVersion"), Some(Value::from("v1")));
            prop_assert_eq!(fields.remove("kind"), Some(Value::from("Secret")));
            prop_assert_eq!(read, object);
        }
    }
}
