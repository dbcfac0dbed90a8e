//! The JSON Schema of the file of `drctl restore --modifiers`, for editors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use crate::types::LabelSelector;

/// The JSON Schema of a file of modifiers.
#[must_use]
pub fn json_schema_of_modifiers() -> Value {
    schemars::schema_for!(File).to_value()
}

/// What is changed in objects before a restore creates them. It has at least one of `storageClasses`, `images` and
/// `rules`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "drctl modifiers", rename = "Modifiers", rename_all = "camelCase")]
#[schemars(extend("minProperties" = 3))]
#[expect(dead_code, reason = "only its schema is used")]
struct File {
    /// The version of this form.
    #[schemars(extend("const" = super::embed::API_VERSION))]
    api_version: String,
    /// What this file is.
    #[schemars(extend("const" = "Modifiers"))]
    kind: String,
    /// Storage classes in claims and templates of claims, each by the one that takes its place.
    #[serde(default)]
    storage_classes: BTreeMap<String, String>,
    /// Images, whole or what they begin with up to a `/`, their tag or their digest, each by what takes its place. The
    /// longest that fits counts.
    #[serde(default)]
    images: BTreeMap<String, String>,
    /// Patches, applied one after the other.
    #[serde(default)]
    rules: Vec<Rule>,
}

/// A JSON patch for some objects: kind, name, namespace and selector must all fit an object as it is in the backup.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Rule {
    /// The kind (`plural.group`), by name or pattern.
    #[schemars(extend("pattern" = "^[a-z0-9*?-][a-z0-9.*?-]*$"))]
    kind: String,
    /// The name, by name or pattern.
    name: Option<String>,
    /// The namespace of the backup, by name or pattern.
    namespace: Option<String>,
    /// Labels, as kubectl writes selectors: `app=web,tier in (front, edge),!old`.
    selector: Option<LabelSelector>,
    /// RFC 6902: one operation after the other. A `test` that fails means that the rule is not about the object.
    #[schemars(extend("minItems" = 1))]
    patch: Vec<Operation>,
}

/// One operation of a JSON patch. No path leads to what an object is known by, to its status, or to what the server sets.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(tag = "op", rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum Operation {
    /// Puts a value in.
    Add {
        /// A JSON pointer.
        path: Pointer,
        /// Any value.
        value: Value,
    },
    /// Takes a value out.
    Remove {
        /// A JSON pointer.
        path: Pointer,
    },
    /// Puts a value in the place of what is there.
    Replace {
        /// A JSON pointer.
        path: Pointer,
        /// Any value.
        value: Value,
    },
    /// Moves a value.
    Move {
        /// From where.
        from: Pointer,
        /// To where.
        path: Pointer,
    },
    /// Copies a value.
    Copy {
        /// From where.
        from: Pointer,
        /// To where.
        path: Pointer,
    },
    /// Must hold.
    Test {
        /// A JSON pointer.
        path: Pointer,
        /// What must be there.
        value: Value,
    },
}

/// A JSON pointer (RFC 6901) to something in an object.
#[derive(JsonSchema)]
#[schemars(inline, extend("pattern" = "^(/([^/~]|~[01])*)+$"))]
#[expect(dead_code, reason = "only its schema is used")]
struct Pointer(String);
