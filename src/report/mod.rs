//! What a run found, as documents for programs and text for people.
//!
//! Every document is `{apiVersion: drctl/v1, kind: …}`; `docs/schemas` has a JSON Schema of each.
