//! The JSON Schema of the policy file, for editors.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::embed::Document;

/// The JSON Schema of the policy file.
#[must_use]
pub fn json_schema_of_policy() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// Stands for [`crate::types::Name`] in the schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameSchema;

impl JsonSchema for NameSchema {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" })
    }
}

/// The place of a repository, as text.
pub(super) struct LocationSchema;

impl JsonSchema for LocationSchema {
    fn schema_name() -> Cow<'static, str> {
        "Location".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(s3://[a-z0-9.-]{3,63}(/.*)?|az://[a-z0-9]{3,24}/[a-z0-9-]{3,63}(/.*)?|file:///.*)$" })
    }
}

/// Stands for a list of names that is not empty.
#[derive(Debug)]
pub(super) struct NamesSchema;

impl JsonSchema for NamesSchema {
    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = NameSchema::json_schema(generator);
        json_schema!({ "type": "array", "items": name, "minItems": 1, "uniqueItems": true })
    }
}
