//! Which values a difference shows. Reports are mailed and pasted into tickets; a password may stand
//! in a Secret, and also in a ConfigMap, a variable, an argument or an annotation.

use serde_json::Value;

use super::{kind::GroupKind, path::Path};

/// Characters of a value that a difference shows.
const SHOWN: usize = 120;
/// Fields whose values are not shown, wherever they are.
const HIDDEN: &[&str] = &["annotations", "args", "binaryData", "command", "data", "env", "stringData"];
/// Deeper values are not searched, and not shown.
const DEEPEST: usize = 24;

/// The value at `path` of an object of `kind`, as far as it may be shown. With `reveal` only a Secret's are hidden.
pub(super) fn show(kind: GroupKind<'_>, path: &Path, value: &Value, reveal: bool) -> String {
    let hidden = kind.is("", "Secret") || (!reveal && (is_hidden(path) || holds_hidden(value, 0)));
    if hidden { "a value that is not shown".to_owned() } else { shortened(value) }
}

fn is_hidden(path: &Path) -> bool {
    let mut hidden = false;
    for key in path.keys() {
        hidden |= HIDDEN.contains(&key);
        // A variable that names where its value stands.
        if key == "valueFrom" {
            return false;
        }
    }
    hidden
}

fn holds_hidden(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > DEEPEST => true,
        Value::Object(map) => {
            map.iter().any(|(key, value)| HIDDEN.contains(&key.as_str()) || holds_hidden(value, depth + 1))
        }
        Value::Array(items) => items.iter().any(|item| holds_hidden(item, depth + 1)),
        _ => false,
    }
}

/// The value as JSON, cut to what a line of a report can hold.
pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
