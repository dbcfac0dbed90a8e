//! Small steps on JSON objects.

use serde_json::{Map, Value};

/// The object at `path`, if there is one.
pub(super) fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(value, |value, key| value.get_mut(*key))?.as_object_mut()
}

/// The value at `path`.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key))
}

/// The text at `path`; empty if there is none.
pub(super) fn text_at<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// Takes `key` out of the object at `path`. An object that is left empty goes too, because the
/// server does not keep an empty one, and the comparison would miss it.
pub(super) fn take(value: &mut Value, path: &[&str], key: &str) -> Option<Value> {
    let map = object_mut(value, path)?;
    let taken = map.remove(key)?;
    if map.is_empty()
        && let Some((last, parent)) = path.split_last()
        && let Some(parent) = object_mut(value, parent)
    {
        parent.remove(*last);
    }
    Some(taken)
}

/// Takes those elements out of the list `key` of the object at `path` that `unwanted` names; a list
/// that is left empty goes too.
pub(super) fn take_items(value: &mut Value, path: &[&str], key: &str, unwanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let Some(map) = object_mut(value, path) else { return Vec::new() };
    let Some(Value::Array(items)) = map.get_mut(key) else { return Vec::new() };
    let (taken, kept): (Vec<Value>, Vec<Value>) = std::mem::take(items).into_iter().partition(unwanted);
    if kept.is_empty() {
        map.remove(key);
    } else {
        *items = kept;
    }
    taken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_empty_goes_too() {
        let mut value = json!({"metadata": {"annotations": {"a": "1"}, "finalizers": ["x"]}});
        assert_eq!(take(&mut value, &["metadata", "annotations"], "a"), Some(json!("1")));
        assert_eq!(take_items(&mut value, &["metadata"], "finalizers", |_| true), vec![json!("x")]);
        assert_eq!(value, json!({"metadata": {}}));
        assert_eq!(take(&mut value, &["metadata", "annotations"], "a"), None);
    }
}
