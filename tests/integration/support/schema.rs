//! Holds a document against a JSON Schema, as far as drctl's own schemas go.

use serde_json::Value;

/// Everything in `document` that does not fit `schema`, each with its path. A key that the schema
/// does not name is a finding too: documents have no undocumented parts.
pub(crate) fn misfits(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, document, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let schema = resolve(root, schema);
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = |choice: &&Value| {
                let mut wrong = Vec::new();
                check(root, choice, value, path, &mut wrong);
                wrong.is_empty()
            };
            if choices.iter().find(fits).is_none() {
                found.push(format!("{path}: fits no choice of {key}"));
            }
        }
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        found.push(format!("{path}: is {value}, not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
        found.push(format!("{path}: {value} is not in {}", schema["enum"]));
    }
    check_type(schema, value, path, found);
    if let (Some(list), Some(items)) = (value.as_array(), schema.get("items")) {
        for (n, item) in list.iter().enumerate() {
            check(root, items, item, &format!("{path}[{n}]"), found);
        }
    }
    check_object(root, schema, value, path, found);
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect("a reference of the schema"),
        None => schema,
    }
}

fn check_type(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits {
        found.push(format!("{path}: is not of type {}", schema["type"]));
    }
}

fn check_object(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let inner = schema.get("additionalProperties").filter(|inner| inner.is_object() && schema["properties"].is_null());
    if let (Some(object), Some(inner)) = (value.as_object(), inner) {
        object.iter().for_each(|(key, value)| check(root, inner, value, &format!("{path}.{key}"), found));
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return };
    for (key, inner) in object {
        match properties.get(key) {
            Some(property) => check(root, property, inner, &format!("{path}.{key}"), found),
            None => found.push(format!("{path}.{key}: is not in the schema")),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(key) {
            found.push(format!("{path}: lacks {key}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["kind"],
        "properties": {"kind": {"const": "A"}, "list": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
        "$defs": {"n": {"type": ["integer", "null"]}}
    });
    assert!(misfits(&schema, &serde_json::json!({"kind": "A", "list": [1, null]})).is_empty());
    for (wrong, count) in [
        (serde_json::json!({"kind": "B"}), 1),
        (serde_json::json!({"list": [1, "x"]}), 2),
        (serde_json::json!({"kind": "A", "more": 1}), 1),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(misfits(&schema, &wrong).len(), count, "{wrong}");
    }
}
