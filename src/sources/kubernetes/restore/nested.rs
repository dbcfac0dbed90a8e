//! Objects of which only the name can be read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object, as far as it could be read.
#[derive(Debug)]
pub(super) struct Read {
    /// The object; of one that cannot be read in full only what names it.
    pub(super) object: Value,
    /// Why it cannot be read in full.
    pub(super) why_not: Option<String>,
}

/// What names an object. All else is passed over without recursion, however deep it is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kind: String,
    metadata: Meta,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<String>,
}

/// Reads an object. An API server takes custom resources that are nested more deeply than a reader
/// with a bounded stack follows: one of these must not cost the others.
///
/// # Errors
/// If it is not JSON, or not even its name can be read.
pub(super) fn read(bytes: &[u8]) -> Result<Read, serde_json::Error> {
    let error = match serde_json::from_slice(bytes) {
        Ok(object) => return Ok(Read { object, why_not: None }),
        Err(error) => error,
    };
    let Ok(head) = serde_json::from_slice::<Head>(bytes) else { return Err(error) };
    let object = serde_json::to_value(head)?;
    Ok(Read { object, why_not: Some(format!("it cannot be read: {error}; is it nested too deeply?")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"w","uid":"u"}"#;

    /// As text: a value of this depth could not be made, nor dropped, on a small stack.
    fn nested(depth: usize) -> String {
        format!(r#"{{"spec":{}1{},{HEAD}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn an_object_that_is_nested_too_deeply_is_known_by_its_name() {
        let shallow = read(nested(100).as_bytes()).unwrap();
        assert_eq!(shallow.why_not, None);
        assert!(shallow.object["spec"]["a"]["a"].is_object());
        let deep = read(nested(100_000).as_bytes()).unwrap();
        let head: Value = serde_json::from_str(&format!("{{{HEAD}}}")).unwrap();
        assert_eq!(deep.object, head);
        assert!(deep.why_not.unwrap().contains("recursion limit"));
    }

    #[test]
    fn what_is_not_json_is_no_object() {
        assert!(read(b"{\"metadata\": {\"name\": \"w\"}").is_err());
        assert!(read(b"{\"kind\": 1e999}").is_err());
    }
}
